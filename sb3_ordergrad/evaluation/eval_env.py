"""Create evaluation environments like those of the training."""

import copy
from dataclasses import replace
from typing import Any

import gymnasium as gym
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)
from stable_baselines3.common.vec_env.stacked_observations import StackedObservations

_PASS_ONE = "build the evaluation environment yourself and pass it as eval_env."


def like_training_env(env: VecEnv, n_envs: int) -> VecEnv:
    """
    Create at most ``n_envs`` environments with the ids, arguments, wrappers and normalization of the training environments.

    They are created from gymnasium's spec of each environment (``env.spec``), which contains the arguments of every wrapper
    that derives from ``gymnasium.utils.RecordConstructorArgs``, as gymnasium's own do. ``VecNormalize`` is copied; the copy
    neither updates its statistics nor normalizes rewards.

    :raises ValueError: if an environment or a wrapper cannot be created from its spec
    """
    if isinstance(env, (DummyVecEnv, SubprocVecEnv)):
        new: VecEnv = type(env)([_Maker(spec) for spec in env.get_attr("spec")[:n_envs]])
    elif isinstance(env, VecNormalize):
        new = copy.deepcopy(env)
        new.set_venv(like_training_env(env.venv, n_envs))
        new.training, new.norm_reward = False, False
    elif isinstance(env, VecFrameStack):
        stacked = env.stacked_obs
        new = VecFrameStack(like_training_env(env.venv, n_envs), stacked.n_stack, _channels_order(stacked))
    elif isinstance(env, (VecMonitor, VecTransposeImage)):
        # A monitor's file belongs to the training
        new = type(env)(like_training_env(env.venv, n_envs))
    else:
        raise ValueError(f"eval_env=None cannot create another {type(env).__name__}: {_PASS_ONE}")
    if new.observation_space != env.observation_space:
        raise ValueError(
            f"eval_env=None created observations of {new.observation_space}, not {env.observation_space}: {_PASS_ONE}"
        )
    return new


def _channels_order(stacked: StackedObservations) -> Any:
    """``channels_order`` of a ``VecFrameStack``, by key for ``Dict`` observations."""
    if isinstance(stacked.observation_space, spaces.Dict):
        return {key: _channels_order(value) for key, value in stacked.sub_stacked_observations.items()}
    return "first" if stacked.channels_first else "last"


class _Maker:
    """Create an environment from its spec; a class, because not every start method can send a lambda to another process."""

    def __init__(self, spec: EnvSpec | None) -> None:
        if spec is None:
            raise ValueError(f"eval_env=None needs environments created by gymnasium.make, these have no spec: {_PASS_ONE}")
        wrappers = []
        for wrapper in spec.additional_wrappers:
            # SB3's Monitor does not record its arguments; its file belongs to the training, the rest has defaults
            if wrapper.entry_point == f"{Monitor.__module__}:{Monitor.__name__}":
                wrapper = replace(wrapper, kwargs={})
            if wrapper.kwargs is None:
                raise ValueError(
                    f"eval_env=None cannot create the wrapper {wrapper.name}: let it derive from "
                    f"gymnasium.utils.RecordConstructorArgs, or {_PASS_ONE}"
                )
            wrappers.append(wrapper)
        self.spec = replace(spec, additional_wrappers=tuple(wrappers))

    def __call__(self) -> gym.Env[Any, Any]:
        return gym.make(self.spec)
