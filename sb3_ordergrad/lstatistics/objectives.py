"""
Objectives: what is maximised, as rank weights of a sample of k returns.

An objective ``J = E[ sum_j alpha_j R_(j:k) ]`` is a linear combination of presets (OrderGrad, arXiv 2606.06096). It can be
written as a string, as a vector of weights in ascending rank order, or as an :class:`Objective`; every function of the
package takes any of the three.
"""

import difflib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import NoReturn

import numpy as np

from sb3_ordergrad.lstatistics import grammar
from sb3_ordergrad.lstatistics.presets import ALIASES, PRESETS, Level, Preset, find_preset

Argument = float | str

# There are floor(k) rank weights: a larger k fails here rather than by exhausting the memory
MAX_K = 10**7


@dataclass(frozen=True)
class _Atom:
    """A preset with its arguments."""

    name: str
    arguments: tuple[Argument, ...] = ()

    def __str__(self) -> str:
        arguments = (argument if isinstance(argument, str) else repr(argument) for argument in self.arguments)
        if self.name == "weights":
            return f"weights:{','.join(arguments)}"
        return ":".join((self.name, *arguments))

    def weights(self, n: int) -> np.ndarray:
        preset = PRESETS[self.name]
        text = f"{str(self)!r} with k = {n}"
        if n < preset.min_k:
            raise ValueError(f"objective {text}: {self.name} needs k >= {preset.min_k}; use a larger k")
        _check_arguments(preset, self.arguments, text, n)
        try:
            return preset.weights(n, *self.arguments)
        except ValueError as error:
            raise ValueError(f"objective {text}: {error}; a valid spelling is {preset.spelling!r}") from None


class Objective:
    """
    A linear combination of presets; objectives can be added, subtracted and scaled::

        Objective("mean") - 0.5 * Objective("gini")

    ``str(objective)`` is a string that parses to the same objective.

    :param spec: a string of the mini-language, a vector of rank weights (ascending) or another objective
    :raises ValueError: if the string or the vector is not an objective
    """

    # NumPy scalars must leave ``np.float64(0.5) * objective`` to __rmul__
    __array_ufunc__ = None
    terms: tuple[tuple[float, _Atom], ...]

    def __init__(self, spec: "ObjectiveLike") -> None:
        if isinstance(spec, Objective):
            self.terms = spec.terms
        elif isinstance(spec, str):
            self.terms = _parse_text(spec)
        else:
            self.terms = ((1.0, _weights_atom(spec)),)

    @classmethod
    def _of(cls, terms: tuple[tuple[float, _Atom], ...]) -> "Objective":
        objective = cls.__new__(cls)
        objective.terms = terms
        return objective

    def rank_weights(self, n: int) -> np.ndarray:
        """
        Weights of the order statistics of a sample of n.

        :param n: number of ranks, floor(k)
        :return: shape ``(n,)``, float64, ascending rank order
        :raises ValueError: if the objective is not defined for n ranks
        """
        return np.sum([weights for _, weights in self._weighted_terms(n)], axis=0)

    def _weighted_terms(self, n: int) -> Iterator[tuple[_Atom, np.ndarray]]:
        for coefficient, atom in self.terms:
            if not math.isfinite(coefficient):
                raise ValueError(f"objective {str(self)!r}: the factor {coefficient} must be a finite number, such as 0.5")
            yield atom, coefficient * atom.weights(n)

    def split_weights(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """
        The terms of the rank weights by where their ranks are counted from, which matters for a fractional k.

        :param n: number of ranks, floor(k)
        :return: weights of the presets that are the same for every k, of the ranks counted from the lowest return and of those
            from the highest, which add up to ``rank_weights(n)``; each of shape ``(n,)``, in ascending rank order
        :raises ValueError: if the objective is not defined for n ranks
        """
        either, lowest, highest = np.zeros((3, n))
        for atom, weights in self._weighted_terms(n):
            counted_from = PRESETS[atom.name].counted_from
            if counted_from == "either":
                either += weights
                continue
            nearer = np.clip(n / 2.0 - np.arange(n), 0.0, 1.0)
            share = nearer if counted_from == "nearer" else float(counted_from == "lowest")
            lowest += share * weights
            highest += (1.0 - share) * weights
        return either, lowest, highest

    def is_mean(self, k: float) -> bool:
        """
        :param k: sample size, a real number >= 1
        :return: whether this is the mean for samples of k, as ``mean``, ``cvar:1``, or the maximum of a single return
        """
        k = check_k(k)
        if isinstance(k, int):
            return bool(np.all(self.rank_weights(k) == 1.0 / k))
        n = math.floor(k)
        either, lowest, highest = self.split_weights(n)
        return bool(np.all(either == 1.0 / n)) and not lowest.any() and not highest.any()

    def __add__(self, other: "ObjectiveLike") -> "Objective":
        return Objective._of(self.terms + Objective(other).terms)

    def __radd__(self, other: "ObjectiveLike") -> "Objective":
        return Objective(other) + self

    def __sub__(self, other: "ObjectiveLike") -> "Objective":
        return self + -Objective(other)

    def __rsub__(self, other: "ObjectiveLike") -> "Objective":
        return Objective(other) - self

    def __mul__(self, factor: float) -> "Objective":
        if not isinstance(factor, Real):
            return NotImplemented
        if not math.isfinite(factor):
            raise ValueError(f"an objective can be scaled by a finite number, got {factor}")
        return Objective._of(tuple((float(factor) * coefficient, atom) for coefficient, atom in self.terms))

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> "Objective":
        if not isinstance(divisor, Real):
            return NotImplemented
        if divisor == 0:
            raise ValueError("an objective can be divided by a finite number other than zero, got 0")
        return self * (1.0 / divisor)

    def __neg__(self) -> "Objective":
        return self * -1.0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Objective) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(self.terms)

    def __str__(self) -> str:
        text = ""
        for coefficient, atom in self.terms:
            sign = "-" if coefficient < 0 else "+" if text else ""
            scale = "" if abs(coefficient) == 1.0 else f"{abs(coefficient)!r}*"
            text += f" {sign} {scale}{atom}" if text else f"{sign}{scale}{atom}"
        return text

    def __repr__(self) -> str:
        return f"Objective({str(self)!r})"


