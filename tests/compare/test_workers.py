"""Runs whose process or worker dies, on one machine and on a Dask cluster."""

import os
import pickle
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sb3_ordergrad.common.extras import install_hint
from sb3_ordergrad.compare import backends, child, command, execute
from sb3_ordergrad.compare.run_folder import RunFolder
from sb3_ordergrad.compare.spec import RunSpec

SETTINGS = {"n_steps": 16, "batch_size": 16, "n_epochs": 1}


def make_spec(out: Path, seed: int = 0, **env_kwargs: Any) -> RunSpec:
    env_kwargs = {"log": str(out / f"{seed}.log"), **env_kwargs}
    return RunSpec("ppo", "killing_env:Killing-v0", "mean", seed, 32, {**SETTINGS, "env_kwargs": env_kwargs}, 8, out=str(out))


def n_processes(out: Path, seed: int) -> int:
    return len((out / f"{seed}.log").read_text().split())


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    distributed = pytest.importorskip("distributed")
    # Two machines, each with a worker that is started again when it dies
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


@pytest.mark.slow
def test_a_process_that_dies_costs_its_run_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "MAX_ATTEMPTS", 2)
    specs = [make_spec(tmp_path, 0, times=1), make_spec(tmp_path, 1, times=9), make_spec(tmp_path, 2)]
    (failure,) = execute.run_all(specs, n_jobs=2)
    assert failure == f"{specs[1].folder.name}\nIts process died 2 times (signal 9); if memory is short, lower --n-jobs."
    assert [RunFolder(spec).is_done() for spec in specs] == [True, False, True]
    assert [n_processes(tmp_path, seed) for seed in range(3)] == [2, 2, 1]


def test_runs_whose_worker_is_lost_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def unsteady_workers(*_: Any) -> Iterator[tuple[type[Exception], ...]]:
        yield (ConnectionError,)

    attempts = []

    def lose_worker(spec: RunSpec) -> str | None:
        attempts.append(spec.seed)
        if spec.seed == 1 or len(attempts) == 1:
            raise ConnectionError
        return child.try_run(spec)

    monkeypatch.setattr(execute, "workers", unsteady_workers)
    monkeypatch.setattr(execute, "try_run", lose_worker)
    specs = [make_spec(tmp_path, 0), make_spec(tmp_path, 1)]
    (failure,) = execute.run_all(specs, n_jobs=1)
    # What is finished is not repeated
    assert attempts == [0, 0, 1, 1]
    assert RunFolder(specs[0]).is_done()
    assert failure.startswith(specs[1].folder.name) and "The cluster lost its workers repeatedly" in failure


def test_results_that_are_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "try_run", lambda spec: None)
    (failure,) = execute.run_all([make_spec(tmp_path)], n_jobs=1)
    assert "--out must be a folder that all machines share" in failure


@pytest.mark.slow
def test_an_error_is_told_with_its_traceback(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, no_such_argument=1)
    failure = child.run_in_child(spec)
    assert failure is not None and "Traceback" in failure and "no_such_argument" in failure
    assert (spec.folder / "error.txt").read_text() == failure


@pytest.mark.slow
def test_a_process_ends_with_whoever_waits_for_it(tmp_path: Path) -> None:
    spec = replace(make_spec(tmp_path), steps=10**9)
    command = [sys.executable, "-m", "sb3_ordergrad.compare.child"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, bufsize=0) as process:
        assert process.stdin is not None
        process.stdin.write(pickle.dumps(spec))
        deadline = time.monotonic() + 120
        while not (spec.folder / "steps.txt").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(timeout=60) != 0


@pytest.mark.slow
def test_a_worker_of_a_cluster_that_dies_costs_its_run_alone(scheduler: str, tmp_path: Path) -> None:
    specs = [make_spec(tmp_path, 0, victim="worker", times=1), make_spec(tmp_path, 1)]
    assert execute.run_all(specs, 1, "dask", scheduler) == []
    assert all(RunFolder(spec).is_done() for spec in specs)
    assert [n_processes(tmp_path, seed) for seed in range(2)] == [2, 1]


@pytest.mark.slow
def test_command_on_a_cluster(scheduler: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ppo.yml").write_text("default:\n  n_timesteps: 32\n  n_steps: 16\n  batch_size: 16\n")
    options = ["--algos", "ppo", "--env", "CartPole-v1", "--seeds", "1", "--conf-dir", str(tmp_path), "--eval-episodes", "8"]
    options += ["--out", str(tmp_path / "out"), "--backend", "dask", "--scheduler", scheduler]
    assert command.main(options) == 0
    assert "1 runs of 32 steps on CartPole-v1, 0 already done" in capsys.readouterr().out
    assert len(list((tmp_path / "out").glob("runs/*/done.json"))) == 1
    assert command.main(options) == 0
    assert "1 already done" in capsys.readouterr().out


@pytest.mark.slow
def test_folder_that_workers_do_not_see(scheduler: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"does not exist for the worker .* choose a folder that all machines share"):
        backends.check_cluster(scheduler, tmp_path / "elsewhere")


def test_scheduler_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(backends, "CONNECT_SECONDS", 1)
    with pytest.raises(ValueError, match=r"--scheduler tcp://127.0.0.1:1 does not answer"):
        backends.check_cluster("tcp://127.0.0.1:1", tmp_path)


def test_missing_dask_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=re.escape(install_hint("dask"))):
        backends.check_backend("dask", "tcp://127.0.0.1:1")
