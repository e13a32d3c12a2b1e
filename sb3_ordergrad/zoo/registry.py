"""Our algorithms in RL Zoo's tables."""

import rl_zoo3
from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER
from stable_baselines3.common.base_class import BaseAlgorithm

import sb3_ordergrad.envs  # noqa: F401  (registers the environments)
from sb3_ordergrad.compare.algorithms import ALGOS, algorithm_class
from sb3_ordergrad.zoo import samplers

ALGORITHMS: dict[str, type[BaseAlgorithm]] = {
    name: algorithm_class(name) for name, algorithm in ALGOS.items() if not algorithm.is_baseline
}


def register() -> None:
    """Add our algorithms to RL Zoo, with the sampler and converter that carry their name; calling it again changes nothing."""
    for name, algo_class in ALGORITHMS.items():
        rl_zoo3.ALGOS[name] = algo_class
        HYPERPARAMS_SAMPLER[name] = getattr(samplers, f"sample_{name}_params")
        HYPERPARAMS_CONVERTER[name] = getattr(samplers, f"convert_{name}_params")
