"""A critic's network, evaluated at several actions per state and differentiated with respect to some of them."""

from collections.abc import Callable
from typing import Any, TypeGuard

import torch as th
from torch import nn
from torch.nn import functional as F

# On a CPU, the activations of so many rows stay in the cache
CHUNK_SIZE = 512


def tanh_(inputs: th.Tensor) -> th.Tensor:
    """In place. On a CPU, PyTorch's own takes more than three times as long as by ``tanh(x) = 2 sigmoid(2 x) - 1``."""
    return inputs.mul_(2).sigmoid_().mul_(2).sub_(1) if inputs.device.type == "cpu" else inputs.tanh_()


# For each activation: its in-place version, and the gradient with respect to its input, computed from its output
ACTIVATIONS: dict[type[nn.Module], tuple[Callable[..., th.Tensor], Callable[..., th.Tensor]]] = {
    nn.ReLU: (th.relu_, lambda gradient, output: th.ops.aten.threshold_backward(gradient, output, 0)),
    nn.Tanh: (tanh_, th.ops.aten.tanh_backward),
}


def split(rows: th.Tensor) -> tuple[th.Tensor, ...]:
    """Split rows into chunks that should pass through a network at once; on a GPU, that is all of them."""
    return rows.split(CHUNK_SIZE if rows.device.type == "cpu" else max(1, len(rows)))


class SampledNetwork:
    """
    Any network that treats each row of its input by itself. Its gradient takes a second forward pass, with autograd.

    :param network: Function of features and action, in this order
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    @th.no_grad()
    def q_values(self, features: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """
        :param features: shape ``(batch, features_dim)``
        :param actions: shape ``(n_samples * batch, action_dim)``
        :return: Q-values, shape ``(n_samples * batch, 1)``
        """
        self._features, self._actions = features, actions
        rows = th.arange(len(actions), device=actions.device)
        return th.cat([self._network(self._inputs(chunk, actions[chunk])) for chunk in split(rows)])

    def action_gradient(self, rows: th.Tensor, factors: th.Tensor) -> th.Tensor:
        """
        Gradient of ``(factors * q_values[rows]).sum()`` with respect to the actions in these rows.

        :param rows: indices into ``q_values``, shape ``(n_rows,)``
        :param factors: shape ``(n_rows, 1)``
        :return: shape ``(n_rows, action_dim)``
        """
        actions = self._actions[rows].requires_grad_()
        (gradient,) = th.autograd.grad(self._network(self._inputs(rows, actions)), actions, factors)
        return gradient

    def _inputs(self, rows: th.Tensor, actions: th.Tensor) -> th.Tensor:
        return th.cat([self._features[rows % len(self._features)], actions], dim=1)


class PlainNetwork:
    """
    As :class:`SampledNetwork`, for plain networks (see :func:`is_plain`). It keeps the activations of the forward pass, from
    which the gradient follows without a second one, and without autograd.

    :param network: Function of features and action, in this order
    :param memory: Where the activations are stored, reused in every update: allocating them anew costs page faults
    """

    def __init__(self, network: nn.Sequential, memory: dict[int, th.Tensor]) -> None:
        modules: list[Any] = list(network)
        self._hidden, self._last = modules[:-1:2], modules[-1]
        self._activations = [ACTIVATIONS[type(module)] for module in modules[1::2]]
        self._memory = memory

    @th.no_grad()
    def q_values(self, features: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """See :meth:`SampledNetwork.q_values`."""
        first, features_dim = self._hidden[0], features.shape[1]
        self._weights = [first.weight[:, features_dim:], *(layer.weight for layer in self._hidden[1:])]
        # What features add to the first layer is the same for all samples of a state
        offsets = [F.linear(features, first.weight[:, :features_dim], first.bias), *(layer.bias for layer in self._hidden[1:])]
        output, self._outputs = actions, []
        for index, (weight, offset) in enumerate(zip(self._weights, offsets, strict=True)):
            memory = self._empty(index, output, len(weight))
            memory.view(-1, *offset.shape).copy_(offset)
            activation_, _ = self._activations[index]
            output = activation_(memory.addmm_(output, weight.t()))
            self._outputs.append(output)
        return self._last(output)

    @th.no_grad()
    def action_gradient(self, rows: th.Tensor, factors: th.Tensor) -> th.Tensor:
        """See :meth:`SampledNetwork.action_gradient`."""
        gradient = factors * self._last.weight
        for index in reversed(range(len(self._weights))):
            _, backward = self._activations[index]
            gradient = backward(gradient, self._outputs[index].index_select(0, rows)) @ self._weights[index]
        return gradient

    def _empty(self, index: int, inputs: th.Tensor, width: int) -> th.Tensor:
        block, shape = self._memory.get(index), (len(inputs), width)
        if block is None or block.shape != shape or block.dtype != inputs.dtype or block.device != inputs.device:
            block = self._memory[index] = inputs.new_empty(shape)
        return block


def is_plain(network: nn.Module) -> TypeGuard[nn.Sequential]:
    """Whether a network has linear layers with ReLU or tanh after each but the last, and nothing else (such as hooks)."""
    if type(network) is not nn.Sequential or len(network) < 3 or len(network) % 2 == 0:
        return False
    modules = list(network)
    return (
        all(type(module) is nn.Linear and module.bias is not None for module in modules[::2])
        and all(type(module) in ACTIVATIONS for module in modules[1::2])
        and not any(map(_is_modified, (network, *modules)))
    )


def _is_modified(module: nn.Module) -> bool:
    hooks = module._forward_pre_hooks or module._forward_hooks or module._backward_pre_hooks or module._backward_hooks
    return bool(hooks) or "forward" in vars(module)
