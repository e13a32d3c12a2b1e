"""Command line of the zoo: RL Zoo's own scripts, after our algorithms and environments were registered."""

import argparse
import importlib
import importlib.util
import runpy
import sys
from collections.abc import Callable, Sequence


def train() -> None:
    """RL Zoo's ``train`` with one option more, ``--tune-objective``."""
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
    OrderExperimentManager.tune_objective = own.tune_objective
    rl_zoo3.train.ExperimentManager = OrderExperimentManager  # type: ignore[misc]
    rl_zoo3.train.train()


def enjoy() -> None:
    """RL Zoo's ``enjoy``, then the statistics of its episodes."""
    from sb3_ordergrad.zoo.enjoy import enjoy_with_statistics

    enjoy_with_statistics()


def benchmark() -> None:
    """RL Zoo's ``benchmark`` with more columns."""
    from sb3_ordergrad.zoo.benchmark import benchmark_with_statistics

    benchmark_with_statistics()


def _plot(name: str) -> Callable[[], None]:
    return lambda: getattr(importlib.import_module("rl_zoo3.plots"), name)()


def _script(name: str) -> Callable[[], object]:
    return lambda: runpy.run_module(f"rl_zoo3.{name}", run_name="__main__")


COMMANDS: dict[str, Callable[[], object]] = {
    "train": train,
    "enjoy": enjoy,
    "plot_train": _plot("plot_train"),
    "all_plots": _plot("all_plots"),
    "plot_from_file": _plot("plot_from_file"),
    "benchmark": benchmark,
    "record_video": _script("record_video"),
    "push_to_hub": _script("push_to_hub"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """
    Register our algorithms and environments with RL Zoo, then run one of its scripts.

    :param argv: name of the script and its options; those of the process if ``None``
    """
    prog = "python -m sb3_ordergrad.zoo"
    parser = argparse.ArgumentParser(
        prog=prog,
        description="RL Zoo with OrderPPO, OrderA2C, ReMAC and the risk environments; all options are RL Zoo's.",
        epilog=f"Options of a script: {prog} train --help",
    )
    parser.add_argument("script", choices=list(COMMANDS))
    parser.add_argument("options", nargs=argparse.REMAINDER, help="handed to the script")
    args = parser.parse_args(argv)
    if importlib.util.find_spec("rl_zoo3") is None:
        parser.error("RL Zoo is not installed: pip install 'sb3_ordergrad[zoo]'")

    from sb3_ordergrad.zoo.registry import register

    register()
    # RL Zoo's scripts read these, and name themselves after the first
    sys.argv = [f"{prog} {args.script}", *args.options]
    COMMANDS[args.script]()
