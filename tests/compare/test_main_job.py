"""The main job end to end on CartPole: files, restarts, interruptions, errors."""

import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sb3_ordergrad.compare import child, cli, files, run, study
from sb3_ordergrad.compare.run import RunSpec, evaluation_seed, run_one

ENTRY = "default:\n  n_envs: 4\n  n_steps: 32\n  normalize: true\n"
SETTINGS = {"n_envs": 4, "n_steps": 32, "batch_size": 64, "n_epochs": 2, "normalize": True, "k": 4, "group_size": 8}


@pytest.fixture
def conf_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "ppo.yml").write_text(ENTRY + "  batch_size: 64\n")
    (folder / "orderppo.yml").write_text(ENTRY + "  batch_size: 64\n  k: 4\n  group_size: 8\n  n_timesteps: 512\n")
    (folder / "a2c.yml").write_text(ENTRY)
    (folder / "ordera2c.yml").write_text(ENTRY + "  k: 4\n  group_size: 8\n")
    (folder / "sac.yml").write_text("default:\n  learning_starts: 20\n  n_timesteps: 64\n")
    return folder


def make_spec(out: Path, **changes: object) -> RunSpec:
    values: dict = {"objective": "cvar:0.25", "seed": 0, "steps": 512, "settings": SETTINGS, "n_eval_episodes": 20}
    return RunSpec(**{"algo": "orderppo", "env_id": "CartPole-v1", "out": str(out), **values, **changes})


def arguments(conf_dir: Path, out: Path, *more: str) -> list[str]:
    fixed = ["--env", "CartPole-v1", "--conf-dir", str(conf_dir), "--out", str(out), "--eval-episodes", "16"]
    return [*fixed, "--n-jobs", "1", *more]


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_everything(tmp_path: Path) -> None:
    spec = make_spec(tmp_path)
    folder = Path(run_one(spec))
    names = {path.name for path in folder.iterdir()}
    assert names == {"model.zip", "vecnormalize.pkl", "training.csv", "progress.csv", "returns.csv", "done.json"}
    returns = read_rows(folder / "returns.csv")
    assert [int(row["episode"]) for row in returns] == list(range(20))
    # CartPole pays 1 a step: raw returns are lengths, whatever VecNormalize does
    assert all(float(row["return"]) == float(row["length"]) > 0 for row in returns)
    training = read_rows(folder / "training.csv")
    steps = [int(row["timestep"]) for row in training]
    assert steps == sorted(steps) and steps[-1] <= 512
    assert all(float(row["return"]) == float(row["length"]) for row in training)
    done = json.loads((folder / "done.json").read_text())
    assert done["training"] == spec.training and done["evaluation"] == {"n_eval_episodes": 20, "deterministic": False}
    assert done["versions"]["torch"] and done["seconds_training"] > 0
    assert spec.is_done() and spec.steps_done() == 512


def test_finished_runs_are_not_repeated_and_others_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []
    train = run._train
    monkeypatch.setattr(run, "_train", lambda spec: (trained.append(spec), train(spec))[1])
    spec = make_spec(tmp_path, steps=128)
    folder = Path(run_one(spec))
    first = (folder / "returns.csv").read_text()
    run_one(spec)
    assert len(trained) == 1

    # Other evaluation: the policy is kept
    run_one(make_spec(tmp_path, steps=128, n_eval_episodes=24))
    assert len(trained) == 1 and len(read_rows(folder / "returns.csv")) == 24
    # ... and playing the first evaluation again gives the same returns
    run_one(spec)
    assert (folder / "returns.csv").read_text() == first

    # A damaged record, a missing model: half of a run is done again, with the same result
    for damage in (lambda: (folder / "done.json").write_text('{"trai'), lambda: (folder / "model.zip").unlink()):
        damage()
        (folder / ".model-1.tmp.zip").write_text("half")
        assert not spec.is_done() and not spec.is_trained()
        run_one(spec)
        assert (folder / "returns.csv").read_text() == first
        assert not list(folder.glob(".*"))
    assert len(trained) == 3


