"""Action samples of SAC's actor: reparameterised, several for each state."""

import math
from typing import NamedTuple

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.sac.policies import Actor


class ActionSamples(NamedTuple):
    """
    Squashed Gaussian actions, differentiable with respect to the actor's parameters.

    :param actions: shape ``(n_samples, batch, action_dim)``, between -1 and 1
    :param noise: the standard normal draws behind them, of the same shape
    :param std: standard deviation before the squashing, shape ``(batch, action_dim)``
    """

    actions: th.Tensor
    noise: th.Tensor
    std: th.Tensor

    def log_prob(self, epsilon: float) -> th.Tensor:
        """
        Log density of the squashed actions, as SB3 computes it.

        :param epsilon: small value that keeps the logarithm finite
        :return: shape ``(n_samples, batch)``
        """
        gaussian = -0.5 * self.noise.square() - self.std.log() - 0.5 * math.log(2.0 * math.pi)
        return (gaussian - th.log(1.0 - self.actions.square() + epsilon)).sum(-1)


def sample_actions(actor: Actor, observations: PyTorchObs, n_samples: int) -> ActionSamples:
    """
    Draw independent actions; features and the distribution are computed once per state.

    With gSDE, SB3 draws one noise matrix for all actions, so that all samples of a state would coincide. An action's noise is
    then Gaussian given the state, with a variance that the matrix' variances give: this is sampled, afresh for each action.

    :param actor: the actor
    :param observations: a batch of (normalised) observations
    :param n_samples: number of actions per state
    :return: the samples
    """
    mean, log_std, kwargs = actor.get_action_dist_params(observations)
    std = actor.action_dist.proba_distribution(mean, log_std, **kwargs).distribution.stddev if kwargs else log_std.exp()
    noise = th.randn((n_samples, *mean.shape), dtype=mean.dtype, device=mean.device)
    return ActionSamples(th.tanh(mean + noise * std), noise, std)
