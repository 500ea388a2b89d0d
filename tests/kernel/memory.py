"""The rows of runs in memory, with the indexes that a store would have, and the two ways in which the kernel is given facts."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from pelton.kernel.expressions.base import Evaluation, Outcome
from pelton.kernel.model import reads as f
from pelton.kernel.model.state import Bit, OpenStep, Record, Run, Step, Thread, ThreadStatus
from pelton.kernel.model.transition import UNSET, RecordChange

if TYPE_CHECKING:
    from tests.kernel.world import World


def plain(value: Any) -> Any:
    if isinstance(value, RecordChange):
        return [value.loaded, value.record, value.past, value.gone, value.attributes]
    return "UNSET" if value is UNSET else repr(value)


_encoder = msgspec.msgpack.Encoder(enc_hook=plain)


def encode(value: Any) -> bytes:
    return _encoder.encode(value)


class Ids:
    """Public ids, as simple as can be."""

    def run_id(self, key: int) -> str:
        return f"run-{key}"

    def step_id(self, key: int, n: int) -> str:
        return f"run-{key}/{n}"


class Rows:
    """One run's rows, with the indexes that a store would have."""

    def __init__(self, key: int) -> None:
        self.key = key
        self.head: Run | None = None
        self.open: dict[int, OpenStep] = {}
        self.ended: dict[int, Step] = {}
        self.threads: dict[int, Thread] = {}
        self.vars: dict[tuple[int, str], Any] = {}
        self.fragments: dict[int, tuple[int, str, Any, int]] = {}
        self.timers: dict[tuple[int, str], tuple[int, int]] = {}  # (n, arm) → (epoch, due)
        self.keys: set[tuple[int, str, str]] = set()
        self.slots: dict[str, list[int]] = {}
        self.places: dict[tuple[str, int, int], list[int]] = {}
        self.iterations: dict[tuple[str, int], list[int]] = {}
        self.used: set[int] = set()  # numbers opened in this era
        self.finished: set[int] = set()  # numbers ended in this era
        self.record: Record | None = None
        self.past: list[tuple[Record, int]] = []  # superseded values, and until when they held
        self.attributes: set[tuple[str, str]] = set()

    @property
    def run(self) -> Run:
        assert self.head is not None
        return self.head

    def void(self, n: int) -> bool:
        return any(low <= n < high for low, high in self.run.voids)

    def row(self, n: int) -> OpenStep | Step | None:
        found = self.open.get(n) or self.ended.get(n)
        return None if found is None or self.void(n) else found

    def newest(self, numbers: list[int] | None, below: int = 0) -> OpenStep | Step | None:
        for n in reversed(numbers or ()):
            if (not below or n < below) and not self.void(n):
                return self.row(n)
        return None

    def index(self, row: OpenStep | Step) -> None:
        for numbers in self.lists(row):
            at = bisect_left(numbers, row.n)
            if at == len(numbers) or numbers[at] != row.n:
                insort(numbers, row.n)

    def unindex(self, row: OpenStep | Step) -> None:
        for numbers in self.lists(row):
            at = bisect_left(numbers, row.n)
            if at < len(numbers) and numbers[at] == row.n:
                del numbers[at]

    def lists(self, row: OpenStep | Step) -> Iterator[list[int]]:
        if row.n >= 0:
            yield self.slots.setdefault(row.slot, [])
            yield self.places.setdefault((row.slot, row.scope, row.it), [])
            yield self.iterations.setdefault((row.slot, row.it), [])

    def steps(self) -> list[OpenStep | Step]:
        """As a view lists them."""
        numbers = sorted({n for n in self.open if n > 0} | set(self.ended))
        return [row for n in numbers if (row := self.row(n)) is not None]

    def stranded(self, limit: int) -> list[OpenStep]:
        numbers = [n for n, row in self.open.items() if n < 0 and row.bits & Bit.STRANDED]
        return [self.open[n] for n in sorted(numbers, reverse=True)[:limit]]

    def snapshot(self) -> bytes:
        return encode(
            [
                self.head,
                [self.open[n] for n in sorted(self.open)],
                [self.ended[n] for n in sorted(self.ended)],
                [self.threads[no] for no in sorted(self.threads)],
                sorted((no, name, encode(value)) for (no, name), value in self.vars.items()),
                [self.fragments[n] for n in sorted(self.fragments)],
                sorted((n, arm, epoch, due) for (n, arm), (epoch, due) in self.timers.items()),
                sorted(self.keys),
                [self.record, self.past, sorted(self.attributes)],
            ]
        )


