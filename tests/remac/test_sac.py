"""With one action per state and no entropy bonus ReMAC is SAC without entropy, whatever its users do with the model."""

from collections.abc import Callable
from typing import Any

import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.sac.policies import Actor
from torch import nn
from toy_envs import ScaledExtractor, ToyEnv, assert_same_parameters, parameters_of, sac_policy

from sb3_ordergrad import ReMAC

pytestmark = pytest.mark.filterwarnings("error")
Change = Callable[[Any], None]


def trained(algorithm: type[BaseAlgorithm], settings: dict[str, Any]) -> Any:
    common: dict[str, Any] = {"batch_size": 32, "learning_starts": 100, "device": "cpu", "policy_kwargs": {}, **settings}
    common["policy_kwargs"] = {"net_arch": [16, 16], **common["policy_kwargs"]}
    return algorithm("MlpPolicy", "Pendulum-v1", **common).learn(600)


@pytest.mark.parametrize(
    "settings",
    [
        {"seed": 0},
        {"seed": 1},
        {"seed": 2, "n_steps": 3, "gradient_steps": 2, "train_freq": 2, "target_update_interval": 2},
        {"seed": 3, "policy_kwargs": {"n_critics": 3, "share_features_extractor": True}},
        {"seed": 4, "batch_size": 25, "policy_kwargs": {"activation_fn": nn.Tanh, "optimizer_kwargs": {"eps": 1e-5}}},
        {"seed": 5, "batch_size": 256, "policy_kwargs": {"net_arch": [256, 256]}},
        {"seed": 6, "policy_kwargs": {"activation_fn": nn.ELU, "optimizer_class": th.optim.AdamW}},
    ],
)
def test_one_sample_is_sac(settings: dict[str, Any]) -> None:
    """500 updates, the same bits: closeness would not last, where actions saturate every rounding counts."""
    sac = trained(SAC, {"ent_coef": 0.0, **settings})
    remac = trained(ReMAC, {"k": 1, "n_action_samples": 1, **settings})
    assert remac._n_updates == sac._n_updates == 500
    assert_same_parameters(sac, remac)
    for name in ("actor_loss", "critic_loss", "ent_coef"):
        assert remac.logger.name_to_value[f"train/{name}"] == pytest.approx(
            sac.logger.name_to_value[f"train/{name}"], rel=1e-6
        )


class EncodingActor(Actor):
    """Has layers before its plain network that are no features extractor."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.encoder = nn.Linear(self.features_dim, self.features_dim)

    def extract_features(self, obs: PyTorchObs, features_extractor: Any) -> th.Tensor:
        return self.encoder(super().extract_features(obs, features_extractor))


class ShiftedActor(Actor):
    """Has a distribution of its own."""

    def get_action_dist_params(self, obs: PyTorchObs) -> tuple[th.Tensor, th.Tensor, dict[str, th.Tensor]]:
        mean, log_std, kwargs = super().get_action_dist_params(obs)
        return mean + 0.5, log_std, kwargs


def nothing(model: Any) -> None:
    pass


def freeze_features(model: Any) -> None:
    model.policy.actor.features_extractor.requires_grad_(False)
    model.policy.critic.features_extractor.requires_grad_(False)


def freeze_a_layer(model: Any) -> None:
    model.critic.q_networks[0][0].requires_grad_(False)
    model.actor.latent_pi[0].weight.requires_grad_(False)


def freeze_the_actor(model: Any) -> None:
    model.actor.requires_grad_(False)


def tie_biases(model: Any) -> None:
    model.actor.mu.bias = model.actor.log_std.bias
    for critic in (model.critic, model.critic_target):
        critic.q_networks[1][2].bias = critic.q_networks[0][2].bias


def tie_layers(model: Any) -> None:
    for critic in (model.critic, model.critic_target):
        critic.q_networks[1][2] = critic.q_networks[0][2]


def patch_forward(model: Any) -> None:
    for critic in (model.critic, model.critic_target):
        layer = critic.q_networks[0][0]
        layer.forward = lambda inputs, layer=layer: 2.0 * type(layer).forward(layer, inputs)


def change_optimizer(model: Any) -> None:
    model.actor.optimizer.param_groups[0]["eps"] = 0.1
    model.critic.optimizer.param_groups[0]["eps"] = 0.1


def clear_gradients(model: Any) -> None:
    model.policy.zero_grad()


@pytest.mark.parametrize(
    ("policy", "change"),
    [
        ("MlpPolicy", freeze_features),
        ("MlpPolicy", freeze_a_layer),
        ("MlpPolicy", freeze_the_actor),
        ("MlpPolicy", tie_biases),
        ("MlpPolicy", tie_layers),
        ("MlpPolicy", patch_forward),
        ("MlpPolicy", change_optimizer),
        ("MlpPolicy", clear_gradients),
        (sac_policy(EncodingActor), nothing),
        (sac_policy(ShiftedActor), nothing),
    ],
)
@pytest.mark.parametrize("features_extractor_class", [FlattenExtractor, ScaledExtractor])
def test_a_changed_model_is_still_sac(policy: Any, change: Change, features_extractor_class: type) -> None:
    models = []
    for algorithm, settings in ((SAC, {"ent_coef": 0.0}), (ReMAC, {"k": 1, "n_action_samples": 1})):
        env = ToyEnv(action_space=spaces.Box(-1.0, 1.0, (2,)))
        policy_kwargs = {"net_arch": [8, 8], "features_extractor_class": features_extractor_class}
        model: Any = algorithm(policy, env, policy_kwargs=policy_kwargs, seed=0, device="cpu", learning_starts=20, **settings)
        model.learn(40)
        before = parameters_of(model)
        change(model)
        model.learn(40, reset_num_timesteps=False)
        after = parameters_of(model)
        assert any((before[name] != after[name]).any() for name in before)
        models.append(model)
    assert_same_parameters(*models)
