"""The main job, ``python -m sb3_ordergrad.compare``: train objectives side by side, compare the distributions of returns."""

from sb3_ordergrad.compare.run import RunSpec, run_one

__all__ = ["RunSpec", "run_one"]
