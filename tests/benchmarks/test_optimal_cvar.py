"""The solver of the exact optima against all policies of tiny tasks, and against known figures."""

import itertools
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from repository import BENCHMARKS, load_script

import sb3_ordergrad.envs  # noqa: F401  (registers the environments)
from sb3_ordergrad.envs.finite_model import FiniteModel


@pytest.fixture(scope="module")
def solver() -> ModuleType:
    return load_script(BENCHMARKS / "optimal_cvar.py")


def random_model(seed: int, same_for_outcomes: bool = False) -> FiniteModel:
    """Three steps, three states and a terminal one, two actions, two outcomes, rewards in -2..2."""
    rng = np.random.default_rng(seed)
    shape = (4, 2, 2)
    rewards = rng.integers(-2, 3, size=(4, 2, 1) if same_for_outcomes else shape).astype(float)
    return FiniteModel(
        n_steps=3,
        initial_state=0,
        next_states=rng.integers(4, size=shape),
        probabilities=rng.dirichlet(np.ones(2), size=(4, 2)),
        rewards=np.broadcast_to(rewards, shape),
        last_rewards=rng.integers(-2, 3, size=shape).astype(float),
        terminal=np.array([False, False, False, True]),
    )


def best_by_brute_force(model: FiniteModel, level: float, solver: ModuleType) -> float:
    """The greatest CVaR of all policies of the history: one action for each sequence of outcomes so far."""
    histories = [h for n in range(model.n_steps) for h in itertools.product(range(2), repeat=n)]
    best = -np.inf
    for actions in itertools.product(range(2), repeat=len(histories)):
        policy = dict(zip(histories, actions, strict=True))
        returns: dict[float, float] = {}

        def play(history: tuple, state: int, collected: float, probability: float) -> None:
            if len(history) == model.n_steps or model.terminal[state]:
                returns[collected] = returns.get(collected, 0.0) + probability  # noqa: B023
                return
            rewards = model.last_rewards if len(history) == model.n_steps - 1 else model.rewards
            for i in range(2):
                at = (state, policy[history], i)  # noqa: B023
                play((*history, i), model.next_states[at], collected + rewards[at], probability * model.probabilities[at])

        play((), model.initial_state, 0.0, 1.0)
        values = np.array(sorted(returns))
        best = max(best, solver.cvar(values, np.array([returns[value] for value in values]), level))
    return best


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("level", [1.0, 0.5, 0.2])
def test_optimum_is_that_of_all_policies(solver: ModuleType, seed: int, level: float) -> None:
    model = random_model(seed, same_for_outcomes=seed % 2 == 1)
    expected = best_by_brute_force(model, level, solver)
    layers = solver.unroll(model)
    best = solver.optimal_cvar(layers, level)
    assert best.value == pytest.approx(expected, abs=1e-12)
    # and the policy that is returned has it
    assert solver.cvar(*solver.return_distribution(layers, best.policy), level) == pytest.approx(expected, abs=1e-12)
    if level == 1.0:
        assert solver.optimal_mean(model) == pytest.approx(expected, abs=1e-12)
    else:
        # rewards are multiples of the distance of the grid
        on_grid = solver.optimal_cvar_on_grid(model, [level], width=12.0, n_points=25)
        assert on_grid[level] == pytest.approx(expected, abs=1e-12)
        shaped = solver.shape_rewards(model, np.array([0.0, 1.0, -2.0, 0.0]))
        assert solver.optimal_cvar(solver.unroll(shaped), level).value == pytest.approx(expected, abs=1e-12)


def test_all_thresholds_agree_with_branch_and_bound(solver: ModuleType) -> None:
    layers = solver.unroll(gym.make("StochasticCliffWalking-v0").unwrapped.model())  # type: ignore[attr-defined]
    thresholds = np.unique(np.concatenate([layer.collected[layer.terminal] for layer in layers]))
    scores = [t + solver.maximise(layers, solver.shortfall(t))[0] / 0.1 for t in thresholds]
    best = solver.optimal_cvar(layers, 0.1)
    assert best.value == max(scores) and best.threshold == thresholds[int(np.argmax(scores))]


# Figures of docs/reference/environments.md, and of a solver that was written independently
FIGURES = [
    ("BettingGame-v0", {}, {1.0: 151.50, 0.25: 36.51}),
    ("BettingGameCroppedStake-v0", {"win_probability": 0.75}, {0.2: 2.96}),
    ("BettingGameCroppedStake-v0", {"win_probability": 0.80}, {0.2: 6.89}),
    ("BettingGameCroppedStake-v0", {}, {0.2: 23.88}),
    ("StochasticCliffWalking-v0", {}, {1.0: 9.393, 0.05: 4.82, 0.1: 6.23, 0.25: 7.75, 0.5: 8.79}),
    ("AmericanPut-v0", {}, {1.0: 0.2593, 0.05: 0.0019, 0.1: 0.0169, 0.25: 0.0614, 0.5: 0.1253}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("env_id", "kwargs", "figures"), FIGURES)
def test_known_figures(solver: ModuleType, env_id: str, kwargs: dict[str, Any], figures: dict[float, float]) -> None:
    env: Any = gym.make(env_id, **kwargs).unwrapped
    layers = solver.unroll(env.model())
    for level, expected in figures.items():
        digits = len(str(expected).partition(".")[2])
        assert solver.optimal_cvar(layers, level).value == pytest.approx(expected, abs=0.51 * 10**-digits)


@pytest.mark.parametrize("n_points", [41, 161])
def test_error_of_the_grid_is_below_its_distance(solver: ModuleType, n_points: int) -> None:
    model = gym.make("AmericanPut-v0").unwrapped.model(n_prices=21)  # type: ignore[attr-defined]
    exact = solver.optimal_cvar(solver.unroll(model), 0.25).value
    on_grid = solver.optimal_cvar_on_grid(model, [0.25], width=1.0, n_points=n_points)[0.25]
    assert abs(on_grid - exact) < 2.0 / (n_points - 1)
