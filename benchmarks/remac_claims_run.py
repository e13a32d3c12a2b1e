"""One run of `remac_claims.py`: its settings, its training with evaluations, and its result."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch as th
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecNormalize
from stable_baselines3.sac.policies import Actor, SACPolicy
from torch import nn

from sb3_ordergrad import ReMAC
from sb3_ordergrad.common import files
from sb3_ordergrad.remac.samples import sample_actions

N_ENVS, N_EVALUATIONS, N_EVAL_EPISODES, N_ENTROPY_ACTIONS = 16, 10, 10, 16
KS = (1, 2, 4, 8)
EPSILONS = (1e-8, 1e-2, 1e-1, 1.0)
EPSILON_TASKS = ("Reacher-v5",)
# The cheapest first
TASKS: dict[str, dict[str, float]] = {
    "Reacher-v5": {"gamma": 0.95, "tau": 0.01, "learning_rate": 3e-4},
    "Swimmer-v5": {"gamma": 0.995, "tau": 0.05, "learning_rate": 1e-4},
    "HalfCheetah-v5": {"gamma": 0.98, "tau": 0.005, "learning_rate": 1e-4},
    "Hopper-v5": {"gamma": 0.995, "tau": 0.05, "learning_rate": 3e-4},
}
OFF_POLICY: dict[str, Any] = {"batch_size": 512, "learning_starts": 10_000, "train_freq": 1, "gradient_steps": 4}
METHODS: dict[str, dict[str, Any]] = {"sac": {}, "ppo": {"n_steps": 128}} | {
    f"k{k}"
    + (f"-eps{eps:g}" if eps != EPSILONS[0] else ""): {
        "k": k,
        "n_action_samples": 16 if k == 8 else 8,
        "actor_adam_eps": eps,
    }
    for eps in EPSILONS
    for k in (KS if eps == EPSILONS[0] else (1, 8))
}
# On request: what may restore the return where k = 4 is below k = 1, and what it gives the others
VARIANTS: dict[str, dict[str, Any]] = {
    "k4-lr0.001": METHODS["k4"] | {"learning_rate": 1e-3},
    "k4-eps0.01": METHODS["k4"] | {"actor_adam_eps": 1e-2},
    "k4-soft": METHODS["k4"] | {"ent_coef": "auto"},
    "k4to1": METHODS["k4"] | {"k": [4, 1]},
    "k1.5": METHODS["k4"] | {"k": 1.5},
    "k1-lr0.001": METHODS["k1"] | {"learning_rate": 1e-3},
    "sac-lr0.001": METHODS["sac"] | {"learning_rate": 1e-3},
}


class BoundedActor(Actor):
    """SAC's actor with the bounds of the publication, log std in [-10, 2]."""

    def get_action_dist_params(self, obs: PyTorchObs) -> tuple[th.Tensor, th.Tensor, dict[str, th.Tensor]]:
        mean, log_std, kwargs = super().get_action_dist_params(obs)
        return mean, log_std.clamp(min=-10.0), kwargs


class PublishedPolicy(SACPolicy):
    """SAC's policy with a :class:`BoundedActor`."""

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Actor:
        return BoundedActor(**self._update_features_extractor(self.actor_kwargs, features_extractor)).to(self.device)


