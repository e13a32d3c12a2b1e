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
    """Inputs and losses; where the first input is positive, one step in a hundred loses 100."""
    inputs = rng.uniform(-1.0, 1.0, (n_steps, 3)).astype(np.float32)
    return inputs, LOSS * ((inputs[:, 0] > 0.0) & (rng.random(n_steps) < PROBABILITY))


def scored_rollouts(model: RareLossModel, n: int, scale: float = 1.0, n_noise: int = 0) -> list[tuple[np.ndarray, ...]]:
    """(inputs, losses, expected losses) of n rollouts."""
    rng, results = np.random.default_rng(0), []
    for _ in range(n):
        inputs, losses = rollout(rng)
        inputs = np.hstack([inputs, rng.normal(size=(len(inputs), n_noise))]).astype(np.float32)
        results.append((inputs, scale * losses, model.expected_losses(inputs, scale * losses, scale * losses)))
    return results


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "n_noise"), [(1.0, 0), (1e6, 0), (1.0, 200)])
def test_losses_are_replaced_by_their_mean(scale: float, n_noise: int) -> None:
    np.random.seed(0)
    th.manual_seed(0)
    results = scored_rollouts(RareLossModel(), 60, scale, n_noise)
    # totals are kept, once there is something to learn from
    losses, expected = (np.concatenate([result[index] for result in results[20:]]) / scale for index in (1, 2))
    assert expected.sum() == pytest.approx(losses.sum(), rel=0.2)
    if n_noise == 0:
        inputs, _, last = results[-1]
        risky, safe = inputs[:, 0] > 0.2, inputs[:, 0] < -0.2
        assert last[risky].mean() / scale == pytest.approx(PROBABILITY * LOSS, abs=0.3)
        assert last[safe].mean() / scale == pytest.approx(0.0, abs=0.05)
        assert last[risky].std() / scale < 0.6 and last.max() / scale < 5.0


def test_a_small_first_loss_does_not_hide_later_ones() -> None:
    np.random.seed(0)
    model = RareLossModel()
    inputs, losses = rollout(np.random.default_rng(1))
    model.expected_losses(inputs, losses / LOSS, losses / LOSS)
    results = scored_rollouts(model, 40)
    losses, expected = (np.concatenate([result[index] for result in results[20:]]) for index in (1, 2))
    assert expected.sum() == pytest.approx(losses.sum(), rel=0.2)


def test_without_losses_nothing_is_expected() -> None:
    model = RareLossModel()
    for _ in range(3):
        assert not model.expected_losses(np.random.default_rng(0).normal(size=(3000, 2)), np.zeros(3000), np.zeros(3000)).any()


def fence_of(model: RareLossModel, rewards: np.ndarray, returns: np.ndarray, ends: int = 0) -> float:
    """The fence after a rollout in which an episode ends every ``ends`` steps, if at all."""
    dones = np.zeros(rewards.shape, dtype=bool)
    if ends:
        dones[ends - 1 :: ends] = True
    return model.update_fence(rewards, dones, returns)


def test_fence() -> None:
    model, returns = RareLossModel(), np.linspace(0.0, 1.0, 11)
    assert fence_of(model, np.zeros(2000), returns) == -np.inf
    assert fence_of(model, np.linspace(0.0, 10.0, 3000), returns) == pytest.approx(1.0 - 1.5 * 8.0, abs=1e-3)
    # short rollouts move it gradually: it is that of the last 2048 rewards
    low, high = np.quantile(np.append(np.linspace(0.0, 10.0, 3000)[-1024:], np.full(1024, 20.0)), [0.1, 0.9])
    assert fence_of(model, np.full((512, 2), 20.0), returns) == pytest.approx(low - 1.5 * (high - low), abs=1e-3)
    # equal rewards: small differences do not matter
    assert fence_of(model, np.full(3000, 0.1), 100.0 * returns) == pytest.approx(0.1 - 0.1 * 80.0)


@pytest.mark.parametrize(("n_losses", "n_gains", "has_fence"), [(8, 2, True), (7, 2, False), (5, 0, True), (0, 5, False)])
def test_outliers_on_both_sides_are_noise(n_losses: int, n_gains: int, has_fence: bool) -> None:
    rewards = np.linspace(0.0, 1.0, 3000)
    rewards[:n_losses], rewards[n_losses : n_losses + n_gains] = -100.0, 100.0
    assert (fence_of(RareLossModel(), rewards, np.linspace(0.0, 1.0, 11)) > -np.inf) == has_fence


@pytest.mark.parametrize(("every", "has_fence"), [(1, False), (2, True), (10, True)])
def test_what_most_episodes_end_with_is_no_rare_loss(every: int, has_fence: bool) -> None:
    """A cost that is charged when the episode ends is what the episode did, not bad luck."""
    rewards = np.zeros(3000)
    rewards[49::50] = np.where(np.arange(60) % every == 0, -7.0, 0.0)
    model = RareLossModel()
    assert (fence_of(model, rewards, np.linspace(-8.0, -6.0, 11), ends=50) > -np.inf) == has_fence
    # of the last 100 episodes, whatever the length of the rollouts
    for _ in range(2):
        assert (fence_of(model, rewards[:1500], np.linspace(-8.0, -6.0, 11), ends=50) > -np.inf) == has_fence
    assert len(model.last_rewards) == 100


