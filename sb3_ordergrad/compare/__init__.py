"""The command ``python -m sb3_ordergrad.compare``: train objectives side by side, compare their distributions of returns."""
