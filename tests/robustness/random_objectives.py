"""Random objectives that are valid by construction: no code of the package decides what is drawn."""

from collections.abc import Callable

import numpy as np

Rng = np.random.Generator


def _level(rng: Rng) -> str:
    return f"{rng.uniform(0.01, 1.0):.3g}"


def _count(rng: Rng, low: int, high: int) -> int:
    return int(rng.integers(low, high + 1))


def _range(rng: Rng, n: int) -> str:
    low = _count(rng, 0, n - 1)
    return f"{low / n!r}:{_count(rng, low + 1, n) / n!r}"


def _trimming(rng: Rng, n: int) -> str:
    low = round(rng.uniform(0.0, 0.9), 3)
    return f"{low}:{round(rng.uniform(0.0, 0.99 - low), 3)}"


# name -> arguments for n ranks; names are those of docs/reference/objectives.md, both columns
PRESETS: dict[str, Callable[[Rng, int], str]] = {
    **dict.fromkeys(("mean", "max", "min", "median", "ReMax", "ReMin", "MEDIAN"), lambda rng, n: ""),
    **dict.fromkeys(("cvar", "upper_cvar", "UpperCVaR", "lower_tail_mean", "UpperTailMean"), lambda rng, n: _level(rng)),
    **dict.fromkeys(("quantile", "var", "top_quantile", "harrell_davis", "HarrellDavis"), lambda rng, n: _level(rng)),
    "Quantile": lambda rng, n: f"{_level(rng)}:{rng.choice(['hazen', 'weibull', 'blom'])}",
    **dict.fromkeys(("QuantileBlom", "QuantileWeibull", "TopQuantileHazen"), lambda rng, n: _level(rng)),
    **dict.fromkeys(("rank", "top", "bottom", "TopM", "BotM", "top_bottom"), lambda rng, n: str(_count(rng, 1, n))),
    **dict.fromkeys(("range_lower_tail_mean", "RangeUpperTailMean"), _range),
    **dict.fromkeys(("trimmed", "winsorized", "TrimM"), lambda rng, n: str(_count(rng, 0, (n - 1) // 2))),
    "trimmed_mean": _trimming,
    "lmoment": lambda rng, n: str(_count(rng, 1, min(n, 6))),
    "weights": lambda rng, n: ",".join(f"{weight:.3g}" for weight in rng.normal(size=n)),
    # defined from two ranks on
    **dict.fromkeys(("gini", "GMD"), lambda rng, n: ""),
}


def draw_preset(rng: Rng, n: int, names: tuple[str, ...] = tuple(PRESETS)) -> str:
    """One of them with arguments that are allowed for n ranks."""
    name = str(rng.choice([name for name in names if n > 1 or name not in ("gini", "GMD")]))
    arguments = PRESETS[name](rng, n)
    return f"{name}:{arguments}" if arguments else name


def draw_objective(rng: Rng, k: float) -> str | list[float]:
    """A preset, a combination of presets or a vector of rank weights."""
    n = int(k)
    kind = rng.random()
    if kind < 0.6:
        return draw_preset(rng, n)
    if kind < 0.75:
        return rng.normal(size=n).tolist()
    first, second, third = (draw_preset(rng, n) for _ in range(3))
    a, b = rng.uniform(0.1, 2.0, size=2).round(2)
    forms = (
        f"{first} - {a}*{second}",
        f"({first} + {second}) / 2",
        f"-{a}*({first}-{b}*({second} + {third}))",
        f"{a} * {first}+{second}*{b}",
        f"0*{first} + {second}",
    )
    return str(rng.choice(forms))
