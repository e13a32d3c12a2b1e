"""
The L-statistic of a group of returns: its value, and the advantage of each member.

Source: OrderGrad (arXiv 2606.06096); MaxPO (arXiv 2606.06080) and PKPO (arXiv 2505.15201) for the maximum.
"""

import math
from collections.abc import Callable
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch as th

from sb3_ordergrad.lstatistics.combinatorics import collapse
from sb3_ordergrad.lstatistics.objectives import ObjectiveLike, check_k, parse_objective

ArrayT = TypeVar("ArrayT", np.ndarray, th.Tensor)

# Groups up to this size use one matrix product, larger ones prefix sums
_MATRIX_SIZE = 128


class LStatistic:
    """
    Unbiased estimator of ``J = E[ sum_j alpha_j R_(j:k) ]`` from a group of N exchangeable returns.

    Let ``T(S)`` be the L-statistic of a sample S of k members, ``v`` its mean over all samples from the group, ``q_i`` its
    mean over those that hold member i and ``v^(-i)`` over those that do not. The advantage is ``a_i = q_i - v^(-i)``. For
    i.i.d. members ``(k/N) sum_i a_i grad log p_i`` is an unbiased gradient of J. Advantages sum to zero, do not change with a
    shift of all returns and scale with them. With all weights equal to 1/k, ``k a_i = R_i - mean(others)``.

    A sample either holds i or does not, hence ``v = (k/N) q_i + (1 - k/N) v^(-i)``: q and v^(-i) follow from v and a.

    A fractional k has floor(k) ranks (``docs/reference/objectives.md``): "max" estimates ``P(max <= r) = F(r)^k``.
    There the advantages are those of the leave-one-out weights, centred, and q and v^(-i) are defined by the last equation.

    All methods work on the last axis, of length ``group_size``, with any leading batch axes. Arrays and lists give float64
    arrays. Tensors give tensors of the same device and dtype: ``value`` is differentiable, the others are detached.

    :param group_size: N, number of returns in a group
    :param k: sample size, a real number in [1, N - 1]; ``value`` also allows k up to N
    :param objective: string, rank weights in ascending order, or Objective, see ``parse_objective``
    :param check_finite: whether NaN and infinite returns raise a ValueError. For tensors on a GPU the check waits for the
        device; without it they give NaN
    :raises ValueError: if k or the objective is invalid
    """

    def __init__(self, group_size: int, k: float, objective: ObjectiveLike, check_finite: bool = True) -> None:
        if isinstance(group_size, bool) or not isinstance(group_size, (int, np.integer)) or group_size < 1:
            raise ValueError(f"group_size = {group_size!r} must be an integer >= 1, the number of returns in a group")
        self.group_size = int(group_size)
        self.k = check_k(k)
        if self.k > self.group_size:
            raise ValueError(f"k = {k} must be in [1, group_size = {group_size}]; use a smaller k or a larger group")
        self.objective = parse_objective(objective)
        self.rank_weights = self.objective.rank_weights(math.floor(self.k))
        self.check_finite = check_finite
        self._constants: dict[tuple[str, th.device, th.dtype], th.Tensor] = {}

    @cached_property
    def is_mean(self) -> bool:
        """Whether the objective is the mean, so that ``phi(x) = x + const``."""
        return self.objective.is_mean(self.k)

    @cached_property
    def value_weights(self) -> np.ndarray:
        """``W alpha``: weights of the sorted returns in ``value``, shape ``(group_size,)``, ascending."""
        return self._collapse(self.group_size)

    @cached_property
    def leave_one_out_weights(self) -> np.ndarray:
        """``W- alpha``: weights of the sorted returns of a group without one member, shape ``(group_size - 1,)``."""
        if self.k > self.group_size - 1:
            raise ValueError(
                f"k = {self.k} must be at most group_size - 1 = {self.group_size - 1} to compare members with each other "
                "(value alone allows k = group_size); use a smaller k or a larger group"
            )
        return self._collapse(self.group_size - 1)

    @property
    def gap_weights(self) -> np.ndarray:
        """Difference of neighbouring advantages by the gap between their sorted returns, shape ``(group_size - 1,)``."""
        return self.leave_one_out_weights * (self.group_size / self.k)

    @property
    def gap_matrix(self) -> np.ndarray:
        """The advantages of sorted returns are ``np.diff(returns) @ gap_matrix``; shape ``(group_size - 1, group_size)``."""
        above = np.triu(np.ones((self.group_size - 1, self.group_size)), 1)
        return self.gap_weights[:, None] * (above - above.mean(1, keepdims=True))

    def _collapse(self, population: int) -> np.ndarray:
        if isinstance(self.k, int):
            return collapse(population, self.k, self.rank_weights)
        n = len(self.rank_weights)
        either, lowest, highest = self.objective.split_weights(n)
        weights = collapse(population, n, either) + collapse(population, self.k, lowest)
        return weights + collapse(population, self.k, highest[::-1])[::-1]

    def value(self, x: ArrayT) -> ArrayT:
        """
        ``v``, the mean of the L-statistic over all samples of k members, unbiased for J.

        :param x: returns, shape ``(..., group_size)``
        :return: shape ``(...)``, in the units of the returns; the gradient of a tensor is ``W alpha`` at the sorted members
        """
        tensor, restore = to_tensor(x)
        return restore(self._value(self._sort(tensor)[0]))

    def advantages(self, x: ArrayT) -> ArrayT:
        """
        ``a_i = q_i - v^(-i)``.

        :param x: returns, shape ``(..., group_size)``
        :return: the shape of x, in the units of the returns
        """
        tensor, restore = to_tensor(x)
        return restore(self._advantages(*self._sort(tensor.detach())))

    def include_one(self, x: ArrayT) -> ArrayT:
        """
        ``q_i = v + (1 - k/N) a_i``, the mean over the samples that hold member i.

        :param x: returns, shape ``(..., group_size)``
        :return: the shape of x
        """
        return self._shifted_value(x, 1.0 - self.k / self.group_size)

    def leave_one_out(self, x: ArrayT) -> ArrayT:
        """
        ``v^(-i) = v - (k/N) a_i``, the mean over the samples without member i.

        :param x: returns, shape ``(..., group_size)``
        :return: the shape of x
        """
        return self._shifted_value(x, -self.k / self.group_size)

    def influence(self, x: ArrayT, others: ArrayT) -> ArrayT:
        """
        ``phi(x) = k ( q(x; others) - v^(-i) )``: k times the advantage of a member whose return is x.

        Piecewise linear in x with knots at the other returns; ``phi(R_i) = k a_i``. Computed in NumPy.

        :param x: hypothetical returns of the member, any shape
        :param others: returns of the other members, shape ``(group_size - 1,)``
        :return: the shape of x
        """
        # Vectors are short: torch's overhead would dominate
        points, knots = to_array(x), np.sort(to_array(others))
        if knots.shape != (self.group_size - 1,):
            raise ValueError(f"others has shape {knots.shape}, needs (group_size - 1,) = ({self.group_size - 1},)")
        if self.check_finite:
            require_finite(points, "x")
            require_finite(knots, "others")
        slopes, losses = self.influence_constants
        gaps = np.diff(knots)
        heights = np.zeros_like(knots)
        np.cumsum(slopes[1:-1] * gaps, out=heights[1:])
        # phi at the lowest knot: k times the advantage of a member that ties with it
        heights -= losses @ gaps
        rank = np.searchsorted(knots, points, side="right")
        knot = np.maximum(rank - 1, 0)
        phi = heights[knot] + slopes[rank] * (points - knots[knot])
        return th.as_tensor(phi).to(floating(x)) if isinstance(x, th.Tensor) else phi

    def _shifted_value(self, x: ArrayT, factor: float) -> ArrayT:
        tensor, restore = to_tensor(x)
        ordered, order = self._sort(tensor.detach())
        return restore(self._value(ordered).unsqueeze(-1) + factor * self._advantages(ordered, order))

    def _sort(self, x: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        if x.ndim == 0 or x.shape[-1] != self.group_size:
            raise ValueError(f"x has shape {tuple(x.shape)}, its last axis must hold group_size = {self.group_size} returns")
        return x.sort(dim=-1)

    def _value(self, ordered: th.Tensor) -> th.Tensor:
        value = (ordered * self._constant("value_weights", ordered)).sum(-1)
        self._check(value, ordered)
        return value

    def _advantages(self, ordered: th.Tensor, order: th.Tensor) -> th.Tensor:
        """``a_(t+1) - a_t = (N/k) w_t (R_(t+1) - R_(t))`` and sum zero give the advantages of the sorted returns."""
        gaps = ordered[..., 1:] - ordered[..., :-1]
        self._check(gaps, ordered)
        if self.group_size <= _MATRIX_SIZE:
            advantages = gaps @ self._constant("gap_matrix", ordered)
        else:
            advantages = th.zeros_like(ordered, dtype=th.float64)
            th.cumsum(gaps * self._constant("gap_weights", ordered), -1, dtype=th.float64, out=advantages[..., 1:])
            advantages -= advantages.mean(-1, keepdim=True)
            advantages = advantages.to(ordered.dtype)
        return th.empty_like(advantages).scatter_(-1, order, advantages)

    def _check(self, derived: th.Tensor, source: th.Tensor) -> None:
        """
        Raise if the source holds a value that is not finite. Such a value carries over to the derived tensor and its sum,
        which is ten times cheaper than a test of every value. A sum that merely overflows raises no error.
        """
        if self.check_finite and not math.isfinite(derived.detach().sum().item()):
            require_finite(to_array(source), "x")

    def _constant(self, name: str, like: th.Tensor) -> th.Tensor:
        """The attribute of that name as a tensor with the device and dtype of ``like``."""
        key = (name, like.device, like.dtype)
        if key not in self._constants:
            self._constants[key] = th.as_tensor(getattr(self, name)).to(like)
        return self._constants[key]

    @cached_property
    def influence_constants(self) -> tuple[np.ndarray, np.ndarray]:
        """Slopes of phi between the knots, ``N W``, and the weights of the gaps in phi at the lowest knot."""
        weights = self.leave_one_out_weights
        above = np.arange(self.group_size - 1, 0, -1)
        # From W-, so that phi agrees with the advantages for a fractional k too
        slopes = np.zeros(self.group_size)
        slopes[:-1] += above * weights
        slopes[1:] += above[::-1] * weights
        return slopes, above[1:] * weights[1:]


def to_tensor(x: ArrayT) -> tuple[th.Tensor, Callable[[th.Tensor], ArrayT]]:
    """The input as a floating tensor (without a copy), and a function that converts a result to the type of the input."""
    if isinstance(x, th.Tensor):
        return floating(x), lambda tensor: tensor
    array = np.ascontiguousarray(x, dtype=np.float64)
    return th.from_numpy(array if array.flags.writeable else array.copy()), lambda tensor: tensor.numpy()[()]


def to_array(x: ArrayT) -> np.ndarray:
    """Float64 array without a gradient, from an array or a tensor of any device and dtype."""
    # NumPy does not know bfloat16
    return np.asarray(x.detach().cpu().double() if isinstance(x, th.Tensor) else x, dtype=np.float64)


def floating(x: th.Tensor) -> th.Tensor:
    """The tensor; integers become torch's default floating type."""
    return x if x.is_floating_point() else x.to(th.get_default_dtype())


def require_finite(values: np.ndarray, name: str) -> None:
    """Raise a ValueError, with the name of the returns, if one is NaN or infinite."""
    finite = np.isfinite(values)
    if not finite.all():
        raise ValueError(f"{name} holds {values[~finite][0]}, returns must be finite; remove such episodes")
