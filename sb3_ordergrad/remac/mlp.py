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


class Scratch:
    """
    Memory that every update uses again, in the same order: freed blocks of megabytes go back to the operating system, and
    touching them anew, a page fault for each 4 kB, costs as much as a third of the matrix products.
    """

    def __init__(self) -> None:
        self._blocks: list[th.Tensor] = []
        self._used = 0

    def restart(self) -> None:
        """From here on, all blocks may be overwritten."""
        self._used = 0

    def empty(self, rows: int, columns: int, like: th.Tensor) -> th.Tensor:
        """
        :param rows: number of rows
        :param columns: number of columns
        :param like: a tensor of the dtype and device that are wanted
        :return: an uninitialised matrix, the caller's until the next restart
        """
        index, self._used = self._used, self._used + 1
        size = rows * columns
        if index == len(self._blocks):
            self._blocks.append(like.new_empty(size))
        block = self._blocks[index]
        if block.numel() < size or block.dtype != like.dtype or block.device != like.device:
            block = self._blocks[index] = like.new_empty(size)
        return block[:size].view(rows, columns)


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

    @th.no_grad()
    def forward(self, features: th.Tensor, actions: th.Tensor, scratch: Scratch) -> tuple[th.Tensor, list[th.Tensor]]:
        """
        The output, and the outputs of the hidden layers. What the features contribute is computed once for all samples.

        :param features: shape ``(batch, n_features)``
        :param actions: shape ``(n_samples, batch, action_dim)``
        :param scratch: where the outputs are put
        :return: the output, shape ``(n_samples * batch, 1)``, and those of the hidden layers, widths in the place of 1
        """
        first, n_features = self.linears[0], features.shape[1]
        of_features = F.linear(features, first.weight[:, :n_features], first.bias)
        x = scratch.empty(actions.shape[:2].numel(), first.out_features, like=features)
        th.mm(actions.flatten(0, 1), first.weight[:, n_features:].t(), out=x)
        x.view(*actions.shape[:2], -1).add_(of_features)
        hidden = []
        for linear in self.linears[1:]:
            hidden.append(self.activation.apply_(x))
            x = scratch.empty(len(x), linear.out_features, like=features)
            th.addmm(linear.bias, hidden[-1], linear.weight.t(), out=x)
        return x, hidden

    @th.no_grad()
    def action_gradient(
        self, hidden: Sequence[th.Tensor], rows: th.Tensor, factors: th.Tensor, action_dim: int, scratch: Scratch
    ) -> th.Tensor:
        """
        Gradient of ``sum_i factors[i] * output[rows[i]]`` with respect to the actions, without one for the weights.

        :param hidden: outputs of the hidden layers
        :param rows: shape ``(n,)``, no row twice
        :param factors: shape ``(n,)``
        :param action_dim: number of action dimensions, the last inputs of the network
        :param scratch: where the work is done
        :return: shape ``(n, action_dim)``
        """
        gradient = factors.unsqueeze(-1)
        for linear, output in zip(reversed(self.linears[1:]), reversed(hidden), strict=True):
            shape = len(rows), linear.in_features
            gradient = th.mm(gradient, linear.weight, out=scratch.empty(*shape, like=output))
            own = th.index_select(output, 0, rows, out=scratch.empty(*shape, like=output))
            gradient.mul_(self.activation.derivative_(own))
        return gradient @ self.linears[0].weight[:, -action_dim:]
