"""
What ReMAC learns: Pendulum-v1 beside SAC, and how the entropy of the final policy depends on k.

    python benchmarks/remac_learning.py pendulum --seeds 5
    python benchmarks/remac_learning.py entropy --seeds 3

Finished runs are kept: the same command continues after an interruption and adds new runs. Each run uses one thread.

After training, the policy plays episodes with sampled actions. The entropy of a visited state is the mean of -log pi over 64
further actions there: that of the squashed policy on [-1, 1]^d, in nats, for which the uniform policy has 0.69 d. The entropy
of an episode is the mean over its states, and so is its scale, the standard deviation of the Gaussian before squashing (mean
over the action's dimensions). Tables show means over seeds and episodes.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch as th
from joblib import Parallel, delayed  # type: ignore[import-untyped]
from stable_baselines3 import SAC
from stable_baselines3.common.monitor import Monitor
from tqdm import tqdm  # type: ignore[import-untyped]

from sb3_ordergrad import ReMAC
from sb3_ordergrad.common import files
from sb3_ordergrad.evaluation import bootstrap_difference, bootstrap_over_seeds, evaluate_distribution
from sb3_ordergrad.remac.samples import sample_actions

ENTROPY_ENVS = ("Pendulum-v1", "Reacher-v5", "InvertedPendulum-v5")
ENTROPY_KS = (1, 2, 4, 8)
# As published: 8 samples, 16 where k is 8
ENTROPY_SAMPLES = {1: 8, 2: 8, 4: 8, 8: 16}
N_ENTROPY_EPISODES = 20
N_ENTROPY_ACTIONS = 64
MEAN = {"mean": ("mean", None)}


class Run(NamedTuple):
    """
    :param label: variant, as the table names it
    :param env_id: environment
    :param seed: seed
    :param steps: timesteps of the training
    :param n_eval_episodes: episodes played with the mode of the policy
    :param settings: of ReMAC, or of SAC with the entry ``algo: sac``; ``None`` for SAC with its defaults
    :param net_arch: widths of the hidden layers
    :param out: folder of the results
    """

    label: str
    env_id: str
    seed: int
    steps: int
    n_eval_episodes: int
    settings: dict[str, Any] | None
    net_arch: list[int]
    out: Path

    @property
    def plan(self) -> dict[str, Any]:
        """The settings that determine the result."""
        return {name: value for name, value in self._asdict().items() if name not in ("label", "out")}

    @property
    def path(self) -> Path:
        settings = {"algo": "sac"} if self.settings is None else {"algo": "remac", **self.settings}
        name = "-".join(f"{key}_{value}" for key, value in (*settings.items(), ("net", self.net_arch[0])))
        return self.out / "runs" / f"{self.env_id}-{self.steps}-{name}-seed{self.seed}.json"

    def result(self) -> dict[str, Any] | None:
        """The stored result, if it is that of the same run."""
        result = files.read_json(self.path)
        return result if result is not None and result["plan"] == self.plan else None


def train(run: Run) -> None:
    """Train and evaluate one run, and write its result."""
    th.set_num_threads(1)
    start = time.monotonic()
    # Before training: the checkout may change until it ends
    origin = {"commit": files.git_commit(), "versions": files.package_versions(), "machine": files.machine()}
    settings = {"algo": "sac"} if run.settings is None else dict(run.settings)
    algorithm: type[SAC] = SAC if settings.pop("algo", "remac") == "sac" else ReMAC
    policy_kwargs = {"net_arch": run.net_arch}
    env = Monitor(gym.make(run.env_id))
    model = algorithm("MlpPolicy", env, seed=run.seed, device="cpu", policy_kwargs=policy_kwargs, **settings)
    model.learn(run.steps)
    seconds = time.monotonic() - start
    eval_env = Monitor(gym.make(run.env_id))
    returns = evaluate_distribution(model, eval_env, run.n_eval_episodes, deterministic=True, seed=run.seed + 1000).returns
    files.write_json(
        run.path,
        {
            "plan": run.plan,
            "returns": returns.tolist(),
            **play(model, run.seed + 2000),
            **origin,
            "seconds": seconds,
        },
    )


def play(model: SAC, seed: int) -> dict[str, list[float]]:
    """
    :param model: a trained model
    :param seed: seed of the environment and of the actions
    :return: entropy, scale and return of each episode, with sampled actions
    """
    env = gym.make(model.get_env().envs[0].spec.id)  # type: ignore[union-attr]
    th.manual_seed(seed)
    result: dict[str, list[float]] = {"entropy": [], "scale": [], "sampled_returns": []}
    for episode in range(N_ENTROPY_EPISODES):
        obs, _ = env.reset(seed=seed + episode)
        visited, collected, done = [], 0.0, False
        while not done:
            visited.append(obs)
            action, _ = model.predict(obs, deterministic=False)
            obs, reward, terminated, truncated, _ = env.step(action)
            collected += float(reward)
            done = terminated or truncated
        with th.no_grad():
            samples = sample_actions(model.actor, model.policy.obs_to_tensor(np.array(visited))[0], N_ENTROPY_ACTIONS)
            result["entropy"].append(-samples.log_prob(model.actor.action_dist.epsilon).mean().item())
        result["scale"].append(samples.std.mean().item())
        result["sampled_returns"].append(collected)
    return result


def entropy_runs(args: argparse.Namespace) -> list[Run]:
    """Seeds in the outer loop, so that an interrupted table has all variants for the seeds that are finished."""
    runs = []
    for seed in range(args.seeds):
        for env_id in args.envs:
            for eps in args.actor_adam_eps:
                for k in ENTROPY_KS:
                    settings: dict[str, Any] = {"k": k, "n_action_samples": ENTROPY_SAMPLES[k], "learning_starts": 1000}
                    if eps is not None:
                        settings["actor_adam_eps"] = eps
                    label = f"k = {k}" if eps is None else f"k = {k}, eps {eps:g}"
                    runs.append(Run(label, env_id, seed, args.steps, 20, settings, [64, 64], args.out))
    return runs


def pendulum_runs(args: argparse.Namespace) -> list[Run]:
    """ReMAC and SAC with their defaults, and with the learning rate of their YAML entries."""
    rate = {"learning_rate": 1e-3}
    variants: dict[str, dict[str, Any] | None] = {
        "SAC, learning rate 1e-3": {"algo": "sac", **rate},
        "ReMAC, learning rate 1e-3": rate,
        "SAC": None,
        "ReMAC": {},
    }
    return [
        Run(label, "Pendulum-v1", seed, args.steps, 50, settings, [256, 256], args.out)
        for seed in range(args.seeds)
        for label, settings in variants.items()
    ]


def samples_of(runs: Sequence[Run], key: str) -> dict[int, list[float]]:
    """The values of finished runs by seed."""
    return {run.seed: result[key] for run in runs if (result := run.result()) is not None}


def cell(samples: dict[int, list[float]]) -> str:
    """Mean over seeds with its 95 % bootstrap interval over seeds and episodes."""
    interval = bootstrap_over_seeds(list(samples.values()), MEAN)["mean"]
    return f"{interval.value:.4g} [{interval.low:.4g}, {interval.high:.4g}]"


def rows_of(runs: Sequence[Run]) -> list[list[str]]:
    """One row per environment and variant with a finished run; differences are to the environment's first variant."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run.result() is not None:
            groups.setdefault((run.env_id, run.label), []).append(run)
    rows = []
    references: dict[str, dict[int, list[float]]] = {}
    for (env_id, label), group in sorted(groups.items(), key=lambda item: item[0][0]):
        entropy = samples_of(group, "entropy")
        difference = ""
        if env_id in references:
            interval = bootstrap_difference(entropy, references[env_id], MEAN)["mean"]
            difference = f"{interval.value:+.3g} [{interval.low:.3g}, {interval.high:.3g}]"
        references.setdefault(env_id, entropy)
        seeds = ", ".join(f"{np.mean(values):.3g}" for values in entropy.values())
        returns = samples_of(group, "returns")
        every = ", ".join(f"{np.mean(values):.4g}" for values in returns.values())
        cells = [cell(entropy), difference, cell(samples_of(group, "scale")), cell(returns)]
        rows.append([env_id, label, *cells, cell(samples_of(group, "sampled_returns")), seeds, every])
    return rows


