"""Bad input raises a ValueError that names the value, the allowed range and the fix, before training starts."""

from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from toy_envs import ToyEnv, small

from sb3_ordergrad import OrderA2C, OrderPPO

ALGORITHMS = pytest.mark.parametrize("algorithm", [OrderPPO, OrderA2C])

BAD = [
    # what is passed, what the message must hold: the value, the range, the fix
    ({"objective": "cvarr:0.2"}, ["'cvarr:0.2'", "cvar:0.2"]),
    ({"objective": "cvar:0"}, ["'cvar:0'", "(0, 1]", "closest valid spelling"]),
    ({"objective": "rank:9", "k": 8}, ["rank:9", "8", "closest valid spelling"]),
    ({"objective": [0.5, np.nan], "k": 2}, ["nan", "finite"]),
    ({"objective": [0.5, 0.5], "k": 3}, ["3", "2"]),
    ({"objective": 0.25}, ["0.25", "vector of floor(k) finite rank weights"]),
    ({"anneal_from": "meen", "anneal": 0.5}, ["'meen'", "mean"]),
    ({"k": 32, "group_size": 32}, ["k=32", "group_size=32", "k <= 31", "group_size >= 33"]),
    # refused before the rank weights exhaust the memory
    ({"k": 10**12}, ["k = 1000000000000", "<= 10000000"]),
    ({"k": float("inf")}, ["k = inf", "<= 10000000"]),
    ({"k": 4, "group_size": 3}, ["k=4", "k <= 2", "group_size >= 5"]),
    ({"k": 15.5, "group_size": 16}, ["k=15.5", "k <= 15", "group_size >= 17"]),
    ({"k": 0}, ["0", ">= 1"]),
    ({"k": float("nan")}, ["nan", ">= 1"]),
    ({"k": "16"}, ["'16'", ">= 1"]),
    ({"group_size": 1, "k": 1}, ["group_size=1", "at least 2"]),
    ({"group_size": 32.5}, ["group_size=32.5", "integer"]),
    ({"group_size": "32"}, ["group_size='32'", "integer"]),
    ({"credit": "sparse"}, ["credit='sparse'", "'dense'", "'terminal'"]),
    ({"credit": None}, ["credit=None", "'dense'", "'terminal'"]),
    ({"anneal": 1.5}, ["anneal=1.5", "between 0", "1"]),
    ({"anneal": -0.1}, ["anneal=-0.1", "between 0", "1"]),
    ({"anneal": float("nan")}, ["anneal=nan", "between 0", "1"]),
    ({"anneal": "0.8"}, ["anneal='0.8'", "between 0", "1"]),
    ({"group_by": 3}, ["group_by=3", "string", "None"]),
    ({"value_scale": 0.0}, ["value_scale=0.0", "positive"]),
    ({"value_scale": float("inf")}, ["value_scale=inf", "positive"]),
    ({"value_scale": "1"}, ["value_scale='1'", "positive"]),
]


