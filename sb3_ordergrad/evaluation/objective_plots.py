"""Plots of objectives: the weight of each rank and the influence of a single return."""

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from sb3_ordergrad.evaluation.plots import finish, line_style
from sb3_ordergrad.lstatistics import LStatistic, ObjectiveLike, parse_objective, rank_weights

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Above this many ranks markers would run into each other
MARKED_RANKS = 40


def plot_rank_weights(
    objective: ObjectiveLike,
    k: float,
    group_size: int | None = None,
    axes: "tuple[Axes, Axes] | None" = None,
    label: str | None = None,
) -> "tuple[Axes, Axes]":
    """
    Plot the rank weights of an objective and the influence of one return.

    Left: the rank weights ``alpha_j`` of ``J = E[sum_j alpha_j R_(j:k)]``, lowest return first. Right: the influence
    ``phi(x)`` (:meth:`~sb3_ordergrad.lstatistics.LStatistic.influence`) of an episode with the return x in a group whose other
    returns are the quantiles ``(i - 1/2) / (group_size - 1)`` of the standard normal distribution. It is flat where a higher
    return does not change the objective; for the mean it is the line ``x``.

    To compare objectives, call it again with the returned axes.

    :param objective: the objective in any form, e.g. ``"cvar:0.25"``
    :param k: sample size, a real number >= 1
    :param group_size: number of returns in a group, above ``k``; ``max(64, 4 k)`` if ``None``
    :param axes: the pair of axes to draw on; new ones if ``None``
    :param label: name in the legend; the objective's text if ``None``
    :return: the axes of the weights and of the influence
    :raises ValueError: if the objective or ``k`` is invalid, or ``group_size`` is not above ``k``
    """
    weights = rank_weights(objective, k)
    group_size = max(64, math.ceil(4 * k)) if group_size is None else group_size
    statistic = LStatistic(group_size, k, objective)
    others = stats.norm.ppf((np.arange(group_size - 1) + 0.5) / (group_size - 1))
    x = np.linspace(-3.0, 3.0, 601)
    influence = statistic.influence(x, others)
    if axes is None:
        import matplotlib.pyplot as plt

        axes = tuple(plt.subplots(1, 2, figsize=(6.6, 2.8), layout="constrained")[1])
    weights_ax, influence_ax = axes
    style = line_style(len(influence_ax.get_lines()))
    if label is None:
        label = objective if isinstance(objective, str) else str(parse_objective(objective))
    ranks = np.arange(1, len(weights) + 1)
    marker = {"marker": "o", "markersize": 3} if len(ranks) <= MARKED_RANKS else {}
    weights_ax.plot(ranks, weights, label=label, linewidth=1.2, **marker, **style)  # type: ignore[arg-type]
    weights_ax.set(xlabel=f"rank, lowest of {k} first", ylabel="weight")
    influence_ax.plot(x, influence, label=label, linewidth=1.6, **style)  # type: ignore[arg-type]
    influence_ax.set(xlabel="return, others standard normal", ylabel="influence", xlim=(x[0], x[-1]))
    for ax in axes:
        finish(ax)
    # One legend serves both
    weights_ax.get_legend().remove()  # type: ignore[union-attr]
    return axes
