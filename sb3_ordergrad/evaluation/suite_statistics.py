"""
Statistics of several methods over a suite of tasks, by the definitions of rliable.

Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice", https://arxiv.org/abs/2108.13264.
All intervals are percentile intervals of a stratified bootstrap, which resamples the seeds of each task. Unlike in rliable,
the tasks may have different numbers of seeds; every task has the same weight.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sb3_ordergrad.evaluation.argument_checks import check_options, check_returns
from sb3_ordergrad.evaluation.intervals import Interval, percentile_interval

# Method -> task -> normalized score of each seed, shape (n_seeds,)
SuiteScores = Mapping[str, Mapping[str, ArrayLike]]
# Statistic of the scores of each task, shapes (..., n_seeds)
_Statistic = Callable[[Sequence[np.ndarray]], np.ndarray]


def normalized_scores(values: ArrayLike, random: float, reference: float) -> np.ndarray:
    """
    Scores in which a random policy has 0 and the reference policy of the task has 1.

    :param values: e.g. the CVaR of each seed, any shape
    :param random: the value of a random policy
    :param reference: the value of the reference policy, e.g. the optimum
    :return: ``(values - random) / (reference - random)``, the same shape
    :raises ValueError: if ``reference`` is not above ``random``
    """
    if not -math.inf < random < reference < math.inf:
        raise ValueError(f"reference = {reference} must be above random = {random}, both finite.")
    return (np.asarray(values, dtype=np.float64) - random) / (reference - random)


def interquartile_means(
    scores: SuiteScores, confidence: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> dict[str, Interval]:
    """
    Interquartile mean of each method: the mean of the middle half of the scores of all tasks and seeds.

    :param scores: for each method and task the normalized scores of the seeds, shape ``(n_seeds,)``
    :param confidence: nominal coverage of the intervals, in (0, 1)
    :param n_resamples: number of bootstrap resamples
    :param seed: seed of the resampling
    :return: the estimate of each method with its interval
    :raises ValueError: if the methods have different tasks, a score is not finite, or an option is out of range
    """
    return {
        method: _interval(tasks, _interquartile_mean, confidence, n_resamples, seed)
        for method, tasks in _check_scores(scores).items()
    }


def performance_profiles(
    scores: SuiteScores, thresholds: ArrayLike, confidence: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """
    Performance profile (score distribution) of each method: the fraction of runs with a score above each threshold.

    :param scores: for each method and task the normalized scores of the seeds, shape ``(n_seeds,)``
    :param thresholds: shape ``(n_thresholds,)``
    :param confidence: nominal pointwise coverage of the bands, in (0, 1)
    :param n_resamples: number of bootstrap resamples
    :param seed: seed of the resampling
    :return: for each method the profile, shape ``(n_thresholds,)``, and the ends of its band, shape ``(2, n_thresholds)``
    :raises ValueError: as :func:`interquartile_means`
    """
    thresholds = np.asarray(thresholds, dtype=np.float64)

    def profile(tasks: Sequence[np.ndarray]) -> np.ndarray:
        return np.mean([(x[..., np.newaxis] > thresholds).mean(axis=-2) for x in tasks], axis=0)

    return {
        method: stratified_bootstrap(tasks, profile, confidence, n_resamples, seed)
        for method, tasks in _check_scores(scores).items()
    }


def probability_of_improvement(
    scores: SuiteScores, method: str, confidence: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> dict[str, Interval]:
    """
    Probability that a run of one method has a higher score than a run of another on the same task, averaged over tasks.

    For each task it is the Mann-Whitney statistic ``P(X > Y) + P(X = Y) / 2``. The methods are resampled independently.

    :param scores: for each method and task the normalized scores of the seeds, shape ``(n_seeds,)``
    :param method: X, the method that is compared with each of the others
    :param confidence: nominal coverage of the intervals, in (0, 1)
    :param n_resamples: number of bootstrap resamples
    :param seed: seed of the resampling
    :return: for each other method Y the estimate with its interval
    :raises ValueError: if ``method`` is unknown, otherwise as :func:`interquartile_means`
    """
    arrays = _check_scores(scores)
    if method not in arrays:
        raise ValueError(f"method = {method!r} must be one of {', '.join(arrays)}.")

    def improvement(tasks: Sequence[np.ndarray]) -> np.ndarray:
        n_tasks = len(tasks) // 2
        pairs = [(x[..., np.newaxis], y[..., np.newaxis, :]) for x, y in zip(tasks[:n_tasks], tasks[n_tasks:], strict=True)]
        return np.mean([((x > y) + 0.5 * (x == y)).mean(axis=(-2, -1)) for x, y in pairs], axis=0)

    return {
        other: _interval(arrays[method] + tasks, improvement, confidence, n_resamples, seed)
        for other, tasks in arrays.items()
        if other != method
    }


def _check_scores(scores: SuiteScores) -> dict[str, list[np.ndarray]]:
    """For each method the scores of each task, with the tasks in the order of the first method."""
    if not scores or not all(scores.values()):
        raise ValueError("scores needs at least 1 method, and at least 1 task for each method.")
    names = list(next(iter(scores.values())))
    for method, by_task in scores.items():
        if set(by_task) != set(names):
            difference = ", ".join(sorted(set(by_task) ^ set(names)))
            raise ValueError(
                f"All methods need the same tasks, but {method!r} and {next(iter(scores))!r} differ in {difference}."
            )
    return {
        m: [check_returns(f"Scores of {m!r} on {name!r}", by_task[name]) for name in names] for m, by_task in scores.items()
    }


def _interquartile_mean(tasks: Sequence[np.ndarray]) -> np.ndarray:
    """
    The trimmed mean ``scipy.stats.trim_mean(x, 0.25)`` of all scores, shapes ``(..., n_seeds)``, each repeated so that all
    tasks have the same number.
    """
    n_repeated = math.lcm(*(x.shape[-1] for x in tasks))
    repeats = np.concatenate([np.full(x.shape[-1], n_repeated // x.shape[-1]) for x in tasks])
    n_scores = n_repeated * len(tasks)
    n_cut = n_scores // 4
    scores = np.concatenate(tasks, axis=-1)
    order = np.argsort(scores, axis=-1)
    last = np.cumsum(repeats[order], axis=-1)
    # How many repetitions of each score lie in the middle half
    kept = np.clip(last, n_cut, n_scores - n_cut) - np.clip(last - repeats[order], n_cut, n_scores - n_cut)
    return np.sum(np.take_along_axis(scores, order, axis=-1) * kept, axis=-1) / (n_scores - 2 * n_cut)


def stratified_bootstrap(
    tasks: Sequence[np.ndarray], statistic: _Statistic, confidence: float, n_resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Estimate of the statistic, and lower and upper end along the first axis, by resampling the seeds of each task."""
    check_options(confidence, n_resamples)
    rng = np.random.default_rng(seed)
    replicates = statistic([rng.choice(x, size=(n_resamples, len(x))) for x in tasks])
    return statistic(tasks), percentile_interval(replicates, confidence)


def _interval(*arguments: Any) -> Interval:
    value, (low, high) = stratified_bootstrap(*arguments)
    return Interval(float(value), float(low), float(high))
