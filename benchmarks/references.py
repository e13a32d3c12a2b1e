"""
Reference levels of the risk suite: the CVaR of the random policy, and the best that is known.

    python benchmarks/references.py --simple    # measures random policies, and those that do nothing or one thing
    python benchmarks/references.py --found results/suite results/off_policy    # the best policies of finished runs
    python benchmarks/references.py             # prints the table

Exact optima come from ``benchmarks/optimal_cvar.py``. All are rows of docs/data/references.csv: task, level (1 is the mean),
kind, value, error, source. The kinds are "optimum", "found" (the best policy that was trained), "simple" (the best of
``benchmarks/random_policies.py``) and "random". The reference is the optimum, else the highest of what was found, simple or
published.
"""

import argparse
import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sb3_ordergrad.common import files
from sb3_ordergrad.evaluation import cvar

PATH = Path(__file__).resolve().parents[1] / "docs" / "data" / "references.csv"
N_EPISODES = 2000
KINDS = ("optimum", "found", "simple", "random")
# Figures of publications for policies of their own
PUBLISHED = {
    "GuardedMaze-v1": (-6.7, "CeSoR's published agent"),
    "GuardedMazeFixedStart-v0": (-7.5, "Return Capping, read off its published plot"),
    "NoisyLunarLander-v0": (263.0, "Return Capping, read off its published plot"),
    "RiskyHopper-v0": (1602.0, "upper normalisation bound of AC-SRM (Moghimi and Ku 2025)"),
}


class Row(NamedTuple):
    """
    A reference level.

    :param env_id: the task
    :param level: of CVaR, in (0, 1]; 1 is the mean
    :param kind: one of :data:`KINDS`, or "published"
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
    :return: the optimum, or the best policy that was found, simple or published
    :raises ValueError: if there is none
    """
    rows = lookup(env_id, level, path)
    if "optimum" in rows:
        return rows["optimum"]
    known = [row for kind, row in rows.items() if kind != "random"]
    if env_id in PUBLISHED:
        value, source = PUBLISHED[env_id]
        known.append(Row(env_id, level, "published", value, 0.0, source))
    if not known:
        raise ValueError(f"{path} has no reference for {env_id} at level {level}: run benchmarks/references.py --found.")
    return max(known, key=lambda row: row.value)


def levels(env_id: str, level: float, path: Path = PATH) -> tuple[float, float]:
    """
    :return: CVaR of the random policy and of the reference
    :raises ValueError: if one is missing
    """
    rows = lookup(env_id, level, path)
    if "random" not in rows:
        raise ValueError(f"{path} has no random policy for {env_id} at level {level}: run benchmarks/references.py --simple.")
    return rows["random"].value, reference(env_id, level, path).value


def standard_error(returns: np.ndarray, level: float) -> float:
    """Standard error of the CVaR of returns, by its influence function."""
    var = np.quantile(returns, level)
    return float(np.std(np.minimum(returns - var, 0.0) / level if level < 1.0 else returns) / np.sqrt(len(returns)))


def measure_simple(env_id: str, level: float, n_episodes: int) -> list[Row]:
    """
    :param env_id: the task
    :param level: its level of CVaR
    :param n_episodes: number of episodes of each policy
    :return: mean and CVaR of uniform random actions, also at the levels of the optima, and of the best other simple policy
    """
    import gymnasium as gym
    from random_policies import rollout_returns, simple_policies

    returns = {}
    for name, policy in simple_policies()[env_id].items():
        env = gym.make(env_id)
        returns[name], _ = rollout_returns(env, policy, n_episodes, seed=0)
        env.close()
    levels = sorted({1.0, level, *(row.level for row in read() if row.env_id == env_id)})
    source = f"{n_episodes} episodes of uniform random actions, seed 0"
    rows = [make_row(env_id, q, "random", returns["random"], source) for q in levels]
    best = max(set(returns) - {"random"}, key=lambda name: float(cvar(returns[name], level)))
    return [*rows, *(make_row(env_id, q, "simple", returns[best], f"{best}, {n_episodes} episodes") for q in (1.0, level))]


def make_row(env_id: str, level: float, kind: str, returns: np.ndarray, source: str) -> Row:
    """The CVaR of returns, shape (n_episodes,), as a row."""
    return Row(env_id, level, kind, round(float(cvar(returns, level)), 4), round(standard_error(returns, level), 4), source)


def best_found(env_id: str, level: float, folders: Iterable[Path]) -> list[Row]:
    """
    The best policy among finished runs: the one with the best CVaR in every other of its episodes. Its value is the CVaR of
    the remaining episodes, which did not choose it.

    :param env_id: the task
    :param level: of CVaR
    :param folders: of the results
    :return: its mean and its CVaR; nothing if no run is finished
    """
    from suite_plan import ALL

    candidates = []
    for folder in folders:
        for path in (folder / env_id).glob("*/record.json"):
            with np.load(path.parent / "returns.npz") as arrays:
                for name in ("sampled", "mode"):
                    returns = arrays[name].astype(np.float64)
                    candidates.append((float(cvar(returns[::2], level)), name, returns[1::2], path))
    if not candidates:
        return []
    _, name, returns, path = max(candidates, key=lambda candidate: candidate[0])
    run = (files.read_json(path) or {})["run"]
    how = {"sampled": "sampled actions", "mode": "mode of the policy"}[name]
    label = ALL[run["method"]].label.removesuffix(", 0.1 of the steps")
    source = f"{label}, seed {run['seed']}, {run['steps']:,} steps, {how} (results/{path.parents[2].name})"
    return [make_row(env_id, q, "found", returns, source) for q in (1.0, level)]


def main() -> None:
    """Measure, search or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simple", action="store_true", help="measure random and other simple policies")
    parser.add_argument("--found", nargs="+", type=Path, metavar="OUT", help="find the best policy among the runs of folders")
    parser.add_argument("--tasks", nargs="+", help="tasks (all)")
    parser.add_argument("--episodes", type=int, default=N_EPISODES, help="episodes of each evaluation")
    args = parser.parse_args()
    # They read this module
    import suite_plan

    tasks = {env_id: task for env_id, task in suite_plan.load_tasks().items() if args.tasks is None or env_id in args.tasks}
    for task in tasks.values():
        if args.simple:
            update(measure_simple(task.env_id, task.level, args.episodes))
        if args.found is not None and "optimum" not in lookup(task.env_id, task.level):
            update(best_found(task.env_id, task.level, args.found))
    print("| task | level | random | simple | reference | how |\n|---|---:|---:|---:|---:|---|")
    for task in tasks.values():
        rows, best = lookup(task.env_id, task.level), reference(task.env_id, task.level)
        values = " | ".join(f"{rows[kind].value:.3f}" if kind in rows else "missing" for kind in ("random", "simple"))
        print(f"| {task.env_id} | {task.level:g} | {values} | {best.value:.3f} | {best.source} |")


if __name__ == "__main__":
    main()
