"""Networks of SB3's critics as chains of matrix products, for what autograd would do at a higher price."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch as th
from torch import nn
from torch.nn import functional as F


class Activation(NamedTuple):
    """
    :param apply_: the activation, in place
    :param derivative_: its derivative from its output, in place
    """

    apply_: Callable[[th.Tensor], th.Tensor]
    derivative_: Callable[[th.Tensor], th.Tensor]


ACTIVATIONS: dict[type[nn.Module], Activation] = {
    nn.ReLU: Activation(th.relu_, th.Tensor.sign_),
    nn.Tanh: Activation(th.tanh_, lambda output: output.square_().neg_().add_(1.0)),
}


class Mlp:
    """
    A network of linear layers with one activation between them and a single output.

    :param linears: the layers
    :param activation: the activation between them
    """

    def __init__(self, linears: Sequence[nn.Linear], activation: Activation) -> None:
        self.linears = linears
        self.activation = activation

    @classmethod
    def of(cls, network: nn.Module) -> "Mlp | None":
        """
        :param network: any network
        :return: its layers, or ``None`` if it is anything else than linear layers with ReLU or tanh between them
        """
        if type(network) is not nn.Sequential:
            return None
        modules = list(network)
        linears = [module for module in modules[::2] if type(module) is nn.Linear]
        kinds = {type(module) for module in modules[1::2]} or {nn.ReLU}
        is_plain = len(modules) == 2 * len(linears) - 1
        # a hook (weight normalisation, a probe) would not be called
        has_hooks = any(module._forward_pre_hooks or module._forward_hooks for module in (network, *modules))
        if not is_plain or has_hooks or len(kinds) != 1 or not kinds <= ACTIVATIONS.keys():
            return None
        return cls(linears, ACTIVATIONS[kinds.pop()])

    def forward(self, features: th.Tensor, actions: th.Tensor) -> tuple[th.Tensor, list[th.Tensor]]:
        """
        The output, and the outputs of the hidden layers. What the features contribute is computed once for all samples.

        :param features: shape ``(batch, n_features)``
        :param actions: shape ``(n_samples, batch, action_dim)``
        :return: the output, shape ``(n_samples * batch,)``, and those of the hidden layers, widths instead of 1
        """
        first, n_features = self.linears[0], features.shape[1]
        of_features = F.linear(features, first.weight[:, :n_features], first.bias)
        x = F.linear(actions, first.weight[:, n_features:]).add_(of_features).flatten(0, 1)
        hidden = []
        for linear in self.linears[1:]:
            hidden.append(self.activation.apply_(x))
            x = F.linear(x, linear.weight, linear.bias)
        return x.squeeze(-1), hidden

    def action_gradient(self, hidden: Sequence[th.Tensor], factors: th.Tensor, action_dim: int) -> th.Tensor:
        """
        Gradient of ``sum(factors * output)`` with respect to the actions, without one for the weights.

        :param hidden: outputs of the hidden layers, shapes ``(n, width)``, which are overwritten
        :param factors: shape ``(n,)``
        :param action_dim: number of action dimensions, the last inputs of the network
        :return: shape ``(n, action_dim)``
        """
        gradient = factors.unsqueeze(-1)
        for linear, output in zip(reversed(self.linears[1:]), reversed(hidden), strict=True):
            gradient = (gradient @ linear.weight).mul_(self.activation.derivative_(output))
        return gradient @ self.linears[0].weight[:, -action_dim:]
