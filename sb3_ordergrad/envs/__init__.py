"""
Risk environments, registered with gymnasium on import, wrappers that make any task risky, and the observation wrapper that
static risk objectives need.

The entry points are strings, so importing this package loads neither MuJoCo nor an environment that is not used.
"""

import gymnasium as gym

from sb3_ordergrad.envs.return_to_date import ReturnToDate
from sb3_ordergrad.envs.reward_wrappers import HeavyTailReward, NoisyRegion, SpeedPenalty

__all__ = ["HeavyTailReward", "NoisyRegion", "ReturnToDate", "SpeedPenalty", "register_envs"]

# id -> (entry point, time limit in steps)
ENVIRONMENTS: dict[str, tuple[str, int]] = {
    "GuardedMaze-v0": ("sb3_ordergrad.envs.guarded_maze:GuardedMazeEnv", 192),
    "RiskyHalfCheetah-v0": ("sb3_ordergrad.envs.risky_mujoco:RiskyHalfCheetahEnv", 200),
    "RiskyHopper-v0": ("sb3_ordergrad.envs.risky_mujoco:RiskyHopperEnv", 500),
    "RiskyWalker2d-v0": ("sb3_ordergrad.envs.risky_mujoco:RiskyWalker2dEnv", 500),
    "FragileHalfCheetah-v0": ("sb3_ordergrad.envs.risky_mujoco:FragileHalfCheetahEnv", 200),
    "FragileHopper-v0": ("sb3_ordergrad.envs.risky_mujoco:FragileHopperEnv", 500),
    "BettingGame-v0": ("sb3_ordergrad.envs.betting_game:BettingGameEnv", 6),
    "SparseReacher-v0": ("sb3_ordergrad.envs.sparse_reacher:SparseReacherEnv", 50),
}


def register_envs() -> None:
    """Register the environments of :data:`ENVIRONMENTS` with gymnasium; calling it again changes nothing."""
    for env_id, (entry_point, max_episode_steps) in ENVIRONMENTS.items():
        # gymnasium warns when an id is registered twice
        if env_id not in gym.registry:
            gym.register(id=env_id, entry_point=entry_point, max_episode_steps=max_episode_steps)


register_envs()
