"""
The registry of algorithms, for RL Zoo too (:mod:`sb3_ordergrad.zoo.registry`), and options for one of them: ``remac.k:4``,
``remac.max``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sb3_ordergrad.compare.settings import RESERVED, constructor_parameters, load_class, parse_param, suggest
from sb3_ordergrad.lstatistics import Objective, ObjectiveLike


@dataclass(frozen=True)
class Algorithm:
    """
    An algorithm of this package, or a baseline.

    :param path: its class, ``"module:Class"``, imported only when it is used
    :param objectives: the objectives it is trained on by default; empty for a baseline, which has no such parameter and
        maximises the mean
    :param plain: key of the algorithm that it equals with ``objective="mean"``, if there is one
    """

    path: str
    objectives: tuple[str, ...] = ()
    plain: str | None = None

    @property
    def is_baseline(self) -> bool:
        """Whether it has no parameter ``objective``."""
        return not self.objectives


# By the class name in lower case, the only spelling that RL Zoo's plots find
ALGOS = {
    "orderppo": Algorithm("sb3_ordergrad.order_ppo:OrderPPO", ("mean", "cvar:0.25"), "ppo"),
    "ordera2c": Algorithm("sb3_ordergrad.order_a2c:OrderA2C", ("mean", "cvar:0.25"), "a2c"),
    "ordersac": Algorithm("sb3_ordergrad.order_sac:OrderSAC", ("mean", "cvar:0.25"), "sac"),
    "reppo": Algorithm("sb3_ordergrad.reppo:RePPO", ("max",)),
    "remac": Algorithm("sb3_ordergrad.remac:ReMAC", ("max",)),
    "ppo": Algorithm("stable_baselines3:PPO"),
    "a2c": Algorithm("stable_baselines3:A2C"),
    "sac": Algorithm("stable_baselines3:SAC"),
    "tqc": Algorithm("sb3_contrib:TQC"),
}
BASELINE_OBJECTIVE = "mean"


def is_mean(objective: ObjectiveLike) -> bool:
    """Whether an objective is the mean, however it is written."""
    return Objective(objective) == Objective(BASELINE_OBJECTIVE)


def algorithm_class(algo: str) -> Any:
    """The class of an algorithm."""
    return load_class(ALGOS[algo].path)


def check_algos(algos: Sequence[str]) -> None:
    """Raise a ValueError if one of them is unknown."""
    for algo in algos:
        if algo not in ALGOS:
            raise ValueError(f"--algos {algo} is unknown: {suggest(algo, list(ALGOS))}")


def _split(option: str, item: str, algos: Sequence[str]) -> tuple[str, str]:
    """The algorithm that an item names before its first dot ("" if there is none), and the rest."""
    algo, dot, rest = item.partition(".")
    if not dot or algo not in ALGOS:
        return "", item
    if algo not in algos:
        raise ValueError(f"{option} got '{item}', but --algos are {', '.join(algos)}: add {algo} or drop the item.")
    return algo, rest


def objectives_by_algorithm(items: Sequence[str] | None, algos: Sequence[str]) -> dict[str, list[str]]:
    """
    The objectives that each algorithm is trained on.

    ``remac.max`` applies to ReMAC alone. An algorithm takes the items with its name, or else those without a name, or else its
    defaults. A baseline takes the mean.

    :param items: e.g. ``["mean", "cvar:0.25", "remac.max"]``; ``None`` without the option
    :raises ValueError: if an item belongs to a baseline or to an algorithm that is not compared, or if no algorithm takes it
    """
    pairs = [_split("--objectives", item, algos) for item in items or ()]
    for algo, objective in pairs:
        if algo and ALGOS[algo].is_baseline:
            raise ValueError(f"--objectives got '{algo}.{objective}', but {algo} always maximises the mean: drop the item.")
    if items and all(ALGOS[algo].is_baseline for algo in algos):
        raise ValueError(f"--objectives were given, but {', '.join(algos)} always maximise the mean: leave the option out.")
    chosen = {}
    for algo in algos:
        own, common = ([objective for name, objective in pairs if name == wanted] for wanted in (algo, ""))
        objectives = [BASELINE_OBJECTIVE] if ALGOS[algo].is_baseline else own or common or list(ALGOS[algo].objectives)
        chosen[algo] = list(dict.fromkeys(objectives))
    return chosen


def params_by_algorithm(items: Sequence[str], algos: Sequence[str]) -> dict[str, dict[str, Any]]:
    """
    The hyperparameters that ``--params`` sets for each algorithm, from items ``key:value`` or ``algo.key:value``.

    ``remac.k:4`` applies to ReMAC alone and overrides ``k:4``, which applies to every algorithm whose constructor has ``k``.
    Settings of the environment and the run, such as ``n_envs``, apply to all.

    :raises ValueError: if an item is malformed, or names what no constructor knows or an algorithm that is not compared
    """
    known = {algo: [*RESERVED, *constructor_parameters(algorithm_class(algo))] for algo in algos}
    common: dict[str, Any] = {}
    own: dict[str, dict[str, Any]] = {algo: {} for algo in algos}
    for item in items:
        algo, rest = _split("--params", item, algos)
        key, value = parse_param(rest)
        takers = [algo] if algo else list(algos)
        names = list(dict.fromkeys(name for taker in takers for name in known[taker]))
        if key not in names:
            raise ValueError(f"--params: unknown hyperparameter '{key}' for {', '.join(takers)}: {suggest(key, names)}")
        (own[algo] if algo else common)[key] = value
    return {algo: {key: common[key] for key in common if key in known[algo]} | own[algo] for algo in algos}
