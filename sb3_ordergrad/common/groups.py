"""Comparison groups: the episodes of a rollout, topped up with the most recent earlier ones."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from sb3_ordergrad.common.episodes import Episode
from sb3_ordergrad.lstatistics import GroupInfluence, LStatistic, Objective

# groups that are remembered, the most recent ones: keys without end must not fill the memory and the saved model
MAX_GROUPS = 1000


class Group(NamedTuple):
    """
    Episodes that are compared with each other, oldest first.

    :param returns: raw returns, shape (N,)
    :param ages: timesteps since the end of the rollout in which each ended, shape (N,)
    :param n_new: how many of them, the last ones, ended in the present rollout
    """

    returns: np.ndarray
    ages: np.ndarray
    n_new: int


class EpisodeMemory:
    """
    The most recent episodes of each of the ``MAX_GROUPS`` most recent groups.

    :param group_size: size up to which the episodes of a rollout are topped up with earlier ones
    """

    def __init__(self, group_size: int) -> None:
        self.group_size = group_size
        # return, and timestep at the end of its rollout
        self.recent: dict[str, list[tuple[float, int]]] = {}
        # the model's own count starts again with each training
        self.timestep = 0

    def add(self, finished: list[Episode], under_way: list[str], n_timesteps: int) -> dict[str, Group]:
        """
        :param finished: episodes that ended in this rollout
        :param under_way: groups of the episodes under way
        :param n_timesteps: timesteps of this rollout, over all environments
        :return: the groups of these episodes, as far as they have members
        """
        self.timestep += n_timesteps
        new: dict[str, list[tuple[float, int]]] = {key: [] for key in under_way}
        for episode in finished:
            new.setdefault(episode.key, []).append((episode.episode_return, self.timestep))
        groups = {}
        for key, added in new.items():
            members = (self.recent.pop(key, []) + added)[-max(self.group_size, len(added)) :]
            if not members:
                continue
            self.recent[key] = members[-self.group_size :]
            returns, ended_at = zip(*members, strict=True)
            groups[key] = Group(np.array(returns), self.timestep - np.array(ended_at), len(added))
        # in the order in which they were last seen
        for key in list(self.recent)[:-MAX_GROUPS]:
            del self.recent[key]
        return groups


@lru_cache(maxsize=32)
def l_statistic(group_size: int, k: float, objective: Objective) -> LStatistic:
    """
    ``LStatistic``, kept from rollout to rollout: A2C's are too short to compute its weights for each.

    :param group_size: number of episodes N
    :param k: sample size K
    :param objective: the objective
    :return: the L-statistic
    """
    return LStatistic(group_size, k, objective)


class TransformedReturn:
    """
    ``phi_i(x)``: the transformed return of episode i, had it returned x (design: the influence of one episode).

    A group of fewer than k + 1 episodes cannot be ranked yet: there phi is x.

    :param group: the group
    :param k: sample size K
    :param objective: the L-statistic
    """

    def __init__(self, group: Group, k: float, objective: Objective) -> None:
        self.n_old = len(group.returns) - group.n_new
        self.finished: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
        self.slope = 1.0
        if len(group.returns) < k + 1:
            return
        self.lstatistic = l_statistic(len(group.returns), k, objective)
        self.slope = float(self.lstatistic.rank_weights.sum())
        self.finished = GroupInfluence(self.lstatistic, group.returns)
        self.others = group.returns[1:]

    def __call__(self, x: np.ndarray, member: np.ndarray) -> np.ndarray:
        """
        :param x: returns, shape (M,)
        :param member: index among the group's episodes of this rollout, -1 for an episode under way, which is compared with
            the N - 1 most recent ones; shape (M,)
        :return: phi, shape (M,)
        """
        if self.finished is None:
            return x
        phi = np.empty_like(x)
        ended = member >= 0
        phi[ended] = self.finished(x[ended], self.n_old + member[ended])
        phi[~ended] = self.lstatistic.influence(x[~ended], self.others)
        return phi
