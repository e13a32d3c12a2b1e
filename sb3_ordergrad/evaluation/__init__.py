"""Evaluate any Stable-Baselines3 model by the distribution of its episode returns."""

from sb3_ordergrad.evaluation.callback import ObjectiveEvalCallback
from sb3_ordergrad.evaluation.distribution import Comparison, ReturnDistribution
from sb3_ordergrad.evaluation.intervals import Interval, bootstrap_interval
from sb3_ordergrad.evaluation.objective_plots import plot_rank_weights
from sb3_ordergrad.evaluation.plots import plot_learning_curves, plot_return_distributions
from sb3_ordergrad.evaluation.returns import evaluate_distribution
from sb3_ordergrad.evaluation.statistics import (
    SUMMARY,
    best_of,
    bootstrap_difference,
    bootstrap_over_seeds,
    cvar,
    median,
    summary_weights,
    value_at_risk,
)
from sb3_ordergrad.evaluation.stochastic_dominance import Dominance, dominance
from sb3_ordergrad.evaluation.suite_plots import plot_intervals, plot_performance_profiles
from sb3_ordergrad.evaluation.suite_statistics import (
    interquartile_means,
    normalized_scores,
    performance_profiles,
    probability_of_improvement,
)

__all__ = [
    "SUMMARY",
    "Comparison",
    "Dominance",
    "Interval",
    "ObjectiveEvalCallback",
    "ReturnDistribution",
    "best_of",
    "bootstrap_difference",
    "bootstrap_interval",
    "bootstrap_over_seeds",
    "cvar",
    "dominance",
    "evaluate_distribution",
    "interquartile_means",
    "median",
    "normalized_scores",
    "performance_profiles",
    "plot_intervals",
    "plot_learning_curves",
    "plot_performance_profiles",
    "plot_rank_weights",
    "plot_return_distributions",
    "probability_of_improvement",
    "summary_weights",
    "value_at_risk",
]
