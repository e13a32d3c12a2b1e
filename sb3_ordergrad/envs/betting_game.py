"""The betting game: six favourable bets, and how much of the purse to risk on each."""

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from sb3_ordergrad.envs.checks import check_number, check_probability, check_render_mode

N_ROUNDS = 6
# Action a stakes a / 8 of the purse
N_SHARES = 8


class BettingGameEnv(gym.Env[np.ndarray, int]):
    """
    Bet a share of the purse in each of six rounds; a bet is won with a probability far above one half.

    The purse begins at ``start``. Action ``a`` in 0..8 stakes ``a / 8`` of it: the stake is won with ``win_probability``, else
    lost, and the purse never exceeds ``cap`` (what is won beyond is not paid). The reward is the change of the purse, so the
    return is the final purse minus ``start``, between ``-start`` and ``cap - start``. The episode ends (terminated) with the
    sixth round, also if the purse is empty before. Betting all maximises the mean up to the cap and is ruined by any lost
    round; the exact optima are computed by ``benchmarks/betting_game.py``. ``info`` carries ``purse`` and ``won`` (whether the
    coin of the round was a win; the coin is tossed whatever the stake).

    Observation: ``(2,)`` float32, ``[log2((1 + purse) / (1 + start)), rounds played / 3 - 1]``: doublings of the purse, since
    bets multiply it, and the round in [-1, 1]. Both together determine what a mean-optimal or a CVaR-optimal policy needs, for
    the return so far is the purse minus ``start``. Actions: ``Discrete(9)``.

    :param start: purse at the start, above 0
    :param win_probability: chance that a bet is won, in [0, 1]
    :param cap: largest purse, at least ``start``
    :param render_mode: ``"rgb_array"`` or None
    :raises ValueError: if a parameter is outside its range, or an action is not in 0..8
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 2}  # noqa: RUF012

    def __init__(
        self, start: float = 16.0, win_probability: float = 0.88, cap: float = 256.0, render_mode: str | None = None
    ) -> None:
        if not (math.isfinite(start) and start > 0.0):
            raise ValueError(f"start={start} is not a finite number > 0: give a purse such as 16.0")
        check_probability("win_probability", win_probability)
        check_number("cap", cap, minimum=start, example=16.0 * start)
        check_render_mode(render_mode)
        self.start = start
        self.win_probability = win_probability
        self.cap = cap
        self.render_mode = render_mode
        low, high = self.observation(0.0, 0), self.observation(cap, N_ROUNDS)
        self.observation_space = spaces.Box(low, high, dtype=np.float32)
        self.action_space = spaces.Discrete(N_SHARES + 1)  # type: ignore[assignment]
        self.purse = start
        self.n_rounds_played = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.purse = self.start
        self.n_rounds_played = 0
        return self.observation(self.purse, self.n_rounds_played), {"purse": self.purse}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if not 0 <= action <= N_SHARES:
            raise ValueError(f"action={action} is outside 0..{N_SHARES}: use a to stake a / {N_SHARES} of the purse")
        stake = self.purse * float(action) / N_SHARES
        won = bool(self.np_random.random() < self.win_probability)
        purse = min(self.purse + stake, self.cap) if won else self.purse - stake
        reward = purse - self.purse
        self.purse = purse
        self.n_rounds_played += 1
        terminated = self.n_rounds_played >= N_ROUNDS
        observation = self.observation(self.purse, self.n_rounds_played)
        return observation, reward, terminated, False, {"purse": purse, "won": won}

    def observation(self, purse: float, n_rounds_played: int) -> np.ndarray:
        """
        :param purse: in [0, cap]
        :param n_rounds_played: in 0..6
        :return: what the agent sees there, ``(2,)`` float32
        """
        doublings = math.log2((1.0 + purse) / (1.0 + self.start))
        return np.array([doublings, 2.0 * n_rounds_played / N_ROUNDS - 1.0], dtype=np.float32)

    def render(self) -> np.ndarray | None:
        """
        Draw the rounds left (blue, above) and the purse (green, below) as bars of the picture's full width.

        :return: ``(64, 256, 3)`` uint8, or None without a render mode
        """
        if self.render_mode is None:
            return None
        image = np.full((64, 256, 3), 255, dtype=np.uint8)
        image[:32, : round(256 * (1.0 - self.n_rounds_played / N_ROUNDS))] = (50, 90, 220)
        image[32:, : round(256 * self.purse / self.cap)] = (60, 180, 75)
        return image
