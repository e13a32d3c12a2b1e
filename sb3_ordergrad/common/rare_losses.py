"""Rare, large losses among pseudo-rewards, replaced by what they are expected to be."""

import math

import numpy as np
import torch as th
from torch import nn

WINDOW = 200_000  # timesteps that the model learns from
KEPT_SHARE = 0.1  # share of the steps without a rare loss that is remembered
MAX_NUMBERS = 250_000  # numbers that are remembered at most, since they are saved with the model
STEPS_PER_UPDATE = 100
BATCH_SIZE = 512


class RareLossModel:
    r"""
    Replace rare losses by their learned mean. Saved with the model.

    A breakdown that comes once in hundreds of steps, multiplied by the slope of a tail objective, is noise that covers all
    other rewards of a rollout: gradient clipping cuts it, and the advantages of the steps before it are taken for its cause.
    With the loss :math:`l_t = \max(f - g_t, 0)` below a fence f, the pseudo-reward becomes

    .. math:: \tilde g_t = g_t + l_t - h(s_t, a_t), \qquad h(s, a) \approx E[\,l_t \mid s_t = s, a_t = a\,]

    which has the same mean given the observation and the action (Rao-Blackwell), so that a step pays for the risk that it
    takes and not for its bad luck. The fence lies 1.5 times the distance of the 0.1 and 0.9 quantiles of the pseudo-rewards
    below the lower one: 5 standard deviations below the mean of normal ones. Where there are no rare losses, nothing changes.

    h is a network with an exponential output that minimises the Poisson loss ``h - l log h``, whose minimum is the
    conditional mean. Its relative precision keeps h near zero where losses do not occur.

    :param n_inputs: numbers that describe observation and action
    """

    def __init__(self, n_inputs: int) -> None:
        self.network = nn.Sequential(nn.Linear(n_inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
        # rare everywhere, until there is evidence
        nn.init.zeros_(self.network[-1].weight)  # type: ignore[arg-type]
        nn.init.constant_(self.network[-1].bias, -5.0)  # type: ignore[arg-type]
        self.optimizer = th.optim.Adam(self.network.parameters(), lr=1e-3)
        self.fence: float | None = None
        self.unit = 0.0  # the first rare losses' mean
        self.timestep = 0
        # remembered steps, oldest first
        self.inputs = np.zeros((0, n_inputs), dtype=np.float32)
        self.losses = np.zeros(0, dtype=np.float32)
        self.ages = np.zeros(0, dtype=np.int64)

    def smooth(self, inputs: np.ndarray, rewards: np.ndarray) -> np.ndarray:
        """
        Learn from a rollout, then replace its rare losses.

        :param inputs: observation and action of each step, shape (n_steps, n_inputs)
        :param rewards: pseudo-rewards, shape (n_steps,)
        :return: the pseudo-rewards with expected in place of rare losses, shape (n_steps,)
        """
        losses = self._losses(rewards)
        self._remember(inputs, losses)
        if not self.losses.any() or self.losses.all():
            return rewards
        if self.unit == 0.0:
            self.unit = float(self.losses[self.losses > 0].mean())
        mean, std = self.inputs.mean(0), self.inputs.std(0) + 1e-6
        self._learn((self.inputs - mean) / std, math.ceil(len(rewards) / STEPS_PER_UPDATE))
        with th.no_grad():
            expected = self._log_mean((inputs - mean) / std).exp().numpy() * self.unit
        return rewards + losses - expected

    def _losses(self, rewards: np.ndarray) -> np.ndarray:
        low, high = np.quantile(rewards, [0.1, 0.9])
        fence = float(low - 1.5 * (high - low))
        # the quantiles of A2C's short rollouts are averaged over many
        share = 1.0 if self.fence is None else min(1.0, len(rewards) / 2048)
        self.fence = share * fence + (1.0 - share) * (self.fence or 0.0)
        return np.maximum(self.fence - rewards, 0.0)

    def _remember(self, inputs: np.ndarray, losses: np.ndarray) -> None:
        self.timestep += len(losses)
        kept = (losses > 0.0) | (np.random.random_sample(len(losses)) < KEPT_SHARE)
        ages = np.append(self.ages + len(losses), np.zeros(kept.sum(), dtype=np.int64))
        n_rows = min((ages < WINDOW).sum(), MAX_NUMBERS // inputs.shape[1])
        recent = slice(len(ages) - n_rows, None)
        self.ages = ages[recent]
        self.inputs = np.concatenate([self.inputs, inputs[kept]])[recent].astype(np.float32)
        self.losses = np.append(self.losses, losses[kept])[recent].astype(np.float32)

    def _log_mean(self, inputs: np.ndarray | th.Tensor) -> th.Tensor:
        """Logarithm of the expected loss, in units of ``self.unit``."""
        return self.network(th.as_tensor(inputs)).squeeze(1).clamp(max=5.0)

    def _learn(self, inputs: np.ndarray, n_updates: int) -> None:
        """Half of each batch are steps with a rare loss, weighted by how often they occur."""
        rare, ordinary = np.flatnonzero(self.losses > 0.0), np.flatnonzero(self.losses == 0.0)
        frequency = len(rare) / (len(rare) + len(ordinary) / KEPT_SHARE)
        all_inputs, losses = th.as_tensor(inputs), th.as_tensor(self.losses / self.unit)
        scale = frequency * float(losses[rare].mean())
        for _ in range(n_updates):
            without, with_loss = np.random.choice(ordinary, BATCH_SIZE), np.random.choice(rare, BATCH_SIZE)
            log_mean = self._log_mean(all_inputs[np.append(without, with_loss)])
            log_mean_without, log_mean_with = log_mean[:BATCH_SIZE], log_mean[BATCH_SIZE:]
            poisson_without = log_mean_without.exp().mean()
            poisson_with = (log_mean_with.exp() - losses[with_loss] * log_mean_with).mean()
            loss = ((1.0 - frequency) * poisson_without + frequency * poisson_with) / scale
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            self.optimizer.step()
