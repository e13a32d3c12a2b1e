"""The expected loss, its price, and the rewards of the replay buffer."""

from collections import deque
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from toy_envs import SMALL_NET, ToyEnv, assert_same_parameters

from sb3_ordergrad import OrderSAC
from sb3_ordergrad.lstatistics import parse_objective, rank_weights
from sb3_ordergrad.order_sac import charged_rewards
from sb3_ordergrad.order_sac.charged_rewards import ChargedRewards, raw_rewards, step_inputs
from sb3_ordergrad.order_sac.loss_regression import FEATURE_SCALE, RIDGE, LossRegression

LOSS = 100.0


def data(n: int, n_noise: int = 0, probability: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and losses; where the first input is positive, one step in a hundred loses 100."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(n, 1 + n_noise)).astype(np.float32)
    return inputs, LOSS * ((inputs[:, 0] > 0.0) & (rng.random(n) < probability))


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e6])
@pytest.mark.parametrize("n_noise", [2, 200])
def test_expected_losses(n_noise: int, scale: float) -> None:
    """They sum to the losses, whatever the units and the weights; with few inputs they are the true means."""
    inputs, losses = data(50_000, n_noise)
    kept = (losses > 0.0) | (np.arange(len(losses)) % 10 == 0)
    weights = np.where(losses > 0.0, 1.0, 10.0)[kept]
    regression = LossRegression()
    regression.fit(inputs[kept], scale * losses[kept], weights)
    expected = regression.predict(inputs[kept]) / scale
    assert expected @ weights == pytest.approx(losses.sum(), rel=1e-3)
    expected = regression.predict(inputs) / scale
    assert expected.sum() == pytest.approx(losses.sum(), rel=0.1)
    if n_noise == 2:
        assert expected[inputs[:, 0] > 0.5].mean() == pytest.approx(1.0, abs=0.25)
        assert expected[inputs[:, 0] < -0.5].mean() < 0.15


def test_regression_is_the_penalised_optimum() -> None:
    """The gradient of the penalised Poisson likelihood, with the mean loss as scale, is zero there."""
    inputs, losses = data(2000, probability=0.05)
    weights = np.random.default_rng(1).uniform(1.0, 5.0, len(losses))
    regression = LossRegression()
    for _ in range(5):
        regression.fit(inputs, losses, weights)
    standardised = np.clip((inputs - inputs.mean(0)) / inputs.std(0), -3.0, 3.0)
    random = FEATURE_SCALE * np.tanh(standardised @ regression.directions + regression.offsets)
    features = np.hstack([standardised, random]).astype(np.float64)
    coefficients = regression.coefficients
    assert coefficients is not None
    ratios = np.exp(features @ coefficients) * weights
    n_losses = weights @ losses / LOSS
    gradient = n_losses * (ratios @ features) / ratios.sum() - (weights * losses / LOSS) @ features + 2 * RIDGE * coefficients
    assert np.abs(gradient).max() < 1e-2 * n_losses
    expected = (weights @ losses / weights.sum()) * np.exp(features @ coefficients) / (ratios.sum() / weights.sum())
    np.testing.assert_allclose(regression.predict(inputs), expected, rtol=1e-3)


def phi_by_enumeration(x: float, others: np.ndarray, k: int, weights: np.ndarray) -> float:
    """Sum over the samples of k - 1 others: k times the L-statistic of the sample with x, up to a constant."""
    samples = list(combinations(others, k - 1))
    return k * float(np.mean([np.sort([x, *sample]) @ weights for sample in samples]))


@pytest.mark.parametrize("objective", ["cvar:0.5", "mean - 0.5*gini", "median", "max", "var:0.25", "mean"])
@pytest.mark.parametrize("n_lossy", [0, 1, 3])
def test_weight_is_what_the_losses_cost(objective: str, n_lossy: int) -> None:
    rng, k, n = np.random.default_rng(0), 4, 9
    counts = np.where(np.arange(n) < n_lossy, rng.integers(1, 3, n), 0)
    losses = rng.uniform(5.0, 9.0, n)
    returns = rng.normal(size=n) - counts * losses
    rewards = ChargedRewards(1)
    rewards.episodes = deque(np.column_stack([returns, counts * losses, counts]))
    rewards._set_weight(parse_objective(objective), k)
    weights = rank_weights(objective, k)

    def cost(i: int, low: float, high: float) -> float:
        others = np.delete(returns, i)
        return phi_by_enumeration(high, others, k, weights) - phi_by_enumeration(low, others, k, weights)

    if n_lossy == 0:
        # of a loss that comes next
        expected = cost(0, returns.min() - 2.0, returns.min() - 1.0)
    else:
        costs = sum(counts[i] * cost(i, returns[i], returns[i] + losses[i]) for i in range(n_lossy))
        expected = costs / (counts @ losses)
    assert rewards.loss_weight == pytest.approx(expected, abs=1e-9)
    assert rewards.slope == pytest.approx(weights.sum())


