"""MaskablePPO is evaluated with the action masks of the environment."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from sb3_contrib import MaskablePPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv
from toy_envs import ToyEnv

from sb3_ordergrad.evaluation import ObjectiveEvalCallback, evaluate_distribution


class OneValidAction(ToyEnv):
    """Only one action is valid, another one after each step; the reward is 1 for it and 0 otherwise."""

    def __init__(self) -> None:
        super().__init__(action_space=gym.spaces.Discrete(5), lengths=(4,))

    def action_masks(self) -> np.ndarray:
        return np.arange(5) == (self.total_steps + self.episode) % 5

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        is_valid = bool(self.action_masks()[action])
        obs, _, terminated, truncated, info = super().step(action)
        return obs, float(is_valid), terminated, truncated, info


def without_masks() -> gym.Env:
    return Monitor(ToyEnv(action_space=gym.spaces.Discrete(5)))


def make_venv(make_env: Callable[[], gym.Env] = lambda: Monitor(OneValidAction())) -> DummyVecEnv:
    return DummyVecEnv([make_env] * 3)


@pytest.mark.parametrize("of_policy", [False, True])
def test_evaluation_passes_the_masks(of_policy: bool) -> None:
    env = make_venv()
    model = MaskablePPO("MlpPolicy", env, seed=0, device="cpu")
    evaluated = model.policy if of_policy else model
    assert (evaluate_distribution(evaluated, env, n_eval_episodes=12).returns == 4.0).all()
    with pytest.raises(ValueError, match="takes action masks, but the evaluation environment has no method action_masks"):
        evaluate_distribution(evaluated, without_masks())


def test_callback_passes_the_masks(tmp_path: Path) -> None:
    def make(eval_env: DummyVecEnv) -> tuple[MaskablePPO, ObjectiveEvalCallback]:
        model = MaskablePPO("MlpPolicy", make_venv(), n_steps=8, batch_size=8, n_epochs=1, device="cpu")
        callback = ObjectiveEvalCallback(eval_env, eval_freq=8, deterministic=False, verbose=0, log_path=str(tmp_path))
        return model, callback

    model, callback = make(make_venv())
    model.learn(48, callback=callback)
    assert (np.load(tmp_path / "evaluations.npz")["results"] == 4.0).all()
    assert callback.model is model
    model, callback = make(make_venv(without_masks))
    with pytest.raises(ValueError, match="MaskablePPO takes action masks"):
        model.learn(8, callback=callback)
