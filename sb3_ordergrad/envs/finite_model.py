"""Tables of a finite task, from which dynamic programming can compute its best policy."""

from typing import NamedTuple

import numpy as np
from scipy.stats import norm


class FiniteModel(NamedTuple):
    """
    A task with finitely many states and a fixed number of steps, as tables.

    Action a leads from state s to ``next_states[s, a, i]`` with ``probabilities[s, a, i]``, for i in 0..n-1. The arrays may be
    broadcast views: read them, or copy them before writing.

    :param n_steps: length of an episode, unless a terminal state ends it before
    :param initial_state: in which every episode starts
    :param next_states: ``(S, A, n)``, integers in 0..S-1
    :param probabilities: ``(S, A, n)``, sum to 1 over the last axis
    :param rewards: ``(S, A, n)``, of every step but the last
    :param last_rewards: ``(S, A, n)``, of step ``n_steps``, after which the episode is over
    :param terminal: ``(S,)`` bool, states in which the episode ends
    """

    n_steps: int
    initial_state: int
    next_states: np.ndarray
    probabilities: np.ndarray
    rewards: np.ndarray
    last_rewards: np.ndarray
    terminal: np.ndarray


def normal_transitions(grid: np.ndarray, means: np.ndarray, std: float) -> np.ndarray:
    """
    Discretise ``x' ~ N(mean, std^2)``: each grid point takes the probability of its cell (Tauchen 1986,
    https://doi.org/10.1016/0165-1765(86)90168-0). The first and the last cell are unbounded.

    :param grid: points x', ascending, ``(n,)``
    :param means: one for each state before the step, ``(m,)``
    :param std: above 0
    :return: transition probabilities, ``(m, n)``; the rows sum to 1
    """
    edges = np.concatenate([[-np.inf], 0.5 * (grid[1:] + grid[:-1]), [np.inf]])
    return np.diff(norm.cdf((edges - means[:, None]) / std), axis=1)
