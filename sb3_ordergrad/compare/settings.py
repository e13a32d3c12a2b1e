"""Hyperparameters in the format of RL Zoo's YAML files, read without RL Zoo."""

import ast
import difflib
import importlib
import inspect
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import yaml  # type: ignore[import-untyped]
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from sb3_ordergrad.compare.literals import parse_literal

RETURN_TO_DATE = "sb3_ordergrad.envs.ReturnToDate"
# Entries that describe the environment and the run; all others go to the constructor of the algorithm
RESERVED = ("n_envs", "n_timesteps", "policy", "normalize", "env_wrapper", "env_kwargs")
UNSUPPORTED = (
    "frame_stack",
    "vec_env_wrapper",
    "callback",
    "monitor_kwargs",
    "noise_type",
    "noise_std",
    "replay_buffer_class",
)
OWN_OPTIONS = {"objective": "--objectives", "seed": "--seeds", "n_timesteps": "--steps", "env": "--env"}
SCHEDULES = ("learning_rate", "clip_range", "clip_range_vf")
# Dictionaries, which a YAML file may write as Python text
DICTIONARIES = ("policy_kwargs", "rollout_buffer_kwargs", "replay_buffer_kwargs", "env_kwargs")


def load_class(path: str, parent: type = object) -> Any:
    """
    Import a class, ``"package.module:Name"`` or ``"package.module.Name"``.

    :param path: the class
    :param parent: it must be derived from this one
    :raises ValueError: if the module cannot be imported or holds no such class
    """
    module, _, name = path.replace(":", ".").rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    # Whatever the module raises
    except Exception as error:
        raise ValueError(f"Cannot import '{path}' ({error}): give the full name, such as '{RETURN_TO_DATE}'.") from error
    if not (isinstance(found, type) and issubclass(found, parent)):
        raise ValueError(f"'{path}' must be a class derived from {parent.__module__}.{parent.__name__}: name another.")
    return found


def suggest(name: str, known: Sequence[str]) -> str:
    """The hint that ends an error about an unknown name."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"choose from {', '.join(known)}."


def hyperparameter_folder() -> Path:
    """
    The folder with the YAML files: package data of an installed package, or beside the package in a checkout.

    :raises ValueError: if neither holds a YAML file
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "zoo_hyperparams", package.parent / "zoo_hyperparams"):
        if any(folder.glob("*.yml")):
            return folder
    raise ValueError("No hyperparameter files were installed with the package: name their folder with --conf-dir.")