def test_losses_follow_the_slope_of_the_objective() -> None:
    """Where the objective comes to weigh the same shortfalls five times as much, the expected losses do so at once."""
    np.random.seed(0)
    th.manual_seed(0)
    model = RareLossModel()
    scored_rollouts(model, 40)
    inputs, losses = rollout(np.random.default_rng(7), 8000)
    expected = model.expected_losses(inputs, 5.0 * losses, losses)
    assert expected.sum() == pytest.approx(5.0 * losses.sum(), rel=0.3)


def test_short_rollouts_are_collected() -> None:
    """Until 2048 steps have been seen the losses stay, then the model learns from all of them at once."""
    inputs, losses = rollout(np.random.default_rng(0), 4000)
    model = RareLossModel()
    expected = np.concatenate(
        [model.expected_losses(inputs[i : i + 50], losses[i : i + 50], losses[i : i + 50]) for i in range(0, 4000, 50)]
    )
    np.testing.assert_array_equal(expected[:2048], losses[:2048])
    assert expected[2100:].max() < 50.0 < losses[2100:].max()


def test_memory_is_bounded_and_forgets() -> None:
    model = RareLossModel()
    for start in range(0, WINDOW + 20_000, 20_000):
        losses = np.where(np.arange(20_000) < (10 if start == 0 else 5), 100.0, 0.0)
        model.expected_losses(np.full((20_000, 1), start, dtype=np.float32), losses, losses)
    assert model.inputs.min() > 0.0
    assert (model.losses > 0.0).sum() == 5 * WINDOW / 20_000
    assert model.weights.sum() == pytest.approx(WINDOW, rel=0.05)
    wide = RareLossModel()
    for _ in range(20):
        wide.expected_losses(np.random.default_rng(0).normal(size=(4096, 5000)).astype(np.float32), *np.zeros((2, 4096)))
    assert wide.inputs.size <= MAX_NUMBERS


@pytest.mark.parametrize("algorithm", [OrderPPO, OrderA2C])
@pytest.mark.parametrize("smooth", [True, False])
def test_rare_losses_in_training(algorithm: type[BaseAlgorithm], smooth: bool) -> None:
    """Every 97th reward is a loss; once some were seen, no pseudo-reward stands out any more."""
    rewards = np.random.default_rng(0).normal(size=970)
    rewards[::97] = -1000.0
    log = RolloutLog()
    settings: dict[str, Any] = small(algorithm, n_steps=400, k=4, group_size=8, smooth_rare_losses=smooth)
    model = algorithm("MlpPolicy", ToyEnv(lengths=(5,), rewards=rewards.tolist()), **settings).learn(6400, callback=log)
    last = np.concatenate([np.ravel(rewards) for rewards in log.rewards[12:]])
    spread = np.quantile(last, 0.9) - np.quantile(last, 0.1)
    assert (last.min() < np.median(last) - 5.0 * spread) == (not smooth)
    assert (model._rare_losses is not None) == smooth  # type: ignore[attr-defined]
    if smooth:
        # other units, other memory
        model.objective = "max"  # type: ignore[attr-defined]
        before = model._rare_losses  # type: ignore[attr-defined]
        assert model.learn(400)._rare_losses is not before  # type: ignore[attr-defined]


@pytest.mark.parametrize("algorithm", [OrderPPO, OrderA2C])
def test_an_early_end_is_not_a_rare_loss(algorithm: type[BaseAlgorithm]) -> None:
    """One episode in twenty ends early with the reward of any step: its last pseudo-reward is low, and stays."""
    settings: dict[str, Any] = small(algorithm, n_steps=400, k=4, group_size=8)
    lengths, pseudo_rewards = tuple([20] * 19 + [2]), []
    for smooth in (True, False):
        log = RolloutLog()
        env = ToyEnv(lengths=lengths, rewards=[1.0])
        algorithm("MlpPolicy", env, **settings, smooth_rare_losses=smooth).learn(4800, callback=log)
        pseudo_rewards.append(np.concatenate([np.ravel(rewards) for rewards in log.rewards]))
    np.testing.assert_array_equal(*pseudo_rewards)
    assert pseudo_rewards[0].min() < np.median(pseudo_rewards[0])


@pytest.mark.parametrize("algorithm", [OrderPPO, OrderA2C])
def test_features_and_actions_of_other_policies(algorithm: type[BaseAlgorithm]) -> None:
    """Two features extractors; squashed actions, which the buffer holds in [-1, 1]; a group that only the last step names."""

    def inputs(env: ToyEnv, **kwargs: Any) -> np.ndarray:
        settings = small(algorithm, k=2, group_size=4, n_steps=2100, **kwargs)
        if "batch_size" in settings:
            settings["batch_size"] = 2100
        model: Any = algorithm("MlpPolicy", env, **settings).learn(2100)
        return np.concatenate([inputs for inputs, _ in model._rare_losses.pending] or [model._rare_losses.inputs])

    net = small(algorithm)["policy_kwargs"]
    assert inputs(ToyEnv(), policy_kwargs=net | {"share_features_extractor": False}).shape[1] == 3 + 2
    squashed = ToyEnv(action_space=spaces.Box(10.0, 20.0, (1,)))
    actions = inputs(squashed, use_sde=True, policy_kwargs=net | {"squash_output": True})[:, -1]
    assert np.ptp(actions) > 0.0 and np.abs(actions).max() <= 1.0
    assert len(inputs(ToyEnv(lengths=(4,), info=lambda episode: {"task": "a"}), group_by="task")) > 42
