"""GroupInfluence against LStatistic.influence with the member left out."""

import numpy as np
import pytest

from sb3_ordergrad.lstatistics import GroupInfluence, LStatistic


@pytest.mark.parametrize("objective", ["mean", "cvar:0.3", "max", "median", "mean - 0.5*max"])
@pytest.mark.parametrize(("group_size", "k"), [(2, 1), (3, 1), (3, 2), (9, 4), (40, 16)])
def test_equals_influence_without_the_member(objective: str, group_size: int, k: int) -> None:
    rng = np.random.default_rng(group_size)
    lstatistic = LStatistic(group_size, k, objective)
    for group in (rng.normal(size=group_size), rng.integers(0, 3, group_size).astype(float)):
        influence = GroupInfluence(lstatistic, group)
        points = np.concatenate([group, rng.normal(size=20) * 3, [-100.0, 100.0]])
        for member in range(group_size):
            expected = lstatistic.influence(points, np.delete(group, member))
            actual = influence(points, np.full(points.shape, member))
            np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-11)
        advantages = influence(group, np.arange(group_size))
        np.testing.assert_allclose(advantages, k * lstatistic.advantages(group), rtol=0, atol=1e-11)


def test_two_dimensional_points() -> None:
    influence = GroupInfluence(LStatistic(6, 3, "cvar:0.5"), np.arange(6.0))
    points, member = np.linspace(-1, 7, 12).reshape(3, 4), np.arange(12).reshape(3, 4) % 6
    np.testing.assert_array_equal(influence(points, member).ravel(), influence(points.ravel(), member.ravel()))


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"shape \(3,\), needs \(group_size,\) = \(4,\)"):
        GroupInfluence(LStatistic(4, 2, "max"), np.zeros(3))
    with pytest.raises(ValueError, match="holds nan"):
        GroupInfluence(LStatistic(2, 1, "mean"), np.array([0.0, np.nan]))
