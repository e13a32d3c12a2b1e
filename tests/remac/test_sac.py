"""With one action per state and no entropy bonus, ReMAC is SAC without entropy."""

from typing import Any

import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.sac.policies import Actor
from torch import nn
from toy_envs import ScaledExtractor, ToyEnv, assert_same_parameters, sac_policy

from sb3_ordergrad import ReMAC

pytestmark = pytest.mark.filterwarnings("error")


class FrozenActor(Actor):
    """With its own distribution and no parameters to train."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.requires_grad_(False)

    def get_action_dist_params(self, obs: PyTorchObs) -> tuple[th.Tensor, th.Tensor, dict[str, th.Tensor]]:
        mean, log_std, kwargs = super().get_action_dist_params(obs)
        return mean + 0.5, log_std, kwargs


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"n_steps": 3, "gradient_steps": 2, "train_freq": 2, "target_update_interval": 2},
        {"policy_kwargs": {"n_critics": 3, "features_extractor_class": ScaledExtractor}},
        {"policy_kwargs": {"share_features_extractor": True, "features_extractor_class": ScaledExtractor}},
        {"policy_kwargs": {"activation_fn": nn.Tanh, "optimizer_kwargs": {"eps": 1e-5}}, "batch_size": 25},
        pytest.param({"policy_kwargs": {"net_arch": [256, 256]}, "batch_size": 256}, marks=pytest.mark.slow),
        {"policy_kwargs": {"activation_fn": nn.ELU, "optimizer_class": th.optim.AdamW}},
        {"policy": sac_policy(FrozenActor)},
    ],
)
def test_one_sample_is_sac(settings: dict[str, Any]) -> None:
    """The same bits after 60 updates, 30 of them with a frozen layer; closeness would not last, as rounding errors grow."""
    common: dict[str, Any] = {"policy": "MlpPolicy", "batch_size": 32, "learning_starts": 40, "seed": 0, "device": "cpu"}
    common |= settings | {"policy_kwargs": {"net_arch": [16, 16], **settings.get("policy_kwargs", {})}}
    models: list[Any] = []
    for algorithm, own in ((SAC, {"ent_coef": 0.0}), (ReMAC, {"k": 1, "n_action_samples": 1})):
        env = ToyEnv(action_space=spaces.Box(-2.0, 2.0, (2,)), lengths=[7, 5])
        model: Any = algorithm(env=env, **common, **own).learn(70)
        model.critic.q_networks[0][0].requires_grad_(False)
        models.append(model.learn(30, reset_num_timesteps=False))
    assert models[0]._n_updates == models[1]._n_updates == 60
    assert_same_parameters(*models)
    for name in ("actor_loss", "critic_loss", "ent_coef"):
        sac, remac = (model.logger.name_to_value[f"train/{name}"] for model in models)
        assert remac == pytest.approx(sac, rel=1e-6)
