"""
Choices of OrderPPO, one at a time, on the choosing half of the risk suite and on tuning seeds that no reported run has.

    python benchmarks/suite_trials.py                # trains what is missing; writes docs/data/suite_trials_choosing.csv
    python benchmarks/suite_trials.py --choices default "no annealing" --seeds 1000
    python benchmarks/suite_trials.py --choices default PPO --half held-out    # only to report, not to choose
    python benchmarks/suite_trials.py --figure docs/images/suite_trials.png    # trains nothing, draws what is in docs/data

prints, for each task, the CVaR of the last policy (400 episodes, sampled actions) of each seed, and the normalised CVaR
averaged over tasks and seeds, clipped to [-1, 1.5] as in ``suite_search.py``.
"""

import argparse
import csv
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import drawing
import numpy as np
from suite import run_all
from suite_plan import FOLDER, Run, Task, load_tasks, make_run
from suite_run import is_done, score

from sb3_ordergrad.common import files
from sb3_ordergrad.common.groups import default_k
from sb3_ordergrad.lstatistics import parse_objective

# One episode in the tail of each sample in place of four, and groups of the default size
ONE_IN_TAIL: dict[str, Any] = {
    "k": lambda task: math.ceil(1 / task.level),
    "group_size": lambda task: 2 * default_k(parse_objective(f"cvar:{task.level}")),
}
# Changes of OrderPPO's defaults; functions are those of the task
CHOICES: dict[str, dict[str, Any]] = {
    "default": {},
    "no annealing": {"anneal": 0.0},
    "annealed over 0.3 of training": {"anneal": 0.3},
    "annealed over 0.8 of training": {"anneal": 0.8},
    "annealed by level from CVaR_0.6": {"anneal": 0.8, "anneal_from": "cvar:0.6"},
    "annealed from CVaR_0.5": {"anneal_from": "cvar:0.5"},
    "rare losses as sampled": {"smooth_rare_losses": False},
    "lambda 0.8": {"gae_lambda": 0.8},
    "lambda 0.95": {"gae_lambda": 0.95},
    "k 16, group of 32": {"k": 16, "group_size": 32},
    "k 1 / level": ONE_IN_TAIL,
    "k 1 / level, no annealing": {**ONE_IN_TAIL, "anneal": 0.0},
    "dense credit": {"credit": "dense"},
    "PPO": {},
}
SEEDS = (1000, 1001)
DATA = FOLDER.parent / "docs" / "data"
HALVES = ("choosing", "held-out")
COLUMNS = ("choice", "task", "seed", "mean", "cvar", "normalised", "commit")


def make_trial(task: Task, choice: str, seed: int) -> Run:
    """
    :param task: the task
    :param choice: key of :data:`CHOICES`
    :param seed: of the training
    :return: its run
    """
    changes = {key: value(task) if callable(value) else value for key, value in CHOICES[choice].items()}
    return make_run(task, "ppo" if choice == "PPO" else "orderppo", seed, changes, episodes=0, eval_episodes=0)


def table(half: str, choices: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Markdown table of one half: normalised CVaR averaged over tasks and seeds, and the CVaR of each seed."""
    tasks = [task.env_id for task in load_tasks().values() if task.half == half]
    lines = [f"| choice | normalised | {' | '.join(tasks)} |", f"|---|---:|{'---|' * len(tasks)}"]
    for choice in choices:
        of_task = {env_id: [row for row in rows if row[:2] == [choice, env_id]] for env_id in tasks}
        scores = [np.mean([float(row[5]) for row in mine]) for mine in of_task.values() if mine]
        cells = [", ".join(row[4] for row in mine) for mine in of_task.values()]
        lines += [f"| {choice} | {np.mean(scores):.2f} | {' | '.join(cells)} |"] if scores else []
    return "\n".join(lines)


def read(half: str) -> list[list[str]]:
    """The rows of one half in docs/data."""
    path = DATA / f"suite_trials_{half}.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


def scores(half: str) -> dict[str, dict[str, list[float]]]:
    """Normalised CVaR of each seed of OrderPPO's defaults and PPO, by label and task, from docs/data."""
    labels = {"default": "OrderPPO", "PPO": "PPO"}
    by_label: dict[str, dict[str, list[float]]] = {label: {} for label in labels.values()}
    for choice, env_id, _, _, _, normalised, _ in read(half):
        if choice in labels:
            by_label[labels[choice]].setdefault(env_id, []).append(float(normalised))
    return by_label


def draw(path: Path) -> None:
    """Draw OrderPPO and PPO on all tasks."""
    figure = drawing.new_figure(6.6, 4.8)
    sizes = [sum(task.half == half for task in load_tasks().values()) for half in HALVES]
    axes = figure.subplots(2, 1, sharex=True, height_ratios=sizes)
    for ax, half in zip(axes, HALVES, strict=True):
        drawing.plot_scores(ax, scores(half))
        ax.set_title(f"{half} half", fontsize="medium", loc="left")
    drawing.move_legend(figure, "outside upper right")
    axes[1].set_xlabel("normalised CVaR of a seed (0: random policy, 1: reference)")
    drawing.save(figure, path)


def main() -> int:
    """Train what is missing, then write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--choices", nargs="+", choices=list(CHOICES), default=list(CHOICES), help="choices (all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), help="tuning seeds (1000 1001)")
    parser.add_argument("--half", choices=HALVES, default="choosing", help="of the suite (choosing)")
    parser.add_argument("--report", action="store_true", help="train nothing")
    parser.add_argument("--figure", type=Path, metavar="PNG", help="train nothing, draw what is in docs/data")
    parser.add_argument("--n-jobs", type=int, default=os.cpu_count() or 1, help="runs at a time (number of cores)")
    parser.add_argument("--out", type=Path, default=Path("results/suite_search"), help="folder of the results")
    args = parser.parse_args()
    if args.figure is not None:
        draw(args.figure)
        return 0
    planned = {
        (choice, task.env_id, seed): make_trial(task, choice, seed)
        for seed in args.seeds
        for choice in args.choices
        for task in load_tasks().values()
        if task.half == args.half
    }
    failures = [] if args.report else run_all(list(planned.values()), args.out, args.n_jobs)
    rows = []
    for (choice, env_id, seed), run in planned.items():
        if is_done(run, args.out):
            returns, value, normalised = score(run, args.out)
            commit = files.read_json(run.folder(args.out) / "record.json")["commit"]  # type: ignore[index]
            rows.append([choice, env_id, str(seed), f"{returns.mean():.4g}", f"{value:.4g}", f"{normalised:.4f}", commit])
    # Those of other choices and seeds stay
    merged = {tuple(row[:3]): row for row in [*read(args.half), *rows]}
    files.write_csv(DATA / f"suite_trials_{args.half}.csv", COLUMNS, list(merged.values()))
    print(table(args.half, args.choices, rows))
    for failure in failures:
        print(f"This run failed: {failure}", file=sys.stderr)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
