"""RL Zoo's experiments with our YAML files, settings that cannot run code, and tuning for an objective."""

import argparse
import os
from typing import Any

import gymnasium as gym
import optuna
from rl_zoo3 import ALGOS
from rl_zoo3.callbacks import TrialEvalCallback
from rl_zoo3.exp_manager import ExperimentManager
from rl_zoo3.hyperparams_opt import HYPERPARAMS_SAMPLER
from rl_zoo3.utils import get_callback_list
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnvWrapper

from sb3_ordergrad.compare.literals import parse_literal
from sb3_ordergrad.compare.settings import DICTIONARIES, check_counts, hyperparameter_folder, load_class
from sb3_ordergrad.evaluation import ObjectiveEvalCallback
from sb3_ordergrad.lstatistics import rank_weights
from sb3_ordergrad.zoo.registry import ALGORITHMS

# RL Zoo evaluates most of these where they are strings
TEXT_SETTINGS = (*DICTIONARIES, "normalize", "monitor_kwargs", "replay_buffer_class")
# RL Zoo imports and calls whatever these name
CLASS_SETTINGS = {"callback": BaseCallback, "env_wrapper": gym.Wrapper, "vec_env_wrapper": VecEnvWrapper}


def parse_hyperparams(hyperparams: dict[str, Any]) -> dict[str, Any]:
    """
    The settings of an environment, as they stand in a YAML file, with Python text replaced by its value: RL Zoo can use them
    without evaluating text.

    :raises ValueError: if a text is not a literal, or a name is not that of a callback, a wrapper or a policy;
        if ``n_envs`` or ``n_timesteps`` is out of range
    """
    check_counts(hyperparams)
    parsed = {key: parse_literal(hyperparams[key]) for key in TEXT_SETTINGS if isinstance(hyperparams.get(key), str)}
    for key, parent in CLASS_SETTINGS.items():
        value = hyperparams.get(key)
        for item in value if isinstance(value, list) else [value]:
            name = next(iter(item), None) if isinstance(item, dict) else item
            if isinstance(name, str):
                load_class(name, parent)
    policy = hyperparams.get("policy")
    # RL Zoo imports the policies that have a dot in their name
    if isinstance(policy, str) and "." in policy:
        load_class(policy, BasePolicy)
    return {**hyperparams, **parsed}


class ObjectiveTrialCallback(TrialEvalCallback, ObjectiveEvalCallback):
    """RL Zoo's callback for tuning that reports an objective of the evaluation episodes, not their mean."""

    def __init__(self, *args: Any, objective: str, **kwargs: Any):
        super().__init__(*args, **kwargs)
        # RL Zoo's constructor does not pass it on
        self.objective = objective


class OrderExperimentManager(ExperimentManager):
    """
    RL Zoo's experiment with three differences: our algorithms read our YAML file unless another is named, text in a YAML file
    is parsed instead of evaluated, and tuning can maximise an objective.

    :param tune_objective: maximise this objective of the evaluation episodes, e.g. ``"cvar:0.25"``, instead of their mean
    :raises ValueError: if ``tune_objective`` is given without tuning, or is invalid for the number of evaluation episodes
    """

    def __init__(self, args: argparse.Namespace, algo: str, *rest: Any, tune_objective: str | None = None, **kwargs: Any):
        if kwargs.get("config") is None and algo in ALGORITHMS:
            kwargs["config"] = str(hyperparameter_folder() / f"{algo}.yml")
        super().__init__(args, algo, *rest, **kwargs)
        self.tune_objective = tune_objective
        if tune_objective is None:
            return
        if not self.optimize_hyperparameters:
            raise ValueError(f"--tune-objective {tune_objective} needs tuning: add -optimize.")
        try:
            rank_weights(tune_objective, self.n_eval_episodes)
        except ValueError as error:
            raise ValueError(f"--tune-objective with --eval-episodes {self.n_eval_episodes}: {error}") from error
        # The objective is that of the training policy, which samples its actions
        self.deterministic_eval = False

    def setup_experiment(self) -> tuple[BaseAlgorithm, dict[str, Any]] | None:
        try:
            return super().setup_experiment()
        except (AttributeError, KeyError, RuntimeError, TypeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(
                f"{self.algo} on {self.env_name} with the settings of {self.config} failed ({reason})."
            ) from error

    def read_hyperparameters(self) -> tuple[dict[str, Any], dict[str, Any]]:
        hyperparams, saved_hyperparams = super().read_hyperparameters()
        return parse_hyperparams(hyperparams), saved_hyperparams

    def learn(self, model: BaseAlgorithm) -> None:
        try:
            super().learn(model)
        except Exception as error:
            # Not an error of the input, which the command line reports without a traceback
            raise RuntimeError("The training failed.") from error

    def objective(self, trial: optuna.Trial) -> float:
        # The samplers know only the trial, and draw a k that the objective allows
        trial.set_user_attr("objective", self._hyperparams.get("objective", "mean"))
        return super().objective(trial) if self.tune_objective is None else self._tuned_objective(trial, self.tune_objective)

    def _tuned_objective(self, trial: optuna.Trial, objective: str) -> float:
        """RL Zoo's :meth:`objective` with our callback instead of its own; there is no hook to exchange it."""
        additional = {
            "using_her_replay_buffer": self._hyperparams.get("replay_buffer_class") == HerReplayBuffer,
            "her_kwargs": self._hyperparams.get("replay_buffer_kwargs", {}),
        }
        n_envs = 1 if self.algo == "ars" else self.n_envs
        sampled = HYPERPARAMS_SAMPLER[self.algo](trial, self.n_actions, n_envs, additional)
        env, eval_env = self.create_envs(n_envs, no_log=True), self.create_envs(self.n_eval_envs, eval_env=True)
        path = self.optimization_log_path and os.path.join(self.optimization_log_path, f"trial_{trial.number}")
        callback = ObjectiveTrialCallback(
            eval_env,
            trial,
            best_model_save_path=path,
            log_path=path,
            n_eval_episodes=self.n_eval_episodes,
            eval_freq=max(self.n_timesteps // self.n_evaluations // self.n_envs, 1),
            deterministic=self.deterministic_eval,
            objective=objective,
        )
        # Trials are not seeded, as in RL Zoo
        verbose = self.verbose if self.verbose >= 2 else 0
        model = ALGOS[self.algo](env=env, verbose=verbose, device=self.device, **{**self._hyperparams, **sampled})
        try:
            model.learn(self.n_timesteps, callback=[*get_callback_list({"callback": self.specified_callbacks}), callback])
        except (AssertionError, ValueError) as error:
            # Some hyperparameters lead to NaN
            raise optuna.TrialPruned(f"{error}; sampled hyperparameters: {sampled}") from error
        finally:
            env.close()
            eval_env.close()
        if callback.is_pruned:
            raise optuna.TrialPruned()
        return callback.last_mean_reward
