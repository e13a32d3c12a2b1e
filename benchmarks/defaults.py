"""
Ablation of the defaults: one choice of OrderPPO is changed at a time, on three environments, with PPO for comparison.

    python benchmarks/defaults.py --env FragileHalfCheetah-v0 --seeds 3
    python benchmarks/defaults.py --report --env FragileHalfCheetah-v0 --variants PPO projected --figures docs/images

Finished runs are kept: the same command continues after an interruption and adds new variants. ``--report`` needs their
returns and settings only, as in docs/data/runs.tar.xz.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import archived_runs
import drawing
import numpy as np

from sb3_ordergrad.common import files
from sb3_ordergrad.compare import command as compare
from sb3_ordergrad.compare.execute import run_all
from sb3_ordergrad.compare.report import finished_runs, provenance
from sb3_ordergrad.compare.run_folder import FinishedRun
from sb3_ordergrad.compare.spec import RunSpec
from sb3_ordergrad.evaluation import Interval, ReturnDistribution, bootstrap_over_seeds

OBJECTIVES = {
    "GuardedMaze-v0": "cvar:0.05",
    "FragileHalfCheetah-v0": "cvar:0.25",
    "HalfCheetah-v5": "cvar:0.5",
    "FragilePoint-v0": "cvar:0.25",
}
# As in docs/experiments/defaults.md, so that --report finds its runs; HalfCheetah's episodes are five times as long
EVAL_EPISODES = {"GuardedMaze-v0": 2000, "FragileHalfCheetah-v0": 400, "HalfCheetah-v5": 100, "FragilePoint-v0": 1000}
PPO = "PPO"
# Of OrderPPO on the cheetahs when the archived runs were made
FORMER_LAMBDA = {"gae_lambda": 0.8}
_SMALL_NOISE = "policy_kwargs:dict(log_std_init=-2,ortho_init=False)"
# label -> (--params, --return-to-date)
VARIANTS: dict[str, tuple[str, str]] = {
    PPO: ("", "yes"),
    "PPO, without ReturnToDate": ("", "no"),
    "PPO, lambda 0.8": ("gae_lambda:0.8", "yes"),
    "projected": ("credit:projected", "yes"),
    "dense": ("credit:dense", "yes"),
    "terminal, gamma 1, lambda 0.95": ("credit:terminal gamma:1.0 gae_lambda:0.95", "yes"),
    "projected, without ReturnToDate": ("credit:projected", "no"),
    "dense, without ReturnToDate": ("credit:dense", "no"),
    "terminal, gamma 1, lambda 0.95, without ReturnToDate": ("credit:terminal gamma:1.0 gae_lambda:0.95", "no"),
    "terminal, gamma 0.99, lambda 0.95": ("credit:terminal gamma:0.99 gae_lambda:0.95", "yes"),
    "projected, lambda 0.8": ("credit:projected gae_lambda:0.8", "yes"),
    "projected, lambda 0.95": ("credit:projected gae_lambda:0.95", "yes"),
    "dense, lambda 0.95": ("credit:dense gae_lambda:0.95", "yes"),
    "dense, lambda 0.8, without ReturnToDate": ("credit:dense gae_lambda:0.8", "no"),
    "projected, gamma 1, lambda 0.98": ("credit:projected gamma:1.0 gae_lambda:0.98", "yes"),
    "dense, gamma 1, lambda 0.98": ("credit:dense gamma:1.0 gae_lambda:0.98", "yes"),
    "projected, normalize_advantage=False": ("credit:projected normalize_advantage:False", "yes"),
    "projected, normalize_advantage=False, without ReturnToDate": ("credit:projected normalize_advantage:False", "no"),
    "projected, value_scale 10, without ReturnToDate": ("credit:projected value_scale:10.0", "no"),
    "PPO, small initial noise": (_SMALL_NOISE, "yes"),
    "rare losses smoothed": ("smooth_rare_losses:True", "yes"),
    "rare losses as sampled": ("smooth_rare_losses:False", "yes"),
    "rare losses smoothed, small initial noise": (f"smooth_rare_losses:True {_SMALL_NOISE}", "yes"),
    "rare losses as sampled, small initial noise": (f"smooth_rare_losses:False {_SMALL_NOISE}", "yes"),
    "projected, value_scale 0.1": ("credit:projected value_scale:0.1", "yes"),
    "projected, value_scale 10": ("credit:projected value_scale:10.0", "yes"),
}


def plan(env_id: str, label: str, args: argparse.Namespace) -> list[RunSpec]:
    """The runs of one variant, with the settings that ``python -m sb3_ordergrad.compare`` would use."""
    params, return_to_date = VARIANTS[label]
    objective = "mean" if label.startswith(PPO) else OBJECTIVES[env_id]
    argv = ["--env", env_id, "--objectives", objective, "--seeds", str(args.seeds), "--return-to-date", return_to_date]
    argv += ["--eval-episodes", str(EVAL_EPISODES[env_id]), "--out", str(args.out / env_id)]
    argv += ["--params", *params.split()] if params else []
    if args.steps is not None:
        argv += ["--steps", str(args.steps)]
    return compare.plan(compare.make_parser().parse_args(argv))


def stored(spec: RunSpec, runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """The run of this variant and seed among archived ones, with today's settings or the former lambda; at most one."""
    former = spec.training | {"settings": FORMER_LAMBDA | spec.training["settings"]}
    wanted = [spec.training] if spec.objective == "mean" else [spec.training, former]
    return [run for training in wanted for run in runs if run.record["training"] == training][:1]


