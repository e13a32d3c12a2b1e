"""Raw rewards and whole episodes inside SB3's rollout loop."""

from typing import Any, NamedTuple

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, unwrap_vec_wrapper

POOLED = ""  # the one group when episodes are not kept apart


class Episode(NamedTuple):
    """
    A finished episode.

    :param env: index of the environment it ran in
    :param step: step of the rollout at which it ended
    :param key: the group it belongs to
    :param episode_return: sum of its raw rewards
    :param collected: what it had collected before each of its steps, shape (length,)
    """

    env: int
    step: int
    key: str
    episode_return: float
    collected: np.ndarray


class UnderWay(NamedTuple):
    """
    The episodes under way, updated in place; zeros where none has begun. Saved with the model.

    :param collected: what each has collected so far, shape (n_envs,)
    :param steps: number of steps each has made, shape (n_envs,)
    """

    collected: np.ndarray
    steps: np.ndarray

    @classmethod
    def none(cls, n_envs: int) -> "UnderWay":
        """
        :param n_envs: number of environments
        :return: no episode under way
        """
        return cls(np.zeros(n_envs), np.zeros(n_envs, dtype=np.int64))


class EpisodeRecorder(BaseCallback):
    """
    Record raw rewards while SB3 collects a rollout: before ``VecNormalize``, before the time-limit bootstrap, with or without
    a ``Monitor``. An episode that began in an earlier rollout keeps what it had collected.

    At step t of the rollout, in environment e: ``before[t, e]`` is the reward that the episode had collected before the step,
    ``after[t, e]`` after it, and ``elapsed[t, e]`` its number of earlier steps.

    :param n_steps: steps of a rollout
    :param under_way: the episodes under way
    :param group_by: key of ``info`` that names an episode's group, ``None`` for a single group
    """

    def __init__(self, n_steps: int, under_way: UnderWay, group_by: str | None = None) -> None:
        super().__init__()
        n_envs = len(under_way.steps)
        self.group_by = group_by
        self.before = np.zeros((n_steps, n_envs))
        self.after = np.zeros((n_steps, n_envs))
        self.elapsed = np.zeros((n_steps, n_envs), dtype=np.int64)
        self.finished: list[Episode] = []
        self.keys = [POOLED] * n_envs
        self._envs = np.arange(n_envs)
        self._collected, self._steps = under_way
        self._starts: np.ndarray | None = None
        # what each episode under way had collected before each of its steps; grows with the longest
        self._history = np.zeros((n_envs, max(n_steps, self._steps.max() + 1)))
        for env, n_done in enumerate(self._steps):
            # a saved model has its episodes' sums alone: as if paid evenly
            self._history[env, :n_done] = np.linspace(0.0, self._collected[env], n_done, endpoint=False)
        self._row = 0
        self._vec_normalize: VecNormalize | None = None

    def _on_training_start(self) -> None:
        env = self.model.get_env()
        assert isinstance(env, VecEnv)
        self._vec_normalize = unwrap_vec_wrapper(env, VecNormalize)  # type: ignore[assignment]

    def _on_rollout_start(self) -> None:
        self._row = 0
        self.finished = []

    def _on_step(self) -> bool:
        rewards, dones = self.locals["rewards"], self.locals["dones"]
        if self._vec_normalize is not None:
            rewards = self._vec_normalize.get_original_reward()
        if not np.isfinite(rewards).all():
            raise ValueError(
                f"Rewards must be finite numbers, got {rewards!r} at timestep {self.num_timesteps}: "
                "a return with NaN or infinity cannot be ranked. Mend the environment's reward."
            )
        starts = self.model._last_episode_starts
        assert starts is not None
        # new flags say where the environments were reset; after a cancelled rollout SB3 still has those of its last step
        if starts is not self._starts:
            self._begin(np.flatnonzero(starts))
            self._starts = starts
        if self._steps.max() == self._history.shape[1]:
            self._history = np.concatenate([self._history, np.zeros_like(self._history)], axis=1)
        self._history[self._envs, self._steps] = self._collected
        self.before[self._row] = self._collected
        self.elapsed[self._row] = self._steps
        self._collected += rewards
        self._steps += 1
        self.after[self._row] = self._collected
        if self.group_by is not None:
            self._read_keys(dones, self.locals["infos"])
        ended = np.flatnonzero(dones)
        for env in ended:
            history = self._history[env, : self._steps[env]].copy()
            self.finished.append(Episode(int(env), self._row, self.keys[env], float(self._collected[env]), history))
        self._begin(ended)
        self._row += 1
        return True

    def _begin(self, envs: np.ndarray) -> None:
        self._collected[envs] = 0.0
        self._steps[envs] = 0

    def _on_rollout_end(self) -> None:
        # ahead of the user's callbacks, so that they see what is trained on
        self.model.pay_pseudo_rewards(self.locals["values"], self.locals["dones"])  # type: ignore[attr-defined]

    def _read_keys(self, dones: np.ndarray, infos: list[dict[str, Any]]) -> None:
        """An episode's key is that of its last step; until then, that of the latest of its steps that had one."""
        for env, info in enumerate(infos):
            if self.group_by in info:
                self.keys[env] = str(info[self.group_by])
            elif dones[env]:
                raise ValueError(
                    f"group_by={self.group_by!r}, but the info of an episode's last step has only the keys {sorted(info)}. "
                    f"Let the environment put {self.group_by!r} there, or pass group_by=None."
                )
            elif self._steps[env] == 1:
                self.keys[env] = POOLED
