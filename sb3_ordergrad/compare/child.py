"""
A run in a separate process, ``python -m sb3_ordergrad.compare.child``: if it is killed, the other runs go on.

A thread of the command, or the worker of a cluster, starts the process and waits. If the process dies, it is started again; if
the one that waits dies, the process ends.
"""

import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from contextlib import suppress

from sb3_ordergrad.common import files
from sb3_ordergrad.compare.run import run_one
from sb3_ordergrad.compare.run_folder import ERROR
from sb3_ordergrad.compare.spec import RunSpec

# Memory may have been short for a moment, so a killed process is started again; only a few times, as the run may be the cause
MAX_ATTEMPTS = 3
FAILED = 1


def try_run(spec: RunSpec) -> str | None:
    """Execute a run, and return the traceback if it fails, so that the other runs go on."""
    try:
        run_one(spec)
    except Exception:
        return traceback.format_exc()
    return None


def run_in_child(spec: RunSpec) -> str | None:
    """Execute a run in a separate process, again if the process dies, and return why it failed, or ``None``."""
    error_file = spec.folder / ERROR
    for _ in range(MAX_ATTEMPTS):
        status = _start_and_wait(spec)
        if status == 0:
            return None
        if status == FAILED:
            return error_file.read_text() if error_file.exists() else "Its process ended with the error that is printed above."
    reason = f"signal {-status}" if status < 0 else f"exit status {status}"
    return f"Its process died {MAX_ATTEMPTS} times ({reason}); if memory is short, lower --n-jobs."


def _start_and_wait(spec: RunSpec) -> int:
    """The exit status of the process, or minus the signal that ended it."""
    # The process can import what this one can
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "sb3_ordergrad.compare.child"]
    # Inherited files are the standard streams and the lock of --out, which is then held until the last run has ended
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, bufsize=0, close_fds=False) as process:
        assert process.stdin is not None
        # A process that is dead already still has an exit status
        with suppress(BrokenPipeError):
            process.stdin.write(pickle.dumps(spec))
        # The pipe stays open: its end tells the process that nobody waits any more
        return process.wait()


def _end_with_parent() -> None:
    # Not sys.stdin: its lock, held here, would block the end of the interpreter
    os.read(0, 1)
    os._exit(FAILED)


def main() -> int:
    """
    Execute the run whose pickled :class:`~sb3_ordergrad.compare.spec.RunSpec` comes through standard input.

    :return: exit status: 0, or 1 if the run failed, with the traceback in ``error.txt`` of its folder
    """
    # Ctrl-C also reaches the waiting process, which then ends this one
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    spec = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    failure = try_run(spec)
    if failure is None:
        return 0
    files.write_text(spec.folder / ERROR, failure)
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
