"""RL Zoo's experiments with our YAML files, tuned for an objective on request."""

import argparse
from functools import partial
from typing import Any
from unittest import mock

import optuna
import rl_zoo3.exp_manager
from rl_zoo3.callbacks import TrialEvalCallback
from rl_zoo3.exp_manager import ExperimentManager

from sb3_ordergrad.compare.settings import hyperparameter_folder
from sb3_ordergrad.evaluation import ObjectiveEvalCallback
from sb3_ordergrad.lstatistics import rank_weights
from sb3_ordergrad.zoo.registry import ALGORITHMS


class ObjectiveTrialCallback(TrialEvalCallback, ObjectiveEvalCallback):
    """
    RL Zoo's callback of a trial on top of ours: pruning and the trial's value go by the objective instead of the mean.

    :param args: as RL Zoo's callback
    :param objective: the objective of the evaluation episodes, e.g. ``"cvar:0.25"``
    :param kwargs: as RL Zoo's callback
    """

    def __init__(self, *args: Any, objective: str, **kwargs: Any):
        super().__init__(*args, **kwargs)
        # RL Zoo's constructor does not hand it on
        self.objective = objective


class OrderExperimentManager(ExperimentManager):
    """
    RL Zoo's experiment; our algorithms read our YAML file where no other is named.

    :param args: the options, as RL Zoo has them
    :param algo: name of the algorithm
    :param rest: as RL Zoo's
    :param kwargs: as RL Zoo's
    :raises ValueError: if ``tune_objective`` is given without tuning, or cannot be taken of the evaluation episodes
    """

    # What -optimize maximises: an objective of the evaluation episodes, or their mean if None
    tune_objective: str | None = None

    def __init__(self, args: argparse.Namespace, algo: str, *rest: Any, **kwargs: Any):
        if kwargs.get("config") is None and algo in ALGORITHMS:
            kwargs["config"] = str(hyperparameter_folder() / f"{algo}.yml")
        super().__init__(args, algo, *rest, **kwargs)
        if self.tune_objective is None:
            return
        if not self.optimize_hyperparameters:
            raise ValueError(f"--tune-objective {self.tune_objective} has an effect on tuning only: add -optimize.")
        try:
            rank_weights(self.tune_objective, self.n_eval_episodes)
        except ValueError as error:
            raise ValueError(f"--tune-objective with --eval-episodes {self.n_eval_episodes}: {error}") from error
        # The objective is that of the policy that acts in training, which samples its actions
        self.deterministic_eval = False

    def objective(self, trial: optuna.Trial) -> float:
        # The samplers see the trial only, and draw a k that suits the objective
        trial.set_user_attr("objective", self._hyperparams.get("objective", "mean"))
        return super().objective(trial)

    def hyperparameters_optimization(self) -> None:
        if self.tune_objective is None:
            super().hyperparameters_optimization()
            return
        callback = partial(ObjectiveTrialCallback, objective=self.tune_objective)
        with mock.patch.object(rl_zoo3.exp_manager, "TrialEvalCallback", callback):
            super().hyperparameters_optimization()
