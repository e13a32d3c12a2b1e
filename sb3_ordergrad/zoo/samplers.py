"""
Search spaces of our algorithms for RL Zoo's tuning.

``sample_<algo>_params`` draws hyperparameters, ``convert_<algo>_params`` makes them from the parameters of a stored trial. A
constructor that raises an error ends the whole study, so k and the group size are drawn as one choice among the pairs that the
objective allows. The objective itself is never tuned: the samplers read it from the trial's attribute ``objective``, which
:class:`~sb3_ordergrad.zoo.manager.OrderExperimentManager` sets.
"""

from typing import Any

import optuna
from rl_zoo3.hyperparams_opt import convert_offpolicy_params, convert_onpolicy_params, sample_sac_params

from sb3_ordergrad.lstatistics import ObjectiveLike, rank_weights

Hyperparams = dict[str, Any]

# Numbers of tries of RePPO
TRIES = (1, 1.2, 1.4, 2, 3, 4, 8)
# Pairs (k, group_size) of episodes and (k, n_action_samples) of actions
EPISODE_PAIRS = [(k, factor * k) for k in (4, 8, 16, 32, 64) for factor in (2, 4)]
ACTION_PAIRS = [(k, n) for n in (2, 4, 8, 16) for k in (1, 2, 4, 8, 16) if k <= n]


def _is_valid(objective: ObjectiveLike, k: float) -> bool:
    try:
        rank_weights(objective, k)
    except ValueError:
        return False
    return True


def _suggest_pair(trial: optuna.Trial, pairs: list[tuple[int, int]]) -> Hyperparams:
    """
    Choose ``"k of n"`` among the pairs that the objective of the trial allows too. Empty if there is none, which keeps the
    values of the YAML entry.
    """
    objective = trial.user_attrs.get("objective", "mean")
    valid = [f"{k} of {n}" for k, n in pairs if _is_valid(objective, k)]
    return {"k_of_n": trial.suggest_categorical("k_of_n", valid)} if valid else {}


def _convert_pair(sampled: Hyperparams, n_name: str) -> tuple[Hyperparams, Hyperparams]:
    """The other sampled parameters, and k with n, the parameter named ``n_name``."""
    others = {name: value for name, value in sampled.items() if name != "k_of_n"}
    if "k_of_n" not in sampled:
        return others, {}
    k, n = sampled["k_of_n"].split(" of ")
    return others, {"k": int(k), n_name: int(n)}


def convert_ordera2c_params(sampled: Hyperparams) -> Hyperparams:
    """Keywords of OrderA2C from the parameters of a trial."""
    others, pair = _convert_pair(sampled, "group_size")
    return {**convert_onpolicy_params(others), **pair}


convert_orderppo_params = convert_ordera2c_params
convert_reppo_params = convert_onpolicy_params
convert_ordersac_params = convert_offpolicy_params


def convert_remac_params(sampled: Hyperparams) -> Hyperparams:
    """Keywords of ReMAC from the parameters of a trial."""
    others, pair = _convert_pair(sampled, "n_action_samples")
    return {**convert_offpolicy_params(others), **pair}


def _suggest_on_policy(trial: optuna.Trial, n_steps_pow: tuple[int, int]) -> Hyperparams:
    """What RL Zoo's spaces of A2C and PPO share, with a ``gae_lambda`` from 0.6 on (docs/results.md)."""
    sampled: Hyperparams = {
        "n_steps_pow": trial.suggest_int("n_steps_pow", *n_steps_pow),
        "one_minus_gamma": trial.suggest_float("one_minus_gamma", 0.0001, 0.03, log=True),
        "one_minus_gae_lambda": trial.suggest_float("one_minus_gae_lambda", 0.005, 0.4, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 1e-5, 0.002, log=True),
        "ent_coef": trial.suggest_float("ent_coef", 1e-8, 0.1, log=True),
        "max_grad_norm": trial.suggest_float("max_grad_norm", 0.3, 2),
        "net_arch": trial.suggest_categorical("net_arch", ["tiny", "small", "medium"]),
        "activation_fn": trial.suggest_categorical("activation_fn", ["tanh", "relu"]),
    }
    # Display true values, as RL Zoo does
    trial.set_user_attr("gamma", 1 - sampled["one_minus_gamma"])
    trial.set_user_attr("gae_lambda", 1 - sampled["one_minus_gae_lambda"])
    trial.set_user_attr("n_steps", 2 ** sampled["n_steps_pow"])
    return sampled


def _suggest_order(trial: optuna.Trial) -> Hyperparams:
    """Credit, k and the group size."""
    credit = trial.suggest_categorical("credit", ["projected", "dense"])
    return {"credit": credit, **_suggest_pair(trial, EPISODE_PAIRS)}


def _suggest_ppo(trial: optuna.Trial) -> Hyperparams:
    """RL Zoo's space of PPO with batches from 32 on."""
    return {
        **_suggest_on_policy(trial, n_steps_pow=(5, 12)),
        "batch_size_pow": trial.suggest_int("batch_size_pow", 5, 10),
        "clip_range": trial.suggest_categorical("clip_range", [0.1, 0.2, 0.3, 0.4]),
        "n_epochs": trial.suggest_categorical("n_epochs", [1, 5, 10, 20]),
    }


def _with_fitting_batch(trial: optuna.Trial, hyperparams: Hyperparams, n_envs: int) -> Hyperparams:
    """The hyperparameters with a batch no larger than the rollout, of which PPO would warn."""
    batch_size = min(hyperparams["batch_size"], n_envs * hyperparams["n_steps"])
    trial.set_user_attr("batch_size", batch_size)
    return {**hyperparams, "batch_size": batch_size}


def sample_orderppo_params(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> Hyperparams:
    """Sampler of OrderPPO; the signature is RL Zoo's."""
    hyperparams = convert_orderppo_params({**_suggest_ppo(trial), **_suggest_order(trial)})
    return _with_fitting_batch(trial, hyperparams, n_envs)


def sample_reppo_params(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> Hyperparams:
    """
    Sampler of RePPO; the signature is RL Zoo's.

    :param trial: the trial, with the objective among its attributes
    :param n_envs: number of environments
    :return: keywords of the algorithm, without k if the objective allows none of ``TRIES``
    """
    sampled = _suggest_ppo(trial)
    valid = [k for k in TRIES if _is_valid(trial.user_attrs.get("objective", "mean"), k)]
    if valid:
        sampled["k"] = trial.suggest_categorical("k", valid)
    return _with_fitting_batch(trial, convert_reppo_params(sampled), n_envs)


def sample_ordera2c_params(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> Hyperparams:
    """Sampler of OrderA2C; the signature is RL Zoo's."""
    # A rollout is a single update: SB3's default is 5 steps
    return convert_ordera2c_params({**_suggest_on_policy(trial, n_steps_pow=(2, 10)), **_suggest_order(trial)})


# no parameter of its own has to be tuned
sample_ordersac_params = sample_sac_params


def sample_remac_params(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> Hyperparams:
    """Sampler of ReMAC: RL Zoo's space of SAC, the pair (k, n_action_samples) and the actor's Adam epsilon."""
    sac = sample_sac_params(trial, n_actions, n_envs, additional_args)
    _, pair = _convert_pair(_suggest_pair(trial, ACTION_PAIRS), "n_action_samples")
    eps = trial.suggest_categorical("actor_adam_eps", [1e-8, 1e-2, 1e-1, 1.0])
    return {**sac, **pair, "actor_adam_eps": eps}
