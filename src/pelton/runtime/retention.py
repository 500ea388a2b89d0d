"""Keeps finished data for as long as it is wanted: once a second each kind is looked at (bookmarks: once an hour), and what is
too old or too much goes.

It goes in small steps, each a write of its own, for which the store allows itself a few milliseconds; between two steps there is
a rest, in which commits go on. What is still going on is never removed.

An event or a run that is not to be kept at all stays for `GRACE` all the same, for those who wait for its end and then read it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from pelton.runtime.ids import first_key
from pelton.runtime.services import Clock, OwnedTasks, log, say, sleep
from pelton.store.retention import KINDS, Keep, Kind, Sweep, Swept, keep_text

INTERVAL = 1_000  # milliseconds between two looks
PAUSE = 10_000  # after the store has failed
STEP = 2_000  # rows of one step, if the store's time allows
REST = 5  # milliseconds between two steps
GRACE = 10_000  # milliseconds
BOOKMARKS = 3_600_000  # milliseconds between two looks at the bookmarks: a look goes through them, and notes the sources in use
BRIEF: frozenset[Kind] = frozenset({"events", "runs"})  # kinds that have this grace


class SweepingStore(Protocol):
    async def sweep(self, sweep: Sweep) -> Swept: ...
    async def due(self, sweep: Sweep) -> int: ...


class Retention:
    """`keep`: by kind; a kind that is missing is kept for ever. `used`: the (namespace, source) pairs of bookmarks in use.
    `forget`: called with the key of each run that is gone."""

    def __init__(
        self,
        store: SweepingStore,
        clock: Clock,
        keep: Mapping[Kind, Keep],
        *,
        used: Callable[[], Iterable[tuple[str, str]]],
        forget: Callable[[int], None],
    ) -> None:
        self.keep = {kind: keep.get(kind, Keep()) for kind in KINDS}
        self._store = store
        self._clock = clock
        self._used = used
        self._forget = forget
        self._removed: dict[str, int] = dict.fromkeys(KINDS, 0)
        self._kept: dict[str, int] = {}
        self._trouble = ""
        self._next: dict[Kind, int] = dict.fromkeys(KINDS, 0)  # when each is looked at again
        self._tasks = OwnedTasks("retention")

    async def start(self) -> None:
        if not all(keep.forever for keep in self.keep.values()):
            self._tasks.keep(self._run(), "sweep")

    async def stop(self) -> None:
        await self._tasks.stop()

    def stats(self) -> dict[str, Any]:
        """`removed` since the start, and `kept` where that is counted, by kind; `keep`: the settings."""
        return {
            "removed": dict(self._removed),
            "kept": dict(self._kept),
            "keep": {kind: keep_text(keep) for kind, keep in self.keep.items()},
            "trouble": self._trouble,
        }

    async def due(self, keep: Mapping[Kind, Keep], most: int) -> list[tuple[Kind, Keep, int]]:
        """What would be removed now if it were kept so, else as it is: by kind, how it is kept and how many rows. Those that are
        too many count where their number is known. No more than `most` are counted."""
        found: list[tuple[Kind, Keep, int]] = []
        for kind in KINDS:
            wanted = keep.get(kind, self.keep[kind])
            count = 0 if wanted.forever else await self._store.due(self._sweep(kind, wanted)._replace(limit=most))
            if wanted.rows is not None and kind in self._kept:
                count = min(most, max(count, self._kept[kind] - wanted.rows))
            found.append((kind, wanted, count))
        return found

    async def _run(self) -> None:
        while True:
            pause = INTERVAL
            try:
                await self.look()
                self._trouble = ""
            except Exception as error:  # old data stays a little longer: nothing else depends on it
                self._trouble, pause = say(error), PAUSE
                log.warning("old data could not be removed", error=say(error))
            await sleep(self._clock, pause)

    async def look(self) -> None:
        """Removes everything that is due now, a step of each kind in turn. While one lags behind, the others are looked at as
        often as ever. Raises StoreFailed."""
        for kind in KINDS:
            if kind != "bookmarks":
                self._next[kind] = 0
        while due := self._due():
            behind = False
            for kind in due:
                swept = await self._store.sweep(self._sweep(kind, self.keep[kind]))
                self._count(kind, swept)
                behind |= swept.more
                pause = 0 if swept.more else BOOKMARKS if kind == "bookmarks" else INTERVAL
                self._next[kind] = self._clock.now() + pause
            if not behind:
                return
            await sleep(self._clock, REST)

    def _due(self) -> list[Kind]:
        now = self._clock.now()
        return [kind for kind, keep in self.keep.items() if not keep.forever and self._next[kind] <= now]

    def _sweep(self, kind: Kind, keep: Keep) -> Sweep:
        now, age, rows = self._clock.now(), keep.age, -1 if keep.rows is None else keep.rows
        if keep.nothing and kind in BRIEF:
            age, rows = GRACE, -1
        before = 0 if age is None else max(0, now - age + (age == 0))
        used = tuple(sorted(self._used())) if kind == "bookmarks" else ()
        return Sweep(kind, now, before, first_key(before), rows, STEP, not self.keep["ids"].nothing, used)

    def _count(self, kind: Kind, swept: Swept) -> None:
        self._removed[kind] += swept.removed
        if swept.kept >= 0:
            self._kept[kind] = swept.kept
        for run in swept.runs:
            self._forget(run)
