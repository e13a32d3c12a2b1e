"""Command line of the comparison: its options, and the checks before anything is trained."""

import argparse
import importlib
import itertools
import math
import os
import re
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

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
from sb3_ordergrad.compare.argument_types import check_types
from sb3_ordergrad.compare.backends import BACKENDS, check_backend, check_cluster
from sb3_ordergrad.compare.execute import run_all
from sb3_ordergrad.compare.lock import locked
from sb3_ordergrad.compare.report import (
    COMMAND,
    MANIFEST,
    OUTPUTS,
    Report,
    check_out,
    check_pictures,
    finished_runs,
    steps_text,
)
from sb3_ordergrad.compare.run import make_model
from sb3_ordergrad.compare.run_folder import RunFolder
from sb3_ordergrad.compare.spec import RunSpec
from sb3_ordergrad.evaluation import SUMMARY

DEFAULT_ENV = "FragileHalfCheetah-v0"
DEFAULT_SEEDS = 3
# Enough to see the difference between the objectives after a few minutes on two cores
DEMO_STEPS = 600_000
DEMO_SEEDS = 2
MIN_EVAL_EPISODES = max(k or 1 for _, k in SUMMARY.values())
# The range of NumPy's seeds
MAX_SEED = 2**32 - 1


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("the name of the folder is empty")
    return Path(text)


def make_parser() -> argparse.ArgumentParser:
    """The options; every one has a default."""
    parser = argparse.ArgumentParser(
        prog="python -m sb3_ordergrad.compare",
        description="Train objectives side by side, evaluate fresh episodes, and write tables and pictures of the returns. "
        "It can be interrupted: the same command continues with the runs that are not finished.",
    )
    parser.add_argument("--algos", nargs="+", default=["orderppo"], help=f"one or more of {', '.join(ALGOS)}")
    parser.add_argument("--env", default=DEFAULT_ENV, help="environment id (%(default)s)")
    defaults = "; ".join(f"{algo}: {' '.join(item.objectives)}" for algo, item in ALGOS.items() if not item.is_baseline)
    parser.add_argument(
        "--objectives", nargs="+", help=f"the first is the reference; remac.max is for remac alone (defaults: {defaults})"
    )
    parser.add_argument("--steps", type=float, help="environment steps of each run (n_timesteps of the YAML file)")
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--seeds", type=int, help=f"number of training seeds, 0 to N - 1 ({DEFAULT_SEEDS})")
    seeds.add_argument("--seed-list", type=int, nargs="+", help="these training seeds instead")
    parser.add_argument("--n-jobs", type=int, default=os.cpu_count() or 1, help="runs at a time (%(default)s, the cores)")
    parser.add_argument("--backend", choices=BACKENDS, default="local", help="this machine or a cluster (%(default)s)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of the Dask scheduler, such as tcp://10.0.0.1:8786")
    parser.add_argument("--out", type=_folder, help="folder of the results (results, with --demo results/demo)")
    parser.add_argument(
        "--params",
        nargs="+",
        default=[],
        metavar="[ALGO.]KEY:VALUE",
        help="hyperparameters for all algorithms that know them, remac.k:4 for remac alone",
    )
    parser.add_argument("--return-to-date", choices=["yes", "no", "config"], default="config", help="override the wrapper")
    parser.add_argument("--conf-dir", type=_folder, help="folder with <algo>.yml instead of the package's")
    parser.add_argument("--eval-episodes", type=int, default=400, help="evaluation episodes per policy (%(default)s)")
    parser.add_argument(
        "--deterministic", action="store_true", help="evaluate the mode of the policy instead of sampled actions"
    )
    parser.add_argument("--demo", action="store_true", help=f"{DEMO_SEEDS} seeds of {DEMO_STEPS:,} steps: a few minutes")
    return parser


def _check_options(args: argparse.Namespace) -> None:
    for name, value, least, most in (
        ("--seeds", args.seeds, 1, MAX_SEED),
        ("--seed-list", min(args.seed_list or [0]), 0, MAX_SEED),
        ("--seed-list", max(args.seed_list or [0]), 0, MAX_SEED),
        ("--n-jobs", args.n_jobs, 1, math.inf),
        ("--eval-episodes", args.eval_episodes, MIN_EVAL_EPISODES, math.inf),
        ("--steps", args.steps, 1, math.inf),
    ):
        # Written so that NaN is refused as well
        if value is not None and not least <= value <= most:
            limits = f">= {least}" if most == math.inf else f"in {least} ... {most}"
            raise ValueError(f"{name} {value} must be a number {limits}.")
    if args.steps is not None and not args.steps.is_integer():
        raise ValueError(f"--steps {args.steps} must be a whole number >= 1, such as 1e6.")
    check_backend(args.backend, args.scheduler)
    check_algos(args.algos)
    _check_env(args.env)


def _check_env(env_id: str) -> None:
    # As gymnasium does, "package:Env-v0" imports the package, which registers the environment
    package, _, name = env_id.rpartition(":")
    try:
        if package:
            importlib.import_module(package)
    except Exception as error:
        raise ValueError(f"--env {env_id}: cannot import '{package}' ({type(error).__name__}: {error}).") from error
    try:
        gym.spec(name)
    except gym.error.Error as error:
        raise ValueError(f"--env {env_id} is unknown: {settings.suggest(name, list(gym.registry))}") from error


