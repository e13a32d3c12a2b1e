"""
Attack the package: random valid and invalid configurations, comparisons with SB3, killed processes, full disks, bad commands.

    python tests/robustness/attack.py                      # all of it, about 15 minutes on two cores
    python tests/robustness/attack.py --parts valid --valid 100
    python tests/robustness/attack.py --case valid:17      # this case alone

Every case follows from the seed and its number. The table counts what was tried and what happened; a failure is printed with
its configuration and the number that makes it again. The exit status is 1 if anything failed.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from pathlib import Path

# Ahead of the imports that read it, for the processes of the attack too
os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from robustness import (  # noqa: E402
    bad_commands,
    continuation,
    crash_points,
    equality,
    invalid,
    kills,
    valid,
)
from robustness.parts import Result, run_case  # noqa: E402

PARTS = {
    module.PART.name.replace(" ", "-"): module.PART
    for module in (valid, invalid, equality, continuation, kills, crash_points, bad_commands)
}
# A worker comes back with the results of so many cases
BATCH = 20
REPORT_SECONDS = 20.0


def run_batch(name: str, seed: int, numbers: Sequence[int]) -> Result:
    result = Result()
    for number in numbers:
        result.add(run_case(PARTS[name], seed, number))
    return result


def n_crash_points() -> int:
    """Number of the crash points; a process that may fork counts them."""
    return len(crash_points.points())


def run_part(pool: Executor, name: str, seed: int, numbers: Sequence[int], batch: int) -> Result:
    result = Result()
    start = next_report = time.monotonic()
    batches = [numbers[first : first + batch] for first in range(0, len(numbers), batch)]
    futures = [pool.submit(run_batch, name, seed, one) for one in batches]
    for future in as_completed(futures):
        found = future.result()
        result.add(found)
        for failure in found.failures:
            print(f"\nFAILED --case {failure.case} --seed {seed}\n{failure.description}\n{failure.error}", flush=True)
        if time.monotonic() >= next_report:
            print(f"{name}: {result.counts['tried']} of {len(numbers)}", flush=True)
            next_report = time.monotonic() + REPORT_SECONDS
    print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    return result


def table(results: dict[str, Result]) -> str:
    """The counts in Markdown."""
    columns = ("tried", "passed", "refused", "still valid", "kills", "failed")
    lines = [f"| part | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    for name, result in results.items():
        lines.append(f"| {name} | {' | '.join(str(result.counts[column] or '') for column in columns)} |")
    return "\n".join(lines)


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--valid", type=int, default=2000, help="random valid configurations (%(default)s)")
    parser.add_argument("--invalid", type=int, default=2500, help="random invalid ones (%(default)s)")
    parser.add_argument("--equality", type=int, default=300, help="configurations compared with SB3 (%(default)s)")
    parser.add_argument("--continuation", type=int, default=300, help="trainings saved in mid-episode (%(default)s)")
    parser.add_argument("--kills", type=int, default=50, help="processes killed at random times, at least (%(default)s)")
    parser.add_argument("--crash-points", type=int, help="so many, spread evenly (all of them)")
    parser.add_argument("--seed", type=int, default=0, help="another seed makes other cases (%(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (%(default)s)")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="these alone")
    parser.add_argument("--case", metavar="PART:NUMBER", help="this case alone, in this process")
    return parser


def _numbers(pool: Executor, args: argparse.Namespace, name: str) -> range:
    """Numbers of the cases of a part."""
    if name == "kills":
        return range(-(-args.kills // kills.KILLS_OF_A_CASE))
    if name == "bad-commands":
        return range(len(bad_commands.COMMANDS))
    if name == "crash-points":
        total = pool.submit(n_crash_points).result()
        return range(0, total, -(-total // args.crash_points) if args.crash_points else 1)
    return range(getattr(args, name))


def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    if args.case:
        name, _, number = args.case.replace(" ", "-").rpartition(":")
        print(PARTS[name].describe(args.seed, int(number)))
        result = run_case(PARTS[name], args.seed, int(number))
        print(dict(result.counts), *(failure.error for failure in result.failures), sep="\n")
        return 1 if result.failures else 0
    start = time.monotonic()
    results = {}
    with ProcessPoolExecutor(args.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for name in args.parts:
            # These take seconds each
            batch = 1 if name in ("kills", "crash-points") else BATCH
            results[name] = run_part(pool, name, args.seed, _numbers(pool, args, name), batch)
        # A kill that came too late was none
        while "kills" in results and not results["kills"].failures and results["kills"].counts["kills"] < args.kills:
            first = results["kills"].counts["tried"]
            results["kills"].add(run_part(pool, "kills", args.seed, range(first, first + args.jobs), 1))
    print(f"\n{table(results)}\n\nseed {args.seed}, {args.jobs} processes, {time.monotonic() - start:.0f} s")
    failures = [failure.case for result in results.values() for failure in result.failures]
    if failures:
        print(f"{len(failures)} failed: {', '.join(failures)}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
