"""The rivals: their rules by hand on scripted rewards, what they reduce to, saving."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from repository import BENCHMARKS, load_script
from scipy.stats import norm
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from toy_envs import RolloutLog, ToyEnv, assert_same_parameters, small

load_script(BENCHMARKS / "optimal_cvar.py")
from rivals.cdf_ppo import CDFPPO, wang_weights  # noqa: E402
from rivals.cvar_ppo import CVaRPPO  # noqa: E402
from rivals.mean_gini_ppo import MeanGiniPPO  # noqa: E402
from rivals.return_capping import ReturnCapping  # noqa: E402

RIVALS = [ReturnCapping, CVaRPPO, CDFPPO, MeanGiniPPO]
IS_PPO: list[tuple[type[PPO], dict[str, Any]]] = [
    (ReturnCapping, {"initial_cap": np.inf, "tau": 0.0}),
    (CVaRPPO, {"level": 1.0}),
    (CDFPPO, {"eta": 0.0}),
    (MeanGiniPPO, {"gini": 0.0}),
]
SPACES = [spaces.Discrete(2), spaces.Box(-1.0, 1.0, (2,))]
# three episodes of two steps with returns 3, -1 and 7, and the start of a fourth
SCRIPT = [1.0, 2.0, 1.0, -2.0, 3.0, 4.0, 5.0, 0.0]


def trained(rival: type[PPO], env: Any = None, steps: int = 8, **kwargs: Any) -> tuple[Any, RolloutLog]:
    """The model and what it saw in each rollout."""
    log = RolloutLog()
    env = env or ToyEnv(rewards=SCRIPT, lengths=(2, 2, 2, 9))
    return rival("MlpPolicy", env, **small(PPO, **kwargs)).learn(steps, callback=log), log


@pytest.mark.parametrize("action_space", SPACES, ids=["discrete", "box"])
@pytest.mark.parametrize(("rival", "kwargs"), IS_PPO)
def test_reduces_to_ppo(rival: type[PPO], kwargs: dict[str, Any], action_space: spaces.Space) -> None:
    models = []
    for cls, arguments in ((rival, kwargs), (PPO, {})):
        venv = DummyVecEnv([lambda: ToyEnv(action_space=action_space, lengths=(3, 5), truncated=True)] * 2)
        models.append(trained(cls, VecNormalize(venv), steps=64, **arguments)[0])
    assert_same_parameters(*models)


@pytest.mark.parametrize("action_space", SPACES, ids=["discrete", "box"])
@pytest.mark.parametrize("rival", RIVALS)
def test_trains_differently_and_continues_after_loading(rival: type[PPO], action_space: spaces.Space, tmp_path: Path) -> None:
    def env() -> ToyEnv:
        return ToyEnv(action_space=action_space, lengths=(3, 2))

    model, _ = trained(rival, env(), steps=32)
    with pytest.raises(AssertionError):
        assert_same_parameters(model, trained(PPO, env(), steps=32)[0])
    model.save(tmp_path / "model")
    loaded = rival.load(tmp_path / "model", env=env())
    assert_same_parameters(model, loaded)
    if rival is ReturnCapping:
        assert loaded.cap == model.cap != 0.0
    loaded.learn(16)


def test_return_capping_by_hand() -> None:
    model, log = trained(ReturnCapping, initial_cap=2.0, min_cap=-0.5, tau=0.25, level=0.5)
    # Collected: 1, 3 | 1, -1 | 3, 7 | 5, 5; capped at 2: 1, 2 | 1, -1 | 2, 2 | 2, 2
    np.testing.assert_allclose(log.rewards[0].ravel(), [1.0, 1.0, 1.0, -2.0, 2.0, 0.0, 2.0, 0.0])
    # VaR: index int(0.5 * 3) of -1, 3, 7
    assert model.cap == 2.0 + 0.25 * (3.0 - 2.0)
    # The VaR is -1, the floor above it
    assert trained(ReturnCapping, min_cap=-0.5, initial_cap=-1.0)[0].cap == -0.5


def test_return_capping_scales_as_vec_normalize_does() -> None:
    venv = VecNormalize(DummyVecEnv([lambda: ToyEnv(rewards=SCRIPT, lengths=(2, 2, 2, 9))]), clip_reward=1e9)
    _, log = trained(ReturnCapping, venv, initial_cap=6.0)
    # The only step that the cap changes: 4 becomes 3, and rewards are divided by the scale of the end of the rollout
    plain = trained(PPO, VecNormalize(DummyVecEnv([lambda: ToyEnv(rewards=SCRIPT, lengths=(2, 2, 2, 9))]), clip_reward=1e9))[1]
    change = (log.rewards[0] - plain.rewards[0]).ravel()
    scale = 1.0 / np.sqrt(venv.ret_rms.var + venv.epsilon)
    np.testing.assert_allclose(change, scale * np.array([0, 0, 0, 0, 0, -1, 0, 0]), atol=1e-6)


def test_cvar_ppo_keeps_the_transitions_of_the_worst_episodes() -> None:
    model, _ = trained(CVaRPPO, level=0.5)
    # 6 transitions of ended episodes: those of the return -1, and the first of the return 3
    np.testing.assert_array_equal(np.flatnonzero(model.rollout_buffer.selected), [0, 2, 3])
    batches = list(model.rollout_buffer.get(2))
    assert [len(batch.returns) for batch in batches] == [2, 1]
    expected = model.rollout_buffer.returns.ravel()[[0, 2, 3]]
    seen = np.concatenate([batch.returns.numpy() for batch in batches])
    np.testing.assert_array_equal(np.sort(seen), np.sort(expected))


def test_cvar_ppo_normalises_over_the_whole_rollout() -> None:
    model, plain = trained(CVaRPPO, level=0.5)[0], trained(PPO)[0]
    advantages = plain.rollout_buffer.advantages
    expected = (advantages - advantages.mean()) / advantages.std()
    np.testing.assert_allclose(model.rollout_buffer.advantages.reshape(expected.shape), expected, rtol=1e-5)
    # and not again in each minibatch
    assert not model.normalize_advantage


def test_cvar_ppo_without_an_ended_episode_changes_nothing() -> None:
    env = ToyEnv(lengths=(1000,))
    assert_same_parameters(trained(CVaRPPO, env)[0], trained(CVaRPPO, env, steps=32)[0])


def test_wang_weights() -> None:
    # Three returns: differences of Phi(Phi^-1(u) + eta) at u = 0, 1/3, 2/3, 1
    ends = np.array([0.0, norm.cdf(norm.ppf(1 / 3) + 0.75), norm.cdf(norm.ppf(2 / 3) + 0.75), 1.0])
    np.testing.assert_allclose(wang_weights(np.array([3.0, -1.0, 7.0]), 0.75), 3 * np.diff(ends)[[1, 0, 2]])
    weights = wang_weights(np.array([2.0, 2.0, 5.0, 1.0]), 0.75)
    assert weights[3] > weights[0] == weights[1] > weights[2]
    assert weights.mean() == pytest.approx(1.0)


@pytest.mark.parametrize("normalize_advantage", [True, False])
def test_cdf_ppo_weighs_normalised_advantages(normalize_advantage: bool) -> None:
    model, _ = trained(CDFPPO, eta=0.75, normalize_advantage=normalize_advantage)
    assert model.normalize_advantage is normalize_advantage
    buffer = model.rollout_buffer
    low, middle, high = wang_weights(np.array([-1.0, 3.0, 7.0]), 0.75)
    np.testing.assert_allclose(buffer.weights, [middle, middle, low, low, high, high, 1.0, 1.0], rtol=1e-6)
    advantages = buffer.advantages.ravel()
    if normalize_advantage:
        advantages = (advantages - advantages.mean()) / (advantages.std(ddof=1) + 1e-8)
    batch = buffer._get_samples(np.arange(8))
    np.testing.assert_allclose(batch.advantages.numpy(), buffer.weights * advantages, rtol=1e-4, atol=1e-6)


def test_mean_gini_by_hand() -> None:
    model, plain = trained(MeanGiniPPO, gini=0.5)[0], trained(PPO)[0]
    # Distances to the other two: (4 + 4) / 2, (4 + 8) / 2, (4 + 8) / 2; their mean is 16 / 3
    penalty = 0.5 * (np.array([4.0, 4.0, 6.0, 6.0, 6.0, 6.0]) - 16 / 3)
    change = (model.rollout_buffer.advantages - plain.rollout_buffer.advantages).ravel()
    np.testing.assert_allclose(change, [*-penalty, 0.0, 0.0], atol=1e-6)
    np.testing.assert_array_equal(model.rollout_buffer.returns, plain.rollout_buffer.returns)


@pytest.mark.parametrize(
    ("rival", "kwargs", "message"),
    [
        (ReturnCapping, {"level": 0.0}, "level=0.0 must"),
        (ReturnCapping, {"tau": 1.5}, "tau=1.5 must"),
        (CVaRPPO, {"level": 25}, "level=25 must"),
        (MeanGiniPPO, {"gini": -1.0}, "gini=-1.0 must"),
    ],
)
def test_bad_parameters(rival: type[PPO], kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rival("MlpPolicy", ToyEnv(), **kwargs)
