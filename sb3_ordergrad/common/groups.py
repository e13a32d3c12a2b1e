"""Comparison groups: the episodes of a rollout, topped up with the most recent earlier ones."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from sb3_ordergrad.common.episodes import Rollout
from sb3_ordergrad.lstatistics import GroupInfluence, LStatistic, Objective
from sb3_ordergrad.lstatistics.presets import PRESETS, Count

MIN_TAIL = 0.01  # the default sample size does not grow below it
MAX_GROUPS = 1000  # most recently seen groups that are remembered, so that memory and saved model stay bounded

# made once: A2C's rollouts are too short to compute the weights of an L-statistic in each
cached_lstatistic = lru_cache(maxsize=32)(LStatistic)


def default_k(objective: Objective) -> int:
    """
    Sample size for an objective: 16, or as many as it has rank weights; for a tail, a quantile or a share that is cut off at
    least as many that 4 episodes are expected in the smaller part, or 400; for a number of ranks twice as many as it needs.

    :param objective: the objective
    :return: k
    """
    k = 16
    for _, atom in objective.terms:
        if atom.name == "weights":
            return len(atom.arguments)
        for parameter, argument in zip(PRESETS[atom.name].parameters, atom.arguments, strict=False):
            if isinstance(parameter, Count):
                k = max(k, 2 * parameter.needed_ranks(int(argument)))
            else:
                level = float(argument)
                # a tail has a limit at 0; the smallest and the largest return are quantiles of every sample
                part = level if parameter.limit else min(level, 1.0 - level)
                if part > 0.0:
                    k = max(k, math.ceil(4.0 / max(part, MIN_TAIL)))
    return k


def ranks_losses(rank_weights: np.ndarray) -> bool:
    """
    Whether an objective is one of the lower returns, with less than a fifth of its weight on the upper half of the ranks.

    :param rank_weights: shape (K,)
    """
    weights = np.abs(rank_weights)
    # the middle rank of an odd number is half in each
    upper = 0.5 * (weights[len(weights) // 2 :].sum() + weights[(len(weights) + 1) // 2 :].sum())
    return bool(upper < 0.2 * weights.sum())


class Group(NamedTuple):
    """
    Episodes that are compared with each other, oldest first.

    :param returns: raw returns, shape (N,)
    :param ages: timesteps since the end of the rollout in which each ended, shape (N,)
    :param episodes: numbers in this rollout (``Rollout.episode``) of the episodes that belong to the group: first those that
        ended, which are the last of the N members, then the unfinished ones
    :param n_new: how many ended in this rollout
    """

    returns: np.ndarray
    ages: np.ndarray
    episodes: np.ndarray
    n_new: int


class EpisodeMemory:
    """The most recent episodes of each of the ``MAX_GROUPS`` most recently seen groups. Saved with the model."""

    def __init__(self, group_by: str | None = None) -> None:
        self.group_by = group_by
        # return of each episode, and timestep at the end of its rollout
        self.recent: dict[str, list[tuple[float, int]]] = {}
        # the model's own count starts again with each training
        self.timestep = 0

    def add(self, rollout: Rollout, group_size: int) -> dict[str, Group]:
        """
        :param group_size: size up to which the episodes of the rollout are topped up with earlier ones
        :return: the groups of the rollout's episodes that have members, by key
        """
        self.timestep += rollout.rewards.size
        numbers: dict[str, list[int]] = {}
        for number, key in enumerate([*(episode.group_key for episode in rollout.finished), *rollout.ongoing_group_keys]):
            numbers.setdefault(key, []).append(number)
        groups = {}
        for key, episodes in numbers.items():
            ended = [rollout.finished[number] for number in episodes if number < len(rollout.finished)]
            new = [(episode.episode_return, self.timestep) for episode in ended]
            members = (self.recent.pop(key, []) + new)[-max(group_size, len(new)) :]
            if members:
                self.recent[key] = members[-group_size:]
                returns, ended_at = zip(*members, strict=True)
                groups[key] = Group(np.array(returns), self.timestep - np.array(ended_at), np.array(episodes), len(new))
        # in the order in which they were last seen
        for key in list(self.recent)[:-MAX_GROUPS]:
            del self.recent[key]
        return groups


class TransformedReturn:
    """
    ``phi_i(x)``, the transformed return of episode i of a group if its return were x: ``K (q(x) - v^(-i))``, from the returns
    of the other episodes. A group of fewer than K + 1 episodes cannot be ranked, there phi is x.
    """

    def __init__(self, group: Group, k: float, objective: Objective) -> None:
        self.group = group
        self.lstatistic: LStatistic | None = None
        self.slope = 1.0  # mean slope of phi
        if len(group.returns) >= k + 1:
            self.lstatistic = cached_lstatistic(len(group.returns), k, objective)
            self.slope = float(self.lstatistic.rank_weights.sum())
            self._of_members = GroupInfluence(self.lstatistic, group.returns)

    def __call__(self, x: np.ndarray, member: np.ndarray) -> np.ndarray:
        """
        :param x: returns, shape (M,)
        :param member: index of the episode in the group, shape (M,); -1 for an unfinished one, which is compared with the
            N - 1 most recent members
        :return: phi, shape (M,)
        """
        if self.lstatistic is None:
            return x
        phi = np.empty_like(x)
        ended = member >= 0
        phi[ended] = self._of_members(x[ended], member[ended])
        phi[~ended] = self.lstatistic.influence(x[~ended], self.group.returns[1:])
        return phi
