"""The folder of a run: its files, damage, crashes, owners."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sb3_ordergrad.common import files
from sb3_ordergrad.compare import run
from sb3_ordergrad.compare.run import evaluation_seed, run_one
from sb3_ordergrad.compare.run_folder import FIELDS, RunFolder
from sb3_ordergrad.compare.spec import RunSpec

SETTINGS = {"n_envs": 4, "n_steps": 32, "batch_size": 64, "n_epochs": 2, "normalize": True, "k": 4, "group_size": 8}
N_EPISODES = 20


def make_spec(out: Path, **changes: Any) -> RunSpec:
    values: dict = {"objective": "cvar:0.25", "seed": 0, "steps": 512, "settings": SETTINGS, "n_eval_episodes": N_EPISODES}
    return RunSpec(**{"algo": "orderppo", "env_id": "CartPole-v1", "out": str(out), **values, **changes})


@pytest.fixture(scope="module")
def finished_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished")
    run_one(make_spec(out))
    return out


@pytest.fixture
def folder(finished_out: Path, tmp_path: Path) -> RunFolder:
    """A copy of a finished run."""
    shutil.copytree(finished_out, tmp_path / "out")
    return RunFolder(make_spec(tmp_path / "out"))


def test_a_run_leaves_everything(folder: RunFolder) -> None:
    names = {path.name for path in folder.path.iterdir()}
    assert names == {"model.zip", "vecnormalize.pkl", "training.csv", "progress.csv", "returns.csv", "done.json"}
    finished = folder.read()
    assert finished is not None and len(finished.distribution) == N_EPISODES
    # CartPole pays 1 a step: raw returns are lengths, whatever VecNormalize does
    assert np.array_equal(finished.distribution.returns, finished.distribution.lengths)
    timesteps, returns = finished.training_episodes
    assert np.array_equal(returns, files.read_columns(folder.path / "training.csv", "length")[0])
    assert np.all(np.diff(timesteps) >= 0) and timesteps[-1] <= 512
    done = json.loads((folder.path / "done.json").read_text())
    assert done["training"] == folder.spec.training and done["evaluation"] == folder.spec.evaluation
    assert done["versions"]["torch"] and done["seconds_training"] > 0 and done["training_episodes"] == len(returns)
    assert folder.steps_done() == 512


def cut(name: str, n_bytes: int) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-n_bytes])


def cut_last_line(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(b"".join((folder / name).read_bytes().splitlines(True)[:-1]))


def without_field(field: str) -> Callable[[Path], Any]:
    def damage(folder: Path) -> None:
        record = json.loads((folder / "done.json").read_text())
        files.write_json(folder / "done.json", {key: value for key, value in record.items() if key != field})

    return damage


def flip_byte(folder: Path) -> None:
    content = bytearray((folder / "model.zip").read_bytes())
    content[len(content) // 2] ^= 255
    (folder / "model.zip").write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        *(cut("returns.csv", n_bytes) for n_bytes in (2, 3, 10)),
        cut_last_line("returns.csv"),
        without_field("evaluation"),
        without_field("seconds_evaluation"),
    ],
)
def test_damaged_evaluations_are_repeated(damage: Callable[[Path], Any], folder: RunFolder) -> None:
    damage(folder.path)
    assert not folder.is_done() and folder.is_trained()


@pytest.mark.parametrize(
    "damage",
    [
        *(cut("training.csv", n_bytes) for n_bytes in (2, 3, 10)),
        cut_last_line("training.csv"),
        cut("done.json", 5),
        *map(without_field, FIELDS),
        lambda folder: (folder / "model.zip").unlink(),
        cut("model.zip", 100),
        flip_byte,
        lambda folder: (folder / "vecnormalize.pkl").unlink(),
        cut("vecnormalize.pkl", 10),
    ],
)
def test_damaged_trainings_are_repeated(damage: Callable[[Path], Any], folder: RunFolder) -> None:
    damage(folder.path)
    assert not folder.is_done() and not folder.is_trained()


def test_records_of_version_0_1_are_read(folder: RunFolder) -> None:
    """They did not count the training episodes."""
    without_field("training_episodes")(folder.path)
    assert folder.is_done()


def test_finished_runs_are_not_repeated_and_others_are(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []
    train = run._train
    monkeypatch.setattr(run, "_train", lambda *args: (trained.append(args), train(*args)))
    first = (folder.path / "returns.csv").read_text()
    run_one(folder.spec)
    # Another evaluation of the same policy, then the first one again
    run_one(replace(folder.spec, n_eval_episodes=24))
    assert (folder.path / "returns.csv").read_text().count("\n") == 25
    run_one(folder.spec)
    assert (folder.path / "returns.csv").read_text() == first
    assert trained == []
    # A damaged run is repeated with the same result, and what a killed writer left is removed
    (folder.path / "model.zip").unlink()
    (folder.path / ".model-1.tmp.zip").write_text("half")
    run_one(folder.spec)
    assert (folder.path / "returns.csv").read_text() == first and len(trained) == 1
    assert not list(folder.path.glob(".*"))


@pytest.mark.slow
def test_a_crash_after_any_write_leaves_a_run_that_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """During the training, and during another evaluation, whose number of episodes does not tell it from the first one."""
    sampled = make_spec(tmp_path, steps=128, n_eval_episodes=8)
    mode = replace(sampled, deterministic=True)
    expected = {spec: (run_one(spec) / "returns.csv").read_text() for spec in (mode, sampled)}
    assert expected[mode] != expected[sampled]
    files_of_a_run = sorted(path.name for path in sampled.folder.iterdir())
    n_writes = 0

    def crash_at(last: int, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> None:
            nonlocal n_writes
            function(*args, **kwargs)
            n_writes += 1
            if n_writes == last:
                raise KeyboardInterrupt

        return wrapped

    for from_scratch in (False, True):
        is_complete, n_crashes = False, 0
        while not is_complete:
            if from_scratch:
                shutil.rmtree(sampled.folder)
            n_writes = 0
            with monkeypatch.context() as patch:
                patch.setattr(os, "replace", crash_at(n_crashes + 1, os.replace))
                patch.setattr(Path, "unlink", crash_at(n_crashes + 1, Path.unlink))
                try:
                    run_one(mode)
                    is_complete = True
                except KeyboardInterrupt:
                    n_crashes += 1
            for spec in (mode, sampled):
                if RunFolder(spec).is_done():
                    assert (spec.folder / "returns.csv").read_text() == expected[spec]
                    RunFolder(spec).clear_attempt()
                    assert sorted(path.name for path in spec.folder.iterdir()) == files_of_a_run
            run_one(sampled)
            assert (sampled.folder / "returns.csv").read_text() == expected[sampled]
        assert n_crashes > 10


def test_interrupted_evaluation_keeps_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(spec: RunSpec) -> None:
        raise KeyboardInterrupt

    folder = RunFolder(make_spec(tmp_path, steps=128))
    with monkeypatch.context() as patch:
        patch.setattr(run, "_evaluate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_one(folder.spec)
    assert folder.is_trained() and not (folder.path / "done.json").exists()
    monkeypatch.setattr(run, "_train", lambda *_: pytest.fail("trained again"))
    run_one(folder.spec)
    assert folder.is_done()


def test_the_latest_attempt_owns_the_folder(tmp_path: Path) -> None:
    spec = make_spec(tmp_path)
    first, second = RunFolder(spec), RunFolder(spec)
    first.claim()
    first.report_steps(1)
    second.claim()
    second.report_steps(2)
    with pytest.raises(RuntimeError, match="Another attempt"):
        first.report_steps(3)
    # What the command does to runs that go on in a cluster
    second.clear_attempt()
    with pytest.raises(RuntimeError, match="Another attempt"):
        second.report_steps(4)
    assert not list(second.path.iterdir())


def test_identity_of_a_run(tmp_path: Path) -> None:
    folders = {
        make_spec(tmp_path, **changes).folder
        for changes in ({}, {"objective": "cvar:0.2"}, {"seed": 1}, {"steps": 513}, {"settings": {**SETTINGS, "k": 3}})
    }
    assert len(folders) == 5
    assert make_spec(tmp_path, n_eval_episodes=99).folder == make_spec(tmp_path).folder
    # The name that version 0.1.0 gave
    assert make_spec(tmp_path).folder.name == "orderppo-CartPole-v1-cvar_0.25-s0-3d46fdff"


def test_evaluation_seeds_are_not_training_seeds() -> None:
    seeds = [evaluation_seed(seed) for seed in range(100)]
    assert len(set(seeds)) == 100 and min(seeds) > 1000
