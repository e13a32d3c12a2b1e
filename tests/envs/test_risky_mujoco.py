"""The robots with a risk: the rule under forced speeds and tilts, real episodes, the risk made certain, pickling."""

import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from sb3_ordergrad.envs.risky_mujoco import (
    FragileHalfCheetahEnv,
    FragileHopperEnv,
    RiskyHalfCheetahEnv,
    RiskyHopperEnv,
    RiskyWalker2dEnv,
)

# id -> class, limit (name, value), probability, penalty, ends the episode, horizon
RULES: dict[str, tuple[Any, tuple[str, float], float, float, bool, int]] = {
    "RiskyHalfCheetah-v0": (RiskyHalfCheetahEnv, ("v_max", 4.0), 0.05, -70.0, False, 200),
    "RiskyHopper-v0": (RiskyHopperEnv, ("max_angle", 0.1), 0.1, -50.0, False, 500),
    "RiskyWalker2d-v0": (RiskyWalker2dEnv, ("max_angle", 0.5), 0.1, -30.0, False, 500),
    "FragileHalfCheetah-v0": (FragileHalfCheetahEnv, ("v_max", 2.0), 0.003, -500.0, True, 200),
    "FragileHopper-v0": (FragileHopperEnv, ("v_max", 1.5), 0.001, -500.0, True, 500),
}
CLASSES = [rule[0] for rule in RULES.values()]
# id -> plain robot
PLAIN = {env_id: f"{env_id.removeprefix('Risky').removeprefix('Fragile').removesuffix('-v0')}-v5" for env_id in RULES}


def within_four_standard_errors(events: int, n: int, probability: float) -> bool:
    return abs(events / n - probability) < 4 * np.sqrt(probability * (1 - probability) / n)


def force(monkeypatch: pytest.MonkeyPatch, env: Any, speed: float, angle: float, reward: float = 1.5) -> None:
    """Replace the physics: every step of the plain robot leaves it at this speed and angle and pays this reward."""
    robot = next(cls for cls in type(env).__mro__ if cls.__module__.startswith("gymnasium."))
    position = env.init_qpos.copy()
    position[2] = angle
    env.set_state(position, env.init_qvel)
    info = {"x_velocity": np.float64(speed), "reward_forward": np.float64(speed)}
    observation = env._get_obs()
    monkeypatch.setattr(robot, "step", lambda self, action: (observation, np.float64(reward), False, False, dict(info)))


@pytest.mark.parametrize("env_id", RULES)
def test_constants(env_id: str) -> None:
    _, (limit, value), probability, penalty, ends_episode, horizon = RULES[env_id]
    env: Any = gym.make(env_id)
    robot = env.unwrapped
    assert (getattr(robot, limit), robot.probability, robot.penalty) == (value, probability, penalty)
    assert (robot.ends_episode, env.spec.max_episode_steps) == (ends_episode, horizon)


@pytest.mark.parametrize("env_id", RULES)
def test_rule_over_100_000_forced_steps(monkeypatch: pytest.MonkeyPatch, env_id: str) -> None:
    cls, (limit, value), probability, penalty, ends_episode, _ = RULES[env_id]
    env, n = cls(), 100_000
    env.reset(seed=0)
    action = np.zeros(env.action_space.shape)
    beyond = value * 1.1
    force(monkeypatch, env, **{"speed": 1.0, "angle": 0.0, "speed" if limit == "v_max" else "angle": beyond})
    results = [env.step(action) for _ in range(n)]
    events = [result for result in results if result[4]["risk_event"]]
    assert within_four_standard_errors(len(events), n, probability)
    # RiskyHalfCheetah's penalty replaces the forward part of the reward; the others' is added
    paid = 1.5 - beyond + penalty if env_id == "RiskyHalfCheetah-v0" else 1.5 + penalty
    assert {reward for _, reward, *_ in events} == {paid}
    assert {terminated for _, _, terminated, _, _ in events} == {ends_episode}
    others = [result for result in results if not result[4]["risk_event"]]
    assert {(reward, terminated) for _, reward, terminated, _, _ in others} == {(1.5, False)}


@pytest.mark.parametrize("env_id", RULES)
def test_certain_risk_charges_the_expected_loss(monkeypatch: pytest.MonkeyPatch, env_id: str) -> None:
    cls, (limit, value), probability, penalty, _, _ = RULES[env_id]
    env = pickle.loads(pickle.dumps(cls(certain=True)))
    env.reset(seed=0)
    beyond = value * 1.1
    loss = penalty - beyond if env_id == "RiskyHalfCheetah-v0" else penalty
    for coordinate, expected in [(beyond, 1.5 + probability * loss), (0.9 * value, 1.5)]:
        force(monkeypatch, env, **{"speed": 1.0, "angle": 0.0, "speed" if limit == "v_max" else "angle": coordinate})
        for _ in range(20):
            _, reward, terminated, _, info = env.step(np.zeros(env.action_space.shape))
            assert reward == pytest.approx(expected) and terminated is False
            assert info["risk_event"] is (coordinate == beyond)


