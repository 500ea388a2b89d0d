"""The work of one request: the signals that it sends to runs, and those that follow from them in the same commit group.

A unit of work changes cache entries as it proceeds, and can revert everything: if a read turns out to be missing halfway,
the request starts over once the answer is available. Nothing reaches the batch before the request is complete, so
a request that fails leaves no trace in any group.

Signals between runs are followed within the unit up to the limit of a group; beyond that they become durable signals for the
next commit, in the same group.
"""

from __future__ import annotations

from collections import deque
from copy import copy
from typing import Any, NamedTuple, Protocol

from pelton.errors import Code, PeltonError
from pelton.kernel.machine.advance import advance
from pelton.kernel.machine.records import is_linked, never_started
from pelton.kernel.machine.tokens.lifecycle import MOST_HOPS
from pelton.kernel.model.process import Process
from pelton.kernel.model.reads import HELD_PAGE, Held, HeldKey, Missing, PausedKey, ProcessKey, ProcessPause
from pelton.kernel.model.signals import ChildEnded, Continue, Signal, Start
from pelton.kernel.model.state import OpenStep, Record, Run, RunStatus
from pelton.kernel.model.transition import (
    Claim,
    CloseCorrelations,
    ContinueLater,
    Need,
    Note,
    OpenCorrelation,
    Refused,
    SignalRun,
    StartRun,
    TakeCopy,
    Transition,
)
from pelton.runtime.cache.correlations import KEY_COUNT, CorrelationPoint, PointName
from pelton.runtime.cache.lookups import SearchResult
from pelton.runtime.cache.pauses import pause_of
from pelton.runtime.cache.reads import Answers, CachedReads
from pelton.runtime.cache.runs import PLACEHOLDER, RunEntry, Undo, revert, unknown
from pelton.runtime.cache.search_lanes import LaneName, SearchLane
from pelton.runtime.cache.shared import Shared
from pelton.runtime.caller import NAMESPACE
from pelton.runtime.commit import descents, names, queues
from pelton.runtime.commit.durable import durable
from pelton.runtime.commit.group_builder import FREES_KEYS, GROUP_ROWS, GROUP_RUNS, GroupBuilder, goes_on
from pelton.runtime.commit.rests import Rests
from pelton.runtime.commit.suspend import NextBatch, NextCommit, Suspend
from pelton.runtime.commit.workspace import Workspace
from pelton.runtime.names import EXPECTED, KEY_KIND, SEPARATOR, queue_of
from pelton.store.group import Lookup
from pelton.store.rows import HeldRow, LogRow, PendingSignalRow, RunKeyRow, StickyRow, WaitKeyRow

CROSSING = frozenset({StartRun, SignalRun, ContinueLater})


LOG_TEXT = 32_768  # characters of one log entry


class Attempt(Protocol):
    """The request as seen by its unit of work."""

    answers: Answers  # what was fetched for it
    absent: set[int]  # runs that were looked for and do not exist
    tries: int  # groups that were lost
    alone: bool  # it shares its group with no other request
    nameless: set[int]  # runs that may not go on, since other live runs have their unique names

    @property
    def hops(self) -> int:
        """Number of signals and events that led to it."""
        ...

    @property
    def ancestor(self) -> int:
        """Of what it causes: as in Run."""
        ...

    @property
    def begins(self) -> int:
        """The key of the event that it records, 0 for none."""
        ...


class Change(NamedTuple):
    entry: RunEntry
    transition: Transition
    before: Run | None
    rows: dict[int, OpenStep]  # those that it changes or closes, as they were


class Mark(NamedTuple):
    changes: int
    undo: int
    deferred: int
    made: int
    held: int
    sticky: int
    sticky_gone: int
    named: int
    descended: int