def _run_steps(algo: str, args: argparse.Namespace) -> int:
    """Steps of every run of an algorithm: those of the option, else those of its YAML file."""
    if args.steps is not None:
        return int(args.steps)
    if args.demo:
        return DEMO_STEPS
    steps = settings.load_settings(algo, args.env, args.conf_dir).get("n_timesteps")
    if steps is None:
        raise ValueError(f"{algo}.yml has no n_timesteps for {args.env}: say how long to train with --steps.")
    return int(float(steps))


def plan(args: argparse.Namespace) -> list[RunSpec]:
    """
    The runs that the options ask for.

    An algorithm that is a plain one on the ``mean`` then takes the settings of the plain one (``ppo.yml``), so that the
    baseline can be tuned separately, and is trained for as many steps as on its other objectives.

    :raises ValueError: if an option is out of range or unknown
    """
    _check_options(args)
    n_seeds = args.seeds or (DEMO_SEEDS if args.demo else DEFAULT_SEEDS)
    seeds = list(dict.fromkeys(args.seed_list or range(n_seeds)))
    out = str(args.out or ("results/demo" if args.demo else "results"))
    algos = list(dict.fromkeys(args.algos))
    objectives = objectives_by_algorithm([item.strip() for item in args.objectives or ()] or None, algos)
    params = params_by_algorithm(args.params, algos)
    specs = []
    # Seeds outermost: after an interruption every objective has the same seeds
    for seed, algo in itertools.product(seeds, algos):
        for objective in objectives[algo]:
            source = (ALGOS[algo].plain if is_mean(objective) else None) or algo
            entry = {**settings.load_settings(source, args.env, args.conf_dir), **params[algo]}
            for key in ("n_timesteps", "objective"):
                entry.pop(key, None)
            entry = settings.override_return_to_date(entry, args.return_to_date)
            settings.check_settings(entry, algorithm_class(algo))
            check_types(settings.constructor_kwargs(entry), algorithm_class(algo))
            steps = _run_steps(algo, args)
            specs.append(RunSpec(algo, args.env, objective, seed, steps, entry, args.eval_episodes, args.deterministic, out))
    return specs


def check_runs(specs: Sequence[RunSpec]) -> None:
    """
    Build the model of every algorithm and objective once, so that bad settings are reported before hours of training. Raise a
    ValueError if the environment, a wrapper or the algorithm raises any error.
    """
    seen = set()
    for spec in specs:
        if (spec.algo, spec.objective) in seen or RunFolder(spec).is_trained():
            continue
        seen.add((spec.algo, spec.objective))
        try:
            model, _ = make_model(spec)
        except Exception as error:
            reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            raise ValueError(f"{spec.algo} with {spec.objective} on {spec.env_id} cannot be built: {reason}") from error
        env = model.get_env()
        if env is not None:
            env.close()


def _open_out(out: Path, stack: ExitStack) -> None:
    """Create the folder of the results and lock it."""
    try:
        (out / "runs").mkdir(parents=True, exist_ok=True)
        stack.enter_context(locked(out))
    except OSError as error:
        raise ValueError(f"--out {out} cannot be written ({error}): choose another folder.") from error
    for name in (*OUTPUTS, MANIFEST):
        for leftover in out.glob(f".{Path(name).stem}-*.tmp{Path(name).suffix}"):
            leftover.unlink(missing_ok=True)


def _write_report(specs: Sequence[RunSpec], out: Path, command: str, seconds: float, failures: Sequence[str]) -> bool:
    """Print the table and the failures, then write the files; whether that succeeded."""
    runs = finished_runs(specs)
    report = Report(runs, command, seconds) if runs else None
    if report is not None:
        print(f"\n{report.text}", flush=True)
    for failure in failures:
        print(f"\nThis run failed; the same command tries it again: {failure}", file=sys.stderr)
    if report is not None:
        try:
            report.write(out)
        except (OSError, ValueError) as error:
            print(f"\nThe report could not be written to {out}: {error}. The same command tries it again.", file=sys.stderr)
            return False
        print(f"Pictures, every seed and every return: {', '.join(OUTPUTS)} in {out}")
    return not failures


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command.

    :param argv: the options; those of the process if ``None``
    :return: exit status: 0, 1 if a run failed or the report could not be written, 130 if interrupted; bad options exit with 2
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = make_parser()
    # argparse takes "-gini" for an option, " -gini" for a value; the only option with a single dash is -h
    args = parser.parse_args([f" {item}" if re.match("-[^-]", item) and item != "-h" else item for item in arguments])
    start = time.monotonic()
    specs: list[RunSpec] = []
    with ExitStack() as stack:
        try:
            specs = plan(args)
            out = Path(specs[0].out)
            check_out(out)
            check_pictures()
            check_runs(specs)
            _open_out(out, stack)
            if args.backend == "dask":
                check_cluster(args.scheduler, out)
            n_done = len(finished_runs(specs))
            print(f"{len(specs)} runs of {steps_text(specs)} on {specs[0].env_id}, {n_done} already done in {out}", flush=True)
        except (ValueError, OSError, RecursionError) as error:
            parser.error(str(error))
        except KeyboardInterrupt:
            print("\nInterrupted before the first run.", flush=True)
            return 130
        try:
            failures = run_all(specs, args.n_jobs, args.backend, args.scheduler)
            command = shlex.join([*COMMAND, *arguments])
            return 0 if _write_report(specs, out, command, time.monotonic() - start, failures) else 1
        except KeyboardInterrupt:
            n_done = len(finished_runs(specs))
            print(
                f"\nInterrupted: {n_done} of {len(specs)} runs are finished and kept; the same command continues.", flush=True
            )
            return 130
