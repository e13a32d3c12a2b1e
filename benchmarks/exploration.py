"""
Exploration in discrete actions: RePPO with several k beside PPO, with and without an entropy bonus, for two lambdas.

    python benchmarks/exploration.py                                # all runs, about an hour of one core
    python benchmarks/exploration.py --tasks DeepSea-10 --methods "RePPO, k = 2" --seeds 2
    python benchmarks/exploration.py --report docs/algorithms/reppo.md    # no training, writes the tables into the page
    python benchmarks/exploration.py --report docs/algorithms/reppo.md --figure docs/images/exploration.png    # draws as well

Finished runs are kept: the same command continues after an interruption and adds new runs. Each run uses one thread.

A run is a success if the most probable actions of its final policy return at least half of the best return. The second table
has the return of the final policy with sampled actions, the third the share of seeds that met such an episode in training.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import drawing
import gymnasium as gym
import numpy as np
import pages
import torch as th
from gymnasium.wrappers import TimeLimit
from joblib import Parallel, delayed  # type: ignore[import-untyped]
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBufferSamples
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor
from tqdm import tqdm  # type: ignore[import-untyped]

from sb3_ordergrad import RePPO
from sb3_ordergrad.common import files
from sb3_ordergrad.common.observations import rollout_observations
from sb3_ordergrad.envs.exploration import DeepSeaEnv, RiverSwimEnv
from sb3_ordergrad.evaluation import Interval
from sb3_ordergrad.evaluation.intervals import bootstrap_interval
from sb3_ordergrad.reppo.advantages import retry_advantages

BEGIN, END = "<!-- exploration: written by benchmarks/exploration.py --report -->", "<!-- end of exploration -->"
N_SEEDS = 10
N_EVAL_EPISODES = 64
# Of all methods. One-hot observations allow a larger learning rate than SB3's default
COMMON: dict[str, Any] = {"n_steps": 32, "batch_size": 512, "n_epochs": 4, "learning_rate": 1e-3}
N_ENVS = 64


class MinibatchRePPO(RePPO):
    """RePPO with advantages that are computed anew for each minibatch from the current probabilities, as published."""

    def train(self) -> None:
        buffer = self.rollout_buffer
        with th.no_grad():
            q_values, _ = self.policy.q_values_and_distribution(rollout_observations(buffer, slice(None), self.device))
        # The buffer swaps the axes of environments and steps before it draws minibatches
        rollout_q_values = th.as_tensor(buffer.swap_and_flatten(q_values.numpy().reshape(*buffer.values.shape, -1)))
        draw = buffer._get_samples

        def get_samples(indices: np.ndarray, env: Any = None) -> RolloutBufferSamples:
            samples = draw(indices, env)
            with th.no_grad():
                _, distribution = self.policy.q_values_and_distribution(samples.observations)
            q_values, probs = rollout_q_values[indices], distribution.distribution.probs
            actions, targets = samples.actions.long(), samples.returns.reshape(-1, 1)
            advantages = retry_advantages(q_values, probs, actions, targets, self.k, self.objective)
            return samples._replace(advantages=advantages.flatten())

        buffer._get_samples = get_samples  # type: ignore[method-assign]
        try:
            super().train()
        finally:
            del buffer._get_samples


class Task(NamedTuple):
    """
    :param make: creates the environment
    :param best: return of the best policy
    :param steps: timesteps of a training
    """

    make: Callable[[], gym.Env]
    best: float
    steps: int


def always_right(size: int, n_steps: int) -> float:
    """The expected return of ``n_steps`` steps to the right in RiverSwim."""
    env = RiverSwimEnv(size)
    chance, expected = np.eye(size)[0], 0.0
    for _ in range(n_steps):
        expected += chance[-1]
        right, left = chance * env.right_chance, chance * env.left_chance
        chance = chance - right - left + np.roll(right, 1) + np.roll(left, -1)
    return float(expected)


def deep_sea(size: int, steps: int) -> Task:
    return Task(lambda: DeepSeaEnv(size), 0.99, steps)


def river_swim(size: int, steps: int) -> Task:
    return Task(lambda: TimeLimit(RiverSwimEnv(size), 5 * size), always_right(size, 5 * size), steps)


TASKS = {
    "DeepSea-8": deep_sea(8, 50_000),
    "DeepSea-10": deep_sea(10, 100_000),
    "DeepSea-12": deep_sea(12, 150_000),
    "DeepSea-14": deep_sea(14, 150_000),
    "RiverSwim-6": river_swim(6, 50_000),
    "RiverSwim-8": river_swim(8, 100_000),
}
METHODS: dict[str, tuple[type[PPO], dict[str, Any]]] = {
    **{
        f"PPO, lambda {lam}{f', entropy {ent}' if ent else ''}": (PPO, {"gae_lambda": lam, "ent_coef": ent})
        for lam in (0.95, 0.8)
        for ent in (0.0, 0.01, 0.05)
    },
    **{f"RePPO, k = {k}": (RePPO, {"k": k}) for k in (1, 1.2, 1.4, 2, 3, 8)},
}
# Only on request
VARIANTS: dict[str, tuple[type[PPO], dict[str, Any]]] = {
    f"RePPO, k = {k}, probabilities of each minibatch": (MinibatchRePPO, {"k": k}) for k in (1.2, 2, 3, 8)
}


class Run(NamedTuple):
    """
    :param task: its name
    :param method: its name
    :param seed: seed
    :param out: folder of the results
    """

    task: str
    method: str
    seed: int
    out: Path

    @property
    def plan(self) -> dict[str, Any]:
        """The settings that determine the result."""
        _, settings = (METHODS | VARIANTS)[self.method]
        plan = {"task": self.task, "steps": TASKS[self.task].steps, "method": self.method, "seed": self.seed}
        return plan | {"n_envs": N_ENVS} | COMMON | settings

    @property
    def path(self) -> Path:
        name = self.method.replace(", ", "-").replace(" ", "_").replace("=", "")
        return self.out / "runs" / f"{self.task}-{name}-seed{self.seed}.json"

    def result(self) -> dict[str, Any] | None:
        """The stored result, if it is that of the same run."""
        result = files.read_json(self.path)
        return result if result is not None and result["plan"] == self.plan else None


class FirstFound(BaseCallback):
    """
    When an episode first reached a return.

    :param threshold: the return
    """

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.timestep: int | None = None

    def _on_step(self) -> bool:
        if self.timestep is None and any(
            "episode" in info and info["episode"]["r"] >= self.threshold for info in self.locals["infos"]
        ):
            self.timestep = self.num_timesteps
        return True


def train(run: Run) -> None:
    """Train and evaluate one run, and write its result."""
    th.set_num_threads(1)
    start = time.monotonic()
    # Before training: the checkout may change until it ends
    origin = {"commit": files.git_commit(), "versions": files.package_versions(), "machine": files.machine()}
    task = TASKS[run.task]
    algorithm, settings = (METHODS | VARIANTS)[run.method]
    env = VecMonitor(DummyVecEnv([task.make] * N_ENVS))
    model = algorithm("MlpPolicy", env, seed=run.seed, device="cpu", **COMMON, **settings)
    found = FirstFound(task.best / 2)
    model.learn(task.steps, callback=found)
    returns = {
        name: float(np.mean(evaluate_policy(model, env, N_EVAL_EPISODES, deterministic=mode, return_episode_rewards=True)[0]))
        for name, mode in (("mode", True), ("sampled", False))
    }
    result = {"plan": run.plan, **returns, "found": found.timestep, "seconds": time.monotonic() - start}
    files.write_json(run.path, result | origin)


def interval(values: Sequence[float]) -> str:
    """The mean over seeds with its 95 % bootstrap interval."""
    if len(values) < 2:
        return f"{np.mean(values):.2f}"
    mean = bootstrap_interval([np.asarray(values, dtype=np.float64)], lambda x: x.mean(axis=-1))
    # Adding 0 turns -0 into 0
    value, low, high = (round(x, 2) + 0.0 for x in Interval(*mean))
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def succeeds(result: dict[str, Any], task: Task) -> bool:
    """Whether the most probable actions return at least half of the best return."""
    return result["mode"] >= task.best / 2


def by_cell(runs: Sequence[Run]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The results of the finished runs by method and task."""
    results: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in runs:
        if (result := run.result()) is not None:
            results.setdefault((run.method, run.task), []).append(result)
    return results