@pytest.mark.parametrize(("kwargs", "parts"), BAD, ids=lambda value: str(value)[:40] if isinstance(value, dict) else "")
@ALGORITHMS
def test_bad_parameter(algorithm: type[BaseAlgorithm], kwargs: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(ValueError) as error:
        algorithm("MlpPolicy", ToyEnv(), **small(algorithm, **kwargs))
    assert all(part in str(error.value) for part in parts)
    # and when training starts, if set after construction
    model = algorithm("MlpPolicy", ToyEnv(), **small(algorithm))
    for name, value in kwargs.items():
        setattr(model, name, value)
    with pytest.raises(ValueError) as later:
        model.learn(1)
    assert str(later.value) == str(error.value) and model.num_timesteps == 0


@ALGORITHMS
def test_bad_parameter_at_load(algorithm: type[BaseAlgorithm], tmp_path: Any) -> None:
    algorithm("MlpPolicy", ToyEnv(), **small(algorithm)).save(tmp_path / "model")
    with pytest.raises(ValueError, match="cvarr"):
        algorithm.load(tmp_path / "model", objective="cvarr:0.1")
    with pytest.raises(ValueError, match=r"k=64 .* group_size=32"):
        algorithm.load(tmp_path / "model", k=64, group_size=32)


# VecNormalize takes the variance of what it is given, before we see it
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@ALGORITHMS
def test_reward_that_is_not_finite(algorithm: type[BaseAlgorithm], bad: float, normalize: bool) -> None:
    # also for the mean, where nothing is ranked
    for objective in ("mean", "cvar:0.5"):
        rewards = [1.0, 2.0, 3.0, 4.0, bad, 5.0]
        env: Any = DummyVecEnv([lambda rewards=rewards: ToyEnv(lengths=[100], rewards=rewards)])
        env = VecNormalize(env) if normalize else env
        model = algorithm("MlpPolicy", env, **small(algorithm, objective=objective))
        with pytest.raises(ValueError) as error:
            model.learn(16)
        assert all(part in str(error.value) for part in ("finite", str(bad), "timestep 5", "environment"))


@pytest.mark.parametrize("first", [0, 2])
@ALGORITHMS
def test_missing_group_key(algorithm: type[BaseAlgorithm], first: int) -> None:
    """At the end of the first episode without it, three steps long; the other keys may have any type."""
    env = make_vec_env(ToyEnv, n_envs=2, env_kwargs={"info": lambda episode: {1: 2} if episode >= first else {"task": 0}})
    model = algorithm("MlpPolicy", env, **small(algorithm, group_by="task"))
    with pytest.raises(ValueError) as error:
        model.learn(32)
    assert all(part in str(error.value) for part in ("group_by='task'", "'TimeLimit.truncated'", "group_by=None"))
    assert model.num_timesteps == 2 * 3 * (first + 1)


@pytest.mark.parametrize(
    "kwargs", [{"objective": "mean"}, {"k": 1, "group_size": 2}, {"k": 2.5, "objective": "cvar:0.4"}, {"anneal": 1}]
)
@ALGORITHMS
def test_limits_of_the_ranges_train(algorithm: type[BaseAlgorithm], kwargs: dict[str, Any]) -> None:
    model = algorithm("MlpPolicy", ToyEnv(), **small(algorithm, **kwargs)).learn(24)
    assert all(np.isfinite(value.detach().numpy()).all() for value in model.policy.parameters())


@ALGORITHMS
@pytest.mark.parametrize(
    ("objective", "k", "group_size", "anneal"),
    [
        ("mean", 16, 32, 0.0),
        ("cvar:0.25", 16, 32, None),
        ("0.1*mean + 0.9*cvar:0.05", 80, 160, None),
        ("var:0.95", 80, 160, 0.0),
        ("quantile:0", 16, 32, None),
        ("cvar:0.001", 400, 800, None),
        ("cvar:0.5", 16, 32, None),
        ("max", 16, 32, 0.0),
        ("median", 16, 32, 0.0),
        ("mean - 0.5*gini", 16, 32, 0.0),
        ([1.0, 0.0, 0.0], 3, 6, None),
        ("lower_tail_mean:0.05", 80, 160, None),
        ("range_lower_tail_mean:0:0.05", 80, 160, None),
        ("trimmed_mean:0.05:0.05", 80, 160, 0.0),
        ("top:8", 16, 32, 0.0),
        ("top:32", 64, 128, 0.0),
        ("bottom:20", 40, 80, None),
        ("trimmed:8", 34, 68, 0.0),
    ],
)
def test_defaults_of_an_objective(
    algorithm: type[BaseAlgorithm], objective: Any, k: int, group_size: int, anneal: float | None
) -> None:
    model: Any = algorithm("MlpPolicy", ToyEnv(), objective=objective)
    assert (model.k, model.group_size, model.anneal) == (k, group_size, anneal)
    model.group_size = 12
    assert model.k == min(k, 11)
    model.k, model.group_size = 5.5, None
    assert model.group_size == 12


@ALGORITHMS
@pytest.mark.parametrize(("objective", "group_size"), [("weights:" + ",".join(["0.0625"] * 16), 8), ("gini", 2), ("top:4", 4)])
def test_too_small_a_group_is_named(algorithm: type[BaseAlgorithm], objective: str, group_size: int) -> None:
    with pytest.raises(ValueError, match=rf"k = \d+ follows from group_size={group_size}: use a larger one"):
        algorithm("MlpPolicy", ToyEnv(), objective=objective, group_size=group_size)


@ALGORITHMS
def test_discount_and_lambda_may_change_between_trainings(algorithm: type[BaseAlgorithm]) -> None:
    model: Any = algorithm("MlpPolicy", ToyEnv(), **small(algorithm)).learn(24)
    model.gamma, model.gae_lambda = 0.5, 0.3
    model.learn(24)
    assert (model.rollout_buffer.gamma, model.rollout_buffer.gae_lambda) == (0.5, 0.3)
