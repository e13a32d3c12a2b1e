"""The benchmark of ReMAC's claims: tiny runs, resuming, the report, and the answers."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from repository import BENCHMARKS, ROOT, load_script

from sb3_ordergrad.common import files

claims = load_script(BENCHMARKS / "remac_claims.py")
plan = load_script(BENCHMARKS / "remac_claims_run.py")


@pytest.mark.slow
def test_runs_resume_and_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("learning_starts", 20), ("batch_size", 8)):
        monkeypatch.setitem(plan.OFF_POLICY, name, value)
    monkeypatch.setattr(plan, "N_ENVS", 2)
    monkeypatch.setattr(plan, "N_EVAL_EPISODES", 2)
    monkeypatch.setitem(plan.METHODS, "ppo", {"n_steps": 32})
    trained, train = [], claims.train
    monkeypatch.setattr(claims, "train", lambda run: (trained.append(run.path.name), train(run)))

    def command(*options: str) -> None:
        trained.clear()
        arguments = ["--tasks", "Reacher-v5", "--steps", "60", "--seeds", "2", "--out", str(tmp_path / "runs"), *options]
        monkeypatch.setattr(sys, "argv", ["remac_claims.py", *arguments])
        claims.main()

    command("--methods", "k1", "k4to1")
    assert trained == [f"Reacher-v5-{name}-60-seed{seed}.json" for seed in (0, 1) for name in ("k1", "k4to1")]
    result = files.read_json(tmp_path / "runs" / trained[0])
    assert len(result["step"]) == len(result["entropy"]) == 10 and result["step"][-1] == 60
    (tmp_path / "runs" / trained[0]).unlink()
    command("--methods", "k1", "k4to1", "ppo", "sac")
    assert len(trained) == 5
    page = tmp_path / "docs" / "experiments" / "page.md"
    page.parent.mkdir(parents=True)
    page.write_text(f"before\n{claims.BEGIN}\nold\n{claims.END}\nafter\n")
    command("--methods", "k1", "k4to1", "ppo", "sac", "--report", str(page))
    assert not trained
    report = page.read_text()
    assert report.startswith("before\n") and report.endswith("after\n") and "old" not in report and "runs: 8 of 8" in report
    images = [path.name for path in (tmp_path / "docs" / "images").iterdir()]
    assert sorted(images) == sorted(f"remac_claims_{measure}.png" for measure in claims.MEASURES)
    assert all(f"../images/{name}" in report for name in images)
    steps, returns = files.read_columns(tmp_path / "docs" / "data" / "remac_claims.csv", "steps", "sampled")
    assert (steps == 60).all() and len(returns) == 8 and np.isfinite(returns).all()
    command("--report", str(page))
    # finished variants are reported beside the planned runs
    assert (page.parents[1] / "data" / "remac_claims.csv").read_text().count("k4to1") == 2
    page.write_text("no markers")
    with pytest.raises(ValueError, match="must contain the lines"):
        command("--report", str(page))


def write_results(folder: Path, task: str, finals: dict[str, dict[str, float]]) -> None:
    """Runs whose measures are constant in training; those of three seeds differ by 0.1."""
    for name, values in finals.items():
        for seed in range(3):
            run = claims.Run(task, name, seed, 1000, folder)
            curves: dict[str, Any] = {measure: [] for measure in claims.MEASURES} | {"step": list(range(plan.N_EVALUATIONS))}
            for measure, value in values.items():
                curves[measure] = [value + 0.1 * seed] * plan.N_EVALUATIONS
            files.write_json(run.path, {"plan": run.plan, **curves, "seconds": 1.0})


def answers(folder: Path, tasks: list[str]) -> dict[str, list[str]]:
    """For each task and for all, the answers that are shown, in the order of the claims."""
    runs = [claims.Run(task, name, seed, 1000, folder) for task in tasks for name in plan.METHODS for seed in range(3)]
    shown: dict[str, list[str]] = {}
    for line in claims.claims_tables(claims.Results(runs)):
        if line.startswith("### "):
            task, answer = "all", line.rpartition(": ")[2]
        elif " | " in line:
            task, *_, answer = line.removeprefix("| ").removesuffix(" |").split(" | ")
        else:
            continue
        if task in (*tasks, "all"):
            shown.setdefault(task, []).append(answer if answer in ("yes", "no") else "unclear")
    return shown


def test_answers(tmp_path: Path) -> None:
    """Claims 1, 2, 4 and 5, the last two for both kinds of actions; no run varies epsilon (claim 3)."""
    grown = {f"k{k}": {"mode": k, "sampled": -k, "entropy": k, "log_std": -k} for k in plan.KS}
    grown |= {"sac": {"mode": 5.0, "sampled": 9.0}, "ppo": {"mode": 9.0, "sampled": -9.0}}
    write_results(tmp_path, "Swimmer-v5", grown)
    first = ["yes", "no", "yes", "no", "no", "yes"]
    # without runs of other epsilons, claim 3 has no answer
    assert answers(tmp_path, ["Swimmer-v5"]) == {"Swimmer-v5": first, "all": [*first[:2], "unclear", *first[2:]]}
    # equal methods
    write_results(tmp_path, "Hopper-v5", {name: dict.fromkeys(claims.MEASURES, 0.0) for name in grown})
    shown = answers(tmp_path, ["Swimmer-v5", "Hopper-v5"])
    assert shown["Hopper-v5"] == ["unclear"] * 6
    # one task of two is not more than half
    assert shown["all"] == ["unclear", "no", "unclear", "unclear", "no", "unclear", "unclear"]


def test_statistics() -> None:
    rng = np.random.default_rng(0)
    samples = [rng.normal(size=(7, 5)) for _ in plan.KS]
    means = np.array([sample.mean(axis=1) for sample in samples])
    np.testing.assert_allclose(claims.slope(*samples), np.polyfit(np.log2(plan.KS), means, 1)[0])
    best = means[1:].max(axis=0) - means[0]
    np.testing.assert_allclose(claims.best_above(*samples), best)
    np.testing.assert_allclose(claims.best_above_one_sd(*samples), best + samples[0].std(axis=1, ddof=1))


def test_page_has_the_markers() -> None:
    page = (ROOT / "docs" / "experiments" / "remac_claims.md").read_text(encoding="utf-8")
    assert page.index(claims.BEGIN) < page.index(claims.END)
