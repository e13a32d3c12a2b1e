"""
The betting game solved exactly, and how near OrderPPO comes: mean and CVaR_0.25 of the return, seeds 0-4.

    python benchmarks/betting_game.py --optimum    # dynamic programming alone: seconds
    python benchmarks/betting_game.py --optimum --figure docs/images/betting_stake.png
    python benchmarks/betting_game.py --n-jobs 2   # trains, and writes results/betting_game.md and .csv

The purses that can be reached are finitely many, so the optimum and the trained policies are evaluated exactly: "sampled" is
the policy as it was trained, "mode" takes its most probable action. Finished runs are kept: the same command continues after
an interruption. ``--optimum --env BettingGameCroppedStake-v0 --level 0.2`` gives the optimum of Return Capping's rule.
"""

import argparse
import shlex
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import drawing
import gymnasium as gym
import numpy as np
import torch as th
from optimal_cvar import Layer, cvar, maximise, optimal_cvar, shortfall, unroll

from sb3_ordergrad import OrderPPO
from sb3_ordergrad.common import files
from sb3_ordergrad.compare import command as compare
from sb3_ordergrad.compare.execute import run_all
from sb3_ordergrad.compare.report import finished_runs, provenance
from sb3_ordergrad.compare.run_folder import RunFolder
from sb3_ordergrad.compare.spec import RunSpec
from sb3_ordergrad.envs.betting_game import N_SHARES, BettingGameEnv
from sb3_ordergrad.evaluation.plots import finish, line_style

ENV_ID = "BettingGame-v0"
OBJECTIVES = ("mean", "cvar:0.25")
# A policy this near to the optimum counts as near
SHARE = 0.95


class Game(NamedTuple):
    """
    The game as a finite tree, one array a round.

    :param purses: ``[(n_0,), ..., (n_6,)]``, the purses that can be there before each round and after the last
    :param won: ``[(9, n_t), ...]``, index into ``purses[t + 1]`` after action a is won
    :param lost: the same after it is lost
    :param win_probability: chance that a bet is won
    :param layers: the same for the solver
    """

    purses: list[np.ndarray]
    won: list[np.ndarray]
    lost: list[np.ndarray]
    win_probability: float
    layers: list[Layer]

    @property
    def returns(self) -> np.ndarray:
        """All returns that can be had, ascending."""
        return self.purses[-1] - self.purses[0]


ENV = BettingGameEnv()


def build_game(env: BettingGameEnv = ENV) -> Game:
    """The tree of a betting game. In its model, the states of the next round begin where those of a round end."""
    purses, model = env.purses(), env.model()
    ends = np.cumsum([len(before) for before in purses[:-1]])
    rounds = [model.next_states[end - len(before) : end] - end for before, end in zip(purses[:-1], ends, strict=True)]
    won, lost = ([states[:, :, i].T for states in rounds] for i in (0, 1))
    return Game(purses, won, lost, env.win_probability, unroll(model))


def on_purses(game: Game, actions: list[np.ndarray]) -> list[np.ndarray]:
    """Actions for the pairs of the unrolled game as actions for each purse before each round, ``[(n_t,), ...]``."""
    policy = []
    first = 0
    for purses, layer, best in zip(game.purses, game.layers, actions, strict=False):
        on_round = np.zeros(len(purses), dtype=np.int64)
        on_round[layer.states - first] = best
        policy.append(on_round)
        first += len(purses)
    return policy


def distribution(game: Game, policy: list[np.ndarray]) -> np.ndarray:
    """
    :param game: the tree
    :param policy: probability of each action for each purse before each round, ``[(9, n_t), ...]``
    :return: probability of each final purse, ``(n_6,)``
    """
    reached = np.ones(1)
    for t, action_probabilities in enumerate(policy):
        flow = reached * action_probabilities
        reached = np.zeros(len(game.purses[t + 1]))
        np.add.at(reached, game.won[t], game.win_probability * flow)
        np.add.at(reached, game.lost[t], (1.0 - game.win_probability) * flow)
    return reached


def pure(actions: list[np.ndarray]) -> list[np.ndarray]:
    """Actions ``[(n_t,), ...]`` as action probabilities ``[(9, n_t), ...]``."""
    return [np.eye(N_SHARES + 1)[best].T for best in actions]


