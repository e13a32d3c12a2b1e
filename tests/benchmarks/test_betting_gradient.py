from typing import Any

import numpy as np
import pytest
from repository import ROOT, load_script

gradient = load_script(ROOT / "benchmarks" / "betting_gradient.py")


@pytest.fixture(scope="module")
def game() -> Any:
    return gradient.build_game()


def test_the_mean_is_ascended_to_its_optimum(game: Any) -> None:
    ascent = gradient.Ascent("mean", lambda progress: 2, lambda progress: "mean")
    optimum, _ = gradient.maximise(game.layers, lambda returns: returns)
    assert gradient.ascend(game, ascent, step_size=20.0, n_steps=60) @ game.returns == pytest.approx(optimum, abs=0.05)


@pytest.mark.slow
def test_a_higher_level_first_ends_higher(game: Any) -> None:
    ends = [gradient.ascend(game, ascent, 2.0, 100) for ascent in (gradient.ASCENTS[0], gradient.ASCENTS[-1])]
    direct, from_half = (gradient.cvar(game.returns, chances, gradient.LEVEL) for chances in ends)
    assert from_half > direct + 5.0


def test_policies_stop_at_their_threshold(game: Any) -> None:
    rows = np.array(gradient.thresholds(game))
    low = rows[:, 0] <= 120
    assert np.abs(rows[low, 1] - rows[low, 0]).max() < 2.0
    # the CVaR of the game's optimum, and no more
    assert 36.0 < rows[:, 2].max() <= 36.52
