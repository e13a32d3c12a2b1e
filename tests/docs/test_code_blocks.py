"""
Every Python block of README, guide and algorithm pages runs, and so does the tour.

The blocks of a page run in order, in one namespace. To keep the test short, the numbers of training steps and evaluation
episodes are replaced; everything else is run as it is printed.
"""

import re
from pathlib import Path
from typing import Any

import pytest
from repository import EXAMPLES, ROOT
from stable_baselines3.common.base_class import BaseAlgorithm

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", DOCS / "index.md", *DOCS.glob("guide/*.md"), *DOCS.glob("algorithms/*.md")]


def python_blocks(path: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def short(code: str) -> str:
    """The code with few training steps, evaluation episodes and epochs."""
    code = re.sub(r"\.learn\([\d_]+", ".learn(64", code)
    code = re.sub(r"\bSTEPS = [\d_]+", "STEPS = 64", code)
    return re.sub(r"n_eval_episodes=\d+", "n_eval_episodes=16", code)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*render_mode.*")
@pytest.mark.parametrize("path", [page for page in PAGES if python_blocks(page)], ids=lambda path: path.stem)
def test_blocks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    namespace: dict[str, Any] = {}
    blocks = [short(code) for code in python_blocks(path)]
    for number, code in enumerate(blocks, 1):
        exec(compile(code, f"{path.name}, block {number}", "exec"), namespace)
    page = "\n".join(blocks)
    models = {name: value for name, value in namespace.items() if isinstance(value, BaseAlgorithm)}
    assert all(name in namespace for name in re.findall(r"^(\w+) = ", page, flags=re.MULTILINE))
    assert {name for name, model in models.items() if model.num_timesteps} == (set(models) if ".learn(" in page else set())
    assert all(list(tmp_path.glob(f"{name}*")) for name in re.findall(r"\.(?:save|savefig|to_csv)\(\"(\S+?)\"", page))


@pytest.mark.slow
def test_tour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(short((EXAMPLES / "tour.py").read_text(encoding="utf-8")), "tour.py", "exec"), {})
    printed = capsys.readouterr().out
    assert "OrderPPO: mean" in printed and "second-order dominance" in printed
    for name in ("distributions.png", "weights.png"):
        assert (tmp_path / "results" / "tour" / name).stat().st_size > 10_000
