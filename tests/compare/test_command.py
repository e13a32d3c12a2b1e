"""The command ``python -m sb3_ordergrad.compare`` on CartPole: files, restarts, interruptions, errors."""

import csv
import errno
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sb3_ordergrad.common import files
from sb3_ordergrad.common.extras import install_hint
from sb3_ordergrad.compare import child, command, lock, report
from sb3_ordergrad.compare.run import run_one
from sb3_ordergrad.compare.spec import RunSpec

ENTRY = "default:\n  n_envs: 4\n  n_steps: 32\n  normalize: true\n"


@pytest.fixture
def conf_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "ppo.yml").write_text(ENTRY + "  batch_size: 64\n")
    (folder / "orderppo.yml").write_text(ENTRY + "  batch_size: 64\n  k: 4\n  group_size: 8\n  n_timesteps: 512\n")
    (folder / "a2c.yml").write_text(ENTRY)
    (folder / "ordera2c.yml").write_text(ENTRY + "  k: 4\n  group_size: 8\n")
    return folder


def arguments(conf_dir: Path, out: Path, *more: str) -> list[str]:
    fixed = ["--env", "CartPole-v1", "--conf-dir", str(conf_dir), "--out", str(out), "--eval-episodes", "16"]
    return [*fixed, "--n-jobs", "1", *more]


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_replacing_never_leaves_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "table.md"
    path.write_text("whole")
    with pytest.raises(RuntimeError), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "whole" and list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_command_end_to_end(conf_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    options = arguments(conf_dir, out, "--seeds", "2", "--algos", "orderppo", "ordera2c", "--steps", "512")
    assert command.main(options) == 0
    text = capsys.readouterr().out
    assert "8 runs of 512 steps on CartPole-v1, 0 already done" in text
    table = (out / "table.md").read_text()
    for piece in (
        "mean (PPO)",
        "mean (A2C)",
        "cvar:0.25 minus mean (PPO)",
        "seeds: 0, 1",
        "machine: ",
        "torch ",
        "--steps 512",
    ):
        assert piece in table
    assert table.split("\n\n")[1] in text

    returns = read_rows(out / "returns.csv")
    assert len(returns) == 8 * 16
    assert set(returns[0]) == {"algo", "env", "objective", "seed", "episode", "return", "length"}
    rows = {(row["algorithm"], row["objective"]): row for row in read_rows(out / "table.csv")}
    mean = {
        seed: np.mean(
            [float(r["return"]) for r in returns if (r["algo"], r["objective"], r["seed"]) == ("orderppo", "mean", seed)]
        )
        for seed in ("0", "1")
    }
    assert float(rows["orderppo", "mean (PPO)"]["mean"]) == pytest.approx((mean["0"] + mean["1"]) / 2)
    assert (out / "table_seeds.md").read_text().count("\n| order") == 8
    for name in ("distribution.png", "learning_curves.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")

    # The same command again trains nothing; one seed more trains that seed alone
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/model.zip")}
    assert command.main(options) == 0
    assert "8 already done" in capsys.readouterr().out
    assert command.main([*options, "--seeds", "3"]) == 0
    assert "12 runs of 512 steps on CartPole-v1, 8 already done" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert len(list(out.glob("runs/*/done.json"))) == 12


def test_plan_takes_the_plain_algorithms_settings_for_the_mean(conf_dir: Path, tmp_path: Path) -> None:
    options = arguments(conf_dir, tmp_path, "--params", "gamma:1.0", "--return-to-date", "yes", "--seed-list", "5", "7", "5")
    specs = command.plan(command.make_parser().parse_args(options))
    assert [(spec.seed, spec.objective) for spec in specs] == [(5, "mean"), (5, "cvar:0.25"), (7, "mean"), (7, "cvar:0.25")]
    assert "k" not in specs[0].settings and specs[1].settings["k"] == 4
    for spec in specs:
        # Both train as long as orderppo.yml says
        assert spec.steps == 512
        assert spec.settings["gamma"] == 1.0
        assert spec.settings["env_wrapper"] == [{"sb3_ordergrad.envs.ReturnToDate": {}}]
    with pytest.raises(ValueError, match="has no n_timesteps for CartPole-v1: say how long to train with --steps"):
        command.plan(command.make_parser().parse_args(arguments(conf_dir, tmp_path, "--algos", "ordera2c")))


@pytest.mark.parametrize(
    ("algo", "objective", "settings", "label"),
    [
        ("orderppo", "Mean", {}, "Mean (PPO)"),
        ("orderppo", "1.0*mean", {}, "1.0*mean (PPO)"),
        ("ordera2c", "mean - 0.5*gini", {}, "mean - 0.5*gini"),
        ("orderppo", "mean", {"credit": "terminal"}, "mean"),
        ("orderppo", "mean", {"anneal": 0.5}, "mean"),
        ("sac", "mean", {}, "mean (SAC)"),
        ("remac", "mean", {}, "mean"),
    ],
)
def test_labels(algo: str, objective: str, settings: dict[str, Any], label: str) -> None:
    assert report.label(RunSpec(algo, "CartPole-v1", objective, 0, 1, settings)) == label


def test_tail_level() -> None:
    specs = [RunSpec("orderppo", "CartPole-v1", objective, 0, 1, {}) for objective in ("var:0.2", "CVaR:0.1", "cvar:0.5")]
    assert report.tail_level(specs) == 0.1
    assert report.tail_level(specs[:1]) == 0.25


def test_a_second_command_in_the_same_folder_is_refused(
    conf_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lock, "LOCK_SECONDS", 0.0)
    with lock.locked(tmp_path):
        # As the process of a run that outlives a killed command by a moment
        process = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with pytest.raises(SystemExit) as error:
            command.main(arguments(conf_dir, tmp_path))
    finally:
        process.kill()
        process.wait()
    assert error.value.code == 2
    assert f"--out {tmp_path} is in use by another command (process {os.getpid()} on " in capsys.readouterr().err
    with lock.locked(tmp_path):
        pass


def test_interrupt_before_the_first_run(
    conf_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(spec: RunSpec) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "make_model", interrupt)
    assert command.main(arguments(conf_dir, tmp_path)) == 130
    assert "Interrupted before the first run." in capsys.readouterr().out


def test_missing_matplotlib_is_told_before_training(
    conf_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find_spec(name))
    with pytest.raises(SystemExit):
        command.main(arguments(conf_dir, tmp_path / "out"))
    assert install_hint("plots") in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_damaged_runs_are_repeated_and_failures_are_told(
    conf_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    options = arguments(conf_dir, out, "--seeds", "2", "--steps", "128")

    def fail_once(spec: RunSpec) -> Path:
        if spec.seed == 0 and spec.objective == "mean":
            raise ValueError("NaN reward")
        return run_one(spec)

    def full_disk(self: report.Report, out: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    # The table and the failure of a run are printed even if nothing can be written
    with monkeypatch.context() as patch:
        patch.setattr(child, "run_one", fail_once)
        patch.setattr(report.Report, "write", full_disk)
        assert command.main(options) == 1
    captured = capsys.readouterr()
    assert "NaN reward" in captured.err and "orderppo-CartPole-v1-mean-s0" in captured.err
    assert f"The report could not be written to {out}: [Errno 28] No space left on device" in captured.err
    assert "| cvar:0.25 " in captured.out
    assert len(list(out.glob("runs/*/done.json"))) == 3 and not (out / "table.md").exists()

    # A failed run and a damaged one are repeated, files of killed writers are removed
    next(out.glob("runs/*mean-s1*/vecnormalize.pkl")).unlink()
    (out / ".table-1.tmp.md").write_text("half")
    assert command.main(options) == 0
    assert "4 runs of 128 steps on CartPole-v1, 2 already done" in capsys.readouterr().out
    assert (out / "table.md").exists() and len(list(out.glob("runs/*/vecnormalize.pkl"))) == 4
    assert [path.name for path in out.glob(".*")] == [".compare.lock"]


@pytest.mark.slow
def test_interrupt_keeps_what_is_finished(tmp_path: Path, conf_dir: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "sb3_ordergrad.compare", *arguments(conf_dir, out, "--seeds", "1", "--n-jobs", "2")]
    long = [*command, "--steps", "10000000"]
    process = subprocess.Popen(
        long,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell starts its background jobs, and so the tests, with SIGINT ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        # Both workers train once both have left a count
        deadline = time.monotonic() + 120
        while len(list(out.glob("runs/*/steps.txt"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        # As Ctrl-C does: to the command and its workers
        os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130, errors
    assert "Interrupted: 0 of 2 runs are finished and kept; the same command continues." in output
    assert not list(out.glob("runs/*/done.json"))
    assert not (out / "table.md").exists()
