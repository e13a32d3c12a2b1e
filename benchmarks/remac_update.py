"""
Time and memory of one update of ReMAC beside one of SB3's SAC.

    python benchmarks/remac_update.py

Networks (256, 256), batch 256, observations and actions of HalfCheetah-v5's shapes, 2 threads. All are timed in each round, so
that a machine that slows down does so for all, and in an order drawn anew, so that none is always the neighbour of another;
the median over the rounds is reported, and the ratio is the median of the rounds' own ratios to SAC. Peak memory is that of
the tensors of one update, over what was allocated before it: the profiler's record of allocations on a CPU, the allocator's
own count on a GPU. The memory that ReMAC keeps from one update to the next counts as part of the update.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from sb3_ordergrad.remac.mlp import Scratch
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger
from torch.profiler import ProfilerActivity, profile

from sb3_ordergrad import ReMAC

OBS_DIM, ACTION_DIM = 17, 6
BATCH_SIZE = 256
N_TRANSITIONS = 10_000
# label -> settings of ReMAC, None for SAC; bar on the ratio to SAC
VARIANTS: dict[str, tuple[dict[str, Any] | None, float | None]] = {
    "SAC": (None, None),
    "ReMAC, N = 1, k = 1": ({"n_action_samples": 1, "k": 1}, 0.8),
    "ReMAC, N = 8, k = 4": ({"n_action_samples": 8, "k": 4}, 1.6),
    "ReMAC, N = 8, k = 8": ({"n_action_samples": 8, "k": 8}, 1.4),
    "ReMAC, N = 16, k = 4": ({"n_action_samples": 16, "k": 4}, 2.8),
}


class Shapes(gym.Env):
    """The spaces of HalfCheetah-v5; it is never stepped."""

    observation_space = spaces.Box(-np.inf, np.inf, (OBS_DIM,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (ACTION_DIM,), np.float32)


def make_model(settings: dict[str, Any] | None, device: str) -> SAC:
    """
    :param settings: of ReMAC; ``None`` for SAC
    :param device: where to train
    :return: a model whose replay buffer is filled with normal transitions
    """
    common: dict[str, Any] = {"buffer_size": N_TRANSITIONS, "batch_size": BATCH_SIZE, "seed": 0, "device": device}
    model = SAC("MlpPolicy", Shapes(), **common) if settings is None else ReMAC("MlpPolicy", Shapes(), **common, **settings)
    model.set_logger(Logger(None, []))
    rng = np.random.default_rng(0)
    buffer: Any = model.replay_buffer
    buffer.observations[:] = rng.normal(size=buffer.observations.shape)
    buffer.next_observations[:] = rng.normal(size=buffer.next_observations.shape)
    buffer.actions[:] = rng.uniform(-1.0, 1.0, size=buffer.actions.shape)
    buffer.rewards[:] = rng.normal(size=buffer.rewards.shape)
    buffer.full = True
    return model


def milliseconds(model: SAC, updates: int) -> float:
    """
    :param model: the model
    :param updates: number of updates, each a call of ``train`` as in a training with the default ``train_freq``
    :return: wall time of one
    """
    synchronize: Callable[[], Any] = th.cuda.synchronize if model.device.type == "cuda" else lambda: None
    synchronize()
    start = time.perf_counter()
    for _ in range(updates):
        model.train(gradient_steps=1, batch_size=BATCH_SIZE)
    synchronize()
    return 1000.0 * (time.perf_counter() - start) / updates


def peak_megabytes(model: SAC) -> float:
    """
    :param model: the model
    :return: largest amount of memory in use at once during an update, over what was in use before it
    """
    if isinstance(model, ReMAC):
        model._scratch = Scratch()
    if model.device.type == "cuda":
        before = th.cuda.memory_allocated()
        th.cuda.reset_peak_memory_stats()
        model.train(gradient_steps=1, batch_size=BATCH_SIZE)
        return (th.cuda.max_memory_allocated() - before) / 2**20
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        model.train(gradient_steps=1, batch_size=BATCH_SIZE)
    changes = sorted(
        (event.start_ns(), event.nbytes()) for event in record.profiler.kineto_results.events() if event.name() == "[memory]"
    )
    return float(np.cumsum([0, *(change for _, change in changes)]).max()) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="interleaved rounds")
    parser.add_argument("--updates", type=int, default=20, help="updates of each variant in a round")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    args = parser.parse_args()
    th.set_num_threads(args.threads)
    models = {label: make_model(settings, args.device) for label, (settings, _) in VARIANTS.items()}
    for model in models.values():
        milliseconds(model, args.updates)
    times: dict[str, list[float]] = {label: [] for label in models}
    rng = np.random.default_rng(0)
    for _ in range(args.rounds):
        for label in rng.permutation(list(models)):
            times[label].append(milliseconds(models[label], args.updates))
    print(f"{args.device}, {args.threads} threads, batch {BATCH_SIZE}, {args.rounds} rounds of {args.updates} updates\n")
    print("| update | ms, median (quartiles) | ratio to SAC, median (quartiles) | bar | peak memory, MB |")
    print("|---|---|---|---|---|")
    for label, (_, bar) in VARIANTS.items():
        cells = []
        for values, digits in ((times[label], 2), (np.array(times[label]) / np.array(times["SAC"]), 3)):
            low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
            cells.append(f"{middle:.{digits}f} ({low:.{digits}f}, {high:.{digits}f})")
        print(
            f"| {label} | {' | '.join(cells)} | {'' if bar is None else bar} | {peak_megabytes(models[label]):.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
