"""Keep value targets near unit scale, as ``VecNormalize`` does for rewards."""

import numpy as np
from stable_baselines3.common.running_mean_std import RunningMeanStd


class ValueScale:
    r"""
    Running standard deviation of the discounted sums of pseudo-rewards, :math:`G_t = \gamma G_{t-1} + g_t`,
    restarted with each episode. Needs ``restart`` before its use.
    """

    def __init__(self) -> None:
        self.gamma = 1.0
        self.sums = np.zeros(0)
        self.moments = RunningMeanStd(shape=())

    def restart(self, n_envs: int, gamma: float) -> None:
        """
        :param n_envs: number of environments, which may differ from that of a saved model
        :param gamma: discount factor
        """
        self.gamma = gamma
        if len(self.sums) != n_envs:
            self.sums = np.zeros(n_envs)

    def update(self, rewards: np.ndarray, episode_starts: np.ndarray) -> float:
        """
        :param rewards: pseudo-rewards of a rollout, shape (n_steps, n_envs)
        :param episode_starts: whether an episode starts with the step, the same shape
        :return: the standard deviation, at least 1e-4 and a tenth of the mean's size (sums that hardly differ)
        """
        discounted = np.empty(rewards.shape)
        for step in range(len(rewards)):
            self.sums = self.gamma * self.sums * (1.0 - episode_starts[step]) + rewards[step]
            discounted[step] = self.sums
        self.moments.update(discounted.reshape(-1))
        return float(max(np.sqrt(self.moments.var + 1e-8), 0.1 * abs(self.moments.mean)))
