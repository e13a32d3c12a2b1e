from typing import Any

import numpy as np

from rivals.episodic_ppo import EpisodicPPO, on_steps, returns_of
from sb3_ordergrad.common.episodes import Rollout


class MeanGiniPPO(EpisodicPPO):
    r"""
    Mean minus Gini deviation, on PPO's loss.

    The Gini deviation of the return is :math:`D = E|R - R'| / 2`, and
    :math:`\nabla D = E[\nabla \log p(\tau)\, E|R - R'|]`: each step of episode i has
    :math:`d_i = \frac{1}{N-1} \sum_j |R_i - R_j|`. PPO's advantage of the step becomes
    :math:`A_t - \lambda (d_i - \bar d)`, with the mean over the N episodes that ended in the rollout as a baseline.
    Steps of episodes that have not ended keep PPO's advantage, and so do all if fewer than two ended.

    ``MeanGiniPPO(gini=0)`` is PPO, bit for bit.

    Paper: Luo et al. 2023, "An Alternative to Variance: Gini Deviation for Risk-averse Policy Gradient",
    https://arxiv.org/abs/2307.08873, which writes the same gradient with an integral of ``2 F(r) - 1``
    Code: written without the authors' code

    :param args: of PPO
    :param gini: the factor lambda, at least 0
    :param kwargs: of PPO
    :raises ValueError: if ``gini`` is negative
    """

    def __init__(self, *args: Any, gini: float = 1.0, **kwargs: Any) -> None:
        if not gini >= 0.0:
            raise ValueError(f"gini={gini!r} must be at least 0, such as 1.0.")
        self.gini = gini
        super().__init__(*args, **kwargs)

    def _end_rollout(self, rollout: Rollout) -> None:
        returns = returns_of(rollout)
        if len(returns) < 2 or self.gini == 0.0:
            return
        distances = np.abs(returns[:, None] - returns).sum(axis=1) / (len(returns) - 1)
        penalty = self.gini * self._reward_scale() * (distances - distances.mean())
        self.rollout_buffer.advantages -= on_steps(rollout, penalty, unfinished=0.0).astype(np.float32)
        self.logger.record("rollout/gini_deviation", distances.mean() / 2.0)
