"""The influence function of every member of a group, evaluated at many points at once."""

import numpy as np

from sb3_ordergrad.lstatistics.estimators import LStatistic, require_finite


class GroupInfluence:
    """
    ``phi_i(x) = k ( q(x; others of i) - v^(-i) )`` for the members i of one group, as ``LStatistic.influence`` with the other
    members: O(log N) per point after one sort and one scan of the group.

    Without the member of rank t one gap of the sorted returns is wider and those above it move down by one, so that sums over
    the gaps of the others are differences of two prefix sums.

    :param lstatistic: objective, with ``group_size`` = N
    :param group: returns of all members, shape (N,)
    :raises ValueError: if ``group`` has another shape, or a return is not finite
    """

    def __init__(self, lstatistic: LStatistic, group: np.ndarray) -> None:
        size = lstatistic.group_size
        group = np.asarray(group, dtype=np.float64)
        if group.shape != (size,):
            raise ValueError(f"group has shape {group.shape}, needs (group_size,) = ({size},)")
        if lstatistic.check_finite:
            require_finite(group, "group")
        order = np.argsort(group, kind="stable")
        self.ordered = group[order]
        self.rank = np.empty(size, dtype=np.int64)
        self.rank[order] = np.arange(1, size + 1)
        self.slopes, losses = lstatistic.influence_constants
        gaps = np.diff(self.ordered)
        self._rise = _prefix_sums(self.slopes[1:-1], gaps)
        below, above = _prefix_sums(losses, gaps)
        # phi_i at the lowest of the others
        self._lowest = -_without(below, above, self.rank, np.full(size, size - 2))

    def __call__(self, x: np.ndarray, member: np.ndarray) -> np.ndarray:
        """
        :param x: hypothetical returns, any shape
        :param member: index of the member in ``group``, the same shape
        :return: phi of that member at x, the same shape
        """
        rank = self.rank[member]
        lower = np.searchsorted(self.ordered, x, side="right")
        # Number of the others that are at most x
        lower = lower - (lower >= rank)
        knot = np.maximum(lower, 1)
        knot_value = self.ordered[knot - 1 + (knot >= rank)]
        height = self._lowest[member] + _without(*self._rise, rank, knot - 1)
        return height + self.slopes[lower] * (x - knot_value)


def _prefix_sums(weights: np.ndarray, gaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``sum_{l<=m} weights_l gaps_l`` and ``sum_{l<=m} weights_l gaps_(l+1)`` for m = 0..N-2."""
    sums = np.zeros((2, len(gaps)))
    np.cumsum(weights * gaps[:-1], out=sums[0, 1:])
    np.cumsum(weights * gaps[1:], out=sums[1, 1:])
    return sums[0], sums[1]


def _without(below: np.ndarray, above: np.ndarray, rank: np.ndarray, m: np.ndarray) -> np.ndarray:
    """The sum over the first m gaps between the others of the member with that rank."""
    meets = m >= rank - 1
    # For m < rank - 1 the gaps are those of the whole group
    split = np.minimum(rank - 1, m)
    return below[split] + np.where(meets, above[m] - above[np.maximum(split - 1, 0)], 0.0)
