"""
``kill -9`` at random times of ``python -m sb3_ordergrad.compare``: the same command, started again and again, finishes at last
with the results of the uninterrupted one.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from robustness.compare_runs import PACKAGE, arguments, assert_same_results, environment, results
from robustness.parts import Part, generator

OPTIONS = ("--objectives", "mean", "cvar:0.25", "--seeds", "2", "--steps", "1024", "--eval-episodes", "16")
KILLS_OF_A_CASE = 3
# The command with its runs, the command alone, or one of its runs
VICTIMS = ("all", "command", "run")
# A command that takes longer hangs
MAX_SECONDS = 600.0


def draw(seed: int, number: int) -> list[tuple[str, int, float]]:
    """For each kill the victim, the value of ``--n-jobs`` and the time as a fraction of the uninterrupted command's."""
    rng = generator(seed, "kills", number)
    return [(str(rng.choice(VICTIMS)), int(rng.integers(1, 3)), float(rng.uniform(0.2, 1.0))) for _ in range(KILLS_OF_A_CASE)]


def _start(folder: Path, n_jobs: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", PACKAGE, *arguments(folder, *OPTIONS, "--n-jobs", str(n_jobs))]
    with (folder / "log.txt").open("wb") as log:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(), start_new_session=True
        )


def _finish(folder: Path, n_jobs: int) -> float:
    """The seconds that the command takes."""
    start = time.monotonic()
    process = _start(folder, n_jobs)
    try:
        status = process.wait(MAX_SECONDS)
    finally:
        _kill_group(process)
    assert status == 0, (folder / "log.txt").read_text(errors="replace")[-2000:]
    return time.monotonic() - start


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _runs(process: subprocess.Popen[bytes]) -> list[int]:
    """Processes of the runs."""
    try:
        return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    except OSError:
        return []


def _kill(process: subprocess.Popen[bytes], victim: str) -> None:
    if victim == "all":
        _kill_group(process)
    elif victim == "command":
        process.kill()
    else:
        # The command starts it again and goes on
        for pid in _runs(process)[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return
    process.wait()


@lru_cache
def reference() -> tuple[float, dict[str, str]]:
    """Seconds and results of the uninterrupted command."""
    with tempfile.TemporaryDirectory() as name:
        return _finish(Path(name), 1), results(Path(name, "out"))


def check(seed: int, number: int) -> dict[str, int]:
    seconds, expected = reference()
    kills = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for victim, n_jobs, fraction in draw(seed, number):
            process = _start(folder, n_jobs)
            try:
                process.wait(fraction * seconds)
            except subprocess.TimeoutExpired:
                kills += 1
                _kill(process, victim)
                if victim == "run":
                    assert process.wait(MAX_SECONDS) == 0, (folder / "log.txt").read_text(errors="replace")[-2000:]
        _finish(folder, 1)
        assert_same_results(folder / "out", expected)
        for path in folder.rglob("*.csv"):
            assert b"\x00" not in path.read_bytes(), path
    return {"passed": 1, "kills": kills}


PART = Part("kills", lambda seed, number: str(draw(seed, number)), check, sample=1)
