"""The figures that the benchmarks draw: every number is in them, and the docs show them."""

import json
import re
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from repository import BENCHMARKS, ROOT, load_script

from sb3_ordergrad.compare.spec import RunSpec
from sb3_ordergrad.evaluation import Interval, ReturnDistribution

pytest.importorskip("matplotlib")
drawing = load_script(BENCHMARKS / "drawing.py")
Draw = Callable[..., dict[str, Any]]


@pytest.fixture
def draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Draw:
    """Runs a benchmark's command and returns its figures by name, which are written as well."""
    figures: dict[str, Any] = {}
    save = drawing.save

    def remember(figure: Any, path: Path) -> None:
        save(figure, path)
        assert path.read_bytes().startswith(b"\x89PNG")
        figures[path.name] = figure

    def command(script: str, *arguments: str) -> dict[str, Any]:
        module = load_script(BENCHMARKS / script)
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        module.main()
        return figures

    monkeypatch.setattr(drawing, "save", remember)
    return command


def dots(ax: Any) -> list[list[float]]:
    """The dots of the axes, without lines."""
    return [point for line in ax.lines if line.get_linestyle() == "None" for point in line.get_xydata().tolist()]


def test_dots_are_in_the_row_of_their_name(tmp_path: Path) -> None:
    figure = drawing.new_figure(4, 3)
    ax = figure.subplots()
    drawing.plot_dots(ax, {"a": {"x": [1.0, 2.0], "y": [3.0]}, "b": {"y": [4.0]}}, {"y": Interval(3.5, 3.0, 4.0)})
    assert [label.get_text() for label in ax.get_yticklabels()] == ["x", "y"]
    assert [(value, round(row)) for value, row in dots(ax)] == [(1, 0), (2, 0), (3, 1), (4, 1)]
    # methods side by side, and the first row at the top
    assert len({row for _, row in dots(ax)}) == 3 and ax.get_ylim() == (1.5, -0.5)
    assert ax.collections[0].get_segments()[0].tolist() == [[3, 1], [4, 1]]
    drawing.move_legend(figure, "outside right center")
    assert ax.get_legend() is None and [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_suite_trials(draw: Draw, tmp_path: Path) -> None:
    figures = draw("suite_trials.py", "--figure", str(tmp_path / "suite_trials.png"))
    choosing, held_out = figures["suite_trials.png"].axes
    # two methods with two seeds each
    assert len(dots(choosing)) == 4 * 6 and len(dots(held_out)) == 4 * 8


def test_best_trials_of_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = load_script(BENCHMARKS / "suite_search.py")
    figures = []
    monkeypatch.setattr(drawing, "save", lambda figure, path: figures.append(figure))
    trials = {("ppo", 0): {"x": 0.1, "y": 0.2}, ("ppo", 1): {"x": 0.3, "y": 0.4}, ("a2c", 0): {"x": 0.5, "y": 0.6}}
    search.draw_winners(trials, {"a2c": 0, "ppo": 1}, tmp_path / "x.png")
    table = search.summary(trials, {"a2c": 0, "ppo": 1}, ["x", "y"]).splitlines()
    assert table[2:] == ["| A2C | 0.55 | 0.55 | 0.50 | 0.60 |", "| PPO | 0.15 | 0.35 | 0.30 | 0.40 |"]
    (ax,) = figures[0].axes
    assert sorted(value for value, _ in dots(ax)) == [0.3, 0.4, 0.5, 0.6]
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["A2C", "PPO"]


def archive(spec: RunSpec, settings: dict[str, Any], value: float) -> None:
    """A run of the compare command as docs/data has it: without its policy. All of its returns are the same."""
    spec.folder.mkdir(parents=True)
    training = spec.training | {"settings": spec.settings | settings}
    origin = {"commit": "c", "versions": {}, "machine": "m", "seconds_training": 1.0, "seconds_evaluation": 1.0}
    (spec.folder / "done.json").write_text(json.dumps({"training": training, "evaluation": spec.evaluation} | origin))
    n = spec.n_eval_episodes
    ReturnDistribution(np.full(n, value), np.ones(n)).to_csv(spec.folder / "returns.csv")


def test_archived_runs_and_defaults(draw: Draw, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    defaults = load_script(BENCHMARKS / "defaults.py")
    env_id, labels = "FragilePoint-v0", ("PPO", "projected", "dense")
    for row, label in enumerate(labels):
        for spec in defaults.plan(env_id, label, Namespace(seeds=2, steps=None, out=tmp_path)):
            # an archived run of OrderPPO names the lambda that was its default
            archive(spec, {} if label == "PPO" else {"gae_lambda": 0.8}, 10.0 * row + spec.seed)
    options = ["--env", env_id, "--variants", *labels, "--seeds", "2", "--out", str(tmp_path)]
    with pytest.raises(SystemExit) as end:
        draw("defaults.py", "--report", *options, "--figures", str(tmp_path))
    assert not end.value.code
    assert "| dense | yes | 20.5 [20, 21] | 20.5 [20, 21] | 20.5 [20, 21] |" in capsys.readouterr().out
    figures = draw("archived_runs.py", str(tmp_path / env_id), "--figure", str(tmp_path / "quantiles.png"))
    (ax,) = figures[f"defaults_{env_id}.png"].axes
    np.testing.assert_allclose(dots(ax), [[0, 0], [1, 0], [10, 1], [11, 1], [20, 2], [21, 2]])
    (ax,) = figures["quantiles.png"].axes
    assert [line.get_label() for line in ax.lines] == ["mean (PPO)", "cvar:0.25"]
    np.testing.assert_allclose([line.get_ydata().mean() for line in ax.lines], [0.5, 15.5])


def test_coverage(draw: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_script(BENCHMARKS / "coverage_of_intervals.py"), "N_TRUTH", 40_000)
    options = ["--repetitions", "20", "--episodes", "40", "--resamples", "99", "--methods", "percentile", "studentized"]
    options += ["--distributions", "normal", "Poisson(5)", "--figure", str(tmp_path / "coverage.png")]
    (ax,) = draw("coverage_of_intervals.py", *options)["coverage.png"].axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["normal", "Poisson(5)"]
    assert len(dots(ax)) == 4 and all(50 < value <= 100 for value, _ in dots(ax))


def test_optimal_stakes(draw: Draw, tmp_path: Path) -> None:
    (ax,) = draw("betting_game.py", "--optimum", "--figure", str(tmp_path / "stake.png"))["stake.png"].axes
    stakes = [dict(line.get_xydata().tolist()) for line in ax.lines]
    # in the last round everything from 64, which leads to 128 or to the cap; above 128 nothing for CVaR
    assert [share[64.0] for share in stakes] == [1, 1]
    assert [share[128.0] for share in stakes] == [1, 0]


def test_two_ways_through_the_maze(draw: Draw, tmp_path: Path) -> None:
    options = ["--env", "GuardedMaze-v1", "--episodes", "40", "--figure", str(tmp_path / "maze.png")]
    maze, quantiles = draw("random_policies.py", *options)["maze.png"].axes
    short, long = (line.get_xydata() for line in maze.lines)
    guarded = [[(round(row), round(column)) == (5, 1) for column, row in path] for path in (short, long)]
    assert any(guarded[0]) and not any(guarded[1]) and short[0].tolist() == long[0].tolist()
    assert [path[-1].round().tolist() for path in (short, long)] == [[2, 6], [2, 6]]
    assert quantiles.lines[0].get_ydata()[0] < quantiles.lines[1].get_ydata()[0]


def test_docs_show_every_figure() -> None:
    """With a description, and with the command beside it if it is a benchmark's."""
    pages = {path: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]}
    shown = {Path(name).name for text in pages.values() for name in re.findall(r"!\[[^\]]{10,}\]\(([^)\s]+)\)", text)}
    assert {path.name for path in (ROOT / "docs" / "images").iterdir()} <= shown
