"""SpeedPenalty, NoisyRegion, HeavyTailReward: rules over forced steps, own random numbers, monitors, composition, errors."""

import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import scipy.stats
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_ordergrad.compare import settings
from sb3_ordergrad.envs import HeavyTailReward, NoisyRegion, ReturnToDate, SpeedPenalty

N = 100_000
Wrap = Callable[[gym.Env], gym.Env]
WRAPPERS: dict[str, Wrap] = {
    "SpeedPenalty": lambda env: SpeedPenalty(env, v_max=0.5, penalty=-3.0, probability=0.5),
    "NoisyRegion": lambda env: NoisyRegion(env, beyond=0.5, std=2.0),
    "HeavyTailReward": lambda env: HeavyTailReward(env, probability=0.5),
}


class PointEnv(gym.Env):
    """A point whose speed and position are the action; pays 1 a step; its observation may be a Dict."""

    def __init__(self, as_dict: bool = False) -> None:
        self.as_dict = as_dict
        box = spaces.Box(-10.0, 10.0, shape=(2,), dtype=np.float32)
        self.observation_space = spaces.Dict({"state": box}) if as_dict else box
        self.action_space = spaces.Box(-1.0, 1.0, shape=(1,), dtype=np.float32)

    def _observe(self, position: float, velocity: float) -> Any:
        state = np.array([position, velocity], dtype=np.float32)
        return {"state": state} if self.as_dict else state

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        return self._observe(float(self.np_random.random()), 0.0), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        place = float(action[0])
        return self._observe(place, place), 1.0, False, False, {"x_velocity": place, "x_position": place}


def point_env(wrap: Wrap, as_dict: bool = False, horizon: int = 8) -> gym.Env:
    return wrap(gym.wrappers.TimeLimit(PointEnv(as_dict), horizon))


def disturbances(wrap: Wrap, place: float, n: int = N) -> np.ndarray:
    """What was added to the rewards, ``(n,)``."""
    env = wrap(PointEnv())
    env.reset(seed=0)
    action = np.array([place])
    return np.array([float(env.step(action)[1]) - 1.0 for _ in range(n)])


def test_speed_penalty_over_100_000_forced_steps() -> None:
    added = disturbances(lambda env: SpeedPenalty(env, v_max=0.5, penalty=-3.0, probability=0.05), 0.6)
    assert set(added) == {0.0, -3.0}
    assert abs((added == -3.0).mean() - 0.05) < 4 * np.sqrt(0.05 * 0.95 / N)
    # At the limit itself there is no risk
    assert not disturbances(lambda env: SpeedPenalty(env, v_max=0.5, penalty=-3.0, probability=1.0), 0.5, 10).any()


@pytest.mark.parametrize(("side", "inside", "outside"), [("above", 0.6, 0.5), ("below", 0.4, 0.5)])
def test_noisy_region_over_100_000_forced_steps(side: str, inside: float, outside: float) -> None:
    def wrap(env: gym.Env) -> gym.Env:
        return NoisyRegion(env, beyond=0.5, std=2.0, side=side)

    added = disturbances(wrap, inside)
    assert abs(added.mean()) < 4 * 2.0 / np.sqrt(N)
    assert abs(added.std() - 2.0) < 4 * 2.0 / np.sqrt(2 * N)
    assert abs((added > 2.0).mean() - scipy.stats.norm.sf(1)) < 4 * np.sqrt(scipy.stats.norm.sf(1) / N)
    assert not disturbances(wrap, outside, 100).any()


def test_heavy_tail_over_100_000_forced_steps() -> None:
    added = disturbances(lambda env: HeavyTailReward(env, probability=0.2, scale=10.0, df=2.0), 0.0)
    outliers = added[added != 0.0]
    assert abs(len(outliers) / N - 0.2) < 4 * np.sqrt(0.2 * 0.8 / N)
    # The variance of t with 2 degrees of freedom is infinite: shares beyond quantiles have a standard error
    for level in (0.001, 0.25, 0.5, 0.9, 0.999):
        share = (outliers <= 10.0 * scipy.stats.t(2.0).ppf(level)).mean()
        assert abs(share - level) < 4 * np.sqrt(level * (1 - level) / len(outliers))


def test_infos_tell_what_happened() -> None:
    env = point_env(lambda e: HeavyTailReward(SpeedPenalty(e, v_max=0.0, penalty=-3.0, probability=0.5), probability=0.5))
    env.reset(seed=0)
    kinds = set()
    for _ in range(100):
        _, reward, _, _, info = env.step(np.array([1.0]))
        assert float(reward) == pytest.approx(1.0 + info["reward_disturbance"])
        assert info["outlier"] == (info["reward_disturbance"] not in (0.0, -3.0))
        kinds.add((info["risk_event"], info["outlier"]))
    assert len(kinds) == 4


