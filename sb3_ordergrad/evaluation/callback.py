"""SB3's EvalCallback that judges a policy by an objective of its returns."""

import os

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.logger import DISABLED
from stable_baselines3.common.vec_env import VecEnv

from sb3_ordergrad.evaluation.eval_env import like_training_env
from sb3_ordergrad.evaluation.statistics import lstatistic, order_weights

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


class _NoEnv(gym.Env):
    """Stands in for the evaluation environment until the training environment is known."""

    observation_space = action_space = spaces.Discrete(1)


class ObjectiveEvalCallback(EvalCallback):
    """
    SB3's ``EvalCallback`` with the best model chosen by an objective of the evaluation returns instead of their mean.

    Everything else is the parent's: arguments, ``evaluations.npz``, ``best_model.zip``, the keys in the log. In addition:

    - the log holds ``eval/<objective>`` (``eval/<objective>@<k>`` with a ``k``), ``eval/quantile_<q>`` of the returns and, in
      TensorBoard, their histogram ``eval/returns``;
    - ``best_mean_reward`` and ``last_mean_reward``, by which ``StopTrainingOnRewardThreshold`` and
      ``StopTrainingOnNoModelImprovement`` go, hold the objective;
    - beside ``best_model.zip`` lies ``vecnormalize.pkl``, the normalisation the model needs, if there is one;
    - a training that continues (``learn(reset_num_timesteps=False)``) continues ``evaluations.npz``, and the best so far is
      that of the file;
    - ``eval_env=None`` makes environments like those of the training, so that the callback can stand in a YAML file of RL Zoo.

    The objective of a few episodes is mostly noise: choose ``n_eval_episodes`` so that the tail holds some (50 and more for
    ``cvar:0.25``). ``deterministic=False`` judges the policy that was trained, with its exploration.

    :param eval_env: the evaluation environment; ``None`` for as many environments as the training has (at most
        ``n_eval_episodes``), made like them, see :func:`~sb3_ordergrad.evaluation.eval_env.like_training_env`
    :param callback_on_new_best: callback to trigger when the objective is the best so far
    :param callback_after_eval: callback to trigger after every evaluation
    :param n_eval_episodes: number of episodes of an evaluation
    :param eval_freq: evaluate every ``eval_freq`` calls of the callback (each is ``n_envs`` steps)
    :param log_path: folder of ``evaluations.npz``, one for each run
    :param best_model_save_path: folder of ``best_model.zip``, one for each run
    :param deterministic: evaluate the mode of the policy instead of its samples
    :param render: render the evaluation
    :param verbose: 0 for no output, 1 to print each evaluation
    :param warn: let ``evaluate_policy`` warn about a missing ``Monitor``
    :param objective: what the best model is chosen by, e.g. ``"cvar:0.25"``, ``"median"``, ``"max"``
    :param k: sample size: unbiased estimate of the objective of ``k`` fresh returns; the objective of the
        ``n_eval_episodes`` returns themselves if ``None``
    :raises ValueError: if the objective or ``k`` is invalid for ``n_eval_episodes``; when training starts, if the
        environments cannot be made or ``evaluations.npz`` holds another number of episodes
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
        # Refuses a bad objective now rather than at the first evaluation
        order_weights(objective, n_eval_episodes, k)
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
        """The objective as the log shows it."""
        return self.objective if self.k is None else f"{self.objective}@{self.k}"

    def _init_callback(self) -> None:
        if self._makes_env:
            self.eval_env = like_training_env(self.training_env, self.n_eval_episodes)
            if self.model.seed is not None:
                # Other episodes than those of the training, whose environments take the seeds before
                self.eval_env.seed(self.model.seed + self.training_env.num_envs)
        super()._init_callback()
        self._resume()

    def _resume(self) -> None:
        """Continue the files of an earlier training if this one continues it."""
        path = f"{self.log_path}.npz"
        is_new = self.model.num_timesteps == 0 or len(self.evaluations_timesteps) > 0
        if self.log_path is None or is_new or not os.path.isfile(path):
            return
        with np.load(path) as past:
            results = past["results"]
            if results.shape[1] != self.n_eval_episodes:
                raise ValueError(
                    f"{path} holds evaluations of {results.shape[1]} episodes, n_eval_episodes = {self.n_eval_episodes}: "
                    "continue with the same number, or use another log_path."
                )
            # The model may be a checkpoint older than the last evaluation: what came later will be done again
            kept = int(np.searchsorted(past["timesteps"], self.model.num_timesteps, side="right"))
            self.evaluations_timesteps = past["timesteps"][:kept].tolist()
            self.evaluations_results = results[:kept].tolist()
            self.evaluations_length = past["ep_lengths"][:kept].tolist()
            if "successes" in past:
                self.evaluations_successes = past["successes"][:kept].tolist()
        if self.best_model_save_path is None or os.path.isfile(os.path.join(self.best_model_save_path, "best_model.zip")):
            self.best_mean_reward = float(lstatistic(results, self.objective, self.k).max())

    def _log_success_callback(self, locals_: dict, globals_: dict) -> None:
        super()._log_success_callback(locals_, globals_)
        # The list that evaluate_policy returns: complete once the evaluation is over
        self._returns = locals_["episode_rewards"]

    def _on_step(self) -> bool:
        if self.eval_freq <= 0 or self.n_calls % self.eval_freq != 0:
            return True
        self._evaluate()
        returns = np.array(self._returns)
        value = self.last_mean_reward = float(lstatistic(returns, self.objective, self.k))
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
        """The parent's evaluation, without what it does by the mean: choose the best model, trigger callbacks, end the log."""
        best, callback, level = self.best_mean_reward, self.callback, self.logger.level
        self.best_mean_reward, self.callback = np.inf, None
        self.logger.set_level(DISABLED)
        try:
            super()._on_step()
        finally:
            self.best_mean_reward, self.callback = best, callback
            self.logger.set_level(level)

    def _log(self, returns: np.ndarray, value: float) -> None:
        if self.verbose >= 1:
            print(f"{self.name}: {value:.2f}")
        self.logger.record(f"eval/{self.name}", value)
        for q, quantile in zip(QUANTILES, np.quantile(returns, QUANTILES, method="hazen"), strict=True):
            self.logger.record(f"eval/quantile_{q}", float(quantile))
        # Only TensorBoard knows histograms
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
