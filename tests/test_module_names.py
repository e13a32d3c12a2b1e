"""Every module of the package can be imported by its name."""

import importlib
import pkgutil
from types import ModuleType

from repository import ROOT


def test_no_reexport_shadows_a_module() -> None:
    """``import a.b.c as name`` gives the attribute ``c`` of ``a.b``, whatever that is."""
    packages = ["sb3_ordergrad"]
    for package in packages:
        parent = importlib.import_module(package)
        for module in pkgutil.iter_modules(parent.__path__):
            if module.name != "__main__":
                importlib.import_module(f"{package}.{module.name}")
                assert isinstance(getattr(parent, module.name), ModuleType), f"{package}.{module.name}"
            if module.ispkg:
                packages.append(f"{package}.{module.name}")
    assert len(packages) > 5


def test_no_module_name_stands_twice() -> None:
    """``policies`` is in each algorithm's folder, as in SB3; an algorithm's module has the name of its folder."""
    names = [path.stem for path in (ROOT / "sb3_ordergrad").rglob("*.py")]
    twice = {name for name in names if names.count(name) > 1}
    assert twice == {"__init__", "__main__", "policies"}
