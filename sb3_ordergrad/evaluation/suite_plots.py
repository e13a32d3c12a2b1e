"""Plots of several methods over a suite of tasks."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from sb3_ordergrad.evaluation.intervals import Interval
from sb3_ordergrad.evaluation.plots import PALETTE, finish, line_and_band, new_axes
from sb3_ordergrad.evaluation.suite_statistics import SuiteScores, performance_profiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_performance_profiles(scores: SuiteScores, thresholds: ArrayLike | None = None, ax: "Axes | None" = None) -> "Axes":
    """
    Plot the performance profile of each method with a 95 % band, see
    :func:`~sb3_ordergrad.evaluation.suite_statistics.performance_profiles`.

    :param scores: for each method and task the normalized scores of the seeds, shape ``(n_seeds,)``
    :param thresholds: shape ``(n_thresholds,)``; if ``None``, 201 over the range of the scores and [0, 1]
    :param ax: axes to draw on; new ones if ``None``
    :return: the axes
    :raises ValueError: if the methods have different tasks, or a score is not finite
    """
    if thresholds is None:
        every_score = np.concatenate([[0.0, 1.0], *(np.ravel(x) for tasks in scores.values() for x in tasks.values())])
        thresholds = np.linspace(every_score.min(), every_score.max(), 201)
    thresholds = np.asarray(thresholds, dtype=np.float64)
    profiles = performance_profiles(scores, thresholds)
    ax = new_axes(ax)
    for index, (method, (profile, band)) in enumerate(profiles.items()):
        line_and_band(ax, thresholds, profile, band, method, index)
    ax.set(xlim=thresholds[[0, -1]], ylim=(0, 1), xlabel="normalized score", ylabel="fraction of runs with a higher score")
    finish(ax)
    return ax


def plot_intervals(
    intervals: Mapping[str, Interval], xlabel: str = "", reference: float | None = None, ax: "Axes | None" = None
) -> "Axes":
    """
    Plot estimates with their intervals as horizontal bars, the first at the top.

    :param intervals: estimate and interval by label, e.g. from
        :func:`~sb3_ordergrad.evaluation.suite_statistics.interquartile_means`
    :param xlabel: name of the quantity
    :param reference: value of a dotted vertical line, e.g. 0.5 for a probability of improvement
    :param ax: axes to draw on; new ones if ``None``
    :return: the axes
    """
    ax = new_axes(ax)
    values, low, high = np.array(list(intervals.values())).T
    rows = np.arange(len(intervals))
    colors = [PALETTE[index % len(PALETTE)] for index in rows]
    ax.barh(rows, high - low, left=low, height=0.6, color=colors, alpha=0.4)
    ax.vlines(values, rows - 0.3, rows + 0.3, colors=colors)
    # an interval without width would lie on the frame
    ax.use_sticky_edges = False
    if reference is not None:
        ax.axvline(reference, color="0.4", linestyle=":", linewidth=1)
    ax.set_yticks(rows, list(intervals))
    ax.invert_yaxis()
    ax.set_xlabel(xlabel)
    finish(ax)
    return ax
