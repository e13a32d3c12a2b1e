"""Plots of return distributions and learning curves; matplotlib is imported only when one is drawn."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from sb3_ordergrad.evaluation.argument_checks import check_count, check_returns
from sb3_ordergrad.evaluation.distribution import ReturnDistribution
from sb3_ordergrad.evaluation.evaluation_log import read_evaluations
from sb3_ordergrad.evaluation.statistics import objective_value
from sb3_ordergrad.evaluation.suite_statistics import stratified_bootstrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# (time steps, returns): training episodes (n,), (n,) or evaluations (n,), (n, n_eval_episodes); or a file evaluations.npz
Curve = tuple[ArrayLike, ArrayLike] | str | os.PathLike
# Okabe and Ito's palette without yellow, which is too faint for lines on white: https://jfly.uni-koeln.de/color/
PALETTE = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
LINE_STYLES = ("-", "--", "-.", ":")


def line_style(index: int) -> dict[str, str]:
    """Colour and dashes of the ``index``-th line; the dashes change once all colours are used."""
    return {"color": PALETTE[index % len(PALETTE)], "linestyle": LINE_STYLES[index // len(PALETTE) % len(LINE_STYLES)]}


def new_axes(ax: "Axes | None") -> "Axes":
    """``ax``, or new axes at column width."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(4.5, 3.4), layout="constrained")[1]


def finish(ax: "Axes") -> None:
    """The style that all plots share."""
    ax.spines[["top", "right"]].set_visible(False)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(frameon=False, fontsize="small")


def line_and_band(ax: "Axes", x: np.ndarray, line: np.ndarray, band: np.ndarray | None, label: str, index: int) -> None:
    """Draw the ``index``-th line ``(n_points,)`` with its band ``(2, n_points)``, if it has one."""
    style = line_style(index)
    ax.plot(x, line, label=label, linewidth=1.6, **style)  # type: ignore[arg-type]
    if band is not None:
        ax.fill_between(x, *band, color=style["color"], alpha=0.18, linewidth=0)


