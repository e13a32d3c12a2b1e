"""What OrderPPO and OrderA2C add to SB3's on-policy algorithms."""

from numbers import Real
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.type_aliases import MaybeCallback

from sb3_ordergrad.common.annealing import AdaptiveAnnealing
from sb3_ordergrad.common.callbacks import put_first
from sb3_ordergrad.common.episodes import POOLED, EpisodeRecorder, OngoingEpisodes, Rollout
from sb3_ordergrad.common.group_parameters import GroupParameters
from sb3_ordergrad.common.groups import EpisodeMemory, Group, TransformedReturn, cached_lstatistic, ranks_losses
from sb3_ordergrad.common.observations import rollout_observations
from sb3_ordergrad.common.pseudo_rewards import CREDITS, pseudo_rewards
from sb3_ordergrad.common.rare_losses import RareLossModel
from sb3_ordergrad.common.remaining_return import RemainingReturn, update_remaining_returns
from sb3_ordergrad.common.return_std import RunningReturnStd
from sb3_ordergrad.lstatistics import Objective, ObjectiveLike, interpolate_objective, parse_objective, rank_weights

_TAIL = parse_objective("cvar:0.1")


class OrderMixin(GroupParameters, OnPolicyAlgorithm):
    """
    Train an SB3 on-policy algorithm on pseudo-rewards, which sum to the transformed return of each episode. Comes in front of
    the algorithm in the list of base classes.

    A callback, ahead of the user's, records raw rewards and whole episodes. At the end of a rollout, pseudo-rewards replace
    the rewards in the rollout buffer and SB3 computes its advantages again.

    All parameters may change between two calls of ``learn``, which checks them.
    """

    credit: str
    anneal_from: ObjectiveLike
    group_by: str | None
    value_scale: float
    smooth_rare_losses: bool

    # saved with the model once a rollout was ranked
    _rare_losses: RareLossModel | None = None

    @property
    def gamma(self) -> float:
        """Discount factor: the given one, or for ``None`` the default of the credit (evidence: docs/results.md)."""
        given = self.__dict__["gamma"]
        return given if given is not None else 1.0 if self.credit == "terminal" else 0.99

    @gamma.setter
    def gamma(self, value: float | None) -> None:
        self.__dict__["gamma"] = value

    @property
    def anneal(self) -> float | None:
        """
        Fraction of training over which the objective moves: the given one, or 0 for an objective that is not one of the lower
        returns. ``None`` for one that is: then it moves as in :class:`AdaptiveAnnealing`.
        """
        given = self.__dict__["anneal"]
        return 0.0 if given is None and not ranks_losses(rank_weights(self.objective, self.k)) else given

    @anneal.setter
    def anneal(self, value: float | None) -> None:
        self.__dict__["anneal"] = value

    @property
    def anneal_fraction(self) -> float:
        """How far the objective has moved from ``anneal_from`` to ``objective``, between 0 and 1."""
        if self.anneal is None:
            return self._annealing.fraction
        if self.anneal == 0.0:
            return 1.0
        return min(1.0, (1.0 - self._current_progress_remaining) / self.anneal)

    @property
    def _keeps_rewards(self) -> bool:
        """Whether the transformed return is x + const throughout training, so that pseudo-rewards are the rewards."""
        objectives = [self.objective, self.anneal_from] if self.anneal != 0.0 else [self.objective]
        return self.credit != "terminal" and all(
            cached_lstatistic(self.group_size, self.k, parse_objective(objective)).is_mean for objective in objectives
        )

    def _setup_model(self) -> None:
        self._check_order_parameters()
        super()._setup_model()
        if not hasattr(self, "_return_std"):
            # saved with the model: a loaded model has them
            self._ongoing = OngoingEpisodes(self.n_envs)
            self._episode_memory = EpisodeMemory(self.group_by)
            self._remaining_returns: dict[str, RemainingReturn] = {}
            self._return_std = RunningReturnStd()
            self._annealing = AdaptiveAnnealing()

    def _check_order_parameters(self) -> None:
        self._check_group_parameters()
        rank_weights(self.anneal_from, self.k)
        if self.credit not in CREDITS:
            raise ValueError(f"credit={self.credit!r} must be one of {', '.join(map(repr, CREDITS))}.")
        if self.anneal is not None and not (isinstance(self.anneal, Real) and 0.0 <= self.anneal <= 1.0):
            raise ValueError(f"anneal={self.anneal!r} must be a fraction of training between 0 (no annealing) and 1.")
        if self.group_by is not None and not isinstance(self.group_by, str):
            raise ValueError(f"group_by={self.group_by!r} must be a key of info, a string, or None.")
        if not isinstance(self.smooth_rare_losses, bool | np.bool_):
            raise ValueError(f"smooth_rare_losses={self.smooth_rare_losses!r} must be True or False.")
        if not (isinstance(self.value_scale, Real) and 0.0 < self.value_scale < np.inf):
            raise ValueError(f"value_scale={self.value_scale!r} must be a positive number, such as 1.0.")

    def _setup_learn(self, total_timesteps: int, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        self._check_order_parameters()
        # they may have changed since the buffer was made, and defaults depend on other parameters
        self.rollout_buffer.gamma, self.rollout_buffer.gae_lambda = self.gamma, self.gae_lambda
        if len(self._ongoing.steps) != self.n_envs:
            self._ongoing = OngoingEpisodes(self.n_envs)
        if self._episode_memory.group_by != self.group_by:
            self._episode_memory, self._remaining_returns = EpisodeMemory(self.group_by), {}
            self._ongoing.group_keys = [POOLED] * self.n_envs
        if not self.smooth_rare_losses:
            self._rare_losses = None
        starts = self._last_episode_starts
        total_timesteps, callback = super()._setup_learn(total_timesteps, *args, **kwargs)
        if self._last_episode_starts is not starts:
            # SB3 has reset the environments
            self._ongoing.restart(np.arange(self.n_envs))
        if self.num_timesteps == 0:
            self._annealing = AdaptiveAnnealing()
        # SB3 does so after the first rollout only, which would be annealed as at the end of the last training
        if total_timesteps > 0:
            self._update_current_progress_remaining(self.num_timesteps, total_timesteps)
        return total_timesteps, callback

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        keep_history = self.credit == "projected" and not self._keeps_rewards
        recorder = EpisodeRecorder(self.n_steps, self._ongoing, self._write_pseudo_rewards, self.group_by, keep_history)
        return super()._init_callback(put_first(recorder, callback), progress_bar)

    def _write_pseudo_rewards(self, rollout: Rollout) -> None:
        """Replace the rewards in the rollout buffer by pseudo-rewards, and compute the advantages again."""
        groups = self._episode_memory.add(rollout, self.group_size)
        target = parse_objective(self.objective)
        if self.anneal is None:
            ended = [episode.episode_return for episode in rollout.finished]
            self._annealing.update(ended, 1.0 - self._current_progress_remaining, self.k, target)
        fraction = self.anneal_fraction
        self._log_groups(list(groups.values()), target, fraction)
        if self._keeps_rewards:
            # with SB3's normalisation and time-limit bootstrap
            self.logger.record("rollout/credited_steps", float(np.mean(rollout.rewards != 0.0)))
            return
        rewards, ranked = self._pseudo_rewards(rollout, groups, interpolate_objective(self.anneal_from, target, fraction))
        buffer = self.rollout_buffer
        reward_scale = self.value_scale / self._return_std.update(rewards, ranked, buffer.episode_starts, self.gamma)
        buffer.rewards[:] = reward_scale * rewards
        buffer.compute_returns_and_advantage(rollout.last_values, rollout.dones[-1])
        self.logger.record("rollout/credited_steps", float(np.mean(rewards != 0.0)))
        self.logger.record("train/reward_scale", reward_scale)

    def _pseudo_rewards(
        self, rollout: Rollout, groups: dict[str, Group], objective: Objective
    ) -> tuple[np.ndarray, np.ndarray]:
        """
        :param rollout: raw rewards and episodes
        :param groups: those of the episodes, by key
        :param objective: the present one
        :return: pseudo-rewards with the learned mean of rare losses, and which of them are of ranked episodes; shape
            (n_steps, n_envs) each
        """
        transforms = {key: TransformedReturn(group, self.k, objective) for key, group in groups.items()}
        smooth = self.smooth_rare_losses and self.credit != "terminal"
        model = self._rare_loss_model() if smooth else None
        returns = np.concatenate([group.returns for group in groups.values()]) if groups else np.zeros(1)
        fence = -np.inf if model is None else model.update_fence(rollout.rewards, rollout.dones, returns)
        rewards, ranked, losses = pseudo_rewards(rollout, transforms, self.credit, self._remaining_returns, fence)
        if self.credit == "projected":
            # after its use: an episode's projection must not depend on the episode
            update_remaining_returns(self._remaining_returns, rollout, transforms, self.group_size)
            recent = self._episode_memory.recent
            self._remaining_returns = {key: b for key, b in self._remaining_returns.items() if key in recent}
        if model is not None and fence > -np.inf and ranked.any():
            inputs = self._observations_and_actions()[ranked.ravel()]
            shortfalls = np.maximum(fence - rollout.rewards[ranked], 0.0)
            rewards[ranked] += losses[ranked] - model.expected_losses(inputs, losses[ranked], shortfalls)
        return rewards, ranked

    def _rare_loss_model(self) -> RareLossModel:
        settings = (str(parse_objective(self.objective)), self.k, self.credit)
        # what was learned for another objective is in other units
        if self._rare_losses is None or self._rare_losses.settings != settings:
            self._rare_losses = RareLossModel(settings)
        return self._rare_losses

    def _observations_and_actions(self) -> np.ndarray:
        """
        :return: the critic's features of each observation of the rollout, and its action (one-hot where discrete), shape
            (n_steps * n_envs, n_inputs), float32
        """
        buffer, space = self.rollout_buffer, self.action_space
        taken = th.as_tensor(buffer.actions).flatten(0, 1)
        if self.policy.squash_output:
            actions = taken
        elif isinstance(space, spaces.Box):
            actions = taken.clamp(th.as_tensor(space.low.ravel()), th.as_tensor(space.high.ravel()))
        else:
            actions = th.as_tensor(preprocess_obs(taken.long(), space))
        inputs = []
        for start in range(0, len(actions), 1024):
            rows = slice(start, start + 1024)
            with th.no_grad():
                # the actor-critic's own method would extract the actor's features too
                features = BasePolicy.extract_features(
                    self.policy, rollout_observations(buffer, rows, self.device), self.policy.vf_features_extractor
                )
            inputs.append(th.cat([features.flatten(1).cpu(), actions[rows].flatten(1)], dim=1).float().numpy())
        return np.concatenate(inputs)

    def _log_groups(self, groups: list[Group], target: Objective, fraction: float) -> None:
        self.logger.record("train/anneal_fraction", fraction)
        ranked = [group for group in groups if len(group.returns) >= self.k + 1]
        self.logger.record("rollout/ranked_groups", len(ranked))
        if not groups:
            return
        returns = np.concatenate([group.returns for group in groups])
        ages = np.concatenate([group.ages for group in groups])
        if ranked:
            values = [cached_lstatistic(len(group.returns), self.k, target).value(group.returns) for group in ranked]
            self.logger.record("rollout/objective", float(np.mean(values)))
        self.logger.record("rollout/group_mean", returns.mean())
        self.logger.record("rollout/group_cvar_0.1", cached_lstatistic(len(returns), len(returns), _TAIL).value(returns))
        self.logger.record("rollout/group_median", np.median(returns))
        self.logger.record("rollout/group_max", returns.max())
        self.logger.record("rollout/group_size", len(returns) / len(groups))
        self.logger.record("rollout/group_age", ages.mean())
