"""Correlation points in memory: the steps that wait for a (namespace, name, key), and the events held there.

An event and the wait for it meet on a separate row, which is in the write set of both, like a run's head. A point is to
that row what a cache entry is to a run: the store's state plus every batch that is not acknowledged yet. Requests that touch a
point in one batch join one group; a point touched by a lost group is stale, and is read again when its pins are gone.

The waiters are a superset: a wait that ends in another way closes its row without updating this point. So each waiter is asked,
and one that refuses is skipped, under its run's revision. What is held is exact, since a held row is released by exactly one
request.

Cost: three small reads for a point that is not known; at most `KEPT` unpinned ones stay.
"""

from __future__ import annotations

from collections import OrderedDict

from pelton.errors import Code, PeltonError
from pelton.runtime.cache.shared import Shared
from pelton.store.port import Store
from pelton.store.rows import HeldRow, StickyRow, WaitKeyRow

WAITERS = 200  # more than these are served by a durable job
HELD = 100  # the oldest of what is held: more than any one wait can look at
KEPT = 4_096
KEY_COUNT, KEY_BYTES = 1_000, 16 << 20  # held under one key
NS_COUNT, NS_BYTES = 100_000, 256 << 20  # held under all keys of a namespace
STICKY_COUNT, STICKY_BYTES = 100_000, 256 << 20  # sticky events of a namespace
USAGE_AGE = 5_000  # milliseconds that a namespace's figures are used before the store is asked again

PointName = tuple[str, str, str]


class Usage:
    """How much a namespace holds under keys: the store's figures, and what was added here since."""

    __slots__ = ("at", "count", "size")

    def __init__(self, count: int, size: int, at: int) -> None:
        self.count = count
        self.size = size
        self.at = at


class CorrelationPoint(Shared):
    __slots__ = ("count", "held", "more_held", "more_waits", "name", "revision", "size", "sticky", "waits")

    def __init__(self, name: PointName) -> None:
        super().__init__(busy=True)  # it is read at once
        self.name = name
        self.revision = 0
        self.waits: dict[tuple[int, int], WaitKeyRow] = {}  # who waits longest first
        self.more_waits = False  # the store has more than these
        self.held: dict[int, HeldRow] = {}  # oldest first
        self.more_held = False
        self.sticky: StickyRow | None = None  # it stays for whoever waits
        self.count = 0  # rows held, those in the store only included
        self.size = 0

    def open(self, row: WaitKeyRow) -> None:
        """Waits beyond the first so many stay in the store."""
        last = next(reversed(self.waits.values()), None)
        if last is not None and in_line(row) < in_line(last):  # it has its place from before
            self.waits[row.run, row.n] = row
            self.waits = {(each.run, each.n): each for each in sorted(self.waits.values(), key=in_line)}
            return
        self.more_waits = self.more_waits or len(self.waits) >= WAITERS
        if not self.more_waits:
            self.waits[row.run, row.n] = row

    def close(self, run: int, n: int) -> None:
        self.waits.pop((run, n), None)

    def keep(self, row: HeldRow, size: int) -> None:
        self.count += 1
        self.size += size
        if not self.more_held:
            self.held[row.id] = row

    def release(self, number: int) -> bool:
        """False if it is not held here."""
        if self.held.pop(number, None) is None:
            return False
        self.size -= self.size // max(self.count, 1)
        self.count -= 1
        return True

    @property
    def dry(self) -> bool:
        """Whether nothing of a kind is left here, but more of it is in the store."""
        return (self.more_waits and not self.waits) or (self.more_held and not self.held)


def in_line(row: WaitKeyRow) -> tuple[int, int, int]:
    return row.opened, row.run, row.n


