"""Entry point of ``python -m sb3_ordergrad.compare``."""

import signal
import sys
from types import FrameType


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    # SIGTERM (timeout, a scheduler) must end the worker processes as Ctrl-C does
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        # The import takes seconds, in which a user may press Ctrl-C
        from sb3_ordergrad.compare.command import main

        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
