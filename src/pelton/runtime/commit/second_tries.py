"""Second tries: what becomes of the requests of a group that was lost to another server.

Deciding them again from a fresh read would lose again and again where two servers want the same rows. So this server first locks
the rows that the lost group was about, then drops what it remembers of them, and lets the requests be performed again: what they
read now, nobody else changes until they are done. What they read beyond those rows is checked in the commit as ever; when that
makes them lose once more, they give the lock back and lock those rows too. So each try either succeeds or knows more rows.

Nobody waits for a lock while holding one, but in the order of rows that all servers have in common, and no lock is held for more
than `HOLD` seconds: two servers never wait for each other.

While a lock is waited for, other requests for its runs wait here, in their order, instead of losing too. One that itself holds a
lock does not wait here, but gives it back and takes both.

Where no lock can be had, the requests are performed again without one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, Protocol

import structlog

from pelton.runtime.cache.runs import RunEntry
from pelton.runtime.cache.shared import Shared
from pelton.runtime.commit.group_builder import GroupBuilder
from pelton.runtime.commit.workspace import Workspace
from pelton.store.row_locks import Owner, RowName

log = structlog.get_logger("pelton.runtime")

WAIT = 10.0  # seconds that a lock is waited for
HOLD = 5.0  # seconds after which it is given back, whatever its requests are doing
ROWS = 256  # of one lock
CONTENDED = frozenset({"run", "rendezvous", "work", "record", "open", "step", "past"})  # first words of reasons that a lock helps


class LockedRows:
    """A lock, until the last of its requests is done."""

    __slots__ = ("left", "owner", "rows", "timer")

    def __init__(self, owner: Owner, rows: Collection[RowName], left: int) -> None:
        self.owner = owner
        self.rows = rows
        self.left = left
        self.timer: asyncio.TimerHandle | None = None


class Tried(Protocol):
    """A request, as far as this goes."""

    locked: LockedRows | None


class SecondTries:
    def __init__(
        self,
        workspace: Workspace,
        begin_run: Callable[[int], RunEntry],
        release: Callable[[Shared], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        perform_again: Callable[[Sequence[Any]], None],
    ) -> None:
        """`begin_run(run)` makes an entry that others wait for until `release(entry)`; `perform_again(requests)`: next, in this
        order."""
        self._workspace = workspace
        self._begin_run = begin_run
        self._release = release
        self._spawn = spawn
        self._perform_again = perform_again
        self._awaited: dict[int, RunEntry] = {}  # runs whose locks are waited for

    def begin(self, owner: Owner, rows: set[RowName], requests: Sequence[Tried]) -> bool:
        """Locks the rows, and those that the requests have locked so far, before they are performed again. False if it is too
        much."""
        rows = rows.union(*(request.locked.rows for request in requests if request.locked is not None))
        for request in requests:
            self.done(request)
        if len(rows) > ROWS:
            return False
        peek = self._workspace.cache.peek
        entries = [self._begin_run(row) for row in rows if isinstance(row, int) and peek(row) is None]
        self._awaited.update((entry.key, entry) for entry in entries)
        self._spawn(self._again(owner, rows, requests, entries))
        return True

    def is_awaited(self, shared: Shared) -> bool:
        """Whether it is a run whose lock is waited for."""
        return isinstance(shared, RunEntry) and self._awaited.get(shared.key) is shared

    def done(self, request: Tried) -> None:
        """Called when the request is settled or given up, or needs other rows."""
        locked, request.locked = request.locked, None
        if locked is not None:
            locked.left -= 1
            if not locked.left:
                self._give_back(locked)

    async def _again(self, owner: Owner, rows: set[RowName], requests: Sequence[Tried], entries: Sequence[RunEntry]) -> None:
        got = False
        try:
            got = await self._workspace.store.lock(owner, rows, WAIT)
        except Exception as error:
            log.warning("rows could not be locked for a second try", error=str(error))
        finally:
            for entry in entries:
                entry.busy = False
                if self._awaited.get(entry.key) is entry:  # another lock for the run may have been begun since
                    del self._awaited[entry.key]
                self._workspace.cache.drop(entry)
        if got:
            self._forget(rows)
            locked = LockedRows(owner, rows, len(requests))
            locked.timer = asyncio.get_running_loop().call_later(HOLD, self._give_back, locked)
            for request in requests:
                request.locked = locked
        for entry in entries:
            self._release(entry)
        self._perform_again(requests)

    def _forget(self, rows: Collection[RowName]) -> None:
        """What is remembered of the rows may be older than the lock."""
        correlations = self._workspace.correlations
        for row in rows:
            if isinstance(row, int):
                self._workspace.forget(row)
            elif (point := correlations.get(row)) is not None:
                if point.pins:
                    point.stale = True
                else:
                    correlations.drop(point)

    def _give_back(self, locked: LockedRows) -> None:
        if locked.timer is not None:
            locked.timer.cancel()
            locked.timer = None
            self._spawn(self._workspace.store.unlock(locked.owner, locked.rows))


def rows_of(builder: GroupBuilder) -> set[RowName]:
    """What a group was decided on."""
    return {*builder.deltas, *builder.reads, *builder.points}
