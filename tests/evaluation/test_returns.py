"""Evaluation episodes: raw returns, no bias to short episodes, and the training is left as it was."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize
from toy_envs import ToyEnv, assert_same_parameters

from sb3_ordergrad.evaluation import evaluate_distribution


class ShortOrLong(ToyEnv):
    """Episodes of 1 or 50 steps with even odds; reward 2 a step, so the return is twice the length."""

    def __init__(self) -> None:
        super().__init__(rewards=[2.0])

    def _start_episode(self) -> None:
        self.length = int(self.np_random.choice([1, 50]))


def make_venv(n_envs: int = 4, monitored: bool = True) -> DummyVecEnv:
    return DummyVecEnv([(lambda: Monitor(ShortOrLong())) if monitored else ShortOrLong for _ in range(n_envs)])


@pytest.fixture(scope="module")
def model() -> PPO:
    return PPO("MlpPolicy", make_venv(), seed=0, device="cpu")


def test_every_environment_plays_its_share(model: PPO) -> None:
    distribution = evaluate_distribution(model, make_venv(4), n_eval_episodes=402, seed=0)
    assert len(distribution) == 402
    np.testing.assert_array_equal(distribution.returns, 2.0 * distribution.lengths)
    # Stopping at the first 402 episodes to end would count hardly any long one; 4 standard errors of a fair coin
    assert abs((distribution.lengths == 50).mean() - 0.5) < 4 * 0.5 / np.sqrt(402)


@pytest.mark.parametrize("kind", ["bare", "monitor", "vec monitor", "normalize", "normalize bare", "one env"])
def test_returns_are_raw(model: PPO, kind: str) -> None:
    env: Any = {
        "bare": lambda: make_venv(monitored=False),
        "monitor": make_venv,
        "vec monitor": lambda: VecMonitor(make_venv(monitored=False)),
        "normalize": lambda: VecNormalize(make_venv()),
        "normalize bare": lambda: VecNormalize(make_venv(monitored=False)),
        "one env": ShortOrLong,
    }[kind]()
    distribution = evaluate_distribution(model, env, n_eval_episodes=10, seed=3)
    np.testing.assert_array_equal(distribution.returns, 2.0 * distribution.lengths)
    assert set(distribution.lengths) == {1, 50}


def test_normalization_is_frozen_and_restored(model: PPO) -> None:
    env = VecNormalize(make_venv())
    env.reset()
    before = env.obs_rms.mean.copy(), env.obs_rms.count
    evaluate_distribution(model, env, n_eval_episodes=8)
    np.testing.assert_array_equal(env.obs_rms.mean, before[0])
    assert env.obs_rms.count == before[1]
    assert env.training and env.norm_reward


def test_seed_decides_everything_and_leaves_torch_alone() -> None:
    env = gym.make("CartPole-v1")
    cartpole_model = PPO("MlpPolicy", env, seed=0, device="cpu")
    state = th.random.get_rng_state()
    first = evaluate_distribution(cartpole_model, env, n_eval_episodes=6, seed=5)
    assert th.equal(state, th.random.get_rng_state())
    second = evaluate_distribution(cartpole_model, env, n_eval_episodes=6, seed=5)
    other = evaluate_distribution(cartpole_model, env, n_eval_episodes=6, seed=6)
    np.testing.assert_array_equal(first.returns, second.returns)
    assert not np.array_equal(first.returns, other.returns)


@pytest.mark.parametrize("algorithm", [PPO, SAC])
@pytest.mark.parametrize("of_policy", [False, True])
def test_noise_of_gsde_is_redrawn_between_episodes(algorithm: Any, of_policy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    env = gym.make("Pendulum-v1", max_episode_steps=5)
    model = algorithm("MlpPolicy", env, use_sde=True, seed=0, device="cpu")
    policy = model.policy
    evaluated = policy if of_policy else model
    draws = []
    reset_noise = policy.reset_noise
    monkeypatch.setattr(policy, "reset_noise", lambda n_envs: (draws.append(n_envs), reset_noise(n_envs)))
    first = evaluate_distribution(evaluated, env, n_eval_episodes=3, seed=2)
    assert draws == [1, 1, 1]
    second = evaluate_distribution(evaluated, env, n_eval_episodes=3, seed=2)
    np.testing.assert_array_equal(first.returns, second.returns)
    draws.clear()
    evaluate_distribution(evaluated, env, n_eval_episodes=1, deterministic=True)
    assert draws == []


class EvaluateOften(BaseCallback):
    """Evaluate in the middle of every rollout."""

    def _on_step(self) -> bool:
        if self.n_calls % 5 == 3:
            evaluate_distribution(self.model, gym.make("Pendulum-v1", max_episode_steps=3), n_eval_episodes=2, seed=0)
        return True


@pytest.mark.parametrize("algorithm", [PPO, SAC])
def test_an_evaluation_does_not_change_a_training_with_gsde(algorithm: Any) -> None:
    settings = (
        {"n_steps": 16, "batch_size": 16} if algorithm is PPO else {"learning_starts": 4, "batch_size": 4, "train_freq": 8}
    )
    models = []
    for callback in (None, EvaluateOften()):
        env = DummyVecEnv([lambda: Monitor(gym.make("Pendulum-v1"))] * 2)
        model = algorithm("MlpPolicy", env, use_sde=True, seed=0, device="cpu", policy_kwargs={"net_arch": [8]}, **settings)
        models.append(model.learn(48, callback=callback))
    assert_same_parameters(*models)


def test_agrees_with_evaluate_policy() -> None:
    venv = DummyVecEnv([lambda: Monitor(gym.make("CartPole-v1")) for _ in range(3)])
    cartpole_model = PPO("MlpPolicy", venv, seed=0, device="cpu")
    ours = evaluate_distribution(cartpole_model, venv, n_eval_episodes=7, deterministic=True, seed=1)
    venv.seed(1)
    theirs = evaluate_policy(cartpole_model, venv, n_eval_episodes=7, return_episode_rewards=True)
    assert sorted(ours.returns) == sorted(theirs[0])
    assert sorted(ours.lengths) == sorted(theirs[1])


@pytest.mark.parametrize("n_eval_episodes", [0, 2.5, np.inf, np.nan])
def test_a_number_of_episodes_that_cannot_be_played(model: PPO, n_eval_episodes: Any) -> None:
    with pytest.raises(ValueError, match=f"n_eval_episodes = {n_eval_episodes} must be a whole number >= 1"):
        evaluate_distribution(model, make_venv(), n_eval_episodes)
