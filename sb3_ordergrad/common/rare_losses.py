"""Rare, large losses among pseudo-rewards, replaced by their learned mean."""

from typing import Any

import numpy as np
import torch as th
from torch import nn

CHUNK = 2048  # timesteps after which the model learns, and from which the fence is taken
N_UPDATES = 20  # per chunk
BATCH_SIZE = 512
WINDOW = 200_000  # timesteps that the model learns from
KEPT_SHARE = 0.1  # share of the steps without a rare loss that is remembered
MAX_INPUTS = 64  # wider inputs are projected
MAX_NUMBERS = 250_000  # numbers that are remembered at most, since they are saved with the model


class RareLossModel:
    r"""
    Replace rare losses by their learned mean. Saved with the model.

    A breakdown that comes once in hundreds of steps, multiplied by the slope of a tail objective, is noise that covers all
    other rewards of a rollout: gradient clipping cuts it down, and it is attributed to the steps that happen to precede it.
    With the loss :math:`l_t = \max(f - g_t, 0)` below a fence f, the pseudo-reward becomes

    .. math:: \tilde g_t = g_t + l_t - h(s_t, a_t), \qquad h(s, a) \approx E[\,l_t \mid s_t = s, a_t = a\,]

    so that each step is charged for the risk that it takes, not for bad luck (Rao-Blackwell). The fence lies 1.5 times the
    distance of the 0.1 and 0.9 quantiles of the last pseudo-rewards below the lower one: 5 standard deviations below the mean
    of normal ones.

    ``h = m exp(u(s, a))`` with the mean loss m per timestep and a network u, learned by minimising the Poisson loss
    ``E[h] - E[l log h]``, whose minimum is the conditional mean. Its relative precision keeps h near zero where losses do not
    occur. A rollout is scored by what was learned before it, so h does not depend on the losses that it replaces.

    :param n_inputs: numbers that describe observation and action
    :param settings: of the objective; a model of other settings does not apply
    """

    def __init__(self, n_inputs: int, settings: Any = None) -> None:
        self.settings = settings
        self.projection = np.eye(n_inputs, dtype=np.float32)
        if n_inputs > MAX_INPUTS:
            normal = np.random.default_rng(0).normal(size=(n_inputs, MAX_INPUTS)) / np.sqrt(n_inputs)
            self.projection = normal.astype(np.float32)
        width = self.projection.shape[1]
        self.network = nn.Sequential(nn.Linear(width, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
        nn.init.zeros_(self.network[-1].weight)  # type: ignore[arg-type]  # the last module is a Linear
        nn.init.zeros_(self.network[-1].bias)  # type: ignore[arg-type]  # the last module is a Linear
        # decay: with few losses and many inputs the network would learn each loss by heart
        self.optimizer = th.optim.AdamW(self.network.parameters(), lr=1e-3, weight_decay=0.3)
        self.recent = np.zeros(0, dtype=np.float32)  # the last pseudo-rewards
        self.pending: list[tuple[np.ndarray, np.ndarray]] = []  # inputs and pseudo-rewards that are not remembered yet
        # remembered steps, oldest first; each stands for ``weights`` steps
        self.inputs = np.zeros((0, width), dtype=np.float32)
        self.rewards, self.weights, self.ages = np.zeros(0, dtype=np.float32), np.zeros(0), np.zeros(0, dtype=np.int64)
        # of the recently scored steps
        self.total_loss = self.total_expected = 0.0
        # of the remembered inputs, and of exp(u) over them
        self.mean, self.std, self.mean_ratio = np.zeros(width), np.ones(width), 1.0

    @property
    def fence(self) -> float:
        """Pseudo-rewards below it are rare losses."""
        low, high = np.quantile(self.recent, [0.1, 0.9])
        return float(low - 1.5 * (high - low))

    def smooth(self, inputs: np.ndarray, rewards: np.ndarray) -> np.ndarray:
        """
        Replace the rare losses of a rollout, then learn from it.

        :param inputs: observation and action of each step, shape (n_steps, n_inputs)
        :param rewards: pseudo-rewards, shape (n_steps,)
        :return: the pseudo-rewards with expected in place of rare losses, shape (n_steps,)
        """
        inputs = (inputs @ self.projection).astype(np.float32)
        self.recent = np.append(self.recent, rewards)[-max(CHUNK, len(rewards)) :].astype(np.float32)
        if len(self.recent) < CHUNK:
            self.pending.append((inputs, rewards))
            return rewards
        fence, smoothed = self.fence, rewards
        mean_loss = self._mean_loss(fence)
        if mean_loss > 0.0:
            losses = np.maximum(fence - rewards, 0.0)
            with th.no_grad():
                expected = mean_loss * self._log_ratio(inputs).exp().numpy() / self.mean_ratio
            # with many inputs the network expects more of new steps than of those that it has learned from
            prior = mean_loss * CHUNK
            correction = (self.total_loss + prior) / (self.total_expected + prior)
            fade = 0.9 ** (len(rewards) / CHUNK)
            self.total_loss = fade * self.total_loss + float(losses.sum())
            self.total_expected = fade * self.total_expected + float(expected.sum())
            smoothed = rewards + losses - correction * expected
        self.pending.append((inputs, rewards))
        if sum(len(pending) for _, pending in self.pending) >= CHUNK:
            self._remember(fence)
            if self._mean_loss(fence) > 0.0:
                self._learn(fence)
        return smoothed

    def _mean_loss(self, fence: float) -> float:
        """Mean loss per remembered timestep."""
        return float(self.weights @ np.maximum(fence - self.rewards, 0.0) / max(self.weights.sum(), 1.0))

    def _log_ratio(self, inputs: np.ndarray) -> th.Tensor:
        """``u``: logarithm of the expected loss over the mean loss, within +-10."""
        standardized = np.clip((inputs - self.mean) / self.std, -10.0, 10.0)
        return 10.0 * th.tanh(self.network(th.as_tensor(standardized, dtype=th.float32)).squeeze(1) / 10.0)

    def _remember(self, fence: float) -> None:
        inputs, rewards = (np.concatenate(arrays) for arrays in zip(*self.pending, strict=True))
        self.pending = []
        is_loss = rewards < fence
        kept = is_loss | (np.random.random_sample(len(rewards)) < KEPT_SHARE)
        ages = np.append(self.ages + len(rewards), np.zeros(kept.sum(), dtype=np.int64))
        n_rows = min((ages < WINDOW).sum(), MAX_NUMBERS // inputs.shape[1])
        latest = slice(len(ages) - n_rows, None)
        self.ages = ages[latest]
        self.inputs = np.concatenate([self.inputs, inputs[kept]])[latest]
        self.rewards = np.append(self.rewards, rewards[kept])[latest].astype(np.float32)
        self.weights = np.append(self.weights, np.where(is_loss, 1.0, 1.0 / KEPT_SHARE)[kept])[latest]
        self.mean, self.std = self.inputs.mean(0), self.inputs.std(0) + 1e-6

    def _learn(self, fence: float) -> None:
        """Minimise ``E[exp(u)] - E[l u] / m``, which is the Poisson loss of h over m, up to a constant."""
        loss_weights = self.weights * np.maximum(fence - self.rewards, 0.0)
        n_rows, size = len(self.rewards), (N_UPDATES, BATCH_SIZE)
        steps = np.random.choice(n_rows, size, p=self.weights / self.weights.sum())
        with_loss = np.random.choice(n_rows, size, p=loss_weights / loss_weights.sum())
        for batch, batch_with_loss in zip(steps, with_loss, strict=True):
            log_ratio = self._log_ratio(self.inputs[np.append(batch, batch_with_loss)])
            loss = log_ratio[:BATCH_SIZE].exp().mean() - log_ratio[BATCH_SIZE:].mean()
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            self.optimizer.step()
        with th.no_grad():
            ratios = self._log_ratio(self.inputs).exp().numpy()
        # the expected losses of the remembered steps sum to their losses
        self.mean_ratio = float(self.weights @ ratios / self.weights.sum())
