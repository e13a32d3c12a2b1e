"""
The risk suite: OrderPPO and its rivals on published tasks, with the same budget and the same settings.

    python benchmarks/suite.py --demo                  # BettingGame-v0, three methods, three seeds: minutes
    python benchmarks/suite.py                         # all tasks and methods: about 14 hours of two cores
    python benchmarks/suite.py --tasks GuardedMaze-v1 --methods orderppo ppo --seeds 0 1
    python benchmarks/suite.py --methods sac tqc       # off-policy methods, on two robots
    python benchmarks/suite.py --methods orderppo-sampled            # without the learned mean of rare losses
    python benchmarks/suite.py --methods orderppo-x10 sac-certain    # for reference levels (references.py --found)
    python benchmarks/suite.py --methods return-capping-published ppo-published cvar-ppo-published
    python benchmarks/suite.py --report                # trains nothing: docs/suite.md, figures and docs/data

Finished runs are kept: the same command continues after an interruption, and runs what is missing. A run whose process dies is
tried again. Tasks are in suite.yml, methods in suite_plan.py, tuned settings in suite_tuned.yml (suite_search.py). On several
machines: ``--backend dask --scheduler ADDRESS``, with ``benchmarks`` in the ``PYTHONPATH`` of the workers and ``--out`` in a
folder that all share.
"""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import suite_report
from joblib import Parallel, delayed  # type: ignore[import-untyped]
from suite_plan import ALL, METHODS, Run, load_tasks, plan
from suite_run import execute_in_process, is_done
from tqdm import tqdm  # type: ignore[import-untyped]

from sb3_ordergrad.compare.backends import BACKENDS, check_backend, workers

# A process can die for lack of memory
MAX_ATTEMPTS = 3
DEMO = {"tasks": ["BettingGame-v0"], "methods": ["orderppo", "ppo", "return-capping"], "seeds": [0, 1, 2]}


def attempt(run: Run, out: Path) -> str | None:
    """
    :param run: the run
    :param out: folder of the results
    :return: why it failed each time, or ``None``
    """
    failure = None
    for _ in range(MAX_ATTEMPTS):
        failure = execute_in_process(run, out)
        # An exception would be raised again
        if failure is None or "Traceback" in failure:
            break
    return failure


def run_all(runs: Sequence[Run], out: Path, n_jobs: int, backend: str = "local", scheduler: str | None = None) -> list[str]:
    """
    :param runs: the runs; finished ones are skipped
    :param out: folder of the results
    :param n_jobs: runs at a time
    :param backend: "local" or "dask"
    :param scheduler: address of the Dask scheduler
    :return: why runs failed
    """
    pending = [run for run in runs if not is_done(run, out)]
    print(f"{len(runs) - len(pending)} of {len(runs)} runs are finished", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    failures = []
    with workers(backend, scheduler), tqdm(total=len(pending), unit="run", mininterval=1.0) as bar:
        parallel = Parallel(n_jobs=n_jobs, batch_size=1, return_as="generator_unordered")
        for failure in parallel(delayed(attempt)(run, out.resolve()) for run in pending):
            failures += [] if failure is None else [failure]
            bar.update()
    return failures


def main(argv: Sequence[str] | None = None) -> int:
    """
    :param argv: arguments of the command line
    :return: 1 if a run failed
    """
    tasks = list(load_tasks())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=tasks, default=tasks, help="tasks (all)", metavar="TASK")
    parser.add_argument("--methods", nargs="+", choices=list(ALL), default=list(METHODS), help=f"of {', '.join(ALL)}")
    parser.add_argument("--seeds", nargs="+", type=int, help="seeds (those of suite.yml)")
    parser.add_argument("--demo", action="store_true", help="one cheap task, three methods, three seeds; prints the rows")
    parser.add_argument("--report", action="store_true", help="train nothing, write the report of the finished runs")
    parser.add_argument("--list", action="store_true", help="train nothing, print the runs that are missing")
    parser.add_argument("--n-jobs", type=int, default=os.cpu_count() or 1, help="runs at a time (number of cores)")
    parser.add_argument("--backend", choices=BACKENDS, default="local", help="local processes, or a Dask cluster")
    parser.add_argument("--scheduler", help="address of the Dask scheduler")
    parser.add_argument("--out", type=Path, default=Path("results/suite"), help="folder of the results")
    args = parser.parse_args(argv)
    if args.demo:
        parser.set_defaults(**DEMO)
        args = parser.parse_args(argv)
    check_backend(args.backend, args.scheduler)
    command = shlex.join(["python", "benchmarks/suite.py", *(sys.argv[1:] if argv is None else argv)])
    runs = plan(args.tasks, args.methods, args.seeds)
    if args.list:
        for run in runs:
            if not is_done(run, args.out):
                print(run.folder(args.out))
        return 0
    if args.report:
        suite_report.write(runs, args.out, command)
        return 0
    start = time.monotonic()
    failures = run_all(runs, args.out, args.n_jobs, args.backend, args.scheduler)
    print("\n".join(suite_report.task_tables(runs, args.out)))
    print(f"\n{time.monotonic() - start:.0f} s with {args.n_jobs} runs at a time")
    for failure in failures:
        print(f"This run failed: {failure}", file=sys.stderr)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
