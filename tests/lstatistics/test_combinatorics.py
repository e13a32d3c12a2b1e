"""The table of order statistics against exact arithmetic, its identities, large groups, and a fractional k."""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.special import gammaln

from sb3_ordergrad.lstatistics import LStatistic, combinatorics, rank_weights
from sb3_ordergrad.lstatistics.combinatorics import collapse, order_table


def binomial(n: int, k: int) -> int:
    return math.comb(n, k) if 0 <= k <= n else 0


def design_table(name: str, n: int, k: int) -> np.ndarray:
    """The tables as the literature writes them, in exact arithmetic, for a group of n and samples of k."""
    cell = {
        "W": lambda m, j: Fraction(binomial(m - 1, j - 1) * binomial(n - m, k - j), binomial(n, k)),
        "A": lambda m, j: Fraction(binomial(m - 1, j - 1) * binomial(n - m - 1, k - j - 1), binomial(n - 1, k - 1)),
        "B": lambda m, j: Fraction(binomial(m - 1, j - 1) * binomial(n - m, k - j), binomial(n - 1, k - 1)),
        "C": lambda m, j: Fraction(binomial(m - 2, j - 2) * binomial(n - m, k - j), binomial(n - 1, k - 1)),
        "W-": lambda m, j: Fraction(binomial(m - 1, j - 1) * binomial(n - 1 - m, k - j), binomial(n - 1, k)),
    }[name]
    return np.array([[float(cell(m, j)) for j in range(1, k + 1)] for m in range(1, n + 1)])


@pytest.mark.parametrize(("n", "k"), [(2, 1), (5, 2), (9, 4), (9, 8), (40, 17), (60, 59)])
def test_one_table_holds_all(n: int, k: int) -> None:
    def check(actual: np.ndarray, expected: np.ndarray) -> None:
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-300)

    check(order_table(n, k), design_table("W", n, k))
    check(order_table(n - 1, k), design_table("W-", n, k)[:-1])
    check(n / k * order_table(n, k), design_table("B", n, k))
    if k > 1:
        check(order_table(n - 1, k - 1), design_table("A", n, k)[:-1, :-1])
        check(order_table(n - 1, k - 1), design_table("C", n, k)[1:, 1:])


@pytest.mark.parametrize(("n", "k"), [(7, 3), (30, 12)])
def test_leave_one_out_weights_give_all_the_rest(n: int, k: int) -> None:
    alpha = np.random.default_rng(0).normal(size=k)
    a, b, c = (design_table(name, n, k) @ alpha for name in "ABC")
    w = np.append(collapse(n - 1, k, alpha), 0.0)
    m = np.arange(1, n + 1)
    np.testing.assert_allclose(((n - m) * w + (m - 1) * np.append(0.0, w[:-1])) / n, collapse(n, k, alpha), rtol=1e-10)
    # slopes of the advantages between neighbours, seen from below and from above
    np.testing.assert_allclose((b - (a - w))[:-1], n / k * w[:-1], rtol=1e-10)
    np.testing.assert_allclose((b - c)[1:] + w[:-1], n / k * w[:-1], rtol=1e-10)


@pytest.mark.parametrize(("n", "k"), [(20, 7), (300, 120), (5000, 40)])
def test_table_is_a_distribution(n: int, k: int) -> None:
    table = order_table(n, k)
    np.testing.assert_allclose(table.sum(0), 1.0, rtol=1e-10)
    np.testing.assert_allclose(table.sum(1), k / n, rtol=1e-10)
    assert (table >= 0).all()


def sequential_table(population: int, sample: float) -> np.ndarray:
    """The table by its definition: go through the population and take each member with ``min(1, (sample - taken) / left)``."""
    table = np.zeros((population, population))
    taken_before = np.zeros(population + 1)
    taken_before[0] = 1.0
    for m in range(population):
        take = np.clip((sample - np.arange(population)) / (population - m), 0.0, 1.0)
        table[m] = taken_before[:-1] * take
        taken_before = np.append(taken_before[:-1] * (1.0 - take), 0.0) + np.append(0.0, table[m])
    return table[:, : math.floor(sample)]


