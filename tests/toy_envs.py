"""Small environments, policies and callbacks for the tests of the algorithms."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from stable_baselines3.sac.policies import Actor, SACPolicy
from torch import nn

# settings under which a model trains in a tenth of a second
SMALL_NET: dict[str, Any] = {"net_arch": [8]}


class ScaledExtractor(FlattenExtractor):
    """With a parameter to train."""

    def __init__(self, observation_space: spaces.Space) -> None:
        super().__init__(observation_space)
        self.scale = nn.Parameter(th.ones(()))

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.scale * super().forward(observations)


def sac_policy(actor_class: type[Actor]) -> type[SACPolicy]:
    """SAC's policy with this actor."""

    class Policy(SACPolicy):
        def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Actor:
            return actor_class(**self._update_features_extractor(self.actor_kwargs, features_extractor)).to(self.device)

    return Policy


class ToyEnv(gym.Env):
    """
    Observations are sampled from their space, rewards are scripted or normal, episodes have scripted lengths.

    :param observation_space: any space, a small box by default
    :param action_space: any space, two actions by default
    :param lengths: lengths of the episodes in turn, from the start again after the last
    :param rewards: reward of each step since construction, from the start again after the last; ``None``: standard normal
    :param truncated: whether episodes end by a time limit
    :param info: ``info`` of each step, from the number of the episode
    """

    def __init__(
        self,
        observation_space: spaces.Space | None = None,
        action_space: spaces.Space | None = None,
        lengths: Sequence[int] = (3,),
        rewards: Sequence[float] | None = None,
        truncated: bool = False,
        info: Callable[[int], dict[str, Any]] | None = None,
    ) -> None:
        self.observation_space = observation_space or spaces.Box(-1.0, 1.0, (3,))
        self.action_space = action_space or spaces.Discrete(2)
        self.lengths, self.rewards, self.truncated, self.info = lengths, rewards, truncated, info
        self.episode, self.total_steps = -1, 0
        self.returns: list[float] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.episode += 1
        self.n_steps, self.collected = 0, 0.0
        self._start_episode()
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        # SB3's vectorised environments hand rewards on in this precision
        reward = float(np.float32(self._draw_reward(action)))
        self.total_steps += 1
        self.n_steps += 1
        self.collected += reward
        done = self.n_steps == self.length
        if done:
            self.returns.append(self.collected)
        return self.observation_space.sample(), reward, done and not self.truncated, done and self.truncated, self._info()

    def _start_episode(self) -> None:
        self.length = self.lengths[self.episode % len(self.lengths)]

    def _draw_reward(self, action: Any) -> float:
        return self.np_random.normal() if self.rewards is None else self.rewards[self.total_steps % len(self.rewards)]

    def _info(self) -> dict[str, Any]:
        return {} if self.info is None else self.info(self.episode)


class RolloutLog(BaseCallback):
    """What a user's callback sees at the end of each rollout: the buffer's content and the log."""

    def __init__(self) -> None:
        super().__init__()
        self.rewards: list[np.ndarray] = []
        self.returns: list[np.ndarray] = []
        self.log: list[dict[str, Any]] = []
        self.infos: list[dict[str, Any]] = []

    def _on_step(self) -> bool:
        self.infos.extend(self.locals["infos"])
        return True

    def _on_rollout_end(self) -> None:
        buffer = self.locals["rollout_buffer"]
        self.rewards.append(buffer.rewards.copy())
        self.returns.append(buffer.returns.copy())
        self.log.append(dict(self.logger.name_to_value))


class StopAt(BaseCallback):
    """Cancel the training once it has made this many steps."""

    def __init__(self, timestep: int) -> None:
        super().__init__()
        self.timestep = timestep

    def _on_step(self) -> bool:
        return self.num_timesteps < self.timestep


def parent_of(algorithm: type[BaseAlgorithm]) -> type[BaseAlgorithm]:
    """PPO or A2C."""
    return next(
        base
        for base in algorithm.__mro__
        if base.__module__.startswith("stable_baselines3.") and base.__name__ in ("PPO", "A2C")
    )


def parent_defaults(algorithm: type[BaseAlgorithm]) -> dict[str, Any]:
    """The parent's defaults, so that a comparison with it does not rest on the defaults being the same."""
    parameters = inspect.signature(parent_of(algorithm).__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty and p.name != "_init_setup_model"}


def small(algorithm: type[BaseAlgorithm], **kwargs: Any) -> dict[str, Any]:
    """Settings for short rollouts and a small net."""
    settings: dict[str, Any] = {"n_steps": 8, "policy_kwargs": dict(SMALL_NET), "device": "cpu", "seed": 0}
    if "anneal" in inspect.signature(algorithm).parameters:
        settings |= {"anneal": 0.0}
    if "PPO" in algorithm.__name__:
        settings |= {"batch_size": 8, "n_epochs": 2}
    return settings | kwargs


def ranked(algorithm: type[BaseAlgorithm]) -> dict[str, Any]:
    """
    :param algorithm: OrderPPO, OrderA2C or RePPO
    :return: an objective other than the mean; the group can be ranked within the first rollouts
    """
    return {"objective": "cvar:0.5", "k": 2} | ({} if algorithm.__name__ == "RePPO" else {"group_size": 4})


def parameters_of(model: BaseAlgorithm) -> dict[str, np.ndarray]:
    """Copies of the policy's parameters."""
    return {name: value.detach().cpu().numpy().copy() for name, value in model.policy.state_dict().items()}


def recorded(model: Any) -> list[float]:
    """The returns that were ranked last, oldest first."""
    return [value for value, _ in model._episode_memory.recent.get("", [])]


def assert_same_parameters(first: BaseAlgorithm, second: BaseAlgorithm) -> None:
    expected, actual = parameters_of(first), parameters_of(second)
    assert expected.keys() == actual.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name, strict=True)


def assert_trains(model: Any, timesteps: int) -> None:
    """Training moves the networks of an off-policy model, and they stay finite."""
    before, after = parameters_of(model), parameters_of(model.learn(timesteps))
    assert model._n_updates > 0
    assert all(np.isfinite(value).all() for value in after.values())
    for network in ("actor", "critic", "critic_target"):
        assert any((after[name] != before[name]).any() for name in after if name.split(".")[0] == network)


def assert_continues(uninterrupted: Any, model: Any, folder: Path, timesteps: int) -> Any:
    """
    An off-policy model that is saved in mid-episode, with its replay buffer, continues as if it had not been interrupted.

    :param uninterrupted: a trained model
    :param model: the same, with an environment of its own
    :param folder: for the files
    :param timesteps: to train both on
    :return: the loaded model
    """
    model.save(folder / "model")
    model.save_replay_buffer(folder / "buffer")
    loaded = type(model).load(folder / "model", env=model.get_env(), device="cpu", force_reset=False)
    loaded.load_replay_buffer(folder / "buffer")
    for each in (uninterrupted, loaded):
        # the file holds no state of the random generators
        each.set_random_seed(1)
        each.learn(timesteps, reset_num_timesteps=False)
    assert loaded._n_updates == uninterrupted._n_updates
    assert_same_parameters(uninterrupted, loaded)
    return loaded