def load_settings(algo: str, env_id: str, conf_dir: Path | None = None) -> dict[str, Any]:
    """
    The entry of ``<algo>.yml`` for an environment as it stands in the file, or its entry ``default``.

    :param conf_dir: folder of the YAML files; those of the package if ``None``
    :raises ValueError: if there is no such file or entry, or its content is invalid; the message names the file
    """
    path = (conf_dir or hyperparameter_folder()) / f"{algo}.yml"
    if not path.is_file():
        raise ValueError(f"There is no file '{path}': name the folder that holds {algo}.yml with --conf-dir.")
    try:
        entries = yaml.safe_load(path.read_text()) or {}
    except (RecursionError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(entries, dict):
        raise ValueError(f"{path} must map environments to their settings, it holds {type(entries).__name__}: see {algo}.yml.")
    # gymnasium's "package:Env-v0" is the environment Env-v0
    for key in (env_id, env_id.rpartition(":")[2], "default"):
        if key in entries:
            entry, where = entries[key] or {}, f"{path}, entry '{key}': "
            if not isinstance(entry, dict):
                raise ValueError(f"{where}it must map names of settings to values, got {entry!r}.")
            check_json(entry, where)
            check_counts(entry, where)
            return dict(entry)
    raise ValueError(f"{path.name} has no entry for '{env_id}' and no entry 'default': add one of them.")


def check_counts(settings: Mapping[str, Any], where: str = "") -> None:
    """Raise a ValueError unless ``n_envs`` is a whole number >= 1 and ``n_timesteps`` a number >= 1."""
    n_envs, steps = settings.get("n_envs", 1), settings.get("n_timesteps", 1)
    if not isinstance(n_envs, int) or isinstance(n_envs, bool) or n_envs < 1:
        raise ValueError(f"{where}n_envs = {n_envs!r} must be a whole number >= 1.")
    try:
        is_valid = 1 <= float(steps) < math.inf
    except (OverflowError, TypeError, ValueError):
        is_valid = False
    if not is_valid:
        raise ValueError(f"{where}n_timesteps = {steps!r} must be a number >= 1, such as 1e6.")


def check_json(settings: Mapping[Any, Any], where: str) -> None:
    """Raise a ValueError if a name is not a string or a value has no form in JSON, such as a date or a set."""
    for key, value in settings.items():
        try:
            if not isinstance(key, str):
                raise TypeError(f"the name is of type {type(key).__name__}")
            json.dumps(value, sort_keys=True)
        except (RecursionError, TypeError, ValueError) as error:
            raise ValueError(f"{where}{key}: {error}; use numbers, strings, lists and mappings with names as keys.") from error


def parse_param(item: str) -> tuple[str, Any]:
    """
    Key and value of a hyperparameter in RL Zoo's form ``key:value``, where a value that is not a Python literal is a string.

    :raises ValueError: if the item has no colon, the key has an option of its own, or the value has no form in JSON
    """
    key, colon, value = item.partition(":")
    if not (key and colon and value):
        raise ValueError(f"--params got '{item}': write key:value, for example gamma:0.99.")
    if key in OWN_OPTIONS:
        raise ValueError(f"--params got '{item}': use {OWN_OPTIONS[key]} for that.")
    try:
        parsed = ast.literal_eval(value)
    except (MemoryError, RecursionError, SyntaxError, TypeError, ValueError):
        return key, value
    check_json({key: parsed}, f"--params got '{item}': ")
    return key, parsed


def wrapper_list(env_wrapper: Any) -> list[tuple[str, dict[str, Any]]]:
    """RL Zoo's forms of wrappers (a name, ``{name: kwargs}``, or a list of these) as a list of (name, kwargs)."""
    if env_wrapper is None:
        return []
    if isinstance(env_wrapper, str):
        return [(env_wrapper, {})]
    if isinstance(env_wrapper, Mapping) and len(env_wrapper) == 1:
        return [(str(name), _dictionary(env_wrapper, name)) for name in env_wrapper]
    if isinstance(env_wrapper, Sequence):
        return [pair for item in env_wrapper for pair in wrapper_list(item)]
    raise ValueError(f"env_wrapper = {env_wrapper!r}: use 'module.Class', {{'module.Class': {{...}}}} or a list of these.")


def override_return_to_date(settings: Mapping[str, Any], choice: str) -> dict[str, Any]:
    """Settings with the wrapper ``ReturnToDate`` added (``yes``), removed (``no``) or unchanged (``config``)."""
    wrappers = wrapper_list(settings.get("env_wrapper"))
    if choice == "no":
        wrappers = [(name, kwargs) for name, kwargs in wrappers if name != RETURN_TO_DATE]
    elif choice == "yes" and all(name != RETURN_TO_DATE for name, _ in wrappers):
        wrappers.append((RETURN_TO_DATE, {}))
    others = {key: value for key, value in settings.items() if key != "env_wrapper"}
    # One form for equal wrappers: it decides the folder of the run
    return {**others, "env_wrapper": [{name: kwargs} for name, kwargs in wrappers]} if wrappers else others


def constructor_parameters(algo_class: Callable[..., Any]) -> list[str]:
    """Names of the constructor's parameters, with those of its parents where it takes ``**kwargs``."""
    names: dict[str, None] = {}
    for cls in inspect.getmro(algo_class):  # type: ignore[arg-type]
        if "__init__" not in vars(cls):
            continue
        parameters = inspect.signature(cls.__init__).parameters  # type: ignore[misc]
        names.update(dict.fromkeys(name for name, p in parameters.items() if p.kind is not p.VAR_KEYWORD))
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break
    return [name for name in names if not name.startswith("_") and name not in ("self", "args", "policy", "env", "seed")]


def check_settings(settings: Mapping[str, Any], algo_class: Callable[..., Any]) -> None:
    """Raise a ValueError if a setting is unknown to the algorithm, not supported here or invalid."""
    known = [*RESERVED, *constructor_parameters(algo_class)]
    for key, value in settings.items():
        if key in UNSUPPORTED and value is not None:
            raise ValueError(f"The setting '{key}' = {value!r} is not supported by this command: leave it out.")
        if key not in known and key not in UNSUPPORTED:
            raise ValueError(f"Unknown hyperparameter '{key}' for {algo_class.__name__}: {suggest(key, known)}")
    check_counts(settings)
    policy = settings.get("policy", "MlpPolicy")
    if not isinstance(policy, str):
        raise ValueError(f"policy = {policy!r} must be the name of a policy, such as 'MlpPolicy'.")
    for name, _ in wrapper_list(settings.get("env_wrapper")):
        load_class(name, gym.Wrapper)
    for key in DICTIONARIES:
        _dictionary(settings, key)
    normalize_kwargs(settings)
    constructor_kwargs(settings)


def _dictionary(settings: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A setting that holds keywords: a mapping, ``None``, or Python text such as ``"dict(net_arch=[64])"``."""
    value = settings.get(key)
    parsed = parse_literal(value) if isinstance(value, str) else value
    if parsed is None:
        return {}
    if not isinstance(parsed, Mapping) or not all(isinstance(name, str) for name in parsed):
        raise ValueError(f"{key} = {value!r} must be a mapping of names to values, such as dict(net_arch=[64, 64]).")
    return dict(parsed)


def normalize_kwargs(settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """
    Keywords of ``VecNormalize`` (the discount is the algorithm's), or ``None`` without normalisation.

    :raises ValueError: if ``normalize`` is neither a boolean nor a mapping, nor such a value as text
    """
    normalize = settings.get("normalize")
    if isinstance(normalize, str):
        normalize = parse_literal(normalize)
    if normalize is None or normalize is False:
        return None
    kwargs = {} if normalize is True else _dictionary({"normalize": normalize}, "normalize")
    gamma = settings.get("gamma")
    return kwargs if gamma is None or "gamma" in kwargs else {**kwargs, "gamma": gamma}


def _read_schedule(key: str, text: str) -> float | LinearSchedule:
    """``lin_x`` decreases from x to 0 during training; YAML reads 3e-4, without a dot, as a string."""
    try:
        value = float(text.removeprefix("lin_"))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{key} = {text!r} must be a number or lin_ and a number, such as 3e-4 or lin_3e-4.")
    return LinearSchedule(value, 0.0, 1.0) if text.startswith("lin_") else value


def constructor_kwargs(settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    Keywords of the algorithm's constructor: all settings that are not reserved, with schedules (``lin_x``) and dictionaries
    read from text, and ``train_freq`` such as ``[1, "episode"]`` as a tuple, which YAML does not have.
    """
    kwargs = {key: value for key, value in settings.items() if key not in (*RESERVED, *UNSUPPORTED)}
    for key in SCHEDULES:
        value = kwargs.get(key)
        if isinstance(value, str):
            kwargs[key] = _read_schedule(key, value)
    for key in DICTIONARIES:
        if kwargs.get(key) is not None:
            kwargs[key] = _dictionary(kwargs, key)
    if isinstance(kwargs.get("train_freq"), list):
        kwargs["train_freq"] = tuple(kwargs["train_freq"])
    return kwargs


def make_env(env_id: str, settings: Mapping[str, Any], n_envs: int, seed: int) -> VecEnv:
    """
    Environments in one process, without ``VecNormalize``; environment i is seeded with ``seed + i``. Their ``Monitor`` is
    inside the wrappers, so that returns are raw.
    """
    wrappers = [(load_class(name, gym.Wrapper), kwargs) for name, kwargs in wrapper_list(settings.get("env_wrapper"))]

    def wrap(env: gym.Env) -> gym.Env:
        for wrapper, kwargs in wrappers:
            env = wrapper(env, **kwargs)
        return env

    env_kwargs = _dictionary(settings, "env_kwargs")
    return make_vec_env(env_id, n_envs, seed=seed, wrapper_class=wrap, env_kwargs=env_kwargs, vec_env_cls=DummyVecEnv)


def make_model(
    algo_class: Callable[..., BaseAlgorithm], env_id: str, settings: Mapping[str, Any], seed: int, **kwargs: Any
) -> tuple[BaseAlgorithm, VecNormalize | None]:
    """An untrained model with its environments, and its ``VecNormalize``, if it has one; ``kwargs`` go to the constructor."""
    env = make_env(env_id, settings, settings.get("n_envs", 1), seed)
    normalize = normalize_kwargs(settings)
    normalized = None
    if normalize is not None:
        env = normalized = VecNormalize(env, **normalize)
    constructor = {"device": "cpu", **constructor_kwargs(settings), **kwargs}
    return algo_class(settings.get("policy", "MlpPolicy"), env, seed=seed, **constructor), normalized
