r"""
Pseudo-rewards: the transformed return :math:`\phi(R)` of an episode, distributed over its steps.

With :math:`C_t` the reward that the episode had collected before step t, the credits are

- terminal: :math:`g_t = 0` before the last step, :math:`g_{T-1} = \phi(R)`;
- dense: :math:`g_t = \phi(C_{t+1}) - \phi(C_t)`;
- projected: :math:`g_t = \phi(X_{t+1}) - \phi(X_t) - s (b_{t+1} - b_t)` with the projected return :math:`X_t = C_t + b_t`,
  :math:`b_t` what episodes collect from step t on (see ``remaining_return``, :math:`b_T = 0`), and s the sum of the rank
  weights, the mean slope of :math:`\phi`.

Each sums to :math:`\phi(R)` plus a constant. For the mean :math:`\phi(x) = x + const`, and the last two are the rewards.
"""

import numpy as np

from sb3_ordergrad.common.episodes import Rollout
from sb3_ordergrad.common.groups import TransformedReturn
from sb3_ordergrad.common.remaining_return import RemainingReturn

CREDITS = ("dense", "projected", "terminal")


def pseudo_rewards(
    rollout: Rollout, transforms: dict[str, TransformedReturn], credit: str, remaining_returns: dict[str, RemainingReturn]
) -> tuple[np.ndarray, np.ndarray]:
    """
    :param transforms: the transformed return of each group that has members
    :param credit: one of :data:`CREDITS`
    :param remaining_returns: ``b_t`` of each group, from earlier rollouts; a group without one has the dense credit
    :return: pseudo-rewards in units of the returns, and whether the step's group can be ranked; shape (n_steps, n_envs) each
    """
    # stays so where the episode is unfinished and its group has no members yet
    rewards = np.zeros_like(rollout.rewards) if credit == "terminal" else rollout.rewards.copy()
    ranked = np.zeros(rewards.shape, dtype=bool)
    n_episodes = len(rollout.finished) + len(rollout.ongoing_group_keys)
    for key, transform in transforms.items():
        group = transform.group
        in_group, member_of = np.zeros(n_episodes, dtype=bool), np.full(n_episodes, -1)
        in_group[group.episodes] = True
        member_of[group.episodes[: group.n_new]] = np.arange(len(group.returns) - group.n_new, len(group.returns))
        steps = in_group[rollout.episode]
        member, last = member_of[rollout.episode[steps]], rollout.dones[steps]
        before = rollout.collected[steps]
        after = before + rollout.rewards[steps]
        ranked[steps] = transform.lstatistic is not None
        if credit == "terminal":
            rewards[steps] = np.where(last, transform(after, member), 0.0)
            continue
        b = remaining_returns.get(key, RemainingReturn()) if credit == "projected" else RemainingReturn()
        now = b(rollout.elapsed[steps])
        later = np.where(last, 0.0, b(rollout.elapsed[steps] + 1))
        rewards[steps] = transform(after + later, member) - transform(before + now, member) - transform.slope * (later - now)
    return rewards, ranked
