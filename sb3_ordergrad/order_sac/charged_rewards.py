"""Rewards of a replay buffer whose rare losses are replaced by a charge for the risk."""

from collections import deque
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.preprocessing import preprocess_obs

from sb3_ordergrad.common.groups import cached_lstatistic
from sb3_ordergrad.common.rare_losses import loss_fence
from sb3_ordergrad.lstatistics import GroupInfluence, Objective
from sb3_ordergrad.order_sac.loss_regression import LossRegression

FIT_INTERVAL = 4096  # timesteps between two fits at least
FIT_GROWTH = 0.05  # the same as a share of the stored timesteps, so that all fits cost a fixed time per timestep
MIN_LOSSES = 4  # to learn from
MAX_ROWS = 8000  # steps without a loss to learn from
MAX_NUMBERS = 2**22  # of inputs at a time, since images are large


class ChargedRewards:
    r"""
    Rewards that charge each step for its risk of a rare loss. Saved with the model.

    With a fence f (:func:`~sb3_ordergrad.common.rare_losses.loss_fence`), the expected shortfall
    :math:`h(s, a) \approx E[\max(f - r, 0) \mid s, a]` (:class:`LossRegression`) and phi, the transformed return of the
    objective in a group of the most recent episodes,

    .. math:: \tilde r_t = c \max(r_t, f) - \lambda h(s_t, a_t), \qquad
              \lambda = \frac{\sum_i n_i (\varphi_i(R_i + l_i) - \varphi_i(R_i))}{\sum_i n_i l_i}

    where episode i has n_i losses of mean shortfall l_i: lambda is what the objective loses by a unit of shortfall, 1 for the
    mean, ``1 / level`` for a CVaR where losses are rarer than its level. Without a loss in the group it is the slope of phi
    below all returns. c is the mean slope of phi, 1 for all common objectives: the spread of other rewards does not count.

    :param n_envs: number of environments
    """

    def __init__(self, n_envs: int) -> None:
        # return, sum of shortfalls and number of losses of the episodes that have ended, and of the unfinished ones
        self.episodes: deque[np.ndarray] = deque(maxlen=1)
        self.restart(n_envs)
        self.fence = -np.inf
        self.loss_weight = self.slope = 1.0
        self.n_losses = 0
        self.regression = LossRegression()
        self.n_unseen = 0  # timesteps since the last fit

    def restart(self, n_envs: int) -> None:
        """Begin new episodes in all environments."""
        self.ongoing = np.zeros((n_envs, 3))

    def store(self, buffer: ReplayBuffer, dones: np.ndarray, objective: Objective, k: float, group_size: int) -> None:
        """
        Replace the rewards that the buffer got last; from time to time learn, and replace all.

        :param buffer: of the algorithm
        :param dones: whether the episodes ended, shape (n_envs,)
        :param objective: its phi prices the losses
        :param k: its sample size
        :param group_size: number of episodes that are compared
        """
        last = [(buffer.pos - 1) % buffer.buffer_size]
        rewards = raw_rewards(buffer)[last[0]] = buffer.rewards[last[0]]
        if self.episodes.maxlen != group_size:
            self.episodes = deque(self.episodes, group_size)
        shortfalls = np.maximum(self.fence - rewards, 0.0)
        self.ongoing += np.column_stack([rewards, shortfalls, shortfalls > 0.0])
        for env in np.flatnonzero(dones):
            self.episodes.append(self.ongoing[env].copy())
            self.ongoing[env] = 0.0
        self.n_unseen += buffer.n_envs
        if self.n_unseen >= max(FIT_INTERVAL, FIT_GROWTH * buffer.size() * buffer.n_envs) and len(self.episodes) > k:
            self._learn(buffer, objective, k)
        elif self.regression.coefficients is not None:
            self._charge(buffer, last)

    def _learn(self, buffer: ReplayBuffer, objective: Objective, k: float) -> None:
        self.n_unseen = 0
        rewards = raw_rewards(buffer)[: buffer.size()]
        # of all rewards that are stored: what was usual for an earlier policy is no loss now
        self.fence = loss_fence(rewards.ravel(), np.array(self.episodes)[:, 0])
        losses = np.maximum(self.fence - rewards, 0.0)
        self.n_losses = int((losses > 0.0).sum())
        self._set_weight(objective, k)
        if self.n_losses < MIN_LOSSES:
            self.regression = LossRegression()
            buffer.rewards[: len(rewards)] = rewards
            return
        kept = np.where(losses > 0.0, 1.0, min(1.0, MAX_ROWS / losses.size))
        steps, envs = np.nonzero(np.random.random_sample(losses.shape) < kept)
        self.regression.fit(step_inputs(buffer, steps, envs), losses[steps, envs], 1.0 / kept[steps, envs])
        n_numbers = losses.size * step_inputs(buffer, steps[:1], envs[:1]).size
        for rows in np.array_split(np.arange(len(rewards)), 1 + n_numbers // MAX_NUMBERS):
            self._charge(buffer, rows)

    def _set_weight(self, objective: Objective, k: float) -> None:
        returns, shortfalls, counts = np.array(self.episodes).T
        lstatistic = cached_lstatistic(len(returns), k, objective)
        self.slope = float(lstatistic.rank_weights.sum())
        self.loss_weight = float(lstatistic.influence_constants[0][0])
        lossy = np.flatnonzero(counts)
        if len(lossy) > 0:
            phi = GroupInfluence(lstatistic, returns)
            without_loss = returns[lossy] + shortfalls[lossy] / counts[lossy]
            costs = phi(without_loss, lossy) - phi(returns[lossy], lossy)
            self.loss_weight = float(counts[lossy] @ costs / shortfalls.sum())

    def _charge(self, buffer: ReplayBuffer, rows: Any) -> None:
        """Write the rewards of these rows of the buffer."""
        steps, envs = (indices.ravel() for indices in np.meshgrid(rows, np.arange(buffer.n_envs), indexing="ij"))
        charges = self.loss_weight * self.regression.predict(step_inputs(buffer, steps, envs))
        buffer.rewards[steps, envs] = self.slope * np.maximum(raw_rewards(buffer)[steps, envs], self.fence) - charges


def raw_rewards(buffer: ReplayBuffer) -> np.ndarray:
    """The rewards of the environment, of the shape of ``buffer.rewards``. They are saved with the buffer."""
    if not hasattr(buffer, "raw_rewards"):
        buffer.raw_rewards = buffer.rewards.copy()  # type: ignore[attr-defined]
    return buffer.raw_rewards  # type: ignore[attr-defined]


def restore_rewards(buffer: ReplayBuffer) -> None:
    """Undo the charges of a buffer, if it has any."""
    if hasattr(buffer, "raw_rewards"):
        buffer.rewards = buffer.raw_rewards
        del buffer.raw_rewards


def step_inputs(buffer: ReplayBuffer, steps: np.ndarray, envs: np.ndarray) -> np.ndarray:
    """
    :param buffer: a replay buffer
    :param steps: rows, shape (n,)
    :param envs: columns, shape (n,)
    :return: raw observation and action of each of these timesteps, shape (n, n_inputs), float32
    """
    stored: Any = buffer.observations
    space: Any = buffer.observation_space
    if isinstance(space, spaces.Dict):
        observations: Any = preprocess_obs({key: th.as_tensor(stored[key][steps, envs]) for key in space}, space)
        parts = list(observations.values())
    else:
        parts = [preprocess_obs(th.as_tensor(stored[steps, envs]), space)]
    return np.hstack([*(part.flatten(1).numpy() for part in parts), buffer.actions[steps, envs].reshape(len(steps), -1)])
