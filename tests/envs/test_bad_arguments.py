"""Bad arguments of the environments and wrappers: the message names the value and what is allowed."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from toy_envs import ToyEnv

from sb3_ordergrad.envs import HeavyTailReward, NoisyRegion, ReturnToDate, SpeedPenalty
from sb3_ordergrad.envs.betting_game import BettingGameEnv
from sb3_ordergrad.envs.cliff_walking import StochasticCliffWalkingEnv
from sb3_ordergrad.envs.finance import AmericanPutEnv, MeanReversionTradingEnv
from sb3_ordergrad.envs.fragile_point import FragilePointEnv
from sb3_ordergrad.envs.guarded_maze import GuardedMazeEnv
from sb3_ordergrad.envs.noisy_lunar_lander import NoisyLunarLanderEnv
from sb3_ordergrad.envs.risky_mujoco import (
    FragileHalfCheetahEnv,
    FragileHopperEnv,
    RiskyHalfCheetahEnv,
    RiskyHopperEnv,
    RiskyWalker2dEnv,
)
from sb3_ordergrad.envs.server_allocation import ServerAllocationEnv
from sb3_ordergrad.envs.sparse_reacher import SparseReacherEnv

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("cls", "kwargs", "message"),
    [
        (GuardedMazeEnv, {"guard_probability": 1.2}, r"guard_probability=1.2 is outside \[0, 1\]"),
        (GuardedMazeEnv, {"guard_probability": NAN}, "guard_probability=nan"),
        (GuardedMazeEnv, {"cost_mean": -1.0}, "cost_mean=-1.0"),
        (GuardedMazeEnv, {"action_noise": INF}, "action_noise=inf"),
        (GuardedMazeEnv, {"start": (3.0, 5.0)}, r"start=\(3.0, 5.0\) is not in a free cell"),
        (GuardedMazeEnv, {"start": (1.0, 9.0)}, r"start=\(1.0, 9.0\) is not in a free cell"),
        (GuardedMazeEnv, {"start": (1.0,)}, r"give \(x, y\) such as"),
        (GuardedMazeEnv, {"render_mode": "human"}, 'render_mode="human"'),
        (BettingGameEnv, {"start": 0.0}, "start=0.0 is not a finite number > 0"),
        (BettingGameEnv, {"win_probability": 1.5}, r"win_probability=1.5 is outside \[0, 1\]"),
        (BettingGameEnv, {"cap": 8.0}, "cap=8.0 is not a finite number >= 16"),
        (BettingGameEnv, {"cap": INF}, "cap=inf"),
        (BettingGameEnv, {"render_mode": "human"}, 'render_mode="human"'),
        (StochasticCliffWalkingEnv, {"random_probability": 1.5}, r"random_probability=1.5 is outside \[0, 1\]"),
        (MeanReversionTradingEnv, {"reversion": 0.0}, "reversion=0.0 is not a finite number > 0"),
        (MeanReversionTradingEnv, {"trade_cost": -1.0}, "trade_cost=-1.0"),
        (AmericanPutEnv, {"volatility": NAN}, "volatility=nan"),
        (AmericanPutEnv, {"strike": -1.0}, "strike=-1.0"),
        (ServerAllocationEnv, {"surge_rate": 2.0}, "surge_rate=2.0 is not a finite number >= 3"),
        (ServerAllocationEnv, {"surge_probability": -0.1}, "surge_probability=-0.1"),
        (ServerAllocationEnv, {"service_seconds": 0.0}, "service_seconds=0.0"),
        (RiskyHalfCheetahEnv, {"v_max": NAN}, "v_max=nan is not a number"),
        (RiskyHopperEnv, {"max_angle": NAN}, "max_angle=nan is not a number"),
        (FragileHopperEnv, {"probability": -0.1}, r"probability=-0.1 is outside \[0, 1\]"),
        (RiskyWalker2dEnv, {"probability": NAN}, "probability=nan"),
        (FragileHalfCheetahEnv, {"penalty": -INF}, "penalty=-inf is not a finite number"),
        (FragilePointEnv, {"v_max": NAN}, "v_max=nan is not a number"),
        (FragilePointEnv, {"probability": 1.5}, r"probability=1.5 is outside \[0, 1\]"),
        (FragilePointEnv, {"penalty": INF}, "penalty=inf is not a finite number"),
        (NoisyLunarLanderEnv, {"bonus_mean": INF}, "bonus_mean=inf is not a finite number"),
        (NoisyLunarLanderEnv, {"bonus_std": -1.0}, "bonus_std=-1.0 is not a finite number"),
        *((SparseReacherEnv, {"tolerance": x}, f"tolerance={x} is not a finite number >= 0") for x in (-0.1, NAN, INF)),
    ],
)
def test_environments(cls: Any, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**kwargs)


@pytest.mark.parametrize(
    ("cls", "kwargs", "message"),
    [
        (SpeedPenalty, {"v_max": NAN, "penalty": -1.0}, "v_max=nan is not a number"),
        (SpeedPenalty, {"v_max": 1.0, "penalty": INF}, "penalty=inf is not a finite number"),
        (SpeedPenalty, {"v_max": 1.0, "penalty": -1.0, "probability": 2.0}, r"probability=2.0 is outside \[0, 1\]"),
        (SpeedPenalty, {"v_max": 1.0, "penalty": -1.0, "measure": 3}, "measure=3 is not one of 0..2"),
        (SpeedPenalty, {"v_max": 1.0, "penalty": -1.0, "measure": 0.5}, "measure=0.5 is not one of 0..2"),
        (NoisyRegion, {"beyond": NAN}, "beyond=nan is not a number"),
        (NoisyRegion, {"beyond": 0.5, "std": -1.0}, "std=-1.0 is not a finite number >= 0"),
        (NoisyRegion, {"beyond": 0.5, "side": "left"}, "side='left' must be"),
        (HeavyTailReward, {"probability": -0.1}, r"probability=-0.1 is outside \[0, 1\]"),
        (HeavyTailReward, {"scale": NAN}, "scale=nan is not a finite number >= 0"),
        (HeavyTailReward, {"df": 0.0}, "df=0.0 is not above 0"),
        (ReturnToDate, {}, r"give ReturnToDate\(env, max_episode_steps=T\)"),
        (ReturnToDate, {"max_episode_steps": 0}, "max_episode_steps=0 must be at least 1"),
        (ReturnToDate, {"max_episode_steps": 5, "scale": 0.0}, "scale=0.0 must be finite and not 0"),
        (ReturnToDate, {"max_episode_steps": 5, "scale": NAN}, "scale=nan must be finite"),
        (
            ReturnToDate,
            {"max_episode_steps": 5, "squash": "tanh"},
            'squash=\'tanh\' is unknown: use "log", "softsign" or None',
        ),
    ],
)
def test_wrappers(cls: Any, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(ToyEnv(), **kwargs)


def test_an_index_needs_a_flat_observation() -> None:
    with pytest.raises(ValueError, match="measure=0 is an index, but Dict"):
        NoisyRegion(ToyEnv(spaces.Dict({"state": spaces.Box(0.0, 1.0, (2,))})), beyond=0.5, measure=0)


@pytest.mark.parametrize(
    ("env_id", "n_actions"),
    [
        ("GuardedMaze-v1", 4),
        ("BettingGame-v0", 9),
        ("StochasticCliffWalking-v0", 4),
        ("MeanReversionTrading-v0", 21),
        ("AmericanPut-v0", 2),
        ("ServerAllocation-v0", 3),
    ],
)
def test_actions(env_id: str, n_actions: int) -> None:
    env = gym.make(env_id).unwrapped
    env.reset(seed=0)
    assert env.action_space == spaces.Discrete(n_actions)
    for action in (-1, n_actions):
        with pytest.raises(ValueError, match=rf"action={action} is outside 0\.\.{n_actions - 1}"):
            env.step(np.int64(action))


@pytest.mark.parametrize(("kwargs", "message"), [({"n_prices": 40}, "n_prices=40 must be odd"), ({"width": 0.0}, "width=0.0")])
@pytest.mark.parametrize("cls", [MeanReversionTradingEnv, AmericanPutEnv])
def test_grids(cls: Any, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls().model(**kwargs)
