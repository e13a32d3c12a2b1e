"""``b_t`` of the projected credit: what an episode is expected to collect from step t on."""

import numpy as np

from sb3_ordergrad.common.episodes import Episode, Rollout
from sb3_ordergrad.common.groups import TransformedReturn
from sb3_ordergrad.lstatistics import LStatistic


def is_counted(lstatistic: LStatistic, returns: np.ndarray) -> np.ndarray:
    """
    Which episodes count in ``b_t``: all but the outliers that the objective ignores, since one of them would move a mean by
    more than all others. Those are episodes with less than a tenth of the mean weight ``W alpha`` in the objective's value
    and a return further from the 0.1 and 0.9 quantiles than five times the distance of these.

    :param lstatistic: the objective, for N episodes
    :param returns: returns of a group, shape (N,)
    :return: shape (N,)
    """
    low, high = np.quantile(returns, [0.1, 0.9])
    is_outlier = np.maximum(low - returns, returns - high) > 5.0 * (high - low)
    weights = np.empty(len(returns))
    weights[np.argsort(returns, kind="stable")] = np.abs(lstatistic.value_weights)
    return ~(is_outlier & (weights < 0.1 * weights.mean()))


class RemainingReturn:
    """
    ``b_t``: mean of what episodes still collected from their step t on, over those that got that far. Zero while there is
    none. Steps that no episode of the memory has reached take the value of the last step that was reached.
    """

    def __init__(self) -> None:
        # single precision, since they are saved with the model
        self.sums = np.zeros(0, dtype=np.float32)
        self.counts = np.zeros(0, dtype=np.float32)

    def update(self, episodes: list[Episode], half_life: float) -> None:
        """Take in finished episodes; an episode counts half after ``half_life`` others."""
        grown = max(len(episode.history) for episode in episodes) - len(self.sums)
        if grown > 0:
            self.sums, self.counts = np.pad(self.sums, (0, grown)), np.pad(self.counts, (0, grown))
        fade = 0.5 ** (len(episodes) / half_life)
        self.sums *= fade
        self.counts *= fade
        for episode in episodes:
            length = len(episode.history)
            self.sums[:length] += episode.episode_return - episode.history
            self.counts[:length] += 1.0
        forgotten = self.counts < 1e-6 * self.counts.max(initial=0.0)
        self.sums[forgotten] = self.counts[forgotten] = 0.0

    def __call__(self, elapsed: np.ndarray) -> np.ndarray:
        """``b_t`` for numbers of steps of any shape."""
        steps = np.flatnonzero(self.counts)
        if len(steps) == 0:
            return np.zeros(elapsed.shape)
        return np.interp(elapsed, steps, self.sums[steps] / self.counts[steps])


def update_remaining_returns(
    remaining_returns: dict[str, RemainingReturn], rollout: Rollout, transforms: dict[str, TransformedReturn], half_life: float
) -> None:
    """
    Update ``b_t`` of each group in place with the episodes that ended in a rollout. A group that cannot be ranked yet cannot
    tell outliers, and needs no ``b_t``.
    """
    for key, transform in transforms.items():
        n_new = transform.group.n_new
        if transform.lstatistic is not None and n_new > 0:
            counted = is_counted(transform.lstatistic, transform.group.returns)[-n_new:]
            numbers = transform.group.episodes[:n_new][counted]
            episodes = [rollout.finished[number] for number in numbers]
            if episodes:
                remaining_returns.setdefault(key, RemainingReturn()).update(episodes, half_life)
