"""ReMAC with everything that SAC works with."""

import csv
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
from stable_baselines3.common.logger import configure
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn
from toy_envs import SMALL_NET, ToyEnv, assert_same_parameters, parameters_of

from sb3_ordergrad import ReMAC
from sb3_ordergrad.remac import CnnPolicy, MlpPolicy, MultiInputPolicy
from sb3_ordergrad.remac.samples import sample_actions

pytestmark = pytest.mark.filterwarnings("error")
ACTIONS = spaces.Box(-2.0, 2.0, (2,))
IMAGE = spaces.Box(0, 255, (1, 36, 36), np.uint8)
DICT = spaces.Dict({"vector": spaces.Box(-1.0, 1.0, (3,)), "image": IMAGE})


def make_env(n_envs: int = 1, **kwargs: Any) -> Any:
    return make_vec_env(ToyEnv, n_envs=n_envs, seed=0, env_kwargs={"action_space": ACTIONS, "lengths": [4, 6], **kwargs})


def make_model(env: Any = None, policy: Any = "MlpPolicy", algorithm: type[SAC] = ReMAC, **kwargs: Any) -> Any:
    policy_kwargs = {**SMALL_NET, **kwargs.pop("policy_kwargs", {})}
    settings: dict[str, Any] = {"buffer_size": 200, "batch_size": 8, "learning_starts": 10, "seed": 0, "device": "cpu"}
    return algorithm(policy, env or make_env(), policy_kwargs=policy_kwargs, **settings | kwargs)


def assert_trained(model: Any, timesteps: int = 24) -> None:
    before = parameters_of(model)
    model.learn(timesteps)
    after = parameters_of(model)
    assert model._n_updates > 0
    assert all(np.isfinite(value).all() for value in after.values())
    for network in ("actor", "critic", "critic_target"):
        assert any((after[name] != before[name]).any() for name in after if name.split(".")[0] == network)
    action, _ = model.predict(model.env.observation_space.sample(), deterministic=True)
    assert model.action_space.contains(action)


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"n_steps": 3},
        {"ent_coef": 0.1},
        {"ent_coef": "auto"},
        {"ent_coef": "auto_0.1", "target_entropy": -1.0},
        {"use_sde": True},
        {
            "use_sde": True,
            "sde_sample_freq": 2,
            "use_sde_at_warmup": True,
            "ent_coef": "auto",
            "policy_kwargs": {"use_expln": True},
        },
        {"policy_kwargs": {"n_critics": 1}},
        {"policy_kwargs": {"n_critics": 3, "share_features_extractor": True}},
        {"policy_kwargs": {"activation_fn": nn.ELU}},
        {"policy_kwargs": {"optimizer_class": th.optim.SGD}},
        {"policy_kwargs": {"optimizer_kwargs": {"foreach": True}}},
        {"action_noise": NormalActionNoise(np.zeros(2), 0.1 * np.ones(2))},
        {"train_freq": (1, "episode"), "gradient_steps": -1},
        {"gradient_steps": 3, "target_update_interval": 2},
        {"optimize_memory_usage": True, "replay_buffer_kwargs": {"handle_timeout_termination": False}},
        {"learning_rate": LinearSchedule(1e-3, 1e-4, 1.0), "actor_adam_eps": 0.1},
        {"objective": "mean - 0.5*gini", "k": 2.5},
        {"n_action_samples": 1, "k": 1},
    ],
    ids=str,
)
def test_settings(kwargs: dict[str, Any]) -> None:
    assert_trained(make_model(**kwargs))


@pytest.mark.parametrize(
    ("policy", "space"),
    [(MlpPolicy, spaces.Box(-1.0, 1.0, (2, 3))), (CnnPolicy, IMAGE), (MultiInputPolicy, DICT), ("CnnPolicy", IMAGE)],
)
def test_observations(policy: Any, space: spaces.Space) -> None:
    assert_trained(make_model(make_env(observation_space=space), policy), timesteps=14)


def test_several_environments_and_evaluation(tmp_path: Path) -> None:
    model = make_model(make_env(3))
    callback = EvalCallback(make_env(), eval_freq=5, n_eval_episodes=2, best_model_save_path=str(tmp_path), verbose=0)
    model.learn(30, callback=callback)
    assert model._n_updates > 0 and np.isfinite(callback.best_mean_reward)
    best = ReMAC.load(tmp_path / "best_model", device="cpu")
    assert 0 < best.num_timesteps <= model.num_timesteps and best.n_envs == 3


