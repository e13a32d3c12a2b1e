"""One run: train an algorithm on an objective with a seed, evaluate it, and leave everything in a folder of its own."""

import hashlib
import json
import re
import time
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

import sb3_ordergrad.envs  # noqa: F401  (registers the environments)
from sb3_ordergrad.compare import files, settings
from sb3_ordergrad.compare.algorithms import ALGOS, algorithm_class
from sb3_ordergrad.evaluation import ReturnDistribution, evaluate_distribution

N_EVAL_ENVS = 16
# The evaluation's random numbers have nothing in common with those of the training, whose seeds count from 0
EVALUATION_STREAM = 20260606
PROGRESS_SECONDS = 0.5
PROGRESS_FILE = "steps.txt"
# Names the attempt that the folder belongs to
ATTEMPT_FILE = "attempt.txt"
ERROR_FILE = "error.txt"


@dataclass(frozen=True)
class RunSpec:
    """
    Everything that decides the outcome of a run, and nothing else but the folder it goes to.

    :param algo: key of :data:`~sb3_ordergrad.compare.algorithms.ALGOS`
    :param env_id: the environment
    :param objective: the objective; ``mean`` for a baseline
    :param seed: seed of the training
    :param steps: environment steps of training
    :param settings: hyperparameters in RL Zoo's form, with all overrides
    :param n_eval_episodes: fresh episodes after training
    :param deterministic: evaluate the mode of the policy rather than its samples
    :param out: folder of the results
    """

    algo: str
    env_id: str
    objective: str
    seed: int
    steps: int
    settings: dict[str, Any] = field(hash=False)
    n_eval_episodes: int = 400
    deterministic: bool = False
    out: str = "results"

    @property
    def training(self) -> dict[str, Any]:
        """What decides the trained policy, as it comes back from JSON."""
        names = ("algo", "env_id", "objective", "seed", "steps", "settings")
        content = asdict(self)
        return json.loads(json.dumps({name: content[name] for name in names}))

    @property
    def evaluation(self) -> dict[str, Any]:
        """What decides the evaluation of that policy."""
        return {"n_eval_episodes": self.n_eval_episodes, "deterministic": self.deterministic}

    @property
    def folder(self) -> Path:
        """``<out>/runs/<algo>-<env>-<objective>-s<seed>-<hash of everything that decides the training>``."""
        digest = hashlib.sha256(json.dumps(self.training, sort_keys=True).encode()).hexdigest()[:8]
        parts = (self.algo, self.env_id, self.objective)
        name = "-".join(re.sub(r"[^A-Za-z0-9.+-]+", "_", part) for part in parts)
        return Path(self.out) / "runs" / f"{name[:120]}-s{self.seed}-{digest}"

    def record(self) -> dict[str, Any]:
        """The content of ``done.json`` if it belongs to this training, else empty."""
        done = files.read_json(self.folder / "done.json")
        return done if isinstance(done, dict) and done.get("training") == self.training else {}

    def is_trained(self) -> bool:
        """Whether the folder holds the finished training of this run."""
        return bool(self.record()) and all((self.folder / name).is_file() for name in ("model.zip", "training.csv"))

    def is_done(self) -> bool:
        """Whether the folder holds the finished training and evaluation of this run."""
        evaluated = self.record().get("evaluation") == self.evaluation and (self.folder / "returns.csv").is_file()
        return evaluated and self.is_trained()

    def steps_done(self) -> int:
        """Steps trained so far, for the progress bar."""
        if self.is_trained():
            return self.steps
        try:
            return min(self.steps, int((self.folder / PROGRESS_FILE).read_text()))
        except (OSError, ValueError):
            return 0

    def clear_attempt(self) -> None:
        """Remove what an attempt keeps here while it lasts; one under way somewhere, on a cluster perhaps, then ends."""
        for name in (ATTEMPT_FILE, PROGRESS_FILE, ERROR_FILE):
            (self.folder / name).unlink(missing_ok=True)


