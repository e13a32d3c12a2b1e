"""examples/certified_signs.py: its tables and picture, its gradient, and the effect that its page reports."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch as th
from repository import EXAMPLES, ROOT, load_script


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return load_script(EXAMPLES / "certified_signs.py")


def test_prints_and_draws(example: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "picture.png"
    example.main(["--steps", "3", "--seeds", "2", "--n-jobs", "1", "--out", str(picture)])
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if line.startswith(("| overrated", "| label"))]
    assert len(rows) == len(example.COMPARISONS) * len(example.WEIGHTS)
    assert all(len(row.split("|")[7].split()) == 2 for row in rows) and "nan" not in printed
    assert "- seeds: 0, 1" in printed and picture.read_bytes().startswith(b"\x89PNG")


def test_the_reward_model_is_linear_and_wrong(example: ModuleType) -> None:
    task = example.make_task(0.3, th.Generator().manual_seed(0))
    inputs, rewards = task.features.flatten(0, 1), task.learned_reward.flatten()
    head = th.linalg.lstsq(inputs, rewards.unsqueeze(1)).solution
    np.testing.assert_allclose(inputs @ head.squeeze(1), rewards, atol=1e-3)
    correlation = np.corrcoef(task.true_reward.flatten(), rewards)[0, 1]
    assert 0.3 < correlation < 0.95


@pytest.mark.slow
def test_certified_weights_resist_overrated_extremes(example: ModuleType) -> None:
    """Two seeds of the table: the learned reward rises with and without the certificate, the true one is higher with it."""
    for seed in (0, 2):
        plain, certified = (
            example.train("overrated extremes", "mean", weights, seed, 300) for weights in ("none", "certified")
        )
        assert min(plain[-1, 1] - plain[0, 1], certified[-1, 1] - certified[0, 1]) > 1.0
        assert certified[-1, 0] > plain[-1, 0]


def test_docs_show_the_picture() -> None:
    page = (ROOT / "docs" / "experiments" / "certified_signs.md").read_text()
    assert "(../images/certified_signs.png)" in page and (ROOT / "docs" / "images" / "certified_signs.png").exists()
    code = page.split("```python\n")[1].split("```")[0]
    variables: dict[str, th.Tensor] = {}
    exec(code, variables)
    assert variables["loss_weights"].shape == (32, 16)
