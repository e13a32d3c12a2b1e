"""A policy's episode returns as a distribution: statistics, their intervals, comparison, CSV files."""

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sb3_ordergrad.evaluation import statistics
from sb3_ordergrad.evaluation.dominance import Dominance, dominance
from sb3_ordergrad.evaluation.intervals import BootstrapMethod, Interval, bootstrap_interval, check_options

CSV_COLUMNS = ("episode", "return", "length")


@dataclass(frozen=True)
class Comparison:
    """
    What changed from one distribution of returns to another; ``print`` shows a table.

    :param differences: estimate and interval of the difference of each statistic
    :param first_order: whether every quantile is at least as high
    :param second_order: whether every CVaR is at least as high
    """

    differences: dict[str, Interval]
    first_order: Dominance
    second_order: Dominance

    def __str__(self) -> str:
        lines = [f"{name:<10} {x.value:+.4g} [{x.low:.4g}, {x.high:.4g}]" for name, x in self.differences.items()]
        for name, test in (("first", self.first_order), ("second", self.second_order)):
            verdict = "dominates" if test.dominates else "is dominated" if test.is_dominated else "undecided"
            p_values = f"p = {test.p_value:.3g}, reverse p = {test.reverse_p_value:.3g}"
            lines.append(f"{name}-order dominance: {verdict} ({p_values}, violation {test.violation:.3g})")
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class ReturnDistribution:
    """
    Returns of evaluation episodes and the statistics of their distribution, in units of return.

    The methods named after a statistic give its estimate; :meth:`interval` gives any of them with a bootstrap interval::

        distribution.cvar(0.1)                # a number
        distribution.interval("cvar:0.1")     # Interval(value, low, high)
        distribution.interval("max", k=8)     # of best_of(8)
        distribution.interval("std")

    :param returns: raw episode returns, shape ``(n_episodes,)``
    :param lengths: steps of the same episodes, shape ``(n_episodes,)``
    :raises ValueError: if there are no returns, one is not finite, or the shapes differ
    """

    returns: np.ndarray
    lengths: np.ndarray

    def __post_init__(self) -> None:
        returns, lengths = np.asarray(self.returns, dtype=np.float64), np.asarray(self.lengths, dtype=np.int64)
        if returns.ndim != 1 or len(returns) == 0 or returns.shape != lengths.shape:
            raise ValueError(
                f"returns has shape {returns.shape}, lengths {lengths.shape}: both need (n_episodes,), at least 1 episode."
            )
        if not np.isfinite(returns).all():
            raise ValueError("Returns must be finite, got NaN or infinity: look for a broken reward in the environment.")
        # The way to convert a field of a frozen dataclass
        object.__setattr__(self, "returns", returns)
        object.__setattr__(self, "lengths", lengths)

    def __len__(self) -> int:
        return len(self.returns)

    def lstatistic(self, objective: str, k: int | None = None) -> float:
        """
        Value of an objective.

        :param objective: an objective, e.g. ``"cvar:0.25"``
        :param k: sample size: unbiased estimate of the objective of ``k`` fresh returns; the whole sample if ``None``
        """
        return float(statistics.lstatistic(self.returns, objective, k))

    def mean(self) -> float:
        """Mean return."""
        return float(self.returns.mean())

    def std(self) -> float:
        """Standard deviation of the returns (``numpy.std``, as in SB3's ``evaluate_policy``)."""
        return float(self.returns.std())

    def cvar(self, level: float) -> float:
        """Mean of the lowest fraction ``level`` of the returns (the last one counts fractionally)."""
        return float(statistics.cvar(self.returns, level))

    def var(self, level: float) -> float:
        """Value at risk: quantile ``level`` of the returns (Hazen)."""
        return float(statistics.var(self.returns, level))

    def median(self) -> float:
        """Median return."""
        return float(statistics.median(self.returns))

    def best_of(self, k: int) -> float:
        """Expected best of ``k`` episodes (unbiased)."""
        return float(statistics.best_of(self.returns, k))

    def interval(
        self,
        statistic: str,
        k: int | None = None,
        confidence: float = 0.95,
        n_resamples: int = 2000,
        method: BootstrapMethod = "BCa",
        seed: int = 0,
    ) -> Interval:
        """
        A statistic with its bootstrap interval. It covers what the finite number of episodes leaves open for this one policy,
        not the difference between training seeds (:func:`~sb3_ordergrad.evaluation.bootstrap_over_seeds`).

        :param statistic: an objective, e.g. ``"mean"``, ``"cvar:0.1"``, ``"var:0.1"``, ``"median"``, ``"max"``; or ``"std"``
        :param k: sample size of an objective, as in :meth:`lstatistic`
        :param confidence: coverage aimed at, in (0, 1)
        :param n_resamples: number of bootstrap resamples
        :param method: ``"BCa"``, ``"percentile"`` or ``"basic"``
        :param seed: seed of the resampling
        :return: estimate, lower and upper end
        :raises ValueError: if there are fewer than 2 returns or no more than ``k``, or an argument is out of range
        """
        if k is not None and k >= len(self):
            raise ValueError(f"k = {k} must be below the number of returns, {len(self)}: evaluate more episodes or lower k.")

        def value(x: np.ndarray) -> np.ndarray:
            return x.std(axis=-1) if statistic == "std" else statistics.lstatistic(x, statistic, k)

        return bootstrap_interval([self.returns], value, confidence, n_resamples, method, seed)

    def compare(
        self, other: "ReturnDistribution", confidence: float = 0.95, n_resamples: int = 2000, seed: int = 0
    ) -> Comparison:
        """
        This distribution minus another: differences of the usual statistics with intervals, and stochastic dominance.

        Episodes of the two are taken as independent. The tests of dominance have level ``1 - confidence``.

        :param other: the distribution that is subtracted
        :param confidence: coverage aimed at, in (0, 1)
        :param n_resamples: number of bootstrap resamples and of permutations
        :param seed: seed of both
        :return: the :class:`Comparison`, with every statistic of :data:`~sb3_ordergrad.evaluation.SUMMARY` that both have
            enough episodes for
        :raises ValueError: if either has fewer than 2 returns, or an option is out of range
        """
        check_options(confidence, n_resamples)
        n_episodes = min(len(self), len(other))
        samples = [self.returns, other.returns]
        differences = {}
        for name, (objective, k) in statistics.SUMMARY.items():
            if k is None or k < n_episodes:

                def difference(x: np.ndarray, y: np.ndarray, objective: str = objective, k: int | None = k) -> np.ndarray:
                    return statistics.lstatistic(x, objective, k) - statistics.lstatistic(y, objective, k)

                differences[name] = bootstrap_interval(samples, difference, confidence, n_resamples, seed=seed)
        first = dominance(self.returns, other.returns, 1, 1 - confidence, n_resamples, seed)
        second = dominance(self.returns, other.returns, 2, 1 - confidence, n_resamples, seed)
        return Comparison(differences, first, second)

    def to_csv(self, path: str | os.PathLike) -> None:
        """
        Write one row an episode, columns ``episode, return, length``, all digits; the file is complete or absent.

        :param path: the file; its folder must exist
        """
        path = Path(path)
        temporary = path.with_name(f".{path.stem}-{os.getpid()}.tmp{path.suffix}")
        try:
            with temporary.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(CSV_COLUMNS)
                writer.writerows(zip(range(len(self)), self.returns.tolist(), self.lengths.tolist(), strict=True))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def from_csv(cls, path: str | os.PathLike) -> "ReturnDistribution":
        """
        Read a file with the columns ``return`` and ``length``; others are ignored.

        :param path: the file, from :meth:`to_csv` or a run's ``returns.csv`` of ``sb3_ordergrad.compare``
        :return: the distribution, in the order of the rows
        :raises ValueError: if a column is missing, there are no rows, or a field is no number
        """
        with open(path, newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            columns = rows.fieldnames or []
            if not {"return", "length"} <= set(columns):
                raise ValueError(f"{path} has the columns {list(columns)}, but needs 'return' and 'length'.")
            episodes = [(float(row["return"]), int(float(row["length"]))) for row in rows]
        if not episodes:
            raise ValueError(f"{path} holds no episode: it needs at least 1 row.")
        returns, lengths = zip(*episodes, strict=True)
        return cls(np.array(returns), np.array(lengths))
