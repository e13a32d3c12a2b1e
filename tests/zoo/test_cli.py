"""`python -m sb3_ordergrad.zoo`: what it registers, passes on and adds, and its messages."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import optuna
import pytest
import rl_zoo3.train
import yaml
from repository import ROOT
from stable_baselines3.common.monitor import load_results

from sb3_ordergrad import OrderA2C, OrderPPO, ReMAC, RePPO
from sb3_ordergrad.common.extras import install_hint
from sb3_ordergrad.evaluation import best_of, cvar
from sb3_ordergrad.zoo import cli
from sb3_ordergrad.zoo.enjoy import statistics

SHORT = "--env CartPole-v1 --algo ordera2c --device cpu --eval-freq -1 --seed 0".split()


@pytest.fixture(autouse=True)
def _own_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options and a folder, as in a process of its own."""
    monkeypatch.setattr(sys, "argv", ["test"])
    monkeypatch.chdir(tmp_path)


def zoo(*options: Any) -> None:
    cli.main([str(option) for option in options])


def refused(capsys: pytest.CaptureFixture[str], *options: Any) -> str:
    """The message of a command that ends with status 2."""
    with pytest.raises(SystemExit) as exit_info:
        zoo(*options)
    assert exit_info.value.code == 2
    return capsys.readouterr().err


