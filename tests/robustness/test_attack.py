"""A small sample of the attack that ``make attack`` makes at length."""

import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT
from robustness import bad_commands, continuation, equality, invalid, valid
from robustness.parts import Part, run_case

pytestmark = pytest.mark.slow
ATTACK = Path(__file__).with_name("attack.py")
BATCHES = 5
N_CRASH_POINTS = 5


def failures(part: Part, numbers: range) -> str:
    """The text of every failed case, empty if there is none."""
    failed = [failure for number in numbers for failure in run_case(part, 0, number).failures]
    return "\n\n".join(f"{one.case}\n{one.description}\n{one.error}" for one in failed)


@pytest.mark.parametrize("batch", range(BATCHES))
@pytest.mark.parametrize("part", [valid.PART, invalid.PART, equality.PART, continuation.PART], ids=lambda part: part.name)
def test_random_cases(part: Part, batch: int) -> None:
    assert failures(part, range(batch, part.sample, BATCHES)) == ""


@pytest.mark.parametrize("number", range(bad_commands.PART.sample), ids=lambda number: str(bad_commands.COMMANDS[number])[:80])
def test_bad_commands(number: int) -> None:
    assert failures(bad_commands.PART, range(number, number + 1)) == ""


@pytest.mark.parametrize("options", [["kills", "--kills", "2"], ["crash-points", "--crash-points", str(N_CRASH_POINTS)]])
def test_interruptions(options: list[str]) -> None:
    """In processes of the attack's own, which may fork."""
    options = ["--jobs", "1", "--parts", *options]
    result = subprocess.run([sys.executable, str(ATTACK), *options], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-2000:]
