"""Tasks, methods and runs of the risk suite."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import references
import yaml  # type: ignore[import-untyped]

FOLDER = Path(__file__).resolve().parent
# Settings of the environment, which all methods have
ENVIRONMENT = ("env_wrapper", "env_kwargs", "normalize", "n_envs", "policy_kwargs", "gamma")
# lambda of OrderPPO by default (docs/results.md)
ORDER_LAMBDA = 0.9


@dataclass(frozen=True)
class Task:
    """
    A task of suite.yml.

    :param env_id: its id
    :param half: "choosing" or "held-out"
    :param floor_reference: CVaR that Return Capping's floor is a fraction of the way to
    :param level: of CVaR
    :param steps: budget of on-policy methods
    :param seeds: number of training seeds
    :param episodes: of each evaluation after training
    :param eval_episodes: of each evaluation during training
    :param settings: in RL Zoo's format
    """

    env_id: str
    half: str
    floor_reference: float
    level: float
    steps: int
    seeds: int
    episodes: int
    eval_episodes: int
    settings: dict[str, Any]


@dataclass(frozen=True)
class Method:
    """
    A method of the suite.

    :param label: in tables
    :param path: of its class
    :param settings: its own settings on a task
    :param tuned_as: the method whose tuned settings it takes, its own by default
    :param steps: factor on the task's steps
    :param tasks: those it is run on, all by default
    :param max_seeds: upper bound of the number of seeds
    :param env_kwargs: of the environment, in training only
    """

    label: str
    path: str
    settings: Callable[[Task], dict[str, Any]]
    tuned_as: str | None = None
    steps: float = 1.0
    tasks: tuple[str, ...] = ()
    max_seeds: int = 1000
    env_kwargs: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Run:
    """
    What decides the outcome of a run.

    :param env_id: the task
    :param method: key of :data:`METHODS`
    :param seed: of the training
    :param path: class of the method
    :param steps: of training
    :param settings: of the method on the task
    :param env_kwargs: of the environment, in training only
    :param level: of CVaR, by which the best policy is chosen
    :param episodes: of each evaluation after training; 0 in a search: only 400 episodes of the last policy, sampled
    :param eval_episodes: of each evaluation during training
    """

    env_id: str
    method: str
    seed: int
    path: str
    steps: int
    settings: dict[str, Any]
    env_kwargs: dict[str, Any]
    level: float
    episodes: int
    eval_episodes: int

    def folder(self, out: Path) -> Path:
        """
        :param out: folder of the results
        :return: that of this run; other settings have another one
        """
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]
        return out / self.env_id / f"{self.method}-s{self.seed}-{digest}"


def order_settings(task: Task) -> dict[str, Any]:
    """OrderPPO's objective; all else is its default."""
    return {"objective": f"cvar:{task.level:g}"}


def at_level(task: Task) -> dict[str, Any]:
    """The level of CVaR."""
    return {"level": task.level}


def published(task: Task) -> dict[str, Any]:
    """
    Settings of Return Capping's public code; its tasks show the collected reward. A rollout of 3072 steps in place of 3000 has
    whole minibatches; rewards are normalised in place of divided by 256, and the critic's loss is squared.
    """
    return {
        "env_wrapper": None,
        "normalize": {"norm_obs": False, "norm_reward": True, "clip_reward": 1e9},
        "vf_coef": 1.0,
        "n_envs": 1,
        "n_steps": 3072,
        "batch_size": 32,
        "n_epochs": 10,
        "learning_rate": 3e-4,
        "gamma": 0.99,
        "gae_lambda": 0.95,
        "ent_coef": 1e-5,
        "max_grad_norm": 1.0,
        "policy_kwargs": "dict(net_arch=[256, 256], activation_fn=nn.ReLU)",
        "n_timesteps": 1_500_000 if task.env_id == "NoisyLunarLander-v0" else 1_000_000,
    }


def nothing(task: Task) -> dict[str, Any]:
    """No settings beyond those of the task."""
    return {}


