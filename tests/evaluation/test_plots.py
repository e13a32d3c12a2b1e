"""The plots show what was computed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

from sb3_ordergrad.evaluation import (
    ReturnDistribution,
    cvar,
    interquartile_means,
    plot_learning_curves,
    plot_rank_weights,
    plot_return_distributions,
)
from sb3_ordergrad.evaluation.plots import interquartile_mean, learning_curve, line_style
from sb3_ordergrad.lstatistics import LStatistic, rank_weights


def test_quantile_functions_with_their_range() -> None:
    rng = np.random.default_rng(0)
    seeds = [rng.normal(size=300), rng.normal(1.0, size=200)]
    ax = plot_return_distributions({"mean": seeds, "cvar:0.1": [seeds[0]]}, tail=0.1, ax=Figure().subplots())
    x, y = ax.get_lines()[0].get_data()
    quantiles = np.array([np.quantile(s, x, method="hazen") for s in seeds])
    np.testing.assert_allclose(y, quantiles.mean(axis=0))
    # One band for the two seeds, none for the single one
    assert len(ax.collections) == 1
    low, high = ax.collections[0].get_datalim(ax.transData).intervaly
    assert (low, high) == pytest.approx((quantiles.min(), quantiles.max()))
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["lowest 10 %", "mean", "cvar:0.1"]


def test_learning_curve_is_the_statistic_of_the_latest_episodes() -> None:
    rng = np.random.default_rng(1)
    steps, returns = np.cumsum(rng.integers(1, 20, size=80)), rng.normal(size=80)
    grid = np.linspace(0, steps[-1], 30)
    curve = learning_curve(steps, returns, grid, "cvar:0.25", window=20)
    for t, value in zip(grid, curve, strict=True):
        latest = returns[steps <= t][-20:]
        if len(latest) < 4:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(float(cvar(latest, 0.25)))


def test_learning_curves_of_runs_with_few_or_no_episodes() -> None:
    empty: tuple[list[float], list[float]] = ([], [])
    full = (np.arange(1, 101), np.ones(100))
    ax = plot_learning_curves({"a": [full, full], "b": [empty]}, window=10, ax=Figure().subplots())
    first, second = ax.get_lines()
    np.testing.assert_allclose(first.get_ydata(), 1.0)
    assert len(second.get_ydata()) == 0


def test_new_axes_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    ax = plot_return_distributions({"a": [np.arange(5.0)]}, tail=0)
    assert ax.get_xlabel() == "fraction of episodes"
    plt.close(ax.figure)


def test_lines_stay_distinct() -> None:
    styles = [tuple(line_style(i).items()) for i in range(20)]
    assert len(set(styles)) == 20


def test_distribution_functions_with_the_objective_marked() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=90), rng.normal(1.0, 1.0, size=90)
    distributions = {"a": ReturnDistribution(first, np.ones(90)), "b": [first, ReturnDistribution(second, np.ones(90))]}
    ax = plot_return_distributions(distributions, 0.1, Figure().subplots(), kind="ecdf", objective="cvar:0.1")
    curve, mark, _, other_mark = ax.get_lines()
    x, y = curve.get_data()
    np.testing.assert_allclose(y, [(first <= r).mean() for r in x])
    assert y[-1] == 1.0
    assert mark.get_xdata()[0] == pytest.approx(float(cvar(first, 0.1)))
    assert other_mark.get_xdata()[0] == pytest.approx(float(np.mean([cvar(first, 0.1), cvar(second, 0.1)])))
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["lowest 10 %", "a", "cvar:0.1", "b"]
    ax = plot_return_distributions(distributions, ax=Figure().subplots(), objective="median")
    assert ax.get_lines()[1].get_ydata()[0] == pytest.approx(np.median(first))


def write_evaluations(path: Path, timesteps: list[int], results: np.ndarray) -> Path:
    np.savez(path, timesteps=timesteps, results=results, ep_lengths=np.ones_like(results))
    return path


def test_learning_curves_of_evaluations(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    long, short = rng.normal(size=(4, 10)), rng.normal(size=(3, 10))
    path = write_evaluations(tmp_path / "evaluations.npz", [10, 20, 30, 40], long)
    ax = plot_learning_curves({"a": [path, ([20, 30, 40], short)]}, "cvar:0.25", ax=Figure().subplots())
    x, y = ax.get_lines()[0].get_data()
    assert x.tolist() == [20, 30, 40]
    np.testing.assert_allclose(y, (cvar(long[1:], 0.25) + cvar(short, 0.25)) / 2)
    assert ax.get_ylabel() == "cvar:0.25 of an evaluation"
    ax = plot_learning_curves({"a": [str(path)]}, "max", ax=Figure().subplots(), k=1)
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), long.mean(axis=1))
    assert ax.get_ylabel() == "max@1 of an evaluation"


def test_interquartile_mean_by_hand() -> None:
    # A quarter of 5 seeds is one at each end
    line, band = interquartile_mean(np.array([[0.0], [1.0], [2.0], [6.0], [100.0]]))
    assert line == pytest.approx([3.0])
    assert band is not None and 0.0 <= band[0, 0] < 3.0 < band[1, 0] <= 100.0
    # As over a suite of one task, which is compared with rliable
    suite = interquartile_means({"a": {"task": [0.0, 1.0, 2.0, 6.0, 100.0]}})
    assert suite["a"] == pytest.approx((line[0], *band[:, 0]))
    single_line, no_band = interquartile_mean(np.arange(3.0)[np.newaxis])
    np.testing.assert_array_equal(single_line, np.arange(3.0))
    assert no_band is None


def test_learning_curves_with_interquartile_means() -> None:
    results = np.random.default_rng(6).normal(size=(5, 3, 8))
    seeds = [(np.array([1, 2, 3]), seed) for seed in results]
    ax = plot_learning_curves({"a": seeds}, ax=Figure().subplots(), aggregate="iqm")
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), stats.trim_mean(results.mean(axis=-1), 0.25, axis=0))
    assert len(ax.collections) == 1


def test_rank_weights_and_influence() -> None:
    axes = plot_rank_weights("cvar:0.5", 8, group_size=20, axes=tuple(Figure().subplots(1, 2)))
    again = plot_rank_weights([0.5, 0.5], 2, axes=axes, label="mean of 2")
    assert again is axes
    ranks, weights = axes[0].get_lines()[0].get_data()
    assert ranks.tolist() == list(range(1, 9))
    np.testing.assert_allclose(weights, rank_weights("cvar:0.5", 8))
    x, influence = axes[1].get_lines()[0].get_data()
    others = stats.norm.ppf((np.arange(19) + 0.5) / 19)
    expected = [8 * LStatistic(20, 8, "cvar:0.5").advantages(np.append(others, r))[-1] for r in x[::100]]
    np.testing.assert_allclose(influence[::100], expected, atol=1e-12)
    # The mean's influence is the return itself: the others have mean 0
    np.testing.assert_allclose(axes[1].get_lines()[1].get_ydata(), x, atol=1e-12)
    assert [text.get_text() for text in axes[1].get_legend().get_texts()] == ["cvar:0.5", "mean of 2"]
    assert axes[0].get_legend() is None
    # A fractional k has floor(k) ranks
    plot_rank_weights("max", 20.5, axes=axes)
    assert len(axes[0].get_lines()[2].get_xdata()) == 20


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plot_return_distributions({"a": [np.ones(3)]}, kind="pdf"), "kind = 'pdf' must be"),
        (lambda: plot_return_distributions({"a": np.ones(3)}), "Each seed of 'a' must be finite and have the shape"),
        (lambda: plot_return_distributions({"a": [[1.0, np.nan]]}), "with 1 values that are NaN or infinite"),
        (lambda: plot_return_distributions({"a": [np.ones(3)]}, tail=-0.1), r"tail = -0.1 must lie in \[0, 1\]"),
        (lambda: plot_return_distributions({"a": [np.ones(3)]}, tail=-np.inf), "tail = -inf must"),
        (lambda: plot_learning_curves({"a": [([1], [1.0])]}, window=np.inf), "window = inf must be a whole number >= 1"),
        (lambda: plot_learning_curves({"a": [([1, 2], [np.nan, 1.0])]}), "all finite"),
        (lambda: plot_learning_curves({"a": [([1, np.inf], [1.0, 1.0])]}), "all finite"),
        (lambda: plot_learning_curves({"a": [([1, 2], [1.0])]}), r"shapes \(2,\) and \(1,\)"),
        (lambda: plot_learning_curves({}, aggregate="median"), "aggregate = 'median' must be"),
        (lambda: plot_learning_curves({"a": [([1], [2.0]), ([1], [[2.0]])]}), "plot them separately"),
        (lambda: plot_learning_curves({"a": [([1], [[2.0]]), ([2], [[2.0]])]}, ax=Figure().subplots()), "seeds of 'a'"),
        (lambda: plot_rank_weights("max", 8, group_size=8), "k = 8 must be at most group_size - 1"),
        (lambda: plot_rank_weights("max", 10**9), "k = 1000000000 must be a real number"),
    ],
)
def test_errors(draw: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw()
