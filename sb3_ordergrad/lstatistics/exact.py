"""
The exact L-statistic of a known discrete distribution with the distribution function F.

The j-th lowest of k draws is at most r with probability ``P(Bin(k, F(r)) >= j) = I_F(j, k-j+1)``, the incomplete beta
function, which also serves a fractional k. A rank with i ranks above it is counted from the highest draw, ``I_F(k-i, i+1)``:
for a whole k this is the same, for the maximum it is ``F^k`` for every k (OrderGrad, arXiv 2606.06096; ReMax, arXiv
2606.00151).
"""

import math
from functools import lru_cache
from numbers import Real
from typing import NamedTuple

import numpy as np
import torch as th
from numpy.typing import ArrayLike

from sb3_ordergrad.lstatistics.estimators import floating
from sb3_ordergrad.lstatistics.objectives import Objective, ObjectiveLike, check_k, parse_objective

# For k < 1 the advantage of a value of probability zero is infinite: a smaller F counts as this one (as in ReMax)
MIN_CDF = 1e-8


class ExactLStatistic(NamedTuple):
    """
    ``value`` is J, ``include_one[b]`` its mean given that one draw is ``values[b]``, ``advantages`` their difference, which
    has the mean zero under the distribution. The last two have the shape and order of ``values``.
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
    :param k: sample size, a real number > 0; below 1 there is one rank, and ``P(max <= r) = F(r)^k`` still holds
    :param objective: string, rank weights in ascending order, or Objective, see ``parse_objective``
    :return: value, include_one, advantages
    :raises ValueError: if the distribution, k or the objective is invalid
    """
    # Imported here, since most imports of the package never need it
    from scipy.special import betainc

    support, mass = np.asarray(values, dtype=np.float64), np.asarray(probs, dtype=np.float64)
    if support.ndim != 1 or support.size == 0 or support.shape != mass.shape:
        raise ValueError(f"values and probs need one shape (S,) with S >= 1, got {support.shape} and {mass.shape}")
    if not np.isfinite(support).all():
        raise ValueError(f"values must be finite, got {values!r}")
    if not (mass >= 0).all() or not np.isclose(mass.sum(), 1.0, rtol=0.0, atol=1e-8):
        raise ValueError(f"probs must be non-negative with sum 1, got {probs!r} with sum {mass.sum()}; normalise them")
    mass = mass / mass.sum()
    advantages = exact_advantages(th.from_numpy(support.copy()), th.from_numpy(mass), k, objective).numpy()
    k, (either, lowest, highest) = _split(k, parse_objective(objective))
    order = np.argsort(support, kind="stable")
    # F at every support point but the highest, where it is 1
    below = np.clip(np.cumsum(mass[order])[:-1, None], 0.0, 1.0)
    i, n = np.arange(len(either)), len(either)
    chances = betainc(i + 1, n - i, below) @ either + betainc(i + 1, k - i, below) @ lowest
    chances += betainc(k - i, i + 1, below) @ highest[::-1]
    value = float(support[order[-1]] * (either + lowest + highest).sum() - np.diff(support[order]) @ chances)
    return ExactLStatistic(value, value + advantages, advantages)


def exact_advantages(values: th.Tensor, probs: th.Tensor, k: float, objective: ObjectiveLike) -> th.Tensor:
    """
    ``include_one - value`` of :func:`exact_lstatistic` for a batch of distributions, e.g. over the actions of many states.

    With the support sorted, ``a_(b+1) - a_b = h(F_b) (r_(b+1) - r_b)``, where ``h(F) = sum_j alpha_j C(k-1, j-1) F^(j-1)
    (1-F)^(k-j)``, and the mean of a under the distribution is zero. Runs on the tensors' device without waiting for it, and
    does not check the distributions.

    :param values: support of each distribution, shape ``(..., S)``, finite
    :param probs: probabilities, shape ``(..., S)``, non-negative, with sum 1 over the last axis
    :param k: sample size, a real number > 0; below 1 a distribution function below 1e-8 counts as 1e-8
    :param objective: string, rank weights in ascending order, or Objective, see ``parse_objective``
    :return: advantages, shape ``(..., S)``, in the units and the order of ``values``, without a gradient
    :raises ValueError: if the shapes differ, or k or the objective is invalid
    """
    if values.ndim == 0 or values.shape != probs.shape:
        raise ValueError(f"values and probs need one shape (..., S), got {tuple(values.shape)} and {tuple(probs.shape)}")
    ordered, order = floating(values.detach()).sort(dim=-1)
    probs = probs.detach().to(ordered).gather(-1, order)
    terms = _slope_terms(k, parse_objective(objective), ordered.device, ordered.dtype)
    weights, log_binomials, lower_powers, upper_powers = terms
    # F between neighbours, and its complement
    cdf = probs.cumsum(-1)[..., :-1, None]
    floor = MIN_CDF if k < 1 else 0.0
    below, above = cdf.clamp(floor, 1.0), (1.0 - cdf).clamp(floor, 1.0)
    chances = th.exp(log_binomials + th.xlogy(lower_powers, below) + th.xlogy(upper_powers, above))
    advantages = th.zeros_like(ordered)
    advantages[..., 1:] = ((chances @ weights) * ordered.diff(dim=-1)).cumsum(-1)
    advantages -= (probs * advantages).sum(-1, keepdim=True)
    return th.empty_like(advantages).scatter_(-1, order, advantages)


def _split(k: float, objective: Objective) -> tuple[float, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """k, and ``Objective.split_weights`` of its floor(k) ranks, at least one."""
    if not isinstance(k, Real) or not k > 0:
        raise ValueError(f"k = {k!r} must be a real number > 0; k = 1 is the plain mean")
    k = float(k) if k < 1 else check_k(k)
    return k, objective.split_weights(max(1, math.floor(k)))


@lru_cache(maxsize=64)
def _slope_terms(k: float, objective: Objective, device: th.device, dtype: th.dtype) -> th.Tensor:
    """The rows u, b, v, w of a tensor so that ``h(F) = sum_l u_l exp(b_l) F^(v_l) (1-F)^(w_l)``."""
    from scipy.special import gammaln

    k, (either, lowest, highest) = _split(k, objective)
    i, n = np.arange(len(either)), len(either)

    def log_binomials(k: float) -> np.ndarray:
        return gammaln(k) - gammaln(i + 1) - gammaln(k - i)

    rows = np.concatenate(
        [
            [n / k * either, log_binomials(n), i, n - 1 - i],
            [lowest, log_binomials(k), i, k - 1 - i],
            [highest[::-1], log_binomials(k), k - 1 - i, i],
        ],
        axis=1,
    )
    return th.as_tensor(rows[:, rows[0] != 0.0]).to(device, dtype)
