"""What the rivals share: PPO with a hook that sees whole episodes."""

from abc import abstractmethod
from typing import Any

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import MaybeCallback

from sb3_ordergrad.common.callbacks import put_first
from sb3_ordergrad.common.episodes import EpisodeRecorder, OngoingEpisodes, Rollout


class EpisodicPPO(PPO):
    """
    PPO with a hook at the end of each rollout. The rollout buffer is complete then, with SB3's advantages.

    :param args: of PPO
    :param kwargs: of PPO
    """

    def _setup_model(self) -> None:
        super()._setup_model()
        if not hasattr(self, "_ongoing"):
            # saved with the model: a loaded model has it
            self._ongoing = OngoingEpisodes(self.n_envs)

    def _setup_learn(self, total_timesteps: int, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        if len(self._ongoing.steps) != self.n_envs:
            self._ongoing = OngoingEpisodes(self.n_envs)
        starts = self._last_episode_starts
        total_timesteps, callback = super()._setup_learn(total_timesteps, *args, **kwargs)
        if self._last_episode_starts is not starts:
            # SB3 has reset the environments
            self._ongoing.restart(np.arange(self.n_envs))
        return total_timesteps, callback

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        recorder = EpisodeRecorder(self.n_steps, self._ongoing, self._end_rollout, group_by=None, keep_history=False)
        return super()._init_callback(put_first(recorder, callback), progress_bar)

    @abstractmethod
    def _end_rollout(self, rollout: Rollout) -> None:
        """
        Change the rollout buffer.

        :param rollout: raw rewards and episodes of the rollout
        """

    def _reward_scale(self) -> float:
        """:return: the factor by which ``VecNormalize`` multiplies rewards now; 1 without it"""
        normalize = self.get_vec_normalize_env()
        if normalize is None or not normalize.norm_reward:
            return 1.0
        return float(1.0 / np.sqrt(normalize.ret_rms.var + normalize.epsilon))


def returns_of(rollout: Rollout) -> np.ndarray:
    """:return: raw returns of the episodes that ended in the rollout, shape (N,)"""
    return np.array([episode.episode_return for episode in rollout.finished])


def on_steps(rollout: Rollout, values: np.ndarray, unfinished: float) -> np.ndarray:
    """
    :param rollout: the rollout
    :param values: one for each episode that ended in it, shape (N,)
    :param unfinished: the value of the other episodes
    :return: the value of each step's episode, shape (n_steps, n_envs)
    """
    return np.append(values, np.full(rollout.rewards.shape[1], unfinished))[rollout.episode]


def flat(per_step: np.ndarray) -> np.ndarray:
    """:return: an array of shape (n_steps, n_envs) in the order of the transitions of a full rollout buffer"""
    return per_step.swapaxes(0, 1).ravel()


def check_level(level: float) -> None:
    """
    :param level: of CVaR
    :raises ValueError: if it is not in (0, 1]
    """
    if not 0.0 < level <= 1.0:
        raise ValueError(f"level={level!r} must be the share of the worst episodes, in (0, 1], such as 0.25.")
