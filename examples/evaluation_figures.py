"""
Make all figures of docs/guide/evaluation.md: A2C and PPO on CartPole, evaluated and compared by their return distributions.

    python examples/evaluation_figures.py --out docs/images

The trainings are short and untuned: the figures illustrate the tools, not the algorithms.
"""

import argparse
import tempfile
from pathlib import Path

import torch as th
from matplotlib.figure import Figure
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env

from sb3_ordergrad.evaluation import (
    ObjectiveEvalCallback,
    ReturnDistribution,
    evaluate_distribution,
    plot_learning_curves,
    plot_rank_weights,
    plot_return_distributions,
)

ENV = "CartPole-v1"
OBJECTIVE = "cvar:0.25"
N_ENVS = 8


def train(algorithm: type[BaseAlgorithm], steps: int, seed: int, folder: Path) -> ReturnDistribution:
    """
    :param algorithm: the algorithm, with its default settings except PPO's rollouts of 128 steps
    :param steps: environment steps
    :param seed: seed of the training
    :param folder: folder of ``evaluations.npz`` and the best model
    :return: 200 episodes of the best model
    """
    settings = {"n_steps": 128, "batch_size": 256} if algorithm is PPO else {}
    model = algorithm("MlpPolicy", make_vec_env(ENV, N_ENVS, seed=seed), seed=seed, device="cpu", **settings)
    callback = ObjectiveEvalCallback(
        n_eval_episodes=50,
        eval_freq=steps // N_ENVS // 8,
        deterministic=False,
        objective=OBJECTIVE,
        log_path=str(folder),
        best_model_save_path=str(folder),
        verbose=0,
    )
    model.learn(steps, callback=callback)
    best = algorithm.load(folder / "best_model", device="cpu")
    return evaluate_distribution(best, make_vec_env(ENV, N_ENVS), n_eval_episodes=200, seed=1000 + seed)


def save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=160)
    print(f"wrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8_000, help="environment steps of a training")
    parser.add_argument("--seeds", type=int, default=4, help="trainings of each algorithm")
    parser.add_argument("--out", type=Path, default=Path("results/evaluation"), help="folder of the figures")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    # Small networks do not benefit from threads
    th.set_num_threads(1)

    figure = Figure(figsize=(6.6, 2.8), layout="constrained")
    axes = tuple(figure.subplots(1, 2))
    for objective in ("mean", OBJECTIVE, "median", "max"):
        plot_rank_weights(objective, k=8, axes=axes)
    save(figure, args.out / "rank_weights.png")

    distributions: dict[str, list[ReturnDistribution]] = {}
    logs: dict[str, list[Path]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for algorithm in (A2C, PPO):
            for seed in range(args.seeds):
                run = Path(folder) / f"{algorithm.__name__}_{seed}"
                distributions.setdefault(algorithm.__name__, []).append(train(algorithm, args.steps, seed, run))
                logs.setdefault(algorithm.__name__, []).append(run / "evaluations.npz")
        figure = Figure(figsize=(6.6, 2.8), layout="constrained")
        for ax, objective in zip(figure.subplots(1, 2), ("mean", OBJECTIVE), strict=True):
            plot_learning_curves(logs, objective, ax=ax, aggregate="iqm")
        save(figure, args.out / "evaluation_curves.png")
    figure = Figure(figsize=(6.6, 2.8), layout="constrained")
    for ax, kind in zip(figure.subplots(1, 2), ("quantiles", "ecdf"), strict=True):
        plot_return_distributions(distributions, ax=ax, kind=kind, objective=OBJECTIVE)
    save(figure, args.out / "evaluation_distributions.png")

    print("\nPPO minus A2C, seed 0:")
    print(distributions["PPO"][0].compare(distributions["A2C"][0]))


if __name__ == "__main__":
    main()
