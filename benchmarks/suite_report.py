"""Tables and figures of the risk suite, from its finished runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import drawing
import numpy as np
import pages
import references
from suite_plan import ALL, Run, Task, load_tasks
from suite_run import is_done, read_returns

from sb3_ordergrad.common import files
from sb3_ordergrad.evaluation import (
    Interval,
    bootstrap_over_seeds,
    cvar,
    interquartile_means,
    normalized_scores,
    plot_intervals,
    plot_performance_profiles,
    probability_of_improvement,
)

ROOT = Path(__file__).resolve().parents[1]
HALVES = ("all", "choosing", "held-out")
OURS = "orderppo"
BEGIN, END = "<!-- suite: written by benchmarks/suite.py --report -->", "<!-- end of suite -->"
# Returns of each seed: sampled, mode and best
Seeds = dict[int, dict[str, np.ndarray]]
Results = dict[str, dict[str, Seeds]]


def load(runs: Sequence[Run], out: Path) -> Results:
    """
    :param runs: the runs
    :param out: folder of the results
    :return: returns of the finished ones by task, method and seed
    """
    results: Results = {}
    for run in runs:
        if is_done(run, out):
            results.setdefault(run.env_id, {}).setdefault(run.method, {})[run.seed] = read_returns(run, out)
    return results


def text(interval: Interval, digits: int) -> str:
    """The estimate with its interval."""
    # Adding 0 turns -0 into 0
    value, low, high = (f"{round(x, digits) + 0.0:.{digits}f}" for x in interval)
    return f"{value} [{low}, {high}]"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table whose first column is text."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def task_table(task: Task, methods: Mapping[str, Seeds]) -> list[str]:
    """
    :param task: the task
    :param methods: its returns by method and seed
    :return: two tables with 95 % intervals over seeds and episodes: mean, CVaR and normalised CVaR of each method with
        sampled actions; the CVaR of the mode and of the best policy in training
    """
    random, best = references.levels(task.env_id, task.level)
    # A put is worth 0.1, a cheetah 400
    digits = 3 if abs(best - random) < 2 else 2 if abs(best - random) < 100 else 0
    objective = f"cvar:{task.level:g}"
    statistics = {"mean": ("mean", None), "cvar": (objective, None)}
    sampled, others = [], []
    for name, seeds in methods.items():
        values = {
            kind: bootstrap_over_seeds([returns[kind] for returns in seeds.values()], statistics=statistics)
            for kind in ("sampled", "mode", "best")
        }
        tail = values["sampled"]["cvar"]
        score = Interval(*(float(normalized_scores(value, random, best)) for value in tail))
        sampled.append([ALL[name].label, text(values["sampled"]["mean"], digits), text(tail, digits), text(score, 2)])
        cvars = [text(values[kind]["cvar"], digits) for kind in ("mode", "best")]
        others.append([ALL[name].label, str(len(seeds)), *cvars])
    level = f"CVaR_{task.level:g}"
    lines = table(["method", "mean", level, "normalised"], sampled)
    return [*lines, "", *table(["method", "seeds", f"{level}, mode", f"{level}, best policy"], others)]


def reference_line(task: Task) -> str:
    """Random policy, best simple policy, reference, how it was found."""
    rows, row = references.lookup(task.env_id, task.level), references.reference(task.env_id, task.level)
    mean = references.lookup(task.env_id, 1.0).get("optimum")
    of_mean = "" if mean is None else f"; the best mean is {mean.value:.4g}"
    simple = f", {rows['simple'].source.partition(',')[0]} {rows['simple'].value:.4g}" if "simple" in rows else ""
    kind = {"optimum": "optimum", "found": "best policy found", "simple": "simple policy", "published": "published"}[row.kind]
    return (
        f"CVaR_{task.level:g} of the random policy {rows['random'].value:.4g}{simple}, "
        f"reference {row.value:.4g} ({kind}: {row.source}){of_mean}."
    )


def task_tables(runs: Sequence[Run], out: Path) -> list[str]:
    """
    :param runs: the runs
    :param out: folder of the results
    :return: a section for each task with finished runs
    """
    tasks, lines = load_tasks(), []
    for env_id, methods in load(runs, out).items():
        task = tasks[env_id]
        lines += ["", f"### {env_id}", "", f"{task.half.capitalize()} half, {task.steps:,} steps. {reference_line(task)}", ""]
        lines += task_table(task, methods)
    return lines


def suite_scores(results: Results, half: str) -> dict[str, dict[str, np.ndarray]]:
    """
    :param results: all returns
    :param half: one of :data:`HALVES`
    :return: normalised CVaR of the last policy with sampled actions, by method and task; methods with all tasks only
    """
    tasks = {env_id: task for env_id, task in load_tasks().items() if env_id in results and half in ("all", task.half)}
    names = list(dict.fromkeys(name for methods in results.values() for name in methods))
    scores: dict[str, dict[str, np.ndarray]] = {}
    for name in names:
        if all(name in results[env_id] for env_id in tasks):
            scores[name] = {
                env_id: normalized_scores(
                    [cvar(returns["sampled"], task.level) for returns in results[env_id][name].values()],
                    *references.levels(env_id, task.level),
                )
                for env_id, task in tasks.items()
            }
    return scores if tasks else {}


def suite_table(results: Results, half: str) -> list[str]:
    """Interquartile mean and number of runs of each method, the probability that OrderPPO is better, and who is left out."""
    scores = suite_scores(results, half)
    if not scores:
        return ["No finished runs."]
    means = interquartile_means(scores)
    better = probability_of_improvement(scores, OURS) if OURS in scores and len(scores) > 1 else {}
    rows = [
        [
            ALL[name].label,
            text(mean, 3),
            text(better[name], 2) if name in better else "",
            str(sum(map(len, scores[name].values()))),
        ]
        for name, mean in sorted(means.items(), key=lambda item: -item[1].value)
    ]
    tasks = next(iter(scores.values()))
    names = dict.fromkeys(name for env_id in tasks for name in results[env_id])
    partial = [
        f"{ALL[name].label} ({sum(name in results[env_id] for env_id in tasks)} of {len(tasks)})"
        for name in names
        if name not in scores
    ]
    caption = "Interquartile mean of the normalised CVaR, and the probability that a run of OrderPPO is better."
    lines = [f"Tasks: {len(tasks)}. {caption}", "", *table(["method", "IQM", "P(OrderPPO is better)", "runs"], rows)]
    return [*lines, "", f"Not in the table, for want of runs on all tasks: {', '.join(partial)}."] if partial else lines


def draw(results: Results, folder: Path) -> list[str]:
    """
    :param results: all returns
    :param folder: of the figures
    :return: Markdown that shows them
    """
    scores = {ALL[name].label: tasks for name, tasks in suite_scores(results, "all").items()}
    folder.mkdir(parents=True, exist_ok=True)
    profiles = plot_performance_profiles(scores, thresholds=np.linspace(-1.0, 1.1, 211))
    means = plot_intervals(interquartile_means(scores), xlabel="IQM of the normalised CVaR")
    for name, ax in (("profiles", profiles), ("iqm", means)):
        drawing.save(ax.figure, folder / f"suite_{name}.png")
    return ["![Performance profiles](images/suite_profiles.png)", "", "![Interquartile means](images/suite_iqm.png)"]


def provenance(runs: Sequence[Run], out: Path, command: str) -> list[str]:
    """Command, commits, versions, machines, time, missing runs."""
    done = [run for run in runs if is_done(run, out)]
    records = [files.read_json(run.folder(out) / "record.json") for run in done]
    missing = [f"{run.env_id} {run.method} s{run.seed}" for run in runs if run not in done]
    train, evaluation = (sum(record[f"seconds_{part}"] for record in records) for part in ("training", "evaluation"))
    versions = {f"{name} {version}" for record in records for name, version in record["versions"].items()}
    lines = [
        f"- command: `{command.replace(' --report', '')}`",
        f"- runs: {len(done)} of {len(runs)}" + (f"; missing: {', '.join(missing)}" if missing else ""),
        f"- time: {(train + evaluation) / 3600:.1f} hours of one core, {train / 3600:.1f} of them training",
        f"- commits: {', '.join(sorted({str(record['commit']) for record in records}))}",
        f"- versions: {', '.join(sorted(versions))}",
        f"- machines: {'; '.join(sorted({record['machine'] for record in records}))}",
    ]
    return lines


def write(runs: Sequence[Run], out: Path, command: str, docs: Path = ROOT / "docs") -> None:
    """
    Write the tables into docs/suite.md, the figures, and all returns into docs/data/suite.npz.

    :param runs: the runs
    :param out: folder of the results
    :param command: that made this report
    :param docs: folder of the docs
    """
    results = load(runs, out)
    if not results:
        raise ValueError(f"There is no finished run in {out}: run benchmarks/suite.py first.")
    lines = []
    for half in HALVES:
        title = {"all": "All tasks", "choosing": "Choosing half", "held-out": "Held-out half"}[half]
        lines += [f"## {title}", "", *suite_table(results, half), ""]
        lines += [*draw(results, docs / "images"), ""] if half == "all" else []
    lines += ["## Tasks", *task_tables(runs, out), "", "## Runs", "", *provenance(runs, out, command)]
    pages.write_between(docs / "suite.md", BEGIN, END, "\n".join(lines))
    arrays = {
        f"{env_id}/{name}/{seed}/{kind}": returns.astype(np.float32)
        for env_id, methods in results.items()
        for name, seeds in methods.items()
        for seed, kinds in seeds.items()
        for kind, returns in kinds.items()
    }
    (docs / "data").mkdir(parents=True, exist_ok=True)
    with files.replacing(docs / "data" / "suite.npz") as temporary:
        np.savez_compressed(temporary, **arrays)
    print("\n".join(lines))
