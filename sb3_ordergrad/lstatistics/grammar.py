"""
Parser of the string mini-language for objectives.

An objective string is a linear combination of presets, ``mean - 0.5*gini`` or ``(cvar:0.1 + mean) / 2``::

    expression = ["+" | "-"] product {("+" | "-") product}
    product    = factor {"*" factor | "/" number}       at most one factor of a product holds a preset
    factor     = number | preset | "(" expression ")"
    preset     = name {":" argument}
    argument   = item {"," item}
    item       = signed number | word

A preset's arguments and a ``/`` need a blank between them: ``cvar:1/4`` would be a quarter of ``cvar:1``, not ``cvar:0.25``.

The parser knows only the grammar; ``presets`` defines which presets exist and what their arguments mean.
"""

import re
from typing import NamedTuple, NoReturn

_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_ITEM = rf"(?:[+-]?(?:{_NUMBER}|inf|nan)|[A-Za-z_]\w*)"
_PRESET = rf"[A-Za-z_]\w*(?:\s*:\s*{_ITEM}(?:\s*,\s*{_ITEM})*)*"
# Deeper nesting would exceed Python's recursion limit
_MAX_DEPTH = 100
_TOKEN = re.compile(rf"(?P<number>{_NUMBER})|(?P<preset>{_PRESET})|(?P<operator>[-+*/()])")


class Term(NamedTuple):
    """One preset of a linear combination; ``arguments`` are the strings between the colons, without blanks."""

    coefficient: float
    name: str
    arguments: tuple[str, ...]


class _Token(NamedTuple):
    kind: str
    text: str
    position: int


def parse(text: str) -> tuple[Term, ...]:
    """
    The terms of the linear combination, in the order of the text.

    :raises ValueError: if the text does not follow the grammar; the message repeats the text and the position
    """
    return _Parser(text).parse()


class _Parser:
    """Recursive descent: one method for each rule of the grammar."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self._tokens()
        self.index = 0
        self.depth = 0

    def _tokens(self) -> list[_Token]:
        tokens, position = [], 0
        while position < len(self.text):
            if self.text[position].isspace():
                position += 1
                continue
            match = _TOKEN.match(self.text, position)
            if match is None:
                self._fail(f"unexpected {self.text[position]!r}", position)
            tokens.append(_Token(str(match.lastgroup), match.group(), position))
            position = match.end()
            if ":" in match.group() and self.text[position : position + 1] == "/":
                self._fail("a fraction or a division? Write a number such as 0.25, or a blank before '/' to divide,", position)
        return [*tokens, _Token("end", "", len(self.text))]

    def _fail(self, reason: str, position: int) -> NoReturn:
        raise ValueError(f"cannot read the objective {self.text!r}: {reason} at position {position}")

    def _next(self, *operators: str) -> str:
        """Consume and return the next token's text if it is one of the operators, else return an empty string."""
        token = self.tokens[self.index]
        if token.kind != "operator" or token.text not in operators:
            return ""
        self.index += 1
        return token.text

    def parse(self) -> tuple[Term, ...]:
        value = self._expression()
        end = self.tokens[self.index]
        if end.kind != "end":
            self._fail(f"unexpected {end.text!r}", end.position)
        if isinstance(value, float):
            self._fail("a number alone is no objective", 0)
        return value

    def _expression(self) -> float | tuple[Term, ...]:
        sign = -1.0 if self._next("+", "-") == "-" else 1.0
        start = self.tokens[self.index].position
        total = _scaled(self._product(), sign)
        while operator := self._next("+", "-"):
            value = _scaled(self._product(), -1.0 if operator == "-" else 1.0)
            if isinstance(total, float) or isinstance(value, float):
                self._fail("numbers scale presets and cannot be added", start)
            total += value
        return total

    def _product(self) -> float | tuple[Term, ...]:
        value = self._factor()
        while operator := self._next("*", "/"):
            token = self.tokens[self.index]
            other = self._factor()
            if operator == "/":
                if not isinstance(other, float) or other == 0.0:
                    self._fail("only a number other than zero can divide", token.position)
                value = _scaled(value, 1.0 / other)
            elif isinstance(value, float):
                value = _scaled(other, value)
            elif isinstance(other, float):
                value = _scaled(value, other)
            else:
                self._fail("two presets cannot be multiplied", token.position)
        return value

    def _factor(self) -> float | tuple[Term, ...]:
        token = self.tokens[self.index]
        if self._next("("):
            self.depth += 1
            if self.depth > _MAX_DEPTH:
                self._fail(f"more than {_MAX_DEPTH} nested parentheses", token.position)
            value = self._expression()
            self.depth -= 1
            if not self._next(")"):
                self._fail("expected ')'", self.tokens[self.index].position)
            return value
        if token.kind not in ("number", "preset"):
            self._fail(f"expected a preset or a number instead of {token.text or 'the end'!r}", token.position)
        self.index += 1
        if token.kind == "number":
            return float(token.text)
        name, *arguments = (re.sub(r"\s+", "", part) for part in token.text.split(":"))
        return (Term(1.0, name, tuple(arguments)),)


def _scaled(value: float | tuple[Term, ...], factor: float) -> float | tuple[Term, ...]:
    if isinstance(value, float):
        return value * factor
    return tuple(term._replace(coefficient=term.coefficient * factor) for term in value)
