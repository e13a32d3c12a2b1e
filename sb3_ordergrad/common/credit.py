r"""
Pseudo-rewards: the transformed return :math:`\phi(R)` of an episode, paid step by step.

With :math:`C_t` what the episode had collected before step t and :math:`\phi` its transformed return, the credits are

- terminal: :math:`g_t = 0` before the last step, :math:`g_{T-1} = \phi(R)`;
- dense: :math:`g_t = \phi(C_{t+1}) - \phi(C_t)`;
- projected: :math:`g_t = \phi(X_{t+1}) - \phi(X_t) - s (b_{t+1} - b_t)` with the projected return :math:`X_t = C_t + b_t`,
  :math:`b_t` the mean that episodes collect from step t on (:math:`b_T = 0`) and s the sum of the rank weights,
  the mean slope of :math:`\phi`.

Each sums to :math:`\phi(R)` plus a constant, and the last two are the rewards themselves for the mean, :math:`\phi(x) = x`.
"""

import numpy as np

from sb3_ordergrad.common.episodes import POOLED, Episode, EpisodeRecorder
from sb3_ordergrad.common.groups import TransformedReturn
from sb3_ordergrad.common.projection import RemainingReturn

CREDITS = ("dense", "projected", "terminal")


def pseudo_rewards(
    recorder: EpisodeRecorder,
    transforms: dict[str, TransformedReturn],
    credit: str,
    remaining: dict[str, RemainingReturn],
) -> np.ndarray:
    """
    :param recorder: the raw rewards and the finished episodes of a rollout
    :param transforms: the transformed return of each group
    :param credit: "dense", "projected" or "terminal"
    :param remaining: ``b_t`` of each group, from earlier rollouts; used by the projected credit
    :return: pseudo-rewards, shape (n_steps, n_envs), in units of the returns
    """
    member, key_index, keys = _owners(recorder)
    ends = np.zeros(member.shape, dtype=bool)
    for episode in recorder.finished:
        ends[episode.step, episode.env] = True
    rewards = recorder.after - recorder.before
    for index, key in enumerate(keys):
        steps = key_index == index
        transform = transforms.get(key)
        # an episode under way in a group without a finished one: still the plain reward
        if transform is None:
            rewards[steps] = 0.0 if credit == "terminal" else rewards[steps]
            continue
        before, after, members = recorder.before[steps], recorder.after[steps], member[steps]
        if credit == "terminal":
            paid = np.zeros(before.shape)
            last = ends[steps]
            paid[last] = transform(after[last], members[last])
        elif credit == "dense" or key not in remaining:
            paid = transform(after, members) - transform(before, members)
        else:
            now = remaining[key](recorder.elapsed[steps])
            later = np.where(ends[steps], 0.0, remaining[key](recorder.elapsed[steps] + 1))
            paid = transform(after + later, members) - transform(before + now, members) - transform.slope * (later - now)
        rewards[steps] = paid
    return rewards


def update_remaining(remaining: dict[str, RemainingReturn], finished: list[Episode], half_life: int) -> None:
    """
    Update ``b_t`` of each group in place, after its use: an episode's projection must not depend on itself.

    :param remaining: ``b_t`` of each group
    :param finished: the episodes that ended in this rollout
    :param half_life: of a new group's memory, in episodes
    """
    by_key: dict[str, list[Episode]] = {}
    for episode in finished:
        by_key.setdefault(episode.key, []).append(episode)
    for key, episodes in by_key.items():
        remaining.setdefault(key, RemainingReturn(half_life)).update(episodes)


def _owners(recorder: EpisodeRecorder) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """
    For each step: the index of its episode among those of its group that ended in this rollout (-1 for one under way), and the
    index of its group's key.
    """
    n_steps, n_envs = recorder.before.shape
    keys = list(dict.fromkeys([episode.key for episode in recorder.finished] + recorder.keys)) or [POOLED]
    number = {key: index for index, key in enumerate(keys)}
    member = np.full((n_steps, n_envs), -1)
    key_index = np.tile([number[key] for key in recorder.keys], (n_steps, 1))
    first = [0] * n_envs
    counts = dict.fromkeys(keys, 0)
    for episode in recorder.finished:
        rows = slice(first[episode.env], episode.step + 1)
        member[rows, episode.env] = counts[episode.key]
        key_index[rows, episode.env] = number[episode.key]
        first[episode.env] = episode.step + 1
        counts[episode.key] += 1
    return member, key_index, keys
