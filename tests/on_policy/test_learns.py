"""The objective decides what is learnt: a risky arm with the higher mean against a safe one with the higher CVaR."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from toy_envs import small

from sb3_ordergrad import OrderA2C, OrderPPO
from sb3_ordergrad.common.pseudo_rewards import CREDITS

pytestmark = pytest.mark.slow
SAFE, RISKY = 0, 1


class Gamble(gym.Env):
    """
    Two steps. The first picks an arm, the second pays: safe 1, risky 4 with probability 0.75 and -3 otherwise (mean 2.25).
    Both steps pay a little noise of their own, the second action does nothing.
    """

    observation_space = spaces.Box(0.0, 1.0, (4,))
    action_space = spaces.Discrete(2)
    task = 0

    def _observe(self) -> np.ndarray:
        observation = np.zeros(4, dtype=np.float32)
        observation[self.task if self.arm is None else 2 + self.arm] = 1.0
        return observation

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.arm: int | None = None
        return self._observe(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = 0.1 * self.np_random.normal()
        if self.arm is None:
            self.arm = int(action) ^ self.task
            return self._observe(), reward, False, False, {}
        if self.arm == SAFE:
            reward += 1.0
        else:
            reward += 4.0 if self.np_random.random() < 0.75 else -3.0
        return self._observe(), reward, True, False, {}


def risky_probability(algorithm: type[BaseAlgorithm], env: VecEnv, timesteps: int, **kwargs: Any) -> float:
    """Chance that the trained policy picks the risky arm in the richest task."""
    settings = small(algorithm, policy_kwargs={"net_arch": []}, learning_rate=0.02, n_steps=16, **kwargs)
    if algorithm is OrderPPO:
        settings |= {"batch_size": 128, "n_epochs": 4}
    model: Any = algorithm("MlpPolicy", env, **settings).learn(timesteps)
    tasks = env.get_attr("task")
    start = model.policy.obs_to_tensor(np.eye(4, dtype=np.float32)[[max(tasks)]])[0]
    return float(model.policy.get_distribution(start).distribution.probs[0, RISKY ^ max(tasks)].detach())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("objective", "arm"), [("cvar:0.2", SAFE), ("mean", RISKY), ("max", RISKY)])
@pytest.mark.parametrize("algorithm", [OrderPPO, OrderA2C])
def test_objective_decides(algorithm: type[BaseAlgorithm], objective: str, arm: int, seed: int) -> None:
    # OrderA2C makes one small update a rollout
    timesteps = 10_000 if algorithm is OrderPPO else 20_000
    probability = risky_probability(
        algorithm, make_vec_env(Gamble, n_envs=16), timesteps, objective=objective, k=10, seed=seed
    )
    assert probability > 0.9 if arm == RISKY else probability < 0.1


@pytest.mark.parametrize("credit", CREDITS)
@pytest.mark.parametrize("algorithm", [OrderPPO, OrderA2C])
def test_every_credit_learns(algorithm: type[BaseAlgorithm], credit: str) -> None:
    env = make_vec_env(Gamble, n_envs=16)
    assert risky_probability(algorithm, env, 10_000, objective="cvar:0.2", k=10, credit=credit) < 0.1


class Task(Gamble):
    """A Gamble that is one of two tasks, which the policy can tell apart. The second swaps the arms and adds 10 to returns."""

    def __init__(self, task: int) -> None:
        self.task = task

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward + 10.0 * self.task * terminated, terminated, truncated, info | {"task": self.task}


@pytest.mark.parametrize("algorithm", [OrderPPO, OrderA2C])
def test_groups_by_task(algorithm: type[BaseAlgorithm]) -> None:
    """Ranked together, no episode of the rich task is ever in the lower tail; apart, each is compared with its own kind."""
    probabilities = []
    for group_by in (None, "task"):
        env = DummyVecEnv([lambda i=i: Task(i % 2) for i in range(16)])
        probabilities.append(risky_probability(algorithm, env, 20_000, objective="cvar:0.2", k=10, group_by=group_by))
    pooled, apart = probabilities
    assert apart < 0.1 and pooled > 0.5


class Glitch(gym.Env):
    """Ten steps, action 1 pays 1. The reward sensor fails once, with a million in the fifth step of an episode."""

    observation_space = spaces.Box(0.0, 1.0, (1,))
    action_space = spaces.Discrete(2)

    def __init__(self, episode: int = -1) -> None:
        self.episodes_left = episode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.n_steps = 0
        self.episodes_left -= 1
        return np.ones(1, dtype=np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.n_steps += 1
        failure = self.episodes_left == -1 and self.n_steps == 5
        return np.ones(1, dtype=np.float32), 1e6 if failure else float(action), self.n_steps == 10, False, {}


# with eight environments: before the first group can be ranked, and after
@pytest.mark.parametrize("episode", [1, 5])
@pytest.mark.parametrize("credit", CREDITS)
def test_outlier_that_the_objective_ignores(credit: str, episode: int) -> None:
    env = DummyVecEnv([lambda i=i: Glitch(episode if i == 0 else -1) for i in range(8)])
    settings = small(OrderA2C, learning_rate=0.01, policy_kwargs={"net_arch": []})
    model: Any = OrderA2C("MlpPolicy", env, objective="trimmed_mean:0.1:0.1", credit=credit, **settings).learn(16_000)
    policy = model.policy.get_distribution(model.policy.obs_to_tensor(np.ones((1, 1), dtype=np.float32))[0])
    assert policy.distribution.probs[0, 1] > 0.95
