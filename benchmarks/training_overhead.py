"""
Time of whole trainings with OrderPPO over PPO, and OrderA2C over A2C, on HalfCheetah-v5 with 16 environments.

    python benchmarks/training_overhead.py

The two trainings of a pair run one after the other, and their order alternates, so that changes in the speed of the machine
affect both. The median of the ratios is reported, for wall time and for processor time, which other load affects less.
OrderPPO should take at most 1.03 times the wall time of PPO. Episodes are 1000 steps long, so short trainings hardly rank.
"""

import argparse
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch as th
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

from sb3_ordergrad import OrderA2C, OrderPPO

N_ENVS = 16
OBJECTIVE = "cvar:0.25"
BOUND = 1.03


class Seconds(NamedTuple):
    wall: float
    process: float


def order_ppo(n_steps: int) -> BaseAlgorithm:
    return OrderPPO("MlpPolicy", make_env(), n_steps=n_steps, objective=OBJECTIVE, seed=0, device="cpu")


def ppo(n_steps: int) -> BaseAlgorithm:
    return PPO("MlpPolicy", make_env(), n_steps=n_steps, seed=0, device="cpu")


def order_a2c(n_steps: int) -> BaseAlgorithm:
    return OrderA2C("MlpPolicy", make_env(), objective=OBJECTIVE, seed=0, device="cpu")


def a2c(n_steps: int) -> BaseAlgorithm:
    return A2C("MlpPolicy", make_env(), seed=0, device="cpu")


def make_env() -> VecEnv:
    return make_vec_env("HalfCheetah-v5", n_envs=N_ENVS, seed=0)


def train(make: Callable[[int], BaseAlgorithm], n_steps: int, timesteps: int) -> Seconds:
    """
    :param make: makes the model
    :param n_steps: PPO's rollout length
    :param timesteps: length of the training
    :return: its time, without the construction of model and environments
    """
    model = make(n_steps)
    wall, process = time.perf_counter(), time.process_time()
    model.learn(timesteps)
    seconds = Seconds(time.perf_counter() - wall, time.process_time() - process)
    model.get_env().close()  # type: ignore[union-attr]
    return seconds


def compare(
    order: Callable[[int], BaseAlgorithm], parent: Callable[[int], BaseAlgorithm], n_steps: int, timesteps: int, pairs: int
) -> tuple[list[Seconds], list[Seconds]]:
    """
    :param order: makes the one model
    :param parent: makes the other
    :param n_steps: PPO's rollout length
    :param timesteps: length of a training
    :param pairs: number of pairs
    :return: times of both, pair by pair
    """
    train(parent, n_steps, timesteps // 4)
    times: tuple[list[Seconds], list[Seconds]] = ([], [])
    for pair in range(pairs):
        makes = (order, parent)
        # the order alternates
        for which in (0, 1) if pair % 2 == 0 else (1, 0):
            times[which].append(train(makes[which], n_steps, timesteps))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=98_304, help="timesteps of a training")
    parser.add_argument("--pairs", type=int, default=3, help="pairs of trainings")
    parser.add_argument("--n-steps", type=int, default=512, help="PPO's rollout length")
    args = parser.parse_args()
    th.set_num_threads(1)
    print(f"HalfCheetah-v5, {N_ENVS} environments, {OBJECTIVE}, 1 thread; {args.pairs} pairs of {args.steps} timesteps\n")
    print("| training | seconds (ours, parent) | wall time, median ratio (all) | processor time, median ratio (all) | bound |")
    print("|---|---|---|---|---|")
    rows = (("OrderPPO / PPO", order_ppo, ppo, f"{BOUND}"), ("OrderA2C / A2C", order_a2c, a2c, "none"))
    for name, order, parent, bound in rows:
        ours, theirs = compare(order, parent, args.n_steps, args.steps, args.pairs)
        seconds = ", ".join(f"{np.median([time.wall for time in times]):.2f}" for times in (ours, theirs))
        cells = []
        for clock in ("wall", "process"):
            ratios = [getattr(a, clock) / getattr(b, clock) for a, b in zip(ours, theirs, strict=True)]
            cells.append(f"{np.median(ratios):.3f} ({', '.join(f'{ratio:.3f}' for ratio in sorted(ratios))})")
        print(f"| {name} | {seconds} | {' | '.join(cells)} | {bound} |", flush=True)


if __name__ == "__main__":
    main()
