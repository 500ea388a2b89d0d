"""The part of one queue that is kept in memory: work that is not handed out, in the order in which it will be.

Invariant: once loaded, every row of the queue up to `mark` (in queue order) whose `due` is before `blind` is here. Everything
beyond is only in the store: the mark advances when a page is read, and at the time `blind` the queue is read again. So the size
is bounded whatever the queue's length, and a row that arrives beyond the mark costs nothing.

Pure, except that callers pass in the time. Cost: O(log size) per row; heap entries of removed rows are skipped when they surface.
"""

from __future__ import annotations

import heapq

from pelton.kernel.model.state import OpenStep
from pelton.runtime.services import NEVER

Key = tuple[int, int]
Rank = tuple[int, int, int, int]  # (-priority, due, run, n)


def rank(row: OpenStep) -> Rank:
    return (-row.priority, row.due, row.run, row.n)


class ReadyWindow:
    __slots__ = ("_far", "_near", "_order", "blind", "complete", "later", "loaded", "mark", "most", "ready")

    def __init__(self, most: int) -> None:
        self.most = max(most, 2)
        self._order = 0  # tells entries of one place apart
        self._clear()

    def forget(self) -> list[Key]:
        """Resets to the state before the first load. Returns what was here."""
        keys = [*self.ready, *self.later]
        self._clear()
        return keys

    def _clear(self) -> None:
        self.ready: dict[Key, OpenStep] = {}
        self.later: dict[Key, OpenStep] = {}
        self._near: list[tuple[Rank, int, OpenStep]] = []
        self._far: list[tuple[int, Rank, int, OpenStep]] = []
        self.loaded = False
        self.complete = False  # nothing lies beyond the mark
        self.mark: Rank | None = None  # None: before the first row, or (complete) after the last
        self.blind = NEVER

    def __len__(self) -> int:
        return len(self.ready) + len(self.later)

    def __contains__(self, key: Key) -> bool:
        return key in self.ready or key in self.later

    def covers(self, row: OpenStep) -> bool:
        """Whether the invariant requires the row to be here."""
        if not self.loaded or row.due >= self.blind:
            return False
        return self.complete or (self.mark is not None and rank(row) <= self.mark)

    def add(self, row: OpenStep, now: int) -> None:
        key = (row.run, row.n)
        self.discard(key)
        if row.due <= now:
            self._enter(key, row)
        else:
            self.later[key] = row
            heapq.heappush(self._far, (row.due, rank(row), self._next(), row))

    def discard(self, key: Key) -> bool:
        found = self.ready.pop(key, None) is not None or self.later.pop(key, None) is not None
        if len(self._near) > 2 * len(self.ready) + 64:
            self._near = [(rank(row), self._next(), row) for row in self.ready.values()]
            heapq.heapify(self._near)
        if len(self._far) > 2 * len(self.later) + 64:
            self._far = [(row.due, rank(row), self._next(), row) for row in self.later.values()]
            heapq.heapify(self._far)
        return found

    def ripen(self, now: int) -> None:
        """Moves rows that have become due to the ready ones."""
        while self._far and (self._far[0][0] <= now or self._void_far()):
            *_, row = heapq.heappop(self._far)
            key = (row.run, row.n)
            if self.later.get(key) is row:
                del self.later[key]
                self._enter(key, row)

    def take(self, now: int) -> OpenStep | None:
        """Removes and returns the first ready row."""
        self.ripen(now)
        while self._near:
            *_, row = heapq.heappop(self._near)
            key = (row.run, row.n)
            if self.ready.get(key) is row:
                del self.ready[key]
                return row
        return None

    def next_due(self) -> int:
        """When to check again: when something here becomes due, or something in the store that is not here."""
        while self._far and self._void_far():
            heapq.heappop(self._far)
        return min(self._far[0][0] if self._far else NEVER, self.blind)

    def advance(self, mark: Rank | None) -> None:
        """Called after a page was added: later rows come after `mark`; None = there are none."""
        self.loaded = True
        self.complete = mark is None
        self.mark = mark

    def shrink(self, now: int) -> list[Key]:
        """Shrinks to `most` rows; returns those removed: first the delayed rows that are due last, then the last rows in
        order."""
        self.ripen(now)
        gone: list[Key] = []
        half = self.most // 2
        if len(self.later) > half:
            dues = sorted(row.due for row in self.later.values())
            self.blind = min(self.blind, dues[half])
            gone += self._remove([row for row in self.later.values() if row.due >= self.blind])
        if len(self) > self.most:
            rows = sorted([*self.ready.values(), *self.later.values()], key=rank)
            last = rank(rows[self.most - 1])
            self.mark = last if self.complete or self.mark is None else min(self.mark, last)
            self.complete = False
            gone += self._remove(rows[self.most :])
        return gone

    def _next(self) -> int:
        self._order += 1
        return self._order

    def _remove(self, rows: list[OpenStep]) -> list[Key]:
        keys = [(row.run, row.n) for row in rows]
        for key in keys:
            self.discard(key)
        return keys

    def _enter(self, key: Key, row: OpenStep) -> None:
        self.ready[key] = row
        heapq.heappush(self._near, (rank(row), self._next(), row))

    def _void_far(self) -> bool:
        row = self._far[0][3]
        return self.later.get((row.run, row.n)) is not row