def draw(runs: Sequence[Run], path: Path) -> None:
    """Draw one dot for each seed of a method on a task, filled if it succeeds; the filled ones first."""
    results = by_cell(runs)
    methods, tasks = (list(dict.fromkeys(key[i] for key in results)) for i in (0, 1))
    figure = drawing.new_figure(6.6, 0.8 + 0.24 * len(methods))
    ax = figure.subplots()
    for filled, label in ((True, "succeeds"), (False, "fails")):
        dots: dict[str, list[float]] = {method: [] for method in methods}
        for (method, task), cell in results.items():
            ranked = sorted((succeeds(result, TASKS[task]) for result in cell), reverse=True)
            places = np.linspace(-0.35, 0.35, len(cell)) + tasks.index(task)
            dots[method] += [place for place, success in zip(places, ranked, strict=True) if success == filled]
        drawing.plot_dots(ax, {label: dots}, filled=filled)
    ax.set_xticks(range(len(tasks)), [task.replace("-", "\n") for task in tasks], fontsize="small")
    ax.xaxis.tick_top()
    ax.tick_params(axis="x", length=0)
    ax.spines[:].set_visible(False)
    drawing.move_legend(figure, "outside lower right")
    drawing.save(figure, path)


def tables(runs: Sequence[Run]) -> list[str]:
    """The three measures in Markdown, one table for each family of tasks, and the cells that have fewer seeds."""
    results = by_cell(runs)
    methods, tasks = (list(dict.fromkeys(key[i] for key in results)) for i in (0, 1))
    families = [
        [task for task in tasks if task.startswith(name)] for name in dict.fromkeys(task.split("-")[0] for task in tasks)
    ]
    most = max(map(len, results.values()))
    fewer = [f"{method} on {task} {len(seeds)}" for (method, task), seeds in results.items() if len(seeds) < most]
    measures: dict[str, Callable[[dict[str, Any], Task], float]] = {
        "Success: the most probable actions return at least half of the best return": lambda result, task: float(
            succeeds(result, task)
        ),
        "Return of sampled actions, as a share of the best return": lambda result, task: result["sampled"] / task.best,
        "Seeds that met an episode with half of the best return in training": lambda result, task: float(
            result["found"] is not None
        ),
    }
    lines = []
    for title, measure in measures.items():
        lines += [f"**{title}**", ""]
        for family in families:
            lines += [f"| method | {' | '.join(family)} |", "|---|" + "---:|" * len(family)]
            for method in methods:
                values = [[measure(result, TASKS[task]) for result in results.get((method, task), [])] for task in family]
                lines.append(f"| {method} | {' | '.join(interval(cell) if cell else '' for cell in values)} |")
            lines.append("")
    return [*lines, f"All cells have {most} seeds, except: {'; '.join(fewer)}.", ""] if fewer else lines