HEADER = (
    "env",
    "variant",
    "entropy, nats",
    "minus first",
    "scale",
    "return (mode)",
    "return (sampled)",
    "entropy, each seed",
    "return (mode), each seed",
)
# Columns of the tables after those of environment and variant; one table would be too wide to read
TABLES = (slice(2, 4), slice(4, 7), slice(7, 8), slice(8, 9))


def write_report(runs: Sequence[Run], out: Path, name: str, command: str) -> str:
    """Write ``<out>/<name>.md`` and ``.csv``, and return the tables."""
    rows = rows_of(runs)
    results = [result for run in runs if (result := run.result()) is not None]
    lines = [list(HEADER), ["---"] * len(HEADER), *rows]
    tables = ["\n".join(f"| {' | '.join(line[:2] + line[part])} |" for line in lines) for part in TABLES]
    versions = sorted({", ".join(f"{package} {v}" for package, v in result["versions"].items()) for result in results})
    origin = [
        f"- command: `{command}`",
        f"- seeds: {', '.join(map(str, sorted({result['plan']['seed'] for result in results})))}",
        f"- steps: {', '.join(map(str, sorted({result['plan']['steps'] for result in results})))}",
        f"- commit: {', '.join(sorted({str(result['commit']) for result in results}))}",
        f"- versions: {'; '.join(versions)}",
        f"- machine: {'; '.join(sorted({result['machine'] for result in results}))}",
        f"- training: {sum(result['seconds'] for result in results):.0f} s in {len(results)} of {len(runs)} runs",
    ]
    text = "\n".join(["\n\n".join(tables), "", *origin, ""])
    files.write_text(out / f"{name}.md", text)
    files.write_csv(out / f"{name}.csv", HEADER, rows)
    return text


