"""The distribution of a policy's episode returns: statistics with intervals, comparison, CSV files."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sb3_ordergrad.common import files
from sb3_ordergrad.evaluation import statistics
from sb3_ordergrad.evaluation.argument_checks import check_options, check_returns
from sb3_ordergrad.evaluation.intervals import BootstrapMethod, Interval, bootstrap_interval
from sb3_ordergrad.evaluation.stochastic_dominance import Dominance, dominance

CSV_COLUMNS = ("episode", "return", "length")


@dataclass(frozen=True)
class Comparison:
    """
    One distribution of returns compared with another; ``print`` shows a table.

    :param differences: difference of each statistic with its interval
    :param first_order: test of first-order stochastic dominance
    :param second_order: test of second-order stochastic dominance
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
    Returns of evaluation episodes and statistics of their distribution, in units of return.

    Each statistic has a method; :meth:`interval` gives any of them with a bootstrap interval::

        distribution.cvar(0.1)                # a number
        distribution.interval("cvar:0.1")     # Interval(value, low, high)
        distribution.interval("max", k=8)     # of best_of(8)
        distribution.interval("std")

    :param returns: raw episode returns, shape ``(n_episodes,)``
    :param lengths: steps of the same episodes, shape ``(n_episodes,)``
    :raises ValueError: if there are no returns, the shapes differ, a return is not finite, or a length is not a whole number
        >= 1
    """

    returns: np.ndarray
    lengths: np.ndarray

    def __post_init__(self) -> None:
        returns, lengths = check_returns("returns", self.returns), check_returns("lengths", self.lengths)
        if len(returns) != len(lengths):
            raise ValueError(f"returns has shape {returns.shape}, lengths {lengths.shape}: an episode has one of each.")
        invalid = lengths[(lengths < 1) | (lengths >= 2**53) | (lengths != np.rint(lengths))]
        if len(invalid):
            raise ValueError(f"An episode has the length {invalid[0]:g}: lengths must be whole numbers of steps >= 1.")
        # The fields of a frozen dataclass cannot be assigned
        object.__setattr__(self, "returns", returns)
        object.__setattr__(self, "lengths", lengths.astype(np.int64))

    def __len__(self) -> int:
        return len(self.returns)

    def objective_value(self, objective: str, k: int | None = None) -> float:
        """
        Value of an objective.

        :param objective: an objective, e.g. ``"cvar:0.25"``
        :param k: sample size: unbiased estimate of the objective of ``k`` returns; ``None`` for the objective of all returns
        """
        return float(statistics.objective_value(self.returns, objective, k))

    def mean(self) -> float:
        """Mean return."""
        return float(self.returns.mean())

    def std(self) -> float:
        """Standard deviation of the returns (``numpy.std``, as in SB3's ``evaluate_policy``)."""
        return float(self.returns.std())

    def cvar(self, level: float) -> float:
        """Mean of the lowest fraction ``level`` of the returns (the last one has a fractional weight)."""
        return float(statistics.cvar(self.returns, level))

    def value_at_risk(self, level: float) -> float:
        """Value at risk (VaR): the ``level`` quantile of the returns (Hazen)."""
        return float(statistics.value_at_risk(self.returns, level))

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
        A statistic with its bootstrap interval. The interval reflects the finite number of episodes of this one policy,
        not the variation between training seeds (see :func:`~sb3_ordergrad.evaluation.bootstrap_over_seeds`).

        :param statistic: an objective, e.g. ``"mean"``, ``"cvar:0.1"``, ``"var:0.1"``, ``"median"``, ``"max"``; or ``"std"``
        :param k: sample size of an objective, as in :meth:`objective_value`
        :param confidence: nominal coverage, in (0, 1)
        :param n_resamples: number of bootstrap resamples
        :param method: ``"BCa"``, ``"percentile"`` or ``"basic"``
        :param seed: seed of the resampling
        :return: estimate, lower and upper end
        :raises ValueError: if there are fewer than 2 returns or at most ``k``, or an argument is out of range
        """
        if k is not None and k >= len(self):
            raise ValueError(f"k = {k} must be below the number of returns, {len(self)}: evaluate more episodes or lower k.")

        def value(x: np.ndarray) -> np.ndarray:
            return x.std(axis=-1) if statistic == "std" else statistics.objective_value(x, statistic, k)

        return bootstrap_interval([self.returns], value, confidence, n_resamples, method, seed)

    def compare(
        self, other: "ReturnDistribution", confidence: float = 0.95, n_resamples: int = 2000, seed: int = 0
    ) -> Comparison:
        """
        Differences between this distribution and another, with intervals, and tests of stochastic dominance.

        The episodes of the two are treated as independent. The tests have level ``1 - confidence``.

        :param other: the distribution that is subtracted
        :param confidence: nominal coverage of the intervals, in (0, 1)
        :param n_resamples: number of bootstrap resamples and of permutations
        :param seed: seed of both
        :return: the :class:`Comparison`, with the statistics of :data:`~sb3_ordergrad.evaluation.SUMMARY` for which both have
            enough episodes
        :raises ValueError: if either has fewer than 2 returns, or an option is out of range
        """
        check_options(confidence, n_resamples)
        n_episodes = min(len(self), len(other))
        samples = [self.returns, other.returns]
        differences = {}
        for name, (objective, k) in statistics.SUMMARY.items():
            if k is None or k < n_episodes:

                def difference(x: np.ndarray, y: np.ndarray, objective: str = objective, k: int | None = k) -> np.ndarray:
                    return statistics.objective_value(x, objective, k) - statistics.objective_value(y, objective, k)

                differences[name] = bootstrap_interval(samples, difference, confidence, n_resamples, seed=seed)
        first = dominance(self.returns, other.returns, 1, 1 - confidence, n_resamples, seed)
        second = dominance(self.returns, other.returns, 2, 1 - confidence, n_resamples, seed)
        return Comparison(differences, first, second)

    def to_csv(self, path: str | os.PathLike) -> None:
        """
        Write one row per episode with the columns ``episode, return, length``; numbers are read back exactly.

        An interrupted write leaves no file, or the previous one.

        :param path: the file; its folder is created
        """
        rows = zip(range(len(self)), self.returns.tolist(), self.lengths.tolist(), strict=True)
        files.write_csv(Path(path), CSV_COLUMNS, rows)

    @classmethod
    def from_csv(cls, path: str | os.PathLike, n_episodes: int | None = None) -> "ReturnDistribution":
        """
        Read a CSV file with the columns ``return`` and ``length``; other columns are ignored.

        :param path: the file, e.g. from :meth:`to_csv`
        :param n_episodes: number of episodes the file must contain, which detects a file that was cut between two lines; any
            number if ``None``
        :return: the distribution, in the order of the rows
        :raises ValueError: if the file is not such a table, or was cut; the message names the file
        """
        returns, lengths = files.read_columns(Path(path), "return", "length")
        try:
            distribution = cls(returns, lengths)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from error
        if n_episodes is not None and len(distribution) != n_episodes:
            raise ValueError(f"{os.fspath(path)} contains {len(distribution)} episodes, not {n_episodes}: write it again.")
        return distribution