class CorrelationCache:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: OrderedDict[PointName, CorrelationPoint] = OrderedDict()
        self._usage: dict[str, Usage] = {}
        self._sticky: dict[str, Usage] = {}

    def __len__(self) -> int:
        return len(self._known)

    def get(self, name: PointName) -> CorrelationPoint | None:
        point = self._known.get(name)
        if point is not None:
            self._known.move_to_end(name)
        return point

    def begin(self, name: PointName) -> CorrelationPoint | None:
        """A new point to be read; None if it is known, or is being read."""
        if name in self._known:
            return None
        point = self._known[name] = CorrelationPoint(name)
        return point

    async def read(self, point: CorrelationPoint) -> None:
        """Raises what the store raises; the point is then still unknown."""
        store, name = self._store, point.name
        try:
            point.revision = await store.rendezvous(*name)
            if point.revision:
                waits = await store.waiting(*name, WAITERS + 1)
                held = await store.held(*name, HELD + 1)
                point.more_waits, point.more_held = len(waits) > WAITERS, len(held) > HELD
                point.waits = {(row.run, row.n): row for row in waits}
                point.held = {row.id: row for row in held}
                point.sticky = await store.sticky(*name)
                point.count, point.size = await store.held_size(*name) if held else (0, 0)
            usage = self._usage.get(name[0])
            if usage is None or store.now() - usage.at > USAGE_AGE:
                self._usage[name[0]] = Usage(*await store.held_size(name[0]), store.now())
        except BaseException:
            self.drop(point)
            raise
        finally:
            point.busy = False
        for old in list(self._known.values())[: max(0, len(self._known) - KEPT)]:
            if not (old.pins or old.busy or old.waiting):
                self.drop(old)

    def drop(self, point: CorrelationPoint) -> None:
        if self._known.get(point.name) is point:
            del self._known[point.name]

    def settle(self, point: CorrelationPoint) -> None:
        """Called when no batch holds the point any more."""
        if point.stale or point.dry:
            self.drop(point)

    def check_room(self, point: CorrelationPoint, pending: int, size: int) -> None:
        """Checks that one more may be held there, besides `pending` rows of the same unit of work. Raises PeltonError "busy"."""
        ns, name, key = point.name
        if point.count + pending >= KEY_COUNT or point.size + size > KEY_BYTES:
            what = f"{point.count + pending} events ({point.size} bytes) are already held for {name!r} with key {key!r}"
            raise PeltonError(Code.BUSY, f"{what}; at most {KEY_COUNT} and {KEY_BYTES} bytes may be held for one key", "key")
        usage = self._usage.get(ns)
        if usage is not None and (usage.count + pending >= NS_COUNT or usage.size + size > NS_BYTES):
            what = f"namespace {ns!r} holds {usage.count + pending} events ({usage.size} bytes) that no step has taken"
            raise PeltonError(Code.BUSY, f"{what}; at most {NS_COUNT} and {NS_BYTES} bytes may be held", "key")

    def knows_sticky(self, ns: str) -> bool:
        """Whether it is known how many sticky events there are; else `count_sticky` has to be called."""
        usage = self._sticky.get(ns)
        return usage is not None and self._store.now() - usage.at <= USAGE_AGE

    async def count_sticky(self, ns: str) -> None:
        self._sticky[ns] = Usage(*await self._store.sticky_size(ns), self._store.now())

    def check_sticky(self, ns: str, pending: int, size: int) -> None:
        """Checks that one more sticky event may stay, besides `pending` of the same unit of work. Raises PeltonError "busy"."""
        usage = self._sticky[ns]
        if usage.count + pending >= STICKY_COUNT or usage.size + size > STICKY_BYTES:
            what = f"namespace {ns!r} has {usage.count + pending} sticky events ({usage.size} bytes)"
            limit = f"at most {STICKY_COUNT} and {STICKY_BYTES} bytes may stay; remove some, or give them a time to live"
            raise PeltonError(Code.BUSY, f"{what}; {limit}", "key")

    def stays(self, ns: str, count: int, size: int) -> None:
        usage = self._sticky.get(ns)
        if usage is not None:
            usage.count += count
            usage.size += size

    def used(self, ns: str, count: int, size: int) -> None:
        usage = self._usage.get(ns)
        if usage is not None:
            usage.count += count
            usage.size += size
