"""The risk suite: its plan, a tiny run of each kind of method, resuming, the report and the search."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from repository import BENCHMARKS, ROOT, load_script
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ordergrad.compare.settings import check_settings, load_class

suite = load_script(BENCHMARKS / "suite.py")
search = load_script(BENCHMARKS / "suite_search.py")
trials_module = load_script(BENCHMARKS / "suite_trials.py")
references: ModuleType = load_script(BENCHMARKS / "references.py")
plan_module = load_script(BENCHMARKS / "suite_plan.py")
report = load_script(BENCHMARKS / "suite_report.py")
TASKS = plan_module.load_tasks()
MUST_CHOOSE = {
    "FragileHalfCheetah-v0",
    "GuardedMaze-v1",
    "BettingGame-v0",
    "StochasticCliffWalking-v0",
    "RiskyHopper-v0",
    "NoisyInvertedPendulum-v0",
}


def tiny_run(method: str, env_id: str = "AmericanPut-v0", **other: Any) -> Any:
    """A run of seconds."""
    task = TASKS[env_id]
    changes = {"n_envs": 4, "n_steps": 20, "batch_size": 80} if method not in ("a2c", "ordera2c", "sac", "sac-certain") else {}
    small = {"steps": 400, "episodes": 20, "eval_episodes": 10}
    return plan_module.make_run(task, method, 0, changes, **small | other)


def test_plan_covers_tasks_and_methods() -> None:
    halves = {env_id: task.half for env_id, task in TASKS.items()}
    assert {env_id for env_id, half in halves.items() if half == "choosing"} == MUST_CHOOSE
    assert len(TASKS) >= 12 and len(plan_module.METHODS) >= 6 and set(halves.values()) == {"choosing", "held-out"}
    runs = plan_module.plan(list(TASKS), list(plan_module.METHODS))
    assert len({run.folder(Path()) for run in runs}) == len(runs)
    assert len(runs) == sum(task.seeds for task in TASKS.values()) * len(plan_module.METHODS)
    assert all(task.seeds >= 5 and task.episodes >= 1000 for task in TASKS.values())


@pytest.mark.parametrize("name", plan_module.ALL)
def test_settings_are_those_of_the_class(name: str) -> None:
    for run in plan_module.plan(list(TASKS), [name], [0]):
        check_settings(run.settings, load_class(run.path))
        # as a run is sent to its process
        assert plan_module.Run(**json.loads(json.dumps(run.__dict__))) == run


@pytest.mark.parametrize("env_id", TASKS)
def test_rivals_share_budget_and_settings(env_id: str) -> None:
    task = TASKS[env_id]
    # whole minibatches
    assert task.settings["n_envs"] * task.settings["n_steps"] % task.settings["batch_size"] == 0
    ppo, *rivals = (
        plan_module.make_run(task, name, 0, {}) for name in ("ppo", "return-capping", "cvar-ppo", "cdf-ppo", "mean-gini")
    )
    for rival in rivals:
        own = set(rival.settings) - set(ppo.settings)
        assert own <= {"level"} and {key: rival.settings[key] for key in ppo.settings} == ppo.settings
        assert rival.steps == ppo.steps


def test_levels_are_known_for_every_task() -> None:
    for task in TASKS.values():
        random, reference = references.levels(task.env_id, task.level)
        assert random < reference


def test_references(tmp_path: Path) -> None:
    path = tmp_path / "references.csv"
    row = references.Row("Task-v0", 0.1, "found", 1.5, 0.1, "a run, with a comma")
    with pytest.raises(ValueError, match="no reference for Task-v0"):
        references.reference("Task-v0", 0.1, path)
    references.update([row, row._replace(kind="random", value=0.5)], path)
    references.update([row._replace(value=2.0)], path)
    assert references.levels("Task-v0", 0.1, path) == (0.5, 2.0)
    references.update([row._replace(kind="simple", value=2.5)], path)
    assert references.reference("Task-v0", 0.1, path).value == 2.5
    # An optimum that policies exceed by the noise of their evaluation is the optimum
    references.update([row._replace(kind="optimum", value=2.4)], path)
    assert references.reference("Task-v0", 0.1, path).value == 2.4
    published = row._replace(env_id="GuardedMaze-v1", value=-8.0)
    references.update([published], path)
    assert references.reference("GuardedMaze-v1", 0.1, path).kind == "published"
    references.update([published._replace(value=-5.0)], path)
    assert references.reference("GuardedMaze-v1", 0.1, path).kind == "found"
    with pytest.raises(ValueError, match="no random policy for Task-v0"):
        references.levels("Task-v0", 0.5, path)


def test_found_policy_is_not_evaluated_by_the_episodes_that_chose_it(tmp_path: Path) -> None:
    steady, lucky = np.full(40, 1.0), np.tile([9.0, -9.0], 20)
    for name, returns in (("steady", steady), ("lucky", lucky)):
        folder = tmp_path / "suite" / "Task-v0" / name
        folder.mkdir(parents=True)
        np.savez(folder / "returns.npz", sampled=returns, mode=steady - 5.0, best=steady + 99.0)
        run = {"method": "ppo", "seed": 3, "steps": 1000}
        (folder / "record.json").write_text(json.dumps({"run": run}))
    mean, tail = references.best_found("Task-v0", 0.25, [tmp_path / "suite"])
    assert tail.value == -9.0 and (mean.level, tail.level) == (1.0, 0.25)
    assert tail.source == "PPO, seed 3, 1,000 steps, sampled actions (results/suite)"
    assert references.best_found("Task-v1", 0.25, [tmp_path / "suite"]) == []


@pytest.mark.slow
def test_seeds_share_no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite_run = load_script(BENCHMARKS / "suite_run.py")
    seeds: list[tuple[int, int | None]] = []
    monkeypatch.setattr(DummyVecEnv, "seed", lambda env, seed=None: seeds.append((env.num_envs, seed)) or [seed])
    for seed in (0, 1):
        suite_run.execute(replace(tiny_run("ppo", episodes=0, eval_episodes=0), seed=seed), tmp_path)
        # The last seed before training
        assert [given for n_envs, given in seeds if n_envs == 4][-1] == 10_000 * seed
        seeds.clear()


def test_standard_error_of_cvar() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(500, 400))
    spread = np.std([np.sort(sample)[:40].mean() for sample in samples])
    assert references.standard_error(samples[0], 0.1) == pytest.approx(spread, rel=0.3)
    assert references.standard_error(samples[0], 1.0) == pytest.approx(0.05, rel=0.1)


def test_changes_of_a_trial() -> None:
    task = TASKS["BettingGame-v0"]
    random, _ = references.levels(task.env_id, task.level)
    settings = plan_module.make_run(task, "return-capping", 0, {"lr_factor": 0.5, "floor": 0.25, "tau": 0.1}).settings
    assert settings["learning_rate"] == "lin_0.0015" and settings["tau"] == 0.1
    assert settings["min_cap"] == settings["initial_cap"] == random + 0.25 * (36.5131 - random)
    assert plan_module.make_run(task, "a2c", 0, {"lr_factor": 3.0}).settings["learning_rate"] == pytest.approx(2.1e-3)


def test_search_draws_the_same_for_all_methods() -> None:
    for trial in range(5):
        drawn = {method: search.draw(method, trial) for method in search.OWN}
        for method, changes in drawn.items():
            assert all(changes[key] == drawn["ppo"][key] for key in changes if key in search.COMMON)
            assert set(changes) - set(search.COMMON) == (set(search.OWN[method]) if trial else set())
    trials = search.plan(["ppo", "orderppo"], 3)
    assert len(trials) == 6 and {run.env_id for runs in trials.values() for run in runs} == MUST_CHOOSE - {"RiskyHopper-v0"}
    assert not {run.seed for runs in trials.values() for run in runs} & set(range(100))
    for (method, trial), runs in trials.items():
        for run in runs:
            check_settings(run.settings, load_class(run.path))
            assert (run.settings["n_epochs"] == TASKS[run.env_id].settings["n_epochs"]) or trial > 0, method


def test_search_writes_nothing_before_all_trials_are_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = search.plan(["ppo", "a2c"], 1)
    by_task = {run.env_id: 0.5 for run in planned["ppo", 0]}
    finished = {"ppo"}
    monkeypatch.setattr(search, "scores", lambda runs, out: by_task if runs[0].method in finished else None)
    search.write(planned, tmp_path, data=tmp_path / "trials.csv", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
    finished.add("a2c")
    search.write(planned, tmp_path, data=tmp_path / "trials.csv", folder=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["suite_tuned.yml", "trials.csv"]


def test_trials_keep_the_rows_of_other_choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials_module, "DATA", tmp_path)
    path = tmp_path / "suite_trials_choosing.csv"
    path.write_text((ROOT / "docs" / "data" / path.name).read_text())
    before = trials_module.read("choosing")
    monkeypatch.setattr(trials_module, "is_done", lambda run, out: run.seed == 1000)
    monkeypatch.setattr(trials_module, "score", lambda run, out: (np.ones(3), 1.0, 0.5))
    monkeypatch.setattr(trials_module.files, "read_json", lambda path: {"commit": "c"})
    monkeypatch.setattr(sys, "argv", ["suite_trials.py", "--choices", "lambda 0.8", "--report"])
    assert trials_module.main() == 0
    after = trials_module.read("choosing")
    assert after[: len(before)] == before != [] and len(after) == len(before) + len(MUST_CHOOSE)
    assert trials_module.main() == 0 and trials_module.read("choosing") == after


def test_search_has_each_value_once_in_successive_trials() -> None:
    for name, values in search.COMMON.items():
        for block in range(2):
            trials = range(1 + block * len(values), 1 + (block + 1) * len(values))
            assert sorted(search.draw("ppo", trial)[name] for trial in trials) == sorted(values)


def test_winner_has_the_best_mean_score() -> None:
    trials = {("ppo", 0): {"a": 0.5, "b": 0.5}, ("ppo", 1): {"a": 1.0, "b": 0.2}, ("a2c", 1): {"a": 0.0, "b": 0.0}}
    assert search.winners(trials) == {"ppo": 1, "a2c": 1}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["orderppo", "return-capping", "a2c", "ordera2c"])
def test_run(method: str, tmp_path: Path) -> None:
    run = tiny_run(method)
    load_script(BENCHMARKS / "suite_run.py").execute(run, tmp_path)
    returns = suite.suite_report.load([run], tmp_path)["AmericanPut-v0"][method][0]
    assert {kind: len(values) for kind, values in returns.items()} == {"sampled": 20, "mode": 20, "best": 400}
    record = json.loads((run.folder(tmp_path) / "record.json").read_text())
    assert record["cvar"]["sampled"] == pytest.approx(np.sort(returns["sampled"])[:5].mean(), abs=1e-6)
    assert {"commit", "versions", "machine", "seconds_training"} <= set(record)
    assert suite.is_done(run, tmp_path) and not suite.is_done(replace(run, steps=800), tmp_path)


@pytest.mark.slow
def test_failed_run_is_reported_and_finished_runs_are_kept(tmp_path: Path) -> None:
    bad, good = tiny_run("ppo", path="rivals.nowhere:Rival"), tiny_run("ppo", episodes=0)
    (failure,) = suite.run_all([bad, good], tmp_path, 1)
    assert "AmericanPut-v0, ppo, seed 0" in failure and "rivals.nowhere" in failure
    assert suite.is_done(good, tmp_path) and not suite.is_done(bad, tmp_path)
    before = (good.folder(tmp_path) / "record.json").stat().st_mtime_ns
    assert suite.run_all([good], tmp_path, 1) == []
    assert (good.folder(tmp_path) / "record.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_risk_is_certain_in_training_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite_run = load_script(BENCHMARKS / "suite_run.py")
    made = []
    make_env = suite_run.settings.make_env
    monkeypatch.setattr(
        suite_run.settings, "make_env", lambda *args: made.append(args[1].get("env_kwargs")) or make_env(*args)
    )
    suite_run.execute(tiny_run("sac-certain", "FragileHopper-v0", steps=50, episodes=2, eval_episodes=4), tmp_path)
    assert made[0] == {"certain": True} and len(made) > 3 and not any(made[1:])


def fake_results(names: list[str], env_ids: list[str]) -> Any:
    """Returns of three seeds that lie at the reference for the first method, and at the random policy's level for others."""
    results: Any = {}
    for env_id in env_ids:
        random, reference = references.levels(env_id, TASKS[env_id].level)
        for name in names:
            value = reference if name == names[0] else random
            seeds = {seed: dict.fromkeys(("sampled", "mode", "best"), np.full(40, value)) for seed in range(3)}
            results.setdefault(env_id, {})[name] = seeds
    return results


