"""L-statistic objectives (CVaR, VaR, median, max@K, ...) and their estimators; NumPy, SciPy and torch alone."""

from sb3_ordergrad.lstatistics.estimators import LStatistic
from sb3_ordergrad.lstatistics.exact import ExactLStatistic, exact_lstatistic
from sb3_ordergrad.lstatistics.groups import grouped_advantages
from sb3_ordergrad.lstatistics.influence import GroupInfluence
from sb3_ordergrad.lstatistics.objectives import (
    Objective,
    ObjectiveLike,
    interpolate_objective,
    parse_objective,
    rank_weights,
)

__all__ = [
    "ExactLStatistic",
    "GroupInfluence",
    "LStatistic",
    "Objective",
    "ObjectiveLike",
    "exact_lstatistic",
    "grouped_advantages",
    "interpolate_objective",
    "parse_objective",
    "rank_weights",
]