def level_of(objective: str) -> float:
    """The share of the worst returns that an objective averages: 1 for ``mean``, q for ``cvar:q``."""
    return 1.0 if objective == "mean" else float(objective.removeprefix("cvar:"))


def figures(game: Game, policy: list[np.ndarray], objectives: tuple[str, ...] = OBJECTIVES) -> dict[str, float]:
    """Each objective's value under action probabilities ``[(9, n_t), ...]``."""
    probabilities = distribution(game, policy)
    return {objective: cvar(game.returns, probabilities, level_of(objective)) for objective in objectives}


def optimum(game: Game, objective: str) -> list[np.ndarray]:
    """An optimal policy: the best action for each purse before each round, ``[(n_t,), ...]``."""
    best = optimal_cvar(game.layers, level_of(objective))
    policy = on_purses(game, best.policy)
    # The bound is reached by a policy: this is what makes it the optimum
    assert abs(figures(game, pure(policy), (objective,))[objective] - best.value) < 1e-9
    return policy


def learned(game: Game, model: OrderPPO, deterministic: bool) -> list[np.ndarray]:
    """Action probabilities of a trained policy, ``[(9, n_t), ...]``: its own, or 1 for the most probable action."""
    policy = []
    for t, purses in enumerate(game.purses[:-1]):
        observations = np.stack([ENV.observation(purse, t) for purse in purses])
        with th.no_grad():
            action_distribution = model.policy.get_distribution(model.policy.obs_to_tensor(observations)[0]).distribution
        assert isinstance(action_distribution, th.distributions.Categorical)
        policy.append(action_distribution.probs.double().numpy().T)
    return pure([probabilities.argmax(axis=0) for probabilities in policy]) if deterministic else policy


def sketch(game: Game, policy: list[np.ndarray]) -> str:
    """The purses that occur under a pure policy, the likeliest first, with the eighths staked: one line a round."""
    lines = []
    reached = np.ones(1)
    for t, actions in enumerate(policy):
        likely = np.argsort(-reached, kind="stable")[:6]
        states = (f"{game.purses[t][i]:.4g}: {actions[i]} ({reached[i]:.2f})" for i in likely if reached[i] > 0.0)
        lines.append(f"  round {t + 1}, purse: eighths staked (probability): " + ", ".join(states))
        following = np.zeros(len(game.purses[t + 1]))
        indices = np.arange(len(actions))
        np.add.at(following, game.won[t][actions, indices], game.win_probability * reached)
        np.add.at(following, game.lost[t][actions, indices], (1.0 - game.win_probability) * reached)
        reached = following
    return "\n".join(lines)


def draw_optimum(game: Game, objectives: tuple[str, ...], path: Path) -> None:
    """Draw the share of the purse that each optimal policy stakes in the last round."""
    figure = drawing.new_figure(5.2, 2.8)
    ax = figure.subplots()
    for index, objective in enumerate(objectives):
        stakes = optimum(game, objective)[-1] / N_SHARES
        # Without a purse there is nothing to stake
        ax.step(game.purses[-2][1:], stakes[1:], where="post", label=f"optimal for {objective}", **line_style(index))
    ax.set(xlabel="purse before the last round", ylabel="share staked")
    finish(ax)
    drawing.save(figure, path)


def print_optimum(game: Game, objectives: tuple[str, ...]) -> None:
    """All optima, each with the other figures of its policy, the policies, and others for comparison."""
    print(f"{sum(map(len, game.purses)):,} pairs of round and purse\n")
    print(f"| policy | {' | '.join(objectives)} |\n|---|" + "---:|" * len(objectives))
    best = {objective: optimum(game, objective) for objective in objectives}
    rows = {f"optimal for {objective}": pure(policy) for objective, policy in best.items()}
    for objective, policy in best.items():
        mixed = [0.98 * probabilities + 0.02 / (N_SHARES + 1) for probabilities in pure(policy)]
        rows[f"the same for {objective}, 2 % of the actions random"] = mixed
    # Each is the best answer to the tail that it has itself, which is a local optimum of CVaR
    for purse in (32, 64, 96, 144, 256):
        rows[f"aims at a purse of {purse}"] = pure(on_purses(game, maximise(game.layers, shortfall(purse - ENV.start))[1]))
    rows |= {f"always {a}/8": pure([np.full(len(purses), a) for purses in game.purses[:-1]]) for a in range(N_SHARES + 1)}
    for label, policy in rows.items():
        print(f"| {label} | " + " | ".join(f"{value:.2f}" for value in figures(game, policy, objectives).values()) + " |")
    for objective, policy in best.items():
        print(f"\noptimal for {objective}\n{sketch(game, policy)}")


