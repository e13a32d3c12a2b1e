"""Writes the tables of a benchmark into a page of the docs, between the page's two markers."""

import textwrap
from pathlib import Path

from sb3_ordergrad.common import files

# The length of lines in all pages
WIDTH = 120


def wrap(text: str) -> str:
    """
    :param text: Markdown in which a paragraph or a list entry is one line
    :return: the same in lines of at most 120 characters; rows of tables cannot be wrapped
    """

    def fill(line: str) -> str:
        indent = "  " if line.startswith("- ") else ""
        return textwrap.fill(line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)

    return "\n".join(line if line.startswith(("|", "!")) else fill(line) for line in text.split("\n"))


def write_between(page: Path, begin: str, end: str, text: str) -> None:
    """
    Replace what the page has between its two markers.

    :param page: the page
    :param begin: the first marker
    :param end: the second one
    :param text: Markdown, see :func:`wrap`
    :raises ValueError: if the page lacks the markers
    """
    before, first, rest = page.read_text(encoding="utf-8").partition(begin)
    _, last, after = rest.partition(end)
    if not first or not last:
        raise ValueError(f"{page} must contain the lines {begin} and {end}.")
    files.write_text(page, f"{before}{begin}\n\n{wrap(text).strip()}\n\n{end}{after}")
