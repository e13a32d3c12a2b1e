"""
Time of ``LStatistic.advantages`` over the time of ``torch.sort`` of the same tensor (float32, one thread).

    python benchmarks/lstatistics_speed.py

Both are timed in turns, so that other load affects both; the ratio is that of the medians. ``--check`` exits with status 1 if
a ratio exceeds its limit.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import torch as th

from sb3_ordergrad.lstatistics import LStatistic

# (groups, group_size, k, repetitions, limit of the ratio)
CASES = [(1024, 16, 4, 1500, 1.25), (4096, 8, 4, 1000, 1.25), (64, 256, 32, 1000, 1.6), (1, 100_000, 64, 60, 2.0)]


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objective", default="cvar:0.25", help="objective of the advantages")
    parser.add_argument("--check", action="store_true", help="exit with status 1 if a ratio exceeds its limit")
    args = parser.parse_args()

    th.set_num_threads(1)
    th.manual_seed(0)
    exceeded = False
    print(f"{'groups':>7} {'N':>7} {'k':>4} {'torch.sort us':>14} {'advantages us':>14} {'ratio':>6} {'limit':>5}")
    for groups, group_size, k, repetitions, limit in CASES:
        # Fresh returns in every repetition: the branch predictor learns the comparisons of a small tensor that repeats
        pool = [th.randn(groups, group_size) for _ in range(min(repetitions, 100))]
        statistic = LStatistic(group_size, k, args.objective)
        statistic.advantages(pool[0])  # tables are made once
        times: tuple[list[float], list[float]] = ([], [])
        for repetition in range(repetitions):
            x = pool[repetition % len(pool)]
            times[0].append(seconds(partial(th.sort, x, dim=-1)))
            times[1].append(seconds(partial(statistic.advantages, x)))
        sort, advantages = (1e6 * statistics.median(values) for values in times)
        exceeded |= advantages > limit * sort
        print(f"{groups:7} {group_size:7} {k:4} {sort:14.1f} {advantages:14.1f} {advantages / sort:6.2f} {limit:5.2f}")
    if args.check and exceeded:
        sys.exit("a ratio exceeds its limit")


if __name__ == "__main__":
    main()
