"""Our on-policy algorithms support what SB3 supports, without a warning: spaces, gSDE, wrappers, odd episodes, callbacks."""

import itertools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import CallbackList, CheckpointCallback, ConvertCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecFrameStack, VecMonitor, VecNormalize
from toy_envs import (
    RolloutLog,
    StopAt,
    ToyEnv,
    assert_same_parameters,
    parameters_of,
    parent_defaults,
    ranked,
    recorded,
    small,
)

from sb3_ordergrad import OrderA2C, OrderPPO, RePPO
from sb3_ordergrad.common.pseudo_rewards import CREDITS
from sb3_ordergrad.lstatistics import LStatistic

pytestmark = pytest.mark.filterwarnings("error")
ALGORITHMS = pytest.mark.parametrize("algorithm", [OrderPPO, OrderA2C])
WITH_REPPO = pytest.mark.parametrize("algorithm", [OrderPPO, OrderA2C, RePPO])
# a group that can be ranked within the first rollouts
RANKED: dict[str, Any] = {"objective": "cvar:0.5", "k": 2, "group_size": 4}

IMAGE = spaces.Box(0, 255, (1, 36, 36), np.uint8)
OBSERVATIONS = {
    "box": spaces.Box(-1.0, 1.0, (3,)),
    "matrix": spaces.Box(-1.0, 1.0, (2, 3)),
    "discrete": spaces.Discrete(4),
    "multi_discrete": spaces.MultiDiscrete([2, 3]),
    "multi_binary": spaces.MultiBinary(3),
    "image": IMAGE,
    "image_channels_last": spaces.Box(0, 255, (36, 36, 3), np.uint8),
    "dict": spaces.Dict({"vector": spaces.Box(-1.0, 1.0, (3,)), "number": spaces.Discrete(3)}),
    "dict_with_image": spaces.Dict({"vector": spaces.Box(-1.0, 1.0, (3,)), "image": IMAGE}),
}
ACTIONS = {
    "discrete": spaces.Discrete(3),
    "box": spaces.Box(-2.0, 1.0, (2,)),
    "multi_discrete": spaces.MultiDiscrete([2, 3]),
    "multi_binary": spaces.MultiBinary(3),
}


def finite(model: BaseAlgorithm) -> bool:
    return all(np.isfinite(value).all() for value in parameters_of(model).values())


def logged_numbers(log: RolloutLog) -> list[float]:
    return [value for entry in log.log for value in entry.values()]


@pytest.mark.parametrize("name", OBSERVATIONS)
@WITH_REPPO
def test_observation_spaces(algorithm: type[BaseAlgorithm], name: str, tmp_path: Path) -> None:
    space, policy, net = OBSERVATIONS[name], "MlpPolicy", {"net_arch": [8]}
    if isinstance(space, spaces.Dict):
        policy = "MultiInputPolicy"
        net["features_extractor_kwargs"] = {"cnn_output_dim": 8}  # type: ignore[assignment]
    elif name.startswith("image"):
        policy = "CnnPolicy"
        net["features_extractor_kwargs"] = {"features_dim": 8}  # type: ignore[assignment]
    env = make_vec_env(ToyEnv, n_envs=2, seed=0, env_kwargs={"observation_space": space})
    log = RolloutLog()
    model = algorithm(policy, env, **small(algorithm, policy_kwargs=net, **ranked(algorithm))).learn(48, callback=log)
    assert finite(model) and np.isfinite(logged_numbers(log)).all()
    assert algorithm is RePPO or log.log[-1]["rollout/ranked_groups"] == 1
    model.save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model", env=env, device="cpu")
    assert_same_parameters(model, loaded)
    observation = env.reset()
    np.testing.assert_array_equal(
        model.predict(observation, deterministic=True)[0], loaded.predict(observation, deterministic=True)[0]
    )


