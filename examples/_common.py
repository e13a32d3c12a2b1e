"""Shared by the examples: options, parallel runs with a progress bar, and tables with their origin."""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch as th
from joblib import Parallel, delayed  # type: ignore[import-untyped]
from tqdm import tqdm  # type: ignore[import-untyped]

from sb3_ordergrad.common import files
from sb3_ordergrad.compare import report_tables
from sb3_ordergrad.evaluation import ReturnDistribution

if TYPE_CHECKING:
    from matplotlib.figure import Figure

T = TypeVar("T")
_START = time.monotonic()


def parse_options(
    script: str, description: str | None, argv: Sequence[str] | None, steps: int | None = None, seeds: int = 5
) -> argparse.Namespace:
    """
    Parse the options of an example; invalid ones end the command before training.

    :param script: ``__file__`` of the example, which gives the figure its name
    :param description: its docstring
    :param argv: its arguments; those of the command line if ``None``
    :param steps: default environment steps of a run; ``None`` for an example without training, whose only option is ``--out``
    :param seeds: default number of training seeds
    :return: ``out``, ``command`` and, with training, ``steps``, ``seeds`` and ``n_jobs``
    """
    default_out = Path("results", "examples", f"{Path(script).stem}.png")
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if steps is not None:
        parser.add_argument("--steps", type=int, default=steps, help="environment steps of each run (%(default)s)")
        parser.add_argument("--seeds", type=int, default=seeds, help="number of training seeds, 0 to N - 1 (%(default)s)")
        parser.add_argument(
            "--n-jobs", type=int, default=os.cpu_count(), help="parallel runs (%(default)s, the number of cores)"
        )
    parser.add_argument("--out", type=Path, help=f"the figure, a new .png file ({default_out}, which is replaced)")
    options = parser.parse_args(argv)
    for name in ("steps", "seeds", "n_jobs"):
        if getattr(options, name, 1) < 1:
            parser.error(f"--{name.replace('_', '-')} {getattr(options, name)} must be at least 1")
    if options.out is None:
        options.out = default_out
    elif options.out.suffix != ".png":
        parser.error(f"--out {options.out} must be a .png file: add the suffix")
    elif options.out.exists():
        parser.error(f"--out {options.out} exists and is not replaced: choose another name or remove it")
    arguments = sys.argv[1:] if argv is None else argv
    options.command = shlex.join(["python", f"examples/{Path(script).name}", *arguments])
    return options


def _run(function: Callable[..., T], case: tuple) -> T:
    # Small networks do not benefit from threads, and the runs share the cores
    threads = th.get_num_threads()
    th.set_num_threads(1)
    try:
        return function(*case)
    finally:
        th.set_num_threads(threads)


def run_side_by_side(function: Callable[..., T], cases: Sequence[tuple], n_jobs: int) -> list[T]:
    """
    Call a function once per case, ``n_jobs`` at a time, with a progress bar.

    :param function: the function
    :param cases: the arguments of each call
    :param n_jobs: number of processes
    :return: its return values, in the order of ``cases``
    """
    parallel = Parallel(n_jobs=min(n_jobs, len(cases)), batch_size=1, return_as="generator")
    return list(tqdm(parallel(delayed(_run)(function, case) for case in cases), total=len(cases), unit="run"))


def train_and_compare(
    train: Callable[[str, int, int], ReturnDistribution],
    objectives: Mapping[str, str],
    statistics: Mapping[str, tuple[str, int | None]],
    options: argparse.Namespace,
) -> dict[str, list[np.ndarray]]:
    """
    Train OrderPPO with each objective and seed, and print the comparison.

    :param train: function of objective, seed and steps that returns the evaluation of the trained policy
    :param objectives: objectives by their name in tables and figures
    :param statistics: see :func:`print_comparison`
    :param options: from :func:`parse_options`
    :return: the returns of each seed by the name of the objective, for the plots
    """
    seeds = range(options.seeds)
    cases = [(objective, seed, options.steps) for objective in objectives.values() for seed in seeds]
    runs = iter(run_side_by_side(train, cases, options.n_jobs))
    results = {("OrderPPO", name): {seed: next(runs) for seed in seeds} for name in objectives}
    print_comparison(results, statistics)
    return {name: [run.returns for run in by_seed.values()] for (_, name), by_seed in results.items()}


def print_comparison(
    results: Mapping[tuple[str, str], Mapping[int, ReturnDistribution]],
    statistics: Mapping[str, tuple[str, int | None]],
) -> None:
    """
    Print means over seeds with intervals, differences to the first objective, and all seeds.

    :param results: evaluations by (algorithm, objective) and seed
    :param statistics: objective and sample size by the name of the column
    """
    print(f"\n{report_tables.markdown_table(report_tables.summarize(results, statistics))}")
    print("\nAverages over seeds with 95 % bootstrap intervals over seeds and episodes. Every seed:")
    print(f"\n{report_tables.markdown_seeds(results, statistics)}")


def print_origin(options: argparse.Namespace) -> None:
    """
    Print the origin of the numbers: command, seeds, commit, versions, machine, time.

    :param options: from :func:`parse_options`
    """
    print(f"\n- command: `{options.command}`")
    if "seeds" in options:
        print(f"- seeds: {', '.join(map(str, range(options.seeds)))}")
    print(f"- commit: {files.git_commit() or 'unknown'}")
    print(f"- versions: {', '.join(f'{name} {version}' for name, version in files.package_versions().items())}")
    print(f"- machine: {files.machine()}")
    print(f"- time: {time.monotonic() - _START:.0f} s")


def save_picture(figure: "Figure", out: Path) -> None:
    """
    Save a figure atomically and print its path.

    :param figure: the figure
    :param out: a ``.png`` file; its folder is created
    """
    with files.replacing(out) as temporary:
        figure.savefig(temporary, dpi=160)
    print(f"- figure: {out}")
