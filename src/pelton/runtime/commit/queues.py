"""Looks into queues for the kernel: who is to be taken next, and who waits to take (see kernel.machine.tokens.queues).

Both are waits at correlation points, which a look makes part of the group: of two who take from one queue at the same time, one
loses its group and looks again. What is found out about a run, that it is to be had or not, rests on that run's revision.

Cost: a look at one run where none is halted, however long the queue is. At most `WAITERS` halted ones are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from pelton.kernel.machine.tokens.queues import TAKERS, offer_of, rests
from pelton.kernel.model.process import Process
from pelton.kernel.model.reads import Missing, RoomKey, TakerKey, WaiterKey
from pelton.kernel.model.transition import Transition
from pelton.runtime.cache.correlations import WAITERS, CorrelationPoint, PointName
from pelton.runtime.cache.reads import Answers, CachedReads
from pelton.runtime.cache.runs import RunEntry
from pelton.runtime.commit.names import is_decided
from pelton.runtime.commit.suspend import Suspend
from pelton.runtime.commit.workspace import Workspace

MOST_TAKEN = 16  # runs that one unit of work takes from queues, or reaches by name: each may send signals of its own
PAGE = 16  # of the last in a long queue

InLine = tuple[int, int]  # (run, step)


class Changed(Protocol):
    @property
    def transition(self) -> Transition: ...


class Unit(Protocol):
    """A unit of work, as a look needs it."""

    reader: CachedReads
    answers: Answers
    workspace: Workspace
    now: int

    @property
    def changes(self) -> Sequence[Changed]: ...
    @property
    def namespace(self) -> str: ...
    def point(self, name: PointName) -> CorrelationPoint: ...
    def entry(self, key: int) -> RunEntry | None: ...
    def process_of(self, entry: RunEntry) -> Process: ...
    def opened_at(self, point: CorrelationPoint) -> list[InLine]: ...


def answer(unit: Unit, key: WaiterKey | TakerKey | RoomKey) -> Any:
    if isinstance(key, RoomKey):
        return key.taken + _taken(unit) < MOST_TAKEN
    ns = unit.namespace
    if isinstance(key, TakerKey):
        point = unit.point((ns, TAKERS + key.name, key.key))
        found = (place for place in _line(unit, point, False) if place != key.but and _look(unit, point, place, key) is True)
        return next(found, None)
    point = unit.point((ns, key.name, key.key))
    for place in _line(unit, point, key.last):
        if place not in key.but and (waiter := _look(unit, point, place, key)) is not None:
            return waiter
    return None


def _taken(unit: Unit) -> int:
    return sum(is_decided(effect) for change in unit.changes for effect in change.transition.effects)


def _look(unit: Unit, point: CorrelationPoint, place: InLine, key: WaiterKey | TakerKey) -> Any:
    """What a run offers at a place, or whether it rests there. None: nothing, or not."""
    run, n = place
    entry = unit.entry(run)
    if entry is None or entry.head is None:
        unit.reader.reads[run] = -1
        point.close(run, n)
        return None
    process = unit.process_of(entry)
    unit.reader.reads[run] = entry.head.rev
    reads = CachedReads.of_one(unit.workspace.codec, unit.workspace.keys).of(entry, unit.answers)
    try:
        if isinstance(key, TakerKey):
            return rests(process, reads, n, key.name, key.key, unit.now) or None
        return offer_of(process, reads, n, key.name, key.key, unit.now)
    except Missing as missing:
        raise Suspend(entry, missing.keys) from None


def _line(unit: Unit, point: CorrelationPoint, last: bool) -> Iterator[InLine]:
    """Who waits there, in the order in which they are to be had; some may wait no more."""
    opened = unit.opened_at(point)
    if not point.more_waits:
        places = list(dict.fromkeys([*point.waits, *opened]))
        yield from reversed(places) if last else places
        return
    seen: set[InLine] = set()
    if last:
        yield from reversed(opened)
        seen.update(opened)
    else:
        yield from point.waits
        seen.update(point.waits)
    for limit in (PAGE, WAITERS) if last else (WAITERS,):
        page = page_of(unit, point, limit, last)
        yield from (place for place in page if place not in seen)
        seen.update(page)


def page_of(unit: Unit, point: CorrelationPoint, limit: int, last: bool = False) -> list[InLine]:
    """Who waits where more do than are in memory, according to the store at the point's current revision."""
    if point.pins:
        raise Suspend(wait=point)
    name = ("line", *point.name, limit, last)
    known: tuple[int, list[InLine]] | None = unit.answers.outside.get(name)
    if known is None or known[0] != point.revision:
        answers, workspace = unit.answers, unit.workspace

        async def read() -> None:
            revision = await workspace.store.rendezvous(*point.name)
            rows = await workspace.store.waiting(*point.name, limit, last)
            answers.outside[name] = revision, [(row.run, row.n) for row in rows]
            if revision != point.revision and not point.pins:
                workspace.correlations.drop(point)  # somebody else has moved it

        raise Suspend(fetch=read)
    return known[1]