@pytest.mark.parametrize("name", ACTIONS)
@ALGORITHMS
def test_action_spaces(algorithm: type[BaseAlgorithm], name: str) -> None:
    space = ACTIONS[name]
    env = make_vec_env(ToyEnv, n_envs=2, seed=0, env_kwargs={"action_space": space})
    model = algorithm("MlpPolicy", env, **small(algorithm, **RANKED)).learn(48)
    assert finite(model)
    actions, state = model.predict(env.reset())
    assert actions.shape == (2, *space.shape) and state is None
    single = model.predict(OBSERVATIONS["box"].sample(), deterministic=True)[0]
    assert np.shape(single) == space.shape and space.contains(single)


@pytest.mark.parametrize("squash_output", [False, True])
@ALGORITHMS
def test_gsde(algorithm: type[BaseAlgorithm], squash_output: bool) -> None:
    env = make_vec_env(ToyEnv, n_envs=2, seed=0, env_kwargs={"action_space": ACTIONS["box"]})
    net = {"net_arch": [8], "squash_output": squash_output}
    model = algorithm("MlpPolicy", env, **small(algorithm, use_sde=True, sde_sample_freq=3, policy_kwargs=net, **RANKED))
    assert finite(model.learn(48))
    assert ACTIONS["box"].contains(model.predict(env.reset())[0][0])


WRAPPERS: list[Callable[[VecEnv], VecEnv]] = [
    lambda env: env,
    VecNormalize,
    lambda env: VecNormalize(VecFrameStack(env, 2), gamma=0.9),
    lambda env: VecNormalize(VecFrameStack(VecNormalize(env), 2)),
]


@pytest.mark.parametrize(
    ("wrap", "monitor"),
    [
        *itertools.product(WRAPPERS, [False, True]),
        (VecMonitor, False),
    ],
)
@ALGORITHMS
def test_returns_are_raw_and_whole(algorithm: type[BaseAlgorithm], wrap: Callable[[VecEnv], VecEnv], monitor: bool) -> None:
    """The ranked returns are those of the environments, across rollouts, with or without a Monitor and VecNormalize."""
    toys = [ToyEnv(lengths=[5, 3, 11], truncated=bool(i)) for i in range(2)]
    env: Any = DummyVecEnv([lambda toy=toy: Monitor(toy) if monitor else toy for toy in toys])
    env = wrap(env)
    log = RolloutLog()
    model: Any = algorithm("MlpPolicy", env, **small(algorithm, objective="cvar:0.5", k=2, group_size=500))
    model.learn(160, callback=log)
    true = [value for toy in toys for value in toy.returns]
    assert len(true) > 20
    np.testing.assert_allclose(sorted(recorded(model)), sorted(true), rtol=1e-12)
    assert log.log[-1]["rollout/group_mean"] == pytest.approx(np.mean(true), rel=1e-12)
    # Monitor rounds to six decimals, and VecMonitor sums in float32
    monitored = [info["episode"]["r"] for info in log.infos if "episode" in info]
    assert len(monitored) == (len(true) if monitor or wrap is VecMonitor else 0)
    if monitored:
        np.testing.assert_allclose(sorted(monitored), sorted(true), rtol=0, atol=2e-6)
        assert np.mean([info["r"] for info in model.ep_info_buffer]) == pytest.approx(np.mean(true), abs=2e-6)


@WITH_REPPO
def test_subprocesses(algorithm: type[BaseAlgorithm]) -> None:
    models = []
    for vec_env_cls in (DummyVecEnv, SubprocVecEnv):
        env = make_vec_env("CartPole-v1", n_envs=2, seed=0, vec_env_cls=vec_env_cls, env_kwargs={"max_episode_steps": 6})
        models.append(algorithm("MlpPolicy", env, **small(algorithm, **ranked(algorithm))).learn(64))
        env.close()
    assert_same_parameters(*models)


