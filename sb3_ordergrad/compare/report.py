"""The report of a comparison: tables, pictures and provenance of the finished runs."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sb3_ordergrad.common import files
from sb3_ordergrad.common.extras import install_hint
from sb3_ordergrad.compare import report_tables
from sb3_ordergrad.compare.algorithms import ALGOS, is_mean
from sb3_ordergrad.compare.run_folder import FinishedRun, RunFolder
from sb3_ordergrad.compare.spec import RunSpec
from sb3_ordergrad.evaluation import ReturnDistribution, plot_learning_curves, plot_return_distributions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OUTPUTS = ("returns.csv", "table.md", "table.csv", "table_seeds.md", "distribution.png", "learning_curves.png")
MANIFEST = "compare.json"
COMMAND = ("python", "-m", "sb3_ordergrad.compare")
DEFAULT_TAIL = 0.25


def check_out(out: Path) -> None:
    """Raise a ValueError if the folder contains files with the names of the report that this command did not write."""
    manifest = files.read_json(out / MANIFEST)
    is_ours = isinstance(manifest, dict) and set(manifest) == {"command", "runs"}
    if is_ours and str(manifest["command"]).startswith(" ".join(COMMAND)):
        return
    foreign = [name for name in (*OUTPUTS, MANIFEST) if (out / name).exists()]
    if foreign:
        raise ValueError(
            f"--out {out} contains {', '.join(foreign)}, which this command did not write: choose another folder."
        )


def check_pictures() -> None:
    """Raise a ValueError if matplotlib is missing, which the report needs after the training."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError(f"The pictures need matplotlib: {install_hint('plots')}.")


def label(spec: RunSpec) -> str:
    """The objective as tables show it; the mean is labelled as the plain algorithm where training is identical to it."""
    algorithm = ALGOS[spec.algo]
    plain = spec.algo if algorithm.is_baseline else algorithm.plain
    is_plain = is_mean(spec.objective) and spec.settings.get("credit") != "terminal" and not spec.settings.get("anneal")
    return f"{spec.objective} ({plain.upper()})" if plain and is_plain else spec.objective


def steps_text(specs: Sequence[RunSpec]) -> str:
    """Steps of the runs: a number, or a range if algorithms are trained for different numbers of steps."""
    steps = [spec.steps for spec in specs]
    fewest, most = min(steps), max(steps)
    return f"{fewest:,} steps" if fewest == most else f"{fewest:,} to {most:,} steps"


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


def finished_runs(specs: Sequence[RunSpec]) -> list[FinishedRun]:
    """The results of those runs that are finished, in the order of ``specs``."""
    return [run for spec in specs if (run := RunFolder(spec).read()) is not None]


def provenance(runs: Sequence[FinishedRun], command: str, seconds: float) -> str:
    """Where the numbers come from: a paragraph on the evaluation and a list, in Markdown. There must be at least one run."""
    spec = runs[0].spec
    records = [run.record for run in runs]
    commits = sorted({record["commit"] or "unknown" for record in records})
    versions = sorted({", ".join(f"{name} {v}" for name, v in record["versions"].items()) for record in records})
    machines = sorted({record["machine"] for record in records})
    work = sum(record["seconds_training"] + record["seconds_evaluation"] for record in records)
    policy = "mode of the policy" if spec.deterministic else "sampled actions"
    return "\n".join(
        [
            f"{spec.n_eval_episodes} evaluation episodes per policy ({policy}); averages over seeds of each policy's "
            "statistic, with 95 % bootstrap intervals over seeds and episodes.",
            "",
            f"- command: `{command}`",
            f"- seeds: {', '.join(map(str, sorted({run.spec.seed for run in runs})))}",
            f"- commit: {', '.join(commits)}",
            f"- versions: {'; '.join(versions)}",
            f"- machine: {'; '.join(machines)}",
            f"- time: {work:.0f} s of training and evaluation in {len(records)} runs; this command took {seconds:.0f} s",
        ]
    )


class Report:
    """All tables and pictures of the finished runs, at least one; ``text`` is the main table with its provenance."""

    def __init__(self, runs: Sequence[FinishedRun], command: str, seconds: float):
        self.runs, self.command = runs, command
        specs = [run.spec for run in runs]
        self.tail = tail_level(specs)
        self.title = f"{specs[0].env_id}, {steps_text(specs)}"
        self.results: dict[tuple[str, str], dict[int, ReturnDistribution]] = {}
        for run in runs:
            self.results.setdefault((run.spec.algo, label(run.spec)), {})[run.spec.seed] = run.distribution
        baselines = [key for key in self.results if ALGOS[key[0]].is_baseline]
        self.statistics = report_tables.columns(spec.objective for spec in specs)
        self.rows = report_tables.summarize(self.results, self.statistics, baselines)
        self.text = f"{report_tables.markdown_table(self.rows)}\n\n{provenance(runs, command, seconds)}\n"

    def write(self, out: Path) -> None:
        """Write :data:`OUTPUTS` and ``compare.json``."""
        # First, since it marks the others as written by this command
        files.write_json(out / MANIFEST, {"command": self.command, "runs": [run.spec.folder.name for run in self.runs]})
        every_return = (
            (run.spec.algo, run.spec.env_id, run.spec.objective, run.spec.seed, episode, float(episode_return), int(length))
            for run in self.runs
            for episode, (episode_return, length) in enumerate(
                zip(run.distribution.returns, run.distribution.lengths, strict=True)
            )
        )
        header = ("algo", "env", "objective", "seed", "episode", "return", "length")
        files.write_csv(out / "returns.csv", header, every_return)
        files.write_text(out / "table.md", f"# {self.title}\n\n{self.text}")
        files.write_csv(out / "table.csv", *report_tables.csv_table(self.rows))
        every_seed = report_tables.markdown_seeds(self.results, self.statistics)
        files.write_text(out / "table_seeds.md", f"# {self.title}\n\n{every_seed}\n")
        self._write_pictures(out)

    def _write_pictures(self, out: Path) -> None:
        # Not a figure of pyplot: no window, no global state
        from matplotlib.figure import Figure

        names = self._legend()
        figure = Figure(figsize=(5.2, 3.8), layout="constrained")
        returns = {names[key]: [d.returns for d in by_seed.values()] for key, by_seed in self.results.items()}
        plot_return_distributions(returns, self.tail, figure.subplots()).set_title(self.title, fontsize="medium")
        _save_figure(figure, out / "distribution.png")

        curves: dict[str, list[Any]] = {}
        for run in self.runs:
            curves.setdefault(names[run.spec.algo, label(run.spec)], []).append(run.training_episodes)
        figure = Figure(figsize=(8.0, 3.6), layout="constrained")
        axes = figure.subplots(1, 2)
        for ax, objective in zip(axes, ("mean", f"cvar:{self.tail}"), strict=True):
            plot_learning_curves(curves, objective, ax=ax)
        axes[1].get_legend().remove()
        figure.suptitle(self.title, fontsize="medium")
        _save_figure(figure, out / "learning_curves.png")

    def _legend(self) -> dict[tuple[str, str], str]:
        """Names of the lines: with the algorithm if there are several; a baseline by its name alone."""
        several = len({algo for algo, _ in self.results}) > 1
        names = {key: " ".join(key) if several else key[1] for key in self.results}
        return {key: key[0].upper() if ALGOS[key[0]].is_baseline else name for key, name in names.items()}


def _save_figure(figure: "Figure", path: Path) -> None:
    with files.replacing(path) as temporary:
        figure.savefig(temporary, dpi=160)
