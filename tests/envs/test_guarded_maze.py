"""Guarded Maze: walls, guard, rewards, episode length, randomness, and the variant with a fixed start."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import sb3_ordergrad.envs  # noqa: F401  (registers the environments)
from sb3_ordergrad.envs.guarded_maze import GuardedMazeEnv

UP, DOWN, LEFT, RIGHT = range(4)  # -x, +x, -y, +y


def maze_at(x: float, y: float, **kwargs: Any) -> GuardedMazeEnv:
    """A maze that was reset and whose agent was put there."""
    env = GuardedMazeEnv(**{"action_noise": 0.0, **kwargs})
    env.reset(seed=0)
    env.x, env.y = x, y
    return env


@pytest.mark.parametrize(
    ("start", "action", "end"),
    [
        ((2.0, 2.0), UP, (1.0, 2.0)),
        ((2.0, 2.0), DOWN, (3.0, 2.0)),
        ((2.0, 2.0), LEFT, (2.0, 1.0)),
        ((2.0, 2.0), RIGHT, (2.0, 3.0)),
        ((1.0, 2.0), UP, (1.0, 2.0)),  # outer walls
        ((6.0, 1.0), LEFT, (6.0, 1.0)),
        ((6.4, 6.0), DOWN, (6.4, 6.0)),
        ((2.0, 6.0), RIGHT, (2.0, 6.0)),
        ((4.0, 3.0), DOWN, (4.0, 3.0)),  # inner walls
        ((3.0, 4.0), RIGHT, (3.0, 4.0)),
        ((4.0, 5.6), LEFT, (4.0, 5.6)),
        ((4.0, 1.0), DOWN, (5.0, 1.0)),  # the guard does not block
    ],
)
def test_moves_and_walls(start: tuple[float, float], action: int, end: tuple[float, float]) -> None:
    env = maze_at(*start)
    env.step(action)
    assert (env.x, env.y) == pytest.approx(end)


class FixedNoise:
    """Stands in for the random generator of a maze; ``draws`` are the noise of the next coordinates."""

    def __init__(self, *draws: float) -> None:
        self.draws = list(draws)

    def standard_normal(self) -> float:
        return self.draws.pop(0)


def test_midpoint_in_a_wall_refuses_the_move() -> None:
    env = maze_at(2.3, 4.6, action_noise=1.0)
    env._np_random = FixedNoise(0.0, 1.2)  # type: ignore[assignment]
    env.step(DOWN)  # end (3.3, 5.8) in the free cell (3, 6), midpoint (2.8, 5.2) in the wall cell (3, 5)
    assert (env.x, env.y) == (2.3, 4.6)
    env._np_random = FixedNoise(-0.9, 1.2)  # type: ignore[assignment]
    env.step(DOWN)  # end (2.4, 5.8), midpoint (2.35, 5.2): both free
    assert (env.x, env.y) == pytest.approx((2.4, 5.8))


def test_noise_is_clipped_to_the_maze() -> None:
    env = maze_at(6.0, 6.0, action_noise=1.0)
    env._np_random = FixedNoise(50.0, -50.0)  # type: ignore[assignment]
    _, reward, terminated, _, _ = env.step(DOWN)  # the corner (7, 0) is an outer wall
    assert (env.x, env.y, reward, terminated) == (6.0, 6.0, -1.0, False)


def test_the_goal_is_worth_16_and_ends() -> None:
    env = maze_at(6.0, 3.0)
    _, reward, terminated, truncated, info = env.step(LEFT)
    assert (reward, terminated, truncated) == (16.0, True, False)
    assert info["is_success"] is True


@pytest.mark.parametrize(("env_id", "horizon"), [("GuardedMaze-v0", 192), ("GuardedMaze-v1", 160)])
def test_minus_one_for_32_steps_then_nothing(env_id: str, horizon: int) -> None:
    env = gym.make(env_id, action_noise=0.0)
    env.reset(seed=0)
    rewards = []
    done = False
    while not done:
        _, reward, terminated, truncated, info = env.step(UP)
        rewards.append(reward)
        done = terminated or truncated
    assert rewards == [-1.0] * 32 + [0.0] * (horizon - 32)
    assert truncated and not terminated and info["is_success"] is False


@pytest.mark.parametrize("start", [(4.0, 1.0), (4.2, 1.0)])
def test_guard_charges_once(start: tuple[float, float]) -> None:
    env = maze_at(*start)
    env.guarded, env.cost = True, 1.5
    _, reward, _, _, info = env.step(DOWN)
    assert reward == pytest.approx(-1.0 - 16 * 1.5) and info["guard_entered"] is True
    env.step(UP)
    _, reward, _, _, info = env.step(DOWN)
    assert reward == -1.0 and info["guard_entered"] is True


def test_guard_charges_when_only_the_midpoint_is_his() -> None:
    env = maze_at(4.4, 1.0, action_noise=1.0)
    env._np_random = FixedNoise(0.6, 0.0)  # type: ignore[assignment]
    env.guarded, env.cost = True, 2.0
    _, reward, _, _, info = env.step(DOWN)  # end (6.0, 1.0), midpoint (5.2, 1.0)
    assert info["guard_entered"] is True and reward == pytest.approx(-33.0)


def test_no_charge_without_guard() -> None:
    env = maze_at(4.0, 1.0, guard_probability=0.0)
    _, reward, _, _, info = env.step(DOWN)
    assert reward == -1.0 and info["guarded"] is False and info["guard_entered"] is True


def test_guard_frequency_cost_and_start() -> None:
    n = 20_000
    env = GuardedMazeEnv()
    env.reset(seed=0)
    guarded, cost, start = np.zeros(n), np.zeros(n), np.zeros((n, 2))
    for i in range(n):
        env.reset()
        guarded[i], cost[i], start[i] = env.guarded, env.cost, (env.x, env.y)
    assert abs(guarded.mean() - 0.2) < 4 * np.sqrt(0.2 * 0.8 / n)
    # An exponential of mean 2 has standard deviation 2, and exceeds its mean with probability 1/e
    assert abs(cost.mean() - 2.0) < 4 * 2.0 / np.sqrt(n)
    assert abs((cost > 2.0).mean() - np.exp(-1)) < 4 * np.sqrt(np.exp(-1) * (1 - np.exp(-1)) / n)
    assert abs(np.corrcoef(guarded, cost)[0, 1]) < 4 / np.sqrt(n)
    assert start.min() >= 0.6 and start.max() <= 3.6
    assert np.all(np.abs(start.mean(axis=0) - 2.1) < 4 * 3.0 / np.sqrt(12 * n))


def test_action_noise_moments() -> None:
    n = 20_000
    env = maze_at(2.0, 2.0, action_noise=0.2)
    moves = np.zeros((n, 2))
    for i in range(n):
        env.x, env.y = 2.0, 3.0
        env.step(LEFT)
        moves[i] = env.x - 2.0, env.y - 2.0
    assert np.all(np.abs(moves.mean(axis=0)) < 4 * 0.2 / np.sqrt(n))
    assert np.all(np.abs(moves.std(axis=0) - 0.2) < 4 * 0.2 / np.sqrt(2 * n))


@pytest.mark.parametrize("position", [(2.0, 3.0), (2.25, 3.5), (6.4, 1.1), (7.0, 7.0)])
def test_observation_is_bilinear(position: tuple[float, float]) -> None:
    env = maze_at(*position)
    cells = np.arange(8)
    rows, cols = (np.maximum(1.0 - np.abs(cells - coordinate), 0.0) for coordinate in position)
    np.testing.assert_allclose(env._observation(), np.outer(rows, cols).ravel(), atol=1e-6)


def test_fixed_start_is_the_variant_of_return_capping() -> None:
    env: Any = gym.make("GuardedMazeFixedStart-v0").unwrapped
    n = 20_000
    guarded = np.zeros(n)
    env.reset(seed=0)
    for i in range(n):
        observation, _ = env.reset()
        guarded[i] = env.guarded
        assert (env.x, env.y, env.cost) == (1.0, 1.0, 4.0)
    assert observation[9] == 1.0 and observation.sum() == 1.0 and observation.shape == (65,)
    assert abs(guarded.mean() - 0.05) < 4 * np.sqrt(0.05 * 0.95 / n)
    # The guard charges 64, and the return so far is seen in units of 256
    env.action_noise, env.guarded = 0.0, True
    env.x, env.y = 4.0, 1.0
    observation, reward, _, _, _ = env.step(DOWN)
    assert reward == -65.0 and observation[64] == np.float32(-65.0 / 256.0)
    observation, reward, _, _, _ = env.step(DOWN)
    assert reward == -1.0 and observation[64] == np.float32(-66.0 / 256.0)


def test_render_shows_the_agent() -> None:
    env = gym.make("GuardedMaze-v1", render_mode="rgb_array")
    env.reset(seed=0)
    before = np.asarray(env.render())
    env.step(RIGHT)
    after = np.asarray(env.render())
    assert before.shape == (256, 256, 3) and before.dtype == np.uint8
    assert not np.array_equal(before, after)
    assert GuardedMazeEnv().render() is None
