"""Checks of the constants that the environments and wrappers take; messages give an ``example`` of a usual value."""

import math


def check_probability(name: str, value: float) -> None:
    """Raise a ValueError unless the value is in [0, 1]."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name}={value} is outside [0, 1]: give a probability, such as 0.05")


def check_number(name: str, value: float, minimum: float = -math.inf, example: float = 1.0) -> None:
    """Raise a ValueError unless the value is finite and at least the minimum."""
    if not (math.isfinite(value) and value >= minimum):
        allowed = "a finite number" if minimum == -math.inf else f"a finite number >= {minimum:g}"
        raise ValueError(f"{name}={value} is not {allowed}: give a value such as {example}")


def check_positive(name: str, value: float, example: float) -> None:
    """Raise a ValueError unless the value is finite and above 0."""
    if not (math.isfinite(value) and value > 0.0):
        raise ValueError(f"{name}={value} is not a finite number > 0: give a value such as {example}")


def check_limit(name: str, value: float, unit: str, example: float) -> None:
    """Raise a ValueError if the value is NaN; a limit may be infinite."""
    if math.isnan(value):
        raise ValueError(f"{name}={value} is not a number: give {unit}, such as {example} (inf switches the risk off)")
