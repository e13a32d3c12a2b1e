"""
The five claims about ReMAC (arXiv 2606.05888), beside SAC and PPO on four MuJoCo tasks.

    python benchmarks/remac_claims.py --n-jobs 2                                  # all runs: 7 hours of 2 cores
    python benchmarks/remac_claims.py --tasks Reacher-v5 --methods k1 k8 --seeds 2
    python benchmarks/remac_claims.py --report docs/experiments/remac_claims.md   # no training: page, CSV file and figures

with the finished runs of the variants, which are made on request:

    python benchmarks/remac_claims.py --tasks HalfCheetah-v5 --seeds 3 \
        --methods k4-lr0.001 k4-eps0.01 k4-soft k4to1 k1.5 k1-lr0.001 sac-lr0.001

Finished runs are kept: the same command continues after an interruption and adds new runs. Each run uses one thread.

As published: tanh networks of (64, 64), log std in [-10, 2], N = 8 action samples (16 for k = 8), batch size, discount, polyak
factor and learning rate of each task, 10 000 steps before learning starts, normalised observations, and as final values the
means of the evaluations in the last tenth of training. SAC has the same settings and its automatic entropy coefficient; PPO
has SB3's settings and the discount of the task.

Unlike the publication (3 M steps, one update per transition), a run has 100 000 steps and one update per four transitions,
the same for ReMAC and SAC: 16 environments, four gradient steps after each step of all of them.
"""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import drawing
import numpy as np
import pages
from joblib import Parallel, delayed  # type: ignore[import-untyped]
from remac_claims_run import EPSILON_TASKS, EPSILONS, KS, METHODS, TASKS, VARIANTS, Run, curve, final, train
from suite_report import table, text
from tqdm import tqdm  # type: ignore[import-untyped]

from sb3_ordergrad.common import files
from sb3_ordergrad.evaluation import Interval, bootstrap_interval
from sb3_ordergrad.evaluation.plots import finish, line_and_band, mean_and_range

BEGIN, END = "<!-- claims: written by benchmarks/remac_claims.py --report -->", "<!-- end of claims -->"
UNCLEAR = "not at our budget"
MEASURES = {
    "mode": "return of the most probable actions",
    "sampled": "return of sampled actions",
    "entropy": "entropy of the policy, nats",
    "log_std": "log std before the squashing",
}


class Results:
    """
    Finished runs.

    :param runs: all runs
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.n_runs = len(runs)
        self.runs = {run: result for run in runs if (result := run.result()) is not None}
        self.tasks = list(dict.fromkeys(run.task for run in self.runs))
        self.methods = list(dict.fromkeys(run.method for run in self.runs))

    def of(self, task: str, method: str) -> list[dict[str, Any]]:
        """Results of all seeds."""
        return [result for run, result in self.runs.items() if (run.task, run.method) == (task, method)]

    def interval(self, measure: str, task: str, methods: Sequence[str], statistic: Callable[..., Any]) -> Interval | None:
        """``statistic`` of the final values of each method, over seeds; ``None`` if one has fewer than three."""
        samples = [np.array([final(result, measure) for result in self.of(task, name)]) for name in methods]
        if min(map(len, samples)) < 3 or not np.isfinite(np.concatenate(samples)).all():
            return None
        return bootstrap_interval(samples, statistic)


def mean(sample: np.ndarray) -> np.ndarray:
    """Over seeds."""
    return sample.mean(axis=-1)


def difference(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Of the means over seeds."""
    return mean(upper) - mean(lower)


def slope(*samples: np.ndarray) -> np.ndarray:
    """Least squares slope of the mean over seeds on log2 k, for the values of k in ``KS``."""
    x = np.log2(KS) - np.log2(KS).mean()
    return np.tensordot(x / (x @ x), [mean(sample) for sample in samples], axes=1)


def best_above(reference: np.ndarray, *samples: np.ndarray) -> np.ndarray:
    """The largest mean over seeds minus that of the reference."""
    return np.max([mean(sample) for sample in samples], axis=0) - mean(reference)


def best_above_one_sd(reference: np.ndarray, *samples: np.ndarray) -> np.ndarray:
    """The same, plus one standard deviation of the reference over seeds."""
    return best_above(reference, *samples) + reference.std(axis=-1, ddof=1)


