"""
Time of the imports of this package and of those they need anyway, each in a fresh interpreter.

    python benchmarks/import_time.py

The algorithms are compared with ``import stable_baselines3`` (the ratio should stay below 1.05), ``sb3_ordergrad.lstatistics``
with ``import torch``. The imports take turns in alternating order, so that other load affects all of them. The ratios are
those of the medians; processor time suffers less from other load than wall time.
"""

import argparse
import subprocess
import sys

import numpy as np

# What is imported, and what it is compared with
PAIRS = {
    "from sb3_ordergrad import OrderA2C, OrderPPO, ReMAC": "import stable_baselines3",
    "import sb3_ordergrad.lstatistics": "import torch",
}
CODE = """
import time
wall, process = time.perf_counter(), time.process_time()
{statement}
print(time.perf_counter() - wall, time.process_time() - process)
"""


def seconds(statement: str) -> list[float]:
    """
    :param statement: an import
    :return: its wall and processor time
    """
    result = subprocess.run(
        [sys.executable, "-c", CODE.format(statement=statement)], capture_output=True, text=True, check=True
    )
    return [float(word) for word in result.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=15, help="imports of each kind")
    args = parser.parse_args()
    statements = [*PAIRS, *PAIRS.values()]
    times: dict[str, list[list[float]]] = {statement: [] for statement in statements}
    # The first imports read the files from disk
    for statement in statements:
        seconds(statement)
    for repetition in range(args.repetitions):
        for statement in statements if repetition % 2 == 0 else statements[::-1]:
            times[statement].append(seconds(statement))
    medians = {statement: np.median(times[statement], axis=0) for statement in statements}
    print(f"median of {args.repetitions} | wall time | processor time\n---|---|---")
    for ours, theirs in PAIRS.items():
        for statement in (ours, theirs):
            print(f"`{statement}` | {medians[statement][0]:.3f} s | {medians[statement][1]:.3f} s")
        ratio = medians[ours] / medians[theirs]
        print(f"ratio | {ratio[0]:.3f} | {ratio[1]:.3f}")


if __name__ == "__main__":
    main()
