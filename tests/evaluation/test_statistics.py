"""Statistics of returns against brute force, bootstrap intervals against known cases."""

from itertools import combinations

import numpy as np
import pytest

from sb3_ordergrad.evaluation import (
    SUMMARY,
    best_of,
    bootstrap_difference,
    bootstrap_over_seeds,
    cvar,
    median,
    summary_weights,
    value_at_risk,
)
from sb3_ordergrad.evaluation.statistics import objective_value

RETURNS = np.random.default_rng(0).normal(size=37)


@pytest.mark.parametrize("level", [0.01, 0.1, 0.25, 1 / 3, 0.5, 0.99, 1.0])
def test_cvar_has_a_fractional_weight_at_the_end_of_the_tail(level: float) -> None:
    remaining, total = level * len(RETURNS), 0.0
    for x in np.sort(RETURNS):
        total += min(1.0, remaining) * x
        remaining = max(0.0, remaining - 1.0)
    assert cvar(RETURNS, level) == pytest.approx(total / (level * len(RETURNS)), abs=1e-12)


def test_known_values() -> None:
    x = np.arange(10, 0, -1)
    assert cvar(x, 0.25) == pytest.approx((1 + 2 + 0.5 * 3) / 2.5)
    assert median(x) == pytest.approx(5.5)
    assert value_at_risk(x, 0.1) == pytest.approx(1.5)
    assert best_of(x, 10) == pytest.approx(10.0)


@pytest.mark.parametrize("k", [1, 2, 5, 8])
def test_best_of_averages_the_maximum_of_all_subsets(k: int) -> None:
    x = RETURNS[:9]
    expected = np.mean([max(subset) for subset in combinations(x, k)])
    assert best_of(x, k) == pytest.approx(expected, abs=1e-12)


def test_leading_axes_are_a_loop() -> None:
    x = RETURNS[:36].reshape(3, 12)
    np.testing.assert_allclose(cvar(x, 0.2), [cvar(row, 0.2) for row in x], rtol=1e-12)
    np.testing.assert_allclose(best_of(x, 8), [best_of(row, 8) for row in x], rtol=1e-12)


def test_summary_weights_add_up_to_one() -> None:
    weights = summary_weights(40)
    assert weights.shape == (40, len(SUMMARY))
    np.testing.assert_allclose(weights.sum(axis=0), 1.0, rtol=1e-12)


@pytest.mark.parametrize(
    ("x", "k", "message"),
    [
        (np.array([]), None, "no returns"),
        (np.array(1.0), None, "single number"),
        (np.array([1.0, np.nan]), None, "finite"),
        (np.arange(4.0), 8, "k = 8 must lie between 1 and the number of returns, 4"),
    ],
)
def test_errors(x: np.ndarray, k: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        objective_value(x, "max", k)


def test_one_seed_gives_the_interval_of_the_evaluation() -> None:
    x = np.random.default_rng(1).normal(5.0, 2.0, size=400)
    interval = bootstrap_over_seeds([x])["mean"]
    assert interval.value == pytest.approx(x.mean())
    # The ends of a percentile interval from 2000 resamples are within about 4 % of the normal ones
    half_width = 1.96 * x.std() / np.sqrt(len(x))
    assert interval.high - interval.value == pytest.approx(half_width, rel=0.12)
    assert interval.value - interval.low == pytest.approx(half_width, rel=0.12)


def test_seeds_are_resampled_as_a_whole() -> None:
    intervals = bootstrap_over_seeds([np.zeros(20), np.full(20, 10.0)])
    # Two seeds of constant returns: a resample averages 0, 5 or 10
    for interval in intervals.values():
        assert interval == pytest.approx((5.0, 0.0, 10.0))


def test_statistic_is_averaged_over_seeds_not_pooled() -> None:
    samples = [np.arange(20.0), np.arange(20.0) + 100]
    intervals = bootstrap_over_seeds(samples)
    assert intervals["CVaR_0.1"].value == pytest.approx(np.mean([cvar(x, 0.1) for x in samples]))
    assert bootstrap_over_seeds(samples) == intervals


def test_common_seeds_are_paired() -> None:
    base = {seed: np.full(10, 10.0 * seed) for seed in range(4)}
    shifted = {seed: x + 3 for seed, x in base.items()} | {9: np.full(10, 1e6)}
    for interval in bootstrap_difference(shifted, base).values():
        assert interval == pytest.approx((3.0, 3.0, 3.0))


def test_other_seeds_are_independent() -> None:
    left = {seed: np.full(10, 10.0 * seed + 3) for seed in range(4)}
    right = {seed + 4: np.full(10, 10.0 * seed) for seed in range(4)}
    interval = bootstrap_difference(left, right)["mean"]
    assert interval.value == pytest.approx(3.0)
    assert interval.low < -5 and interval.high > 11


def test_bootstrap_errors() -> None:
    with pytest.raises(ValueError, match="0 seeds"):
        bootstrap_over_seeds([])
    with pytest.raises(ValueError, match="seed number 1"):
        bootstrap_over_seeds([np.arange(10.0), np.array([np.inf] * 10)])
    with pytest.raises(ValueError, match="n_resamples = 0 must be a whole number >= 1"):
        bootstrap_over_seeds([np.arange(10.0)], n_resamples=0)
    with pytest.raises(ValueError, match="confidence = 2 must lie in"):
        bootstrap_difference({0: np.arange(10.0)}, {0: np.arange(10.0)}, confidence=2)
