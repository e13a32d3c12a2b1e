"""The exact regime: a known discrete distribution, against enumeration of all draws; unbiasedness of the estimator."""

import itertools
import math

import numpy as np
import pytest
import torch as th

from sb3_ordergrad.lstatistics import LStatistic, exact_advantages, exact_lstatistic, rank_weights

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


def numerical_gradient(probs: np.ndarray, k: float, objective: str) -> np.ndarray:
    """Central differences of J in the logits of a softmax."""
    step, gradient = 1e-5, []
    for b in range(len(probs)):
        shifted = [probs * np.exp(sign * step * np.eye(len(probs))[b]) for sign in (1, -1)]
        high, low = (exact_lstatistic(VALUES, p / p.sum(), k, objective).value for p in shifted)
        gradient.append((high - low) / (2 * step))
    return np.array(gradient)


@pytest.mark.parametrize("k", [0.3, 0.8, 1, 1.2, 2, 2.5, 7, 7.5, 300, 3000.7])
@pytest.mark.parametrize(
    "objective", ["mean", "max", "min", "cvar:0.25", "quantile:0.3", "top:1", "mean + 2*max - 0.5*median"]
)
def test_advantages_have_mean_zero_and_give_the_gradient(k: float, objective: str) -> None:
    exact = exact_lstatistic(VALUES, PROBS, k, objective)
    assert PROBS @ exact.advantages == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(k * PROBS * exact.advantages, numerical_gradient(PROBS, k, objective), rtol=0, atol=1e-6)


@pytest.mark.parametrize("k", [0.3, 1, 1.2, 2, 2.5, 16.5, 17])
def test_extremes_for_every_real_k(k: float) -> None:
    """``P(max <= r) = F(r)^k`` and ``P(min > r) = (1 - F(r))^k``; a shift of the values shifts J."""
    ordered, cdf = np.array([-1.0, 0.5, 3.0, 10.0]), np.array([0.1, 0.5, 0.8, 1.0])
    best = ordered @ np.diff(cdf**k, prepend=0.0)
    worst = ordered @ -np.diff((1 - cdf) ** k, prepend=1.0)
    assert exact_lstatistic(VALUES, PROBS, k, "max").value == pytest.approx(best, abs=1e-13)
    assert exact_lstatistic(VALUES, PROBS, k, "min").value == pytest.approx(worst, abs=1e-13)
    for objective in ("max", "min", "mean", "cvar:0.3", "median"):
        exact, moved = (exact_lstatistic(VALUES + shift, PROBS, k, objective) for shift in (0.0, 1000.0))
        assert moved.value == pytest.approx(exact.value + 1000.0, abs=1e-9)
        np.testing.assert_allclose(moved.advantages, exact.advantages, rtol=0, atol=1e-11)


@pytest.mark.parametrize("k", [1.2, 2.5, 16.5])
@pytest.mark.parametrize("objective", ["max", "min", "top:1", "cvar:0.25", "median", "mean"])
def test_large_groups_reach_the_exact_value(objective: str, k: float) -> None:
    """The estimate for a fractional k converges to the exact value with the error of a whole k, of order 1 / N."""
    errors = []
    for n in (200, 400, 800):
        x = np.linspace(-1.0, 1.0, n) ** 3
        errors.append(abs(LStatistic(n, k, objective).value(x) - exact_lstatistic(x, np.full(n, 1 / n), k, objective).value))
    assert errors[0] < 0.01
    assert errors[2] < 0.3 * errors[0] or errors[0] < 1e-12


