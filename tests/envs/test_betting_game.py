"""Betting game: stakes, cap, luck and both rules; its exact solution in the benchmark against all sequences of luck."""

from itertools import product
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from repository import BENCHMARKS, load_script

import sb3_ordergrad.envs  # noqa: F401  (registers the environments)
from sb3_ordergrad.envs.betting_game import BettingGameEnv


def game_at(purse: float, win_probability: float) -> BettingGameEnv:
    env = BettingGameEnv(win_probability=win_probability)
    env.reset(seed=0)
    env.purse = purse
    return env


@pytest.mark.parametrize("action", range(9))
def test_an_eighth_of_the_purse_per_action(action: int) -> None:
    assert game_at(40.0, 1.0).step(action)[1] == 5.0 * action
    assert game_at(40.0, 0.0).step(action)[1] == -5.0 * action


def test_the_cap_cuts_the_win() -> None:
    env = game_at(200.0, 1.0)
    assert env.step(8)[1] == 56.0 and env.purse == 256.0
    assert env.step(8)[1] == 0.0
    assert game_at(200.0, 1.0).step(2)[1] == 50.0


def test_ruin_lasts_and_episodes_take_six_rounds() -> None:
    env = gym.make("BettingGame-v0", win_probability=0.0)
    env.reset(seed=0)
    steps = [env.step(8) for _ in range(6)]
    assert [reward for _, reward, *_ in steps] == [-16.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert [terminated for _, _, terminated, _, _ in steps] == [False] * 5 + [True]


def test_cropped_stake_and_early_end() -> None:
    def rewards_and_ends(purse: float, win_probability: float, action: int) -> tuple[float, bool]:
        env: Any = gym.make("BettingGameCroppedStake-v0", win_probability=win_probability).unwrapped
        env.reset(seed=0)
        env.purse = purse
        return env.step(action)[1:3]

    # 200 leaves room for 56, which is all that is staked; the cap and an empty purse end the episode
    assert rewards_and_ends(200.0, 1.0, 8) == (56.0, True)
    assert rewards_and_ends(200.0, 0.0, 8) == (-56.0, False)
    assert rewards_and_ends(200.0, 0.0, 1) == (-25.0, False)
    assert rewards_and_ends(100.0, 0.0, 8) == (-100.0, True)


def test_the_return_is_the_change_of_the_purse() -> None:
    env = gym.make("BettingGame-v0")
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(200):
        rewards, done = 0.0, False
        while not done:
            _, reward, done, _, info = env.step(env.action_space.sample())
            rewards += float(reward)
        assert rewards == pytest.approx(info["purse"] - 16.0, abs=1e-9)
        env.reset()


def test_observation() -> None:
    env = BettingGameEnv(win_probability=1.0)
    np.testing.assert_allclose(env.reset(seed=0)[0], [0.0, -1.0])
    np.testing.assert_allclose(env.step(8)[0], [np.log2(33 / 17), -2 / 3], rtol=1e-6)
    np.testing.assert_allclose(env.observation(0.0, 6), [-np.log2(17), 1.0], rtol=1e-6)
    for purse, n_rounds_played in [(0.0, 0), (0.0, 6), (256.0, 0), (256.0, 6)]:
        assert env.observation(purse, n_rounds_played) in env.observation_space


def test_wins_over_100_000_rounds() -> None:
    env, n = BettingGameEnv(), 102_000
    assert (env.start, env.win_probability, env.cap) == (16.0, 0.88, 256.0)
    env.reset(seed=0)
    wins = 0
    for step in range(n):
        _, reward, terminated, _, info = env.step(1)
        assert (reward > 0.0) == info["won"]
        wins += info["won"]
        if terminated:
            assert step % 6 == 5
            env.reset()
    assert abs(wins / n - 0.88) < 4 * np.sqrt(0.88 * 0.12 / n)


def test_luck_does_not_depend_on_the_stake() -> None:
    def won(action: int) -> list[bool]:
        env = gym.make("BettingGame-v0")
        env.reset(seed=3)
        return [env.step(action)[4]["won"] for _ in range(6)]

    assert won(8) == won(0)


def test_render_shows_purse_and_rounds() -> None:
    env = gym.make("BettingGame-v0", render_mode="rgb_array", win_probability=1.0)
    env.reset(seed=0)
    for _ in range(3):
        env.step(8)
    image = np.asarray(env.render())
    assert image.shape == (64, 256, 3) and image.dtype == np.uint8
    # Three rounds are left, and half of the cap is in the purse
    assert (image < 255).any(axis=2).sum(axis=1).tolist() == [128] * 64
    assert BettingGameEnv().render() is None


@pytest.fixture(scope="module")
def solution() -> ModuleType:
    """The functions of the benchmark."""
    return load_script(BENCHMARKS / "betting_game.py")


def luck_of_64(env: BettingGameEnv, solution: ModuleType, policy: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Returns of all 64 sequences of won and lost bets, and their probabilities."""
    game, p = solution.build_game(env), env.win_probability
    returns, probabilities = np.zeros(64), np.ones(64)
    for i, luck in enumerate(product([True, False], repeat=6)):
        env.reset()
        over = False
        for t, won in enumerate(luck):
            probabilities[i] *= p if won else 1.0 - p
            if not over:
                (purse,) = np.flatnonzero(game.purses[t] == env.purse)
                env.win_probability = float(won)
                _, reward, over, _, _ = env.step(int(policy[t][purse]))
                returns[i] += reward
    env.win_probability = p
    return returns, probabilities


@pytest.mark.parametrize("env_id", ["BettingGame-v0", "BettingGameCroppedStake-v0"])
def test_exact_distribution_is_that_of_all_64_sequences(solution: ModuleType, env_id: str) -> None:
    env: Any = gym.make(env_id).unwrapped
    game = solution.build_game(env)
    actions = np.random.default_rng(0)
    policy = [actions.integers(9, size=len(purses)) for purses in game.purses[:-1]]
    expected = np.zeros(len(game.returns))
    for value, probability in zip(*luck_of_64(env, solution, policy), strict=True):
        expected[np.flatnonzero(np.isclose(game.returns, value, rtol=0.0, atol=1e-9))] += probability
    np.testing.assert_allclose(solution.distribution(game, solution.pure(policy)), expected, atol=1e-12)


@pytest.mark.slow
def test_optima(solution: ModuleType) -> None:
    game = solution.build_game()
    mean, tail = (solution.pure(solution.optimum(game, objective)) for objective in ("mean", "cvar:0.25"))
    best_mean, best_tail = solution.figures(game, mean)["mean"], solution.figures(game, tail)["cvar:0.25"]
    # The figures that docs/reference/environments.md gives
    assert (round(best_mean, 2), round(best_tail, 2)) == (151.50, 36.51)
    # Random changes of the optimal policies are never better, and neither are random policies
    rng = np.random.default_rng(0)
    for base, objective, best in [(mean, "mean", best_mean), (tail, "cvar:0.25", best_tail)]:
        for share in (0.02, 0.1, 1.0):
            for _ in range(5):
                other = [(1 - share) * p + share * rng.dirichlet(np.ones(9), p.shape[1]).T for p in base]
                assert solution.figures(game, other)[objective] < best


def test_tail_mean_of_a_known_distribution(solution: ModuleType) -> None:
    returns, probabilities = np.array([-4.0, 0.0, 8.0]), np.array([0.1, 0.1, 0.8])
    # The worst quarter: 0.1 of -4, 0.1 of 0 and 0.05 of 8
    assert solution.cvar(returns, probabilities, 0.25) == pytest.approx((-0.4 + 0.4) / 0.25)
