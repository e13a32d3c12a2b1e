"""A point mass on a machine that breaks when driven fast: a rare loss, on a task that trains in seconds."""

from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_ordergrad.envs.parameter_checks import check_limit, check_number, check_probability
from sb3_ordergrad.envs.rendering import BLUE, RED, RenderedEnv, draw_bars

_DRAG, _THRUST, _NOISE, _TURN = 0.1, 0.22, 0.03, 0.1
_SPEED_REWARD, _ACTION_COST = 0.05, 0.005


class FragilePointEnv(RenderedEnv[np.ndarray]):
    """
    A point is driven along a direction that turns at random, and breaks with ``probability`` in each step above ``v_max``.

    Speed ``v' = 0.9 v + 0.22 (a . d) + N(0, 0.03)`` for the action a and the direction ``d = (cos x, sin x)``, whose angle
    changes by N(0, 0.1) in each step. The reward is ``0.05 v' - 0.005 |a|^2``. A breakdown adds ``penalty`` to it and ends the
    episode (terminated). The observation is (v, cos x, sin x). The constants are ours. ``info["risk_event"]`` tells of a
    breakdown, with ``certain`` of a charge. 200 steps with the registration of ``FragilePoint-v0``: 200 steps above ``v_max``
    are survived with probability 0.998^200 = 0.67, and driving at ``v_max`` without a breakdown returns a little less than 10.

    :param v_max: speed above which a step is at risk
    :param probability: chance of a breakdown in a step at risk
    :param penalty: what a breakdown adds to the reward of its step
    :param certain: charge each step at risk the expected penalty, ``probability * penalty``; nothing breaks
    :param render_mode: ``"rgb_array"`` or None
    :raises ValueError: if a parameter is outside its range
    """

    def __init__(
        self,
        v_max: float = 1.0,
        probability: float = 0.002,
        penalty: float = -25.0,
        certain: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        check_limit("v_max", v_max, "a speed", 1.0)
        check_probability("probability", probability)
        check_number("penalty", penalty, example=-25.0)
        self.v_max, self.probability, self.penalty, self.certain = v_max, probability, penalty, certain
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.speed = self.angle = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.speed = 0.1 * self.np_random.standard_normal()
        self.angle = self.np_random.uniform(-np.pi, np.pi)
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        action = np.clip(action, -1.0, 1.0).astype(np.float64)
        thrust = action[0] * np.cos(self.angle) + action[1] * np.sin(self.angle)
        self.speed = (1.0 - _DRAG) * self.speed + _THRUST * thrust + _NOISE * self.np_random.standard_normal()
        self.angle += _TURN * self.np_random.standard_normal()
        reward = _SPEED_REWARD * self.speed - _ACTION_COST * float(action @ action)
        # one coin per step, needed or not: the same seed gives the same coins to a slow and to a fast policy
        coin = self.np_random.random() < self.probability
        at_risk = self.speed > self.v_max
        event = bool(at_risk and (coin or self.certain))
        if event:
            reward += self.penalty * (self.probability if self.certain else 1.0)
        return self._observation(), float(reward), event and not self.certain, False, {"risk_event": event}

    def _observation(self) -> np.ndarray:
        return np.array([self.speed, np.cos(self.angle), np.sin(self.angle)], dtype=np.float32)

    def _image(self) -> np.ndarray:
        """Speed (blue) and limit (red); the full width is the highest mean speed."""
        top = _THRUST / _DRAG
        return draw_bars([(self.speed / top, BLUE), (self.v_max / top, RED)])
