"""Types of the hyperparameters that Stable-Baselines3's constructors store without a check, and fail on in training."""

import inspect
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

CHECKED = {bool: "bool", int: "int", float: "float", str: "str", NoneType: "None", Callable: "schedule"}


def check_types(arguments: Mapping[str, Any], algo_class: type) -> None:
    """
    Raise a ValueError if an argument has another type than the annotation of the constructor; annotations of other types than
    :data:`CHECKED` are ignored.
    """
    hints: dict[str, Any] = {}
    for cls in reversed(inspect.getmro(algo_class)):
        hints.update(get_type_hints(vars(cls).get("__init__", object)))
    for key, value in arguments.items():
        hint = hints.get(key, Any)
        types = [get_origin(t) or t for t in (get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,))]
        if not all(t in CHECKED for t in types):
            continue
        names = " or ".join(CHECKED[t] for t in types)
        if float in types:
            types.append(int)
        # 1e3 is a float
        is_whole = isinstance(value, float) and value.is_integer() and int in types
        if not is_whole and not isinstance(value, tuple(types)):
            raise ValueError(f"{key} = {value!r} of {algo_class.__name__} must be of type {names}.")
