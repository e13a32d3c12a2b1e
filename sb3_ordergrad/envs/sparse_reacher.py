"""Reacher-v5 with a sparse reward."""

from typing import Any

import numpy as np
from gymnasium.envs.mujoco.reacher_v5 import ReacherEnv
from gymnasium.utils import EzPickle

from sb3_ordergrad.envs.parameter_checks import check_number


class SparseReacherEnv(ReacherEnv):
    """
    Reacher-v5 with a reward of 1 in each step that ends with the fingertip within ``tolerance`` of the target, else 0.

    Neither distance nor control counts. A policy that rarely gets there learns little from the mean of its episodes, and more
    from the best of several. ``info["is_success"]`` says whether the tip is within the tolerance.
    50 steps with the registration of ``SparseReacher-v0``.

    :param tolerance: greatest distance from the tip to the target that is rewarded, in metres, at least 0
    :param kwargs: passed on to gymnasium's ``ReacherEnv`` (``render_mode``, ...)
    :raises ValueError: if the tolerance is outside its range
    """

    def __init__(self, tolerance: float = 0.05, **kwargs: Any) -> None:
        check_number("tolerance", tolerance, minimum=0.0, example=0.05)
        super().__init__(**kwargs)
        # The parent has recorded its own arguments: a copy by pickle must be built with ours
        EzPickle.__init__(self, tolerance=tolerance, **kwargs)
        self.tolerance = tolerance

    # A plain float reward, where gymnasium annotates np.float64
    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:  # type: ignore[override]
        observation, _, terminated, truncated, info = super().step(action)
        distance = np.linalg.norm(self.get_body_com("fingertip") - self.get_body_com("target"))
        info["is_success"] = bool(distance <= self.tolerance)
        return observation, float(info["is_success"]), terminated, truncated, info