ROBOTS = ("FragileHalfCheetah-v0", "RiskyHalfCheetah-v0", "RiskyHopper-v0", "FragileHopper-v0")
NO_OPTIMUM = (
    *ROBOTS,
    "GuardedMaze-v1",
    "GuardedMazeFixedStart-v0",
    "ServerAllocation-v0",
    "NoisyLunarLander-v0",
    "NoisyInvertedPendulum-v0",
)
CERTAIN = (("certain", True),)
PPO, SAC, ORDER_PPO = "stable_baselines3:PPO", "stable_baselines3:SAC", "sb3_ordergrad:OrderPPO"
ORDER_SAC = "sb3_ordergrad:OrderSAC"
A2C, ORDER_A2C = "stable_baselines3:A2C", "sb3_ordergrad:OrderA2C"

METHODS = {
    "orderppo": Method("OrderPPO", ORDER_PPO, order_settings),
    "ppo": Method("PPO", PPO, nothing),
    # The control: what of the difference is not the objective
    "ppo-order": Method("PPO, OrderPPO's settings", PPO, lambda task: {"gae_lambda": ORDER_LAMBDA}, tuned_as="orderppo"),
    "ordera2c": Method("OrderA2C", ORDER_A2C, order_settings),
    "a2c": Method("A2C", A2C, nothing),
    "return-capping": Method("Return Capping", "rivals.return_capping:ReturnCapping", at_level),
    "cvar-ppo": Method("CVaR-PPO", "rivals.cvar_ppo:CVaRPPO", at_level),
    "cdf-ppo": Method("CDF-PPO", "rivals.cdf_ppo:CDFPPO", nothing),
    "mean-gini": Method("mean - Gini", "rivals.mean_gini_ppo:MeanGiniPPO", nothing),
}
# Off-policy methods need fewer steps, and more time for each
OFF_POLICY = {
    "sac": Method("SAC, 0.1 of the steps", SAC, nothing, steps=0.1, tasks=ROBOTS[:2]),
    "ordersac": Method("OrderSAC, 0.1 of the steps", ORDER_SAC, order_settings, steps=0.1, tasks=ROBOTS[:2]),
    "tqc": Method("TQC, 0.1 of the steps", "sb3_contrib:TQC", nothing, steps=0.1, tasks=ROBOTS[:2]),
}
# What OrderPPO's objective does alone: its other part is the learned mean of rare losses, which no rival has
ABLATIONS = {
    "orderppo-sampled": Method(
        "OrderPPO, rare losses as sampled",
        ORDER_PPO,
        lambda task: order_settings(task) | {"smooth_rare_losses": False},
        tuned_as="orderppo",
    ),
}
# Only for reference levels: more steps, and the risk as its expected loss in training
REFERENCES = {
    "orderppo-x10": Method("OrderPPO, 10 x the steps", ORDER_PPO, order_settings, "orderppo", 10.0, NO_OPTIMUM, max_seeds=2),
    "sac-certain": Method("SAC, risk certain", SAC, nothing, steps=0.5, tasks=ROBOTS, max_seeds=1, env_kwargs=CERTAIN),
}
# To compare with published figures: the rivals with the settings of their paper, on its tasks
THEIRS = ("GuardedMazeFixedStart-v0", "BettingGameCroppedStake-v0", "NoisyLunarLander-v0")
PUBLISHED = {
    "return-capping-published": Method(
        "Return Capping, published settings",
        METHODS["return-capping"].path,
        lambda task: at_level(task) | published(task),
        tasks=THEIRS,
        max_seeds=1,
    ),
    "ppo-published": Method("PPO, published settings", PPO, published, tasks=THEIRS, max_seeds=1),
    "cvar-ppo-published": Method(
        "CVaR-PPO, published settings",
        METHODS["cvar-ppo"].path,
        lambda task: at_level(task) | published(task) | {"n_steps": round(3072 / task.level)},
        tasks=THEIRS,
        max_seeds=1,
    ),
}
ALL = METHODS | OFF_POLICY | ABLATIONS | REFERENCES | PUBLISHED


