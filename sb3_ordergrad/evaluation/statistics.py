"""Statistics of evaluation returns and their bootstrap intervals over training seeds.

Every statistic is linear in the sorted sample, ``sum_m w_m x_(m)``. The weights come from :mod:`sb3_ordergrad.lstatistics`, so
that evaluation and training use the same definitions.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from sb3_ordergrad.evaluation.argument_checks import check_options, check_returns
from sb3_ordergrad.evaluation.intervals import Interval, percentile_interval
from sb3_ordergrad.lstatistics import LStatistic, rank_weights

# Column of a table: (objective, sample size k); with k = None the objective of all returns
Statistics = Mapping[str, tuple[str, int | None]]
SUMMARY: Statistics = {
    "mean": ("mean", None),
    "CVaR_0.1": ("cvar:0.1", None),
    "CVaR_0.25": ("cvar:0.25", None),
    "VaR_0.1": ("var:0.1", None),
    "median": ("median", None),
    "best-of-8": ("max", 8),
}


def objective_weights(objective: str, n: int, k: int | None = None) -> np.ndarray:
    """
    Weights of ``n`` sorted returns whose weighted sum is the value of an objective.

    :param objective: an objective of :mod:`sb3_ordergrad.lstatistics`, e.g. ``"cvar:0.25"``
    :param n: number of returns
    :param k: sample size: weights of the unbiased estimate of the objective of ``k`` returns (the average over all subsets of
        ``k`` returns); ``None`` for the objective of all ``n`` returns
    :return: float64, shape ``(n,)``, lowest return first
    :raises ValueError: if there are fewer than ``k`` returns, or none
    """
    if n < 1:
        raise ValueError("There are no returns, a statistic needs at least 1: evaluate more episodes.")
    if k is None or k == n:
        return rank_weights(objective, n)
    if not 1 <= k < n:
        raise ValueError(f"k = {k} must lie between 1 and the number of returns, {n}: evaluate more episodes or lower k.")
    return np.asarray(LStatistic(n, k, objective).value_weights)


def objective_value(x: ArrayLike, objective: str, k: int | None = None) -> np.ndarray:
    """
    Value of an objective of the returns along the last axis.

    :param x: returns, shape ``(..., n)``
    :param objective: an objective, e.g. ``"cvar:0.25"`` or ``"mean - 0.5*gini"``
    :param k: sample size: unbiased estimate of the objective of ``k`` returns; ``None`` for the objective of all ``n`` returns
    :return: float64, shape ``(...)``
    :raises ValueError: if ``x`` is empty, not finite, or smaller than ``k``
    """
    x = np.asarray(x, dtype=np.float64)
    if x.ndim == 0:
        raise ValueError("Got a single number: pass an array of returns with at least one axis.")
    if not np.isfinite(x).all():
        raise ValueError("Returns must be finite, got NaN or infinity: check the rewards of the environment.")
    return np.asarray(np.sort(x, axis=-1) @ objective_weights(objective, x.shape[-1], k))


def cvar(x: ArrayLike, level: float) -> np.ndarray:
    """
    CVaR: mean of the lowest ``level * n`` returns, the last of them with a fractional weight.

    :param x: returns, shape ``(..., n)``
    :param level: fraction of the returns in the tail, in (0, 1]
    :return: shape ``(...)``
    """
    return objective_value(x, f"cvar:{float(level)}")


def value_at_risk(x: ArrayLike, level: float) -> np.ndarray:
    """
    Value at risk (VaR): the ``level`` quantile with Hazen's plotting position, ``numpy.quantile(method="hazen")``.

    :param x: returns, shape ``(..., n)``
    :param level: probability, in (0, 1)
    :return: shape ``(...)``
    """
    return objective_value(x, f"var:{float(level)}")


def median(x: ArrayLike) -> np.ndarray:
    """
    Median along the last axis.

    :param x: returns, shape ``(..., n)``
    :return: shape ``(...)``
    """
    return objective_value(x, "median")


def best_of(x: ArrayLike, k: int) -> np.ndarray:
    """
    Unbiased estimate of the expected best of ``k`` returns, ``sum_m C(m-1, k-1) / C(n, k) x_(m)``.

    :param x: returns, shape ``(..., n)`` with ``n >= k``
    :param k: number of attempts
    :return: shape ``(...)``
    """
    return objective_value(x, "max", k)


def summary_weights(n: int, statistics: Statistics = SUMMARY) -> np.ndarray:
    """
    Weights of ``n`` sorted returns for several statistics, which then need a single sort.

    :param n: number of returns
    :param statistics: objective and sample size by name; :data:`SUMMARY` by default
    :return: shape ``(n, number of statistics)``
    """
    return np.stack([objective_weights(objective, n, k) for objective, k in statistics.values()], axis=-1)


def _seed_values(samples: Sequence[np.ndarray], statistics: Statistics) -> np.ndarray:
    """Mean over seeds of the statistics of each seed, shape ``(number of statistics,)``."""
    return np.mean([np.sort(x) @ summary_weights(len(x), statistics) for x in samples], axis=0)


def _replicates(
    samples: Sequence[np.ndarray], seed_choices: np.ndarray, statistics: Statistics, rng: np.random.Generator
) -> np.ndarray:
    """
    Hierarchical bootstrap: resample the episodes of each resampled seed. ``seed_choices`` has the shape
    ``(n_resamples, n_seeds)``, the result, a mean over seeds, ``(n_resamples, number of statistics)``.
    """
    total = np.zeros((len(seed_choices), len(statistics)))
    for seed, x in enumerate(samples):
        weights = summary_weights(len(x), statistics)
        # A seed that was drawn twice has two independent resamples of its episodes
        for slot in range(seed_choices.shape[1]):
            rows = np.flatnonzero(seed_choices[:, slot] == seed)
            draws = rng.choice(x, size=(len(rows), len(x)))
            total[rows] += np.sort(draws, axis=-1) @ weights
    return total / seed_choices.shape[1]


def _intervals(values: np.ndarray, replicates: np.ndarray, names: Sequence[str], confidence: float) -> dict[str, Interval]:
    columns = np.stack([values, *percentile_interval(replicates, confidence)]).T.tolist()
    return {name: Interval(*column) for name, column in zip(names, columns, strict=True)}


def _check_samples(samples: Sequence[ArrayLike]) -> list[np.ndarray]:
    if not samples:
        raise ValueError("There are 0 seeds, a bootstrap over seeds needs at least 1 array of returns.")
    return [check_returns(f"Returns of seed number {i}", x) for i, x in enumerate(samples)]


def bootstrap_over_seeds(
    samples: Sequence[ArrayLike],
    statistics: Statistics = SUMMARY,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """
    Statistics averaged over training seeds, with percentile bootstrap intervals.

    The estimate is ``(1/S) sum_s T(x_s)``: the statistic T of the policy of each seed, averaged over S seeds. A resample draws
    S seeds with replacement and, for each, as many of its episodes as it has. With one seed the interval reflects the
    evaluation noise only; with few seeds it is too narrow, as for any bootstrap.

    :param samples: for each seed its returns, shape ``(n_s,)``
    :param statistics: objective and sample size by name; :data:`SUMMARY` by default
    :param n_resamples: number of bootstrap resamples
    :param confidence: nominal coverage, in (0, 1)
    :param seed: seed of the resampling
    :return: an :class:`Interval` for each statistic
    :raises ValueError: if there is no seed, a sample is not finite or smaller than a statistic needs, or an option is out of
        range
    """
    check_options(confidence, n_resamples)
    arrays = _check_samples(samples)
    rng = np.random.default_rng(seed)
    choices = rng.integers(len(arrays), size=(n_resamples, len(arrays)))
    replicates = _replicates(arrays, choices, statistics, rng)
    return _intervals(_seed_values(arrays, statistics), replicates, list(statistics), confidence)


def bootstrap_difference(
    samples: Mapping[int, ArrayLike],
    reference: Mapping[int, ArrayLike],
    statistics: Statistics = SUMMARY,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """
    Difference of seed-averaged statistics, ``samples`` minus ``reference``, with percentile bootstrap intervals.

    Seeds in both are paired: they are drawn together, and all other seeds are left out. Without a common seed the two are
    resampled independently. Episodes are always resampled independently.

    :param samples: returns by seed
    :param reference: returns by seed that are subtracted
    :param statistics: objective and sample size by name; :data:`SUMMARY` by default
    :param n_resamples: number of bootstrap resamples
    :param confidence: nominal coverage, in (0, 1)
    :param seed: seed of the resampling
    :return: an :class:`Interval` for each statistic
    :raises ValueError: as :func:`bootstrap_over_seeds`
    """
    check_options(confidence, n_resamples)
    common = sorted(set(samples) & set(reference))
    left = _check_samples([samples[s] for s in common or sorted(samples)])
    right = _check_samples([reference[s] for s in common or sorted(reference)])
    rng = np.random.default_rng(seed)
    left_choices = rng.integers(len(left), size=(n_resamples, len(left)))
    right_choices = left_choices if common else rng.integers(len(right), size=(n_resamples, len(right)))
    replicates = _replicates(left, left_choices, statistics, rng) - _replicates(right, right_choices, statistics, rng)
    values = _seed_values(left, statistics) - _seed_values(right, statistics)
    return _intervals(values, replicates, list(statistics), confidence)
