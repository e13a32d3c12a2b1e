"""Action samples of SAC's actor: reparameterised, several for each state."""

import math
from typing import NamedTuple

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.sac.policies import LOG_STD_MAX, LOG_STD_MIN, Actor

from sb3_ordergrad.remac.mlp import Mlp, Scratch, are_all_that_is_trained, plain_sequence


class Tape(NamedTuple):
    """
    What the way back from the actions to the weights of the actor's network needs.

    :param network: the network, whose outputs are the mean and the unclipped log standard deviation before the squashing
    :param features: its inputs, shape ``(batch, n_features)``
    :param hidden: outputs of its hidden layers
    :param log_std: its second output, shape ``(batch, action_dim)``
    :param scratch: the memory where all of them are
    """

    network: Mlp
    features: th.Tensor
    hidden: list[th.Tensor]
    log_std: th.Tensor
    scratch: Scratch


class ActionSamples(NamedTuple):
    """
    Squashed Gaussian actions.

    :param actions: shape ``(n_samples, batch, action_dim)``, between -1 and 1
    :param noise: the standard normal draws behind them, of the same shape
    :param std: standard deviation before the squashing, shape ``(batch, action_dim)``
    :param tape: the way back to the weights; ``None`` if autograd's graph leads there
    """

    actions: th.Tensor
    noise: th.Tensor
    std: th.Tensor
    tape: Tape | None

    def log_prob(self, epsilon: float) -> th.Tensor:
        """
        Log density of the squashed actions, as SB3 computes it.

        :param epsilon: small value that keeps the logarithm finite
        :return: shape ``(n_samples, batch)``
        """
        gaussian = -0.5 * self.noise.square() - self.std.log() - 0.5 * math.log(2.0 * math.pi)
        return (gaussian - th.log(1.0 - self.actions.square() + epsilon)).sum(-1)

    def detach(self) -> "ActionSamples":
        """
        :return: the samples without a way back to the weights
        """
        return ActionSamples(self.actions.detach(), self.noise, self.std.detach(), None)

    @th.no_grad()
    def set_actor_gradient(self, actor: Actor, gradient: th.Tensor) -> None:
        """
        Put the gradient of ``(gradient * actions).sum()`` with respect to the actor's parameters into their ``grad``.

        :param actor: the actor that gave the samples
        :param gradient: of the shape of the actions
        """
        if self.tape is None:
            actor.optimizer.zero_grad()
            # a frozen actor has no graph
            if self.actions.requires_grad:
                self.actions.backward(gradient)
            return
        network, features, hidden, log_std, scratch = self.tape
        unsquashed = th.ops.aten.tanh_backward(gradient, self.actions)
        of_log_std = (unsquashed * self.noise).sum(0) * self.std * ((log_std >= LOG_STD_MIN) & (log_std <= LOG_STD_MAX))
        network.set_gradients(features, hidden, [unsquashed.sum(0), of_log_std], scratch)


def plain_network(actor: Actor) -> Mlp | None:
    """
    :param actor: the actor
    :return: its network, or ``None`` if that is not plain, if more than the network is to be trained, or with gSDE
    """
    if actor.use_sde or type(actor).get_action_dist_params is not Actor.get_action_dist_params:
        return None
    network = Mlp.of(plain_sequence(actor.latent_pi), heads=[actor.mu, actor.log_std])  # type: ignore[list-item]
    return network if network is not None and are_all_that_is_trained([network], actor.optimizer) else None


def sample_actions(
    actor: Actor,
    observations: PyTorchObs,
    n_samples: int,
    network: Mlp | None = None,
    scratch: Scratch | None = None,
) -> ActionSamples:
    """
    Draw independent actions; features and the distribution are computed once per state.

    With gSDE, SB3 draws one noise matrix for all actions, so that all samples of a state would coincide. An action's noise is
    then Gaussian given the state, with a variance that the matrix' variances give: this is sampled, afresh for each action.

    :param actor: the actor
    :param observations: a batch of (normalised) observations
    :param n_samples: number of actions per state
    :param network: the actor's network, if it is a plain one: then it is passed by the same products as autograd's, without
        its graph. The actions have the same bits, and with one per state the gradient has
    :param scratch: memory that the next call may overwrite; the samples need it until their gradient is set. ``None``: new
    :return: the samples
    """
    if network is None:
        mean, log_std, kwargs = actor.get_action_dist_params(observations)
        std = actor.action_dist.proba_distribution(mean, log_std, **kwargs).distribution.stddev if kwargs else log_std.exp()
        return _squashed(mean, std, n_samples, None)
    scratch = Scratch() if scratch is None else scratch
    scratch.restart()
    with th.no_grad():
        features = actor.extract_features(observations, actor.features_extractor)
        (mean, log_std), hidden = network.forward(features, scratch)
        std = log_std.clamp(LOG_STD_MIN, LOG_STD_MAX).exp()
        return _squashed(mean, std, n_samples, Tape(network, features, hidden, log_std, scratch))


def _squashed(mean: th.Tensor, std: th.Tensor, n_samples: int, tape: Tape | None) -> ActionSamples:
    noise = th.randn((n_samples, *mean.shape), dtype=mean.dtype, device=mean.device)
    return ActionSamples(th.tanh(mean + noise * std), noise, std, tape)
