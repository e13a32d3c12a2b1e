"""DeepSea and RiverSwim follow their rules."""

import gymnasium as gym
import numpy as np
import pytest

from sb3_ordergrad.envs.exploration import DeepSeaEnv, RiverSwimEnv


@pytest.mark.parametrize("mapping_seed", [None, 0, 3])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_only_steps_to_the_right_find_the_treasure(size: int, mapping_seed: int | None) -> None:
    """All sequences of moves: the reward, the cells and the length of the episode."""
    env = DeepSeaEnv(size, mapping_seed)
    for number in range(2**size):
        observation, _ = env.reset()
        column, collected = 0, 0.0
        for row in range(size):
            cell = np.zeros((size, size))
            cell[row, column] = 1.0
            np.testing.assert_array_equal(observation.reshape(size, size), cell)
            right = bool(number >> row & 1)
            action = int(env.right_action[row, column]) if right else 1 - int(env.right_action[row, column])
            observation, reward, terminated, truncated, info = env.step(action)
            collected += reward
            column = min(column + 1, size - 1) if right else max(column - 1, 0)
            assert terminated == (row == size - 1) and not truncated
        n_rights, found = number.bit_count(), number == 2**size - 1
        assert collected == pytest.approx(found - 0.01 * n_rights / size, abs=1e-12)
        assert info["is_success"] == found and not observation.any()


def test_mapping_of_actions() -> None:
    assert DeepSeaEnv(4, None).right_action.all()
    first, same, other = (DeepSeaEnv(8, seed).right_action for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any() and set(first.ravel()) == {0, 1}


def test_river_swim_moves_and_rewards() -> None:
    """Frequencies of 4000 moves in each cell within 4 standard errors, and the reward of each."""
    env = RiverSwimEnv(4)
    env.reset(seed=0)
    # cell: probabilities of action 1 moving left, staying, moving right
    for cell, chances in enumerate([(0.0, 0.4, 0.6), (0.05, 0.6, 0.35), (0.05, 0.6, 0.35), (0.4, 0.6, 0.0)]):
        moves = []
        for _ in range(4000):
            env.cell = cell
            observation, reward, *_ = env.step(1)
            assert reward == (1.0 if cell == 3 else 0.0) and observation[env.cell] == observation.sum() == 1.0
            moves.append(env.cell - cell)
        frequencies = [np.mean(np.equal(moves, move)) for move in (-1, 0, 1)]
        np.testing.assert_array_less(np.abs(np.subtract(frequencies, chances)), 4 * 0.5 / np.sqrt(4000))
        env.cell = cell
        assert env.step(0)[1] == (0.005 if cell == 0 else 0.0) and env.cell == max(cell - 1, 0)


def test_larger_tasks_by_id() -> None:
    assert gym.make("DeepSea-v0", size=20).observation_space.shape == (400,)
    assert gym.make("RiverSwim-v0", size=9, max_episode_steps=45).observation_space.shape == (9,)


@pytest.mark.parametrize("size", [0, -3, 2.5, "10", True])
def test_bad_size(size: int) -> None:
    for make in (DeepSeaEnv, RiverSwimEnv):
        with pytest.raises(ValueError, match=rf"size={size!r} must be an integer of at least"):
            make(size)


@pytest.mark.parametrize("left_reward", [-1.0, float("nan"), float("inf")])
def test_bad_left_reward(left_reward: float) -> None:
    with pytest.raises(ValueError, match=r"left_reward=.* finite number >= 0"):
        RiverSwimEnv(left_reward=left_reward)


@pytest.mark.parametrize("env_id", ["DeepSea-v0", "RiverSwim-v0"])
def test_bad_action(env_id: str) -> None:
    env = gym.make(env_id, disable_env_checker=True).unwrapped
    env.reset()
    with pytest.raises(ValueError, match="action=2 must be 0 or 1"):
        env.step(2)
