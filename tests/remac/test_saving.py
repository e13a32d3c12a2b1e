"""Save, load and continue ReMAC."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.utils import LinearSchedule
from toy_envs import SMALL_NET, ToyEnv, assert_same_parameters, parameters_of

from sb3_ordergrad import ReMAC

pytestmark = pytest.mark.filterwarnings("error")


def make_env(n_envs: int = 1) -> Any:
    env_kwargs = {"action_space": spaces.Box(-2.0, 2.0, (2,)), "lengths": [7, 5]}
    return make_vec_env(ToyEnv, n_envs=n_envs, seed=0, env_kwargs=env_kwargs)


def make_model(env: Any = None, **kwargs: Any) -> Any:
    settings: dict[str, Any] = {"buffer_size": 300, "batch_size": 16, "learning_starts": 20, "seed": 0, "device": "cpu"}
    return ReMAC("MlpPolicy", env or make_env(), **settings | {"policy_kwargs": dict(SMALL_NET), "tau": 0.1} | kwargs)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"n_steps": 3},
        {"ent_coef": "auto", "actor_adam_eps": 1e-2},
        {"ent_coef": 0.1, "use_sde": True, "k": LinearSchedule(8.0, 2.0, 1.0)},
        {"n_action_samples": 1, "k": 1, "gradient_steps": 2},
    ],
    ids=["n-step", "tuned entropy", "gSDE, schedule", "one sample"],
)
def test_continued_in_mid_episode(kwargs: dict[str, Any], tmp_path: Path) -> None:
    """A model that is saved in mid-episode, with its replay buffer, continues as if it had not been interrupted."""
    env = make_env()
    uninterrupted, model = make_model(**kwargs).learn(64), make_model(env, **kwargs).learn(64)
    assert 0 < env.envs[0].unwrapped.n_steps < 7
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "buffer")
    loaded: Any = ReMAC.load(tmp_path / "model", env=env, device="cpu", force_reset=False)
    loaded.load_replay_buffer(tmp_path / "buffer")
    for each in (uninterrupted, loaded):
        # The file holds no state of the random generators
        each.set_random_seed(1)
        each.learn(60, reset_num_timesteps=False)
    assert loaded._n_updates == uninterrupted._n_updates
    assert_same_parameters(uninterrupted, loaded)
    if kwargs.get("ent_coef") == "auto":
        assert loaded.log_ent_coef.item() == uninterrupted.log_ent_coef.item() != 0.0


def test_parameters_are_kept(tmp_path: Path) -> None:
    settings = {"objective": "top:2", "k": 3, "n_action_samples": 5, "actor_adam_eps": 0.1, "ent_coef": 0.2}
    make_model(make_env(2), **settings).learn(30).save(tmp_path / "model")
    loaded: Any = ReMAC.load(tmp_path / "model", env=make_env(3), device="cpu").learn(90)
    assert {name: getattr(loaded, name) for name in settings} == settings and loaded.n_envs == 3
    changed = ReMAC.load(tmp_path / "model", env=make_env(2), device="cpu", objective="median", k=5).learn(30)
    assert changed.logger.name_to_value["train/k"] == 5
    with pytest.raises(ValueError, match="k=9"):
        ReMAC.load(tmp_path / "model", env=make_env(2), device="cpu", k=9)


def epsilons(model: Any) -> tuple[float, float]:
    """Of the optimizers of actor and critics."""
    return model.actor.optimizer.param_groups[0]["eps"], model.critic.optimizer.param_groups[0]["eps"]


def test_actor_adam_eps(tmp_path: Path) -> None:
    policy_kwargs: dict[str, Any] = {"net_arch": [8], "optimizer_kwargs": {"eps": 1e-5}}
    model = make_model(actor_adam_eps=0.1, policy_kwargs=policy_kwargs).learn(30)
    assert policy_kwargs == {"net_arch": [8], "optimizer_kwargs": {"eps": 1e-5}}
    model.save(tmp_path / "model")
    for changed, expected in (({}, 0.1), ({"actor_adam_eps": 1.0}, 1.0), ({"actor_adam_eps": None}, 1e-5)):
        loaded = ReMAC.load(tmp_path / "model", env=make_env(), device="cpu", **changed).learn(30)
        assert epsilons(loaded) == (expected, 1e-5)


def test_parameters_of_sac() -> None:
    """They fit, both ways."""
    model, sac = make_model(), SAC("MlpPolicy", make_env(), ent_coef=0.0, policy_kwargs=dict(SMALL_NET), seed=1, device="cpu")
    sac.set_parameters(model.learn(30).get_parameters())
    assert_same_parameters(model, sac)
    model.set_parameters(sac.learn(130).get_parameters())
    assert all(np.isfinite(value).all() for value in parameters_of(model.learn(30)).values())


def test_size_of_the_zip(tmp_path: Path) -> None:
    sizes = []
    for algorithm in (SAC, ReMAC):
        algorithm("MlpPolicy", make_env(), device="cpu", buffer_size=300).learn(110).save(tmp_path / "model")
        sizes.append((tmp_path / "model.zip").stat().st_size)
    assert sizes[1] <= 1.2 * sizes[0], sizes
