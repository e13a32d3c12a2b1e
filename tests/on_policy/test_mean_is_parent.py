"""With the mean, OrderPPO is PPO and OrderA2C is A2C, bit for bit, with every credit except the terminal one."""

import inspect
from typing import Any

import gymnasium as gym
import pytest
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from toy_envs import RolloutLog, ToyEnv, assert_same_parameters, parameters_of, parent_defaults, parent_of, small

from sb3_ordergrad import OrderA2C, OrderPPO

ALGORITHMS = [OrderPPO, OrderA2C]


def environments(env_id: str, time_limit: int, normalize: bool) -> VecEnv:
    env = make_vec_env(env_id, n_envs=3, seed=1, env_kwargs={"max_episode_steps": time_limit})
    return VecNormalize(env) if normalize else env


def train_pair(
    algorithm: type[BaseAlgorithm], env_id: str, time_limit: int, normalize: bool, **kwargs: Any
) -> tuple[BaseAlgorithm, BaseAlgorithm, RolloutLog]:
    settings = parent_defaults(algorithm) | small(parent_of(algorithm), n_steps=32 if algorithm is OrderPPO else 5)
    steps = 3 * 32 * 8
    parent = parent_of(algorithm)("MlpPolicy", environments(env_id, time_limit, normalize), **settings)
    start = parameters_of(parent)
    parent.learn(steps)
    order = algorithm("MlpPolicy", environments(env_id, time_limit, normalize), **settings, objective="mean", **kwargs)
    log = RolloutLog()
    order.learn(steps, callback=log)
    assert any((value != start[name]).any() for name, value in parameters_of(order).items())
    return parent, order, log


# 200 steps are Pendulum's own limit; those of 30 and less end most episodes
@pytest.mark.parametrize(
    ("env_id", "time_limit"), [("CartPole-v1", 12), ("CartPole-v1", 500), ("Pendulum-v1", 30), ("Pendulum-v1", 200)]
)
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_parameters_have_the_same_bits(algorithm: type[BaseAlgorithm], normalize: bool, env_id: str, time_limit: int) -> None:
    parent, order, log = train_pair(algorithm, env_id, time_limit, normalize, credit="dense")
    assert_same_parameters(parent, order)
    for expected, actual in zip(parent.policy.optimizer.state.values(), order.policy.optimizer.state.values(), strict=True):
        assert all(th.equal(th.as_tensor(value), th.as_tensor(actual[name])) for name, value in expected.items())
    limits_reached = sum(info.get("TimeLimit.truncated", False) for info in log.infos)
    assert limits_reached > 0 or time_limit == 500


@pytest.mark.parametrize(
    "kwargs",
    [{"k": 1, "group_size": 2}, {"anneal": 0.5}, {"value_scale": 0.1}, {"objective_text": "cvar:1"}, {"credit": "projected"}],
)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_other_parameters_do_not_matter(algorithm: type[BaseAlgorithm], kwargs: dict[str, Any]) -> None:
    kwargs = dict(kwargs)
    text = kwargs.pop("objective_text", "mean")
    settings = parent_defaults(algorithm) | small(parent_of(algorithm))
    models = []
    for cls, extra in ((parent_of(algorithm), {}), (algorithm, {"objective": text, "credit": "dense", **kwargs})):
        model = cls("MlpPolicy", environments("CartPole-v1", 12, True), **settings, **extra)
        models.append(model.learn(240))
    assert_same_parameters(*models)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_another_objective_gives_other_parameters(algorithm: type[BaseAlgorithm]) -> None:
    settings = parent_defaults(algorithm) | small(parent_of(algorithm), k=2, group_size=4, credit="dense")
    models = []
    for objective in ("mean", "cvar:0.5"):
        model = algorithm("MlpPolicy", make_vec_env(ToyEnv, n_envs=2, seed=0), **settings, objective=objective)
        models.append(model.learn(160))
    with pytest.raises(AssertionError):
        assert_same_parameters(*models)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_continued_and_reloaded(algorithm: type[BaseAlgorithm], tmp_path: Any) -> None:
    settings = parent_defaults(algorithm) | small(parent_of(algorithm))
    models = []
    for cls, extra in ((parent_of(algorithm), {}), (algorithm, {"objective": "mean", "credit": "dense"})):
        model = cls("MlpPolicy", gym.make("Pendulum-v1", max_episode_steps=10), **settings, **extra)
        model.learn(44).learn(40, reset_num_timesteps=False)
        model.save(tmp_path / "model.zip")
        loaded = cls.load(tmp_path / "model.zip", env=gym.make("Pendulum-v1", max_episode_steps=10), device="cpu")
        loaded.set_random_seed(3)
        models.append(loaded.learn(80))
    assert_same_parameters(*models)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_parameters_of_the_parent(algorithm: type[BaseAlgorithm]) -> None:
    """The parent's parameters come first, in its order, with its defaults; gamma and PPO's lambda depend on ours."""
    parents, ours = (list(inspect.signature(cls.__init__).parameters.values()) for cls in (parent_of(algorithm), algorithm))
    own = [parameter.name for parameter in ours if parameter.name not in {one.name for one in parents}]
    expected = "objective k group_size credit anneal anneal_from group_by value_scale smooth_rare_losses"
    assert own == expected.split()
    shared = {parameter.name: parameter.default for parameter in ours if parameter.name not in own}
    assert list(shared) == [parameter.name for parameter in parents]
    changed = {"gamma": None} | ({"gae_lambda": None} if algorithm is OrderPPO else {})
    assert shared == {parameter.name: parameter.default for parameter in parents} | changed
    # the remaining ones follow, ahead of SB3's private last one
    assert [parameter.name for parameter in ours][-len(own) - 1 :] == [*own, "_init_setup_model"]
    assert (
        inspect.signature(algorithm.learn).parameters.keys() == inspect.signature(parent_of(algorithm).learn).parameters.keys()
    )
