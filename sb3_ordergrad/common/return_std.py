"""Keep value targets near unit scale, as ``VecNormalize`` does by scaling rewards."""

import numpy as np
from stable_baselines3.common.running_mean_std import RunningMeanStd

MEMORY = 50_000  # timesteps that the running estimate remembers


class RunningReturnStd:
    r"""
    Running standard deviation of the discounted sums of pseudo-rewards, :math:`G_t = \gamma G_{t-1} + g_t`, which start again
    with each episode. Earlier timesteps fade like ``exp(-n / MEMORY)`` with the number n of timesteps since. Saved with the
    model.

    Until a group can be ranked its pseudo-rewards are plain rewards, with outliers that the objective may ignore. They count
    only as long as no group can be ranked, and are forgotten then.
    """

    def __init__(self) -> None:
        self.any_ranked = False
        self.sums = np.zeros(0)
        self.moments = RunningMeanStd(shape=())

    def update(self, rewards: np.ndarray, ranked: np.ndarray, episode_starts: np.ndarray, gamma: float) -> float:
        """
        :param rewards: pseudo-rewards of a rollout, shape (n_steps, n_envs)
        :param ranked: whether the step's group can be ranked, the same shape
        :param episode_starts: whether an episode starts with the step, the same shape
        :param gamma: discount factor
        :return: the standard deviation, at least 1e-4 and a tenth of the mean's size (for sums that hardly differ)
        """
        if ranked.any() and not self.any_ranked:
            self.any_ranked, self.sums, self.moments = True, np.zeros(0), RunningMeanStd(shape=())
        if len(self.sums) != rewards.shape[1]:
            self.sums = np.zeros(rewards.shape[1])
        counted = ranked if self.any_ranked else np.ones_like(ranked)
        discounted = np.empty(rewards.shape)
        for step in range(len(rewards)):
            self.sums = (gamma * self.sums * (1.0 - episode_starts[step]) + rewards[step]) * counted[step]
            discounted[step] = self.sums
        if counted.any():
            self.moments.count = min(self.moments.count, MEMORY)
            self.moments.update(discounted[counted])
        return float(max(np.sqrt(self.moments.var + 1e-8), 0.1 * abs(self.moments.mean)))
