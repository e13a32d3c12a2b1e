"""The radius within which a linear reward head keeps the sign of an advantage: attacks fail inside it and succeed outside."""

import math

import numpy as np
import pytest
import torch as th

from sb3_ordergrad.lstatistics import LStatistic, sign_certified_weights, sign_radii

CASES = [("mean", 1), ("max", 3), ("cvar:0.4", 4), ("median", 5), ("top:2", 3), ("mean - 0.5*gini", 2), ("max", 2.5)]


def random_groups(n_groups: int, n: int, d: int, seed: int = 0) -> tuple[th.Tensor, th.Tensor]:
    """Rewards of a linear head on random features, some of them equal within a group."""
    generator = th.Generator().manual_seed(seed)
    features = th.randn(n_groups, n, d, generator=generator, dtype=th.float64)
    features[::5, 1] = features[::5, 0]
    head = th.randn(n_groups, d, 1, generator=generator, dtype=th.float64)
    return (features @ head).squeeze(-1), features


def attack(
    statistic: LStatistic, rewards: th.Tensor, features: th.Tensor, radii: th.Tensor, n_steps: int, seed: int = 0
) -> th.Tensor:
    """Projected gradient descent on every advantage, from a random change of the head, among those of length ``radii``."""
    n = rewards.shape[-1]
    advantages = statistic.advantages(rewards)
    change = th.randn(*radii.shape, features.shape[-1], generator=th.Generator().manual_seed(seed), dtype=th.float64)
    flipped = th.zeros_like(radii, dtype=th.bool)
    member = th.arange(n)
    for _ in range(n_steps):
        change *= (radii / change.norm(dim=-1)).unsqueeze(-1)
        # Rewards of all members (last axis) when each advantage (axis before) is attacked
        attacked = rewards.unsqueeze(-2) + change @ features.transpose(-1, -2)
        moved = statistic.advantages(attacked)[:, member, member]
        flipped |= moved * advantages < 0
        rank = attacked.argsort(-1).argsort(-1)
        own_rank = rank[:, member, member]
        derivatives = th.as_tensor(-np.diff(statistic.gap_matrix, axis=0, prepend=0.0, append=0.0).T)
        gradient = derivatives[own_rank].gather(-1, rank) @ features
        length = gradient.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        change -= 0.5 * (radii * advantages.sign()).unsqueeze(-1) * gradient / length
    return flipped


@pytest.mark.parametrize(("objective", "k"), CASES)
def test_no_attack_succeeds_inside_the_radius(objective: str, k: float) -> None:
    """10 000 groups of 6 members: 60 000 advantages, each attacked in 12 steps."""
    rewards, features = random_groups(10_000, 6, 4)
    radii = sign_radii(rewards, features, objective, k)
    assert radii.shape == rewards.shape and (radii >= 0).all()
    assert not attack(LStatistic(6, k, objective), rewards, features, 0.999 * radii, n_steps=12).any()
    # The attack works: four times further out it flips many signs
    assert attack(LStatistic(6, k, objective), rewards, features, 4 * radii, n_steps=12).double().mean() > 0.25


def test_the_radius_of_the_mean_is_exact() -> None:
    """The shortest change goes along the member's distance to the mean: just outside the radius it flips the sign."""
    rewards, features = random_groups(1000, 8, 5)
    radii, statistic = sign_radii(rewards, features), LStatistic(8, 1, "mean")
    advantages = statistic.advantages(rewards)
    direction = features - features.mean(1, keepdim=True)
    direction *= -(advantages.sign() / direction.norm(dim=-1)).unsqueeze(-1)
    member = th.arange(8)
    for factor, flips in ((0.999, False), (1.001, True)):
        change = (factor * radii).unsqueeze(-1) * direction
        moved = statistic.advantages(rewards.unsqueeze(-2) + change @ features.transpose(-1, -2))[:, member, member]
        assert ((moved * advantages < 0) == flips).all()
    # The published formula
    centred = rewards - rewards.mean(-1, keepdim=True)
    np.testing.assert_allclose(radii, centred.abs() / (features - features.mean(1, keepdim=True)).norm(dim=-1), rtol=1e-10)
    for objective, k in (("cvar:1", 4), ("2*mean", 3), ("max", 1), ("mean", 2.5)):
        np.testing.assert_allclose(sign_radii(rewards, features, objective, k), radii, rtol=1e-10)


