"""
Hyperparameters written as Python text, such as ``"dict(net_arch=[64], activation_fn=nn.ReLU)"``.

RL Zoo evaluates such text. This module parses it instead, so that a YAML file or a command line cannot run code.
"""

import ast
from typing import Any

import torch as th
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike

MAX_LENGTH = 10_000
# What RL Zoo's YAML files name without a module
CLASSES: dict[str, type] = {"HerReplayBuffer": HerReplayBuffer, "RMSpropTFLike": RMSpropTFLike}
# Prefix of a name -> the module, and the parent of all classes that may be named
MODULES = {
    **dict.fromkeys(("nn", "th.nn", "torch.nn"), (th.nn, th.nn.Module)),
    **dict.fromkeys(("th.optim", "torch.optim"), (th.optim, th.optim.Optimizer)),
}


def parse_literal(text: str) -> Any:
    """
    The value of a Python literal; nothing is called or evaluated.

    Besides numbers, strings, ``None``, booleans, lists, tuples and dictionaries this knows ``dict(key=value)`` and names of
    classes: ``nn.ReLU`` (``th.nn.ReLU``, ``torch.nn.ReLU``), ``th.optim.Adam``, ``RMSpropTFLike`` and ``HerReplayBuffer``.

    :param text: e.g. ``"dict(net_arch=[64], activation_fn=nn.ReLU)"``
    :return: the value
    :raises ValueError: for any other text
    """
    try:
        if len(text) > MAX_LENGTH:
            raise ValueError(f"it is longer than {MAX_LENGTH} characters")
        return _value(ast.parse(text.strip(), mode="eval").body)
    # Deep nesting exhausts the parser's stack; an unhashable key of a dictionary is a TypeError
    except (MemoryError, RecursionError, SyntaxError, TypeError, ValueError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error) or "it is nested too deeply"
        shown = text if len(text) <= 100 else f"{text[:100]}..."
        raise ValueError(
            f"Cannot read '{shown}' ({reason}): write a Python literal such as dict(net_arch=[64, 64], activation_fn=nn.ReLU)."
        ) from error


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.List(elts=items):
            return [_value(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_value(item) for item in items)
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return {_value(key): _value(value) for key, value in zip(keys, values, strict=True) if key is not None}
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords) if all(item.arg for item in keywords):
            return {item.arg: _value(item.value) for item in keywords}
        case ast.Name() | ast.Attribute():
            return _class(ast.unparse(node))
    raise ValueError(f"{type(node).__name__} is not a literal")


def _class(name: str) -> type:
    prefix, _, last = name.rpartition(".")
    module, parent = MODULES.get(prefix, (None, object))
    found = CLASSES.get(name) if module is None else vars(module).get(last)
    if not (isinstance(found, type) and issubclass(found, parent)):
        raise ValueError(f"'{name}' is not the name of a class of torch.nn or torch.optim; strings need quotes")
    return found
