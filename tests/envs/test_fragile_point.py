"""FragilePoint-v0: the rule, by hand."""

import gymnasium as gym
import numpy as np
import pytest

from sb3_ordergrad.envs.fragile_point import FragilePointEnv


@pytest.mark.parametrize("certain", [False, True])
@pytest.mark.parametrize("speed", [0.5, 3.0])
def test_step_by_hand(speed: float, certain: bool) -> None:
    env = FragilePointEnv(probability=1.0, penalty=-25.0, certain=certain)
    env.reset(seed=0)
    env.speed, env.angle = speed, 0.5
    rng = np.random.default_rng()
    rng.bit_generator.state = env.np_random.bit_generator.state
    noise, turn = rng.standard_normal(2)
    action = np.array([0.5, -2.0], dtype=np.float32)  # clipped to (0.5, -1)
    observation, reward, terminated, truncated, info = env.step(action)
    new_speed = 0.9 * speed + 0.22 * (0.5 * np.cos(0.5) - np.sin(0.5)) + 0.03 * noise
    np.testing.assert_allclose(observation, [new_speed, np.cos(0.5 + 0.1 * turn), np.sin(0.5 + 0.1 * turn)], rtol=1e-6)
    fast = new_speed > 1.0
    assert fast == (speed == 3.0)
    assert reward == pytest.approx(0.05 * new_speed - 0.005 * 1.25 - 25.0 * fast)
    assert info["risk_event"] == fast and terminated == (fast and not certain)
    assert not truncated


def test_frequency_of_breakdowns() -> None:
    env = gym.make("FragilePoint-v0", probability=0.05)
    env.reset(seed=0)
    events, steps = 0, 0
    for _ in range(4000):
        point = env.unwrapped
        assert isinstance(point, FragilePointEnv)
        point.speed = 2.0
        _, _, terminated, truncated, _ = env.step(np.zeros(2, dtype=np.float32))
        events, steps = events + terminated, steps + 1
        if terminated or truncated:
            env.reset()
    assert events / steps == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / steps))
