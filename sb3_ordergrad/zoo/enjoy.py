"""RL Zoo's ``enjoy``, followed by statistics of the returns."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import rl_zoo3.enjoy

from sb3_ordergrad.evaluation import SUMMARY, summary_weights


def statistics(returns: Sequence[float]) -> dict[str, float]:
    """Those of :data:`~sb3_ordergrad.evaluation.SUMMARY` by name, without those that need more returns."""
    known = {name: (objective, k) for name, (objective, k) in SUMMARY.items() if len(returns) >= (k or 1)}
    values = np.sort(returns) @ summary_weights(len(returns), known) if known else np.empty(0)
    return dict(zip(known, values.tolist(), strict=True))


def enjoy_with_statistics() -> None:
    """
    Run RL Zoo's ``enjoy`` with the options of the process, then print mean, CVaR, quantiles and best-of-k of the episodes
    of all environments, read from the monitors' files.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--n-envs", default=1, type=int)
    parser.add_argument("--reward-log", default="")
    parser.add_argument("--verbose", default=1, type=int)
    options, _ = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.reward_log or temporary)
        # RL Zoo takes the last one
        sys.argv += ["--reward-log", str(folder)]
        rl_zoo3.enjoy.enjoy()
        # The folder may hold more files, from an earlier run with more environments
        monitors = [pd.read_csv(folder / f"{rank}.monitor.csv", skiprows=1) for rank in range(options.n_envs)]
    returns = [one for monitor in monitors for one in monitor.r.tolist()]
    if returns and options.verbose > 0:
        values = ", ".join(f"{name} {value:.2f}" for name, value in statistics(returns).items())
        print(f"Returns of {len(returns)} episodes: {values}")
