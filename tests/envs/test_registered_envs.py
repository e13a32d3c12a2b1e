"""What holds for every registered environment: checkers, seeds, copies by pickle, time limits, a light registration."""

import importlib
import pickle
import subprocess
import sys
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import load_env_creator
from gymnasium.utils.env_checker import check_env as gym_check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from stable_baselines3.common.env_util import make_vec_env

import sb3_ordergrad.envs
from sb3_ordergrad.envs import ENVIRONMENTS, ReturnToDate
from sb3_ordergrad.envs.rendering import RenderedEnv

# What gymnasium and SB3 remark on in their own environments, too, and Box2D's bindings on import
KNOWN_WARNINGS = ("infinity", "symmetric and normalized", "is out of date", "builtin type", "invalid escape sequence")

# Steps until the time limit or the last step of the rule, under actions that do not end the episode before
HORIZONS: dict[int | None, set[str]] = {
    # Ends after as many steps as it has rows
    None: {"DeepSea-v0"},
    20: {"RiverSwim-v0"},
    6: {"BettingGame-v0", "BettingGameCroppedStake-v0"},
    10: {"MeanReversionTrading-v0", "AmericanPut-v0"},
    50: {"StochasticCliffWalking-v0", "SparseReacher-v0"},
    60: {"ServerAllocation-v0"},
    160: {"GuardedMaze-v1", "GuardedMazeFixedStart-v0"},
    192: {"GuardedMaze-v0"},
    200: {"RiskyHalfCheetah-v0", "FragileHalfCheetah-v0", "FragilePoint-v0"},
    500: {"RiskyHopper-v0", "RiskyWalker2d-v0", "FragileHopper-v0"},
    1000: {f"Noisy{name}-v0" for name in ("LunarLander", "InvertedPendulum", "HalfCheetah", "Ant", "Swimmer")},
}


def test_horizons() -> None:
    found: dict[int | None, set[str]] = {}
    for env_id in ENVIRONMENTS:
        found.setdefault(gym.spec(env_id).max_episode_steps, set()).add(env_id)
    assert found == HORIZONS


@pytest.mark.parametrize("env_id", ENVIRONMENTS)
def test_checkers_pass_without_warnings(env_id: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gym_check_env(gym.make(env_id).unwrapped, skip_render_check=True)
        sb3_check_env(gym.make(env_id))
        sb3_check_env(ReturnToDate(gym.make(env_id), max_episode_steps=gym.spec(env_id).max_episode_steps or 10))
    messages = [str(warning.message) for warning in caught]
    assert [message for message in messages if not any(known in message for known in KNOWN_WARNINGS)] == []


DRAWN = [env_id for env_id in ENVIRONMENTS if issubclass(load_env_creator(gym.spec(env_id).entry_point), RenderedEnv)]


def test_drawn_environments() -> None:
    assert len(DRAWN) == 12


@pytest.mark.parametrize("env_id", DRAWN)
def test_picture_follows_the_state(env_id: str) -> None:
    with warnings.catch_warnings():
        # SB3 asks for pictures
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*is out of date")
        vec_env = make_vec_env(env_id, seed=0)
    vec_env.reset()
    pictures = [vec_env.render()]
    for action in (1, 1, 0, 1, 2, 1):
        vec_env.step(np.full((1, *vec_env.action_space.shape), min(action, getattr(vec_env.action_space, "n", 2) - 1)))
        pictures.append(vec_env.render())
    for picture in pictures:
        assert isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.ndim == 3
    assert any(not np.array_equal(picture, pictures[0]) for picture in pictures)
    assert gym.make(env_id).unwrapped.render() is None


def trajectory(env: gym.Env, seed: int, n_steps: int = 300) -> np.ndarray:
    """Observations, rewards and ends, one row a step; episodes follow each other."""
    observation, _ = env.reset(seed=seed)
    env.action_space.seed(0)
    rows = []
    for _ in range(n_steps):
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert type(reward) is float
        rows.append([*observation, reward, terminated, truncated])
        if terminated or truncated:
            rows.append([*env.reset()[0], 0.0, False, False])
    return np.array(rows, dtype=np.float64)


@pytest.mark.parametrize("env_id", ENVIRONMENTS)
def test_seeds_and_pickle(env_id: str) -> None:
    # No random number may come from NumPy's global generator
    np.random.seed(0)
    env: Any = gym.make(env_id)
    copy = pickle.loads(pickle.dumps(env))
    expected = trajectory(env, seed=3)
    np.random.seed(1)
    np.testing.assert_array_equal(trajectory(copy, seed=3), expected)
    np.testing.assert_array_equal(trajectory(env, seed=3), expected)
    # DeepSea is deterministic
    assert env_id == "DeepSea-v0" or not np.array_equal(trajectory(env, seed=4), expected)


@pytest.mark.slow
def test_registration_is_lazy_and_repeatable() -> None:
    code = (
        "import sys, gymnasium, sb3_ordergrad.envs; "
        "assert not {'mujoco', 'Box2D'} & set(sys.modules); "
        "assert 'FragileHalfCheetah-v0' in gymnasium.registry"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        importlib.reload(sb3_ordergrad.envs)
        sb3_ordergrad.envs.register_envs()
