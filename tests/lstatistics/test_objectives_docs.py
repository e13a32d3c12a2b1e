"""docs/reference/objectives.md: its examples run, and its table names everything that is accepted."""

import doctest
import re

from repository import ROOT

from sb3_ordergrad.lstatistics.presets import ALIASES, PRESETS, find_preset

PAGE = ROOT / "docs" / "reference" / "objectives.md"


def test_examples_run() -> None:
    results = doctest.testfile(str(PAGE), module_relative=False)
    assert results.attempted >= 8
    assert results.failed == 0


def test_table_is_complete() -> None:
    table = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    named = {name.lower().replace("_", "") for line in table for name in re.findall(r"`([A-Za-z_]+)", line)}
    accepted = {name.replace("_", "") for name in PRESETS} | set(ALIASES)
    assert accepted <= named
    first_columns = {name for line in table for name in re.findall(r"`([A-Za-z_]+)", "".join(line.split("|")[1:3]))}
    assert all(find_preset(name) for name in first_columns)