def report(runs: Sequence[Run], command: str) -> str:
    """The tables, and where they come from."""
    results = [result for run in runs if (result := run.result()) is not None]
    if not results:
        return "No run is finished.\n"

    def distinct(values: Sequence[Any]) -> str:
        return "; ".join(sorted({str(value) for value in values}))

    versions = [", ".join(f"{package} {version}" for package, version in result["versions"].items()) for result in results]
    origin = [
        f"- command: `{command}`",
        f"- seeds: {', '.join(map(str, sorted({result['plan']['seed'] for result in results})))}",
        "- steps: " + ", ".join(f"{name} {TASKS[name].steps}" for name in dict.fromkeys(run.task for run in runs)),
        f"- commit: {distinct([result['commit'] for result in results])}",
        f"- versions: {distinct(versions)}",
        f"- machine: {distinct([result['machine'] for result in results])}",
        f"- training: {sum(result['seconds'] for result in results):.0f} s in {len(results)} of {len(runs)} runs",
    ]
    return "\n".join([*tables(runs), *origin, ""])


def main() -> None:
    """Train what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK", help=", ".join(TASKS))
    known = METHODS | VARIANTS
    parser.add_argument("--methods", nargs="+", choices=known, default=list(METHODS), metavar="METHOD", help="; ".join(known))
    parser.add_argument("--seeds", type=int, default=N_SEEDS, help="number of seeds")
    parser.add_argument("--n-jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--report", type=Path, metavar="PAGE", help="train nothing, write the tables into this page")
    parser.add_argument("--figure", type=Path, metavar="PNG", help="draw the seeds that succeed")
    parser.add_argument("--out", type=Path, default=Path("results/exploration"), help="folder of the results")
    args = parser.parse_args()
    # Seeds in the outer loop, so that an interrupted table has all methods for the seeds that are finished
    runs = [Run(task, name, seed, args.out) for seed in range(args.seeds) for task in args.tasks for name in args.methods]
    if args.report is None:
        todo = [run for run in runs if run.result() is None]
        parallel = Parallel(n_jobs=args.n_jobs, batch_size=1, return_as="generator_unordered")
        for _ in tqdm(parallel(delayed(train)(run) for run in todo), total=len(todo), unit="run"):
            pass
    text = report(runs, shlex.join(["python", *sys.argv]))
    print(text)
    if args.report is not None:
        pages.write_between(args.report, BEGIN, END, text)
    if args.figure is not None:
        draw(runs, args.figure)


if __name__ == "__main__":
    main()