@pytest.mark.parametrize(("n", "k"), [(3, 2.5), (6, 2.5), (12, 1.5), (30, 7.25), (40, 39.9), (5, 4), (12, 3.0)])
def test_table_is_sequential_sampling(n: int, k: float) -> None:
    sample = int(k) if float(k).is_integer() else k
    np.testing.assert_allclose(order_table(n, sample), sequential_table(n, k), rtol=0, atol=1e-13)


@pytest.mark.parametrize(("n", "k"), [(6, 1.2), (6, 2.5), (30, 7.25), (40, 39.9)])
def test_fractional_minimum_has_its_closed_form(n: int, k: float) -> None:
    """``P(min > R_(m)) = C(n-m, k) / C(n, k)`` as long as more than k members are above."""
    above = np.arange(n - 1, -1, -1.0)
    inside = above > k - 1
    log_ratio = gammaln(above[inside] + 1) - gammaln(above[inside] - k + 1) - gammaln(n + 1) + gammaln(n - k + 1)
    survival = np.zeros(n)
    survival[inside] = np.exp(log_ratio)
    np.testing.assert_allclose(1.0 - np.cumsum(order_table(n, k)[:, 0]), survival, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("objective", "n"), [("max", 5), ("min", 5), ("rank:2", 6), ("bottom:2", 6), ("top:1", 20)])
def test_fractional_k_is_continuous(objective: str, n: int) -> None:
    """At a whole k from above, where the ranks stay; the extremes, which do not depend on the other ranks, from below too."""
    for k in range(2, n):
        whole = LStatistic(n, k, objective).value_weights
        np.testing.assert_allclose(LStatistic(n, k + 1e-9, objective).value_weights, whole, rtol=0, atol=1e-7)
        if objective in ("max", "min"):
            np.testing.assert_allclose(LStatistic(n, k - 1e-9, objective).value_weights, whole, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    "objective", ["cvar:0.1", "upper_cvar:0.3", "max", "min", "median", "gini", "top_bottom:3", "lmoment:4"]
)
@pytest.mark.parametrize(("n", "k"), [(600, 40), (3000, 90), (700, 699), (700, 699.5), (600, 400.3)])
def test_blocks_equal_the_dense_table(objective: str, n: int, k: float) -> None:
    alpha = rank_weights(objective, k)
    dense = order_table(n, k) @ alpha
    np.testing.assert_allclose(combinatorics._collapse_blocks(n, k, alpha), dense, rtol=0, atol=1e-14 * np.abs(alpha).sum())


@pytest.mark.parametrize("objective", ["mean", "max", "min", "cvar:0.01", "upper_cvar:0.001", "median", "top_bottom:1"])
@pytest.mark.parametrize(("n", "k"), [(10**6, 10**4), (10**6, 64), (10**5, 1)])
def test_huge_groups_stay_finite(objective: str, n: int, k: int) -> None:
    weights = LStatistic(n, k, objective).leave_one_out_weights
    assert np.isfinite(weights).all()
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1.0, abs=1e-8)


def test_huge_maximum_has_its_known_value() -> None:
    # E[max of k] of the returns 1..n is k (n + 1) / (k + 1)
    n, k = 10**6, 10**4
    x = np.arange(1.0, n + 1)
    assert LStatistic(n, k, "max").value(x) == pytest.approx(k * (n + 1) / (k + 1), rel=1e-8)
    assert LStatistic(n, k, "min").value(x) == pytest.approx((n + 1) / (k + 1), rel=1e-8)


def test_multiples_of_the_mean_are_exact() -> None:
    assert (collapse(7, 3, np.full(3, 1 / 3)) == 1 / 7).all()
    np.testing.assert_array_equal(collapse(4, 4, np.arange(4.0)), np.arange(4.0))


def test_tables_are_cached_and_read_only() -> None:
    table = order_table(50, 10)
    assert order_table(50, 10) is table
    assert not table.flags.writeable
