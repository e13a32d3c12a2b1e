"""The advantage of an action as one of k tries in its state."""

import torch as th

from sb3_ordergrad.lstatistics import ObjectiveLike, exact_advantages


def retry_advantages(
    q_values: th.Tensor, probs: th.Tensor, actions: th.Tensor, targets: th.Tensor, k: float, objective: ObjectiveLike
) -> th.Tensor:
    """
    Advantages of the actions taken, for an L-statistic of the values of k actions per state.

    With ``q~``, the Q-values of a state with the target y for the action taken, J the L-statistic of k draws from ``q~`` under
    pi, and ``J_a`` its mean given that one draw is a, the advantage is ``k (J_a - J)``. Then ``sum_a pi(a) advantage(a) grad
    log pi(a)`` is the gradient of J for fixed ``q~``. For ``k=1`` it is ``y - sum_a pi(a) q~(a)`` (ReMax, arXiv 2606.00151,
    without the factor k, which has no effect on normalised advantages).

    :param q_values: Q-values ``q(s, .)``, shape ``(batch_size, n_actions)``
    :param probs: probabilities ``pi(. | s)``, same shape
    :param actions: actions taken, shape ``(batch_size, 1)``, integers
    :param targets: targets y of ``q(s, a)``, shape ``(batch_size, 1)``
    :param k: number of actions, a real number > 0
    :param objective: string, rank weights in ascending order, or Objective
    :return: advantages, shape ``(batch_size, 1)``, in the units of ``q_values``, without a gradient
    :raises ValueError: if k or the objective is invalid
    """
    advantages = exact_advantages(q_values.scatter(1, actions, targets), probs, k, objective)
    return k * advantages.gather(1, actions)
