"""The objective decides which risk is taken: the exact optimum of a small task."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from toy_envs import ToyEnv

from sb3_ordergrad import OrderSAC
from sb3_ordergrad.lstatistics import exact_lstatistic
from sb3_ordergrad.order_sac import charged_rewards

N_STEPS, SAFE, PROBABILITY = 5, 0.8, 0.02


class Risk(ToyEnv):
    """
    Five steps. A positive action earns 1 and loses ``loss`` in one of 50 steps, another action earns 0.8 for sure.

    :param loss: of a bad step
    """

    def __init__(self, loss: float) -> None:
        super().__init__(spaces.Box(0.0, 1.0, (1,)), spaces.Box(-1.0, 1.0, (1,)), (N_STEPS,))
        self.loss = loss

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.n_steps += 1
        risky = action[0] > 0.0
        reward = 1.0 - self.loss * (self.np_random.random() < PROBABILITY) if risky else SAFE
        return np.array([self.n_steps / N_STEPS], dtype=np.float32), reward, self.n_steps == N_STEPS, False, {}


def best_number_of_risky_steps(objective: str, k: int, loss: float) -> int:
    """By enumeration: the value of each number of risky steps, from the binomial distribution of their losses."""
    values = []
    for n in range(N_STEPS + 1):
        chances = np.array([PROBABILITY**i * (1 - PROBABILITY) ** (n - i) * _choose(n, i) for i in range(n + 1)])
        returns = n * 1.0 + (N_STEPS - n) * SAFE - loss * np.arange(n + 1)
        values.append(float(exact_lstatistic(returns, chances, k, objective).value))
    return int(np.argmax(values))


def _choose(n: int, i: int) -> float:
    return float(np.prod([(n - j) / (j + 1) for j in range(i)]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "loss", "optimum"),
    [("mean", 5.0, N_STEPS), ("cvar:0.25", 5.0, 0), ("mean", 20.0, 0), ("median", 20.0, N_STEPS), ("mean - 2.0*gini", 5.0, 0)],
)
def test_learns_the_exact_optimum(objective: str, loss: float, optimum: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert best_number_of_risky_steps(objective, 16, loss) == optimum
    monkeypatch.setattr(charged_rewards, "FIT_INTERVAL", 1000)
    settings: dict[str, Any] = {"learning_rate": 1e-3, "batch_size": 128, "learning_starts": 500, "buffer_size": 20_000}
    settings |= {"train_freq": 8, "gradient_steps": 2, "gamma": 0.9, "policy_kwargs": {"net_arch": [32]}}
    model = OrderSAC("MlpPolicy", Risk(loss), objective=objective, seed=0, device="cpu", **settings).learn(6000)
    times = np.arange(N_STEPS)[:, None].astype(np.float32) / N_STEPS
    actions, _ = model.predict(times, deterministic=True)
    assert int((actions > 0.0).sum()) == optimum
