"""SB3's critics without autograd, where they are plain networks."""

from collections.abc import Sequence

import torch as th
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.type_aliases import PyTorchObs
from torch.nn import functional as F

from sb3_ordergrad.remac.mlp import Mlp, Scratch, are_all_that_is_trained, is_changed, plain_sequence


def has_common_forward(critic: ContinuousCritic) -> bool:
    """
    :param critic: the critics
    :return: whether their values are those of SB3's: of networks of features and action
    """
    return type(critic).forward is ContinuousCritic.forward and not is_changed(critic)


def plain_networks(critic: ContinuousCritic) -> list[Mlp] | None:
    """
    :param critic: the critics
    :return: their networks, or ``None`` if there is more to the critics than plain networks of features and action
    """
    if not has_common_forward(critic):
        return None
    networks = []
    for sequence in map(plain_sequence, critic.q_networks):
        network = Mlp.of(sequence[:-1], heads=sequence[-1:])
        if network is None:
            return None
        networks.append(network)
    return networks


@th.no_grad()
def smallest_values(
    critic: ContinuousCritic, networks: Sequence[Mlp] | None, observations: PyTorchObs, actions: th.Tensor, scratch: Scratch
) -> th.Tensor:
    """
    :param critic: the critics
    :param networks: their networks, if they are plain ones
    :param observations: a batch of observations, as the replay buffer gives them
    :param actions: shape ``(batch, action_dim)``
    :param scratch: memory that the next call may overwrite
    :return: ``min_j Q_j(s_i, a_i)``, shape ``(batch, 1)``
    """
    if networks is None:
        q_values = list(critic(observations, actions))
    else:
        scratch.restart()
        inputs = _inputs(critic, observations, actions)
        q_values = [output for network in networks for output in network.forward(inputs, scratch)[0]]
    return th.cat(q_values, dim=1).min(dim=1, keepdim=True).values


def set_critic_gradient(
    critic: ContinuousCritic,
    networks: Sequence[Mlp] | None,
    observations: PyTorchObs,
    actions: th.Tensor,
    targets: th.Tensor,
    scratch: Scratch,
) -> th.Tensor:
    """
    Loss of the critics, ``0.5 * sum_j mean_i (Q_j(s_i, a_i) - y_i)^2``, and its gradient in the ``grad`` of their parameters.

    :param critic: the critics
    :param networks: their networks, if they are plain ones: unless the critics train more than these, the gradient is made by
        the same products as autograd's, without its graph. It has the same bits
    :param observations: a batch of observations, as the replay buffer gives them
    :param actions: shape ``(batch, action_dim)``
    :param targets: y, shape ``(batch, 1)``
    :param scratch: memory that the next call may overwrite
    :return: the loss, detached
    """
    if networks is None or not are_all_that_is_trained(networks, critic.optimizer):
        loss = 0.5 * th.stack([F.mse_loss(q_values, targets) for q_values in critic(observations, actions)]).sum()
        critic.optimizer.zero_grad()
        loss.backward()
        return loss.detach()
    losses = []
    with th.no_grad():
        inputs = _inputs(critic, observations, actions)
        for network in networks:
            scratch.restart()
            (q_values,), hidden = network.forward(inputs, scratch)
            losses.append(F.mse_loss(q_values, targets))
            network.set_gradients(inputs, hidden, [(q_values - targets) * (1.0 / targets.shape[0])], scratch)
        return 0.5 * th.stack(losses).sum()


def _inputs(critic: ContinuousCritic, observations: PyTorchObs, actions: th.Tensor) -> th.Tensor:
    return th.cat([critic.extract_features(observations, critic.features_extractor), actions], dim=1)
