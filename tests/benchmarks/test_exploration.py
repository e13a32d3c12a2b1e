"""The exploration benchmark: tiny runs, resuming, the report, and the variant of RePPO that it compares with."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from repository import BENCHMARKS, ROOT, load_script
from stable_baselines3.common.env_util import make_vec_env
from toy_envs import ToyEnv, parameters_of, small

from sb3_ordergrad import RePPO

exploration = load_script(BENCHMARKS / "exploration.py")


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command with tiny tasks, and counts the trainings."""
    tasks = {"DeepSea-3": exploration.deep_sea(3, 2048), "RiverSwim-3": exploration.river_swim(3, 2048)}
    monkeypatch.setattr(exploration, "TASKS", tasks)
    trained, train = [], exploration.train
    monkeypatch.setattr(exploration, "train", lambda run: (trained.append(run.path.name), train(run)))

    def main(*arguments: str) -> int:
        trained.clear()
        options = ["--seeds", "2", "--methods", "PPO, lambda 0.8", "RePPO, k = 1.2", "--out", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", ["exploration.py", *options, *arguments])
        exploration.main()
        return len(trained)

    return main


@pytest.mark.slow
def test_runs_resume_and_are_reported(command: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command() == 8
    assert "| RePPO, k = 1.2 | " in capsys.readouterr().out
    assert command() == 0
    run = next((tmp_path / "runs").glob("*.json"))
    run.write_text(run.read_text().replace('"steps": 2048', '"steps": 4096'))
    # a run with other settings, and one that is missing
    next(path for path in (tmp_path / "runs").glob("*.json") if path != run).unlink()
    assert command() == 2
    page = tmp_path / "page.md"
    page.write_text(f"before\n{exploration.BEGIN}\nold\n{exploration.END}\nafter\n")
    pytest.importorskip("matplotlib")
    assert command("--report", str(page), "--figure", str(tmp_path / "figure.png")) == 0
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert text.count("| PPO, lambda 0.8 | ") == 6 and "in 8 of 8 runs" in text
    assert not [line for line in text.splitlines() if len(line) > 120]
    page.write_text("no markers")
    with pytest.raises(ValueError, match="must contain the lines"):
        command("--report", str(page))


def test_page_has_the_markers() -> None:
    text = (ROOT / "docs" / "algorithms" / "reppo.md").read_text(encoding="utf-8")
    assert text.index(exploration.BEGIN) < text.index(exploration.END)


def test_best_returns() -> None:
    assert exploration.always_right(2, 1) == 0.0
    assert exploration.always_right(2, 2) == pytest.approx(0.6)
    # 1 in the right cell, from which the swimmer drifts back with 0.4: after step 3, 0.6 * 0.6 + 0.4 * 0.6
    assert exploration.always_right(2, 3) == pytest.approx(0.6 + 0.6)


def test_probabilities_of_the_minibatch_are_those_of_the_rollout_in_the_first() -> None:
    """One minibatch of the whole rollout: the policy has not moved, and the two variants agree; later they do not."""
    parameters = []
    for n_epochs in (1, 3):
        for algorithm in (RePPO, exploration.MinibatchRePPO):
            settings = small(RePPO, k=3, n_epochs=n_epochs, batch_size=16, learning_rate=0.01)
            env = make_vec_env(ToyEnv, n_envs=2, seed=0)
            model = algorithm("MlpPolicy", env, **settings).learn(16)
            parameters.append(np.concatenate([value.ravel() for value in parameters_of(model).values()]))
    np.testing.assert_allclose(parameters[0], parameters[1], rtol=0, atol=1e-5)
    assert np.abs(parameters[2] - parameters[3]).max() > 1e-4


def test_figure_has_a_dot_for_each_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of three seeds succeed on one task, none on the other."""
    figures: list[Any] = []
    monkeypatch.setattr(exploration.drawing, "save", lambda figure, path: figures.append(figure))
    runs = [
        exploration.Run(task, "PPO, lambda 0.8", seed, tmp_path) for seed in range(3) for task in ("DeepSea-8", "DeepSea-10")
    ]
    for run in runs:
        success = run.task == "DeepSea-8" and run.seed != 1
        exploration.files.write_json(run.path, {"plan": run.plan, "mode": 0.99 if success else -0.01})
    exploration.draw(runs, tmp_path / "figure.png")
    filled, empty = (line.get_xdata() for line in figures[0].axes[0].lines)
    np.testing.assert_allclose(filled, [-0.35, 0])
    np.testing.assert_allclose(empty, [0.35, 0.65, 1, 1.35])
