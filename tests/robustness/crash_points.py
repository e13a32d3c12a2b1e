"""
Crash points of ``sb3_ordergrad.compare``: the process ends, or the disk is full, at the n-th change of a file. The same
command then gives what the uninterrupted one gives.

Python tells its audit hooks of every file that is opened, renamed or removed. The command runs in a fork of this process, and
its hook counts those in the folder of results and strikes at the n-th.
"""

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from robustness.compare_runs import arguments, assert_same_results, results
from robustness.parts import Part

from sb3_ordergrad.compare import command

TRAIN = ("--objectives", "cvar:0.25", "--seeds", "1", "--steps", "64", "--n-jobs", "1", "--eval-episodes")
# Commands that run to their end, the one that is struck, and those that follow: nothing there, and another evaluation there
SCENARIOS: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "new": ((), "8", ()),
    "other evaluation": (("8",), "10", ("8",)),
}
# Ends: the power is cut before the change. Torn: also, and the file holds some bytes. Full: the disk is
MODES = ("ends", "torn", "full")
KILLED = 137
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir")


class CrashPoint(NamedTuple):
    """
    :param scenario: key of ``SCENARIOS``
    :param mode: one of ``MODES``
    :param change: number of the change of a file at which it happens, from 0
    """

    scenario: str
    mode: str
    change: int


def _hook(out: Path, strike: Callable[[int, str, tuple[Any, ...]], None]) -> Callable[[str, tuple[Any, ...]], None]:
    """Counts the changes of files under a folder and hands each to ``strike``."""
    count, inside = 0, False

    def changes(event: str, path: Any, *details: Any) -> bool:
        if not isinstance(path, (str, Path)) or not str(path).startswith(str(out)):
            return False
        if event == "open":
            return bool(details[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        # What is there cannot be made, what is not there cannot be removed
        return os.path.exists(path) != (event == "os.mkdir")

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal count, inside
        if inside or event not in EVENTS or not changes(event, *args):
            return
        inside = True
        try:
            strike(count, event, args)
        finally:
            count += 1
            inside = False

    return hook


def _run(folder: Path, episodes: str, strike: Callable[[int, str, tuple[Any, ...]], None] | None = None) -> tuple[int, str]:
    """Exit status, and what the command printed."""
    log = folder / "log.txt"
    pid = os.fork()
    if pid == 0:
        _command(arguments(folder, *TRAIN, episodes), log, None if strike is None else _hook(folder / "out", strike))
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), log.read_text(errors="replace")


def _command(argv: list[str], log: Path, hook: Callable[[str, tuple[Any, ...]], None] | None) -> NoReturn:
    """The command, in the fork."""
    status = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        if hook is not None:
            sys.addaudithook(hook)
        status = command.main(argv)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException as error:
        print(f"Traceback: {error!r}", file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _strike(point: CrashPoint) -> Callable[[int, str, tuple[Any, ...]], None]:
    def strike(count: int, event: str, args: tuple[Any, ...]) -> None:
        if count != point.change:
            return
        if point.mode == "full":
            raise OSError(errno.ENOSPC, "No space left on device", str(args[0]))
        if point.mode == "torn" and event == "open":
            Path(args[0]).write_bytes(b"{\x00half")
        os._exit(KILLED)

    return strike


@lru_cache
def reference(scenario: str) -> tuple[list[str], list[dict[str, str]]]:
    """The changes of files by the command that is struck, and the results after it and after each that follows."""
    before, struck, after = SCENARIOS[scenario]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for episodes in before:
            assert _run(folder, episodes)[0] == 0
        tally = folder / "tally.txt"
        assert _run(folder, struck, lambda count, event, args: _append(tally, event))[0] == 0
        found = [results(folder / "out")]
        for episodes in after:
            assert _run(folder, episodes)[0] == 0
            found.append(results(folder / "out"))
        return tally.read_text().split(), found


def _append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(f"{text}\n")


@lru_cache
def points() -> list[CrashPoint]:
    """All crash points."""
    return [
        CrashPoint(scenario, mode, change)
        for scenario in SCENARIOS
        for change, event in enumerate(reference(scenario)[0])
        for mode in MODES
        # Only what is opened can hold half of its bytes, and a full disk lets files be removed
        if event == "open" or mode == "ends" or (mode == "full" and event != "os.remove")
    ]


def check(seed: int, number: int) -> dict[str, int]:
    point = points()[number % len(points())]
    before, struck, after = SCENARIOS[point.scenario]
    _, (expected, *later) = reference(point.scenario)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for episodes in before:
            assert _run(folder, episodes)[0] == 0
        status, text = _run(folder, struck, _strike(point))
        if point.mode == "full":
            assert "Traceback: " not in text, f"a full disk ends with a traceback: {text[-500:]}"
        else:
            assert status == KILLED, f"the command did not come to this change: {text[-500:]}"
        # Whoever goes back to the old command gets its results, and the one that was struck its own
        copy = folder / "copy"
        if (folder / "out").exists():
            shutil.copytree(folder / "out", copy / "out")
        copy.mkdir(exist_ok=True)
        for episodes, one in zip(after, later, strict=True):
            status, text = _run(copy, episodes)
            assert status == 0, text[-1000:]
            assert_same_results(copy / "out", one)
        status, text = _run(folder, struck)
        assert status == 0, text[-1000:]
        assert_same_results(folder / "out", expected)
    return {"passed": 1}


PART = Part("crash points", lambda seed, number: str(points()[number % len(points())]), check, sample=12)
