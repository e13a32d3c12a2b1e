"""Advantages of groups of different sizes in one flat vector."""

import math

import numpy as np
import pytest
import torch as th

from sb3_ordergrad.lstatistics import LStatistic, grouped_advantages


def test_grouped_advantages_equal_the_loop() -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(-3, 20, 400) * 7
    ids[:3] = 1000
    x = rng.normal(size=400)
    expected = np.zeros(400)
    for group in np.unique(ids):
        member = ids == group
        if member.sum() > 8:
            expected[member] = LStatistic(int(member.sum()), 8, "cvar:0.25").advantages(x[member])
    result = grouped_advantages(x, ids, 8, "cvar:0.25")
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-14)
    assert (result[:3] == 0).all() and (expected != 0).any()
    np.testing.assert_allclose(grouped_advantages(x, ids.astype(str), 8, "cvar:0.25"), expected, rtol=0, atol=1e-14)
    tensor = grouped_advantages(th.as_tensor(x, dtype=th.float32), th.as_tensor(ids), 8, "cvar:0.25")
    assert tensor.dtype == th.float32
    np.testing.assert_allclose(tensor, expected, rtol=0, atol=1e-6)
    of_names = grouped_advantages(th.as_tensor(x), ids.astype(str), 8, "cvar:0.25")
    np.testing.assert_allclose(of_names, expected, rtol=0, atol=1e-14)


def test_grouped_advantages_of_whole_numbers() -> None:
    x, ids = [1, 5, 2, 9, 4], [0, 0, 1, 1, 1]
    # the group 2, 9, 4: each less the mean of the two others
    expected = [-4.0, 4.0, -4.5, 6.0, -1.5]
    np.testing.assert_allclose(grouped_advantages(np.array(x), np.array(ids), 1, "max"), expected, atol=1e-14)
    tensor = grouped_advantages(th.tensor(x), th.tensor(ids), 1, "max")
    assert tensor.dtype == th.float32
    np.testing.assert_allclose(tensor, expected, atol=1e-6)


def test_groups_at_the_limit() -> None:
    x, ids = np.array([1.0, 5.0, 2.0, 9.0, 4.0]), np.array([0, 0, 1, 1, 1])
    np.testing.assert_array_equal(grouped_advantages(x, ids, 2, "max")[:2], [0.0, 0.0])
    assert np.any(grouped_advantages(x, ids, 2, "max")[2:] != 0)
    assert not np.any(grouped_advantages(x, ids, 2.5, "max"))
    assert grouped_advantages(np.zeros(0), np.zeros(0, dtype=int), 2, "max").shape == (0,)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_returns_that_are_not_finite(bad: float) -> None:
    x = np.array([0.0, 1.0, 2.0, bad, 4.0, 5.0])
    for one in (x, th.as_tensor(x), th.as_tensor(x, dtype=th.bfloat16)):
        with pytest.raises(ValueError, match=f"x holds {bad}.*must be finite"):
            grouped_advantages(one, np.zeros(6), 2, "max")
    result = grouped_advantages(x, np.array([0, 0, 0, 1, 1, 1]), 2, "max", check_finite=False)
    assert np.isfinite(result[:3]).all() and not np.isfinite(result[3:]).any()


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"one shape \(n,\)"):
        grouped_advantages(np.zeros(3), np.zeros(4), 2, "max")
    with pytest.raises(ValueError, match=r"1\.\.2"):
        grouped_advantages(np.zeros(3), np.zeros(3), 2, "rank:3")
