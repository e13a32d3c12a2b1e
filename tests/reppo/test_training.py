"""RePPO as an SB3 algorithm beyond what tests/on_policy checks of it: errors, odd episodes, saving, policies."""

import copy
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from toy_envs import RolloutLog, ScaledExtractor, ToyEnv, assert_same_parameters, parameters_of, small

from sb3_ordergrad import RePPO
from sb3_ordergrad.reppo import MlpPolicy

BAD = [
    # what is passed, what the message must hold: the value, the range, the fix
    ({"k": 0}, ["0", "> 0", "k = 1"]),
    ({"k": -1.5}, ["-1.5", "> 0"]),
    ({"k": float("nan")}, ["nan", "> 0"]),
    ({"k": float("inf")}, ["inf", "<="]),
    ({"k": "2"}, ["'2'", "> 0"]),
    ({"k": True}, ["True", ">= 1"]),
    ({"objective": "maxx"}, ["'maxx'", "max"]),
    ({"objective": [0.5, 0.5], "k": 3}, ["3", "2"]),
    ({"objective": "gini", "k": 1.2}, ["gini", "k >= 2"]),
]


@pytest.mark.parametrize(("kwargs", "parts"), BAD, ids=lambda value: str(value) if isinstance(value, dict) else "")
def test_bad_parameter(kwargs: dict[str, Any], parts: list[str], tmp_path: Path) -> None:
    model = RePPO("MlpPolicy", ToyEnv(), **small(RePPO))
    model.save(tmp_path / "model")
    for name, value in kwargs.items():
        setattr(model, name, value)
    for call in (
        lambda: RePPO("MlpPolicy", ToyEnv(), **small(RePPO, **kwargs)),
        lambda: RePPO.load(tmp_path / "model", **kwargs),
        # set after construction
        lambda: model.learn(8),
    ):
        with pytest.raises(ValueError) as error:
            call()
        assert all(part in str(error.value) for part in parts)
    assert model.num_timesteps == 0


@pytest.mark.parametrize(
    "space", [spaces.Box(-1.0, 1.0, (2,)), spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(3)], ids=lambda s: type(s).__name__
)
def test_action_space_must_be_discrete(space: spaces.Space) -> None:
    with pytest.raises(ValueError, match=r"must be Discrete.*OrderPPO"):
        RePPO("MlpPolicy", ToyEnv(action_space=space), **small(RePPO))


def test_policy_must_have_q_values() -> None:
    with pytest.raises(ValueError, match=r"ActorCriticPolicy must be 'MlpPolicy'.*ActorQCriticPolicy"):
        RePPO(ActorCriticPolicy, ToyEnv(), **small(RePPO))


def test_parameters_of_the_parent() -> None:
    """The parent's parameters come first, in its order, with its defaults but for lambda, then ours."""
    parent, ours = ({p.name: p.default for p in inspect.signature(cls.__init__).parameters.values()} for cls in (PPO, RePPO))
    assert list(ours) == [*list(parent)[:-1], "objective", "k", "_init_setup_model"]
    assert {name: ours[name] for name in parent} == parent | {"gae_lambda": 0.8}
    assert inspect.signature(RePPO.learn).parameters.keys() == inspect.signature(PPO.learn).parameters.keys()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("lengths", "truncated"), [([1000], False), ([1], False), ([1], True), ([3], True)])
@pytest.mark.parametrize(("objective", "k"), [("max", 0.5), ("max", 30), ("cvar:0.2", 4)])
def test_odd_episodes_and_equal_rewards(lengths: list[int], truncated: bool, objective: str, k: float) -> None:
    for rewards in (None, [0.0], [-3.0]):
        keywords = {"lengths": lengths, "truncated": truncated, "rewards": rewards}
        env = make_vec_env(ToyEnv, n_envs=2, seed=0, env_kwargs=keywords)
        log = RolloutLog()
        model = RePPO("MlpPolicy", env, **small(RePPO, objective=objective, k=k))
        before = parameters_of(model)
        after = parameters_of(model.learn(48, callback=log))
        assert all(np.isfinite(value).all() for value in after.values())
        assert (before["value_net.weight"] != after["value_net.weight"]).any()
        assert all(np.isfinite(entry["train/q_std"]) for entry in log.log[1:])


@pytest.mark.parametrize("n_actions", [1, 5])
def test_critic_has_one_output_per_action(n_actions: int) -> None:
    env = ToyEnv(action_space=spaces.Discrete(n_actions))
    model = RePPO("MlpPolicy", env, **small(RePPO)).learn(16)
    assert model.policy.value_net.weight.shape == (n_actions, 8)
    # the optimizer trains it, and SB3's own head is gone
    assert sum(p.numel() for group in model.policy.optimizer.param_groups for p in group["params"]) == sum(
        p.numel() for p in model.policy.parameters()
    )


@pytest.mark.parametrize("share", [True, False])
def test_features_extractors(share: bool) -> None:
    """A shared extractor and separate ones are trained, and the values do not depend on the way they are asked for."""
    net = {"net_arch": [8], "features_extractor_class": ScaledExtractor, "share_features_extractor": share}
    model = RePPO("MlpPolicy", ToyEnv(), **small(RePPO, policy_kwargs=net)).learn(32)
    scales = {name: float(value) for name, value in parameters_of(model).items() if name.endswith("scale")}
    assert all(value != 1.0 for value in scales.values())
    assert (scales["pi_features_extractor.scale"] == scales["vf_features_extractor.scale"]) == share
    observations = th.rand(5, 3)
    with th.no_grad():
        _, values, _ = model.policy(observations)
        th.testing.assert_close(values, model.policy.predict_values(observations))


def test_loaded_model_continues_exactly(tmp_path: Path) -> None:
    env = VecNormalize(DummyVecEnv([lambda: ToyEnv(lengths=[3, 7])] * 2))
    model = RePPO("MlpPolicy", env, **small(RePPO, objective="cvar:0.5", k=2.5)).learn(48)
    model.save(tmp_path / "model")
    twin = VecNormalize(copy.deepcopy(env.venv))
    twin.obs_rms, twin.ret_rms, twin.returns = copy.deepcopy((env.obs_rms, env.ret_rms, env.returns))
    loaded = RePPO.load(tmp_path / "model", env=twin, force_reset=False, device="cpu")
    assert (loaded.objective, loaded.k) == ("cvar:0.5", 2.5)
    for one in (model, loaded):
        one.set_random_seed(1)
        one.learn(48, reset_num_timesteps=False)
    assert_same_parameters(model, loaded)
    other = RePPO("MlpPolicy", ToyEnv(), **small(RePPO, seed=1))
    other.set_parameters(model.get_parameters())
    assert_same_parameters(model, other)
    assert np.isfinite(evaluate_policy(loaded, env, n_eval_episodes=4, warn=False)[0])
    model.policy.save(tmp_path / "policy")
    assert isinstance(MlpPolicy.load(tmp_path / "policy"), MlpPolicy)


def test_same_seed_same_bits_and_every_parameter_counts() -> None:
    models = []
    for kwargs in ({}, {}, {"k": 3}, {"objective": "mean"}, {"seed": 1}):
        env = make_vec_env(ToyEnv, n_envs=2, env_kwargs={"lengths": [3, 7]})
        models.append(RePPO("MlpPolicy", env, **small(RePPO, **kwargs)).learn(48))
    assert_same_parameters(models[0], models[1])
    for other in models[2:]:
        with pytest.raises(AssertionError):
            assert_same_parameters(models[0], other)
