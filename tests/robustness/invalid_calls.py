"""Bad arguments of functions, environments, wrappers and files, and objectives with random slips of the pen."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import matplotlib
import numpy as np
from robustness.configurations import one_of
from robustness.invalid_models import INF, NAN, NOT_NUMBERS, bad_objective
from robustness.random_envs import RandomEpisodes
from robustness.random_objectives import Rng, draw_objective

from sb3_ordergrad import evaluation
from sb3_ordergrad.envs import HeavyTailReward, NoisyRegion, ReturnToDate, SpeedPenalty
from sb3_ordergrad.envs.betting_game import BettingGameEnv
from sb3_ordergrad.evaluation import ObjectiveEvalCallback, ReturnDistribution
from sb3_ordergrad.lstatistics import (
    LStatistic,
    Objective,
    exact_lstatistic,
    grouped_advantages,
    interpolate_objective,
    parse_objective,
    rank_weights,
)

matplotlib.use("agg")

RETURNS = np.arange(8.0)
STATISTIC = LStatistic(8, 4, "cvar:0.5")
DISTRIBUTION = ReturnDistribution(RETURNS, np.ones(8, dtype=int))
NO_COUNTS: tuple[Any, ...] = (0, -1, 0.5, 2.5, -(10**9), *NOT_NUMBERS)
NO_PROBABILITIES: tuple[Any, ...] = (-0.1, 1.1, 10**9, *NOT_NUMBERS)
NO_LEVELS: tuple[Any, ...] = (0, *(value for value in NO_PROBABILITIES if not isinstance(value, (str, bytes))))
NO_POSITIVES: tuple[Any, ...] = (0, -1.0, *NOT_NUMBERS)
# A fraction is a size, too
NO_SIZES_OF_8: tuple[Any, ...] = (9, 10**9, 1e300, *(value for value in NO_COUNTS if value != 2.5))
# Not eight returns
NO_RETURNS: tuple[Any, ...] = (
    np.arange(7.0),
    np.arange(9.0),
    np.zeros((8, 2)),
    np.array([NAN] * 8),
    [1.0] * 7 + [INF],
    [],
    ["a"] * 8,
)
NOT_FINITE: tuple[Any, ...] = ([NAN, 1.0], [1.0, -INF], np.full(4, NAN))
# What is no file of returns, and what of it a message has to name besides the file
FILES = (
    "",
    "\n",
    "episode,return\n0,1\n",
    "return,length\n",
    "return,length\n1\n",
    "return,length\n1,\n",
    "return,length\n1,2\n3",
    "return,length\nx,1\n",
    "return,length\n1,x\n",
    "return,length\nnan,1\n",
    "return,length\ninf,1\n",
    "return,length\n1,inf\n",
    "return,length\n1,nan\n",
    "return,length\n1,1e400\n",
    "return,length\n1,0\n",
    "return,length\n1,-3\n",
    "return,length\n1,2.5\n",
    "return,length\n\x00\x00,1\n",
    "return;length\n1;1\n",
    "\x89PNG\r\n",
)


class _Still:
    """A policy that does not move."""

    def predict(self, observation: Any, state: Any = None, **kwargs: Any) -> tuple[np.ndarray, Any]:
        return np.zeros((len(observation), 2), dtype=np.float32), state


def _from_csv(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "returns.csv")
        path.write_text(text)
        try:
            ReturnDistribution.from_csv(path)
        except ValueError as error:
            assert "returns.csv" in str(error), f"The message does not name the file: {error}"
            # The name of the file stands for its content
            raise ValueError(text) from error


def _env(env_id: str, parameter: str) -> Callable[[Any], object]:
    return lambda value: gym.make(env_id, **{parameter: value})


def _walk() -> gym.Env[Any, Any]:
    return RandomEpisodes()


Draw = Callable[[Rng], Any]


def among(*values: Any) -> Draw:
    return lambda rng: one_of(rng, *values)


def objective(rng: Rng) -> Any:
    """No objective of four returns."""
    return bad_objective(rng, 4)


# what is called with a bad value -> the call, and the draw of the value
CALLS: dict[str, tuple[Callable[[Any], object], Draw]] = {
    "LStatistic(group_size)": (lambda x: LStatistic(x, 1, "mean"), among(*NO_COUNTS)),
    "LStatistic(k)": (lambda x: LStatistic(8, x, "mean"), among(*NO_SIZES_OF_8)),
    "LStatistic(objective)": (lambda x: LStatistic(8, 4, x), objective),
    "LStatistic.value": (STATISTIC.value, among(*NO_RETURNS)),
    "LStatistic.advantages": (STATISTIC.advantages, among(*NO_RETURNS)),
    "LStatistic.include_one": (STATISTIC.include_one, among(*NO_RETURNS)),
    "LStatistic.influence(x)": (lambda x: STATISTIC.influence(x, RETURNS[1:]), among(*NOT_FINITE)),
    "LStatistic.influence(others)": (lambda x: STATISTIC.influence(RETURNS, x), among(*NO_RETURNS[1:])),
    "exact_lstatistic(values)": (lambda x: exact_lstatistic(x, [0.5, 0.5], 2, "max"), among(*NOT_FINITE, [1.0], [[1.0, 2.0]])),
    "exact_lstatistic(probs)": (
        lambda x: exact_lstatistic([1.0, 2.0], x, 2, "max"),
        among([0.5, 0.4], [-0.5, 1.5], [1.0], [NAN, 1.0], [2.0, -1.0], [0.5, 0.5, 0.0]),
    ),
    "exact_lstatistic(k)": (lambda x: exact_lstatistic([1.0, 2.0], [0.5, 0.5], x, "max"), among(0, -0.5, -1, *NOT_NUMBERS)),
    "exact_lstatistic(objective)": (lambda x: exact_lstatistic([1.0, 2.0], [0.5, 0.5], 4, x), objective),
    "grouped_advantages(x)": (lambda x: grouped_advantages(x, np.zeros(8), 2, "max"), among(*NO_RETURNS)),
    "grouped_advantages(group_ids)": (
        lambda x: grouped_advantages(RETURNS, x, 2, "max"),
        among(np.zeros(7), [], np.zeros((8, 1))),
    ),
    "grouped_advantages(k)": (lambda x: grouped_advantages(RETURNS, np.zeros(8), x, "max"), among(0, 0.5, -1, *NOT_NUMBERS)),
    "grouped_advantages(objective)": (lambda x: grouped_advantages(RETURNS, np.zeros(8), 4, x), objective),
    "rank_weights(objective)": (lambda x: rank_weights(x, 4), objective),
    "rank_weights(k)": (lambda x: rank_weights("mean", x), among(0, 0.5, -1, *NOT_NUMBERS)),
    "interpolate_objective(fraction)": (lambda x: interpolate_objective("mean", "max", x), among(*NO_PROBABILITIES)),
    "interpolate_objective(start)": (lambda x: interpolate_objective(x, "max", 0.5).rank_weights(4), objective),
    "Objective * x": (lambda x: Objective("mean") * x, among(NAN, INF, -INF)),
    "Objective / x": (lambda x: Objective("mean") / x, among(0, 0.0, NAN)),
    "ReturnDistribution(returns)": (lambda x: ReturnDistribution(x, np.ones(8, dtype=int)), among(*NO_RETURNS)),
    "ReturnDistribution(lengths)": (lambda x: ReturnDistribution(RETURNS, x), among(*NO_RETURNS[:3], [0] * 8, [-1] * 8)),
    "ReturnDistribution.cvar": (DISTRIBUTION.cvar, among(*NO_LEVELS)),
    "ReturnDistribution.best_of": (DISTRIBUTION.best_of, among(*NO_SIZES_OF_8)),
    "ReturnDistribution.interval(statistic)": (lambda x: DISTRIBUTION.interval(x, 4, n_resamples=50), objective),
    "ReturnDistribution.interval(k)": (lambda x: DISTRIBUTION.interval("max", x), among(8, *NO_SIZES_OF_8[:4], "4", NAN)),
    "ReturnDistribution.interval(confidence)": (
        lambda x: DISTRIBUTION.interval("mean", confidence=x),
        among(1, *NO_LEVELS),
    ),
    "ReturnDistribution.interval(n_resamples)": (lambda x: DISTRIBUTION.interval("mean", n_resamples=x), among(*NO_COUNTS)),
    "ReturnDistribution.interval(method)": (lambda x: DISTRIBUTION.interval("mean", method=x), among("bca ", "", None, 3, [])),
    "ReturnDistribution.compare(confidence)": (
        lambda x: DISTRIBUTION.compare(DISTRIBUTION, confidence=x),
        among(1, *NO_LEVELS),
    ),
    "ReturnDistribution.from_csv": (_from_csv, among(*FILES)),
    "evaluation.cvar": (lambda x: evaluation.cvar(RETURNS, x), among(*NO_LEVELS)),
    "evaluation.best_of(k)": (lambda x: evaluation.best_of(RETURNS, x), among(*NO_SIZES_OF_8)),
    "evaluation.best_of(x)": (lambda x: evaluation.best_of(x, 1), among(*NOT_FINITE, [], ["a"])),
    "evaluation.bootstrap_over_seeds": (evaluation.bootstrap_over_seeds, among([], [[NAN] * 9], [[[1.0]]], [["a"] * 9])),
    "evaluation.dominance(order)": (lambda x: evaluation.dominance(RETURNS, RETURNS, x), among(0, 3, -1, "1", None, NAN)),
    "evaluation.dominance(x)": (lambda x: evaluation.dominance(x, RETURNS, 1), among(*NOT_FINITE, [])),
    "evaluation.dominance(level)": (lambda x: evaluation.dominance(RETURNS, RETURNS, 1, x), among(0, 1, *NO_LEVELS)),
    "evaluate_distribution(n_eval_episodes)": (
        lambda x: evaluation.evaluate_distribution(_Still(), _walk(), x),  # type: ignore[arg-type]
        among(*NO_COUNTS),
    ),
    "ObjectiveEvalCallback(objective)": (lambda x: ObjectiveEvalCallback(objective=x, n_eval_episodes=4), objective),
    "ObjectiveEvalCallback(k)": (lambda x: ObjectiveEvalCallback(k=x, n_eval_episodes=8), among(*NO_SIZES_OF_8[:5], "4", NAN)),
    "ObjectiveEvalCallback(n_eval_episodes)": (lambda x: ObjectiveEvalCallback(n_eval_episodes=x), among(*NO_COUNTS)),
    "plot_return_distributions(returns)": (
        lambda x: evaluation.plot_return_distributions({"a": [x]}),
        among(*NOT_FINITE, [], [[1.0]], ["a"]),
    ),
    "plot_return_distributions(kind)": (
        lambda x: evaluation.plot_return_distributions({"a": DISTRIBUTION}, kind=x),
        among("", "cdf", None, 3),
    ),
    "plot_return_distributions(tail)": (
        lambda x: evaluation.plot_return_distributions({"a": DISTRIBUTION}, tail=x),
        among(*NO_PROBABILITIES),
    ),
    "plot_learning_curves(returns)": (
        lambda x: evaluation.plot_learning_curves({"a": [([1, 2], x)]}, window=1),
        among(*NOT_FINITE[:2], [1.0], [1.0, 2.0, 3.0], ["a", "b"]),
    ),
    "plot_learning_curves(aggregate)": (
        lambda x: evaluation.plot_learning_curves({"a": [([1, 2], [1.0, 2.0])]}, aggregate=x),
        among("", "median", None),
    ),
    "plot_learning_curves(window)": (
        lambda x: evaluation.plot_learning_curves({"a": [([1, 2], [1.0, 2.0])]}, window=x),
        among(*NO_COUNTS),
    ),
    "plot_rank_weights(objective)": (lambda x: evaluation.plot_rank_weights(x, 4), objective),
    "plot_rank_weights(k)": (lambda x: evaluation.plot_rank_weights("mean", x), among(*NO_SIZES_OF_8[1:])),
    "plot_rank_weights(group_size)": (lambda x: evaluation.plot_rank_weights("mean", 4, x), among(4, 0, -1, 4.5, NAN)),
    "ReturnToDate(scale)": (lambda x: ReturnToDate(_walk(), scale=x, max_episode_steps=9), among(0, *NOT_NUMBERS)),
    "ReturnToDate(max_episode_steps)": (lambda x: ReturnToDate(_walk(), max_episode_steps=x), among(*NO_COUNTS[:2], "9", NAN)),
    "SpeedPenalty(v_max)": (lambda x: SpeedPenalty(_walk(), x, -1.0, measure=0), among("1", None, [1], NAN)),
    "SpeedPenalty(penalty)": (lambda x: SpeedPenalty(_walk(), 1.0, x, measure=0), among(*NOT_NUMBERS)),
    "SpeedPenalty(probability)": (lambda x: SpeedPenalty(_walk(), 1.0, -1.0, x, measure=0), among(*NO_PROBABILITIES)),
    "SpeedPenalty(measure)": (lambda x: SpeedPenalty(_walk(), 1.0, -1.0, measure=x), among(3, -1, 10**9, 0.5, None, NAN)),
    "NoisyRegion(std)": (lambda x: NoisyRegion(_walk(), 0.0, x, measure=0), among(-1, *NOT_NUMBERS)),
    "NoisyRegion(side)": (lambda x: NoisyRegion(_walk(), 0.0, side=x, measure=0), among("", "left", None, 1)),
    "HeavyTailReward(probability)": (lambda x: HeavyTailReward(_walk(), x), among(*NO_PROBABILITIES)),
    "HeavyTailReward(scale)": (lambda x: HeavyTailReward(_walk(), scale=x), among(-1, *NOT_NUMBERS)),
    "HeavyTailReward(df)": (lambda x: HeavyTailReward(_walk(), df=x), among(0, -1, "1", None, [1], NAN)),
    "GuardedMaze(guard_probability)": (_env("GuardedMaze-v1", "guard_probability"), among(*NO_PROBABILITIES)),
    "BettingGame(start)": (_env("BettingGame-v0", "start"), among(0, -1, *NOT_NUMBERS)),
    "BettingGame(win_probability)": (_env("BettingGame-v0", "win_probability"), among(*NO_PROBABILITIES)),
    "BettingGame(cap)": (_env("BettingGame-v0", "cap"), among(1, 0, -1, *NOT_NUMBERS)),
    "BettingGame(render_mode)": (lambda x: BettingGameEnv(render_mode=x), among("ascii", 3)),
    "RiskyHalfCheetah(v_max)": (_env("RiskyHalfCheetah-v0", "v_max"), among("1", None, [1], NAN)),
    "RiskyHopper(probability)": (_env("RiskyHopper-v0", "probability"), among(*NO_PROBABILITIES)),
    "RiskyWalker2d(penalty)": (_env("RiskyWalker2d-v0", "penalty"), among(*NOT_NUMBERS)),
    "FragileHopper(probability)": (_env("FragileHopper-v0", "probability"), among(*NO_PROBABILITIES)),
    "SparseReacher(tolerance)": (_env("SparseReacher-v0", "tolerance"), among(-1, *NOT_NUMBERS)),
}


class InvalidCall:
    """A call with one bad argument."""

    def __init__(self, rng: Rng) -> None:
        self.name = str(one_of(rng, *CALLS))
        self.function, draw = CALLS[self.name]
        self.value = draw(rng)

    def __str__(self) -> str:
        return f"{self.name} with {self.value!r:.200}"

    def attempt(self) -> None:
        self.function(self.value)


class Mutant:
    """An objective with random slips: it may still be one, so it must be refused clearly or be a whole objective."""

    def __init__(self, rng: Rng) -> None:
        text = draw_objective(rng, 4)
        letters = list(text if isinstance(text, str) else "weights:" + ",".join(map(str, text)))
        for _ in range(int(rng.integers(1, 4))):
            place = int(rng.integers(len(letters)))
            letter = one_of(rng, *"0123456789.:,+-*/() eEnaifm\t\x00é_", "inf", "nan", "mean", "e999")
            match rng.integers(4):
                case 0:
                    letters[place : place + 1] = []
                case 1:
                    letters[place] = letter
                case 2:
                    letters.insert(place, letter)
                case _:
                    letters[place:place] = letters[place : place + 5]
            letters = letters or ["-"]
        self.value = "".join(letters)

    def __str__(self) -> str:
        return f"rank_weights({self.value!r}, 4)"

    def attempt(self) -> None:
        rank_weights(self.value, 4)

    def check_accepted(self) -> None:
        weights = rank_weights(self.value, 4)
        assert weights.shape == (4,) and np.isfinite(weights).all(), weights
        again = parse_objective(str(parse_objective(self.value)))
        assert again == parse_objective(self.value), f"{again} is not {self.value}"
