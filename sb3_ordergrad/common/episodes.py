"""Raw rewards and episodes, recorded while SB3 collects a rollout."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize

POOLED = ""  # the only group without ``group_by``

MAX_HISTORY = 16_384  # steps of an episode whose history is kept


class Episode(NamedTuple):
    """
    A finished episode.

    :param group_key: key of its comparison group
    :param episode_return: sum of its raw rewards
    :param history: reward that it had collected before each of its first ``MAX_HISTORY`` steps; empty if not kept from the
        first step on
    """

    group_key: str
    episode_return: float
    history: np.ndarray


class Rollout:
    """Raw rewards and episodes of a rollout. The arrays have the shape (n_steps, n_envs)."""

    def __init__(self, n_steps: int, n_envs: int) -> None:
        shape = (n_steps, n_envs)
        self.rewards = np.zeros(shape)
        # raw reward that the episode had collected before the step, and its number of earlier steps; in earlier rollouts too
        self.collected = np.zeros(shape)
        self.elapsed = np.zeros(shape, dtype=np.int64)
        self.dones = np.zeros(shape, dtype=bool)
        # number of the step's episode: its index in ``finished``, or len(finished) + env for the unfinished one of an env
        self.episode = np.full(shape, -1)
        self.finished: list[Episode] = []
        # groups of the unfinished episodes, one for each environment
        self.ongoing_group_keys: list[str] = []
        # the critic's values of the observations after the rollout, for SB3's advantages
        self.last_values = th.zeros(n_envs)


class OngoingEpisodes:
    """The unfinished episode of each environment. Saved with the model, so that training continues exactly."""

    def __init__(self, n_envs: int) -> None:
        self.collected = np.zeros(n_envs)
        self.steps = np.zeros(n_envs, dtype=np.int64)
        self.group_keys = [POOLED] * n_envs
        self.forget_history()

    def __getstate__(self) -> dict[str, Any]:
        # only the columns in use are saved
        return self.__dict__ | {"history": self.history[:, : self.steps.max(initial=0)]}

    def restart(self, envs: np.ndarray) -> None:
        """Start a new episode in these environments."""
        self.collected[envs] = 0.0
        self.steps[envs] = 0

    def forget_history(self) -> None:
        """Drop what the episodes had collected before each of their steps."""
        self.history = np.zeros((len(self.steps), 0), dtype=np.float32)

    def extend_history(self) -> None:
        """Keep what each episode has collected before its next step."""
        while self.history.shape[1] <= min(self.steps.max(), MAX_HISTORY - 1):
            # NaN: the history began in mid-episode
            self.history = np.pad(self.history, ((0, 0), (0, max(128, self.history.shape[1]))), constant_values=np.nan)
        envs = np.flatnonzero(self.steps < MAX_HISTORY)
        self.history[envs, self.steps[envs]] = self.collected[envs]

    def finish(self, env: np.intp) -> Episode:
        """The episode of an environment in which it has ended."""
        history = self.history[env, : self.steps[env]].copy()
        return Episode(self.group_keys[env], float(self.collected[env]), history[:0] if np.isnan(history).any() else history)


class EpisodeRecorder(BaseCallback):
    """
    Record raw rewards and whole episodes: before ``VecNormalize``, before SB3 adds the value of the last observation at a
    time limit, with or without a ``Monitor``. An episode that began in an earlier rollout keeps what it had collected.

    :param n_steps: steps of a rollout
    :param ongoing: the unfinished episodes, updated in place
    :param on_rollout: called with each complete rollout
    :param group_by: key of ``info`` that names an episode's group, ``None`` for a single group
    :param keep_history: whether finished episodes need their history
    """

    def __init__(
        self,
        n_steps: int,
        ongoing: OngoingEpisodes,
        on_rollout: Callable[[Rollout], None],
        group_by: str | None,
        keep_history: bool,
    ) -> None:
        super().__init__()
        self.n_steps, self.ongoing, self.on_rollout = n_steps, ongoing, on_rollout
        self.group_by, self.keep_history = group_by, keep_history
        if not keep_history:
            ongoing.forget_history()
        self._vec_normalize: VecNormalize | None = None

    def _on_training_start(self) -> None:
        # the innermost one has the raw rewards
        env: VecEnv = self.training_env
        while isinstance(env, VecEnvWrapper):
            self._vec_normalize = env if isinstance(env, VecNormalize) else self._vec_normalize
            env = env.venv

    def _on_rollout_start(self) -> None:
        self._row = 0
        self._rollout = Rollout(self.n_steps, len(self.ongoing.steps))

    def _on_step(self) -> bool:
        ongoing, rollout, row, dones = self.ongoing, self._rollout, self._row, self.locals["dones"]
        rewards = self.locals["rewards"] if self._vec_normalize is None else self._vec_normalize.get_original_reward()
        if not np.isfinite(rewards).all():
            raise ValueError(
                f"Rewards must be finite numbers, got {rewards!r} at timestep {self.num_timesteps}: "
                "a return with NaN or infinity cannot be ranked. Check the reward of the environment."
            )
        if self.keep_history:
            ongoing.extend_history()
        rollout.rewards[row], rollout.dones[row] = rewards, dones
        rollout.collected[row], rollout.elapsed[row] = ongoing.collected, ongoing.steps
        ongoing.collected += rewards
        ongoing.steps += 1
        if self.group_by is not None:
            self._read_group_keys(self.group_by, dones, self.locals["infos"])
        ended = np.flatnonzero(dones)
        for env in ended:
            steps = rollout.episode[: row + 1, env]
            steps[steps < 0] = len(rollout.finished)
            rollout.finished.append(ongoing.finish(env))
        ongoing.restart(ended)
        self._row += 1
        return True

    def _on_rollout_end(self) -> None:
        rollout, envs = self._rollout, np.arange(len(self.ongoing.steps))
        rollout.episode = np.where(rollout.episode < 0, len(rollout.finished) + envs, rollout.episode)
        rollout.ongoing_group_keys = list(self.ongoing.group_keys)
        rollout.last_values = self.locals["values"]
        self.on_rollout(rollout)

    def _read_group_keys(self, group_by: str, dones: np.ndarray, infos: list[dict[str, Any]]) -> None:
        """The last ``info`` of an episode names its group. Until then, the latest ``info`` that has the key does."""
        group_keys = self.ongoing.group_keys
        for env, info in enumerate(infos):
            if group_by in info:
                group_keys[env] = str(info[group_by])
            elif dones[env]:
                raise ValueError(
                    f"group_by={group_by!r}, but the info of an episode's last step has only the keys "
                    f"{sorted(map(str, info))}. Add {group_by!r} to it in the environment, or pass group_by=None."
                )
            elif self.ongoing.steps[env] == 1:
                group_keys[env] = POOLED