class AllReads:
    """Everything is there."""

    def __init__(self, world: World, run: int, fresh: dict[Any, int]) -> None:
        self.world = world
        self.rows = world.runs.get(run) or Rows(run)
        self.fresh = fresh
        self.seen: list[tuple[Any, bytes]] = []
        self.spent: f.Spent | None = None

    @property
    def stamp(self) -> int:
        return self.world.stamp()

    @property
    def codec(self) -> Ids:
        return self.world.codec

    def watch(self, answer: Any) -> Any:
        """Remembers what was handed out, to see afterwards that nobody changed it."""
        self.seen.append((answer, encode(answer)))
        return answer

    def head(self) -> Run | None:
        return self.watch(self.rows.head)  # type: ignore[no-any-return]

    def open(self, n: int) -> OpenStep | None:
        return self.watch(self.rows.open.get(n))  # type: ignore[no-any-return]

    def newest(self, slot: str) -> OpenStep | Step | None:
        return self.watch(self.rows.newest(self.rows.slots.get(slot)))  # type: ignore[no-any-return]

    def at(self, slot: str, scope: int, it: int) -> OpenStep | Step | None:
        return self.watch(self.rows.newest(self.rows.places.get((slot, scope, it))))  # type: ignore[no-any-return]

    def step(self, n: int) -> OpenStep | Step | None:
        return self.watch(self.rows.row(n))  # type: ignore[no-any-return]

    def var(self, thread: int, name: str) -> list[Any] | None:
        place = (thread, name)
        return self.watch([self.rows.vars[place]]) if place in self.rows.vars else None

    def thread(self, no: int) -> Thread | None:
        return self.watch(self.rows.threads.get(no))  # type: ignore[no-any-return]

    def evaluated(self, question: Evaluation) -> Outcome | None:
        return self.world.run_script(question)

    def answer(self, key: Any) -> Any:
        if isinstance(key, f.RoomKey | f.WaiterKey | f.TakerKey):
            return self.world.names.has_room(key.taken) if isinstance(key, f.RoomKey) else None  # nobody is in a queue here
        if isinstance(key, f.NamedKey):
            return self.watch(self.world.names.find(self.rows.key, key))
        if isinstance(key, f.RefusalKey):
            return self.world.names.refusal(self.rows.key, key)
        return self.watch(self.lookup(key))

    def lookup(self, key: Any) -> Any:  # noqa: C901 - a table: one line a kind of key
        """The answer to any key: what a store would read."""
        rows = self.rows
        world = self.world
        match key:
            case f.NewestKey(slot):
                return rows.newest(rows.slots.get(slot))
            case f.SlotKey(slot, scope, it):
                return rows.newest(rows.places.get((slot, scope, it)))
            case f.IterationsKey():
                return self.iterations(key)
            case f.IterationKey(slot, it):
                return rows.newest(rows.iterations.get((slot, it)))
            case f.NewestBelowKey(slot, n):
                return rows.newest(rows.slots.get(slot), n)
            case f.PlaceBelowKey(slot, scope, it, n):
                return rows.newest(rows.places.get((slot, scope, it)), n)
            case f.PlaceKey(thread, position):
                return rows.newest([row.n for row in rows.steps() if (row.thread, row.position) == (thread, position)])
            case f.LastPlaceKey(thread, n):
                return max((row.position for row in rows.steps() if row.thread == thread and row.n < n), default=-1)
            case f.StrandedKey(limit):
                return rows.stranded(limit)
            case f.ThreadRowsKey(no):
                return [rows.open[n] for n in sorted(rows.open) if rows.open[n].thread == no]
            case f.ChildrenKey(no):
                return [t for _, t in sorted(rows.threads.items()) if t.parent == no and not ThreadStatus(t.status).ended]
            case f.WaitsKey(slot, after, limit):
                places = sorted((row.thread, row.n) for row in rows.open.values() if row.slot == slot and row.n > 0)
                return [rows.open[n] for no, n in places if (no, n) > after][:limit]
            case f.StepKey(n):
                return rows.open.get(n) if n < 0 else rows.row(n)
            case f.OpenKey():
                return [rows.open[n] for n in sorted(rows.open)]
            case f.EndedKey(low, high, limit):
                numbers = sorted((n for n in rows.ended if low <= n < high and not rows.void(n)), reverse=True)
                return [rows.ended[n] for n in numbers[:limit]]
            case f.VarKey(thread, name):
                return self.var(thread, name)
            case f.VarsKey(thread):
                return {name: value for (no, name), value in rows.vars.items() if no == thread}
            case f.ThreadKey(no):
                return rows.threads.get(no)
            case f.ThreadsKey():
                return [rows.threads[no] for no in sorted(rows.threads)]
            case f.FragmentKey(n):
                acquired = world.acquired(rows, n)
                return acquired if acquired is not None and acquired.parent >= 0 else None
            case f.FragmentsKey():
                kept = [rows.fragments[n] for n in sorted(rows.fragments) if not rows.void(n)]
                return [
                    (n, node, made.fragment)
                    for n, node, _, parent in kept
                    if parent < 0 and (made := world.acquired(rows, n)) is not None
                ]
            case f.CompiledKey(definition, node, value):
                return world.compiled(definition, node, value)
            case f.EvaluationKey(question):
                return world.run_script(question)
            case f.NewRunKey():
                return self.fresh.setdefault(key, world.fresh_key(len(self.fresh)))
            case f.DefinitionKey(_, name, version, _):
                return world.find(name, version)
            case f.InlineKey(_, body):
                return world.compile_inline(body)
            case f.ProcessKey(definition):
                return world.definitions.get(definition)
            case f.RunKey(other):
                theirs = world.runs.get(other)
                return theirs.head if theirs is not None else None
            case f.HeldKey(name, held_key):
                return [held for held in world.held_for(rows.key, name, held_key) if key.admits(held)][: f.HELD_PAGE]
            case f.KeptKey():
                return int(world.has_kept(rows.key, key))
            case f.RecordKey() | f.PausedKey():
                return rows.record if isinstance(key, f.RecordKey) else world.paused.get(key.process)
            case f.FoundKey(name, text):
                return world.found(name, text)
            case _:
                raise AssertionError(f"the kernel asks for {key!r}, which no store answers")

    def iterations(self, key: f.IterationsKey) -> f.Iterations:
        found: list[OpenStep | Step] = []
        size = 0
        for it in range(key.high - 1, key.low - 1, -1):
            rows = [self.rows.newest(self.rows.places.get((slot, key.scope, it))) for slot in key.slots]
            there = [row for row in rows if row is not None]
            more = sum(len(encode(row)) for row in there)
            if found and size + more > key.size:
                return f.Iterations(it + 1, found, size)
            size += more
            found += there
        return f.Iterations(key.low, found, size)


