"""Rewards of a replay buffer whose rare losses are replaced by a charge for the risk."""

import math
from collections import deque
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.preprocessing import preprocess_obs

from sb3_ordergrad.common.groups import cached_lstatistic
from sb3_ordergrad.common.rare_losses import N_LAST_REWARDS, loss_fence
from sb3_ordergrad.lstatistics import Objective
from sb3_ordergrad.order_sac.loss_regression import LossRegression

FIT_INTERVAL = 4096  # timesteps between two fits at least
FIT_GROWTH = 0.05  # the same as a share of the stored timesteps, so that all fits cost a fixed time per timestep
MIN_RETURNS, MAX_RETURNS = 10, 100  # of the most recent episodes, which the fence depends on
MIN_LOSSES = 4  # to learn from
MAX_ROWS = 8000  # steps without a loss to learn from, and steps with one
MAX_NUMBERS = 2**22  # of inputs or features at a time


def prices(objective: Objective, k: float) -> tuple[float, float]:
    """
    :param objective: of the returns
    :param k: its sample size
    :return: what the objective gains if all returns rise by 1 (the sum of the rank weights, 1 for all but dispersions), and
        what it loses per unit that a rare loss takes from an episode that becomes the worst (k times the lowest rank weight)
    """
    lstatistic = cached_lstatistic(2 * math.ceil(k), k, objective)
    return float(lstatistic.rank_weights.sum()), float(lstatistic.influence_constants[0][0])


class ChargedRewards:
    r"""
    Rewards that charge each step for its risk of a rare loss. Saved with the model.

    With a fence f (:func:`~sb3_ordergrad.common.rare_losses.loss_fence`) and the expected shortfall
    :math:`h(s, a) \approx E[\max(f - r, 0) \mid s, a]` (:class:`LossRegression`),

    .. math:: \tilde r_t = c \max(r_t, f) - \lambda h(s_t, a_t)

    with the prices c and lambda of the objective (:func:`prices`): 1 and 1 for the mean, 1 and ``1 / level`` for a CVaR.

    Over an episode let X be the sum of the :math:`\max(r_t, f)` and L that of the shortfalls, so that the return is X - L. If
    no rank weighs more than the lowest, as in a CVaR, a loss costs at most lambda: ``J(X - L) >= J(X) - lambda E[L]``. What is
    maximised is this bound with the mean of X, ``c E[X] - lambda E[L]``. It is the CVaR itself if X is certain and losses are
    rarer than the level.

    :param n_envs: number of environments
    """

    def __init__(self, n_envs: int) -> None:
        self.returns: deque[float] = deque(maxlen=MAX_RETURNS)
        self.last_rewards: deque[float] = deque(maxlen=N_LAST_REWARDS)
        self.restart(n_envs)
        self.fence = -np.inf
        self.slope = self.loss_weight = 1.0
        self.n_losses = 0
        self.regression = LossRegression()
        self.n_unseen = self.n_learned = 0  # timesteps since the last fit, and in it

    def restart(self, n_envs: int) -> None:
        """Begin new episodes in all environments."""
        self.collected = np.zeros(n_envs)

    def store(self, buffer: ReplayBuffer, dones: np.ndarray) -> None:
        """
        Replace the rewards that the buffer got last; from time to time learn, and replace all.

        :param buffer: of the algorithm
        :param dones: whether the episodes ended, shape (n_envs,)
        """
        row = (buffer.pos - 1) % buffer.buffer_size
        rewards = buffer.rewards[row].copy()
        raw_rewards(buffer)[row] = rewards
        self.collected += rewards
        # SubprocVecEnv keeps the type that the environments return
        ended = np.asarray(dones, dtype=bool)
        self.returns.extend(self.collected[ended])
        self.last_rewards.extend(rewards[ended])
        self.collected[ended] = 0.0
        self.n_unseen += buffer.n_envs
        interval = max(FIT_INTERVAL, FIT_GROWTH * buffer.size() * buffer.n_envs)
        if self.n_unseen >= interval and len(self.returns) >= MIN_RETURNS:
            self._learn(buffer)
        elif self.regression.coefficients is not None:
            self._charge(buffer, np.array([row]))

    def update_prices(self, buffer: ReplayBuffer, objective: Objective, k: float) -> None:
        """
        Replace all rewards if the prices have changed.

        :param buffer: of the algorithm
        :param objective: its prices are those of the charges
        :param k: its sample size
        """
        current = prices(objective, k)
        if current != (self.slope, self.loss_weight):
            self.slope, self.loss_weight = current
            if self.regression.coefficients is not None and buffer.size() > 0:
                self._charge_all(buffer)

    def _learn(self, buffer: ReplayBuffer) -> None:
        self.n_unseen = 0
        rewards = raw_rewards(buffer)[: buffer.size()]
        # the upper half of the returns, since losses and lost policies spread the lower one
        median, high = np.quantile(self.returns, [0.5, 0.9])
        # all rewards that are stored: what was usual for an earlier policy is no loss now
        fence = loss_fence(rewards.ravel(), np.array(self.last_rewards), 2.0 * (high - median))
        losses = np.maximum(fence - rewards, 0.0)
        self.n_losses = int((losses > 0.0).sum())
        if self.n_losses < MIN_LOSSES:
            # a loaded model with a new buffer keeps what it knows until it has seen as much again
            if rewards.size >= self.n_learned:
                self.regression, self.fence = LossRegression(), fence
                buffer.rewards[: len(rewards)] = rewards
            return
        self.fence, self.n_learned = fence, rewards.size
        kept = np.where(losses > 0.0, min(1.0, MAX_ROWS / self.n_losses), min(1.0, MAX_ROWS / losses.size))
        steps, envs = np.nonzero(np.random.random_sample(losses.shape) < kept)
        self.regression.fit(step_inputs(buffer, steps, envs), losses[steps, envs], 1.0 / kept[steps, envs])
        self._charge_all(buffer)

    def _charge_all(self, buffer: ReplayBuffer) -> None:
        one, coefficients = np.zeros(1, dtype=np.int64), self.regression.coefficients
        assert coefficients is not None
        n_columns = max(step_inputs(buffer, one, one).size, len(coefficients))
        n_parts = 1 + buffer.size() * buffer.n_envs * n_columns // MAX_NUMBERS
        for rows in np.array_split(np.arange(buffer.size()), min(n_parts, buffer.size())):
            self._charge(buffer, rows)

    def _charge(self, buffer: ReplayBuffer, rows: np.ndarray) -> None:
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
