"""The lock of a results folder."""

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:
    # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

LOCK = ".compare.lock"
# After a kill, the processes of the runs end a moment later than the command that holds the lock with them
LOCK_SECONDS = 5.0


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """
    Keep other commands out of a folder until this process and its children have ended.

    The lock (``flock``) is released by the operating system, also after a kill. On Windows and on file systems without such
    locks, there is none. Raises a ValueError if another command holds it for :data:`LOCK_SECONDS`.
    """
    with (folder / LOCK).open("a+") as file:
        deadline = time.monotonic() + LOCK_SECONDS
        while fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    file.seek(0)
                    holder = file.read()
                    raise ValueError(
                        f"--out {folder} is in use by another command ({holder}): wait for its end or choose another folder."
                    ) from None
                time.sleep(0.1)
            except OSError:
                break
        os.set_inheritable(file.fileno(), True)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield
