"""A table of all models in a log folder, as RL Zoo's ``benchmark`` makes it, with the distribution of the returns."""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytablewriter
from huggingface_sb3 import EnvironmentName
from rl_zoo3.utils import get_hf_trained_models, get_latest_run_id, get_saved_hyperparams, get_trained_models
from stable_baselines3.common.monitor import LoadMonitorResultsError, load_results

from sb3_ordergrad.evaluation import SUMMARY
from sb3_ordergrad.zoo.enjoy import statistics


def make_parser() -> argparse.ArgumentParser:
    """RL Zoo's options, with its defaults."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log-dir", default="rl-trained-agents/", help="root log folder (%(default)s)")
    parser.add_argument("--benchmark-dir", default="logs/benchmark/", help="folder of the episodes (%(default)s)")
    parser.add_argument("-n", "--n-timesteps", type=int, default=150000, help="steps of each environment (%(default)s)")
    parser.add_argument("--n-envs", type=int, default=1, help="number of environments (%(default)s)")
    parser.add_argument("--verbose", type=int, default=1, help="0: no output, 1: progress")
    parser.add_argument("--seed", type=int, default=0, help="random generator seed (%(default)s)")
    parser.add_argument("--test-mode", action="store_true", help="evaluate only one model, and write no ./benchmark.md")
    parser.add_argument("--no-hub", action="store_true", help="leave out the models of the hub")
    parser.add_argument("--num-threads", type=int, default=2, help="threads of PyTorch (%(default)s)")
    return parser


def read_episodes(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns and lengths ``(n_episodes,)`` of the episodes in a folder of monitors; empty without readable files."""
    try:
        episodes = load_results(str(folder))
    except (LoadMonitorResultsError, TypeError, ValueError):
        return np.empty(0), np.empty(0)
    return episodes.r.to_numpy(), episodes.l.to_numpy()


def evaluate(algo: str, env_id: str, folder: Path, args: argparse.Namespace) -> dict[str, Any] | None:
    """
    The row of a model in the table, ``None`` without an episode. ``enjoy`` plays it in a separate process, unless the folder
    holds its episodes already.
    """
    if not len(read_episodes(folder)[0]):
        names = ("n_timesteps", "n_envs", "seed", "num_threads")
        numbers = [text for name in names for text in (f"--{name.replace('_', '-')}", str(getattr(args, name)))]
        command = [sys.executable, "-m", "sb3_ordergrad.zoo", "enjoy", "--algo", algo, "--env", env_id, "-f", args.log_dir]
        subprocess.run([*command, *numbers, "--no-render", "--verbose", "0", "--reward-log", str(folder)], check=False)
    returns, lengths = read_episodes(folder)
    if not len(returns):
        return None
    run = get_latest_run_id(str(Path(args.log_dir, algo)), EnvironmentName(env_id))
    name = EnvironmentName(env_id)
    hyperparams, _ = get_saved_hyperparams(str(Path(args.log_dir, algo, f"{name}_{run}", name)))
    known = statistics(returns.tolist())
    return {
        "algo": algo,
        "env_id": env_id,
        "mean_reward": known.pop("mean"),
        "std_reward": returns.std(),
        "n_timesteps": f"{float(hyperparams['n_timesteps']) / 1e6:g}M",
        "eval_timesteps": int(lengths.sum()),
        "eval_episodes": len(returns),
        **{name: known.get(name, float("nan")) for name in SUMMARY if name != "mean"},
    }


def benchmark() -> None:
    """Evaluate the models, print the table, write it to ``<benchmark-dir>/benchmark.md`` and ``./benchmark.md``."""
    args = make_parser().parse_args()
    models = get_trained_models(args.log_dir)
    if not args.no_hub:
        models.update(get_hf_trained_models())
    names = sorted(models, key=models.__getitem__)[: 1 if args.test_mode else None]
    rows = []
    for number, name in enumerate(names, 1):
        algo, env_id = models[name]
        if args.verbose > 0:
            print(f"{number}/{len(names)}: {algo} on {env_id}", flush=True)
        row = evaluate(algo, env_id, Path(args.benchmark_dir, name), args)
        if row is None:
            print(f"No episode of {algo} on {env_id} has ended: left out.", file=sys.stderr)
        else:
            rows.append(row)
    if not rows:
        raise ValueError(f"--log-dir {args.log_dir} gave no episodes: train a model first, or raise --n-timesteps.")
    writer = pytablewriter.MarkdownTableWriter(
        headers=list(rows[0]), value_matrix=[list(row.values()) for row in rows], max_precision=3
    )
    print(writer.dumps())
    path = Path(args.benchmark_dir, "benchmark.md")
    path.write_text(f"# Performance of trained agents\n\nOne run each, mode of the policy.\n\n{writer.dumps()}")
    if not args.test_mode:
        shutil.copy(path, "benchmark.md")
