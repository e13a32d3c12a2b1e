"""
Optimal mean and CVaR of the return of a finite task, by dynamic programming.

    python benchmarks/optimal_cvar.py                        # prints the table, updates docs/data/references.csv
    python benchmarks/optimal_cvar.py --env AmericanPut-v0

The static CVaR at level q is ``max_t t - E[(t - R)+] / q`` (Rockafellar and Uryasev 2000,
https://doi.org/10.21314/JOR.2000.038). For a fixed threshold t an optimal policy depends on the state and on what was
collected (Bäuerle and Ott 2011, https://doi.org/10.1007/s00186-011-0367-0), so dynamic programming over both finds it, and the
best threshold gives the optimum over all policies, also over those that remember more or are random.

- :func:`unroll` enumerates all pairs of state and collected reward: exact, as long as these are few. The best threshold is a
  value of the return, and all of them are candidates.
- :func:`optimal_cvar_on_grid` puts ``t - collected`` on a grid, for tasks whose returns take too many values.
"""

import argparse
import heapq
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import references
from references import Row, update
from scipy.sparse import csr_array

import sb3_ordergrad.envs  # noqa: F401  (registers the environments)
from sb3_ordergrad.envs.finance import MAX_UNITS, TRADE_UNIT, MeanReversionTradingEnv
from sb3_ordergrad.envs.finite_model import FiniteModel

LEVELS = (1.0, 0.5, 0.25, 0.2, 0.1, 0.05)
# Collected rewards that agree to this many decimals are the same
DECIMALS = 12
Utility = Callable[[np.ndarray], np.ndarray]


class Layer(NamedTuple):
    """
    The pairs of state and collected reward that can occur before a step, ordered by state, then by reward.

    :param states: shape (n,)
    :param collected: shape (n,)
    :param terminal: whether the episode is over, shape (n,)
    :param following: index into the next layer of each action's outcomes, shape (n, A, outcomes); 0 where it is over
    :param probabilities: of these outcomes, the same shape
    """

    states: np.ndarray
    collected: np.ndarray
    terminal: np.ndarray
    following: np.ndarray
    probabilities: np.ndarray


class Optimum(NamedTuple):
    """
    The best policy for a level of CVaR.

    :param value: its CVaR
    :param threshold: the best t, its VaR; NaN for the mean
    :param policy: action of each pair of each layer but the last, ``[(n_0,), ...]``
    """

    value: float
    threshold: float
    policy: list[np.ndarray]


def unroll(model: FiniteModel) -> list[Layer]:
    """
    :param model: a finite task
    :return: ``n_steps + 1`` layers; the episode is over in all pairs of the last
    """
    layers = []
    states, collected = np.array([model.initial_state]), np.zeros(1)
    for step in range(model.n_steps):
        over = model.terminal[states]
        shape = (len(states), *model.probabilities.shape[1:])
        rewards = (model.last_rewards if step == model.n_steps - 1 else model.rewards)[states]
        probabilities = np.where(over[:, None, None], 0.0, model.probabilities[states])
        reached = probabilities > 0.0
        after = np.round(collected[:, None, None] + rewards, DECIMALS)[reached]
        # Adding 0 turns -0 into 0, which sort differently as pairs
        pairs = np.stack([model.next_states[states][reached], after + 0.0], axis=-1)
        pairs, indices = np.unique(pairs, axis=0, return_inverse=True)
        following = np.zeros(shape, dtype=np.int64)
        following[reached] = indices.ravel()
        layers.append(Layer(states, collected, over, following, probabilities))
        states, collected = pairs[:, 0].astype(np.int64), pairs[:, 1]
    nothing = np.zeros((len(states), 0, 0))
    return [*layers, Layer(states, collected, np.ones(len(states), dtype=bool), nothing.astype(np.int64), nothing)]


def maximise(layers: Sequence[Layer], utility: Utility) -> tuple[float, list[np.ndarray]]:
    """
    :param layers: the unrolled task
    :param utility: of the return, elementwise
    :return: the greatest expected utility, and the best action of each pair of each layer but the last
    """
    policy = []
    value = utility(layers[-1].collected)
    for layer in reversed(layers[:-1]):
        action_values = np.sum(layer.probabilities * value[layer.following], axis=-1)
        policy.append(action_values.argmax(axis=1))
        value = np.where(layer.terminal, utility(layer.collected), action_values.max(axis=1))
    return float(value[0]), policy[::-1]


def shortfall(threshold: float) -> Utility:
    """:return: the utility ``-(t - R)+``, whose maximiser aims at a return of t"""
    return lambda returns: -np.maximum(threshold - returns, 0.0)


def return_distribution(layers: Sequence[Layer], policy: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """
    :param layers: the unrolled task
    :param policy: action of each pair of each layer but the last
    :return: the returns, ascending, and their probabilities, shapes (n,)
    """
    returns, probabilities = [], []
    reached = np.ones(1)
    for layer, actions, later in zip(layers, [*policy, None], [*layers[1:], None], strict=True):
        returns.append(layer.collected[layer.terminal])
        probabilities.append(reached[layer.terminal])
        if later is not None:
            pairs = np.arange(len(actions))
            flow = reached[:, None] * layer.probabilities[pairs, actions]
            reached = np.bincount(layer.following[pairs, actions].ravel(), flow.ravel(), minlength=len(later.states))
    values, indices = np.unique(np.concatenate(returns), return_inverse=True)
    return values, np.bincount(indices, np.concatenate(probabilities))


def cvar(returns: np.ndarray, probabilities: np.ndarray, level: float) -> float:
    """
    :param returns: ascending, shape (n,)
    :param probabilities: theirs, shape (n,)
    :param level: share of the worst returns, in (0, 1]
    :return: their mean
    """
    in_tail = np.diff(np.minimum(np.cumsum(probabilities), level), prepend=0.0)
    return float(in_tail @ returns / level)


def optimal_cvar(layers: Sequence[Layer], level: float) -> Optimum:
    """
    The best CVaR, exactly. Level 1 is the mean.

    :param layers: the unrolled task
    :param level: in (0, 1]
    """
    if level == 1.0:
        mean, policy = maximise(layers, lambda returns: returns)
        return Optimum(mean, float("nan"), policy)
    thresholds = np.unique(np.concatenate([layer.collected[layer.terminal] for layer in layers]))
    threshold = _best_threshold(thresholds, lambda t: maximise(layers, shortfall(t))[0], level)
    value, policy = maximise(layers, shortfall(threshold))
    return Optimum(threshold + value / level, threshold, policy)


def _best_threshold(thresholds: np.ndarray, expected: Callable[[float], float], level: float) -> float:
    """
    The best of the thresholds, by branch and bound: V(t), the best expected utility, has slopes between -1 and 0.

    :param thresholds: candidates, ascending
    :param expected: V
    :param level: in (0, 1)
    :return: the smallest of those with the greatest ``t + V(t) / level``
    """
    values: dict[int, float] = {}

    def score(i: int) -> float:
        values[i] = values[i] if i in values else expected(thresholds[i])
        return thresholds[i] + values[i] / level

    def branch(low: int, high: int) -> None:
        # Between two thresholds V is below V(low) and below V(high) + high - t: the bound is where both meet
        meeting = thresholds[high] + values[high] - values[low]
        if high - low > 1:
            heapq.heappush(branches, (-(meeting + values[low] / level), low, high))

    last = len(thresholds) - 1
    branches: list[tuple[float, int, int]] = []
    best = max(score(0), score(last))
    branch(0, last)
    # Rounding must not discard a candidate that is as good
    while branches and -branches[0][0] >= best - 1e-9 * (1.0 + abs(best)):
        _, low, high = heapq.heappop(branches)
        middle = (low + high) // 2
        best = max(best, score(middle))
        branch(low, middle)
        branch(middle, high)
    return float(thresholds[min(i for i in values if score(i) == best)])


def optimal_mean(model: FiniteModel) -> float:
    """:return: the best mean, which needs no collected rewards"""
    reached = _reached(model)
    value = np.zeros(len(model.terminal))
    for step in reversed(range(model.n_steps)):
        rows = reached[step]
        rewards = (model.last_rewards if step == model.n_steps - 1 else model.rewards)[rows]
        action_values = np.sum(model.probabilities[rows] * (rewards + value[model.next_states[rows]]), axis=-1)
        value = np.zeros(len(value))
        value[rows] = action_values.max(axis=1)
    return float(value[model.initial_state])


def shape_rewards(model: FiniteModel, potential: np.ndarray) -> FiniteModel:
    """
    The same task with collected rewards that vary less: each step is given ``potential(s') - potential(s)`` more, the last one
    ``-potential(s)``, so that the return stays.

    :param model: a finite task
    :param potential: of each state, 0 for the initial and the terminal states, shape (S,)
    """
    before = potential[:, None, None]
    rewards = model.rewards + potential[model.next_states] - before
    return model._replace(rewards=rewards, last_rewards=model.last_rewards - before)


def optimal_cvar_on_grid(model: FiniteModel, levels: Sequence[float], width: float, n_points: int) -> dict[float, float]:
    """
    The best CVaR with ``y = t - collected`` on a grid of equidistant points, linear in between. Exact if all rewards are
    multiples of the distance, and returns within the grid.

    :param model: a finite task
    :param levels: levels of CVaR, in (0, 1)
    :param width: the grid reaches from -width to width; beyond it the value is underestimated
    :param n_points: number of points
    :return: the best CVaR by level
    """
    grid = np.linspace(-width, width, n_points)
    reached = _reached(model)
    n_states, n_actions, n_outcomes = model.probabilities.shape
    # V(s, y): the greatest expected -(y - what is still collected)+
    value = np.broadcast_to(-np.maximum(grid, 0.0), (n_states, n_points))
    for step in reversed(range(model.n_steps)):
        rewards = model.last_rewards if step == model.n_steps - 1 else model.rewards
        new = np.array(np.broadcast_to(-np.maximum(grid, 0.0), (n_states, n_points)))
        for rows in np.array_split(reached[step], max(1, len(reached[step]) * n_actions * n_points // 10_000_000)):
            r, p, following = rewards[rows], model.probabilities[rows], model.next_states[rows]
            shape = (len(rows), n_actions, n_points)
            if step == model.n_steps - 1:
                expected = np.zeros(shape)
                for i in range(n_outcomes):
                    expected -= p[:, :, i, None] * np.maximum(grid - r[:, :, i, None], 0.0)
            elif (r == r[:, :, :1]).all():
                # One product of matrices, and one shift
                columns = following.ravel()
                pointers = np.arange(0, len(columns) + 1, n_outcomes)
                transitions = csr_array((p.ravel(), columns, pointers), shape=(len(rows) * n_actions, n_states))
                expected = _shift((transitions @ value).reshape(shape), r[:, :, 0], grid)
            else:
                expected = np.zeros(shape)
                for i in range(n_outcomes):
                    expected += p[:, :, i, None] * _shift(value[following[:, :, i]], r[:, :, i], grid)
            new[rows] = expected.max(axis=1)
        value = new
    return {level: float(np.max(grid + value[model.initial_state] / level)) for level in levels}


def _shift(values: np.ndarray, rewards: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """
    :param values: functions of y, shape (n, A, points)
    :param rewards: shape (n, A)
    :param grid: the points, equidistant
    :return: the functions at ``y - reward``, continued beyond the grid with the slopes 0 below and -1 above
    """
    distance = grid[1] - grid[0]
    # Rewards that are multiples of the distance, up to rounding, need no interpolation
    steps = np.round(rewards / distance, DECIMALS)
    whole = np.floor(steps).astype(np.int64)
    part = (steps - whole)[..., None]
    indices = np.arange(len(grid)) - whole[..., None]
    last = len(grid) - 1

    def at(i: np.ndarray) -> np.ndarray:
        return np.take_along_axis(values, np.clip(i, 0, last), axis=-1) - distance * np.maximum(i - last, 0)

    return (1.0 - part) * at(indices) + part * at(indices - 1)


def _reached(model: FiniteModel) -> list[np.ndarray]:
    """:return: for each step the states in which an episode can be that is not over"""
    states = [np.array([model.initial_state])]
    for _ in range(model.n_steps - 1):
        following = np.unique(model.next_states[states[-1]][model.probabilities[states[-1]] > 0.0])
        states.append(following[~model.terminal[following]])
    return states


EXACT = ("BettingGame-v0", "BettingGameCroppedStake-v0", "StochasticCliffWalking-v0")


def solve(env_id: str) -> list[Row]:
    """
    :param env_id: a task with a finite model
    :return: its optimum at each level. The error of a discretised task is the difference to a coarser grid
    """
    env: Any = gym.make(env_id).unwrapped
    if env_id in EXACT:
        layers = unroll(env.model())
        return [Row(env_id, q, "optimum", optimal_cvar(layers, q).value, 0.0, "exact") for q in LEVELS]
    if env_id == "AmericanPut-v0":
        fine, coarse = (unroll(env.model(n_prices)) for n_prices in (401, 201))
        pairs = [(q, optimal_cvar(fine, q).value, optimal_cvar(coarse, q).value) for q in LEVELS]
        source = "401 prices; error: difference to 201"
    else:
        fine, coarse = (_trading(env, n_prices, n_points) for n_prices, n_points in ((41, 1001), (21, 501)))
        pairs = [(q, fine[q], coarse[q]) for q in LEVELS]
        source = "41 prices, 1001 values of t - collected; error: difference to 21 and 501"
    return [Row(env_id, q, "optimum", best, abs(best - rough), source) for q, best, rough in pairs]


def _trading(env: MeanReversionTradingEnv, n_prices: int, n_points: int) -> dict[float, float]:
    """The optimum of trading at each level, on a grid. What is collected is reduced by the inventory's mean value."""
    model = env.model(n_prices)
    inventories = TRADE_UNIT * np.arange(-MAX_UNITS, MAX_UNITS + 1)
    shaped = shape_rewards(model, env.level * np.tile(inventories, n_prices))
    return {1.0: optimal_mean(model)} | optimal_cvar_on_grid(shaped, LEVELS[1:], width=10.0, n_points=n_points)


def main() -> None:
    """Print the table of optima and write it."""
    env_ids = (*EXACT, "AmericanPut-v0", "MeanReversionTrading-v0")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", nargs="+", choices=env_ids, default=env_ids, help="tasks (all)")
    parser.add_argument("--out", type=Path, default=references.PATH, help="the file to update")
    args = parser.parse_args()
    rows = []
    print("| task | level | optimum | error | how |\n|---|---:|---:|---:|---|")
    for env_id in args.env:
        start = time.monotonic()
        rows += solve(env_id)
        for row in rows[-len(LEVELS) :]:
            print(f"| {row.env_id} | {row.level:g} | {row.value:.4f} | {row.error:.4f} | {row.source} |")
        print(f"{env_id}: {time.monotonic() - start:.0f} s", flush=True)
    update([row._replace(value=round(row.value, 4), error=round(row.error, 4)) for row in rows], args.out)


if __name__ == "__main__":
    main()