@pytest.mark.parametrize(("objective", "weight"), [("cvar:0.25", 4.0), ("cvar:0.1", 10.0), ("mean", 1.0), ("median", 0.0)])
def test_weight_of_losses_that_are_rarer_than_the_level(objective: str, weight: float) -> None:
    rng = np.random.default_rng(0)
    losses = np.where(np.arange(80) < 2, 1000.0, 0.0)
    rewards = ChargedRewards(1)
    rewards.episodes = deque(np.column_stack([rng.normal(size=80) - losses, losses, losses > 0.0]))
    rewards._set_weight(parse_objective(objective), 40)
    assert rewards.loss_weight == pytest.approx(weight, abs=0.02 + 0.01 * weight)


def make_model(env: Any, **kwargs: Any) -> OrderSAC:
    settings: dict[str, Any] = {"buffer_size": 400, "batch_size": 8, "learning_starts": 10, "seed": 0, "device": "cpu"}
    settings |= {"k": 2, "group_size": 6, "train_freq": 10, "gradient_steps": 1}
    return OrderSAC("MlpPolicy", env, policy_kwargs=dict(SMALL_NET), **settings | kwargs)


def lossy_env(**kwargs: Any) -> ToyEnv:
    """Every 19th reward is a loss."""
    rewards = np.random.default_rng(0).normal(size=190)
    rewards[::19] = -1000.0
    return ToyEnv(action_space=spaces.Box(-2.0, 2.0, (2,)), lengths=(5,), rewards=rewards.tolist(), **kwargs)


@pytest.fixture
def short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charged_rewards, "FIT_INTERVAL", 100)


