"""Runs of ``sb3_ordergrad.compare`` that end in a moment, and what a finished comparison consists of."""

import hashlib
import os
import sys
import zipfile
from pathlib import Path

PACKAGE = "sb3_ordergrad.compare"
YAML = "default:\n  n_envs: 2\n  n_steps: 16\n  batch_size: 16\n  n_epochs: 1\n  normalize: true\n"
# What an attempt keeps in a run's folder while it lasts
LEFTOVERS = ("attempt.txt", "steps.txt", "error.txt", "trained.json")
# Seconds since the start, and frames a second
TIME_COLUMNS = ("time/time_elapsed", "time/fps")


def write_settings(folder: Path) -> Path:
    """A folder of YAML files in it."""
    settings = folder / "settings"
    settings.mkdir(exist_ok=True)
    (settings / "ppo.yml").write_text(YAML)
    (settings / "orderppo.yml").write_text(YAML + "  k: 4\n  group_size: 8\n")
    return settings


def arguments(folder: Path, *more: str) -> list[str]:
    """Options of a small comparison whose results go to ``out`` in the folder."""
    fixed = ["--env", "CartPole-v1", "--conf-dir", str(write_settings(folder)), "--out", str(folder / "out")]
    return [*fixed, "--algos", "orderppo", *more]


def environment() -> dict[str, str]:
    """Variables of a process that imports what this one can."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "OMP_NUM_THREADS": "1"}


def _bytes(path: Path) -> bytes:
    if path.suffix == ".zip":
        # The file itself knows when it was written
        with zipfile.ZipFile(path) as archive:
            return archive.read("policy.pth")
    if path.name == "table.md":
        return path.read_text().partition("\n\n- command")[0].encode()
    if path.name == "progress.csv":
        header, *rows = (line.split(",") for line in path.read_text().splitlines())
        # SB3 orders its columns anew in every process
        kept = sorted((index for index, name in enumerate(header) if name not in TIME_COLUMNS), key=header.__getitem__)
        return "\n".join(",".join(row[index] for index in kept) for row in [header, *rows]).encode()
    return path.read_bytes()


def results(out: Path) -> dict[str, str]:
    """Hash of the content of every file by its path, times of the clock left out."""
    files = sorted(path for path in out.rglob("*") if path.is_file())
    left = [str(path) for path in files if path.name in LEFTOVERS or ".tmp" in path.name]
    assert not left, f"left behind: {left}"
    timeless = (path for path in files if path.name not in ("compare.json", "done.json", ".compare.lock"))
    return {str(path.relative_to(out)): hashlib.sha256(_bytes(path)).hexdigest()[:12] for path in timeless}


def assert_same_results(out: Path, expected: dict[str, str]) -> None:
    found = results(out)
    differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    assert not differing, f"other than uninterrupted: {differing}"
