import math
from typing import Any

import numpy as np

from rivals.episodic_ppo import EpisodicPPO, check_level, returns_of
from sb3_ordergrad.common.episodes import Rollout


class ReturnCapping(EpisodicPPO):
    r"""
    Return Capping: PPO on rewards that sum to the capped return ``min(R, C)``, which moves towards the VaR of the batch.

    With :math:`R_t` the raw reward that the episode has collected after step t, the reward of the step is
    :math:`\min(R_t, C) - \min(R_{t-1}, C)`. After each rollout :math:`C \leftarrow C + \tau (VaR - C)`, where the VaR of the N
    episodes that ended is the return with index ``int(level * N)`` in ascending order, and then
    :math:`C \leftarrow \max(C, C_{min})`: the floor keeps good episodes in sight.

    ``ReturnCapping(initial_cap=inf, tau=0)`` is PPO, bit for bit.

    Paper: Mead et al. 2025, https://arxiv.org/abs/2504.20887
    Code: the rule of https://github.com/HarryMJMead/cvar-return-capping, which collects whole episodes only. Here an episode
    may reach into the next rollout, where the cap has changed, and a time limit is bootstrapped as in PPO.

    :param args: of PPO
    :param level: level of CVaR, in (0, 1]
    :param tau: step size of the cap, in [0, 1]
    :param initial_cap: the first cap, in units of raw returns
    :param min_cap: the floor C_min, in units of raw returns
    :param kwargs: of PPO
    :raises ValueError: if ``level`` or ``tau`` is out of range
    """

    def __init__(
        self,
        *args: Any,
        level: float = 0.25,
        tau: float = 0.2,
        initial_cap: float = 0.0,
        min_cap: float = -math.inf,
        **kwargs: Any,
    ) -> None:
        check_level(level)
        if not 0.0 <= tau <= 1.0:
            raise ValueError(f"tau={tau!r} must be a step size in [0, 1], such as 0.2.")
        self.level, self.tau, self.initial_cap, self.min_cap = level, tau, initial_cap, min_cap
        self.cap = max(initial_cap, min_cap)
        super().__init__(*args, **kwargs)

    def _end_rollout(self, rollout: Rollout) -> None:
        before, after = rollout.collected, rollout.collected + rollout.rewards
        capped = np.minimum(after, self.cap) - np.minimum(before, self.cap)
        # Exactly 0 below the cap, where the reward is unchanged
        change = np.where(np.maximum(before, after) > self.cap, capped - rollout.rewards, 0.0)
        self.rollout_buffer.rewards += (self._reward_scale() * change).astype(np.float32)
        self.rollout_buffer.compute_returns_and_advantage(rollout.last_values, rollout.dones[-1])
        self.logger.record("train/return_cap", self.cap)
        returns = np.sort(returns_of(rollout))
        if len(returns) > 0 and self.tau > 0.0:
            var = float(returns[min(int(self.level * len(returns)), len(returns) - 1)])
            self.cap = max(self.cap + self.tau * (var - self.cap), self.min_cap)
