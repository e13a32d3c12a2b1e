"""The exact regime: a known discrete distribution, against enumeration of all draws; unbiasedness of the estimator."""

import itertools
import math

import numpy as np
import pytest

from sb3_ordergrad.lstatistics import LStatistic, exact_lstatistic, rank_weights

VALUES = np.array([3.0, -1.0, 0.5, 0.5, 10.0])
PROBS = np.array([0.3, 0.1, 0.25, 0.15, 0.2])
OBJECTIVES = ["mean", "max", "min", "median", "cvar:0.25", "upper_cvar:0.4", "trimmed_mean:0.1:0.3", "mean - 0.5*lmoment:1"]


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_enumeration_of_all_draws(k: int, objective: str) -> None:
    draws = np.array(list(itertools.product(range(5), repeat=k)))
    statistics = np.sort(VALUES[draws], axis=1) @ rank_weights(objective, k)
    exact = exact_lstatistic(VALUES, PROBS, k, objective)
    value = np.dot(PROBS[draws].prod(1), statistics)
    include_one = []
    for b in range(5):
        member = draws[:, 0] == b
        include_one.append(np.dot(PROBS[draws[member, 1:]].prod(1), statistics[member]))
    assert exact.value == pytest.approx(value, abs=1e-13)
    np.testing.assert_allclose(exact.include_one, include_one, rtol=0, atol=1e-13)
    np.testing.assert_allclose(exact.advantages, np.array(include_one) - value, rtol=0, atol=1e-13)


@pytest.mark.parametrize("k", [1, 2, 7, 7.5, 300])
@pytest.mark.parametrize("objective", ["mean", "max", "min", "cvar:0.25", "quantile:0.3"])
def test_advantages_have_mean_zero(k: float, objective: str) -> None:
    exact = exact_lstatistic(VALUES, PROBS, k, objective)
    assert PROBS @ exact.advantages == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("n", "k"), [(4, 2), (4, 3), (5, 2)])
@pytest.mark.parametrize("objective", ["mean", "max", "cvar:0.3", "gini", "median"])
def test_estimator_is_unbiased(n: int, k: int, objective: str) -> None:
    """Sum over all groups of n draws: value, include-one, advantage and gradient have the exact expectations."""
    groups = np.array(list(itertools.product(range(5), repeat=n)))
    chance = PROBS[groups].prod(1)
    statistic, exact = LStatistic(n, k, objective), exact_lstatistic(VALUES, PROBS, k, objective)
    x = VALUES[groups]
    assert chance @ statistic.value(x) == pytest.approx(exact.value, abs=1e-12)
    first = np.array([chance[groups[:, 0] == b].sum() for b in range(5)])
    for method, expected in (("include_one", exact.include_one), ("advantages", exact.advantages)):
        estimate = getattr(statistic, method)(x)[:, 0]
        means = np.array([(chance * estimate)[groups[:, 0] == b].sum() for b in range(5)]) / first
        np.testing.assert_allclose(means, expected, rtol=0, atol=1e-12)
    # likelihood-ratio gradient in the logits of a softmax: the score of a draw b is e_b - p
    score = np.eye(5)[groups] - PROBS
    gradient = np.einsum("g,gn,gnb->b", chance, statistic.advantages(x), score) * k / n
    np.testing.assert_allclose(gradient, k * PROBS * exact.advantages, rtol=0, atol=1e-12)
    step = 1e-5
    for b in range(5):
        shifted = [np.exp(np.log(PROBS) + sign * step * np.eye(5)[b]) for sign in (1, -1)]
        high, low = (exact_lstatistic(VALUES, p / p.sum(), k, objective).value for p in shifted)
        assert gradient[b] == pytest.approx((high - low) / (2 * step), abs=1e-8)


def test_large_samples_reach_the_tail_mean() -> None:
    values, probs = np.arange(100.0), np.full(100, 0.01)
    assert exact_lstatistic(values, probs, 2000, "cvar:0.1").value == pytest.approx(4.5, abs=0.05)
    assert exact_lstatistic(values, probs, 5000, "max").value == pytest.approx(99.0, abs=1e-12)


def test_order_and_zero_probabilities_do_not_matter() -> None:
    exact = exact_lstatistic(VALUES, PROBS, 3, "cvar:0.5")
    order = np.array([4, 2, 0, 1, 3])
    np.testing.assert_allclose(
        exact_lstatistic(VALUES[order], PROBS[order], 3, "cvar:0.5").advantages, exact.advantages[order], atol=1e-14
    )
    padded = exact_lstatistic(np.append(VALUES, [7.0, 99.0]), np.append(PROBS, [0.0, 0.0]), 3, "cvar:0.5")
    assert padded.value == pytest.approx(exact.value, abs=1e-13)
    single = exact_lstatistic([2.0], [1.0], 3, "max")
    assert (single.value, single.include_one.tolist(), single.advantages.tolist()) == (2.0, [2.0], [0.0])


@pytest.mark.parametrize(
    ("values", "probs", "message"),
    [
        ([1.0, 2.0], [0.5], "one shape"),
        ([], [], "one shape"),
        ([1.0, math.nan], [0.5, 0.5], "finite"),
        ([1.0, 2.0], [0.5, 0.6], "sum 1"),
        ([1.0, 2.0], [-0.5, 1.5], "non-negative"),
        ([1.0, 2.0], [math.nan, 1.0], "non-negative"),
    ],
)
def test_bad_distributions(values: list, probs: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        exact_lstatistic(values, probs, 2, "max")
