"""Tables of returns whose statistics are known."""

import numpy as np
import pytest

from sb3_ordergrad.compare import report_tables
from sb3_ordergrad.evaluation import SUMMARY, ReturnDistribution


def distribution(x: np.ndarray) -> ReturnDistribution:
    return ReturnDistribution(np.asarray(x, dtype=float), np.full(len(x), 7))


@pytest.fixture
def results() -> report_tables.Results:
    base = np.arange(1.0, 41.0)
    return {
        ("orderppo", "mean (PPO)"): {0: distribution(base), 1: distribution(base + 100)},
        ("orderppo", "cvar:0.25"): {0: distribution(base + 5), 1: distribution(base + 105)},
        ("ordera2c", "mean (A2C)"): {3: distribution(np.full(40, 2.0))},
    }


def test_rows_and_differences(results: report_tables.Results) -> None:
    rows = report_tables.summarize(results)
    assert [(r.algo, r.objective, r.n_seeds, r.is_difference) for r in rows] == [
        ("orderppo", "mean (PPO)", 2, False),
        ("orderppo", "cvar:0.25", 2, False),
        ("ordera2c", "mean (A2C)", 1, False),
        ("orderppo", "cvar:0.25 minus mean (PPO)", 2, True),
    ]
    assert list(rows[0].intervals) == list(SUMMARY)
    values = {name: interval.value for name, interval in rows[0].intervals.items()}
    # Seeds average to a shift of 50; CVaR_0.1 of 1..40 is the mean of 1..4, the best of 8 of n = 40 is 8 * 41 / 9
    expected = {"mean": 70.5, "CVaR_0.1": 52.5, "CVaR_0.25": 55.5, "VaR_0.1": 54.5, "median": 70.5, "best-of-8": 50 + 328 / 9}
    assert values == pytest.approx(expected)
    for interval in rows[2].intervals.values():
        assert interval == pytest.approx((2.0, 2.0, 2.0))
    for interval in rows[3].intervals.values():
        assert interval.value == pytest.approx(5.0)
        # Paired by seed: the 100 between the seeds is not in the interval
        assert -20 < interval.low <= interval.value <= interval.high < 30


def test_differences_to_baselines(results: report_tables.Results) -> None:
    baseline = ("sac", "mean (SAC)")
    rows = report_tables.summarize({**results, baseline: {0: distribution(np.arange(1.0, 41.0))}}, baselines=[baseline])
    differences = {(r.algo, r.objective): r for r in rows if r.is_difference}
    assert list(differences) == [
        ("orderppo", "mean (PPO) minus SAC"),
        ("orderppo", "cvar:0.25 minus mean (PPO)"),
        ("orderppo", "cvar:0.25 minus SAC"),
        ("ordera2c", "mean (A2C) minus SAC"),
    ]
    # the seed that both have
    assert differences["orderppo", "cvar:0.25 minus SAC"].n_seeds == 1
    assert differences["orderppo", "cvar:0.25 minus SAC"].intervals["mean"].value == pytest.approx(5.0)


def test_markdown(results: report_tables.Results) -> None:
    text = report_tables.markdown_table(report_tables.summarize(results))
    lines = text.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == ["algorithm", "objective", "seeds", *SUMMARY]
    assert "70.5 [" in lines[2] and "+5.0 [" in lines[-1]


def test_csv_keeps_all_digits(results: report_tables.Results) -> None:
    header, lines = report_tables.csv_table(report_tables.summarize(results))
    record = dict(zip(header, lines[0], strict=True))
    assert record["best-of-8"] == pytest.approx(50 + 328 / 9, abs=1e-9)
    assert record["best-of-8_low"] < record["best-of-8"] < record["best-of-8_high"]
    assert [line[2] for line in lines] == [0, 0, 0, 1]


def test_every_seed_is_reported(results: report_tables.Results) -> None:
    lines = report_tables.markdown_seeds(results).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert [row[2] for row in cells] == ["0", "1", "0", "1", "3"]
    assert float(cells[1][3]) == pytest.approx(120.5, abs=0.5)
    assert {row[-1] for row in cells} == {"7.00"}


def test_optimised_level_has_a_column() -> None:
    assert list(report_tables.columns(["mean", "cvar:0.25", "max"])) == list(SUMMARY)
    statistics = report_tables.columns(["mean", "CVaR:0.05"])
    assert statistics == {**SUMMARY, "cvar:0.05": ("cvar:0.05", None)}
    results = {("orderppo", "cvar:0.05"): {0: distribution(np.arange(100.0))}}
    row = report_tables.summarize(results, statistics)[0]
    # the mean of 0, 1, 2, 3, 4
    assert row.intervals["cvar:0.05"].value == pytest.approx(2.0)
    assert report_tables.markdown_table([row]).splitlines()[0].rstrip("| ").endswith("cvar:0.05")
    assert report_tables.markdown_seeds(results, statistics).splitlines()[2].split("|")[-3].strip() == "2.00"
