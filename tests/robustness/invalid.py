"""Random invalid input: refused at once, with a message that names the value, without taking memory."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from robustness.invalid_calls import InvalidCall, Mutant
from robustness.invalid_models import InvalidModel
from robustness.parts import Part, generator, limits

# Processor time and memory that a refusal may take, on a slow machine too
MAX_SECONDS = 5.0
MAX_MEGABYTES = 1000
# Longer values need not be repeated in full
MAX_LENGTH = 60


def draw(seed: int, number: int) -> InvalidModel | InvalidCall | Mutant:
    rng = generator(seed, "invalid", number)
    kind = rng.random()
    return InvalidModel(rng) if kind < 0.45 else InvalidCall(rng) if kind < 0.85 else Mutant(rng)


def check(seed: int, number: int) -> dict[str, int]:
    case = draw(seed, number)
    try:
        with limits(MAX_SECONDS, MAX_MEGABYTES):
            case.attempt()
    except (ValueError, AssertionError, TypeError) as error:
        _check_message(case, error)
        return {"refused": 1}
    if isinstance(case, Mutant):
        case.check_accepted()
        return {"still valid": 1}
    raise AssertionError("It was accepted.")


def _check_message(case: InvalidModel | InvalidCall | Mutant, error: Exception) -> None:
    # Python's own answer to an argument of another kind, outside the algorithms
    if isinstance(case, InvalidCall) and isinstance(error, TypeError) and not isinstance(case.value, (int, float, np.ndarray)):
        return
    if not isinstance(error, ValueError):
        raise AssertionError(f"It was refused by a {type(error).__name__}.") from error
    message = str(error)
    if any(spelling in message for spelling in spellings(case.value)):
        return
    raise AssertionError(f"The message does not name the value: {message}") from error


def spellings(value: Any) -> Sequence[str]:
    """Texts of which a message has to hold one."""
    if isinstance(value, float) and math.isnan(value):
        return ("nan", "NaN")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return (repr(value), f"{value:g}", str(int(value)) if math.isfinite(value) else "infinite")
    if isinstance(value, str):
        # A long text is known by its beginning, a sum by the preset that is wrong, an alias by its argument, a vector is
        # written anew
        alias = f":{value.rpartition(':')[2]}"
        shorter = (value.partition("*")[2] or value, alias, "weights:" if "weights" in value else value)
        return (value[:MAX_LENGTH], repr(value)[:MAX_LENGTH], *shorter)
    if isinstance(value, (np.ndarray, list)):
        # The array or its size, or what in it is wrong
        shape = np.asarray(value, dtype=object).shape
        wrong = (
            ("nan", "NaN", "inf", "'a'", "no return", "finite", "shape", f"length {value[0]}:")
            if len(value)
            else ("no return", "empty", "at least 1")
        )
        return (repr(value)[:MAX_LENGTH], str(value)[:MAX_LENGTH], str(shape), f" {len(value)} ", *wrong)
    return (repr(value), str(value))


PART = Part("invalid", lambda seed, number: str(draw(seed, number)), check, sample=150)
