"""The gradient that OrderPPO follows is that of its objective: examples/unbiasedness.py, at a smaller sample size."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch as th
from repository import EXAMPLES, load_script

from sb3_ordergrad.common.pseudo_rewards import CREDITS
from sb3_ordergrad.lstatistics import exact_lstatistic

OBJECTIVES = ("mean", "cvar:0.25", "max", "median", "mean - 0.5*gini")


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return load_script(EXAMPLES / "unbiasedness.py")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_exact_gradient_is_that_of_the_exact_value(example: ModuleType, objective: str) -> None:
    """Central differences of J in each logit, without the advantages that the exact gradient is made of."""
    model = example.make_model(objective, "dense", 8, 16, 0)
    trajectories = example.enumerate_trajectories()
    assert len(trajectories.returns) == 512

    def value(logits: np.ndarray) -> float:
        chance = 1.0 / (1.0 + np.exp(-logits[trajectories.states]))
        chosen = np.where(trajectories.actions == 1, chance, 1.0 - chance).prod(1)
        assert (trajectories.chance * chosen).sum() == pytest.approx(1.0, abs=1e-12)
        return exact_lstatistic(trajectories.returns, trajectories.chance * chosen, 8, objective).value

    with th.no_grad():
        weight = example.actor(model).weight.numpy().astype(np.float64)
    logits, step = weight[1] - weight[0], 1e-4
    differences = [(value(logits + step * unit) - value(logits - step * unit)) / (2 * step) for unit in np.eye(3)]
    exact_value, gradient = example.exact_gradient(model, objective, 8)
    assert exact_value == pytest.approx(value(logits), abs=1e-6)
    # the policy's probabilities are float32
    np.testing.assert_allclose(gradient, differences, rtol=0, atol=1e-5)


@pytest.mark.parametrize("credit", CREDITS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_average_estimate_is_the_exact_gradient(example: ModuleType, objective: str, credit: str) -> None:
    model = example.make_model(objective, credit, 8, 64, 0)
    # the learned mean of rare losses has a bias
    assert not model.smooth_rare_losses
    estimates = example.sampled_gradients(model, 200)
    z = example.z_scores(estimates, example.exact_gradient(model, objective, 8)[1])[2]
    assert (np.abs(z) < 4).all()
    if objective in ("cvar:0.25", "max"):
        # the gradient of the mean is another, and 200 rollouts tell
        assert np.abs(example.z_scores(estimates, example.exact_gradient(model, "mean", 8)[1])[2]).max() > 6


def test_prints_the_table_and_draws_it(
    example: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    figures: list[Any] = []
    monkeypatch.setattr(example, "save_picture", lambda figure, path: figures.append(figure))
    picture = str(tmp_path / "figure.png")
    monkeypatch.setattr(sys, "argv", ["unbiasedness.py", "--rollouts", "3", "--episodes", "16", "--figure", picture])
    example.main()
    # of each state: the exact gradients, and for each credit the error bars of all objectives
    for ax in figures[0].axes:
        assert [len(lines.get_segments()) for lines in ax.collections] == [len(OBJECTIVES)] * (1 + len(CREDITS))
    lines = capsys.readouterr().out.splitlines()
    assert all(any(line.startswith(f"| {objective} | dense |") for line in lines) for objective in OBJECTIVES)
    assert sum("against the gradient of the mean" in line for line in lines) == 2
