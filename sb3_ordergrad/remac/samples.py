"""Reparameterized samples of SAC's actor, several for each state."""

import math
from typing import NamedTuple

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.sac.policies import Actor


class ActionSamples(NamedTuple):
    """
    Actions of a squashed Gaussian policy, ``tanh(mean + std * noise)``.

    :param actions: shape ``(n_samples, batch, action_dim)``, between -1 and 1
    :param noise: standard normal samples, same shape
    :param std: standard deviation before squashing, shape ``(batch, action_dim)``
    """

    actions: th.Tensor
    noise: th.Tensor
    std: th.Tensor

    @th.no_grad()
    def log_prob(self, epsilon: float) -> th.Tensor:
        """Log density of the squashed actions as in SB3, with the distribution's ``epsilon``; shape ``(n_samples, batch)``."""
        gaussian = -0.5 * self.noise.square() - self.std.log() - 0.5 * math.log(2.0 * math.pi)
        return (gaussian - th.log(1.0 - self.actions.square() + epsilon)).sum(-1)


def sample_actions(actor: Actor, observations: PyTorchObs, n_samples: int) -> ActionSamples:
    """
    Sample independent actions. Features and the distribution's parameters are computed once per state.

    With gSDE, SB3 samples one noise matrix, so that all actions of a state would be equal. Given the state, the noise of an
    action is Gaussian, with a variance that follows from those of the matrix: it is sampled separately for each action.
    """
    mean, log_std, kwargs = actor.get_action_dist_params(observations)
    std = actor.action_dist.proba_distribution(mean, log_std, **kwargs).distribution.stddev if kwargs else log_std.exp()
    noise = th.randn((n_samples, *mean.shape), dtype=mean.dtype, device=mean.device)
    return ActionSamples(th.tanh(mean + noise * std), noise, std)
