"""Two small tasks of finance: trading a mean-reverting asset, and when to exercise an American put."""

import math
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_ordergrad.envs.finite_model import FiniteModel, normal_transitions
from sb3_ordergrad.envs.parameter_checks import check_number, check_positive
from sb3_ordergrad.envs.rendering import BLUE, GREEN, RED, RenderedEnv, draw_bars

# Both tasks last one unit of time
N_STEPS = 10
DT = 1.0 / N_STEPS
# Action a trades a - 10 units of 0.2
N_TRADES = 21
TRADE_UNIT = 0.2
MAX_UNITS = N_STEPS * (N_TRADES // 2)


class MeanReversionTradingEnv(RenderedEnv[int]):
    """
    Trading of static spectral risk measures (Moghimi and Ku 2025, https://arxiv.org/abs/2501.02087), with the constants of its
    public code (https://github.com/MehrdadMoghimi/QRSRM).

    The price x is an Ornstein-Uhlenbeck process that starts at ``level``, in time steps of 0.1:
    ``x' = level + (x - level) exp(-0.1 reversion) + s z`` with z ~ N(0, 1) and
    ``s^2 = volatility^2 (1 - exp(-0.2 reversion)) / (2 reversion)``. Action a buys the amount ``u = (a - 10) / 5`` (sells,
    if negative) at the price before the step, with the reward ``-x u - trade_cost u^2``. With step 10 the episode ends
    (terminated), and the inventory q is valued at the new price: ``q x' - inventory_penalty q^2`` is added to the reward.

    Observation: ``(3,)`` float32, price, inventory and the number of steps taken. Actions: ``Discrete(21)``.

    :param reversion: rate at which the price returns to its level, above 0
    :param volatility: of the price, above 0
    :param level: mean and first value of the price, finite
    :param trade_cost: factor on the square of a trade, at least 0
    :param inventory_penalty: factor on the square of the final inventory, at least 0
    :param render_mode: ``"rgb_array"`` or None
    :raises ValueError: if a parameter is outside its range, or an action is not in 0..20
    """

    def __init__(
        self,
        reversion: float = 2.0,
        volatility: float = 1.0,
        level: float = 1.0,
        trade_cost: float = 0.005,
        inventory_penalty: float = 0.5,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        check_positive("reversion", reversion, example=2.0)
        check_positive("volatility", volatility, example=1.0)
        check_number("level", level, example=1.0)
        check_number("trade_cost", trade_cost, minimum=0.0, example=0.005)
        check_number("inventory_penalty", inventory_penalty, minimum=0.0, example=0.5)
        self.level = level
        self.trade_cost = trade_cost
        self.inventory_penalty = inventory_penalty
        self._decay = math.exp(-reversion * DT)
        self._step_std = volatility * math.sqrt((1.0 - self._decay**2) / (2.0 * reversion))
        self._stationary_std = volatility / math.sqrt(2.0 * reversion)
        max_inventory = TRADE_UNIT * MAX_UNITS
        high = np.array([np.inf, max_inventory, N_STEPS], dtype=np.float32)
        self.observation_space = spaces.Box(np.array([-np.inf, -max_inventory, 0.0], dtype=np.float32), high)
        self.action_space = spaces.Discrete(N_TRADES)  # type: ignore[assignment]
        self.price = level
        # In whole units of 0.2, so that sums are exact
        self.n_units = 0
        self.n_steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.price = self.level
        self.n_units = 0
        self.n_steps = 0
        return self._observation(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if not 0 <= action < N_TRADES:
            raise ValueError(f"action={action} is outside 0..{N_TRADES - 1}: use a to buy the amount (a - 10) / 5")
        units = int(action) - N_TRADES // 2
        trade = TRADE_UNIT * units
        reward = -self.price * trade - self.trade_cost * trade**2
        self.price = float(self._mean(self.price) + self._step_std * self.np_random.standard_normal())
        self.n_units += units
        self.n_steps += 1
        terminated = self.n_steps >= N_STEPS
        if terminated:
            inventory = TRADE_UNIT * self.n_units
            reward += inventory * self.price - self.inventory_penalty * inventory**2
        return self._observation(), reward, terminated, False, {}

    def _mean(self, price: Any) -> Any:
        """Mean of the price after one step, for a number or an array."""
        return self.level + (price - self.level) * self._decay

    def _observation(self) -> np.ndarray:
        return np.array([self.price, TRADE_UNIT * self.n_units, self.n_steps], dtype=np.float32)

    def _image(self) -> np.ndarray:
        """Time left (blue), price (green) and inventory (red); the middle is the mean price, and 0."""
        price = 0.5 + (self.price - self.level) / (8.0 * self._stationary_std)
        inventory = 0.5 + TRADE_UNIT * self.n_units / 8.0
        return draw_bars([(1.0 - self.n_steps / N_STEPS, BLUE), (price, GREEN), (inventory, RED)])

    def model(self, n_prices: int = 41, width: float = 4.0) -> FiniteModel:
        """
        The task with its price on a grid. The inventory is exact.

        :param n_prices: points of the grid, odd, so that ``level`` is one of them
        :param width: half of the grid's range, in stationary standard deviations of the price
        :return: tables; state ``i * 201 + j`` has the i-th price and the inventory ``(j - 100) / 5``; one outcome a price
        :raises ValueError: if a parameter is outside its range
        """
        prices = self.level + _symmetric_grid(n_prices, width, self._stationary_std)
        units = np.arange(-MAX_UNITS, MAX_UNITS + 1)
        n_states = n_prices * len(units)
        traded_units = np.arange(N_TRADES) - N_TRADES // 2
        trades = TRADE_UNIT * traded_units
        # Axes: price, inventory, action, next price. Inventories beyond the bound cannot be reached within 10 steps
        next_units = np.clip(units[:, None] + traded_units, -MAX_UNITS, MAX_UNITS)[None, :, :, None]
        inventories = TRADE_UNIT * next_units
        rewards = (-prices[:, None] * trades - self.trade_cost * trades**2)[:, None, :, None]

        def table(values: np.ndarray) -> np.ndarray:
            merged = np.broadcast_to(values, (n_prices, len(units), *values.shape[2:])).reshape(n_states, *values.shape[2:])
            return np.broadcast_to(merged, (n_states, N_TRADES, n_prices))

        return FiniteModel(
            n_steps=N_STEPS,
            initial_state=(n_prices // 2) * len(units) + MAX_UNITS,
            next_states=table((np.arange(n_prices) * len(units) + next_units + MAX_UNITS).astype(np.int32)),
            probabilities=table(normal_transitions(prices, self._mean(prices), self._step_std)[:, None, None, :]),
            rewards=table(rewards),
            last_rewards=table(rewards + inventories * prices - self.inventory_penalty * inventories**2),
            terminal=np.zeros(n_states, dtype=bool),
        )


class AmericanPutEnv(RenderedEnv[int]):
    """
    Exercise of an American put, of static spectral risk measures (Moghimi and Ku 2025, https://arxiv.org/abs/2501.02087), with
    the constants of its public code (https://github.com/MehrdadMoghimi/QRSRM).

    The price x is a geometric Brownian motion that starts at 1, in time steps of 0.1:
    ``x' = x exp(0.1 (drift - volatility^2 / 2) + volatility sqrt(0.1) z)`` with z ~ N(0, 1). Action 0 holds the option for one
    more step, action 1 exercises it: the reward is ``max(0, strike - x)`` and the episode ends (terminated). In step 10 the
    option is exercised whatever the action. All other rewards are 0.

    Observation: ``(2,)`` float32, price and the number of steps taken. Actions: ``Discrete(2)``.

    :param drift: of the price; the source's is negative, so waiting gains on average but may lose
    :param volatility: of the price, above 0
    :param strike: price at which the option sells, at least 0
    :param render_mode: ``"rgb_array"`` or None
    :raises ValueError: if a parameter is outside its range, or an action is not 0 or 1
    """

    def __init__(
        self, drift: float = -0.3, volatility: float = 0.3, strike: float = 1.0, render_mode: str | None = None
    ) -> None:
        super().__init__(render_mode)
        check_number("drift", drift, example=-0.3)
        check_positive("volatility", volatility, example=0.3)
        check_number("strike", strike, minimum=0.0, example=1.0)
        self.strike = strike
        self._log_drift = (drift - 0.5 * volatility**2) * DT
        self._log_std = volatility * math.sqrt(DT)
        self.observation_space = spaces.Box(np.zeros(2, dtype=np.float32), np.array([np.inf, N_STEPS], dtype=np.float32))
        self.action_space = spaces.Discrete(2)  # type: ignore[assignment]
        self.price = 1.0
        self.n_steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.price = 1.0
        self.n_steps = 0
        return self._observation(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if action not in (0, 1):
            raise ValueError(f"action={action} is outside 0..1: use 0 (hold) or 1 (exercise)")
        self.n_steps += 1
        terminated = bool(action == 1) or self.n_steps >= N_STEPS
        reward = max(0.0, self.strike - self.price) if terminated else 0.0
        self.price *= math.exp(self._log_drift + self._log_std * self.np_random.standard_normal())
        return self._observation(), reward, terminated, False, {}

    def _observation(self) -> np.ndarray:
        return np.array([self.price, self.n_steps], dtype=np.float32)

    def _image(self) -> np.ndarray:
        """Time left (blue), price (green), and strike (red)."""
        return draw_bars([(1.0 - self.n_steps / N_STEPS, BLUE), (0.5 * self.price, GREEN), (0.5 * self.strike, RED)])

    def model(self, n_prices: int = 201, width: float = 5.0) -> FiniteModel:
        """
        The task with the logarithm of its price on a grid.

        :param n_prices: points of the grid, odd, so that the first price is one of them
        :param width: half of the grid's range, in standard deviations of the last price's logarithm
        :return: tables; state i < ``n_prices`` has the i-th price, the last state is the exercised option; one outcome a state
        :raises ValueError: if a parameter is outside its range
        """
        n_states = n_prices + 1
        logs = _symmetric_grid(n_prices, width, self._log_std * math.sqrt(N_STEPS))
        probabilities = np.zeros((n_states, 2, n_states))
        probabilities[:-1, 0, :-1] = normal_transitions(logs, logs + self._log_drift, self._log_std)
        probabilities[:, 1, -1] = probabilities[-1, 0, -1] = 1.0
        payoffs = np.append(np.maximum(0.0, self.strike - np.exp(logs)), 0.0)[:, None, None]
        return FiniteModel(
            n_steps=N_STEPS,
            initial_state=n_prices // 2,
            next_states=np.broadcast_to(np.arange(n_states), probabilities.shape),
            probabilities=probabilities,
            rewards=np.broadcast_to(payoffs * np.array([0.0, 1.0])[:, None], probabilities.shape),
            last_rewards=np.broadcast_to(payoffs, probabilities.shape),
            terminal=np.arange(n_states) == n_prices,
        )


def _symmetric_grid(n_prices: int, width: float, std: float) -> np.ndarray:
    """An odd number of points from ``-width * std`` to ``width * std``, 0 among them."""
    if n_prices < 3 or n_prices % 2 == 0:
        raise ValueError(f"n_prices={n_prices} must be odd and at least 3: give the points of the grid, such as 41")
    check_positive("width", width, example=4.0)
    return np.linspace(-width * std, width * std, n_prices)