def test_vec_normalize() -> None:
    """The networks see normalised observations and rewards; the buffer keeps the raw ones."""
    env = VecNormalize(make_env(2))
    model = make_model(env)
    assert_trained(model)
    seen = []
    model.actor.features_extractor.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    np.random.seed(0)
    model.train(1, 8)
    np.random.seed(0)
    normalised = model.replay_buffer.sample(8, env=env).observations
    np.random.seed(0)
    raw = model.replay_buffer.sample(8).observations
    assert th.equal(seen[0], normalised) and not th.equal(raw, normalised)


def test_her() -> None:
    env = BitFlippingEnv(n_bits=3, continuous=True, max_steps=3)
    model = make_model(env, "MultiInputPolicy", replay_buffer_class=HerReplayBuffer)
    assert_trained(model)


@pytest.mark.parametrize("use_sde", [False, True])
def test_samples_of_a_state_differ(use_sde: bool) -> None:
    """Also under gSDE, where SB3's own sampling would return the same action N times, a silent k = 1."""
    model = make_model(use_sde=use_sde, policy_kwargs={"log_std_init": -1.0} if use_sde else {}).learn(20)
    observations = model.replay_buffer.sample(6).observations
    samples = sample_actions(model.actor, observations, 5000)
    assert samples.actions.shape == (5000, 6, 2)
    assert len(samples.actions[:, 0].unique(dim=0)) == 5000
    # the distribution, and its density, are those of SB3
    mean, log_std, kwargs = model.actor.get_action_dist_params(observations)
    distribution = model.actor.action_dist.proba_distribution(mean, log_std, **kwargs)
    gaussian = th.atanh(samples.actions.double())
    th.testing.assert_close(gaussian.std(dim=0).float(), distribution.distribution.stddev, rtol=0.06, atol=0.0)
    th.testing.assert_close(gaussian.mean(dim=0).float(), mean, rtol=0.0, atol=0.1)
    expected = distribution.log_prob(samples.actions[0])
    th.testing.assert_close(samples.log_prob(distribution.epsilon)[0], expected, rtol=1e-3, atol=1e-3)


def test_deterministic_with_a_seed() -> None:
    models = [make_model(make_env(2), ent_coef="auto").learn(40) for _ in range(2)]
    assert_same_parameters(*models)


class BatchNormExtractor(FlattenExtractor):
    def __init__(self, observation_space: spaces.Space) -> None:
        super().__init__(observation_space)
        self.norm = nn.BatchNorm1d(self.features_dim)

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.norm(super().forward(observations))


def test_batch_norm_statistics_are_copied() -> None:
    model = make_model(policy_kwargs={"features_extractor_class": BatchNormExtractor})
    assert_trained(model)
    own, target = (network.features_extractor.norm.running_mean for network in (model.critic, model.critic_target))
    assert th.equal(own, target) and own.abs().max() > 0


def test_log() -> None:
    ours = {"entropy", "action_std", "actor_grad_norm", "q_spread", "k"}
    keys = []
    for algorithm, kwargs in ((SAC, {}), (ReMAC, {"ent_coef": "auto", "k": LinearSchedule(8.0, 1.0, 1.0)})):
        model = make_model(algorithm=algorithm, **kwargs).learn(20)
        log = model.logger.name_to_value
        keys.append({key for key in log if key.startswith("train/")})
    assert keys[1] == keys[0] | {f"train/{name}" for name in ours}
    assert all(np.isfinite(log[key]) for key in keys[1])
    assert 1.0 <= log["train/k"] < 2.0
    assert log["train/q_spread"] > 0 and log["train/action_std"] > 0 and log["train/actor_grad_norm"] > 0


OF_THE_POLICY = {"train/entropy", "train/action_std", "train/actor_grad_norm", "train/q_spread"}


def read_log(folder: Path) -> list[set[str]]:
    """Names of the entries of each row."""
    with open(folder / "progress.csv") as file:
        return [{name for name, value in row.items() if value} for row in csv.DictReader(file)]


@pytest.mark.parametrize("log_interval", [1, None])
def test_log_of_the_policy_goes_with_every_dump(log_interval: Any, tmp_path: Path) -> None:
    """Also with those of SB3's callbacks; it is computed when somebody asks for the logger after an update."""
    model = make_model(make_env(lengths=[5]), train_freq=10, learning_starts=20)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    callback = EvalCallback(make_env(), n_eval_episodes=1, eval_freq=8, verbose=0)
    model.learn(60, callback=callback, log_interval=log_interval)
    model.logger.close()
    rows = read_log(tmp_path)
    assert sum("train/actor_loss" in row for row in rows) > 2
    for row in rows:
        assert row & OF_THE_POLICY == (OF_THE_POLICY if "train/actor_loss" in row else set())


