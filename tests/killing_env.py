"""``killing_env:Killing-v0``, an environment that kills processes, for the tests of the workers of ``compare``."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import gymnasium as gym


class Killing(gym.Wrapper):
    """CartPole that kills its own process or the worker that waits for it, ``times`` times; ``log`` gets the ids."""

    def __init__(self, log: str, victim: str = "run", times: int = 0) -> None:
        super().__init__(gym.make("CartPole-v1"))
        self.log, self.victim, self.times = Path(log), victim, times

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        pids = self.log.read_text().split() if self.log.exists() else []
        if str(os.getpid()) not in pids:
            self.log.write_text(" ".join([*pids, str(os.getpid())]))
            if len(pids) < self.times:
                os.kill(os.getpid() if self.victim == "run" else os.getppid(), signal.SIGKILL)
                # Without its worker, this process is ended
                time.sleep(60)
        return super().step(action)


gym.register("Killing-v0", entry_point=Killing)