def draw(env_id: str, done: dict[str, list[FinishedRun]], path: Path) -> None:
    """Draw the objective of each seed, and the interval of each variant."""
    own = OBJECTIVES[env_id]
    distributions = {label: [run.distribution for run in runs] for label, runs in done.items() if runs}
    seeds = {label: [d.objective_value(own) for d in of_seeds] for label, of_seeds in distributions.items()}
    figure = drawing.new_figure(6.6, 0.7 + 0.27 * len(seeds))
    ax = figure.subplots()
    drawing.plot_dots(ax, {"seed": seeds}, {label: interval(of_seeds, own) for label, of_seeds in distributions.items()})
    ax.get_legend().remove()
    ax.set_xlabel(f"{own} of each seed, mean and 95 % interval")
    drawing.save(figure, path)


def table(env_id: str, finished: dict[str, list[FinishedRun]]) -> str:
    """Mean and tail of each variant with 95 % intervals (RTD: with ReturnToDate), and a table with every seed."""
    own = OBJECTIVES[env_id]
    values = [["variant", "RTD", "mean", own, "cvar:0.1"], ["---", "---", "---:", "---:", "---:"]]
    seeds = [["variant", "RTD", "mean / PPO's", f"each seed: mean / {own}"], ["---", "---", "---:", "---"]]
    reference = None
    for label, runs in finished.items():
        done = [run.distribution for run in runs]
        if not done:
            continue
        mean = float(np.mean([distribution.mean() for distribution in done]))
        reference = mean if label == PPO else reference
        # A ratio makes sense only for returns far from zero
        share = f"{mean / reference:.2f}" if reference is not None and reference > 100 else ""
        every = ", ".join(f"{d.mean():.4g} / {d.objective_value(own):.4g}" for d in done)
        name = [label.removesuffix(", without ReturnToDate"), VARIANTS[label][1]]
        intervals = [interval(done, objective) for objective in ("mean", own, "cvar:0.1")]
        values.append([*name, *(f"{value:.4g} [{low:.4g}, {high:.4g}]" for value, low, high in intervals)])
        seeds.append([*name, share, every])
    return "\n\n".join("\n".join("| " + " | ".join(line) + " |" for line in lines) for lines in (values, seeds))


def interval(distributions: Sequence[ReturnDistribution], objective: str) -> Interval:
    """The mean over seeds of an objective, with its 95 % interval."""
    statistic = {objective: (objective, None)}
    return bootstrap_over_seeds([d.returns for d in distributions], statistics=statistic)[objective]


def main() -> None:
    """Train what is missing, print the tables and write them to ``<out>/<env>/defaults.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", nargs="+", choices=list(OBJECTIVES), default=list(OBJECTIVES), help="environments")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), help="variants")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--steps", type=int, help="steps of each run (default: those of orderppo.yml)")
    parser.add_argument("--n-jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--report", action="store_true", help="do not train: only the table of the finished runs")
    parser.add_argument("--figures", type=Path, metavar="FOLDER", help="draw the seeds, into this folder")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder of the results")
    args = parser.parse_args()
    failed = []
    for env_id in args.env:
        start = time.monotonic()
        specs = {label: plan(env_id, label, args) for label in args.variants}
        # Seeds outermost: after an interruption every variant has the same seeds
        every = [run for same_seed in zip(*specs.values(), strict=True) for run in same_seed]
        if args.report:
            archive = archived_runs.read(args.out / env_id)
            done = {label: [run for spec in runs for run in stored(spec, archive)] for label, runs in specs.items()}
        else:
            failed += run_all(every, args.n_jobs)
            done = {label: finished_runs(runs) for label, runs in specs.items()}
        finished = [run for runs in done.values() for run in runs]
        if not finished:
            print(f"\nNo finished run on {env_id}.")
            continue
        command = shlex.join(["python", *sys.argv])
        text = f"{table(env_id, done)}\n\n{provenance(finished, command, time.monotonic() - start)}\n"
        print(f"\n# {env_id}, {every[0].steps:,} steps\n\n{text}", flush=True)
        files.write_text(args.out / env_id / "defaults.md", f"# {env_id}, {every[0].steps:,} steps\n\n{text}")
        if args.figures is not None:
            draw(env_id, done, args.figures / f"defaults_{env_id}.png")
    for failure in failed:
        print(f"This run failed: {failure}", file=sys.stderr)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
