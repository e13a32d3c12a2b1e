"""The observation wrapper that makes a static risk objective learnable: reward collected so far and elapsed time."""

import math
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

# Fixed transforms of the return, so nothing has to be saved with a model: name -> function
SQUASHES: dict[str | None, Callable[[float], float]] = {
    None: lambda x: x,
    "log": lambda x: math.copysign(math.log1p(abs(x)), x),
    "softsign": lambda x: x / (1.0 + abs(x)),
}
RETURN_KEY = "return_to_date"
ELAPSED_KEY = "elapsed"


class ReturnToDate(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """
    Append the reward collected so far and the elapsed fraction of the episode to the observation.

    A risk objective on the whole return (a static one) ranks episodes by ``C_t + (what is still to come)``, and the time
    that is left bounds what can come. An optimal policy therefore depends on ``(s_t, C_t, t / T)``, and so does the value
    the critic has to learn; the state alone is not enough (Bäuerle and Ott 2011, https://doi.org/10.1007/s00186-011-0367-0).

    With ``C_t = squash(scale * sum_{u < t} r_u)`` and ``t`` the steps taken since reset:

    - a flat Box ``(n,)`` becomes ``(n + 2,)``: ``[obs, C_t, t / T]``, with at least float32 precision;
    - a Dict gains the keys ``return_to_date`` and ``elapsed``, float32 of shape ``(1,)`` (images and goals stay as they are).

    Rewards are those of the wrapped environment: put this wrapper inside any that changes them (``NormalizeReward``).
    VecNormalize is outside, so it leaves them raw and usually normalises the observed return; without it, returns of tens or
    hundreds dominate the other observations and can slow learning down: give a ``scale`` (one over a typical return), or a
    ``squash``. Both are fixed, so training and evaluation environments agree and nothing has to be saved. With HER, the
    collected reward is the one received under the goal of the episode, also in relabelled transitions.

    :param env: environment with a flat Box or a Dict observation space
    :param scale: factor on the collected reward, finite and not 0
    :param squash: transform of the scaled return x: None leaves it as it is; ``"log"`` is ``sign(x) log(1 + |x|)``, which
        needs no knowledge of the returns' size; ``"softsign"`` is ``x / (1 + |x|)``, in [-1, 1], for a ``scale`` of one over a
        typical return
    :param max_episode_steps: the T above; taken from the time limit of ``env`` if None
    :raises TypeError: if the observation space is neither a Box nor a Dict
    :raises ValueError: if a Box is not flat, a Dict has one of the keys already, T is unknown or not positive, ``scale`` is
        out of range, or ``squash`` is unknown
    """

    def __init__(
        self, env: gym.Env, scale: float = 1.0, max_episode_steps: int | None = None, squash: str | None = None
    ) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, scale=scale, max_episode_steps=max_episode_steps, squash=squash)
        gym.Wrapper.__init__(self, env)
        if not math.isfinite(scale) or scale == 0.0:
            raise ValueError(f"scale={scale} must be finite and not 0: give the factor on the collected reward, such as 1.0")
        if squash not in SQUASHES:
            raise ValueError(f'squash={squash!r} is unknown: use "log", "softsign" or None')
        self.scale = float(scale)
        self.squash = squash
        self.max_episode_steps = self._find_max_episode_steps(max_episode_steps)
        self._is_dict = isinstance(env.observation_space, spaces.Dict)
        self.observation_space = self._extend_space(env.observation_space)
        self._return_to_date = 0.0
        self._n_steps = 0

    def _find_max_episode_steps(self, max_episode_steps: int | None) -> int:
        if max_episode_steps is None and self.env.spec is not None:
            max_episode_steps = self.env.spec.max_episode_steps
        # An environment made without gymnasium.make has no spec, but a TimeLimit around it knows
        if max_episode_steps is None and self.env.has_wrapper_attr("_max_episode_steps"):
            max_episode_steps = self.env.get_wrapper_attr("_max_episode_steps")
        if max_episode_steps is None:
            raise ValueError(
                f"max_episode_steps=None and {self.env} has no time limit: "
                "give ReturnToDate(env, max_episode_steps=T) with T >= 1, the longest episode"
            )
        if max_episode_steps < 1:
            raise ValueError(f"max_episode_steps={max_episode_steps} must be at least 1: give the longest episode, in steps")
        return int(max_episode_steps)

    @staticmethod
    def _extend_space(space: spaces.Space) -> spaces.Space:
        if isinstance(space, spaces.Dict):
            taken = sorted({RETURN_KEY, ELAPSED_KEY} & set(space.spaces))
            if taken:
                raise ValueError(
                    f"The Dict observation space has {taken} already: apply ReturnToDate once, or rename the keys"
                )
            return spaces.Dict(
                {
                    **space.spaces,
                    RETURN_KEY: spaces.Box(-np.inf, np.inf, shape=(1,), dtype=np.float32),
                    ELAPSED_KEY: spaces.Box(0.0, 1.0, shape=(1,), dtype=np.float32),
                }
            )
        if not isinstance(space, spaces.Box):
            raise TypeError(
                f"ReturnToDate needs a flat Box or a Dict observation space, not {space}: "
                "apply gymnasium.wrappers.FlattenObservation first"
            )
        if len(space.shape) != 1:
            raise ValueError(
                f"ReturnToDate needs a Box of shape (n,) or a Dict, not shape {space.shape}: apply "
                "gymnasium.wrappers.FlattenObservation first, or put an image under a key of a Dict observation space"
            )
        # Whole numbers and half precision cannot hold a fraction of the episode or a large return
        dtype: Any = np.result_type(space.dtype, np.float32)
        low = np.concatenate([space.low, [-np.inf, 0.0]]).astype(dtype)
        high = np.concatenate([space.high, [np.inf, 1.0]]).astype(dtype)
        return spaces.Box(low, high, dtype=dtype)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        self._return_to_date = 0.0
        self._n_steps = 0
        return self._extend(observation), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._return_to_date += float(reward)
        self._n_steps += 1
        return self._extend(observation), reward, terminated, truncated, info

    def _extend(self, observation: Any) -> Any:
        collected = SQUASHES[self.squash](self.scale * self._return_to_date)
        # A horizon given below the real one must not leave the space
        elapsed = min(self._n_steps / self.max_episode_steps, 1.0)
        if self._is_dict:
            return {
                **observation,
                RETURN_KEY: np.array([collected], dtype=np.float32),
                ELAPSED_KEY: np.array([elapsed], dtype=np.float32),
            }
        n = len(observation)
        extended = np.empty(n + 2, dtype=self.observation_space.dtype)
        extended[:n] = observation
        extended[n] = collected
        extended[n + 1] = elapsed
        return extended
