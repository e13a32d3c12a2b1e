"""Tuning draws only what the constructors accept, and a stored trial comes back as the same hyperparameters."""

from typing import Any

import gymnasium as gym
import optuna
import pytest
from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER

from sb3_ordergrad.lstatistics import LStatistic, exact_lstatistic, rank_weights
from sb3_ordergrad.zoo.registry import ALGORITHMS, register
from sb3_ordergrad.zoo.samplers import ACTION_PAIRS, EPISODE_PAIRS

ADDITIONAL: dict[str, Any] = {"using_her_replay_buffer": False, "her_kwargs": {}}
OBJECTIVES = ["mean", "cvar:0.05", "max", "top:8", "weights:0,0.5,0.5,0", "mean - 0.5*gini", "trimmed_mean:0.1:0.1"]
register()
GROUP = {"orderppo": "group_size", "ordera2c": "group_size", "remac": "n_action_samples"}


def trials(algo: str, objective: str, n_trials: int, n_envs: int = 4) -> list[tuple[Any, dict[str, Any]]]:
    """Random trials with their hyperparameters."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = []
    for _ in range(n_trials):
        trial = study.ask()
        trial.set_user_attr("objective", objective)
        drawn.append((trial, HYPERPARAMS_SAMPLER[algo](trial, 1, n_envs, dict(ADDITIONAL))))
    return drawn


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("algo", GROUP)
def test_sampled_groups_are_valid(algo: str, objective: str) -> None:
    seen = set()
    for _, hyperparams in trials(algo, objective, 60):
        k, n = hyperparams["k"], hyperparams[GROUP[algo]]
        assert k <= n if algo == "remac" else k < n
        LStatistic(n, k, objective)
        seen.add((k, n))
    assert len(seen) > 1


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_sampled_tries_are_valid(objective: str) -> None:
    seen = {hyperparams["k"] for _, hyperparams in trials("reppo", objective, 60) if "k" in hyperparams}
    for k in seen:
        exact_lstatistic([0.0], [1.0], k, objective)
    assert len(seen) > 1 or objective.startswith("weights") or objective == "top:8"


@pytest.mark.parametrize("algo", GROUP)
def test_entry_keeps_its_group_where_no_pair_suits_the_objective(algo: str) -> None:
    for _, hyperparams in trials(algo, "weights:0.2,0.3,0.5", 5):
        assert not {"k", GROUP[algo]} & set(hyperparams)


def test_pairs() -> None:
    assert all(k < n for k, n in EPISODE_PAIRS)
    assert all(k <= n for k, n in ACTION_PAIRS)
    # The smallest k suits short weight vectors
    assert len(rank_weights("weights:0,0.5,0.5,0", EPISODE_PAIRS[0][0])) == 4


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_constructor_accepts_what_is_sampled(algo: str) -> None:
    env_id = "CartPole-v1" if algo == "reppo" else "Pendulum-v1"
    for _, hyperparams in trials(algo, "cvar:0.25", 8, n_envs=1):
        extra = {"buffer_size": 10} if algo == "remac" else {}
        model = ALGORITHMS[algo]("MlpPolicy", gym.make(env_id), device="cpu", objective="cvar:0.25", **hyperparams, **extra)
        # OrderSAC has no k to tune
        assert model.k == hyperparams.get("k") and ("k" in hyperparams) == (algo != "ordersac")


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_stored_trial_converts_to_what_was_sampled(algo: str) -> None:
    for trial, hyperparams in trials(algo, "max", 10, n_envs=64):
        assert HYPERPARAMS_CONVERTER[algo](trial.params) == hyperparams


@pytest.mark.parametrize("algo", ["orderppo", "reppo"])
def test_batch_is_no_larger_than_the_rollout(algo: str) -> None:
    sizes = [(h["batch_size"], h["n_steps"]) for _, h in trials(algo, "max", 60, n_envs=2)]
    assert all(batch <= 2 * n_steps for batch, n_steps in sizes)
    assert any(batch == 2 * n_steps for batch, n_steps in sizes)
