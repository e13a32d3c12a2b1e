"""Cliff walking, trading, the American put and the servers: each rule by hand, with the constants of its source."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

UP, RIGHT, DOWN, LEFT = range(4)
NOTHING, ADD, REMOVE = range(3)


def make(env_id: str, **kwargs: Any) -> Any:
    """The task without wrappers, after a reset."""
    env = gym.make(env_id, **kwargs).unwrapped
    env.reset(seed=0)
    return env


def noise(env: Any) -> float:
    """:return: the normal variable that the environment draws next, which is drawn from a copy"""
    copy = np.random.default_rng()
    copy.bit_generator.state = env.np_random.bit_generator.state
    return float(copy.standard_normal())


def test_cliff_walking_by_hand() -> None:
    env = make("StochasticCliffWalking-v0", random_probability=0.0)
    # Against the border, over the first cell of the cliff, along it, and around it to the goal
    actions = [LEFT, RIGHT, RIGHT, UP, UP, DOWN, *[RIGHT] * 5, DOWN]
    steps = [env.step(action) for action in actions]
    assert [step[1] for step in steps] == [0.0, -1.0, -1.0] + [0.0] * 8 + [10.0]
    assert [step[2] for step in steps] == [False] * 11 + [True]
    assert [step[4]["is_success"] for step in steps] == [False] * 11 + [True]
    np.testing.assert_array_equal(np.flatnonzero(steps[1][0]), [1, 8])
    np.testing.assert_array_equal(np.flatnonzero(steps[-1][0]), [7, 8])


def test_cliff_walking_ends_with_step_50_which_is_free() -> None:
    env = make("StochasticCliffWalking-v0", random_probability=0.0)
    steps = [env.step(action) for action in [RIGHT, *[DOWN] * 49]]
    assert [step[1] for step in steps] == [-1.0] * 49 + [0.0]
    assert [step[2] for step in steps] == [False] * 49 + [True]


def test_half_of_the_moves_are_random() -> None:
    env, n = make("StochasticCliffWalking-v0"), 20_000
    counts = np.zeros(4)
    for _ in range(n):
        env.x, env.y, env.n_steps = 3, 2, 0
        env.step(RIGHT)
        counts[[(3, 3), (4, 2), (3, 1), (2, 2)].index((env.x, env.y))] += 1
    for share, probability in zip(counts / n, (0.125, 0.625, 0.125, 0.125), strict=True):
        assert abs(share - probability) < 4 * np.sqrt(probability * (1 - probability) / n)


def test_trading_by_hand() -> None:
    env = make("MeanReversionTrading-v0")
    # kappa 2, sigma 1, theta 1, phi 0.005, psi 0.5, ten steps of 0.1
    decay, std = np.exp(-0.2), np.sqrt((1.0 - np.exp(-0.4)) / 4.0)
    price, inventory = 1.0, 0.0
    for step, action in enumerate([20, 0, 10, 13, 20, 20, 20, 7, 11, 4], 1):
        trade = (action - 10) / 5
        next_price = 1.0 + (price - 1.0) * decay + std * noise(env)
        observation, reward, terminated, _, _ = env.step(action)
        expected = -price * trade - 0.005 * trade**2
        price, inventory = next_price, inventory + trade
        if step == 10:
            expected += inventory * price - 0.5 * inventory**2
        assert reward == pytest.approx(expected) and terminated == (step == 10)
        np.testing.assert_allclose(observation, [price, inventory, step], rtol=1e-6, atol=1e-6)


def test_put_by_hand() -> None:
    env = make("AmericanPut-v0")
    # mu -0.3, sigma 0.3, strike and first price 1, ten steps of 0.1
    price = 1.0
    for step in range(1, 10):
        price *= np.exp(0.1 * (-0.3 - 0.045) + 0.3 * np.sqrt(0.1) * noise(env))
        observation, reward, terminated, _, _ = env.step(0)
        assert (reward, terminated) == (0.0, False)
        np.testing.assert_allclose(observation, [price, step], rtol=1e-6)
    # Step 10 exercises whatever the action
    _, reward, terminated, _, _ = env.step(0)
    assert reward == pytest.approx(max(0.0, 1.0 - price)) and terminated
    for price, payoff in [(0.7, 0.3), (1.2, 0.0)]:
        env.reset()
        env.price = price
        _, reward, terminated, _, _ = env.step(1)
        assert reward == pytest.approx(payoff) and terminated


def test_servers_cost_2_per_second() -> None:
    env = make("ServerAllocation-v0", rate=0.0, surge_probability=0.0)
    # From 4 servers down to the least of 3, up to the most of 10, then idle; the last step has one second more
    actions = [REMOVE, REMOVE, *[ADD] * 8, *[NOTHING] * 50]
    n_servers = [3, 3, *range(4, 11), 10, *[10] * 50]
    steps = [env.step(action) for action in actions]
    assert [step[4]["n_servers"] for step in steps] == n_servers
    assert [step[2] for step in steps] == [False] * 59 + [True]
    seconds = np.array([60] * 59 + [61])
    np.testing.assert_allclose([step[1] for step in steps], -2.0 * seconds * n_servers / 3600.0)
    np.testing.assert_array_equal(np.flatnonzero(steps[-1][0]), [7])


def test_servers_serve_in_order_of_arrival() -> None:
    env = make("ServerAllocation-v0")
    # Within a second the servers work one after the other, as in the source: each of the first three takes a second request at
    # 0.75, and the fourth finds none
    env.queue.extend([(0, 0.75)] * 6)
    assert env._serve(0) == pytest.approx(3 * 0.75 + 4 * 2.0)
    assert env.free_at[:4] == [1.5, 1.5, 1.5, 0.0] and not env.queue
    # The next one arrives at 1 and waits for the first server until 1.5
    env.queue.append((1, 3.0))
    assert env._serve(1) == pytest.approx(0.5 + 8.0)
    assert env.free_at[:4] == [4.5, 1.5, 1.5, 1.0]


def test_a_new_server_serves_after_two_minutes() -> None:
    env = make("ServerAllocation-v0")
    env._change_servers(ADD, 0)
    # All others are busy for long
    env.free_at[:4] = [1e6] * 4
    for second in range(120):
        env.queue = type(env.queue)([(second, 5.0)])
        env._serve(second)
        assert bool(env.queue) == (second < 119)


def test_a_busy_server_finishes_its_request_before_it_stops() -> None:
    env = make("ServerAllocation-v0")
    env.free_at[3] = 1.5
    env._change_servers(REMOVE, 0)
    assert env._serve(0) == 8.0 and env.stopping
    # Taking it back is possible as long as it works
    env._change_servers(ADD, 1)
    assert not env.stopping and env.n_servers == 4
    env._change_servers(REMOVE, 1)
    env.queue.extend([(1, 1e6)] * 4)
    assert env._serve(1) == 6.0 and env.n_servers == 3 and len(env.queue) == 1


def test_surges_double_the_arrivals_and_fade() -> None:
    env = make("ServerAllocation-v0")
    surges = np.zeros(601, dtype=bool)
    surges[0] = True
    rates = env._rates(surges)
    # 3 requests a second, a peak of nearly 6, a time constant of 300 seconds
    assert rates[0] == pytest.approx(6.0 - 1 / 100)
    np.testing.assert_allclose(rates[1:] - 3.0, (rates[0] - 3.0) * (1.0 - 1 / 300) ** np.arange(1, 601))
    assert env.surge_probability == 1 / 259_200


def test_arrivals_and_services() -> None:
    env = make("ServerAllocation-v0", surge_probability=0.0)
    env._serve = lambda second: 0.0  # nobody takes a request from the queue
    for _ in range(59):
        env.step(NOTHING)
    arrivals, services = np.array(env.queue).T
    n_seconds = 59 * 60
    assert abs(len(arrivals) - 3 * n_seconds) < 4 * np.sqrt(3 * n_seconds)
    assert np.all(np.diff(arrivals) >= 0) and arrivals[-1] == pytest.approx(n_seconds, abs=10)
    assert abs(services.mean() - 1.0) < 4 / np.sqrt(len(services))
