"""ReturnToDate: values on Box and Dict observations, under SB3's vector environments and VecNormalize, and its errors."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, HerReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize
from toy_envs import ToyEnv

from sb3_ordergrad.envs import ReturnToDate

HORIZON = 5


def counting_env(space: spaces.Space | None = None) -> ToyEnv:
    """Pays 1, 2, 3, 4, 5 in an episode of ``HORIZON`` steps."""
    return ToyEnv(space or spaces.Box(0, 1, shape=(2,)), lengths=(1000,), rewards=range(1, HORIZON + 1))


def flat_env(dtype: Any = np.float32, **kwargs: Any) -> gym.Env:
    """A wrapped environment with flat observations of two numbers."""
    return ReturnToDate(gym.wrappers.TimeLimit(counting_env(spaces.Box(0, 1, shape=(2,), dtype=dtype)), HORIZON), **kwargs)


IMAGE_SPACE = spaces.Dict(
    {"image": spaces.Box(0, 255, shape=(36, 36, 3), dtype=np.uint8), "vector": spaces.Box(-1, 1, shape=(3,), dtype=np.float32)}
)


def image_env() -> gym.Env:
    return ReturnToDate(gym.wrappers.TimeLimit(counting_env(IMAGE_SPACE), HORIZON))


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_values_on_a_box(scale: float) -> None:
    env = flat_env(scale=scale)
    assert env.observation_space.shape == (4,)
    for _ in range(2):  # the second episode starts from zero, too
        observation, _ = env.reset(seed=0)
        assert observation in env.observation_space
        np.testing.assert_array_equal(observation[2:], [0.0, 0.0])
        for step in range(1, HORIZON + 1):
            observation, _, _, truncated, _ = env.step(0)
            assert observation in env.observation_space
            np.testing.assert_allclose(observation[2:], [scale * step * (step + 1) / 2, step / HORIZON], rtol=1e-6)
        assert truncated


@pytest.mark.parametrize(
    ("squash", "expected"),
    [(None, [0.0, -0.5, -1.5, -3.0]), ("log", -np.log([1.0, 1.5, 2.5, 4.0])), ("softsign", [0.0, -1 / 3, -0.6, -0.75])],
)
def test_squash(squash: str | None, expected: Any) -> None:
    # Pays 1, 2, 3, here scaled to -0.5, -1, -1.5
    env = flat_env(scale=-0.5, squash=squash)
    seen = [env.reset(seed=0)[0], *(env.step(0)[0] for _ in range(3))]
    np.testing.assert_allclose([observation[2] for observation in seen], expected, rtol=1e-6)
    assert all(observation in env.observation_space for observation in seen)


def test_values_on_a_dict_with_an_image() -> None:
    env = image_env()
    observation, _ = env.reset(seed=0)
    assert set(observation) == {"image", "vector", "return_to_date", "elapsed"}
    observation, _, _, _, _ = env.step(0)
    observation, _, _, _, _ = env.step(1)
    assert observation in env.observation_space
    assert observation["image"].shape == (36, 36, 3) and observation["image"].dtype == np.uint8
    np.testing.assert_allclose(observation["return_to_date"], [3.0])
    np.testing.assert_allclose(observation["elapsed"], [0.4])


def test_the_observation_itself_is_untouched() -> None:
    space = spaces.Box(-2.0, 3.0, shape=(4,), dtype=np.float64)
    env = ReturnToDate(counting_env(space), max_episode_steps=7)
    plain = counting_env(spaces.Box(-2.0, 3.0, shape=(4,), dtype=np.float64))
    np.testing.assert_array_equal(env.reset(seed=3)[0][:4], plain.reset(seed=3)[0])
    np.testing.assert_array_equal(env.step(0)[0][:4], plain.step(0)[0])
    box: Any = env.observation_space
    np.testing.assert_array_equal(box.low, [-2, -2, -2, -2, -np.inf, 0])
    np.testing.assert_array_equal(box.high, [3, 3, 3, 3, np.inf, 1])


def test_earlier_observations_do_not_change() -> None:
    env = flat_env()
    first, _ = env.reset(seed=0)
    kept = first.copy()
    env.step(0)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(np.float32, np.float32), (np.float64, np.float64), (np.uint8, np.float32), (np.float16, np.float32)],
)
def test_dtype_holds_fractions(dtype: Any, expected: Any) -> None:
    env = flat_env(dtype=dtype)
    env.reset(seed=0)
    observation = env.step(0)[0]
    assert observation.dtype == env.observation_space.dtype == expected
    assert observation[3] == pytest.approx(0.2)


def test_horizon_from_spec_time_limit_and_argument() -> None:
    assert ReturnToDate(gym.make("CartPole-v1")).max_episode_steps == 500
    assert ReturnToDate(gym.make("CartPole-v1", max_episode_steps=30)).max_episode_steps == 30
    assert ReturnToDate(gym.make("CartPole-v1"), max_episode_steps=40).max_episode_steps == 40
    # A time limit around an environment that has no spec is found, too
    limited = gym.wrappers.TimeLimit(counting_env(), 7)
    assert ReturnToDate(limited).max_episode_steps == 7


def test_elapsed_never_leaves_its_bounds() -> None:
    env = ReturnToDate(counting_env(), max_episode_steps=2)
    env.reset(seed=0)
    assert [env.step(0)[0][3] for _ in range(4)] == [0.5, 1.0, 1.0, 1.0]


def test_spec_rebuilds_the_wrapper() -> None:
    env = ReturnToDate(gym.make("CartPole-v1"), scale=0.5, squash="log")
    assert env.spec is not None
    copy = env.spec.make()
    assert isinstance(copy, ReturnToDate) and (copy.scale, copy.squash) == (0.5, "log")


@pytest.mark.slow
@pytest.mark.parametrize("vec_env_cls", [DummyVecEnv, SubprocVecEnv])
def test_vector_environments(vec_env_cls: type) -> None:
    env: Any = make_vec_env("CartPole-v1", n_envs=2, seed=0, wrapper_class=ReturnToDate, vec_env_cls=vec_env_cls)
    observation = env.reset()
    assert observation.shape == (2, 6)
    n_steps = np.zeros(2)
    for _ in range(60):
        observation, _, dones, infos = env.step(np.ones(2, dtype=int))
        n_steps += 1
        for i in np.flatnonzero(dones):
            # CartPole pays 1 a step
            np.testing.assert_allclose(infos[i]["terminal_observation"][4:], [n_steps[i], n_steps[i] / 500], rtol=1e-6)
        n_steps[dones] = 0
        np.testing.assert_allclose(observation[:, 4:], np.stack([n_steps, n_steps / 500], axis=1), rtol=1e-6)
    env.close()


def test_under_vec_normalize() -> None:
    venv: Any = VecNormalize(DummyVecEnv([flat_env, flat_env]), clip_obs=1e6)
    venv.seed(0)
    venv.reset()
    collected = np.zeros(2)
    for step in range(1, 3 * HORIZON):
        observation, _, dones, _ = venv.step(np.zeros(2, dtype=int))
        # Rewards are normalised outside; the observation carries the raw ones
        collected = np.where(dones, 0.0, collected + venv.get_original_reward())
        raw = venv.get_original_obs()
        np.testing.assert_allclose(raw[:, 2], collected)
        np.testing.assert_allclose(raw[:, 3], (step % HORIZON) / HORIZON, rtol=1e-6)
        np.testing.assert_allclose(venv.unnormalize_obs(observation), raw, atol=1e-4)


def test_vec_normalize_with_an_image() -> None:
    venv: Any = VecNormalize(DummyVecEnv([image_env]), norm_obs_keys=["vector", "return_to_date", "elapsed"])
    model = PPO("MultiInputPolicy", venv, n_steps=8, batch_size=8, n_epochs=1, policy_kwargs={"net_arch": [8]}, device="cpu")
    model.learn(8)
    assert venv.reset()["return_to_date"].shape == (1, 1)


@pytest.mark.slow
def test_with_hindsight_replay() -> None:
    env = ReturnToDate(BitFlippingEnv(n_bits=4, continuous=False, max_steps=4), max_episode_steps=4)
    model = DQN("MultiInputPolicy", env, replay_buffer_class=HerReplayBuffer, learning_starts=20, device="cpu", seed=0)
    model.learn(60)
    assert model.replay_buffer is not None
    replay_data: Any = model.replay_buffer.sample(16)
    # BitFlipping pays -1 a step until the goal; relabelled transitions keep what was really collected
    np.testing.assert_allclose(replay_data.observations["return_to_date"], -4 * replay_data.observations["elapsed"])


@pytest.mark.parametrize(
    ("space", "error", "message"),
    [
        (spaces.Discrete(3), TypeError, "FlattenObservation"),
        (spaces.MultiDiscrete([2, 2]), TypeError, "FlattenObservation"),
        (spaces.Tuple([spaces.Discrete(2)]), TypeError, "FlattenObservation"),
        (spaces.Box(0, 255, shape=(36, 36, 3), dtype=np.uint8), ValueError, r"shape \(36, 36, 3\)"),
        (spaces.Box(0, 1, shape=()), ValueError, r"shape \(\)"),
        (spaces.Dict({"elapsed": spaces.Discrete(3)}), ValueError, r"\['elapsed'\]"),
    ],
)
def test_other_observation_spaces(space: spaces.Space, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ReturnToDate(counting_env(space), max_episode_steps=5)


@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.Box(0, 1, shape=(2, 3))])
def test_the_fix_that_the_error_names_works(space: spaces.Space) -> None:
    env = ReturnToDate(gym.wrappers.FlattenObservation(counting_env(space)), max_episode_steps=5)
    assert env.reset(seed=0)[0] in env.observation_space
