"""Pages of runs out of many lists, in the order of their creation.

Ended runs are listed by (process, status, created) in one index; those that have not ended are few, and are read with their rows.
A page of a long list is sought by time: which instant has so many runs after it is found in a few counts of the index, and only
the runs near that instant are read and put in order. So a page costs about what lies before it in the index (30 ns a run), from
the nearer end, however many lists it comes from.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from pelton.kernel.model.state import Run, RunStatus
from pelton.store.run_query import RunQuery
from pelton.store.salvage import RunColumns, run_from
from pelton.store.sqlite.reader import TOP, Reader
from pelton.store.sqlite.search.totals import List, Totals

AT_ONCE = 2_000  # runs that are read and put in order at once
TAIL = 20_000  # of a long list, how many of the newest are counted anew each time

RunPlace = tuple[int, int]  # when a run was created, and its key


class RunFinder:
    def __init__(self, reader: Reader, lines: dict[tuple[str, str], int]) -> None:
        self._reader = reader
        self._lines = lines
        self.totals = Totals(reader)

    def processes(self, ns: str) -> list[str]:
        return sorted(name for space, name in self._lines if space == ns)

    def find(self, query: RunQuery, offset: int, limit: int) -> tuple[int, list[Run]]:
        """How many there are, and those at the positions from `offset` on."""
        lists = _Lists(self._reader, self._lines, self.totals, query)
        start, end = offset, min(offset + limit, lists.total)
        if start >= end:
            return lists.total, []
        if query.ascending:
            start, end = lists.total - end, lists.total - start
        places = lists.cut(start, end)
        if query.ascending:
            places.reverse()
        heads = [(key, self._reader.value("head", key)) for _, key in places]
        return lists.total, [run_from(key, head, self._columns) for key, head in heads if head is not None]

    def _columns(self, run: int) -> RunColumns:
        return RunColumns(*self._reader.one("run_columns", run))


class _Lists:
    """The lists of one question. Positions count from the newest run."""

    def __init__(self, reader: Reader, lines: dict[tuple[str, str], int], totals: Totals, query: RunQuery) -> None:
        self._reader = reader
        self._totals = totals
        self._since, self._until = query.since, query.until
        if query.processes is None:
            numbers = [number for (ns, _), number in lines.items() if ns == query.ns]
        else:
            numbers = [lines[query.ns, name] for name in dict.fromkeys(query.processes) if (query.ns, name) in lines]
        wanted = query.wanted()
        ended = [status for status in wanted if RunStatus(status).ended]
        self._live = self._live_places(numbers, [status for status in wanted if not RunStatus(status).ended])
        lengths = {(line, status): self._length((line, status)) for line in numbers for status in ended}
        self._lists = [which for which, length in lengths.items() if length]
        self._lengths = [length for length in lengths.values() if length]
        self.total = len(self._live) + sum(self._lengths)

    def _length(self, which: List) -> int:
        if self._since or self._until:
            return self._totals.between(which, self._since, self._until)
        return self._totals.count(which, TAIL)

    def _live_places(self, numbers: Sequence[int], statuses: Sequence[int]) -> list[RunPlace]:
        """Those that have not ended, oldest first."""
        if not statuses:
            return []
        mask = sum(1 << status for status in statuses)
        until = self._until or TOP
        found: list[RunPlace] = [
            place for line in numbers for place in self._reader.all("found_live", line, self._since, until, mask)
        ]
        found.sort()
        return found

    def cut(self, start: int, end: int) -> list[RunPlace]:
        """The runs from one position up to another, newest first."""
        if self.total <= AT_ONCE:
            return self._between(0, 0)[start:end]
        above, before = self._instant(start)[1]
        below = self._instant(end)[0][0]
        return self._between(below, above)[start - before : end - before]

    def _between(self, since: int, until: int) -> list[RunPlace]:
        low, high = max(since, self._since), min(until or TOP, self._until or TOP)
        found: list[RunPlace] = [place for which in self._lists for place in self._reader.all("found_between", *which, low, high)]
        found += self._live[bisect_left(self._live, (low, -1)) : bisect_left(self._live, (high, -1))]
        found.sort(reverse=True)
        return found

    # ---- seeking a position

    def _instant(self, position: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Two instants, each with how many runs there are from it on, that have the position between them: at most AT_ONCE runs,
        or a millisecond, apart.

        The next instant to be tried is that of a run of the longest list, at the place where the position should be if the lists
        are mixed evenly; that gaps in time do not matter is why it is not simply a share of the time."""
        oldest, newest = self._ends()
        low, high = oldest, newest + 1
        below, above = [*self._lengths, len(self._live)], [0] * (len(self._lists) + 1)
        tries = 0
        while (between := sum(below) - sum(above)) > AT_ONCE and high - low > 1:
            aim = position + (AT_ONCE // 3 if tries % 2 else -AT_ONCE // 3)  # a little on this side of it, then on the other
            share = min(max((aim - sum(above)) / between, 0.0), 1.0) if tries % 3 < 2 else 0.5
            tries += 1  # where they are not mixed evenly, halving finds it too
            widest = max(range(len(below)), key=lambda place: below[place] - above[place])
            width = below[widest] - above[widest]
            found = self._at(widest, low, high, min(max(round(share * width), 0), width - 1), width)
            middle = min(max(found, low + 1), high - 1)
            if share < 0.5:
                there = [number + more for number, more in zip(above, self._counts(middle, high), strict=True)]
            else:
                there = [number - less for number, less in zip(below, self._counts(low, middle), strict=True)]
            if sum(there) >= position:
                low, below = middle, there
            else:
                high, above = middle, there
        return (low, sum(below)), (high, sum(above))

    def _counts(self, since: int, until: int) -> list[int]:
        """By list, those that have not ended last."""
        live = bisect_left(self._live, (until, -1)) - bisect_left(self._live, (since, -1))
        return [*(self._totals.between(which, since, until) for which in self._lists), live]

    def _at(self, place: int, since: int, until: int, offset: int, length: int) -> int:
        """When the run at a position of one list was created, among the `length` of a span of time."""
        if place == len(self._lists):
            return self._live[bisect_left(self._live, (until, -1)) - 1 - offset][0]
        if offset <= length // 2:
            found: int = self._reader.value("found_from_newest", *self._lists[place], since, until, offset)
        else:
            found = self._reader.value("found_from_oldest", *self._lists[place], since, until, length - 1 - offset)
        return found

    def _ends(self) -> tuple[int, int]:
        """When the oldest and the newest were created."""
        until = self._until or TOP
        found = [self._reader.one("found_ends", *which, self._since, until) for which in self._lists]
        found += [(place[0], place[0]) for place in (self._live[:1] + self._live[-1:])]
        return min(oldest for oldest, _ in found), max(newest for _, newest in found)
