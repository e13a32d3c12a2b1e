from collections.abc import Generator
from typing import Any

import numpy as np
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.type_aliases import RolloutBufferSamples

from rivals.episodic_ppo import EpisodicPPO, check_level, flat, on_steps, returns_of
from sb3_ordergrad.common.episodes import Rollout


class SelectedTransitions(RolloutBuffer):
    """A rollout buffer of which only the transitions in ``selected``, shape (n_steps * n_envs,), are learned from."""

    selected: np.ndarray

    def reset(self) -> None:
        super().reset()
        self.selected = np.ones(self.buffer_size * self.n_envs, dtype=bool)

    def get(self, batch_size: int | None = None) -> Generator[RolloutBufferSamples, None, None]:
        if self.selected.all():
            yield from super().get(batch_size)
            return
        if not self.generator_ready:
            # flattens the arrays
            next(super().get())
        indices = np.random.permutation(np.flatnonzero(self.selected))
        batch_size = batch_size or len(indices)
        for start in range(0, len(indices), batch_size):
            yield self._get_samples(indices[start : start + batch_size])


class CVaRPPO(EpisodicPPO):
    """
    CVaR-PPO: PPO that learns only from the transitions of the episodes with the lowest returns.

    The transitions of the episodes that ended in the rollout are sorted by the episodes' raw returns, and the share ``level``
    with the lowest is kept; all others are dropped, also those of episodes that have not ended. Advantages are PPO's,
    normalised over the whole rollout and not over the kept transitions: what happens in the tail stays worse than the rest.
    A rollout in which no episode ended changes nothing.

    ``CVaRPPO(level=1)`` is PPO, bit for bit.

    Paper: the policy gradient of CVaR, Tamar et al. 2015, https://arxiv.org/abs/1404.3862, on PPO's loss, as the baseline of
    Return Capping, Mead et al. 2025, https://arxiv.org/abs/2504.20887
    Code: the rule of https://github.com/HarryMJMead/cvar-return-capping (``alpha_batch``), which also collects ``1 / level``
    times as many steps in a rollout. Here rollouts are those of the other methods

    :param args: of PPO
    :param level: level of CVaR, in (0, 1]
    :param kwargs: of PPO
    :raises ValueError: if ``level`` is out of range
    """

    rollout_buffer: SelectedTransitions

    def __init__(self, *args: Any, level: float = 0.25, **kwargs: Any) -> None:
        check_level(level)
        self.level = level
        # A part of the transitions is normalised before it is selected
        own = {"rollout_buffer_class": SelectedTransitions, "normalize_advantage": level == 1.0}
        super().__init__(*args, **{**own, **kwargs})

    def _end_rollout(self, rollout: Rollout) -> None:
        if self.level == 1.0:
            return
        advantages = self.rollout_buffer.advantages
        self.rollout_buffer.advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        returns = flat(on_steps(rollout, returns_of(rollout), unfinished=np.inf))
        n_selected = int(np.ceil(self.level * np.isfinite(returns).sum()))
        self.rollout_buffer.selected = np.zeros(len(returns), dtype=bool)
        self.rollout_buffer.selected[np.argsort(returns, kind="stable")[:n_selected]] = True
        self.logger.record("train/selected_transitions", n_selected)

    def train(self) -> None:
        if self.rollout_buffer.selected.any():
            super().train()
