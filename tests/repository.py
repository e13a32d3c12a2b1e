"""Where the sources of the project are, and how tests load a script that is not part of the package."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
BENCHMARKS = ROOT / "benchmarks"
# What an import of the package must not need
OPTIONAL_PACKAGES = {
    "matplotlib",
    "pandas",
    "seaborn",
    "rl_zoo3",
    "optuna",
    "requests",
    "dask",
    "distributed",
    "pygame",
    "Box2D",
}


def load_script(path: Path) -> ModuleType:
    """Import an example or a benchmark as its own folder would."""
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(path.stem)
