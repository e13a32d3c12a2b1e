"""RiskyHalfCheetah and FragileHalfCheetah: the rule under forced speeds, real episodes, seeding, registration, pickling."""

import importlib
import pickle
import subprocess
import sys
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gym_check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import sb3_ordergrad.envs
from sb3_ordergrad.envs.half_cheetah import FragileHalfCheetahEnv, RiskyHalfCheetahEnv

IDS = ["RiskyHalfCheetah-v0", "FragileHalfCheetah-v0"]


@pytest.mark.parametrize("env_id", IDS)
def test_checkers_pass(env_id: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gym_check_env(gym.make(env_id).unwrapped, skip_render_check=True)
    # HalfCheetah-v5 has an unbounded observation space; gymnasium remarks on it for HalfCheetah-v5 itself, too
    assert [str(w.message) for w in caught if "infinity" not in str(w.message)] == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sb3_check_env(gym.make(env_id))


def test_constants() -> None:
    risky, fragile = RiskyHalfCheetahEnv(), FragileHalfCheetahEnv()
    assert (risky.v_max, risky.probability, risky.penalty) == (4.0, 0.05, -70.0)
    assert (fragile.v_max, fragile.probability, fragile.penalty) == (2.0, 0.003, -500.0)
    for env_id in IDS:
        assert gym.spec(env_id).max_episode_steps == 200


def within_four_standard_errors(events: int, n: int, probability: float) -> bool:
    return abs(events / n - probability) < 4 * np.sqrt(probability * (1 - probability) / n)


def test_risky_rule_under_forced_speed() -> None:
    env, n = RiskyHalfCheetahEnv(), 50_000
    env.reset(seed=0)
    results = [env.risky_reward(4.4, 4.5, 4.5) for _ in range(n)]
    assert within_four_standard_errors(sum(event for _, event in results), n, 0.05)
    assert {reward for reward, event in results if event} == {4.4 - 4.5 - 70.0}
    assert {reward for reward, event in results if not event} == {4.4}
    # At the limit itself there is no risk
    assert not any(env.risky_reward(3.9, speed, speed)[1] for speed in (4.0, 3.0, -9.0) for _ in range(1000))


def test_fragile_rule_under_forced_speed() -> None:
    env, n = FragileHalfCheetahEnv(), 200_000
    env.reset(seed=0)
    results = [env.fragile_reward(1.5, 2.5) for _ in range(n)]
    assert within_four_standard_errors(sum(event for _, event in results), n, 0.003)
    assert {reward for reward, event in results if event} == {1.5 - 500.0}
    assert {reward for reward, event in results if not event} == {1.5}
    assert not any(env.fragile_reward(1.5, speed)[1] for speed in (2.0, 0.0) for _ in range(5000))


def run_pair(env: gym.Env, seed: int, n_steps: int) -> tuple[np.ndarray, np.ndarray, list[dict[str, Any]], list[bool]]:
    """
    :param env: a cheetah with a price on speed
    :param seed: of both environments
    :param n_steps: number of steps, or less where an episode ends
    :return: rewards there, rewards of plain HalfCheetah-v5 on the same state and action, infos, terminations
    """
    plain = gym.make("HalfCheetah-v5")
    plain_unwrapped: Any = plain.unwrapped
    env_unwrapped: Any = env.unwrapped
    env.reset(seed=seed)
    plain.reset(seed=seed)
    env.action_space.seed(seed)
    rewards, plain_rewards, infos, ends = [], [], [], []
    for _ in range(n_steps):
        plain_unwrapped.set_state(env_unwrapped.data.qpos.copy(), env_unwrapped.data.qvel.copy())
        plain_unwrapped.data.qacc_warmstart[:] = env_unwrapped.data.qacc_warmstart
        action = env.action_space.sample()
        _, reward, terminated, truncated, info = env.step(action)
        plain_rewards.append(float(plain.step(action)[1]))
        rewards.append(float(reward))
        infos.append(info)
        ends.append(terminated)
        if terminated or truncated:
            env.reset()
    return np.array(rewards), np.array(plain_rewards), infos, ends


def test_risky_steps_are_half_cheetah_steps_but_for_the_penalty() -> None:
    env = gym.make("RiskyHalfCheetah-v0", v_max=0.0, probability=0.5)
    rewards, plain_rewards, infos, ends = run_pair(env, 0, 400)
    event = np.array([info["risk_event"] for info in infos])
    forward = np.array([info["reward_forward"] for info in infos])
    assert not any(ends)
    assert all(info["x_velocity"] > 0.0 for info in infos if info["risk_event"])
    assert within_four_standard_errors(event.sum(), int((forward > 0.0).sum()), 0.5)
    np.testing.assert_allclose(rewards, np.where(event, plain_rewards - forward - 70.0, plain_rewards), atol=1e-9)


def test_fragile_episodes_end_with_the_breakdown() -> None:
    # Every step is at risk, so the run is a sequence of independent coins
    env, n = gym.make("FragileHalfCheetah-v0", v_max=-np.inf), 8000
    rewards, plain_rewards, infos, ends = run_pair(env, 1, n)
    broken = np.array([info["risk_event"] for info in infos])
    np.testing.assert_array_equal(broken, ends)
    assert within_four_standard_errors(broken.sum(), n, 0.003)
    np.testing.assert_allclose(rewards, plain_rewards - 500.0 * broken, atol=1e-9)


@pytest.mark.parametrize("env_id", IDS)
def test_slow_episodes_take_200_steps(env_id: str) -> None:
    env = gym.make(env_id)
    env.reset(seed=0)
    for step in range(200):
        _, _, terminated, truncated, info = env.step(np.zeros(6, dtype=np.float32))
        assert not terminated and truncated == (step == 199) and info["risk_event"] is False


@pytest.mark.parametrize("env_id", IDS)
def test_seeds(env_id: str) -> None:
    def trajectory(seed: int) -> np.ndarray:
        env = gym.make(env_id, v_max=-np.inf, probability=0.2)
        observation, _ = env.reset(seed=seed)
        env.action_space.seed(0)
        rows = []
        for _ in range(60):
            observation, reward, terminated, _, _ = env.step(env.action_space.sample())
            rows.append([*observation, float(reward), float(terminated)])
            if terminated:
                env.reset()
        return np.array(rows)

    np.testing.assert_array_equal(trajectory(5), trajectory(5))
    assert not np.array_equal(trajectory(5), trajectory(6))


def test_coins_do_not_depend_on_the_speed() -> None:
    env = FragileHalfCheetahEnv(probability=0.5)
    env.reset(seed=0)
    fast = [env._risk_event(9.0) for _ in range(20)]
    env.reset(seed=0)
    # A slow step first: the coins of the others are the same
    assert not env._risk_event(0.0)
    assert [env._risk_event(9.0) for _ in range(19)] == fast[1:]


@pytest.mark.parametrize("cls", [RiskyHalfCheetahEnv, FragileHalfCheetahEnv])
def test_pickle_keeps_the_constants(cls: type) -> None:
    env = cls(penalty=-200.0, v_max=1.0, ctrl_cost_weight=0.2)
    copy = pickle.loads(pickle.dumps(env))
    assert (copy.penalty, copy.v_max, copy.probability) == (-200.0, 1.0, env.probability)
    assert copy._ctrl_cost_weight == 0.2


def test_keywords_through_make() -> None:
    env: Any = gym.make("FragileHalfCheetah-v0", penalty=-200.0, v_max=3.0, probability=0.1, ctrl_cost_weight=0.0)
    assert (env.unwrapped.penalty, env.unwrapped.v_max, env.unwrapped.probability) == (-200.0, 3.0, 0.1)
    assert "rgb_array" in env.metadata["render_modes"]


@pytest.mark.parametrize("cls", [RiskyHalfCheetahEnv, FragileHalfCheetahEnv])
@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"v_max": float("nan")}, "v_max=nan"),
        ({"probability": -0.1}, r"probability=-0.1 is outside \[0, 1\]"),
        ({"probability": float("nan")}, "probability=nan"),
        ({"penalty": -float("inf")}, "penalty=-inf is not finite"),
    ],
)
def test_bad_parameters(cls: type, kwargs: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**kwargs)


def test_registration_is_lazy_and_repeatable() -> None:
    code = (
        "import sys, gymnasium, sb3_ordergrad.envs; "
        "assert 'mujoco' not in sys.modules; "
        "assert 'FragileHalfCheetah-v0' in gymnasium.registry"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        importlib.reload(sb3_ordergrad.envs)
        sb3_ordergrad.envs.register_envs()
