"""The Guarded Maze: a short way past a guard that is rarely there, and a long safe one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_ordergrad.envs.parameter_checks import check_number, check_probability
from sb3_ordergrad.envs.rendering import BLACK, BLUE, CELL, GREEN, RED, RenderedEnv, draw_cells

SIZE = 8
N_CELLS = SIZE * SIZE
GOAL = (6, 2)
GUARD = (5, 1)
INNER_WALLS = ((3, 5), (4, 5), (5, 2), (5, 3), (5, 4), (5, 5))
# (x, y) displacement of each action: -x, +x, -y, +y
MOVES = ((-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0))

GOAL_REWARD = 16.0
GUARD_UNIT = 16.0  # the guard takes this many times the cost of the episode
PATIENCE = 32  # steps that cost 1 each
START_LOW, START_HIGH = 0.6, 3.6
RETURN_SCALE = 1.0 / 256.0

# Plain Python lookups by flat cell index: a numpy index costs several times as much
_WALLS = tuple(
    row in (0, SIZE - 1) or col in (0, SIZE - 1) or (row, col) in INNER_WALLS for row in range(SIZE) for col in range(SIZE)
)
_GOAL_CELL = SIZE * GOAL[0] + GOAL[1]
_GUARD_CELL = SIZE * GUARD[0] + GUARD[1]


def _cell(x: float, y: float) -> int:
    """The flat index, 8 * row + column, of the cell nearest to a position."""
    return SIZE * int(x + 0.5) + int(y + 0.5)


def _check_start(start: Sequence[float] | None) -> None:
    if start is None:
        return
    inside = len(start) == 2 and all(0.0 <= coordinate <= SIZE - 1.0 for coordinate in start)
    if not inside or _WALLS[_cell(*start)]:
        raise ValueError(f"start={start} is not in a free cell of the maze: give (x, y) such as (1.0, 1.0), or None")


class GuardedMazeEnv(RenderedEnv[int]):
    """
    Guarded Maze of CeSoR (Greenberg et al. 2022, https://arxiv.org/abs/2205.05138).

    8 x 8 cells with outer and inner walls. The position ``(x, y)`` = (row, column) is continuous and starts uniform in [0.6,
    3.6]^2. An action moves one unit along one axis, plus Gaussian noise on both coordinates, clipped to [0, 7]; the move is
    refused if the nearest cell of its end or of its midpoint is a wall. The step that reaches the goal cell is rewarded with
    +16 and ends the episode; any other step with -1 while fewer than 32 steps have been taken before it, and 0 afterwards. If
    the episode is guarded, ``16 * cost`` is subtracted from the reward of the step that first enters the guarded cell (by its
    end or midpoint).

    Whether the episode is guarded and its cost are drawn at reset and not observed. Infos carry ``is_success``, ``guarded``
    (is there a guard in this episode) and ``guard_entered`` (has the guarded cell been entered so far).

    Observation: ``(64,)`` float32, the bilinear weights of the position over the cells (at most four are not zero, they sum to
    1). Actions: ``Discrete(4)``, -x, +x, -y, +y. The time limit comes with the registration: 160 steps for ``GuardedMaze-v1``
    as in the published code, 192 for ``GuardedMaze-v0``.

    ``GuardedMazeFixedStart-v0`` is the variant of Return Capping (Mead et al. 2025, https://arxiv.org/abs/2504.20887): start
    (1, 1), guarded with probability 0.05, a cost of 4 (a reward of -64) in every guarded episode, the return so far observed,
    160 steps.

    :param guard_probability: chance that an episode is guarded, in [0, 1]
    :param cost_mean: mean of the cost, at least 0; one unit of cost is 16 of reward
    :param action_noise: standard deviation of the noise on each coordinate, in cells, at least 0
    :param random_cost: draw the cost from the exponential distribution; if False, it is ``cost_mean`` in every episode
    :param start: position ``(x, y)`` at which every episode starts, in a free cell; None draws it from [0.6, 3.6]^2
    :param observe_return: append the rewards collected so far, divided by 256, to the observation, which is ``(65,)`` then
    :param render_mode: ``"rgb_array"`` or None
    :raises ValueError: if a parameter is outside its range, or an action is not in 0..3
    """

    def __init__(
        self,
        guard_probability: float = 0.2,
        cost_mean: float = 2.0,
        action_noise: float = 0.2,
        random_cost: bool = True,
        start: Sequence[float] | None = None,
        observe_return: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        check_probability("guard_probability", guard_probability)
        check_number("cost_mean", cost_mean, minimum=0.0, example=2.0)
        check_number("action_noise", action_noise, minimum=0.0, example=0.2)
        _check_start(start)
        self.guard_probability = guard_probability
        self.cost_mean = cost_mean
        self.action_noise = action_noise
        self.random_cost = random_cost
        self.start = start
        self.observe_return = observe_return

        low, high = np.zeros(N_CELLS, dtype=np.float32), np.ones(N_CELLS, dtype=np.float32)
        if observe_return:
            low, high = np.append(low, np.float32(-np.inf)), np.append(high, np.float32(np.inf))
        self.observation_space = spaces.Box(low, high, dtype=np.float32)
        self.action_space = spaces.Discrete(len(MOVES))  # type: ignore[assignment]

        self.x, self.y = start or (START_LOW, START_LOW)
        self.n_steps = 0
        self.return_to_date = 0.0
        self.guarded = False
        self.cost = 0.0
        self.guard_entered = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        rng = self.np_random
        if self.start is None:
            self.x = float(rng.uniform(START_LOW, START_HIGH))
            self.y = float(rng.uniform(START_LOW, START_HIGH))
        else:
            self.x, self.y = self.start
        # The cost is drawn in every episode, so the random stream does not depend on the guard
        self.guarded = bool(rng.random() < self.guard_probability)
        self.cost = float(rng.exponential(self.cost_mean)) if self.random_cost else self.cost_mean
        self.n_steps = 0
        self.return_to_date = 0.0
        self.guard_entered = False
        return self._observation(), self._info(False)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if not 0 <= action < len(MOVES):
            raise ValueError(f"action={action} is outside 0..3: use 0 (-x), 1 (+x), 2 (-y) or 3 (+y)")
        rng = self.np_random
        dx, dy = MOVES[action]
        # Plain floats: arrays of two numbers would take most of the time of a step
        x = min(max(self.x + dx + self.action_noise * rng.standard_normal(), 0.0), SIZE - 1.0)
        y = min(max(self.y + dy + self.action_noise * rng.standard_normal(), 0.0), SIZE - 1.0)
        end = _cell(x, y)
        middle = _cell(0.5 * (self.x + x), 0.5 * (self.y + y))

        reward = -1.0 if self.n_steps < PATIENCE else 0.0
        self.n_steps += 1
        success = False
        if not (_WALLS[end] or _WALLS[middle]):
            self.x, self.y = x, y
            success = end == _GOAL_CELL
            if success:
                reward = GOAL_REWARD
            if not self.guard_entered and (end == _GUARD_CELL or middle == _GUARD_CELL):
                self.guard_entered = True
                if self.guarded:
                    reward -= GUARD_UNIT * self.cost
        self.return_to_date += reward
        return self._observation(), reward, success, False, self._info(success)

    def _info(self, success: bool) -> dict[str, Any]:
        return {"is_success": success, "guarded": self.guarded, "guard_entered": self.guard_entered}

    def _observation(self) -> np.ndarray:
        """``(1 - |x - row|)+ (1 - |y - col|)+`` at index ``8 * row + col``, and the return so far where it is observed."""
        # Position 7 belongs to the last pair of cells, with all the weight on the second one
        row = min(int(self.x), SIZE - 2)
        col = min(int(self.y), SIZE - 2)
        down = self.x - row
        right = self.y - col
        cell = SIZE * row + col
        observation = np.zeros(N_CELLS + self.observe_return, dtype=np.float32)
        observation[cell] = (1.0 - down) * (1.0 - right)
        observation[cell + 1] = (1.0 - down) * right
        observation[cell + SIZE] = down * (1.0 - right)
        observation[cell + SIZE + 1] = down * right
        if self.observe_return:
            observation[N_CELLS] = RETURN_SCALE * self.return_to_date
        return observation

    def _image(self) -> np.ndarray:
        """The maze from above: walls black, goal green, guarded cell red, the agent blue."""
        walls = {divmod(cell, SIZE): BLACK for cell in range(N_CELLS) if _WALLS[cell]}
        image = draw_cells(SIZE, SIZE, {**walls, GOAL: GREEN, GUARD: RED})
        # A cell's centre has whole coordinates
        top = int((self.x + 0.5) * CELL) - CELL // 4
        left = int((self.y + 0.5) * CELL) - CELL // 4
        image[max(top, 0) : top + CELL // 2, max(left, 0) : left + CELL // 2] = BLUE
        return image
