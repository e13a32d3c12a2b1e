"""All runs of a comparison: train them side by side, then write tables and pictures of what came out."""

import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import Parallel, delayed  # type: ignore[import-untyped]
from tqdm import tqdm  # type: ignore[import-untyped]

from sb3_ordergrad.compare import files, tables
from sb3_ordergrad.compare.algorithms import ALGOS, is_mean
from sb3_ordergrad.compare.backends import workers
from sb3_ordergrad.compare.child import MAX_ATTEMPTS, run_in_child, try_run
from sb3_ordergrad.compare.run import RunSpec
from sb3_ordergrad.evaluation import ReturnDistribution, plot_learning_curves, plot_return_distributions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OUTPUTS = ("returns.csv", "table.md", "table.csv", "table_seeds.md", "distribution.png", "learning_curves.png")
MANIFEST = "compare.json"
DEFAULT_TAIL = 0.25


def label(spec: RunSpec) -> str:
    """
    The objective as tables show it; the mean is the plain algorithm, and says so, unless it is annealed or paid at the end.
    """
    algorithm = ALGOS[spec.algo]
    plain = spec.algo if algorithm.is_baseline else algorithm.plain
    is_plain = is_mean(spec.objective) and spec.settings.get("credit") != "terminal" and not spec.settings.get("anneal")
    return f"{spec.objective} ({plain.upper()})" if plain and is_plain else spec.objective


def steps_text(specs: Sequence[RunSpec]) -> str:
    """Steps of the runs: a number, or a range where algorithms are trained for different numbers of them."""
    steps = [spec.steps for spec in specs]
    fewest, most = min(steps), max(steps)
    return f"{fewest:,} steps" if fewest == most else f"{fewest:,} to {most:,} steps"


def check_out(out: Path) -> None:
    """
    :raises ValueError: if the folder holds files of somebody else under the names of ours
    """
    foreign = [name for name in OUTPUTS if (out / name).exists()]
    if foreign and not (out / MANIFEST).exists():
        raise ValueError(f"--out {out} holds {', '.join(foreign)} that this command did not write: choose another folder.")


