"""
Risk environments and two tasks for exploration, registered with gymnasium on import, wrappers that make any task risky, and
the observation wrapper that static risk objectives need.

The entry points are strings, so importing this package loads neither MuJoCo, Box2D nor an environment that is not used.
"""

from typing import Any

import gymnasium as gym

from sb3_ordergrad.envs.return_to_date import ReturnToDate
from sb3_ordergrad.envs.reward_wrappers import HeavyTailReward, NoisyRegion, SpeedPenalty

__all__ = ["HeavyTailReward", "NoisyRegion", "ReturnToDate", "SpeedPenalty", "register_envs"]


def _entry(entry_point: str, max_episode_steps: int | None, **kwargs: Any) -> dict[str, Any]:
    """Arguments of :func:`gymnasium.register` for ``module:class`` of this package, with a time limit or ``None``."""
    return {
        "entry_point": f"sb3_ordergrad.envs.{entry_point}",
        "max_episode_steps": max_episode_steps,
        "kwargs": kwargs,
    }


def _noisy_robot(entry_point: str, beyond: float, side: str, **kwargs: Any) -> dict[str, Any]:
    """Arguments of :func:`gymnasium.register` for a robot of gymnasium with N(0, 10^2) on the reward beyond a position x."""
    return {
        "entry_point": f"gymnasium.envs.mujoco.{entry_point}",
        "max_episode_steps": 1000,
        "kwargs": kwargs,
        # x is the first number of the observation
        "additional_wrappers": (NoisyRegion.wrapper_spec(beyond=beyond, std=10.0, side=side, measure=0),),
    }


_OBSERVE_X = {"exclude_current_positions_from_observation": False}

# id -> arguments of gymnasium.register
ENVIRONMENTS: dict[str, dict[str, Any]] = {
    # CeSoR (Greenberg et al. 2022). v1 has the time limit of the published code
    "GuardedMaze-v0": _entry("guarded_maze:GuardedMazeEnv", 192),
    "GuardedMaze-v1": _entry("guarded_maze:GuardedMazeEnv", 160),
    "ServerAllocation-v0": _entry("server_allocation:ServerAllocationEnv", 60),
    # Return Capping (Mead et al. 2025), and its betting game with a rule of our own
    "GuardedMazeFixedStart-v0": _entry(
        "guarded_maze:GuardedMazeEnv",
        160,
        guard_probability=0.05,
        cost_mean=4.0,
        random_cost=False,
        start=(1.0, 1.0),
        observe_return=True,
    ),
    "BettingGame-v0": _entry("betting_game:BettingGameEnv", 6),
    "BettingGameCroppedStake-v0": _entry("betting_game:BettingGameEnv", 6, crop_stake=True, end_early=True),
    "NoisyLunarLander-v0": _entry("noisy_lunar_lander:NoisyLunarLanderEnv", 1000),
    # Static spectral risk measures (Moghimi and Ku 2025)
    "StochasticCliffWalking-v0": _entry("cliff_walking:StochasticCliffWalkingEnv", 50),
    "MeanReversionTrading-v0": _entry("finance:MeanReversionTradingEnv", 10),
    "AmericanPut-v0": _entry("finance:AmericanPutEnv", 10),
    # Exploration (bsuite, Osband et al. 2020; Strehl and Littman 2008)
    "DeepSea-v0": _entry("exploration:DeepSeaEnv", None),
    "RiverSwim-v0": _entry("exploration:RiverSwimEnv", 20),
    # O-RAAC (Urpí et al. 2021)
    "RiskyHalfCheetah-v0": _entry("risky_mujoco:RiskyHalfCheetahEnv", 200),
    "RiskyHopper-v0": _entry("risky_mujoco:RiskyHopperEnv", 500),
    "RiskyWalker2d-v0": _entry("risky_mujoco:RiskyWalker2dEnv", 500),
    # Gini deviation (Luo et al. 2023)
    "NoisyInvertedPendulum-v0": _noisy_robot("inverted_pendulum_v5:InvertedPendulumEnv", 0.01, "above"),
    "NoisyHalfCheetah-v0": _noisy_robot("half_cheetah_v5:HalfCheetahEnv", -3.0, "below", **_OBSERVE_X),
    "NoisyAnt-v0": _noisy_robot("ant_v5:AntEnv", 0.5, "above", **_OBSERVE_X),
    "NoisySwimmer-v0": _noisy_robot("swimmer_v5:SwimmerEnv", 0.5, "above", **_OBSERVE_X),
    # This package
    "FragilePoint-v0": _entry("fragile_point:FragilePointEnv", 200),
    "FragileHalfCheetah-v0": _entry("risky_mujoco:FragileHalfCheetahEnv", 200),
    "FragileHopper-v0": _entry("risky_mujoco:FragileHopperEnv", 500),
    "SparseReacher-v0": _entry("sparse_reacher:SparseReacherEnv", 50),
}


def register_envs() -> None:
    """Register the environments of :data:`ENVIRONMENTS` with gymnasium; calling it again changes nothing."""
    for env_id, arguments in ENVIRONMENTS.items():
        # gymnasium warns when an id is registered twice
        if env_id not in gym.registry:
            gym.register(id=env_id, **arguments)


register_envs()
