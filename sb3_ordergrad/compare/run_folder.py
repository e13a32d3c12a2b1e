"""The folder of a run: which files are in it, in which order they are written, and whether they are complete."""

import os
import uuid
import zipfile
from dataclasses import dataclass
from types import NoneType
from typing import Any

import numpy as np

from sb3_ordergrad.common import files
from sb3_ordergrad.compare.settings import normalize_kwargs
from sb3_ordergrad.compare.spec import RunSpec
from sb3_ordergrad.evaluation import ReturnDistribution

# Written when the training is complete; renamed to done.json when the evaluation is complete, so never beside it
TRAINED = "trained.json"
DONE = "done.json"
STEPS = "steps.txt"
# Identifies the attempt that owns the folder
ATTEMPT = "attempt.txt"
ERROR = "error.txt"
FIELDS: dict[str, Any] = {
    "training": dict,
    "seconds_training": (int, float),
    "commit": (str, NoneType),
    "versions": dict,
    "machine": str,
}


@dataclass(frozen=True)
class FinishedRun:
    """
    The results of a run: the content of ``done.json``, the returns of the evaluation, and the time steps at which the training
    episodes ended with their raw returns.
    """

    spec: RunSpec
    record: dict[str, Any]
    distribution: ReturnDistribution
    training_episodes: tuple[np.ndarray, np.ndarray]


class RunFolder:
    """
    Reads and writes the files of a run.

    The order of the writes is such that a process killed at any point leaves a folder whose unfinished part is repeated:
    policy and training episodes, ``trained.json``, ``returns.csv``, ``done.json``. A damaged file counts as missing.
    Writing raises a RuntimeError if another attempt has claimed the folder.
    """

    def __init__(self, spec: RunSpec):
        self.spec = spec
        self.path = spec.folder
        self._attempt = uuid.uuid4().hex

    def _record(self, name: str) -> dict[str, Any] | None:
        record = files.read_json(self.path / name)
        valid = isinstance(record, dict) and all(key in record and isinstance(record[key], FIELDS[key]) for key in FIELDS)
        return record if valid and record["training"] == self.spec.training else None

    def _training_record(self) -> dict[str, Any] | None:
        return self._record(TRAINED) or self._record(DONE)

    def _training_episodes(self) -> tuple[np.ndarray, np.ndarray]:
        timesteps, returns = files.read_columns(self.path / "training.csv", "timestep", "return")
        return timesteps, returns

    def is_trained(self) -> bool:
        """Whether the training of this run is complete and its files are intact."""
        record = self._training_record()
        if record is None:
            return False
        try:
            n_episodes = len(self._training_episodes()[0])
            with zipfile.ZipFile(self.path / "model.zip") as archive:
                # A cut archive can pass for one of the archives that it contains
                intact = "policy.pth" in archive.namelist() and archive.testzip() is None
            if normalize_kwargs(self.spec.settings) is not None:
                # The first and the last byte of a pickle
                content = (self.path / "vecnormalize.pkl").read_bytes()
                intact = intact and content[:1] == b"\x80" and content[-1:] == b"."
        # A damaged archive raises errors of several modules
        except Exception:
            return False
        return intact and record.get("training_episodes", n_episodes) == n_episodes

    def is_done(self) -> bool:
        """Whether training and evaluation of this run are complete."""
        return self.read() is not None

    def read(self) -> FinishedRun | None:
        """The results of this run, or ``None`` if it is not finished or a file is damaged."""
        record = self._record(DONE)
        if record is None or record.get("evaluation") != self.spec.evaluation or not self.is_trained():
            return None
        try:
            distribution = ReturnDistribution.from_csv(self.path / "returns.csv", self.spec.n_eval_episodes)
            training_episodes = self._training_episodes()
        except (OSError, ValueError):
            return None
        is_complete = isinstance(record.get("seconds_evaluation"), (int, float))
        return FinishedRun(self.spec, record, distribution, training_episodes) if is_complete else None

    def steps_done(self) -> int:
        """Training steps so far, for the progress bar."""
        if any((self.path / name).exists() for name in (TRAINED, DONE)):
            return self.spec.steps
        try:
            return min(self.spec.steps, int((self.path / STEPS).read_text()))
        except (OSError, ValueError):
            return 0

    def clear_attempt(self) -> None:
        """Remove what unfinished attempts left; an attempt that still runs, perhaps on a cluster, ends at its next report."""
        names = (ATTEMPT, STEPS, ERROR) if self.is_trained() else (DONE, TRAINED, ATTEMPT, STEPS, ERROR)
        for path in (*(self.path / name for name in names), *self.path.glob(".*.tmp*")):
            path.unlink(missing_ok=True)

    def claim(self) -> None:
        """Make this object the owner of the folder; an earlier owner gets an error when it writes next."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.clear_attempt()
        (self.path / ATTEMPT).write_text(self._attempt)

    def _check_owner(self) -> None:
        try:
            is_owner = (self.path / ATTEMPT).read_text() == self._attempt
        except FileNotFoundError:
            is_owner = False
        if not is_owner:
            raise RuntimeError(f"Another attempt writes to {self.path}, or the command that started this one has ended.")

    def report_steps(self, steps: int) -> None:
        """Write the number of training steps so far; raise a RuntimeError if the folder has another owner."""
        self._check_owner()
        (self.path / STEPS).write_text(str(steps))

    def finish_training(self, episodes: list[tuple[int, float, int]], seconds: float) -> None:
        """Write the training episodes (time step, return, length) and the record of the training, once the policy is saved."""
        self._check_owner()
        files.write_csv(self.path / "training.csv", ("timestep", "return", "length"), episodes)
        origin = {"commit": files.git_commit(), "versions": files.package_versions(), "machine": files.machine()}
        counts = {"seconds_training": round(seconds, 2), "training_episodes": len(episodes)}
        files.write_json(self.path / TRAINED, {"training": self.spec.training, **counts, **origin})

    def start_evaluation(self) -> dict[str, Any]:
        """Forget an earlier evaluation, so that its record never stands beside other returns; the record of the training."""
        record = self._training_record()
        if record is None:
            raise RuntimeError(f"The training in {self.path} has disappeared.")
        if (self.path / DONE).exists():
            os.replace(self.path / DONE, self.path / TRAINED)
        return record

    def finish_evaluation(self, record: dict[str, Any], distribution: ReturnDistribution, seconds: float) -> None:
        """Write the evaluation returns, then the record of the run, which extends that of the training."""
        self._check_owner()
        distribution.to_csv(self.path / "returns.csv")
        evaluation = {"evaluation": self.spec.evaluation, "seconds_evaluation": round(seconds, 2)}
        files.write_json(self.path / TRAINED, {**record, **evaluation})
        os.replace(self.path / TRAINED, self.path / DONE)
        self.clear_attempt()
