"""
Time of RePPO relative to PPO: of an update (with the computation of the advantages), and of the whole training.

    python benchmarks/reppo_update.py

MLP: CartPole-v1 and SB3's defaults. CNN: images of 84 x 84 x 4, which are noise, 4 epochs. The two algorithms train in turn,
so that changes in the speed of the machine affect both. The medians of the ratios of processor times are reported, which
other load affects less than wall times. An update should take at most 1.15 times the time of PPO's.
"""

import argparse
import time
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ordergrad import RePPO

BOUND = 1.15


class Images(gym.Env):
    """Observations are noise, an episode has 100 steps."""

    observation_space = spaces.Box(0, 255, (4, 84, 84), np.uint8)
    action_space = spaces.Discrete(6)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.images = self.np_random.integers(256, size=(100, 4, 84, 84), dtype=np.uint8)
        self.n_steps = 0
        return self.images[0], {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.n_steps += 1
        return self.images[self.n_steps % 100], float(action == 0), self.n_steps == 100, False, {}


class Case(NamedTuple):
    """
    :param policy: name of the policy
    :param env: class or id of the environment
    :param settings: of both algorithms
    :param n_rollouts: rollouts and updates of a training
    """

    policy: str
    env: str | type[gym.Env]
    settings: dict[str, Any]
    n_rollouts: int


CASES = {
    "MLP": Case("MlpPolicy", "CartPole-v1", {"n_steps": 256}, 4),
    "CNN": Case("CnnPolicy", Images, {"n_steps": 16, "n_epochs": 4}, 2),
}


class Timed(PPO):
    """Adds up the time of the updates; in front of the algorithm in the list of base classes."""

    update_seconds = 0.0

    def _timed(self, method: Any) -> None:
        start = time.process_time()
        method()
        self.update_seconds += time.process_time() - start

    def train(self) -> None:
        self._timed(super().train)


class TimedPPO(Timed):
    """PPO."""


class TimedRePPO(Timed, RePPO):
    """RePPO, whose update includes the computation of the advantages."""

    def _write_advantages(self) -> None:
        self._timed(super()._write_advantages)


def train(algorithm: type[Timed], case: Case) -> tuple[float, float]:
    """
    :return: seconds of the updates, and of the whole training
    """
    make = case.env if isinstance(case.env, type) else lambda: gym.make(str(case.env))
    env = DummyVecEnv([make] * 8)
    model = algorithm(case.policy, env, seed=0, device="cpu", **case.settings)
    start = time.process_time()
    model.learn(case.n_rollouts * 8 * model.n_steps)
    return model.update_seconds, time.process_time() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5, help="pairs of trainings")
    args = parser.parse_args()
    th.set_num_threads(1)
    print("| policy | update, median ratio (all) | bound | training, median ratio (all) |")
    print("|---|---|---|---|")
    for name, case in CASES.items():
        train(TimedPPO, case)
        ratios = []
        for _ in range(args.pairs):
            ours, parents = train(TimedRePPO, case), train(TimedPPO, case)
            ratios.append([a / b for a, b in zip(ours, parents, strict=True)])
        cells = [
            f"{np.median(values):.3f} ({', '.join(f'{value:.3f}' for value in sorted(values))})"
            for values in zip(*ratios, strict=True)
        ]
        print(f"| {name} | {cells[0]} | {BOUND} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    main()
