"""Validation of ReMAC's own parameters."""

from collections.abc import Callable
from functools import lru_cache
from numbers import Integral, Real

import numpy as np
from stable_baselines3.common.distributions import SquashedDiagGaussianDistribution, StateDependentNoiseDistribution
from stable_baselines3.sac.policies import Actor, SACPolicy

from sb3_ordergrad.lstatistics import LStatistic, ObjectiveLike, parse_objective

# With more samples, the activations of one update would fill the memory
MAX_ACTION_SAMPLES = 1000
# Outside of this range, Adam's division underflows or overflows in single precision
MIN_ADAM_EPS, MAX_ADAM_EPS = 1e-20, 1e20
# Values of the remaining progress at which a schedule of k is checked
CHECKED_PROGRESS = np.linspace(1.0, 0.0, 101).tolist()


_cached_lstatistic = lru_cache(maxsize=16)(LStatistic)


def value_weights(objective: ObjectiveLike, k: float, n_action_samples: int, where: str = "") -> np.ndarray:
    """
    Weights ``W alpha`` of the sorted Q-values of a state, ascending (see ``LStatistic.value_weights``).

    :param where: At which point of training k has this value, for the error message
    :raises ValueError: if a parameter is out of its range, or if the objective is not defined for this k
    """
    n = n_action_samples
    if isinstance(n, bool) or not isinstance(n, Integral) or not 1 <= n <= MAX_ACTION_SAMPLES:
        raise ValueError(f"n_action_samples={n!r} must be an integer between 1 and {MAX_ACTION_SAMPLES}, such as 8.")
    if isinstance(k, bool) or not isinstance(k, Real) or not 1 <= k <= n:
        raise ValueError(
            f"k={k!r}{where} must be a number between 1 and n_action_samples={n}: the objective ranks samples of k "
            "of these actions. Use a smaller k (k=1 maximises Q itself) or more action samples."
        )
    return _cached_lstatistic(int(n), float(k), parse_objective(objective)).value_weights


def check_parameters(
    objective: ObjectiveLike, k: float | Callable[[float], float], n_action_samples: int, actor_adam_eps: float | None
) -> None:
    """Raise a ValueError if a parameter that SAC does not have is out of its range; k may be a schedule."""
    if callable(k):
        for progress in CHECKED_PROGRESS:
            value_weights(objective, k(progress), n_action_samples, f" at progress_remaining={progress:.2f}")
    else:
        value_weights(objective, k, n_action_samples)
    eps = actor_adam_eps
    if eps is not None and (isinstance(eps, bool) or not isinstance(eps, Real) or not MIN_ADAM_EPS <= eps <= MAX_ADAM_EPS):
        raise ValueError(
            f"actor_adam_eps={eps!r} must be a number between {MIN_ADAM_EPS:g} and {MAX_ADAM_EPS:g}, such as 1e-8, or None."
        )


def check_policy(policy: SACPolicy, actor_adam_eps: float | None) -> None:
    """Raise a ValueError if the actor overrides ``action_log_prob`` or its distribution, or its optimizer has no epsilon."""
    actor = policy.actor
    is_overridden = type(actor).action_log_prob is not Actor.action_log_prob
    if is_overridden or type(actor.action_dist) not in (SquashedDiagGaussianDistribution, StateDependentNoiseDistribution):
        raise ValueError(
            f"policy={type(policy).__name__} has an actor, {type(actor).__name__}, with its own action_log_prob or "
            "action_dist, which ReMAC does not call: use SB3's Actor, or override get_action_dist_params instead."
        )
    if actor_adam_eps is not None and "eps" not in actor.optimizer.defaults:
        raise ValueError(
            f"actor_adam_eps={actor_adam_eps!r} needs an optimizer with an epsilon, such as Adam; "
            f"{type(actor.optimizer).__name__} has none: use actor_adam_eps=None."
        )
