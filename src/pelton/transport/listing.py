"""Sorting the rows of a list for a response."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

Row = dict[str, Any]


class SortOrder(NamedTuple):
    """`read`: the value of a row."""

    read: Callable[[Any], Any]
    descending: bool


def sort_rows(rows: Iterable[Row], orders: Sequence[SortOrder]) -> list[Row]:
    """Sorts by several keys, the most significant first. Numbers come before strings, and strings before booleans; case is
    ignored. Rows without a value come last in either direction; equal rows keep their order."""
    found = list(rows)
    for order in reversed(orders):
        keyed = [(_key(order.read(row)), row) for row in found]
        present: list[tuple[Any, Row]] = [each for each in keyed if each[0] is not None]
        present.sort(key=_first, reverse=order.descending)
        found = [row for _, row in present] + [row for key, row in keyed if key is None]
    return found


def _first(pair: tuple[Any, Row]) -> Any:
    return pair[0]


def _key(value: Any) -> tuple[int, Any] | None:
    if isinstance(value, bool):
        return (2, value)
    if isinstance(value, int | float):
        return (0, value)
    if isinstance(value, str):
        return (1, value.casefold())
    return None
