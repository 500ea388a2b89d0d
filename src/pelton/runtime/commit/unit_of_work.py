"""One job at work: the signals that it gives to runs, and those that follow from them in the same commit group.

A turn changes cache entries as it goes, and can take everything back: when a fact is missing somewhere in the middle, the job
starts again from the beginning with that fact at hand. Nothing reaches the batch before the job is through, so a job that fails
leaves no trace in anybody's group.

Signals between runs are followed within the turn up to the bound of a group; what goes beyond becomes a durable signal for the
next commit, in the same group.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from copy import copy
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct, msgpack

from pelton.errors import Code, PeltonError
from pelton.kernel.machine.advance import advance
from pelton.kernel.machine.lifecycle import MOST_HOPS
from pelton.kernel.machine.records import is_linked, never_started
from pelton.kernel.model.process import Process
from pelton.kernel.model.reads import Held, HeldKey, Missing, ProcessKey
from pelton.kernel.model.signals import AnySignal, ChildEnded, Continue, Count, Signal, Start
from pelton.kernel.model.state import OpenStep, Run, RunStatus
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
    Transition,
)
from pelton.runtime.api import EventIn
from pelton.runtime.commit.correlation_cache import CorrelationPoint, PointName
from pelton.runtime.commit.group_builder import GROUP_ROWS, GROUP_RUNS, GroupBuilder
from pelton.runtime.commit.reads import Answers, RunFacts
from pelton.runtime.commit.run_cache import RunEntry, Undo, revert
from pelton.runtime.names import queue_of
from pelton.store.rows import HeldRow, InboxRow, LogRow, WaitKeyRow

if TYPE_CHECKING:
    from pelton.runtime.commit.committer import Committer
    from pelton.runtime.commit.requests import CommitRequest

encode_signal = msgpack.Encoder(enc_hook=repr).encode

EXPECTED = "expected"  # arm of the timer that ends a stub
PLACEHOLDER = Process(name="", version=0, entry="", nodes={})  # what a run follows that is expected and not there yet
CROSSING = frozenset({StartRun, SignalRun, ContinueLater})


LOG_TEXT = 32_768  # characters of one log entry


class Durable(Struct, tag="durable", omit_defaults=True):
    """A durable signal that has come some way, or of which somebody wants to know what became."""

    signal: AnySignal
    hops: int = 0
    many: int = 0


class DurableFact(Struct, tag="fact"):
    """A fact on its way to becoming an event, as a durable job."""

    event: EventIn


decode_signal: Callable[[bytes], Any] = msgpack.Decoder(AnySignal | Durable).decode


def durable(signal: Signal, hops: int = 0, many: int = 0) -> bytes:
    """A signal as it is kept in the inbox."""
    return encode_signal(Durable(signal, hops, many) if hops or many else signal)  # type: ignore[arg-type]


class Suspend(Exception):
    """The job cannot go on before something is there: facts of a run, runs to be loaded, bindings to be made, another job's
    reading of a run (`wait`), or what only the job itself knows (`fetch`)."""

    def __init__(
        self,
        entry: RunEntry | None = None,
        keys: tuple[Any, ...] = (),
        loads: tuple[int, ...] = (),
        bindings: tuple[tuple[str, str, int], ...] = (),
        wait: RunEntry | CorrelationPoint | None = None,
        fetch: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        super().__init__()
        self.entry = entry
        self.keys = keys
        self.loads = loads
        self.bindings = bindings
        self.wait = wait
        self.fetch = fetch


class NextBatch(Exception):
    """The group that the job would join is full."""


class Change(NamedTuple):
    entry: RunEntry
    transition: Transition
    before: Run | None
    rows: dict[int, OpenStep]  # those that it changes or closes, as they were


class Mark(NamedTuple):
    changes: int
    undo: int
    posts: int
    made: int
    held: int


class UnitOfWork:
    """Made once; `begin` readies it for the next job."""

    __slots__ = (
        "_committer", "_signal", "answers", "changes", "facts", "held", "hops", "job", "logs", "made", "multiple", "notes", "now",
        "places", "posts", "rows", "undo",
    )  # fmt: skip

    def __init__(self, committer: Committer) -> None:
        self._committer = committer
        self.facts = RunFacts(committer.codec, committer.keys, self._head, self._held, committer.instants.next)
        self.changes: list[Change] = []
        self.undo: Undo = []
        self.posts: list[InboxRow] = []
        self.made: dict[int, RunEntry] = {}  # runs that begin here
        self.places: dict[PointName, CorrelationPoint] = {}  # where something is opened, taken or held
        self.held: list[tuple[CorrelationPoint, HeldRow, int]] = []  # with their sizes
        self.notes: list[tuple[Code, str]] = []
        self.logs: list[LogRow] = []
        self.multiple = False  # more may follow after this signal: keep a way back
        self.rows = 0
        self.now = 0
        self.hops = 0
        self._signal: Any = None  # the one being applied
        self.job: CommitRequest
        self.answers: Answers

    def begin(self, job: CommitRequest, now: int) -> None:
        self.job = job
        self.answers = job.answers
        self.now = now
        self.hops = job.hops
        if self.places:
            self.places.clear()
            self.held.clear()
        self.changes.clear()
        self.posts.clear()
        self.made.clear()
        self.undo.clear()
        self.facts.reads.clear()
        self.facts.stamped = 0
        self.notes = []
        self.logs.clear()
        self.rows = 0
        self.multiple = False

    # ---- ways back

    def mark(self) -> Mark:
        return Mark(len(self.changes), len(self.undo), len(self.posts), len(self.made), len(self.held))

    def back(self, mark: Mark) -> None:
        """Takes back everything since the mark; `multiple` must have been set by then."""
        tail = self.undo[mark.undo :]
        del self.undo[mark.undo :]
        revert(tail)
        del self.changes[mark.changes :]
        del self.posts[mark.posts :]
        del self.held[mark.held :]
        for key in list(self.made)[mark.made :]:
            del self.made[key]

    def revert(self) -> None:
        revert(self.undo)
        self.changes.clear()
        self.posts.clear()
        self.made.clear()

    # ---- runs

    def entry(self, key: int) -> RunEntry | None:
        """None: no such run. Raises Suspend when it must be loaded or is being read, NextBatch when its group is full."""
        entry = self.made.get(key)
        if entry is not None:
            return entry
        committer = self._committer
        entry = committer.cache.get(key)
        if entry is None:
            if key in self.job.absent:
                return None
            raise Suspend(loads=(key,))
        self._usable(entry)
        return entry

    def place(self, name: PointName) -> CorrelationPoint:
        """Raises Suspend when it must be read first, NextBatch when its group is full."""
        committer = self._committer
        place = committer.places.get(name)
        if place is not None and place.dry:
            if place.pins:
                place.stale = True
            else:
                committer.places.drop(place)
                place = None
        if place is None:
            raise Suspend(fetch=lambda: committer.needs.load_place(name))
        self._usable(place)
        self.places[name] = place
        return place

    def _held(self, key: HeldKey) -> list[Held]:
        """What is held for the run that is being advanced. Raises Missing, so that all that is missing is read in one go."""
        entry = self.facts.entry
        name = (entry.head.ns if entry.head is not None else self._signal.ns, key.name, key.key)
        if self._committer.places.get(name) is None:
            raise Missing(key)
        rows = self.held_at(self.place(name))
        return [Held(row.id, row.name, row.key, row.body, row.thread, row.position, row.posted, row.report) for row in rows]

    def held_at(self, place: CorrelationPoint) -> list[HeldRow]:
        """Oldest first, with what this turn has added and without what it has taken."""
        rows = [*place.held.values(), *(row for at, row, _ in self.held if at is place)]
        if not rows:
            return rows
        taken = {effect.id for change in self.changes for effect in change.transition.effects if type(effect) is Claim}
        return [row for row in rows if row.id not in taken]

    def waiters(self, place: CorrelationPoint) -> list[tuple[int, int]]:
        """(run, n) of who may wait there, longest first, with those of this turn."""
        found = dict.fromkeys(place.waits)
        for change in self.changes:
            if change.transition.run.ns == place.name[0]:
                for effect in change.transition.effects:
                    if type(effect) is OpenCorrelation and (effect.name, effect.key) == place.name[1:]:
                        found[change.entry.key, effect.n] = None
        return list(found)

    def _usable(self, entry: RunEntry | CorrelationPoint) -> None:
        if entry.busy or entry.stale or entry.waiting:
            raise Suspend(wait=entry)
        group = entry.group
        here = group is not None and group.batch is self._committer.open_batch
        if self.job.tries and entry.pins > here:
            raise Suspend(wait=entry)  # a second try is not built on what may be lost again
        if here and group is not None and group.full:
            raise NextBatch

    def missing(self, keys: list[int]) -> tuple[int, ...]:
        """Of these runs, the ones that must be loaded first."""
        peek = self._committer.cache.peek
        absent, made = self.job.absent, self.made
        return tuple(key for key in dict.fromkeys(keys) if peek(key) is None and key not in absent and key not in made)

    def _head(self, key: int) -> Run | None:
        entry = self.entry(key)
        return entry.head if entry is not None else None

    def process(self, definition: int) -> Process:
        process = self._committer.definitions.cached(definition)
        if process is None:
            key = ProcessKey(definition)
            known: Process | None = self.answers.outside.get(key)
            if known is not None:
                return known
            raise Suspend(keys=(key,))
        return process

    # ---- signals

    def start(self, signal: Start, process: Process, flags: int = 0) -> Transition | Refused:
        """Begins a run under a key that no run has."""
        return self._drive(self._new(signal.key), signal, process, flags)

    def signal(self, entry: RunEntry, signal: Signal) -> Transition | Refused:
        """Gives a signal to a run, and follows what it causes in other runs. `notes` gain what could not be done."""
        return self._drive(entry, signal, None, 0)

    def _new(self, key: int) -> RunEntry:
        known = self._committer.cache.get(key)
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
            while todo:
                sender, effect = todo.popleft()
                full = len(self.changes) >= GROUP_RUNS or self.rows >= GROUP_ROWS
                # What a child is counted as is in one commit with what it is, or a parent would pass before its time.
                if full and (type(effect) is StartRun or type(effect.signal) is not Count):  # type: ignore[union-attr]
                    self._post(sender, effect)
                elif type(effect) is StartRun:
                    self._start_child(sender, effect, todo)
                else:
                    self._signal_other(effect, todo)  # type: ignore[arg-type]
        return first

    def _step(self, entry: RunEntry, signal: Any, process: Process | None, flags: int = 0) -> Transition | Refused:
        if process is None:
            process = entry.process or self._process_of(entry)
        self._signal = signal
        answer = advance(process, self.facts.of(entry, self.answers), signal, self.now)
        kind = type(answer)
        if kind is Need:
            raise Suspend(entry, answer.keys)  # type: ignore[union-attr]
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
        if change.run.ns != "default":
            for row in (*change.opened, *change.changed):
                row.queue = queue_of(change.run.ns, row.queue)
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

    def _process_of(self, entry: RunEntry) -> Process:
        if entry.head is None:
            raise Suspend(loads=(entry.key,))
        process = entry.process = self.process(entry.head.definition) if entry.head.definition else PLACEHOLDER
        return process

    def _looked_elsewhere(self, entry: RunEntry) -> bool:
        """Such a decision raises the revision even when it changes nothing: else two that look at each other may both say no."""
        return any(run != entry.key for run in self.facts.reads)

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
                    self._post(head, effect)  # type: ignore[arg-type]
                else:
                    todo.append((head, effect))  # type: ignore[arg-type]
            elif kind is ContinueLater:
                self.post(head.key, Continue())

    def _post(self, sender: Run, effect: StartRun | SignalRun) -> None:
        if type(effect) is StartRun:
            self.post(effect.key, start_of(sender, effect))
        else:
            self.post(effect.key, effect.signal)  # type: ignore[union-attr]

    def post(self, run: int, signal: Signal) -> None:
        """A durable signal, to be applied in a later commit. One that has come too far is put aside: it goes in a circle."""
        hops = self.hops if type(signal) is Continue else self.hops + 1
        row = InboxRow(self._committer.keys(), run, durable(signal, hops), self.now)
        if hops > MOST_HOPS:
            row.parked = f"{hops} signals led to this one, each from the last; at most {MOST_HOPS} may. Is it a circle?"
            self.notes.append((Code.INVALID, row.parked))
            if type(signal) is Start and is_linked(signal.parent, signal.parent_n):
                # With no way left to go: what follows from it would be the same circle.
                known = InboxRow(self._committer.keys(), signal.parent, durable(never_started(), MOST_HOPS), self.now)
                self.posts.append(known)
        self.posts.append(row)

    def _start_child(self, sender: Run, effect: StartRun, todo: deque[tuple[Run, StartRun | SignalRun]]) -> None:
        try:
            process = self.process(effect.definition)
            answer = self._step(self._new(effect.key), start_of(sender, effect), process)
        except PeltonError as error:
            answer = Refused(error.code, error.message)
        if isinstance(answer, Refused):
            self.made.pop(effect.key, None)
            self.notes.append((answer.code, answer.detail))
            if effect.origin:
                self.logs.append(LogRow(sender.key, effect.origin, self.now, not_begun(answer.detail)))
            if effect.n:
                failed = ChildEnded(n=effect.n, child=effect.key, era=0, status=int(RunStatus.FAILED), reason=answer.detail)
                todo.append((sender, SignalRun(sender.key, failed)))
            elif effect.linked:
                todo.append((sender, SignalRun(sender.key, never_started())))
        else:
            self._spread(answer, todo)

    def _signal_other(self, effect: SignalRun, todo: deque[tuple[Run, StartRun | SignalRun]]) -> None:
        entry = self.entry(effect.key)
        if entry is None:
            self.notes.append((Code.UNKNOWN_RUN, f"run {self._committer.codec.run_id(effect.key)} does not exist any more"))
            return
        answer = self._step(entry, effect.signal, None)
        if isinstance(answer, Refused):
            self.notes.append((answer.code, answer.detail))
        else:
            self._spread(answer, todo)

    def bump(self, entry: RunEntry) -> None:
        """Raises a run's revision and nothing else: it has decided something by looking at others (see the committer)."""
        head = entry.head
        if head is None:
            return
        raised = copy(head)
        raised.rev += 1
        self.put(entry, Transition(raised))

    def put(self, entry: RunEntry, change: Transition) -> None:
        """A change that was not made by `advance`. Nothing may follow in this turn that could suspend it."""
        before = entry.head
        entry.apply(change, None)
        self.changes.append(Change(entry, change, before, {}))

    def stub(self, key: int) -> RunEntry:
        """The entry of a run that is expected, and not there yet."""
        entry = self.made[key] = RunEntry(key, complete=True)
        entry.process = PLACEHOLDER
        return entry

    # ---- into the batch

    def finish(self) -> GroupBuilder:
        """Adds all that the turn came to to the open batch; the groups of all runs that it touched become one."""
        committer = self._committer
        batch = committer.open_batch
        building = self._group()
        for key, entry in self.made.items():
            if entry.head is not None and committer.cache.peek(key) is None:
                committer.cache.add(entry)
        committer.translator.hops = self.hops
        for entry, change_, before, rows in self.changes:
            delta = building.delta(entry, before, change_.run)
            building.rows += delta.fold(change_, rows)
            if (before is None or not before.definition) and entry.process is not None:
                delta.process = entry.process.name
                if before is not None and change_.run.definition:
                    building.clear_timers(entry.key, 0, EXPECTED)
            if change_.effects:
                for fact in committer.translator.add(building, delta, change_, self.now, committer.listens):
                    committer.publish_fact(building, change_.run, fact, self.now)
        for run, revision in self.facts.reads.items():
            building.read(run, revision)
        for row in self.posts:
            building.post(row)
        if self.logs:  # a list that is there, even empty, makes the group an unusual one
            building.group.logs += self.logs
        if self.places:
            self._meet(building)
        batch.rows += self.rows
        return building

    def _group(self) -> GroupBuilder:
        """The one group of the open batch that has every run and place of this turn."""
        batch = self._committer.open_batch
        building: GroupBuilder | None = None
        for change in self.changes:
            building = batch.joined(building, change.entry)
        for run in self.facts.reads:
            entry = self._committer.cache.peek(run)
            if entry is not None:
                building = batch.joined(building, entry)
        for place in self.places.values():
            building = batch.joined(building, place)
        return building or batch.new()

    def _meet(self, building: GroupBuilder) -> None:
        places = self._committer.places
        for place in self.places.values():
            building.meet(place)
        for place, row, size in self.held:
            building.group.held.append(row)
            place.keep(row, size)
            places.used(row.ns, 1, size)
        for change in self.changes:
            run = change.transition.run
            for effect in change.transition.effects:
                kind = type(effect)
                if kind is OpenCorrelation:
                    at = self.places.get((run.ns, effect.name, effect.key))  # type: ignore[arg-type,union-attr]
                    if at is not None:
                        at.open(WaitKeyRow(*at.name, run.key, effect.n, self.now))  # type: ignore[union-attr]
                elif kind is CloseCorrelations:
                    for place in self.places.values():
                        place.close(run.key, effect.n)  # type: ignore[union-attr]
                elif kind is Claim and any(place.release(effect.id) for place in self.places.values()):  # type: ignore[union-attr]
                    places.used(run.ns, -1, 0)


def not_begun(detail: str) -> str:
    return f"a run was not begun: {detail}"[:LOG_TEXT]


def start_of(sender: Run, effect: StartRun) -> Start:
    return Start(
        strict=False,
        key=effect.key,
        ns=sender.ns,
        definition=effect.definition,
        input=effect.input,
        meta=effect.meta,
        parent=sender.key if effect.n or effect.linked else 0,
        parent_n=effect.n,
        root=sender.root if effect.n or effect.linked else 0,
        hops=sender.hops + 1,
        trigger=effect.trigger,
        origin=(sender.key, effect.origin) if effect.origin else (0, 0),
    )


def unchanged(change: Transition, before: Run) -> bool:
    """Whether a transition comes to nothing but notes."""
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
