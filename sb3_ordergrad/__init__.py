"""Order-statistic objectives (CVaR, VaR, median, max@K, ...) for Stable-Baselines3."""

from pathlib import Path

import sb3_ordergrad.envs  # noqa: F401  (registers the environments with gymnasium)
from sb3_ordergrad.order_a2c import OrderA2C
from sb3_ordergrad.order_ppo import OrderPPO
from sb3_ordergrad.remac import ReMAC

__version__ = (Path(__file__).parent / "version.txt").read_text().strip()

__all__ = ["OrderA2C", "OrderPPO", "ReMAC", "__version__"]
