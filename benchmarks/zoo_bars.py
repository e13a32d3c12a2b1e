"""
What the YAML files alone reach: `zoo train` on each environment, fresh episodes of the saved models, and the bars they pass.

    python benchmarks/zoo_bars.py --n-jobs 2

Finished runs are kept: the same command continues after an interruption.
"""

import argparse
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import betting_game
import numpy as np
import rl_zoo3
import torch as th
import yaml
from joblib import Parallel, delayed  # type: ignore[import-untyped]
from stable_baselines3.common.monitor import load_results
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ordergrad import OrderPPO
from sb3_ordergrad.compare import files
from sb3_ordergrad.compare.run import N_EVAL_ENVS, evaluation_seed
from sb3_ordergrad.compare.settings import hyperparameter_folder
from sb3_ordergrad.evaluation import ReturnDistribution, bootstrap_difference, evaluate_distribution
from sb3_ordergrad.zoo.registry import register


@dataclass(frozen=True)
class Task:
    """
    What is run on one environment.

    :param algos: names of the algorithms and of their YAML files
    :param objective: the level that the bar is about
    :param n_seeds: training seeds, 0 to n_seeds - 1
    :param n_episodes: evaluation episodes of a policy
    """

    algos: tuple[str, ...]
    objective: str
    n_seeds: int
    n_episodes: int


TASKS = {
    "GuardedMaze-v0": Task(("orderppo",), "cvar:0.05", 10, 2000),
    "FragileHalfCheetah-v0": Task(("orderppo", "ppo"), "cvar:0.25", 5, 400),
    "BettingGame-v0": Task(("orderppo",), "cvar:0.25", 5, 2000),
}


@dataclass(frozen=True)
class Run:
    """One training with one seed, in a folder of its own; ``done.json`` is written last."""

    env_id: str
    algo: str
    seed: int
    steps: int
    n_episodes: int
    out: str

    @property
    def folder(self) -> Path:
        steps = f"-{self.steps}" if self.steps > 0 else ""
        return Path(self.out) / self.env_id / f"{self.algo}-s{self.seed}{steps}"

    @property
    def log_path(self) -> Path:
        """Where RL Zoo puts the first run of its log folder."""
        return self.folder / self.algo / f"{self.env_id}_1"

    def entry(self) -> dict[str, Any] | None:
        """The entry of our YAML file."""
        return yaml.safe_load((hyperparameter_folder() / f"{self.algo}.yml").read_text()).get(self.env_id)

    def command(self) -> list[str]:
        # RL Zoo's own ppo.yml knows none of our environments
        conf = hyperparameter_folder() / f"{self.algo}.yml"
        argv = (
            f"train --algo {self.algo} --env {self.env_id} --seed {self.seed} -n {self.steps} --eval-freq -1 --num-threads 1"
        )
        paths = ["--conf-file", str(conf), "-f", str(self.folder)]
        return [sys.executable, "-m", "sb3_ordergrad.zoo", *argv.split(), "--device", "cpu", *paths]

    def is_done(self) -> bool:
        record = files.read_json(self.folder / "done.json") or {}
        return record.get("n_episodes") == self.n_episodes

    def record(self) -> dict[str, Any]:
        return files.read_json(self.folder / "done.json")

    def distribution(self) -> ReturnDistribution:
        rows = files.read_csv(self.folder / "returns.csv")
        return ReturnDistribution(
            np.array([float(row["return"]) for row in rows]), np.array([int(row["length"]) for row in rows])
        )


