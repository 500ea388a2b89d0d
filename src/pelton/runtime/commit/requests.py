"""Requests: what the committer works on.

A request is performed, as often as necessary, until it is in a batch; if its group is lost it is performed again. It
ends exactly once: settled after the commit, or failed with an error. It sees its unit of work and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from msgspec.structs import replace

from pelton.errors import Code, PeltonError
from pelton.kernel.machine.records import is_linked, never_started
from pelton.kernel.model.process import Process
from pelton.kernel.model.signals import (
    ChildEnded,
    ChildReopened,
    ChildReplied,
    EventArrived,
    Report,
    Signal,
    Start,
    TimerFired,
    Trigger,
)
from pelton.kernel.model.state import Run, RunStatus
from pelton.kernel.model.transition import Note, Refused, Transition
from pelton.runtime.cache.reads import Answers
from pelton.runtime.commit.confirm import rest_on_lease, step_of
from pelton.runtime.commit.durable import durable
from pelton.runtime.commit.group_builder import FREES_KEYS, GroupBuilder
from pelton.runtime.commit.second_tries import LockedRows
from pelton.runtime.commit.suspend import Suspend
from pelton.runtime.commit.unit_of_work import LOG_TEXT, UnitOfWork, not_started, unchanged
from pelton.runtime.commit.workspace import Workspace
from pelton.store.group import Committed, Group
from pelton.store.rows import LogRow, PendingSignalRow, ResultRow, RunKeyRow

KEYS_OF = "keys of run "  # how a store begins the reason of a group that was lost because a run may not have its keys again
NONE_TAKEN: Any = frozenset()


class CommitRequest:
    __slots__ = ("absent", "alone", "answers", "asked", "committed", "locked", "nameless", "rounds", "script_ms", "tries")

    hops = 0  # signals and events that led to this one
    ancestor = 0  # of what it causes: as in Run
    begins = 0  # key of the event that it records

    def __init__(self) -> None:
        self.answers = Answers()
        self.absent: set[int] = set()  # runs that were looked for and do not exist
        self.asked = 0  # when it first asked for a script's answer: the time is part of the question, so it stays this
        self.rounds: dict[int, int] = {}  # of reads, by run, for this try
        self.tries = 0  # groups that were lost
        self.script_ms = 0  # that scripts of runs took
        self.locked: LockedRows | None = None  # rows that are locked for this try
        self.nameless: set[int] = NONE_TAKEN
        self.committed: Committed | None = None
        self.alone = False  # it shared a group that no store can hold: to be tried in one of its own

    def perform(self, unit: UnitOfWork) -> GroupBuilder | None:
        """Joins the open batch and returns its group; None: nothing to write. Raises Suspend, NextBatch, PeltonError."""
        raise PeltonError(Code.INVALID, f"{type(self).__name__} has nothing to perform")

    def settled(self) -> None:
        """Called when its group is committed, or the state behind its response is."""

    def failed(self, error: PeltonError) -> None:
        """Called when it is given up; nothing changed."""

    def lost(self, reason: str) -> None:
        """Called when its group was lost for this reason; it will be performed again."""
        if reason.startswith(KEYS_OF):
            self.nameless = self.nameless | {int(reason[len(KEYS_OF) :])}
        self.absent.clear()
        self.answers.of_runs.clear()
        self.answers.revisions.clear()
        self.answers.named = None
        if reason.startswith("definitions "):
            self.answers.forget_definitions()
        self.answers.spent = None
        self.rounds.clear()

    def hint(self) -> tuple[int, int]:
        """(run, step number) that a cold load should include; (0, 0) if there is none."""
        return (0, 0)

    @property
    def internal(self) -> bool:
        """Whether no external caller waits for it, so that it is not refused when the queue is full."""
        return False


class WriteRequest(CommitRequest):
    """Rows that belong to no run's revision, in a separate group."""

    __slots__ = ("_fill", "_forget", "_removed", "future")

    def __init__(self, fill: Callable[[Group], None], future: asyncio.Future[Committed]) -> None:
        super().__init__()
        self._fill = fill
        self._removed: list[int] = []
        self._forget: Callable[[int], None] | None = None
        self.future = future

    def perform(self, unit: UnitOfWork) -> GroupBuilder | None:
        batch = unit.workspace.open_batch
        builder = batch.new()
        try:
            group = builder.write(self._fill)
        except BaseException:
            batch.drop(builder)  # half of it is nothing
            raise
        for lease in group.leases:
            entry = unit.workspace.cache.peek(lease.run)
            if entry is not None and not entry.stale:
                entry.lease(lease)
        for key in group.remove_runs:
            unit.workspace.forget(key)
            unit.workspace.lookups.forget()
        self._removed, self._forget = group.remove_runs, unit.workspace.forget
        builder.requests.append(self)
        return builder

    def settled(self) -> None:
        for key in self._removed:
            if self._forget is not None:
                self._forget(key)  # again: it may have been read before it was gone
        if not self.future.done() and self.committed is not None:
            self.future.set_result(self.committed)

    def failed(self, error: PeltonError) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    @property
    def internal(self) -> bool:
        return True


