"""Command line of the comparison: options, checks before anything is trained, and the order of events."""

import argparse
import itertools
import os
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import gymnasium as gym

from sb3_ordergrad.compare import settings
from sb3_ordergrad.compare.algorithms import (
    ALGOS,
    algorithm_class,
    check_algos,
    is_mean,
    objectives_by_algorithm,
    params_by_algorithm,
)
from sb3_ordergrad.compare.backends import BACKENDS, check_backend, check_cluster
from sb3_ordergrad.compare.run import RunSpec, make_model
from sb3_ordergrad.compare.study import OUTPUTS, check_out, check_pictures, run_all, steps_text, write_report
from sb3_ordergrad.evaluation import SUMMARY

T = TypeVar("T")

DEFAULT_ENV = "FragileHalfCheetah-v0"
DEFAULT_SEEDS = 3
# The shorter setting of `--demo`: what it takes to see the difference in a few minutes on two cores
DEMO_STEPS = 600_000
DEMO_SEEDS = 2
MIN_EVAL_EPISODES = max(k or 1 for _, k in SUMMARY.values())


def make_parser() -> argparse.ArgumentParser:
    """The options; every one has a default."""
    parser = argparse.ArgumentParser(
        prog="python -m sb3_ordergrad.compare",
        description="Train objectives side by side, evaluate fresh episodes, and write tables and pictures of the returns. "
        "Interrupt it at any time: the same command continues with the runs that are not finished.",
    )
    parser.add_argument("--algos", nargs="+", default=["orderppo"], help=f"of {', '.join(ALGOS)}")
    parser.add_argument("--env", default=DEFAULT_ENV, help="environment id (%(default)s)")
    defaults = "; ".join(f"{algo}: {' '.join(item.objectives)}" for algo, item in ALGOS.items() if not item.is_baseline)
    parser.add_argument(
        "--objectives", nargs="+", help=f"the first is the reference; remac.max is for remac alone (defaults: {defaults})"
    )
    parser.add_argument("--steps", type=float, help="environment steps of each run (n_timesteps of the YAML file)")
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--seeds", type=int, help=f"number of training seeds, 0 to N - 1 ({DEFAULT_SEEDS})")
    seeds.add_argument("--seed-list", type=int, nargs="+", help="these training seeds instead")
    parser.add_argument("--n-jobs", type=int, default=os.cpu_count(), help="runs at a time (%(default)s, the cores)")
    parser.add_argument("--backend", choices=BACKENDS, default="local", help="this machine or a cluster (%(default)s)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of the Dask scheduler, such as tcp://10.0.0.1:8786")
    parser.add_argument("--out", type=Path, help="folder of the results (results, with --demo results/demo)")
    parser.add_argument(
        "--params",
        nargs="+",
        default=[],
        metavar="[ALGO.]KEY:VALUE",
        help="hyperparameters for all algorithms that know them, remac.k:4 for remac alone",
    )
    parser.add_argument("--return-to-date", choices=["yes", "no", "config"], default="config", help="override the wrapper")
    parser.add_argument("--conf-dir", type=Path, help="folder with <algo>.yml instead of the package's")
    parser.add_argument("--eval-episodes", type=int, default=400, help="fresh episodes a policy (%(default)s)")
    parser.add_argument("--deterministic", action="store_true", help="evaluate the mode of the policy, not its samples")
    parser.add_argument("--demo", action="store_true", help=f"{DEMO_SEEDS} seeds of {DEMO_STEPS:,} steps: a few minutes")
    return parser


def _unique(items: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(items))


def _check_options(args: argparse.Namespace) -> None:
    for name, value, least in (
        ("--seeds", args.seeds, 1),
        ("--seed-list", min(args.seed_list or [0]), 0),
        ("--n-jobs", args.n_jobs, 1),
        ("--eval-episodes", args.eval_episodes, MIN_EVAL_EPISODES),
        ("--steps", args.steps, 1),
    ):
        # Written so that NaN is refused as well
        if value is not None and not value >= least:
            raise ValueError(f"{name} {value:g} must be a number >= {least}: raise it.")
    if args.steps is not None and not args.steps.is_integer():
        raise ValueError(f"--steps {args.steps} must be a whole number >= 1, such as 1e6: round it.")
    check_backend(args.backend, args.scheduler)
    check_algos(args.algos)
    # "package:Env-v0" is imported when it is made, as gymnasium does
    if ":" not in args.env:
        try:
            gym.spec(args.env)
        except gym.error.Error as error:
            raise ValueError(f"--env {args.env} is unknown: {settings.suggest(args.env, list(gym.registry))}") from error