@pytest.mark.parametrize("env_id", RULES)
def test_no_risk_up_to_the_limit(monkeypatch: pytest.MonkeyPatch, env_id: str) -> None:
    cls, (limit, value), *_ = RULES[env_id]
    env = cls(probability=1.0)
    env.reset(seed=0)
    if limit == "v_max":
        # At the limit itself there is no risk, and none however far the robot leans
        states = [(value, 0.0), (0.0, 0.0), (-9.0, 0.15)]
    else:
        states = [(0.0, 0.99 * value), (9.0, -0.99 * value)]
    for speed, angle in states:
        force(monkeypatch, env, speed=speed, angle=angle)
        assert env.step(np.zeros(env.action_space.shape))[4]["risk_event"] is False


@pytest.mark.parametrize(("cls", "fallen"), [(RiskyHopperEnv, 0.21), (RiskyWalker2dEnv, 1.01)])
def test_tilt_counts_to_both_sides_while_healthy(monkeypatch: pytest.MonkeyPatch, cls: Any, fallen: float) -> None:
    env = cls(probability=1.0)
    env.reset(seed=0)
    for angle, event in [(env.max_angle, True), (-env.max_angle, True), (fallen, False), (-fallen, False)]:
        force(monkeypatch, env, speed=0.0, angle=angle)
        assert env.step(np.zeros(env.action_space.shape))[4]["risk_event"] is event


def run_pair(env: gym.Env, plain: gym.Env, n_steps: int) -> tuple[np.ndarray, np.ndarray, list[dict[str, Any]], np.ndarray]:
    """Rewards there, rewards of the plain robot on the same states and actions, infos, terminations of both, ``(n, 2)``."""
    plain_robot: Any = plain.unwrapped
    robot: Any = env.unwrapped
    env.reset(seed=0)
    plain.reset(seed=0)
    env.action_space.seed(0)
    rewards, plain_rewards, infos, ends = [], [], [], []
    for _ in range(n_steps):
        plain_robot.set_state(robot.data.qpos.copy(), robot.data.qvel.copy())
        plain_robot.data.qacc_warmstart[:] = robot.data.qacc_warmstart
        action = env.action_space.sample()
        _, reward, terminated, truncated, info = env.step(action)
        _, plain_reward, plain_terminated, _, _ = plain_robot.step(action)
        plain_rewards.append(float(plain_reward))
        rewards.append(float(reward))
        infos.append(info)
        ends.append((terminated, plain_terminated))
        if terminated or truncated:
            env.reset()
    return np.array(rewards), np.array(plain_rewards), infos, np.array(ends)


@pytest.mark.parametrize("env_id", RULES)
def test_steps_are_the_robots_but_for_the_event(env_id: str) -> None:
    _, (limit, _), _, penalty, ends_episode, _ = RULES[env_id]
    # Half of the steps beyond a limit that a random policy often passes
    kwargs: dict[str, float] = {"probability": 0.5, limit: 0.0 if limit == "v_max" else 0.02}
    rewards, plain_rewards, infos, ends = run_pair(gym.make(env_id, **kwargs), gym.make(PLAIN[env_id]), 500)
    event = np.array([info["risk_event"] for info in infos])
    forward = np.array([info["reward_forward"] for info in infos])
    assert 20 < event.sum() < 400
    if limit == "v_max":
        assert all(info["x_velocity"] > 0.0 for info in infos if info["risk_event"])
    lost = forward if env_id == "RiskyHalfCheetah-v0" else 0.0
    np.testing.assert_allclose(rewards, np.where(event, plain_rewards - lost + penalty, plain_rewards), atol=1e-9)
    np.testing.assert_array_equal(ends[:, 0], ends[:, 1] | (event & ends_episode))


def test_fragile_episodes_end_with_the_breakdown() -> None:
    # Every step is at risk, so the events of the run are independent
    env, n = gym.make("FragileHalfCheetah-v0", v_max=-np.inf), 8000
    _, _, infos, ends = run_pair(env, gym.make("HalfCheetah-v5"), n)
    broken = np.array([info["risk_event"] for info in infos])
    np.testing.assert_array_equal(broken, ends[:, 0])
    assert within_four_standard_errors(broken.sum(), n, 0.003)


def test_random_numbers_do_not_depend_on_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    env = FragileHalfCheetahEnv(probability=0.5)

    def events(*speeds: float) -> list[bool]:
        env.reset(seed=0)
        happened = []
        for speed in speeds:
            force(monkeypatch, env, speed=speed, angle=0.0)
            happened.append(env.step(np.zeros(6))[4]["risk_event"])
        return happened

    fast = events(*[9.0] * 20)
    # A slow step first: the events of the others are the same
    assert events(0.0, *[9.0] * 19) == [False, *fast[1:]]


@pytest.mark.parametrize("cls", CLASSES)
def test_pickle_keeps_the_constants(cls: Any) -> None:
    limit = next(rule[1][0] for rule in RULES.values() if rule[0] is cls)
    env = cls(penalty=-200.0, ctrl_cost_weight=0.2, **{limit: 1.0})
    copy = pickle.loads(pickle.dumps(env))
    assert (copy.penalty, getattr(copy, limit), copy.probability) == (-200.0, 1.0, env.probability)
    assert copy._ctrl_cost_weight == 0.2
