"""Command line of the zoo: RL Zoo's scripts with our algorithms and environments."""

import argparse
import importlib
import importlib.util
import runpy
import sys
from collections.abc import Callable, Sequence
from functools import partial

import gymnasium as gym
import yaml  # type: ignore[import-untyped]

from sb3_ordergrad.common.extras import install_hint
from sb3_ordergrad.compare.literals import parse_literal

# RL Zoo evaluates the values of these options as Python code
DICTIONARIES = ("-params", "--hyperparams", "--env-kwargs", "--eval-env-kwargs")
# What RL Zoo and we raise for bad input
INPUT_ERRORS = (AssertionError, ImportError, NameError, OSError, ValueError, gym.error.Error, yaml.YAMLError)


def check_dictionaries(options: Sequence[str]) -> None:
    """
    Raise a ValueError if a value of the options is not a Python literal, so that they cannot run code, or an option that takes
    one is abbreviated.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(*DICTIONARIES, dest="items", nargs="*", action="extend", default=[])
    args, others = parser.parse_known_args(options)
    for item in args.items:
        try:
            parse_literal(item.partition(":")[2])
        except ValueError as error:
            raise ValueError(f"'{item}': {error} A string needs two pairs of quotes: \"objective:'cvar:0.1'\".") from error
    for text in others:
        name = text.partition("=")[0]
        if name.startswith("-") and name not in ("-", "--env") and any(option.startswith(name) for option in DICTIONARIES):
            raise ValueError(f"'{name}' is ambiguous: write {', '.join(DICTIONARIES)} in full.")


def train() -> None:
    """RL Zoo's ``train`` with an additional option, ``--tune-objective``."""
    import rl_zoo3.train

    from sb3_ordergrad.zoo.manager import OrderExperimentManager

    parser = argparse.ArgumentParser(
        prog=sys.argv[0], usage="%(prog)s [--tune-objective OBJECTIVE] [options of RL Zoo]", add_help=False, allow_abbrev=False
    )
    parser.add_argument(
        "--tune-objective",
        metavar="OBJECTIVE",
        help="with -optimize: maximise this objective of the evaluation episodes, such as cvar:0.25, instead of their mean",
    )
    own, others = parser.parse_known_args()
    if {"-h", "--help"} & set(others):
        parser.print_help()
    sys.argv[1:] = others
    # RL Zoo has no hook for another manager: like its table of algorithms, the name in its module is where one is registered
    rl_zoo3.train.ExperimentManager = partial(  # type: ignore[assignment, misc]
        OrderExperimentManager, tune_objective=own.tune_objective
    )
    rl_zoo3.train.train()


def _imported(module: str, function: str) -> Callable[[], object]:
    """Import the function when it is called: plots need packages that training does not."""
    return lambda: getattr(importlib.import_module(module), function)()


def _script(name: str) -> Callable[[], object]:
    return lambda: runpy.run_module(f"rl_zoo3.{name}", run_name="__main__")


COMMANDS: dict[str, Callable[[], object]] = {
    "train": train,
    "enjoy": _imported("sb3_ordergrad.zoo.enjoy", "enjoy_with_statistics"),
    "plot_train": _imported("rl_zoo3.plots", "plot_train"),
    "all_plots": _imported("rl_zoo3.plots", "all_plots"),
    "plot_from_file": _imported("rl_zoo3.plots", "plot_from_file"),
    "benchmark": _imported("sb3_ordergrad.zoo.benchmark", "benchmark"),
    "record_video": _script("record_video"),
    "push_to_hub": _script("push_to_hub"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """
    Register our algorithms and environments with RL Zoo, then run one of its scripts with its options, those of the process if
    ``argv`` is ``None``. Bad input ends the process with a message and status 2.
    """
    prog = "python -m sb3_ordergrad.zoo"
    parser = argparse.ArgumentParser(
        prog=prog,
        description="RL Zoo with OrderPPO, OrderA2C, OrderSAC, ReMAC, RePPO and our environments; all options are RL Zoo's.",
        epilog=f"Options of a script: {prog} train --help",
    )
    parser.add_argument("script", choices=list(COMMANDS))
    parser.add_argument("options", nargs=argparse.REMAINDER, help="passed to the script")
    args = parser.parse_args(argv)
    if importlib.util.find_spec("rl_zoo3") is None:
        parser.error(f"RL Zoo is not installed: {install_hint('zoo')}")

    from sb3_ordergrad.zoo.registry import register

    register()
    # RL Zoo's scripts read the options here, and take their name from the first
    sys.argv = [f"{prog} {args.script}", *args.options]
    try:
        check_dictionaries(args.options)
        COMMANDS[args.script]()
    except INPUT_ERRORS as error:
        parser.exit(2, f"{sys.argv[0]}: error: {error}\n")