def test_interrupted_evaluation_keeps_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(spec: RunSpec) -> None:
        raise KeyboardInterrupt

    spec = make_spec(tmp_path, steps=128)
    with monkeypatch.context() as patch:
        patch.setattr(run, "_evaluate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_one(spec)
    assert spec.is_trained() and not spec.is_done()
    monkeypatch.setattr(run, "_train", lambda spec: pytest.fail("trained again"))
    run_one(spec)
    assert spec.is_done()


def test_identity_of_a_run(tmp_path: Path) -> None:
    folders = {
        make_spec(tmp_path, **changes).folder
        for changes in ({}, {"objective": "cvar:0.2"}, {"seed": 1}, {"steps": 513}, {"settings": {**SETTINGS, "k": 3}})
    }
    assert len(folders) == 5
    assert make_spec(tmp_path, n_eval_episodes=99).folder == make_spec(tmp_path).folder
    assert make_spec(tmp_path).folder.name.startswith("orderppo-CartPole-v1-cvar_0.25-s0-")


def test_runs_of_earlier_versions_are_found_again(conf_dir: Path, tmp_path: Path) -> None:
    """Names that version 0.1.0 gave: finished runs lie under them."""
    assert make_spec(tmp_path).folder.name == "orderppo-CartPole-v1-cvar_0.25-s0-3d46fdff"

    def names(*options: str) -> list[str]:
        specs = cli.plan(cli.make_parser().parse_args(arguments(conf_dir, tmp_path, "--seeds", "1", *options)))
        return [spec.folder.name for spec in specs]

    assert names() == ["orderppo-CartPole-v1-mean-s0-304467b6", "orderppo-CartPole-v1-cvar_0.25-s0-973c227a"]
    assert names("--params", "gamma:1.0", "--return-to-date", "yes") == [
        "orderppo-CartPole-v1-mean-s0-4cc978b0",
        "orderppo-CartPole-v1-cvar_0.25-s0-8537df96",
    ]
    assert names("--algos", "ordera2c", "--steps", "100") == [
        "ordera2c-CartPole-v1-mean-s0-38e62eaa",
        "ordera2c-CartPole-v1-cvar_0.25-s0-280721a4",
    ]


def test_evaluation_seeds_are_not_training_seeds() -> None:
    seeds = [evaluation_seed(seed) for seed in range(100)]
    assert len(set(seeds)) == 100 and min(seeds) > 1000


def test_replacing_never_leaves_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "table.md"
    path.write_text("whole")
    with pytest.raises(RuntimeError), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "whole" and list(tmp_path.iterdir()) == [path]


def test_command_end_to_end(conf_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    options = arguments(conf_dir, out, "--seeds", "2", "--algos", "orderppo", "ordera2c", "--steps", "512")
    assert cli.main(options) == 0
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
    assert cli.main(options) == 0
    assert "8 already done" in capsys.readouterr().out
    assert cli.main([*options, "--seeds", "3"]) == 0
    assert "12 runs of 512 steps on CartPole-v1, 8 already done" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert len(list(out.glob("runs/*/done.json"))) == 12


def test_plan_takes_the_plain_algorithms_settings_for_the_mean(conf_dir: Path, tmp_path: Path) -> None:
    options = arguments(conf_dir, tmp_path, "--params", "gamma:1.0", "--return-to-date", "yes", "--seed-list", "5", "7", "5")
    specs = cli.plan(cli.make_parser().parse_args(options))
    assert [(spec.seed, spec.objective) for spec in specs] == [(5, "mean"), (5, "cvar:0.25"), (7, "mean"), (7, "cvar:0.25")]
    assert "k" not in specs[0].settings and specs[1].settings["k"] == 4
    for spec in specs:
        # Both train as long as orderppo.yml says
        assert spec.steps == 512
        assert spec.settings["gamma"] == 1.0
        assert spec.settings["env_wrapper"] == [{"sb3_ordergrad.envs.ReturnToDate": {}}]


def test_labels(tmp_path: Path) -> None:
    assert study.label(make_spec(tmp_path, objective="Mean")) == "Mean (PPO)"
    assert study.label(make_spec(tmp_path, objective="mean", settings={"credit": "terminal"})) == "mean"
    assert study.label(make_spec(tmp_path, algo="sac", objective="mean", settings={})) == "mean (SAC)"
    assert study.label(make_spec(tmp_path, algo="remac", objective="mean", settings={})) == "mean"
    assert study.tail_level([make_spec(tmp_path, objective=o) for o in ("mean", "CVaR:0.1", "cvar:0.5")]) == 0.1
    assert study.tail_level([make_spec(tmp_path, objective="var:0.1")]) == 0.25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--algos", "orderpp"], "--algos orderpp is unknown: did you mean 'orderppo'"),
        (["--env", "CartPol-v1"], "--env CartPol-v1 is unknown: did you mean 'CartPole-v1'"),
        (["--objectives", "cvra:0.1"], "cvra"),
        (["--objectives", "cvar:0"], "cvar:0"),
        (["--seeds", "0"], "--seeds 0 must be a number >= 1"),
        (["--seed-list", "-1"], "--seed-list -1 must be a number >= 0"),
        (["--steps", "0"], "--steps 0 must be a number >= 1"),
        (["--steps", "nan"], "--steps nan must be a number >= 1"),
        (["--steps", "1.5"], "whole number"),
        (["--n-jobs", "0"], "--n-jobs 0 must be a number >= 1"),
        (["--eval-episodes", "7"], "--eval-episodes 7 must be a number >= 8"),
        (["--params", "gama:1"], "did you mean 'gamma'"),
        (["--params", "k:8"], "group_size"),
        (["--params", "batch_size:1"], "cannot be built"),
        (["--params", "env_wrapper:no.Such"], "Cannot import 'no.Such'"),
        (["--algos", "ordera2c"], "names no n_timesteps for CartPole-v1: say how long to train with --steps"),
    ],
)
def test_bad_input_is_refused_before_training(
    options: list[str], message: str, conf_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        cli.main(arguments(conf_dir, tmp_path / "out", *options))
    assert error.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_files_of_others_are_not_overwritten(conf_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "returns.csv").write_text("mine")
    with pytest.raises(SystemExit):
        cli.main(arguments(conf_dir, tmp_path))
    assert "holds returns.csv that this command did not write" in capsys.readouterr().err
    assert (tmp_path / "returns.csv").read_text() == "mine"


def test_missing_matplotlib_is_told_before_training(
    conf_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find_spec(name))
    with pytest.raises(SystemExit):
        cli.main(arguments(conf_dir, tmp_path / "out"))
    assert "pip install 'sb3_ordergrad[plots]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_failed_run_does_not_take_the_others_along(
    conf_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail_once(spec: RunSpec) -> str:
        if spec.seed == 0 and spec.objective == "mean":
            raise ValueError("NaN reward")
        return run_one(spec)

    monkeypatch.setattr(child, "run_one", fail_once)
    options = arguments(conf_dir, tmp_path / "out", "--seeds", "2", "--steps", "128")
    assert cli.main(options) == 1
    captured = capsys.readouterr()
    assert "NaN reward" in captured.err and "orderppo-CartPole-v1-mean-s0" in captured.err
    assert "| cvar:0.25 " in captured.out
    assert len(list((tmp_path / "out").glob("runs/*/done.json"))) == 3


def test_interrupt_keeps_what_is_finished(tmp_path: Path, conf_dir: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "sb3_ordergrad.compare", *arguments(conf_dir, out, "--seeds", "1", "--n-jobs", "2")]
    long = [*command, "--steps", "10000000"]
    process = subprocess.Popen(
        long, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
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
