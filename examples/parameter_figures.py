"""
Make the figures of docs/guide/parameters.md: what k does to a tail objective, and when annealing moves.

    python examples/parameter_figures.py --out docs/images
"""

import argparse
from pathlib import Path

import numpy as np
from _common import save_picture
from matplotlib.figure import Figure

from sb3_ordergrad.common.annealing import HOLD, AdaptiveAnnealing
from sb3_ordergrad.evaluation.plots import finish, line_style
from sb3_ordergrad.lstatistics import LStatistic, parse_objective

LEVEL = 0.05
GROUP_SIZE = 160
# The objective over training: it improves, stops, improves again, and stops
PROGRESS, VALUES = (0.0, 0.24, 0.34, 0.6, 1.0), (0.0, 1.0, 0.98, 2.0, 1.95)


def weights(k: int) -> np.ndarray:
    """Weight of each episode of a group in ``cvar:0.05``, lowest return first, in units of its weight in the mean."""
    return GROUP_SIZE * LStatistic(GROUP_SIZE, k, f"cvar:{LEVEL}").value_weights


def shares(k: int = 16, n_rollouts: int = 250) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    :param k: sample size of the objective
    :param n_rollouts: number of updates; as many episodes as one measurement needs end in five of them
    :return: fraction of training, value of the objective, and its share in the mixture, shape ``(n_rollouts,)`` each
    """
    annealing, objective = AdaptiveAnnealing(), parse_objective("cvar:0.25")
    progress = np.arange(1, n_rollouts + 1) / n_rollouts
    values = np.interp(progress, PROGRESS, VALUES)
    fractions = []
    for fraction, value in zip(progress, values, strict=True):
        annealing.update([value] * (k // 2), fraction, k, objective)
        fractions.append(annealing.fraction)
    return progress, values, np.array(fractions)


def draw_weights() -> Figure:
    """The weights for three k."""
    figure = Figure(figsize=(5.2, 3.0), layout="constrained")
    ax = figure.subplots()
    ax.axvspan(0, LEVEL, color="0.92", zorder=0, label=f"lowest {100 * LEVEL:g} %")
    for index, k in enumerate((4, 16, 80)):
        ax.step(np.arange(GROUP_SIZE) / GROUP_SIZE, weights(k), where="post", label=f"k = {k}", **line_style(index))
    ax.set(xlim=(0, 0.4), xlabel="fraction of the group, lowest return first", ylabel="weight of an episode")
    finish(ax)
    return figure


def draw_shares() -> Figure:
    """The objective above, its share below."""
    progress, values, fractions = shares()
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.subplots(2, 1, sharex=True)
    for index, (ax, y, ylabel) in enumerate(zip(axes, (values, fractions), ("objective", "share f"), strict=True)):
        ax.axvspan(0, HOLD, color="0.92", zorder=0, label="wait")
        ax.plot(progress, y, linewidth=1.6, **line_style(index))
        ax.set_ylabel(ylabel)
        finish(ax)
    axes[0].set_yticks([])
    axes[1].get_legend().remove()
    axes[1].set(xlim=(0, 1), ylim=(0, 1.05), xlabel="fraction of training")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/parameters"), help="folder of the figures")
    args = parser.parse_args()
    save_picture(draw_weights(), args.out / "sample_size.png")
    save_picture(draw_shares(), args.out / "annealing.png")


if __name__ == "__main__":
    main()
