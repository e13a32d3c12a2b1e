"""Bootstrap intervals of statistics of one or several samples of returns."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import stats

from sb3_ordergrad.evaluation.argument_checks import check_options

BootstrapMethod = Literal["BCa", "percentile", "basic"]
METHODS: tuple[BootstrapMethod, ...] = ("BCa", "percentile", "basic")


class Interval(NamedTuple):
    """An estimate and the ends of its bootstrap interval."""

    value: float
    low: float
    high: float


def percentile_interval(replicates: np.ndarray, confidence: float) -> np.ndarray:
    """Lower and upper end of the interval with that nominal coverage, from resampled statistics along the first axis."""
    tail = (1 - confidence) / 2
    return np.quantile(replicates, [tail, 1 - tail], axis=0)


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

    The default is BCa (bias-corrected and accelerated, Efron 1987, https://doi.org/10.1080/01621459.1987.10478410), because of
    its coverage (``docs/experiments/intervals.md``). Where BCa is undefined, the percentiles of the same resamples are used:
    if no resample differs from the estimate, for example, or if the statistic does not exist for the n - 1 returns of its
    jackknife.

    :param samples: returns of each sample, shape ``(n,)`` with ``n >= 2``
    :param statistic: function of the samples along their last axis; leading axes are resamples
    :param confidence: nominal coverage, in (0, 1)
    :param n_resamples: number of bootstrap resamples
    :param method: ``"BCa"``, ``"percentile"`` or ``"basic"``
    :param seed: seed of the resampling, so that an interval can be reproduced
    :return: the estimate with its interval
    :raises ValueError: if an option is out of range or a sample holds fewer than 2 returns
    """
    check_options(confidence, n_resamples)
    if method not in METHODS:
        raise ValueError(f"method = {method!r} must be one of {', '.join(METHODS)}; 'BCa' is the default.")
    smallest = min(len(sample) for sample in samples)
    if smallest < 2:
        raise ValueError(f"A sample has {smallest} return(s), an interval needs at least 2: evaluate more episodes.")

    def along_axis(*resamples: np.ndarray, axis: int) -> np.ndarray:
        return statistic(*(np.moveaxis(resample, axis, -1) for resample in resamples))

    def resample(method: BootstrapMethod) -> Any:
        return stats.bootstrap(
            samples,
            along_axis,
            vectorized=True,
            n_resamples=n_resamples,
            confidence_level=confidence,
            method=method,
            random_state=np.random.default_rng(seed),
        )

    # First, so that an invalid statistic raises its own error
    value = float(statistic(*samples))
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        # BCa divides 0 by 0 where no single return matters
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        try:
            result = resample(method)
        except ValueError:
            # The jackknife of BCa leaves one return out, and the statistic may need all of them
            result = resample("percentile")
    low, high = result.confidence_interval
    if not np.isfinite([low, high]).all():
        low, high = percentile_interval(result.bootstrap_distribution, confidence)
    return Interval(value, float(low), float(high))
