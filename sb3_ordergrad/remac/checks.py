"""What ReMAC's own parameters may be."""

from collections.abc import Callable
from functools import lru_cache
from math import isfinite
from numbers import Integral, Real

import numpy as np
from stable_baselines3.common.distributions import SquashedDiagGaussianDistribution, StateDependentNoiseDistribution
from stable_baselines3.sac.policies import Actor, SACPolicy

from sb3_ordergrad.lstatistics import LStatistic, Objective, ObjectiveLike, parse_objective
from sb3_ordergrad.lstatistics.objectives import check_k as check_size

# points of training, from its start to its end, at which a schedule of k is checked in advance
_CHECKED_PROGRESS = np.linspace(1.0, 0.0, 101).tolist()


@lru_cache(maxsize=16)
def _value_weights(n_action_samples: int, k: float, objective: Objective) -> np.ndarray:
    return LStatistic(n_action_samples, k, objective).value_weights


def value_weights(objective: ObjectiveLike, k: float, n_action_samples: int, where: str = "") -> np.ndarray:
    """
    :param objective: what to maximise
    :param k: sample size of the objective
    :param n_action_samples: number of actions per state
    :param where: when k has this value, for the message
    :return: weights of the sorted values of a state, shape ``(n_action_samples,)``
    :raises ValueError: if the objective is not defined for this k and this number of samples
    """
    if isinstance(k, bool) or not isinstance(k, Real) or not 1 <= k <= n_action_samples:
        raise ValueError(
            f"k={k!r}{where} must be a number between 1 and n_action_samples={n_action_samples}: samples of k "
            "actions are drawn from those of a state. Use such a k (1 maximises Q itself) or more action samples."
        )
    return _value_weights(n_action_samples, check_size(k), parse_objective(objective))


def check_parameters(
    objective: ObjectiveLike, k: float | Callable[[float], float], n_action_samples: int, actor_adam_eps: float | None
) -> None:
    """
    :param objective: what to maximise
    :param k: sample size of the objective, or a function of the progress remaining
    :param n_action_samples: number of actions per state
    :param actor_adam_eps: Adam's epsilon for the actor
    :raises ValueError: if one of them is out of its range
    """
    n, eps = n_action_samples, actor_adam_eps
    if isinstance(n, bool) or not isinstance(n, Integral) or n < 1:
        raise ValueError(f"n_action_samples={n!r} must be an integer of at least 1, such as 8.")
    if callable(k):
        for progress_remaining in _CHECKED_PROGRESS:
            value_weights(objective, k(progress_remaining), n, f" at progress_remaining={progress_remaining:.2f}")
    else:
        value_weights(objective, k, n)
    if eps is not None and not (isinstance(eps, Real) and not isinstance(eps, bool) and 0.0 <= eps and isfinite(eps)):
        raise ValueError(f"actor_adam_eps={eps!r} must be a finite number >= 0, such as 1e-8, or None.")


def check_policy(policy: SACPolicy, actor_adam_eps: float | None) -> None:
    """
    :param policy: the policy, as it was made
    :param actor_adam_eps: Adam's epsilon for the actor
    :raises ValueError: if the actor has a density of its own (several actions of a state are not drawn by the actor), or an
        optimizer without the epsilon that was chosen
    """
    actor = policy.actor
    has_own_density = type(actor).action_log_prob is not Actor.action_log_prob
    if has_own_density or type(actor.action_dist) not in (SquashedDiagGaussianDistribution, StateDependentNoiseDistribution):
        raise ValueError(
            f"policy={type(policy).__name__} has an actor, {type(actor).__name__}, with an action_log_prob or action_dist of "
            "its own, which ReMAC would not call: use SB3's Actor, or override get_action_dist_params instead."
        )
    if actor_adam_eps is not None and "eps" not in actor.optimizer.defaults:
        raise ValueError(
            f"actor_adam_eps={actor_adam_eps!r} needs an optimizer with an epsilon such as Adam, "
            f"{type(actor.optimizer).__name__} has none: use actor_adam_eps=None."
        )
