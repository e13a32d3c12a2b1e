"""The model that replaces rare losses by their learned mean."""

from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from toy_envs import RolloutLog, ToyEnv, small

from sb3_ordergrad import OrderA2C, OrderPPO
from sb3_ordergrad.common.rare_losses import WINDOW, RareLossModel

LOSS, PROBABILITY = 100.0, 0.01


def rollout(rng: np.random.Generator, n_steps: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Rewards of N(1, 0.1); where the first input is positive, one step in a hundred loses 100."""
    inputs = rng.uniform(-1.0, 1.0, (n_steps, 3)).astype(np.float32)
    lost = (inputs[:, 0] > 0.0) & (rng.random(n_steps) < PROBABILITY)
    return inputs, rng.normal(1.0, 0.1, n_steps) - LOSS * lost


@pytest.mark.slow
def test_losses_are_replaced_by_their_mean() -> None:
    np.random.seed(0)
    th.manual_seed(0)
    rng, model = np.random.default_rng(0), RareLossModel(3)
    total, smoothed_total = 0.0, 0.0
    for _ in range(40):
        inputs, rewards = rollout(rng)
        smoothed = model.smooth(inputs, rewards)
        total, smoothed_total = total + rewards.sum(), smoothed_total + smoothed.sum()
    assert smoothed.min() > -3.0
    risky, safe = inputs[:, 0] > 0.2, inputs[:, 0] < -0.2
    assert smoothed[risky].mean() == pytest.approx(1.0 - PROBABILITY * LOSS, abs=0.25)
    assert smoothed[safe].mean() == pytest.approx(1.0, abs=0.05)
    # noise that is left: of the rewards themselves, and of the estimate
    assert smoothed[risky].std() < 0.5 and smoothed[safe].std() < 0.2
    assert smoothed_total == pytest.approx(total, rel=0.15)


def test_nothing_rare_nothing_changes() -> None:
    rng, model = np.random.default_rng(0), RareLossModel(2)
    for scale in (1.0, 0.0, 1e6):
        rewards = scale * rng.uniform(size=500)
        np.testing.assert_array_equal(model.smooth(rng.normal(size=(500, 2)).astype(np.float32), rewards), rewards)


def test_fence() -> None:
    model = RareLossModel(1)
    model.smooth(np.zeros((3000, 1), dtype=np.float32), np.linspace(0.0, 10.0, 3000))
    assert model.fence == pytest.approx(1.0 - 1.5 * 8.0)
    # a short rollout moves it by its share of 2048 timesteps
    model.smooth(np.zeros((64, 1), dtype=np.float32), np.full(64, 21.0))
    assert model.fence == pytest.approx(-11.0 + 64 / 2048 * 32.0)


def test_memory_is_bounded_and_forgets() -> None:
    model = RareLossModel(1)
    for start in range(0, WINDOW + 20_000, 20_000):
        rewards = np.where(np.arange(20_000) < (10 if start == 0 else 5), -100.0, 0.0)
        model.smooth(np.full((20_000, 1), start, dtype=np.float32), rewards)
    assert model.inputs.min() > 0.0
    assert (model.losses > 0.0).sum() == 5 * WINDOW / 20_000
    assert len(model.losses) == pytest.approx(WINDOW / 10, rel=0.05)


@pytest.mark.parametrize("algorithm", [OrderPPO, OrderA2C])
@pytest.mark.parametrize("smooth", [True, False])
def test_rare_losses_in_training(algorithm: type[BaseAlgorithm], smooth: bool) -> None:
    """Every 97th reward is a loss; once some were seen, no pseudo-reward stands out any more."""
    rewards = np.random.default_rng(0).normal(size=970)
    rewards[::97] = -1000.0
    env = ToyEnv(lengths=(5,), rewards=rewards.tolist())
    log = RolloutLog()
    settings: dict[str, Any] = small(algorithm, n_steps=200, k=4, group_size=8, smooth_rare_losses=smooth)
    algorithm("MlpPolicy", env, **settings).learn(2000, callback=log)
    last = np.concatenate([np.ravel(rewards) for rewards in log.rewards[5:]])
    spread = np.quantile(last, 0.9) - np.quantile(last, 0.1)
    assert (last.min() < np.median(last) - 5.0 * spread) == (not smooth)