ObjectiveLike = str | Objective | Sequence[float] | np.ndarray


def parse_objective(objective: ObjectiveLike) -> Objective:
    """
    Read an objective in any of its forms.

    :param objective: a string such as ``"cvar:0.25"`` or ``"mean - 0.5*gini"`` (all presets:
        ``docs/reference/objectives.md``; case and underscores do not matter), a vector of rank weights in ascending order, or
        an :class:`Objective`
    :return: the objective
    :raises ValueError: if the text or a parameter is invalid; the message repeats the text, the range and the closest
        valid spelling
    """
    return objective if isinstance(objective, Objective) else Objective(objective)


def rank_weights(objective: ObjectiveLike, k: float) -> np.ndarray:
    """
    Rank weights alpha of ``J = E[ sum_j alpha_j R_(j:k) ]``.

    :param objective: the objective in any form, see :func:`parse_objective`
    :param k: sample size, a real number >= 1; a fractional k has floor(k) ranks
    :return: shape ``(floor(k),)``, float64, ascending rank order
    :raises ValueError: if k or the objective is invalid, or the objective is not defined for this k
    """
    return parse_objective(objective).rank_weights(math.floor(check_k(k)))


def interpolate_objective(start: ObjectiveLike, target: ObjectiveLike, fraction: float) -> Objective:
    """
    The objective on the way from ``start`` to ``target``, for annealing.

    Two levels of one family (``cvar:1 -> cvar:0.1``; likewise ``upper_cvar``, ``quantile``, ``top_quantile`` with one plotting
    position and ``harrell_davis``) give the interpolated level, all other pairs, also from the mean, the mixture
    ``(1 - fraction) * start + fraction * target``.

    :param start: the objective at fraction 0
    :param target: the objective at fraction 1
    :param fraction: between 0 and 1
    :return: exactly ``start`` at 0 and exactly ``target`` at 1
    :raises ValueError: if the fraction is outside [0, 1] or an objective is invalid
    """
    start, target = parse_objective(start), parse_objective(target)
    if not isinstance(fraction, Real) or not 0.0 <= fraction <= 1.0:
        raise ValueError(f"fraction = {fraction!r} must be in [0, 1], as a number; clip it")
    fraction = float(fraction)
    if fraction == 0.0 or start == target:
        return start
    if fraction == 1.0:
        return target
    for family in (name for name, preset in PRESETS.items() if preset.has_levels):
        low, high = _level(start, family), _level(target, family)
        if low is not None and high is not None and low[1:] == high[1:]:
            level = float(low[0]) + fraction * (float(high[0]) - float(low[0]))
            return Objective._of(((1.0, _Atom(family, (level, *low[1:]))),))
    return (1.0 - fraction) * start + fraction * target


def check_k(k: float) -> float:
    """The sample size, as an int where it is whole; raise a ValueError unless it is a real number between 1 and MAX_K."""
    if isinstance(k, bool) or not isinstance(k, Real) or not 1 <= k <= MAX_K:
        raise ValueError(f"k = {k!r} must be a real number >= 1 and <= {MAX_K}; k = 1 ranks single returns, the plain mean")
    return int(k) if float(k).is_integer() else float(k)


