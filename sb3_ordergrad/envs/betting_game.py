"""The betting game: six favourable bets, and how much of the purse to risk on each."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_ordergrad.envs.finite_model import FiniteModel
from sb3_ordergrad.envs.parameter_checks import check_number, check_positive, check_probability
from sb3_ordergrad.envs.rendering import BLUE, GREEN, RenderedEnv, draw_bars

N_ROUNDS = 6
# Action a stakes a / 8 of the purse
N_SHARES = 8
ACTIONS = np.arange(N_SHARES + 1)


class BettingGameEnv(RenderedEnv[int]):
    """
    Bet a share of the purse in each of six rounds; a bet is won with a probability far above one half.

    The betting game of Return Capping (Mead et al. 2025, https://arxiv.org/abs/2504.20887), with its purse, cap, rounds,
    shares and win probability. The purse begins at ``start``. Action ``a`` in 0..8 stakes ``a / 8`` of it: the stake is won
    with ``win_probability``, else lost, and the purse never exceeds ``cap`` (what is won beyond is not paid out). The reward
    is the change of the purse, so the return is the final purse minus ``start``, between ``-start`` and ``cap - start``. The
    episode ends (terminated) with the sixth round, also if the purse is empty before. ``info`` carries ``purse`` and ``won``
    (whether the bet of the round was won; it is drawn whatever the stake).

    Two parts of the published rule are parameters, both set in ``BettingGameCroppedStake-v0``: ``crop_stake`` (a bet near
    the cap risks no more than can be won) and ``end_early`` (an empty purse or the cap ends the episode).

    Staking everything maximises the mean up to the cap, and loses everything with the first lost round. The exact optima are
    computed by ``benchmarks/betting_game.py``.

    Observation: ``(2,)`` float32, ``[log2((1 + purse) / (1 + start)), rounds played / 3 - 1]``: doublings of the purse, since
    bets multiply it, and the round in [-1, 1]. A mean-optimal or CVaR-optimal policy needs no more, since the return so far is
    the purse minus ``start``. (The source observes purse / 256 and rounds played / 6.) Actions: ``Discrete(9)``.

    :param start: purse at the start, above 0
    :param win_probability: chance that a bet is won, in [0, 1]
    :param cap: largest purse, at least ``start``
    :param crop_stake: limit the stake to ``cap - purse``
    :param end_early: end the episode when the purse is 0 or at the cap
    :param render_mode: ``"rgb_array"`` or None
    :raises ValueError: if a parameter is outside its range, or an action is not in 0..8
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 2}  # noqa: RUF012

    def __init__(
        self,
        start: float = 16.0,
        win_probability: float = 0.88,
        cap: float = 256.0,
        crop_stake: bool = False,
        end_early: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        check_positive("start", start, example=16.0)
        check_probability("win_probability", win_probability)
        check_number("cap", cap, minimum=start, example=16.0 * start)
        self.start = start
        self.win_probability = win_probability
        self.cap = cap
        self.crop_stake = crop_stake
        self.end_early = end_early
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
        won = bool(self.np_random.random() < self.win_probability)
        purse_if_won, purse_if_lost = self._bet(self.purse, float(action))
        purse = float(purse_if_won if won else purse_if_lost)
        reward = purse - self.purse
        self.purse = purse
        self.n_rounds_played += 1
        terminated = self.n_rounds_played >= N_ROUNDS or bool(self._is_over(purse))
        observation = self.observation(self.purse, self.n_rounds_played)
        return observation, reward, terminated, False, {"purse": purse, "won": won}

    def _bet(self, purse: Any, action: Any) -> tuple[Any, Any]:
        """The purse if the bet is won, and if it is lost, for numbers or arrays."""
        room = self.cap - purse
        stake = purse * action / N_SHARES
        if self.crop_stake:
            stake = np.minimum(stake, room)
        elif self.end_early:
            # There is no bet once the cap is reached
            stake = stake * (room > 0.0)
        return np.minimum(purse + stake, self.cap), purse - stake

    def _is_over(self, purse: Any) -> Any:
        """Whether a purse, a number or an array, ends the episode before the last round."""
        return ((purse == 0.0) | (purse == self.cap)) & self.end_early

    def purses(self) -> list[np.ndarray]:
        """
        All purses before each round and after the last, ascending: ``[(n_0,), ..., (n_6,)]``. After t rounds they are
        multiples of ``start / 8^t``, which floats hold exactly for the registered constants.
        """
        purses = [np.array([self.start])]
        for _ in range(N_ROUNDS):
            purses.append(np.unique(np.concatenate(self._bet(purses[-1][:, None], ACTIONS), axis=None)))
        return purses

    def model(self) -> FiniteModel:
        """
        The game as tables, exactly.

        :return: one state for each round and purse in the order of :meth:`purses`; outcome 0 is a bet that is won, 1 a lost
            one
        """
        purses = self.purses()
        next_states, rewards = [], []
        first = 0
        for before, after in pairwise(purses):
            outcomes = np.stack(self._bet(before[:, None], ACTIONS), axis=-1)
            first += len(before)
            next_states.append(first + np.searchsorted(after, outcomes))
            rewards.append(outcomes - before[:, None, None])
        # The states after the last round lead to themselves
        final = np.arange(first, first + len(purses[-1]))
        shape = (first + len(final), len(ACTIONS), 2)
        next_states.append(np.broadcast_to(final[:, None, None], (len(final), *shape[1:])))
        rewards.append(np.zeros((len(final), *shape[1:])))
        all_rewards = np.concatenate(rewards)
        return FiniteModel(
            n_steps=N_ROUNDS,
            initial_state=0,
            next_states=np.concatenate(next_states),
            probabilities=np.broadcast_to([self.win_probability, 1.0 - self.win_probability], shape),
            rewards=all_rewards,
            last_rewards=all_rewards,
            terminal=self._is_over(np.concatenate(purses)) | (np.arange(shape[0]) >= first),
        )

    def observation(self, purse: float, n_rounds_played: int) -> np.ndarray:
        """What the agent sees with a purse in [0, cap] after 0 to 6 rounds, ``(2,)`` float32."""
        doublings = math.log2((1.0 + purse) / (1.0 + self.start))
        return np.array([doublings, 2.0 * n_rounds_played / N_ROUNDS - 1.0], dtype=np.float32)

    def _image(self) -> np.ndarray:
        """Rounds left (blue) and purse (green)."""
        return draw_bars([(1.0 - self.n_rounds_played / N_ROUNDS, BLUE), (self.purse / self.cap, GREEN)])
