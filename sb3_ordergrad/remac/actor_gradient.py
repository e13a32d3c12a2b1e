"""Gradient of an L-statistic of the critics' values over the action samples of a state."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_ordergrad.remac.critics import has_common_forward
from sb3_ordergrad.remac.mlp import Mlp, Scratch


class RankWeights(NamedTuple):
    """
    Weights of the sorted values of a state, ascending, and where they are not zero.

    :param weights: shape ``(n_samples,)``
    :param kept: ranks (0-based) whose weight is not zero
    """

    weights: th.Tensor
    kept: th.Tensor

    @classmethod
    def of(cls, weights: np.ndarray, like: th.Tensor) -> "RankWeights":
        """
        :param weights: shape ``(n_samples,)``
        :param like: a tensor of the dtype and device that the weights are wanted in
        :return: the weights there
        """
        return cls(th.as_tensor(weights).to(like), th.as_tensor(np.flatnonzero(weights)).to(like.device))


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
    networks: Sequence[Mlp] | None,
    observations: PyTorchObs,
    actions: th.Tensor,
    ranks: RankWeights,
    scratch: Scratch,
) -> ActionGradient:
    """
    Gradient of ``mean_s sum_m weights[m] Q_(m)(s)`` with ``Q(s, a) = min_j Q_j(s, a)`` sorted over the samples of each state
    (ReMAC, arXiv 2606.05888). The actor's gradient follows by the chain rule; none is made for the weights of the critics.

    :param critic: the critics
    :param networks: their networks, if they are plain ones: then the way back leads only through ranks whose weight is not
        zero and through the critic that gave the minimum. The gradient is the same
    :param observations: a batch of observations, as the replay buffer gives them
    :param actions: shape ``(n_samples, batch, action_dim)``
    :param ranks: weights of the sorted values
    :param scratch: memory that the next call may overwrite
    :return: gradient, objective and values, detached
    """
    actions = actions.detach()
    if networks is None:
        return _by_autograd(critic, observations, actions, ranks)
    with th.no_grad():
        features = critic.extract_features(observations, critic.features_extractor)
        scratch.restart()
        way = _one_by_hand if len(actions) == 1 else _by_hand
        return way(networks, features, actions, ranks, scratch)


def _one_by_hand(
    networks: Sequence[Mlp], features: th.Tensor, actions: th.Tensor, ranks: RankWeights, scratch: Scratch
) -> ActionGradient:
    """For one action per state: the same products as SAC's, of all rows and all inputs, and so the same bits."""
    _, batch, action_dim = actions.shape
    inputs = th.cat([features, actions[0]], dim=1)
    outputs, hidden = zip(*[network.forward(inputs, scratch) for network in networks], strict=True)
    q_values, chosen = th.cat([output for (output,) in outputs], dim=1).min(dim=1, keepdim=True)
    factor = ranks.weights / batch
    gradients = [
        network.input_gradient(hidden[index], [(chosen == index) * factor], scratch) for index, network in enumerate(networks)
    ]
    gradient = sum(gradients[1:], gradients[0])[:, -action_dim:]
    q_values = q_values.view(1, batch)
    return ActionGradient(gradient.unsqueeze(0), _objective(q_values, ranks), q_values)


def _by_hand(
    networks: Sequence[Mlp], features: th.Tensor, actions: th.Tensor, ranks: RankWeights, scratch: Scratch
) -> ActionGradient:
    n_samples, batch, action_dim = actions.shape
    outputs, hidden = zip(*[network.forward_samples(features, actions, scratch) for network in networks], strict=True)
    q_values, chosen = th.cat([output for (output,) in outputs], dim=1).min(dim=1)
    q_values = q_values.view(n_samples, batch)
    ordered, order = q_values.sort(dim=0)
    # Where the kept ranks lie among all samples, and their factors
    rows = (order[ranks.kept] * batch + th.arange(batch, device=order.device)).flatten()
    factors = (ranks.weights[ranks.kept] / batch).repeat_interleave(batch)
    gradient = th.zeros_like(actions).view(-1, action_dim)
    for index, network in enumerate(networks):
        own, own_factors = _own_rows(rows, factors, chosen[rows] == index)
        kept = [
            th.index_select(output, 0, own, out=scratch.empty(len(own), output.shape[1], output)) for output in hidden[index]
        ]
        gradient.index_add_(0, own, network.input_gradient(kept, [own_factors.unsqueeze(-1)], scratch, n_last=action_dim))
    return ActionGradient(gradient.view_as(actions), _objective(ordered, ranks), q_values)


def _own_rows(rows: th.Tensor, factors: th.Tensor, mine: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """
    The rows in which a critic gave the minimum. Only the device knows their number: to ask a GPU for it takes longer than the
    products that it saves, so there the other rows come along with factor zero.
    """
    return (rows[mine], factors[mine]) if rows.device.type == "cpu" else (rows, factors * mine)


def _by_autograd(critic: ContinuousCritic, observations: PyTorchObs, actions: th.Tensor, ranks: RankWeights) -> ActionGradient:
    n_samples, batch, _ = actions.shape
    actions = actions.requires_grad_()
    flat = actions.flatten(0, 1)
    if has_common_forward(critic):
        with th.no_grad():
            features = critic.extract_features(observations, critic.features_extractor)
        inputs = th.cat([features.repeat(n_samples, 1), flat], dim=1)
        values = [network(inputs) for network in critic.q_networks]
    else:
        values = list(critic(_repeat(observations, n_samples), flat))
    q_values = th.cat(values, dim=1).min(dim=1).values.view(n_samples, batch)
    objective = _objective(q_values.sort(dim=0).values, ranks)
    (gradient,) = th.autograd.grad(objective, actions)
    return ActionGradient(gradient, objective.detach(), q_values.detach())


def _objective(ordered: th.Tensor, ranks: RankWeights) -> th.Tensor:
    return (ranks.weights @ ordered).mean()


def _repeat(observations: PyTorchObs, n_samples: int) -> PyTorchObs:
    if isinstance(observations, dict):
        return {key: value.repeat(n_samples, *[1] * (value.ndim - 1)) for key, value in observations.items()}
    return observations.repeat(n_samples, *[1] * (observations.ndim - 1))
