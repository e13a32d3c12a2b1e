"""
The presets: the rank weights of a sample of n by name, for ascending returns.

``PRESETS`` maps a canonical name to its weights and parameters. ``find_preset`` accepts all spellings: case and underscores do
not matter, and the names of the published OrderGrad estimator (arXiv 2606.06096) are aliases.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

PLOTTING_POSITIONS = {"hazen": 0.5, "weibull": 0.0, "blom": 0.375}


@dataclass(frozen=True)
class Level:
    """
    A real parameter in (0, 1] or [0, 1].

    :param symbol: the letter used in messages
    :param limit: the spelling of the preset's limit at 0 where 0 itself is not allowed
    """

    symbol: str = "q"
    limit: str = ""

    def range(self, n: int | None) -> str:
        return "in (0, 1]" if self.limit else "in [0, 1]"

    def read(self, text: str) -> float:
        return float(text)

    def allows(self, value: float, n: int | None) -> bool:
        return (0.0 < value if self.limit else 0.0 <= value) and value <= 1.0

    def nearest(self, value: float, n: int | None) -> float | None:
        """The closest allowed value; None stands for the limit."""
        if self.limit and not value > 0.0:
            return None
        return min(max(value, 0.0), 1.0) if value == value else 0.5


@dataclass(frozen=True)
class Count:
    """
    An integer parameter from ``low`` up to a bound that depends on the number of ranks.

    :param symbol: the letter used in messages
    :param low: the smallest allowed value
    :param half: the bound is (n - 1) // 2 instead of n, for what is cut from both sides
    """

    symbol: str = "m"
    low: int = 1
    half: bool = False

    def high(self, n: int | None) -> float:
        return math.inf if n is None else (n - 1) // 2 if self.half else n

    def needed_ranks(self, value: int) -> int:
        """The smallest number of ranks for which the value is allowed."""
        return 2 * value + 1 if self.half else value

    def range(self, n: int | None) -> str:
        return f"an integer >= {self.low}" if n is None else f"an integer in {self.low}..{self.high(n)}"

    def read(self, text: str) -> float:
        value = float(text)
        return int(value) if value.is_integer() else value

    def allows(self, value: float, n: int | None) -> bool:
        return isinstance(value, int) and self.low <= value <= self.high(n)

    def nearest(self, value: float, n: int | None) -> float | None:
        return round(min(max(value, self.low), self.high(n))) if math.isfinite(value) else self.low


Parameter = Level | Count


@dataclass(frozen=True)
class Preset:
    """
    :param name: canonical name
    :param weights: function of the number of ranks and the arguments that gives the weights, shape ``(n,)``
    :param parameters: what the numbers behind the colons may be
    :param example: valid arguments, the text behind the first colon
    :param options: words allowed as a last, optional argument (plotting positions)
    :param min_k: the smallest number of ranks for which the preset is defined
    :param has_levels: the single parameter is a level that annealing may interpolate
    :param counted_from: where the ranks of a fractional k are counted from: the "lowest" return, the "highest", the "nearer"
        of the two (half from each for the middle rank), or "either" if the objective is the same for every k
    """

    name: str
    weights: Callable[..., np.ndarray]
    parameters: tuple[Parameter, ...] = ()
    example: str = ""
    options: tuple[str, ...] = ()
    min_k: int = 1
    has_levels: bool = False
    counted_from: str = "nearer"

    @property
    def spelling(self) -> str:
        """A valid spelling."""
        return f"{self.name}:{self.example}" if self.example else self.name


def _mean_of(n: int, start: int, stop: int) -> np.ndarray:
    """Mean of the ascending ranks start+1..stop."""
    weights = np.zeros(n)
    weights[start:stop] = 1.0 / (stop - start)
    return weights


def _tail(n: int, q: float) -> float:
    """``q n`` without the rounding error that would add or drop an episode (0.07 * 100 is 7.000000000000001)."""
    nearest = round(q * n)
    return float(nearest) if abs(q * n - nearest) < 1e-9 * n else q * n


def _ceil(n: int, q: float) -> int:
    return math.ceil(_tail(n, q))


def _floor(n: int, q: float) -> int:
    return math.floor(_tail(n, q))


def cvar(n: int, q: float) -> np.ndarray:
    """Mean of the lowest ``q n`` ranks, the last one fractionally (Rockafellar and Uryasev 2002)."""
    tail = _tail(n, q) or q * n
    return np.clip(tail - np.arange(n), 0.0, 1.0) / tail


def quantile(n: int, q: float, method: str = "hazen") -> np.ndarray:
    """Interpolated quantile with plotting positions ``(j - a) / (n + 1 - 2a)`` (Hyndman and Fan 1996)."""
    a = PLOTTING_POSITIONS[method]
    position = min(max(q * (n + 1 - 2 * a) + a, 1.0), float(n)) - 1.0
    low = min(int(position), n - 1)
    weights = np.zeros(n)
    weights[low] = 1.0 - (position - low)
    if position > low:
        weights[low + 1] = position - low
    return weights


def harrell_davis(n: int, q: float) -> np.ndarray:
    """Increments of the Beta((n+1)q, (n+1)(1-q)) distribution function (Harrell and Davis 1982)."""
    # Imported here, since most imports of the package never need it
    from scipy.special import betainc

    if q in (0.0, 1.0):
        return rank(n, n if q == 0.0 else 1)
    return np.diff(betainc((n + 1) * q, (n + 1) * (1.0 - q), np.arange(n + 1) / n))


def rank(n: int, r: int) -> np.ndarray:
    """The r-th return from the top, ``rank:1`` is the maximum."""
    return _mean_of(n, n - r, n - r + 1)


def top_bottom(n: int, m: int) -> np.ndarray:
    """Midrange: half the mean of the m highest plus half the mean of the m lowest."""
    return 0.5 * (_mean_of(n, 0, m) + _mean_of(n, n - m, n))


def range_lower_tail_mean(n: int, low: float, high: float) -> np.ndarray:
    """Mean of the lowest ``ceil(high n)`` ranks without the lowest ``ceil(low n)``."""
    start, stop = _ceil(n, low), _ceil(n, high)
    if start >= stop:
        raise ValueError(f"no rank lies between ceil(lo k) = {start} and ceil(hi k) = {stop}, use hi > lo or a larger k")
    return _mean_of(n, start, stop)


def trimmed_mean(n: int, low: float, high: float) -> np.ndarray:
    """Mean without the lowest ``floor(low n)`` and the highest ``floor(high n)`` ranks, as ``scipy.stats.trim_mean``."""
    start, stop = _floor(n, low), n - _floor(n, high)
    if low + high >= 1.0 or start >= stop:
        raise ValueError(f"lo + hi = {low + high} leaves no rank, use lo + hi < 1")
    return _mean_of(n, start, stop)


def winsorized(n: int, m: int) -> np.ndarray:
    """Mean with the m lowest and the m highest replaced by their nearest remaining neighbours."""
    weights = np.full(n, 1.0 / n)
    weights[:m] = weights[n - m :] = 0.0
    weights[m] += m / n
    weights[n - m - 1] += m / n
    return weights


def lmoment(n: int, r: int) -> np.ndarray:
    """
    Sample L-moment of order r (Hosking 1990): discrete Legendre polynomials in the rank. Their three-term recurrence stays
    accurate where the sum of binomials with alternating signs cancels. ``2 lmoment:2`` is ``gini``.
    """
    x = 2.0 * np.arange(n) - (n - 1)
    previous, current = np.zeros(n), np.ones(n)
    for s in range(r - 1):
        previous, current = current, ((2 * s + 1) * x * current - s * (n + s) * previous) / ((s + 1) * (n - s - 1))
    return current / n


def weight_vector(n: int, *weights: float) -> np.ndarray:
    """The weights themselves, ascending ranks."""
    if len(weights) != n:
        raise ValueError(f"{len(weights)} weights were given, floor(k) = {n} are needed")
    return np.array(weights)


def _top(weights: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """The preset with its ranks reversed: the lowest takes the place of the highest."""
    return lambda n, *arguments: weights(n, *arguments)[::-1].copy()


_METHODS = tuple(PLOTTING_POSITIONS)
_Q, _LOW, _HIGH = Level(), Level("lo"), Level("hi")
_Q_OR_MIN, _Q_OR_MAX = Level("q", "min"), Level("q", "max")

PRESETS = {
    preset.name: preset
    for preset in (
        Preset("mean", lambda n: _mean_of(n, 0, n), counted_from="either"),
        Preset("max", lambda n: rank(n, 1), counted_from="highest"),
        Preset("min", lambda n: rank(n, n), counted_from="lowest"),
        Preset("median", lambda n: quantile(n, 0.5)),
        Preset("cvar", cvar, (_Q_OR_MIN,), "0.25", has_levels=True, counted_from="lowest"),
        Preset("upper_cvar", _top(cvar), (_Q_OR_MAX,), "0.25", has_levels=True, counted_from="highest"),
        Preset("quantile", quantile, (_Q,), "0.25", _METHODS, has_levels=True),
        Preset("top_quantile", _top(quantile), (_Q,), "0.25", _METHODS, has_levels=True),
        Preset("harrell_davis", harrell_davis, (_Q,), "0.25", has_levels=True),
        Preset("rank", rank, (Count("r"),), "1", counted_from="highest"),
        Preset("top", lambda n, m: _mean_of(n, n - m, n), (Count(),), "2", counted_from="highest"),
        Preset("bottom", lambda n, m: _mean_of(n, 0, m), (Count(),), "2", counted_from="lowest"),
        Preset("top_bottom", top_bottom, (Count(),), "2"),
        Preset("lower_tail_mean", lambda n, q: _mean_of(n, 0, _ceil(n, q)), (_Q_OR_MIN,), "0.25", counted_from="lowest"),
        Preset("upper_tail_mean", lambda n, q: _mean_of(n, n - _ceil(n, q), n), (_Q_OR_MAX,), "0.25", counted_from="highest"),
        Preset("range_lower_tail_mean", range_lower_tail_mean, (_LOW, _HIGH), "0.25:0.5", counted_from="lowest"),
        Preset("range_upper_tail_mean", _top(range_lower_tail_mean), (_LOW, _HIGH), "0.25:0.5", counted_from="highest"),
        Preset("trimmed", lambda n, m: _mean_of(n, m, n - m), (Count("m", 0, half=True),), "1"),
        Preset("trimmed_mean", trimmed_mean, (_LOW, _HIGH), "0.1:0.1"),
        Preset("winsorized", winsorized, (Count("m", 0, half=True),), "1"),
        Preset("gini", lambda n: 2.0 * lmoment(n, 2), min_k=2, counted_from="either"),
        Preset("lmoment", lmoment, (Count("r"),), "2", counted_from="either"),
        Preset("weights", weight_vector, (), "0.5,0.5"),
    )
}

# other spelling -> (canonical name, fixed option)
ALIASES = {
    "var": ("quantile", ""),
    "remax": ("max", ""),
    "remin": ("min", ""),
    "topm": ("top", ""),
    "botm": ("bottom", ""),
    "topbot": ("top_bottom", ""),
    "midrangem": ("top_bottom", ""),
    "trimmedmeanfrac": ("trimmed_mean", ""),
    "trimm": ("trimmed", ""),
    "winsorizedm": ("winsorized", ""),
    "ginimeandifference": ("gini", ""),
    "gmd": ("gini", ""),
    **{f"quantile{method}": ("quantile", method) for method in _METHODS},
    **{f"topquantile{method}": ("top_quantile", method) for method in _METHODS},
}
_PLAIN = {name.replace("_", ""): (name, "") for name in PRESETS} | ALIASES


def find_preset(name: str) -> tuple[Preset, str] | None:
    """
    The preset of a name, in any spelling, and the plotting position that the name implies (empty if none); ``None`` if it is
    unknown.
    """
    found = _PLAIN.get(name.lower().replace("_", ""))
    return None if found is None else (PRESETS[found[0]], found[1])