def check_pictures() -> None:
    """
    :raises ValueError: if matplotlib is missing, which the report needs once all runs are trained
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError("The pictures need matplotlib, an extra of this package: pip install 'sb3_ordergrad[plots]'.")


class _ProgressBar:
    """A bar over the steps of all runs, fed by the small files in which each run leaves its count."""

    def __init__(self, specs: Sequence[RunSpec]):
        self.specs = specs
        is_terminal = sys.stderr.isatty()
        # In a log file every refresh is a line
        interval = 0.5 if is_terminal else 20.0
        self._total = sum(spec.steps for spec in specs)
        self.bar = tqdm(
            total=self._total,
            initial=sum(spec.steps_done() for spec in specs if spec.is_trained()),
            unit="step",
            unit_scale=True,
            mininterval=interval,
            maxinterval=2 * interval,
            dynamic_ncols=is_terminal,
        )
        self._pending = [spec for spec in specs if not spec.is_trained()]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def refresh(self) -> None:
        finished = self._total - sum(spec.steps for spec in self._pending)
        steps = finished + sum(spec.steps_done() for spec in self._pending)
        self.bar.update(max(0, steps - self.bar.n))

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            self.refresh()

    def __enter__(self) -> "_ProgressBar":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.refresh()
        self.bar.close()


def run_all(specs: Sequence[RunSpec], n_jobs: int, backend: str = "local", scheduler: str | None = None) -> list[str]:
    """
    Do all runs that are not done yet, with a progress bar.

    Each is a process of its own, unless they are done one after another on this machine. One whose process or worker dies is
    tried again, without the others.

    :param specs: the runs
    :param n_jobs: runs at a time; Dask has one for each thread of its workers
    :param backend: one of :data:`~sb3_ordergrad.compare.backends.BACKENDS`
    :param scheduler: address of the Dask scheduler
    :return: for each run that failed its folder's name and the reason
    """
    # A worker elsewhere has another current folder
    todo = [replace(spec, out=os.path.abspath(spec.out)) for spec in specs if not spec.is_done()]
    if not todo:
        return []
    task = try_run if n_jobs == 1 and backend == "local" else run_in_child
    outcome: dict[Path, str | None] = {}
    with workers(backend, scheduler) as lost_worker, _ProgressBar(specs) as progress:
        for _ in range(MAX_ATTEMPTS):
            # By folder: whoever asks for a run twice gets it once
            pending = {spec.folder: spec for spec in todo if spec.folder not in outcome}
            # A count left by an interrupted attempt would show as progress that has to be made again
            for spec in pending.values():
                spec.clear_attempt()
            parallel = Parallel(n_jobs=min(n_jobs, len(pending)), batch_size=1, return_as="generator_unordered")
            try:
                for folder, failure in parallel(delayed(_with_folder)(task, spec) for spec in pending.values()):
                    outcome[folder] = failure
                    n_done = sum(spec.is_done() for spec in specs)
                    progress.bar.set_postfix_str(f"{n_done}/{len(specs)} runs", refresh=False)
                break
            except lost_worker:
                continue
            finally:
                # If this ends here, they must not go on elsewhere
                for folder in pending.keys() - outcome.keys():
                    pending[folder].clear_attempt()
    failures = {spec.folder.name: _failure(spec, outcome) for spec in todo}
    return [f"{name}\n{failure}" for name, failure in failures.items() if failure is not None]


def _with_folder(task: Callable[[RunSpec], str | None], spec: RunSpec) -> tuple[Path, str | None]:
    return spec.folder, task(spec)


def _failure(spec: RunSpec, outcome: dict[Path, str | None]) -> str | None:
    """Why a run is not done, or ``None`` if it is."""
    if spec.folder not in outcome:
        return "The cluster lost its workers again and again; their logs may say why."
    if outcome[spec.folder] is None and not spec.is_done():
        return "Its worker has finished it, but the files are not here: --out must be a folder that all machines share."
    return outcome[spec.folder]


def _columns(path: Path, *names: str) -> list[np.ndarray]:
    rows = files.read_csv(path)
    return [np.array([float(row[name]) for row in rows]) for name in names]


def load_results(specs: Sequence[RunSpec]) -> dict[tuple[str, str], dict[int, ReturnDistribution]]:
    """Evaluations of finished runs by (algorithm, label) and seed, in the order of ``specs``."""
    results: dict[tuple[str, str], dict[int, ReturnDistribution]] = {}
    for spec in specs:
        if spec.is_done():
            returns, lengths = _columns(spec.folder / "returns.csv", "return", "length")
            results.setdefault((spec.algo, label(spec)), {})[spec.seed] = ReturnDistribution(returns, lengths.astype(int))
    return results


def tail_level(specs: Sequence[RunSpec]) -> float:
    """The level of the first CVaR among the objectives, 0.25 without one."""
    for spec in specs:
        family, _, level = spec.objective.strip().lower().partition(":")
        if family == "cvar":
            try:
                return float(level)
            except ValueError:
                continue
    return DEFAULT_TAIL


def _line_labels(specs: Sequence[RunSpec]) -> dict[tuple[str, str], str]:
    """What the legend says: the algorithm is named only if there are several, a baseline by its name alone."""
    several = len({spec.algo for spec in specs}) > 1
    lines = {}
    for spec in specs:
        name = f"{spec.algo} {label(spec)}" if several else label(spec)
        lines[spec.algo, label(spec)] = spec.algo.upper() if ALGOS[spec.algo].is_baseline else name
    return lines


def _save_figure(figure: "Figure", path: Path) -> None:
    with files.replacing(path) as temporary:
        figure.savefig(temporary, dpi=160)


def write_pictures(specs: Sequence[RunSpec], out: Path) -> None:
    """``distribution.png`` and ``learning_curves.png`` of the finished runs."""
    # A figure of its own, not pyplot's: no window, no global state
    from matplotlib.figure import Figure

    tail = tail_level(specs)
    labels = _line_labels(specs)
    title = f"{specs[0].env_id}, {steps_text(specs)}"
    results = load_results(specs)
    figure = Figure(figsize=(5.2, 3.8), layout="constrained")
    ax = plot_return_distributions(
        {labels[key]: [d.returns for d in by_seed.values()] for key, by_seed in results.items()}, tail, figure.subplots()
    )
    ax.set_title(title, fontsize="medium")
    _save_figure(figure, out / "distribution.png")

    curves: dict[str, list[Any]] = {}
    for spec in specs:
        if spec.is_done():
            episodes = tuple(_columns(spec.folder / "training.csv", "timestep", "return"))
            curves.setdefault(labels[spec.algo, label(spec)], []).append(episodes)
    figure = Figure(figsize=(8.0, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    for ax, objective in zip(axes, ("mean", f"cvar:{tail}"), strict=True):
        plot_learning_curves(curves, objective, ax=ax)
    axes[1].get_legend().remove()
    figure.suptitle(title, fontsize="medium")
    _save_figure(figure, out / "learning_curves.png")


def provenance(specs: Sequence[RunSpec], command: str, seconds: float) -> str:
    """Where the numbers come from: commit, versions, seeds, machine, command, time."""
    records = [spec.record() for spec in specs if spec.is_done()]
    commits = sorted({record["commit"] or "unknown" for record in records})
    versions = sorted({", ".join(f"{name} {v}" for name, v in record["versions"].items()) for record in records})
    machines = sorted({record["machine"] for record in records})
    work = sum(record["seconds_training"] + record["seconds_evaluation"] for record in records)
    seeds = sorted({spec.seed for spec in specs if spec.is_done()})
    policy = "mode of the policy" if specs[0].deterministic else "sampled actions"
    return "\n".join(
        [
            f"{specs[0].n_eval_episodes} fresh episodes a policy ({policy}); averages over seeds of each policy's statistic, "
            "with 95 % bootstrap intervals over seeds and episodes.",
            "",
            f"- command: `{command}`",
            f"- seeds: {', '.join(map(str, seeds))}",
            f"- commit: {', '.join(commits)}",
            f"- versions: {'; '.join(versions)}",
            f"- machine: {'; '.join(machines)}",
            f"- time: {work:.0f} s of training and evaluation in {len(records)} runs; this command took {seconds:.0f} s",
        ]
    )


def write_report(specs: Sequence[RunSpec], out: Path, command: str, seconds: float) -> str:
    """
    Write all tables and pictures of the finished runs.

    :param specs: the runs of the command
    :param out: folder of the results
    :param command: the command line, for the record
    :param seconds: wall time of the command
    :return: the table as text
    """
    results = load_results(specs)
    statistics = tables.columns(spec.objective for spec in specs)
    rows = tables.summarize(results, statistics, [key for key in results if ALGOS[key[0]].is_baseline])
    # First of all: from here on the folder's files are known to be ours
    runs = [spec.folder.name for spec in specs if spec.is_done()]
    files.write_json(out / MANIFEST, {"command": command, "runs": runs})
    every_return = (
        (spec.algo, spec.env_id, spec.objective, spec.seed, row["episode"], row["return"], row["length"])
        for spec in specs
        if spec.is_done()
        for row in files.read_csv(spec.folder / "returns.csv")
    )
    header = ("algo", "env", "objective", "seed", "episode", "return", "length")
    files.write_csv(out / "returns.csv", header, every_return)
    text = f"{tables.markdown_table(rows)}\n\n{provenance(specs, command, seconds)}\n"
    title = f"# {specs[0].env_id}, {steps_text(specs)}\n\n"
    files.write_text(out / "table.md", title + text)
    files.write_csv(out / "table.csv", *tables.csv_table(rows))
    files.write_text(out / "table_seeds.md", f"{title}{tables.markdown_seeds(results, statistics)}\n")
    write_pictures(specs, out)
    return text