class SignalRequest(CommitRequest):
    """A signal to one run. `ns` "" = not checked. `pending`: the durable row that it comes from, removed with its effect. `many`:
    the job that has this signal for many runs, and is told what became of it."""

    __slots__ = ("ancestor", "done", "error", "head", "hops", "many", "notes", "ns", "pending", "run", "signal", "taken", "why")

    def __init__(
        self,
        run: int,
        signal: Signal,
        done: Callable[[SignalRequest], None],
        ns: str = "",
        pending: int = 0,
        hops: int = 0,
        many: int = 0,
        ancestor: int = 0,
    ) -> None:
        super().__init__()
        self.run = run
        self.signal = signal
        self.done = done
        self.ns = ns
        self.pending = pending
        self.hops = hops
        self.many = many
        self.ancestor = ancestor
        self.head: Run | None = None
        self.error: PeltonError | None = None
        self.notes: list[tuple[Code, str]] = []
        self.why = ""  # it could not be applied
        self.taken = False  # its durable row is gone: another server has taken it up

    def perform(self, unit: UnitOfWork) -> GroupBuilder | None:
        if self.taken:
            self.error = None
            return None
        builder = self._perform(unit)
        if self.many and builder is not None:
            changed = any(each.before is None or not unchanged(each.transition, each.before) for each in unit.changes)
            builder.keep_results([self.result(unit.now, changed)])
        return builder

    def result(self, now: int, changed: bool) -> ResultRow:
        n = (self.signal.n or self.signal.position) if isinstance(self.signal, EventArrived) else 0
        if self.error is not None:
            return ResultRow(self.many, self.run, max(n, 0), now, "failed", f"{self.error.code}: {self.error.message}"[:1000])
        detail = self.notes[0][1][:1000] if self.notes else ""
        return ResultRow(self.many, self.run, max(n, 0), now, "signalled" if changed else "unchanged", detail)

    def _perform(self, unit: UnitOfWork) -> GroupBuilder | None:
        self.error = None
        entry = unit.entry(self.run)
        signal = self.signal
        if entry is None or entry.head is None:
            if isinstance(signal, Start):
                answer = unit.start_next(signal, unit.process(signal.definition))
            else:
                return self._absent(unit, gone=True)
        elif self.ns and entry.head.ns != self.ns:
            return self._absent(unit, gone=False)
        else:
            answer = unit.signal(entry, signal)
        if type(answer) is Refused:
            self.error = PeltonError(answer.code, answer.detail, trace=answer.trace)
            looked = unit.rests.records or any(run != self.run for run in unit.reader.reads)
            if entry is not None and entry.head is not None and looked:
                unit.bump(entry)
            elif isinstance(signal, Start) and is_linked(signal.parent, signal.parent_n):
                unit.defer(signal.parent, never_started())
        else:
            self.head = answer.run  # type: ignore[union-attr]
        self.why = why_not(answer)
        self.notes = unit.notes
        if not unit.changes and not unit.deferred:
            over = (
                isinstance(signal, TimerFired) and entry is not None and _over(entry.head, entry.open, entry.all_open, signal.n)
            )
            return self._clean(unit, gone=over)
        builder = unit.finish()
        self._tell_origin(unit, builder)
        if type(signal) is TimerFired and (self.run, signal.n, signal.arm) not in builder.timers:
            builder.clear_timers(self.run, signal.n, signal.arm)
        if self.pending:
            builder.remove_signal(self.pending)
        builder.requests.append(self)
        return builder

    def _tell_origin(self, unit: UnitOfWork, builder: GroupBuilder) -> None:
        """Reports the outcome to the run that sent this: in its log if nothing changed, and by a reply if it wants one."""
        signal = self.signal
        if not isinstance(signal, Trigger | Start) or not signal.origin[0]:
            return
        run, n = signal.origin
        why, now = self.why, unit.now
        if isinstance(signal, Start):
            if why:
                builder.log([LogRow(run, n, now, not_started(why))])
            return
        if why:
            text = f"trigger {signal.name!r} changed nothing in run {unit.workspace.codec.run_id(self.run)}: {why}"
            builder.log([LogRow(run, n, now, text[:LOG_TEXT])])
        if signal.reply:
            body = {"applied": not why, "reason": why}
            key = unit.workspace.keys()
            event = EventArrived(id=key, name=signal.reply, body=body, strict=False)
            builder.enqueue(PendingSignalRow(key, run, durable(event, self.hops + 1, ancestor=unit.ancestor), now))

    def _absent(self, unit: UnitOfWork, gone: bool) -> GroupBuilder | None:
        """The run does not exist, or is of another namespace, which is not to be told apart."""
        self.error = PeltonError(Code.UNKNOWN_RUN, f"run {unit.workspace.codec.run_id(self.run)} does not exist", "run")
        self.why = self.error.message
        return self._clean(unit, gone)

    def _clean(self, unit: UnitOfWork, gone: bool) -> GroupBuilder | None:
        """Nothing has changed, but the row that carried the signal may have to be removed."""
        clear = type(self.signal) is TimerFired
        if not self.pending and not clear:
            return None
        entry = unit.workspace.cache.peek(self.run)
        batch = unit.workspace.open_batch
        builder = (batch.joined(None, entry) if entry is not None else None) or batch.new()
        if entry is not None and entry.head is not None and (entry.pins or unit.workspace.shared):
            builder.read(self.run, entry.head.rev)  # the state that says so may be lost yet, or another server may know better
            if unit.workspace.shared:
                rest_on_lease(builder, entry, step_of(self))
        if unit.rests:
            unit.rests.fill(builder)
        if self.pending:
            builder.remove_signal(self.pending)
        self._tell_origin(unit, builder)
        if clear and gone:
            builder.clear_timers(self.run, self.signal.n, self.signal.arm)  # type: ignore[attr-defined]
        elif clear:  # whatever is to ring later is set anew, under another epoch
            signal: TimerFired = self.signal  # type: ignore[assignment]
            builder.clear_stale_timer(self.run, signal.n, signal.arm, signal.epoch)
        builder.requests.append(self)
        return builder

    def lost(self, reason: str) -> None:
        super().lost(reason)
        self.taken = bool(self.pending) and reason == f"signal {self.pending}"

    def settled(self) -> None:
        self.done(self)

    def failed(self, error: PeltonError) -> None:
        self.error = error
        self.done(self)

    def hint(self) -> tuple[int, int]:
        signal = self.signal
        if isinstance(signal, Report | EventArrived | TimerFired | ChildEnded | ChildReopened | ChildReplied):
            return (self.run, signal.n)
        return (0, 0)

    @property
    def internal(self) -> bool:
        return self.pending != 0 or not self.signal.strict

    def parked(self, key: int, now: int, reason: str) -> PendingSignalRow:
        return PendingSignalRow(
            key,
            self.run,
            durable(self.signal, self.hops, self.many, self.ns, self.ancestor),
            now,
            self.tries,
            False,
            reason[:1000],
        )


