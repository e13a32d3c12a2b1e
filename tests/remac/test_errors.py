"""Bad input is refused before training starts, with the value, the range and the fix."""

from typing import Any

import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.sac.policies import Actor
from toy_envs import SMALL_NET, ToyEnv, sac_policy

from sb3_ordergrad import ReMAC


def make_model(**kwargs: Any) -> ReMAC:
    env = ToyEnv(action_space=spaces.Box(-1.0, 1.0, (1,)))
    policy_kwargs = {**SMALL_NET, **kwargs.pop("policy_kwargs", {})}
    return ReMAC("MlpPolicy", env, buffer_size=10, policy_kwargs=policy_kwargs, device="cpu", **kwargs)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"k": 9}, r"k=9 must be a number between 1 and n_action_samples=8: .* or more action samples"),
        ({"k": 0.5}, r"k=0.5 must be a number between 1 and"),
        ({"k": True}, r"k=True"),
        ({"k": "4"}, r"k='4'"),
        ({"k": lambda progress: 8.0 * progress}, r"k=0.96\d* at progress_remaining=0.12 must be a number between 1"),
        ({"k": lambda progress: 1.0 + progress, "objective": [0.0, 1.0]}, r"weights"),
        ({"n_action_samples": 0}, r"n_action_samples=0 must be an integer between 1 and 1000"),
        ({"n_action_samples": 10**9, "k": 10**9}, r"n_action_samples=1000000000 must be"),
        ({"n_action_samples": 2.5}, r"n_action_samples=2.5"),
        ({"objective": "maximum"}, r"maximum.*'max'"),
        ({"objective": [0.5, 0.5]}, r"k = 4|4 ranks|weights"),
        ({"actor_adam_eps": 0}, r"actor_adam_eps=0 must be a number between 1e-20 and 1e\+20, such as 1e-8, or None"),
        ({"actor_adam_eps": 1e-50}, r"actor_adam_eps=1e-50"),
        ({"actor_adam_eps": float("inf")}, r"actor_adam_eps=inf"),
        (
            {"actor_adam_eps": 0.1, "policy_kwargs": {"optimizer_class": th.optim.SGD}},
            r"actor_adam_eps=0.1 needs an optimizer with an epsilon.*SGD",
        ),
    ],
)
def test_error(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_model(**kwargs)


@pytest.mark.parametrize(
    ("name", "value"), [("objective", "maximum"), ("k", 9), ("n_action_samples", 10**9), ("actor_adam_eps", 0.0)]
)
def test_changed_attributes(name: str, value: Any) -> None:
    """They are checked when training starts, before the first step."""
    model = make_model()
    setattr(model, name, value)
    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        model.learn(1)
    assert model.num_timesteps == 0


class DistributionActor(Actor):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.action_dist = DiagGaussianDistribution(1)  # type: ignore[assignment]


def test_actor_with_another_distribution() -> None:
    env = ToyEnv(action_space=spaces.Box(-1.0, 1.0, (1,)))
    with pytest.raises(ValueError, match=r"policy=Policy .*DistributionActor.* override get_action_dist_params"):
        ReMAC(sac_policy(DistributionActor), env, buffer_size=10, device="cpu")