def plan(args: argparse.Namespace) -> list[RunSpec]:
    """The runs, as the command ``compare`` makes them: ``mean`` has the settings of ppo.yml, CVaR those of orderppo.yml."""
    argv = ["--env", ENV_ID, "--objectives", *OBJECTIVES, "--seeds", str(args.seeds), "--out", str(args.out)]
    argv += ["--steps", str(args.steps)] if args.steps is not None else []
    return compare.plan(compare.make_parser().parse_args(argv))


def report(game: Game, specs: list[RunSpec], out: Path) -> str:
    """The table of the finished runs; writes ``<out>/betting_game.csv`` as well."""
    header = ("objective", "seed", "sampled", "sampled / optimum", "mode", "mode / optimum", "mean sampled", "CVaR sampled")
    rows = []
    summaries = []
    for objective in OBJECTIVES:
        best = figures(game, pure(optimum(game, objective)))[objective]
        shares = []
        for spec in specs:
            if spec.objective != objective or not RunFolder(spec).is_done():
                continue
            model = OrderPPO.load(spec.folder / "model.zip", device="cpu")
            sampled, mode = (figures(game, learned(game, model, deterministic)) for deterministic in (False, True))
            shares.append(sampled[objective] / best)
            values = (sampled[objective], shares[-1], mode[objective], mode[objective] / best, *sampled.values())
            rows.append((objective, str(spec.seed), *(f"{value:.3f}" for value in values)))
        n_near = sum(share >= SHARE for share in shares)
        summaries.append(
            f"`{objective}`: optimum {best:.3f}; {n_near} of {len(shares)} sampled policies within {1 - SHARE:.0%} of it."
        )
    files.write_csv(out / "betting_game.csv", header, rows)
    lines = [header, ("---", *["---:"] * (len(header) - 1)), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n\n" + "\n".join(summaries)


def main() -> None:
    """Print the optimum, or train what is missing, print the table and write it to ``<out>/betting_game.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--optimum", action="store_true", help="train nothing: the exact optima and their policies")
    parser.add_argument("--env", default=ENV_ID, help="with --optimum: the betting game to solve")
    parser.add_argument("--level", type=float, default=0.25, help="with --optimum: the level of CVaR")
    parser.add_argument("--figure", type=Path, metavar="PNG", help="with --optimum: draw the stakes of the last round")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, from 0")
    parser.add_argument("--steps", type=int, help="steps of each run (default: those of orderppo.yml)")
    parser.add_argument("--n-jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--report", action="store_true", help="train nothing: the table of the runs that are finished")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder of the results")
    args = parser.parse_args()
    if args.optimum:
        env: Any = gym.make(args.env).unwrapped
        game, objectives = build_game(env), ("mean", f"cvar:{args.level:g}")
        print_optimum(game, objectives)
        if args.figure is not None:
            draw_optimum(game, objectives, args.figure)
        return
    game = build_game()
    start = time.monotonic()
    specs = plan(args)
    failed = [] if args.report else run_all(specs, args.n_jobs)
    command = shlex.join(["python", *sys.argv])
    # Its first paragraph is about sampled episodes, and these figures are exact
    finished = finished_runs(specs)
    origin = provenance(finished, command, time.monotonic() - start).partition("\n\n")[2] if finished else ""
    text = f"{report(game, specs, args.out)}\n\n{origin}\n"
    print(text)
    files.write_text(args.out / "betting_game.md", f"# {ENV_ID}\n\n{text}")
    for failure in failed:
        print(f"This run failed: {failure}", file=sys.stderr)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
