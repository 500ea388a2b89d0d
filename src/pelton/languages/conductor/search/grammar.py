"""The query language of searches: conditions joined by AND, each a field, a comparison and a value.

`status IN (FAILED, TIMED_OUT) AND startTime>1700000000000 AND workflowType='order_*'`. Quotes and parentheses around values are
left out, `*` in the value of `=` stands for any text. Unknown fields are ignored, as the original does; so a caller may search
with fields that only another server knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from pelton.errors import Code, PeltonError

MOST_CONDITIONS = 100
MOST_VALUES = 5_000
MAX_QUERY = 200_000  # characters

_CONDITION = re.compile(r"\s*([A-Za-z_][\w.]*)\s*(>=|<=|=|>|<|\bNOT\s+IN\b|\bIN\b)\s*(.*)", re.DOTALL | re.IGNORECASE)
_AND = re.compile(r"\s+AND\s+", re.IGNORECASE)
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


class QueryCondition(NamedTuple):
    """`operator`: one of = > < >= <= in."""

    field: str
    operator: str
    values: tuple[str, ...]

    @property
    def value(self) -> str:
        return self.values[0]


class Sort(NamedTuple):
    field: str
    ascending: bool


def parse(query: str) -> list[QueryCondition]:
    """Raises PeltonError "invalid"."""
    if len(query) > MAX_QUERY:
        raise PeltonError(Code.INVALID, f"the query has {len(query)} characters; the limit is {MAX_QUERY}")
    if not query.strip():
        return []
    parts = _split(query)
    if len(parts) > MOST_CONDITIONS:
        raise PeltonError(Code.INVALID, f"the query has {len(parts)} conditions; the limit is {MOST_CONDITIONS}")
    return [_condition(part, query) for part in parts]


def _split(query: str) -> list[str]:
    """At AND, but not at one that is inside quotes."""
    hidden = _QUOTED.sub(lambda found: "x" * len(found[0]), query)
    parts: list[str] = []
    start = 0
    for each in _AND.finditer(hidden):
        parts.append(query[start : each.start()])
        start = each.end()
    return [*parts, query[start:]]


def _condition(text: str, query: str) -> QueryCondition:
    found = _CONDITION.fullmatch(text)
    operator = " ".join(found[2].upper().split()) if found is not None else ""
    if found is None or operator == "NOT IN":
        raise PeltonError(Code.INVALID, f"Incorrectly formatted query string: {query[:1000]}")
    if operator == "IN":
        values = tuple(_bare(value) for value in _list(found[3]))
        if len(values) > MOST_VALUES:
            raise PeltonError(Code.INVALID, f"{found[1]} IN has {len(values)} values; the limit is {MOST_VALUES}")
        return QueryCondition(found[1], "in", values)
    return QueryCondition(found[1], operator, (_bare(found[3]),))


def _list(text: str) -> list[str]:
    """At commas, but not at one that is inside quotes."""
    hidden = _QUOTED.sub(lambda found: "x" * len(found[0]), text)
    cuts = [-1, *(place for place, char in enumerate(hidden) if char == ","), len(text)]
    return [text[cuts[n] + 1 : cuts[n + 1]] for n in range(len(cuts) - 1)]


def _bare(text: str) -> str:
    text = text.strip().strip("()").strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text.replace("'", "").replace('"', "")


def parse_sort(text: str, fields: Collection[str]) -> list[Sort]:
    """`field:ASC` or `field:DESC`, several joined with `|`; fields that are not known are left out."""
    found: list[Sort] = []
    for part in text.split("|")[:10]:
        field, _, order = part.strip().partition(":")
        if field in fields:
            found.append(Sort(field, order.strip().upper() == "ASC"))
    return found


def limits(text: str) -> bool:
    """Whether a text of a search (free text, a value) limits anything."""
    return text.strip() not in ("", "*")


# ---- what conditions say of a value


def number(condition: QueryCondition, value: str) -> int:
    """Raises PeltonError "invalid"."""
    digits = value.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
        raise PeltonError(
            Code.INVALID, f"{condition.field} is compared in epoch milliseconds, a whole number, not {value[:100]!r}", "query"
        )
    return int(value)


def time_bounds(conditions: Sequence[QueryCondition]) -> tuple[int, int]:
    """From when on and before when (0 = no end) a time is that fulfils all; an empty span where none can."""
    low, high = 0, 0
    for each in conditions:
        instants = [number(each, value) for value in each.values]
        first, last = {
            "=": (instants[0], instants[0] + 1),
            ">": (instants[0] + 1, 0),
            ">=": (instants[0], 0),
            "<": (0, instants[0]),
            "<=": (0, instants[0] + 1),
            "in": (min(instants), max(instants) + 1),
        }[each.operator]
        low = max(low, first)
        if each.operator in ("<", "<=", "=", "in"):
            high = min(high, max(last, 1)) if high else max(last, 1)
    return low, high


def time_test(conditions: Sequence[QueryCondition]) -> Callable[[int], bool]:
    low, high = time_bounds(conditions)
    listed = [{number(each, value) for value in each.values} for each in conditions if each.operator == "in"]
    return lambda at: low <= at and (not high or at < high) and all(at in each for each in listed)


def text_test(conditions: Sequence[QueryCondition]) -> Callable[[str], bool]:
    """Whether a text fulfils all."""
    tests = [_text_test(each) for each in conditions]
    return lambda text: all(test(text) for test in tests)


def _text_test(condition: QueryCondition) -> Callable[[str], bool]:
    if condition.operator == "in":
        values = set(condition.values)
        return lambda text: text in values
    value = condition.value
    if condition.operator == "=":
        if "*" not in value:
            return lambda text: text == value
        return wildcard(value)
    compare: dict[str, Callable[[str], bool]] = {
        ">": lambda text: text > value,
        "<": lambda text: text < value,
        ">=": lambda text: text >= value,
        "<=": lambda text: text <= value,
    }
    return compare[condition.operator]


def wildcard(pattern: str) -> Callable[[str], bool]:
    """Without regular expressions, whose time some patterns blow up."""
    first, *middle, last = pattern.split("*")

    def matches(text: str) -> bool:
        if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
            return False
        place, end = len(first), len(text) - len(last)
        for part in middle:
            found = text.find(part, place, end)
            if found < 0:
                return False
            place = found + len(part)
        return True

    return matches


def exact(conditions: Sequence[QueryCondition]) -> list[str] | None:
    """The values that a field may have at most, where conditions list them."""
    listed = [each.values for each in conditions if each.operator == "in" or (each.operator == "=" and "*" not in each.value)]
    if not listed:
        return None
    shortest = min(listed, key=len)
    return list(dict.fromkeys(shortest))
