"""
Time of ``import sb3_ordergrad`` over ``import stable_baselines3``, each in a fresh interpreter.

    python benchmarks/import_time.py

Pairs are interleaved and their order alternates, so that other load meets both. The bar, 1.05, is on the ratio of the medians
of the processor time, which suffers less from other load; the wall time is printed beside it.
"""

import argparse
import subprocess
import sys

import numpy as np

MODULES = ("sb3_ordergrad", "stable_baselines3")
BAR = 1.05
CODE = """
import time
wall, process = time.perf_counter(), time.process_time()
import {module}
print(time.perf_counter() - wall, time.process_time() - process)
"""


def seconds(module: str) -> list[float]:
    """
    :param module: what is imported
    :return: wall and processor time of the import
    """
    result = subprocess.run([sys.executable, "-c", CODE.format(module=module)], capture_output=True, text=True, check=True)
    return [float(word) for word in result.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15, help="pairs of imports")
    args = parser.parse_args()
    times: dict[str, list[list[float]]] = {module: [] for module in MODULES}
    # The first imports read the files from disk
    for module in MODULES:
        seconds(module)
    for pair in range(args.pairs):
        for module in MODULES if pair % 2 == 0 else MODULES[::-1]:
            times[module].append(seconds(module))
    ours, theirs = (np.median(times[module], axis=0) for module in MODULES)
    print(f"median of {args.pairs} imports | wall time | processor time\n---|---|---")
    for module, medians in zip(MODULES, (ours, theirs), strict=True):
        print(f"{module} | {medians[0]:.3f} s | {medians[1]:.3f} s")
    print(f"ratio (bar {BAR}) | {ours[0] / theirs[0]:.3f} | {ours[1] / theirs[1]:.3f}")


if __name__ == "__main__":
    main()
