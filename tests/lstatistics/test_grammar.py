"""The string mini-language alone: what parses to what, and where errors point."""

import pytest

from sb3_ordergrad.lstatistics.grammar import Term, parse


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("mean", [(1.0, "mean", ())]),
        ("  cvar:0.25 ", [(1.0, "cvar", ("0.25",))]),
        ("cvar : 0.25", [(1.0, "cvar", ("0.25",))]),
        ("quantile:.5:Blom", [(1.0, "quantile", (".5", "Blom"))]),
        ("cvar:1e-1", [(1.0, "cvar", ("1e-1",))]),
        ("weights:-1,2.5, +3e0", [(1.0, "weights", ("-1,2.5,+3e0",))]),
        ("weights:nan,-inf", [(1.0, "weights", ("nan,-inf",))]),
        ("mean - 0.5*gini", [(1.0, "mean", ()), (-0.5, "gini", ())]),
        ("mean-0.5*gini", [(1.0, "mean", ()), (-0.5, "gini", ())]),
        ("cvar:0.1-gini", [(1.0, "cvar", ("0.1",)), (-1.0, "gini", ())]),
        ("-max + min*2", [(-1.0, "max", ()), (2.0, "min", ())]),
        ("2*3*max/4", [(1.5, "max", ())]),
        ("max/(1 / 2)", [(2.0, "max", ())]),
        ("0.5*(mean - (max - min)) / 2", [(0.25, "mean", ()), (-0.25, "max", ()), (0.25, "min", ())]),
        ("(" * 100 + "mean" + ")" * 100, [(1.0, "mean", ())]),
        ("(max) + " * 200 + "mean", [(1.0, "max", ())] * 200 + [(1.0, "mean", ())]),
        ("TrimmedMeanFrac:0.1:0.2", [(1.0, "TrimmedMeanFrac", ("0.1", "0.2"))]),
        ("harrell_davis:0.5 + weights:1,2", [(1.0, "harrell_davis", ("0.5",)), (1.0, "weights", ("1,2",))]),
    ],
)
def test_parse(text: str, terms: list[tuple]) -> None:
    assert parse(text) == tuple(Term(*term) for term in terms)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected a preset or a number instead of 'the end' at position 0"),
        ("mean +", "at position 6"),
        ("2mean", "unexpected 'mean' at position 1"),
        ("cvar 0.1", "unexpected '0.1' at position 5"),
        ("cvar:", "unexpected ':' at position 4"),
        ("cvar(0.1)", "unexpected '(' at position 4"),
        ("cvar=0.1", "unexpected '=' at position 4"),
        ("cvar:10%", "unexpected '%' at position 7"),
        ("(mean", "expected ')' at position 5"),
        ("mean)", "unexpected ')' at position 4"),
        ("mean*max", "two presets cannot be multiplied at position 5"),
        ("mean/max", "can divide at position 5"),
        ("mean/0", "can divide at position 5"),
        ("cvar:1/4", "Write a number such as 0.25, or a blank before '/' to divide, at position 6"),
        ("0.5*mean + var:1/10", "a fraction or a division?"),
        ("mean + 1", "cannot be added"),
        ("2", "a number alone is no objective"),
        ("weights:1,", "unexpected ','"),
        ("* mean", "instead of '*' at position 0"),
        ("(" * 3000 + "mean" + ")" * 3000, "more than 100 nested parentheses at position 100"),
    ],
)
def test_errors_repeat_the_text_and_the_position(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as error:
        parse(text)
    assert repr(text) in str(error.value)
    assert reason in str(error.value)
