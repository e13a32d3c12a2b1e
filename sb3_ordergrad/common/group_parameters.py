"""The parameters ``objective``, ``k`` and ``group_size`` of an algorithm that compares episodes."""

import math
from numbers import Integral, Real

import numpy as np

from sb3_ordergrad.common.groups import default_k
from sb3_ordergrad.lstatistics import ObjectiveLike, parse_objective, rank_weights
from sb3_ordergrad.lstatistics.objectives import check_k


class GroupParameters:
    """Defaults and checks of the sample and group size. Comes in front of the algorithm in the list of base classes."""

    objective: ObjectiveLike

    @property
    def k(self) -> float:
        """Sample size: the given one, or for ``None`` that of :func:`default_k`, below a given group size."""
        given, group_size = self.__dict__["k"], self.__dict__["group_size"]
        if given is not None:
            return given
        k = default_k(parse_objective(self.objective))
        return min(k, max(1, int(group_size) - 1)) if isinstance(group_size, Integral) else k

    @k.setter
    def k(self, value: float | None) -> None:
        self.__dict__["k"] = value

    @property
    def group_size(self) -> int:
        """Number of episodes that are compared: the given one, or for ``None`` twice the sample size."""
        given = self.__dict__["group_size"]
        return 2 * math.ceil(self.k) if given is None else given

    @group_size.setter
    def group_size(self, value: int | None) -> None:
        self.__dict__["group_size"] = value

    def _check_group_parameters(self) -> None:
        """Raise a ValueError if one is out of its range, or if the objective is not defined for this k."""
        if self.__dict__["group_size"] is None:
            check_k(self.k)
        if isinstance(self.group_size, bool) or not isinstance(self.group_size, Integral) or self.group_size < 2:
            raise ValueError(f"group_size={self.group_size!r} must be an integer of at least 2, such as 32.")
        # before the rank weights: a huge k would exhaust the memory
        if isinstance(self.k, Real) and self.k > self.group_size - 1:
            raise ValueError(
                f"k={self.k} must be below group_size={self.group_size} by at least 1: "
                "each episode is compared with samples of k others. "
                f"Use k <= {self.group_size - 1} or group_size >= {np.ceil(self.k) + 1:.0f}."
            )
        try:
            rank_weights(self.objective, self.k)
        except ValueError as error:
            if self.__dict__["k"] is None and self.__dict__["group_size"] is not None:
                raise ValueError(
                    f"{error} (k = {self.k} follows from group_size={self.group_size}: use a larger one)"
                ) from None
            raise
