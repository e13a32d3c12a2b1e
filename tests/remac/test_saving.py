"""Save, load and continue ReMAC."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.utils import LinearSchedule
from toy_envs import SMALL_NET, ToyEnv, assert_same_parameters, parameters_of

from sb3_ordergrad import ReMAC

pytestmark = pytest.mark.filterwarnings("error")
BOX = {"action_space": spaces.Box(-2.0, 2.0, (2,)), "lengths": [7, 5]}


def make_env(n_envs: int = 1) -> Any:
    return make_vec_env(ToyEnv, n_envs=n_envs, seed=0, env_kwargs=BOX)


def make_model(env: Any = None, **kwargs: Any) -> Any:
    settings: dict[str, Any] = {"buffer_size": 300, "batch_size": 16, "learning_starts": 20, "seed": 0, "device": "cpu"}
    return ReMAC("MlpPolicy", env or make_env(), **settings | {"policy_kwargs": dict(SMALL_NET), "tau": 0.1} | kwargs)


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"ent_coef": "auto", "actor_adam_eps": 1e-2},
        {"ent_coef": 0.1, "use_sde": True, "k": LinearSchedule(8.0, 2.0, 1.0)},
        {"n_action_samples": 1, "k": 1, "gradient_steps": 2},
    ],
    ids=["default", "tuned entropy", "gSDE, schedule", "one sample"],
)
def test_continued_training_is_the_uninterrupted_one(kwargs: dict[str, Any], tmp_path: Path) -> None:
    uninterrupted = make_model(**kwargs).learn(60).learn(60, reset_num_timesteps=False)
    env = make_env()
    model = make_model(env, **kwargs).learn(60)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "buffer")
    states = random.getstate(), np.random.get_state(), th.get_rng_state()
    loaded: Any = ReMAC.load(tmp_path / "model", env=env, device="cpu", force_reset=False)
    loaded.load_replay_buffer(tmp_path / "buffer")
    # Loading builds a model, which draws; the file holds no state of the generators
    random.setstate(states[0])
    np.random.set_state(states[1])
    th.set_rng_state(states[2])
    loaded.learn(60, reset_num_timesteps=False)
    assert loaded._n_updates == uninterrupted._n_updates
    assert_same_parameters(uninterrupted, loaded)
    if kwargs.get("ent_coef") == "auto":
        assert loaded.log_ent_coef.item() == uninterrupted.log_ent_coef.item() != 0.0


def test_parameters_are_kept(tmp_path: Path) -> None:
    settings = {"objective": "top:2", "k": 3, "n_action_samples": 5, "actor_adam_eps": 0.1, "ent_coef": 0.2}
    make_model(**settings).learn(30).save(tmp_path / "model")
    loaded: Any = ReMAC.load(tmp_path / "model", device="cpu")
    assert {name: getattr(loaded, name) for name in settings} == settings
    schedule = LinearSchedule(4.0, 1.0, 0.5)
    make_model(k=schedule).learn(30).save(tmp_path / "model")
    loaded = ReMAC.load(tmp_path / "model", device="cpu")
    assert [loaded.k(progress) for progress in (1.0, 0.75, 0.0)] == [4.0, 2.5, 1.0]


def epsilons(model: Any) -> tuple[float, float]:
    """Of the actor's and of the critic's optimizer, as they are after an update."""
    return model.actor.optimizer.param_groups[0]["eps"], model.critic.optimizer.param_groups[0]["eps"]


def test_actor_adam_eps(tmp_path: Path) -> None:
    policy_kwargs: dict[str, Any] = {"net_arch": [8], "optimizer_kwargs": {"eps": 1e-5}}
    kept = {"net_arch": [8], "optimizer_kwargs": {"eps": 1e-5}}
    model = make_model(actor_adam_eps=0.1, policy_kwargs=policy_kwargs).learn(30)
    assert policy_kwargs == kept
    assert epsilons(model) == (0.1, 1e-5)
    model.save(tmp_path / "model")
    assert epsilons(ReMAC.load(tmp_path / "model", env=make_env(), device="cpu").learn(30)) == (0.1, 1e-5)
    for eps, expected in ((1.0, 1.0), (None, 1e-5)):
        changed = ReMAC.load(tmp_path / "model", env=make_env(), device="cpu", actor_adam_eps=eps).learn(30)
        assert epsilons(changed) == (expected, 1e-5)
    # It decides what is learnt
    assert not np.array_equal(
        *[parameters_of(make_model(actor_adam_eps=eps).learn(30))["actor.mu.weight"] for eps in (None, 1.0)]
    )


@pytest.mark.parametrize("n_envs", [1, 3])
def test_load_with_another_number_of_environments(n_envs: int, tmp_path: Path) -> None:
    make_model(make_env(2)).learn(40).save(tmp_path / "model")
    loaded: Any = ReMAC.load(tmp_path / "model", env=make_env(n_envs), device="cpu").learn(30 * n_envs)
    assert loaded.n_envs == loaded.replay_buffer.n_envs == n_envs
    assert all(np.isfinite(value).all() for value in parameters_of(loaded).values())


def test_other_settings_at_loading(tmp_path: Path) -> None:
    make_model().learn(30).save(tmp_path / "model")
    loaded: Any = ReMAC.load(tmp_path / "model", env=make_env(), device="cpu", objective="median", k=5, n_action_samples=6)
    loaded.learn(30)
    assert loaded.logger.name_to_value["train/k"] == 5
    with pytest.raises(ValueError, match="k=9"):
        ReMAC.load(tmp_path / "model", env=make_env(), device="cpu", k=9)


def test_parameters_of_sac() -> None:
    """They fit, both ways."""
    model, sac = make_model(), SAC("MlpPolicy", make_env(), ent_coef=0.0, policy_kwargs=dict(SMALL_NET), seed=1, device="cpu")
    model.learn(30)
    sac.set_parameters(model.get_parameters())
    assert_same_parameters(model, sac)
    model.set_parameters(sac.learn(130).get_parameters())
    model.learn(30)


def test_size_of_the_zip(tmp_path: Path) -> None:
    sizes = []
    for algorithm in (SAC, ReMAC):
        algorithm("MlpPolicy", make_env(), device="cpu", buffer_size=300).learn(110).save(tmp_path / "model")
        sizes.append((tmp_path / "model.zip").stat().st_size)
    assert sizes[1] <= 1.2 * sizes[0], sizes