def _level(objective: Objective, family: str) -> tuple[Argument, ...] | None:
    """Arguments of an objective that is a single member of the family, None for any other."""
    if len(objective.terms) != 1 or objective.terms[0][0] != 1.0:
        return None
    atom = objective.terms[0][1]
    return atom.arguments if atom.name == family else None


def _parse_text(text: str) -> tuple[tuple[float, _Atom], ...]:
    try:
        terms = grammar.parse(text)
    except ValueError as error:
        raise ValueError(f"{error}; {_closest(text)}") from None
    return tuple((term.coefficient, _read_atom(term, text)) for term in terms)


def _read_atom(term: grammar.Term, text: str) -> _Atom:
    found = find_preset(term.name)
    if found is None:
        raise ValueError(f"objective {text!r}: unknown preset {term.name!r}; {_closest(term.name)}")
    preset, option = found
    if preset.name == "weights":
        return _read_weights(term, text)
    arguments: list[Argument] = list(term.arguments)
    if preset.options:
        if not option and len(arguments) == len(preset.parameters) + 1:
            option = str(arguments.pop()).lower()
            if option not in preset.options:
                raise ValueError(f"objective {text!r}: the plotting position {option!r} must be one of {preset.options}")
    if len(arguments) != len(preset.parameters):
        raise ValueError(
            f"objective {text!r}: {term.name} takes {len(preset.parameters)} parameter(s), got {len(arguments)}; "
            f"a valid spelling is {preset.spelling!r}"
        )
    for index, parameter in enumerate(preset.parameters):
        try:
            arguments[index] = parameter.read(str(arguments[index]))
        except (ValueError, OverflowError):
            _reject(preset, arguments, index, repr(text), None)
    _check_arguments(preset, tuple(arguments), repr(text), None)
    # the default plotting position stays unwritten, so that equal objectives compare equal
    if preset.options and option and option != preset.options[0]:
        arguments.append(option)
    return _Atom(preset.name, tuple(arguments))


def _read_weights(term: grammar.Term, text: str) -> _Atom:
    try:
        (vector,) = term.arguments
        return _weights_atom([float(item) for item in vector.split(",")])
    except ValueError:
        raise ValueError(f"objective {text!r}: weights takes finite numbers, a valid spelling is 'weights:0.5,0.5'") from None


def _weights_atom(weights: Sequence[float] | np.ndarray) -> _Atom:
    try:
        vector = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"objective {weights!r} must be a string, an Objective or a vector of finite rank weights") from None
    if vector.ndim != 1 or vector.size == 0 or not np.isfinite(vector).all():
        raise ValueError(
            f"objective {weights!r} must be a vector of floor(k) finite rank weights (ascending), got shape {vector.shape}"
        )
    return _Atom("weights", tuple(vector.tolist()))


def _check_arguments(preset: Preset, arguments: tuple[Argument, ...], text: str, n: int | None) -> None:
    for index, (parameter, value) in enumerate(zip(preset.parameters, arguments, strict=False)):
        if isinstance(value, str) or not parameter.allows(value, n):
            _reject(preset, list(arguments), index, text, n)


def _reject(preset: Preset, arguments: list[Argument], index: int, text: str, n: int | None) -> NoReturn:
    """Raise the error that a parameter is out of range: the text, the range and the closest valid spelling."""
    parameter, value = preset.parameters[index], arguments[index]
    nearest = None if isinstance(value, str) else parameter.nearest(value, n)
    if nearest is not None:
        closest = str(_Atom(preset.name, (*arguments[:index], nearest, *arguments[index + 1 :])))
    elif isinstance(parameter, Level) and parameter.limit and not isinstance(value, str):
        closest = parameter.limit
    else:
        closest = preset.spelling
    raise ValueError(
        f"objective {text}: {parameter.symbol} = {value} of {preset.name} must be {parameter.range(n)}; "
        f"closest valid spelling: {closest!r}"
    )


def _closest(text: str) -> str:
    """A sentence that names the closest valid spelling of a preset."""
    spellings = {name.replace("_", ""): preset.spelling for name, preset in PRESETS.items()}
    spellings |= {alias: PRESETS[name].spelling for alias, (name, _) in ALIASES.items()}
    plain = "".join(character for character in text.lower() if character.isalpha())
    match = difflib.get_close_matches(plain, spellings, n=1, cutoff=0.5)
    if match:
        return f"closest valid spelling: {spellings[match[0]]!r}"
    return f"valid presets: {', '.join(PRESETS)}"