def test_tables_and_suite_statistics() -> None:
    results = fake_results(["orderppo", "ppo"], ["BettingGame-v0", "AmericanPut-v0", "RiskyHopper-v0"])
    results["RiskyHopper-v0"]["sac"] = results["RiskyHopper-v0"]["ppo"]
    lines = report.suite_table(results, "all")
    assert lines[0].startswith("Tasks: 3.")
    assert lines[-4] == "| OrderPPO | 1.000 [1.000, 1.000] |  | 9 |"
    assert lines[-3] == "| PPO | 0.000 [0.000, 0.000] | 1.00 [1.00, 1.00] | 9 |"
    assert lines[-1] == "Not in the table, for want of runs on all tasks: SAC, 0.1 of the steps (1 of 3)."
    assert report.suite_table(results, "held-out")[0].startswith("Tasks: 1.")
    rows = report.task_table(TASKS["BettingGame-v0"], results["BettingGame-v0"])
    assert "36.51 [36.51, 36.51] | 1.00 [1.00, 1.00]" in rows[2]


def test_report_writes_page_figures_and_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = fake_results(["orderppo", "ppo"], ["BettingGame-v0", "AmericanPut-v0"])
    monkeypatch.setattr(report, "load", lambda runs, out: results)
    page = tmp_path / "suite.md"
    page.write_text((ROOT / "docs" / "suite.md").read_text())
    for _ in range(2):
        # a second report replaces the first
        report.write(plan_module.plan(["BettingGame-v0"], ["ppo"], [0]), tmp_path, "command", tmp_path)
    text = page.read_text()
    assert text.startswith("# The risk suite") and text.count("## All tasks") == 1 and text.count(report.END) == 1
    assert "missing: BettingGame-v0 ppo s0" in text
    assert not [line for line in text.splitlines() if len(line) > 120]
    assert (tmp_path / "images" / "suite_profiles.png").stat().st_size > 5000
    with np.load(tmp_path / "data" / "suite.npz") as arrays:
        assert arrays["BettingGame-v0/ppo/2/mode"].shape == (40,)