class Run(NamedTuple):
    """
    :param task: environment
    :param method: name in ``METHODS`` or ``VARIANTS``
    :param seed: seed
    :param steps: timesteps of the training
    :param out: folder of the results
    """

    task: str
    method: str
    seed: int
    steps: int
    out: Path

    @property
    def settings(self) -> dict[str, Any]:
        """Of the algorithm."""
        own = (METHODS | VARIANTS)[self.method]
        if self.method == "ppo":
            return {"gamma": TASKS[self.task]["gamma"]} | own
        return OFF_POLICY | TASKS[self.task] | own

    @property
    def plan(self) -> dict[str, Any]:
        """The settings that determine the result."""
        plan = {"task": self.task, "method": self.method, "seed": self.seed, "steps": self.steps, "settings": self.settings}
        return plan | {"n_envs": N_ENVS, "n_evaluations": N_EVALUATIONS, "n_eval_episodes": N_EVAL_EPISODES}

    @property
    def path(self) -> Path:
        return self.out / f"{self.task}-{self.method}-{self.steps}-seed{self.seed}.json"

    def result(self) -> dict[str, Any] | None:
        """The stored result, if it is that of the same run."""
        result = files.read_json(self.path)
        return result if result is not None and result["plan"] == self.plan else None

    def make_model(self) -> BaseAlgorithm:
        """The untrained model."""
        env = VecNormalize(make_vec_env(self.task, N_ENVS, seed=self.seed), norm_reward=False)
        common: dict[str, Any] = {"env": env, "seed": self.seed, "device": "cpu", **self.settings}
        if self.method == "ppo":
            return PPO("MlpPolicy", **common)
        common["policy_kwargs"] = {"net_arch": [64, 64], "activation_fn": nn.Tanh}
        if self.method.startswith("sac"):
            return SAC(PublishedPolicy, **common)
        if isinstance(common["k"], list):
            start, end = common["k"]
            common["k"] = LinearSchedule(start, end, 1.0)
        return ReMAC(PublishedPolicy, **common)


class Evaluations(BaseCallback):
    """
    Episodes with the mode of the policy and with sampled actions, at equal intervals of training, and in the states that the
    sampled actions visited the entropy of the squashed policy, in nats, and the mean of log std. They start from the same
    states each time.

    :param run: the run
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.env = VecNormalize(make_vec_env(run.task, N_EVAL_EPISODES), training=False, norm_reward=False)
        self.seed, self.interval = run.seed + 1000, run.steps / N_EVALUATIONS
        self.curves: dict[str, list[Any]] = {name: [] for name in ("step", "mode", "sampled", "entropy", "log_std")}

    def _on_step(self) -> bool:
        if self.num_timesteps >= self.interval * (1 + len(self.curves["step"])):
            self._evaluate()
        return True

    @th.no_grad()
    def _evaluate(self) -> None:
        self.curves["step"].append(self.num_timesteps)
        training_env = self.model.get_vec_normalize_env()
        assert training_env is not None
        self.env.obs_rms = training_env.obs_rms
        self.curves["mode"].append(self._play(deterministic=True)[0])
        returns, visited = self._play(deterministic=False)
        self.curves["sampled"].append(returns)
        if isinstance(self.model, SAC):
            actor = self.model.actor
            samples = sample_actions(actor, self.model.policy.obs_to_tensor(visited)[0], N_ENTROPY_ACTIONS)
            self.curves["entropy"].append(-samples.log_prob(actor.action_dist.epsilon).mean().item())
            self.curves["log_std"].append(samples.std.log().mean().item())

    def _play(self, deterministic: bool) -> tuple[list[float], np.ndarray]:
        """Returns of the episodes, and the observations of all steps, shape ``(n_steps, obs_dim)``."""
        visited: list[np.ndarray] = []

        def collect(scope: dict[str, Any], _: dict[str, Any]) -> None:
            visited.append(scope["observations"][scope["i"]])

        self.env.seed(self.seed)
        returns, _ = evaluate_policy(
            self.model, self.env, N_EVAL_EPISODES, deterministic, callback=collect, return_episode_rewards=True
        )
        return returns, np.stack(visited)  # type: ignore[return-value]


def train(run: Run) -> None:
    """Train and evaluate one run, and write its result."""
    th.set_num_threads(1)
    start = time.monotonic()
    # Before training: the checkout may change until it ends
    origin = {"commit": files.git_commit(), "versions": files.package_versions(), "machine": files.machine()}
    evaluations = Evaluations(run)
    run.make_model().learn(run.steps, callback=evaluations)
    files.write_json(run.path, {"plan": run.plan, **evaluations.curves, **origin, "seconds": time.monotonic() - start})


def curve(result: dict[str, Any], measure: str) -> np.ndarray:
    """A measure of each evaluation, the mean over its episodes; NaN where the method has none. Shape ``(n_evaluations,)``."""
    values = np.array(result[measure] or [np.nan] * len(result["step"]), dtype=np.float64)
    return values.reshape(len(values), -1).mean(axis=1)


def final(result: dict[str, Any], measure: str) -> float:
    """Mean over the evaluations in the last tenth of training."""
    return float(curve(result, measure)[-(N_EVALUATIONS // 10) :].mean())
