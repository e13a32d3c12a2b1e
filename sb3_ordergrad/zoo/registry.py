"""Our algorithms in RL Zoo's tables."""

import rl_zoo3
from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER
from stable_baselines3.common.base_class import BaseAlgorithm

import sb3_ordergrad.envs  # noqa: F401  (registers the environments)
from sb3_ordergrad.order_a2c import OrderA2C
from sb3_ordergrad.order_ppo import OrderPPO
from sb3_ordergrad.remac import ReMAC
from sb3_ordergrad.zoo import samplers

# RL Zoo's plots find a run by the lower-case name only
ALGORITHMS: dict[str, type[BaseAlgorithm]] = {"orderppo": OrderPPO, "ordera2c": OrderA2C, "remac": ReMAC}


def register() -> None:
    """Add our algorithms, their samplers and converters to RL Zoo; calling it again changes nothing."""
    rl_zoo3.ALGOS.update(ALGORITHMS)
    HYPERPARAMS_SAMPLER.update(samplers.SAMPLERS)
    HYPERPARAMS_CONVERTER.update(samplers.CONVERTERS)
