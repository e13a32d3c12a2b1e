"""LStatistic against brute force over all subsets, its properties, and its behaviour in NumPy and torch."""

import itertools
import math
from random import Random
from typing import Any

import numpy as np
import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sb3_ordergrad.lstatistics import LStatistic, rank_weights

OBJECTIVES = [
    "mean",
    "max",
    "min",
    "median",
    "cvar:0.25",
    "cvar:0.6",
    "upper_cvar:0.3",
    "var:0.3",
    "quantile:0.7:weibull",
    "quantile:0.1:blom",
    "top_quantile:0.2",
    "harrell_davis:0.4",
    "rank:{k}",
    "top:{k}",
    "bottom:1",
    "top_bottom:1",
    "trimmed:{half}",
    "trimmed_mean:0.1:0.3",
    "winsorized:{half}",
    "gini",
    "lmoment:1",
    "lmoment:{k}",
    "lower_tail_mean:0.3",
    "upper_tail_mean:0.3",
    "range_lower_tail_mean:0:0.7",
    "range_upper_tail_mean:0:0.7",
    "mean - 0.5*gini",
    "weights:{vector}",
]


def spellings(k: int) -> list[str]:
    """All presets, with parameters that k ranks allow."""
    vector = ",".join(str(round(math.sin(3 * j), 3)) for j in range(k))
    texts = [text.format(k=k, half=(k - 1) // 2, vector=vector) for text in OBJECTIVES]
    return [text for text in texts if k > 1 or "gini" not in text]


def brute_force(x: np.ndarray, k: int, alphas: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Means of ``alphas @ sorted sample`` over all samples of k: shape ``(objectives,)``; and over those with and without each
    member: shape ``(objectives, n)``.
    """
    samples = np.array(list(itertools.combinations(range(len(x)), k)))
    statistics = alphas @ np.sort(x[samples], axis=1).T
    member = (samples[:, :, None] == np.arange(len(x))).any(1).astype(float)
    return statistics.mean(1), statistics @ member / member.sum(0), statistics @ (1 - member) / (1 - member).sum(0)


@pytest.mark.parametrize("n", range(2, 10))
@pytest.mark.parametrize("ties", [False, True])
def test_brute_force_over_all_subsets(n: int, ties: bool) -> None:
    rng = np.random.default_rng(n)
    for k in range(1, n):
        x = rng.integers(0, 3, n).astype(float) if ties else rng.normal(size=n)
        objectives = spellings(k)
        alphas = np.array([rank_weights(objective, k) for objective in objectives])
        values, include_one, leave_one_out = brute_force(x, k, alphas)
        for index, objective in enumerate(objectives):
            statistic = LStatistic(n, k, objective)

            def check(actual: np.ndarray, expected: np.ndarray, objective: str = objective, k: int = k) -> None:
                np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12, err_msg=f"{objective}, k = {k}")

            check(statistic.value(x), values[index])
            check(statistic.include_one(x), include_one[index])
            check(statistic.leave_one_out(x), leave_one_out[index])
            check(statistic.advantages(x), include_one[index] - leave_one_out[index])
            influence = [statistic.influence(x[i], np.delete(x, i)) for i in range(n)]
            check(np.array(influence), k * (include_one[index] - leave_one_out[index]))


@pytest.mark.parametrize("n", range(1, 8))
def test_value_of_the_whole_group(n: int) -> None:
    x = np.random.default_rng(n).normal(size=n)
    for objective in spellings(n):
        statistic = LStatistic(n, n, objective)
        assert statistic.value(x) == pytest.approx(rank_weights(objective, n) @ np.sort(x), abs=1e-14)
        for method in (statistic.advantages, statistic.include_one, statistic.leave_one_out):
            with pytest.raises(ValueError, match=f"k = {n} must be at most group_size - 1 = {n - 1}"):
                method(x)


def test_influence_is_the_definition_at_every_point() -> None:
    rng = np.random.default_rng(0)
    others = rng.integers(0, 4, 6).astype(float)
    points = np.concatenate((rng.normal(2, 3, 40), others))
    for k in (1, 2, 4, 6):
        for objective in spellings(k):
            statistic = LStatistic(7, k, objective)
            expected = [k * statistic.advantages(np.append(x, others))[0] for x in points]
            np.testing.assert_allclose(statistic.influence(points, others), expected, rtol=0, atol=1e-12)


# ---- properties

returns = arrays(np.float64, st.integers(2, 12), elements=st.floats(-100, 100, width=32))


@st.composite
def groups(draw: st.DrawFn) -> tuple[np.ndarray, LStatistic]:
    x = draw(returns)
    k = draw(st.integers(1, len(x) - 1))
    return x, LStatistic(len(x), k, draw(st.sampled_from(spellings(k))))


@settings(max_examples=100, deadline=None)
@given(groups(), st.randoms(use_true_random=False), st.floats(-50, 50), st.floats(0, 10))
def test_permutation_shift_scale_and_sum(
    group: tuple[np.ndarray, LStatistic], random: Random, shift: float, scale: float
) -> None:
    x, statistic = group
    advantages = statistic.advantages(x)
    order = np.array(random.sample(range(len(x)), len(x)))
    tolerance = 1e-11 * (1 + np.abs(statistic.rank_weights).sum())
    np.testing.assert_allclose(statistic.advantages(x[order]), advantages[order], rtol=0, atol=100 * tolerance)
    np.testing.assert_allclose(statistic.advantages(x + shift), advantages, rtol=0, atol=100 * tolerance)
    np.testing.assert_allclose(statistic.advantages(scale * x), scale * advantages, rtol=0, atol=1000 * tolerance)
    assert abs(advantages.sum()) < 100 * tolerance
    moved = statistic.value(x) + shift * statistic.rank_weights.sum()
    np.testing.assert_allclose(statistic.value(x + shift), moved, rtol=0, atol=100 * tolerance)


@settings(max_examples=50, deadline=None)
@given(groups())
def test_better_is_never_worse_under_nonnegative_weights(group: tuple[np.ndarray, LStatistic]) -> None:
    x, statistic = group
    if (statistic.rank_weights >= 0).all():
        assert (np.diff(statistic.advantages(x)[np.argsort(x)]) >= -1e-10).all()


@pytest.mark.parametrize(("n", "k"), [(3, 1), (5, 2), (8, 7), (10, 5)])
def test_maxpo_leave_two_out(n: int, k: int) -> None:
    """MaxPO (arXiv 2606.06080): over samples without i, what the maximum gains if i takes the place of another member."""
    x = np.random.default_rng(n).normal(size=n)
    advantages = LStatistic(n, k, "max").advantages(x)
    for i in range(n):
        gains = [
            max(x[m] for m in {*sample, i} - {j}) - max(x[m] for m in sample)
            for sample in itertools.combinations(sorted(set(range(n)) - {i}), k)
            for j in sample
        ]
        assert advantages[i] == pytest.approx(np.mean(gains), abs=1e-14)


def test_pkpo_vector() -> None:
    """PKPO (arXiv 2505.15201): transformed rewards ``(k/n) q_i``, here less their mean, for 4 samples, 2 of them correct."""
    x = np.array([1.0, 0.0, 1.0, 0.0])
    statistic = LStatistic(4, 2, "max")
    # pass@2 = 1 - C(2, 2) / C(4, 2)
    assert statistic.value(x) == pytest.approx(5 / 6, abs=1e-15)
    rewards = 2 / 4 * statistic.include_one(x)
    np.testing.assert_allclose(rewards - rewards.mean(), [1 / 12, -1 / 12, 1 / 12, -1 / 12], rtol=0, atol=1e-15)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_fractional_k(data: st.DataObject) -> None:
    """What holds for a whole k: weights sum to the sum of alpha, v is the mixture of q and v^(-i), advantages sum to zero."""
    n = data.draw(st.integers(3, 30))
    k = data.draw(st.floats(1.01, n - 1).filter(lambda k: not k.is_integer()))
    x = np.array(data.draw(st.lists(st.floats(-100, 100, width=32), min_size=n, max_size=n)))
    statistic = LStatistic(n, k, data.draw(st.sampled_from(spellings(math.floor(k)))))
    total = statistic.rank_weights.sum()
    tolerance = 1e-9 * (1 + np.abs(statistic.rank_weights).sum())
    for weights in (statistic.value_weights, statistic.leave_one_out_weights):
        assert weights.sum() == pytest.approx(total, abs=tolerance)
        if (statistic.rank_weights >= 0).all():
            assert weights.min() > -tolerance
    value, advantages = statistic.value(x), statistic.advantages(x)
    assert abs(advantages.sum()) < tolerance
    assert statistic.value(x + 1000.0) == pytest.approx(value + 1000.0 * total, abs=100 * tolerance)
    np.testing.assert_allclose(statistic.advantages(x + 1000.0), advantages, rtol=0, atol=100 * tolerance)
    include_one, leave_one_out = statistic.include_one(x), statistic.leave_one_out(x)
    np.testing.assert_allclose(k / n * include_one + (1 - k / n) * leave_one_out, value, rtol=0, atol=100 * tolerance)
    np.testing.assert_allclose(include_one - leave_one_out, advantages, rtol=0, atol=100 * tolerance)
    influence = [statistic.influence(x[i], np.delete(x, i)) for i in range(n)]
    np.testing.assert_allclose(influence, k * advantages, rtol=0, atol=1000 * tolerance)


@pytest.mark.parametrize(
    ("objective", "mirrored"),
    [("max", "min"), ("top:2", "bottom:2"), ("upper_cvar:0.3", "cvar:0.3"), ("top_quantile:0.2", "quantile:0.2")]
    + [("upper_tail_mean:0.3", "lower_tail_mean:0.3"), ("range_upper_tail_mean:0:0.5", "range_lower_tail_mean:0:0.5")]
    + [(objective, objective) for objective in ("mean", "median", "gini", "trimmed:1", "winsorized:1", "harrell_davis:0.5")],
)
def test_fractional_k_is_symmetric(objective: str, mirrored: str) -> None:
    """What the highest ranks are to the returns, the lowest ranks are to the negative returns."""
    sign = -1.0 if objective == "gini" else 1.0
    for k in (3.3, 6.5):
        weights = LStatistic(9, k, objective).value_weights
        np.testing.assert_allclose(weights, sign * LStatistic(9, k, mirrored).value_weights[::-1], rtol=0, atol=1e-14)


def test_fractional_k_counts_from_the_objectives_end() -> None:
    x = np.full(32, 100.0)
    for objective in ("max", "min", "mean", "median", "upper_cvar:0.3"):
        assert LStatistic(32, 16.5, objective).value(x) == pytest.approx(100.0, abs=1e-10)
    # best of 1.5: between the mean and the best of 2, though all of them have the single rank weight 1
    returns = np.arange(8.0)
    values = [
        LStatistic(8, k, objective).value(returns) for k, objective in ((2, "min"), (1.5, "min"), (1.5, "max"), (2, "max"))
    ]
    assert values == sorted(values)
    assert values[1] < LStatistic(8, 1.5, "mean").value(returns) == 3.5 < values[2]
    assert LStatistic(8, 1.5, "median").value(returns) == pytest.approx(3.5, abs=1e-14)


# ---- batches, kinds of arrays


@pytest.mark.parametrize("shape", [(64, 16), (3, 5, 16), (0, 16), (2, 300)])
@pytest.mark.parametrize("method", ["value", "include_one", "leave_one_out", "advantages"])
def test_batches_equal_the_loop(shape: tuple[int, ...], method: str) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    statistic = LStatistic(shape[-1], 5, "cvar:0.3 + 0.1*gini")
    result = getattr(statistic, method)(x)
    loop = [getattr(statistic, method)(row) for row in x.reshape(-1, shape[-1])]
    assert result.shape == (shape[:-1] if method == "value" else shape)
    np.testing.assert_allclose(np.ravel(result), np.ravel(loop), rtol=0, atol=1e-14)


@pytest.mark.parametrize("n", [100, 128, 129, 400])
def test_matrix_and_scan_agree(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(size=(3, n)) - 1e4
    results = []
    for limit in (1, 1000):
        monkeypatch.setattr("sb3_ordergrad.lstatistics.estimators._MATRIX_SIZE", limit)
        results.append(LStatistic(n, n // 2, "mean - 0.5*gini + cvar:0.1").advantages(x))
    np.testing.assert_allclose(results[0], results[1], rtol=0, atol=1e-11)


@pytest.mark.parametrize("n", [16, 1000])
def test_dtypes_devices_and_kinds(n: int) -> None:
    x = np.random.default_rng(0).normal(size=(4, n))
    original = x.copy()
    statistic = LStatistic(n, 5, "upper_cvar:0.3")
    devices = ["cpu", *(["cuda"] if th.cuda.is_available() else [])]
    for name in ("value", "include_one", "leave_one_out", "advantages"):
        method = getattr(statistic, name)
        expected = method(x)
        assert isinstance(expected, np.ndarray) and expected.dtype == np.float64
        for kind in (x.astype(np.float32), x.tolist()):
            np.testing.assert_allclose(method(kind), expected, rtol=0, atol=1e-6)
        for device, (dtype, tolerance) in itertools.product(devices, [(th.float32, 2e-6), (th.float64, 1e-13)]):
            result = method(th.as_tensor(x, dtype=dtype, device=device))
            assert result.dtype == dtype and result.device.type == device
            np.testing.assert_allclose(result.cpu(), expected, rtol=0, atol=tolerance)
        assert method(th.zeros(n, dtype=th.int64)).dtype == th.float32
    influence = statistic.influence(x, x[0, 1:])
    assert influence.dtype == np.float64
    for device, dtype in itertools.product(devices, [th.float32, th.float64]):
        tensor = th.as_tensor(x, dtype=dtype, device=device)
        result = statistic.influence(tensor, tensor[0, 1:])
        assert result.dtype == dtype and result.device.type == device
        np.testing.assert_allclose(result.cpu(), influence, rtol=0, atol=1e-5 if dtype == th.float32 else 1e-12)
    np.testing.assert_array_equal(x, original)


def test_scalars() -> None:
    statistic = LStatistic(4, 2, "max")
    x = np.array([1.0, 2.0, 3.0, 4.0])
    x.flags.writeable = False
    assert np.ndim(statistic.value(x)) == 0
    point: Any = 2.0
    assert np.ndim(statistic.influence(point, x[:3])) == 0
    assert statistic.value(th.tensor(x.tolist())).shape == ()


def test_large_offsets_in_float32() -> None:
    x = th.randn(32, 16, dtype=th.float64)
    statistic = LStatistic(16, 4, "cvar:0.5")
    shifted = (x.float() + 4096.0).double()
    np.testing.assert_allclose(statistic.advantages(shifted.float()), statistic.advantages(shifted).float(), rtol=0, atol=1e-6)


def test_gradient_of_value_is_the_pathwise_weights() -> None:
    statistic = LStatistic(8, 3, "cvar:0.5")
    x = th.randn(5, 8, dtype=th.float64, requires_grad=True)
    statistic.value(x).sum().backward()
    assert x.grad is not None
    expected = th.as_tensor(statistic.value_weights)[x.argsort(-1).argsort(-1)]
    assert th.equal(x.grad, expected)
    assert th.autograd.gradcheck(statistic.value, (x,))
    for method in (statistic.advantages, statistic.include_one, statistic.leave_one_out):
        assert not method(x).requires_grad
    assert not statistic.influence(x, x[0, 1:]).requires_grad


# ---- errors


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("n", [16, 300])
def test_returns_that_are_not_finite(bad: float, n: int) -> None:
    statistic = LStatistic(n, 5, "cvar:0.5")
    x = np.zeros((3, n))
    x[1, 4] = bad
    values: Any
    for values in (x, th.as_tensor(x), th.as_tensor(x, dtype=th.float32), np.full((3, n), bad)):
        for method in (statistic.value, statistic.advantages, statistic.include_one, statistic.leave_one_out):
            with pytest.raises(ValueError, match=f"x holds {bad}.*must be finite"):
                method(values)
    with pytest.raises(ValueError, match=f"others holds {bad}"):
        statistic.influence(np.zeros(2), x[1, 1:])
    with pytest.raises(ValueError, match=f"x holds {bad}"):
        statistic.influence(x, np.zeros(n - 1))


@pytest.mark.parametrize("n", [16, 300])
def test_no_value_is_read_back_without_the_check(n: int) -> None:
    statistic = LStatistic(n, 5, "cvar:0.5", check_finite=False)
    x = th.zeros(3, n)
    x[1, 4] = math.nan
    for method in (statistic.value, statistic.advantages, statistic.include_one, statistic.leave_one_out):
        result = method(x)
        assert th.isnan(result[1]).all() and th.isfinite(result[::2]).all()
    assert np.isnan(statistic.influence(x[1].numpy(), np.zeros(n - 1))[4])
    # a tensor of the meta device has no values: reading one fails
    meta = th.zeros(3, n, device="meta")
    assert statistic.advantages(meta).shape == (3, n) and statistic.value(meta).shape == (3,)
    with pytest.raises(RuntimeError, match="meta"):
        LStatistic(n, 5, "cvar:0.5").advantages(meta)


def test_large_finite_returns_are_no_error() -> None:
    x = th.full((1000, 4), 3e38)
    x[:, :2] = 0.0
    assert th.isfinite(LStatistic(4, 2, "max").value(x)).all()
    assert th.isfinite(LStatistic(4, 2, "max").advantages(x)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((8, 9, "mean"), r"k = 9 must be in \[1, group_size = 8\]"),
        ((8, 0, "mean"), "k = 0 must be a real number >= 1"),
        ((0, 1, "mean"), "group_size = 0 must be an integer >= 1"),
        ((2.5, 1, "mean"), r"group_size = 2\.5 must be an integer >= 1"),
        (("8", 1, "mean"), "group_size = '8' must be an integer >= 1"),
        ((8, 4, "rank:9"), r"'rank:9' with k = 4.*1\.\.4.*'rank:4'"),
        ((8, 4, [1.0, 2.0]), r"floor\(k\) = 4"),
    ],
)
def test_bad_constructor_arguments(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LStatistic(*arguments)


def test_bad_shapes() -> None:
    statistic = LStatistic(8, 4, "mean")
    x: Any
    for x in (np.zeros(7), np.zeros((8, 3)), np.float64(1.0), th.zeros(2, 9)):
        for method in (statistic.value, statistic.advantages):
            with pytest.raises(ValueError, match="group_size = 8"):
                method(x)
    with pytest.raises(ValueError, match=r"others has shape \(8,\), needs \(group_size - 1,\) = \(7,\)"):
        statistic.influence(np.zeros(3), np.zeros(8))
    with pytest.raises(ValueError, match=r"k = 7\.5 must be at most group_size - 1 = 7"):
        LStatistic(8, 7.5, "min").advantages(np.zeros(8))
