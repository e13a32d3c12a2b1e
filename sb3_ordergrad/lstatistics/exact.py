"""
The exact L-statistic of a known discrete distribution: the oracle for unbiasedness (OrderGrad, arXiv 2606.06096).

``P(R_(j:k) <= r) = P(Bin(k, F(r)) >= j)``, and given that one of the k draws is b,
``P(Bin(k-1, F(r)) >= j - 1{b <= r})``; for a fractional k the same with the incomplete beta function.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sb3_ordergrad.lstatistics.objectives import ObjectiveLike, check_k, rank_weights


class ExactLStatistic(NamedTuple):
    """
    ``value`` is J; ``include_one[b]`` the mean given that one draw is ``values[b]``; ``advantages`` their difference, whose
    mean under the distribution is zero. The last two have the shape and order of ``values``.
    """

    value: float
    include_one: np.ndarray
    advantages: np.ndarray


def exact_lstatistic(values: ArrayLike, probs: ArrayLike, k: float, objective: ObjectiveLike) -> ExactLStatistic:
    """
    Value, include-one means and advantages for k i.i.d. draws from a discrete distribution.

    The gradient of J in the parameters of the distribution is ``k sum_b p_b a_b grad log p_b``.

    :param values: support, shape ``(S,)``, in any order, with or without ties
    :param probs: probabilities, shape ``(S,)``, non-negative, sum 1
    :param k: sample size, a real number >= 1
    :param objective: the objective in any form, see ``parse_objective``
    :return: value, include_one, advantages
    :raises ValueError: if the distribution, k or the objective is invalid
    """
    support, mass = np.asarray(values, dtype=np.float64), np.asarray(probs, dtype=np.float64)
    if support.ndim != 1 or support.size == 0 or support.shape != mass.shape:
        raise ValueError(f"values and probs need one shape (S,) with S >= 1, got {support.shape} and {mass.shape}")
    if not np.isfinite(support).all():
        raise ValueError(f"values must be finite, got {values!r}")
    if not (mass >= 0).all() or not np.isclose(mass.sum(), 1.0, rtol=0.0, atol=1e-8):
        raise ValueError(f"probs must be non-negative with sum 1, got {probs!r} with sum {mass.sum()}; normalise them")
    weights, k = rank_weights(objective, k), check_k(k)
    order = np.argsort(support, kind="stable")
    ordered = support[order]
    # F at every support point but the highest, where it is 1
    below = np.clip(np.cumsum(mass[order])[:-1] / mass.sum(), 0.0, 1.0)
    ranks = np.arange(1, len(weights) + 1)
    gaps = np.diff(ordered)
    top = ordered[-1] * weights.sum()
    value = top - gaps @ (_at_least(ranks, k, below) @ weights)
    # gaps below the draw see it above (1{b <= r} = 0), gaps from the draw on see it below
    outside = np.concatenate(([0.0], np.cumsum(gaps * (_at_least(ranks, k - 1, below) @ weights))))
    inside = np.concatenate(([0.0], np.cumsum(gaps * (_at_least(ranks - 1, k - 1, below) @ weights))))
    include_one = np.empty_like(support)
    include_one[order] = top - outside - (inside[-1] - inside)
    return ExactLStatistic(float(value), include_one, include_one - value)


def _at_least(ranks: np.ndarray, draws: float, below: np.ndarray) -> np.ndarray:
    """``P(Bin(draws, F) >= j)``, shape ``(len(below), len(ranks))``: 1 for j = 0, 0 for j > draws."""
    # Imported here, since scipy would lengthen ``import sb3_ordergrad``
    from scipy.special import betainc

    shape = np.maximum(draws - ranks + 1, 0.0)
    inner = (ranks >= 1) & (shape > 0)
    # arguments of 1 stand in where the incomplete beta function is not defined
    chance = betainc(np.where(inner, ranks, 1), np.where(inner, shape, 1.0), below[:, None])
    return np.where(inner, chance, np.where(ranks < 1, 1.0, 0.0))
