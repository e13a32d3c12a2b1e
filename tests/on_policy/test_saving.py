"""Save, load and continue, in every way that SB3 offers."""

import copy
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from toy_envs import RolloutLog, StopAt, ToyEnv, assert_same_parameters, parameters_of, parent_of, ranked, recorded, small

from sb3_ordergrad import OrderA2C, OrderPPO, RePPO
from sb3_ordergrad.common.pseudo_rewards import CREDITS
from sb3_ordergrad.lstatistics import parse_objective

pytestmark = pytest.mark.filterwarnings("error")
ALGORITHMS = pytest.mark.parametrize("algorithm", [OrderPPO, OrderA2C])
WITH_REPPO = pytest.mark.parametrize("algorithm", [OrderPPO, OrderA2C, RePPO])


def trained(algorithm: type[BaseAlgorithm], n_envs: int = 2, **kwargs: Any) -> Any:
    env = make_vec_env(ToyEnv, n_envs=n_envs, seed=0, env_kwargs={"lengths": [3, 5]})
    return algorithm("MlpPolicy", env, **small(algorithm, **ranked(algorithm) | kwargs)).learn(20 * n_envs)


@pytest.mark.parametrize("credit", CREDITS)
@ALGORITHMS
def test_loaded_model_continues_exactly(algorithm: type[BaseAlgorithm], credit: str, tmp_path: Path) -> None:
    """Saved in mid-episode and loaded, the model has the same bits after further training as the one that was not."""
    settings = {"objective": "max", "k": 3, "group_size": 9, "credit": credit, "anneal": 0.5, "value_scale": 2.0}
    settings |= {"anneal_from": "median", "group_by": "task"}
    env = DummyVecEnv([lambda: ToyEnv(lengths=[13, 3, 7], info=lambda episode: {"task": episode % 2})] * 2)
    model: Any = algorithm("MlpPolicy", env, **small(algorithm, **settings)).learn(160)
    assert model._ongoing.steps.min() > 0
    model.save(tmp_path / "model")
    loaded: Any = algorithm.load(tmp_path / "model", env=copy.deepcopy(env), force_reset=False, device="cpu")
    assert_same_parameters(model, loaded)
    assert {name: getattr(loaded, name) for name in settings} == settings
    memory = model._episode_memory.recent
    assert memory == loaded._episode_memory.recent and sorted(memory) == ["0", "1"]
    for one in (model, loaded):
        th.manual_seed(1)
        np.random.seed(1)
        one.learn(160, reset_num_timesteps=False)
    assert_same_parameters(model, loaded)


@pytest.mark.parametrize("n_envs", [1, 2, 3])
@ALGORITHMS
def test_load_with_another_number_of_environments(algorithm: type[BaseAlgorithm], n_envs: int, tmp_path: Path) -> None:
    model = trained(algorithm)
    model.save(tmp_path / "model")
    toys = [ToyEnv(lengths=[3, 5]) for _ in range(n_envs)]
    loaded: Any = algorithm.load(
        tmp_path / "model", env=DummyVecEnv([lambda toy=toy: toy for toy in toys]), device="cpu", group_size=500
    )
    assert loaded.n_envs == n_envs and loaded.rollout_buffer.rewards.shape == (8, n_envs)
    # a larger group keeps the episodes that it has
    known = recorded(model)
    loaded.learn(40 * n_envs)
    assert recorded(loaded)[: len(known)] == known != []
    true = [value for toy in toys for value in toy.returns]
    np.testing.assert_allclose(sorted(recorded(loaded)[len(known) :]), sorted(true), rtol=1e-12)


@WITH_REPPO
def test_load_without_environment(algorithm: type[BaseAlgorithm], tmp_path: Path) -> None:
    model = trained(algorithm)
    model.save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model", device="cpu")
    assert loaded.get_env() is None
    observations = model.get_env().reset()
    np.testing.assert_array_equal(
        loaded.predict(observations, deterministic=True)[0], model.predict(observations, deterministic=True)[0]
    )
    loaded.save(tmp_path / "again")
    assert_same_parameters(model, algorithm.load(tmp_path / "again", device="cpu"))