def test_order_and_scale() -> None:
    rewards, features = random_groups(50, 7, 3)
    order = th.randperm(7, generator=th.Generator().manual_seed(1))
    for objective, k in CASES:
        radii = sign_radii(rewards, features, objective, k)
        np.testing.assert_allclose(sign_radii(rewards[:, order], features[:, order], objective, k), radii[:, order], rtol=1e-9)
        np.testing.assert_allclose(sign_radii(3 * rewards + 5, features - 2, objective, k), 3 * radii, rtol=1e-9)


def test_weights() -> None:
    rewards, features = random_groups(200, 6, 4)
    for objective, k in CASES:
        radii = sign_radii(rewards, features, objective, k)
        weights = sign_certified_weights(rewards, features, objective, k, quantile=0.25)
        eps = th.quantile(radii.flatten(), 0.25)
        np.testing.assert_allclose(weights, (1.0 - eps / radii).clamp(min=0.0), rtol=0, atol=1e-12)
        assert (weights == 0).double().mean() == pytest.approx(0.25, abs=0.01)
    assert (sign_certified_weights(rewards, features, quantile=0.0) > 0).double().mean() > 0.99
    # Weight times advantage is the worst advantage of the mean over all heads within eps
    eps, advantages = th.quantile(sign_radii(rewards, features).flatten(), 0.25), rewards - rewards.mean(-1, keepdim=True)
    worst = advantages.abs() - eps * (features - features.mean(1, keepdim=True)).norm(dim=-1)
    certain = sign_certified_weights(rewards, features, quantile=0.25) * advantages
    np.testing.assert_allclose(certain, advantages.sign() * worst.clamp(min=0.0), rtol=0, atol=1e-12)


def test_kinds_of_arrays() -> None:
    rewards, features = random_groups(5, 6, 4)
    for function in (sign_radii, sign_certified_weights):
        expected = function(rewards.numpy(), features.numpy(), "max", 3)
        assert isinstance(expected, np.ndarray) and expected.shape == (5, 6)
        single = function(rewards.float().requires_grad_(), features.float(), "max", 3)
        assert single.dtype == th.float32 and not single.requires_grad
        np.testing.assert_allclose(single, expected, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(function(rewards[0], features[0], "max", 3).shape, (6,))


def test_what_the_head_cannot_change() -> None:
    """Equal features: no change of the head moves the advantages. Equal rewards: the sign is uncertain at once."""
    features = th.zeros(2, 4, 3)
    features[1] = th.randn(4, 3, generator=th.Generator().manual_seed(0))
    rewards = th.tensor([[1.0, 2.0, 3.0, 5.0], [0.5, 0.5, 0.5, 0.5]])
    for objective, k in (("mean", 1), ("max", 2)):
        radii = sign_radii(rewards, features, objective, k)
        assert radii[0].isinf().all() and (radii[1] == 0).all()
        weights = sign_certified_weights(rewards, features, objective, k)
        assert (weights[0] == 1).all() and (weights[1] == 0).all()
        assert (sign_certified_weights(rewards[:1], features[:1], objective, k) == 1).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(4), np.zeros((5, 2))), r"\(\.\.\., N\) and \(\.\.\., N, d\), got \(4,\) and \(5, 2\)"),
        ((np.zeros(4), np.full((4, 2), math.nan)), "features holds nan"),
        ((np.full(4, math.inf), np.zeros((4, 2))), "x holds inf"),
        ((np.zeros(4), np.zeros((4, 2)), "max", 4), "k = 4 must be at most group_size - 1 = 3"),
        ((np.zeros(4), np.zeros((4, 2)), "mean", 1, 1.5), r"quantile = 1\.5 must be in \[0, 1\]"),
    ],
)
def test_errors(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sign_certified_weights(*arguments)
