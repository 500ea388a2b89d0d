"""Tests of a payload as a language without scripts would have them: comparisons, presence, patterns. They serve to test the
combinators and the index, which know no language."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any, Literal

from pelton.kernel.expressions.base import JSON
from pelton.kernel.expressions.javascript.equality import index_key
from pelton.kernel.matching.filters import Equality, Path, Prefix, Test, Trace, wildcard

Operator = Literal["=", "!=", "<", "<=", ">", ">="]

_ORDER: dict[str, Callable[[Any, Any], Any]] = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


class Compare(Test):
    """A value in the payload against a constant, without conversions: numbers with numbers, texts with texts; values of
    different kinds are unequal and have no order. A value that is missing is None."""

    __slots__ = ()

    def __init__(self, path: Path, compare: Operator, constant: JSON, *, text: str = "", position: int = -1) -> None:
        equality = Equality(path, index_key(constant)) if compare == "=" else None
        super().__init__(
            text or f"{dotted(path)} {compare} {constant!r}",
            lambda payload: at_path(payload, path),
            _comparison(compare, constant),
            equality=equality,
            position=position,
        )


def _comparison(compare: Operator, constant: JSON) -> Callable[[JSON], bool]:
    if compare == "=":
        return lambda value: same(value, constant)
    if compare == "!=":
        return lambda value: not same(value, constant)
    order = _ORDER[compare]
    if isinstance(constant, str):
        return lambda value: isinstance(value, str) and bool(order(value, constant))
    if isinstance(constant, (int, float)) and not isinstance(constant, bool):
        return lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and bool(order(value, constant))
    return lambda value: False


class Exists(Test):
    """Whether the payload has a member, be it null."""

    __slots__ = ()

    def __init__(self, path: Path, *, text: str = "", position: int = -1) -> None:
        super().__init__(
            text or f"exists {dotted(path)}",
            lambda payload: at_path(payload, path, ABSENT),
            lambda value: value is not ABSENT,
            position=position,
        )

    def traced(self, payload: JSON, context: Any, trace: list[Trace]) -> bool:
        value = self._get(payload)
        trace.append(Trace(self._text, None if value is ABSENT else value, value is not ABSENT, self._position))
        return value is not ABSENT


class Absent:
    __slots__ = ()


ABSENT = Absent()


class Matches(Test):
    """A text in the payload against a pattern with wildcards (see `wildcard`); what is no text does not match."""

    __slots__ = ()

    def __init__(self, path: Path, pattern: str, *, fold: bool = False, text: str = "", position: int = -1) -> None:
        match = wildcard(pattern, fold=fold)
        plain = pattern.casefold() if fold else pattern
        start = re.split(r"[*?]", plain, maxsplit=1)[0]
        where = tuple(step.casefold() if fold and isinstance(step, str) else step for step in path)
        super().__init__(
            text or f"{dotted(path)} matches {pattern!r}",
            lambda payload: at_path(payload, path),
            lambda value: isinstance(value, str) and match(value),
            equality=Equality(where, index_key(plain), fold) if start == plain else None,
            prefix=Prefix(where, start, fold) if start != plain else None,
            position=position,
        )


def at_path(payload: JSON, path: Path, default: Any = None) -> Any:
    """The value at a path of plain members."""
    for step in path:
        if isinstance(step, int):
            if not isinstance(payload, list) or not -len(payload) <= step < len(payload):
                return default
            payload = payload[step]
        elif isinstance(payload, dict) and step in payload:
            payload = payload[step]
        else:
            return default
    return payload


def same(left: JSON, right: JSON) -> bool:
    """Equality without conversions: True is not 1, 1.0 is 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)


def dotted(path: Path) -> str:
    return ".".join(str(step) for step in path)
