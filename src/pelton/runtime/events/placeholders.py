"""Placeholder runs: runs that are expected under a name that a caller chose, and not started yet.

What arrives for such a run (an event, or a report that may be held) makes a placeholder: a head with status EXPECTED, the
unique name, a timer that ends it, and the held row, in one group. The start of the run is an update of that head, so neither
can miss the other: whichever comes second finds the first, or loses its group and looks again. What is held belongs to the run
from then on, and is claimed when its waits open. A placeholder whose run never starts is removed, with all that was held for
it, and an announcement says so.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy

from msgspec import to_builtins

from pelton.errors import Code, PeltonError
from pelton.kernel.machine.arrivals import holding
from pelton.kernel.machine.reports import MOST_HELD
from pelton.kernel.model.reads import KeptKey, Missing
from pelton.kernel.model.signals import EventArrived, Report, Signal
from pelton.kernel.model.state import Run, RunStatus
from pelton.kernel.model.transition import Announcement, Hold, Refused, SetTimer, Transition
from pelton.runtime.cache.runs import RunEntry
from pelton.runtime.commit.group_builder import GroupBuilder
from pelton.runtime.commit.requests import CommitRequest
from pelton.runtime.commit.suspend import Suspend
from pelton.runtime.commit.unit_of_work import UnitOfWork
from pelton.runtime.names import EXPECTED
from pelton.store.port import Store
from pelton.store.rows import RunKeyRow

NOT_STARTED = "run.not_started"  # announced when a placeholder has expired


class NamedSignalRequest(CommitRequest):
    """A signal to the live run with a unique name. If there is none, a placeholder holds it until `expires`."""

    __slots__ = (
        "_kind",
        "_looked",
        "_placeholder",
        "_process",
        "_signal",
        "_text",
        "done",
        "error",
        "expires",
        "head",
        "hops",
        "notes",
        "ns",
        "run",
    )  # fmt: skip

    def __init__(
        self,
        ns: str,
        kind: str,
        process: str,
        text: str,
        signal: Signal,
        *,
        key: int,
        expires: int,
        done: Callable[[NamedSignalRequest], None],
    ) -> None:
        """`key`: the placeholder's, if one is created; `expires`: 0 = none is created."""
        super().__init__()
        self.ns = ns
        self.hops = 0
        self.expires = expires
        self.done = done
        self.head: Run | None = None
        self.error: PeltonError | None = None
        self.notes: list[tuple[Code, str]] = []
        self._kind = kind
        self._process = process
        self._text = text
        self._signal = signal
        self._placeholder = key
        self._looked = False
        self.run = 0

    def perform(self, unit: UnitOfWork) -> GroupBuilder | None:
        self.error = None
        if not self._looked:
            raise Suspend(fetch=lambda: self._look(unit.workspace.store))
        if not self.run:
            return self._begin(unit)
        entry = unit.entry(self.run)
        if entry is None or entry.head is None:
            self._looked = False  # it was removed since
            self.absent.clear()
            raise Suspend(fetch=lambda: self._look(unit.workspace.store))
        head = entry.head
        if head.status == RunStatus.EXPECTED:
            self._check_kept(unit, entry)
            unit.put(entry, held_for(head, self._signal, unit.now))
            self.head = entry.head
        else:
            answer = unit.signal(entry, self._signal)
            if isinstance(answer, Refused):
                self.error = PeltonError(answer.code, answer.detail, trace=answer.trace)
                return None  # the answer waits for what it was decided on
            self.head = answer.run
        self.notes = unit.notes
        if not unit.changes and not unit.deferred:
            return None
        builder = unit.finish()
        builder.requests.append(self)
        return builder

    def _check_kept(self, unit: UnitOfWork, entry: RunEntry) -> None:
        """An event that stays comes once before the start too. Raises Suspend, PeltonError."""
        signal = self._signal
        if not isinstance(signal, EventArrived) or not signal.ident:
            return
        try:
            known = unit.reader.of(entry, unit.answers).answer(KeptKey(signal.name, signal.ident))
        except Missing as missing:
            raise Suspend(entry=entry, keys=missing.keys) from None
        if known:
            detail = f"the run has an event {signal.name!r} with the ident {signal.ident!r} already"
            raise PeltonError(Code.EXISTS, detail, "ident")

    async def _look(self, store: Store) -> None:
        runs = await store.run_keys(self.ns, self._kind, self._process, self._text, True)
        self.run, self._looked = (runs[0] if runs else 0), True

    def _begin(self, unit: UnitOfWork) -> GroupBuilder:
        if not self.expires:
            raise PeltonError(
                Code.UNKNOWN_RUN, f"no live run of {self._process!r} has the {self._kind} {self._text!r}", self._kind
            )
        entry = unit.placeholder(self._placeholder)
        head = Run(
            self._placeholder, self.ns, 0, int(RunStatus.EXPECTED), created=unit.now, updated=unit.now, root=self._placeholder
        )
        change = held_for(head, self._signal, unit.now)
        change.created = True
        change.effects.append(SetTimer(0, EXPECTED, 0, self.expires))
        unit.put(entry, change)
        self.head = entry.head
        builder = unit.finish()
        builder.name_runs([RunKeyRow(self.ns, self._kind, self._process, self._text, self._placeholder, True)])
        builder.requests.append(self)
        return builder

    def lost(self, reason: str) -> None:
        super().lost(reason)
        self._looked = False

    def settled(self) -> None:
        self.done(self)

    def failed(self, error: PeltonError) -> None:
        self.error = error
        self.done(self)


