"""MuJoCo robots with a rare penalty, or a rare breakdown, in steps above a speed or a tilt."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from gymnasium.envs.mujoco import MujocoEnv
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv
from gymnasium.envs.mujoco.walker2d_v5 import Walker2dEnv
from gymnasium.utils import EzPickle

from sb3_ordergrad.envs.parameter_checks import check_limit, check_number, check_probability


class RandomEvent(MujocoEnv, EzPickle, ABC):
    """
    Base class to list before the class of a MuJoCo robot: in each step at risk an event happens with ``probability``.

    ``penalty`` is added to the reward of the step of the event; where ``ends_episode`` is set, the episode ends with it
    (terminated). ``info["risk_event"]`` says whether it happened.

    :param probability: chance of the event in a step at risk, in [0, 1]
    :param penalty: reward of the event, usually negative, finite
    :param limit: name and value of the limit beyond which a step is at risk, as the robot's constructor takes it
    :param certain: replace the event by its expected loss: every step at risk is charged ``probability`` times what the event
        would change in its reward, and never ends the episode. For reference levels; ``risk_event`` marks the charged steps
    :param kwargs: passed on to gymnasium's robot (``render_mode``, ``ctrl_cost_weight``, ...)
    :raises ValueError: if a parameter is outside its range
    """

    ends_episode: ClassVar[bool] = False

    def __init__(
        self, probability: float, penalty: float, limit: dict[str, float], certain: bool = False, **kwargs: Any
    ) -> None:
        check_probability("probability", probability)
        check_number("penalty", penalty, example=-70.0)
        super().__init__(**kwargs)
        # The robot has recorded its own arguments: a copy by pickle must be built with ours
        EzPickle.__init__(self, probability=probability, penalty=penalty, certain=certain, **limit, **kwargs)
        self.probability = probability
        self.penalty = penalty
        self.certain = certain

    # A plain float reward, where gymnasium annotates np.float64
    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:  # type: ignore[override]
        observation, robot_reward, terminated, truncated, info = super().step(action)
        reward = float(robot_reward)
        # One draw per step, needed or not: the same seed gives the same ones to a slow and to a fast policy
        happens = self.np_random.random() < self.probability
        event = bool((happens or self.certain) and self._at_risk(info))
        if event:
            penalised = self._penalised(reward, info)
            reward = reward + self.probability * (penalised - reward) if self.certain else penalised
        terminated = bool(terminated or (event and self.ends_episode and not self.certain))
        return observation, reward, terminated, truncated, {**info, "risk_event": event}

    @abstractmethod
    def _at_risk(self, info: dict[str, Any]) -> bool:
        """Whether the event can happen in this step."""

    def _penalised(self, reward: float, info: dict[str, Any]) -> float:
        """The reward of a step with an event."""
        return reward + self.penalty


class SpeedRisk(RandomEvent):
    """
    A step is at risk if its forward speed is above a limit.

    :param v_max: speed in m/s above which a step is at risk (strictly above)
    :param probability: chance of the event in a step at risk, in [0, 1]
    :param penalty: reward of the event, usually negative, finite
    :param kwargs: passed on to :class:`RandomEvent` and gymnasium's robot
    :raises ValueError: if a parameter is outside its range
    """

    def __init__(self, v_max: float, probability: float, penalty: float, **kwargs: Any) -> None:
        check_limit("v_max", v_max, "a speed in m/s", 2.0)
        super().__init__(probability, penalty, {"v_max": v_max}, **kwargs)
        self.v_max = v_max

    def _at_risk(self, info: dict[str, Any]) -> bool:
        return bool(info["x_velocity"] > self.v_max)


class TiltRisk(RandomEvent):
    """A step is at risk if it ends with a healthy robot whose torso leans by ``max_angle`` (rad) or more, to either side."""

    # a property of the robot behind this class
    is_healthy: bool

    def __init__(self, max_angle: float, probability: float, penalty: float, **kwargs: Any) -> None:
        check_limit("max_angle", max_angle, "an angle in rad", 0.1)
        super().__init__(probability, penalty, {"max_angle": max_angle}, **kwargs)
        self.max_angle = max_angle

    def _at_risk(self, info: dict[str, Any]) -> bool:
        # Hopper and Walker2d keep the torso's angle behind its x and z
        return bool(self.is_healthy and abs(self.data.qpos[2]) >= self.max_angle)


class RiskyHalfCheetahEnv(SpeedRisk, HalfCheetahEnv):
    """
    HalfCheetah-v5 of O-RAAC (Urpí et al. 2021, https://arxiv.org/abs/2102.05371), with the constants of its medium set.

    ``b ~ Bernoulli(probability)`` at each step; if ``x_velocity > v_max`` and ``b``, the reward of the step loses its forward
    part and gains ``penalty``: ``r' = r - reward_forward + penalty``. The episode goes on. ``info["risk_event"]`` says
    whether it happened. 200 steps with the registration of ``RiskyHalfCheetah-v0``; the expert set has ``v_max=10`` and
    ``penalty=-60``.

    :param v_max: speed in m/s above which a step is at risk
    :param probability: chance of the penalty in a step at risk
    :param penalty: what is added to the reward of the step, once its forward part is taken away
    :param kwargs: ``certain`` of :class:`RandomEvent`, and the arguments of gymnasium's ``HalfCheetahEnv``
    :raises ValueError: if a parameter is outside its range
    """

    def __init__(self, v_max: float = 4.0, probability: float = 0.05, penalty: float = -70.0, **kwargs: Any) -> None:
        super().__init__(v_max, probability, penalty, **kwargs)

    def _penalised(self, reward: float, info: dict[str, Any]) -> float:
        return reward - info["reward_forward"] + self.penalty


class RiskyHopperEnv(TiltRisk, HopperEnv):
    """
    Hopper-v5 of O-RAAC (Urpí et al. 2021, https://arxiv.org/abs/2102.05371).

    ``b ~ Bernoulli(probability)`` at each step; if the robot is healthy, its torso leans by ``max_angle`` or more, and ``b``,
    ``r' = r + penalty``. The episode goes on. ``info["risk_event"]`` says whether it happened. Hopper itself ends the episode
    from 0.2 rad on. 500 steps with the registration of ``RiskyHopper-v0``.

    :param max_angle: the torso's angle in rad, to either side, from which a step is at risk
    :param probability: chance of the penalty in a step at risk
    :param penalty: what is added to the reward of the step
    :param kwargs: ``certain`` of :class:`RandomEvent`, and the arguments of gymnasium's ``HopperEnv``
    :raises ValueError: if a parameter is outside its range
    """

    def __init__(self, max_angle: float = 0.1, probability: float = 0.1, penalty: float = -50.0, **kwargs: Any) -> None:
        super().__init__(max_angle, probability, penalty, **kwargs)


class RiskyWalker2dEnv(TiltRisk, Walker2dEnv):
    """
    Walker2d-v5 of O-RAAC (Urpí et al. 2021, https://arxiv.org/abs/2102.05371): rule and parameters of
    :class:`RiskyHopperEnv`, with its own constants.

    Walker2d itself ends the episode from 1 rad on. 500 steps with the registration of ``RiskyWalker2d-v0``.
    """

    def __init__(self, max_angle: float = 0.5, probability: float = 0.1, penalty: float = -30.0, **kwargs: Any) -> None:
        super().__init__(max_angle, probability, penalty, **kwargs)


class FragileHalfCheetahEnv(SpeedRisk, HalfCheetahEnv):
    """
    HalfCheetah-v5 on a machine that breaks when driven fast.

    In each step with ``x_velocity > v_max`` the machine breaks with ``probability``: ``penalty`` is added to the reward of
    that step and the episode ends (terminated). ``info["risk_event"]`` says whether it happened. 200 steps with the
    registration of ``FragileHalfCheetah-v0``: 200 steps at risk are survived with probability 0.997^200 = 0.55.

    :param v_max: speed in m/s above which a step is at risk
    :param probability: chance of a breakdown in a step at risk
    :param penalty: what a breakdown adds to the reward of its step
    :param kwargs: ``certain`` of :class:`RandomEvent`, and the arguments of gymnasium's ``HalfCheetahEnv``
    :raises ValueError: if a parameter is outside its range
    """

    ends_episode = True

    def __init__(self, v_max: float = 2.0, probability: float = 0.003, penalty: float = -500.0, **kwargs: Any) -> None:
        super().__init__(v_max, probability, penalty, **kwargs)


class FragileHopperEnv(SpeedRisk, HopperEnv):
    """
    Hopper-v5 on a machine that breaks when driven fast: rule and parameters of :class:`FragileHalfCheetahEnv`, with its own
    constants.

    500 steps with the registration of ``FragileHopper-v0``: 500 steps at risk are survived with probability
    0.999^500 = 0.61. (Why these constants: docs/reference/environments.md.)
    """

    ends_episode = True

    def __init__(self, v_max: float = 1.5, probability: float = 0.001, penalty: float = -500.0, **kwargs: Any) -> None:
        super().__init__(v_max, probability, penalty, **kwargs)