def test_help_is_rl_zoos_with_our_algorithms(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        zoo("train", "--help")
    assert exit_info.value.code == 0
    text = capsys.readouterr().out
    for word in (
        "orderppo",
        "ordera2c",
        "remac",
        "reppo",
        "--optimize-hyperparameters",
        "--tune-objective",
        "-m sb3_ordergrad.zoo train",
    ):
        assert word in text
    assert {"orderppo": OrderPPO, "ordera2c": OrderA2C, "remac": ReMAC, "reppo": RePPO}.items() <= rl_zoo3.ALGOS.items()
    assert "GuardedMaze-v0" in gym.registry


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("trian", "'trian'"),
        ("train --algo orderpo", "invalid choice: 'orderpo' (choose from"),
        (
            "train --algo orderppo --env GuardedMase-v0",
            "GuardedMase-v0 not found in gym registry, you maybe meant GuardedMaze-v0",
        ),
        ("train --algo orderppo --env package:CartPole-v1", "package:CartPole-v1 not found in gym registry"),
        ("train --algo orderppo --gym-packages nothing", "No module named 'nothing'"),
        ("train --algo orderppo --conf-file none.yml", "none.yml"),
        ("train --algo orderppo --conf-file bad.yml", "expected"),
        ("train --algo orderppo --conf-file list.yml", "list.yml failed"),
        ("train --algo orderppo --conf-file empty.yml", "KeyError: 'n_timesteps'"),
        ("train --algo orderppo -i none.zip", "must be a valid path"),
        ("train --algo orderppo -params objective:cvar", "two pairs of quotes"),
        ("train --algo orderppo -params k:0", "k = 0"),
        ("train --algo orderppo -params gama:0.9", "unexpected keyword argument 'gama'"),
        ("train --algo orderppo -params n_envs:'two'", "n_envs = 'two' must be a whole number"),
        ("train --algo remac --env CartPole-v1", "only supports"),
        ("enjoy --algo orderppo -f none", "none/orderppo folder was not found"),
        ("benchmark --log-dir none --no-hub", "none"),
        ("benchmark --log-dir . --no-hub", "train a model first"),
        ("plot_train -a orderppo -e CartPole-v1 -f none", "none"),
    ],
)
def test_bad_input_ends_with_a_message_and_status_2(options: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.yml").write_text("default: [")
    Path("list.yml").write_text("- 1")
    Path("empty.yml").write_text("default: {}")
    assert message in refused(capsys, *options.split())


def test_failed_training_shows_its_traceback() -> None:
    callback = {"sb3_ordergrad.evaluation.ObjectiveEvalCallback": {"best_model_save_path": "mine.yml/best"}}
    Path("mine.yml").write_text(yaml.dump({"CartPole-v1": {"n_timesteps": 50, "policy": "MlpPolicy", "callback": callback}}))
    with pytest.raises(RuntimeError, match="The training failed"):
        zoo("train", *SHORT, "-f", "logs", "--conf-file", "mine.yml")


def test_without_the_extra_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        zoo("train")
    assert install_hint("zoo") in capsys.readouterr().err


def test_entry_of_our_file_and_the_other_options_go_to_rl_zoo() -> None:
    zoo("train", *SHORT, "-n", 100, "-f", "logs", "-params", "objective:'top:2'", "k:4", "n_envs:2")
    config = dict(yaml.unsafe_load(Path("logs/ordera2c/CartPole-v1_1/CartPole-v1/config.yml").read_text()))
    assert config["objective"] == "top:2" and config["n_envs"] == 2
    # From our YAML file
    assert config["credit"] == "projected"
    assert "m sb3_ordergrad.zoo" not in Path("logs/ordera2c/CartPole-v1_1/CartPole-v1/args.yml").read_text()


@pytest.mark.slow
def test_conf_file_and_other_algorithms_stay_rl_zoos(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yml").write_text("CartPole-v1:\n  n_timesteps: 50\n  policy: MlpPolicy\n  objective: median\n")
    zoo("train", *SHORT, "-f", "logs", "--conf-file", "mine.yml")
    assert OrderA2C.load("logs/ordera2c/CartPole-v1_1/CartPole-v1.zip").objective == "median"
    zoo("train", *SHORT, "--algo", "a2c", "-n", 50, "-f", "logs")
    assert "rl_zoo3/hyperparams/a2c.yml" in capsys.readouterr().out.replace(os.sep, "/")


@pytest.mark.slow
def test_callback_of_a_yaml_entry_makes_its_own_environments() -> None:
    callback = {"sb3_ordergrad.evaluation.ObjectiveEvalCallback": {"eval_freq": 25, "best_model_save_path": "best"}}
    entry = {"n_timesteps": 50, "policy": "MlpPolicy", "normalize": True, "callback": [callback]}
    Path("mine.yml").write_text(yaml.dump({"CartPole-v1": entry}))
    zoo("train", *SHORT, "-f", "logs", "--conf-file", "mine.yml")
    assert Path("best/best_model.zip").exists() and Path("best/vecnormalize.pkl").exists()


@pytest.mark.slow
def test_continued_training_keeps_the_objective() -> None:
    zoo("train", *SHORT, "-n", 200, "-f", "logs")
    zoo("train", *SHORT, "-n", 300, "-f", "logs", "-i", "logs/ordera2c/CartPole-v1_1/CartPole-v1.zip")
    model = OrderA2C.load("logs/ordera2c/CartPole-v1_2/CartPole-v1.zip")
    assert model.objective == "cvar:0.25" and model.num_timesteps >= 300


@pytest.mark.slow
def test_return_to_date_and_normalisation_in_train_and_enjoy(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--algo", "ordera2c", "--env", "Pendulum-v1", "-f", "logs"]
    zoo("train", *options, "-n", 1700, "--seed", 0, "--device", "cpu", "--eval-freq", 400, "--eval-episodes", 2)
    model = OrderA2C.load("logs/ordera2c/Pendulum-v1_1/Pendulum-v1.zip")
    assert model.observation_space.shape == (5,)
    zoo("enjoy", *options, "-n", 1000, "--no-render", "--reward-log", "rewards")
    lines = capsys.readouterr().out.splitlines()
    returns = load_results("rewards").r.to_numpy()
    assert len(returns) == 5
    assert f"Mean reward: {returns.mean():.2f}" in "\n".join(lines)
    tail = cvar(returns, 0.1)
    assert lines[-1].startswith(f"Returns of 5 episodes: mean {returns.mean():.2f}, CVaR_0.1 {tail:.2f}, ")
    assert "best-of-8" not in lines[-1]
    zoo("enjoy", *options, "-n", 400, "--no-render", "--verbose", 0)
    assert "Returns of" not in capsys.readouterr().out


@pytest.mark.slow
def test_benchmark_has_our_columns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    zoo("train", *SHORT, "-n", 100, "-f", "logs")
    # For the process of enjoy
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    zoo(*"benchmark --log-dir logs --benchmark-dir bench --no-hub -n 300 --num-threads 1".split())
    returns = load_results("bench/ordera2c-CartPole-v1").r.to_numpy()
    text = Path("benchmark.md").read_text()
    header, _, row = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    table = dict(zip(header, row, strict=True))
    assert table["algo"] == "ordera2c"
    assert float(table["mean_reward"]) == pytest.approx(returns.mean(), abs=1e-3)
    assert float(table["CVaR_0.25"]) == pytest.approx(cvar(returns, 0.25), abs=1e-3)
    assert float(table["best-of-8"]) == pytest.approx(best_of(returns, 8), abs=1e-3)
    assert text == Path("bench/benchmark.md").read_text()
    assert "best-of-8" in capsys.readouterr().out


def test_statistics_leave_out_what_needs_more_episodes() -> None:
    returns = np.random.default_rng(0).normal(size=8)
    values = statistics(returns.tolist())
    assert values["mean"] == pytest.approx(returns.mean())
    assert values["best-of-8"] == pytest.approx(returns.max())
    assert "best-of-8" not in statistics(returns[:7].tolist())
    assert statistics([]) == {}


@pytest.mark.slow
def test_enjoy_reads_only_its_own_episodes(capsys: pytest.CaptureFixture[str]) -> None:
    """The reward log may hold files of more environments, from an earlier call."""
    zoo("train", *SHORT, "-n", 100, "-f", "logs")
    Path("rewards").mkdir()
    Path("rewards/2.monitor.csv").write_text('#{"t_start": 0, "env_id": "a"}\nr,l,t\n-999,1,1\n')
    capsys.readouterr()
    zoo("enjoy", *SHORT[:4], "-f", "logs", "-n", 100, "--no-render", "--n-envs", 2, "--reward-log", "rewards")
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"Returns of {len(load_results('rewards')) - 1} episodes: mean ")


TUNE = (
    "-optimize --n-trials 2 --pruner none --no-optim-plots -n 64 --n-evaluations 1 --eval-episodes 4 -params n_envs:1".split()
)


@pytest.mark.slow
def test_tuning_maximises_the_objective() -> None:
    storage = "sqlite:///tuning.db"
    options = [*TUNE, "--storage", storage, "--study-name", "tail", "--optimization-log-path", "tuning"]
    zoo("train", *SHORT, *options, "--tune-objective", "cvar:0.25")
    study = optuna.load_study(storage=storage, study_name="tail")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 2
    for trial in study.trials:
        log = np.load(f"tuning/trial_{trial.number}/evaluations.npz")
        assert trial.value == pytest.approx(log["results"][-1].min())
        assert trial.user_attrs["objective"] == "cvar:0.25"


@pytest.mark.slow
def test_tuning_maximises_the_mean_without_our_option() -> None:
    storage = "sqlite:///tuning.db"
    zoo("train", *SHORT, *TUNE, "--storage", storage, "--study-name", "mean", "--optimization-log-path", "tuning")
    for trial in optuna.load_study(storage=storage, study_name="mean").trials:
        log = np.load(f"tuning/trial_{trial.number}/evaluations.npz")
        assert trial.value == pytest.approx(log["results"][-1].mean())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tune-objective", "cvar:0.25"], "add -optimize"),
        (["-optimize", "--tune-objective", "cvar:2"], "cvar"),
        (["-optimize", "--tune-objective", "top:9", "--eval-episodes", "5"], "--eval-episodes 5"),
    ],
)
def test_bad_tune_objective(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refused(capsys, "train", *SHORT, *options)
    assert not list(Path.cwd().iterdir())


@pytest.mark.slow
def test_two_processes_share_a_study() -> None:
    """Together they finish the given number of trials, none of them twice."""
    options = (
        "train --algo ordera2c --env CartPole-v1 --device cpu -optimize --pruner none --no-optim-plots -n 32 --n-evaluations 1"
    )
    shared = (
        "--eval-episodes 2 -params n_envs:1 --storage tuning.log --study-name shared --max-total-trials 20 --num-threads 1"
    )
    command = [sys.executable, "-m", "sb3_ordergrad.zoo", *options.split(), *shared.split()]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    runs = [
        subprocess.Popen(
            [*command, "--seed", seed], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for seed in "12"
    ]
    outputs = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    backend = optuna.storages.journal.JournalFileBackend("tuning.log")
    study = optuna.load_study(storage=optuna.storages.JournalStorage(backend), study_name="shared")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 20
