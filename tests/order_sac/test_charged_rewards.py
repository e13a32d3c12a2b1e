"""The expected loss, its price, and the rewards of the replay buffer."""

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
from sb3_ordergrad.lstatistics import exact_lstatistic, parse_objective, rank_weights
from sb3_ordergrad.order_sac import charged_rewards
from sb3_ordergrad.order_sac.charged_rewards import ChargedRewards, prices, raw_rewards, step_inputs
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
    """They sum to the losses and a margin, whatever the units and the weights; with few inputs they are the true means."""
    inputs, losses = data(50_000, n_noise)
    kept = (losses > 0.0) | (np.arange(len(losses)) % 10 == 0)
    weights = np.where(losses > 0.0, 1.0, 10.0)[kept]
    regression = LossRegression()
    regression.fit(inputs[kept], scale * losses[kept], weights)
    expected = regression.predict(inputs[kept]) / scale
    assert 1.0 < expected @ weights / losses.sum() < (1.1 if n_noise == 2 else 1.5)
    expected = regression.predict(inputs) / scale
    if n_noise == 2:
        assert expected[inputs[:, 0] > 0.5].mean() == pytest.approx(1.0, abs=0.25)
        assert expected[inputs[:, 0] < -0.5].mean() < 0.15


def test_regression_is_the_penalised_optimum() -> None:
    """
    The gradient of the penalised Poisson likelihood, with the mean loss as scale, is zero there; the margin is half of the
    variance that its second derivatives give.
    """
    inputs, losses = data(2000, n_noise=3, probability=0.006)
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
    covariance = np.cov(features.T, aweights=ratios, ddof=0)
    precision = n_losses * covariance + 2 * RIDGE * np.eye(len(coefficients))
    centred = features - ratios @ features / ratios.sum()
    variances = np.einsum("ij,ji->i", centred, np.linalg.solve(precision, centred.T))
    margins = np.minimum(variances / 2, np.log(2.0))
    assert 0.0 < margins.min() < np.median(margins) < margins.max() == np.log(2.0)
    np.testing.assert_allclose(regression.predict(inputs), expected * np.exp(margins), rtol=2e-3)


def test_uncertain_losses_are_higher() -> None:
    """Of two regions with the same share of losses, the one with few data."""
    rng = np.random.default_rng(0)
    inputs = np.where(np.arange(20_200) < 20_000, -1.0, 1.0)[:, None] + 0.1 * rng.normal(size=(20_200, 1))
    losses = LOSS * (np.arange(20_200) % 100 == 0)
    regression = LossRegression()
    regression.fit(inputs.astype(np.float32), losses, np.ones(20_200))
    often, seldom = (regression.predict(np.full((1, 1), x, dtype=np.float32)).item() for x in (-1.0, 1.0))
    assert often == pytest.approx(1.0, abs=0.1) and 1.2 * often < seldom <= 2.2


def phi_by_enumeration(x: float, others: np.ndarray, k: int, weights: np.ndarray) -> float:
    """Sum over the samples of k - 1 others: k times the L-statistic of the sample with x, up to a constant."""
    samples = list(combinations(others, k - 1))
    return k * float(np.mean([np.sort([x, *sample]) @ weights for sample in samples]))


@pytest.mark.parametrize("objective", ["cvar:0.5", "mean - 0.5*gini", "median", "max", "quantile:0.25", "mean", "gini"])
def test_prices(objective: str) -> None:
    """What the objective loses by a unit of the worst return, and gains by a unit of all, by enumeration."""
    k, returns = 4, np.random.default_rng(0).normal(size=8)
    weights, worst = rank_weights(objective, k), returns.min() - 1.0
    loss = phi_by_enumeration(worst, returns, k, weights) - phi_by_enumeration(worst - 1.0, returns, k, weights)
    assert prices(parse_objective(objective), k) == pytest.approx((weights.sum(), loss), abs=1e-9)


