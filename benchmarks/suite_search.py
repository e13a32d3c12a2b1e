"""
Settings of the risk suite, by random search on the choosing half of its tasks.

    python benchmarks/suite_search.py    # trains; then writes docs/data/suite_search.csv and benchmarks/suite_tuned.yml
    python benchmarks/suite_search.py --report --figure docs/images/suite_search.png    # the same from the finished runs

Every method has the same number of trials and the same space: trial i draws the same common settings for all, and a value of
each of the method's own parameters; n successive trials have each of n values once. Trial 0 changes nothing. A trial trains on
each task of the choosing half but RiskyHopper-v0, which takes as long as all others, with the whole budget and a tuning seed
that no reported run has. Its score is the mean over tasks of the normalised CVaR of the last policy, clipped to [-1, 1.5]. The
best trial gives the changes that ``suite.py`` applies to all tasks, also to the held-out half.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import drawing
import numpy as np
import yaml  # type: ignore[import-untyped]
from suite import run_all
from suite_plan import ALL, FOLDER, Run, load_tasks, make_run
from suite_run import is_done, score

from sb3_ordergrad.common import files

TUNING_SEEDS = (1000,)
LEFT_OUT = ("RiskyHopper-v0",)
# Of all methods; A2C and OrderA2C have no n_epochs
COMMON: dict[str, Sequence[Any]] = {
    "lr_factor": (0.3, 1.0, 3.0),
    "gae_lambda": (0.8, 0.9, 0.95, 0.98, 1.0),
    "ent_coef": (0.0, 0.002, 0.01),
    "n_epochs": (4, 10),
}
OWN: dict[str, dict[str, Sequence[Any]]] = {
    "orderppo": {"anneal": (None, 0.0, 0.8), "credit": ("projected", "dense")},
    "ppo": {},
    "ordera2c": {"anneal": (None, 0.0, 0.8), "credit": ("projected", "dense")},
    "a2c": {},
    "return-capping": {"floor": (None, 0.0, 0.25, 0.5, 0.75), "tau": (0.05, 0.2, 0.5)},
    "cvar-ppo": {},
    "cdf-ppo": {"eta": (0.25, 0.5, 0.75, 1.0, 1.5)},
    "mean-gini": {"gini": (0.25, 0.5, 1.0, 2.0, 4.0)},
}
DATA = FOLDER.parent / "docs" / "data" / "suite_search.csv"


def draw(method: str, trial: int) -> dict[str, Any]:
    """
    :param method: key of :data:`OWN`
    :param trial: its number; 0 changes nothing
    :return: the changes of the trial
    """
    if trial == 0:
        return {}
    common = {name: values for name, values in COMMON.items() if not (method.endswith("a2c") and name == "n_epochs")}
    changes = {}
    for name, values in {**common, **OWN[method]}.items():
        # Successive blocks of trials have each value once
        block, place = divmod(trial - 1, len(values))
        changes[name] = values[np.random.default_rng([block, *name.encode()]).permutation(len(values))[place]]
    return changes


def plan(methods: Sequence[str], n_trials: int) -> dict[tuple[str, int], list[Run]]:
    """
    :param methods: keys of :data:`OWN`
    :param n_trials: of each
    :return: the runs of each trial
    """
    tasks = [task for task in load_tasks().values() if task.half == "choosing" and task.env_id not in LEFT_OUT]
    return {
        (method, trial): [
            make_run(task, method, seed, draw(method, trial), episodes=0, eval_episodes=0)
            for task in tasks
            for seed in TUNING_SEEDS
        ]
        for trial in range(n_trials)
        for method in methods
    }


def scores(runs: Sequence[Run], out: Path) -> dict[str, float] | None:
    """
    :param runs: of a trial
    :param out: folder of the results
    :return: normalised CVaR on each task, averaged over seeds; ``None`` if a run is missing
    """
    if not all(is_done(run, out) for run in runs):
        return None
    by_task: dict[str, list[float]] = {}
    for run in runs:
        by_task.setdefault(run.env_id, []).append(score(run, out)[2])
    return {env_id: float(np.mean(values)) for env_id, values in by_task.items()}


def winners(trials: Mapping[tuple[str, int], Mapping[str, float]]) -> dict[str, int]:
    """
    :param trials: scores on each task of each method and trial
    :return: the trial of each method with the best mean score; the first of equal ones
    """
    best: dict[str, int] = {}
    for (method, trial), by_task in trials.items():
        if method not in best or np.mean([*by_task.values()]) > np.mean([*trials[method, best[method]].values()]):
            best[method] = trial
    return best


def summary(trials: Mapping[tuple[str, int], Mapping[str, float]], best: Mapping[str, int], tasks: Sequence[str]) -> str:
    """Markdown table: mean score of the first and of each method's best trial, and the latter's on each task."""
    names = [env_id.rpartition("-v")[0] for env_id in tasks]
    lines = [f"| | first | best | {' | '.join(names)} |", f"|---|---:|---:|{'---:|' * len(tasks)}"]
    for method, trial in best.items():
        scores = [trials[method, trial][env_id] for env_id in tasks]
        numbers = [np.mean([*trials[method, 0].values()]), np.mean(scores), *scores]
        lines.append(f"| {ALL[method].label} | {' | '.join(f'{number:.2f}' for number in numbers)} |")
    return "\n".join(lines)


def draw_winners(trials: Mapping[tuple[str, int], Mapping[str, float]], best: Mapping[str, int], path: Path) -> None:
    """The scores of each method's best trial on each task."""
    figure = drawing.new_figure(6.6, 3.6)
    ax = figure.subplots()
    dots = {ALL[name].label: {env_id: [x] for env_id, x in trials[name, trial].items()} for name, trial in best.items()}
    drawing.plot_scores(ax, dots)
    drawing.move_legend(figure, "outside right center")
    ax.set_xlabel("normalised CVaR of one seed (0: random policy, 1: reference)")
    drawing.save(figure, path)


