"""Hyperparameters in RL Zoo's format, read without RL Zoo."""

import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch as th
import yaml
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecNormalize

from sb3_ordergrad import OrderA2C, OrderPPO
from sb3_ordergrad.compare import settings
from sb3_ordergrad.envs import ReturnToDate

RETURN_TO_DATE = settings.RETURN_TO_DATE


def test_entry_of_the_environment_or_default(tmp_path: Path) -> None:
    (tmp_path / "orderppo.yml").write_text("default:\n  n_envs: 2\nPendulum-v1:\n  n_envs: 8\n  n_timesteps: !!float 1e5\n")
    assert settings.load_settings("orderppo", "Pendulum-v1", tmp_path) == {"n_envs": 8, "n_timesteps": 1e5}
    assert settings.load_settings("orderppo", "CartPole-v1", tmp_path) == {"n_envs": 2}
    # gymnasium imports the package, then makes the environment after the colon
    assert settings.load_settings("orderppo", "package:Pendulum-v1", tmp_path)["n_envs"] == 8


def test_missing_file_and_entry(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--conf-dir"):
        settings.load_settings("orderppo", "Pendulum-v1", tmp_path)
    (tmp_path / "orderppo.yml").write_text("Pendulum-v1:\n  n_envs: 8\n")
    with pytest.raises(ValueError, match="no entry for 'CartPole-v1' and no entry 'default'"):
        settings.load_settings("orderppo", "CartPole-v1", tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "default: [",
        "default: {a: b: c}",
        "- 1",
        "text",
        "default: [1, 2]",
        "default: text",
        "default: {since: 2020-13-45}",
        "default: {ids: !!set {1, 2}}",
        "default: {gamma: !!python/object/apply:os.getcwd []}",
        "default: &a {b: *a}",
        "[" * 5000,
        "default: {n_timesteps: -5}",
        "default: {n_timesteps: 0}",
        "default: {n_timesteps: .nan}",
        "default: {n_timesteps: .inf}",
        "default: {n_timesteps: many}",
        "default: {n_timesteps: [1]}",
        "default: {n_timesteps: null}",
        "\xff",
    ],
)
def test_bad_file_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "orderppo.yml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=re.escape(str(path))):
        settings.load_settings("orderppo", "Pendulum-v1", tmp_path)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("since: 2020-01-01", "entry 'default': since: Object of type date is not JSON serializable"),
        ("7: 8", "entry 'default': 7: the name is of type int"),
    ],
)
def test_a_setting_without_a_form_in_json_is_named(entry: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "orderppo.yml").write_text(f"default:\n  n_envs: 2\n  {entry}\n")
    with pytest.raises(ValueError, match=message):
        settings.load_settings("orderppo", "Pendulum-v1", tmp_path)


def test_a_param_is_a_literal_or_a_string() -> None:
    items = ["credit:terminal", "gamma:1.0", "anneal_from:'cvar:0.6'", "group_by:None", "learning_rate:lin_3e-4"]
    assert dict(map(settings.parse_param, items)) == {
        "credit": "terminal",
        "gamma": 1.0,
        "anneal_from": "cvar:0.6",
        "group_by": None,
        "learning_rate": "lin_3e-4",
    }
    assert settings.parse_param("anneal_from:cvar:0.6") == ("anneal_from", "cvar:0.6")


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("gamma", "write key:value"),
        ("gamma:", "write key:value"),
        ("objective:max", "--objectives"),
        ("seed:3", "--seeds"),
        ("gamma:{0.9, 0.8}", "gamma: Object of type set is not JSON serializable"),
        ("gamma:1j", "gamma: Object of type complex is not JSON serializable"),
    ],
)
def test_bad_param(item: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings.parse_param(item)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (None, []),
        ("a.B", [("a.B", {})]),
        ({"a.B": {"scale": 2}}, [("a.B", {"scale": 2})]),
        (["a.B", {"c.D": {"scale": 2}}, {"e.F": None}], [("a.B", {}), ("c.D", {"scale": 2}), ("e.F", {})]),
    ],
)
def test_wrapper_forms(entry: Any, expected: list[tuple[str, dict[str, Any]]]) -> None:
    assert settings.wrapper_list(entry) == expected


def test_return_to_date_override() -> None:
    other = {"a.B": {"scale": 2}}
    with_it = {"env_wrapper": [other, {RETURN_TO_DATE: {"scale": 0.1}}], "n_envs": 2}
    without = {"env_wrapper": other}
    assert settings.override_return_to_date(with_it, "config") == with_it
    # Present already: its own keywords are kept
    assert settings.override_return_to_date(with_it, "yes") == with_it
    assert settings.override_return_to_date(with_it, "no") == {"env_wrapper": [other], "n_envs": 2}
    assert settings.override_return_to_date(without, "yes") == {"env_wrapper": [other, {RETURN_TO_DATE: {}}]}
    assert settings.override_return_to_date({}, "no") == {}
    # another spelling of the same environment
    text = {"env_wrapper": RETURN_TO_DATE}
    assert settings.override_return_to_date(text, "config") == settings.override_return_to_date({}, "yes")


def test_normalize_forms() -> None:
    assert settings.normalize_kwargs({}) is None
    assert settings.normalize_kwargs({"normalize": False}) is None
    assert settings.normalize_kwargs({"normalize": True, "gamma": 0.9}) == {"gamma": 0.9}
    text = "dict(norm_obs=True, norm_reward=False)"
    assert settings.normalize_kwargs({"normalize": text}) == {"norm_obs": True, "norm_reward": False}
    assert settings.normalize_kwargs({"normalize": {}}) == settings.normalize_kwargs({"normalize": "True"}) == {}


