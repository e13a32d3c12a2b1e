"""Pictures of return distributions and learning curves; matplotlib is imported only when one is drawn."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from sb3_ordergrad.evaluation.statistics import lstatistic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette without yellow, which is too faint for lines on white: https://jfly.uni-koeln.de/color/
PALETTE = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
LINE_STYLES = ("-", "--", "-.", ":")


def line_style(index: int) -> dict[str, str]:
    """Colour and dashes of the ``index``-th line: colours first, other dashes once all colours are used."""
    return {"color": PALETTE[index % len(PALETTE)], "linestyle": LINE_STYLES[index // len(PALETTE) % len(LINE_STYLES)]}


def _new_axes(ax: "Axes | None") -> "Axes":
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(4.5, 3.4), layout="constrained")[1]


def _line_and_band(ax: "Axes", x: np.ndarray, per_seed: np.ndarray, label: str, index: int) -> None:
    """
    Mean over seeds as a line, the range over seeds as a band.

    :param x: shape ``(n_points,)``
    :param per_seed: shape ``(n_seeds, n_points)``, NaN where a seed has no value
    """
    valid = ~np.isnan(per_seed).any(axis=0)
    x, per_seed = x[valid], per_seed[:, valid]
    style = line_style(index)
    ax.plot(x, per_seed.mean(axis=0), label=label, linewidth=1.6, **style)  # type: ignore[arg-type]
    if len(per_seed) > 1:
        low, high = per_seed.min(axis=0), per_seed.max(axis=0)
        ax.fill_between(x, low, high, color=style["color"], alpha=0.18, linewidth=0)


def plot_return_distributions(
    distributions: Mapping[str, Sequence[ArrayLike]], tail: float = 0.25, ax: "Axes | None" = None
) -> "Axes":
    """
    Quantile functions of episode returns: a line is the mean over seeds, its band their range (minimum to maximum).

    The area under a line left of ``tail``, divided by ``tail``, is the CVaR at that level; this part is shaded.

    :param distributions: for each label the returns of each seed, arrays of shape ``(n_episodes,)``
    :param tail: level up to which the background is shaded; 0 for none
    :param ax: axes to draw on; new ones if ``None``
    :return: the axes
    """
    ax = _new_axes(ax)
    levels = (np.arange(400) + 0.5) / 400
    if tail > 0:
        ax.axvspan(0, tail, color="0.92", zorder=0, label=f"lowest {100 * tail:g} %")
    for index, (label, samples) in enumerate(distributions.items()):
        per_seed = np.stack([np.quantile(np.asarray(x, dtype=np.float64), levels, method="hazen") for x in samples])
        _line_and_band(ax, levels, per_seed, label, index)
    ax.set(xlim=(0, 1), xlabel="fraction of episodes", ylabel="episode return")
    ax.legend(frameon=False, fontsize="small")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def learning_curve(
    timesteps: ArrayLike, returns: ArrayLike, grid: ArrayLike, objective: str = "mean", window: int = 100
) -> np.ndarray:
    """
    A statistic of the latest training episodes along training.

    :param timesteps: when each episode ended, shape ``(n_episodes,)``, ascending
    :param returns: its return, shape ``(n_episodes,)``
    :param grid: time steps at which the statistic is taken, shape ``(n_points,)``
    :param objective: the statistic, any objective of :mod:`sb3_ordergrad.lstatistics`
    :param window: number of latest episodes it is taken over
    :return: shape ``(n_points,)``; NaN before a fifth of the window has been played
    """
    returns = np.asarray(returns, dtype=np.float64)
    counts = np.searchsorted(np.asarray(timesteps), np.asarray(grid), side="right")
    least = max(1, window // 5)
    return np.array([float(lstatistic(returns[max(0, n - window) : n], objective)) if n >= least else np.nan for n in counts])


def plot_learning_curves(
    curves: Mapping[str, Sequence[tuple[ArrayLike, ArrayLike]]],
    objective: str = "mean",
    window: int = 100,
    ax: "Axes | None" = None,
) -> "Axes":
    """
    A statistic of the latest training episodes over time steps: mean over seeds, with their range as a band.

    :param curves: for each label and each seed the pair (time steps at which episodes ended, their returns)
    :param objective: the statistic, e.g. ``"mean"`` or ``"cvar:0.25"``
    :param window: number of latest training episodes it is taken over
    :param ax: axes to draw on; new ones if ``None``
    :return: the axes
    """
    ax = _new_axes(ax)
    ends = [np.asarray(steps)[-1] for seeds in curves.values() for steps, _ in seeds if len(np.asarray(steps))]
    grid = np.linspace(0, max(ends, default=1), 101)[1:]
    for index, (label, seeds) in enumerate(curves.items()):
        per_seed = np.stack([learning_curve(steps, returns, grid, objective, window) for steps, returns in seeds])
        _line_and_band(ax, grid, per_seed, label, index)
    ax.set(xlabel="environment steps", ylabel=f"{objective} of the last {window} episodes", xlim=(0, grid[-1]))
    ax.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4))
    ax.spines[["top", "right"]].set_visible(False)
    if curves:
        ax.legend(frameon=False, fontsize="small")
    return ax
