"""Lunar Lander with a noisy bonus for landing on the right; needs Box2D."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.error import DependencyNotInstalled
from gymnasium.utils import EzPickle

from sb3_ordergrad.envs.parameter_checks import check_number

RETURN_SCALE = 1.0 / 256.0


class NoisyLunarLanderEnv(gym.Env[np.ndarray, Any], EzPickle):
    """
    LunarLander-v3 of Return Capping (Mead et al. 2025, https://arxiv.org/abs/2504.20887), with its constants.

    Every episode resets gymnasium's lander with the same seed, so terrain and first impulse never change. An episode that ends
    (terminated: landed, crashed or out of sight) at ``x > 0`` adds ``bonus_mean + bonus_std * z`` to the reward of its last
    step, z ~ N(0, 1). So landing on the right is better on average, and worse for a tail. ``info["bonus"]`` is what was added
    to the reward of the step. 1000 steps with the registration of ``NoisyLunarLander-v0``.

    Observation: that of LunarLander-v3, ``(8,)`` float32, and the rewards collected so far divided by 256. Actions:
    ``Discrete(4)``.

    :param lander_seed: with which the lander is reset in every episode; ``reset(seed=)`` seeds the bonus
    :param bonus_mean: mean of the bonus, finite
    :param bonus_std: standard deviation of the bonus, at least 0
    :param observe_return: append the collected rewards to the observation; if False, it is the lander's
    :param kwargs: passed on to gymnasium's ``LunarLander`` (``render_mode``, ``continuous``, ...)
    :raises ImportError: if Box2D is not installed
    :raises ValueError: if a parameter is outside its range
    """

    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": 50}  # noqa: RUF012

    def __init__(
        self,
        lander_seed: int = 4,
        bonus_mean: float = 70.0,
        bonus_std: float = 100.0,
        observe_return: bool = True,
        **kwargs: Any,
    ) -> None:
        check_number("bonus_mean", bonus_mean, example=70.0)
        check_number("bonus_std", bonus_std, minimum=0.0, example=100.0)
        try:
            # Only here, since Box2D is optional
            from gymnasium.envs.box2d.lunar_lander import LunarLander
        except (ImportError, DependencyNotInstalled) as error:
            raise ImportError('NoisyLunarLander needs Box2D: pip install "gymnasium[box2d]"') from error
        EzPickle.__init__(self, lander_seed, bonus_mean, bonus_std, observe_return, **kwargs)
        self.lander_seed = lander_seed
        self.bonus_mean = bonus_mean
        self.bonus_std = bonus_std
        self.observe_return = observe_return
        self.render_mode = kwargs.get("render_mode")
        self._lander = LunarLander(**kwargs)
        self.action_space = self._lander.action_space
        lander_space: Any = self._lander.observation_space
        low, high = lander_space.low, lander_space.high
        if observe_return:
            low, high = np.append(low, np.float32(-np.inf)), np.append(high, np.float32(np.inf))
        self.observation_space = spaces.Box(low, high, dtype=np.float32)
        self.return_to_date = 0.0
        self._bonus = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        observation, info = self._lander.reset(seed=self.lander_seed, options=options)
        self.return_to_date = 0.0
        # Drawn in every episode: the same seed gives the same bonuses to every policy
        self._bonus = self.bonus_mean + self.bonus_std * float(self.np_random.standard_normal())
        return self._observation(observation), info

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observation, lander_reward, terminated, truncated, info = self._lander.step(action)
        bonus = self._bonus if terminated and observation[0] > 0.0 else 0.0
        reward = float(lander_reward) + bonus
        self.return_to_date += reward
        return self._observation(observation), reward, terminated, truncated, {**info, "bonus": bonus}

    def _observation(self, observation: np.ndarray) -> np.ndarray:
        if not self.observe_return:
            return observation
        return np.append(observation, np.float32(RETURN_SCALE * self.return_to_date))

    def render(self) -> Any:
        return self._lander.render()

    def close(self) -> None:
        self._lander.close()