def test_constructor_kwargs() -> None:
    kwargs = settings.constructor_kwargs(
        {
            "n_envs": 2,
            "policy": "MlpPolicy",
            "env_wrapper": "a.B",
            "learning_rate": "lin_3e-4",
            "clip_range": "0.1",
            "policy_kwargs": "dict(net_arch=[64], activation_fn=nn.ReLU)",
        }
    )
    assert isinstance(kwargs["learning_rate"], LinearSchedule)
    assert kwargs["learning_rate"](1.0) == 3e-4 and kwargs["learning_rate"](0.0) == 0.0
    assert kwargs["clip_range"] == 0.1
    assert kwargs["policy_kwargs"] == {"net_arch": [64], "activation_fn": th.nn.ReLU}
    assert len(kwargs) == 3
    # SB3 wants a tuple, YAML has none
    assert settings.constructor_kwargs({"train_freq": [1, "episode"]}) == {"train_freq": (1, "episode")}


@pytest.mark.parametrize("text", ["linear_3e-4", "lin_", "fast", "lin_nan", "inf"])
def test_bad_schedule(text: str) -> None:
    with pytest.raises(ValueError, match=f"learning_rate = '{text}' must be a number or lin_"):
        settings.constructor_kwargs({"learning_rate": text})


@pytest.mark.parametrize("algo_class", [OrderPPO, OrderA2C])
def test_own_and_inherited_parameters_are_known(algo_class: type) -> None:
    names = settings.constructor_parameters(algo_class)
    assert {"objective", "k", "group_size", "credit", "anneal", "gamma", "gae_lambda", "learning_rate"} <= set(names)
    settings.check_settings({"k": 4, "gamma": 0.9, "n_envs": 1, "frame_stack": None}, algo_class)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"gama": 1.0}, "Unknown hyperparameter 'gama' for OrderPPO: did you mean 'gamma'"),
        ({"frame_stack": 4}, "'frame_stack' = 4 is not supported"),
        ({"replay_buffer_class": "HerReplayBuffer"}, "'replay_buffer_class' = 'HerReplayBuffer' is not supported"),
        ({"n_envs": 0}, "n_envs = 0 must be a whole number >= 1"),
        ({"n_envs": True}, "n_envs = True must be"),
        ({"n_envs": "two"}, "n_envs = 'two' must be"),
        ({"policy": 3}, "policy = 3 must be the name of a policy"),
        ({"normalize": 3}, "normalize = 3 must be a mapping"),
        ({"normalize": "3"}, "normalize = 3 must be a mapping"),
        ({"env_kwargs": [1]}, "env_kwargs = .1. must be a mapping"),
        ({"policy_kwargs": "net_arch"}, "Cannot read 'net_arch'"),
        ({"policy_kwargs": "[64]"}, "policy_kwargs = '.64.' must be a mapping"),
        ({"policy_kwargs": {1: 2}}, "policy_kwargs = .1: 2. must be a mapping"),
        ({"env_wrapper": 3}, "env_wrapper = 3"),
        ({"env_wrapper": {RETURN_TO_DATE: 3}}, "ReturnToDate = 3 must be a mapping"),
        ({"env_wrapper": "sb3_ordergrad.envs.Nothing"}, "Cannot import 'sb3_ordergrad.envs.Nothing'"),
        ({"env_wrapper": "Nothing"}, "Cannot import 'Nothing'"),
        ({"learning_rate": "fast"}, "learning_rate = 'fast' must be a number"),
    ],
)
def test_bad_settings(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings.check_settings(entry, OrderPPO)


def test_environment_is_monitored_inside_the_wrappers() -> None:
    entry = {"env_wrapper": RETURN_TO_DATE, "env_kwargs": {"g": 5.0}}
    env = settings.make_env("Pendulum-v1", entry, n_envs=2, seed=0)
    assert env.num_envs == 2 and all(env.env_is_wrapped(Monitor))
    assert env.env_is_wrapped(ReturnToDate) == [True, True]
    assert env.observation_space.shape == (5,)
    assert env.get_attr("unwrapped")[0].g == 5.0
    env.close()


def test_model_from_an_entry() -> None:
    entry = {"n_envs": 3, "n_steps": 16, "batch_size": 24, "gamma": 0.9, "normalize": True, "learning_rate": "lin_1e-3"}
    model, normalize = settings.make_model(OrderPPO, "CartPole-v1", entry, seed=4, objective="cvar:0.5")
    assert isinstance(model, OrderPPO) and isinstance(normalize, VecNormalize)
    assert (model.n_envs, model.n_steps, model.gamma, normalize.gamma, model.seed) == (3, 16, 0.9, 0.9, 4)
    assert isinstance(model.observation_space, gym.spaces.Box)


@pytest.mark.parametrize(("order", "plain"), [("orderppo", "ppo"), ("ordera2c", "a2c")])
def test_the_baseline_of_the_mean_has_the_same_tasks(order: str, plain: str) -> None:
    """A task with settings for the order algorithm alone would meet a baseline with SB3's defaults."""
    ours, theirs = (yaml.safe_load((settings.hyperparameter_folder() / f"{algo}.yml").read_text()) for algo in (order, plain))
    assert ours.keys() == theirs.keys()
    for env_id in ours:
        for key in settings.RESERVED:
            # The order algorithms rank raw returns, whatever happens to the rewards
            pair = [
                None if value == "{'norm_obs': False}" else value for value in (ours[env_id].get(key), theirs[env_id].get(key))
            ]
            assert pair[0] == pair[1], (env_id, key)
