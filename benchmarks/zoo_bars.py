"""
Results of the YAML files alone: the zoo's ``train`` on each environment, then evaluation episodes of the saved models.

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
import rl_zoo3
import torch as th
import yaml
from joblib import Parallel, delayed  # type: ignore[import-untyped]
from stable_baselines3.common.monitor import load_results
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ordergrad import OrderPPO
from sb3_ordergrad.common import files
from sb3_ordergrad.compare.run import N_EVAL_ENVS, evaluation_seed
from sb3_ordergrad.compare.settings import hyperparameter_folder
from sb3_ordergrad.evaluation import ReturnDistribution, bootstrap_difference, evaluate_distribution
from sb3_ordergrad.zoo.registry import register


@dataclass(frozen=True)
class Task:
    """
    What is run on one environment.

    :param algos: names of the algorithms and of their YAML files
    :param objective: the objective that is reported
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
    """A training with one seed in its own folder; ``done.json`` is written last."""

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
        """The folder of RL Zoo's first run."""
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
        return ReturnDistribution.from_csv(self.folder / "returns.csv")


def train_and_evaluate(run: Run) -> None:
    """
    Train with the zoo's command, load the saved model as its ``enjoy`` does, and evaluate it with sampled actions.

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
    distribution.to_csv(run.folder / "returns.csv")
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
    """The rows of the table, one for each run."""
    rows = []
    for run in runs:
        distribution = run.distribution()
        values = [distribution.mean(), distribution.objective_value(objective), distribution.median(), distribution.best_of(8)]
        record = run.record()
        rows.append(
            [run.algo, run.seed, *(round(v, 2) for v in values), record["training_episodes"], record["training_steps"]]
        )
    return rows


def maze_summary(runs: list[Run]) -> list[str]:
    """Seeds that solve the maze with little risk: mean >= 1.5, CVaR_0.05 >= -9, at most 100 000 training episodes."""
    rows = seed_rows(runs, "cvar:0.05")
    solved = [seed for _, seed, mean, tail, *_, episodes, _ in rows if mean >= 1.5 and tail >= -9.0 and episodes <= 100_000]
    seeds = f"{len(solved)} of {len(runs)} seeds have a mean of at least 1.5 and a CVaR_0.05 of at least -9"
    return [f"after at most 100 000 training episodes, {seeds}"]


def cheetah_summary(runs: list[Run]) -> list[str]:
    """Differences to PPO."""
    by_seed = {
        algo: {run.seed: run.distribution().returns for run in runs if run.algo == algo} for algo in ("orderppo", "ppo")
    }
    statistics = {"CVaR_0.25": ("cvar:0.25", None), "mean": ("mean", None)}
    differences = bootstrap_difference(by_seed["orderppo"], by_seed["ppo"], statistics)
    return [f"{name} minus PPO's: {x.value:+.0f} [{x.low:.0f}, {x.high:.0f}]" for name, x in differences.items()]


def betting_summary(runs: list[Run]) -> list[str]:
    """The exact CVaR_0.25 of every policy, and seeds within 5 % of the optimum."""
    game = betting_game.build_game()
    best = betting_game.figures(game, betting_game.pure(betting_game.optimum(game, "cvar:0.25")))["cvar:0.25"]
    exact = []
    for run in runs:
        model = OrderPPO.load(run.log_path / f"{run.env_id}.zip", device="cpu")
        exact.append(betting_game.figures(game, betting_game.learned(game, model, deterministic=False))["cvar:0.25"])
    n_close = sum(value >= 0.95 * best for value in exact)
    return [
        f"exact CVaR_0.25 of each policy: {', '.join(f'{value:.2f}' for value in exact)}; optimum {best:.2f}",
        f"seeds within 5 % of the optimum: {n_close} of {len(runs)}",
    ]


SUMMARIES = {"GuardedMaze-v0": maze_summary, "FragileHalfCheetah-v0": cheetah_summary, "BettingGame-v0": betting_summary}


def report(env_id: str, runs: list[Run], command: str) -> str:
    """Table and summary of the finished runs, written to ``<out>/<env>/bars.md`` and ``bars.csv``."""
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
            *(f"- {line}" for line in SUMMARIES[env_id](runs)),
            f"- {runs[0].n_episodes} evaluation episodes per policy (sampled actions)",
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
    """Train what is missing and print the tables."""
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
