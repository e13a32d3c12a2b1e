"""The callback selects the best model by the objective, resumes, and is otherwise SB3's EvalCallback."""

import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import yaml
from gymnasium.wrappers import RescaleAction, ReshapeObservation, TimeAwareObservation
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import (
    EvalCallback,
    StopTrainingOnNoModelImprovement,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    CloudpickleWrapper,
    DummyVecEnv,
    VecCheckNan,
    VecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    unwrap_vec_normalize,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy_envs import ToyEnv, assert_same_parameters

from sb3_ordergrad.envs import ReturnToDate
from sb3_ordergrad.evaluation import ObjectiveEvalCallback
from sb3_ordergrad.evaluation.eval_env import _Maker, like_training_env

# Three evaluations of four episodes: the best mean comes second, the best worst return first
SCRIPT = [[10.0, 10.0, 10.0, 10.0], [100.0, 0.0, 0.0, 0.0], [9.0, 9.0, 9.0, 9.0]]


def scripted(evaluations: list[list[float]]) -> Monitor:
    """One-step episodes with these returns in turn, for a model of CartPole."""
    return Monitor(
        ToyEnv(gym.spaces.Box(-1.0, 1.0, (4,)), lengths=(1,), rewards=[r for returns in evaluations for r in returns])
    )


def make_model(seed: int = 0, env: VecEnv | None = None, **kwargs: Any) -> A2C:
    env = make_vec_env("CartPole-v1", n_envs=1) if env is None else env
    return A2C("MlpPolicy", env, n_steps=5, seed=seed, device="cpu", **kwargs)


def make_callback(folder: Path, evaluations: list[list[float]], **kwargs: Any) -> ObjectiveEvalCallback:
    settings = {"n_eval_episodes": 4, "eval_freq": 10, "verbose": 0, "objective": "cvar:0.25"} | kwargs
    paths = {"log_path": str(folder), "best_model_save_path": str(folder)}
    return ObjectiveEvalCallback(scripted(evaluations), **paths, **settings)


def test_best_model_is_the_best_by_the_objective(tmp_path: Path) -> None:
    callback = make_callback(tmp_path / "ours", SCRIPT)
    make_model().learn(30, callback=callback)
    parent = EvalCallback(
        scripted(SCRIPT), n_eval_episodes=4, eval_freq=10, best_model_save_path=str(tmp_path / "parent"), verbose=0
    )
    make_model().learn(30, callback=parent)
    assert A2C.load(tmp_path / "ours" / "best_model").num_timesteps == 10
    assert A2C.load(tmp_path / "parent" / "best_model").num_timesteps == 20
    assert callback.best_mean_reward == 10.0
    assert callback.last_mean_reward == 9.0
    assert not (tmp_path / "ours" / "vecnormalize.pkl").exists()


def test_with_the_mean_it_is_the_parent(tmp_path: Path) -> None:
    logs = []
    for name, cls, extra in (("parent", EvalCallback, {}), ("ours", ObjectiveEvalCallback, {"objective": "mean"})):
        folder = str(tmp_path / name)
        model = make_model()
        model.set_logger(configure(folder, ["csv"]))
        callback = cls(
            scripted(SCRIPT), n_eval_episodes=4, eval_freq=10, log_path=folder, best_model_save_path=folder, verbose=0, **extra
        )
        model.learn(30, callback=callback)
        model.logger.close()
        logs.append(np.genfromtxt(tmp_path / name / "progress.csv", delimiter=",", names=True, deletechars=""))
        assert callback.best_mean_reward == 25.0
    parent, ours = (np.load(tmp_path / name / "evaluations.npz") for name in ("parent", "ours"))
    assert set(parent) == set(ours)
    for key in parent:
        np.testing.assert_array_equal(parent[key], ours[key])
    assert_same_parameters(*(A2C.load(tmp_path / name / "best_model") for name in ("parent", "ours")))
    # One row an evaluation, the parent's columns and ours
    for key in logs[0].dtype.names:
        np.testing.assert_array_equal(logs[0][key], logs[1][key])
    added = {"eval/mean", *(f"eval/quantile_{q}" for q in (0.1, 0.25, 0.5, 0.75, 0.9))}
    assert set(logs[1].dtype.names) - set(logs[0].dtype.names) == added
    np.testing.assert_array_equal(logs[1]["eval/mean"], [10.0, 25.0, 9.0])


def test_csv_columns_of_an_objective_with_commas(tmp_path: Path) -> None:
    model = make_model()
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(10, callback=make_callback(tmp_path, SCRIPT, objective="weights:0.5,0.5", k=2))
    header, *rows = (tmp_path / "progress.csv").read_text().splitlines()
    assert "eval/weights:0.5;0.5@2" in header
    assert rows and all(row.count(",") <= header.count(",") for row in rows)


def test_a_continued_training_continues_the_files(tmp_path: Path) -> None:
    model = make_model()
    model.learn(30, callback=make_callback(tmp_path, SCRIPT))
    later = make_callback(tmp_path, [[1.0, 1.0, 1.0, 1.0], [11.0, 12.0, 12.0, 12.0]])
    model.learn(10, callback=later, reset_num_timesteps=False)
    assert later.best_mean_reward == 10.0
    assert A2C.load(tmp_path / "best_model").num_timesteps == 10
    model.learn(10, callback=later, reset_num_timesteps=False)
    log = np.load(tmp_path / "evaluations.npz")
    assert log["timesteps"].tolist() == [10, 20, 30, 40, 50]
    assert log["results"].tolist() == [*SCRIPT, [1.0, 1.0, 1.0, 1.0], [11.0, 12.0, 12.0, 12.0]]
    assert log["ep_lengths"].shape == (5, 4)
    assert later.best_mean_reward == 11.0
    assert A2C.load(tmp_path / "best_model").num_timesteps == 50


def test_a_continued_checkpoint_repeats_the_later_evaluations(tmp_path: Path) -> None:
    model = make_model()
    model.learn(20, callback=make_callback(tmp_path, SCRIPT))
    model.save(tmp_path / "checkpoint")
    model.learn(10, callback=make_callback(tmp_path, [SCRIPT[2]]), reset_num_timesteps=False)
    assert np.load(tmp_path / "evaluations.npz")["timesteps"].tolist() == [10, 20, 30]
    model = A2C.load(tmp_path / "checkpoint", env=make_vec_env("CartPole-v1"))
    model.learn(10, callback=make_callback(tmp_path, [[5.0] * 4]), reset_num_timesteps=False)
    log = np.load(tmp_path / "evaluations.npz")
    assert log["timesteps"].tolist() == [10, 20, 30]
    assert log["results"][-1].tolist() == [5.0] * 4


def test_a_new_training_starts_again(tmp_path: Path) -> None:
    make_model().learn(30, callback=make_callback(tmp_path, SCRIPT))
    make_model().learn(10, callback=make_callback(tmp_path, [[1.0] * 4]))
    assert np.load(tmp_path / "evaluations.npz")["results"].tolist() == [[1.0] * 4]
    assert A2C.load(tmp_path / "best_model").num_timesteps == 10


def test_another_number_of_episodes_cannot_be_continued(tmp_path: Path) -> None:
    model = make_model()
    model.learn(10, callback=make_callback(tmp_path, SCRIPT))
    with pytest.raises(ValueError, match="evaluations of 4 episodes, n_eval_episodes = 5"):
        model.learn(10, callback=make_callback(tmp_path, SCRIPT, n_eval_episodes=5), reset_num_timesteps=False)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "missing array"])
