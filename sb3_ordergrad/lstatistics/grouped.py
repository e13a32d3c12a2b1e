"""Advantages of groups of different sizes in one flat vector."""

import numpy as np
import torch as th

from sb3_ordergrad.lstatistics.estimators import ArrayT, LStatistic, floating, require_finite, to_array
from sb3_ordergrad.lstatistics.objectives import ObjectiveLike, check_k, parse_objective


def grouped_advantages(x: ArrayT, group_ids: ArrayT, k: float, objective: ObjectiveLike, check_finite: bool = True) -> ArrayT:
    """
    Advantages of every return within its own group, see :class:`LStatistic`.

    :param x: returns, shape ``(n,)``
    :param group_ids: group of each return, shape ``(n,)``, any comparable values, in any order
    :param k: sample size, a real number >= 1
    :param objective: the objective in any form, see ``parse_objective``
    :param check_finite: whether NaN and infinite returns raise a ValueError; the check copies the returns of a GPU to the host
        (the group ids are always copied)
    :return: shape ``(n,)``; zero in a group with fewer than k + 1 members, which cannot be compared with each other
    :raises ValueError: if the shapes differ, or k, the objective or a return is invalid
    """
    returns = floating(x.detach()) if isinstance(x, th.Tensor) else th.from_numpy(np.array(x, dtype=np.float64))
    ids = group_ids.detach().cpu().numpy() if isinstance(group_ids, th.Tensor) else np.asarray(group_ids)
    _, members = np.unique(ids, return_inverse=True)
    if returns.ndim != 1 or returns.shape != members.shape:
        raise ValueError(
            f"x and group_ids need one shape (n,), got {tuple(returns.shape)} and {tuple(members.shape)}; flatten both"
        )
    if check_finite:
        require_finite(to_array(returns), "x")
    objective, k = parse_objective(objective), check_k(k)
    # An invalid objective is an error even where no group is large enough
    objective.rank_weights(int(k))
    advantages = th.zeros_like(returns)
    order = np.argsort(members, kind="stable")
    sizes = np.bincount(members, minlength=1)
    size_of = np.repeat(sizes, sizes)
    # Groups of one size are one batch; there are at most sqrt(2 n) different sizes
    for size in np.unique(sizes[sizes >= k + 1]):
        index = th.from_numpy(order[size_of == size]).to(returns.device)
        batch = returns[index].reshape(-1, int(size))
        advantages[index] = LStatistic(int(size), k, objective, check_finite=False).advantages(batch).flatten()
    if isinstance(x, th.Tensor):
        return advantages
    return advantages.numpy()
