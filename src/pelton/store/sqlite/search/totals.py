"""How many ended runs there are in each list (a process and a status).

SQLite counts about 25 million rows of an index a second, so a list of a million takes 40 ms. The long, old part of a list hardly
ever changes: its length is remembered, and only the newest part is counted anew. Whatever may change an old part (a run of it
that goes on or ends, one that is removed, a sweep) makes it forgotten once it is committed, so a count is always exact.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pelton.store.group import Committed, Group
from pelton.store.sqlite.reader import Reader

List = tuple[int, int]  # line, status
MOST = 1_000  # lists that are remembered


class _Old(NamedTuple):
    until: int  # created before
    number: int


class Totals:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._old: dict[List, _Old] = {}
        self._newest = 0  # no list is remembered beyond this instant

    def count(self, which: List, tail: int) -> int:
        """How many runs there are in a list. `tail`: how many of the newest are counted anew each time."""
        old = self._old.get(which)
        if old is not None:
            return old.number + self.between(which, old.until, 0)
        total = self.between(which, 0, 0)
        cut: int | None = self._reader.value("found_at", *which, tail) if total > tail else None
        if cut is not None and len(self._old) < MOST:
            self._old[which] = _Old(cut, total - self.between(which, cut, 0))
            self._newest = max(self._newest, cut)
        return total

    def between(self, which: List, since: int, until: int) -> int:
        """How many of a list were created from `since` on and before `until` (0 = no end)."""
        found: int = (
            self._reader.value("found_count_until", *which, since, until)
            if until
            else (self._reader.value("found_count", *which, since))
        )
        return found

    def committed(self, groups: Iterable[Group], outcomes: Iterable[Committed]) -> None:
        """To be told of every commit."""
        if not self._old:
            return
        for group, outcome in zip(groups, outcomes, strict=True):
            if outcome.ok and (
                group.has("remove_runs") or (group.has("runs") and any(write.run.created < self._newest for write in group.runs))
            ):
                self.forget()
                return

    def forget(self) -> None:
        self._old.clear()
        self._newest = 0
