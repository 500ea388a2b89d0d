"""Keyed events: an event by (name, key) in a namespace goes to the steps that wait for it, or is held until a wait opens.

The sender and the opener of a wait both have the correlation point's row in their group (see `cache.correlations`), so one
of them sees the other: an event that could be taken and a wait that could take it never both rest. What a waiter's "no" was
decided on, its run, is part of the group's read set.

One event is for one waiter (the one that waits longest, of those that are not halted), or for all who wait now; it is kept for
those of them that are halted. The first `DIRECT` of those get it in the
event's own group, further ones by durable signals of the same commit, and beyond `correlations.WAITERS` all of them by
fan-outs that know each waiter by run and step: each gets it once, wherever the server stops.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import json

from pelton.errors import Code, PeltonError
from pelton.kernel.model.signals import EventArrived
from pelton.kernel.model.transition import Refused
from pelton.runtime.api import CorrelateCommand, Correlated
from pelton.runtime.cache.correlations import CorrelationPoint, PointName
from pelton.runtime.commit.group_builder import GroupBuilder
from pelton.runtime.commit.queues import page_of
from pelton.runtime.commit.requests import CommitRequest
from pelton.runtime.commit.suspend import NextCommit, Suspend
from pelton.runtime.commit.unit_of_work import UnitOfWork
from pelton.runtime.events.fan_out import FanOut, durable_job
from pelton.store.rows import HeldRow, StickyRow

DIRECT = 32
MOST_WAITERS = 100_000
CHUNK = 2_000  # waiters a job: its row is written again after every slice
BODY = 1 << 20  # bytes of JSON
TEXT = 1_024  # characters of a name or key
LONGEST_HOLD = 366 * 86_400_000  # milliseconds
NOT_THERE = frozenset({Code.NO_STEP, Code.ENDED, Code.NOT_FOUND})  # what a waiter says that waits no more, or not for this

_encode = json.Encoder(enc_hook=repr).encode


def size_of(command: CorrelateCommand) -> int:
    """The size of the body in bytes. Raises PeltonError if any part of the command exceeds a limit."""
    for name in ("name", "key"):
        text = getattr(command, name)
        if not text or len(text) > TEXT:
            raise PeltonError(Code.INVALID, f"the event's {name} has {len(text)} characters; it must have 1 to {TEXT}", name)
    if not 0 <= command.hold <= LONGEST_HOLD:
        raise PeltonError(Code.INVALID, f"an event can be held for 0 to {LONGEST_HOLD} milliseconds, not {command.hold}", "hold")
    if not 0 <= command.ttl <= LONGEST_HOLD:
        raise PeltonError(Code.INVALID, f"an event can stay for 0 to {LONGEST_HOLD} milliseconds, not {command.ttl}", "ttl")
    if command.mode == "sticky" and (command.hold or command.thread != -1 or command.position != -1):
        raise PeltonError(Code.INVALID, "an event that stays is for every wait: give it no hold, thread or position", "mode")
    size = len(_encode(command.body))
    if size > BODY:
        raise PeltonError(Code.TOO_LARGE, f"the event's body has {size} bytes of JSON; the limit is {BODY}", "body")
    return size


def correlate(unit: UnitOfWork, ns: str, command: CorrelateCommand, number: int, source: str = "") -> Correlated:
    """Delivers the event to its waiters, within a unit of work. `number`: of the event; `source`: recorded with it while it is
    held. Raises PeltonError, Suspend, NextBatch."""
    size = size_of(command)
    unit.multiple = True
    point = unit.point((ns, command.name, command.key))
    if command.mode == "sticky":
        return stick(unit, point, command, number, source, size)
    correlated = _copies(unit, point, command, number) if command.mode == "all" else _one(unit, point, command, number)
    if not correlated.taken and not correlated.later and command.hold:
        unit.workspace.correlations.check_room(point, sum(at is point for at, _, _ in unit.held), size)
        row = HeldRow(
            id=unit.workspace.keys(),
            ns=ns,
            run=0,
            name=command.name,
            key=command.key,
            body=command.body,
            thread=command.thread,
            position=command.position,
            posted=unit.now,
            expires=unit.now + command.hold,
            report=None,
            source=source or str(number),
        )
        unit.held.append((point, row, size))
        correlated.held = row.id
    return correlated


def stick(
    unit: UnitOfWork, point: CorrelationPoint, command: CorrelateCommand, number: int, source: str, size: int
) -> Correlated:
    """Gives a copy to all who wait, and lets the event stay for those who come later."""
    correlations, (ns, name, key) = unit.workspace.correlations, point.name
    known = unit.sticky_at(point)
    if known is not None:
        return Correlated([], exists=known.id)  # the group confirms it
    if not correlations.knows_sticky(ns):
        raise Suspend(fetch=lambda: correlations.count_sticky(ns))
    correlations.check_sticky(ns, len(unit.sticky), size)
    row = StickyRow(
        id=unit.workspace.keys(), ns=ns, name=name, key=key, body=command.body, posted=unit.now,
        expires=unit.now + command.ttl if command.ttl else 0, source=source or str(number), once=command.once,
    )  # fmt: skip
    correlated = _copies(unit, point, command, number, row.id)
    if not (command.once and (correlated.taken or correlated.later)):
        unit.sticky.append((point, row, size))
    elif point.sticky is not None:  # its time is over, and it has not been removed yet
        unit.sticky_gone.append((point, point.sticky.id))
    correlated.sticky = row.id
    return correlated


def _one(unit: UnitOfWork, point: CorrelationPoint, command: CorrelateCommand, number: int) -> Correlated:
    # Where all who wait are halted, an event that is not to be held for others is kept for the one that waits longest.
    for keep in (False,) if command.hold else (False, True):
        for run, n in unit.waiters(point):
            if command.position in (-1, n) and _give(unit, point, run, n, command, number, keep=keep):
                return Correlated([(run, n)])
    return Correlated([])


def _give(
    unit: UnitOfWork,
    point: CorrelationPoint,
    run: int,
    n: int,
    command: CorrelateCommand,
    number: int,
    *,
    keep: bool,
    sticky: int = 0,
) -> bool:
    entry = unit.entry(run)
    if entry is None or entry.head is None:
        unit.reader.reads[run] = -1
        point.close(run, n)
        return False
    before = entry.head
    answer = unit.signal(entry, signal_of(command, number, n, unit.now, strict=True, keep=keep, sticky=sticky))
    if not isinstance(answer, Refused):
        return True
    if answer.code not in NOT_THERE:
        raise PeltonError(answer.code, answer.detail, trace=answer.trace)
    unit.reader.reads[run] = before.rev
    return False


def signal_of(
    command: CorrelateCommand, number: int, n: int, now: int, *, strict: bool, keep: bool, sticky: int = 0
) -> EventArrived:
    return EventArrived(
        strict=strict,
        id=number,
        name=command.name,
        key=command.key,
        body=command.body,
        thread=command.thread,
        position=command.position,
        posted=now,
        keep=keep,
        n=n,
        sticky=sticky,
    )


def _copies(unit: UnitOfWork, point: CorrelationPoint, command: CorrelateCommand, number: int, sticky: int = 0) -> Correlated:
    waiters = unit.waiters(point)
    if point.more_waits:
        waiters = list(dict.fromkeys([*page_of(unit, point, MOST_WAITERS), *waiters]))
    if command.position >= 0:
        waiters = [(run, n) for run, n in waiters if n == command.position]
    if point.more_waits:
        return Correlated([], len(waiters), job=_jobs(unit, point, command, number, waiters, sticky))
    missing = unit.missing([run for run, _ in waiters[:DIRECT]])
    if missing:
        raise Suspend(loads=missing)
    correlated = Correlated([])
    for place_in_line, (run, n) in enumerate(waiters):
        if place_in_line < DIRECT:
            try:
                if _give(unit, point, run, n, command, number, keep=True, sticky=sticky):
                    correlated.taken.append((run, n))
                continue
            except NextCommit:  # an earlier waiter of the same run has changed it
                pass
        unit.defer(run, signal_of(command, number, n, unit.now, strict=False, keep=True, sticky=sticky))
        correlated.later += 1
    return correlated


def _jobs(
    unit: UnitOfWork,
    point: CorrelationPoint,
    command: CorrelateCommand,
    number: int,
    waiters: list[tuple[int, int]],
    sticky: int,
) -> int:
    """The number under which the outcomes are stored."""
    results = unit.workspace.keys()
    signal = signal_of(command, number, 0, unit.now, strict=False, keep=True, sticky=sticky)
    for start in range(0, len(waiters), CHUNK):
        some = waiters[start : start + CHUNK]
        fan_out = FanOut(
            ns=point.name[0], signal=signal, runs=[run for run, _ in some], positions=[n for _, n in some],
            results=results, hops=unit.hops + 1, ancestor=unit.ancestor,
        )  # fmt: skip
        unit.deferred.append(durable_job(unit.workspace.keys(), fan_out, unit.now))
    return results


class CorrelationRequest(CommitRequest):
    """A keyed event from a caller."""

    __slots__ = ("_command", "_ns", "_number", "correlated", "done", "error", "hops")

    def __init__(self, ns: str, command: CorrelateCommand, number: int, done: Callable[[CorrelationRequest], None]) -> None:
        super().__init__()
        self._ns = ns
        self._command = command
        self._number = number
        self.hops = command.hops
        self.done = done
        self.correlated: Correlated | None = None
        self.error: PeltonError | None = None

    def perform(self, unit: UnitOfWork) -> GroupBuilder | None:
        self.correlated = correlate(unit, self._ns, self._command, self._number)
        builder = unit.finish()
        if self.correlated.sticky and builder.group.has("copies"):
            self.correlated.copies = [copy for copy in builder.group.copies if copy.sticky == self.correlated.sticky]
        builder.requests.append(self)
        return builder

    def lost(self, reason: str) -> None:
        super().lost(reason)
        self.answers.outside.clear()

    def settled(self) -> None:
        if self.correlated is not None and self.correlated.exists:
            what = f"there is an event {self._command.name!r} with key {self._command.key!r} already, which stays"
            self.error = PeltonError(Code.EXISTS, f"{what}; remove it first", "key")
        self.done(self)

    def failed(self, error: PeltonError) -> None:
        self.error = error
        self.done(self)


class RemoveSticky(CommitRequest):
    """A sticky event is removed: by a caller, or because its time is over (`event`: only that one)."""

    __slots__ = ("_done", "_event", "_name", "_removed")

    def __init__(self, name: PointName, done: Callable[[bool | PeltonError], None], event: int = 0) -> None:
        super().__init__()
        self._name = name
        self._event = event
        self._done = done
        self._removed = False

    def perform(self, unit: UnitOfWork) -> GroupBuilder | None:
        point = unit.point(self._name)
        row = point.sticky
        self._removed = row is not None and self._event in (0, row.id)
        if row is not None and self._removed:
            unit.sticky_gone.append((point, row.id))
        builder = unit.finish()
        builder.requests.append(self)
        return builder

    def settled(self) -> None:
        self._done(self._removed)

    def failed(self, error: PeltonError) -> None:
        self._done(error)

    @property
    def internal(self) -> bool:
        return self._event != 0
