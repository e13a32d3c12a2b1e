"""Small tasks whose best reward is hard to find: DeepSea and RiverSwim."""

from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_ordergrad.envs.parameter_checks import check_number
from sb3_ordergrad.envs.rendering import BLUE, GREEN, RenderedEnv, draw_cells


class DeepSeaEnv(RenderedEnv[int]):
    """
    DeepSea of bsuite (Osband et al. 2020, https://arxiv.org/abs/1908.03568), deterministic.

    On a grid of ``size`` rows and columns, each step goes down one row, and left or right one column. It starts in the upper
    left corner. Every step to the right costs ``0.01 / size``; a step to the right in the lower right corner, which only
    ``size`` steps to the right reach, is rewarded with 1. The best return is 0.99, and a uniform policy finds it with
    probability ``2^-size``. Which of the two actions goes right is drawn for each cell from ``mapping_seed``. The episode ends
    (terminated) after ``size`` steps.

    Observation: ``(size * size,)`` float32, one-hot of the cell, all zero at the end. Actions: ``Discrete(2)``. ``info``
    carries ``is_success``.

    :param size: number of rows and columns, an integer of at least 1
    :param mapping_seed: seed of the mapping of actions; ``None`` makes action 1 go right in every cell
    :param render_mode: ``"rgb_array"`` or None
    :raises ValueError: if the size is out of its range, or an action is not 0 or 1
    """

    def __init__(self, size: int = 10, mapping_seed: int | None = 0, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        _check_size(size, smallest=1)
        self.size = size
        self.right_action = np.ones((size, size), dtype=np.int64)
        if mapping_seed is not None:
            self.right_action = np.random.default_rng(mapping_seed).integers(2, size=(size, size))
        self.observation_space = spaces.Box(0.0, 1.0, (size * size,), np.float32)
        self.action_space = spaces.Discrete(2)  # type: ignore[assignment]
        self.row = self.column = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.row = self.column = 0
        return self._observation(), {"is_success": False}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        _check_action(action)
        goes_right = int(action) == self.right_action[self.row, self.column]
        success = bool(goes_right and self.column == self.size - 1)
        reward = float(success) - goes_right * 0.01 / self.size
        self.column = min(self.column + 1, self.size - 1) if goes_right else max(self.column - 1, 0)
        self.row += 1
        return self._observation(), float(reward), self.row == self.size, False, {"is_success": success}

    def _observation(self) -> np.ndarray:
        """:return: one-hot of the cell, ``(size * size,)`` float32"""
        observation = np.zeros(self.size * self.size, dtype=np.float32)
        if self.row < self.size:
            observation[self.row * self.size + self.column] = 1.0
        return observation

    def _image(self) -> np.ndarray:
        """The goal green, the agent blue, until the last step."""
        last = self.size - 1
        return draw_cells(self.size, self.size, {(last, last): GREEN, (min(self.row, last), self.column): BLUE})


class RiverSwimEnv(RenderedEnv[int]):
    """
    RiverSwim (Strehl and Littman 2008, https://doi.org/10.1016/j.jcss.2007.08.009): a small reward nearby distracts from a
    large one upstream. The constants are those of Osband et al. 2013 (https://arxiv.org/abs/1306.0940).

    A swimmer starts at the left end of a chain of ``size`` cells. Action 0 moves left; at the left end it is rewarded with
    ``left_reward``. Action 1 swims against the current: it moves right with probability 0.35, left with 0.05, and otherwise
    stays; at the left end it moves right with 0.6. At the right end it is rewarded with 1 and moves left with 0.4. An episode
    of the registered task has 20 steps (truncated): more cells need a larger ``max_episode_steps``.

    Observation: ``(size,)`` float32, one-hot of the cell. Actions: ``Discrete(2)``, left and right.

    :param size: number of cells, an integer of at least 2
    :param left_reward: reward at the left end, a finite number of at least 0
    :param render_mode: ``"rgb_array"`` or None
    :raises ValueError: if a parameter is out of its range, or an action is not 0 or 1
    """

    def __init__(self, size: int = 6, left_reward: float = 0.005, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        _check_size(size, smallest=2)
        check_number("left_reward", left_reward, minimum=0.0, example=0.005)
        self.size, self.left_reward = size, left_reward
        self.observation_space = spaces.Box(0.0, 1.0, (size,), np.float32)
        self.action_space = spaces.Discrete(2)  # type: ignore[assignment]
        self.cell = 0
        # Probabilities of moving left and right under action 1
        self.left_chance, self.right_chance = np.full(size, 0.05), np.full(size, 0.35)
        self.left_chance[0], self.right_chance[0] = 0.0, 0.6
        self.left_chance[-1], self.right_chance[-1] = 0.4, 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.cell = 0
        return self._observation(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        _check_action(action)
        # Drawn for both actions: the same seed gives the same current to every policy
        draw = self.np_random.random()
        cell, reward = self.cell, 0.0
        if action == 0:
            reward = self.left_reward if cell == 0 else 0.0
            self.cell = max(cell - 1, 0)
        else:
            reward = 1.0 if cell == self.size - 1 else 0.0
            self.cell += int(draw < self.right_chance[cell]) - int(draw >= 1.0 - self.left_chance[cell])
        return self._observation(), reward, False, False, {}

    def _observation(self) -> np.ndarray:
        """:return: one-hot of the cell, ``(size,)`` float32"""
        observation = np.zeros(self.size, dtype=np.float32)
        observation[self.cell] = 1.0
        return observation

    def _image(self) -> np.ndarray:
        """The rewarded ends green, the swimmer blue."""
        return draw_cells(1, self.size, {(0, 0): GREEN, (0, self.size - 1): GREEN, (0, self.cell): BLUE})


def _check_size(size: int, smallest: int) -> None:
    """
    :raises ValueError: if it is not an integer of at least ``smallest``
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < smallest:
        raise ValueError(f"size={size!r} must be an integer of at least {smallest}, such as 10.")


def _check_action(action: int) -> None:
    """
    :raises ValueError: if it is not 0 or 1
    """
    if action not in (0, 1):
        raise ValueError(f"action={action} must be 0 or 1.")