@pytest.mark.parametrize(
    ("objective", "k", "price"),
    [
        ("cvar:0.25", 16, 4.0),
        ("cvar:0.1", 40, 10.0),
        ("mean", 16, 1.0),
        ("median", 16, 0.0),
        ("min", 3.7, 3.7),
        ("max", 1, 1.0),
    ],
)
def test_price_of_a_loss(objective: str, k: float, price: float) -> None:
    assert prices(parse_objective(objective), k)[1] == pytest.approx(price)


@pytest.mark.parametrize("objective", ["cvar:0.25", "cvar:0.1", "mean", "mean - 0.3*gini", "min"])
@pytest.mark.parametrize("chance", [0.01, 0.3])
def test_lower_bound(objective: str, chance: float) -> None:
    """Of a return with losses L: the value of the rest X less the price of the mean loss; exact if X is certain."""
    rng, k, n = np.random.default_rng(0), 16, 400
    losses = np.where(rng.random(n) < chance, rng.exponential(50.0, n), 0.0)

    def value(returns: np.ndarray) -> float:
        return float(exact_lstatistic(returns, np.full(n, 1.0 / n), k, objective).value)

    charge = prices(parse_objective(objective), k)[1] * losses.mean()
    spread, certain = rng.normal(0.0, 20.0, n), np.full(n, 7.0)
    for rest in (spread, certain):
        assert value(rest - losses) >= value(rest) - charge - 1e-9
    if objective == "mean" or (chance == 0.01 and objective == "cvar:0.25"):
        assert value(certain - losses) == pytest.approx(value(certain) - charge, rel=0.02)


def make_model(env: Any, **kwargs: Any) -> OrderSAC:
    settings: dict[str, Any] = {"buffer_size": 400, "batch_size": 8, "learning_starts": 10, "seed": 0, "device": "cpu"}
    settings |= {"k": 2, "train_freq": 10, "gradient_steps": 1}
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
    assert charged.loss_weight == pytest.approx(2.0)
    assert 0.8 < expected.mean() / shortfall < 2.2
    # raw returns of whole episodes
    finished = [value for each in env.get_attr("returns") for value in each]
    assert all(np.isclose(finished, value, rtol=1e-5).any() for value in charged.returns)
    assert len(charged.returns) == 100


@pytest.mark.parametrize("dtype", [bool, np.int64])
def test_returns_of_episodes(dtype: type) -> None:
    """Whatever the type of the flags, which a SubprocVecEnv takes from its environments."""
    model = make_model(make_vec_env(lossy_env, 3))
    buffer, charged = model.replay_buffer, ChargedRewards(3)
    assert isinstance(buffer, ReplayBuffer)
    buffer.pos = 1
    for rewards, dones in (([1.0, 2.0, 3.0], [0, 1, 0]), ([4.0, 5.0, 6.0], [1, 0, 0])):
        buffer.rewards[0] = rewards
        charged.store(buffer, np.array(dones, dtype=dtype))
    assert list(charged.returns) == [2.0, 5.0] and list(charged.last_rewards) == [2.0, 4.0]
    np.testing.assert_array_equal(charged.collected, [0.0, 5.0, 9.0])


@pytest.mark.usefixtures("short_intervals")
def test_learns_from_a_sample_of_many_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stands for several, so that the mean charge is as without the bound."""
    charges = []
    for max_rows in (8000, 20):
        monkeypatch.setattr(charged_rewards, "MAX_ROWS", max_rows)
        rewards = np.random.default_rng(0).normal(size=1900)
        rewards[::19] = -1000.0
        env = ToyEnv(action_space=spaces.Box(-2.0, 2.0, (2,)), lengths=(5,), rewards=rewards.tolist())
        charged = make_model(env, buffer_size=2000).learn(1900)._charged_rewards
        charges.append(charged.regression.mean_loss)
    assert charges[1] == pytest.approx(charges[0], rel=0.5) and charges[1] != charges[0]


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
    for algorithm, own in ((SAC, {}), (OrderSAC, {"objective": objective, "k": 2})):
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
