"""Files that are complete or absent, and where a result came from."""

import csv
import importlib.metadata
import io
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from sb3_ordergrad import __version__

PACKAGES = ("stable_baselines3", "torch", "gymnasium", "mujoco", "numpy")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """
    A temporary path beside ``path`` that replaces it at the end, so that a reader never sees half a file.

    :param path: the file to write; its folder is created
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last, since the format of a picture depends on it
    temporary = path.with_name(f".{path.stem}-{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file in one step."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file, or ``None`` if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file in one step."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def read_columns(path: Path, *names: str) -> list[np.ndarray]:
    """
    Columns of numbers in a CSV file; other columns are ignored.

    :param path: the file, with the names of its columns in the first line
    :param names: names of the columns
    :return: one array a column, float64, shape ``(n_rows,)``
    :raises ValueError: if the file was cut, a column is missing or a field is not a number; the message names the file
    """
    try:
        text = path.read_text(encoding="utf-8")
        header, *rows = [*csv.reader(io.StringIO(text))] or [[]]
        if not set(names) <= set(header):
            raise ValueError(f"found the columns {header}, but {' and '.join(map(repr, names))} are needed.")
        if not text.endswith("\n"):
            raise ValueError("the last line has no line break at its end, so the file was probably cut: write it again.")
        for line, row in enumerate(rows, start=2):
            if len(row) != len(header):
                raise ValueError(f"line {line} must have {len(header)} fields.")
        return [np.array([row[header.index(name)] for row in rows], dtype=np.float64) for name in names]
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: {error}") from error


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers; those that are not installed are left out."""
    versions = {"python": platform.python_version(), "sb3_ordergrad": __version__}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def git_commit() -> str | None:
    """The commit of the checkout this package lies in, ``-dirty`` with uncommitted changes; ``None`` outside a checkout."""
    folder = Path(__file__).resolve().parents[1]

    def git(*arguments: str) -> str | None:
        try:
            result = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return result.stdout.strip() if result.returncode == 0 else None

    # An environment inside somebody's own repository must not pass that repository's commit off as ours
    if git("ls-files", "--error-unmatch", "version.txt") is None:
        return None
    return git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")


def machine() -> str:
    """The processor's name and the number of cores."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {os.cpu_count()} cores"
