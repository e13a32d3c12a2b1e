"""The expected remaining return b_t, and the running standard deviation that scales the value targets."""

import numpy as np
import pytest

from sb3_ordergrad.common.episodes import Episode
from sb3_ordergrad.common.remaining_return import RemainingReturn, is_counted
from sb3_ordergrad.common.return_std import MEMORY, RunningReturnStd
from sb3_ordergrad.lstatistics import LStatistic


def test_remaining_return_by_hand() -> None:
    remaining = RemainingReturn()
    assert remaining(np.array([0, 5])).tolist() == [0.0, 0.0]
    # collected before each step: 0, 1 of 4 in all; 0, 2, 3 of 6
    first, second = Episode("", 4.0, np.array([0.0, 1.0])), Episode("", 6.0, np.array([0.0, 2.0, 3.0]))
    remaining.update([first, second], half_life=2)
    np.testing.assert_allclose(remaining(np.arange(5)), [5.0, 3.5, 3.0, 3.0, 3.0])
    # two more episodes halve the weight of the first two
    short = Episode("", 8.0, np.array([0.0]))
    remaining.update([short, short], half_life=2)
    np.testing.assert_allclose(remaining(np.arange(3)), [(5 + 16) / 3, 3.5, 3.0])
    # steps that no episode has reached for long are forgotten, and take the value of the last one that was reached
    for _ in range(100):
        remaining.update([Episode("", -8.0, np.array([0.0]))], half_life=2)
    np.testing.assert_allclose(remaining(np.arange(3)), [-8.0, -8.0, -8.0])


@pytest.mark.parametrize(
    ("objective", "outlier", "counts"),
    [
        ("mean", 1e6, True),
        ("trimmed_mean:0.25:0.25", 1e6, False),
        ("trimmed_mean:0.25:0.25", -1e6, False),
        ("cvar:0.25", 1e6, False),
        ("cvar:0.25", -1e6, True),
        ("max", -1e6, False),
        ("max - min", -1e6, True),
        ("trimmed_mean:0.25:0.25", 12.0, True),
    ],
)
def test_outliers_count_where_the_objective_heeds_them(objective: str, outlier: float, counts: bool) -> None:
    returns = np.append(np.arange(19.0), outlier)[[*range(1, 20), 0]]
    expected = np.ones(20, dtype=bool)
    expected[18] = counts
    assert is_counted(LStatistic(20, 8, objective), returns).tolist() == expected.tolist()


def updated(scale: RunningReturnStd, rewards: np.ndarray, starts: np.ndarray, ranked: bool = True) -> float:
    return scale.update(rewards, np.full(rewards.shape, ranked), starts.astype(float), 0.9)


def test_return_std_is_the_deviation_of_discounted_sums() -> None:
    rng = np.random.default_rng(0)
    rewards, starts = rng.normal(size=(40, 3)) * 7, rng.random((40, 3)) < 0.2
    sums, expected = np.zeros(3), []
    for step in range(40):
        sums = np.where(starts[step], 0.0, 0.9 * sums) + rewards[step]
        expected.append(sums)
    scale = RunningReturnStd()
    # split over rollouts; SB3's running estimate starts with a ten-thousandth of an observation
    updated(scale, rewards[:11], starts[:11])
    np.testing.assert_allclose(updated(scale, rewards[11:], starts[11:]), np.std(expected), rtol=1e-3)
    assert updated(RunningReturnStd(), np.zeros((5, 2)), np.zeros((5, 2))) >= 1e-4
    # one-step episodes with equal rewards
    np.testing.assert_allclose(updated(RunningReturnStd(), np.full((50, 2), -7.0), np.ones((50, 2))), 0.7, rtol=1e-3)


def test_return_std_forgets() -> None:
    rng = np.random.default_rng(0)
    scale, starts = RunningReturnStd(), np.ones((100, 10))
    for _ in range(100):
        updated(scale, 1000 * rng.normal(size=(100, 10)), starts)
    # the variance of the old million fades like exp(-n / MEMORY)
    for _ in range(round(MEMORY / 1000)):
        deviation = updated(scale, rng.normal(size=(100, 10)), starts)
    assert deviation == pytest.approx(1000 * np.exp(-0.5), rel=0.05)
    # plain rewards count only until a group can be ranked
    scale = RunningReturnStd()
    assert updated(scale, np.full((10, 10), 1e6), starts[:10], ranked=False) > 1e4
    assert updated(scale, rng.normal(size=(100, 10)), starts) == pytest.approx(1.0, rel=0.1)
    assert updated(scale, np.full((10, 10), 1e6), starts[:10], ranked=False) == pytest.approx(1.0, rel=0.1)
