"""
A run in a process of its own, ``python -m sb3_ordergrad.compare.child``: one that is killed takes no other along.

A thread of the command, or the worker of a cluster, starts the process and waits. If the process dies, it is started again; if
whoever waits for it dies, the process ends.
"""

import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from contextlib import suppress

from sb3_ordergrad.compare import files
from sb3_ordergrad.compare.run import ERROR_FILE, RunSpec, run_one

# A run whose process was killed is tried again: memory may have been short for a moment. Not for ever: it may be its own doing
MAX_ATTEMPTS = 3
FAILED = 1


def try_run(spec: RunSpec) -> str | None:
    """
    Run one; a failure is told rather than raised, since it must not end the other runs.

    :param spec: the run
    :return: the traceback, or ``None``
    """
    try:
        run_one(spec)
    except Exception:
        return traceback.format_exc()
    return None


def run_in_child(spec: RunSpec) -> str | None:
    """
    Run one in a process of its own; try again if the process dies.

    :param spec: the run
    :return: why it failed, or ``None``
    """
    error_file = spec.folder / ERROR_FILE
    for _ in range(MAX_ATTEMPTS):
        status = _start_and_wait(spec)
        if status == 0:
            return None
        if status == FAILED:
            return error_file.read_text() if error_file.exists() else "Its process could not start; what it said stands above."
    reason = f"signal {-status}" if status < 0 else f"exit status {status}"
    return f"Its process died {MAX_ATTEMPTS} times ({reason}); if memory is short, lower --n-jobs."


def _start_and_wait(spec: RunSpec) -> int:
    """The exit status of the process, minus the signal that ended it if one did."""
    # What can be imported here can be imported there
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "sb3_ordergrad.compare.child"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, bufsize=0) as process:
        assert process.stdin is not None
        # A process that is dead already has a status to tell
        with suppress(BrokenPipeError):
            process.stdin.write(pickle.dumps(spec))
        # The pipe stays open: its end tells the process that nobody waits any more
        return process.wait()


def _end_with_parent() -> None:
    # Not sys.stdin: its lock, held here, would trouble the end of the interpreter
    os.read(0, 1)
    os._exit(FAILED)


def main() -> int:
    """
    Do the run whose pickled :class:`RunSpec` comes through standard input.

    :return: exit status: 0, or 1 if the run failed, with the traceback in ``error.txt`` of its folder
    """
    # Ctrl-C goes to whoever waits, too, and is answered there
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    spec = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    failure = try_run(spec)
    if failure is None:
        return 0
    files.write_text(spec.folder / ERROR_FILE, failure)
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
