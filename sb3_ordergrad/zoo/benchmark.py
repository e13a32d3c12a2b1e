"""RL Zoo's ``benchmark`` with the distribution of the returns beside their mean."""

import importlib
import os
import shutil
import subprocess
import sys
from typing import Any
from unittest import mock

import pytablewriter
from stable_baselines3.common.results_plotter import load_results

from sb3_ordergrad.evaluation import SUMMARY
from sb3_ordergrad.zoo.enjoy import statistics


def enjoy_here(command: list[str], **kwargs: Any) -> int:
    """
    RL Zoo's benchmark calls ``python enjoy.py``, a file of its checkout that knows none of our algorithms: call ours.

    :param command: ``["python", "enjoy.py", *options]``
    :return: exit status
    """
    return _call([sys.executable, "-m", "sb3_ordergrad.zoo", "enjoy", *command[2:]], **kwargs)


_call = subprocess.call


def benchmark_with_statistics() -> None:
    """
    Run RL Zoo's ``benchmark`` with the options of the process, then print its table with CVaR, quantiles and best-of-k and
    write that over the files it left.
    """
    with mock.patch.object(subprocess, "call", enjoy_here):
        # A script without a function: importing it runs it
        script = importlib.import_module("rl_zoo3.benchmark")
    names = {key: name for name, key in script.trained_models.items()}
    table = script.results_df
    rows = [
        statistics(load_results(os.path.join(script.args.benchmark_dir, names[algo, env_id])).r.tolist())
        for algo, env_id in zip(table.algo, table.env_id, strict=True)
    ]
    for name in SUMMARY:
        # RL Zoo's own column
        if name != "mean":
            table[name] = [row[name] for row in rows]
    writer = pytablewriter.MarkdownTableWriter(max_precision=3)
    writer.from_dataframe(table)
    print(writer.dumps())
    with open(script.tmp_path, "w") as file:
        file.write(script.header + writer.dumps())
    if not script.args.test_mode:
        shutil.copy(script.tmp_path, "benchmark.md")
