"""What OrderPPO and OrderA2C add to SB3's on-policy loop."""

from math import ceil
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback
from stable_baselines3.common.type_aliases import MaybeCallback

from sb3_ordergrad.common.credit import CREDITS, pseudo_rewards, update_remaining
from sb3_ordergrad.common.episodes import EpisodeRecorder, UnderWay
from sb3_ordergrad.common.groups import EpisodeMemory, Group, TransformedReturn, l_statistic
from sb3_ordergrad.common.projection import RemainingReturn
from sb3_ordergrad.common.value_scale import ValueScale
from sb3_ordergrad.lstatistics import Objective, ObjectiveLike, interpolate_objective, parse_objective, rank_weights

_TAIL = parse_objective("cvar:0.1")


def default_gamma(credit: str) -> float:
    """
    :param credit: the credit
    :return: the discount factor where the user names none (evidence: docs/results.md)
    """
    return 1.0 if credit == "terminal" else 0.99


def default_gae_lambda(objective: ObjectiveLike, k: float, credit: str) -> float:
    """
    :param objective: the objective
    :param k: sample size K
    :param credit: the credit
    :return: lambda of PPO's advantages where the user names none (evidence: docs/results.md)
    """
    is_mean = np.ptp(rank_weights(objective, k)) == 0.0
    return 0.95 if is_mean or credit == "terminal" else 0.8