def held_for(head: Run, signal: Signal, now: int) -> Transition:
    """Holds a signal for a run that does not exist yet. Raises PeltonError for a signal that cannot be held."""
    if head.held >= MOST_HELD:
        raise PeltonError(Code.BUSY, f"{MOST_HELD} events and reports are already held for this run")
    mine = copy(head)
    mine.rev += 1
    mine.held += 1
    mine.updated = now
    if isinstance(signal, EventArrived) and not signal.key:
        hold = holding(signal, now)
    elif isinstance(signal, Report) and signal.hold and signal.slot:
        body = to_builtins(signal)
        hold = Hold(
            name="slot:" + signal.slot,
            key="",
            body=None,
            thread=-1,
            position=-1,
            posted=now,
            expires=now + signal.hold,
            report=body,
            source=signal.source,
        )
    else:
        raise PeltonError(
            Code.UNKNOWN_RUN, f"the run has not been started, and a {type(signal).__name__} cannot wait for it", "run"
        )
    return Transition(mine, effects=[hold])


class ExpiryRequest(CommitRequest):
    """A placeholder has expired. One that has become a run in the meantime only loses its timer."""

    __slots__ = ("_done", "_run")

    def __init__(self, run: int, done: Callable[[PeltonError | None], None]) -> None:
        super().__init__()
        self._run = run
        self._done = done

    def perform(self, unit: UnitOfWork) -> GroupBuilder | None:
        entry = unit.entry(self._run)
        batch = unit.workspace.open_batch
        builder = (batch.joined(None, entry) if entry is not None else None) or batch.new()
        builder.requests.append(self)
        head = entry.head if entry is not None else None
        if head is None or head.status != RunStatus.EXPECTED:
            builder.clear_timers(self._run, 0, EXPECTED)
            return builder
        if builder.deltas:  # something more was held for it in this very batch: that goes first
            builder.requests.remove(self)
            raise PeltonError(Code.BUSY, "the placeholder is being written")
        builder.remove_run(self._run, head.rev)
        if unit.workspace.listens(head.ns, NOT_STARTED):
            unit.workspace.publish_fact(
                builder, head, Announcement(NOT_STARTED, 0, {"held": head.held}), unit.now, unit.hops, unit.ancestor, removed=True
            )
        unit.workspace.forget(self._run)
        return builder

    def settled(self) -> None:
        self._done(None)

    def failed(self, error: PeltonError) -> None:
        self._done(error)

    @property
    def internal(self) -> bool:
        return True


class ReleaseRequest(CommitRequest):
    """Something held for a run has expired: it is removed, and no longer counted by the run."""

    __slots__ = ("_done", "_held", "_run", "_strict", "_taken")

    def __init__(self, run: int, held: int, done: Callable[[PeltonError | None], None], *, strict: bool = False) -> None:
        """`strict`: it fails with "conflict" when the run has taken it."""
        super().__init__()
        self._taken = False  # by the run, at the same moment
        self._strict = strict
        self._run = run
        self._held = held
        self._done = done

    def perform(self, unit: UnitOfWork) -> GroupBuilder | None:
        if self._taken:
            if self._strict:
                raise PeltonError(Code.CONFLICT, "the event has been taken, or is gone")
            return None
        entry = unit.entry(self._run)
        if entry is not None and entry.head is not None:
            mine = copy(entry.head)
            mine.rev += 1
            mine.held = max(mine.held - 1, 0)
            unit.put(entry, Transition(mine))
        builder = unit.finish()
        builder.release(self._held)
        builder.drop_kept(self._held)
        builder.requests.append(self)
        return builder

    def lost(self, reason: str) -> None:
        super().lost(reason)
        self._taken = reason.startswith("held ")

    def settled(self) -> None:
        self._done(None)

    def failed(self, error: PeltonError) -> None:
        self._done(error)

    @property
    def internal(self) -> bool:
        return True
