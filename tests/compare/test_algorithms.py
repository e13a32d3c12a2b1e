"""The registry of algorithms, the options of each, baselines and off-policy runs."""

import csv
import json
from pathlib import Path

import pytest
import yaml
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from sb3_ordergrad.compare import algorithms, command, settings
from sb3_ordergrad.compare.algorithms import ALGOS, objectives_by_algorithm, params_by_algorithm
from sb3_ordergrad.compare.run import run_one
from sb3_ordergrad.compare.run_folder import RunFolder
from sb3_ordergrad.compare.spec import RunSpec

OFF_POLICY = {"n_envs": 2, "learning_starts": 40, "train_freq": [1, "step"], "gradient_steps": 2, "batch_size": 16}
PENDULUM_STEPS = 200


def pendulum_spec(out: Path, algo: str, **changes: object) -> RunSpec:
    entry = {**OFF_POLICY, "policy_kwargs": "dict(net_arch=[8])", "normalize": "dict(norm_reward=False)"}
    entry["env_wrapper"] = "sb3_ordergrad.envs.ReturnToDate"
    values: dict = {"objective": "mean", "seed": 0, "steps": 2 * 2 * PENDULUM_STEPS, "settings": entry, "n_eval_episodes": 16}
    return RunSpec(**{"algo": algo, "env_id": "Pendulum-v1", "out": str(out), **values, **changes})


@pytest.mark.parametrize("algo", list(ALGOS))
def test_algorithms_are_what_they_are_called(algo: str) -> None:
    algo_class = algorithms.algorithm_class(algo)
    assert algo_class.__name__.lower() == algo
    assert issubclass(algo_class, BaseAlgorithm)
    assert ALGOS[algo].is_baseline == ("objective" not in settings.constructor_parameters(algo_class))


def test_objectives_of_each_algorithm() -> None:
    algos = ["orderppo", "remac", "sac"]
    assert objectives_by_algorithm(None, algos) == {"orderppo": ["mean", "cvar:0.25"], "remac": ["max"], "sac": ["mean"]}
    assert objectives_by_algorithm(["mean", "median", "mean", "remac.max", "remac.top:2"], algos) == {
        "orderppo": ["mean", "median"],
        "remac": ["max", "top:2"],
        "sac": ["mean"],
    }
    assert objectives_by_algorithm(["cvar:0.5"], algos)["remac"] == ["cvar:0.5"]
    assert objectives_by_algorithm(["remac.max"], algos)["orderppo"] == ["mean", "cvar:0.25"]


