"""Wrappers that make any task risky: a penalty on speed, a noisy region, outliers in the reward."""

from abc import ABC, abstractmethod
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from sb3_ordergrad.envs.parameter_checks import check_limit, check_number, check_probability


class RewardDisturbance(gym.Wrapper, gym.utils.RecordConstructorArgs, ABC):
    """
    Base class of the wrappers below, which add a random number to the reward of each step.

    ``info["reward_disturbance"]`` is what all of these wrappers together added to the reward of the step. The record of
    a ``Monitor`` inside (``info["episode"]["r"]``) is corrected by what was added during the episode, so that logs and
    evaluations show the task that is trained on. The random numbers come from the wrapper's own generator, seeded by
    ``reset(seed=)``, so the random numbers of the wrapped environment do not change.

    :param env: environment to wrap
    :param kwargs: arguments of the wrapper, recorded for the environment's spec
    """

    def __init__(self, env: gym.Env, **kwargs: Any) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, **kwargs)
        gym.Wrapper.__init__(self, env)
        # Stacked wrappers of this kind must not draw the same random numbers
        self._n_inside = 0
        while isinstance(env, gym.Wrapper):
            self._n_inside += isinstance(env, RewardDisturbance)
            env = env.env
        self._rng = np.random.default_rng()
        self._added = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            # A spawned stream: the seed alone would repeat the random numbers of the environment
            self._rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(self._n_inside,)))
        self._added = 0.0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        disturbance = self._disturbance(observation, info)
        self._added += disturbance
        info["reward_disturbance"] = info.get("reward_disturbance", 0.0) + disturbance
        if "episode" in info:
            info["episode"] = {**info["episode"], "r": info["episode"]["r"] + self._added}
        return observation, float(reward) + disturbance, terminated, truncated, info

    @abstractmethod
    def _disturbance(self, observation: Any, info: dict[str, Any]) -> float:
        """
        Draw what is added to the reward of a step. Random numbers are drawn in every step, needed or not, so the same seed
        gives the same ones to every policy.
        """


class MeasuredRewardDisturbance(RewardDisturbance):
    """
    A disturbance that depends on one measured number of the step, such as a speed or a position.

    :param env: environment to wrap
    :param measure: key of ``info`` (``"x_velocity"``), or index into a flat observation
    :param kwargs: further arguments of the wrapper, recorded for the environment's spec
    :raises ValueError: if an index is given where the observation is not a flat Box, or is outside it
    """

    def __init__(self, env: gym.Env, measure: str | int, **kwargs: Any) -> None:
        space = env.observation_space
        if not isinstance(measure, str):
            if not (isinstance(space, spaces.Box) and len(space.shape) == 1):
                raise ValueError(f"measure={measure} is an index, but {space} is not a flat Box: give a key of info instead")
            if not (isinstance(measure, (int, np.integer)) and 0 <= measure < space.shape[0]):
                raise ValueError(
                    f"measure={measure} is not one of 0..{space.shape[0] - 1}: give an index into the observation"
                )
        super().__init__(env, measure=measure, **kwargs)
        self.measure = measure

    def _measured(self, observation: Any, info: dict[str, Any]) -> float:
        if not isinstance(self.measure, str):
            return float(observation[self.measure])
        if self.measure not in info:
            raise ValueError(
                f"measure={self.measure!r} is not in info, whose keys are {sorted(info)}: "
                "give one of them, or an index into a flat observation"
            )
        return float(info[self.measure])


