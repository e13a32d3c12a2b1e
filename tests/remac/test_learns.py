"""The objective and k decide what is learnt: a one-step task whose reward falls with the square of the action."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from sb3_ordergrad import ReMAC


class Parabola(gym.Env):
    """One step, reward ``-(action - 0.3)^2``."""

    observation_space = spaces.Box(-1.0, 1.0, (1,))
    action_space = spaces.Box(-1.0, 1.0, (1,))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(1, dtype=np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return np.zeros(1, dtype=np.float32), -float((action[0] - 0.3) ** 2), True, False, {}


def trained(seed: int, **kwargs: Any) -> tuple[float, float]:
    """Mode of the policy and its standard deviation, after 300 updates on uniform actions."""
    policy_kwargs = {"net_arch": [32, 32]}
    settings: dict[str, Any] = {"learning_rate": 3e-3, "batch_size": 64, "buffer_size": 400, "learning_starts": 300}
    settings |= {"gradient_steps": 300, "device": "cpu", "seed": seed}
    model = ReMAC("MlpPolicy", Parabola(), policy_kwargs=policy_kwargs, **settings | kwargs).learn(301)
    action, _ = model.predict(np.zeros(1, dtype=np.float32), deterministic=True)
    return float(action[0]), model.logger.name_to_value["train/action_std"]


@pytest.mark.parametrize("seed", range(3))
def test_k_and_objective_decide(seed: int) -> None:
    mean, best, worst = (trained(seed, **kwargs) for kwargs in ({"k": 1}, {"k": 8}, {"k": 8, "objective": "min"}))
    spread = trained(seed, k=8, objective="gini")
    # plain Q maximisation, and all the more the worst of eight, make the policy deterministic
    for mode, std in (mean, worst):
        assert abs(mode - 0.3) < 0.15 and std < 0.15
    # the best of eight does not ask for it, and dispersion is the opposite
    assert best[1] > 2.0 * mean[1]
    assert spread[1] > 2.0 * best[1]
