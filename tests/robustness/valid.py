"""Random valid configurations: train, save, load and continue, without a warning, with finite parameters and logs."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from robustness.configurations import Configuration, Log, draw_configuration, logged
from robustness.parts import Part, generator
from stable_baselines3.common.vec_env import VecEnv
from toy_envs import assert_same_parameters, parameters_of, recorded

from sb3_ordergrad.evaluation import evaluate_distribution

# SB3's own: not a number where all returns are the same
UNDEFINED_IN_SB3 = ("train/explained_variance",)


def draw(seed: int, number: int) -> Configuration:
    return draw_configuration(generator(seed, "valid", number))


def check(seed: int, number: int) -> dict[str, int]:
    configuration = draw(seed, number)
    env = configuration.make_env()
    model = configuration.make_model(env)
    first, second = configuration.timesteps
    model.learn(first)
    _check_finite(model)
    if configuration.algorithm in ("OrderPPO", "OrderA2C"):
        _check_returns(model, env)
    loaded = save_and_load(model, env)
    assert_same_parameters(model, loaded)
    for name in set(configuration.settings) & {"objective", "k", "group_size", "credit", "anneal", "n_action_samples"}:
        assert repr(getattr(loaded, name)) == repr(getattr(model, name)), name
    loaded.learn(second, reset_num_timesteps=False)
    assert loaded.num_timesteps >= first + second
    _check_finite(loaded)
    if number % 5 == 0:
        before = parameters_of(loaded)
        distribution = evaluate_distribution(loaded, env, 3, deterministic=number % 2 == 0, seed=number)
        assert np.isfinite(distribution.returns).all()
        assert all((before[name] == value).all() for name, value in parameters_of(loaded).items())
        loaded.learn(second, reset_num_timesteps=False)
    return {"passed": 1}


def save_and_load(model: Any, env: VecEnv, **kwargs: Any) -> Any:
    """What comes back from a file, with the replay buffer if there is one."""
    has_buffer = getattr(model, "replay_buffer", None) is not None
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder, "model"))
        if has_buffer:
            model.save_replay_buffer(Path(folder, "buffer"))
        loaded = type(model).load(Path(folder, "model"), env=env, device="cpu", **kwargs)
        if has_buffer:
            # The last episode goes on if its environments do
            loaded.load_replay_buffer(Path(folder, "buffer"), truncate_last_traj=kwargs.get("force_reset", True))
    loaded.set_logger(Log.logger())
    return loaded


def _check_finite(model: Any) -> None:
    for name, value in parameters_of(model).items():
        assert np.isfinite(value).all(), name
    for name, number in logged(model):
        assert np.isfinite(number) or name in UNDEFINED_IN_SB3, f"{name} = {number}"


def _check_returns(model: Any, env: VecEnv) -> None:
    """The ranked returns are the raw ones of the environments."""
    true = np.sort(np.concatenate([np.asarray(returns) for returns in env.get_attr("returns")] or [[]]))
    for value in recorded(model):
        assert np.isclose(true, value, rtol=1e-9, atol=1e-12).any(), f"{value} is not among the returns {true}"
    if model.group_by is None:
        assert len(recorded(model)) == min(len(true), model.group_size)


PART = Part("valid", lambda seed, number: str(draw(seed, number)), check, sample=30)