class SpeedPenalty(MeasuredRewardDisturbance):
    """
    Above a speed, each step costs ``penalty`` with ``probability``: the rule of RiskyHalfCheetah for any task.

    ``b ~ Bernoulli(probability)`` in each step; if the speed is above ``v_max`` and ``b``, ``penalty`` is added to the reward.
    ``info["risk_event"]`` says whether it happened. The episode goes on.

    :param env: environment to wrap
    :param v_max: speed above which a step is at risk (strictly above), in the units of the environment
    :param penalty: what is added to the reward, usually negative, finite
    :param probability: chance of the penalty in a step at risk, in [0, 1]
    :param measure: where to read the speed: a key of ``info``, or an index into a flat observation
    :raises ValueError: if a parameter is outside its range, or a step does not measure the speed
    """

    def __init__(
        self, env: gym.Env, v_max: float, penalty: float, probability: float = 0.05, measure: str | int = "x_velocity"
    ) -> None:
        check_limit("v_max", v_max, "a speed", 2.0)
        check_number("penalty", penalty, example=-70.0)
        check_probability("probability", probability)
        super().__init__(env, measure, v_max=v_max, penalty=penalty, probability=probability)
        self.v_max = v_max
        self.penalty = penalty
        self.probability = probability

    def _disturbance(self, observation: Any, info: dict[str, Any]) -> float:
        # Read in every step, so that a missing speed is an error in the first step and not at the first event
        at_risk = self._measured(observation, info) > self.v_max
        info["risk_event"] = bool(self._rng.random() < self.probability and at_risk)
        return self.penalty if info["risk_event"] else 0.0


class NoisyRegion(MeasuredRewardDisturbance):
    """
    Beyond a coordinate, N(0, std^2) is added to the reward of each step. The mean of the task does not change.

    :param env: environment to wrap
    :param beyond: where the region begins (strictly beyond), in the units of the coordinate
    :param std: standard deviation of the noise, in units of reward, at least 0
    :param side: ``"above"``: coordinates greater than ``beyond``; ``"below"``: smaller ones
    :param measure: where to read the coordinate: a key of ``info``, or an index into a flat observation
    :raises ValueError: if a parameter is outside its range, or a step does not measure the coordinate
    """

    def __init__(
        self, env: gym.Env, beyond: float, std: float = 1.0, side: str = "above", measure: str | int = "x_position"
    ) -> None:
        check_limit("beyond", beyond, "a coordinate", 0.5)
        check_number("std", std, minimum=0.0, example=1.0)
        if side not in ("above", "below"):
            raise ValueError(f'side={side!r} must be "above" or "below": the side of beyond={beyond} that is noisy')
        super().__init__(env, measure, beyond=beyond, std=std, side=side)
        self.beyond = beyond
        self.std = std
        self.side = side

    def _disturbance(self, observation: Any, info: dict[str, Any]) -> float:
        noise = self.std * self._rng.standard_normal()
        coordinate = self._measured(observation, info)
        inside = coordinate > self.beyond if self.side == "above" else coordinate < self.beyond
        return float(noise) if inside else 0.0


class HeavyTailReward(RewardDisturbance):
    """
    With ``probability``, an outlier ``scale * t`` is added to the reward of a step, t from Student's t distribution.

    The outliers are symmetric, so the mean of the task does not change where it exists (``df > 1``); their variance is
    infinite up to ``df = 2``. They carry no information, so an objective that ignores the extremes (a trimmed mean, the
    median) loses nothing. ``info["outlier"]`` says whether this step has one.

    :param env: environment to wrap
    :param probability: chance of an outlier in one step, in [0, 1]
    :param scale: factor on the t variable, in units of reward, at least 0
    :param df: degrees of freedom of Student's t, above 0
    :raises ValueError: if a parameter is outside its range
    """

    def __init__(self, env: gym.Env, probability: float = 0.01, scale: float = 10.0, df: float = 2.0) -> None:
        check_probability("probability", probability)
        check_number("scale", scale, minimum=0.0, example=10.0)
        if not df > 0.0:
            raise ValueError(f"df={df} is not above 0: give the degrees of freedom, such as 2.0")
        super().__init__(env, probability=probability, scale=scale, df=df)
        self.probability = probability
        self.scale = scale
        self.df = df

    def _disturbance(self, observation: Any, info: dict[str, Any]) -> float:
        info["outlier"] = bool(self._rng.random() < self.probability)
        outlier = self.scale * self._rng.standard_t(self.df)
        return float(outlier) if info["outlier"] else 0.0
