"""How many servers to run when requests rarely surge."""

from collections import deque
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_ordergrad.envs.parameter_checks import check_number, check_positive, check_probability
from sb3_ordergrad.envs.rendering import BLUE, GREEN, RED, RenderedEnv, draw_bars

MIN_SERVERS, MAX_SERVERS, INITIAL_SERVERS = 3, 10, 4
# All times are in seconds
STEP_SECONDS = 60
N_STEPS = 60
HORIZON = N_STEPS * STEP_SECONDS
BOOT_SECONDS = 120
# Time constant with which the arrival rate follows the users' interest
RATE_SECONDS = 300
SERVER_COST = 2.0
# Scale of the observed queue: ten seconds of usual arrivals
QUEUE_SCALE = 30.0


class ServerAllocationEnv(RenderedEnv[int]):
    """
    Servers of CeSoR (Greenberg et al. 2022, https://arxiv.org/abs/2205.05138), as in its public code
    (https://github.com/ido90/CeSoR).

    For one hour requests arrive, Poisson with rate ``rate`` = 3 per second, and each takes a server an exponential time of
    mean 1 s. In every second a surge begins with ``surge_probability`` (once in three days): the rate jumps to nearly
    ``surge_rate`` = 6 and decays back with a time constant of 5 minutes. Requests wait in one queue for a free server; within
    a second, the servers take them one server after the other.

    Every minute the agent does nothing (action 0), adds a server (1; it serves after 2 minutes) or removes one (2; a busy one
    finishes its request first; adding one before that keeps it). There are 3 to 10 servers, 4 at the start. The return is
    ``-(sum of the waiting times + 2 * sum over the seconds of the servers paid for) / 3600``. The episode ends (terminated)
    with step 60, which runs on until all requests are served.

    Rule and constants are the source's. Ours are: costs are charged in the step in which they arise (the source charges them
    in the last one), and the end belongs to step 60 (the source takes further steps, in which the agent has no influence).

    Observation: ``(9,)`` float32, one-hot of the number of servers (3..10), those that boot included, and waiting requests /
    30; the policy input of the source. Actions: ``Discrete(3)``. Infos carry ``n_servers``, ``n_waiting``, and ``surge``:
    whether one began in this step.

    :param rate: usual number of arrivals per second, at least 0
    :param surge_rate: number of arrivals per second at the peak of a surge, at least ``rate``
    :param surge_probability: chance that a surge begins in a second, in [0, 1]
    :param service_seconds: mean time that a request takes, above 0
    :param render_mode: ``"rgb_array"`` or None
    :raises ValueError: if a parameter is outside its range, or an action is not in 0..2
    """

    def __init__(
        self,
        rate: float = 3.0,
        surge_rate: float = 6.0,
        surge_probability: float = 1.0 / (3 * 24 * 3600),
        service_seconds: float = 1.0,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        check_number("rate", rate, minimum=0.0, example=3.0)
        check_number("surge_rate", surge_rate, minimum=rate, example=6.0)
        check_probability("surge_probability", surge_probability)
        check_positive("service_seconds", service_seconds, example=1.0)
        self.rate = rate
        self.surge_rate = surge_rate
        self.surge_probability = surge_probability
        self.service_seconds = service_seconds
        high = np.ones(MAX_SERVERS - MIN_SERVERS + 2, dtype=np.float32)
        high[-1] = np.inf
        self.observation_space = spaces.Box(np.zeros_like(high), high, dtype=np.float32)
        self.action_space = spaces.Discrete(3)  # type: ignore[assignment]
        self._clear()

    def _clear(self) -> None:
        """Set the state at the start of an episode."""
        self.n_steps = 0
        self.current_rate = self.rate
        self.n_servers = INITIAL_SERVERS
        # Times from which each server serves, and at which its request is done
        self.active_from = [0.0] * MAX_SERVERS
        self.free_at = [0.0] * MAX_SERVERS
        # Whether the last server stops after its request
        self.stopping = False
        # Arrival time and service time of the waiting requests
        self.queue: deque[tuple[int, float]] = deque()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._clear()
        return self._observation(), self._info(False)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if not 0 <= action < 3:
            raise ValueError(f"action={action} is outside 0..2: use 0 (nothing), 1 (add a server) or 2 (remove a server)")
        start = self.n_steps * STEP_SECONDS
        self._change_servers(action, start)
        surges = self.np_random.random(STEP_SECONDS) < self.surge_probability
        counts = self.np_random.poisson(self._rates(surges))
        services = iter(self.np_random.exponential(self.service_seconds, counts.sum()).tolist())
        cost = 0.0
        for second, count in enumerate(counts.tolist(), start):
            self.queue.extend((second, next(services)) for _ in range(count))
            cost += self._serve(second)
        self.n_steps += 1
        terminated = self.n_steps >= N_STEPS
        if terminated:
            cost += self._serve_the_rest()
        return self._observation(), -cost / HORIZON, terminated, False, self._info(bool(surges.any()))

    def _rates(self, surges: np.ndarray) -> np.ndarray:
        """Arrivals per second in each second of a step."""
        # A surge is one second of interest, so large that the average rises to the surge's rate
        interests = np.where(surges, RATE_SECONDS * (self.surge_rate - self.rate), self.rate)
        rates = np.empty(len(surges))
        for i, interest in enumerate(interests.tolist()):
            self.current_rate += (interest - self.current_rate) / RATE_SECONDS
            rates[i] = self.current_rate
        return rates

    def _change_servers(self, action: int, time: int) -> None:
        last = self.n_servers - 1
        if action == 1 and self.n_servers < MAX_SERVERS:
            if not self.stopping:
                # It boots in the second of the decision already, and serves in the last of the two minutes
                self.active_from[self.n_servers] = time + BOOT_SECONDS - 1.0
                self.free_at[self.n_servers] = 0.0
                self.n_servers += 1
            self.stopping = False
        elif action == 2 and self.n_servers > MIN_SERVERS:
            self.stopping = self.free_at[last] > time
            self.n_servers -= not self.stopping

    def _serve(self, second: int) -> float:
        """Waiting times of the requests that are taken up within a second, and the cost of the servers."""
        end = second + 1
        waited = 0.0
        for i in range(self.n_servers):
            start = max(self.free_at[i], second)
            if start >= end or self.active_from[i] > second:
                continue
            if self.stopping and i == self.n_servers - 1:
                self.n_servers -= 1
                self.stopping = False
                break
            while start < end and self.queue:
                arrival, service = self.queue.popleft()
                waited += start - arrival
                start += service
            self.free_at[i] = start
        return waited + SERVER_COST * self.n_servers

    def _serve_the_rest(self) -> float:
        """The cost after the hour, until no request is left."""
        second, cost = HORIZON, 0.0
        while True:
            cost += self._serve(second)
            second += 1
            if not self.queue and max(self.free_at[: self.n_servers]) <= second:
                return cost

    def _observation(self) -> np.ndarray:
        observation = np.zeros(MAX_SERVERS - MIN_SERVERS + 2, dtype=np.float32)
        observation[self.n_servers - MIN_SERVERS] = 1.0
        observation[-1] = len(self.queue) / QUEUE_SCALE
        return observation

    def _image(self) -> np.ndarray:
        """Time left (blue), servers (green) and waiting requests (red, up to 300)."""
        waiting = 0.1 * len(self.queue) / QUEUE_SCALE
        return draw_bars([(1.0 - self.n_steps / N_STEPS, BLUE), (self.n_servers / MAX_SERVERS, GREEN), (waiting, RED)])

    def _info(self, surge: bool) -> dict[str, Any]:
        return {"n_servers": self.n_servers, "n_waiting": len(self.queue), "surge": surge}