def write(
    planned: Mapping[tuple[str, int], Sequence[Run]],
    out: Path,
    figure: Path | None = None,
    data: Path = DATA,
    folder: Path = FOLDER,
) -> None:
    """If no trial is missing, write all as CSV and the best as YAML, print the best, and draw them if there is a figure."""
    found = {key: scores(runs, out) for key, runs in planned.items()}
    done = {key: by_task for key, by_task in found.items() if by_task is not None}
    print(f"{len(done)} of {len(planned)} trials are finished")
    if len(done) < len(planned):
        return
    best = winners(done)
    tasks = [run.env_id for run in next(iter(planned.values()))][:: len(TUNING_SEEDS)]
    print(summary(done, best, tasks))
    rows = [
        [method, trial, draw(method, trial), f"{np.mean([*by_task.values()]):.4f}", int(best[method] == trial)]
        + [f"{by_task[env_id]:.4f}" for env_id in tasks]
        for (method, trial), by_task in sorted(done.items())
    ]
    files.write_csv(data, ["method", "trial", "changes", "score", "chosen", *tasks], rows)
    text = "# Written by benchmarks/suite_search.py: the changes of the best trial of each method\n"
    chosen = {method: draw(method, trial) for method, trial in sorted(best.items())}
    files.write_text(folder / "suite_tuned.yml", text + yaml.safe_dump(chosen))
    if figure is not None:
        draw_winners(done, best, figure)


def main() -> int:
    """Train what is missing, then write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=7, help="number of trials of each method")
    parser.add_argument("--methods", nargs="+", choices=list(OWN), default=list(OWN), help="methods (all)")
    parser.add_argument("--report", action="store_true", help="train nothing")
    parser.add_argument("--figure", type=Path, metavar="PNG", help="draw the best trials")
    parser.add_argument("--n-jobs", type=int, default=os.cpu_count() or 1, help="runs at a time (number of cores)")
    parser.add_argument("--out", type=Path, default=Path("results/suite_search"), help="folder of the results")
    args = parser.parse_args()
    planned = plan(args.methods, args.trials)
    failures = [] if args.report else run_all([run for runs in planned.values() for run in runs], args.out, args.n_jobs)
    for failure in failures:
        print(f"This run failed: {failure}", file=sys.stderr)
    # Also of the methods that were left out now
    write(plan(list(OWN), args.trials), args.out, args.figure)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
