"""What the store tells: the reads of the port, on the connection of the event loop's thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pelton.kernel.model.state import OpenStep, Record, Run, Step, StepAttempt, StepCheckpoint
from pelton.store.group import Lookup
from pelton.store.packing import (
    decode_checkpoint,
    decode_copy,
    decode_delivery,
    decode_held,
    decode_pause,
    decode_pending_signal,
    kept_row,
    sticky_row,
)
from pelton.store.port import LAST_VERSION, MOST_COUNTED, HandlerChange, Outstanding
from pelton.store.prefetched import PREFETCH_RUNS, Prefetched
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
from pelton.store.salvage import (
    DefinitionColumns,
    attempt_from,
    dead_from,
    definition_from,
    event_from,
    held_from,
    secret_from,
)
from pelton.store.sqlite.encode import Numbers
from pelton.store.sqlite.prefetch import Prefetcher
from pelton.store.sqlite.reader import TOP, Reader
from pelton.store.sqlite.records import RecordReads
from pelton.store.sqlite.rows import event_ident
from pelton.store.sqlite.runs import RunReader
from pelton.store.sqlite.search.finder import RunFinder


class SqliteReads:
    """The half of the store that writes nothing. What it reads with is there while the store is open."""

    _finder: RunFinder
    _numbers: Numbers
    _prefetcher: Prefetcher
    _reader: Reader
    _records: RecordReads
    _runs: RunReader

    # ---- runs

    async def head(self, key: int) -> Run | None:
        return self._runs.head(key)

    async def prefetch(self, runs: Sequence[tuple[int, int]]) -> list[Prefetched | None]:
        return [self._prefetcher.prefetch(key, n) for key, n in runs[:PREFETCH_RUNS]]

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
        return self._finder.find(query, offset, limit)

    async def run_processes(self, ns: str) -> list[str]:
        return self._finder.processes(ns)

    async def at_node(self, ns: str, process: str, slot: str, after: tuple[int, int], limit: int) -> list[OpenStep]:
        line = self._numbers.lines.get((ns, process), 0)
        return self._reader.opens_listed(self._reader.all("open_at_node", line, slot, *after, limit)) if line else []

    async def count_at_node(self, ns: str, process: str, slot: str, most: int) -> int:
        line = self._numbers.lines.get((ns, process), 0)
        return (self._reader.value("count_at_node", line, slot, most) or 0) if line else 0

    async def count_live(self, ns: str, process: str, most: int) -> int:
        line = self._numbers.lines.get((ns, process), 0)
        return (self._reader.value("count_live", line, most) or 0) if line else 0

    async def pause(self, ns: str, process: str) -> PauseRow | None:
        body = self._reader.value("pause", ns, process)
        return None if body is None else decode_pause(body)

    async def run_keys(self, ns: str, kind: str, process: str, text: str, live: bool) -> list[int]:
        return self._runs.run_keys(ns, kind, process, text, live)

    async def attempts(self, run: int, n: int, after: int, limit: int) -> list[StepAttempt]:
        return [attempt_from(*row) for row in self._reader.all("attempts", run, n, after, limit)]

    async def checkpoint(self, run: int, n: int, number: int) -> StepCheckpoint | None:
        body = self._reader.value("checkpoint", run, n, number)
        return decode_checkpoint(body) if body is not None else None

    async def checkpoints(self, run: int, n: int, after: int, limit: int) -> list[StepCheckpoint]:
        return [decode_checkpoint(body) for (body,) in self._reader.all("checkpoints", run, n, after, limit)]

    async def logs(self, run: int, n: int, limit: int) -> list[LogRow]:
        return [LogRow(*row) for row in self._reader.all("logs", run, n, limit)]

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
        return [found for run in runs[:1000] if (found := self._records.record(run, 0)) is not None]

    # ---- rendezvous

    async def rendezvous(self, ns: str, name: str, key: str) -> int:
        return self._reader.value("rendezvous", ns, name, key) or 0

    async def waiting(self, ns: str, name: str, key: str, limit: int, last: bool = False) -> list[WaitKeyRow]:
        return [WaitKeyRow(*row) for row in self._reader.all("waiting_last" if last else "waiting", ns, name, key, limit)]

    async def held(self, ns: str, name: str, key: str, limit: int) -> list[HeldRow]:
        return self._held("held", ns, name, key, limit)

    async def held_for(self, run: int, limit: int) -> list[HeldRow]:
        return self._held("held_for", run, limit)

    async def kept(self, id: int) -> KeptRow | None:
        return next(iter(self._kept("kept", id)), None)

    async def kept_of(self, run: int, after: int, limit: int) -> list[KeptRow]:
        return self._kept("kept_run", run, after, limit)

    async def kept_named(self, ns: str, name: str, taken: bool | None, after: int, limit: int) -> list[KeptRow]:
        return self._kept("kept_name" if taken is None else "kept_taken" if taken else "kept_free", ns, name, after, limit)

    def _kept(self, name: str, *values: Any) -> list[KeptRow]:
        return [kept_row(*row) for row in self._reader.all(name, *values)]

    async def sticky(self, ns: str, name: str, key: str) -> StickyRow | None:
        return next(iter(self._sticky("sticky", ns, name, key)), None)

    async def sticky_named(self, ns: str, name: str, got: bool | None, after: str, limit: int) -> list[StickyRow]:
        return self._sticky("sticky_name" if got is None else "sticky_got" if got else "sticky_free", ns, name, after, limit)

    async def sticky_size(self, ns: str) -> tuple[int, int]:
        count, size = self._reader.one("sticky_size", ns)
        return count, size

    async def sticky_expired(self, now: int, limit: int) -> list[StickyRow]:
        return self._sticky("sticky_expired", now, limit)

    async def copies(self, sticky: int, after: int, limit: int) -> list[CopyRow]:
        return [decode_copy(body) for (body,) in self._reader.all("copies", sticky, after, limit)]

    def _sticky(self, name: str, *values: Any) -> list[StickyRow]:
        return [sticky_row(*row) for row in self._reader.all(name, *values)]

    async def held_all(self, ns: str, limit: int, after: tuple[int, int] = (-1, -1)) -> list[HeldRow]:
        return [held_from(*row) for row in self._reader.all("held_all", ns, limit, *after)]

    async def held_size(self, ns: str, name: str = "", key: str = "") -> tuple[int, int]:
        if name or key:
            count, size = self._reader.one("held_size", ns, name, key)
        else:
            count, size = self._reader.one("held_size_all", ns)
        return count, size

    async def results(self, job: int, after: tuple[int, int], limit: int) -> list[ResultRow]:
        return [ResultRow(*row) for row in self._reader.all("results", job, *after, limit)]

    async def held_expired(self, now: int, limit: int) -> list[HeldRow]:
        return [held_from(*row) for row in self._reader.all("held_expired", now, limit)]

    def _held(self, name: str, *values: Any) -> list[HeldRow]:
        return [decode_held(body) for (body,) in self._reader.all(name, *values)]

    # ---- work, timers, pending signals, outbox

    async def ready(self, queue: str, limit: int, after: tuple[int, int, int, int] | None = None) -> list[OpenStep]:
        if after is None:
            return self._reader.opens(self._reader.all("ready", queue, limit))
        priority, due, run, n = after
        return self._reader.opens(self._reader.all("ready_after", queue, limit, -priority, due, run, n))

    async def queue_sizes(self, handed_out: bool = True) -> dict[str, int]:
        sizes: dict[str, int] = dict(self._reader.all("sizes_ready"))
        for queue, count in self._reader.all("sizes_leased") if handed_out else ():
            sizes[queue] = sizes.get(queue, 0) + count
        return sizes

    async def outstanding(self, now: int, most: int = MOST_COUNTED) -> Outstanding:
        deliveries, dead, held, overdue, first, signals, pending = self._reader.one("outstanding", most, now)
        oldest = await self.deliveries(1) if deliveries else ()
        return Outstanding(deliveries, oldest[0].created if oldest else 0, dead, held, overdue, first, signals, pending - signals)

    async def leased(self, before: int, limit: int) -> list[OpenStep]:
        return self._reader.opens(self._reader.all("leased", before, limit))

    async def timers(self, before: int, limit: int) -> list[TimerRow]:
        return [TimerRow(*row) for row in self._reader.all("timers", before, limit)]

    async def pending_signals(self, limit: int) -> list[PendingSignalRow]:
        return [decode_pending_signal(body) for (body,) in self._reader.all("inbox", limit)]

    async def deliveries(self, limit: int, after: int = 0) -> list[Delivery]:
        found: list[Delivery] = []
        for number, tries, due, error, body in self._reader.all("deliveries", limit, after):
            row = decode_delivery(body)
            row.number, row.tries, row.due, row.error = number, tries, due, error
            found.append(row)
        return found

    async def dead(self, ns: str, limit: int, after: int = 0) -> list[DeadLetter]:
        return [_dead(row) for row in self._reader.all("dead", ns, limit, after)]

    async def dead_letter(self, number: int) -> DeadLetter | None:
        row = self._reader.one("dead_letter", number)
        return None if row is None else _dead(row)

    # ---- events

    async def event(self, ns: str, key: int) -> EventRow | None:
        row = self._reader.one("event", ns, key)
        return None if row is None else _event(row)

    async def event_by_id(self, ns: str, source: str, event_id: str) -> EventRow | None:
        ident = event_ident(ns, source, event_id)
        row = self._reader.one("event_by_id", ident)
        if row is not None:
            return _event(row)
        known = self._reader.one("known_event", ident)
        return None if known is None else forgotten_event(ns, source, event_id, *known)

    async def events(
        self, ns: str, *, type: str = "", state: str = "", after: int = 0, before: int = 0, limit: int = 100
    ) -> list[EventRow]:
        name = f"events_{'type_' if type else ''}{'state_' if state else ''}{'up' if after else 'down'}"
        wanted = (*((type,) if type else ()), *((state_number(state),) if state else ()))
        return [_event(row) for row in self._reader.all(name, ns, after or -TOP, before or TOP, limit, *wanted)]

    async def reply(self, ns: str, request: str) -> ReplyRow | None:
        row = self._reader.one("reply", ns, request)
        return None if row is None else ReplyRow(ns, request, *row)

    async def descendants(self, ns: str, ancestor: int) -> DescendantsRow | None:
        row = self._reader.one("descendants", ns, ancestor)
        return None if row is None else DescendantsRow(ns, ancestor, *row)

    async def tallies(self, ns: str, process: str, after: tuple[str, str] = ("", ""), limit: int = 1000) -> list[TallyValue]:
        line = self._numbers.lines.get((ns, process), 0)
        return [TallyValue(process, *row) for row in self._reader.all("tallies", line, *after, limit)]

    async def secret_named(self, ns: str, name: str) -> SecretRow | None:
        row = self._reader.one("secret", ns, name)
        return None if row is None else secret_from(*row)

    async def secrets(self, after: tuple[str, str], limit: int, ns: str = "") -> list[SecretRow]:
        rows = self._reader.all("secrets_of", ns, after[1], limit) if ns else self._reader.all("secrets", *after, limit)
        return [secret_from(*row) for row in rows]

    async def bookmarks(self, ns: str, source: str, after: str, limit: int) -> list[BookmarkRow]:
        return [BookmarkRow(ns, source, name, state) for name, state in self._reader.all("seen", ns, source, after, limit)]

    # ---- definitions

    async def definition(self, id: int) -> DefinitionRow | None:
        return _definition(self._reader.one("definition", id))

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
        most = limit or -1
        if at and name:
            rows = self._reader.all("definitions_name_at", ns, kind, most, name, version, at)
        elif at:
            rows = self._reader.all("definitions_at", ns, kind, most, after, version, at, after_version)
        elif name and version:
            rows = self._reader.all("definitions_version", ns, kind, most, name, version)
        elif name:
            rows = self._reader.all("definitions_name", ns, kind, most, name)
        elif version:
            rows = self._reader.all("definitions_any_version", ns, kind, most, "", version)
        else:
            rows = self._reader.all("definitions", ns, kind, most, after, after_version)
        return [row for found in rows if (row := _definition(found)) is not None]

    async def bound(self, ns: str, hash: bytes) -> DefinitionRow | None:
        return _definition(self._reader.one("bound", ns, hash))

    async def definition_counter(self, ns: str) -> int:
        return self._reader.value("definition_counter", ns) or 0

    async def namespaces(self) -> list[str]:
        return [ns for (ns,) in self._reader.all("namespaces")]

    async def handler_counter(self, ns: str) -> int:
        return self._reader.value("handler_counter", ns) or 0

    async def handler_changes(self, ns: str, after: int, limit: int) -> list[HandlerChange]:
        rows = self._reader.all("handler_changes", ns, after, limit)
        return [HandlerChange(counter, gone, _definition(row)) for counter, gone, *row in rows]

    # ---- servers that share the store

    async def nodes(self) -> list[NodeRow]:
        return [NodeRow(*row) for row in self._reader.all("nodes")]

    async def outcome(self, node: int, epoch: int, batch: int) -> set[int] | None:
        known = next((row for row in await self.nodes() if row.number == node), None)
        if known is None or known.epoch != epoch or known.batch < batch:
            return None
        return {part for (part,) in self._reader.all("outcome", node, batch)}

    async def claims(self, kind: str, limit: int, after: str = "") -> list[ClaimRow]:
        return [ClaimRow(*row) for row in self._reader.all("claims", kind, limit, after)]

    async def lookup(self, lookup: Lookup) -> int:
        return self._reader.value("lookup", *lookup) or 0


def _dead(row: Any) -> DeadLetter:
    number, body, ns = row
    return dead_from(number, ns, body)


def _event(row: Any) -> EventRow:
    body, outcome, key, ns, type_ = row
    return event_from(key, ns, type_, body, outcome)


def _definition(row: Any) -> DefinitionRow | None:
    if row is None or row[1] is None:
        return None
    until, body, *columns = row
    return definition_from(DefinitionColumns(*columns), until, body)
