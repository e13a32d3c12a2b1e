"""Order-statistic objectives (CVaR, VaR, median, max@K, ...) for Stable-Baselines3."""

from pathlib import Path

__version__ = (Path(__file__).parent / "version.txt").read_text().strip()
