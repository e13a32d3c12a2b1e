from typing import Any

import numpy as np
from scipy.stats import norm, rankdata
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from stable_baselines3.common.vec_env import VecNormalize

from rivals.episodic_ppo import EpisodicPPO, flat, on_steps, returns_of
from sb3_ordergrad.common.episodes import Rollout


def wang_weights(returns: np.ndarray, eta: float) -> np.ndarray:
    """
    :param returns: shape (N,)
    :param eta: above 0 for more weight on low returns
    :return: ``N (g(r / N) - g((r - 1) / N))`` for the return of rank r (1 is the lowest), with Wang's distortion
        ``g(u) = Phi(Phi^-1(u) + eta)``; equal returns share their weights. The mean is 1
    """
    if eta == 0.0:
        return np.ones(len(returns))
    n = len(returns)
    weights = n * np.diff(norm.cdf(norm.ppf(np.arange(n + 1) / n) + eta))
    lowest, highest = (rankdata(returns, method=method).astype(int) for method in ("min", "max"))
    total = np.append(0.0, np.cumsum(weights))
    return (total[highest] - total[lowest - 1]) / (highest - lowest + 1)


class WeightedAdvantages(RolloutBuffer):
    """A rollout buffer that multiplies advantages by ``weights``, shape (n_steps * n_envs,), after their normalisation."""

    weights: np.ndarray
    normalize_advantage = True

    def reset(self) -> None:
        super().reset()
        self.weights = np.ones(self.buffer_size * self.n_envs, dtype=np.float32)

    def _get_samples(self, batch_inds: np.ndarray, env: VecNormalize | None = None) -> RolloutBufferSamples:
        samples = super()._get_samples(batch_inds, env)
        advantages = samples.advantages
        if self.normalize_advantage and len(advantages) > 1:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        return samples._replace(advantages=advantages * self.to_torch(self.weights[batch_inds]))


class CDFPPO(EpisodicPPO):
    """
    CDF-PPO: PPO whose clipped loss has, on each step, a weight of the rank of the episode's return.

    The weights are those of Wang's distortion of the distribution of returns, see :func:`wang_weights`; ``eta`` above 0 is
    pessimistic. They multiply the normalised advantages, which is the same as multiplying the clipped loss. The critic is
    PPO's. Episodes that have not ended have the weight 1.

    ``CDFPPO(eta=0)`` is PPO, bit for bit.

    Paper: Markowitz et al. 2022, "A Risk-Sensitive Approach to Policy Optimization", https://arxiv.org/abs/2208.09106
    Code: written without the authors' code, and without the paper's filters and regularisation

    :param args: of PPO
    :param eta: parameter of the distortion
    :param kwargs: of PPO
    """

    rollout_buffer: WeightedAdvantages

    def __init__(self, *args: Any, eta: float = 0.75, **kwargs: Any) -> None:
        self.eta = eta
        super().__init__(*args, **{"rollout_buffer_class": WeightedAdvantages, **kwargs})

    def _end_rollout(self, rollout: Rollout) -> None:
        weights = wang_weights(returns_of(rollout), self.eta) if rollout.finished else np.zeros(0)
        self.rollout_buffer.weights = flat(on_steps(rollout, weights, unfinished=1.0)).astype(np.float32)

    def train(self) -> None:
        # The buffer normalises, before it weighs
        normalize, self.normalize_advantage = self.normalize_advantage, False
        self.rollout_buffer.normalize_advantage = normalize
        try:
            super().train()
        finally:
            self.normalize_advantage = normalize
