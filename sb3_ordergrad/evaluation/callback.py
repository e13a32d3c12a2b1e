"""An ``EvalCallback`` that selects the best model by an objective of the evaluation returns."""

import os

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.logger import DISABLED
from stable_baselines3.common.vec_env import VecEnv

from sb3_ordergrad.evaluation.argument_checks import check_count
from sb3_ordergrad.evaluation.eval_env import like_training_env
from sb3_ordergrad.evaluation.evaluation_log import read_evaluations
from sb3_ordergrad.evaluation.returns import EvaluatedModel, needs_action_masks, restored
from sb3_ordergrad.evaluation.statistics import objective_value, objective_weights

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


class _NoEnv(gym.Env):
    """Placeholder until the training environment is known."""

    observation_space = action_space = spaces.Discrete(1)


class ObjectiveEvalCallback(EvalCallback):
    """
    SB3's ``EvalCallback`` that selects the best model by an objective of the evaluation returns instead of their mean.

    Arguments, ``evaluations.npz``, ``best_model.zip`` and the logged metrics are those of ``EvalCallback``. In addition:

    - the log contains ``eval/<objective>`` (``eval/<objective>@<k>`` with a ``k``), ``eval/quantile_<q>`` of the returns and,
      in TensorBoard, their histogram ``eval/returns``;
    - ``best_mean_reward`` and ``last_mean_reward``, which ``StopTrainingOnRewardThreshold`` and
      ``StopTrainingOnNoModelImprovement`` read, contain the objective;
    - the statistics of ``VecNormalize``, if there are any, are saved as ``vecnormalize.pkl`` next to ``best_model.zip``;
    - a continued training (``learn(reset_num_timesteps=False)``) appends to ``evaluations.npz`` and compares with the best
      evaluation in it;
    - with ``eval_env=None`` the callback creates environments like those of the training, so that it can be used from a YAML
      file of RL Zoo;
    - action masks are passed to sb3-contrib's ``MaskablePPO``; with gSDE and ``deterministic=False`` the noise is redrawn when
      an episode begins.

    The objective of a few episodes is mostly noise: choose ``n_eval_episodes`` so that several episodes fall into the tail
    (50 or more for ``cvar:0.25``). ``deterministic=False`` evaluates the policy that is trained, with its exploration.

    :param eval_env: the evaluation environment; ``None`` to create as many environments as the training has (at most
        ``n_eval_episodes``), see :func:`~sb3_ordergrad.evaluation.eval_env.like_training_env`
    :param callback_on_new_best: callback to trigger when there is a new best model according to the objective
    :param callback_after_eval: callback to trigger after every evaluation
    :param n_eval_episodes: number of episodes of an evaluation
    :param eval_freq: evaluate every ``eval_freq`` calls of the callback (each is ``n_envs`` steps)
    :param log_path: folder of ``evaluations.npz``; use one per run
    :param best_model_save_path: folder of ``best_model.zip``; use one per run
    :param deterministic: use the mode of the policy instead of sampled actions
    :param render: whether to render the evaluation
    :param verbose: 0 for no output, 1 to print each evaluation
    :param warn: passed to ``evaluate_policy`` (warns if ``eval_env`` has no ``Monitor``)
    :param objective: what selects the best model, e.g. ``"cvar:0.25"``, ``"median"``, ``"max"``
    :param k: sample size: unbiased estimate of the objective of ``k`` returns; ``None`` for the objective of all
        ``n_eval_episodes`` returns
    :raises ValueError: if ``n_eval_episodes``, the objective or ``k`` is invalid; when training starts, if the environments
        cannot be created, ``evaluations.npz`` is damaged or contains another number of episodes, or a model that takes action
        masks is evaluated in an environment without them
    """

    def __init__(
        self,
        eval_env: gym.Env | VecEnv | None = None,
        callback_on_new_best: BaseCallback | None = None,
        callback_after_eval: BaseCallback | None = None,
        n_eval_episodes: int = 5,
        eval_freq: int = 10000,
        log_path: str | None = None,
        best_model_save_path: str | None = None,
        deterministic: bool = True,
        render: bool = False,
        verbose: int = 1,
        warn: bool = True,
        objective: str = "cvar:0.25",
        k: int | None = None,
    ):
        n_eval_episodes = check_count("n_eval_episodes", n_eval_episodes)
        # Raises for an invalid objective now rather than at the first evaluation
        objective_weights(objective, n_eval_episodes, k)
        super().__init__(
            eval_env=_NoEnv() if eval_env is None else eval_env,
            callback_on_new_best=callback_on_new_best,
            callback_after_eval=callback_after_eval,
            n_eval_episodes=n_eval_episodes,
            eval_freq=eval_freq,
            log_path=log_path,
            best_model_save_path=best_model_save_path,
            deterministic=deterministic,
            render=render,
            verbose=verbose,
            warn=warn,
        )
        self.objective = objective
        self.k = k
        self._makes_env = eval_env is None
        self._returns: list[float] = []

    @property
    def name(self) -> str:
        """Name of the objective in the log. SB3's CSV files have no place for a comma in a name."""
        name = self.objective.replace(",", ";")
        return name if self.k is None else f"{name}@{self.k}"

    def _init_callback(self) -> None:
        if self._makes_env:
            self.eval_env = like_training_env(self.training_env, self.n_eval_episodes)
            if self.model.seed is not None:
                # The environments of the training use the seeds from model.seed on: these are the next ones
                self.eval_env.seed(self.model.seed + self.training_env.num_envs)
        super()._init_callback()
        needs_action_masks(self.model, self.eval_env)
        self._resume()

    def _resume(self) -> None:
        """Continue the files of an earlier training if this one continues it."""
        path = f"{self.log_path}.npz"
        is_new = self.model.num_timesteps == 0 or len(self.evaluations_timesteps) > 0
        if self.log_path is None or is_new or not os.path.isfile(path):
            return
        past = read_evaluations(path)
        results = past["results"]
        if results.shape[1] != self.n_eval_episodes:
            raise ValueError(
                f"{path} contains evaluations of {results.shape[1]} episodes, n_eval_episodes = {self.n_eval_episodes}: "
                "continue with the same number, or use another log_path."
            )
        # The model may be a checkpoint from before the last evaluation: later evaluations are repeated
        kept = int(np.searchsorted(past["timesteps"], self.model.num_timesteps, side="right"))
        self.evaluations_timesteps = past["timesteps"][:kept].tolist()
        self.evaluations_results = results[:kept].tolist()
        self.evaluations_length = past["ep_lengths"][:kept].tolist()
        if "successes" in past:
            self.evaluations_successes = past["successes"][:kept].tolist()
        if self.best_model_save_path is None or os.path.isfile(os.path.join(self.best_model_save_path, "best_model.zip")):
            self.best_mean_reward = float(objective_value(results, self.objective, self.k).max())

    def _log_success_callback(self, locals_: dict, globals_: dict) -> None:
        super()._log_success_callback(locals_, globals_)
        # The list that evaluate_policy returns, complete when the evaluation ends
        self._returns = locals_["episode_rewards"]

    def _on_step(self) -> bool:
        if self.eval_freq <= 0 or self.n_calls % self.eval_freq != 0:
            return True
        self._evaluate()
        returns = np.array(self._returns)
        value = self.last_mean_reward = float(objective_value(returns, self.objective, self.k))
        self._log(returns, value)
        continue_training = True
        if value > self.best_mean_reward:
            self.best_mean_reward = value
            self._save_best_model()
            if self.callback_on_new_best is not None:
                continue_training = self.callback_on_new_best.on_step()
        if self.callback is not None:
            continue_training = continue_training and self._on_event()
        return continue_training

    def _evaluate(self) -> None:
        """The parent's evaluation, without its selection by the mean, its callbacks and its dump of the log."""
        evaluated = EvaluatedModel(self.model, self.eval_env)
        own, level = restored(self, "model", "best_mean_reward", "callback"), restored(self.logger, "level")
        with own, level, evaluated.restored_noise():
            self.model, self.best_mean_reward, self.callback = evaluated, np.inf, None  # type: ignore[assignment]
            self.logger.set_level(DISABLED)
            super()._on_step()

    def _log(self, returns: np.ndarray, value: float) -> None:
        if self.verbose >= 1:
            print(f"{self.name}: {value:.2f}")
        self.logger.record(f"eval/{self.name}", value)
        for q, quantile in zip(QUANTILES, np.quantile(returns, QUANTILES, method="hazen"), strict=True):
            self.logger.record(f"eval/quantile_{q}", float(quantile))
        # Only TensorBoard supports histograms
        self.logger.record("eval/returns", th.as_tensor(returns), exclude=("stdout", "log", "json", "csv"))
        self.logger.dump(self.num_timesteps)

    def _save_best_model(self) -> None:
        if self.verbose >= 1:
            print(f"New best {self.name}!")
        if self.best_model_save_path is not None:
            self.model.save(os.path.join(self.best_model_save_path, "best_model"))
            vec_normalize = self.model.get_vec_normalize_env()
            if vec_normalize is not None:
                vec_normalize.save(os.path.join(self.best_model_save_path, "vecnormalize.pkl"))

    def _on_training_end(self) -> None:
        if self._makes_env:
            self.eval_env.close()
