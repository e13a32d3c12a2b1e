"""The model that replaces rare losses by their learned mean."""

from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from toy_envs import RolloutLog, ToyEnv, small

from sb3_ordergrad import OrderA2C, OrderPPO
from sb3_ordergrad.common.rare_losses import MAX_NUMBERS, WINDOW, RareLossModel

LOSS, PROBABILITY = 100.0, 0.01


def rollout(rng: np.random.Generator, n_steps: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Rewards of N(1, 0.1); where the first input is positive, one step in a hundred loses 100."""
    inputs = rng.uniform(-1.0, 1.0, (n_steps, 3)).astype(np.float32)
    lost = (inputs[:, 0] > 0.0) & (rng.random(n_steps) < PROBABILITY)
    return inputs, rng.normal(1.0, 0.1, n_steps) - LOSS * lost


def smoothed_rollouts(model: RareLossModel, n: int, scale: float = 1.0, n_noise: int = 0) -> list[tuple[np.ndarray, ...]]:
    """(inputs, rewards, smoothed rewards) of n rollouts."""
    rng, results = np.random.default_rng(0), []
    for _ in range(n):
        inputs, rewards = rollout(rng)
        inputs = np.hstack([inputs, rng.normal(size=(len(inputs), n_noise))]).astype(np.float32)
        results.append((inputs, scale * rewards, model.smooth(inputs, scale * rewards)))
    return results


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "n_noise"), [(1.0, 0), (1e6, 0), (1.0, 200)])
def test_losses_are_replaced_by_their_mean(scale: float, n_noise: int) -> None:
    np.random.seed(0)
    th.manual_seed(0)
    model = RareLossModel(3 + n_noise)
    results = smoothed_rollouts(model, 60, scale, n_noise)
    # totals are kept, once there is something to learn from
    rewards, smoothed = (np.concatenate([result[index] for result in results[20:]]) / scale for index in (1, 2))
    assert smoothed.sum() == pytest.approx(rewards.sum(), rel=0.2)
    if n_noise == 0:
        inputs, _, last = results[-1]
        risky, safe = inputs[:, 0] > 0.2, inputs[:, 0] < -0.2
        assert last[risky].mean() / scale == pytest.approx(1.0 - PROBABILITY * LOSS, abs=0.3)
        assert last[safe].mean() / scale == pytest.approx(1.0, abs=0.05)
        assert last[risky].std() / scale < 0.6 and last.min() / scale > -4.0


def test_a_small_first_loss_does_not_hide_later_ones() -> None:
    np.random.seed(0)
    model = RareLossModel(3)
    inputs, rewards = rollout(np.random.default_rng(1))
    model.smooth(inputs, np.where(rewards < 0.0, -1.0, rewards))
    results = smoothed_rollouts(model, 40)
    totals = np.array([[rewards.sum(), smoothed.sum()] for _, rewards, smoothed in results[20:]]).sum(0)
    assert totals[1] == pytest.approx(totals[0], rel=0.2)


def test_nothing_rare_nothing_changes() -> None:
    rng, model = np.random.default_rng(0), RareLossModel(2)
    for scale in (1.0, 0.0, 1e6):
        rewards = scale * rng.uniform(size=3000).astype(np.float32)
        np.testing.assert_array_equal(model.smooth(rng.normal(size=(3000, 2)).astype(np.float32), rewards), rewards)


def test_fence() -> None:
    model = RareLossModel(1)
    model.smooth(np.zeros((3000, 1), dtype=np.float32), np.linspace(0.0, 10.0, 3000))
    assert model.fence == pytest.approx(1.0 - 1.5 * 8.0, abs=1e-3)
    # short rollouts move it gradually: it is that of the last 2048 rewards
    model.smooth(np.zeros((1024, 1), dtype=np.float32), np.full(1024, 20.0))
    low, high = np.quantile(np.append(np.linspace(0.0, 10.0, 3000)[-1024:], np.full(1024, 20.0)), [0.1, 0.9])
    assert model.fence == pytest.approx(low - 1.5 * (high - low), abs=1e-3)


def test_short_rollouts_are_collected() -> None:
    """Until 2048 steps have been seen nothing is replaced, then the model learns from all of them at once."""
    inputs, rewards = rollout(np.random.default_rng(0), 4000)
    model = RareLossModel(3)
    smoothed = np.concatenate([model.smooth(inputs[i : i + 50], rewards[i : i + 50]) for i in range(0, 4000, 50)])
    np.testing.assert_array_equal(smoothed[:2048], rewards[:2048])
    assert rewards[2100:].min() < -50.0 < smoothed[2100:].min()


def test_memory_is_bounded_and_forgets() -> None:
    model = RareLossModel(1)
    for start in range(0, WINDOW + 20_000, 20_000):
        rewards = np.where(np.arange(20_000) < (10 if start == 0 else 5), -100.0, 0.0)
        model.smooth(np.full((20_000, 1), start, dtype=np.float32), rewards)
    assert model.inputs.min() > 0.0
    assert (model.rewards < 0.0).sum() == 5 * WINDOW / 20_000
    assert model.weights.sum() == pytest.approx(WINDOW, rel=0.05)
    wide = RareLossModel(5000)
    for _ in range(20):
        wide.smooth(np.random.default_rng(0).normal(size=(4096, 5000)).astype(np.float32), np.zeros(4096))
    assert wide.inputs.size <= MAX_NUMBERS


@pytest.mark.parametrize("algorithm", [OrderPPO, OrderA2C])
@pytest.mark.parametrize("smooth", [True, False])
def test_rare_losses_in_training(algorithm: type[BaseAlgorithm], smooth: bool) -> None:
    """Every 97th reward is a loss; once some were seen, no pseudo-reward stands out any more."""
    rewards = np.random.default_rng(0).normal(size=970)
    rewards[::97] = -1000.0
    log = RolloutLog()
    settings: dict[str, Any] = small(algorithm, n_steps=400, k=4, group_size=8, smooth_rare_losses=smooth)
    model = algorithm("MlpPolicy", ToyEnv(lengths=(5,), rewards=rewards.tolist()), **settings).learn(4800, callback=log)
    last = np.concatenate([np.ravel(rewards) for rewards in log.rewards[9:]])
    spread = np.quantile(last, 0.9) - np.quantile(last, 0.1)
    assert (last.min() < np.median(last) - 5.0 * spread) == (not smooth)
    assert (model._rare_losses is not None) == smooth  # type: ignore[attr-defined]
    if smooth:
        # other units, other memory
        model.objective = "max"  # type: ignore[attr-defined]
        before = model._rare_losses  # type: ignore[attr-defined]
        assert model.learn(400)._rare_losses is not before  # type: ignore[attr-defined]


@pytest.mark.parametrize("algorithm", [OrderPPO, OrderA2C])
def test_features_and_actions_of_other_policies(algorithm: type[BaseAlgorithm]) -> None:
    """Two features extractors; squashed actions, which the buffer holds in [-1, 1]; a group that only the last step names."""
    settings: dict[str, Any] = small(algorithm, n_steps=40, k=2, group_size=4)
    settings["policy_kwargs"] = {**settings["policy_kwargs"], "share_features_extractor": False}
    separate = algorithm("MlpPolicy", ToyEnv(), **settings).learn(80)
    assert separate._rare_losses.inputs.shape[1] == 3 + 2  # type: ignore[attr-defined]

    space = spaces.Box(10.0, 20.0, (1,))
    settings = small(algorithm, n_steps=40, k=2, group_size=4, use_sde=True)
    settings["policy_kwargs"] = {**settings["policy_kwargs"], "squash_output": True}
    squashed = algorithm("MlpPolicy", ToyEnv(action_space=space), **settings).learn(80)
    actions = squashed._rare_losses.pending[0][0][:, -1]  # type: ignore[attr-defined]
    assert np.ptp(actions) > 0.0 and np.abs(actions).max() <= 1.0

    env = ToyEnv(lengths=(4,), info=lambda episode: {"task": "a"})
    grouped = algorithm("MlpPolicy", env, **small(algorithm, n_steps=42, k=2, group_size=4, group_by="task")).learn(84)
    assert sum(len(rewards) for _, rewards in grouped._rare_losses.pending) > 42  # type: ignore[attr-defined]