class Claim(NamedTuple):
    """
    :param text: what is claimed
    :param measure: final value that it is about
    :param comparisons: methods that are compared, by the name of the comparison
    :param statistic: of their final values, positive if the claim holds
    :param on_most: whether it must hold on most tasks only
    """

    text: str
    measure: str
    comparisons: dict[str, tuple[str, ...]]
    statistic: Callable[..., Any]
    on_most: bool = False


RETRIES = tuple(f"k{k}" for k in KS)
SUFFIXES = {f"eps {eps:g}": "" if eps == EPSILONS[0] else f"-eps{eps:g}" for eps in EPSILONS}
CLAIMS = (
    Claim("1. Entropy of each k > 1 above k = 1", "entropy", {f"k = {k}": (f"k{k}", "k1") for k in KS[1:]}, difference),
    Claim("2. Log std grows with k", "log_std", {"for twice the k": RETRIES}, slope),
    Claim(
        "3. Entropy of k = 8 above k = 1 for each eps",
        "entropy",
        {name: (f"k8{suffix}", f"k1{suffix}") for name, suffix in SUFFIXES.items()},
        difference,
    ),
    *(
        Claim(f"{claim}, {name}", measure, {"return": (reference, *RETRIES[1:])}, statistic, reference == "ppo")
        for claim, reference, statistic in (
            ("4. Best k > 1 within one s.d. of SAC or above", "sac", best_above_one_sd),
            ("5. Best k > 1 above PPO on most tasks", "ppo", best_above),
        )
        for measure, name in (("mode", "mode"), ("sampled", "sampled actions"))
    ),
)


def answer(intervals: Sequence[Interval | None]) -> str:
    """Yes if all intervals are above zero, no if one is below it."""
    if any(interval is not None and interval.high < 0 for interval in intervals):
        return "no"
    return "yes" if all(interval is not None and interval.low > 0 for interval in intervals) else UNCLEAR


def overall(answers: Sequence[str], on_most: bool) -> str:
    """The answer of all tasks: yes if it is yes on all of them, no if it is no on one; or on more than half of them."""
    if on_most:
        return next((word for word in ("yes", "no") if 2 * answers.count(word) > len(answers)), UNCLEAR)
    return "no" if "no" in answers else "yes" if answers and set(answers) == {"yes"} else UNCLEAR


def rounded(interval: Interval) -> str:
    """The interval: no decimals from 100 on, one from 10 on, else two."""
    return text(interval, 0 if abs(interval.value) >= 100 else 1 if abs(interval.value) >= 10 else 2)


def claims_tables(results: Results) -> list[str]:
    """Each claim, its answer, and its differences; tasks that lack runs for one of its comparisons are left out."""
    lines = []
    for claim in CLAIMS:
        answers, rows = [], []
        for task in results.tasks:
            intervals = {
                name: results.interval(claim.measure, task, methods, claim.statistic)
                for name, methods in claim.comparisons.items()
            }
            cells = [[name, rounded(interval)] for name, interval in intervals.items() if interval is not None]
            if len(cells) == len(intervals):
                answers.append(answer(list(intervals.values())))
                rows += [[task, *cells[0], answers[-1]], *(["", *other, ""] for other in cells[1:])]
        lines += ["", f"### {claim.text}: {overall(answers, claim.on_most)}", ""]
        lines += table(["task", "comparison", "difference [95 % interval]", "answer"], rows) if rows else []
    return lines


def measure_table(results: Results, measure: str) -> list[str]:
    """Final values of each method and task with their intervals over seeds, and the number of seeds."""
    rows = []
    for name in results.methods:
        intervals = {task: results.interval(measure, task, [name], mean) for task in results.tasks}
        cells = ["" if x is None else f"{rounded(x)} ({len(results.of(task, name))})" for task, x in intervals.items()]
        rows += [[name, *cells]] if any(cells) else []
    return table(["method", *results.tasks], rows)