def train_and_evaluate(run: Run) -> None:
    """
    Train with the zoo's command, load what it saved as its `enjoy` does, and play fresh episodes with sampled actions.

    :param run: the run
    """
    shutil.rmtree(run.folder, ignore_errors=True)
    run.folder.mkdir(parents=True)
    start = time.monotonic()
    with (run.folder / "train.log").open("w") as log:
        subprocess.run(run.command(), stdout=log, stderr=subprocess.STDOUT, check=True)
    seconds = time.monotonic() - start
    register()
    th.set_num_threads(1)
    hyperparams, stats_path = rl_zoo3.get_saved_hyperparams(str(run.log_path / run.env_id), test_mode=True)
    model = rl_zoo3.ALGOS[run.algo].load(run.log_path / f"{run.env_id}.zip", device="cpu")
    wanted = run.steps if run.steps > 0 else int(hyperparams["n_timesteps"])
    if model.num_timesteps < wanted:
        raise RuntimeError(f"{run.folder} was interrupted after {model.num_timesteps} of {wanted} steps: run it again.")
    seed = evaluation_seed(run.seed)
    env = rl_zoo3.create_test_env(
        run.env_id,
        N_EVAL_ENVS,
        stats_path,
        seed,
        should_render=False,
        hyperparams=hyperparams,
        env_kwargs=hyperparams.get("env_kwargs"),
        vec_env_cls=DummyVecEnv,
    )
    distribution = evaluate_distribution(model, env, run.n_episodes, seed=seed)
    env.close()
    rows = zip(range(len(distribution)), distribution.returns.tolist(), distribution.lengths.tolist(), strict=True)
    files.write_csv(run.folder / "returns.csv", ("episode", "return", "length"), rows)
    record = {
        "n_episodes": run.n_episodes,
        "training_episodes": len(load_results(str(run.log_path))),
        "training_steps": model.num_timesteps,
        "seconds_training": round(seconds, 1),
        "entry": run.entry(),
        "commit": files.git_commit(),
        "versions": files.package_versions(),
        "machine": files.machine(),
    }
    files.write_json(run.folder / "done.json", record)


def seed_rows(runs: list[Run], objective: str) -> list[list[Any]]:
    """One line for each run: what the tables show."""
    rows = []
    for run in runs:
        distribution = run.distribution()
        values = [distribution.mean(), distribution.objective_value(objective), distribution.median(), distribution.best_of(8)]
        record = run.record()
        rows.append(
            [run.algo, run.seed, *(round(v, 2) for v in values), record["training_episodes"], record["training_steps"]]
        )
    return rows


def maze_bar(runs: list[Run]) -> list[str]:
    """At least 9 of 10 seeds with mean >= 1.5 and CVaR_0.05 >= -9 after at most 100 000 training episodes."""
    rows = seed_rows(runs, "cvar:0.05")
    passed = [seed for _, seed, mean, tail, *_, episodes, _ in rows if mean >= 1.5 and tail >= -9.0 and episodes <= 100_000]
    text = f"seeds with mean >= 1.5 and CVaR_0.05 >= -9 after at most 100 000 training episodes: {len(passed)} of {len(runs)}"
    return [f"{text} (bar: 9 of 10): {_verdict(len(passed) >= 0.9 * len(runs))}"]


def cheetah_bar(runs: list[Run]) -> list[str]:
    """CVaR_0.25 above PPO's by 200 on average, interval above 100, mean at most 20 below."""
    by_seed = {
        algo: {run.seed: run.distribution().returns for run in runs if run.algo == algo} for algo in ("orderppo", "ppo")
    }
    statistics = {"CVaR_0.25": ("cvar:0.25", None), "mean": ("mean", None)}
    tail, mean = bootstrap_difference(by_seed["orderppo"], by_seed["ppo"], statistics).values()
    texts = [f"{x.value:+.0f} [{x.low:.0f}, {x.high:.0f}]" for x in (tail, mean)]
    return [
        f"CVaR_0.25 minus PPO's: {texts[0]} (bar: at least +200, interval above +100): "
        f"{_verdict(tail.value >= 200 and tail.low > 100)}",
        f"mean minus PPO's: {texts[1]} (bar: at least -20): {_verdict(mean.value >= -20)}",
    ]


