"""Networks of SB3's actor and critics as chains of matrix products, for what autograd would do at a higher price."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch as th
from torch import nn
from torch.nn import functional as F


class Activation(NamedTuple):
    """
    :param apply_: the activation, in place
    :param backward_: multiplies a gradient, in place, by the derivative, which it knows from the output: autograd's own kernel
    """

    apply_: Callable[[th.Tensor], th.Tensor]
    backward_: Callable[[th.Tensor, th.Tensor], th.Tensor]


def _relu_backward_(gradient: th.Tensor, output: th.Tensor) -> th.Tensor:
    return th.ops.aten.threshold_backward.grad_input(gradient, output, 0, grad_input=gradient)


def _tanh_backward_(gradient: th.Tensor, output: th.Tensor) -> th.Tensor:
    return th.ops.aten.tanh_backward.grad_input(gradient, output, grad_input=gradient)


ACTIVATIONS: dict[type[nn.Module], Activation] = {
    nn.ReLU: Activation(th.relu_, _relu_backward_),
    nn.Tanh: Activation(th.tanh_, _tanh_backward_),
}


class Scratch:
    """
    Memory that every update uses again, in the same order: freed blocks of megabytes go back to the operating system, and
    touching them anew, a page fault for each 4 kB, costs as much as a third of the matrix products.
    """

    def __init__(self) -> None:
        self._blocks: dict[tuple[int, int], th.Tensor] = {}
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
        key = self._used, columns
        self._used += 1
        block = self._blocks.get(key)
        if block is None or block.shape[0] < rows or block.dtype != like.dtype or block.device != like.device:
            block = self._blocks[key] = like.new_empty(rows, columns)
        return block if block.shape[0] == rows else block[:rows]


class Linear(NamedTuple):
    """
    A linear layer, ``y = x weight^T + bias``.

    :param weight: shape ``(n_outputs, n_inputs)``
    :param bias: shape ``(n_outputs,)``
    """

    weight: th.Tensor
    bias: th.Tensor

    @classmethod
    def of(cls, module: nn.Module) -> "Linear | None":
        """
        :param module: any module
        :return: the layer, or ``None`` if it is anything else
        """
        if type(module) is not nn.Linear or is_changed(module):
            return None
        bias = module.bias
        return None if bias is None else cls(module.weight, bias)

    def forward(self, x: th.Tensor, scratch: Scratch) -> th.Tensor:
        """
        :param x: shape ``(batch, n_inputs)``
        :param scratch: where the output is put
        :return: shape ``(batch, n_outputs)``
        """
        return th.addmm(self.bias, x, self.weight.t(), out=scratch.empty(x.shape[0], self.bias.shape[0], like=x))

    def backward(self, gradient: th.Tensor, scratch: Scratch) -> th.Tensor:
        """
        :param gradient: with respect to the output, shape ``(batch, n_outputs)``
        :param scratch: where the result is put
        :return: gradient with respect to the input
        """
        return th.mm(gradient, self.weight, out=scratch.empty(gradient.shape[0], self.weight.shape[1], like=gradient))

    def set_gradients(self, x: th.Tensor, gradient: th.Tensor) -> None:
        """
        Put the gradients of weight and bias into their ``grad``.

        :param x: the input
        :param gradient: with respect to the output
        """
        self.weight.grad = gradient.t() @ x
        self.bias.grad = gradient.sum(0)


class Mlp:
    """
    A network of hidden layers, with the same activation after each, and of linear heads on the last of them. To be used
    without autograd: it makes the products that autograd would make, in memory that is there already.

    :param layers: the hidden layers, at least one
    :param heads: the heads, whose outputs are those of the network
    :param activation: the activation
    """

    def __init__(self, layers: Sequence[Linear], heads: Sequence[Linear], activation: Activation) -> None:
        self.layers = layers
        self.heads = heads
        self.activation = activation

    @classmethod
    def of(cls, hidden: Sequence[nn.Module], heads: Sequence[nn.Module]) -> "Mlp | None":
        """
        :param hidden: what leads to the last hidden layer, in this order
        :param heads: what is applied to it
        :return: the network, or ``None`` if it is anything else than linear layers with ReLU or tanh after each but the heads
        """
        linears = [linear for linear in map(Linear.of, (*hidden[::2], *heads)) if linear is not None]
        kinds = {type(module) for module in hidden[1::2]}
        n_layers = len(hidden) // 2
        is_plain = len(hidden) % 2 == 0 and len(linears) == n_layers + len(heads) and len(kinds) == 1
        if not is_plain or not kinds <= ACTIVATIONS.keys() or any(map(is_changed, hidden[1::2])):
            return None
        return cls(linears[:n_layers], linears[n_layers:], ACTIVATIONS[kinds.pop()])

    def forward(self, inputs: th.Tensor, scratch: Scratch) -> tuple[list[th.Tensor], list[th.Tensor]]:
        """
        :param inputs: shape ``(batch, n_inputs)``
        :param scratch: where the outputs are put
        :return: the outputs of the heads and of the hidden layers, shapes ``(batch, width)``
        """
        return self._after_first(self.layers[0].forward(inputs, scratch), scratch)

    def forward_samples(
        self, features: th.Tensor, actions: th.Tensor, scratch: Scratch
    ) -> tuple[list[th.Tensor], list[th.Tensor]]:
        """
        As ``forward``, for several actions per state. What the features contribute is computed once for all of them.

        :param features: shape ``(batch, n_features)``
        :param actions: shape ``(n_samples, batch, action_dim)``
        :param scratch: where the outputs are put
        :return: as ``forward``, with ``n_samples * batch`` rows
        """
        (weight, bias), n_features = self.layers[0], features.shape[1]
        of_features = F.linear(features, weight[:, :n_features], bias)
        x = scratch.empty(actions.shape[:2].numel(), bias.shape[0], like=features)
        th.mm(actions.flatten(0, 1), weight[:, n_features:].t(), out=x)
        x.view(*actions.shape[:2], -1).add_(of_features)
        return self._after_first(x, scratch)

    def _after_first(self, x: th.Tensor, scratch: Scratch) -> tuple[list[th.Tensor], list[th.Tensor]]:
        hidden = [self.activation.apply_(x)]
        for layer in self.layers[1:]:
            hidden.append(self.activation.apply_(layer.forward(hidden[-1], scratch)))
        return [head.forward(hidden[-1], scratch) for head in self.heads], hidden

    def input_gradient(
        self, hidden: Sequence[th.Tensor], gradients: Sequence[th.Tensor], scratch: Scratch, n_last: int | None = None
    ) -> th.Tensor:
        """
        Gradient of ``sum_h (gradients[h] * outputs[h]).sum()`` with respect to the inputs.

        :param hidden: outputs of the hidden layers
        :param gradients: with respect to the outputs, shapes ``(batch, width)``
        :param scratch: where the work is done
        :param n_last: the last so many inputs alone; ``None`` for all
        :return: shape ``(batch, n_inputs)`` or ``(batch, n_last)``
        """
        gradient = self._through_heads(hidden[-1], gradients, scratch)
        for layer, output in zip(reversed(self.layers[1:]), reversed(hidden[:-1]), strict=True):
            gradient = self.activation.backward_(layer.backward(gradient, scratch), output)
        weight = self.layers[0].weight
        return gradient @ (weight if n_last is None else weight[:, -n_last:])

    def set_gradients(
        self, inputs: th.Tensor, hidden: Sequence[th.Tensor], gradients: Sequence[th.Tensor], scratch: Scratch
    ) -> None:
        """
        Put the gradient of ``sum_h (gradients[h] * outputs[h]).sum()`` with respect to weights and biases into their ``grad``.

        :param inputs: shape ``(batch, n_inputs)``
        :param hidden: outputs of the hidden layers
        :param gradients: with respect to the outputs, shapes ``(batch, width)``
        :param scratch: where the work is done
        """
        for head, of_head in zip(self.heads, gradients, strict=True):
            head.set_gradients(hidden[-1], of_head)
        gradient = self._through_heads(hidden[-1], gradients, scratch)
        for layer, output in zip(reversed(self.layers[1:]), reversed(hidden[:-1]), strict=True):
            layer.set_gradients(output, gradient)
            gradient = self.activation.backward_(layer.backward(gradient, scratch), output)
        self.layers[0].set_gradients(inputs, gradient)

    def _through_heads(self, output: th.Tensor, gradients: Sequence[th.Tensor], scratch: Scratch) -> th.Tensor:
        first, *others = [head.backward(of_head, scratch) for head, of_head in zip(self.heads, gradients, strict=True)]
        for other in others:
            first += other
        return self.activation.backward_(first, output)


def are_all_that_is_trained(networks: Sequence[Mlp], optimizer: th.optim.Optimizer) -> bool:
    """
    :param networks: networks with a common loss
    :param optimizer: makes the steps on this loss
    :return: whether its steps need the gradients of the networks' weights and biases and no others, each of them is used once,
        and nobody has a hook on them
    """
    own = [parameter for network in networks for linear in (*network.layers, *network.heads) for parameter in linear]
    ids = set(map(id, own))
    others = (each for group in optimizer.param_groups for each in group["params"] if id(each) not in ids)
    return (
        len(ids) == len(own)
        and all(map(_gets_plain_gradient, own))
        # A gradient from before a parameter was frozen would go on moving it: autograd's way clears it
        and not any(other.requires_grad or other.grad is not None for other in others)
    )


def _gets_plain_gradient(parameter: th.Tensor) -> bool:
    return parameter.requires_grad and not (parameter._backward_hooks or parameter._post_accumulate_grad_hooks)


def plain_sequence(network: nn.Module) -> list[nn.Module]:
    """
    :param network: any network
    :return: its modules if it is a chain of them and nothing else, else an empty list
    """
    return list(network) if type(network) is nn.Sequential and not is_changed(network) else []


def is_changed(module: nn.Module) -> bool:
    """
    :param module: any module
    :return: whether it does more than its class says, by a hook (weight normalisation, a probe) or a ``forward`` of its own
    """
    hooks = module._forward_pre_hooks or module._forward_hooks or module._backward_pre_hooks or module._backward_hooks
    return bool(hooks) or "forward" in vars(module)