@pytest.mark.parametrize(
    ("items", "algos", "message"),
    [
        (["sac.max"], ["sac", "remac"], "'sac.max', but sac always maximises the mean"),
        (["max"], ["sac", "tqc"], "sac, tqc always maximise the mean: leave the option out"),
        (["remac.max"], ["orderppo"], "'remac.max', but --algos are orderppo: add remac or drop the item"),
    ],
)
def test_bad_objectives(items: list[str], algos: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        objectives_by_algorithm(items, algos)


def test_params_of_each_algorithm() -> None:
    items = ["gamma:0.9", "k:3", "remac.k:4", "train_freq:(4,'step')", "n_envs:2", "sac.learning_rate:lin_1e-3"]
    assert params_by_algorithm(items, ["orderppo", "remac", "sac"]) == {
        "orderppo": {"gamma": 0.9, "k": 3, "n_envs": 2},
        "remac": {"gamma": 0.9, "k": 4, "train_freq": (4, "step"), "n_envs": 2},
        "sac": {"gamma": 0.9, "train_freq": (4, "step"), "n_envs": 2, "learning_rate": "lin_1e-3"},
    }


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("kk:4", "unknown hyperparameter 'kk' for remac, sac: did you mean 'k'"),
        ("sac.k:4", "unknown hyperparameter 'k' for sac"),
        ("orderppo.k:4", "'orderppo.k:4', but --algos are remac, sac"),
        ("remax.k:4", "unknown hyperparameter 'remax.k' for remac, sac"),
        ("remac.seed:4", "use --seeds"),
    ],
)
def test_bad_params(item: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        params_by_algorithm([item], ["remac", "sac"])


@pytest.mark.slow
@pytest.mark.parametrize("algo", ["sac", "tqc", "remac"])
def test_off_policy_run_leaves_everything(algo: str, tmp_path: Path) -> None:
    spec = pendulum_spec(tmp_path, algo, objective=(ALGOS[algo].objectives or ("mean",))[0])
    folder = Path(run_one(spec))
    names = {path.name for path in folder.iterdir()}
    assert names == {"model.zip", "vecnormalize.pkl", "training.csv", "progress.csv", "returns.csv", "done.json"}
    with (folder / "training.csv").open() as file:
        episodes = list(csv.DictReader(file))
    # two environments, two episodes each, all of them as long as the time limit; raw returns
    assert [int(row["timestep"]) for row in episodes] == [400, 400, 800, 800]
    assert all(int(row["length"]) == PENDULUM_STEPS and -2000 < float(row["return"]) < -100 for row in episodes)
    with (folder / "returns.csv").open() as file:
        assert sum(-2000 < float(row["return"]) < 0 for row in csv.DictReader(file)) == 16
    model = algorithms.algorithm_class(algo).load(folder / "model.zip", device="cpu")
    # one update in each step of two environments would be 380
    assert model.train_freq.unit.value == "step" and model._n_updates == 760
    assert json.loads((folder / "done.json").read_text())["training"] == spec.training
    assert RunFolder(spec).is_done() and RunFolder(spec).steps_done() == 800


@pytest.mark.slow
def test_command_with_a_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sac.yml").write_text("default:\n  n_timesteps: 120\n  learning_starts: 110\n")
    for name in ("ppo", "orderppo"):
        (tmp_path / f"{name}.yml").write_text("default:\n  n_timesteps: 64\n  n_steps: 64\n  n_epochs: 1\n")
    out = tmp_path / "out"
    options = ["--algos", "orderppo", "sac", "--objectives", "mean", "cvar:0.5", "--env", "Pendulum-v1", "--n-jobs", "1"]
    options += ["--seeds", "1", "--eval-episodes", "8", "--conf-dir", str(tmp_path), "--out", str(out)]
    assert command.main([*options, "--params", "orderppo.k:2", "gamma:0.9"]) == 0
    assert "3 runs of 64 to 120 steps on Pendulum-v1" in capsys.readouterr().out
    with (out / "table.csv").open() as file:
        rows = [(row["algorithm"], row["objective"]) for row in csv.DictReader(file)]
    assert rows == [
        ("orderppo", "mean (PPO)"),
        ("orderppo", "cvar:0.5"),
        ("sac", "mean (SAC)"),
        ("orderppo", "mean (PPO) minus SAC"),
        ("orderppo", "cvar:0.5 minus mean (PPO)"),
        ("orderppo", "cvar:0.5 minus SAC"),
    ]
    runs = {path.parent.name[:16]: json.loads(path.read_text())["training"] for path in out.glob("runs/*/done.json")}
    assert runs["sac-Pendulum-v1-"]["settings"] == {"learning_starts": 110, "gamma": 0.9}
    assert runs["orderppo-Pendulu"]["settings"]["k"] == 2
    assert (out / "learning_curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize("algo", list(ALGOS))
def test_every_entry_of_the_package_builds(algo: str) -> None:
    algorithm, algo_class = ALGOS[algo], algorithms.algorithm_class(algo)
    default_env = "Pendulum-v1" if issubclass(algo_class, OffPolicyAlgorithm) else "CartPole-v1"
    for key in yaml.safe_load((settings.hyperparameter_folder() / f"{algo}.yml").read_text()):
        entry = settings.load_settings(algo, key)
        objective = {} if algorithm.is_baseline else {"objective": entry.pop("objective")}
        steps = entry.pop("n_timesteps")
        settings.check_settings(entry, algo_class)
        env_id = default_env if key == "default" else key
        model, _ = settings.make_model(algo_class, env_id, entry, seed=0, **objective)
        assert isinstance(model, OnPolicyAlgorithm | OffPolicyAlgorithm)
        assert float(steps) > 0 and model.n_envs == entry.get("n_envs", 1)
        env = model.get_env()
        assert env is not None
        env.close()
