"""
Time of OrderSAC relative to SAC: of the updates with all that OrderSAC adds to them, and of the whole training.

    python benchmarks/order_sac_update.py

FragileHalfCheetah-v0 where every step may break the robot, SB3's defaults, 10 000 steps, in which OrderSAC learns the expected
loss twice. The two algorithms train in turn, so that changes in the speed of the machine affect both. The medians of the
ratios of processor times are reported, which other load affects less than wall times. The ratio should be at most 1.1.
"""

import argparse
import time

import numpy as np
import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.env_util import make_vec_env

from sb3_ordergrad import OrderSAC

BOUND = 1.1
# A standing robot is at risk
AT_RISK = {"v_max": -100.0}


def train(algorithm: type[SAC], n_steps: int) -> tuple[float, float]:
    """
    :param algorithm: SAC or OrderSAC
    :param n_steps: of training
    :return: seconds of the updates and of storing transitions, and of the whole training
    """
    seconds = 0.0

    class Timed(algorithm):  # type: ignore[misc, valid-type]
        """Adds up the time of the methods that OrderSAC extends."""

        def train(self, *args, **kwargs) -> None:  # type: ignore[no-untyped-def]
            nonlocal seconds
            start = time.process_time()
            super().train(*args, **kwargs)
            seconds += time.process_time() - start

        def _store_transition(self, *args) -> None:  # type: ignore[no-untyped-def]
            nonlocal seconds
            start = time.process_time()
            super()._store_transition(*args)
            seconds += time.process_time() - start

    env = make_vec_env("FragileHalfCheetah-v0", 1, seed=0, env_kwargs=AT_RISK)
    model = Timed("MlpPolicy", env, seed=0, device="cpu", buffer_size=20_000)
    start = time.process_time()
    model.learn(n_steps)
    return seconds, time.process_time() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3, help="pairs of trainings")
    parser.add_argument("--steps", type=int, default=10_000, help="steps of a training")
    args = parser.parse_args()
    th.set_num_threads(1)
    ratios = []
    for _ in range(args.pairs):
        ours, parents = train(OrderSAC, args.steps), train(SAC, args.steps)
        ratios.append([a / b for a, b in zip(ours, parents, strict=True)])
    print("| | median ratio (all) | bound |\n|---|---|---|")
    for name, values in zip(("update", "training"), zip(*ratios, strict=True), strict=True):
        print(f"| {name} | {np.median(values):.3f} ({', '.join(f'{value:.3f}' for value in sorted(values))}) | {BOUND} |")


if __name__ == "__main__":
    main()
