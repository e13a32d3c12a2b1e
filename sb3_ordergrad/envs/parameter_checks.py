"""Checks of the constants that the environments and wrappers take."""

import math


def check_probability(name: str, value: float) -> None:
    """
    :param name: of the parameter, for the message
    :param value: what the user gave
    :raises ValueError: if it is not in [0, 1]
    """
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name}={value} is outside [0, 1]: give a probability, such as 0.05")


def check_number(name: str, value: float, minimum: float = -math.inf, example: float = 1.0) -> None:
    """
    :param name: of the parameter, for the message
    :param value: what the user gave
    :param minimum: the least allowed value
    :param example: a usual value, for the message
    :raises ValueError: if it is not finite or below the minimum
    """
    if not (math.isfinite(value) and value >= minimum):
        allowed = "a finite number" if minimum == -math.inf else f"a finite number >= {minimum:g}"
        raise ValueError(f"{name}={value} is not {allowed}: give a value such as {example}")


def check_positive(name: str, value: float, example: float) -> None:
    """
    :param name: of the parameter, for the message
    :param value: what the user gave
    :param example: a usual value, for the message
    :raises ValueError: if it is not finite or not above 0
    """
    if not (math.isfinite(value) and value > 0.0):
        raise ValueError(f"{name}={value} is not a finite number > 0: give a value such as {example}")


def check_limit(name: str, value: float, unit: str, example: float) -> None:
    """
    :param name: of the parameter, for the message
    :param value: what the user gave; infinite values are allowed
    :param unit: of the value, for the message
    :param example: a usual value, for the message
    :raises ValueError: if it is not a number
    """
    if math.isnan(value):
        raise ValueError(f"{name}={value} is not a number: give {unit}, such as {example} (inf switches the risk off)")


def check_render_mode(render_mode: str | None) -> None:
    """
    :param render_mode: what the user gave
    :raises ValueError: if it is neither ``"rgb_array"`` nor None
    """
    if render_mode not in (None, "rgb_array"):
        raise ValueError(f'render_mode="{render_mode}" is not supported: use "rgb_array" or None')