def _run_steps(algo: str, args: argparse.Namespace) -> int:
    """Steps of every run of an algorithm: what was asked for, else what its YAML file says."""
    if args.steps is not None:
        return int(args.steps)
    if args.demo:
        return DEMO_STEPS
    steps = settings.load_settings(algo, args.env, args.conf_dir).get("n_timesteps")
    if steps is None:
        raise ValueError(f"{algo}.yml names no n_timesteps for {args.env}: say how long to train with --steps.")
    return int(float(steps))


def plan(args: argparse.Namespace) -> list[RunSpec]:
    """
    The runs that the options ask for.

    Where an algorithm on the ``mean`` is a plain one, it takes that one's settings (``ppo.yml``), a baseline that can be tuned
    on its own, and is trained for as many steps as on its other objectives. All other runs take ``<algo>.yml``.

    :param args: parsed options
    :raises ValueError: if an option is out of range or unknown
    """
    _check_options(args)
    n_seeds = args.seeds or (DEMO_SEEDS if args.demo else DEFAULT_SEEDS)
    seeds = _unique(args.seed_list or range(n_seeds))
    out = str(args.out or ("results/demo" if args.demo else "results"))
    algos = _unique(args.algos)
    objectives = objectives_by_algorithm(args.objectives, algos)
    params = params_by_algorithm(args.params, algos)
    specs = []
    # Seeds outermost: an interrupted comparison holds every objective for the seeds it got to
    for seed, algo in itertools.product(seeds, algos):
        for objective in objectives[algo]:
            source = (ALGOS[algo].plain if is_mean(objective) else None) or algo
            entry = {**settings.load_settings(source, args.env, args.conf_dir), **params[algo]}
            for key in ("n_timesteps", "objective"):
                entry.pop(key, None)
            entry = settings.override_return_to_date(entry, args.return_to_date)
            settings.check_settings(entry, algorithm_class(algo))
            steps = _run_steps(algo, args)
            specs.append(RunSpec(algo, args.env, objective, seed, steps, entry, args.eval_episodes, args.deterministic, out))
    return specs


def check_runs(specs: Sequence[RunSpec]) -> None:
    """
    Build the model of every algorithm and objective once, so that what it refuses is known before hours of training.

    :raises ValueError: as the algorithm, the environment or a wrapper raises it
    """
    seen = set()
    for spec in specs:
        if (spec.algo, spec.objective) in seen or spec.is_trained():
            continue
        seen.add((spec.algo, spec.objective))
        try:
            model, _ = make_model(spec)
        except (TypeError, AssertionError) as error:
            raise ValueError(f"{spec.algo} with {spec.objective} on {spec.env_id} cannot be built: {error}") from error
        env = model.get_env()
        if env is not None:
            env.close()


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command.

    :param argv: the options; those of the process if ``None``
    :return: exit status: 0, 1 if a run failed, 130 if interrupted
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = make_parser()
    args = parser.parse_args(arguments)
    start = time.monotonic()
    try:
        specs = plan(args)
        out = Path(specs[0].out)
        check_out(out)
        check_pictures()
        check_runs(specs)
        out.mkdir(parents=True, exist_ok=True)
        if args.backend == "dask":
            check_cluster(args.scheduler, out)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    n_done = sum(spec.is_done() for spec in specs)
    print(f"{len(specs)} runs of {steps_text(specs)} on {specs[0].env_id}, {n_done} already done in {out}", flush=True)
    try:
        failures = run_all(specs, args.n_jobs, args.backend, args.scheduler)
        if any(spec.is_done() for spec in specs):
            command = shlex.join(["python", "-m", "sb3_ordergrad.compare", *arguments])
            print("\n" + write_report(specs, out, command, time.monotonic() - start))
            print(f"Pictures, every seed and every return: {', '.join(OUTPUTS)} in {out}")
    except KeyboardInterrupt:
        n_done = sum(spec.is_done() for spec in specs)
        print(f"\nInterrupted: {n_done} of {len(specs)} runs are finished and kept; the same command continues.", flush=True)
        return 130
    for failure in failures:
        print(f"\nThis run failed; the same command tries it again: {failure}", file=sys.stderr)
    return 1 if failures else 0