class OrderMixin:
    """
    Replace the rewards of a rollout by pseudo-rewards that sum to the transformed return of each episode, before SB3 trains.

    A callback, ahead of the user's, records raw rewards and whole episodes; at the end of the rollout the pseudo-rewards are
    written into the rollout buffer and SB3's own advantages are computed again. Goes in front of an SB3 on-policy algorithm.
    """

    objective: ObjectiveLike
    k: float
    group_size: int
    credit: str
    anneal: float
    anneal_from: ObjectiveLike
    group_by: str | None
    value_scale: float

    # of the SB3 algorithm behind the mixin
    n_envs: int
    n_steps: int
    gamma: float
    num_timesteps: int
    logger: Any
    rollout_buffer: RolloutBuffer
    _current_progress_remaining: float

    # saved with the model
    _episode_memory: EpisodeMemory | None = None
    _remaining: dict[str, RemainingReturn] | None = None
    _value_scale: ValueScale | None = None
    _under_way: UnderWay | None = None

    def _setup_model(self) -> None:
        self._check_order_parameters()
        super()._setup_model()  # type: ignore[misc]
        if self._under_way is None or len(self._under_way.steps) != self.n_envs:
            self._under_way = UnderWay.none(self.n_envs)
        self._recorder = EpisodeRecorder(self.n_steps, self._under_way, self.group_by)
        if self._episode_memory is None or self._episode_memory.group_size != self.group_size:
            self._episode_memory = EpisodeMemory(self.group_size)
        if self._remaining is None:
            self._remaining = {}
        if self._value_scale is None:
            self._value_scale = ValueScale()
        self._value_scale.restart(self.n_envs, self.gamma)

    def _check_order_parameters(self) -> None:
        """
        :raises ValueError: if a parameter of the order objective is out of its range
        """
        rank_weights(self.objective, self.k)
        rank_weights(self.anneal_from, self.k)
        if isinstance(self.group_size, bool) or not isinstance(self.group_size, Integral) or self.group_size < 2:
            raise ValueError(f"group_size={self.group_size!r} must be an integer of at least 2, such as 32.")
        if self.k > self.group_size - 1:
            raise ValueError(
                f"k={self.k} must be below group_size={self.group_size} by at least 1: "
                "each episode is compared with samples of k others. "
                f"Use k <= {self.group_size - 1} or group_size >= {ceil(self.k) + 1}."
            )
        if self.credit not in CREDITS:
            raise ValueError(f"credit={self.credit!r} must be one of {', '.join(map(repr, CREDITS))}.")
        if not (isinstance(self.anneal, Real) and 0.0 <= self.anneal <= 1.0):
            raise ValueError(f"anneal={self.anneal!r} must be a fraction of training between 0 (no annealing) and 1.")
        if self.group_by is not None and not isinstance(self.group_by, str):
            raise ValueError(f"group_by={self.group_by!r} must be a key of info, a string, or None.")
        if not (isinstance(self.value_scale, Real) and 0.0 < self.value_scale < np.inf):
            raise ValueError(f"value_scale={self.value_scale!r} must be a positive number, such as 1.0.")

    def _setup_learn(self, total_timesteps: int, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        total_timesteps, callback = super()._setup_learn(total_timesteps, *args, **kwargs)  # type: ignore[misc]
        # SB3 does so only after the first rollout, which would be paid by where the last training ended
        if total_timesteps > 0:
            self._update_current_progress_remaining(self.num_timesteps, total_timesteps)  # type: ignore[attr-defined]
        return total_timesteps, callback

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        callbacks = callback if isinstance(callback, list) else [] if callback is None else [callback]
        others = [other if isinstance(other, BaseCallback) else ConvertCallback(other) for other in callbacks]
        return super()._init_callback(CallbackList([self._recorder, *others]), progress_bar)  # type: ignore[misc]

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_recorder"]  # type: ignore[misc]

    @property
    def anneal_fraction(self) -> float:
        """How far the objective has moved from ``anneal_from`` to ``objective``, between 0 and 1."""
        if self.anneal == 0.0:
            return 1.0
        return min(1.0, (1.0 - self._current_progress_remaining) / self.anneal)

    def pay_pseudo_rewards(self, last_values: th.Tensor, dones: np.ndarray) -> None:
        """
        Rank the episodes of the rollout and put pseudo-rewards in the place of its rewards.

        :param last_values: the critic's values of the observations after the rollout
        :param dones: whether each environment's episode ended with the rollout
        """
        assert self._episode_memory is not None and self._remaining is not None and self._value_scale is not None
        recorder, buffer = self._recorder, self.rollout_buffer
        groups = self._episode_memory.add(recorder.finished, recorder.keys, buffer.rewards.size)
        fraction = self.anneal_fraction
        start, target = parse_objective(self.anneal_from), parse_objective(self.objective)
        objective = interpolate_objective(start, target, fraction)
        self._log_groups(list(groups.values()), target, fraction)
        pursued = (start, target) if self.anneal > 0.0 else (target,)
        if self.credit != "terminal" and all(l_statistic(self.group_size, self.k, one).is_mean for one in pursued):
            # phi(x) = x + const: the rewards themselves, with SB3's normalisation and time-limit bootstrap
            self.logger.record("rollout/credited_steps", float(np.mean(recorder.after != recorder.before)))
            return
        transforms = {key: TransformedReturn(group, self.k, objective) for key, group in groups.items()}
        rewards = pseudo_rewards(recorder, transforms, self.credit, self._remaining)
        if self.credit == "projected":
            update_remaining(self._remaining, recorder.finished, self.group_size)
            self._remaining = {key: one for key, one in self._remaining.items() if key in self._episode_memory.recent}
        scale = self.value_scale / self._value_scale.update(rewards, buffer.episode_starts)
        buffer.rewards[:] = scale * rewards
        buffer.compute_returns_and_advantage(last_values, dones)
        self.logger.record("rollout/credited_steps", float(np.mean(rewards != 0.0)))
        self.logger.record("train/reward_scale", scale)

    def _log_groups(self, groups: list[Group], target: Objective, fraction: float) -> None:
        self.logger.record("train/anneal_fraction", fraction)
        ranked = [group for group in groups if len(group.returns) >= self.k + 1]
        self.logger.record("rollout/ranked_groups", len(ranked))
        if not groups:
            return
        returns = np.concatenate([group.returns for group in groups])
        ages = np.concatenate([group.ages for group in groups])
        if ranked:
            values = [l_statistic(len(group.returns), self.k, target).value(group.returns) for group in ranked]
            self.logger.record("rollout/objective", float(np.mean(values)))
        self.logger.record("rollout/group_mean", returns.mean())
        self.logger.record("rollout/group_cvar_0.1", l_statistic(len(returns), len(returns), _TAIL).value(returns))
        self.logger.record("rollout/group_median", np.median(returns))
        self.logger.record("rollout/group_max", returns.max())
        self.logger.record("rollout/group_size", len(returns) / len(groups))
        self.logger.record("rollout/group_age", ages.mean())
