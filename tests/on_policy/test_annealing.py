"""The objective moves only while it does not improve by itself."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.base_class import BaseAlgorithm
from toy_envs import RolloutLog, ToyEnv, small

from sb3_ordergrad import OrderA2C, OrderPPO
from sb3_ordergrad.common.annealing import DURATION, HOLD, MIN_INTERVAL, START, AdaptiveAnnealing
from sb3_ordergrad.lstatistics import parse_objective

CVAR = parse_objective("cvar:0.25")
STEPS = np.linspace(0.0, 1.0, 201)


def fractions(value_at: Callable[[float], float], n_episodes: int = 40, k: float = 16) -> np.ndarray:
    """The share of the objective throughout a training whose episodes all return ``value_at(progress)``."""
    annealing, shares = AdaptiveAnnealing(), []
    for progress in STEPS:
        annealing.update([value_at(progress)] * n_episodes, progress, k, CVAR)
        shares.append(annealing.fraction)
    return np.array(shares)


def test_share_stays_while_the_objective_improves() -> None:
    assert (fractions(lambda progress: progress) == START).all()


@pytest.mark.parametrize("value_at", [lambda progress: 0.0, lambda progress: -progress], ids=["constant", "falling"])
def test_share_rises_otherwise(value_at: Callable[[float], float]) -> None:
    share = fractions(value_at)
    assert (share[STEPS <= HOLD] == START).all()
    rising = (share > START) & (share < 1.0)
    np.testing.assert_allclose(np.diff(share[rising]), (STEPS[1] - STEPS[0]) / DURATION)
    assert (share[STEPS > HOLD + DURATION] == 1.0).all()


def test_share_stops_while_the_objective_improves_again() -> None:
    share = fractions(lambda progress: max(progress, 0.33) - 0.33)
    stopped = share[STEPS > 0.33 + 3 * MIN_INTERVAL]
    assert START < stopped[0] < 1.0 and (stopped == stopped[0]).all()


@pytest.mark.parametrize("k", [16, 5000.5])
def test_measurements_need_enough_episodes(k: float) -> None:
    """With one episode in each update, few measurements are made, or none."""
    assert (fractions(lambda progress: -progress, n_episodes=1, k=k)[STEPS < 0.35] == START).all()
    assert fractions(lambda progress: -progress, n_episodes=10_000, k=k)[-1] == 1.0


def test_only_the_objective_counts() -> None:
    """The mean of the returns rises, the mean of their lower quarter falls."""
    annealing = AdaptiveAnnealing()
    for progress in STEPS:
        annealing.update([-progress] * 20 + [10.0 * progress] * 20, progress, 16, CVAR)
    assert annealing.fraction == 1.0


def test_continued_training() -> None:
    """The share goes on from where it was, with measurements of its own."""
    annealing = AdaptiveAnnealing()
    for progress in STEPS[STEPS <= HOLD + 0.5 * DURATION]:
        annealing.update([0.0] * 40, progress, 16, CVAR)
    before = annealing.fraction
    assert START < before < 1.0
    for progress in 0.5 * STEPS:
        annealing.update([0.0] * 40, progress, 16, CVAR)
    assert annealing.fraction == 1.0
    assert before == pytest.approx(START + 0.5, abs=0.1)


@pytest.mark.parametrize("algorithm", [OrderPPO, OrderA2C])
def test_training(algorithm: type[BaseAlgorithm], tmp_path: Any) -> None:
    """The log follows it, a saved model continues it, and another training starts it again."""
    env = ToyEnv(lengths=[1], rewards=np.linspace(0.0, -100.0, 2000).tolist())
    settings = small(algorithm, objective="cvar:0.5", k=2, group_size=4, anneal=None)
    model: Any = algorithm("MlpPolicy", env, **settings)
    log = RolloutLog()
    model.learn(800, callback=log)
    shares = [entry["train/anneal_fraction"] for entry in log.log]
    assert shares[0] == START and shares[-1] == 1.0 and (np.diff(shares) >= 0.0).all()
    model.save(tmp_path / "model")
    loaded: Any = algorithm.load(tmp_path / "model", env=env, device="cpu")
    assert loaded.anneal is None and loaded.anneal_fraction == 1.0
    loaded.learn(8, reset_num_timesteps=False)
    assert loaded.anneal_fraction == 1.0
    loaded.learn(8)
    assert loaded.anneal_fraction == START
