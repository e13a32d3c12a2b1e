"""Objective and k decide what is learned in a one-step task."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from toy_envs import ToyEnv

from sb3_ordergrad import ReMAC


class Parabola(ToyEnv):
    """One step, reward ``-(action - 0.3)^2``."""

    def step(self, action: np.ndarray) -> Any:
        return self.observation_space.sample(), -float((action[0] - 0.3) ** 2), True, False, {}


def trained(seed: int, **kwargs: Any) -> tuple[float, float]:
    """Mode and standard deviation of the policy after 300 updates on uniform actions."""
    env = Parabola(spaces.Box(0.0, 0.0, (1,)), spaces.Box(-1.0, 1.0, (1,)))
    settings: dict[str, Any] = {"learning_rate": 3e-3, "batch_size": 64, "buffer_size": 400, "learning_starts": 300}
    settings |= {"gradient_steps": 300, "device": "cpu", "seed": seed, "policy_kwargs": {"net_arch": [32, 32]}}
    model = ReMAC("MlpPolicy", env, **settings | kwargs).learn(301)
    action, _ = model.predict(np.zeros(1, dtype=np.float32), deterministic=True)
    return float(action[0]), model.logger.name_to_value["train/action_std"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_k_and_objective_decide(seed: int) -> None:
    mean, best, worst = (trained(seed, **kwargs) for kwargs in ({"k": 1}, {"k": 8}, {"k": 8, "objective": "min"}))
    spread = trained(seed, k=8, objective="gini")
    # Maximising Q, and even more the worst of eight, makes the policy deterministic
    for mode, std in (mean, worst):
        assert abs(mode - 0.3) < 0.15 and std < 0.15
    # The best of eight does not, and dispersion asks for the opposite
    assert best[1] > 2.0 * mean[1]
    assert spread[1] > 2.0 * best[1]