@pytest.mark.usefixtures("short_intervals")
@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("max_numbers", [2**22, 50])
def test_rewards_of_the_buffer(n_envs: int, max_numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rewards have the present charge, those before the last fit and after it, also once the buffer is full."""
    monkeypatch.setattr(charged_rewards, "MAX_NUMBERS", max_numbers)
    env = make_vec_env(lossy_env, n_envs, seed=0)
    model = make_model(env, buffer_size=400 * n_envs**2).learn(600)
    buffer, charged = model.replay_buffer, model._charged_rewards
    assert isinstance(buffer, ReplayBuffer) and buffer.full == (n_envs == 1)
    raw = raw_rewards(buffer)[: buffer.size()]
    steps, envs = np.nonzero(np.ones_like(raw))
    expected = charged.regression.predict(step_inputs(buffer, steps, envs)).reshape(raw.shape)
    np.testing.assert_allclose(
        buffer.rewards[: buffer.size()],
        charged.slope * np.maximum(raw, charged.fence) - charged.loss_weight * expected,
        rtol=1e-4,
        atol=1e-2,
    )
    assert raw.min() == -1000.0 < charged.fence < raw[raw > -1000.0].min()
    # the mean charge is the mean loss, times what the objective loses by it
    shortfall = np.maximum(charged.fence - raw, 0.0).mean()
    assert 1.0 < charged.loss_weight <= 4.0 + 1e-9
    assert expected.mean() == pytest.approx(shortfall, rel=0.3)
    # raw returns of whole episodes
    finished = [value for each in env.get_attr("returns") for value in each]
    assert all(np.isclose(finished, value, rtol=1e-5).any() for value, _, _ in charged.episodes)
    assert len(charged.episodes) == 6


@pytest.mark.usefixtures("short_intervals")
@pytest.mark.parametrize(
    ("env", "objective"),
    [
        (lossy_env, "mean"),
        (lossy_env, "0.5*mean + 0.5*cvar:1"),
        (lambda: ToyEnv(action_space=spaces.Box(-2.0, 2.0, (2,))), "min"),
    ],
    ids=["mean", "a mean in other words", "no rare losses"],
)
@pytest.mark.parametrize("settings", [{}, {"n_steps": 3, "use_sde": True}], ids=str)
def test_without_risk_it_is_sac(env: Any, objective: str, settings: dict[str, Any]) -> None:
    """Bit for bit."""
    models = []
    for algorithm, own in ((SAC, {}), (OrderSAC, {"objective": objective, "k": 2, "group_size": 6})):
        common: dict[str, Any] = {"buffer_size": 400, "batch_size": 8, "learning_starts": 10, "seed": 0, "device": "cpu"}
        model: Any = algorithm("MlpPolicy", env(), policy_kwargs=dict(SMALL_NET), train_freq=5, **common, **settings, **own)
        models.append(model.learn(300).learn(100, reset_num_timesteps=False))
    assert models[0]._n_updates == models[1]._n_updates > 0
    assert_same_parameters(*models)


def test_step_inputs_of_other_spaces() -> None:
    """One-hot numbers, images in [0, 1], and each key of a dictionary."""
    image = spaces.Box(0, 255, (1, 36, 36), np.uint8)
    space = spaces.Dict({"image": image, "number": spaces.Discrete(3), "vector": spaces.Box(-1.0, 1.0, (2, 2))})
    env = ToyEnv(space, spaces.Box(-2.0, 2.0, (2,)))
    model = OrderSAC("MultiInputPolicy", env, buffer_size=20, learning_starts=20, seed=0, device="cpu").learn(10)
    assert model.replay_buffer is not None
    inputs = step_inputs(model.replay_buffer, np.arange(10), np.zeros(10, dtype=int))
    assert inputs.shape == (10, 36 * 36 + 3 + 4 + 2) and inputs.dtype == np.float32
    assert 0.0 <= inputs[:, : 36 * 36].min() < inputs[:, : 36 * 36].max() <= 1.0
    numbers = inputs[:, 36 * 36 : 36 * 36 + 3]
    assert set(numbers.ravel()) == {0.0, 1.0} and (numbers.sum(1) == 1.0).all()
    np.testing.assert_array_equal(inputs[:, -2:], model.replay_buffer.actions[:10, 0])
    assert th.is_tensor(model.replay_buffer.sample(2).rewards)


@pytest.mark.usefixtures("short_intervals")
def test_rewards_are_raw_again_without_losses() -> None:
    """Once the buffer has forgotten the losses, or noise on both sides is no risk any more."""
    rewards = np.random.default_rng(0).normal(size=1200)
    rewards[:400:19] = -1000.0
    env = ToyEnv(action_space=spaces.Box(-2.0, 2.0, (2,)), lengths=(5,), rewards=rewards.tolist())
    model = make_model(env, buffer_size=300).learn(400)
    buffer = model.replay_buffer
    assert isinstance(buffer, ReplayBuffer)
    assert (buffer.rewards != raw_rewards(buffer)).all()
    model.learn(800, reset_num_timesteps=False)
    np.testing.assert_array_equal(buffer.rewards, raw_rewards(buffer))
    assert model._charged_rewards.n_losses == 0


@pytest.mark.usefixtures("short_intervals")
def test_rewards_of_earlier_policies_are_no_losses() -> None:
    """The fence is that of the whole buffer: rewards improve from -10 to 10, and one in 19 is a loss all along."""
    rng = np.random.default_rng(0)
    rewards = np.repeat([-10.0, -5.0, 0.0, 5.0, 10.0], 200) + rng.normal(size=1000)
    rewards[::19] = -1000.0
    env = ToyEnv(action_space=spaces.Box(-2.0, 2.0, (2,)), lengths=(5,), rewards=rewards.tolist())
    model = make_model(env, buffer_size=2000).learn(1000)
    assert model._charged_rewards.n_losses == len(rewards[:1000:19])
    assert -1000.0 < model._charged_rewards.fence < -13.0


def test_small_losses_do_not_weaken_the_penalty() -> None:
    """A thousand tiny losses beside five large ones, which alone decide what is expected."""
    rng = np.random.default_rng(0)
    inputs, losses = rng.normal(size=(4000, 3)).astype(np.float32), np.zeros(4000)
    losses[:5] = 500.0
    alone, both = LossRegression(), LossRegression()
    alone.fit(inputs, losses, np.ones(4000))
    losses[5:1005] = 0.01
    both.fit(inputs, losses, np.ones(4000))
    np.testing.assert_allclose(both.predict(inputs), alone.predict(inputs), rtol=0.1, atol=0.01)
