"""Cliff walking where half of the moves are random, a small task with a known optimum."""

from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_ordergrad.envs.finite_model import FiniteModel
from sb3_ordergrad.envs.parameter_checks import check_probability
from sb3_ordergrad.envs.rendering import BLUE, GREEN, RED, RenderedEnv, draw_cells

WIDTH, HEIGHT = 8, 4
START, GOAL = (0, 0), (WIDTH - 1, 0)
# (x, y) displacement of each action: up, right, down, left
MOVES = ((0, 1), (1, 0), (0, -1), (-1, 0))
GOAL_REWARD = 10.0
CLIFF_REWARD = -1.0
N_STEPS = 50


class StochasticCliffWalkingEnv(RenderedEnv[int]):
    """
    Cliff walking of static spectral risk measures (Moghimi and Ku 2025, https://arxiv.org/abs/2501.02087), as in its public
    code (https://github.com/MehrdadMoghimi/QRSRM).

    A grid of 8 columns x and 4 rows y. The walk starts at (0, 0), the goal is (7, 0), and the cells between are the cliff.
    With ``random_probability`` the move is drawn uniformly from the four directions, whatever the action; a move against the
    border stays in place. The step that reaches the goal is rewarded with +10 and ends the episode; a step that ends on the
    cliff is rewarded with -1 and the walk goes on; any other step with 0. The episode ends (terminated) with step 50, which is
    never charged for the cliff. All constants are those of the source.

    Observation: ``(12,)`` float32, one-hot of x (8) and of y (4). Actions: ``Discrete(4)``, up, right, down, left. ``info``
    carries ``is_success``.

    :param random_probability: chance that a move is random, in [0, 1]
    :param render_mode: ``"rgb_array"`` or None
    :raises ValueError: if the probability is outside its range, or an action is not in 0..3
    """

    def __init__(self, random_probability: float = 0.5, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        check_probability("random_probability", random_probability)
        self.random_probability = random_probability
        self.observation_space = spaces.Box(0.0, 1.0, shape=(WIDTH + HEIGHT,), dtype=np.float32)
        self.action_space = spaces.Discrete(len(MOVES))  # type: ignore[assignment]
        self.x, self.y = START
        self.n_steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.x, self.y = START
        self.n_steps = 0
        return self._observation(), {"is_success": False}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if not 0 <= action < len(MOVES):
            raise ValueError(f"action={action} is outside 0..3: use 0 (up), 1 (right), 2 (down) or 3 (left)")
        # Both are drawn in every step: the same seed gives the same random moves to every policy
        is_random = self.np_random.random() < self.random_probability
        random_move = int(self.np_random.integers(len(MOVES)))
        self.x, self.y = _destination(self.x, self.y, random_move if is_random else int(action))
        self.n_steps += 1
        is_last = self.n_steps >= N_STEPS
        success = (self.x, self.y) == GOAL
        reward = _reward(self.x, self.y, is_last)
        return self._observation(), reward, success or is_last, False, {"is_success": success}

    def _observation(self) -> np.ndarray:
        observation = np.zeros(WIDTH + HEIGHT, dtype=np.float32)
        observation[self.x] = observation[WIDTH + self.y] = 1.0
        return observation

    def _image(self) -> np.ndarray:
        """The cliff red, the goal green, the agent blue; y = 0 is the bottom row."""
        bottom = HEIGHT - 1
        cliff = {(bottom, x): RED for x in range(1, WIDTH)}
        return draw_cells(HEIGHT, WIDTH, {**cliff, (bottom, GOAL[0]): GREEN, (bottom - self.y, self.x): BLUE})

    def model(self) -> FiniteModel:
        """:return: the task as tables, exactly; state ``x * 4 + y``, and one outcome for each direction of the move"""
        cells = [(x, y) for x in range(WIDTH) for y in range(HEIGHT)]
        destinations = [[_destination(x, y, move) for move in range(len(MOVES))] for x, y in cells]
        n_moves = len(MOVES)
        shape = (len(cells), n_moves, n_moves)
        by_action = (1.0 - self.random_probability) * np.eye(n_moves) + self.random_probability / n_moves

        def table(values: list[list[Any]]) -> np.ndarray:
            # The same for all actions: these change only the probabilities of the moves
            return np.broadcast_to(np.array(values)[:, None, :], shape)

        return FiniteModel(
            n_steps=N_STEPS,
            initial_state=cells.index(START),
            next_states=table([[cells.index(cell) for cell in row] for row in destinations]),
            probabilities=np.broadcast_to(by_action, shape),
            rewards=table([[_reward(*cell, is_last=False) for cell in row] for row in destinations]),
            last_rewards=table([[_reward(*cell, is_last=True) for cell in row] for row in destinations]),
            terminal=np.array([cell == GOAL for cell in cells]),
        )


def _destination(x: int, y: int, move: int) -> tuple[int, int]:
    """Column and row after a move."""
    dx, dy = MOVES[move]
    return min(max(x + dx, 0), WIDTH - 1), min(max(y + dy, 0), HEIGHT - 1)


def _reward(x: int, y: int, is_last: bool) -> float:
    """Reward of a step that ends at (x, y)."""
    if (x, y) == GOAL:
        return GOAL_REWARD
    return CLIFF_REWARD if y == 0 and x > 0 and not is_last else 0.0
