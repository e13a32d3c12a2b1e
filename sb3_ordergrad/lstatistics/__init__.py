"""L-statistic objectives (CVaR, VaR, median, max@K, ...) and their estimators; needs NumPy, SciPy and torch only."""

from sb3_ordergrad.lstatistics.certified import sign_certified_weights, sign_radii
from sb3_ordergrad.lstatistics.estimators import LStatistic
from sb3_ordergrad.lstatistics.exact import ExactLStatistic, exact_advantages, exact_lstatistic
from sb3_ordergrad.lstatistics.grouped import grouped_advantages
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
    "exact_advantages",
    "exact_lstatistic",
    "grouped_advantages",
    "interpolate_objective",
    "parse_objective",
    "rank_weights",
    "sign_certified_weights",
    "sign_radii",
]
