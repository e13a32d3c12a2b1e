"""
Reference levels of the risk suite: the CVaR of the random policy, and the best that is known.

    python benchmarks/references.py --random              # measures random policies
    python benchmarks/references.py --found results/suite # the best policy among finished runs, evaluated anew
    python benchmarks/references.py                       # prints the table

Exact optima come from ``benchmarks/optimal_cvar.py``. All are rows of docs/data/references.csv: task, level (1 is the mean),
kind, value, error, source. The kinds are "optimum", "found", "random", and :data:`ASSUMED` until a policy is found.
"""

import argparse
import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

PATH = Path(__file__).resolve().parents[1] / "docs" / "data" / "references.csv"
N_EPISODES = 2000
KINDS = ("optimum", "found", "assumed", "random")
# Levels for the normalisation until a policy is found
ASSUMED = {
    "GuardedMaze-v1": (-6.7, "CeSoR's published agent"),
    "GuardedMazeFixedStart-v0": (-7.5, "Return Capping, read off its published plot"),
    "NoisyLunarLander-v0": (263.0, "Return Capping, read off its published plot"),
    "ServerAllocation-v0": (-18.9, "always four servers (benchmarks/random_policies.py)"),
    "FragileHalfCheetah-v0": (400.0, "bound: 200 steps at the safe speed of 2 m/s, without control cost"),
    "RiskyHalfCheetah-v0": (800.0, "bound: 200 steps at the safe speed of 4 m/s, without control cost"),
    "FragileHopper-v0": (1250.0, "bound: 500 steps at the safe speed of 1.5 m/s"),
    "RiskyHopper-v0": (1602.0, "upper normalisation bound of AC-SRM (Moghimi and Ku 2025)"),
    "NoisyInvertedPendulum-v0": (1000.0, "bound: 1000 steps outside of the noisy region"),
}


class Row(NamedTuple):
    """
    A reference level.

    :param env_id: the task
    :param level: of CVaR, in (0, 1]; 1 is the mean
    :param kind: one of :data:`KINDS`
    :param value: the CVaR
    :param error: of the value: of its discretisation, or its standard error; 0 if it is exact
    :param source: how it was found
    """

    env_id: str
    level: float
    kind: str
    value: float
    error: float
    source: str


def read(path: Path = PATH) -> list[Row]:
    """The rows of the file; none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [Row(r["env_id"], float(r["level"]), r["kind"], float(r["value"]), float(r["error"]), r["source"]) for r in rows]


def update(rows: Iterable[Row], path: Path = PATH) -> None:
    """Replace the rows of the same task, level and kind."""
    merged = {row[:3]: row for row in [*read(path), *rows]}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows(sorted(merged.values()))


def lookup(env_id: str, level: float, path: Path = PATH) -> dict[str, Row]:
    """
    :param env_id: the task
    :param level: of CVaR, 1 for the mean
    :param path: the file
    :return: its rows by kind
    """
    return {row.kind: row for row in read(path) if row.env_id == env_id and row.level == level}


def reference(env_id: str, level: float, path: Path = PATH) -> Row:
    """
    :return: the optimum, or the best that was found, or what is assumed of the task
    :raises ValueError: if there is neither
    """
    rows = lookup(env_id, level, path)
    for kind in ("optimum", "found"):
        if kind in rows:
            return rows[kind]
    if env_id in ASSUMED:
        value, source = ASSUMED[env_id]
        return Row(env_id, level, "assumed", value, 0.0, source)
    raise ValueError(f"{path} has no reference for {env_id} at level {level}: run benchmarks/references.py --found.")


def levels(env_id: str, level: float, path: Path = PATH) -> tuple[float, float]:
    """
    :return: CVaR of the random policy and of the reference
    :raises ValueError: if one is missing
    """
    rows = lookup(env_id, level, path)
    if "random" not in rows:
        raise ValueError(f"{path} has no random policy for {env_id} at level {level}: run benchmarks/references.py --random.")
    return rows["random"].value, reference(env_id, level, path).value


def standard_error(returns: np.ndarray, level: float) -> float:
    """Standard error of the CVaR of returns, by its influence function."""
    var = np.quantile(returns, level)
    return float(np.std(np.minimum(returns - var, 0.0) / level if level < 1.0 else returns) / np.sqrt(len(returns)))


def measure_random(env_id: str, level: float, n_episodes: int) -> list[Row]:
    """
    :param env_id: the task
    :param level: its level of CVaR
    :param n_episodes: number of episodes
    :return: mean and CVaR of uniform random actions, also at the levels of the optima
    """
    import gymnasium as gym
    from random_policies import random_action, rollout_returns

    from sb3_ordergrad.evaluation import cvar

    env = gym.make(env_id)
    returns, _ = rollout_returns(env, random_action, n_episodes, seed=0)
    env.close()
    source = f"{n_episodes} episodes of uniform random actions, seed 0"
    return [
        Row(env_id, q, "random", round(float(cvar(returns, q)), 4), round(standard_error(returns, q), 4), source)
        for q in sorted({1.0, level, *(row.level for row in read() if row.env_id == env_id)})
    ]


def main() -> None:
    """Measure, search or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--random", action="store_true", help="measure random policies")
    parser.add_argument("--found", type=Path, metavar="OUT", help="find the best policy among the runs of this folder")
    parser.add_argument("--tasks", nargs="+", help="tasks (all)")
    parser.add_argument("--episodes", type=int, default=N_EPISODES, help="episodes of each evaluation")
    args = parser.parse_args()
    # They read this module
    import suite_plan

    tasks = {env_id: task for env_id, task in suite_plan.load_tasks().items() if args.tasks is None or env_id in args.tasks}
    for task in tasks.values():
        if args.random:
            update(measure_random(task.env_id, task.level, args.episodes))
        if args.found is not None and "optimum" not in lookup(task.env_id, task.level):
            from suite_run import best_found

            update(best_found(task, args.found, args.episodes))
    print("| task | level | random | reference | how |\n|---|---:|---:|---:|---|")
    for task in tasks.values():
        rows = lookup(task.env_id, task.level)
        random, best = rows.get("random"), reference(task.env_id, task.level)
        value = "missing" if random is None else f"{random.value:.3f}"
        print(f"| {task.env_id} | {task.level:g} | {value} | {best.value:.3f} | {best.source} |")


if __name__ == "__main__":
    main()
