"""RL Zoo's ``enjoy`` with the distribution of the returns beside their mean."""

import argparse
from collections.abc import Sequence
from typing import Any
from unittest import mock

import numpy as np
import rl_zoo3.enjoy
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from sb3_ordergrad.evaluation import SUMMARY
from sb3_ordergrad.evaluation.statistics import objective_value


class ReturnRecorder(VecEnvWrapper):
    """
    Keep the raw return of every episode that ends, as the monitors report it.

    :param venv: environments, each with a ``Monitor``
    """

    def __init__(self, venv: VecEnv):
        super().__init__(venv)
        self.returns: list[float] = []

    def reset(self) -> VecEnvObs:
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        observations, rewards, dones, infos = self.venv.step_wait()
        self.returns += [float(info["episode"]["r"]) for info in infos if "episode" in info]
        return observations, rewards, dones, infos


def statistics(returns: Sequence[float]) -> dict[str, float]:
    """
    :param returns: raw episode returns, shape ``(n_episodes,)``
    :return: name -> value of each statistic of :data:`~sb3_ordergrad.evaluation.SUMMARY`; those that need more episodes
        are NaN
    """
    n = len(returns)
    return {
        name: float(objective_value(returns, objective, k)) if n >= (k or 1) else float("nan")
        for name, (objective, k) in SUMMARY.items()
    }


def enjoy_with_statistics() -> None:
    """
    Run RL Zoo's ``enjoy`` with the options of the process, then print mean, CVaR, quantiles and best-of-k of the episodes
    of all environments.
    """
    recorders = []
    create_test_env = rl_zoo3.enjoy.create_test_env

    def create_and_record(*args: Any, **kwargs: Any) -> VecEnv:
        recorders.append(ReturnRecorder(create_test_env(*args, **kwargs)))
        return recorders[-1]

    with mock.patch.object(rl_zoo3.enjoy, "create_test_env", create_and_record):
        rl_zoo3.enjoy.enjoy()
    # RL Zoo keeps its options to itself
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--verbose", default=1, type=int)
    returns = [one for recorder in recorders for one in recorder.returns]
    if returns and parser.parse_known_args()[0].verbose > 0:
        values = (f"{name} {value:.2f}" for name, value in statistics(returns).items() if not np.isnan(value))
        print(f"Returns of {len(returns)} episodes: {', '.join(values)}")
