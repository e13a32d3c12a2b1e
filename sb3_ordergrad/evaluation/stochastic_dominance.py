"""Permutation tests of stochastic dominance of one sample of returns over another."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from sb3_ordergrad.evaluation.argument_checks import check_count, check_returns


@dataclass(frozen=True)
class Dominance:
    """
    Whether the returns X stochastically dominate the returns Y, to first or to second order.

    First order: ``F_X(r) <= F_Y(r)`` for all r. Every quantile of X is at least as high: any increasing utility prefers X.
    Second order: ``int_{-inf}^r F_X <= int_{-inf}^r F_Y`` for all r. Every CVaR of X is at least as high: any increasing
    concave utility prefers X.

    Two samples hardly ever satisfy this exactly, so both directions are tested (Barrett and Donald 2003,
    https://doi.org/10.1111/1468-0262.00390): X dominates if "X dominates Y" is not rejected at ``level`` and "Y dominates X"
    is rejected. Without the second test, a dominance that is not rejected may just mean a small sample.

    :param order: 1 or 2
    :param violation: largest ``F_X - F_Y`` (a probability; order 2: its integral, in units of return), 0 if there is none
    :param reverse_violation: the same with X and Y exchanged
    :param p_value: of the hypothesis that X dominates Y
    :param reverse_p_value: of the hypothesis that Y dominates X
    :param level: level of both tests
    """

    order: Literal[1, 2]
    violation: float
    reverse_violation: float
    p_value: float
    reverse_p_value: float
    level: float

    @property
    def dominates(self) -> bool:
        """X dominates Y."""
        return self.reverse_p_value <= self.level < self.p_value

    @property
    def is_dominated(self) -> bool:
        """Y dominates X."""
        return self.p_value <= self.level < self.reverse_p_value


def _violations(from_x: np.ndarray, n_x: int, gaps: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """
    Largest violations of "X dominates Y" and of "Y dominates X", shapes ``(...)``.

    :param from_x: which of the pooled sorted returns belong to X, shape ``(..., n)``
    :param gaps: distance of each pooled return to the next, 0 between ties and behind the last, shape ``(n,)``
    """
    difference = np.cumsum(np.where(from_x, 1 / n_x, -1 / (from_x.shape[-1] - n_x)), axis=-1)
    if order == 2:
        curve = np.cumsum(difference * gaps, axis=-1)
    else:
        # Within ties the step of the distribution functions is incomplete
        curve = difference[..., gaps > 0]
    highest = curve.max(axis=-1, initial=0.0)
    lowest = curve.min(axis=-1, initial=0.0)
    return highest, -lowest


def dominance(
    x: ArrayLike, y: ArrayLike, order: Literal[1, 2], level: float = 0.05, n_resamples: int = 2000, seed: int = 0
) -> Dominance:
    """
    Test whether the returns X dominate the returns Y, and the reverse.

    The p-values come from permutations of the pooled returns. Equal distributions are the least favourable case of both
    hypotheses, so the tests are valid, and conservative for other distributions.

    :param x: shape ``(n,)``
    :param y: shape ``(m,)``
    :param order: 1 or 2
    :param level: level of the tests, in (0, 1)
    :param n_resamples: number of permutations
    :param seed: seed of the permutations
    :return: violations and p-values, see :class:`Dominance`
    :raises ValueError: if there are no returns, one is not finite, or another argument is out of range
    """
    x, y = check_returns("x", x), check_returns("y", y)
    if order not in (1, 2):
        raise ValueError(f"order = {order} must be 1 or 2, the order of the dominance.")
    if not 0 < level < 1:
        raise ValueError(f"level = {level} must lie in (0, 1): 0.05 rejects a true hypothesis in 5 % of all tests.")
    check_count("n_resamples", n_resamples)
    pooled = np.concatenate([x, y])
    by_return = np.argsort(pooled, kind="stable")
    gaps = np.append(np.diff(pooled[by_return]), 0.0)
    from_x = by_return < len(x)
    observed = _violations(from_x, len(x), gaps, order)
    permuted = np.random.default_rng(seed).permuted(np.tile(from_x, (n_resamples, 1)), axis=-1)
    # Differences by rounding count as equal
    slack = 1e-12 * (1.0 if order == 1 else np.ptp(pooled))
    p_values = [
        (1 + np.count_nonzero(replicates >= value - slack)) / (1 + n_resamples)
        for value, replicates in zip(observed, _violations(permuted, len(x), gaps, order), strict=True)
    ]
    return Dominance(order, float(observed[0]), float(observed[1]), p_values[0], p_values[1], level)
