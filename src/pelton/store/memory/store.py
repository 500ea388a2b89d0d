"""MemoryStore: a `Store` in the memory of this process, for tests and trials.

It fulfils the port's whole contract except durability: committed data exists as long as the object does, even across
`close` and another `open`. A commit takes effect immediately, and yields to other tasks before it returns.

Cost: a few microseconds per row; memory for everything written and not removed.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from typing import Any

from pelton.kernel.model.state import OpenStep, Record, Run, Step, StepAttempt, StepCheckpoint
from pelton.store.clock import SteadyClock
from pelton.store.group import Committed, Group, Lookup
from pelton.store.memory import shared
from pelton.store.memory.records import MemoryRecords
from pelton.store.memory.runs import TOP, MemoryRuns
from pelton.store.memory.sweeps import due, sweep_tables
from pelton.store.memory.table import LAST, PRIMARY
from pelton.store.memory.tables import DeadBody, DefinitionBody, EventBody, HeldBody
from pelton.store.memory.writes import Writes
from pelton.store.packing import (
    decode_checkpoint,
    decode_copy,
    decode_delivery,
    decode_held,
    decode_pending_signal,
    kept_row,
    sticky_row,
)
from pelton.store.port import LAST_VERSION, MOST_COUNTED, Durability, HandlerChange, Outstanding, RowCounts, StoreFailed
from pelton.store.prefetched import PREFETCH_RUNS, Prefetched
from pelton.store.retention import Sweep, Swept
from pelton.store.row_locks import Owner, RowLocks, RowName
from pelton.store.rows import (
    BookmarkRow,
    ClaimRow,
    CopyRow,
    DeadLetter,
    DefinitionRow,
    Delivery,
    DescendantsRow,
    EventRow,
    HeldRow,
    KeptRow,
    LogRow,
    NodeRow,
    PauseRow,
    PendingSignalRow,
    ReplyRow,
    ResultRow,
    SecretRow,
    StickyRow,
    TallyValue,
    TimerRow,
    WaitKeyRow,
    forgotten_event,
    state_number,
)
from pelton.store.run_query import RunQuery
from pelton.store.salvage import DefinitionColumns, attempt_from, dead_from, definition_from, event_from, held_from

READS_LIMIT = 1000


class MemoryStore:
    """`clock`: epoch milliseconds; by default the system's."""

    def __init__(self, *, clock: Callable[[], int] | None = None) -> None:
        self.counts = RowCounts()
        self.shared = False  # the object has one server
        self._clock = SteadyClock.of(clock) if clock is not None else SteadyClock()
        self._secret = os.urandom(32)
        self._writes = Writes()
        self._tables = self._writes.tables
        self._records = MemoryRecords(self._tables, self.counts)
        self._runs = MemoryRuns(self._tables, self._records, self.counts)
        self._row_locks = RowLocks()
        self._open = False
        self._failure = asyncio.Event()  # never set: memory does not fail

    # ---- life

    async def open(self) -> None:
        """Raises StoreFailed if it is already open."""
        if self._open:
            raise StoreFailed("this memory store is already open")
        self._open = True

    async def close(self) -> None:
        self._open = False

    async def lost(self) -> str:
        """Never returns."""
        await self._failure.wait()
        return ""

    def now(self) -> int:
        return self._clock()

    @property
    def secret(self) -> bytes:
        return self._secret

    # ---- writing

    async def commit(self, groups: Sequence[Group]) -> list[Committed]:
        """Raises StoreFailed if it is not open."""
        if not self._open:
            raise StoreFailed("the store is closed")
        outcomes = [self._apply(group) for group in groups]
        self.counts.commits += 1 if groups else 0
        self.counts.rows_written = self._writes.rows_written
        await asyncio.sleep(0)
        return outcomes

    def _apply(self, group: Group) -> Committed:
        if self._row_locks and (barred := self._row_locks.bars(group)):
            return Committed(group.number, False, barred)
        done = self._writes.apply(group)
        if done.ok:
            self._row_locks.end_replaced(group)
        return done

    async def lock(self, owner: Owner, rows: Collection[RowName], wait: float) -> bool:
        return await self._row_locks.take(owner, rows, wait)

    async def unlock(self, owner: Owner, rows: Collection[RowName]) -> None:
        self._row_locks.give(owner, rows)

    async def due(self, sweep: Sweep) -> int:
        return due(self._tables, sweep)

    async def sweep(self, sweep: Sweep) -> Swept:
        """Raises StoreFailed if it is not open."""
        if not self._open:
            raise StoreFailed("the store is closed")
        swept = sweep_tables(self._writes.tables, sweep)
        self._writes.journal.keep()
        await asyncio.sleep(0)
        return swept

    # ---- runs

    async def head(self, key: int) -> Run | None:
        return self._runs.head(key)

    async def prefetch(self, runs: Sequence[tuple[int, int]]) -> list[Prefetched | None]:
        return [self._runs.prefetch(key, n) for key, n in runs[:PREFETCH_RUNS]]

    async def read(self, run: Run, keys: Sequence[Any]) -> list[Any]:
        return [self._runs.answer(run, key) for key in keys]

    async def steps(self, run: Run, after: int, limit: int) -> list[OpenStep | Step]:
        return self._runs.steps(run, after, limit)

    async def runs(
        self,
        ns: str,
        *,
        process: str = "",
        live: bool | None = None,
        before: int = 0,
        since: int = 0,
        until: int = 0,
        limit: int = 100,
        status: int = -1,
    ) -> list[Run]:
        return self._runs.runs(ns, process, live, before, since, until, limit, status)

    async def find_runs(self, query: RunQuery, offset: int, limit: int) -> tuple[int, list[Run]]:
        return self._runs.find(query, offset, limit)

    async def run_processes(self, ns: str) -> list[str]:
        return self._runs.processes(ns)

    async def at_node(self, ns: str, process: str, slot: str, after: tuple[int, int], limit: int) -> list[OpenStep]:
        return self._runs.at_node((ns, process, slot), after, limit)

    async def count_at_node(self, ns: str, process: str, slot: str, most: int) -> int:
        return min(self._tables.open.count("node", (ns, process, slot), (ns, process, slot, LAST)), most)

    async def count_live(self, ns: str, process: str, most: int) -> int:
        return sum(1 for _ in islice(self._tables.runs.under("live", ns, process), most))

    async def pause(self, ns: str, process: str) -> PauseRow | None:
        return self._tables.pauses.get((ns, process))

    async def run_keys(self, ns: str, kind: str, process: str, text: str, live: bool) -> list[int]:
        return self._runs.run_keys(ns, kind, process, text, live)

    async def attempts(self, run: int, n: int, after: int, limit: int) -> list[StepAttempt]:
        rows = self._tables.attempts
        return [
            attempt_from(*key, rows.rows[key]) for key in islice(rows.keys(PRIMARY, (run, n, after + 1), (run, n, LAST)), limit)
        ]

    async def checkpoint(self, run: int, n: int, number: int) -> StepCheckpoint | None:
        body = self._tables.checkpoints.get((run, n, number))
        return decode_checkpoint(body) if body is not None else None

    async def checkpoints(self, run: int, n: int, after: int, limit: int) -> list[StepCheckpoint]:
        rows = self._tables.checkpoints
        keys = rows.keys(PRIMARY, (run, n, after + 1), (run, n, LAST))
        return [decode_checkpoint(rows.rows[key]) for key in islice(keys, limit)]

    async def logs(self, run: int, n: int, limit: int) -> list[LogRow]:
        logs = self._tables.logs
        return [LogRow(run, n, *logs.rows[key]) for key in islice(logs.under(PRIMARY, run, n), limit)]

    # ---- records

    async def record(self, run: int, at: int = 0) -> Record | None:
        return self._records.record(run, at)

    async def past(self, run: int, after: int = 0, limit: int = 1000) -> list[tuple[Record, int]]:
        return self._records.past(run, after, limit)

    async def records(
        self,
        ns: str,
        *,
        process: str = "",
        at: int = 0,
        live: bool | None = None,
        after: int = 0,
        limit: int = 500,
    ) -> list[Record]:
        return self._records.records(ns, process, at, live, after, limit)

    async def candidates(
        self, ns: str, process: str, conjuncts: Sequence[Sequence[tuple[str, str, bool]]], most: int
    ) -> list[int] | None:
        return self._records.candidates(ns, process, conjuncts, most)

    async def records_of(self, runs: Sequence[int]) -> list[Record]:
        return [found for run in runs[:READS_LIMIT] if (found := self._records.record(run, 0)) is not None]

    # ---- rendezvous

    async def rendezvous(self, ns: str, name: str, key: str) -> int:
        return self._tables.rendezvous.get((ns, name, key)) or 0

    async def waiting(self, ns: str, name: str, key: str, limit: int, last: bool = False) -> list[WaitKeyRow]:
        waits = self._tables.waits
        bounds = (ns, name, key), (ns, name, key, LAST)
        line = waits.back("since", *bounds) if last else waits.keys("since", *bounds)
        return [WaitKeyRow(*place, waits.rows[place]) for place in islice(line, limit)]

    async def held(self, ns: str, name: str, key: str, limit: int) -> list[HeldRow]:
        return self._held("key", (ns, name, key), limit)

    async def sticky(self, ns: str, name: str, key: str) -> StickyRow | None:
        return next(self._sticky(self._tables.sticky.under("key", ns, name, key)), None)

    async def sticky_named(self, ns: str, name: str, got: bool | None, after: str, limit: int) -> list[StickyRow]:
        index = "key" if got is None else "got" if got else "free"
        return list(islice(self._sticky(self._tables.sticky.keys(index, (ns, name, after, LAST), (ns, name, LAST))), limit))

    async def sticky_size(self, ns: str) -> tuple[int, int]:
        rows = [row for row in self._tables.sticky.rows.values() if row.ns == ns]
        return len(rows), sum(len(row.body) for row in rows)

    async def sticky_expired(self, now: int, limit: int) -> list[StickyRow]:
        return list(islice(self._sticky(self._tables.sticky.keys("expires", (), (now + 1,))), limit))

    async def copies(self, sticky: int, after: int, limit: int) -> list[CopyRow]:
        copies = self._tables.copies
        return [decode_copy(copies.rows[key]) for key in islice(copies.keys(PRIMARY, (sticky, after + 1), (sticky, LAST)), limit)]

    def _sticky(self, keys: Iterator[int]) -> Iterator[StickyRow]:
        rows = self._tables.sticky.rows
        return (sticky_row(rows[key].body, rows[key].got) for key in keys)

    async def held_for(self, run: int, limit: int) -> list[HeldRow]:
        return self._held("run", (run,), limit)

    async def kept(self, id: int) -> KeptRow | None:
        row = self._tables.kept.get(id)
        return None if row is None else kept_row(row.body, row.taken, row.n)

    async def kept_of(self, run: int, after: int, limit: int) -> list[KeptRow]:
        return self._kept("run", (run,), after, limit)

    async def kept_named(self, ns: str, name: str, taken: bool | None, after: int, limit: int) -> list[KeptRow]:
        return self._kept("name" if taken is None else "taken" if taken else "free", (ns, name), after, limit)

    def _kept(self, index: str, place: tuple[Any, ...], after: int, limit: int) -> list[KeptRow]:
        kept = self._tables.kept
        rows = [kept.rows[each] for each in islice(kept.keys(index, (*place, after + 1), (*place, LAST)), limit)]
        return [kept_row(row.body, row.taken, row.n) for row in rows]

    async def held_all(self, ns: str, limit: int, after: tuple[int, int] = (-1, -1)) -> list[HeldRow]:
        held, (posted, number) = self._tables.held, after
        return [_held(each, held.rows[each]) for each in islice(held.keys("ns", (ns, posted, number + 1), (ns, LAST)), limit)]

    async def held_size(self, ns: str, name: str = "", key: str = "") -> tuple[int, int]:
        held = self._tables.held
        ids = list(held.under("key", ns, name, key) if name or key else held.under("key", ns))
        return len(ids), sum(len(held.rows[each].body) for each in ids)

    async def results(self, job: int, after: tuple[int, int], limit: int) -> list[ResultRow]:
        results, (run, n) = self._tables.results, after
        keys = islice(results.keys(PRIMARY, (job, run, n + 1), (job, LAST)), limit)
        return [ResultRow(*key, *results.rows[key]) for key in keys]

    async def held_expired(self, now: int, limit: int) -> list[HeldRow]:
        held = self._tables.held
        return [_held(each, held.rows[each]) for each in islice(held.keys("expires", (), (now + 1,)), limit)]

    def _held(self, index: str, place: tuple[Any, ...], limit: int) -> list[HeldRow]:
        held = self._tables.held
        return [decode_held(held.rows[each].body) for each in islice(held.under(index, *place), limit)]

    # ---- work, timers, pending signals, outbox

    async def ready(self, queue: str, limit: int, after: tuple[int, int, int, int] | None = None) -> list[OpenStep]:
        low: tuple[Any, ...] = (queue,)
        if after is not None:
            priority, due, run, n = after
            low = (queue, -priority, due, run, n + 1)
        return self._runs.opens(islice(self._tables.open.keys("work", low, (queue, LAST)), limit))

    async def queue_sizes(self, handed_out: bool = True) -> dict[str, int]:
        rows = (row.step for row in self._tables.open.rows.values())
        return dict(Counter(step.queue for step in rows if step.queue and (handed_out or not step.lease)))

    async def outstanding(self, now: int, most: int = MOST_COUNTED) -> Outstanding:
        t, oldest = self._tables, await self.deliveries(1)
        dues = [row.due for row in t.timers.rows.values()]
        signals = min(most, sum(not row.parked for row in t.pending.rows.values()))
        return Outstanding(
            deliveries=min(most, len(t.deliveries.rows)),
            oldest_delivery=oldest[0].created if oldest else 0,
            dead_letters=min(most, len(t.dead.rows)),
            held=min(most, len(t.held.rows)),
            overdue=min(most, sum(due < now for due in dues)),
            oldest_timer=min(dues, default=0),
            signals=signals,
            parked_signals=min(most, len(t.pending.rows)) - signals,
        )

    async def leased(self, before: int, limit: int) -> list[OpenStep]:
        return self._runs.opens(islice(self._tables.open.keys("lease", (), (before,)), limit))

    async def timers(self, before: int, limit: int) -> list[TimerRow]:
        timers = self._tables.timers
        return [TimerRow(*key, *timers.rows[key]) for key in islice(timers.keys("due", (), (before,)), limit)]

    async def pending_signals(self, limit: int) -> list[PendingSignalRow]:
        pending = self._tables.pending
        return [decode_pending_signal(pending.rows[key].body) for key in islice(pending.under("due"), limit)]

    async def deliveries(self, limit: int, after: int = 0) -> list[Delivery]:
        found: list[Delivery] = []
        for number in islice(self._tables.deliveries.keys("number", (after + 1,), (LAST,)), limit):
            kept = self._tables.deliveries.rows[number]
            row = decode_delivery(kept.body)
            row.number, row.tries, row.due, row.error = number, kept.tries, kept.due, kept.error
            found.append(row)
        return found

    async def dead(self, ns: str, limit: int, after: int = 0) -> list[DeadLetter]:
        letters = self._tables.dead
        return [_dead(number, letters.rows[number]) for number in islice(letters.keys("ns", (ns, after + 1), (ns, LAST)), limit)]

    async def dead_letter(self, number: int) -> DeadLetter | None:
        row = self._tables.dead.get(number)
        return None if row is None else _dead(number, row)

    # ---- events

    async def event(self, ns: str, key: int) -> EventRow | None:
        row = self._tables.events.get(key)
        return None if row is None or row.ns != ns else _event(key, row)

    async def event_by_id(self, ns: str, source: str, event_id: str) -> EventRow | None:
        ident = (ns, source, event_id)
        key = self._tables.event_ids.get(ident)
        if key is not None:
            return _event(key, self._tables.events.rows[key])
        known = self._tables.known_events.get(ident)
        return None if known is None else forgotten_event(*ident, *known)

    async def events(
        self, ns: str, *, type: str = "", state: str = "", after: int = 0, before: int = 0, limit: int = 100
    ) -> list[EventRow]:
        events = self._tables.events
        index = ("type_state" if state else "type") if type else "state" if state else "ns"
        place = (ns, *((type,) if type else ()), *((state_number(state),) if state else ()))
        low, high = (*place, after + 1 if after else -TOP), (*place, before or TOP)
        keys = events.keys(index, low, high) if after else events.back(index, low, high)
        found = [_event(key, events.rows[key]) for key in islice(keys, limit)]
        self.counts.rows_read += len(found)
        return found

    async def secret_named(self, ns: str, name: str) -> SecretRow | None:
        return self._tables.secrets.get((ns, name))

    async def secrets(self, after: tuple[str, str], limit: int, ns: str = "") -> list[SecretRow]:
        secrets = self._tables.secrets
        low = (ns or after[0], after[1] + "\0") if after[1] else (ns or after[0], "")
        return [secrets.rows[key] for key in islice(secrets.keys(PRIMARY, low, (ns, LAST) if ns else (LAST,)), limit)]

    async def bookmarks(self, ns: str, source: str, after: str, limit: int) -> list[BookmarkRow]:
        bookmarks = self._tables.bookmarks
        low = (ns, source, after + "\0") if after else (ns, source)
        return [BookmarkRow(*key, bookmarks.rows[key]) for key in islice(bookmarks.keys(PRIMARY, low, (ns, source, LAST)), limit)]

    async def reply(self, ns: str, request: str) -> ReplyRow | None:
        row = self._tables.replies.get((ns, request))
        return None if row is None else ReplyRow(ns, request, row.body, row.expires)

    async def descendants(self, ns: str, ancestor: int) -> DescendantsRow | None:
        row = self._tables.descendants.get((ns, ancestor))
        return None if row is None else DescendantsRow(ns, ancestor, *row)

    async def tallies(self, ns: str, process: str, after: tuple[str, str] = ("", ""), limit: int = 1000) -> list[TallyValue]:
        tallies = self._tables.tallies
        low = (ns, process, after[0], after[1] + "\0") if after != ("", "") else (ns, process)
        found = islice(tallies.keys(PRIMARY, low, (ns, process, LAST)), limit)
        return [TallyValue(*key[1:], tallies.rows[key]) for key in found]

    # ---- definitions

    async def definition(self, id: int) -> DefinitionRow | None:
        row = self._tables.definitions.get(id)
        return None if row is None else _definition(id, row)

    async def definitions(
        self,
        ns: str,
        kind: str,
        *,
        name: str = "",
        version: int = 0,
        at: int = 0,
        limit: int = 0,
        after: str = "",
        after_version: int = LAST_VERSION,
    ) -> list[DefinitionRow]:
        definitions = self._tables.definitions
        low: tuple[Any, ...] = (ns, kind, name) if name else (ns, kind, after, after_version + 1)
        high = (ns, kind, name, LAST) if name else (ns, kind, LAST)
        rows = ((key, definitions.rows[key]) for key in definitions.keys("time" if at else "live", low, high))
        wanted = (
            (key, row)
            for key, row in rows
            if version in (0, row.version) and (not at or (row.since <= at and (not row.until or row.until > at)))
        )
        return [_definition(*each) for each in islice(wanted, limit or None)]

    async def bound(self, ns: str, hash: bytes) -> DefinitionRow | None:
        found = next(self._tables.definitions.under("bound", ns, hash), None)
        return None if found is None else _definition(found, self._tables.definitions.rows[found])

    async def definition_counter(self, ns: str) -> int:
        return self._tables.defined.get(ns) or 0

    async def namespaces(self) -> list[str]:
        return sorted(self._tables.counters.rows)

    async def handler_counter(self, ns: str) -> int:
        return self._tables.counters.get(ns) or 0

    async def handler_changes(self, ns: str, after: int, limit: int) -> list[HandlerChange]:
        found: list[HandlerChange] = []
        for key in islice(self._tables.changes.keys(PRIMARY, (ns, after + 1), (ns, LAST)), limit):
            gone, come = self._tables.changes.rows[key]
            row = self._tables.definitions.get(come)
            found.append(HandlerChange(key[1], gone, None if row is None else _definition(come, row)))
        return found

    # ---- servers that share the store

    async def nodes(self) -> list[NodeRow]:
        return shared.nodes(self._tables)

    async def outcome(self, node: int, epoch: int, batch: int) -> set[int] | None:
        return shared.outcome(self._tables, node, epoch, batch)

    async def claims(self, kind: str, limit: int, after: str = "") -> list[ClaimRow]:
        return shared.claims(self._tables, kind, limit, after)

    async def lookup(self, lookup: Lookup) -> int:
        return self._tables.lookups.get(lookup) or 0

    async def health(self) -> dict[str, Any]:
        rows = self._tables
        return {"store": "memory", "runs": len(rows.runs.rows), "events": len(rows.events.rows), "clock": self._clock.state()}


def from_url(rest: str, durability: Durability) -> MemoryStore:
    """The store of `memory:`. Raises ValueError."""
    if rest:
        raise ValueError("a memory store has no name: use memory:")
    return MemoryStore()


def _dead(number: int, row: DeadBody) -> DeadLetter:
    return dead_from(number, row.ns, row.body)


def _held(number: int, row: HeldBody) -> HeldRow:
    return held_from(number, row.ns, row.run, row.name, row.key, row.posted, row.expires, row.body)


def _event(key: int, row: EventBody) -> EventRow:
    return event_from(key, row.ns, row.type, row.body, row.outcome)


def _definition(id: int, row: DefinitionBody) -> DefinitionRow:
    columns = DefinitionColumns(id, row.ns, row.kind, row.name, row.version, row.since, row.hash)
    return definition_from(columns, row.until, row.body)
