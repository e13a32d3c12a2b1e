"""Checks of the arguments of evaluations, statistics and plots."""

import numpy as np
from numpy.typing import ArrayLike


def check_returns(name: str, returns: ArrayLike) -> np.ndarray:
    """
    The returns as float64, shape ``(n,)``; raise a ValueError, with the name of the argument, unless they have that shape with
    n >= 1 and are finite.
    """
    array = np.asarray(returns, dtype=np.float64)
    n_invalid = np.count_nonzero(~np.isfinite(array))
    if array.ndim != 1 or len(array) == 0 or n_invalid:
        raise ValueError(
            f"{name} must be finite and have the shape (n,) with n >= 1, got the shape {array.shape} with {n_invalid} values "
            "that are NaN or infinite."
        )
    return array


def check_count(name: str, value: int) -> int:
    """The number as an int; raise a ValueError unless it is a whole number >= 1."""
    # Neither comparison holds for NaN, and infinity has no remainder
    if not (value >= 1 and value % 1 == 0):
        raise ValueError(f"{name} = {value} must be a whole number >= 1.")
    return int(value)


def check_options(confidence: float, n_resamples: int) -> None:
    """Raise a ValueError unless the nominal coverage lies in (0, 1) and the number of resamples is a whole number >= 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence = {confidence} must lie in (0, 1): 0.95 is a 95 % interval.")
    check_count("n_resamples", n_resamples)