class NoReads:
    """Nothing is there but the head, until it has been asked for."""

    def __init__(self, source: AllReads) -> None:
        self.source = source
        self.known: dict[Any, Any] = {}
        self.read = 0
        self.spent: f.Spent | None = None

    @property
    def stamp(self) -> int:
        return self.source.stamp

    @property
    def codec(self) -> Ids:
        return self.source.codec

    def fetch(self, keys: tuple[Any, ...]) -> None:
        for key in keys:
            assert key not in self.known, f"{key!r} is asked for though it is there"
            answer = self.source.answer(key)
            self.known[key] = answer
            if isinstance(answer, f.Iterations):
                answer = f.Iterations(answer.first, answer.steps, answer.size)
                self.read += len(answer.steps)
            many = isinstance(answer, list | dict) and not isinstance(key, f.VarKey)
            self.read += max(len(answer), 1) if many else 1

    def answer(self, key: Any) -> Any:
        if key not in self.known:
            raise f.Missing(key)
        return self.known[key]

    def head(self) -> Run | None:
        return self.source.head()

    def open(self, n: int) -> OpenStep | None:
        found = self.answer(f.StepKey(n))
        return found if isinstance(found, OpenStep) else None

    def newest(self, slot: str) -> OpenStep | Step | None:
        return self.answer(f.NewestKey(slot))  # type: ignore[no-any-return]

    def at(self, slot: str, scope: int, it: int) -> OpenStep | Step | None:
        return self.answer(f.SlotKey(slot, scope, it))  # type: ignore[no-any-return]

    def step(self, n: int) -> OpenStep | Step | None:
        return self.answer(f.StepKey(n))  # type: ignore[no-any-return]

    def var(self, thread: int, name: str) -> list[Any] | None:
        return self.answer(f.VarKey(thread, name))  # type: ignore[no-any-return]

    def thread(self, no: int) -> Thread | None:
        return self.answer(f.ThreadKey(no))  # type: ignore[no-any-return]

    def evaluated(self, question: Evaluation) -> Outcome | None:
        return self.known.get(f.EvaluationKey(question))
