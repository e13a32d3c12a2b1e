"""
Risk environments and the observation wrapper that static risk objectives need, registered with gymnasium on import.

The entry points are strings, so importing this package loads neither MuJoCo nor an environment that is not used.
"""

import gymnasium as gym

from sb3_ordergrad.envs.return_to_date import ReturnToDate

__all__ = ["ReturnToDate", "register_envs"]

# id -> (entry point, time limit in steps)
ENVIRONMENTS: dict[str, tuple[str, int]] = {
    "GuardedMaze-v0": ("sb3_ordergrad.envs.guarded_maze:GuardedMazeEnv", 192),
    "RiskyHalfCheetah-v0": ("sb3_ordergrad.envs.half_cheetah:RiskyHalfCheetahEnv", 200),
    "FragileHalfCheetah-v0": ("sb3_ordergrad.envs.half_cheetah:FragileHalfCheetahEnv", 200),
}


def register_envs() -> None:
    """Register the environments of :data:`ENVIRONMENTS` with gymnasium; calling it again changes nothing."""
    for env_id, (entry_point, max_episode_steps) in ENVIRONMENTS.items():
        # gymnasium warns when an id is registered twice
        if env_id not in gym.registry:
            gym.register(id=env_id, entry_point=entry_point, max_episode_steps=max_episode_steps)


register_envs()
