"""Every entry of our YAML files trains for two rollouts or 50 updates with RL Zoo's `train`."""

import sys
from math import ceil
from pathlib import Path
from typing import Any

# its bindings warn when they are imported, which ends the process where warnings are errors
import Box2D  # noqa: F401
import gymnasium as gym
import pytest
import torch as th
import yaml

from sb3_ordergrad.compare.settings import hyperparameter_folder
from sb3_ordergrad.lstatistics import parse_objective
from sb3_ordergrad.zoo import cli
from sb3_ordergrad.zoo.registry import ALGORITHMS

MUJOCO = (
    "HalfCheetah Hopper Walker2d Ant Swimmer Reacher Humanoid HumanoidStandup Pusher InvertedPendulum InvertedDoublePendulum"
)
CONTINUOUS = ["MountainCarContinuous-v0", "Pendulum-v1"]
DISCRETE = ["CartPole-v1", "Acrobot-v1", "MountainCar-v0"]
OFF_POLICY = ("ordersac", "remac")
EXPLORATION = ["DeepSea-v0", "RiverSwim-v0"]
# Tasks of RL Zoo without an entry
WITHOUT_ENTRY = {"reppo": "CartPoleNoVel-v1"}


def entries(algo: str) -> dict[str, dict[str, Any]]:
    return yaml.safe_load((hyperparameter_folder() / f"{algo}.yml").read_text())


def shortened(algo: str, entry: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """
    The number of steps, and overrides for a short training: on-policy rollouts of one minibatch; off-policy one environment, a
    short warm-up and a small buffer. All other values are those of the entry.
    """
    if algo in OFF_POLICY:
        return 110, {"n_envs": 1, "learning_starts": 60, "buffer_size": 200}
    n_envs = entry.get("n_envs", 1)
    if algo == "ordera2c":
        return 2 * n_envs * entry.get("n_steps", 5), {}
    n_steps = ceil(entry.get("batch_size", 64) / n_envs)
    return 2 * n_envs * n_steps, {"n_steps": n_steps}


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_entries_name_what_they_are_for(algo: str) -> None:
    if algo == "reppo":
        # discrete actions and no risk
        assert {*EXPLORATION, "CartPole-v1", "Acrobot-v1", "LunarLander-v3", "default"} == set(entries(algo))
        return
    if algo == "ordersac":
        # rare losses
        robots = [env_id for env_id in gym.registry if env_id.startswith(("Fragile", "Risky"))]
        assert {*robots, "Pendulum-v1", "default"} == set(entries(algo))
        return
    ours = [env_id for env_id, spec in gym.registry.items() if str(spec.entry_point).startswith("sb3_ordergrad.envs")]
    ours = [env_id for env_id in ours if env_id not in EXPLORATION]
    wanted = [f"{name}-v5" for name in MUJOCO.split()] + CONTINUOUS
    # ReMAC's actions are continuous
    wanted += [env_id for env_id in ours if algo != "remac" or isinstance(gym.make(env_id).action_space, gym.spaces.Box)]
    wanted += [] if algo == "remac" else DISCRETE
    assert set(wanted) | {"default"} == set(entries(algo))


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("algo", "env_id"), [(algo, env_id) for algo in ALGORITHMS for env_id in entries(algo)])
def test_entry_trains(algo: str, env_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = entries(algo)[env_id]
    env = WITHOUT_ENTRY.get(algo, "PendulumNoVel-v1") if env_id == "default" else env_id
    steps, overrides = shortened(algo, entry)
    monkeypatch.setattr(sys, "argv", [])
    options = f"train --algo {algo} --env {env} -n {steps} -f {tmp_path} --eval-freq -1 --device cpu --seed 0"
    params = ["-params", *(f"{key}:{value}" for key, value in overrides.items())] if overrides else []
    cli.main([*options.split(), *params])

    saved = tmp_path / algo / f"{env}_1"
    model = ALGORITHMS[algo].load(saved / f"{env}.zip", device="cpu")
    assert model.num_timesteps >= steps
    assert all(th.isfinite(value).all() for value in model.policy.state_dict().values())
    names = {"objective", "k", "group_size", "credit", "anneal", "anneal_from", "n_action_samples", "actor_adam_eps"}
    for name in names & set(entry):
        assert getattr(model, name) == entry[name], name
    assert parse_objective(entry["objective"])
    assert (saved / env / "vecnormalize.pkl").exists() == bool(entry.get("normalize"))
    if algo in OFF_POLICY:
        assert model._n_updates >= 50
    else:
        # One update at least for each rollout
        assert model._n_updates >= 2
