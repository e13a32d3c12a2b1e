"""Tables of evaluation statistics: with intervals over seeds, as differences to a reference, and for each seed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sb3_ordergrad.evaluation import SUMMARY, Interval, ReturnDistribution, bootstrap_difference, bootstrap_over_seeds
from sb3_ordergrad.evaluation.statistics import Statistics

# (algorithm, label of the objective) -> seed -> evaluation
Results = Mapping[tuple[str, str], Mapping[int, ReturnDistribution]]


@dataclass(frozen=True)
class Row:
    """A row of the table, or the difference of two others, with estimate and interval of each statistic."""

    algo: str
    objective: str
    n_seeds: int
    intervals: dict[str, Interval]
    is_difference: bool = False


# Families whose objectives get a column of their own, since their value does not depend on k
LEVEL_FAMILIES = ("cvar", "upper_cvar", "var", "quantile")


def columns(objectives: Iterable[str]) -> Statistics:
    """
    The statistics of :data:`~sb3_ordergrad.evaluation.SUMMARY` and the levels among the objectives that are not among them, as
    objective and sample size by the name of the column.
    """
    own = {name.strip().lower() for name in objectives} - {objective for objective, _ in SUMMARY.values()}
    return {**SUMMARY, **{name: (name, None) for name in sorted(own) if name.partition(":")[0] in LEVEL_FAMILIES}}


def summarize(results: Results, statistics: Statistics = SUMMARY, baselines: Sequence[tuple[str, str]] = ()) -> list[Row]:
    """
    A row for each algorithm and objective, then the difference of each objective to the first one of its algorithm and to each
    baseline.

    :param results: evaluations by (algorithm, label of the objective) and seed, in the order of the table
    :param statistics: objective and sample size by the name of the column
    :param baselines: keys of ``results`` to which all others are compared
    """
    returns = {key: {seed: d.returns for seed, d in by_seed.items()} for key, by_seed in results.items()}
    rows, differences = [], []
    first: dict[str, tuple[str, str]] = {}
    for key, samples in returns.items():
        algo, objective = key
        rows.append(Row(algo, objective, len(samples), bootstrap_over_seeds(list(samples.values()), statistics)))
        if key in baselines:
            continue
        references = {first.setdefault(algo, key): first[algo][1], **{other: other[0].upper() for other in baselines}}
        for other, name in references.items():
            if other == key:
                continue
            n_seeds = len(set(samples) & set(returns[other])) or min(len(samples), len(returns[other]))
            intervals = bootstrap_difference(samples, returns[other], statistics)
            differences.append(Row(algo, f"{objective} minus {name}", n_seeds, intervals, is_difference=True))
    return rows + differences


def _decimals(values: Sequence[float]) -> int:
    """Decimals that show at least three digits of the largest number of a column."""
    largest = max((abs(value) for value in values), default=0.0)
    return 0 if largest >= 100 else 1 if largest >= 10 else 2


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]], n_text: int) -> str:
    """A table in Markdown, padded so that it is readable as plain text; numbers are aligned to the right."""
    widths = [max(len(line[i]) for line in (header, *rows)) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = (c.ljust(w) if i < n_text else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True)))
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (w + 2) if i < n_text else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([line(header), rule, *(line(cells) for cells in rows)])


def markdown_table(rows: Sequence[Row]) -> str:
    """The table of :func:`summarize` in Markdown: ``estimate [low, high]``."""
    names = list(rows[0].intervals)
    decimals = {name: _decimals([row.intervals[name].value for row in rows]) for name in names}

    def cell(row: Row, name: str) -> str:
        d, interval = decimals[name], row.intervals[name]
        sign = "+" if row.is_difference else ""
        return f"{interval.value:{sign}.{d}f} [{interval.low:.{d}f}, {interval.high:.{d}f}]"

    header = ("algorithm", "objective", "seeds", *names)
    lines = [(row.algo, row.objective, str(row.n_seeds), *(cell(row, name) for name in names)) for row in rows]
    return _markdown(header, lines, n_text=2)


def csv_table(rows: Sequence[Row]) -> tuple[list[str], list[list[Any]]]:
    """Header and rows of the same table with unrounded numbers, three columns (estimate, low, high) per statistic."""
    header = ["algorithm", "objective", "difference", "seeds"]
    header += [name + end for name in rows[0].intervals for end in ("", "_low", "_high")]
    lines = []
    for row in rows:
        numbers = [number for interval in row.intervals.values() for number in interval]
        lines.append([row.algo, row.objective, int(row.is_difference), row.n_seeds, *numbers])
    return header, lines


def markdown_seeds(results: Results, statistics: Statistics = SUMMARY) -> str:
    """The table with a row for each seed: the statistics of its policy and the mean length of its episodes."""
    names = [*statistics, "mean length"]
    keys, numbers = [], []
    for (algo, objective), by_seed in results.items():
        for seed, distribution in by_seed.items():
            keys.append((algo, objective, str(seed)))
            values = [distribution.objective_value(*statistic) for statistic in statistics.values()]
            numbers.append([*values, float(distribution.lengths.mean())])
    decimals = [_decimals([line[i] for line in numbers]) for i in range(len(names))]
    cells = [[f"{value:.{d}f}" for value, d in zip(line, decimals, strict=True)] for line in numbers]
    rows = [(*key, *line) for key, line in zip(keys, cells, strict=True)]
    return _markdown(("algorithm", "objective", "seed", *names), rows, n_text=2)
