"""
Finished runs whose policies were not kept, as in docs/data/*.tar.xz, and the quantile functions of their returns.

    tar -xJf docs/data/ordera2c_runs_2026_11.tar.xz -C results
    python benchmarks/archived_runs.py results/FragileHalfCheetah-v0-a2c-adaptive --figure docs/images/a2c_distribution.png
"""

import argparse
from pathlib import Path

import drawing
import numpy as np

from sb3_ordergrad.common import files
from sb3_ordergrad.compare import report
from sb3_ordergrad.compare.run_folder import FinishedRun
from sb3_ordergrad.compare.spec import RunSpec
from sb3_ordergrad.evaluation import ReturnDistribution, plot_return_distributions


def read(folder: Path) -> list[FinishedRun]:
    """
    :param folder: of ``python -m sb3_ordergrad.compare --out``, with settings and returns of its runs
    :return: the runs, the means first, without training episodes
    :raises ValueError: if there is none
    """
    runs = []
    for path in sorted(folder.glob("runs/*/done.json")):
        record = files.read_json(path)
        spec = RunSpec(**record["training"], **record["evaluation"], out=str(folder))
        returns = ReturnDistribution.from_csv(path.with_name("returns.csv"), spec.n_eval_episodes)
        runs.append(FinishedRun(spec, record, returns, (np.empty(0), np.empty(0))))
    if not runs:
        raise ValueError(f"{folder} has no finished run: restore one of docs/data/*.tar.xz there first.")
    return sorted(runs, key=lambda run: run.spec.objective != "mean")


def draw(runs: list[FinishedRun], path: Path) -> None:
    """The quantile functions of each objective."""
    figure = drawing.new_figure(5.2, 3.4)
    by_label: dict[str, list[ReturnDistribution]] = {}
    for run in runs:
        by_label.setdefault(report.label(run.spec), []).append(run.distribution)
    tail = report.tail_level([run.spec for run in runs])
    plot_return_distributions(by_label, tail, figure.subplots())
    drawing.save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the results, with one run a seed and objective")
    parser.add_argument("--figure", type=Path, metavar="PNG", required=True, help="the picture")
    args = parser.parse_args()
    draw(read(args.folder), args.figure)


if __name__ == "__main__":
    main()
