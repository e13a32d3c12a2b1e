"""Observations of a rollout."""

from typing import Any

import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.utils import obs_as_tensor


def rollout_observations(buffer: RolloutBuffer, rows: slice, device: th.device) -> Any:
    """
    :param buffer: full, and not yet flattened by ``buffer.get``
    :param rows: of the ``n_steps * n_envs`` timesteps; a part of them, since images are large
    :param device: of the result
    :return: their observations, as a tensor or a dict of tensors
    """
    observations: Any = buffer.observations
    if isinstance(observations, dict):
        part: Any = {key: values.reshape(-1, *values.shape[2:])[rows] for key, values in observations.items()}
    else:
        part = observations.reshape(-1, *observations.shape[2:])[rows]
    return obs_as_tensor(part, device)
