"""Statistics over a suite of tasks against rliable and against cases computed by hand."""

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

from sb3_ordergrad.evaluation import (
    Interval,
    interquartile_means,
    normalized_scores,
    performance_profiles,
    plot_intervals,
    plot_performance_profiles,
    probability_of_improvement,
)

RNG = np.random.default_rng(0)
# Rounded, so that some scores of the two methods are equal
MATRICES = {"X": RNG.normal(0.7, 0.3, (5, 7)).round(1), "Y": RNG.normal(0.5, 0.4, (5, 9)).round(1)}
SCORES = {method: {f"task {i}": row for i, row in enumerate(matrix)} for method, matrix in MATRICES.items()}
THRESHOLDS = np.linspace(-0.5, 1.5, 9)


def test_normalized_scores() -> None:
    np.testing.assert_allclose(normalized_scores([-10.0, 30.0, 50.0], random=-10.0, reference=30.0), [0.0, 1.0, 1.5])
    for random, reference in ((1.0, 1.0), (2.0, 1.0), (np.nan, 1.0), (0.0, np.inf)):
        with pytest.raises(ValueError, match=r"reference = .* must be above random"):
            normalized_scores([0.0], random, reference)


def assert_close_bands(ours: np.ndarray, theirs: np.ndarray) -> None:
    """The ends from some thousand resamples differ by about 3 % of the width."""
    width = np.ptp(theirs, axis=0)
    assert (np.abs(ours - theirs) <= 0.08 * width + 1e-12).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:random_state is deprecated:FutureWarning")
def test_statistics_are_those_of_rliable() -> None:
    metrics, library = pytest.importorskip("rliable.metrics"), pytest.importorskip("rliable.library")
    # rliable draws from NumPy's global generator and takes matrices of shape (n_seeds, n_tasks)
    np.random.seed(0)
    matrices = {method: matrix.T for method, matrix in MATRICES.items()}

    def estimates(scores: dict[str, Any], statistic: Any) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        return library.get_interval_estimates(scores, statistic, reps=2000)

    values, bands = estimates(matrices, lambda x: np.array([metrics.aggregate_iqm(x)]))
    for method, interval in interquartile_means(SCORES, n_resamples=20_000).items():
        assert interval.value == pytest.approx(values[method][0])
        assert_close_bands(np.array(interval[1:])[:, np.newaxis], bands[method])

    values, bands = estimates(
        {"Y": [matrices["X"], matrices["Y"]]}, lambda x, y: np.array([metrics.probability_of_improvement(x, y)])
    )
    (interval,) = probability_of_improvement(SCORES, "X", n_resamples=20_000).values()
    assert interval.value == pytest.approx(values["Y"][0])
    assert_close_bands(np.array(interval[1:])[:, np.newaxis], bands["Y"])

    values, bands = library.create_performance_profile(matrices, THRESHOLDS, reps=1000)
    for method, (profile, band) in performance_profiles(SCORES, THRESHOLDS, n_resamples=20_000).items():
        np.testing.assert_allclose(profile, values[method])
        # Fractions of 35 and 45 runs: the ends are multiples of one run
        assert np.abs(band - bands[method]).max() <= 1.01 / 35


def test_every_task_has_the_same_weight() -> None:
    """A task with twice the seeds counts as one whose seeds are all there twice."""
    short, long = RNG.normal(size=5), RNG.normal(size=10)
    ragged, doubled = {"X": {"a": short, "b": long}}, {"X": {"a": np.repeat(short, 2), "b": long}}
    for scores in (ragged, doubled):
        pooled = np.concatenate([np.repeat(short, 2), long])
        assert interquartile_means(scores)["X"].value == pytest.approx(stats.trim_mean(pooled, 0.25))
        np.testing.assert_allclose(
            performance_profiles(scores, THRESHOLDS)["X"][0], [(pooled > threshold).mean() for threshold in THRESHOLDS]
        )


def test_probability_of_improvement_by_hand() -> None:
    scores = {
        "X": {"a": [1.0, 2.0], "b": [5.0]},
        "Y": {"b": [5.0], "a": [0.0, 1.0, 2.0]},
        "Z": {"a": [9.0], "b": [9.0]},
    }
    result = probability_of_improvement(scores, "X")
    # Task a: 3 of 6 pairs are higher, 2 are equal; task b: equal
    assert result["Y"].value == pytest.approx(((3 + 2 / 2) / 6 + 0.5) / 2)
    assert result["Z"] == Interval(0.0, 0.0, 0.0)
    assert list(result) == ["Y", "Z"]
    assert probability_of_improvement(scores, "X") == result


def test_seeds_are_resampled_within_each_task() -> None:
    """Scores that differ only between tasks leave nothing to resample; a third of the middle half is not from ``b``."""
    scores = {"X": {"a": np.zeros(4), "b": np.ones(6), "c": np.full(5, 5.0)}}
    assert interquartile_means(scores)["X"] == pytest.approx((1.5, 1.5, 1.5))


def test_plots() -> None:
    ax = plot_performance_profiles(SCORES, THRESHOLDS, ax=Figure().subplots())
    for line, (profile, _) in zip(ax.get_lines(), performance_profiles(SCORES, THRESHOLDS).values(), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), profile)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["X", "Y"]
    x = plot_performance_profiles(SCORES, ax=Figure().subplots()).get_lines()[0].get_xdata()
    assert x[0] == min(0.0, *(matrix.min() for matrix in MATRICES.values())) and x[-1] >= 1.0

    intervals = {"X": Interval(0.5, 0.4, 0.7), "Y": Interval(0.2, 0.1, 0.3)}
    ax = plot_intervals(intervals, "interquartile mean", reference=0.5, ax=Figure().subplots())
    assert [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches] == [
        pytest.approx((0.4, 0.7)),
        pytest.approx((0.1, 0.3)),
    ]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["X", "Y"]
    assert ax.get_xlabel() == "interquartile mean" and len(ax.get_lines()) == 1
    # The lowest bar does not touch the frame
    assert ax.get_xlim()[0] < 0.1


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({}, "at least 1 method"),
        ({"X": {}}, "at least 1 task"),
        ({"X": {"a": [1.0]}, "Y": {"b": [1.0]}}, "'Y' and 'X' differ in a, b"),
        ({"X": {"a": [np.nan]}}, "Scores of 'X' on 'a' must be finite"),
        ({"X": {"a": []}}, "Scores of 'X' on 'a' must be finite"),
        ({"X": {"a": [[1.0]]}}, "Scores of 'X' on 'a' must be finite"),
    ],
)
def test_invalid_scores(scores: Any, message: str) -> None:
    for statistic in (
        interquartile_means,
        lambda s: performance_profiles(s, [0.0]),
        lambda s: probability_of_improvement(s, "X"),
    ):
        with pytest.raises(ValueError, match=message):
            statistic(scores)


def test_invalid_options() -> None:
    with pytest.raises(ValueError, match="method = 'Z' must be one of X, Y"):
        probability_of_improvement(SCORES, "Z")
    with pytest.raises(ValueError, match=r"confidence = 95 must lie in \(0, 1\)"):
        interquartile_means(SCORES, confidence=95)
