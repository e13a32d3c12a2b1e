"""All of SAC's settings, spaces and files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import SAC, HerReplayBuffer
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecNormalize
from toy_envs import SMALL_NET, ToyEnv, assert_continues, assert_same_parameters, assert_trains

from sb3_ordergrad import OrderSAC
from sb3_ordergrad.order_sac import MlpPolicy, MultiInputPolicy, charged_rewards
from sb3_ordergrad.order_sac.charged_rewards import raw_rewards

pytestmark = pytest.mark.filterwarnings("error")
IMAGE = spaces.Box(0, 255, (1, 36, 36), np.uint8)
DICT = spaces.Dict({"vector": spaces.Box(-1.0, 1.0, (3,)), "image": IMAGE})
# every 14th is a loss
REWARDS = [*np.random.default_rng(0).normal(size=13), -1000.0]


@pytest.fixture(autouse=True)
def short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charged_rewards, "FIT_INTERVAL", 40)


def make_env(n_envs: int = 1, **kwargs: Any) -> Any:
    settings = {"action_space": spaces.Box(-2.0, 2.0, (2,)), "lengths": [7, 5], "rewards": REWARDS}
    return make_vec_env(ToyEnv, n_envs=n_envs, seed=0, env_kwargs=settings | kwargs)


def make_model(env: Any = None, policy: Any = "MlpPolicy", algorithm: type[SAC] = OrderSAC, **kwargs: Any) -> Any:
    policy_kwargs = {**SMALL_NET, **kwargs.pop("policy_kwargs", {})}
    settings: dict[str, Any] = {"buffer_size": 200, "batch_size": 8, "learning_starts": 50, "seed": 0, "device": "cpu"}
    if algorithm is OrderSAC:
        settings |= {"k": 2}
    return algorithm(policy, env or make_env(), policy_kwargs=policy_kwargs, **settings | kwargs)


def assert_charges(model: Any) -> None:
    """No reward is a loss any more, and most rewards have changed."""
    size = model.replay_buffer.size()
    raw, rewards = raw_rewards(model.replay_buffer)[:size], model.replay_buffer.rewards[:size]
    assert raw.min() == -1000.0
    assert (rewards != raw).mean() > 0.9 and np.isfinite(rewards).all()


@pytest.mark.parametrize(
    "kwargs",
    [
        {"n_steps": 3, "ent_coef": 0.1},
        {"ent_coef": "auto_0.1", "target_entropy": -1.0},
        {"use_sde": True, "use_sde_at_warmup": True, "policy_kwargs": {"use_expln": True}},
        {"policy_kwargs": {"n_critics": 3, "share_features_extractor": True}},
        {"action_noise": NormalActionNoise(np.zeros(2), 0.1 * np.ones(2))},
        {"train_freq": (1, "episode"), "gradient_steps": -1},
        {"optimize_memory_usage": True, "replay_buffer_kwargs": {"handle_timeout_termination": False}},
        {"learning_rate": LinearSchedule(1e-3, 1e-4, 1.0), "buffer_size": 60},
        {"objective": "mean - 0.5*gini", "k": 2.5},
        {"objective": [0.75, 0.25], "k": None},
        {"k": None},
    ],
    ids=str,
)
def test_settings(kwargs: dict[str, Any]) -> None:
    model = make_model(**kwargs)
    assert_trains(model, 200)
    assert_charges(model)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "space"), [(MlpPolicy, spaces.Box(-1.0, 1.0, (2, 3))), ("CnnPolicy", IMAGE), (MultiInputPolicy, DICT)]
)
def test_observations(policy: Any, space: spaces.Space) -> None:
    model = make_model(make_env(observation_space=space), policy, learning_starts=95, train_freq=5)
    assert_trains(model, timesteps=100)
    assert_charges(model)


def test_her() -> None:
    """The rewards of other goals are those of the environment."""
    env = BitFlippingEnv(n_bits=3, continuous=True, max_steps=3)
    assert_trains(make_model(env, "MultiInputPolicy", replay_buffer_class=HerReplayBuffer), 80)


def test_several_environments_and_evaluation(tmp_path: Path) -> None:
    model = make_model(make_env(3))
    callback = EvalCallback(make_env(), eval_freq=25, n_eval_episodes=2, best_model_save_path=str(tmp_path), verbose=0)
    model.learn(120, callback=callback)
    assert_charges(model)
    assert model._n_updates > 0 and np.isfinite(callback.best_mean_reward)
    assert OrderSAC.load(tmp_path / "best_model", device="cpu").n_envs == 3


def test_vec_normalize() -> None:
    """The charge is in raw rewards, which are normalised when they are sampled; it sees raw observations."""
    env = VecNormalize(make_env(2))
    model = make_model(env)
    assert_trains(model, 200)
    assert_charges(model)
    np.random.seed(0)
    sample = model.replay_buffer.sample(8, env=env).rewards.numpy()
    np.random.seed(0)
    raw_sample = model.replay_buffer.sample(8).rewards.numpy()
    np.testing.assert_allclose(sample, env.normalize_reward(raw_sample), rtol=1e-5)


def test_log() -> None:
    keys = []
    for algorithm in (SAC, OrderSAC):
        model = make_model(algorithm=algorithm).learn(100)
        keys.append({key for key in model.logger.name_to_value if key.startswith("train/")})
    assert keys[1] == keys[0] | {"train/loss_weight", "train/n_rare_losses"}
    log = model.logger.name_to_value
    assert log["train/n_rare_losses"] > 4 and log["train/loss_weight"] == pytest.approx(2.0)


@pytest.mark.parametrize("kwargs", [{}, {"use_sde": True, "ent_coef": 0.1}, {"objective": "min"}], ids=str)
def test_continued_in_mid_episode(kwargs: dict[str, Any], tmp_path: Path) -> None:
    env, kwargs = make_env(), kwargs | {"tau": 0.1}
    uninterrupted, model = make_model(**kwargs).learn(123), make_model(env, **kwargs).learn(123)
    assert 0 < env.envs[0].unwrapped.n_steps < 5
    loaded = assert_continues(uninterrupted, model, tmp_path, timesteps=60)
    np.testing.assert_array_equal(loaded.replay_buffer.rewards, uninterrupted.replay_buffer.rewards)
    assert list(loaded._charged_rewards.returns) == list(uninterrupted._charged_rewards.returns)


def test_parameters_are_kept(tmp_path: Path) -> None:
    """Unless others are given; without its replay buffer a model begins with an empty one."""
    settings = {"objective": "cvar:0.5", "k": 4}
    make_model(make_env(2), **settings).learn(120).save(tmp_path / "model")
    changes: list[dict[str, Any]] = [{}, {"objective": "min", "k": 3}]
    for change in changes:
        loaded: Any = OrderSAC.load(tmp_path / "model", env=make_env(3), device="cpu", **change)
        assert {name: getattr(loaded, name) for name in settings} == settings | change and loaded.n_envs == 3
        assert_trains(loaded, 120)
        assert_charges(loaded)
    with pytest.raises(ValueError, match="k = 0"):
        OrderSAC.load(tmp_path / "model", env=make_env(2), device="cpu", k=0)


def test_a_loaded_model_keeps_its_care(tmp_path: Path) -> None:
    """Without the replay buffer there are no losses to learn from at first: what was learned of them holds."""
    make_model().learn(100).save(tmp_path / "model")
    calm = ToyEnv(action_space=spaces.Box(-2.0, 2.0, (2,)), lengths=(5,), rewards=[0.5, 0.7])
    loaded: Any = OrderSAC.load(tmp_path / "model", env=calm, device="cpu")
    fence = loaded._charged_rewards.fence
    loaded.learn(90)
    assert loaded._charged_rewards.n_losses == 0 and loaded._charged_rewards.fence == fence
    assert (loaded.replay_buffer.rewards[:90] < raw_rewards(loaded.replay_buffer)[:90]).mean() > 0.9
    # and is given up after as many steps as it was learned from
    loaded.learn(200, reset_num_timesteps=False)
    assert loaded._charged_rewards.regression.coefficients is None
    assert set(loaded.replay_buffer.rewards[:290].ravel()) == {np.float32(0.5), np.float32(0.7)}


def test_policy_kwargs_of_the_caller_stay() -> None:
    kwargs = {"net_arch": [4], "use_sde": True}
    OrderSAC("MlpPolicy", make_env(), policy_kwargs=kwargs, buffer_size=10, device="cpu")
    assert kwargs == {"net_arch": [4], "use_sde": True}


def test_files_of_sac(tmp_path: Path) -> None:
    """Models are loaded and parameters fit both ways; a buffer of SAC has raw rewards, all of which are charged."""
    models = [make_model(algorithm=algorithm).learn(100) for algorithm in (SAC, OrderSAC)]
    sizes = []
    for model, other in (models, models[::-1]):
        model.save(tmp_path / "model")
        loaded = type(other).load(tmp_path / "model", env=make_env(), device="cpu")
        assert_same_parameters(model, loaded)
        assert_trains(loaded, 120)
        sizes.append((tmp_path / "model.zip").stat().st_size)
        other.set_parameters(model.get_parameters())
        assert_same_parameters(*models)
    # the covariance of up to 320 coefficients
    assert sizes[1] <= 1.2 * sizes[0] + 20_000 + 4 * 320**2
    models[0].save_replay_buffer(tmp_path / "buffer")
    models[1].load_replay_buffer(tmp_path / "buffer")
    models[1].learn(80, reset_num_timesteps=False)
    assert_charges(models[1])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"k": 0.5}, r"k = 0.5 must be a real number >= 1"),
        ({"k": "4"}, r"k = '4' must be a real number"),
        ({"objective": "cvar"}, r"cvar"),
        ({"objective": "cvar:2"}, r"cvar.*2"),
        ({"objective": [0.2, 0.3, 0.5]}, r"weights|k = 2|ranks"),
    ],
    ids=str,
)
def test_errors(kwargs: dict[str, Any], message: str) -> None:
    """Bad input is refused before training starts, also when an attribute was changed."""
    with pytest.raises(ValueError, match=message):
        make_model(**kwargs)
    model = make_model()
    for name, value in kwargs.items():
        setattr(model, name, value)
    with pytest.raises(ValueError, match=message):
        model.learn(1)
    assert model.num_timesteps == 0


def test_objective_changed_in_training() -> None:
    """All rewards have the new price at once."""
    weights = []
    for objective in ("cvar:0.5", "median", "min"):
        model = make_model(objective="mean - 0.1*gini", k=3).learn(100)
        before, rewards = model._charged_rewards.n_learned, model.replay_buffer.rewards[:100].copy()
        model.objective = objective
        model.learn(1, reset_num_timesteps=False)
        assert model._charged_rewards.n_learned == before > 0
        assert (model.replay_buffer.rewards[:100] != rewards).mean() > 0.9
        weights.append(model._charged_rewards.loss_weight)
    assert len(set(weights)) == 3
    # the mean is that of raw rewards, also of those that were charged
    model.objective = "mean"
    model.learn(50, reset_num_timesteps=False)
    assert model.replay_buffer.rewards.min() == -1000.0 and not hasattr(model.replay_buffer, "raw_rewards")
    model.objective = "min"
    assert_charges(model.learn(100, reset_num_timesteps=False))
