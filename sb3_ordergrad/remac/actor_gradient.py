"""Gradient of an L-statistic of a state's Q-values with respect to the actions."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch as th
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.type_aliases import PyTorchObs
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from sb3_ordergrad.remac.networks import PlainNetwork, SampledNetwork, is_plain, split


class ActionGradient(NamedTuple):
    """
    :param gradient: of the objective with respect to the actions, shape ``(n_samples, batch, action_dim)``
    :param objective: mean over the states of ``sum_m weights[m] * Q_(m)``, a scalar
    :param q_values: smallest value among the critics, shape ``(n_samples, batch)``
    """

    gradient: th.Tensor
    objective: th.Tensor
    q_values: th.Tensor


def action_gradient(
    critic: ContinuousCritic,
    observations: PyTorchObs,
    actions: th.Tensor,
    weights: th.Tensor,
    memory: list[dict[int, th.Tensor]],
) -> ActionGradient:
    """
    Gradient of ``mean_s sum_m weights[m] Q_(m)(s)``, where ``Q(s, a) = min_j Q_j(s, a)`` is sorted over the actions of each
    state (ReMAC, arXiv 2606.05888). The actor's gradient follows from it by the chain rule.

    Samples are ranked first, without gradient; only those whose rank has a nonzero weight are differentiated, each through
    the critic that gave the minimum. Critics that override ``forward``, and networks whose output for a row is random or
    depends on the other rows (dropout, batch normalization), are evaluated once and differentiated with respect to all
    samples instead.

    :param critic: The critics
    :param observations: A batch of (normalized) observations
    :param actions: shape ``(n_samples, batch, action_dim)``
    :param weights: Weights of the sorted values, ascending, shape ``(n_samples,)``
    :param memory: For the activations of plain networks, one dictionary per critic
    :return: gradient, objective and values, detached
    """
    actions = actions.detach()
    n_samples = len(actions)
    if getattr(critic.forward, "__func__", None) is not ContinuousCritic.forward:
        repeated = _repeat(observations, n_samples)
        return _differentiate_all(lambda flat: critic(repeated, flat), actions, weights)
    with th.no_grad():
        features = critic.extract_features(observations, critic.features_extractor)
    modules = (module for network in critic.q_networks for module in network.modules())
    # A single sample takes the same steps as SAC, and has the same bits
    if n_samples == 1 or any(isinstance(module, (_NormBase, _DropoutNd)) for module in modules):

        def q_values(flat: th.Tensor) -> list[th.Tensor]:
            inputs = th.cat([features.repeat(n_samples, 1), flat], dim=1)
            return [network(inputs) for network in critic.q_networks]

        return _differentiate_all(q_values, actions, weights)
    networks = [
        PlainNetwork(network, own) if is_plain(network) else SampledNetwork(network)
        for network, own in zip(critic.q_networks, memory, strict=True)
    ]
    return _differentiate_kept(networks, features, actions, weights)


def _differentiate_all(
    q_values: Callable[[th.Tensor], Sequence[th.Tensor]], actions: th.Tensor, weights: th.Tensor
) -> ActionGradient:
    smallest = th.cat(list(q_values(actions.requires_grad_().flatten(0, 1))), dim=1).min(dim=1).values.view(actions.shape[:2])
    objective = (weights @ smallest.sort(dim=0).values).mean()
    (gradient,) = th.autograd.grad(objective, actions)
    return ActionGradient(gradient, objective.detach(), smallest.detach())


def _differentiate_kept(
    networks: Sequence[PlainNetwork | SampledNetwork], features: th.Tensor, actions: th.Tensor, weights: th.Tensor
) -> ActionGradient:
    batch, flat = actions.shape[1], actions.flatten(0, 1)
    smallest, critic_index = th.cat([network.q_values(features, flat) for network in networks], dim=1).min(dim=1)
    ordered, order = smallest.view(actions.shape[:2]).sort(dim=0)
    kept = weights.nonzero().flatten()
    # Rows of the kept samples in the flat batch, and the derivative of the objective with respect to their values
    rows = (order[kept] * batch + th.arange(batch, device=order.device)).flatten()
    factors = (weights[kept] / batch).repeat_interleave(batch).unsqueeze(1)
    gradient = th.zeros_like(flat)
    for index, network in enumerate(networks):
        mine = critic_index[rows] == index
        for chunk, chunk_factors in zip(split(rows[mine]), split(factors[mine]), strict=True):
            gradient[chunk] = network.action_gradient(chunk, chunk_factors)
    return ActionGradient(gradient.view_as(actions), (weights @ ordered).mean(), smallest.view(actions.shape[:2]))


def _repeat(observations: PyTorchObs, n_samples: int) -> PyTorchObs:
    if isinstance(observations, dict):
        return {key: th.cat([value] * n_samples) for key, value in observations.items()}
    return th.cat([observations] * n_samples)
