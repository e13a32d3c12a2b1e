"""A second set of environments like those a model trains on."""

import copy
from dataclasses import replace
from typing import Any

import gymnasium as gym
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

_PASS_ONE = "build the evaluation environment yourself and pass it as eval_env."


def like_training_env(env: VecEnv, n_envs: int) -> VecEnv:
    """
    New environments with the ids, arguments, wrappers and normalisation of those that a model trains on.

    They are made from gymnasium's record of each environment (``env.spec``), which holds the arguments of every wrapper
    that derives from ``gymnasium.utils.RecordConstructorArgs``, as gymnasium's own do. ``VecNormalize`` is copied, without
    updates of its statistics and without normalised rewards.

    :param env: the training environment
    :param n_envs: number of new environments, at most those of ``env``
    :return: the new environments
    :raises ValueError: if an environment or a wrapper cannot be made again
    """
    if isinstance(env, (DummyVecEnv, SubprocVecEnv)):
        new: VecEnv = type(env)([_Maker(spec) for spec in env.get_attr("spec")[:n_envs]])
    elif isinstance(env, VecNormalize):
        new = copy.deepcopy(env)
        new.set_venv(like_training_env(env.venv, n_envs))
        new.training, new.norm_reward = False, False
    elif isinstance(env, VecFrameStack):
        new = VecFrameStack(like_training_env(env.venv, n_envs), env.stacked_obs.n_stack)
    elif isinstance(env, (VecMonitor, VecTransposeImage)):
        # A monitor's file belongs to the training
        new = type(env)(like_training_env(env.venv, n_envs))
    else:
        raise ValueError(f"eval_env=None cannot make another {type(env).__name__}: {_PASS_ONE}")
    if new.observation_space != env.observation_space:
        raise ValueError(
            f"eval_env=None made observations of {new.observation_space}, not {env.observation_space}: {_PASS_ONE}"
        )
    return new


class _Maker:
    """
    Makes an environment from its record; a class, since a lambda would not travel to another process under every start method.

    :param spec: the record
    :raises ValueError: if there is none, or a wrapper does not record its arguments
    """

    def __init__(self, spec: EnvSpec | None) -> None:
        if spec is None:
            raise ValueError(f"eval_env=None needs environments made by gymnasium.make, these have no spec: {_PASS_ONE}")
        wrappers = []
        for wrapper in spec.additional_wrappers:
            # SB3's Monitor records nothing; its file belongs to the training, and the rest has defaults
            if wrapper.entry_point == f"{Monitor.__module__}:{Monitor.__name__}":
                wrapper = replace(wrapper, kwargs={})
            if wrapper.kwargs is None:
                raise ValueError(
                    f"eval_env=None cannot make the wrapper {wrapper.name} again: let it derive from "
                    f"gymnasium.utils.RecordConstructorArgs, or {_PASS_ONE}"
                )
            wrappers.append(wrapper)
        self.spec = replace(spec, additional_wrappers=tuple(wrappers))

    def __call__(self) -> gym.Env[Any, Any]:
        return gym.make(self.spec)
