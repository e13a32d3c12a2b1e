"""What examples/retry_landscape.py shows agrees with the publications."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch as th
from repository import EXAMPLES, load_script


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return load_script(EXAMPLES / "retry_landscape.py")


def field(example: ModuleType, k: int) -> np.ndarray:
    """The gradient on a grid over the drawn range, shape (21, 21, 2)."""
    mean, log_std = np.meshgrid(np.linspace(*example.MEAN_RANGE, 21), np.linspace(*example.LOG_STD_RANGE, 21))
    return example.exact_gradient(np.stack([mean, log_std], -1), k)


def test_objective_of_one_try_is_the_mean(example: ModuleType) -> None:
    mean, log_std = th.tensor([-1.8, 0.0, 0.3], dtype=th.float64), th.tensor([-3.0, 0.0, 0.7], dtype=th.float64)
    expected = -(mean**2 + (2 * log_std).exp()) / 2
    np.testing.assert_allclose(example.objective(mean, log_std, 1), expected, rtol=1e-10)
    points = np.stack([mean.numpy(), log_std.numpy()], -1)
    np.testing.assert_allclose(
        example.exact_gradient(points, 1), np.stack([-points[:, 0], -np.exp(2 * points[:, 1])], -1), rtol=1e-8, atol=1e-12
    )


@pytest.mark.parametrize("k", [1, 2, 4, 8])
@pytest.mark.parametrize("point", [(-1.8, -1.0), (1.0, 0.5), (0.0, 0.0)])
def test_sampled_gradient_agrees(example: ModuleType, point: tuple[float, float], k: int) -> None:
    estimates = example.sampled_gradient(point, k)
    error = estimates.std(0, ddof=1) / np.sqrt(len(estimates))
    assert (np.abs(estimates.mean(0) - example.exact_gradient(np.array(point), k)) < 4 * error).all()


def test_more_tries_turn_the_field_to_larger_std_and_shorten_it(example: ModuleType) -> None:
    fields = [field(example, k) for k in example.KS]
    lengths = [np.linalg.norm(f, axis=-1) for f in fields]
    # -90 degrees: only std decreases, 0: straight to the best mean, 90: only std increases; rounded for the symmetry axis
    angles = [np.arctan2(f[..., 1], np.abs(f[..., 0]).round(12)) for f in fields]
    for k, (shorter, longer) in zip(example.KS[1:], zip(lengths[1:], lengths, strict=False), strict=True):
        assert (shorter < longer).all(), k
    for k, (after, before) in zip(example.KS[1:], zip(angles[1:], angles, strict=False), strict=True):
        assert (after >= before - 1e-12).all(), k
        assert (after > before).mean() > 0.9, k
    # With one try std always decreases, with eight it increases wherever the best action is at least two std away
    assert (fields[0][..., 1] < 0).all()
    mean, log_std = np.meshgrid(np.linspace(*example.MEAN_RANGE, 21), np.linspace(*example.LOG_STD_RANGE, 21))
    assert (fields[-1][..., 1][np.abs(mean) > 2 * np.exp(log_std)] > 0).all()


def test_larger_adam_eps_restores_the_damping(example: ModuleType) -> None:
    std = {(k, eps): np.exp(example.adam_paths(k, eps, 200)[-1, 0, 1]) for k in example.KS for eps in example.ADAM_EPS}
    small, middle, large = example.ADAM_EPS
    # Adam normalizes the gradient's length: with a small eps, std collapses in the same way for every k
    assert std[8, small] < 1.1 * std[1, small]
    for k in example.KS:
        assert std[k, small] < std[k, middle] < std[k, large]
    for few, more in zip(example.KS, example.KS[1:], strict=False):
        assert std[more, large] > 1.2 * std[few, large]


def test_draws_the_figure(
    example: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(sys, "argv", ["retry_landscape.py", "--updates", "5", "--out", str(tmp_path / "new" / "figure.png")])
    example.main()
    assert (tmp_path / "new" / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.count("\n| ") == 5
