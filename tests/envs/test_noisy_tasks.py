"""Lunar Lander with a noisy bonus, and the robots with a noisy region: constants, rules over real steps, missing Box2D."""

import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.box2d.lunar_lander import LunarLander

import sb3_ordergrad.envs  # noqa: F401  (registers the environments)
from sb3_ordergrad.envs.noisy_lunar_lander import NoisyLunarLanderEnv

# id -> (limit, side, number of observations, the position among them)
NOISY_REGIONS = {
    "NoisyInvertedPendulum-v0": (0.01, "above", 4),
    "NoisyHalfCheetah-v0": (-3.0, "below", 18),
    "NoisyAnt-v0": (0.5, "above", 107),
    "NoisySwimmer-v0": (0.5, "above", 10),
}


def fly(env: gym.Env, action: int) -> tuple[float, float, np.ndarray, dict[str, Any]]:
    """Sum of the rewards, last reward, last observation and last info."""
    total, done = 0.0, False
    while not done:
        observation, reward, done, _, info = env.step(action)
        total += float(reward)
    return total, float(reward), observation, info


@pytest.mark.parametrize(("action", "side"), [(1, "left"), (3, "right")])
def test_the_bonus_is_for_the_right_side(action: int, side: str) -> None:
    # An engine that pushes to one side all the time crashes there
    env, plain = gym.make("NoisyLunarLander-v0"), LunarLander()
    bonuses = []
    for episode in range(3):
        start, _ = env.reset(seed=0 if episode == 0 else None)
        np.testing.assert_array_equal(start, [*plain.reset(seed=4)[0], 0.0])
        total, reward, observation, info = fly(env, action)
        plain_total, plain_reward, plain_observation, _ = fly(plain, action)
        np.testing.assert_array_equal(observation[:8], plain_observation)
        assert observation[8] == pytest.approx(total / 256.0, rel=1e-5)
        assert (observation[0] > 0.0) == (side == "right")
        assert reward == pytest.approx(plain_reward + info["bonus"]) and total == pytest.approx(plain_total + info["bonus"])
        bonuses.append(info["bonus"])
    assert len(set(bonuses)) == (3 if side == "right" else 1) and (side == "right" or bonuses[0] == 0.0)


def test_the_bonus_has_mean_70_and_standard_deviation_100() -> None:
    env, n = NoisyLunarLanderEnv(), 1000
    # Every step ends right of the middle, and resets of the real lander take long
    env._lander.reset = lambda **kwargs: (np.zeros(8, dtype=np.float32), {})  # type: ignore[method-assign]
    env._lander.step = lambda action: (np.full(8, 0.1), 0.0, True, False, {})  # type: ignore[method-assign,assignment,return-value]
    env.reset(seed=0)
    bonuses = np.array([(env.step(0)[1], env.reset())[0] for _ in range(n)])
    assert abs(bonuses.mean() - 70.0) < 4 * 100.0 / np.sqrt(n)
    assert abs(bonuses.std() - 100.0) < 4 * 100.0 / np.sqrt(2 * n)


def test_the_lander_alone_is_an_option() -> None:
    env = NoisyLunarLanderEnv(observe_return=False, continuous=True, render_mode="rgb_array")
    assert env.observation_space == LunarLander().observation_space
    assert env.reset(seed=0)[0] in env.observation_space and env.action_space.shape == (2,)
    assert env.render().shape == (400, 600, 3)
    env.close()


def test_box2d_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gymnasium.envs.box2d.lunar_lander")
    monkeypatch.setitem(sys.modules, "Box2D", None)
    with pytest.raises(ImportError, match=r'needs Box2D: pip install "gymnasium\[box2d\]"'):
        NoisyLunarLanderEnv()


@pytest.mark.parametrize("env_id", NOISY_REGIONS)
def test_rewards_are_noisy_beyond_the_limit(env_id: str) -> None:
    limit, side, n_observations = NOISY_REGIONS[env_id]
    env: Any = gym.make(env_id)
    robot = env.unwrapped
    assert env.observation_space.shape == (n_observations,) and (env.beyond, env.side, env.std) == (limit, side, 10.0)
    env.reset(seed=0)
    noises: dict[bool, list[float]] = {True: [], False: []}
    for step in range(1000):
        # To either side of the limit, by turns, further away than one step can go
        position = robot.init_qpos.copy()
        position[0] = limit + (0.4 if step % 2 else -0.4)
        robot.set_state(position, robot.init_qvel)
        observation, _, _, _, info = env.step(np.zeros(env.action_space.shape, dtype=np.float32))
        assert observation[0] == robot.data.qpos[0]
        beyond = observation[0] > limit if side == "above" else observation[0] < limit
        assert beyond == (bool(step % 2) == (side == "above"))
        noises[bool(beyond)].append(info["reward_disturbance"])
    inside = np.array(noises[True])
    assert len(inside) == 500 and set(noises[False]) == {0.0}
    assert abs(inside.mean()) < 4 * 10.0 / np.sqrt(500) and abs(inside.std() - 10.0) < 4 * 10.0 / np.sqrt(1000)
