"""Order-statistic objectives (CVaR, VaR, median, max@K, ...) for Stable-Baselines3."""

import importlib
import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sb3_ordergrad.order_a2c import OrderA2C
    from sb3_ordergrad.order_ppo import OrderPPO
    from sb3_ordergrad.order_sac import OrderSAC
    from sb3_ordergrad.remac import ReMAC
    from sb3_ordergrad.reppo import RePPO

__version__ = (Path(__file__).parent / "version.txt").read_text().strip()

__all__ = ["OrderA2C", "OrderPPO", "OrderSAC", "ReMAC", "RePPO", "__version__"]

# Imported on first access (PEP 562), so that `sb3_ordergrad.lstatistics` does not load Stable-Baselines3
_ALGORITHMS = {"OrderA2C": "order_a2c", "OrderPPO": "order_ppo", "OrderSAC": "order_sac", "RePPO": "reppo", "ReMAC": "remac"}
_SUBPACKAGES = (
    "common",
    "compare",
    "envs",
    "evaluation",
    "lstatistics",
    "order_a2c",
    "order_ppo",
    "order_sac",
    "remac",
    "reppo",
    "zoo",
)


def __getattr__(name: str) -> Any:
    if name in _ALGORITHMS:
        algorithm = getattr(importlib.import_module(f"{__name__}.{_ALGORITHMS[name]}"), name)
        globals()[name] = algorithm
        return algorithm
    if name in _SUBPACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ALGORITHMS, *_SUBPACKAGES})


class _RegisterAfterGymnasium:
    """Import hook that registers the environments when gymnasium is imported after this package."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name == "gymnasium" else None
        if spec is not None and spec.loader is not None:
            exec_module = spec.loader.exec_module

            def exec_and_register(module: ModuleType) -> None:
                exec_module(module)
                sys.meta_path.remove(self)
                importlib.import_module(f"{__name__}.envs")

            spec.loader.exec_module = exec_and_register  # type: ignore[method-assign]
        return spec


if "gymnasium" in sys.modules:
    importlib.import_module(f"{__name__}.envs")
else:
    sys.meta_path.insert(0, _RegisterAfterGymnasium())