def draw(results: Results, measure: str, label: str, path: Path) -> None:
    """Curves of the main methods, one panel a task: mean over seeds, band from the smallest to the largest."""
    figure = drawing.new_figure(3.1 * len(results.tasks) + 0.8, 2.8)
    for ax, task in zip(figure.subplots(1, len(results.tasks), squeeze=False)[0], results.tasks, strict=True):
        for index, name in enumerate((*RETRIES, "sac", "ppo")):
            curves = np.array([curve(result, measure) for result in results.of(task, name)])
            if curves.size and np.isfinite(curves).all():
                steps = np.array(results.of(task, name)[0]["step"]) / 1000
                line_and_band(ax, steps, *mean_and_range(curves), name, index)
        ax.set(title=task, xlabel="thousand steps")
        finish(ax)
    figure.supylabel(label, fontsize="medium")
    drawing.move_legend(figure, "outside right center")
    drawing.save(figure, path)


def write_report(results: Results, page: Path, command: str) -> None:
    """
    Write the figures, the CSV file of all runs, and the tables between the two markers of the page.

    :raises ValueError: if the page lacks the markers, or no run is finished
    """
    if not results.runs:
        raise ValueError("No run is finished: train some, or restore those of docs/data first.")
    docs, lines = page.parents[1], ["## Answers", *claims_tables(results), ""]
    for measure, title in MEASURES.items():
        lines += [f"## Final {title}", "", *measure_table(results, measure), ""]
        lines += [f"![{title.capitalize()}](../images/remac_claims_{measure}.png)", ""]
    records = list(results.runs.values())
    hours = sum(record["seconds"] for record in records) / 3600
    lines += [
        "## Runs",
        "",
        f"- command: `{command}`",
        f"- runs: {len(records)} of {results.n_runs}, {hours:.1f} hours of one core",
        "- all runs: [remac_claims.csv](../data/remac_claims.csv)",
        f"- commits: {', '.join(sorted({str(record['commit']) for record in records}))}",
        f"- versions: {', '.join(sorted({f'{name} {v}' for record in records for name, v in record['versions'].items()}))}",
        f"- machines: {'; '.join(sorted({record['machine'] for record in records}))}",
        "",
    ]
    header = ("task", "method", "k", "eps", "seed", "steps", *MEASURES, "mean_of_mode", "mean_of_sampled", "seconds", "commit")
    rows = [
        [run.task, run.method, run.settings.get("k", ""), run.settings.get("actor_adam_eps", ""), run.seed, run.steps]
        + [f"{final(result, measure):.6g}" for measure in MEASURES]
        + [f"{curve(result, measure).mean():.6g}" for measure in ("mode", "sampled")]
        + [f"{result['seconds']:.0f}", result["commit"]]
        for run, result in results.runs.items()
    ]
    # First, since a page without markers is an error
    pages.write_between(page, BEGIN, END, "\n".join(lines))
    files.write_csv(docs / "data" / "remac_claims.csv", header, rows)
    for measure, title in MEASURES.items():
        draw(results, measure, title, docs / "images" / f"remac_claims_{measure}.png")


def main() -> None:
    """Train what is missing, or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = METHODS | VARIANTS
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--methods", nargs="+", choices=known, metavar="METHOD", help=", ".join(known))
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds")
    parser.add_argument("--steps", type=int, default=100_000, help="timesteps of a run")
    parser.add_argument("--n-jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--report", type=Path, metavar="PAGE", help="train nothing, write the page, its figures and data")
    parser.add_argument("--out", type=Path, default=Path("results/remac_claims"), help="folder of the results")
    args = parser.parse_args()
    # Seeds in the outer loop, so that an interrupted table has all methods for the seeds that are finished
    runs = [
        Run(task, name, seed, args.steps, args.out)
        for seed in range(args.seeds)
        for task in args.tasks
        for name in args.methods or METHODS
        if args.methods or task in EPSILON_TASKS or "eps" not in name
    ]
    if args.report is not None:
        if args.methods is None:
            variants = [
                Run(task, name, seed, args.steps, args.out)
                for name in VARIANTS
                for task in args.tasks
                for seed in range(args.seeds)
            ]
            runs += [run for run in variants if run.result() is not None]
        write_report(Results(runs), args.report, shlex.join(["python", *sys.argv]))
        return
    todo = [run for run in runs if run.result() is None]
    parallel = Parallel(n_jobs=args.n_jobs, batch_size=1, return_as="generator_unordered")
    for _ in tqdm(parallel(delayed(train)(run) for run in todo), total=len(todo), unit="run"):
        pass
    print("\n".join(claims_tables(Results(runs))))


if __name__ == "__main__":
    main()