def test_log_without_learn(tmp_path: Path) -> None:
    model = make_model().learn(20)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.train(2, 8)
    expected = th.cat([parameter.grad.flatten() for parameter in model.actor.parameters()]).norm().item()
    # as other code that trains the same policy would
    model.policy.zero_grad()
    assert model.logger.name_to_value["train/actor_grad_norm"] == pytest.approx(expected)
    model.logger.dump(1)
    model.logger.close()
    assert [row & OF_THE_POLICY for row in read_log(tmp_path)] == [OF_THE_POLICY]


def test_a_copy_continues() -> None:
    """Features that are trained leave their gradient to autograd, whose graph cannot be copied."""
    model = make_model(policy_kwargs={"features_extractor_class": BatchNormExtractor}).learn(20)
    models = model, deepcopy(model)
    for each in models:
        np.random.seed(0)
        th.manual_seed(0)
        each.train(3, 8)
    assert_same_parameters(*models)


def test_schedule_of_k_beyond_the_end() -> None:
    """The last steps of three environments go beyond the last of the training."""
    model = make_model(make_env(3), k=lambda progress_remaining: 1.0 + 3.0 * progress_remaining).learn(100)
    assert model.num_timesteps == 102
    assert model.logger.name_to_value["train/k"] == 1.0


def test_objective_and_samples_changed_in_training() -> None:
    model = make_model(objective="max", k=2).learn(20)
    weights = []
    for change in ({}, {"objective": "min"}, {"n_action_samples": 4}):
        for name, value in change.items():
            setattr(model, name, value)
        model.train(1, 8)
        weights.append(model._rank_weights()[1].weights.tolist())
    assert weights[0] == pytest.approx(weights[1][::-1]) and weights[0] != weights[1]
    assert len(weights[2]) == 4


def test_entropy_coefficient_changed_in_training() -> None:
    losses = []
    for coefficient in (0.0, 0.3):
        model = make_model().learn(20)
        model.ent_coef_tensor = th.tensor(coefficient)
        np.random.seed(0)
        th.manual_seed(0)
        model.train(1, 8)
        losses.append(model.logger.name_to_value["train/critic_loss"])
    assert losses[0] != losses[1]


def test_memory_does_not_grow() -> None:
    model = make_model().learn(20)
    used = [len(scratch._blocks) for scratch in (model._scratch, model._actor_scratch)]
    model.train(5, 8)
    assert used == [len(scratch._blocks) for scratch in (model._scratch, model._actor_scratch)]


def grouped(parameters: Any, **kwargs: Any) -> th.optim.Adam:
    first, *others = parameters
    return th.optim.Adam([{"params": [first], "eps": 1e-3}, {"params": others}], **kwargs)


def test_optimizer_with_groups() -> None:
    """Each keeps its epsilon, unless one is chosen for the actor."""
    for eps, expected in ((None, [1e-3, 1e-8]), (0.1, [0.1, 0.1])):
        model = make_model(policy_kwargs={"optimizer_class": grouped}, actor_adam_eps=eps)
        assert_trained(model)
        assert [group["eps"] for group in model.actor.optimizer.param_groups] == expected
        assert [group["eps"] for group in model.critic.optimizer.param_groups] == [1e-3, 1e-8]
        assert all(group["fused"] for group in model.actor.optimizer.param_groups)


@pytest.mark.parametrize("ent_coef", [0.0, 0.5, "auto"])
def test_soft_critic(ent_coef: Any) -> None:
    """The entropy coefficient changes the critic's target, and the actor's step only through the critic."""
    models = []
    for coefficient in (0.0, ent_coef):
        model = make_model(ent_coef=coefficient, learning_starts=50).learn(50)
        np.random.seed(0)
        th.manual_seed(0)
        model.train(1, 8)
        models.append(parameters_of(model))
    changed = [(models[0]["critic.qf0.0.weight"] != models[1]["critic.qf0.0.weight"]).any()]
    assert changed == [ent_coef != 0.0]


def test_caller_settings_stay() -> None:
    policy_kwargs: dict[str, Any] = {"net_arch": [8]}
    ReMAC("MlpPolicy", make_env(), buffer_size=10, policy_kwargs=policy_kwargs, device="cpu")
    assert policy_kwargs == {"net_arch": [8]}