def mean_and_range(per_seed: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Mean over seeds ``(n_points,)`` with minimum and maximum ``(2, n_points)``, ``None`` for a single seed."""
    band = np.stack([per_seed.min(axis=0), per_seed.max(axis=0)]) if len(per_seed) > 1 else None
    return per_seed.mean(axis=0), band


def interquartile_mean(
    per_seed: np.ndarray, confidence: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray | None]:
    """
    Mean of the middle half of the seeds with percentile intervals of a stratified bootstrap (Agarwal et al. 2021,
    https://arxiv.org/abs/2108.13264). The seeds of a line are one stratum: one task.

    :param per_seed: shape ``(n_seeds, n_points)``
    :return: shape ``(n_points,)``; lower and upper end, shape ``(2, n_points)``, ``None`` for a single seed
    """
    line, band = stratified_bootstrap(
        [per_seed], lambda tasks: stats.trim_mean(tasks[0], 0.25, axis=-2), confidence, n_resamples, seed
    )
    return line, band if len(per_seed) > 1 else None


def _seeds(label: str, samples: "ReturnDistribution | Sequence[ReturnDistribution | ArrayLike]") -> list[np.ndarray]:
    """The returns of each seed."""
    if isinstance(samples, ReturnDistribution):
        return [samples.returns]
    return [x.returns if isinstance(x, ReturnDistribution) else check_returns(f"Each seed of {label!r}", x) for x in samples]


def plot_return_distributions(
    distributions: "Mapping[str, ReturnDistribution | Sequence[ReturnDistribution | ArrayLike]]",
    tail: float = 0.25,
    ax: "Axes | None" = None,
    kind: Literal["quantiles", "ecdf"] = "quantiles",
    objective: str | None = None,
) -> "Axes":
    """
    Plot distributions of episode returns: each line is the mean over seeds, the band their range (minimum to maximum).

    ``kind="quantiles"`` draws quantile functions: the area under a line left of ``tail``, divided by ``tail``, is the CVaR of
    that level. ``kind="ecdf"`` draws distribution functions, the same curves with the axes exchanged.

    :param distributions: for each label a :class:`ReturnDistribution`, or a list with the :class:`ReturnDistribution` or the
        returns of each seed, shape ``(n_episodes,)``
    :param tail: level up to which the background is shaded, in [0, 1]; 0 for none
    :param ax: axes to draw on; new ones if ``None``
    :param kind: ``"quantiles"`` or ``"ecdf"``
    :param objective: draw its value (mean over seeds) as a dotted line for each label, e.g. ``"cvar:0.25"``
    :return: the axes
    :raises ValueError: if ``kind`` is unknown, ``tail`` is not in [0, 1], the returns of a label are not given by seed, or one
        is not finite
    """
    if kind not in ("quantiles", "ecdf"):
        raise ValueError(f"kind = {kind!r} must be 'quantiles' or 'ecdf'.")
    if not 0 <= tail <= 1:
        raise ValueError(f"tail = {tail} must lie in [0, 1]: 0.25 shades the lowest quarter of the episodes.")
    by_label = {label: _seeds(label, samples) for label, samples in distributions.items()}
    ax = new_axes(ax)
    levels = (np.arange(400) + 0.5) / 400
    pooled = np.concatenate([x for samples in by_label.values() for x in samples])
    points = np.linspace(pooled.min(), pooled.max(), 400)
    shade, mark = (ax.axvspan, ax.axhline) if kind == "quantiles" else (ax.axhspan, ax.axvline)
    if tail > 0:
        shade(0, tail, color="0.92", zorder=0, label=f"lowest {100 * tail:g} %")
    for index, (label, samples) in enumerate(by_label.items()):
        if kind == "quantiles":
            per_seed = np.stack([np.quantile(x, levels, method="hazen") for x in samples])
        else:
            per_seed = np.stack([np.searchsorted(np.sort(x), points, side="right") / len(x) for x in samples])
        line_and_band(ax, levels if kind == "quantiles" else points, *mean_and_range(per_seed), label, index)
        if objective is not None:
            value = float(np.mean([objective_value(x, objective) for x in samples]))
            mark(value, color=line_style(index)["color"], linestyle=":", linewidth=1, label=None if index else objective)
    if kind == "quantiles":
        ax.set(xlim=(0, 1), xlabel="fraction of episodes", ylabel="episode return")
    else:
        ax.set(ylim=(0, 1), xlabel="episode return", ylabel="fraction of episodes")
    finish(ax)
    return ax


def learning_curve(
    timesteps: ArrayLike, returns: ArrayLike, grid: ArrayLike, objective: str = "mean", window: int = 100
) -> np.ndarray:
    """
    A statistic of the most recent training episodes over time steps.

    :param timesteps: time step at which each episode ended, shape ``(n_episodes,)``, ascending
    :param returns: their returns, shape ``(n_episodes,)``
    :param grid: time steps at which the statistic is computed, shape ``(n_points,)``
    :param objective: the statistic, any objective of :mod:`sb3_ordergrad.lstatistics`
    :param window: number of recent episodes from which it is computed
    :return: shape ``(n_points,)``; NaN before a fifth of the window is finished
    """
    returns = np.asarray(returns, dtype=np.float64)
    counts = np.searchsorted(np.asarray(timesteps), np.asarray(grid), side="right")
    least = max(1, window // 5)
    return np.array(
        [float(objective_value(returns[max(0, n - window) : n], objective)) if n >= least else np.nan for n in counts]
    )


def _read_curve(label: str, curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(curve, (str, os.PathLike)):
        log = read_evaluations(curve)
        curve = log["timesteps"], log["results"]
    timesteps, returns = (np.asarray(array, dtype=np.float64) for array in curve)
    is_pair = timesteps.ndim == 1 and returns.ndim in (1, 2) and len(timesteps) == len(returns)
    if not is_pair or not np.isfinite(timesteps).all() or not np.isfinite(returns).all():
        raise ValueError(
            f"{label!r} needs time steps (n,) with returns (n,) or (n, n_eval_episodes), all finite, for each seed; got the "
            f"shapes {timesteps.shape} and {returns.shape}."
        )
    return timesteps, returns


def plot_learning_curves(
    curves: Mapping[str, Sequence[Curve]],
    objective: str = "mean",
    window: int = 100,
    ax: "Axes | None" = None,
    aggregate: Literal["mean", "iqm"] = "mean",
    k: int | None = None,
) -> "Axes":
    """
    Plot a statistic of returns over time steps, one line for each label and a band over its seeds.

    For evaluations (SB3's ``evaluations.npz``) it is the statistic of each evaluation, at the time steps that all seeds of a
    label share; for training episodes the statistic of the most recent ``window`` episodes.

    :param curves: for each label and each seed a file ``evaluations.npz`` or a pair (time steps, returns): returns of shape
        ``(n, n_eval_episodes)`` are evaluations, ``(n,)`` training episodes with the time steps at which they ended
    :param objective: the statistic, e.g. ``"mean"`` or ``"cvar:0.25"``
    :param window: number of recent training episodes; not used for evaluations
    :param ax: axes to draw on; new ones if ``None``
    :param aggregate: ``"mean"``: mean over seeds with their range; ``"iqm"``: interquartile mean over seeds with 95 %
        intervals of a stratified bootstrap, see :func:`interquartile_mean`
    :param k: sample size of the objective of an evaluation; ``None`` for the objective of all its returns
    :return: the axes
    :raises ValueError: if ``aggregate`` is unknown, ``window`` is not a whole number >= 1, a curve is not finite, a file is
        damaged, evaluations and training episodes are mixed, or the seeds of a label have no time step in common
    """
    if aggregate not in ("mean", "iqm"):
        raise ValueError(f"aggregate = {aggregate!r} must be 'mean' or 'iqm'.")
    window = check_count("window", window)
    by_label = {label: [_read_curve(label, curve) for curve in seeds] for label, seeds in curves.items()}
    dimensions = {returns.ndim for seeds in by_label.values() for _, returns in seeds}
    if len(dimensions) > 1:
        raise ValueError("Evaluations and training episodes cannot share axes: plot them separately.")
    of_evaluations = dimensions == {2}
    ax = new_axes(ax)
    ends = [timesteps[-1] for seeds in by_label.values() for timesteps, _ in seeds if len(timesteps)]
    last = max(ends, default=1)
    grid = np.linspace(0, last, 101)[1:]
    for index, (label, seeds) in enumerate(by_label.items()):
        if of_evaluations:
            x, per_seed = _at_common_steps(label, seeds, objective, k)
        else:
            per_seed = np.stack([learning_curve(steps, returns, grid, objective, window) for steps, returns in seeds])
            valid = ~np.isnan(per_seed).any(axis=0)
            x, per_seed = grid[valid], per_seed[:, valid]
        summary = interquartile_mean if aggregate == "iqm" and len(x) else mean_and_range
        line_and_band(ax, x, *summary(per_seed), label, index)
    name = objective if k is None else f"{objective}@{k}"
    ylabel = f"{name} of an evaluation" if of_evaluations else f"{objective} of the last {window} episodes"
    ax.set(xlabel="environment steps", ylabel=ylabel, xlim=(0, last))
    ax.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4))
    finish(ax)
    return ax


def _at_common_steps(
    label: str, seeds: Sequence[tuple[np.ndarray, np.ndarray]], objective: str, k: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """The common time steps ``(n_points,)``, and the statistic of each seed there, ``(n_seeds, n_points)``."""
    common = seeds[0][0]
    for timesteps, _ in seeds[1:]:
        common = np.intersect1d(common, timesteps)
    if len(common) == 0:
        raise ValueError(
            f"The seeds of {label!r} have no evaluation at the same time step: use the same eval_freq and n_envs."
        )
    values = [objective_value(results[np.searchsorted(timesteps, common)], objective, k) for timesteps, results in seeds]
    return common, np.stack(values)
