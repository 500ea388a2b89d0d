"""Things that become due at a given time. Those due soon are kept here and fired on time; the others stay in the store until a
scan.

Invariants:
* Everything in the store that is due before `_edge` is in memory, or is being fired. An entry with a later due time is left
  to the scan that moves the edge, since it is in the store by then.
* An entry is (group, arm): a step and one of its timers. Putting it again replaces it; dropping it invalidates older heap
  entries. Invalid entries are cleaned out when they outnumber the valid ones.
* At most `flight` firings are in progress: a server that starts with a million overdue timers processes them at the committer's
  speed.
* A firing that fails is repeated later. Firing twice is harmless by contract (epochs).

A scan reads the store while commits continue, so entries put, dropped or fired in the meantime (`_touched`) are newer than what
it read.

Cost: O(log n) per timer; a scan every half horizon; at most `most` entries in memory.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from pelton.runtime.services import NEVER, Backoff, Clock, Handle, OwnedTasks, final, log, outcome, say

P = TypeVar("P")
Group = tuple[int, int]

HORIZON = 60_000  # milliseconds
FLIGHT = 512
MOST = 100_000
PAGE = 10_000
FULL_SCAN = 50  # milliseconds between scans while the store has more than a page
IDLE_SCAN = 1_000  # milliseconds between scans that brought nothing new


class Due(NamedTuple, Generic[P]):
    group: Group
    arm: str
    due: int
    what: P


class _Entry(Generic[P]):
    __slots__ = ("arm", "due", "failures", "group", "what")

    def __init__(self, group: Group, arm: str, due: int, what: P, failures: int = 0) -> None:
        self.group = group
        self.arm = arm
        self.due = due
        self.what = what
        self.failures = failures


class DueQueue(Generic[P]):
    """`scan(before, limit)`: the entries in the store that are due before a time, soonest first. `fire(what)` starts a due entry
    and returns a future of its completion."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        scan: Callable[[int, int], Awaitable[Sequence[Due[P]]]],
        fire: Callable[[P], asyncio.Future[Any]],
        *,
        horizon: int = HORIZON,
        most: int = MOST,
        flight: int = FLIGHT,
        page: int = PAGE,
    ) -> None:
        self.fired = 0
        self.failed = 0
        self.scans = 0
        self._name = name
        self._clock = clock
        self._scan = scan
        self._fire = fire
        self._horizon = horizon
        self._flight = flight
        # A page of nothing but what is being fired would hide the rest; one that does not fit would be dropped again.
        self._page = max(min(page, most // 2), flight + 1)
        self._most = max(most, 2 * self._page)
        self._tasks = OwnedTasks(name)
        self._entries: dict[Group, dict[str, _Entry[P]]] = {}
        self._heap: list[tuple[int, int, _Entry[P]]] = []
        self._order = 0
        self._count = 0
        self._edge = 0
        self._ceiling = NEVER  # while a scan is under way: what it may not raise the edge above
        self._full = False
        self._firing: dict[tuple[Group, str], int] = {}
        self._touched: set[Hashable] | None = None
        self._alarm: Handle | None = None
        self._alarm_at = NEVER
        self._scan_at = 0
        self._running = False
        self._backoff = Backoff(1_000, horizon)

    def __len__(self) -> int:
        return self._count

    async def start(self) -> None:
        """Returns after the first scan: overdue entries are being fired."""
        self._running = True
        await self._look()
        self._set_alarm()

    async def stop(self) -> None:
        self._running = False
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        await self._tasks.stop()

    def put(self, group: Group, arm: str, due: int, what: P) -> None:
        if self._touched is not None:
            self._touched.add((group, arm))
        self._drop(group, arm)
        if due < self._edge or (self._touched is not None and due < self._clock.now() + self._horizon):
            self._add(_Entry(group, arm, due, what))
            self._set_alarm()

    def drop(self, group: Group, arm: str = "") -> None:
        """Drops entries; `arm` "" = all of the group."""
        if self._touched is not None:
            self._touched.add((group, arm) if arm else group)
        self._drop(group, arm)

    def stats(self) -> dict[str, int]:
        return {
            "kept": self._count,
            "firing": len(self._firing),
            "fired": self.fired,
            "failed": self.failed,
            "scans": self.scans,
        }

    def _add(self, entry: _Entry[P]) -> None:
        self._entries.setdefault(entry.group, {})[entry.arm] = entry
        self._count += 1
        self._push(entry)
        if self._count > self._most:
            self._shrink()

    def _push(self, entry: _Entry[P]) -> None:
        self._order += 1
        heapq.heappush(self._heap, (entry.due, self._order, entry))

    def _drop(self, group: Group, arm: str) -> None:
        arms = self._entries.get(group)
        if arms is None:
            return
        gone = len(arms)
        if arm:
            gone = 1 if arms.pop(arm, None) is not None else 0
        else:
            arms.clear()
        self._count -= gone
        if not arms:
            del self._entries[group]
        if len(self._heap) > 2 * self._count + 64:
            self._heap = [item for item in self._heap if self._live(item[2])]
            heapq.heapify(self._heap)

    def _live(self, entry: _Entry[P]) -> bool:
        arms = self._entries.get(entry.group)
        return arms is not None and arms.get(entry.arm) is entry

    def _shrink(self) -> None:
        """Keeps the half that is due sooner, and moves the edge back, since the store has the rest."""
        live = sorted(item for item in self._heap if self._live(item[2]))
        keep = live[: max(self._most // 2, 1)]
        self._ceiling = live[len(keep)][0]
        self._edge = min(self._edge, self._ceiling)
        self._full = True
        self._scan_at = min(self._scan_at, self._clock.now() + FULL_SCAN)
        self._entries = {}
        self._heap = keep
        self._count = len(keep)
        for _, _, entry in keep:
            self._entries.setdefault(entry.group, {})[entry.arm] = entry

    # ---- firing

    def _set_alarm(self) -> None:
        if not self._running:
            return
        while self._heap and not self._live(self._heap[0][2]):
            heapq.heappop(self._heap)
        when = self._scan_at if self._touched is None else NEVER
        if self._heap and len(self._firing) < self._flight:
            when = min(when, self._heap[0][0])
        if self._alarm is not None:
            if self._alarm_at == when:
                return
            self._alarm.cancel()
            self._alarm = None
        self._alarm_at = when
        if when != NEVER:
            self._alarm = self._clock.call_at(when, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._alarm_at = NEVER
        if not self._running:
            return
        now = self._clock.now()
        self._fire_due(now)
        if self._touched is None and now >= self._scan_at:
            if self._full and self._count > self._page // 2 and self._edge > now + 2 * FULL_SCAN:
                self._scan_at = now + FULL_SCAN  # enough to do until then
            else:
                self._scan_at = NEVER
                self._tasks.spawn_vital(self._look(), "scan")
        self._set_alarm()

    def _fire_due(self, now: int) -> None:
        while self._heap and len(self._firing) < self._flight:
            due, _, entry = self._heap[0]
            if not self._live(entry):
                heapq.heappop(self._heap)
                continue
            if due > now:
                return
            heapq.heappop(self._heap)
            self._drop(entry.group, entry.arm)
            key = (entry.group, entry.arm)
            if self._touched is not None:
                self._touched.add(key)
            self._firing[key] = self._firing.get(key, 0) + 1
            self.fired += 1
            self._fire(entry.what).add_done_callback(lambda done, entry=entry: self._done(entry, done))  # type: ignore[misc]

    def _done(self, entry: _Entry[P], done: asyncio.Future[Any]) -> None:
        key = (entry.group, entry.arm)
        left = self._firing[key] - 1
        if left:
            self._firing[key] = left
        else:
            del self._firing[key]
        if self._touched is not None:
            self._touched.add(key)
        error = outcome(done)
        if error is not None and not isinstance(error, asyncio.CancelledError):
            self.failed += 1
            entry.failures += 1
            log.warning("due, but not done", due_queue=self._name, step=entry.group, arm=entry.arm, error=say(error))
            if not final(error) and not self._known(entry):
                again = self._clock.now() + self._backoff.delay(entry.failures)
                self._add(_Entry(entry.group, entry.arm, again, entry.what, entry.failures))
        self._set_alarm()

    def _known(self, entry: _Entry[P]) -> bool:
        return entry.arm in self._entries.get(entry.group, ())

    # ---- scanning

    async def _look(self) -> None:
        """Reads the store up to the horizon (or the end of a page) and moves the edge there."""
        before = self._clock.now() + self._horizon
        self._touched = set()
        self._ceiling = NEVER
        try:
            rows = await self._scan(before, self._page)
            full = self._full = len(rows) >= self._page
            new = self._take(rows, self._touched)
            self._edge = min(max(self._edge, rows[-1].due if full else before), self._ceiling)
            self.scans += 1
            self._scan_at = self._clock.now() + (self._soon(new) if self._full else self._horizon // 2)
        except Exception as error:
            self._scan_at = self._clock.now() + IDLE_SCAN
            log.warning("scan failed", due_queue=self._name, error=say(error))
        finally:
            self._touched = None
        self._set_alarm()

    def _soon(self, new: int) -> int:
        """After a full page there is more. If none of it is new or waiting here, it has yet to leave the store."""
        return FULL_SCAN if new or self._count else IDLE_SCAN

    def _take(self, rows: Sequence[Due[P]], touched: set[Hashable]) -> int:
        new = 0
        for row in rows:
            key = (row.group, row.arm)
            if key in touched or row.group in touched or key in self._firing or row.arm in self._entries.get(row.group, ()):
                continue
            self._add(_Entry(row.group, row.arm, row.due, row.what))
            new += 1
        return new