@pytest.mark.parametrize("credit", CREDITS)
@pytest.mark.parametrize(("lengths", "truncated"), [([1000], False), ([1], False), ([1], True), ([3], True), ([8], True)])
@ALGORITHMS
def test_odd_episodes(algorithm: type[BaseAlgorithm], lengths: list[int], truncated: bool, credit: str) -> None:
    """No episode within a rollout, one-step episodes, episodes that only a time limit ends."""
    env = make_vec_env(ToyEnv, n_envs=2, seed=0, env_kwargs={"lengths": lengths, "truncated": truncated})
    log = RolloutLog()
    model = algorithm("MlpPolicy", env, **small(algorithm, **RANKED, credit=credit))
    before = parameters_of(model)
    model.learn(64, callback=log)
    after = parameters_of(model)
    assert finite(model) and np.isfinite(logged_numbers(log)).all()
    assert all(np.isfinite(returns).all() for returns in log.returns)
    assert log.log[-1]["rollout/ranked_groups"] == (0 if lengths == [1000] else 1)
    # the value loss trains
    assert (before["value_net.weight"] != after["value_net.weight"]).any()


@pytest.mark.parametrize("reward", [0.0, -3.0])
@ALGORITHMS
def test_equal_returns(algorithm: type[BaseAlgorithm], reward: float) -> None:
    """Equal returns cannot be ranked, and have no standard deviation."""
    for credit in CREDITS:
        env = make_vec_env(ToyEnv, n_envs=2, seed=0, env_kwargs={"rewards": [reward]})
        log = RolloutLog()
        model = algorithm("MlpPolicy", env, **small(algorithm, **RANKED, credit=credit)).learn(64, callback=log)
        assert finite(model) and np.isfinite(logged_numbers(log)).all()


@pytest.mark.parametrize("stop", [None, *range(17, 24)])
@ALGORITHMS
def test_learn_again_in_mid_episode(algorithm: type[BaseAlgorithm], stop: int | None) -> None:
    """The running return is kept, also where a callback cancelled in mid-rollout, at any step of an episode."""
    toy = ToyEnv(lengths=[3, 5, 2])
    model = algorithm("MlpPolicy", toy, **small(algorithm, objective="cvar:0.5", k=2, group_size=500))
    model.learn(20, callback=None if stop is None else StopAt(stop))
    # SB3 forgets the cancelled rollout, and with it the episodes that ended in it
    known, true = len(recorded(model)), len(toy.returns)
    model.learn(40, reset_num_timesteps=False)
    np.testing.assert_allclose(recorded(model)[known:], toy.returns[true:], rtol=1e-12)
    # a new training starts a new episode
    known, true = len(recorded(model)), len(toy.returns)
    model.learn(40)
    np.testing.assert_allclose(recorded(model)[known:], toy.returns[true:], rtol=1e-12)
    assert finite(model)


@ALGORITHMS
def test_set_env(algorithm: type[BaseAlgorithm]) -> None:
    model = algorithm("MlpPolicy", ToyEnv(lengths=[3]), **small(algorithm, objective="cvar:0.5", k=2, group_size=500))
    model.learn(8)
    known, toy = len(recorded(model)), ToyEnv(lengths=[5])
    model.set_env(toy)
    model.learn(24, reset_num_timesteps=False)
    np.testing.assert_allclose(recorded(model)[known:], toy.returns, rtol=1e-12)
    # and wrapped anew, with a normalisation that the first one lacked
    known, toy = len(recorded(model)), ToyEnv(lengths=[4])
    model.set_env(VecNormalize(DummyVecEnv([lambda: toy])))
    model.learn(24, reset_num_timesteps=False)
    np.testing.assert_allclose(recorded(model)[known:], toy.returns, rtol=1e-12)
    with pytest.raises(AssertionError):
        model.set_env(make_vec_env(ToyEnv, n_envs=2))


