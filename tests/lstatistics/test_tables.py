"""The combinatorial tables against exact integer arithmetic, their identities, and their size limits."""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.special import gammaln

from sb3_ordergrad.lstatistics import LStatistic, rank_weights, tables
from sb3_ordergrad.lstatistics.tables import collapse, order_table


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


@pytest.mark.parametrize(("n", "k"), [(6, 2.5), (12, 1.5), (30, 7.25)])
def test_fractional_k_uses_gamma_functions(n: int, k: float) -> None:
    def log_binomial(top: float, bottom: float) -> float:
        if bottom <= -1 or top - bottom <= -1:
            return -math.inf
        return float(gammaln(top + 1) - gammaln(bottom + 1) - gammaln(top - bottom + 1))

    expected = [
        [
            math.exp(log_binomial(m - 1, j - 1) + log_binomial(n - m, k - j) - log_binomial(n, k))
            for j in range(1, math.floor(k) + 1)
        ]
        for m in range(1, n + 1)
    ]
    np.testing.assert_allclose(order_table(n, k), expected, rtol=1e-12)


def test_fractional_k_meets_its_neighbours() -> None:
    alpha = rank_weights("cvar:0.3", 5)
    np.testing.assert_allclose(collapse(20, 5 + 1e-9, alpha), collapse(20, 5, alpha), rtol=0, atol=1e-8)
    # the minimum has no rank above it: continuous from both sides
    lowest = collapse(20, 5 - 1e-9, rank_weights("min", 4))
    np.testing.assert_allclose(lowest, collapse(20, 5, rank_weights("min", 5)), rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    "objective", ["cvar:0.1", "upper_cvar:0.3", "max", "min", "median", "gini", "top_bottom:3", "lmoment:4"]
)
@pytest.mark.parametrize(("n", "k"), [(600, 40), (3000, 90), (700, 699)])
def test_blocks_equal_the_dense_table(objective: str, n: int, k: int) -> None:
    alpha = rank_weights(objective, k)
    dense = order_table(n, k) @ alpha
    np.testing.assert_allclose(tables._collapse_blocks(n, k, alpha), dense, rtol=0, atol=1e-14 * np.abs(alpha).sum())


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


def test_tables_are_kept_and_read_only() -> None:
    table = order_table(50, 10)
    assert order_table(50, 10) is table
    assert not table.flags.writeable
