"""
Time and memory of an update of ReMAC, relative to an update of SB3's SAC with the same networks.

    python benchmarks/remac_update.py

Networks (256, 256), batch size 256, observations and actions of HalfCheetah-v5's shapes, 2 threads. Each round times all
variants in random order, so that a disturbance of the machine hits all of them. The ratio is the median over the rounds of
the ratio to SAC in the same round; "fastest" is the ratio of the fastest rounds, the least disturbed ones. Peak memory is what
the tensors of one update take at most, including what ReMAC keeps for the next one.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.sac.policies import SACPolicy
from torch import nn
from torch.profiler import ProfilerActivity, profile

from sb3_ordergrad import ReMAC

OBS_DIM, ACTION_DIM = 17, 6
BATCH_SIZE = 256
N_TRANSITIONS = 10_000


class LayerNormPolicy(SACPolicy):
    """SAC's policy, whose critics have layer normalization after each hidden linear layer."""

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> ContinuousCritic:
        critic = super().make_critic(features_extractor)
        for network in critic.q_networks:
            assert isinstance(network, nn.Sequential)
            for index in range(len(network) - 2, 0, -2):
                network.insert(index, nn.LayerNorm(256))
        return critic


PLAIN: dict[str, Any] = {"policy": "MlpPolicy"}
LAYER_NORM: dict[str, Any] = {"policy": LayerNormPolicy}
GELU: dict[str, Any] = {"policy": "MlpPolicy", "policy_kwargs": {"activation_fn": nn.GELU}}
TANH: dict[str, Any] = {"policy": "MlpPolicy", "policy_kwargs": {"activation_fn": nn.Tanh}}
N8_K4 = {"n_action_samples": 8, "k": 4}


class Variant(NamedTuple):
    """
    :param label: name in the table
    :param common: settings of ReMAC and of SAC, which it is compared with
    :param settings: of ReMAC; ``None`` for SAC itself
    :param bound: the ratio to SAC that the implementation aims for
    """

    label: str
    common: dict[str, Any]
    settings: dict[str, Any] | None = None
    bound: float | None = None


VARIANTS = (
    Variant("SAC", PLAIN),
    Variant("ReMAC, N = 1, k = 1", PLAIN, {"n_action_samples": 1, "k": 1}, 0.9),
    Variant("ReMAC, N = 8, k = 4", PLAIN, N8_K4, 1.5),
    Variant("ReMAC, N = 8, k = 8", PLAIN, {"n_action_samples": 8, "k": 8}),
    Variant("ReMAC, N = 16, k = 4", PLAIN, {"n_action_samples": 16, "k": 4}),
    Variant("SAC, tanh", TANH),
    Variant("ReMAC, tanh, N = 8, k = 4", TANH, N8_K4, 1.5),
    Variant("SAC, LayerNorm", LAYER_NORM),
    Variant("ReMAC, LayerNorm, N = 8, k = 4", LAYER_NORM, N8_K4, 1.9),
    Variant("SAC, GELU", GELU),
    Variant("ReMAC, GELU, N = 8, k = 4", GELU, N8_K4, 1.9),
)


class Shapes(gym.Env):
    """The spaces of HalfCheetah-v5; it is never stepped."""

    observation_space = spaces.Box(-np.inf, np.inf, (OBS_DIM,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (ACTION_DIM,), np.float32)


def make_model(variant: Variant, device: str) -> SAC:
    """
    :param variant: what to time
    :param device: where to train
    :return: a model whose replay buffer is filled with normal transitions
    """
    common: dict[str, Any] = {"buffer_size": N_TRANSITIONS, "batch_size": BATCH_SIZE, "seed": 0, "device": device}
    common |= variant.common
    model = SAC(env=Shapes(), **common) if variant.settings is None else ReMAC(env=Shapes(), **common, **variant.settings)
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
        model._memory = [{} for _ in model.critic.q_networks]
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
    models = {variant.label: make_model(variant, args.device) for variant in VARIANTS}
    for model in models.values():
        milliseconds(model, args.updates)
    times: dict[str, list[float]] = {variant.label: [] for variant in VARIANTS}
    rng = np.random.default_rng(0)
    for _ in range(args.rounds):
        for index in rng.permutation(len(VARIANTS)):
            times[VARIANTS[index].label].append(milliseconds(models[VARIANTS[index].label], args.updates))
    print(f"{args.device}, {args.threads} threads, batch {BATCH_SIZE}, {args.rounds} rounds of {args.updates} updates\n")
    print("| update | ms, median (quartiles) | ratio to SAC, median (quartiles) | fastest | bound | peak memory, MB |")
    print("|---|---|---|---|---|---|")
    for variant in VARIANTS:
        own = np.array(times[variant.label])
        if variant.settings is None:
            sac = own
        cells = []
        for values, digits in ((own, 2), (own / sac, 3)):
            low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
            cells.append(f"{middle:.{digits}f} ({low:.{digits}f}, {high:.{digits}f})")
        cells += [f"{own.min() / sac.min():.3f}", str(variant.bound or ""), f"{peak_megabytes(models[variant.label]):.1f}"]
        print(f"| {variant.label} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
