"""What the pictures show is what was computed."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from sb3_ordergrad.evaluation import cvar, plot_learning_curves, plot_return_distributions
from sb3_ordergrad.evaluation.plots import learning_curve, line_style


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
