"""The files around the package (version, pins, commands, CI) and what its folders may import."""

import ast
import os
import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import setuptools
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from repository import OPTIONAL_PACKAGES, ROOT

import sb3_ordergrad
from sb3_ordergrad.common.extras import install_hint

PACKAGE = ROOT / "sb3_ordergrad"
FOLDERS = (".ci", ".github", "benchmarks", "docs", "examples", "sb3_ordergrad", "tests", "zoo_hyperparams")
VERSION = (PACKAGE / "version.txt").read_text().strip()

# From the lowest layer up; a folder may import from itself and from the layers below its own
LAYERS: list[set[str]] = [
    {"lstatistics"},
    {"common", "remac"},
    {"order_ppo", "order_a2c", "order_sac", "reppo", "evaluation"},
    {"compare"},
    {"zoo"},
]
# These may import the environments
COMMANDS = {"compare", "zoo"}


@pytest.fixture(scope="module")
def setup_arguments() -> dict[str, Any]:
    """The keyword arguments of setuptools.setup in setup.py."""
    captured: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **kwargs: captured.update(kwargs))
        # find_packages looks at the current folder
        patch.chdir(ROOT)
        runpy.run_path(str(ROOT / "setup.py"))
    return captured


def pins() -> list[Requirement]:
    """All requirements of constraints.txt."""
    lines = (line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines())
    return [Requirement(line) for line in lines if line]


def pinned_versions(python_version: str) -> dict[str, Version]:
    """Package name -> the version that constraints.txt gives to this Python."""
    versions: dict[str, Version] = {}
    for pin in pins():
        if pin.marker is None or pin.marker.evaluate({"python_version": python_version}):
            name = canonicalize_name(pin.name)
            assert name not in versions, f"{name} is pinned twice for Python {python_version}"
            versions[name] = Version(next(iter(pin.specifier)).version)
    return versions


def requirements(setup_arguments: dict[str, Any]) -> list[Requirement]:
    """The requirements of setup.py, extras included."""
    extras = setup_arguments["extras_require"].values()
    return [Requirement(text) for group in (setup_arguments["install_requires"], *extras) for text in group]


def project_files() -> list[Path]:
    """The files of the project, found without git."""
    inside = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
    # Caches, the coverage of the tests that are running, and what a git worktree has in the place of a folder
    others = re.compile(r"/(\.\w|__pycache__/)|^\.coverage|^\.git$")
    files = (path for path in (*ROOT.glob("*"), *inside) if path.is_file())
    return [path for path in files if not others.search(path.relative_to(ROOT).as_posix())]


def test_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)
    assert sb3_ordergrad.__version__ == VERSION
    assert f"## Release {VERSION}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"Version {VERSION}" in (ROOT / "CITATION.bib").read_text()
    assert (PACKAGE / "py.typed").exists() and (ROOT / "LICENSE").exists()


def test_setup_arguments(setup_arguments: dict[str, Any]) -> None:
    assert setup_arguments["name"] == "sb3_ordergrad"
    assert setup_arguments["version"] == VERSION
    assert setup_arguments["python_requires"] == ">=3.10"
    assert set(setup_arguments["package_data"]["sb3_ordergrad"]) == {"version.txt", "py.typed"}
    folders = {f"sb3_ordergrad.{path.parent.name}" for path in PACKAGE.glob("*/__init__.py")}
    assert {"sb3_ordergrad", *folders} <= set(setup_arguments["packages"])
    assert not [name for name in setup_arguments["packages"] if name.split(".")[0] != "sb3_ordergrad"]
    names = {canonicalize_name(Requirement(text).name) for text in setup_arguments["install_requires"]}
    assert {"stable-baselines3", "sb3-contrib", "gymnasium", "torch", "scipy", "tensorboard"} <= names
    assert not names & OPTIONAL_PACKAGES
    assert {"tests", "plots", "zoo", "dask", "box2d"} <= set(setup_arguments["extras_require"])


def test_zoo_hyperparams_are_package_data(setup_arguments: dict[str, Any]) -> None:
    assert list((ROOT / "zoo_hyperparams").glob("*.yml"))
    assert "sb3_ordergrad.zoo_hyperparams" in setup_arguments["packages"]
    assert setup_arguments["package_dir"] == {"sb3_ordergrad.zoo_hyperparams": "zoo_hyperparams"}
    assert setup_arguments["package_data"]["sb3_ordergrad.zoo_hyperparams"] == ["*.yml"]