def rewards_and_observations(wrap: Wrap, seed: int, place: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Rewards of five episodes, and the observations of their resets."""
    env = point_env(wrap)
    rewards, starts = [], []
    for episode in range(5):
        starts.append(env.reset(seed=seed if episode == 0 else None)[0])
        rewards += [env.step(np.array([place]))[1] for _ in range(8)]
    return np.array(rewards), np.array(starts)


@pytest.mark.parametrize("name", WRAPPERS)
def test_seeds(name: str) -> None:
    wrap = WRAPPERS[name]
    rewards, starts = rewards_and_observations(wrap, 3)
    np.testing.assert_array_equal(rewards, rewards_and_observations(wrap, 3)[0])
    assert not np.array_equal(rewards, rewards_and_observations(wrap, 4)[0])
    # The wrapped environment draws what it would draw without the wrapper
    np.testing.assert_array_equal(starts, rewards_and_observations(lambda env: env, 3)[1])


def test_random_numbers_do_not_depend_on_the_policy() -> None:
    env = SpeedPenalty(PointEnv(), v_max=0.5, penalty=-3.0, probability=0.5)

    def events(*speeds: float) -> list[bool]:
        env.reset(seed=0)
        return [env.step(np.array([speed]))[4]["risk_event"] for speed in speeds]

    fast = events(*[1.0] * 20)
    assert events(0.0, *[1.0] * 19) == [False, *fast[1:]]


def test_random_numbers_repeat_neither_the_environments_nor_those_of_another_wrapper() -> None:
    def coins(n_inside: int) -> np.ndarray:
        env: Any = PointEnv()
        for _ in range(n_inside + 1):
            env = SpeedPenalty(env, v_max=0.5, penalty=-3.0)
        env.reset(seed=7)
        return env._rng.random(50)

    environment = np.random.default_rng(7).random(50)
    for one, other in [(coins(0), environment), (coins(0), coins(1)), (coins(1), environment)]:
        assert not np.isin(one, other).any()


def test_a_monitor_inside_is_corrected() -> None:
    # make_vec_env and the zoo put the Monitor inside the wrappers
    env = WRAPPERS["HeavyTailReward"](WRAPPERS["SpeedPenalty"](Monitor(gym.wrappers.TimeLimit(PointEnv(), 8))))
    for episode in range(3):
        env.reset(seed=0 if episode == 0 else None)
        steps = [env.step(np.array([1.0])) for _ in range(8)]
        total = sum(float(reward) for _, reward, *_ in steps)
        assert total != pytest.approx(8.0)
        assert steps[-1][4]["episode"]["r"] == pytest.approx(total)


def all_of_them(env: gym.Env) -> gym.Env:
    for wrap in WRAPPERS.values():
        env = wrap(env)
    return ReturnToDate(env)


@pytest.mark.parametrize("as_dict", [False, True])
def test_return_to_date_holds_what_was_paid(as_dict: bool) -> None:
    env = point_env(all_of_them, as_dict)
    observation, _ = env.reset(seed=0)
    collected = 0.0
    for _ in range(8):
        observation, reward, _, truncated, _ = env.step(np.array([1.0]))
        collected += float(reward)
        assert observation in env.observation_space
        seen = observation["return_to_date"][0] if as_dict else observation[2]
        assert seen == pytest.approx(collected, rel=1e-5)
    assert truncated and collected != pytest.approx(8.0)


@pytest.mark.parametrize("as_dict", [False, True])
def test_training_under_vec_normalize(as_dict: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        venv = VecNormalize(DummyVecEnv([lambda: Monitor(point_env(all_of_them, as_dict))] * 2))
        policy = "MultiInputPolicy" if as_dict else "MlpPolicy"
        model = PPO(policy, venv, n_steps=32, batch_size=32, n_epochs=1, device="cpu").learn(64)
    assert len(model.ep_info_buffer or []) == 8


@pytest.mark.parametrize("name", WRAPPERS)
@pytest.mark.parametrize("env_id", ["HalfCheetah-v5", "BettingGame-v0", "SparseReacher-v0", "GuardedMaze-v1"])
def test_check_env(env_id: str, name: str) -> None:
    """All environments take all wrappers; where info has neither speed nor position, by an index of the observation."""
    measured: dict[str, Wrap] = {
        "SpeedPenalty": lambda env: SpeedPenalty(env, v_max=0.5, penalty=-3.0, measure=0),
        "NoisyRegion": lambda env: NoisyRegion(env, beyond=0.5, measure=0),
    }
    wrap = WRAPPERS[name] if env_id == "HalfCheetah-v5" else measured.get(name, WRAPPERS[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sb3_check_env(ReturnToDate(wrap(gym.make(env_id))))


@pytest.mark.parametrize("name", WRAPPERS)
def test_spec_rebuilds_the_wrapper(name: str) -> None:
    env: Any = WRAPPERS[name](gym.make("HalfCheetah-v5"))
    copy = env.spec.make()
    assert type(copy) is type(env)
    assert copy._saved_kwargs == env._saved_kwargs


def test_from_the_yaml_of_the_zoo() -> None:
    entry = {
        "env_wrapper": [
            {"sb3_ordergrad.envs.SpeedPenalty": {"v_max": 1.0, "penalty": -5.0}},
            {"sb3_ordergrad.envs.NoisyRegion": {"beyond": 0.1, "std": 2.0, "side": "below"}},
            "sb3_ordergrad.envs.HeavyTailReward",
            "sb3_ordergrad.envs.ReturnToDate",
        ]
    }
    env = settings.make_env("HalfCheetah-v5", entry, 2, seed=0)
    assert env.reset().shape == (2, 19)
    _, _, _, infos = env.step(np.zeros((2, 6)))
    assert {"risk_event", "outlier", "reward_disturbance"} <= set(infos[0])


def test_a_missing_measure_is_named() -> None:
    env = SpeedPenalty(gym.make("CartPole-v1"), v_max=1.0, penalty=-1.0)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"measure='x_velocity' is not in info, whose keys are"):
        env.step(0)
