"""
Advantages whose sign survives errors of a learned reward.

Take rewards ``r_j = w . h_j + b`` of a reward model with a linear head w on features h_j. Within a fixed order of the returns
an advantage is linear in w, ``a_j(w + d) = a_j + d . g_j``, so that no change d shorter than ``|a_j| / ||g_j||`` flips its
sign. For the mean ``g_j`` is a multiple of ``h_j - mean(h)`` and the order does not matter: the radius and the weights ``1 -
eps / radius`` are those of SignCert-PO (arXiv 2604.02986). The bounds for other objectives and the weight of zero for radii
below eps are ours.
"""

import numpy as np
import torch as th

from sb3_ordergrad.lstatistics.estimators import ArrayT, LStatistic, require_finite, to_array, to_tensor
from sb3_ordergrad.lstatistics.objectives import ObjectiveLike


def sign_radii(rewards: ArrayT, features: ArrayT, objective: ObjectiveLike = "mean", k: float = 1) -> ArrayT:
    """
    Radius around the weights of the linear reward head within which the sign of each advantage is certain.

    Exact for the mean. For another objective a lower bound, the larger of two: the distance to a change of sign within the
    present order, as far as the order is certain to stay, and ``|a_j| / L_j`` with a Lipschitz constant of a_j for all orders.

    :param rewards: rewards of the members of each group, shape ``(..., N)``
    :param features: input of the reward head for each member, shape ``(..., N, d)``
    :param objective: string, rank weights in ascending order, or Objective, see ``parse_objective``
    :param k: sample size, a real number in [1, N - 1]; it does not matter for the mean
    :return: Euclidean radii, shape ``(..., N)``; infinite where the head cannot change the advantage
    :raises ValueError: if the shapes do not fit, a value is not finite, or k or the objective is invalid
    """
    tensor, restore = to_tensor(rewards)
    head_input = to_tensor(features)[0].detach().to(tensor)
    if tensor.ndim == 0 or head_input.shape[:-1] != tensor.shape:
        raise ValueError(
            "rewards and features need the shapes (..., N) and (..., N, d), "
            f"got {tuple(tensor.shape)} and {tuple(head_input.shape)}"
        )
    require_finite(to_array(head_input), "features")
    statistic = LStatistic(tensor.shape[-1], k, objective)
    ordered, order = tensor.detach().sort(dim=-1)
    advantages = statistic.advantages(tensor).gather(-1, order).abs()
    sorted_input = head_input.gather(-2, order.unsqueeze(-1).expand_as(head_input))
    # Derivatives of the advantages of sorted returns in the sorted returns, one row per advantage
    derivatives = -np.diff(statistic.gap_matrix, axis=0, prepend=0.0, append=0.0).T
    radii = _quotient(advantages, (th.as_tensor(derivatives).to(tensor) @ sorted_input).norm(dim=-1))
    if np.ptp(statistic.leave_one_out_weights) > 0.0:
        order_radius = _quotient(ordered.diff(dim=-1), sorted_input.diff(dim=-2).norm(dim=-1)).amin(-1, keepdim=True)
        lipschitz = _lipschitz(derivatives, sorted_input)
        radii = th.maximum(th.minimum(radii, order_radius), _quotient(advantages, lipschitz))
    return restore(th.empty_like(radii).scatter_(-1, order, radii))


def sign_certified_weights(
    rewards: ArrayT, features: ArrayT, objective: ObjectiveLike = "mean", k: float = 1, quantile: float = 0.1
) -> ArrayT:
    """
    Weights of the advantages in a policy gradient that does not trust uncertain signs: ``max(0, 1 - eps / radius)``.

    For the mean, weight times advantage is the worst advantage over all heads within eps, or zero if its sign is uncertain.

    :param rewards: rewards of the members of each group, shape ``(..., N)``
    :param features: input of the reward head for each member, shape ``(..., N, d)``
    :param objective: string, rank weights in ascending order, or Objective, see ``parse_objective``
    :param k: sample size, a real number in [1, N - 1]; it does not matter for the mean
    :param quantile: eps is this quantile of all finite radii, between 0 and 1: the fraction of advantages that get no weight
    :return: weights in [0, 1], shape ``(..., N)``
    :raises ValueError: if an argument is invalid, see :func:`sign_radii`
    """
    if not 0.0 <= quantile <= 1.0:
        raise ValueError(f"quantile = {quantile} must be in [0, 1], such as 0.1")
    tensor, restore = to_tensor(sign_radii(rewards, features, objective, k))
    finite = tensor.isfinite()
    eps = tensor.where(finite, th.nan).flatten().nanquantile(quantile)
    certain = (1.0 - eps / tensor).where(tensor > eps, 0.0)
    return restore(certain.where(finite, 1.0))


def _quotient(numerator: th.Tensor, denominator: th.Tensor) -> th.Tensor:
    """The quotient of non-negative tensors, infinite where the denominator is zero."""
    return (numerator / denominator).where(denominator > 0.0, th.inf)


def _lipschitz(derivatives: np.ndarray, features: th.Tensor) -> th.Tensor:
    """
    A bound on ``||g_j||`` over all orders. The derivatives of an advantage sum to zero, hence ``g_j`` is a combination of the
    ``h_i - h_j`` of the others; whatever the order, its norm is largest if the longest of them meet the largest coefficients.

    :return: shape ``(..., N)``
    """
    n = len(derivatives)
    others = np.abs(derivatives)[~np.eye(n, dtype=bool)].reshape(n, n - 1)
    # The distance of a member to itself is the smallest
    distances = th.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist").sort(dim=-1).values[..., 1:]
    return (distances @ th.as_tensor(np.sort(others, axis=1)).to(features).T).amax(-1)
