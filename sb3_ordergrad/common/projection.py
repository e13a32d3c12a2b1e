"""What an episode is expected to collect after a given number of steps, from time alone."""

import numpy as np

from sb3_ordergrad.common.episodes import Episode


class RemainingReturn:
    """
    ``b_t``: mean of what episodes still collected after their step t, over those that got that far.

    Older episodes fade with a half-life of ``half_life`` episodes. Steps that no episode has reached take the value of the
    last one that was.

    :param half_life: number of episodes after which an episode counts half
    """

    def __init__(self, half_life: int) -> None:
        self.half_life = half_life
        # single precision: they are saved with the model
        self.sums = np.zeros(1, dtype=np.float32)
        self.counts = np.zeros(1, dtype=np.float32)

    def update(self, episodes: list[Episode]) -> None:
        """
        :param episodes: finished episodes
        """
        longest = max((len(episode.collected) for episode in episodes), default=0)
        if longest > len(self.sums):
            grown = longest - len(self.sums)
            self.sums, self.counts = np.pad(self.sums, (0, grown)), np.pad(self.counts, (0, grown))
        fade = 0.5 ** (len(episodes) / self.half_life)
        self.sums *= fade
        self.counts *= fade
        forgotten = self.counts < 1e-6
        self.sums[forgotten] = self.counts[forgotten] = 0.0
        for episode in episodes:
            length = len(episode.collected)
            self.sums[:length] += episode.episode_return - episode.collected
            self.counts[:length] += 1.0

    def __call__(self, elapsed: np.ndarray) -> np.ndarray:
        """
        :param elapsed: numbers of steps, any shape
        :return: ``b_t``, the same shape; zero while no episode has finished
        """
        known = self.counts > 0
        if not known.any():
            return np.zeros(elapsed.shape)
        steps = np.flatnonzero(known)
        return np.interp(elapsed, steps, self.sums[steps] / self.counts[steps])
