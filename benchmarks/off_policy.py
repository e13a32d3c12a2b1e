"""
OrderSAC and SAC after 200 000 steps, and OrderPPO after a million, on three robots of the risk suite.

    python benchmarks/off_policy.py --n-jobs 2                              # 45 runs: 3.6 hours of two cores
    python benchmarks/off_policy.py --methods ordersac --seeds 0 1
    python benchmarks/off_policy.py --report docs/algorithms/ordersac.md    # trains nothing: tables and figures of the page

Finished runs are kept. Tasks, levels and evaluations are those of the suite (suite.yml): 1000 fresh episodes of the last
policy with sampled actions, ten evaluations during training. OrderPPO has the suite's settings. OrderSAC and SAC share theirs:
one gradient step on two transitions, networks of (128, 128).
"""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import drawing
import numpy as np
import pages
from suite import run_all
from suite_plan import ROBOTS, Run, load_tasks, make_run
from suite_report import load, provenance, reference_line, table, text
from suite_run import is_done

from sb3_ordergrad.common import files
from sb3_ordergrad.evaluation import bootstrap_over_seeds, cvar, plot_learning_curves
from sb3_ordergrad.evaluation.evaluation_log import read_evaluations

TASKS = tuple(robot for robot in ROBOTS if robot != "RiskyHopper-v0")
LABELS = {"ordersac": "OrderSAC", "sac": "SAC", "orderppo": "OrderPPO, 1 M steps"}
OFF_POLICY_STEPS, ON_POLICY_STEPS = 200_000, 1_000_000
OWN_SETTINGS = {
    "n_envs": 4,
    "gradient_steps": 2,
    "learning_rate": 7e-4,
    "learning_starts": 2000,
    "policy_kwargs": "dict(net_arch=[128, 128])",
}
BEGIN, END = "<!-- off-policy: written by benchmarks/off_policy.py --report -->", "<!-- end of off-policy -->"


def plan(methods: Sequence[str], seeds: Sequence[int]) -> list[Run]:
    """The runs, those of a seed together."""
    tasks, runs = load_tasks(), []
    for seed in seeds:
        for env_id in TASKS:
            for name in methods:
                run = make_run(tasks[env_id], name, seed)
                if name == "orderppo":
                    runs.append(replace(run, steps=ON_POLICY_STEPS))
                else:
                    runs.append(replace(run, steps=OFF_POLICY_STEPS, settings=run.settings | OWN_SETTINGS))
    return runs


def finished(runs: Sequence[Run], out: Path, env_id: str, method: str) -> list[tuple[Run, dict[str, Any]]]:
    """The finished runs of a method on a task, with their records."""
    mine = [run for run in runs if (run.env_id, run.method) == (env_id, method) and is_done(run, out)]
    return [(run, files.read_json(run.folder(out) / "record.json") or {}) for run in mine]


def task_table(env_id: str, runs: Sequence[Run], out: Path) -> list[str]:
    """
    :param env_id: the task
    :param runs: all runs
    :param out: folder of the results
    :return: mean and CVaR of each method with intervals over seeds and episodes, the CVaR of each seed, minutes of a run
    """
    level, rows = load_tasks()[env_id].level, []
    for name, seeds in load(runs, out)[env_id].items():
        statistics = {"mean": ("mean", None), "cvar": (f"cvar:{level:g}", None)}
        values = bootstrap_over_seeds([returns["sampled"] for returns in seeds.values()], statistics=statistics)
        each = ", ".join(f"{float(cvar(returns['sampled'], level)):.0f}" for returns in seeds.values())
        minutes = np.mean([record["seconds_training"] for _, record in finished(runs, out, env_id, name)]) / 60
        rows.append([LABELS[name], text(values["mean"], 0), text(values["cvar"], 0), each, f"{minutes:.0f}"])
    return table(["method", "mean", f"CVaR_{level:g}", "CVaR of each seed", "minutes of a run"], rows)


def draw(runs: Sequence[Run], out: Path, path: Path) -> None:
    """Draw the CVaR of the evaluations during training, over steps and over time."""
    figure = drawing.new_figure(6.6, 2.6 * len(TASKS))
    axes = figure.subplots(len(TASKS), 2, squeeze=False)
    for row, env_id in zip(axes, TASKS, strict=True):
        objective = f"cvar:{load_tasks()[env_id].level:g}"
        by_steps, by_time = {}, {}
        for name, label in LABELS.items():
            mine = finished(runs, out, env_id, name)
            if not mine:
                continue
            logs = [read_evaluations(run.folder(out) / "evaluations.npz") for run, _ in mine]
            by_steps[label] = [(log["timesteps"], log["results"]) for log in logs]
            # a run of average speed
            pace = float(np.mean([record["seconds_training"] / record["timesteps"] for _, record in mine])) / 60
            by_time[label] = [(log["timesteps"] * pace, log["results"]) for log in logs]
        plot_learning_curves(by_steps, objective, ax=row[0])
        plot_learning_curves(by_time, objective, ax=row[1])
        row[0].set_title(env_id, fontsize="medium", loc="left")
        row[1].set(xlabel="minutes of one core", ylabel="")
        row[1].ticklabel_format(axis="x", style="plain")
    drawing.move_legend(figure, "outside upper center")
    drawing.save(figure, path)


def report(runs: Sequence[Run], out: Path, page: Path, command: str) -> None:
    """
    Write the tables and the figure of the finished runs.

    :raises ValueError: if the page lacks the markers
    """
    lines = []
    for env_id in (task for task in TASKS if task in load(runs, out)):
        task = load_tasks()[env_id]
        lines += [f"### {env_id}", "", reference_line(task), "", *task_table(env_id, runs, out), ""]
    image = page.parents[1] / "images" / "off_policy.png"
    lines += [f"![CVaR during training](../images/{image.name})", "", *provenance(runs, out, command)]
    # First, since a page without markers is an error
    pages.write_between(page, BEGIN, END, "\n".join(lines))
    draw(runs, out, image)


def main() -> int:
    """Train what is missing, or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=LABELS, default=list(LABELS), help=", ".join(LABELS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)), help="training seeds (0 to 4)")
    parser.add_argument("--report", type=Path, metavar="PAGE", help="train nothing, write the tables and the figure")
    parser.add_argument("--n-jobs", type=int, default=os.cpu_count() or 1, help="runs at a time (number of cores)")
    parser.add_argument("--out", type=Path, default=Path("results/off_policy"), help="folder of the results")
    args = parser.parse_args()
    runs = plan(args.methods, args.seeds)
    if args.report is not None:
        training = [word for word in sys.argv[1:] if word not in ("--report", str(args.report))]
        report(runs, args.out, args.report, shlex.join(["python", "benchmarks/off_policy.py", *training]))
        return 0
    failures = run_all(runs, args.out, args.n_jobs)
    for failure in failures:
        print(f"This run failed: {failure}", file=sys.stderr)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
