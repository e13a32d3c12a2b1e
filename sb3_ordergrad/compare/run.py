"""Execute one run: train an algorithm on an objective with a seed, and evaluate the policy."""

import time
from pathlib import Path

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

import sb3_ordergrad.envs  # noqa: F401  (registers the environments)
from sb3_ordergrad.common import files
from sb3_ordergrad.compare import settings
from sb3_ordergrad.compare.algorithms import ALGOS, algorithm_class
from sb3_ordergrad.compare.run_folder import RunFolder
from sb3_ordergrad.compare.spec import RunSpec
from sb3_ordergrad.evaluation import ReturnDistribution, evaluate_distribution

N_EVAL_ENVS = 16
# Makes the random numbers of the evaluation independent of those of the training, whose seeds count from 0
EVALUATION_STREAM = 20260606
REPORT_SECONDS = 0.5


class TrainingRecord(BaseCallback):
    """Keep time step, raw return and length of every training episode, and report the progress to the folder of the run."""

    def __init__(self, folder: RunFolder):
        super().__init__()
        self.folder = folder
        self.episodes: list[tuple[int, float, int]] = []
        self._next_report = 0.0

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:
                self.episodes.append((self.num_timesteps, info["episode"]["r"], info["episode"]["l"]))
        if time.monotonic() >= self._next_report:
            self.folder.report_steps(self.num_timesteps)
            self._next_report = time.monotonic() + REPORT_SECONDS
        return True


def run_one(spec: RunSpec) -> Path:
    """
    Train and evaluate one run unless its folder says that this was done. It can be called in any process, on any machine.

    :return: the folder, with ``model.zip``, ``vecnormalize.pkl`` (if the settings normalise), ``training.csv``,
        ``progress.csv`` (SB3's log), ``returns.csv`` and, written last, ``done.json``
    """
    folder = RunFolder(spec)
    if folder.is_done():
        return folder.path
    threads = th.get_num_threads()
    # Small networks gain nothing from threads, and runs share the cores
    th.set_num_threads(1)
    try:
        folder.claim()
        if not folder.is_trained():
            _train(spec, folder)
        record = folder.start_evaluation()
        start = time.monotonic()
        distribution = _evaluate(spec)
        folder.finish_evaluation(record, distribution, time.monotonic() - start)
    finally:
        th.set_num_threads(threads)
    return folder.path


def make_model(spec: RunSpec) -> tuple[BaseAlgorithm, VecNormalize | None]:
    """The untrained model of a run with its environments, and its normalisation, if it has one."""
    objective = {} if ALGOS[spec.algo].is_baseline else {"objective": spec.objective}
    return settings.make_model(algorithm_class(spec.algo), spec.env_id, spec.settings, spec.seed, **objective)


def _train(spec: RunSpec, folder: RunFolder) -> None:
    """Train; save the policy and the training episodes."""
    start = time.monotonic()
    record = TrainingRecord(folder)
    model, normalize = make_model(spec)
    # An earlier attempt that is still alive keeps the old file, not this log
    (folder.path / "progress.csv").unlink(missing_ok=True)
    logger = configure(str(folder.path), ["csv"])
    model.set_logger(logger)
    try:
        model.learn(spec.steps, callback=record)
    finally:
        logger.close()
        env = model.get_env()
        assert env is not None
        env.close()
    folder.report_steps(spec.steps)
    with files.replacing(folder.path / "model.zip") as temporary:
        model.save(temporary)
    if normalize is not None:
        with files.replacing(folder.path / "vecnormalize.pkl") as temporary:
            normalize.save(str(temporary))
    folder.finish_training(record.episodes, time.monotonic() - start)


def evaluation_seed(seed: int) -> int:
    """Seed of the evaluation episodes, the same for all objectives, which are then compared on the same episodes."""
    return int(np.random.SeedSequence((EVALUATION_STREAM, seed)).generate_state(1)[0] % 2**31)


def _evaluate(spec: RunSpec) -> ReturnDistribution:
    """Play evaluation episodes with the saved policy and the observation statistics of the end of training."""
    seed = evaluation_seed(spec.seed)
    env: VecEnv = settings.make_env(spec.env_id, spec.settings, N_EVAL_ENVS, seed)
    if settings.normalize_kwargs(spec.settings) is not None:
        env = VecNormalize.load(str(spec.folder / "vecnormalize.pkl"), env)
    model = algorithm_class(spec.algo).load(spec.folder / "model.zip", device="cpu")
    try:
        return evaluate_distribution(model, env, spec.n_eval_episodes, spec.deterministic, seed)
    finally:
        env.close()
