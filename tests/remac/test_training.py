"""ReMAC with everything that SAC works with: settings, spaces, buffers, callbacks, saving and continuing."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import SAC, HerReplayBuffer
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn
from toy_envs import SMALL_NET, ToyEnv, assert_continues, assert_same_parameters, assert_trains, parameters_of

from sb3_ordergrad import ReMAC
from sb3_ordergrad.remac import MlpPolicy, MultiInputPolicy
from sb3_ordergrad.remac.samples import sample_actions

pytestmark = pytest.mark.filterwarnings("error")
ACTIONS = spaces.Box(-2.0, 2.0, (2,))
IMAGE = spaces.Box(0, 255, (1, 36, 36), np.uint8)
DICT = spaces.Dict({"vector": spaces.Box(-1.0, 1.0, (3,)), "image": IMAGE})


def make_env(n_envs: int = 1, **kwargs: Any) -> Any:
    return make_vec_env(ToyEnv, n_envs=n_envs, seed=0, env_kwargs={"action_space": ACTIONS, "lengths": [7, 5], **kwargs})


def make_model(env: Any = None, policy: Any = "MlpPolicy", algorithm: type[SAC] = ReMAC, **kwargs: Any) -> Any:
    policy_kwargs = {**SMALL_NET, **kwargs.pop("policy_kwargs", {})}
    settings: dict[str, Any] = {"buffer_size": 200, "batch_size": 8, "learning_starts": 10, "seed": 0, "device": "cpu"}
    return algorithm(policy, env or make_env(), policy_kwargs=policy_kwargs, **settings | kwargs)


def train_seeded(model: Any) -> None:
    np.random.seed(0)
    th.manual_seed(0)
    model.train(1, 8)


class BatchNormExtractor(FlattenExtractor):
    def __init__(self, observation_space: spaces.Space) -> None:
        super().__init__(observation_space)
        self.norm = nn.BatchNorm1d(self.features_dim)

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.norm(super().forward(observations))


@pytest.mark.parametrize(
    "kwargs",
    [
        {"n_steps": 3, "ent_coef": 0.1},
        {"ent_coef": "auto_0.1", "target_entropy": -1.0},
        {"use_sde": True, "use_sde_at_warmup": True, "ent_coef": "auto", "policy_kwargs": {"use_expln": True}},
        {"policy_kwargs": {"n_critics": 3, "share_features_extractor": True}},
        {"policy_kwargs": {"optimizer_class": th.optim.SGD}},
        {"action_noise": NormalActionNoise(np.zeros(2), 0.1 * np.ones(2))},
        {"train_freq": (1, "episode"), "gradient_steps": -1},
        {"optimize_memory_usage": True, "replay_buffer_kwargs": {"handle_timeout_termination": False}},
        {"learning_rate": LinearSchedule(1e-3, 1e-4, 1.0), "actor_adam_eps": 0.1},
        {"objective": "mean - 0.5*gini", "k": 2.5},
    ],
    ids=str,
)
def test_settings(kwargs: dict[str, Any]) -> None:
    assert_trains(make_model(**kwargs), 24)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "space"), [(MlpPolicy, spaces.Box(-1.0, 1.0, (2, 3))), ("CnnPolicy", IMAGE), (MultiInputPolicy, DICT)]
)
def test_observations(policy: Any, space: spaces.Space) -> None:
    assert_trains(make_model(make_env(observation_space=space), policy), timesteps=14)


def test_her() -> None:
    env = BitFlippingEnv(n_bits=3, continuous=True, max_steps=3)
    assert_trains(make_model(env, "MultiInputPolicy", replay_buffer_class=HerReplayBuffer), 24)


def test_several_environments_and_evaluation(tmp_path: Path) -> None:
    model = make_model(make_env(3), k=lambda progress_remaining: 1.0 + 3.0 * progress_remaining)
    callback = EvalCallback(make_env(), eval_freq=5, n_eval_episodes=2, best_model_save_path=str(tmp_path), verbose=0)
    model.learn(31, callback=callback)
    assert model._n_updates > 0 and np.isfinite(callback.best_mean_reward)
    assert ReMAC.load(tmp_path / "best_model", device="cpu").n_envs == 3
    # The last steps of three environments go beyond the end of training
    assert model.num_timesteps == 33 and model.logger.name_to_value["train/k"] == 1.0


def test_vec_normalize() -> None:
    """The networks see normalized observations and rewards."""
    model = make_model(VecNormalize(make_env(2)))
    assert_trains(model, 24)
    seen = []
    model.actor.features_extractor.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    train_seeded(model)
    np.random.seed(0)
    assert th.equal(seen[0], model.replay_buffer.sample(8, env=model.get_vec_normalize_env()).observations)


@pytest.mark.parametrize("use_sde", [False, True])
def test_samples_of_a_state_differ(use_sde: bool) -> None:
    """Also with gSDE, where SB3's actor returns the same action N times; density and distribution are SB3's."""
    model = make_model(use_sde=use_sde, policy_kwargs={"log_std_init": -1.0} if use_sde else {}).learn(20)
    observations = model.replay_buffer.sample(6).observations
    samples = sample_actions(model.actor, observations, 5000)
    assert samples.actions.shape == (5000, 6, 2)
    assert len(samples.actions[:, 0].unique(dim=0)) == 5000
    mean, log_std, kwargs = model.actor.get_action_dist_params(observations)
    distribution = model.actor.action_dist.proba_distribution(mean, log_std, **kwargs)
    draws = th.atanh(samples.actions.double().clamp(-1 + 1e-7, 1 - 1e-7))
    th.testing.assert_close(draws.mean(0), mean.double(), atol=0.15, rtol=0.0)
    th.testing.assert_close(draws.std(0), distribution.distribution.stddev.double(), atol=0.15, rtol=0.0)
    th.testing.assert_close(
        samples.log_prob(model.actor.action_dist.epsilon)[0], distribution.log_prob(samples.actions[0]), rtol=1e-3, atol=1e-3
    )


def test_batch_norm() -> None:
    """The target network gets the running statistics; a copy of the model trains on alike."""
    model = make_model(policy_kwargs={"features_extractor_class": BatchNormExtractor})
    assert_trains(model, 24)
    own, target = (network.features_extractor.norm.running_mean for network in (model.critic, model.critic_target))
    assert th.equal(own, target) and own.abs().max() > 0
    copied = deepcopy(model)
    train_seeded(model)
    train_seeded(copied)
    assert_same_parameters(model, copied)


def test_log() -> None:
    keys = []
    for algorithm, kwargs in ((SAC, {}), (ReMAC, {"ent_coef": "auto", "k": LinearSchedule(8.0, 1.0, 1.0)})):
        # 11 updates: the policy's state is recorded in every 10th from the first on
        model = make_model(algorithm=algorithm, **kwargs).learn(21)
        log = model.logger.name_to_value
        keys.append({key for key in log if key.startswith("train/")})
    assert keys[1] == keys[0] | {f"train/{name}" for name in ("entropy", "action_std", "actor_grad_norm", "q_spread", "k")}
    assert all(np.isfinite(log[key]) for key in keys[1]) and 1.0 <= log["train/k"] < 2.0
    norm = th.cat([parameter.grad.flatten() for parameter in model.actor.parameters()]).norm().item()
    assert log["train/actor_grad_norm"] == pytest.approx(norm)


def test_no_gradient_steps() -> None:
    """As SAC, but without its warnings about means of nothing."""
    model = make_model().learn(20)
    model.set_logger(Logger(None, []))
    before, n_updates = parameters_of(model), model._n_updates
    model.train(0)
    assert model._n_updates == model.logger.name_to_value["train/n_updates"] == n_updates
    assert all(np.isfinite(value) for value in model.logger.name_to_value.values())
    assert all(np.array_equal(value, before[name]) for name, value in parameters_of(model).items())


def test_parameters_changed_in_training() -> None:
    """They hold from the next update on."""
    weights = []
    for name, value in (("k", 2), ("objective", "min"), ("n_action_samples", 2), ("actor_adam_eps", 1.0)):
        model = make_model(k=2).learn(20)
        setattr(model, name, value)
        train_seeded(model)
        weights.append(parameters_of(model)["actor.mu.weight"])
    assert len(np.unique(weights, axis=0)) == 4


@pytest.mark.parametrize("ent_coef", [0.5, "auto"])
def test_soft_critic(ent_coef: Any) -> None:
    """The entropy coefficient changes the critics' target, and the actor's step only through the critics."""
    plain, soft, other = (make_model(ent_coef=value).learn(10) for value in (0.0, ent_coef, 0.0))
    for model in (plain, soft):
        train_seeded(model)
    # Without entropy, but with the critics of the soft update, the actor gets the same gradient
    other.critic.optimizer.step = lambda: other.critic.load_state_dict(soft.critic.state_dict())
    train_seeded(other)
    gradients = [[model.critic.qf0[0].weight.grad, model.actor.mu.weight.grad] for model in (plain, soft, other)]
    assert [th.equal(*pair) for pair in zip(gradients[0], gradients[1], strict=True)] == [False, False]
    assert [th.equal(*pair) for pair in zip(gradients[1], gradients[2], strict=True)] == [False, True]


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
def test_continued_in_mid_episode(kwargs: dict[str, Any], tmp_path: Path) -> None:
    env, kwargs = make_env(), kwargs | {"learning_starts": 20, "tau": 0.1}
    uninterrupted, model = make_model(**kwargs).learn(40), make_model(env, **kwargs).learn(40)
    assert 0 < env.envs[0].unwrapped.n_steps < 7
    loaded = assert_continues(uninterrupted, model, tmp_path, timesteps=30)
    if kwargs.get("ent_coef") == "auto":
        assert loaded.log_ent_coef.item() == uninterrupted.log_ent_coef.item() != 0.0


def test_parameters_are_kept(tmp_path: Path) -> None:
    """Unless others are given; the actor's epsilon does not come back with the optimizer's state."""
    policy_kwargs: dict[str, Any] = {"net_arch": [8], "optimizer_kwargs": {"eps": 1e-5}}
    settings = {"objective": "top:2", "k": 3, "n_action_samples": 5, "actor_adam_eps": 0.1, "ent_coef": 0.2}
    make_model(make_env(2), policy_kwargs=policy_kwargs, **settings).learn(30).save(tmp_path / "model")
    assert policy_kwargs == {"net_arch": [8], "optimizer_kwargs": {"eps": 1e-5}}
    changes: list[tuple[dict[str, Any], float]] = [
        ({}, 0.1),
        ({"actor_adam_eps": 1.0, "k": 5}, 1.0),
        ({"actor_adam_eps": None}, 1e-5),
    ]
    for change, eps in changes:
        loaded: Any = ReMAC.load(tmp_path / "model", env=make_env(3), device="cpu", **change).learn(45)
        assert {name: getattr(loaded, name) for name in settings} == settings | change and loaded.n_envs == 3
        optimizers = loaded.actor.optimizer, loaded.critic.optimizer
        assert [optimizer.param_groups[0]["eps"] for optimizer in optimizers] == [eps, 1e-5]
    with pytest.raises(ValueError, match="k=9"):
        ReMAC.load(tmp_path / "model", env=make_env(2), device="cpu", k=9)


def test_files_of_sac(tmp_path: Path) -> None:
    """Parameters fit both ways, and the files have about the same size."""
    models = [make_model(algorithm=algorithm, ent_coef=0.0).learn(20) for algorithm in (SAC, ReMAC)]
    sizes = []
    for model, other in (models, models[::-1]):
        model.save(tmp_path / "model")
        sizes.append((tmp_path / "model.zip").stat().st_size)
        other.set_parameters(model.get_parameters())
        assert_same_parameters(*models)
        other.learn(20)
    assert sizes[1] <= 1.2 * sizes[0]