@ALGORITHMS
def test_parameters_changed_between_trainings(algorithm: type[BaseAlgorithm]) -> None:
    """What is set after construction counts from the next training on."""
    toy = ToyEnv(lengths=[5, 7], info=lambda episode: {"task": episode % 2, "level": episode % 3})
    model: Any = algorithm("MlpPolicy", toy, **small(algorithm, **RANKED, credit="dense")).learn(80)
    known = recorded(model)
    assert len(known) == 4 and model._ongoing.history.size == 0
    model.objective, model.k, model.group_size, model.credit = "max", 3, 500, "projected"
    # goes on in mid-episode: what that episode has collected before each of its steps is not known
    assert model._ongoing.steps[0] > 0
    log = RolloutLog()
    model.learn(80, callback=log, reset_num_timesteps=False)
    assert recorded(model)[:4] == known and len(recorded(model)) > 15
    entry = log.log[-1]
    returns = np.array(recorded(model))
    assert entry["rollout/objective"] == pytest.approx(LStatistic(len(returns), 3, "max").value(returns))
    assert model._remaining_returns[""].counts[0] > model._remaining_returns[""].counts[6] > 0.0
    for group_by, keys in (("task", "01"), ("level", "012")):
        model.group_by = group_by
        model.learn(80, reset_num_timesteps=False)
        assert sorted(model._episode_memory.recent) == list(keys)
    model.group_by, model.credit = None, "terminal"
    model.learn(80, reset_num_timesteps=False)
    assert list(model._episode_memory.recent) == [""] and model._ongoing.history.size == 0
    assert finite(model)