def betting_bar(runs: list[Run]) -> list[str]:
    """The policy's exact CVaR_0.25 within 5 % of the optimum on at least 4 of 5 seeds."""
    game = betting_game.build_game()
    best = betting_game.figures(game, betting_game.pure(betting_game.optimum(game, "cvar:0.25")))["cvar:0.25"]
    exact = []
    for run in runs:
        policy = betting_game.learned(
            game, OrderPPO.load(run.log_path / f"{run.env_id}.zip", device="cpu"), deterministic=False
        )
        exact.append(betting_game.figures(game, policy)["cvar:0.25"])
    n_passed = sum(value >= 0.95 * best for value in exact)
    return [
        f"exact CVaR_0.25 of each policy: {', '.join(f'{value:.2f}' for value in exact)}; optimum {best:.2f}",
        f"seeds within 5 % of the optimum: {n_passed} of {len(runs)} (bar: 4 of 5): {_verdict(n_passed >= 0.8 * len(runs))}",
    ]


def _verdict(passed: bool) -> str:
    return "passed" if passed else "NOT passed"


BARS = {"GuardedMaze-v0": maze_bar, "FragileHalfCheetah-v0": cheetah_bar, "BettingGame-v0": betting_bar}


def report(env_id: str, runs: list[Run], command: str) -> str:
    """Table of the finished runs with the bars, written to ``<out>/<env>/bars.md`` and ``bars.csv``."""
    objective = TASKS[env_id].objective
    header = ["algorithm", "seed", "mean", objective, "median", "best-of-8", "training episodes", "training steps"]
    rows = seed_rows(runs, objective)
    records = [run.record() for run in runs]
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    table = "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
    versions = sorted({", ".join(f"{name} {v}" for name, v in record["versions"].items()) for record in records})
    text = "\n".join(
        [
            f"# {env_id}\n\n{table}\n",
            *(f"- {line}" for line in BARS[env_id](runs)),
            f"- {runs[0].n_episodes} fresh episodes a policy (sampled actions)",
            f"- command: `{command}`, which runs `python -m sb3_ordergrad.zoo train` with the entry of the YAML file",
            f"- seeds: {', '.join(map(str, sorted({run.seed for run in runs})))}",
            f"- commit: {', '.join(sorted({record['commit'] or 'unknown' for record in records}))}",
            f"- versions: {'; '.join(versions)}",
            f"- machine: {'; '.join(sorted({record['machine'] for record in records}))}",
            f"- time: {sum(record['seconds_training'] for record in records):.0f} s of training in {len(runs)} runs",
        ]
    )
    files.write_text(Path(runs[0].out) / env_id / "bars.md", text + "\n")
    files.write_csv(Path(runs[0].out) / env_id / "bars.csv", header, rows)
    return text


def main() -> None:
    """Train what is missing, print the tables and the bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", nargs="+", choices=list(TASKS), default=list(TASKS), help="environments")
    parser.add_argument("--seeds", type=int, help="number of seeds (default: 10 in the maze, 5 elsewhere)")
    parser.add_argument("--steps", type=int, default=-1, help="steps of each run (default: those of the YAML file)")
    parser.add_argument("--episodes", type=int, help="evaluation episodes (default: 400 on the cheetah, 2000 elsewhere)")
    parser.add_argument("--n-jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--out", default="results/zoo_bars", help="folder of the results")
    args = parser.parse_args()
    runs = {
        env_id: [
            Run(env_id, algo, seed, args.steps, args.episodes or TASKS[env_id].n_episodes, args.out)
            for seed in range(args.seeds or TASKS[env_id].n_seeds)
            for algo in TASKS[env_id].algos
        ]
        for env_id in args.env
    }
    for run in (run for same_env in runs.values() for run in same_env):
        if run.entry() is None:
            parser.error(f"{run.algo}.yml has no entry for {run.env_id}: add one, or leave the environment out with --env.")
    todo = [run for same_env in runs.values() for run in same_env if not run.is_done()]
    print(f"{len(todo)} runs to train", flush=True)
    Parallel(args.n_jobs, verbose=10)(delayed(train_and_evaluate)(run) for run in todo)
    command = shlex.join(["python", *sys.argv])
    for env_id, same_env in runs.items():
        print(f"\n{report(env_id, same_env, command)}", flush=True)


if __name__ == "__main__":
    main()
