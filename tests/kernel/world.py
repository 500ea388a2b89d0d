"""A runtime in memory: it drives runs through `advance` and holds every transition to the kernel's invariants.

Each signal is decided twice: once with every fact at hand, once with none, through rounds of `Need`; both must come to the same
bytes. Effects are performed at once (other runs of the same group, timers, held events) or left for the next commit (`later`).
Time is a number that moves when told to. Nothing here is random: the same calls give the same rows.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, NamedTuple

import msgspec
from tests.kernel.invariants import check_counters, check_run
from tests.kernel.memory import AllReads, Ids, NoReads, Rows, encode
from tests.kernel.names import Asked, Names

from pelton.errors import Code
from pelton.kernel.expressions.base import Evaluation, Invalid, Outcome
from pelton.kernel.machine import many
from pelton.kernel.machine.advance import advance
from pelton.kernel.machine.records import is_linked, never_started
from pelton.kernel.model import reads as f
from pelton.kernel.model.process import Acquired, Fragment, Process
from pelton.kernel.model.signals import (
    Amend,
    ChildEnded,
    ChildReopened,
    Continue,
    EventArrived,
    FollowProcess,
    Report,
    Rescue,
    Retire,
    Rewind,
    Signal,
    Start,
    TimerFired,
    Trigger,
)
from pelton.kernel.model.state import END, OpenStep, Record, Run, RunStatus, StartMeta, State, Step, StepAttempt, StepCheckpoint
from pelton.kernel.model.transition import (
    UNSET,
    Announcement,
    Claim,
    ClearTimers,
    CloseCorrelations,
    ContinueLater,
    GiveReply,
    Hold,
    KeepAttempt,
    KeepCheckpoint,
    Need,
    Note,
    OpenCorrelation,
    Publish,
    Purge,
    RecordChange,
    Refused,
    SetTimer,
    SignalRun,
    StartRun,
    Tally,
    Transition,
)

ROUNDS = 16
SPARE = 50  # further rounds that a failure may take
HEAD_BYTES = 300
NEVER = (1 << 63) - 1
NS = "test"


def encode_answer(answer: Transition | Refused) -> bytes:
    """Effects are tuples: their types go in as well."""
    if isinstance(answer, Transition):
        plain = msgspec.structs.replace(answer, acquired={})  # not stored
        return encode([plain, [type(effect).__name__ for effect in answer.effects]])
    return encode(["refused", answer.code, answer.detail, answer.trace])


@contextmanager
def reading_pages() -> Iterator[None]:
    """As if every run were too wide to be read whole."""
    before, many.NARROW = many.NARROW, -1
    try:
        yield
    finally:
        many.NARROW = before


class Sent(NamedTuple):
    run: int
    n: int
    attempt: int
    sink: str
    body: Any


class Cost(NamedTuple):
    """What one signal touched."""

    read: int
    written: int
    rounds: int


Pending = tuple[int, Signal]


class World:
    """`thorough`: all rows of a run are checked after each of its transitions; else only the head and what was touched.
    `both`: decide with all facts too. `gather`: leave effects on other runs of the same group until `flush`."""

    def __init__(self, *processes: Process, thorough: bool = True, both: bool = True) -> None:
        self.codec = Ids()
        self.now = 1_000_000
        self.thorough = thorough
        self.both = both
        self.runs: dict[int, Rows] = {}
        self.definitions: dict[int, Process] = {}
        self.inline: dict[str, int] = {}
        self.fragments: dict[tuple[int, str, str], Fragment | str] = {}
        self.paused: dict[str, f.ProcessPause] = {}  # processes, by name
        self.scripts: dict[str, Callable[[Any], Any]] = {}
        self.compiler: Callable[[Any], Process] | None = None
        self.keys = 100
        self.names = Names(self)
        self.held: dict[int, tuple[int, Hold]] = {}  # id → (run or 0, row)
        self.kept: list[list[Any]] = []  # events that stay: id of the held row, run, event, taken by
        self.holds = 0
        self.attempts: dict[tuple[int, int, int], StepAttempt] = {}
        self.checkpoints: dict[tuple[int, int, int], StepCheckpoint] = {}
        self.sent: list[Sent] = []
        self.tallies: dict[tuple[str, str], dict[str, int | float]] = {}
        self.notes: list[tuple[int, Note]] = []
        self.announced: list[tuple[int, Announcement]] = []
        self.later: deque[Pending] = deque()
        self.costs: list[Cost] = []
        self.events = 0
        self.folding = False
        self.most_rounds = ROUNDS
        self.allowed = 0  # rounds of reads for one signal, before it has to do with what it has; 0 = no limit but `most_rounds`
        self.told: deque[tuple[int, int, Signal]] = deque(maxlen=50)  # run, its era, signal: what changed something, newest last
        for process in processes:
            self.define(process)

    # ---- definitions

    def define(self, process: Process) -> int:
        number = len(self.definitions) + 1
        process.definition = number
        self.definitions[number] = process
        self.names.look_at(process)
        return number

    def find(self, name: str, version: int = 0) -> int:
        found = 0
        for number, process in self.definitions.items():
            if process.name == name and (process.version == version or not version):
                found = number
        return found

    def compile_inline(self, body: str) -> int | str:
        if self.compiler is None:
            return "no compiler for definitions given in full"
        if body not in self.inline:
            self.inline[body] = self.define(self.compiler(msgspec.json.decode(body)))
        return self.inline[body]

    def compiled(self, definition: int, node: str, value: str) -> Fragment | str:
        """Once a content, as a runtime does it."""
        key = (definition, node, value)
        if key not in self.fragments:
            make = self.definitions[definition].fragment
            assert make is not None
            try:
                self.fragments[key] = make(node, msgspec.json.decode(value)).finish()
            except Invalid as error:
                self.fragments[key] = error.message
        return self.fragments[key]

    def acquired(self, rows: Rows, n: int) -> Acquired | None:
        if n not in rows.fragments or rows.void(n):
            return None
        _, node, value, parent = rows.fragments[n]
        fragment = self.compiled(rows.run.definition, node, json.dumps(value))
        return None if isinstance(fragment, str) else Acquired(fragment, parent)

    def run_script(self, question: Evaluation) -> Outcome:
        script = self.scripts[question.source]
        try:
            return Outcome(script(msgspec.json.decode(question.argument)))
        except ValueError as error:
            return Outcome(None, str(error), True)

    def fresh_key(self, ahead: int) -> int:
        return self.keys + 1 + ahead

    # ---- looking

    def rows(self, run: int) -> Rows:
        return self.runs[run]

    def head(self, run: int) -> Run:
        return self.runs[run].run

    def status(self, run: int) -> RunStatus:
        return RunStatus(self.head(run).status)

    def newest(self, run: int, slot: str) -> OpenStep | Step | None:
        rows = self.runs[run]
        return rows.newest(rows.slots.get(slot))

    def opened(self, run: int, slot: str) -> OpenStep:
        row = self.newest(run, slot)
        assert isinstance(row, OpenStep), f"{slot} is {row!r}"
        return row

    def ended(self, run: int, slot: str) -> Step:
        row = self.newest(run, slot)
        assert isinstance(row, Step), f"{slot} is {row!r}"
        return row

    def is_open(self, run: int, slot: str) -> bool:
        return isinstance(self.newest(run, slot), OpenStep)

    def output(self, run: int) -> Any:
        return self.ended(run, END).output

    def reason(self, run: int) -> str:
        return self.ended(run, END).reason

    def var(self, run: int, name: str, thread: int = 0) -> Any:
        return self.runs[run].vars.get((thread, name))

    def trail(self, run: int) -> list[str]:
        """Slots in the order of numbers, without start and end."""
        return [row.slot for row in self.runs[run].steps() if not row.slot.startswith("$")]

    def children(self, run: int) -> list[int]:
        return sorted(key for key, rows in self.runs.items() if rows.run.parent == run)

    def stamp(self) -> int:
        """Microseconds. The same for all that happens in a millisecond, which is harder than what a runtime promises."""
        return self.now * 1000

    def record(self, run: int) -> Record | None:
        return self.runs[run].record

    def body(self, run: int) -> Any:
        record = self.runs[run].record
        return record.body if record is not None else None

    def values(self, run: int) -> list[Any]:
        """Bodies of all values, oldest first."""
        rows = self.runs[run]
        return [record.body for record, _ in rows.past] + ([rows.record.body] if rows.record is not None else [])

    def counts(self, run: int) -> dict[str, int]:
        return {name[1:]: value for (no, name), value in self.runs[run].vars.items() if no == 0 and name.startswith("#")}

    def found(self, name: str, text: str) -> list[Record]:
        rows = (rows for _, rows in sorted(self.runs.items()) if (name, text) in rows.attributes)
        return [each.record for each in rows if each.record is not None][:2_000]

    def has_kept(self, run: int, key: f.KeptKey) -> bool:
        return any((owner, event.name, event.ident) == (run, key.name, key.ident) for _, owner, event, _ in self.kept)

    def held_for(self, run: int, name: str, key: str) -> list[f.Held]:
        chosen = []
        for number, (owner, hold) in sorted(self.held.items()):
            mine = owner == run if not key else owner == 0 and hold.key == key
            if mine and (not name or hold.name == name):
                chosen.append((hold.posted, number, hold))
        chosen.sort(key=lambda item: item[:2])
        return [
            f.Held(number, hold.name, hold.key, hold.body, hold.thread, hold.position, posted, hold.report, hold.keeps)
            for posted, number, hold in chosen
        ]

    def snapshot(self) -> bytes:
        return encode([[key, self.runs[key].snapshot()] for key in sorted(self.runs)])

    def digest(self) -> str:
        return hashlib.sha256(self.snapshot()).hexdigest()

    # ---- deciding

    def decide(self, run: int, signal: Any) -> tuple[Transition | Refused, Cost]:
        rows = self.runs.get(run)
        before = rows.snapshot() if rows is not None and self.thorough else b""
        definition = signal.definition if isinstance(signal, Start) else rows.run.definition if rows is not None else 0
        process = self.definitions[definition]
        fresh: dict[Any, int] = {}
        source = AllReads(self, run, fresh)
        facts = NoReads(source)
        for rounds in range(1, self.most_rounds + 2):
            assert rounds <= self.most_rounds, f"{signal!r} takes more than {self.most_rounds} rounds"
            with reading_pages():  # so that a narrow run costs what its share of a wide one does
                answer = advance(process, facts, signal, self.now)
            if not isinstance(answer, Need):
                break
            assert answer.keys, "a need of nothing"
            assert len(set(answer.keys)) == len(answer.keys), f"asked twice: {answer.keys}"
            level = 0 if facts.spent is None else 2 if facts.spent.last else 1
            if self.allowed and level < 2 and rounds >= self.allowed + level * SPARE:
                facts.spent = f.Spent(f"more than {self.allowed} rounds of reads", level == 1)
                continue
            facts.fetch(answer.keys)
        else:
            raise AssertionError
        assert not isinstance(answer, Need)
        bytes_of = encode_answer(answer)
        if self.both and facts.spent is None:
            every = AllReads(self, run, fresh)
            again = advance(process, every, signal, self.now)
            assert not isinstance(again, Need), f"{again.keys} are needed though everything is there"
            assert encode_answer(again) == bytes_of, f"not the same answer with all facts:\n{again}\n{answer}"
            source.seen += every.seen
        for handed, was in source.seen:
            assert encode(handed) == was, f"a fact was changed: {handed!r}"
        if before:
            assert rows is not None
            assert rows.snapshot() == before, f"{signal!r} changed facts"
        written = 0
        if isinstance(answer, Transition):
            written = 1 + sum(
                len(part)
                for part in (
                    answer.opened,
                    answer.changed,
                    answer.closed,
                    answer.ended,
                    answer.reopened,
                    answer.threads,
                    answer.variables,
                    answer.fragments,
                )
            )
            written += (
                0 if answer.record_change is None else 1 + len(answer.record_change.past) + len(answer.record_change.attributes)
            )
            written += sum(not isinstance(effect, Announcement | Note | ContinueLater) for effect in answer.effects)
        return answer, Cost(facts.read + 1, written, rounds)

    def send(self, run: int, signal: Signal) -> Transition | Refused:
        """Decides, commits and performs the effects, those on other runs included."""
        return self.names.send(run, signal) if self.names.used else self.unit(run, signal)

    def unit(self, run: int, signal: Signal) -> Transition | Refused:
        group: deque[Pending] = deque([(run, signal)])
        first: Transition | Refused | None = None
        applied = 0
        names = self.names
        while group or names.asked:
            applied += 1
            assert applied < 10_000, "runs signal one another without end"
            if names.asked:
                asked = names.asked.popleft()
                names.give(asked)
                names.answered(asked, self.one(asked.run, asked.signal, group))
                continue
            target, what = group.popleft()
            answer = self.one(target, what, group)
            first = first if first is not None else answer
        assert first is not None
        if self.thorough and not self.folding:
            check_counters(self)
        return first

    def one(self, run: int, signal: Signal, group: deque[Pending]) -> Transition | Refused:
        signal = msgspec.convert(msgspec.to_builtins(signal), type(signal))  # as it comes out of a store
        if run not in self.runs and not isinstance(signal, Start):
            return Refused(Code.NOT_FOUND, f"run {run}")  # the child was never started, or the parent removed
        answer, cost = self.decide(run, signal)
        self.costs.append(cost)
        if isinstance(answer, Refused):
            assert signal.strict, f"a tolerant signal is refused: {signal!r} {answer!r}"
            assert answer.code
            assert answer.detail
            if isinstance(signal, Start) and signal.parent_n:
                why = ChildEnded(n=signal.parent_n, child=run, era=0, status=int(RunStatus.FAILED), reason=answer.detail)
                group.append((signal.parent, why))
            elif isinstance(signal, Start) and is_linked(signal.parent, signal.parent_n):
                group.append((signal.parent, never_started()))
            return answer
        if not any(isinstance(effect, Note) for effect in answer.effects):
            self.told.append((run, answer.run.era, signal))
        used = {effect.key for effect in answer.effects if isinstance(effect, StartRun)}
        tallies = [effect for effect in answer.effects if isinstance(effect, Tally)]
        used.update(then.key for effect in tallies for then in (effect.reached, effect.fallen) if then is not None)
        self.keys = max([self.keys, *used])
        answer = deepcopy_transition(answer)
        if self.names.used:
            self.names.touch(run)
        rows = self.runs.get(run) or Rows(run)
        self.apply(rows, answer, signal)
        self.runs[run] = rows
        self.perform(rows, answer, group)
        check_run(self, rows, answer)
        return answer

    def do(self, run: int, signal: Signal) -> Transition:
        answer = self.send(run, signal)
        assert isinstance(answer, Transition), f"refused: {answer}"
        return answer

    def pause_process(self, name: str, *, refuses: bool = False, tell: bool = True) -> None:
        """`tell`: all its runs at once; else `tell_process` does that whenever it is called."""
        self.paused[name] = f.ProcessPause(self.now, "ann", "stocktaking", refuses)
        if tell:
            self.tell_process(name)

    def resume_process(self, name: str, *, tell: bool = True) -> None:
        self.paused.pop(name, None)
        if tell:
            self.tell_process(name)

    def tell_process(self, name: str) -> None:
        for run in sorted(self.runs):
            if self.definitions[self.head(run).definition].name == name and not self.status(run).ended:
                self.do(run, FollowProcess())
        self.settle()

    def refuse(self, run: int, signal: Signal) -> Refused:
        before = self.snapshot()
        answer = self.send(run, signal)
        assert isinstance(answer, Refused), f"not refused: {answer}"
        assert self.snapshot() == before
        return answer

    # ---- committing

    def apply(self, rows: Rows, change: Transition, signal: Signal) -> None:  # noqa: C901 - one check after another
        old, new = rows.head, change.run
        assert change.created == (old is None), "created"
        assert len(encode(new)) <= HEAD_BYTES, f"head of {len(encode(new))} bytes: {new}"
        if old is not None:
            assert new.rev == old.rev + 1
            assert new.era >= old.era
            if RunStatus(old.status).ended:
                touched = change.opened or change.changed or change.closed or change.ended or change.reopened or change.threads
                if touched or new.status != old.status:
                    assert isinstance(signal, Rewind | Rescue | ChildReopened), f"{signal!r} changed a finished run"
                    assert new.era > old.era
                if change.record_change is not None:
                    assert isinstance(signal, Amend | Retire | Rewind), f"{signal!r} changed the record of a finished run"
                    assert new.era > old.era
            if new.era > old.era and not isinstance(signal, Amend | Retire):  # those two give out no numbers again
                rows.used.clear()
                rows.finished.clear()
        rows.head = new
        for n in change.reopened:
            rows.unindex(rows.ended.pop(n))
        reopened = set(change.reopened)
        for n in change.closed:
            rows.unindex(rows.open.pop(n))
        for row in change.opened:
            assert row.n not in rows.open, f"{row.n} is open already"
            assert row.n not in rows.ended, f"{row.n} has ended already"
            if row.n not in reopened:
                assert row.n not in rows.used, f"{row.n} is used again in the same era"
                rows.used.add(row.n)
            rows.open[row.n] = row
            rows.index(row)
        for row in change.changed:
            assert row.n in rows.open, f"{row.n} is changed but not open"
            mine = rows.open[row.n]
            assert (mine.slot, mine.scope, mine.it, mine.thread) == (row.slot, row.scope, row.it, row.thread)
            rows.open[row.n] = row
        for step in change.ended:
            assert step.n not in rows.open, f"{step.n} has ended and is open"
            old_step = rows.ended.get(step.n)
            if old_step is not None:
                # The only change to an ended row: an attempt that another one follows is marked, or the start is replaced.
                assert step.n == 0 or (old_step.status == step.status and old_step.output == step.output), f"{step.n} ended twice"
            else:
                assert step.n == 0 or step.n not in rows.finished, f"{step.n} ended twice in an era"
                rows.finished.add(step.n)
            rows.ended[step.n] = step
            rows.index(step)
        for thread in change.threads:
            rows.threads[thread.no] = thread
        for no, name, value in change.variables:
            if value is UNSET:
                rows.vars.pop((no, name), None)
            else:
                rows.vars[no, name] = value
        for n, node, value, parent in change.fragments:
            rows.fragments[n] = (n, node, value, parent)
        if change.record_change is not None:
            self.apply_book(rows, change.record_change)
        if any(isinstance(effect, Note) for effect in change.effects):
            parts = (change.opened, change.changed, change.closed, change.ended, change.reopened, change.threads)
            assert not any(bool(part) for part in parts), "a signal that was noted as refused has changed rows"
            assert not change.variables, "a signal that was noted as refused has changed variables"
            assert change.record_change is None, "a signal that was noted as refused has changed the record"
            assert len(change.effects) == 1

    def apply_book(self, rows: Rows, book: RecordChange) -> None:
        assert (book.record is None) == book.gone
        assert book.loaded.record == rows.record, "the book does not begin where the store stands"
        if book.record is not None and book.record is not rows.record:
            assert book.record != rows.record, "a value that is none was written"
        rows.past += book.past
        rows.record = book.record
        for name, text, added in book.attributes:
            assert ((name, text) in rows.attributes) != added, f"{name}={text} is {'there already' if added else 'not there'}"
            (rows.attributes.add if added else rows.attributes.discard)((name, text))

    def perform(self, rows: Rows, change: Transition, group: deque[Pending]) -> None:  # noqa: C901 - a table
        run = rows.run
        for effect in change.effects:
            match effect:
                case SetTimer(n, arm, epoch, due):
                    rows.timers[n, arm] = (epoch, due)
                case ClearTimers(n, arm):
                    for place in [place for place in rows.timers if place[0] == n and arm in ("", place[1])]:
                        del rows.timers[place]
                case Publish(n, attempt, sink, body):
                    assert not any((sent.run, sent.n, sent.attempt) == (run.key, n, attempt) for sent in self.sent), (
                        "published twice"
                    )
                    self.sent.append(Sent(run.key, n, attempt, sink, body))
                case StartRun():
                    self.start_child(run, effect, group)
                case SignalRun(key, signal) if effect.asked_by:
                    self.names.ask(Asked(key, signal, run.key, effect.asked_by))
                case SignalRun(key, signal, later):
                    (self.later if later or self.folding else group).append((key, signal))
                case Hold():
                    if effect.keeps:
                        self.kept.append([self.holds + 1 if effect.taken < 0 else 0, run.key, effect, effect.taken])
                    if effect.taken >= 0:
                        continue
                    self.hold(0 if effect.key and not effect.kept else run.key, effect)
                case Claim(number, n, keeps):
                    assert number in self.held, f"held row {number} is claimed but not there"
                    assert keeps == self.held[number][1].keeps
                    for each in self.kept:
                        each[3] = n if each[0] == number else each[3]
                    del self.held[number]
                case OpenCorrelation(n, name, key):
                    rows.keys.add((n, name, key))
                case CloseCorrelations(n):
                    rows.keys = {place for place in rows.keys if place[0] != n}
                case Note():
                    self.notes.append((run.key, effect))
                case Announcement():
                    self.announced.append((run.key, effect))
                case ContinueLater():
                    self.later.append((run.key, Continue()))
                case Purge():
                    self.purge(rows, effect)
                case GiveReply(n, request, body):
                    self.sent.append(Sent(run.key, n, 0, f"reply:{request}", body))
                case KeepAttempt(attempt, forget):
                    self.attempts[attempt.run, attempt.n, attempt.number] = attempt
                    self.attempts.pop((run.key, attempt.n, forget), None)
                case KeepCheckpoint(kept):
                    self.checkpoints[kept.run, kept.n, kept.number] = kept
                case Tally():
                    self.add_up(effect)

    def add_up(self, tally: Tally) -> None:
        """As the store does it; a mark is told when it is crossed."""
        numbers = self.tallies.setdefault((tally.process, tally.node), {})
        before = numbers.get("standing", 0)
        after = numbers["standing"] = before + tally.by
        numbers["passed"] = numbers.get("passed", 0) + tally.passed
        for name, number in tally.sums:
            numbers[name] = numbers.get(name, 0) + number
        then = tally.reached if before < tally.at <= after else tally.fallen if after < tally.at <= before else None
        if then is not None:
            self.later.append((then.key, then))

    def standing(self, process: str, node: str) -> int:
        """How many tokens are counted at a node, by the rows."""
        rows = [row for each in self.runs.values() for row in each.open.values() if self.name_of(each) == process]
        return sum(row.slot == node and row.n > 0 for row in rows)

    def name_of(self, rows: Rows) -> str:
        return self.definitions[rows.run.definition].name if rows.run.definition else ""

    def start_child(self, run: Run, effect: StartRun, group: deque[Pending]) -> None:
        assert effect.key not in self.runs, f"run {effect.key} is started twice"
        sequel = not effect.n and not effect.linked
        signal = Start(
            key=effect.key,
            ns=run.ns,
            definition=effect.definition,
            input=effect.input,
            meta=effect.meta,
            parent=0 if sequel else run.key,
            parent_n=effect.n,
            root=0 if sequel else run.root,
            hops=run.hops + 1,
            trigger=effect.trigger,
        )
        if effect.name:
            name = self.definitions[effect.definition].name, effect.name
            self.names.ask(Asked(effect.key, signal, run.key, effect.named_by, name))
            return
        (self.later if effect.later or self.folding else group).append((effect.key, signal))

    def hold(self, owner: int, row: Hold) -> int:
        self.holds += 1
        self.held[self.holds] = (owner, row)
        return self.holds

    def purge(self, rows: Rows, effect: Purge) -> None:
        for n in [n for n in rows.ended if effect.low <= n < effect.high]:
            step = rows.ended[n]
            if not effect.scope or (step.scope == effect.scope and step.it < effect.it):
                rows.unindex(step)
                del rows.ended[n]
                rows.fragments.pop(n, None)
                for table in (self.attempts, self.checkpoints):
                    for key in [key for key in table if key[:2] == (rows.key, n)]:
                        del table[key]

    # ---- driving

    def starting(
        self, process: Process | str, input: Any = None, *, meta: StartMeta | None = None, trigger: Trigger | None = None
    ) -> Start:
        """The signal that starts a run under the next key."""
        definition = self.find(process) if isinstance(process, str) else process.definition
        self.keys += 1
        meta = meta or StartMeta()
        return Start(key=self.keys, ns=NS, definition=definition, input=input, meta=meta, trigger=trigger)

    def start(
        self,
        process: Process | str,
        input: Any = None,
        *,
        meta: StartMeta | None = None,
        trigger: Trigger | None = None,
        settle: bool = True,
        name: str = "",
    ) -> int:
        """`name`: its own, until it ends."""
        signal = self.starting(process, input, meta=meta, trigger=trigger)
        key = signal.key
        if name:
            self.names.runs[process if isinstance(process, str) else process.name, name] = key
        self.do(key, signal)
        if settle:
            self.settle()
        return key

    def settle(self, most: int = 100_000) -> int:
        """The commits that follow by themselves."""
        done = 0
        while self.later:
            run, signal = self.later.popleft()
            self.send(run, signal)
            done += 1
            assert done < most, "no end of commits"
        return done

    def report(self, run: int, slot: str | int, output: Any = None, **more: Any) -> Transition:
        """Reports on the open row of a slot, or on a number."""
        n = slot if isinstance(slot, int) else self.opened(run, slot).n
        answer = self.do(run, Report(n=n, output=output, **more))
        self.settle()
        return answer

    def fold(self, run: int, *signals: Signal) -> None:
        """Signals of one run that arrive together: advanced one after another, what they cause elsewhere follows."""
        self.folding = True
        try:
            for signal in signals:
                self.send(run, signal)
        finally:
            self.folding = False
        self.settle()

    def claimable(self, run: int = 0) -> list[OpenStep]:
        return [
            row
            for key, rows in sorted(self.runs.items())
            if not run or key == run
            for row in rows.open.values()
            if row.state == State.WORK and row.queue and not row.lease and row.due <= self.now
        ]

    def claim(self, run: int, slot: str | int, worker: str = "w") -> OpenStep:
        """Hands the work out: lease columns only, no revision."""
        rows = self.runs[run]
        row = rows.open[slot] if isinstance(slot, int) else self.opened(run, slot)
        assert row in self.claimable(run), f"not to be handed out: {row}"
        mine = deepcopy(row)
        mine.worker, mine.polls, mine.started = worker, row.polls + 1, self.now
        mine.lease = self.lease(mine)
        rows.open[mine.n] = mine
        return mine

    def lease(self, row: OpenStep) -> int:
        ends = [self.now + row.idle] if row.idle else []
        ends += [row.started + row.limit] if row.limit else []
        return min(ends, default=NEVER)

    def extend(self, run: int, n: int) -> None:
        """A sign of life: lease columns only, no revision."""
        mine = deepcopy(self.runs[run].open[n])
        mine.updated = self.now
        mine.lease = self.lease(mine)
        self.runs[run].open[n] = mine

    def due(self) -> list[tuple[int, int, int, TimerFired]]:
        """What is to fire by itself, soonest first: (time, run, n, signal)."""
        found = []
        for key, rows in self.runs.items():
            for (n, arm), (epoch, due) in rows.timers.items():
                found.append((due, key, n, TimerFired(n=n, arm=arm, epoch=epoch)))
            for row in rows.open.values():
                if row.lease and row.lease != NEVER:
                    spent = row.limit and row.started + row.limit <= row.lease
                    found.append((row.lease, key, row.n, TimerFired(n=row.n, arm="limit" if spent else "idle", epoch=row.polls)))
        found.sort(key=lambda item: (*item[:3], item[3].arm))
        return found

    def tick(self, ms: int) -> int:
        """Time passes; whatever falls due on the way happens at its time."""
        until = self.now + ms
        fired = 0
        while True:
            due = self.due()
            if not due or due[0][0] > until:
                break
            when, run, n, signal = due[0]
            self.now = max(self.now, when)
            timer = self.runs[run].timers.get((n, signal.arm))
            self.send(run, signal)
            if timer is not None and self.runs[run].timers.get((n, signal.arm)) == timer:
                del self.runs[run].timers[n, signal.arm]  # a timer that fired is gone, unless set anew
            self.settle()
            fired += 1
            assert fired < 10_000, f"{signal!r} fires for ever"
        self.now = until
        return fired

    def post(self, run: int, name: str, body: Any = None, *, thread: int = -1, position: int = -1, posted: int = 0) -> Transition:
        self.events += 1
        answer = self.do(
            run,
            EventArrived(id=self.events, name=name, body=body, thread=thread, position=position, posted=posted or self.now),
        )
        self.settle()
        return answer

    def announce(self, name: str, key: str, body: Any = None) -> int:
        """An event of a key in the namespace: to the waits for it, or held. Answers how many it went to."""
        self.events += 1
        waiting = sorted({run for run, rows in self.runs.items() if any(place[1:] == (name, key) for place in rows.keys)})
        taken = 0
        for run in waiting:
            answer = self.send(run, EventArrived(id=self.events, name=name, body=body, key=key, posted=self.now))
            taken += isinstance(answer, Transition)
        if not taken:
            self.hold(0, Hold(name, key, body, -1, -1, self.now, 0, None, ""))
        self.settle()
        return taken


def deepcopy_transition(change: Transition) -> Transition:
    """What a store gives back: rows that share nothing with what was decided."""
    copied: Transition = deepcopy(change, {id(UNSET): UNSET, id(change.acquired): change.acquired})
    return copied
