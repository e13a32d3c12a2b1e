"""Rare, large losses among the rewards, replaced by their learned mean."""

from typing import Any

import numpy as np
import torch as th
from torch import nn

CHUNK = 2048  # timesteps after which the model learns, and from which the fence is taken
N_UPDATES = 20  # per chunk
BATCH_SIZE = 512
WINDOW = 200_000  # timesteps that the model learns from
KEPT_SHARE = 0.1  # share of the steps without a loss that is remembered
MIN_RATIO = 4  # of rewards below the fence to those as far above
N_LAST_REWARDS = 100  # of episodes, that the fence depends on
MAX_INPUTS = 64  # wider inputs are projected
MAX_NUMBERS = 250_000  # numbers that are remembered at most, since they are saved with the model


def input_projection(n_inputs: int) -> np.ndarray:
    """:return: the identity, or a fixed random projection of more than ``MAX_INPUTS`` inputs; shape (n_inputs, width)"""
    if n_inputs <= MAX_INPUTS:
        return np.eye(n_inputs, dtype=np.float32)
    normal = np.random.default_rng(0).normal(size=(n_inputs, MAX_INPUTS)) / np.sqrt(n_inputs)
    return normal.astype(np.float32)


def loss_fence(rewards: np.ndarray, last_rewards: np.ndarray, spread: float) -> float:
    """
    The fence: a raw reward below it is a rare loss.

    It lies below the 0.1 quantile of the rewards by 1.5 times the distance of the 0.1 and 0.9 quantiles (5 standard
    deviations below the mean of normal ones), but at least by a tenth of this distance for the returns: smaller losses do not
    decide where an episode ranks. Noise with outliers on both sides is no loss: there is no fence where fewer than
    ``MIN_RATIO`` times as many rewards lie below it as lie as far above. What most episodes end with is no rare loss either,
    but the result of what came before: there is no fence while more than half of the last rewards lie below it.

    :param rewards: recent raw rewards, shape (n,)
    :param last_rewards: those of the last steps of recent episodes, shape (M,)
    :param spread: distance of the 0.1 and 0.9 quantiles of recent returns
    :return: the fence; -inf where rewards below it are no rare losses
    """
    low, high = np.quantile(rewards, [0.1, 0.9])
    distance = max(1.5 * (high - low), 0.1 * spread)
    n_losses, n_gains = (rewards < low - distance).sum(), (rewards > high + distance).sum()
    are_results = 2 * (last_rewards < low - distance).sum() > len(last_rewards)
    return -np.inf if are_results or n_losses < MIN_RATIO * n_gains else float(low - distance)


