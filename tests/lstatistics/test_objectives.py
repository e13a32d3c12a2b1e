"""Rank weights of every preset against NumPy, SciPy and written-out vectors; arithmetic; annealing; errors."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from sb3_ordergrad.lstatistics import LStatistic, Objective, interpolate_objective, parse_objective, rank_weights
from sb3_ordergrad.lstatistics.presets import ALIASES, PRESETS

SIZES = [1, 2, 3, 4, 7, 10, 25]
LEVELS = [0.0, 0.01, 0.1, 0.25, 0.5, 0.57, 0.75, 0.9, 1.0]


def sample(n: int) -> np.ndarray:
    return np.sort(np.random.default_rng(n).normal(size=n))


@pytest.mark.parametrize(
    ("objective", "k", "expected"),
    [
        ("mean", 4, [0.25, 0.25, 0.25, 0.25]),
        ("max", 3, [0, 0, 1]),
        ("min", 3, [1, 0, 0]),
        ("median", 3, [0, 1, 0]),
        ("median", 4, [0, 0.5, 0.5, 0]),
        ("cvar:0.5", 4, [0.5, 0.5, 0, 0]),
        ("cvar:0.3", 4, [1 / 1.2, 0.2 / 1.2, 0, 0]),
        ("cvar:0.1", 4, [1, 0, 0, 0]),
        ("cvar:1", 3, [1 / 3, 1 / 3, 1 / 3]),
        ("upper_cvar:0.3", 4, [0, 0, 0.2 / 1.2, 1 / 1.2]),
        ("quantile:0.5", 4, [0, 0.5, 0.5, 0]),
        ("var:0.25", 4, [0.5, 0.5, 0, 0]),
        ("var:0.25:weibull", 4, [0.75, 0.25, 0, 0]),
        ("rank:1", 3, [0, 0, 1]),
        ("rank:3", 3, [1, 0, 0]),
        ("top:2", 4, [0, 0, 0.5, 0.5]),
        ("bottom:2", 4, [0.5, 0.5, 0, 0]),
        ("top_bottom:1", 4, [0.5, 0, 0, 0.5]),
        ("top_bottom:2", 3, [0.25, 0.5, 0.25]),
        ("trimmed:1", 4, [0, 0.5, 0.5, 0]),
        ("trimmed:0", 2, [0.5, 0.5]),
        ("trimmed_mean:0.25:0.5", 4, [0, 1, 0, 0]),
        ("winsorized:1", 4, [0, 0.5, 0.5, 0]),
        ("winsorized:1", 5, [0, 0.4, 0.2, 0.4, 0]),
        ("winsorized:1", 3, [0, 1, 0]),
        ("gini", 2, [-1, 1]),
        ("gini", 3, [-2 / 3, 0, 2 / 3]),
        ("lmoment:1", 3, [1 / 3, 1 / 3, 1 / 3]),
        ("lmoment:2", 2, [-0.5, 0.5]),
        ("lmoment:3", 3, [1 / 3, -2 / 3, 1 / 3]),
        ("weights:1,-2,3", 3, [1, -2, 3]),
        ("mean - 0.5*gini", 2, [1, 0]),
        ("2*max - (max - min)", 2, [1, 1]),
    ],
)
def test_written_out_vectors(objective: str, k: int, expected: list[float]) -> None:
    weights = rank_weights(objective, k)
    assert weights.dtype == np.float64
    np.testing.assert_allclose(weights, expected, rtol=0, atol=1e-15)


# As they stand in the published estimator; numeric vectors there are given top rank first, here ascending
PUBLISHED = [
    ("ReMax", 4, [0, 0, 0, 1]),
    ("ReMin", 4, [1, 0, 0, 0]),
    ("Rank:2", 4, [0, 0, 1, 0]),
    ("TopM:2", 4, [0, 0, 0.5, 0.5]),
    ("BotM:2", 4, [0.5, 0.5, 0, 0]),
    ("TopBot:1", 4, [0.5, 0, 0, 0.5]),
    ("MidrangeM:2", 4, [0.25, 0.25, 0.25, 0.25]),
    ("UpperTailMean:0.3", 4, [0, 0, 0.5, 0.5]),
    ("LowerTailMean:0.3", 4, [0.5, 0.5, 0, 0]),
    ("RangeUpperTailMean:0.25:0.75", 4, [0, 0.5, 0.5, 0]),
    ("RangeUpperTailMean:0:0.25", 4, [0, 0, 0, 1]),
    ("RangeLowerTailMean:0.5:0.75", 4, [0, 0, 1, 0]),
    ("TrimmedMeanFrac:0.25:0.25", 4, [0, 0.5, 0.5, 0]),
    ("Median", 5, [0, 0, 1, 0, 0]),
    ("TrimM:1", 4, [0, 0.5, 0.5, 0]),
    ("WinsorizedM:1", 4, [0, 0.5, 0.5, 0]),
    ("Quantile:0.25", 4, [0.5, 0.5, 0, 0]),
    ("QuantileHazen:0.25", 4, [0.5, 0.5, 0, 0]),
    ("QuantileWeibull:0.25", 4, [0.75, 0.25, 0, 0]),
    ("QuantileBlom:0.25", 4, [0.5625, 0.4375, 0, 0]),
    ("TopQuantile:0.25", 4, [0, 0, 0.5, 0.5]),
    ("TopQuantileHazen:0.25", 4, [0, 0, 0.5, 0.5]),
    ("TopQuantileWeibull:0.25", 4, [0, 0, 0.25, 0.75]),
    ("TopQuantileBlom:0.25", 4, [0, 0, 0.4375, 0.5625]),
    ("HarrellDavis:0.5", 2, [0.5, 0.5]),
    ("GiniMeanDifference", 3, [-2 / 3, 0, 2 / 3]),
    ("GMD", 3, [-2 / 3, 0, 2 / 3]),
    ("LMoment:2", 3, [-1 / 3, 0, 1 / 3]),
]


@pytest.mark.parametrize(("name", "k", "expected"), PUBLISHED)
def test_published_names(name: str, k: int, expected: list[float]) -> None:
    np.testing.assert_allclose(rank_weights(name, k), expected, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(rank_weights(name.upper(), k), rank_weights(name.lower(), k))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("method", ["hazen", "weibull", "blom"])
def test_quantiles_agree_with_numpy(n: int, method: str) -> None:
    x = sample(n)
    numpy_method: Any = {"blom": "normal_unbiased"}.get(method, method)
    for q in LEVELS:
        expected = np.quantile(x, q, method=numpy_method)
        assert rank_weights(f"quantile:{q}:{method}", n) @ x == pytest.approx(expected, abs=1e-13)
        assert rank_weights(f"top_quantile:{1 - q}:{method}", n) @ x == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize("n", SIZES[1:])
def test_harrell_davis_agrees_with_scipy(n: int) -> None:
    x = sample(n)
    expected = stats.mstats.hdquantiles(x, LEVELS)
    actual = [rank_weights(f"harrell_davis:{q}", n) @ x for q in LEVELS]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", SIZES)
def test_trimmed_means_agree_with_scipy(n: int) -> None:
    x = sample(n)
    for proportion in (0.0, 0.1, 0.2, 0.28, 0.45):
        expected = stats.trim_mean(x, proportion)
        assert rank_weights(f"trimmed_mean:{proportion}:{proportion}", n) @ x == pytest.approx(expected, abs=1e-13)
    for m in range((n - 1) // 2 + 1):
        expected = stats.trim_mean(x, (m + 0.5) / n)
        assert rank_weights(f"trimmed:{m}", n) @ x == pytest.approx(expected, abs=1e-13)
        expected = stats.mstats.winsorize(x, limits=((m + 0.5) / n, (m + 0.5) / n)).mean()
        assert rank_weights(f"winsorized:{m}", n) @ x == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize("n", SIZES[3:])
def test_lmoments_agree_with_scipy(n: int) -> None:
    x = sample(n)
    for r in range(1, min(n, 8) + 1):
        expected = stats.lmoment(x, order=r, standardize=False)
        assert rank_weights(f"lmoment:{r}", n) @ x == pytest.approx(expected, abs=1e-11)


def test_lmoments_stay_orthogonal_at_high_order() -> None:
    weights = np.array([rank_weights(f"lmoment:{r}", 200) for r in range(1, 21)])
    products = weights @ weights.T
    scale = np.sqrt(np.diag(products))
    np.testing.assert_allclose(products / np.outer(scale, scale), np.eye(20), rtol=0, atol=1e-11)


@pytest.mark.parametrize("n", SIZES[1:])
def test_gini_is_the_mean_difference_of_pairs(n: int) -> None:
    x = sample(n)
    pairs = np.abs(x[:, None] - x[None, :])
    assert rank_weights("gini", n) @ x == pytest.approx(pairs.sum() / (n * (n - 1)), abs=1e-13)


@pytest.mark.parametrize("name", [name for name in PRESETS if name not in ("gini", "lmoment", "weights")])
def test_locations_sum_to_one(name: str) -> None:
    for n in (4, 7, 25):
        assert rank_weights(PRESETS[name].spelling, n).sum() == pytest.approx(1.0, abs=1e-13)


@pytest.mark.parametrize(("q", "k", "m"), [(0.07, 100, 7), (0.57, 100, 57), (0.29, 100, 29), (0.1, 3000, 300)])
def test_rounding_keeps_no_episode_too_many(q: float, k: int, m: int) -> None:
    for objective in (f"cvar:{q}", f"LowerTailMean:{q}", f"bottom:{m}", f"RangeLowerTailMean:0:{q}"):
        weights = rank_weights(objective, k)
        assert np.count_nonzero(weights) == m, objective
        np.testing.assert_allclose(weights[:m], 1 / m, rtol=1e-12)
    assert np.count_nonzero(rank_weights(f"trimmed_mean:{q}:0", k)) == k - m


def test_tiny_levels_are_the_extremes() -> None:
    assert rank_weights("cvar:1e-12", 8).tolist() == rank_weights("min", 8).tolist()
    assert rank_weights("upper_cvar:1e-300", 8).tolist() == rank_weights("max", 8).tolist()


def test_case_and_underscores_do_not_matter() -> None:
    assert parse_objective("UpperCVaR:0.25") == parse_objective("upper_cvar:0.25")
    assert parse_objective("HARRELL_DAVIS:0.25") == parse_objective("HarrellDavis:0.25")
    assert parse_objective("var:0.25") == parse_objective("QuantileHazen:0.25") == parse_objective("quantile:0.25:HAZEN")


def test_aliases_lead_to_presets() -> None:
    assert {name for name, _ in ALIASES.values()} <= set(PRESETS)
    assert not set(ALIASES) & {name.replace("_", "") for name in PRESETS}


# ---- objects


def test_vectors() -> None:
    for vector in ([0, 0, 1], (0.0, 0.0, 1.0), np.array([0, 0, 1], dtype=np.float32)):
        assert rank_weights(vector, 3).tolist() == [0.0, 0.0, 1.0]
        assert rank_weights(vector, 3.7).tolist() == [0.0, 0.0, 1.0]


def test_arithmetic() -> None:
    mean, gini = Objective("mean"), Objective("gini")
    expected = rank_weights("mean - 0.5*gini", 6)
    for objective in (
        mean - 0.5 * gini,
        mean - gini / 2,
        mean + -0.5 * gini,
        "mean" - gini * 0.5,
        mean - "0.5*gini",
        mean - np.float64(0.5) * gini,
        np.float64(0.5) * (2 * mean - gini),
    ):
        assert isinstance(objective, Objective)
        np.testing.assert_allclose(rank_weights(objective, 6), expected, rtol=0, atol=1e-16)
    vector = np.array([1.0, 0.0, 2.0])
    np.testing.assert_allclose(rank_weights(mean + vector, 3), [4 / 3, 1 / 3, 7 / 3], rtol=1e-15)
    assert vector + mean == tuple(vector) + mean == Objective(vector) + "mean"
    assert vector - mean == Objective(vector) - "mean"


@pytest.mark.parametrize(
    "text",
    [
        "mean - 0.5*gini",
        "-max + 0.1*(cvar:0.3 - harrell_davis:0.2)",
        "quantile:0.3:blom",
        "TopQuantileWeibull:0.1",
        "weights:-1,2.5,1e-7,0",
        "trimmed_mean:0.1:0.2",
    ],
)
def test_str_parses_to_the_same_objective(text: str) -> None:
    objective = parse_objective(text)
    assert parse_objective(str(objective)) == objective
    assert hash(parse_objective(str(objective))) == hash(objective)
    assert eval(repr(objective)) == objective


def test_objectives_of_other_types_are_refused() -> None:
    with pytest.raises(TypeError):
        Objective("mean") * "gini"  # type: ignore[operator]
    for factor in (math.nan, math.inf):
        with pytest.raises(ValueError, match="finite"):
            factor * Objective("mean")
    with pytest.raises(ValueError, match="zero"):
        Objective("mean") / 0
    assert Objective("mean") != "mean"


def test_split_weights_add_up_to_the_rank_weights() -> None:
    objective = Objective("2*mean + max - 3*cvar:0.5 + median")
    either, lowest, highest = objective.split_weights(5)
    np.testing.assert_allclose(either, np.full(5, 0.4), rtol=0, atol=1e-15)
    np.testing.assert_allclose(lowest, [-3 / 2.5, -3 / 2.5, -1.5 / 2.5 + 0.5, 0, 0], rtol=0, atol=1e-15)
    np.testing.assert_allclose(highest, [0, 0, 0.5, 0, 1], rtol=0, atol=1e-15)
    np.testing.assert_allclose(either + lowest + highest, objective.rank_weights(5), rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("objective", "k", "expected"),
    [
        *((objective, 4, True) for objective in ("mean", "cvar:1", "upper_cvar:1", "trimmed:0", "lmoment:1", "top:4")),
        *((objective, 4, False) for objective in ("max", "2*mean", "cvar:0.99")),
        ([0.25] * 4, 4, True),
        ("max", 1, True),
        ("mean", 2.5, True),
        ("0.5*mean + 0.5*mean", 1.5, True),
        ("max", 1.5, False),
        ("mean + max - min", 1.5, False),
    ],
)
def test_is_mean(objective: Any, k: float, expected: bool) -> None:
    assert Objective(objective).is_mean(k) is LStatistic(8, k, objective).is_mean is expected


# ---- annealing


@pytest.mark.parametrize(
    ("start", "target", "fraction", "expected"),
    [
        ("cvar:1", "cvar:0.2", 0.5, "cvar:0.6"),
        ("upper_cvar:1", "upper_cvar:0.2", 0.5, "upper_cvar:0.6"),
        ("mean", "cvar:0.2", 0.5, "0.5*mean + 0.5*cvar:0.2"),
        ("cvar:0.6", "cvar:0.1", 0.2, "cvar:0.5"),
        ("quantile:0.5", "var:0.1", 0.5, "quantile:0.3"),
        ("quantile:0.5:blom", "QuantileBlom:0.1", 0.5, "quantile:0.3:blom"),
        ("harrell_davis:0.5", "harrell_davis:0.1", 0.5, "harrell_davis:0.3"),
        ("mean", "max", 0.25, "0.75*mean + 0.25*max"),
        ("mean", "quantile:0.1", 0.25, "0.75*mean + 0.25*quantile:0.1"),
        ("quantile:0.5:blom", "quantile:0.1", 0.5, "0.5*quantile:0.5:blom + 0.5*quantile:0.1"),
        ("upper_cvar:0.5", "cvar:0.5", 0.5, "0.5*upper_cvar:0.5 + 0.5*cvar:0.5"),
        ("mean", "mean - gini", 0.5, "0.5*mean + 0.5*mean - 0.5*gini"),
        ("2*cvar:0.5", "cvar:0.1", 0.5, "cvar:0.5 + 0.5*cvar:0.1"),
    ],
)
def test_interpolation(start: str, target: str, fraction: float, expected: str) -> None:
    objective = interpolate_objective(start, target, fraction)
    np.testing.assert_allclose(rank_weights(objective, 10), rank_weights(expected, 10), rtol=0, atol=1e-15)
    assert interpolate_objective(start, target, 0.0) == parse_objective(start)
    assert interpolate_objective(start, target, 1.0) == parse_objective(target)


def test_interpolation_with_numpy_scalars_parses() -> None:
    for start, target in (("mean", "cvar:0.5"), ("mean", "max")):
        objective = interpolate_objective(start, target, np.float32(0.25))
        assert parse_objective(str(objective)) == objective == interpolate_objective(start, target, 0.25)


def test_interpolation_of_vectors_and_of_equal_objectives() -> None:
    np.testing.assert_allclose(rank_weights(interpolate_objective([1, 0], [0, 1], 0.25), 2), [0.75, 0.25])
    assert interpolate_objective("mean", "mean", 0.3) == parse_objective("mean")
    for fraction in (-0.1, 1.1, math.nan, "1", b"1"):
        with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
            interpolate_objective("mean", "max", fraction)


# ---- errors


@pytest.mark.parametrize(
    ("objective", "k", "parts"),
    [
        ("cvar:0", 8, ["'cvar:0'", "in (0, 1]", "'min'"]),
        ("cvar:-0.1", 8, ["'cvar:-0.1'", "in (0, 1]", "'min'"]),
        ("upper_cvar:0", 8, ["'upper_cvar:0'", "in (0, 1]", "'max'"]),
        ("cvar:1.5", 8, ["'cvar:1.5'", "in (0, 1]", "'cvar:1.0'"]),
        ("cvar:nan", 8, ["'cvar:nan'", "in (0, 1]", "closest valid spelling"]),
        ("cvar:abc", 8, ["'cvar:abc'", "in (0, 1]", "'cvar:0.25'"]),
        ("mean + cvar:2", 8, ["'mean + cvar:2'", "in (0, 1]", "'cvar:1.0'"]),
        ("quantile:-0.5", 8, ["'quantile:-0.5'", "in [0, 1]", "'quantile:0.0'"]),
        ("var:2:weibull", 8, ["'var:2:weibull'", "in [0, 1]"]),
        ("quantile:0.5:normal", 8, ["'quantile:0.5:normal'", "hazen", "weibull", "blom"]),
        ("QuantileBlom:0.5:hazen", 8, ["takes 1 parameter", "got 2"]),
        ("rank:9", 8, ["'rank:9'", "k = 8", "1..8", "'rank:8'"]),
        ("rank:0", 8, ["'rank:0'", ">= 1", "'rank:1'"]),
        ("rank:1.5", 8, ["'rank:1.5'", "an integer", "'rank:2'"]),
        ("top:9", 8, ["'top:9'", "1..8", "'top:8'"]),
        ("bottom:inf", 8, ["'bottom:inf'", "an integer"]),
        ("top_bottom:9", 8, ["1..8", "'top_bottom:8'"]),
        ("trimmed:4", 8, ["'trimmed:4'", "0..3", "'trimmed:3'"]),
        ("winsorized:4", 8, ["0..3", "'winsorized:3'"]),
        ("trimmed_mean:0.5:0.5", 8, ["'trimmed_mean:0.5:0.5'", "lo + hi < 1"]),
        ("trimmed_mean:0.6:0.6", 1, ["'trimmed_mean:0.6:0.6'", "lo + hi < 1"]),
        ("trimmed_mean:0.5:1.5", 8, ["hi = 1.5", "in [0, 1]", "'trimmed_mean:0.5:1.0'"]),
        ("range_upper_tail_mean:0.5:0.5", 8, ["hi > lo"]),
        ("gini", 1, ["'gini'", "k = 1", "k >= 2"]),
        ("lmoment:5", 4, ["1..4", "'lmoment:4'"]),
        ("weights:1,2", 3, ["'weights:1.0,2.0'", "2 weights", "floor(k) = 3"]),
        ("weights:1,nan", 2, ["'weights:1,nan'", "finite"]),
        ("weights", 2, ["'weights'", "'weights:0.5,0.5'"]),
        ("weights:1:2", 2, ["'weights:1:2'", "'weights:0.5,0.5'"]),
        ("cvar", 8, ["takes 1 parameter", "'cvar:0.25'"]),
        ("mean:0.5", 8, ["takes 0 parameter", "'mean'"]),
        ("cvr:0.1", 8, ["'cvr:0.1'", "closest valid spelling: 'cvar:0.25'"]),
        ("medain", 8, ["'medain'", "'median'"]),
        ("harel_davies:0.5", 8, ["'harrell_davis:0.25'"]),
        ("cvar(0.1)", 8, ["'cvar(0.1)'", "position 4", "'cvar:0.25'"]),
        ("zzz", 8, ["'zzz'", "valid presets: mean"]),
        ("1e400*mean", 8, ["'inf*mean'", "must be a finite number"]),
        ("max - gini/1e-320", 8, ["inf*gini'", "must be a finite number"]),
        ([1.0, math.nan], 2, ["finite"]),
        ([1.0, math.inf], 2, ["finite"]),
        ([[1.0, 2.0]], 2, ["(1, 2)"]),
        ([], 2, ["(0,)"]),
        ([1.0, 2.0], 3, ["2 weights", "floor(k) = 3"]),
        (None, 2, ["None"]),
        (0.5, 2, ["0.5"]),
        (["a"], 2, ["['a']"]),
    ],
)
def test_bad_objectives(objective: object, k: float, parts: list[str]) -> None:
    with pytest.raises(ValueError) as error:
        rank_weights(objective, k)  # type: ignore[arg-type]
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize("k", [0, 0.5, -1, math.nan, math.inf, "4", None, True, 10**9, np.float64(1e300)])
def test_bad_k(k: object) -> None:
    """A k of a billion is refused before its rank weights are made."""
    with pytest.raises(ValueError, match="must be a real number >= 1 and <= 10000000"):
        rank_weights("mean", k)  # type: ignore[arg-type]