def test_history_is_kept_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the projected credit alone, and of the first steps of an episode alone."""
    monkeypatch.setattr("sb3_ordergrad.common.episodes.MAX_HISTORY", 128)
    for settings, length in (
        ({"credit": "dense"}, 0),
        ({"credit": "terminal"}, 0),
        ({"objective": "mean"}, 0),
        ({}, 128),
    ):
        model: Any = OrderPPO("MlpPolicy", ToyEnv(lengths=[300]), **small(OrderPPO, **RANKED | settings, n_steps=104))
        model.learn(1200)
        assert model._ongoing.history.shape == (1, length)
        assert [len(remaining.counts) for remaining in model._remaining_returns.values()] == [length] * (length > 0)


@WITH_REPPO
def test_callbacks(algorithm: type[BaseAlgorithm], tmp_path: Path) -> None:
    env = make_vec_env(ToyEnv, n_envs=2, seed=0)
    evaluation = EvalCallback(make_vec_env(ToyEnv, n_envs=1, seed=1), n_eval_episodes=3, eval_freq=8, verbose=0,
                              log_path=str(tmp_path / "eval"), best_model_save_path=str(tmp_path / "best"))  # fmt: skip
    checkpoint = CheckpointCallback(save_freq=8, save_path=str(tmp_path / "checkpoints"))
    log = RolloutLog()
    calls: list[int] = []
    model = algorithm("MlpPolicy", env, **small(algorithm, **ranked(algorithm)))

    def count(local: dict[str, Any], _: dict[str, Any]) -> bool:
        calls.append(local["self"].num_timesteps)
        return True

    # SB3, and so RePPO, takes functions only outside of a list
    model.learn(48, callback=[evaluation, checkpoint, log, ConvertCallback(count) if algorithm is RePPO else count])
    assert calls == list(range(2, 49, 2)) and len(log.rewards) == 3
    assert len(np.load(tmp_path / "eval/evaluations.npz")["results"]) == 3
    assert len(list((tmp_path / "checkpoints").glob("*.zip"))) == 3
    for path in (tmp_path / "best/best_model.zip", tmp_path / "checkpoints/rl_model_48_steps.zip"):
        assert finite(algorithm.load(path, env=env, device="cpu").learn(16))
    for callback in (
        CallbackList([RolloutLog(), StopAt(4)]),
        StopAt(4),
        lambda local, _: local["self"].num_timesteps < 4,
        [],
        None,
    ):
        model.learn(16, callback=callback)
        assert model.num_timesteps == (16 if not callback else 4)
    assert np.isfinite(evaluate_policy(model, env, n_eval_episodes=4)[0])


@ALGORITHMS
def test_callback_sees_what_is_trained_on(algorithm: type[BaseAlgorithm]) -> None:
    log = RolloutLog()
    model: Any = algorithm("MlpPolicy", ToyEnv(), **small(algorithm, **RANKED)).learn(40, callback=log)
    # SB3 leaves the last rollout in its buffer, PPO's flattened
    np.testing.assert_array_equal(model.rollout_buffer.rewards.ravel(), log.rewards[-1].ravel())
    np.testing.assert_array_equal(model.rollout_buffer.returns.ravel(), log.returns[-1].ravel())


@WITH_REPPO
def test_progress_bar(algorithm: type[BaseAlgorithm]) -> None:
    log = RolloutLog()
    with warnings.catch_warnings():
        # tqdm calls its own bar experimental
        warnings.simplefilter("ignore")
        model = algorithm("MlpPolicy", ToyEnv(), **small(algorithm, **ranked(algorithm))).learn(
            16, callback=log, progress_bar=True
        )
    assert model.num_timesteps == 16 and len(log.rewards) == 2


@pytest.mark.parametrize("normalize", [False, True])
@ALGORITHMS
def test_same_seed_same_bits(algorithm: type[BaseAlgorithm], normalize: bool) -> None:
    models = []
    for seed in (4, 4, 5):
        env: VecEnv = make_vec_env(ToyEnv, n_envs=2, env_kwargs={"action_space": ACTIONS["box"], "lengths": [3, 7]})
        env = VecNormalize(env) if normalize else env
        models.append(algorithm("MlpPolicy", env, **small(algorithm, **RANKED, seed=seed)).learn(80))
    assert_same_parameters(models[0], models[1])
    with pytest.raises(AssertionError):
        assert_same_parameters(models[0], models[2])


@WITH_REPPO
def test_no_random_draws_of_our_own(algorithm: type[BaseAlgorithm]) -> None:
    """A rollout ends with the same state of the generators as the parent's."""
    states = []
    for objective in ("mean", "cvar:0.5"):
        model = algorithm(
            "MlpPolicy",
            ToyEnv(),
            **parent_defaults(algorithm) | small(algorithm, **ranked(algorithm) | {"objective": objective})
        )
        model.learn(8, callback=RolloutLog())
        states.append((th.get_rng_state().numpy(), np.random.get_state()[1]))
    for first, second in zip(*states, strict=True):
        np.testing.assert_array_equal(first, second)


@WITH_REPPO
def test_policy_kwargs_stay_the_callers(algorithm: type[BaseAlgorithm]) -> None:
    policy_kwargs: dict[str, Any] = {"net_arch": {"pi": [8], "vf": [4]}}
    model = algorithm("MlpPolicy", ToyEnv(), **small(algorithm, policy_kwargs=policy_kwargs, **ranked(algorithm))).learn(16)
    # A2C adds its optimizer there, as in SB3
    own = {key: value for key, value in policy_kwargs.items() if not key.startswith("optimizer")}
    assert own == {"net_arch": {"pi": [8], "vf": [4]}}
    if algorithm is not OrderA2C:
        assert policy_kwargs == own
    assert finite(model)


@WITH_REPPO
def test_defaults_leave_nothing_behind(
    algorithm: type[BaseAlgorithm], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Construction, training, saving and loading with defaults: no warning (this module's mark), no file but the saved one."""
    monkeypatch.chdir(tmp_path)
    model = algorithm("MlpPolicy", gym.make("CartPole-v1"), device="cpu").learn(64)
    assert list(tmp_path.iterdir()) == []
    model.save("model")
    loaded = algorithm.load("model", device="cpu")
    loaded.set_env(gym.make("CartPole-v1"))
    loaded.learn(5)
    assert [path.name for path in tmp_path.iterdir()] == ["model.zip"]
