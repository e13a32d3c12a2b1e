"""
max@K finds a distant treasure that the mean gives up for a coin close by.

    python examples/best_of_k_discovery.py

An agent walks on a line. Two steps to the left is a coin (1), twenty to the right a treasure (10); either ends the episode,
as do 60 steps. An untrained policy finds the coin in 80 % of its episodes and the treasure in 0.8 %. The coin contributes ten
times as much to its mean return, so PPO learns to take the coin and does not find the treasure again. One more coin does not
change the best of K = 32 episodes, because another episode has one already; a treasure does.

The two runs of a seed differ only in the objective. A single pass/fail reward would not show this: there the gradients of
max@K and of the mean have the same direction. The returns must have several values, or there must be several tasks.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from _common import parse_options, print_comparison, print_origin, run_side_by_side, save_picture
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from sb3_ordergrad import OrderPPO
from sb3_ordergrad.evaluation import ReturnDistribution, evaluate_distribution, plot_learning_curves

COIN, TREASURE = 1.0, 10.0
# The other objective is compared with the first, which is PPO
OBJECTIVES = {"mean (PPO)": "mean", "max": "max"}
# Columns of the table
STATISTICS: dict[str, tuple[str, int | None]] = {
    "best-of-8": ("max", 8),
    "mean": ("mean", None),
    "CVaR_0.25": ("cvar:0.25", None),
}


class TreasureWalk(gym.Env):
    """
    A line with a coin on the left and a treasure on the right; the observation is the position, one-hot.

    :param left: steps to the coin
    :param right: steps to the treasure
    :param max_steps: time limit
    """

    action_space = spaces.Discrete(2)

    def __init__(self, left: int = 2, right: int = 20, max_steps: int = 60) -> None:
        self.left, self.right, self.max_steps = left, right, max_steps
        self.observation_space = spaces.Box(0.0, 1.0, (left + right + 1,))

    def _observe(self) -> np.ndarray:
        observation = np.zeros(self.left + self.right + 1, dtype=np.float32)
        observation[self.position + self.left] = 1.0
        return observation

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.position, self.n_steps = 0, 0
        return self._observe(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.position += 1 if action == 1 else -1
        self.n_steps += 1
        reward = {-self.left: COIN, self.right: TREASURE}.get(self.position, 0.0)
        return self._observe(), reward, reward > 0.0, self.n_steps >= self.max_steps, {}


class TrainingReturns(BaseCallback):
    """Record when each training episode ended, and its return."""

    def __init__(self) -> None:
        super().__init__()
        self.timesteps: list[int] = []
        self.returns: list[float] = []

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:
                self.timesteps.append(self.num_timesteps)
                self.returns.append(info["episode"]["r"])
        return True


def train(objective: str, seed: int, steps: int) -> tuple[ReturnDistribution, TrainingReturns]:
    """
    :param objective: the objective
    :param seed: seed of the training
    :param steps: environment steps
    :return: 400 fresh episodes of the trained policy, and the record of the training episodes
    """
    env = make_vec_env(TreasureWalk, n_envs=16, seed=seed)
    model = OrderPPO(
        "MlpPolicy", env, objective=objective, k=32, group_size=64, seed=seed, device="cpu",
        n_steps=64, batch_size=256, n_epochs=4, learning_rate=1e-3, gae_lambda=0.8,
    )  # fmt: skip
    record = TrainingReturns()
    model.learn(steps, callback=record)
    fresh = make_vec_env(TreasureWalk, n_envs=16)
    return evaluate_distribution(model, fresh, n_eval_episodes=400, seed=1000 + seed), record


def main(argv: Sequence[str] | None = None) -> None:
    options = parse_options(__file__, __doc__, argv, steps=50_000)
    from matplotlib.figure import Figure

    seeds = range(options.seeds)
    cases = [(objective, seed, options.steps) for objective in OBJECTIVES.values() for seed in seeds]
    runs = iter(run_side_by_side(train, cases, options.n_jobs))
    by_objective = {name: {seed: next(runs) for seed in seeds} for name in OBJECTIVES}
    results = {("OrderPPO", name): {seed: run[0] for seed, run in by_seed.items()} for name, by_seed in by_objective.items()}
    print_comparison(results, STATISTICS)

    figure = Figure(figsize=(8.0, 3.4), layout="constrained")
    curves = {
        name: [(record.timesteps, record.returns) for _, record in by_seed.values()] for name, by_seed in by_objective.items()
    }
    best, average = figure.subplots(1, 2)
    plot_learning_curves(curves, "max", window=8, ax=best)
    plot_learning_curves(curves, "mean", window=100, ax=average)
    print_origin(options)
    save_picture(figure, options.out)


if __name__ == "__main__":
    main()
