"""Environments for random configurations: any spaces, any lengths of episodes, several kinds of rewards."""

import copy
from typing import Any

import numpy as np
from gymnasium import spaces
from toy_envs import ToyEnv

IMAGE = spaces.Box(0, 255, (36, 36, 1), dtype=np.uint8)
OBSERVATIONS: dict[str, spaces.Space] = {
    "box": spaces.Box(-1.0, 1.0, (3,)),
    "one number": spaces.Box(-1.0, 1.0, (1,)),
    "matrix": spaces.Box(-2.0, 2.0, (2, 3)),
    "float64": spaces.Box(-1.0, 1.0, (2,), dtype=np.float64),
    "unbounded": spaces.Box(-np.inf, np.inf, (2,)),
    "discrete": spaces.Discrete(4),
    "multi-discrete": spaces.MultiDiscrete([2, 3]),
    "multi-binary": spaces.MultiBinary(3),
    "dict": spaces.Dict({"position": spaces.Box(-1.0, 1.0, (2,)), "room": spaces.Discrete(3)}),
    "dict of boxes": spaces.Dict({"a": spaces.Box(-1.0, 1.0, (2,)), "b": spaces.Box(0.0, 9.0, (1,))}),
    "dict with image": spaces.Dict({"camera": IMAGE, "speed": spaces.Box(-1.0, 1.0, (1,))}),
    "image": IMAGE,
}
ACTIONS: dict[str, spaces.Space] = {
    "box": spaces.Box(-1.0, 1.0, (2,)),
    "wide box": spaces.Box(-3.0, 5.0, (1,)),
    "discrete": spaces.Discrete(3),
    "multi-discrete": spaces.MultiDiscrete([2, 3]),
    "multi-binary": spaces.MultiBinary(2),
}
REWARDS = ("normal", "constant", "binary", "heavy tails", "large", "small")


class RandomEpisodes(ToyEnv):
    """
    Observations from their space, episodes of random lengths that end or are cut off, rewards that depend on the actions.

    :param observation: key of ``OBSERVATIONS``
    :param action: key of ``ACTIONS``
    :param reward: one of ``REWARDS``
    :param max_length: steps of the longest episode
    :param truncation: chance that a time limit ends an episode
    :param n_tasks: number of different ``info["task"]``
    """

    def __init__(
        self,
        observation: str = "box",
        action: str = "box",
        reward: str = "normal",
        max_length: int = 9,
        truncation: float = 0.5,
        n_tasks: int = 2,
    ) -> None:
        # A space has random numbers of its own
        super().__init__(copy.deepcopy(OBSERVATIONS[observation]), copy.deepcopy(ACTIONS[action]))
        self.reward, self.max_length, self.truncation, self.n_tasks = reward, max_length, truncation, n_tasks

    def _start_episode(self) -> None:
        self.length = int(self.np_random.integers(1, self.max_length + 1))
        self.truncated = bool(self.np_random.random() < self.truncation)
        self.task = int(self.np_random.integers(self.n_tasks))

    def _info(self) -> dict[str, Any]:
        return {"task": self.task}

    def _draw_reward(self, action: Any) -> float:
        action = float(np.mean(action))
        match self.reward:
            case "constant":
                return 1.0
            case "binary":
                return float(self.np_random.random() < 0.3 + 0.1 * action)
            case "heavy tails":
                return float(self.np_random.standard_t(1.5)) + action
        scale = {"normal": 1.0, "large": 1e5, "small": 1e-5}[self.reward]
        return scale * (float(self.np_random.normal()) + action)


class RandomGoals(RandomEpisodes):
    """The same with goals, for hindsight: the reward is minus the distance to the goal."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        box = spaces.Box(-1.0, 1.0, (2,))
        goals = {name: box for name in ("observation", "achieved_goal", "desired_goal")}
        self.observation_space = spaces.Dict(goals)

    def _draw_reward(self, action: Any) -> float:
        return -abs(float(np.mean(action)))

    def compute_reward(self, achieved_goal: np.ndarray, desired_goal: np.ndarray, info: Any) -> np.ndarray:
        return -np.linalg.norm(achieved_goal - desired_goal, axis=-1)