class TrainingRecord(BaseCallback):
    """
    Keep the raw return of every training episode with the time step at which it ended; tell the progress.

    :param folder: folder of the run; its ``steps.txt`` receives the number of steps now and then
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        self.attempt = uuid.uuid4().hex
        (folder / ATTEMPT_FILE).write_text(self.attempt)
        self.episodes: list[tuple[int, float, int]] = []
        self._next_report = 0.0

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:
                self.episodes.append((self.num_timesteps, info["episode"]["r"], info["episode"]["l"]))
        if time.monotonic() >= self._next_report:
            self.check_owner()
            (self.folder / PROGRESS_FILE).write_text(str(self.num_timesteps))
            self._next_report = time.monotonic() + PROGRESS_SECONDS
        return True

    def check_owner(self) -> None:
        """
        :raises RuntimeError: if this attempt was cleared or the run begun again elsewhere: two would write the same files
        """
        try:
            is_owner = (self.folder / ATTEMPT_FILE).read_text() == self.attempt
        except FileNotFoundError:
            is_owner = False
        if not is_owner:
            raise RuntimeError(f"Another attempt has taken over {self.folder}: use one command at a time in one --out.")


def run_one(spec: RunSpec) -> str:
    """
    Train and evaluate one run unless its folder says that this was done; self-contained, for any process or machine.

    :param spec: the run
    :return: the folder, with ``model.zip``, ``vecnormalize.pkl`` (if the settings normalise), ``training.csv``,
        ``progress.csv`` (SB3's log), ``returns.csv`` and, written last, ``done.json``
    """
    if spec.is_done():
        return str(spec.folder)
    threads = th.get_num_threads()
    # Small networks gain nothing from threads, and runs share the cores
    th.set_num_threads(1)
    try:
        if not spec.is_trained():
            # Written already here: an interrupted evaluation does not cost the training
            files.write_json(spec.folder / "done.json", _train(spec))
        start = time.monotonic()
        distribution = _evaluate(spec)
        rows = zip(range(len(distribution)), distribution.returns.tolist(), distribution.lengths.tolist(), strict=True)
        files.write_csv(spec.folder / "returns.csv", ("episode", "return", "length"), rows)
        evaluated = {"evaluation": spec.evaluation, "seconds_evaluation": round(time.monotonic() - start, 2)}
        files.write_json(spec.folder / "done.json", {**spec.record(), **evaluated})
    finally:
        th.set_num_threads(threads)
    return str(spec.folder)


def make_model(spec: RunSpec) -> tuple[BaseAlgorithm, VecNormalize | None]:
    """The untrained model of a run with its environments, and its normalisation, if it has one."""
    objective = {} if ALGOS[spec.algo].is_baseline else {"objective": spec.objective}
    return settings.make_model(algorithm_class(spec.algo), spec.env_id, spec.settings, spec.seed, **objective)


def _train(spec: RunSpec) -> dict[str, Any]:
    """Train, save the policy and the training episodes; return the record for ``done.json``."""
    start = time.monotonic()
    folder = spec.folder
    folder.mkdir(parents=True, exist_ok=True)
    # Whatever lies here is half of a run: without this file nobody takes it for a whole one
    for leftover in (folder / "done.json", *folder.glob(".*.tmp*")):
        leftover.unlink(missing_ok=True)
    model, normalize = make_model(spec)
    logger = configure(str(folder), ["csv"])
    model.set_logger(logger)
    record = TrainingRecord(folder)
    try:
        model.learn(spec.steps, callback=record)
    finally:
        logger.close()
        _environments(model).close()
    record.check_owner()
    with files.replacing(folder / "model.zip") as temporary:
        model.save(temporary)
    if normalize is not None:
        with files.replacing(folder / "vecnormalize.pkl") as temporary:
            normalize.save(str(temporary))
    files.write_csv(folder / "training.csv", ("timestep", "return", "length"), record.episodes)
    spec.clear_attempt()
    return {
        "training": spec.training,
        "seconds_training": round(time.monotonic() - start, 2),
        "commit": files.git_commit(),
        "versions": files.package_versions(),
        "machine": files.machine(),
    }


def _environments(model: BaseAlgorithm) -> VecEnv:
    env = model.get_env()
    assert env is not None
    return env


def evaluation_seed(seed: int) -> int:
    """Seed of the evaluation episodes: the same for all objectives, so that they are compared on the same episodes."""
    return int(np.random.SeedSequence((EVALUATION_STREAM, seed)).generate_state(1)[0] % 2**31)


def _evaluate(spec: RunSpec) -> ReturnDistribution:
    """Play fresh episodes with the saved policy and its frozen observation normalisation."""
    seed = evaluation_seed(spec.seed)
    env: VecEnv = settings.make_env(spec.env_id, spec.settings, N_EVAL_ENVS, seed)
    if settings.normalize_kwargs(spec.settings) is not None:
        env = VecNormalize.load(str(spec.folder / "vecnormalize.pkl"), env)
    model = algorithm_class(spec.algo).load(spec.folder / "model.zip", device="cpu")
    try:
        return evaluate_distribution(model, env, spec.n_eval_episodes, spec.deterministic, seed)
    finally:
        env.close()
