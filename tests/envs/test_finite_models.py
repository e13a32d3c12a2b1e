"""The tables of the finite tasks against sampled episodes of the environments, and the discretisation of a normal step."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import sb3_ordergrad.envs  # noqa: F401  (registers the environments)
from sb3_ordergrad.envs.finite_model import FiniteModel, normal_transitions

N_EPISODES = 5000


def moments(model: FiniteModel, actions: np.ndarray) -> tuple[float, float]:
    """Mean and mean square of the return, exactly."""
    states = np.arange(len(actions))
    probabilities, next_states = model.probabilities[states, actions], model.next_states[states, actions]
    mean, square = np.zeros(len(states)), np.zeros(len(states))
    for step in reversed(range(model.n_steps)):
        rewards = (model.last_rewards if step == model.n_steps - 1 else model.rewards)[states, actions]
        following, following_square = mean[next_states], square[next_states]
        mean = np.sum(probabilities * (rewards + following), axis=1)
        square = np.sum(probabilities * (rewards**2 + 2.0 * rewards * following + following_square), axis=1)
        mean[model.terminal] = square[model.terminal] = 0.0
    return float(mean[model.initial_state]), float(square[model.initial_state])


def along_the_cliff(x: Any, y: Any) -> Any:
    """Up from the start, right along the cliff in row 1, down at the end."""
    return np.where(y == 0, 0, np.where(x < 7, 1, 2))


# id -> (policy on observations, the same policy on the states of the model)
POLICIES: dict[str, tuple[Callable[[np.ndarray], Any], Callable[[Any, FiniteModel], np.ndarray]]] = {
    "StochasticCliffWalking-v0": (
        lambda obs: along_the_cliff(obs[:8].argmax(), obs[8:].argmax()),
        lambda env, model: along_the_cliff(np.arange(32) // 4, np.arange(32) % 4),
    ),
    # The price is read off the reward of buying one unit of 0.2
    "MeanReversionTrading-v0": (
        lambda obs: 20 if obs[0] < 0.95 else 0,
        lambda env, model: np.where(-(model.rewards[:, 11, 0] / 0.2 + env.trade_cost * 0.2) < 0.95, 20, 0),
    ),
    "AmericanPut-v0": (
        lambda obs: int(1.0 - obs[0] > 0.2),
        lambda env, model: (model.rewards[:, 1, 0] > 0.2).astype(int),
    ),
    **dict.fromkeys(
        ("BettingGame-v0", "BettingGameCroppedStake-v0"),
        (
            lambda obs: 5 if 17.0 * 2.0 ** float(obs[0]) - 1.0 < 100.0 else 7,
            lambda env, model: np.where(np.concatenate(env.purses()) < 100.0, 5, 7),
        ),
    ),
}


@pytest.mark.parametrize("env_id", POLICIES)
def test_tables_are_complete(env_id: str) -> None:
    model = gym.make(env_id).unwrapped.model()  # type: ignore[attr-defined]
    n_states, n_actions, _ = shape = model.probabilities.shape
    assert model.next_states.shape == model.rewards.shape == model.last_rewards.shape == shape
    assert model.terminal.shape == (n_states,) and not model.terminal[model.initial_state]
    assert model.next_states.min() >= 0 and model.next_states.max() < n_states
    assert gym.make(env_id).action_space == gym.spaces.Discrete(n_actions)
    np.testing.assert_allclose(model.probabilities.sum(axis=-1), 1.0, atol=1e-12)
    assert model.probabilities.min() >= 0.0


@pytest.mark.slow
@pytest.mark.parametrize("env_id", POLICIES)
def test_tables_give_the_returns_of_sampled_episodes(env_id: str) -> None:
    env: Any = gym.make(env_id).unwrapped
    policy, actions = POLICIES[env_id]
    returns = np.zeros(N_EPISODES)
    observation, _ = env.reset(seed=0)
    for episode in range(N_EPISODES):
        done = False
        while not done:
            observation, reward, done, _, _ = env.step(int(policy(observation)))
            returns[episode] += reward
        observation, _ = env.reset()
    model = env.model()
    for values, expected in zip((returns, returns**2), moments(model, actions(env, model)), strict=True):
        assert abs(values.mean() - expected) < 4 * values.std() / np.sqrt(N_EPISODES)


def test_normal_transitions_keep_mean_and_variance() -> None:
    grid = np.linspace(-3.0, 3.0, 61)
    means = np.array([-0.5, 0.0, 0.03])
    transitions = normal_transitions(grid, means, std=0.4)
    np.testing.assert_allclose(transitions.sum(axis=1), 1.0)
    np.testing.assert_allclose(transitions @ grid, means, atol=1e-6)
    # Cells of width 0.1 add 0.1^2 / 12
    np.testing.assert_allclose(transitions @ grid**2 - means**2, 0.4**2 + 0.1**2 / 12, atol=1e-6)
