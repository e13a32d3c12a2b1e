"""With one action per state and no entropy bonus ReMAC is SAC without entropy."""

from typing import Any

import pytest
import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from toy_envs import assert_same_parameters
from torch import nn

from sb3_ordergrad import ReMAC

pytestmark = pytest.mark.filterwarnings("error")


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