def test_damaged_evaluations_are_named(tmp_path: Path, damage: str) -> None:
    model = make_model()
    model.learn(20, callback=make_callback(tmp_path, SCRIPT))
    path = tmp_path / "evaluations.npz"
    content = path.read_bytes()
    if damage == "missing array":
        np.savez(path, timesteps=[10], results=[[1.0] * 4])
    else:
        path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "text": b"10, 20"}[damage])
    with pytest.raises(ValueError, match=r"evaluations\.npz is damaged.*delete it"):
        model.learn(10, callback=make_callback(tmp_path, SCRIPT), reset_num_timesteps=False)
    # What the message suggests
    path.unlink()
    model.learn(10, callback=make_callback(tmp_path, SCRIPT), reset_num_timesteps=False)
    assert np.load(path)["timesteps"].tolist() == [30]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"objective": "max", "k": 5}, "k = 5 must lie between 1 and the number of returns, 4"),
        ({"objective": "cvarr:0.1"}, "closest valid spelling"),
        ({"n_eval_episodes": 0.5}, "n_eval_episodes = 0.5 must be a whole number >= 1"),
    ],
)
def test_errors_before_training(tmp_path: Path, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_callback(tmp_path, SCRIPT, **kwargs)


def test_stopping_goes_by_the_objective(tmp_path: Path) -> None:
    # The mean exceeds 20 in the second evaluation, the objective never does
    threshold = StopTrainingOnRewardThreshold(reward_threshold=20.0)
    model = make_model()
    model.learn(30, callback=make_callback(tmp_path / "a", SCRIPT, callback_on_new_best=threshold))
    assert model.num_timesteps == 30
    threshold = StopTrainingOnRewardThreshold(reward_threshold=9.5)
    model = make_model()
    model.learn(30, callback=make_callback(tmp_path / "b", SCRIPT, callback_on_new_best=threshold))
    assert model.num_timesteps == 10
    # Stops after one evaluation without a better objective, although its mean is the best
    improvement = StopTrainingOnNoModelImprovement(max_no_improvement_evals=0, min_evals=0)
    model = make_model()
    model.learn(30, callback=make_callback(tmp_path / "c", SCRIPT, callback_after_eval=improvement))
    assert model.num_timesteps == 20


def test_log_with_a_sample_size_and_the_histogram(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = make_model()
    model.set_logger(configure(str(tmp_path), ["tensorboard", "stdout", "json", "log"]))
    model.learn(20, callback=make_callback(tmp_path, SCRIPT, objective="max", k=2, verbose=1))
    model.logger.close()
    events = EventAccumulator(str(tmp_path), size_guidance={"histograms": 0}).Reload()
    # Best of 2 out of 100, 0, 0, 0: half of all pairs hold the 100
    assert [event.value for event in events.Scalars("eval/max@2")] == [10.0, 50.0]
    assert [event.value for event in events.Scalars("eval/mean_reward")] == [10.0, 25.0]
    histogram = events.Histograms("eval/returns")[1].histogram_value
    assert (histogram.num, histogram.min, histogram.max) == (4, 0.0, 100.0)
    output = capsys.readouterr().out
    assert "New best max@2!" in output and "max@2: 50.00" in output
    assert "New best mean reward" not in output


def zoo_callback(text: str) -> ObjectiveEvalCallback:
    """The callback that RL Zoo creates from the ``callback`` entry of a YAML file."""
    utils = pytest.importorskip("rl_zoo3.utils")
    (callback,) = utils.get_callback_list(yaml.safe_load(text))
    return callback


def test_from_the_zoos_yaml(tmp_path: Path) -> None:
    callback = zoo_callback(f"""
        callback:
          - sb3_ordergrad.evaluation.ObjectiveEvalCallback:
              objective: "cvar:0.5"
              n_eval_episodes: 6
              eval_freq: 10
              log_path: {tmp_path}
              best_model_save_path: {tmp_path}
              verbose: 0
        """)
    env = VecNormalize(make_vec_env("Pendulum-v1", n_envs=2, wrapper_class=ReturnToDate))
    model = make_model(env=env)
    model.learn(40, callback=callback)
    assert np.load(tmp_path / "evaluations.npz")["results"].shape == (2, 6)
    saved = VecNormalize.load(str(tmp_path / "vecnormalize.pkl"), make_vec_env("Pendulum-v1", wrapper_class=ReturnToDate))
    assert saved.obs_rms.mean.shape == (5,)


def test_environments_created_like_those_of_the_training(tmp_path: Path) -> None:
    def make_training_env() -> VecEnv:
        venv = make_vec_env("Pendulum-v1", 3, wrapper_class=ReturnToDate, wrapper_kwargs={"scale": 0.1}, env_kwargs={"g": 5.0})
        return VecFrameStack(VecNormalize(venv, clip_obs=3.0), 2)

    results = []
    for _ in range(2):
        model = make_model(env=make_training_env())
        callback = ObjectiveEvalCallback(None, n_eval_episodes=2, eval_freq=10, log_path=str(tmp_path), verbose=0)
        model.learn(30, callback=callback)
        results.append(np.load(tmp_path / "evaluations.npz")["results"])
    # The model's seed determines the evaluation too
    np.testing.assert_array_equal(*results)
    eval_env, training_env = callback.eval_env, model.get_env()
    assert eval_env.num_envs == 2
    assert isinstance(eval_env, VecFrameStack)
    ours, theirs = unwrap_vec_normalize(eval_env), unwrap_vec_normalize(training_env)
    assert ours.clip_obs == 3.0 and not ours.training and not ours.norm_reward
    assert theirs.training and theirs.norm_reward
    # Synchronized at the last evaluation, which was the last step of the training
    np.testing.assert_array_equal(ours.obs_rms.mean, theirs.obs_rms.mean)
    inner = ours.venv.envs[0]
    assert isinstance(inner, ReturnToDate) and inner.scale == 0.1
    assert isinstance(inner.env, Monitor)
    assert inner.unwrapped.g == 5.0


@pytest.mark.parametrize("channels_order", ["first", "last", None])
@pytest.mark.parametrize("dict_observations", [False, True])
def test_frames_are_stacked_in_the_same_order(channels_order: str | None, dict_observations: bool) -> None:
    def make() -> gym.Env:
        env: gym.Env = ReshapeObservation(gym.make("CartPole-v1"), (2, 2))
        return TimeAwareObservation(env, flatten=False) if dict_observations else env

    order: Any = {"obs": channels_order, "time": "last"} if dict_observations else channels_order
    training_env = VecFrameStack(DummyVecEnv([make] * 2), 3, order)
    new = like_training_env(training_env, 2)
    first, second = training_env.stacked_obs, new.stacked_obs
    if dict_observations:
        first, second = (stacked.sub_stacked_observations["obs"] for stacked in (first, second))
    assert first.stacked_shape == second.stacked_shape and first.channels_first == second.channels_first


def test_environments_are_created_in_other_processes() -> None:
    training_env = VecMonitor(DummyVecEnv([lambda: gym.make("CartPole-v1")] * 2))
    new = like_training_env(training_env, 1)
    assert isinstance(new, VecMonitor) and new.num_envs == 1
    # What SubprocVecEnv does with the functions it is given
    maker = pickle.loads(pickle.dumps(CloudpickleWrapper(_Maker(training_env.get_attr("spec")[0])))).var
    assert maker().spec.id == "CartPole-v1"


class Unrecorded(gym.Wrapper):
    """A wrapper that does not record its arguments."""


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (lambda: DummyVecEnv([lambda: ToyEnv()]), "these have no spec"),
        (lambda: DummyVecEnv([lambda: Unrecorded(gym.make("CartPole-v1"))]), "the wrapper Unrecorded"),
        (lambda: VecCheckNan(make_vec_env("CartPole-v1")), "another VecCheckNan"),
    ],
)
def test_environments_that_cannot_be_created(env: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        make_model(env=env()).learn(10, callback=ObjectiveEvalCallback())
    assert "pass it as eval_env" in str(error.value)


def test_recorded_wrappers_are_created() -> None:
    training_env = DummyVecEnv([lambda: RescaleAction(gym.make("Pendulum-v1", max_episode_steps=7), 0.0, 1.0)])
    new = like_training_env(training_env, 1)
    assert isinstance(new.envs[0], RescaleAction)
    assert new.envs[0].spec.max_episode_steps == 7
    assert PPO("MlpPolicy", new, device="cpu").n_envs == 1
