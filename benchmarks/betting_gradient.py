"""
Why a tail objective stops early: exact gradient ascent on BettingGame-v0, without sampling, critic or network.

    python benchmarks/betting_gradient.py    # half a minute

The first table has the policies that are optimal for ``E[min(R, t)]``, as CVaR is for a fixed threshold t: the VaR of nearly
all of them is t again, so an objective whose threshold follows the VaR of the present policy has no reason to move on. The
second table has the CVaR_0.25 after ascending several objectives from the uniform policy. The ascent is the natural gradient
of a softmax for each purse and round: logits grow by the advantage of the action, in standard deviations of the transformed
return.
"""

import argparse
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch as th
from betting_game import Game, build_game, distribution, on_purses, pure
from optimal_cvar import cvar, maximise, shortfall
from scipy.special import log_softmax

from sb3_ordergrad.lstatistics import Objective, exact_advantages
from sb3_ordergrad.lstatistics.objectives import interpolate_objective

LEVEL = 0.25
TAIL = f"cvar:{LEVEL}"
THRESHOLDS = (0, 10, 20, 40, 60, 80, 100, 110, 120, 140, 160)
N_STEPS = 300
STEP_SIZES = (0.5, 2.0)


class Ascent(NamedTuple):
    """
    :param text: what is ascended
    :param k: sample size at a fraction of the ascent
    :param objective: the same for the objective
    """

    text: str
    k: Callable[[float], int]
    objective: Callable[[float], Objective | str]


def constant(k: int) -> Ascent:
    """CVaR with one sample size."""
    return Ascent(f"{TAIL}, k = {k}", lambda progress: k, lambda progress: TAIL)


def between(start: str, k: int) -> Ascent:
    """From another objective to CVaR in the first 0.8 of the ascent."""
    return Ascent(
        f"from {start} to {TAIL}, k = {k}",
        lambda progress: k,
        lambda progress: interpolate_objective(start, TAIL, min(1.0, progress / 0.8)),
    )


ASCENTS = (
    *map(constant, (100, 40, 16, 8, 4)),
    Ascent(f"{TAIL}, k = 4, then 16, then 100", lambda p: 4 if p < 0.4 else 16 if p < 0.7 else 100, lambda p: TAIL),
    between("mean", 16),
    between("mean", 100),
    between("cvar:0.5", 100),
)


def thresholds(game: Game) -> list[tuple[float, float, float, float]]:
    """Threshold, VaR, CVaR and mean of the policy that is optimal for each of ``THRESHOLDS``."""
    rows = []
    for threshold in THRESHOLDS:
        policy = maximise(game.layers, shortfall(threshold))[1]
        chances = distribution(game, pure(on_purses(game, policy)))
        value_at_risk = game.returns[np.searchsorted(np.cumsum(chances), LEVEL)]
        rows.append((float(threshold), value_at_risk, cvar(game.returns, chances, LEVEL), float(chances @ game.returns)))
    return rows


def ascend(game: Game, ascent: Ascent, step_size: float, n_steps: int = N_STEPS) -> np.ndarray:
    """
    :param game: the tree
    :param ascent: what is ascended
    :param step_size: in logits per standard deviation
    :param n_steps: number of steps
    :return: probability of each return under the last policy, shape (n_6,)
    """
    logits = [np.zeros(won.shape) for won in game.won]
    policy = [np.exp(log_softmax(logit, axis=0)) for logit in logits]
    for step in range(n_steps):
        chances = distribution(game, policy)
        k, objective = ascent.k(step / n_steps), ascent.objective(step / n_steps)
        values = exact_advantages(th.from_numpy(game.returns), th.from_numpy(chances), k, objective).numpy()
        values = values / np.sqrt(chances @ values**2)
        for t in reversed(range(len(logits))):
            q_values = game.win_probability * values[game.won[t]] + (1.0 - game.win_probability) * values[game.lost[t]]
            values = (policy[t] * q_values).sum(axis=0)
            logits[t] += step_size * (q_values - values)
        policy = [np.exp(log_softmax(logit, axis=0)) for logit in logits]
    return distribution(game, policy)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    game = build_game()
    print(f"| threshold | VaR_{LEVEL} | CVaR_{LEVEL} | mean |\n|---:|---:|---:|---:|")
    for row in thresholds(game):
        print("| {:.0f} | {:.1f} | {:.2f} | {:.1f} |".format(*row))
    print(f"\n| objective | {' | '.join(f'step size {size}' for size in STEP_SIZES)} |\n|---|{'---:|' * len(STEP_SIZES)}")
    for ascent in ASCENTS:
        values = [cvar(game.returns, ascend(game, ascent, size), LEVEL) for size in STEP_SIZES]
        print(f"| {ascent.text} | {' | '.join(f'{value:.1f}' for value in values)} |", flush=True)


if __name__ == "__main__":
    main()