@pytest.mark.slow
def test_wheel_holds_every_yaml_file(tmp_path: Path) -> None:
    # A copy, since setuptools leaves its files where it builds
    for name in ("setup.py", "pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("sb3_ordergrad", "zoo_hyperparams"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    options = "wheel . --no-deps --no-build-isolation --quiet --disable-pip-version-check --wheel-dir wheels"
    subprocess.run([sys.executable, "-m", "pip", *options.split()], cwd=tmp_path, check=True)
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"sb3_ordergrad/zoo_hyperparams/{path.name}" for path in (ROOT / "zoo_hyperparams").glob("*.yml")} <= names
    sources = {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py")}
    assert sources == {name for name in names if name.endswith(".py")}


def test_constraints_are_exact() -> None:
    for pin in pins():
        (specifier,) = pin.specifier
        assert specifier.operator == "==", pin
        # A local label (+cpu) or a wildcard does not exist on the public registry
        assert Version(specifier.version).local is None, pin
        assert pin.url is None, pin
    torch_pins = [str(pin) for pin in pins() if pin.name == "torch"]
    assert torch_pins == ["torch==2.13.0"]


@pytest.mark.parametrize("python_version", ["3.10", "3.11", "3.12", "3.13"])
def test_every_requirement_is_pinned_within_its_range(setup_arguments: dict[str, Any], python_version: str) -> None:
    versions = pinned_versions(python_version)
    for requirement in requirements(setup_arguments):
        name = canonicalize_name(requirement.name)
        assert name in versions, f"{name} has no pin for Python {python_version}"
        assert versions[name] in requirement.specifier, f"{name}=={versions[name]} is outside {requirement}"


def test_commands() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY:(.*)$", makefile, flags=re.MULTILINE)
    wanted = {"attack", "demo", "test", "pytest", "bench", "lint", "type", "format", "clean"}
    assert wanted <= set(phony.split())
    for target in phony.split():
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    assert "sudo" not in makefile
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert "make test" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("name", ["setup.py", "pyproject.toml", "constraints.txt", "Makefile", ".ci/run", "MANIFEST.in"])
def test_no_registry_address(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links|--trusted-host", text)


def test_ci_runs_every_promised_python(setup_arguments: dict[str, Any]) -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    job = workflow["jobs"]["test"]
    prefix = "Programming Language :: Python :: 3."
    promised = [text.rsplit(" ", 1)[1] for text in setup_arguments["classifiers"] if text.startswith(prefix)]
    assert job["strategy"]["matrix"]["python-version"] == promised
    assert "make test" in job["steps"][-1]["run"]
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        assert {"name", "description", "body"} <= set(yaml.safe_load(path.read_text()))


def test_install_hint(setup_arguments: dict[str, Any]) -> None:
    for extra in setup_arguments["extras_require"]:
        assert install_hint(extra) == f'pip install -c constraints.txt ".[{extra}]"'
    assert (ROOT / "constraints.txt").exists()


def imported_modules(tree: ast.AST, package: list[str]) -> Iterator[str]:
    """Absolute names of all modules that a source of ``package`` (its parts) imports, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            # `from sb3_ordergrad import envs` names the folder only here
            yield from (f"{module}.{alias.name}" for alias in node.names)


def folder_of(module: str) -> str:
    """The folder of a module of this package (``sb3_ordergrad.common.groups`` -> ``common``), "" for others."""
    parts = module.split(".")
    return parts[1] if parts[0] == "sb3_ordergrad" and len(parts) > 1 else ""


def sources() -> Iterator[tuple[str, str, list[str]]]:
    """Path, folder and imported modules of each source of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).parts
        tree = ast.parse(path.read_text(encoding="utf-8"))
        yield "/".join(parts), parts[1], list(imported_modules(tree, list(parts[:-1])))


def test_imports_run_downwards() -> None:
    layer = {folder: number for number, folders in enumerate(LAYERS) for folder in folders}
    wrong = []
    for path, folder, modules in sources():
        if folder.endswith(".py"):
            continue
        assert folder == "envs" or folder in layer, f"{path}: the folder {folder!r} is not in LAYERS"
        for module in modules:
            other = folder_of(module)
            if other == folder or (other not in layer and other != "envs"):
                continue
            # envs imports no other folder
            allowed = folder in COMMANDS if other == "envs" else folder != "envs" and layer[other] < layer[folder]
            if not allowed:
                wrong.append(f"{path} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_imports_that_have_no_place() -> None:
    """Of RL libraries and optional packages in ``lstatistics``, and of ``unittest`` anywhere."""
    rl = {"stable_baselines3", "sb3_contrib", "gymnasium", "mujoco", *OPTIONAL_PACKAGES}
    for path, folder, modules in sources():
        packages = {module.split(".")[0] for module in modules}
        assert "unittest" not in packages, path
        assert folder != "lstatistics" or not packages & rl, path


def test_no_path_of_one_machine() -> None:
    home = re.compile(r"(?<![\w.~/:-])/(?:home|root|work|Users|mnt|data|scratch)/\w+")
    found = []
    for path in project_files():
        if path.suffix in {".png", ".zip", ".pdf", ".gif", ".npz", ".xz"}:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            found += [f"{path.relative_to(ROOT)}:{number}: {match}" for match in home.findall(line)]
    assert not found, "\n".join(found)