class UnitOfWork:
    """Created once; `begin` prepares it for the next request."""

    __slots__ = (
        "_emptied",
        "_signal",
        "ancestor",
        "answers",
        "asked",
        "begins",
        "changes",
        "deferred",
        "descended",
        "held",
        "hops",
        "lanes",
        "logs",
        "made",
        "multiple",
        "named",
        "notes",
        "now",
        "points",
        "reader",
        "request",
        "rests",
        "rows",
        "sticky",
        "sticky_gone",
        "undo",
        "workspace",
    )  # fmt: skip

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.reader = CachedReads(
            workspace.codec, workspace.keys, self._head, self._held, workspace.instants.next, self.still_found,
            lambda key: queues.answer(self, key), self._paused, lambda key: names.answer(self, key),
        )  # fmt: skip
        self.changes: list[Change] = []
        self.undo: Undo = []
        self.deferred: list[PendingSignalRow] = []
        self.made: dict[int, RunEntry] = {}  # runs that begin here
        self.points: dict[PointName, CorrelationPoint] = {}  # where something is opened, taken or held
        self.lanes: list[SearchLane] = []  # those it must not be ahead of
        self.held: list[tuple[CorrelationPoint, HeldRow, int]] = []  # with their sizes
        self.sticky: list[tuple[CorrelationPoint, StickyRow, int]] = []  # likewise
        self.sticky_gone: list[tuple[CorrelationPoint, int]] = []
        self.notes: list[tuple[Code, str]] = []
        self.logs: list[LogRow] = []
        self.rests = Rests()
        self.asked: deque[tuple[Run, StartRun | SignalRun]] = deque()  # decided on together with its sender; comes first
        self.named: list[RunKeyRow] = []  # names of runs that begin here; there before the run's first transition, which may ask
        self._emptied: tuple[Any, ...] = (
            self.changes, self.made, self.undo, self.deferred, self.logs, self.asked, self.named, self.reader.reads,
        )  # fmt: skip
        self.multiple = False  # more may follow after this signal: keep a way back
        self.rows = 0
        self.now = 0
        self.hops = 0
        self.ancestor = 0  # of what follows, where that is not of the run that causes it
        self.begins = 0
        self.descended: list[descents.Descent] = []  # what is counted here
        self._signal: Any = None  # the one being applied
        self.request: Attempt
        self.answers: Answers

    def begin(self, request: Attempt, now: int) -> None:
        self.request = request
        self.answers = request.answers
        self.now = now
        self.hops = request.hops
        self.ancestor = request.ancestor
        self.begins = request.begins
        if self.descended:
            self.descended.clear()
        if self.points:
            self.points.clear()
            self.held.clear()
            self.sticky.clear()
            self.sticky_gone.clear()
        if self.lanes:
            self.lanes.clear()
        for each in filter(None, self._emptied):
            each.clear()
        self.reader.stamped = 0
        self.notes = []  # another: the request before may have kept it
        self.rests.clear()
        if request.answers.defined:
            self.rests.defined.update(request.answers.defined)
        self.rows = 0
        self.multiple = False

    # ---- ways back

    def mark(self) -> Mark:
        return Mark(
            len(self.changes),
            len(self.undo),
            len(self.deferred),
            len(self.made),
            len(self.held),
            len(self.sticky),
            len(self.sticky_gone),
            len(self.named),
            len(self.descended),
        )

    def back(self, mark: Mark) -> None:
        """Reverts everything since the mark; `multiple` must have been set by then."""
        tail = self.undo[mark.undo :]
        del self.undo[mark.undo :]
        revert(tail)
        del self.changes[mark.changes :]
        del self.deferred[mark.deferred :]
        del self.held[mark.held :]
        del self.sticky[mark.sticky :]
        del self.sticky_gone[mark.sticky_gone :]
        del self.named[mark.named :]
        del self.descended[mark.descended :]
        self.asked.clear()
        for key in list(self.made)[mark.made :]:
            del self.made[key]

    def revert(self) -> None:
        revert(self.undo)
        self.changes.clear()
        self.deferred.clear()
        self.made.clear()
        self.named.clear()
        self.descended.clear()
        self.asked.clear()

    # ---- runs

    def entry(self, key: int) -> RunEntry | None:
        """A run's entry; None: no such run. Raises Suspend if it must be loaded or is being read, NextBatch if its group is
        full."""
        entry = self.made.get(key)
        if entry is not None:
            return entry
        workspace = self.workspace
        entry = workspace.cache.get(key)
        if entry is None:
            if key in self.request.absent:
                return None
            raise Suspend(loads=(key,))
        self._usable(entry)
        return entry

    def point(self, name: PointName) -> CorrelationPoint:
        """A correlation point. Raises Suspend if it must be read first, NextBatch if its group is full."""
        workspace = self.workspace
        point = workspace.correlations.get(name)
        if point is not None and point.dry:
            if point.pins:
                point.stale = True
            else:
                workspace.correlations.drop(point)
                point = None
        if point is None:
            raise Suspend(point=name)
        self._usable(point)
        self.points[name] = point
        return point

    def keep_to(self, name: LaneName, searched: bool) -> None:
        """Stays behind the events that have searched the process, and with `searched` keeps others behind this one. Raises
        Suspend, or NextBatch if their group is full."""
        lane = self.workspace.lanes.get(name, searched)
        if lane is not None:
            self._usable(lane)
            self.lanes.append(lane)

    def rest_on_change(self, entry: RunEntry) -> None:
        """Is lost with the group that has changed the run. Raises Suspend, or NextBatch if that group is full."""
        self._usable(entry)
        if entry.head is not None:
            self.reader.reads.setdefault(entry.key, entry.head.rev)

    @property
    def namespace(self) -> str:
        """That of the run being advanced."""
        head = self.reader.entry.head
        found: str = head.ns if head is not None else self._signal.ns
        return found

    def _held(self, key: HeldKey) -> list[Held]:
        """What is held for the run being advanced. Raises Missing, so that everything missing is read in one go."""
        name = (self.namespace, key.name, key.key)
        if self.workspace.correlations.get(name) is None:
            raise Missing(key)
        point = self.point(name)
        found = [held for row in self.held_at(point) if key.admits(held := row.held())]
        if point.more_held and len(found) < HELD_PAGE:
            found = [held for row in self._all_held(point) if key.admits(held := row.held())]
        sticky = self.sticky_at(point)
        if sticky is not None and key.admits(held := sticky.held()):
            found = sorted([*found, held], key=lambda held: (held.posted, held.id))
        return found[:HELD_PAGE]

    def sticky_at(self, point: CorrelationPoint) -> StickyRow | None:
        """The event that stays there for whoever waits, unless its time is over."""
        row = next((row for at, row, _ in reversed(self.sticky) if at is point), point.sticky)
        if row is None or (row.expires and row.expires <= self.now) or (point, row.id) in self.sticky_gone:
            return None
        return None if row.once and self._copied(row.id) else row

    def _copied(self, sticky: int) -> bool:
        effects = (effect for change in self.changes for effect in change.transition.effects)
        return any(type(effect) is TakeCopy and effect.id == sticky for effect in effects)

    def _paused(self, key: PausedKey) -> ProcessPause | None:
        """Raises Missing for a process that has not been asked for yet."""
        name = key.ns, key.process
        pauses = self.workspace.pauses
        known = pauses.get(name)
        if known is None:
            raise Missing(key)
        if self.workspace.shared or pauses.is_undecided(name):
            self.rests.pauses[name] = known.epoch
        return pause_of(known)

    def _all_held(self, point: CorrelationPoint) -> list[HeldRow]:
        """All that is held at a point that has more than is in memory: as the store has it, at the point's revision."""
        if point.pins:
            raise Suspend(wait=point)
        known: tuple[int, list[HeldRow]] | None = self.answers.outside.get(("held", *point.name))
        if known is None or known[0] != point.revision:
            answers, workspace = self.answers, self.workspace

            async def read() -> None:
                revision = await workspace.store.rendezvous(*point.name)
                rows = await workspace.store.held(*point.name, KEY_COUNT)
                answers.outside["held", *point.name] = revision, rows
                if revision != point.revision and not point.pins:
                    workspace.correlations.drop(point)  # somebody else has moved it

            raise Suspend(fetch=read)
        taken = {effect.id for change in self.changes for effect in change.transition.effects if type(effect) is Claim}
        return [row for row in known[1] if row.id not in taken] + [row for at, row, _ in self.held if at is point]

    def still_found(self, found: SearchResult) -> list[Record] | None:
        """The records that a search found, if they are what it would find now; None if it has to be made again. What this unit
        itself has changed is as it has changed it."""
        workspace = self.workspace
        if not workspace.lookups.hold(found.moves):
            return None
        mine = {change.entry.key for change in self.changes if change.transition.record_change is not None}
        records: list[Record] = []
        for record in found.records:
            entry = workspace.cache.peek(record.run)
            known = entry.record if entry is not None else unknown
            if record.run in mine:
                records += [known] if known is not None else []
                continue
            if known is not unknown and (known is None or known.since != record.since):
                if not workspace.shared or entry is None or entry.pins or (known is not None and known.since > record.since):
                    return None
                workspace.forget(record.run)  # another server has changed it
            records.append(record)
        self.rest_on(found)
        return records

    def rest_on(self, found: SearchResult) -> None:
        if self.workspace.shared:
            self.rests.records.update((record.run, record.since) for record in found.records)
            self.rests.lookups.update(found.revisions)

    def held_at(self, point: CorrelationPoint) -> list[HeldRow]:
        """What is held at a point, oldest first, including this unit's additions and excluding what it has taken."""
        rows = [*point.held.values(), *(row for at, row, _ in self.held if at is point)]
        if not rows:
            return rows
        taken = {effect.id for change in self.changes for effect in change.transition.effects if type(effect) is Claim}
        return [row for row in rows if row.id not in taken]

    def waiters(self, point: CorrelationPoint) -> list[tuple[int, int]]:
        """(run, n) of the steps that may be waiting there, longest first, including those of this unit."""
        return list(dict.fromkeys([*point.waits, *self.opened_at(point)]))

    def opened_at(self, point: CorrelationPoint) -> list[tuple[int, int]]:
        """(run, n) of the waits that this unit has opened there."""
        found: list[tuple[int, int]] = []
        for change in self.changes:
            if change.transition.run.ns == point.name[0]:
                opened = (effect for effect in change.transition.effects if type(effect) is OpenCorrelation)
                found += [(change.entry.key, each.n) for each in opened if (each.name, each.key) == point.name[1:]]
        return found

    def _usable(self, entry: Shared) -> None:
        if entry.busy or entry.stale or entry.waiting:
            raise Suspend(wait=entry)
        group = entry.group
        here = group is not None and group.batch is self.workspace.open_batch
        if self.request.tries and entry.pins > here:
            raise Suspend(wait=entry)  # a second try is not built on what may be lost again
        if here and group is not None and (self.request.alone or group.alone):
            raise Suspend(wait=entry)
        if here and group is not None and group.full:
            raise NextBatch

    def missing(self, keys: list[int]) -> tuple[int, ...]:
        """Those of the runs that must be loaded first."""
        peek = self.workspace.cache.peek
        absent, made = self.request.absent, self.made
        return tuple(key for key in dict.fromkeys(keys) if peek(key) is None and key not in absent and key not in made)

    def _head(self, key: int) -> Run | None:
        entry = self.entry(key)
        return entry.head if entry is not None else None

    def process(self, definition: int) -> Process:
        process = self.workspace.definitions.cached(definition)
        if process is None:
            key = ProcessKey(definition)
            known: Process | None = self.answers.outside.get(key)
            if known is not None:
                return known
            raise Suspend(keys=(key,))
        return process

    # ---- signals

    def start(self, signal: Start, process: Process, flags: int = 0) -> Transition | Refused:
        """Starts a run under a key that no run has."""
        return self._drive(self._new(signal.key), signal, process, flags)

    def start_next(self, signal: Start, process: Process) -> Transition | Refused:
        """Starts a run that others have caused, in a commit of its own: it counts among their descendants."""
        if why := descents.count(self, signal.ns, signal.ancestor):
            return Refused(Code.INVALID, why)
        return self.start(signal, process)

    def signal(self, entry: RunEntry, signal: Signal) -> Transition | Refused:
        """Sends a signal to a run, and follows its effects in other runs. Notes what could not be done. Raises NextCommit."""
        return self._drive(entry, signal, None, 0)

    def _new(self, key: int) -> RunEntry:
        known = self.workspace.cache.get(key)
        if known is not None:
            self._usable(known)
            return known
        entry = self.made[key] = RunEntry(key, complete=True)
        return entry

    def _drive(self, entry: RunEntry, signal: Signal, process: Process | None, flags: int) -> Transition | Refused:
        first = self._step(entry, signal, process, flags)
        if isinstance(first, Refused):
            self.made.pop(entry.key, None)
            return first
        if first.effects and not CROSSING.isdisjoint(map(type, first.effects)):
            todo: deque[tuple[Run, StartRun | SignalRun]] = deque()
            self._spread(first, todo)
            asked = self.asked
            while todo or asked:
                sender, effect = asked.popleft() if asked else todo.popleft()
                full = len(self.changes) >= GROUP_RUNS or self.rows >= GROUP_ROWS
                # What a child is counted as is in one commit with what it is, or a parent would pass before its time.
                if full and not names.is_one_with(effect):
                    self._defer_effect(sender, effect)
                elif type(effect) is StartRun:
                    self._start_child(sender, effect, todo)
                else:
                    self._signal_other(sender, effect, todo)  # type: ignore[arg-type]
        return first

    def _step(self, entry: RunEntry, signal: Any, process: Process | None, flags: int = 0) -> Transition | Refused:
        if process is None:
            process = entry.process or self.process_of(entry)
        self._signal = signal
        answer = advance(process, self.reader.of(entry, self.answers), signal, self.now)
        kind = type(answer)
        if kind is Need:
            keys = answer.keys  # type: ignore[union-attr]
            if any(change.entry is entry for change in self.changes) and not self.answers.ask_once(entry.key, keys):
                raise NextCommit
            raise Suspend(entry, keys)
        if kind is Refused:
            return answer  # type: ignore[return-value]
        change: Transition = answer  # type: ignore[assignment]
        before = entry.head
        if before is not None and unchanged(change, before) and not self._looked_elsewhere(entry):
            self._note(change)
            change.run = before
            return change
        if flags:
            change.run.flags |= flags
        if before is not None and self.request.nameless and entry.key in self.request.nameless and goes_on(before, change.run):
            name = self.workspace.codec.run_id(entry.key)
            raise PeltonError(
                Code.CONFLICT, f"run {name} cannot go on: another run is live under its key; end that one first", "key"
            )
        ns = change.run.ns
        for row in (*change.opened, *change.changed):
            if ns != NAMESPACE or SEPARATOR in row.queue:
                row.queue = queue_of(ns, row.queue)
        known = entry.open
        rows = {n: known[n] for n in change.closed if n in known}
        for row in change.changed:
            if row.n in known:
                rows[row.n] = known[row.n]
        crossing = bool(change.effects) and not CROSSING.isdisjoint(map(type, change.effects))
        entry.apply(change, self.undo if self.multiple or self.undo or crossing else None)
        if entry.process is None and (before is None or not before.definition or change.run.definition == before.definition):
            entry.process = process
        self.changes.append(Change(entry, change, before, rows))
        self.rows += 2 + len(change.opened) + len(change.ended) + len(change.effects)
        if change.effects:
            self._note(change)
        return change

    def process_of(self, entry: RunEntry) -> Process:
        if entry.head is None:
            raise Suspend(loads=(entry.key,))
        process = entry.process = self.process(entry.head.definition) if entry.head.definition else PLACEHOLDER
        return process

    def _looked_elsewhere(self, entry: RunEntry) -> bool:
        """Such a decision raises the revision even if it changes nothing; otherwise two that read each other might both
        refuse."""
        return bool(self.rests.records) or any(run != entry.key for run in self.reader.reads)

    def _note(self, change: Transition) -> None:
        for effect in change.effects:
            if type(effect) is Note:
                self.notes.append((effect.code, effect.detail))

    def _spread(self, change: Transition, todo: deque[tuple[Run, StartRun | SignalRun]]) -> None:
        head = change.run
        for effect in change.effects:
            kind = type(effect)
            if kind is StartRun or kind is SignalRun:
                if effect.later:  # type: ignore[union-attr]
                    self._defer_effect(head, effect)  # type: ignore[arg-type]
                elif names.is_decided(effect):
                    self.asked.append((head, effect))  # type: ignore[arg-type]
                else:
                    todo.append((head, effect))  # type: ignore[arg-type]
            elif kind is ContinueLater:
                self.defer(head.key, Continue())

    def _defer_effect(self, sender: Run, effect: StartRun | SignalRun) -> None:
        if type(effect) is StartRun:
            start = descents.start_of(sender, effect, self.ancestor, self.workspace.spans)
            self.defer(effect.key, start)  # counted when it is performed
            return
        ancestor = self.ancestor or sender.passes_on
        signal: Signal = effect.signal  # type: ignore[union-attr]
        self.defer(effect.key, signal, ancestor=ancestor, why=descents.sent(self, sender.ns, ancestor, signal))

    def defer(self, run: int, signal: Signal, ns: str = "", ancestor: int = 0, why: str = "") -> None:
        """A durable signal, to be applied in a later commit. One with too many hops is set aside as a loop, and one for another
        reason (`why`). `ns`: the only namespace whose runs it may reach, "" = not checked."""
        hops = self.hops if type(signal) is Continue else self.hops + 1
        ancestor = ancestor or self.ancestor
        row = PendingSignalRow(self.workspace.keys(), run, durable(signal, hops, ns=ns, ancestor=ancestor), self.now)
        if hops > MOST_HOPS:
            why = f"{hops} signals in a row led to this one; the limit is {MOST_HOPS}. Check the definitions for a loop"
        if why:
            row.parked = why
            self.notes.append((Code.INVALID, row.parked))
            if type(signal) is Start and is_linked(signal.parent, signal.parent_n):
                # With no way left to go: what follows from it would be the same circle.
                known = PendingSignalRow(self.workspace.keys(), signal.parent, durable(never_started(), MOST_HOPS), self.now)
                self.deferred.append(known)
        self.deferred.append(row)

    def _start_child(self, sender: Run, effect: StartRun, todo: deque[tuple[Run, StartRun | SignalRun]]) -> None:
        try:
            process = self.process(effect.definition)
            entry = self._new(effect.key)
            if effect.name and entry.head is None:  # a placeholder has the name already
                self.named.append(RunKeyRow(sender.ns, KEY_KIND, process.name, effect.name, effect.key, True))
            start = descents.start_of(sender, effect, self.ancestor, self.workspace.spans)
            why = descents.count(self, start.ns, start.ancestor)
            if why:
                answer: Transition | Refused = Refused(Code.INVALID, why)
            else:
                answer = self._step(entry, start, process, FREES_KEYS if effect.name else 0)
        except PeltonError as error:
            answer = Refused(error.code, error.message)
        if isinstance(answer, Refused):
            self.made.pop(effect.key, None)
            self.request.absent.add(effect.key)  # nobody has to look for it: in each try it has another key
            self.named[:] = [row for row in self.named if row.run != effect.key]
            self.notes.append((answer.code, answer.detail))
            if effect.named_by:
                names.refused(self, sender, effect.named_by, effect.key, answer)
            if effect.origin:
                self.logs.append(LogRow(sender.key, effect.origin, self.now, not_started(answer.detail)))
            if effect.n:
                failed = ChildEnded(n=effect.n, child=effect.key, era=0, status=int(RunStatus.FAILED), reason=answer.detail)
                todo.append((sender, SignalRun(sender.key, failed)))
            elif effect.linked:
                todo.append((sender, SignalRun(sender.key, never_started())))
        else:
            self._spread(answer, todo)

    def _signal_other(self, sender: Run, effect: SignalRun, todo: deque[tuple[Run, StartRun | SignalRun]]) -> None:
        entry = self.entry(effect.key)
        if entry is None:
            self.notes.append((Code.UNKNOWN_RUN, f"run {self.workspace.codec.run_id(effect.key)} no longer exists"))
            return
        try:
            answer = self._step(entry, effect.signal, None)
        except NextCommit:
            self._defer_effect(sender, effect)
            return
        if isinstance(answer, Refused):
            if effect.asked_by:
                names.refused(self, sender, effect.asked_by, effect.key, answer)
            self.notes.append((answer.code, answer.detail))
        else:
            self._spread(answer, todo)

    def bump(self, entry: RunEntry) -> None:
        """Raises a run's revision and nothing else, since it decided something by reading others (see the committer)."""
        head = entry.head
        if head is None:
            return
        raised = copy(head)
        raised.rev += 1
        self.put(entry, Transition(raised))

    def put(self, entry: RunEntry, change: Transition) -> None:
        """Stores a change that was not made by `advance`. Nothing may follow in this unit that could suspend it."""
        before = entry.head
        entry.apply(change, None)
        self.changes.append(Change(entry, change, before, {}))

    def placeholder(self, key: int) -> RunEntry:
        """The entry of a run that is expected but not started yet."""
        entry = self.made[key] = RunEntry(key, complete=True)
        entry.process = PLACEHOLDER
        return entry

    # ---- into the batch

    def finish(self) -> GroupBuilder:
        """Adds this unit of work to the open batch, merging the groups of all runs that it touched."""
        workspace = self.workspace
        batch = workspace.open_batch
        builder = self._group()
        builder.alone = self.request.alone
        listens = self._listens if workspace.shared else workspace.listens
        for key, entry in self.made.items():
            if entry.head is not None and workspace.cache.peek(key) is None:
                workspace.cache.add(entry)
        workspace.effects.hops, workspace.effects.ancestor = self.hops, self.ancestor
        for entry, change_, before, rows in self.changes:
            delta = builder.fold(entry, before, change_, rows)
            if (before is None or not before.definition) and entry.process is not None:
                delta.process = entry.process.name
                if before is not None and change_.run.definition:
                    builder.clear_timers(entry.key, 0, EXPECTED)
            if before is not None and change_.run.era != before.era and goes_on(before, change_.run):
                builder.claim_names(entry.key)
            if change_.effects:
                for fact in workspace.effects.add(builder, delta, change_, self.now, listens):
                    workspace.publish_fact(builder, change_.run, fact, self.now, self.hops, self.ancestor)
            self._note_record(builder, entry, change_)
        for run, revision in self.reader.reads.items():
            builder.read(run, revision)
        builder.name_runs(self.named)
        for row in self.deferred:
            builder.enqueue(row)
        if self.logs:
            builder.log(self.logs)
        if self.descended:
            counted = descents.rows(self)
            builder.count_descendants(counted)
            workspace.descendants.add(counted)
        if self.rests:
            self.rests.fill(builder)
        if self.points or self.lanes:
            self._correlate(builder)
        batch.rows += self.rows
        return builder

    def _listens(self, ns: str, kind: str) -> bool:
        """That nobody listens holds for the handlers that are known here."""
        heard = self.workspace.listens(ns, kind)
        if not heard:
            handlers = self.workspace.definitions.handlers.known(ns)
            self.rests.handlers[ns] = handlers.counter if handlers is not None else 0
        return heard

    def _note_record(self, builder: GroupBuilder, entry: RunEntry, change: Transition) -> None:
        record_change, process = change.record_change, entry.process or self.workspace.definitions.cached(change.run.definition)
        if record_change is None:
            return
        if record_change.attributes:
            self._move_lookups(builder, change)
        if self.workspace.shared or process is None or process.records is None:
            return
        self.workspace.record_log.changed(
            entry,
            (change.run.ns, process.name),
            process.records,
            record_change.loaded.record,
            record_change.record,
            self.workspace.open_batch.number,
        )

    def _move_lookups(self, builder: GroupBuilder, change: Transition) -> None:
        assert change.record_change is not None
        if self.workspace.lookups.idle and not self.workspace.shared:
            return
        lookups = [Lookup(change.run.ns, name, text) for name, text, _ in change.record_change.attributes]
        self.workspace.lookups.moved(lookups)
        if self.workspace.shared:
            builder.group.moved.extend(lookups)

    def _group(self) -> GroupBuilder:
        """The group of the open batch that holds every run and point of this unit."""
        batch = self.workspace.open_batch
        builder: GroupBuilder | None = None
        for change in self.changes:
            builder = batch.joined(builder, change.entry)
        for run in self.reader.reads:
            entry = self.workspace.cache.peek(run)
            if entry is not None:
                builder = batch.joined(builder, entry)
        for point in self.points.values():
            builder = batch.joined(builder, point)
        for lane in self.lanes:
            builder = batch.joined(builder, lane)
        return builder or batch.new()

    def _correlate(self, builder: GroupBuilder) -> None:
        for lane in self.lanes:
            builder.keep_to(lane)
        correlations = self.workspace.correlations
        for point in self.points.values():
            builder.advance_point(point)
        self._leave_sticky(builder)
        for point, row, size in self.held:
            builder.hold(row)
            point.keep(row, size)
            correlations.used(row.ns, 1, size)
        for change in self.changes:
            run = change.transition.run
            for effect in change.transition.effects:
                kind = type(effect)
                if kind is OpenCorrelation:
                    at = self.points.get((run.ns, effect.name, effect.key))  # type: ignore[arg-type,union-attr]
                    if at is not None:
                        at.open(WaitKeyRow(*at.name, run.key, effect.n, effect.since or self.now))  # type: ignore[union-attr]
                elif kind is CloseCorrelations:
                    for point in self.points.values():
                        point.close(run.key, effect.n)  # type: ignore[union-attr]
                elif kind is Claim and any(point.release(effect.id) for point in self.points.values()):  # type: ignore[union-attr]
                    correlations.used(run.ns, -1, 0)

    def _leave_sticky(self, builder: GroupBuilder) -> None:
        """What stays at the points from now on, and what goes: removed, over, or for one wait only that has got it."""
        correlations = self.workspace.correlations
        for point in self.points.values():
            known = point.sticky
            if known is not None and (
                any(at is point for at, _ in self.sticky_gone)
                or any(at is point for at, _, _ in self.sticky)
                or (known.once and self._copied(known.id))
            ):
                builder.drop_sticky(known.id)
                correlations.stays(known.ns, -1, 0)
                point.sticky = None
        for point, row, size in self.sticky:
            if (point, row.id) not in self.sticky_gone and not (row.once and self._copied(row.id)):
                builder.stick(row)
                correlations.stays(row.ns, 1, size)
                point.sticky = row


def not_started(detail: str) -> str:
    return f"a run was not started: {detail}"[:LOG_TEXT]


def unchanged(change: Transition, before: Run) -> bool:
    """Whether a transition has no effect except notes."""
    if change.opened or change.changed or change.closed or change.ended or change.variables or change.threads:
        return False
    if (
        change.reopened
        or change.fragments
        or change.record_change is not None
        or any(type(effect) is not Note for effect in change.effects)
    ):
        return False
    head = copy(change.run)
    head.rev, head.updated = before.rev, before.updated
    return head == before
