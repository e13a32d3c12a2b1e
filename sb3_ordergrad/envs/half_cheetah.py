"""HalfCheetah-v5 with a price on speed: a rare penalty (RiskyHalfCheetah) or a rare breakdown (FragileHalfCheetah)."""

import math
from typing import Any

import numpy as np
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
from gymnasium.utils import EzPickle


class SpeedRiskHalfCheetahEnv(HalfCheetahEnv):
    """
    What the two environments share: a coin at each step that matters only above a speed.

    :param v_max: speed in m/s above which a step is at risk (strictly above)
    :param probability: chance of the event in a step at risk, in [0, 1]
    :param penalty: reward of the event, usually negative, finite
    :param kwargs: passed on to gymnasium's ``HalfCheetahEnv`` (``render_mode``, ``ctrl_cost_weight``, ...)
    :raises ValueError: if a parameter is outside its range
    """

    def __init__(self, v_max: float, probability: float, penalty: float, **kwargs: Any) -> None:
        if math.isnan(v_max):
            raise ValueError(f"v_max={v_max} is not a number: give a speed in m/s, such as 2.0 (inf switches the risk off)")
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"probability={probability} is outside [0, 1]: give the chance of the event in one step")
        if not math.isfinite(penalty):
            raise ValueError(f"penalty={penalty} is not finite: give the reward of the event, such as -70.0")
        super().__init__(**kwargs)
        # The parent has recorded its own arguments: a copy by pickle must be built with ours
        EzPickle.__init__(self, v_max=v_max, probability=probability, penalty=penalty, **kwargs)
        self.v_max = v_max
        self.probability = probability
        self.penalty = penalty

    def _risk_event(self, x_velocity: float) -> bool:
        """
        :param x_velocity: forward speed of this step, in m/s
        :return: whether the event happens: with ``probability`` if the speed is above ``v_max``, else never
        """
        # One coin per step, needed or not: the same seed gives the same coins to a slow and to a fast policy
        coin = self.np_random.random() < self.probability
        return bool(coin and x_velocity > self.v_max)


class RiskyHalfCheetahEnv(SpeedRiskHalfCheetahEnv):
    """
    HalfCheetah-v5 of O-RAAC (Urpi et al. 2021, https://arxiv.org/abs/2102.05371), with the constants of its medium set.

    ``b ~ Bernoulli(probability)`` at each step; if ``x_velocity > v_max`` and ``b``, the reward of the step loses its forward
    part and gains ``penalty``: ``r' = r - reward_forward + penalty``. The episode goes on. ``info["risk_event"]`` says
    whether it happened. 200 steps with the registration of ``RiskyHalfCheetah-v0``; the expert set has ``v_max=10`` and
    ``penalty=-60``.

    :param v_max: speed in m/s above which a step is at risk
    :param probability: chance of the penalty in a step at risk
    :param penalty: what is added to the reward of the step, once its forward part is taken away
    :param kwargs: passed on to gymnasium's ``HalfCheetahEnv``
    :raises ValueError: if a parameter is outside its range
    """

    def __init__(self, v_max: float = 4.0, probability: float = 0.05, penalty: float = -70.0, **kwargs: Any) -> None:
        super().__init__(v_max, probability, penalty, **kwargs)

    # A plain float reward, where gymnasium annotates np.float64
    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:  # type: ignore[override]
        observation, reward, terminated, truncated, info = super().step(action)
        reward, info["risk_event"] = self.risky_reward(float(reward), info["x_velocity"], info["reward_forward"])
        return observation, reward, terminated, truncated, info

    def risky_reward(self, reward: float, x_velocity: float, reward_forward: float) -> tuple[float, bool]:
        """
        The rule alone; draws the coin of the step.

        :param reward: HalfCheetah's reward of the step
        :param x_velocity: speed of the step, in m/s
        :param reward_forward: the part of the reward that pays for speed
        :return: the reward under the rule, and whether the event happened
        """
        if self._risk_event(x_velocity):
            return reward - reward_forward + self.penalty, True
        return reward, False


class FragileHalfCheetahEnv(SpeedRiskHalfCheetahEnv):
    """
    HalfCheetah-v5 on a machine that breaks when driven fast.

    In each step with ``x_velocity > v_max`` the machine breaks with ``probability``: ``penalty`` is added to the reward of
    that step and the episode ends (terminated). ``info["risk_event"]`` says whether it happened. 200 steps with the
    registration of ``FragileHalfCheetah-v0``: 200 steps at risk are survived with probability 0.997^200 = 0.55.

    :param v_max: speed in m/s above which a step is at risk
    :param probability: chance of a breakdown in a step at risk
    :param penalty: what a breakdown adds to the reward of its step
    :param kwargs: passed on to gymnasium's ``HalfCheetahEnv``
    :raises ValueError: if a parameter is outside its range
    """

    def __init__(self, v_max: float = 2.0, probability: float = 0.003, penalty: float = -500.0, **kwargs: Any) -> None:
        super().__init__(v_max, probability, penalty, **kwargs)

    # A plain float reward, where gymnasium annotates np.float64
    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:  # type: ignore[override]
        observation, reward, terminated, truncated, info = super().step(action)
        reward, broken = self.fragile_reward(float(reward), info["x_velocity"])
        info["risk_event"] = broken
        return observation, reward, terminated or broken, truncated, info

    def fragile_reward(self, reward: float, x_velocity: float) -> tuple[float, bool]:
        """
        The rule alone; draws the coin of the step.

        :param reward: HalfCheetah's reward of the step
        :param x_velocity: speed of the step, in m/s
        :return: the reward under the rule, and whether the machine broke
        """
        if self._risk_event(x_velocity):
            return reward + self.penalty, True
        return reward, False