def load_tasks() -> dict[str, Task]:
    """The tasks of suite.yml by id."""
    entries = yaml.safe_load((FOLDER / "suite.yml").read_text())
    return {env_id: Task(env_id, **entry) for env_id, entry in entries.items()}


def load_tuned() -> dict[str, dict[str, Any]]:
    """The changes that suite_search.py has chosen for each method; none before it was run."""
    path = FOLDER / "suite_tuned.yml"
    return yaml.safe_load(path.read_text()) or {} if path.exists() else {}


def apply(changes: dict[str, Any], settings: dict[str, Any], task: Task) -> dict[str, Any]:
    """
    :param changes: what a trial of the search draws: settings, ``lr_factor`` on the learning rate, and Return Capping's
        ``floor`` as a fraction of the way from the random policy's CVaR to the task's ``floor_reference``
    :param settings: of a method on a task
    :param task: the task
    :return: the changed settings
    """
    settings = {**settings, **changes}
    factor = settings.pop("lr_factor", 1.0)
    if factor != 1.0:
        rate = str(settings.get("learning_rate", "7e-4"))
        scaled = factor * float(rate.removeprefix("lin_"))
        settings["learning_rate"] = f"lin_{scaled:g}" if rate.startswith("lin_") else scaled
    floor = settings.pop("floor", None)
    if floor is not None:
        random, _ = references.levels(task.env_id, task.level)
        settings["min_cap"] = random + floor * (task.floor_reference - random)
        settings["initial_cap"] = settings["min_cap"]
    return settings


def make_run(task: Task, name: str, seed: int, changes: dict[str, Any] | None = None, **other: Any) -> Run:
    """
    :param task: the task
    :param name: key of :data:`ALL`
    :param seed: of the training
    :param changes: see :func:`apply`; ``None`` for the tuned ones
    :param other: replaces fields of the run
    """
    method = ALL[name]
    if changes is None:
        changes = load_tuned().get(method.tuned_as or name, {})
        if name == "ppo-order":
            # What PPO does not know
            changes = {key: value for key, value in changes.items() if key not in ("anneal", "anneal_from", "credit")}
    settings = dict(task.settings)
    if method.path.startswith((A2C, ORDER_A2C)):
        settings = {key: settings[key] for key in ENVIRONMENT if key in settings}
    elif method.path.startswith((SAC, ORDER_SAC, "sb3_contrib")):
        # SB3's settings: one environment, raw rewards; nothing that these methods learn depends on what was collected
        settings = {"normalize": {"norm_obs": True, "norm_reward": False}, "learning_starts": 5000}
    settings = apply(changes, {**settings, **method.settings(task)}, task)
    steps = settings.pop("n_timesteps", int(task.steps * method.steps))
    fields: dict[str, Any] = {
        "env_id": task.env_id,
        "method": name,
        "seed": seed,
        "path": method.path,
        "steps": steps,
        "settings": settings,
        "env_kwargs": dict(method.env_kwargs),
        "level": task.level,
        "episodes": task.episodes,
        "eval_episodes": task.eval_episodes,
    }
    return Run(**fields | other)


def plan(tasks: Sequence[str], methods: Sequence[str], seeds: Sequence[int] | None = None) -> list[Run]:
    """
    :param tasks: ids
    :param methods: keys of :data:`ALL`
    :param seeds: ``None`` for those of the tasks
    :return: the runs, those of a seed together so that an interrupted command has whole comparisons
    """
    runs = []
    known = load_tasks()
    for env_id in tasks:
        task = known[env_id]
        for seed in range(task.seeds) if seeds is None else seeds:
            for name in methods:
                method = ALL[name]
                if seed < method.max_seeds and (not method.tasks or env_id in method.tasks):
                    runs.append(make_run(task, name, seed))
    return runs