@ALGORITHMS
def test_custom_objects(algorithm: type[BaseAlgorithm], tmp_path: Path) -> None:
    trained(algorithm).save(tmp_path / "model")
    env = make_vec_env(ToyEnv, n_envs=2)
    custom = {"learning_rate": 0.5, "objective": "max", "credit": "terminal"}
    loaded: Any = algorithm.load(tmp_path / "model", env=env, custom_objects=custom, device="cpu")
    assert {name: getattr(loaded, name) for name in custom} == custom and loaded.lr_schedule(1.0) == 0.5
    log = RolloutLog()
    loaded.learn(48, callback=log)
    assert log.log[-1]["rollout/credited_steps"] < 0.5


@WITH_REPPO
def test_load_after_a_cancelled_rollout(algorithm: type[BaseAlgorithm], tmp_path: Path) -> None:
    model = trained(algorithm)
    model.learn(40, callback=StopAt(14))
    model.save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model", env=make_vec_env(ToyEnv, n_envs=2), device="cpu").learn(40)
    assert all(np.isfinite(value).all() for value in parameters_of(loaded).values())


@WITH_REPPO
def test_objective_as_vector_or_object(algorithm: type[BaseAlgorithm], tmp_path: Path) -> None:
    mixed = 0.5 * parse_objective("min") + 0.5 * parse_objective("mean")
    for objective in ([0.75, 0.25], np.array([0.75, 0.25]), mixed):
        model = trained(algorithm, objective=objective)
        model.save(tmp_path / "model")
        loaded: Any = algorithm.load(tmp_path / "model", env=make_vec_env(ToyEnv, n_envs=2), device="cpu")
        assert parse_objective(loaded.objective) == parse_objective(objective)
        loaded.learn(32)


@WITH_REPPO
def test_to_a_stream_and_with_vec_normalize(algorithm: type[BaseAlgorithm]) -> None:
    env = VecNormalize(make_vec_env(ToyEnv, n_envs=2, seed=0))
    model = algorithm("MlpPolicy", env, **small(algorithm, **ranked(algorithm))).learn(32)
    stream = io.BytesIO()
    model.save(stream)
    stream.seek(0)
    assert_same_parameters(model, algorithm.load(stream, env=env, device="cpu"))


@ALGORITHMS
def test_set_parameters(algorithm: type[BaseAlgorithm]) -> None:
    """The parent's parameters fit, both ways."""
    model = trained(algorithm)
    parent = parent_of(algorithm)("MlpPolicy", ToyEnv(), **small(parent_of(algorithm), seed=1))
    parent.set_parameters(model.get_parameters())
    assert_same_parameters(model, parent)
    model.set_parameters(parent.get_parameters())


@WITH_REPPO
def test_size_of_the_zip(algorithm: type[BaseAlgorithm], tmp_path: Path) -> None:
    """With defaults, a long episode behind each of eight environments and a full group."""
    sizes = []
    for cls in (parent_of(algorithm), algorithm):
        env = make_vec_env(ToyEnv, n_envs=8, env_kwargs={"lengths": [*[2] * 20, 1000]})
        settings: dict[str, Any] = (
            {"n_steps": 1100, "batch_size": 8800, "n_epochs": 1} if "PPO" in cls.__name__ else {"n_steps": 550}
        )
        model = cls("MlpPolicy", env, device="cpu", **settings).learn(8 * 1100)
        model.save(tmp_path / "model")
        sizes.append((tmp_path / "model.zip").stat().st_size)
    # beside networks and groups, the steps that the model of rare losses remembers
    assert sizes[1] <= 1.2 * sizes[0] + 2e6, sizes