def why_not(answer: Transition | Refused) -> str:
    """Why a signal could not be applied, "" if it was; a tolerant one leaves a note."""
    if isinstance(answer, Refused):
        return answer.detail
    effects = answer.effects
    alone = not (answer.opened or answer.changed or answer.closed or answer.ended or answer.record_change is not None)
    return effects[0].detail if alone and len(effects) == 1 and isinstance(effects[0], Note) else ""


def _over(head: Run | None, rows: Mapping[int, object], complete: bool, n: int) -> bool:
    """Whether a timer that changed nothing can be removed because its run or step is over. Otherwise it was set again."""
    if head is None or head.status >= RunStatus.COMPLETED:
        return True
    return n != 0 and complete and n not in rows


class StartRequest(CommitRequest):
    """Starts a run under a key chosen in advance, with its other names."""

    __slots__ = ("_flags", "_keys", "_process", "bind", "done", "error", "head", "lost_key", "placeholder", "rebinds", "signal")

    def __init__(
        self, signal: Start, process: Process, keys: list[RunKeyRow], done: Callable[[StartRequest], None], frees: bool = False
    ) -> None:
        super().__init__()
        self.signal = signal
        self._process = process
        self._keys = keys
        self._flags = FREES_KEYS if frees else 0
        self.done = done
        self.head: Run | None = None
        self.error: PeltonError | None = None
        self.bind: Callable[[], Awaitable[Process]] | None = None  # the process again, when it was defined anew meanwhile
        self.rebinds = False
        self.placeholder = False  # the key is that of a placeholder, and the run goes on from it
        self.lost_key = False  # another run has one of its unique names

    def perform(self, unit: UnitOfWork) -> GroupBuilder | None:
        if self.rebinds and self.bind is not None:
            raise Suspend(fetch=lambda: self._bind_again(unit))
        if self.lost_key:
            raise PeltonError(Code.EXISTS, "another run has this key", "key")
        self.error = None
        if self.tries or self.placeholder:  # an unknown outcome before: it may be there
            entry = unit.entry(self.signal.key)
            if self.placeholder and (entry is None or entry.head is None or entry.head.status != RunStatus.EXPECTED):
                self.error = PeltonError(
                    Code.EXISTS, "the run's placeholder is gone, or another caller has started the run", "key"
                )
                return None  # the answer waits for what it was decided on
        unit.named += self._keys
        answer = unit.start(self.signal, self._process, self._flags)
        if type(answer) is Refused:
            self.error = PeltonError(answer.code, answer.detail, trace=answer.trace)
            if not unit.rests:
                raise self.error
            return None  # the answer waits for what it was decided on
        self.head = answer.run  # type: ignore[union-attr]
        builder = unit.finish()
        builder.requests.append(self)
        return builder

    def lost(self, reason: str) -> None:
        super().lost(reason)
        self.lost_key = any(reason == f"key {row.kind} {row.text} of {row.ns}" for row in self._keys)
        self.rebinds = reason.startswith("definitions ")

    async def _bind_again(self, unit: UnitOfWork) -> None:
        assert self.bind is not None
        self._process = await self.bind()
        self.signal = replace(self.signal, definition=self._process.definition)
        self.rest_on_names(unit.workspace)

    def rest_on_names(self, workspace: Workspace) -> None:
        """The process was found by its name: it must be the one of that name still."""
        if workspace.shared:
            ns = self.signal.ns
            self.rebinds = not workspace.definitions.is_bound(ns, self._process)
            self.answers.defined[ns] = workspace.definitions.counter(ns)

    @property
    def run(self) -> int:
        return self.signal.key

    def settled(self) -> None:
        self.done(self)

    def failed(self, error: PeltonError) -> None:
        self.error = error
        self.done(self)
