"""
Coverage of the bootstrap intervals of evaluation statistics, by distribution of returns and method.

    python benchmarks/coverage_of_intervals.py    # two minutes of one core
    python benchmarks/coverage_of_intervals.py --figure docs/images/coverage.png
    python benchmarks/coverage_of_intervals.py --statistic var:0.1 --repetitions 400
    python benchmarks/coverage_of_intervals.py --statistic max --k 8 --repetitions 400
    python benchmarks/coverage_of_intervals.py --distributions "5 % lose 500" --methods BCa --seeds 0 1 2 3 4

The first three methods are those of ``ReturnDistribution.interval``. "studentized" (bootstrap-t with the jackknife standard
error) is not part of the package and serves as a comparison. A cell contains the coverage in percent; in brackets how often
the interval lay above and below the true value (nominally 2.5 and 2.5 for 95 %); and the median width.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import drawing
import numpy as np

from sb3_ordergrad.evaluation import Interval, ReturnDistribution
from sb3_ordergrad.evaluation.statistics import objective_value, objective_weights

# Sample size for the true value
N_TRUTH = 8_000_000
Draw = Callable[[np.random.Generator, int], np.ndarray]


def rare_loss(probability: float) -> Draw:
    return lambda rng, n: rng.normal(150.0, 30.0, n) - 500.0 * (rng.random(n) < probability)


DISTRIBUTIONS: dict[str, Draw] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "minus exponential": lambda rng, n: -rng.exponential(size=n),
    "Student t, 3 dof": lambda rng, n: rng.standard_t(3, size=n),
    "5 % lose 500": rare_loss(0.05),
    "1 % lose 500": rare_loss(0.01),
    "Poisson(5)": lambda rng, n: rng.poisson(5.0, size=n).astype(np.float64),
}
METHODS = ("BCa", "percentile", "basic", "studentized")


def jackknife_error(ordered: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """
    :param ordered: sorted returns, shape ``(..., n)``
    :param weights: weights of the order statistics of n - 1 returns
    :return: standard error of the statistic, shape ``(...)``
    """
    n = ordered.shape[-1]
    without = np.zeros(ordered.shape)
    without[..., 1:] += np.cumsum(weights * ordered[..., :-1], axis=-1)
    without[..., :-1] += np.cumsum((weights * ordered[..., 1:])[..., ::-1], axis=-1)[..., ::-1]
    return np.sqrt((n - 1) * without.var(axis=-1))


def studentized(returns: np.ndarray, statistic: str, k: int | None, n_resamples: int, seed: int) -> Interval:
    """Bootstrap-t interval of 95 % (Efron and Tibshirani 1993, chapter 12)."""
    n = len(returns)
    weights, jackknife_weights = objective_weights(statistic, n, k), objective_weights(statistic, n - 1, k)
    draws = np.sort(np.random.default_rng(seed).choice(returns, size=(n_resamples, n)), axis=-1)
    ordered = np.sort(returns)
    value, error = float(ordered @ weights), float(jackknife_error(ordered, jackknife_weights))
    with np.errstate(divide="ignore", invalid="ignore"):
        pivots = (draws @ weights - value) / jackknife_error(draws, jackknife_weights)
    low, high = np.quantile(np.nan_to_num(pivots, posinf=1e12, neginf=-1e12), [0.025, 0.975], method="higher")
    return Interval(value, float(value - high * error), float(value - low * error))


class Coverage(NamedTuple):
    """How often the interval lay above and below the true value, in percent, and its median width."""

    above: float
    below: float
    width: float

    @property
    def covered(self) -> float:
        """In percent."""
        return 100 - self.above - self.below

    def __str__(self) -> str:
        return f"{self.covered:.1f} ({self.above:.1f}, {self.below:.1f}) {self.width:.3g}"


def coverage(
    draw: Draw, method: str, statistic: str, k: int | None, n_episodes: int, repetitions: int, n_resamples: int, seed: int
) -> Coverage:
    """
    :return: of the 95 % intervals of one method
    """
    truth_rng = np.random.default_rng(20260606)
    if k is None:
        truth = float(objective_value(draw(truth_rng, N_TRUTH), statistic))
    else:
        truth = float(np.mean(objective_value(draw(truth_rng, N_TRUTH // k * k).reshape(-1, k), statistic)))
    rng = np.random.default_rng(seed)
    intervals = []
    for repetition in range(repetitions):
        returns = draw(rng, n_episodes)
        if method == "studentized":
            intervals.append(studentized(returns, statistic, k, n_resamples, repetition))
        else:
            distribution = ReturnDistribution(returns, np.ones(n_episodes))
            intervals.append(distribution.interval(statistic, k, n_resamples=n_resamples, method=method, seed=repetition))
    _, low, high = np.array(intervals).T
    above, below = 100 * np.mean(low > truth), 100 * np.mean(high < truth)
    return Coverage(above, below, float(np.median(high - low)))


def draw_coverage(cells: drawing.Dots, repetitions: int, path: Path) -> None:
    """Draw the coverage of each method, over the 95 % sampling interval of a method that covers 95 % of the time."""
    figure = drawing.new_figure(6.6, 0.9 + 0.5 * len(next(iter(cells.values()))))
    ax = figure.subplots()
    error = 196 * (0.95 * 0.05 / repetitions) ** 0.5
    ax.axvspan(95 - error, 95 + error, color="0.8", zorder=0.5)
    ax.axvline(95, color="0.4", linewidth=1, zorder=0.6)
    drawing.plot_dots(ax, cells)
    drawing.move_legend(figure, "outside upper right")
    ax.set_xlabel("coverage of 95 % intervals, in percent")
    drawing.save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--statistic", default="cvar:0.1", help="an objective")
    parser.add_argument("--k", type=int, default=None, help="its sample size k")
    parser.add_argument("--distributions", nargs="+", default=list(DISTRIBUTIONS), choices=list(DISTRIBUTIONS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--episodes", type=int, default=400, help="episodes of an evaluation")
    parser.add_argument("--repetitions", type=int, default=1000, help="evaluations per cell")
    parser.add_argument("--resamples", type=int, default=999, help="bootstrap resamples")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one row per seed")
    parser.add_argument("--figure", type=Path, metavar="PNG", help="draw the coverage")
    args = parser.parse_args()
    dots: dict[str, dict[str, list[float]]] = {method: {} for method in args.methods}
    sample_size = "" if args.k is None else f", k = {args.k}"
    print(f"{args.statistic}{sample_size}: {args.repetitions} times {args.episodes} episodes, {args.resamples} resamples\n")
    print(f"| returns | seed | {' | '.join(args.methods)} |")
    print("|---|---:|" + "---|" * len(args.methods))
    for name in args.distributions:
        for seed in args.seeds:
            cells = [
                coverage(
                    DISTRIBUTIONS[name],
                    method,
                    args.statistic,
                    args.k,
                    args.episodes,
                    args.repetitions,
                    args.resamples,
                    seed,
                )
                for method in args.methods
            ]
            print(f"| {name} | {seed} | {' | '.join(map(str, cells))} |", flush=True)
            for method, cell in zip(args.methods, cells, strict=True):
                dots[method].setdefault(name, []).append(cell.covered)
    if args.figure is not None:
        draw_coverage(dots, args.repetitions, args.figure)


if __name__ == "__main__":
    main()
