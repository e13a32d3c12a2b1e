"""An environment that kills processes, for the tests of the comparison's workers: ``killing_env:Killing-v0``."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import gymnasium as gym


class Killing(gym.Wrapper):
    """
    CartPole that, a number of times, kills the process it runs in or the worker that waits for that process.

    :param log: file that receives the id of every process which trained here
    :param victim: ``"run"`` or ``"worker"``
    :param times: number of processes that get killed
    """

    def __init__(self, log: str, victim: str = "run", times: int = 0) -> None:
        super().__init__(gym.make("CartPole-v1"))
        self.log, self.victim, self.times = Path(log), victim, times

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        pids = self.log.read_text().split() if self.log.exists() else []
        if str(os.getpid()) not in pids:
            self.log.write_text(" ".join([*pids, str(os.getpid())]))
            if len(pids) < self.times:
                os.kill(os.getpid() if self.victim == "run" else os.getppid(), signal.SIGKILL)
                # Whoever lost its worker is ended from outside
                time.sleep(60)
        return super().step(action)


gym.register("Killing-v0", entry_point=Killing)
