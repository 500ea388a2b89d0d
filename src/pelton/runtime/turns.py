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

from pelton.kernel.advance import advance
from pelton.kernel.facts import Missing, ProcessKey
from pelton.kernel.process import Process
from pelton.kernel.rows import OpenStep, Run, RunStatus
from pelton.kernel.signals import AnySignal, ChildEnded, Continue, Signal, Start
from pelton.kernel.transition import Need, Note, Refused, Resume, SignalRun, StartRun, Transition
from pelton.runtime.base import EngineError, EventIn
from pelton.runtime.cache import RunEntry, Undo, revert
from pelton.runtime.facts import Answers, RunFacts
from pelton.runtime.groups import GROUP_ROWS, GROUP_RUNS, Building
from pelton.store.base import InboxRow

if TYPE_CHECKING:
    from pelton.runtime.committer import Committer
    from pelton.runtime.jobs import Job

encode_signal = msgpack.Encoder(enc_hook=repr).encode
decode_signal = msgpack.Decoder(AnySignal).decode

CROSSING = frozenset({StartRun, SignalRun, Resume})


class PostedFact(Struct, tag="fact"):
    """A fact on its way to becoming an event, as a durable job."""

    event: EventIn


class Suspend(Exception):
    """The job cannot go on before something is there: facts of a run, runs to be loaded, bindings to be made, another job's
    reading of a run (`wait`), or what only the job itself knows (`fetch`)."""

    def __init__(
        self,
        entry: RunEntry | None = None,
        keys: tuple[Any, ...] = (),
        loads: tuple[int, ...] = (),
        bindings: tuple[tuple[str, str, int], ...] = (),
        wait: RunEntry | None = None,
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


class Turn:
    """Made once; `begin` readies it for the next job."""

    __slots__ = ("_committer", "answers", "changes", "facts", "job", "made", "multiple", "notes", "now", "posts", "rows", "undo")

    def __init__(self, committer: Committer) -> None:
        self._committer = committer
        self.facts = RunFacts(committer.codec, committer.keys, self._head)
        self.changes: list[Change] = []
        self.undo: Undo = []
        self.posts: list[InboxRow] = []
        self.made: dict[int, RunEntry] = {}  # runs that begin here
        self.notes: list[tuple[str, str]] = []
        self.multiple = False  # more may follow after this signal: keep a way back
        self.rows = 0
        self.now = 0
        self.job: Job
        self.answers: Answers

    def begin(self, job: Job, now: int) -> None:
        self.job = job
        self.answers = job.answers
        self.now = now
        self.changes.clear()
        self.posts.clear()
        self.made.clear()
        self.undo.clear()
        self.facts.reads.clear()
        self.notes = []
        self.rows = 0
        self.multiple = False

    # ---- ways back

    def mark(self) -> Mark:
        return Mark(len(self.changes), len(self.undo), len(self.posts), len(self.made))

    def back(self, mark: Mark) -> None:
        """Takes back everything since the mark; `multiple` must have been set by then."""
        tail = self.undo[mark.undo :]
        del self.undo[mark.undo :]
        revert(tail)
        del self.changes[mark.changes :]
        del self.posts[mark.posts :]
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

    def _usable(self, entry: RunEntry) -> None:
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
                if len(self.changes) >= GROUP_RUNS or self.rows >= GROUP_ROWS:
                    self._post(sender, effect)
                elif type(effect) is StartRun:
                    self._start_child(sender, effect, todo)
                else:
                    self._signal_other(effect, todo)  # type: ignore[arg-type]
        return first

    def _step(self, entry: RunEntry, signal: Any, process: Process | None, flags: int = 0) -> Transition | Refused:
        if process is None:
            process = entry.process or self._process_of(entry)
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
        if entry.process is None and (before is None or change.run.definition == before.definition):
            entry.process = process
        self.changes.append(Change(entry, change, before, rows))
        self.rows += 2 + len(change.opened) + len(change.ended) + len(change.effects)
        if change.effects:
            self._note(change)
        return change

    def _process_of(self, entry: RunEntry) -> Process:
        if entry.head is None:
            raise Suspend(loads=(entry.key,))
        process = entry.process = self.process(entry.head.definition)
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
            elif kind is Resume:
                self.post(head.key, Continue())

    def _post(self, sender: Run, effect: StartRun | SignalRun) -> None:
        if type(effect) is StartRun:
            self.post(effect.key, start_of(sender, effect))
        else:
            self.post(effect.key, effect.signal)  # type: ignore[union-attr]

    def post(self, run: int, signal: Signal) -> None:
        """A durable signal, to be applied in a later commit."""
        self.posts.append(InboxRow(self._committer.keys(), run, encode_signal(signal), self.now))

    def _start_child(self, sender: Run, effect: StartRun, todo: deque[tuple[Run, StartRun | SignalRun]]) -> None:
        try:
            process = self.process(effect.definition)
            answer = self._step(self._new(effect.key), start_of(sender, effect), process)
        except EngineError as error:
            answer = Refused(error.code, error.message)
        if isinstance(answer, Refused):
            self.made.pop(effect.key, None)
            self.notes.append((answer.code, answer.detail))
            if effect.n:
                failed = ChildEnded(n=effect.n, child=effect.key, era=0, status=int(RunStatus.FAILED), reason=answer.detail)
                todo.append((sender, SignalRun(sender.key, failed)))
        else:
            self._spread(answer, todo)

    def _signal_other(self, effect: SignalRun, todo: deque[tuple[Run, StartRun | SignalRun]]) -> None:
        entry = self.entry(effect.key)
        if entry is None:
            self.notes.append(("unknown run", f"run {self._committer.codec.run_id(effect.key)} does not exist any more"))
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
        change = Transition(raised)
        entry.apply(change, None)
        self.changes.append(Change(entry, change, head, {}))

    # ---- into the batch

    def finish(self) -> Building:
        """Adds all that the turn came to to the open batch; the groups of all runs that it touched become one."""
        committer = self._committer
        batch = committer.open_batch
        building: Building | None = None
        for change in self.changes:
            building = batch.joined(building, change.entry)
        for run in self.facts.reads:
            entry = committer.cache.peek(run)
            if entry is not None:
                building = batch.joined(building, entry)
        if building is None:
            building = batch.new()
        for key, entry in self.made.items():
            if entry.head is not None and committer.cache.peek(key) is None:
                committer.cache.add(entry)
        for entry, change_, before, rows in self.changes:
            delta = building.delta(entry, before, change_.run)
            building.rows += delta.fold(change_, rows)
            if before is None and entry.process is not None:
                delta.process = entry.process.name
            if change_.effects:
                for fact in committer.translator.add(building, delta, change_, self.now, committer.listens):
                    committer.publish_fact(building, change_.run, fact, self.now)
        for run, revision in self.facts.reads.items():
            building.read(run, revision)
        for row in self.posts:
            building.post(row)
        if self.answers.meetings:
            self._meet(building)
        batch.rows += self.rows
        return building

    def _meet(self, building: Building) -> None:
        for (ns, name, key), revision in self.answers.meetings.items():
            building.group.rendezvous.append((ns, name, key, revision))
            self._committer.meetings[ns, name, key] = building.batch


def queue_of(ns: str, queue: str) -> str:
    """The queue's name in the store: those of namespaces other than the default one are apart; the server's own are shared."""
    prefix = f"{ns}\x1f"
    if ns == "default" or not queue or queue.startswith(("@", prefix)):
        return queue
    return prefix + queue


def shown_queue(queue: str) -> str:
    return queue.rpartition("\x1f")[2]


def start_of(sender: Run, effect: StartRun) -> Start:
    return Start(
        strict=False,
        key=effect.key,
        ns=sender.ns,
        definition=effect.definition,
        input=effect.input,
        meta=effect.meta,
        parent=sender.key if effect.n else 0,
        parent_n=effect.n,
        root=sender.root if effect.n else 0,
        hops=sender.hops + 1,
    )


def unchanged(change: Transition, before: Run) -> bool:
    """Whether a transition comes to nothing but notes."""
    if change.opened or change.changed or change.closed or change.ended or change.variables or change.threads:
        return False
    if change.reopened or change.fragments or any(type(effect) is not Note for effect in change.effects):
        return False
    head = copy(change.run)
    head.rev, head.updated = before.rev, before.updated
    return head == before


__all__ = ["Change", "Missing", "NextBatch", "PostedFact", "Suspend", "Turn", "decode_signal", "encode_signal"]