class RareLossModel:
    r"""
    Expected loss of a step, from the rare losses of earlier steps. Saved with the model.

    A breakdown that comes once in hundreds of steps, multiplied by the slope of a tail objective, is noise that covers all
    other rewards of a rollout: gradient clipping cuts it down, and it is attributed to the steps that happen to precede it.
    A rare loss is a raw reward below a fence f (:func:`loss_fence`). With :math:`l_t` what the pseudo-reward :math:`g_t` would
    be higher if the raw reward were f,

    .. math:: \tilde g_t = g_t + l_t - h(s_t, a_t), \qquad h(s, a) \approx E[\,l_t \mid s_t = s, a_t = a\,]

    so that each step is charged for the risk that it takes, not for bad luck (Rao-Blackwell). The return that an early end
    costs is no such loss: a fall follows from state and action, and the critic sees it coming.

    ``h = m exp(u(s, a))`` with the mean loss m per timestep and a network u, learned by minimising the Poisson loss
    ``E[h] - E[l log h]``, whose minimum is the conditional mean. Its relative precision keeps h near zero where losses do not
    occur. Losses are remembered in units of the mean slope ``sum l / sum (f - r)``, since an annealed objective changes it.
    A rollout is scored by what was learned before it, so h does not depend on the losses that it replaces.

    :param settings: of the objective; a model of other settings does not apply
    """

    def __init__(self, settings: Any = None) -> None:
        self.settings = settings
        # the most recent raw rewards, and those of the last steps of episodes
        self.recent = self.last_rewards = np.zeros(0)
        self.pending: list[tuple[np.ndarray, np.ndarray]] = []  # inputs and losses that are not remembered yet
        # of the recently scored steps, in units of the slope
        self.total_loss = self.total_expected = 0.0
        # of the recent losses
        self.sum_of_losses = self.sum_of_shortfalls = 0.0
        # made at the first inputs
        self.network: nn.Sequential | None = None

    def update_fence(self, rewards: np.ndarray, dones: np.ndarray, returns: np.ndarray) -> float:
        """
        :param rewards: raw rewards of a rollout, shape (n_steps, n_envs)
        :param dones: whether an episode ended with the step, same shape
        :param returns: of the episodes that are compared, shape (N,)
        :return: the fence; -inf before ``CHUNK`` timesteps, and where rewards below it are no rare losses
        """
        self.recent = np.append(self.recent, rewards)[-max(CHUNK, rewards.size) :]
        self.last_rewards = np.append(self.last_rewards, rewards[dones])[-N_LAST_REWARDS:]
        if len(self.recent) < CHUNK:
            return -np.inf
        return loss_fence(self.recent, self.last_rewards, np.ptp(np.quantile(returns, [0.1, 0.9])))

    def expected_losses(self, inputs: np.ndarray, losses: np.ndarray, shortfalls: np.ndarray) -> np.ndarray:
        """
        Score the steps of a rollout, then learn from them.

        :param inputs: observation and action of each step, shape (n_steps, n_inputs)
        :param losses: shape (n_steps,)
        :param shortfalls: ``f - r`` of the losses, shape (n_steps,)
        :return: ``h``, shape (n_steps,); the losses themselves before there is something to learn from
        """
        if self.network is None:
            self._create(inputs.shape[1])
        inputs = (inputs @ self.projection).astype(np.float32)
        if losses.any():
            fade = 0.5 ** (len(losses) / CHUNK)
            self.sum_of_losses = fade * self.sum_of_losses + float(losses.sum())
            self.sum_of_shortfalls = fade * self.sum_of_shortfalls + float(shortfalls.sum())
        slope = self.sum_of_losses / self.sum_of_shortfalls if self.sum_of_losses > 0.0 else 1.0
        return slope * self._expected(inputs, losses / slope)

    def _expected(self, inputs: np.ndarray, losses: np.ndarray) -> np.ndarray:
        expected = losses
        if self.mean_loss > 0.0:
            with th.no_grad():
                expected = self.mean_loss * self._log_ratio(inputs).exp().numpy() / self.mean_ratio
            # with many inputs the network expects more of new steps than of those that it has learned from
            prior = self.mean_loss * CHUNK
            correction = (self.total_loss + prior) / (self.total_expected + prior)
            fade = 0.9 ** (len(losses) / CHUNK)
            self.total_loss = fade * self.total_loss + float(losses.sum())
            self.total_expected = fade * self.total_expected + float(expected.sum())
            expected = correction * expected
        self.pending.append((inputs, losses))
        if sum(len(losses) for _, losses in self.pending) >= CHUNK:
            self._remember()
            if self.mean_loss > 0.0:
                self._learn()
        return expected

    def _create(self, n_inputs: int) -> None:
        self.projection = input_projection(n_inputs)
        width = self.projection.shape[1]
        last = nn.Linear(64, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(nn.Linear(width, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), last)
        # decay: with few losses and many inputs the network would learn each loss by heart
        self.optimizer = th.optim.AdamW(self.network.parameters(), lr=1e-3, weight_decay=0.3)
        # remembered steps, oldest first; each stands for ``weights`` steps
        self.inputs = np.zeros((0, width), dtype=np.float32)
        self.losses, self.weights, self.ages = np.zeros(0, dtype=np.float32), np.zeros(0), np.zeros(0, dtype=np.int64)
        # per remembered timestep; of the remembered inputs, and of exp(u) over them
        self.mean_loss, self.mean, self.std, self.mean_ratio = 0.0, np.zeros(width), np.ones(width), 1.0

    def _log_ratio(self, inputs: np.ndarray) -> th.Tensor:
        """``u``: logarithm of the expected loss over the mean loss, within +-10."""
        assert self.network is not None
        standardized = np.clip((inputs - self.mean) / self.std, -10.0, 10.0)
        return 10.0 * th.tanh(self.network(th.as_tensor(standardized, dtype=th.float32)).squeeze(1) / 10.0)

    def _remember(self) -> None:
        inputs, losses = (np.concatenate(arrays) for arrays in zip(*self.pending, strict=True))
        self.pending = []
        kept = (losses > 0.0) | (np.random.random_sample(len(losses)) < KEPT_SHARE)
        ages = np.append(self.ages + len(losses), np.zeros(kept.sum(), dtype=np.int64))
        n_rows = min((ages < WINDOW).sum(), MAX_NUMBERS // inputs.shape[1])
        latest = slice(len(ages) - n_rows, None)
        self.ages = ages[latest]
        self.inputs = np.concatenate([self.inputs, inputs[kept]])[latest]
        self.losses = np.append(self.losses, losses[kept])[latest].astype(np.float32)
        self.weights = np.append(self.weights, np.where(losses > 0.0, 1.0, 1.0 / KEPT_SHARE)[kept])[latest]
        self.mean_loss = float(self.weights @ self.losses / max(self.weights.sum(), 1.0))
        self.mean, self.std = self.inputs.mean(0), self.inputs.std(0) + 1e-6

    def _learn(self) -> None:
        """Minimise ``E[exp(u)] - E[l u] / m``, which is the Poisson loss of h over m, up to a constant."""
        assert self.network is not None
        loss_weights = self.weights * self.losses
        n_rows, size = len(self.losses), (N_UPDATES, BATCH_SIZE)
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
