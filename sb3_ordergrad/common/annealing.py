"""Annealing at the pace of training: the objective moves while it does not improve by itself."""

import math
from collections.abc import Sequence

import numpy as np

from sb3_ordergrad.lstatistics import LStatistic, Objective

START = 0.2  # share of the last objective at the beginning
HOLD = 0.3  # of training before the share changes
DURATION = 0.15  # of training, for the share to rise by 1, if the objective never improves
MIN_INTERVAL = 0.02  # of training between two measurements
EPISODES_PER_K = 2.5  # of a measurement at least: with the default k, ten in the tail of a CVaR
MAX_EPISODES = 2000  # of a measurement at most: the latest


class AdaptiveAnnealing:
    """
    How far to move from the first objective to the last one. Saved with the model.

    A tail objective alone is blind to the successes of a policy that mostly fails, and the mean alone may settle for a policy
    whose tail cannot be mended. So training begins with a mixture that has a ``START`` share of the last objective, which is
    measured on the episodes of successive intervals of training. If its value is higher than in the interval before,
    training with the present mixture serves it, and the mixture stays as it is during the next interval. Otherwise, after
    ``HOLD`` of training, the share rises at the rate ``1 / DURATION``.
    """

    def __init__(self) -> None:
        # the share of the last objective, 1 at the end
        self.fraction = START
        self._progress = 0.0
        # of the present interval
        self._start = 0.0
        self._returns: list[float] = []
        # the objective's value in the last interval, and whether it was no better than the one before
        self._value: float | None = None
        self._moves = False

    def update(self, returns: Sequence[float], progress: float, k: float, objective: Objective) -> None:
        """
        :param returns: of the episodes that have ended since the last call
        :param progress: fraction of training that is over
        :param k: sample size of the objective
        :param objective: the last objective
        """
        if progress < self._progress:
            # training is continued: the fraction is one of more steps
            self._start = self._progress = progress
        if self._moves and progress > HOLD:
            self.fraction = min(1.0, self.fraction + (progress - self._progress) / DURATION)
        self._progress = progress
        if self.fraction == 1.0:
            self._returns = []
            return
        n_episodes = max(min(EPISODES_PER_K * k, MAX_EPISODES), k + 1)
        self._returns = [*self._returns, *returns][-math.ceil(max(n_episodes, MAX_EPISODES)) :]
        if len(self._returns) >= n_episodes and progress - self._start >= MIN_INTERVAL:
            value = float(LStatistic(len(self._returns), k, objective).value(np.array(self._returns)))
            self._moves = self._value is not None and value <= self._value
            self._start, self._returns, self._value = progress, [], value
