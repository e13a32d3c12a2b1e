"""Links and anchors of all pages, the navigation, the reference, the commands that pages name, and the length of lines."""

import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from repository import ROOT

import sb3_ordergrad

DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
MODULES = [
    "sb3_ordergrad",
    *(f"sb3_ordergrad.{path.parent.name}" for path in Path(sb3_ordergrad.__path__[0]).glob("*/__init__.py")),
]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def without_code(text: str) -> str:
    """The text without fenced blocks, indented blocks and code in lines."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^ {4}.*$", "", text, flags=re.MULTILINE))


def anchors(path: Path) -> set[str]:
    """The anchors that Python-Markdown gives to the headings."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_resolve(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(path.read_text(encoding="utf-8"))):
        if re.match(r"https?://|mailto:", target):
            continue
        name, _, anchor = target.partition("#")
        page = (path.parent / name).resolve() if name else path
        assert page.exists(), target
        assert not anchor or anchor in anchors(page), target


def test_every_page_is_in_the_navigation_once() -> None:
    # mkdocs.yml has no tag that a safe loader does not know
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))

    def entries(item: object) -> Iterator[str]:
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            yield from (page for value in item.values() for page in entries(value))
        elif isinstance(item, list):
            yield from (page for value in item for page in entries(value))

    pages = [page for page in entries(config["nav"]) if not (ROOT / page).exists()]
    assert sorted(pages) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def reference_entries() -> set[str]:
    """Names after ``:::``, and those of tables and text: `module.A`, `B` (in the module of the name before it)."""
    names: set[str] = set()
    for path in (DOCS / "reference").glob("api_*.md"):
        for line in path.read_text(encoding="utf-8").splitlines():
            names |= set(re.findall(r"^::: (\S+)$", line))
            module = ""
            for name in re.findall(r"`([\w.]+)`", line):
                module = name.rpartition(".")[0] if name.startswith("sb3_ordergrad.") else module
                names.add(f"{module}.{name.rpartition('.')[2]}")
    return names


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_a_reference_entry(module: str) -> None:
    exported = getattr(importlib.import_module(module), "__all__", [])
    entries = reference_entries()
    # Algorithms are exported by the package and by their own folder
    missing = [name for name in exported if not {f"{module}.{name}", f"sb3_ordergrad.{name}"} & entries]
    assert not missing


def test_every_reference_entry_exists() -> None:
    for name in reference_entries():
        module, _, attribute = name.rpartition(".")
        if module.startswith("sb3_ordergrad") and name not in MODULES:
            assert hasattr(importlib.import_module(module), attribute), name


@pytest.mark.parametrize("path", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name_of)
def test_lines_are_short(path: Path) -> None:
    """Of tables and code blocks too; the changelog keeps one line per entry."""
    assert not [line for line in path.read_text(encoding="utf-8").splitlines() if len(line) > 120]


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_commands_exist(path: Path) -> None:
    """Targets of make, modules of ``python -m`` and scripts of this project that a page names."""
    text = path.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:^ *|`)make ([a-z][a-z-]*)", text, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    for module in re.findall(r"python -m (sb3_ordergrad[\w.]*)", text):
        assert importlib.util.find_spec(f"{module}.__main__"), module
    for script in re.findall(r"(?:python|bash) ((?:examples|benchmarks|tests)/[\w/]+\.(?:py|sh))", text):
        assert (ROOT / script).exists(), script
