"""Random valid configurations: an algorithm with its settings, an environment with its wrappers, and how long to train."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from gymnasium import spaces
from robustness.random_envs import ACTIONS, OBSERVATIONS, REWARDS, RandomEpisodes, RandomGoals
from robustness.random_objectives import Rng, draw_objective, draw_preset
from stable_baselines3 import A2C, PPO, SAC, HerReplayBuffer
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor, VecNormalize
from torch import nn, optim

from sb3_ordergrad import OrderA2C, OrderPPO, OrderSAC, ReMAC, RePPO

OURS, THEIRS = (OrderPPO, OrderA2C, OrderSAC, ReMAC, RePPO), (PPO, A2C, SAC)
ALGORITHMS: dict[str, type[BaseAlgorithm]] = {cls.__name__: cls for cls in (*OURS, *THEIRS)}
# Slow, so they are drawn less often
IMAGES = ("image", "dict with image")
BOXES = ("box", "one number", "matrix", "float64", "unbounded")


@dataclass(frozen=True)
class Configuration:
    """
    :param algorithm: name of its class
    :param env: arguments of ``RandomEpisodes``, or of ``RandomGoals`` if ``goals``
    :param n_envs: number of environments
    :param monitor: ``"none"``, ``"Monitor"`` or ``"VecMonitor"``
    :param normalize: arguments of each ``VecNormalize``, the inner one first
    :param settings: arguments of the algorithm
    :param timesteps: lengths of the first training and of the one that continues it
    :param goals: whether the environment has goals
    """

    algorithm: str
    env: dict[str, Any]
    n_envs: int
    monitor: str
    normalize: list[dict[str, Any]]
    settings: dict[str, Any]
    timesteps: tuple[int, int]
    goals: bool = False

    def make_env(self) -> VecEnv:
        """New environments with all wrappers."""

        def make() -> Any:
            env = RandomGoals(**self.env) if self.goals else RandomEpisodes(**self.env)
            return Monitor(env) if self.monitor == "Monitor" else env

        env: VecEnv = DummyVecEnv([make] * self.n_envs)
        if self.monitor == "VecMonitor":
            env = VecMonitor(env)
        for kwargs in self.normalize:
            env = VecNormalize(env, **kwargs)
        return env

    def make_model(self, env: VecEnv | None = None) -> Any:
        """An untrained model whose log is kept."""
        # SB3 writes into the dictionaries that it is given
        settings = {key: dict(value) if isinstance(value, dict) else value for key, value in self.settings.items()}
        model = ALGORITHMS[self.algorithm](env=env or self.make_env(), device="cpu", **settings)
        model.set_logger(Log.logger())
        return model

    def trained(self) -> Any:
        """A model after both trainings."""
        first, second = self.timesteps
        return self.make_model().learn(first).learn(second, reset_num_timesteps=False)

    def changed(self, algorithm: str, drop: tuple[str, ...] = (), **settings: Any) -> "Configuration":
        kept = {key: value for key, value in self.settings.items() if key not in drop}
        return replace(self, algorithm=algorithm, settings={**kept, **settings})


@dataclass
class Log(KVWriter):
    """All numbers that were logged."""

    values: list[tuple[str, float]] = field(default_factory=list)

    @classmethod
    def logger(cls) -> Logger:
        """A logger that writes here alone."""
        return Logger(None, [cls()])

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, Any], step: int = 0) -> None:
        numbers = ((key, value) for key, value in key_values.items() if isinstance(value, (int, float, np.number)))
        self.values.extend((key, float(value)) for key, value in numbers)

    def close(self) -> None:
        pass


def logged(model: BaseAlgorithm) -> list[tuple[str, float]]:
    """Name and value of every number that it has logged."""
    (log,) = model.logger.output_formats
    assert isinstance(log, Log)
    return log.values


def one_of(rng: Rng, *choices: Any) -> Any:
    return choices[rng.integers(len(choices))]


def _draw_env(rng: Rng, actions: tuple[str, ...]) -> dict[str, Any]:
    plain = [name for name in OBSERVATIONS if name not in IMAGES]
    return {
        "observation": one_of(rng, *IMAGES) if rng.random() < 0.06 else one_of(rng, *plain),
        "action": one_of(rng, *actions),
        "reward": one_of(rng, *REWARDS),
        "max_length": int(one_of(rng, 1, 3, 9, 30)),
        "truncation": float(one_of(rng, 0.0, 0.5, 1.0)),
    }


def _draw_normalize(rng: Rng, observation: str) -> list[dict[str, Any]]:
    """No, one or, seldom, two ``VecNormalize``."""
    boxes = {"dict": ["position"], "dict of boxes": ["a", "b"], "dict with image": ["speed"]}.get(observation)
    can_normalize = boxes is not None or observation in BOXES
    wrappers = []
    for _ in range(int(one_of(rng, 0, 0, 0, 1, 1, 1, 1, 2))):
        kwargs = {"norm_obs": can_normalize and bool(rng.random() < 0.8), "norm_reward": bool(rng.random() < 0.7)}
        if kwargs["norm_obs"] and boxes is not None:
            kwargs["norm_obs_keys"] = boxes
        wrappers.append({**kwargs, "clip_reward": float(one_of(rng, 1.0, 10.0)), "gamma": float(one_of(rng, 0.9, 0.99))})
    return wrappers


def _policy(observation: str) -> str:
    if observation.startswith("dict"):
        return "MultiInputPolicy"
    return "CnnPolicy" if observation == "image" else "MlpPolicy"


def _draw_rate(rng: Rng) -> Any:
    return one_of(rng, 1e-3, 3e-4, LinearSchedule(1e-2, 1e-5, 1.0))


def draw_on_policy(rng: Rng) -> Configuration:
    """A configuration of OrderPPO or OrderA2C."""
    algorithm = str(one_of(rng, "OrderPPO", "OrderA2C"))
    env = _draw_env(rng, tuple(ACTIONS))
    n_envs = int(rng.integers(1, 5))
    n_steps = int(rng.integers(2, 25)) if algorithm == "OrderPPO" else int(rng.integers(1, 9))
    group_size = int(rng.integers(2, 25))
    k: float = int(rng.integers(1, group_size))
    if rng.random() < 0.1 and k + 1 < group_size:
        k += round(float(rng.uniform(0.1, 0.9)), 2)
    policy_kwargs = {"net_arch": one_of(rng, [8], [], {"pi": [8], "vf": [4]}), "activation_fn": one_of(rng, nn.Tanh, nn.ReLU)}
    policy_kwargs["ortho_init"] = bool(rng.random() < 0.5)
    settings: dict[str, Any] = {
        "policy": _policy(env["observation"]),
        "seed": int(rng.integers(2**31)),
        "learning_rate": _draw_rate(rng),
        "n_steps": n_steps,
        "gamma": one_of(rng, None, None, 1.0, 0.9),
        "ent_coef": float(one_of(rng, 0.0, 0.01)),
        "max_grad_norm": float(one_of(rng, 0.5, 10.0)),
        "objective": draw_objective(rng, k),
        "k": k,
        "group_size": group_size,
        "credit": one_of(rng, "projected", "dense", "terminal"),
        "anneal": one_of(rng, None, 0.0, 0.5, 1.0, round(float(rng.random()), 3)),
        "anneal_from": one_of(rng, "mean", draw_objective(rng, k)),
        "group_by": one_of(rng, None, None, "task"),
        "value_scale": float(one_of(rng, 1.0, 0.01, 30.0)),
    }
    if algorithm == "OrderPPO":
        total = n_steps * n_envs
        settings["batch_size"] = int(one_of(rng, *(size for size in range(2, total + 1) if total % size == 0)))
        settings["n_epochs"] = int(rng.integers(1, 4))
        settings["gae_lambda"] = one_of(rng, None, None, 1.0, 0.9)
        settings["clip_range"] = one_of(rng, 0.2, LinearSchedule(0.3, 0.1, 1.0))
        settings["clip_range_vf"] = one_of(rng, None, None, 0.2)
        settings["target_kl"] = one_of(rng, None, None, 0.01)
        settings["normalize_advantage"] = bool(rng.random() < 0.8)
    else:
        settings["gae_lambda"] = float(one_of(rng, 1.0, 0.9))
        settings["use_rms_prop"] = bool(rng.random() < 0.7)
        # One advantage alone has no standard deviation
        settings["normalize_advantage"] = bool(rng.random() < 0.4) and n_steps * n_envs > 1
    if ACTIONS[env["action"]].__class__.__name__ == "Box" and rng.random() < 0.35:
        settings["use_sde"] = True
        settings["sde_sample_freq"] = int(one_of(rng, -1, 3))
        policy_kwargs |= {"full_std": bool(rng.random() < 0.5), "use_expln": bool(rng.random() < 0.5)}
    settings["policy_kwargs"] = policy_kwargs
    rollout = n_steps * n_envs
    timesteps = int(rng.integers(1, 4)) * rollout, int(rng.integers(1, 3)) * rollout
    monitor = str(one_of(rng, "none", "Monitor", "Monitor", "VecMonitor"))
    return Configuration(algorithm, env, n_envs, monitor, _draw_normalize(rng, env["observation"]), settings, timesteps)


def draw_off_policy(rng: Rng) -> Configuration:
    """A configuration of ReMAC or OrderSAC."""
    env = _draw_env(rng, ("box", "wide box"))
    goals = bool(rng.random() < 0.12)
    if goals:
        env["observation"] = "dict"
    n_envs = int(one_of(rng, 1, 1, 1, 2, 3))
    n = int(rng.integers(1, 9))
    k: Any = int(rng.integers(1, n + 1))
    objective = draw_objective(rng, k)
    kind = rng.random()
    if kind < 0.1 and k < n:
        k += round(float(rng.uniform(0.1, 0.9)), 2)
        objective = draw_objective(rng, k)
    elif kind < 0.2:
        k = LinearSchedule(float(n), float(k), 1.0)
        objective = draw_preset(rng, 1, ("mean", "max", "min", "cvar", "upper_cvar"))
    policy_kwargs: dict[str, Any] = {
        "net_arch": one_of(rng, [8], [8, 8], {"pi": [8], "qf": [4]}),
        "n_critics": int(one_of(rng, 1, 2, 2, 3)),
        "activation_fn": one_of(rng, nn.ReLU, nn.Tanh, nn.GELU),
        "optimizer_class": one_of(rng, optim.Adam, optim.Adam, optim.AdamW),
        "share_features_extractor": bool(rng.random() < 0.3),
    }
    settings: dict[str, Any] = {
        "policy": "MultiInputPolicy" if goals else _policy(env["observation"]),
        "seed": int(rng.integers(2**31)),
        "learning_rate": _draw_rate(rng),
        "buffer_size": int(rng.integers(60, 300)),
        "learning_starts": int(one_of(rng, 0, 10, 20)),
        "batch_size": int(one_of(rng, 2, 8, 16)),
        "tau": float(one_of(rng, 0.005, 0.5, 1.0)),
        "gamma": float(one_of(rng, 0.99, 0.9, 1.0)),
        "train_freq": one_of(rng, 1, 1, 4, (1, "episode")) if n_envs == 1 else int(one_of(rng, 1, 3)),
        "gradient_steps": int(one_of(rng, 1, 1, 2, -1, 0)),
        "target_update_interval": int(one_of(rng, 1, 1, 3)),
        "ent_coef": one_of(rng, 0.0, 0.0, 0.1, "auto", "auto_0.1"),
        "target_entropy": one_of(rng, "auto", -1.0),
        "objective": objective,
        "k": k,
        "n_action_samples": n,
        "actor_adam_eps": one_of(rng, None, None, 1e-8, 1e-2, 1.0),
        "policy_kwargs": policy_kwargs,
    }
    if goals:
        settings["replay_buffer_class"] = HerReplayBuffer
        settings["replay_buffer_kwargs"] = {"n_sampled_goal": 2, "goal_selection_strategy": one_of(rng, "future", "final")}
        # Hindsight needs an episode that has ended
        settings["learning_starts"] = (env["max_length"] + 1) * n_envs
    elif settings["policy"] != "MultiInputPolicy" and rng.random() < 0.2:
        settings["n_steps"] = 3
    elif settings["policy"] == "MlpPolicy" and rng.random() < 0.1:
        settings["optimize_memory_usage"] = True
        settings["replay_buffer_kwargs"] = {"handle_timeout_termination": False}
    if rng.random() < 0.25:
        settings["use_sde"] = True
        settings["sde_sample_freq"] = int(one_of(rng, -1, 3))
        settings["use_sde_at_warmup"] = bool(rng.random() < 0.5)
        policy_kwargs["use_expln"] = bool(rng.random() < 0.5)
    elif rng.random() < 0.2:
        size = int(np.prod(ACTIONS[env["action"]].shape or ()))
        settings["action_noise"] = NormalActionNoise(np.zeros(size), 0.1 * np.ones(size))
    timesteps = int(rng.integers(25, 60)), int(rng.integers(5, 30))
    # SB3 cannot store the unnormalised observations of the others
    can_normalize = not goals and env["observation"] in (*BOXES, "dict of boxes")
    normalize = _draw_normalize(rng, env["observation"]) if can_normalize else []
    monitor = str(one_of(rng, "none", "Monitor"))
    algorithm = str(one_of(rng, "ReMAC", "ReMAC", "OrderSAC"))
    if algorithm == "OrderSAC":
        del settings["n_action_samples"], settings["actor_adam_eps"]
        k = 1 if callable(k) else k
        settings["k"] = k
    return Configuration(algorithm, env, n_envs, monitor, normalize, settings, timesteps, goals)


def draw_reppo(rng: Rng) -> Configuration:
    """
    :param rng: generator
    :return: a configuration of RePPO, with the settings of PPO of an OrderPPO
    """
    configuration = draw_on_policy(rng)
    while configuration.algorithm != "OrderPPO" or not isinstance(ACTIONS[configuration.env["action"]], spaces.Discrete):
        configuration = draw_on_policy(rng)
    k: float = int(rng.integers(1, 9))
    objective = draw_objective(rng, k)
    if rng.random() < 0.4:
        k, objective = float(one_of(rng, 0.3, 0.9, 1.2, 2.5)), str(one_of(rng, "max", "min", "mean"))
    own = ("group_size", "credit", "anneal", "anneal_from", "group_by", "value_scale")
    discounts = {"gamma": float(one_of(rng, 0.99, 1.0)), "gae_lambda": float(one_of(rng, 0.8, 0.0, 1.0))}
    return configuration.changed("RePPO", drop=own, **discounts, k=k, objective=objective)


def draw_configuration(rng: Rng) -> Configuration:
    """A configuration of one of our algorithms."""
    share = rng.random()
    return draw_off_policy(rng) if share < 0.3 else draw_reppo(rng) if share < 0.45 else draw_on_policy(rng)