@pytest.mark.parametrize(
    ("k", "objective"), [(1.2, "max"), (0.8, "max"), (4, "max"), (2.5, "cvar:0.25"), (7, "median"), (1, "mean")]
)
def test_batched_advantages(k: float, objective: str) -> None:
    rng = np.random.default_rng(0)
    values, probs = rng.integers(-3, 4, (6, 7, 5)).astype(float), rng.dirichlet(np.ones(5), (6, 7))
    expected = [
        exact_lstatistic(v, p, k, objective).advantages
        for v, p in zip(values.reshape(-1, 5), probs.reshape(-1, 5), strict=True)
    ]
    actual = exact_advantages(th.as_tensor(values), th.as_tensor(probs), k, objective)
    np.testing.assert_allclose(actual, np.reshape(expected, values.shape), rtol=0, atol=1e-12)
    single = exact_advantages(th.as_tensor(values).float().requires_grad_(), th.as_tensor(probs).float(), k, objective)
    assert single.dtype == th.float32 and not single.requires_grad
    np.testing.assert_allclose(single, actual, rtol=0, atol=2e-5)
    whole = exact_advantages(th.as_tensor(values).long(), th.as_tensor(probs), k, objective)
    np.testing.assert_allclose(whole, actual, rtol=0, atol=2e-5)


def test_retrying_agrees_with_its_publication() -> None:
    """ReMax (arXiv 2606.00151): the advantage is ``EI(x) - E[EI]`` with ``EI(x) = E[(x - max of k-1 draws)_+]``."""
    order = np.argsort(VALUES)
    q, p = VALUES[order], PROBS[order]
    for k in (1.0, 1.4, 2.0, 3.0):
        gaps = np.maximum(VALUES[:, None] - q, 0.0)
        survival = np.cumsum(p) ** (k - 1)
        # v_(S+1) = 0: the distribution function of the maximum of k - 1 draws, over the part of each gap below x
        expected_improvement = (gaps - np.append(gaps[:, 1:], np.zeros((5, 1)), axis=1)) @ survival
        advantages = expected_improvement - PROBS @ expected_improvement
        np.testing.assert_allclose(exact_lstatistic(VALUES, PROBS, k, "max").advantages, advantages, rtol=0, atol=1e-13)


def test_zero_probabilities_stay_finite_for_a_k_below_one() -> None:
    values, probs = th.tensor([[0.0, 1.0, 2.0]]), th.tensor([[0.0, 1.0, 0.0]])
    for k in (0.1, 0.8, 1.2):
        for objective in ("max", "min"):
            assert th.isfinite(exact_advantages(values, probs, k, objective)).all()


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
    np.testing.assert_allclose(gradient, numerical_gradient(PROBS, k, objective), rtol=0, atol=1e-8)


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
    views = np.array([10.0, 0.5, 0.5, -1.0, 3.0])[::-1], np.array([0.2, 0.15, 0.25, 0.1, 0.3])[::-1]
    views[0].flags.writeable = False
    np.testing.assert_array_equal(exact_lstatistic(*views, 3, "cvar:0.5").advantages, exact.advantages)
    single = exact_lstatistic([2.0], [1.0], 3, "max")
    assert (single.value, single.include_one.tolist(), single.advantages.tolist()) == (2.0, [2.0], [0.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], [0.5], 2, "max"), "one shape"),
        (([], [], 2, "max"), "one shape"),
        (([1.0, math.nan], [0.5, 0.5], 2, "max"), "finite"),
        (([1.0, 2.0], [0.5, 0.6], 2, "max"), "sum 1"),
        (([1.0, 2.0], [-0.5, 1.5], 2, "max"), "non-negative"),
        (([1.0, 2.0], [math.nan, 1.0], 2, "max"), "non-negative"),
        ((VALUES, PROBS, 2, "1e400*mean"), "must be a finite number"),
        *(((VALUES, PROBS, k, "max"), "must be a real number") for k in (0, -1, math.nan, "2", 10**9)),
    ],
)
def test_errors(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        exact_lstatistic(*arguments)


def test_bad_shapes() -> None:
    with pytest.raises(ValueError, match=r"one shape \(\.\.\., S\), got \(2, 3\) and \(3,\)"):
        exact_advantages(th.zeros(2, 3), th.ones(3) / 3, 2, "max")
