"""Figures of the benchmarks, in the style of the package's plots; matplotlib is imported only when one is drawn."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sb3_ordergrad.common import files
from sb3_ordergrad.evaluation import Interval
from sb3_ordergrad.evaluation.plots import finish, line_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
# label -> row -> the dots of the row
Dots = Mapping[str, Mapping[str, Sequence[float]]]


def new_figure(width: float, height: float) -> "Figure":
    """A figure without a window, in inches; a page is 6.6 wide."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(figure: "Figure", path: Path) -> None:
    """Write a picture with 256 colours, which takes half the space, in one step."""
    from PIL import Image

    with files.replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)
        with Image.open(temporary) as picture:
            picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(temporary, optimize=True)
    print(f"wrote {path}")


def move_legend(figure: "Figure", loc: str) -> None:
    """Put one legend of all axes outside of them, e.g. at ``"outside right center"``."""
    handles = {label: handle for ax in figure.axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    columns = 1 if "right center" in loc else len(handles)
    figure.legend(handles.values(), handles.keys(), loc=loc, ncols=columns, frameon=False, fontsize="small")
    for ax in figure.axes:
        if (legend := ax.get_legend()) is not None:
            legend.remove()


def plot_dots(ax: "Axes", dots: Dots, intervals: Mapping[str, Interval] | None = None, filled: bool = True) -> None:
    """
    Rows of dots, the first at the top. Each label has a colour and a shape.

    :param ax: the axes
    :param dots: by label and row, e.g. the seeds of a method on a task
    :param intervals: of a row, drawn in grey behind its dots
    :param filled: the dots, which are circles in white otherwise
    """
    rows = list(dict.fromkeys(row for by_row in dots.values() for row in by_row))
    for row in range(0, len(rows), 2):
        ax.axhspan(row - 0.5, row + 0.5, color="0.95", zorder=0)
    for row, (value, low, high) in (intervals or {}).items():
        y = rows.index(row)
        ax.hlines(y, low, high, color="0.75", linewidth=7, zorder=1)
        ax.vlines(value, y - 0.3, y + 0.3, color="0.3", zorder=1)
    for index, (label, by_row) in enumerate(dots.items()):
        # Side by side within a row
        offset = (index - (len(dots) - 1) / 2) * 0.7 / len(dots)
        y = [rows.index(row) + offset for row, values in by_row.items() for _ in values]
        marker = MARKERS[index % len(MARKERS)]
        x = [value for values in by_row.values() for value in values]
        color = line_style(index)["color"]
        face, edge = (color, "white") if filled else ("white", color)
        style = {
            "markersize": 9 if marker == "*" else 6,
            "markerfacecolor": face,
            "markeredgecolor": edge,
            "markeredgewidth": 0.6,
        }
        ax.plot(x, y, label=label, linestyle="none", marker=marker, **style)  # type: ignore[arg-type]
    ax.set_yticks(range(len(rows)), rows, fontsize="small")
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    finish(ax)


def plot_scores(ax: "Axes", scores: Dots) -> None:
    """Rows of normalised scores, with lines at the random policy (0) and the reference (1)."""
    for level in (0, 1):
        ax.axvline(level, color="0.4", linestyle=":", linewidth=1)
    plot_dots(ax, scores)
