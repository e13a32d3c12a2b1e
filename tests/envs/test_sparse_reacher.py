"""SparseReacher: the reward against the distance, the tolerance, episode length, seeding, pickling."""

import pickle

import gymnasium as gym
import numpy as np
import pytest

import sb3_ordergrad.envs  # noqa: F401  (registers the environments)
from sb3_ordergrad.envs.sparse_reacher import SparseReacherEnv


def test_the_reward_is_one_within_the_tolerance_of_plain_reacher() -> None:
    env, plain = gym.make("SparseReacher-v0"), gym.make("Reacher-v5")
    env.action_space.seed(0)
    env.reset(seed=0)
    plain.reset(seed=0)
    rewards = []
    for step in range(2500):
        action = env.action_space.sample()
        observation, reward, terminated, truncated, info = env.step(action)
        plain_observation, _, _, _, plain_info = plain.step(action)
        np.testing.assert_array_equal(observation, plain_observation)
        assert reward == float(-plain_info["reward_dist"] <= 0.05) and info["is_success"] is (reward == 1.0)
        # 50 steps, whether the target has been reached or not
        assert not terminated and truncated == (step % 50 == 49)
        rewards.append(float(reward))
        if truncated:
            env.reset()
            plain.reset()
    assert 10 < sum(rewards) < 500


@pytest.mark.parametrize(("distance", "reward"), [(0.0, 1.0), (0.0499, 1.0), (0.0501, 0.0), (0.3, 0.0)])
def test_tolerance(distance: float, reward: float) -> None:
    env = SparseReacherEnv()
    env.reset(seed=0)
    # The target is moved to a distance from the tip, and the arm is at rest
    position = env.data.qpos.copy()
    env.set_state(position, np.zeros(4))
    position[2:] += (env.get_body_com("fingertip") - env.get_body_com("target"))[:2]
    position[2] += distance
    env.set_state(position, np.zeros(4))
    assert env.step(np.zeros(2))[1] == reward


def test_pickle_keeps_the_constants() -> None:
    copy = pickle.loads(pickle.dumps(SparseReacherEnv(tolerance=0.1, reward_dist_weight=2.0)))
    assert (copy.tolerance, copy._reward_dist_weight) == (0.1, 2.0)