def main() -> None:
    """Train what is missing, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["pendulum", "entropy"], help="which table")
    parser.add_argument("--seeds", type=int, help="number of seeds (default: 5 for pendulum, 3 for entropy)")
    parser.add_argument("--steps", type=int, help="timesteps of a run (default: 10000 for pendulum, 20000 for entropy)")
    parser.add_argument("--envs", nargs="+", default=list(ENTROPY_ENVS), help="environments of the entropy table")
    parser.add_argument("--actor-adam-eps", nargs="+", type=float, default=[None], help="epsilons of the entropy table")
    parser.add_argument("--n-jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--report", action="store_true", help="only report the finished runs")
    parser.add_argument("--out", type=Path, default=Path("results/remac"), help="folder of the results")
    args = parser.parse_args()
    is_entropy = args.what == "entropy"
    args.seeds = args.seeds or (3 if is_entropy else 5)
    args.steps = args.steps or (20_000 if is_entropy else 10_000)
    runs = entropy_runs(args) if is_entropy else pendulum_runs(args)
    if not args.report:
        todo = [run for run in runs if run.result() is None]
        parallel = Parallel(n_jobs=args.n_jobs, batch_size=1, return_as="generator_unordered")
        for _ in tqdm(parallel(delayed(train)(run) for run in todo), total=len(todo), unit="run"):
            pass
    print(write_report(runs, args.out, args.what, shlex.join(["python", *sys.argv])))


if __name__ == "__main__":
    main()
