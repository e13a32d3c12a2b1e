"""Entry point of ``python -m sb3_ordergrad.compare``."""

import signal
import sys
from types import FrameType

from sb3_ordergrad.compare.cli import main


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    # What stops a job from outside (timeout, a scheduler) must end the worker processes too
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(main())
