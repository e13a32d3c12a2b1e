"""Return distributions: coverage of the intervals, comparisons, CSV files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from sb3_contrib import TQC
from scipy import stats
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import VecEnv

from sb3_ordergrad.evaluation import Interval, ReturnDistribution, bootstrap_interval, dominance, evaluate_distribution

SAMPLE = np.random.default_rng(0).normal(size=200)


def distribution_of(returns: Sequence[float] | np.ndarray) -> ReturnDistribution:
    return ReturnDistribution(np.asarray(returns), np.ones(len(returns)))


class RareLoss(VecEnv):
    """Episodes of one step; the return is ``SCALE`` times the action, less ``LOSS`` with probability ``RISK``."""

    SCALE, LOSS, RISK = 30.0, 500.0, 0.05

    def __init__(self, num_envs: int):
        super().__init__(num_envs, gym.spaces.Box(0, 1, (1,)), gym.spaces.Box(-100.0, 100.0, (1,)))
        self.rng = np.random.default_rng()
        self.obs = np.zeros((num_envs, 1), dtype=np.float32)
        self.infos: list[dict[str, Any]] = [{} for _ in range(num_envs)]

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        self.rng = np.random.default_rng(seed)
        return [seed]

    def reset(self) -> np.ndarray:
        return self.obs

    def step_async(self, actions: np.ndarray) -> None:
        self.actions = actions

    def step_wait(self) -> Any:
        losses = self.LOSS * (self.rng.random(self.num_envs) < self.RISK)
        return self.obs, self.SCALE * self.actions[:, 0] - losses, np.ones(self.num_envs, dtype=bool), self.infos

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [None] * self.num_envs

    def close(self) -> None: ...

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None: ...

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        return []


def true_cvar(mean: float, level: float) -> float:
    """CVaR of ``RareLoss`` with actions of this mean and unit deviation, by integrating its distribution function."""
    x = np.linspace(-800.0, 200.0, 400_001)
    scale, shift = RareLoss.SCALE, RareLoss.SCALE * mean
    cdf = (1 - RareLoss.RISK) * stats.norm.cdf(x, shift, scale) + RareLoss.RISK * stats.norm.cdf(
        x, shift - RareLoss.LOSS, scale
    )
    # CVaR = max_b b - E[(b - R)+] / level, with E[(b - R)+] the integral of the distribution function up to b
    return float(np.max(x - np.cumsum(cdf) * (x[1] - x[0]) / level))


@pytest.mark.slow
def test_interval_of_the_tail_covers_the_truth() -> None:
    """1000 evaluations of a policy with Gaussian actions; benchmarks/coverage_of_intervals.py has other distributions."""
    env = RareLoss(400)
    model = PPO("MlpPolicy", env, seed=0, device="cpu")
    mean = float(model.predict(env.reset()[:1], deterministic=True)[0][0, 0])
    truth = true_cvar(mean, 0.1)
    covered = 0
    for seed in range(1000):
        distribution = evaluate_distribution(model, env, n_eval_episodes=400, seed=seed)
        _, low, high = distribution.interval("cvar:0.1", n_resamples=500)
        covered += low <= truth <= high
    assert 930 <= covered <= 970


@pytest.mark.parametrize("algorithm", [PPO, SAC, TQC])
def test_any_model_also_from_a_zip(algorithm: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = gym.make("Pendulum-v1")
    model = algorithm("MlpPolicy", env, seed=0, device="cpu", policy_kwargs={"net_arch": [8]})
    model.save(tmp_path / "model")
    first = evaluate_distribution(model, env, n_eval_episodes=2, seed=1, progress_bar=True)
    assert "2/2" in capsys.readouterr().err
    second = evaluate_distribution(algorithm.load(tmp_path / "model", device="cpu"), env, n_eval_episodes=2, seed=1)
    assert capsys.readouterr().err == ""
    np.testing.assert_array_equal(first.returns, second.returns)
    assert first.lengths.tolist() == [200, 200]


@pytest.mark.parametrize(
    ("statistic", "k", "estimate"),
    [
        ("mean", None, lambda d: d.mean()),
        ("std", None, lambda d: np.std(d.returns)),
        ("cvar:0.1", None, lambda d: d.cvar(0.1)),
        ("var:0.1", None, lambda d: d.value_at_risk(0.1)),
        ("median", None, lambda d: d.median()),
        ("max", 8, lambda d: d.best_of(8)),
        ("mean - 0.5*gini", 4, lambda d: d.objective_value("mean - 0.5*gini", 4)),
    ],
)
def test_every_statistic_has_an_interval(
    statistic: str, k: int | None, estimate: Callable[[ReturnDistribution], float]
) -> None:
    distribution = distribution_of(SAMPLE)
    interval = distribution.interval(statistic, k, n_resamples=500)
    assert interval.value == pytest.approx(estimate(distribution))
    assert interval.low < interval.value < interval.high
    wide = distribution.interval(statistic, k, n_resamples=500, confidence=0.99)
    assert wide.low <= interval.low and interval.high <= wide.high
    assert distribution.interval(statistic, k, n_resamples=500) == interval


@pytest.mark.parametrize("method", ["BCa", "percentile", "basic"])
def test_interval_of_the_mean_is_the_normal_one(method: Any) -> None:
    interval = distribution_of(SAMPLE).interval("mean", method=method)
    half_width = 1.96 * SAMPLE.std() / np.sqrt(len(SAMPLE))
    # Three standard errors of the ends of 2000 resamples, about 4 % of the half width each
    assert interval.high - interval.value == pytest.approx(half_width, rel=0.12)
    assert interval.value - interval.low == pytest.approx(half_width, rel=0.12)


def test_percentiles_where_the_jackknife_of_bca_is_undefined() -> None:
    """``rank:4`` exists for 4 returns and not for the 3 that the jackknife keeps; an unknown objective is still an error."""
    distribution = distribution_of(SAMPLE[:4])
    interval = distribution.interval("rank:4", n_resamples=500)
    assert interval == distribution.interval("rank:4", n_resamples=500, method="percentile")
    assert interval.low <= interval.value == SAMPLE[:4].min() <= interval.high


def test_intervals_of_equal_returns_are_points() -> None:
    constant = distribution_of(np.full(20, 3.0))
    assert constant.interval("cvar:0.1") == Interval(3.0, 3.0, 3.0)
    # All jackknife values are equal, but not all resamples
    nearly = distribution_of([1.0] * 398 + [2.0] * 2)
    assert nearly.interval("median") == Interval(1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"statistic": "max", "k": 200}, "k = 200 must be below the number of returns, 200"),
        ({"statistic": "mean", "confidence": 1.0}, r"confidence = 1.0 must lie in \(0, 1\)"),
        ({"statistic": "mean", "n_resamples": 0}, "n_resamples = 0"),
        ({"statistic": "mean", "method": "bca"}, "method = 'bca' must be one of BCa"),
        ({"statistic": "variance"}, "unknown preset"),
    ],
)
def test_interval_errors(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        distribution_of(SAMPLE).interval(**kwargs)


def test_one_return_has_no_interval() -> None:
    with pytest.raises(ValueError, match=r"1 return\(s\), an interval needs at least 2"):
        distribution_of([1.0]).interval("mean")
    with pytest.raises(ValueError, match="at least 2"):
        bootstrap_interval([SAMPLE, SAMPLE[:1]], lambda x, y: x.mean(-1) - y.mean(-1))


@pytest.mark.parametrize(
    ("returns", "lengths", "message"),
    [
        (np.zeros(0), np.zeros(0), r"returns must be finite and have the shape \(n,\) with n >= 1, got the shape \(0,\)"),
        (np.zeros(3), np.ones(2), r"returns has shape \(3,\), lengths \(2,\)"),
        (np.array([0.0, np.nan]), np.ones(2), "with 1 values that are NaN"),
        (np.zeros(2), np.array([1.0, np.inf]), "lengths must be finite"),
        *((np.zeros(2), np.array([1.0, x]), f"the length {x:g}: lengths must be whole numbers") for x in (0.0, -3.0, 2.5)),
    ],
)
def test_invalid_returns_and_lengths(returns: np.ndarray, lengths: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReturnDistribution(returns, lengths)


def test_comparison_with_a_shifted_copy() -> None:
    base = np.random.default_rng(1).normal(size=300)
    comparison = distribution_of(base + 1.0).compare(distribution_of(base))
    for interval in comparison.differences.values():
        assert interval.value == pytest.approx(1.0)
        assert 0.0 < interval.low < 1.0 < interval.high
    for test in (comparison.first_order, comparison.second_order):
        assert test.dominates and not test.is_dominated
        assert test.violation == 0.0 and test.p_value == 1.0
    back = distribution_of(base).compare(distribution_of(base + 1.0))
    assert back.first_order.is_dominated and back.second_order.is_dominated
    assert "first-order dominance: dominates" in str(comparison)
    assert "is dominated" in str(back)


def test_less_risk_dominates_to_second_order_alone() -> None:
    rng = np.random.default_rng(2)
    careful, bold = rng.normal(0.0, 1.0, 400), rng.normal(0.0, 4.0, 300)
    comparison = distribution_of(careful).compare(distribution_of(bold))
    assert comparison.second_order.dominates
    assert not comparison.first_order.dominates and not comparison.first_order.is_dominated
    assert comparison.differences["CVaR_0.1"].low > 0 > comparison.differences["best-of-8"].high


def test_violations_by_brute_force() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.integers(0, 8, 23).astype(float), rng.integers(0, 9, 17).astype(float)
    points = np.arange(-1.0, 10.0)
    difference = np.array([(x <= r).mean() - (y <= r).mean() for r in points])
    first = dominance(x, y, 1, n_resamples=10)
    assert first.violation == pytest.approx(max(difference.max(), 0.0))
    assert first.reverse_violation == pytest.approx(max(-difference.min(), 0.0))
    # The distribution functions are constant between whole numbers
    integral = np.cumsum(difference)
    second = dominance(x, y, 2, n_resamples=10)
    assert second.violation == pytest.approx(max(integral.max(), 0.0))
    assert second.reverse_violation == pytest.approx(max(-integral.min(), 0.0))


def test_p_values_of_first_order_are_those_of_the_one_sided_kolmogorov_smirnov_test() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=40), rng.normal(0.4, 1.0, size=50)
    test = dominance(x, y, 1, n_resamples=20_000)
    # 4 standard errors of 20 000 permutations at p = 0.5 are 0.014
    assert test.p_value == pytest.approx(stats.ks_2samp(x, y, "greater").pvalue, abs=0.014)
    assert test.reverse_p_value == pytest.approx(stats.ks_2samp(x, y, "less").pvalue, abs=0.014)


def test_equal_samples_do_not_dominate_each_other() -> None:
    comparison = distribution_of(SAMPLE).compare(distribution_of(SAMPLE))
    for test in (comparison.first_order, comparison.second_order):
        assert (test.p_value, test.reverse_p_value) == (1.0, 1.0)
        assert not test.dominates and not test.is_dominated
    assert "undecided" in str(comparison)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"x": []}, r"x must be finite and have the shape \(n,\) with n >= 1"),
        ({"y": [1.0, np.nan]}, "y must be finite"),
        ({"order": 0}, "order = 0 must be 1 or 2"),
        ({"order": 3}, "order = 3"),
        *(({"level": level}, f"level = {level} must lie in") for level in (0, 1, np.nan)),
        ({"n_resamples": 0}, "n_resamples = 0 must be a whole number >= 1"),
    ],
)
def test_dominance_errors(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dominance(**{"x": SAMPLE, "y": SAMPLE, "order": 1, **kwargs})


def test_comparison_leaves_out_statistics_that_need_more_episodes() -> None:
    few = distribution_of(np.arange(8.0))
    assert "best-of-8" not in few.compare(few).differences
    assert "CVaR_0.1" in few.compare(few).differences


def test_csv_round_trip(tmp_path: Path) -> None:
    original = ReturnDistribution(SAMPLE / 3, np.arange(1, len(SAMPLE) + 1))
    path = tmp_path / "new" / "returns.csv"
    original.to_csv(path)
    again = ReturnDistribution.from_csv(path)
    np.testing.assert_array_equal(again.returns, original.returns)
    np.testing.assert_array_equal(again.lengths, original.lengths)
    assert path.read_text().splitlines()[0] == "episode,return,length"
    assert [file.name for file in path.parent.iterdir()] == ["returns.csv"]


def test_csv_with_other_columns(tmp_path: Path) -> None:
    path = tmp_path / "returns.csv"
    path.write_text("algo,length,return\nppo,7,-1.5\nppo,9.0,2\n")
    distribution = ReturnDistribution.from_csv(path)
    assert distribution.returns.tolist() == [-1.5, 2.0]
    assert distribution.lengths.tolist() == [7, 9]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("episode,reward\n0,1\n", "'return' and 'length' are needed"),
        ("", "'return' and 'length' are needed"),
        ("return,length\n", "n >= 1"),
        ("return,length\none,2\n", "could not convert string to float: 'one'"),
        ("return,length\nnan,2\n", "returns must be finite"),
        ("return,length\n1,inf\n", "lengths must be finite"),
        ("return,length\n1,2.5\n", "the length 2.5"),
        ("episode,return,length\n0,1,2\n1,1\n", "line 3 must have 3 fields"),
        ("return,length\n1,2,3\n", "line 2 must have 2 fields"),
        ("return,length\n1,200\n1,20", "was probably cut"),
        ("return,length\n1,2\n\0\0\n", "line 3 must have 2 fields|line contains NUL"),
        ("return,length\n1,2\n1,2\n", "contains 2 episodes, not 3"),
    ],
)
def test_csv_errors_name_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "returns.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        ReturnDistribution.from_csv(path, n_episodes=3)
    assert str(error.value).startswith(str(path))


def test_a_csv_that_was_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "returns.csv"
    distribution_of(SAMPLE[:3]).to_csv(path)
    content = path.read_bytes()
    # The last byte is the second half of a line break
    for n_bytes in range(len(content) - 1):
        path.write_bytes(content[:n_bytes])
        with pytest.raises(ValueError, match=r"returns\.csv"):
            ReturnDistribution.from_csv(path, n_episodes=3)
