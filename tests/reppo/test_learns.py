"""k decides what is learned: one try takes the small reward nearby, several tries find the large one behind it."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from toy_envs import small

from sb3_ordergrad import RePPO

pytestmark = pytest.mark.slow


class Distractor(gym.Env):
    """
    Action 0 leaves with the reward 1. Action 1 goes on, which costs 0.05, and the sixth time is rewarded with 2. Under a
    uniform policy, leaving at once is better than going on.
    """

    N = 6
    observation_space = spaces.Box(0.0, 1.0, (N,))
    action_space = spaces.Discrete(2)

    def _observe(self) -> np.ndarray:
        return np.eye(self.N, dtype=np.float32)[min(self.cell, self.N - 1)]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.cell = 0
        return self._observe(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.cell += int(action)
        arrived = self.cell == self.N
        reward = -0.05 + 2.0 * arrived if action else 1.0
        return self._observe(), reward, arrived or not action, False, {}


def test_more_tries_find_what_one_gives_up_on() -> None:
    arrived = {}
    for k in (1, 8):
        returns = []
        for seed in range(4):
            settings = small(RePPO, n_steps=32, batch_size=256, n_epochs=4, learning_rate=0.01, seed=seed)
            env = make_vec_env(Distractor, n_envs=16)
            model = RePPO("MlpPolicy", env, k=k, **settings | {"policy_kwargs": {"net_arch": []}}).learn(15_000)
            # the most probable actions: with k = 8 the policy itself stays stochastic
            returns.append(np.mean(evaluate_policy(model, env, 16, return_episode_rewards=True)[0]))
        arrived[k] = sum(np.isclose(returns, 1.7))
    assert arrived[8] == 4 and arrived[1] <= 2, arrived
