"""Tables in memory: rows by key, ordered indexes, and a journal that reverts a lost group's changes.

Rows are never changed in place: a change stores another row, so that the journal can restore the previous one.

Cost: an index is a sorted list. Finding a position is a binary search, and inserting moves what comes after: fast up to a few
hundred thousand rows.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Generic, TypeVar

Entry = tuple[Any, ...]
K = TypeVar("K", bound=Hashable)
R = TypeVar("R")

PRIMARY = "key"  # the index of a table's keys themselves


class After:
    """In place of a value in an entry: sorts after every value that starts with `start`; by default after every value."""

    __slots__ = ("start",)

    def __init__(self, start: str | None = None) -> None:
        self.start = start

    def __lt__(self, other: Any) -> bool:
        return self.start is not None and self.start < other and not other.startswith(self.start)

    def __gt__(self, other: Any) -> bool:
        return not self < other


LAST = After()


class Journal:
    """The previous row for each change of the group being applied."""

    def __init__(self) -> None:
        self._changes: list[tuple[Table[Any, Any], Any, Any]] = []

    def note(self, table: Table[Any, Any], key: Any, before: Any) -> None:
        self._changes.append((table, key, before))

    def keep(self) -> int:
        """Keeps the changes. Returns how many rows they touched."""
        count = len(self._changes)
        self._changes.clear()
        return count

    def undo(self) -> None:
        for table, key, before in reversed(self._changes):
            table.replace(key, before)
        self._changes.clear()


class Table(Generic[K, R]):
    """`indexes`: a row's entry in each, None = not in it. Entries need not be unique. With `ordered` the keys, which are then
    tuples, form one more index, PRIMARY."""

    def __init__(self, journal: Journal, ordered: bool = False, **indexes: Callable[[K, R], Entry | None]) -> None:
        self.rows: dict[K, R] = {}
        self._journal = journal
        if ordered:
            indexes[PRIMARY] = _itself
        self._indexes: dict[str, tuple[Callable[[K, R], Entry | None], list[tuple[Entry, K]]]] = {
            name: (entry, []) for name, entry in indexes.items()
        }

    def get(self, key: K) -> R | None:
        return self.rows.get(key)

    def put(self, key: K, row: R) -> None:
        """Raises OverflowError or UnicodeEncodeError for a key that a database would refuse."""
        storable(key)
        for entry, _ in self._indexes.values():
            storable(entry(key, row))
        self._journal.note(self, key, self.rows.get(key))
        self.replace(key, row)

    def drop(self, key: K) -> bool:
        """Removes a row; returns whether there was one."""
        before = self.rows.get(key)
        if before is None:
            return False
        self._journal.note(self, key, before)
        self.replace(key, None)
        return True

    def replace(self, key: K, row: R | None) -> None:
        """Replaces a row without recording it in the journal. None: removes it."""
        before = self.rows.pop(key, None)
        for entry, listed in self._indexes.values():
            if before is not None and (old := entry(key, before)) is not None:
                del listed[bisect_left(listed, (old, key))]
            if row is not None and (new := entry(key, row)) is not None:
                insort(listed, (new, key))
        if row is not None:
            self.rows[key] = row

    # ---- reading an index, from one entry (included) up to another (left out); either may be only how entries begin

    def keys(self, index: str, low: Entry, high: Entry) -> Iterator[K]:
        listed = self._indexes[index][1]
        return (listed[place][1] for place in range(*_places(listed, low, high)))

    def back(self, index: str, low: Entry, high: Entry) -> Iterator[K]:
        """Keys in descending order."""
        listed = self._indexes[index][1]
        start, end = _places(listed, low, high)
        return (listed[place][1] for place in range(end - 1, start - 1, -1))

    def last(self, index: str, low: Entry, high: Entry) -> K | None:
        return next(self.back(index, low, high), None)

    def count(self, index: str, low: Entry, high: Entry) -> int:
        start, end = _places(self._indexes[index][1], low, high)
        return max(end - start, 0)

    def under(self, index: str, *start: Any) -> Iterator[K]:
        """Keys whose entry starts with this."""
        return self.keys(index, start, (*start, LAST))

    def drop_under(self, index: str, *start: Any) -> None:
        for key in list(self.under(index, *start)):
            self.drop(key)


def storable(value: Any) -> None:
    """Raises what a database would raise for these values in keys and columns."""
    if isinstance(value, tuple):
        for each in value:
            storable(each)
    elif isinstance(value, str):
        if not value.isascii():
            value.encode()
    elif isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise OverflowError(f"{value} has more than 64 bits")


def _places(listed: list[Any], low: Entry, high: Entry) -> tuple[int, int]:
    return bisect_left(listed, (low,)), bisect_left(listed, (high,))


def _itself(key: Any, row: object) -> Entry:
    entry: Entry = key
    return entry
