"""Bootstrap intervals of statistics of one or several samples of returns."""

import warnings
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

BootstrapMethod = Literal["BCa", "percentile", "basic"]
METHODS: tuple[BootstrapMethod, ...] = ("BCa", "percentile", "basic")


class Interval(NamedTuple):
    """An estimate and the ends of its bootstrap interval, in units of return."""

    value: float
    low: float
    high: float


def bootstrap_interval(
    samples: Sequence[np.ndarray],
    statistic: Callable[..., np.ndarray],
    confidence: float = 0.95,
    n_resamples: int = 2000,
    method: BootstrapMethod = "BCa",
    seed: int = 0,
) -> Interval:
    """
    Estimate and bootstrap interval of ``statistic(*samples)``, by ``scipy.stats.bootstrap``; samples are independent.

    BCa (bias-corrected and accelerated, Efron 1987, https://doi.org/10.1080/01621459.1987.10478410) is the default by its
    coverage, see docs/evaluation.md. Where it is not defined (no resample differs from the estimate, say) the percentiles of
    the same resamples stand in.

    :param samples: returns of each sample, shape ``(n,)`` with ``n >= 2``
    :param statistic: ``statistic(*samples)`` along the last axis, with any leading axes
    :param confidence: coverage aimed at, in (0, 1)
    :param n_resamples: number of bootstrap resamples
    :param method: ``"BCa"``, ``"percentile"`` or ``"basic"``
    :param seed: seed of the resampling, so that an interval can be reproduced
    :return: the estimate with its interval
    :raises ValueError: if an option is out of range or a sample holds fewer than 2 returns
    """
    check_options(confidence, n_resamples)
    if method not in METHODS:
        raise ValueError(f"method = {method!r} must be one of {', '.join(METHODS)}: take 'BCa' without a reason for another.")
    smallest = min(len(sample) for sample in samples)
    if smallest < 2:
        raise ValueError(f"A sample has {smallest} return(s), an interval needs at least 2: evaluate more episodes.")

    def along_axis(*resamples: np.ndarray, axis: int) -> np.ndarray:
        return statistic(*(np.moveaxis(resample, axis, -1) for resample in resamples))

    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        # BCa divides 0 by 0 where no single return matters; the percentiles below stand in
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            samples,
            along_axis,
            vectorized=True,
            n_resamples=n_resamples,
            confidence_level=confidence,
            method=method,
            random_state=np.random.default_rng(seed),
        )
    low, high = result.confidence_interval
    if not np.isfinite([low, high]).all():
        tail = (1 - confidence) / 2
        low, high = np.quantile(result.bootstrap_distribution, [tail, 1 - tail])
    return Interval(float(statistic(*samples)), float(low), float(high))


def check_options(confidence: float, n_resamples: int) -> None:
    """
    :param confidence: coverage aimed at
    :param n_resamples: number of resamples
    :raises ValueError: if one is out of range
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence = {confidence} must lie in (0, 1): 0.95 is a 95 % interval.")
    if n_resamples < 1:
        raise ValueError(f"n_resamples = {n_resamples} must be at least 1: a 95 % interval takes about 2000.")
