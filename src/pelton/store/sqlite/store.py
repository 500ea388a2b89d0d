"""SqliteStore: a `Store` on one SQLite file, for one server.

Writes are encoded here and sent to the writer process (`writer`), which commits them in the order sent; several
commits may be in progress. Reads are done here, on the event loop's thread, and see what has been acknowledged. WAL,
`synchronous = FULL`: acknowledged data survives a power cut. With durability "relaxed" the last commits before a power cut may be
lost (but not those before a process is killed).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import apsw
import structlog
from msgspec import msgpack

from pelton.kernel.model.state import OpenStep, Record, Run, Step, StepAttempt, StepCheckpoint
from pelton.store.clock import SteadyClock
from pelton.store.group import Committed, Group, Lookup
from pelton.store.packing import (
    UNFIT,
    dead_from,
    decode_attempt,
    decode_checkpoint,
    decode_copy,
    decode_definition,
    decode_delivery,
    decode_held,
    decode_pause,
    decode_pending_signal,
    decode_secret,
    event_from,
    held_from,
    kept_row,
    pack,
    sticky_row,
)
from pelton.store.port import Durability, HandlerChange, RowCounts, StoreFailed
from pelton.store.retention import Sweep, Swept
from pelton.store.row_locks import Owner, RowLocks, RowName
from pelton.store.rows import (
    BookmarkRow,
    ClaimRow,
    CopyRow,
    DeadLetter,
    DefinitionRow,
    Delivery,
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
    TallyRow,
    TallyValue,
    TimerRow,
    WaitKeyRow,
    forgotten_event,
    net_tallies,
)
from pelton.store.sqlite import lives
from pelton.store.sqlite.due import due as due_rows
from pelton.store.sqlite.encode import LEASE_IF, TALLY, Assigned, Encoded, Numbers, entangled
from pelton.store.sqlite.files import StoreFiles, secure
from pelton.store.sqlite.link import WriterLink
from pelton.store.sqlite.locks import Locks
from pelton.store.sqlite.ops import SWEEP
from pelton.store.sqlite.reader import DAMAGED, TOP, Reader
from pelton.store.sqlite.records import RecordReads
from pelton.store.sqlite.rows import event_ident
from pelton.store.sqlite.runs import RunReader
from pelton.store.sqlite.schema import migrate

CLOCK_AHEAD = 250  # milliseconds that the saved clock runs ahead of: saved no more often than that
NUMBERS_AHEAD = 1000  # numbers reserved at a time
FILE = "pelton.db"  # in the directory of a store that is given as a URL
IN_FLIGHT = 64  # batches under way; a further commit waits
LOOK = 1.0  # seconds between looks at the files, and at whether writing works again
STALLED = 5.0  # seconds under way after which a commit makes the server unhealthy

log = structlog.get_logger("pelton.store")


class SqliteStore:
    """`clock`: epoch milliseconds, for tests; by default the machine's. See `clock.SteadyClock` for what the store makes of it.

    `wait`: how many seconds to wait for the writer of a killed server.
    """

    def __init__(
        self,
        path: str | Path,
        durability: Durability = "full",
        *,
        clock: Callable[[], int] | None = None,
        wait: float = 10.0,
    ) -> None:
        if durability not in ("full", "relaxed"):
            raise ValueError(f"durability {durability!r}: give 'full' or 'relaxed'")
        self.path = str(path)
        self.durability = durability
        self.counts = RowCounts()
        self.shared = False  # the file has one server
        self._clock = SteadyClock.of(clock) if clock is not None else SteadyClock()
        self._wait = wait
        self._locks = Locks(self.path)
        self._link = self._new_link()
        self._numbers = Numbers()
        self._row_locks = RowLocks()
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self._clock_saved = 0
        self._numbers_saved = [0, 0]  # deliveries, dead letters
        self._secret = b""
        self._schema = 0
        self._trouble = ""
        self._unwritten = ""  # why the last commit failed; "" if it did not
        self._files = StoreFiles(self.path)
        self._looking: asyncio.Task[None] | None = None
        self._db: apsw.Connection | None = None

    # ---- life

    async def open(self) -> None:
        """Raises StoreBusy or StoreFailed; see the protocol."""
        if self._db is not None:
            raise StoreFailed(f"{self.path} is already open in this store")
        try:
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            lives.check_emptied(self.path)
            await self._locks.take(self._wait)
            if secure(self.path):
                log.warning("the data could be read by other users of this machine; now it cannot", path=self.path)
        except OSError as error:
            self._locks.release()
            raise StoreFailed(f"cannot open {self.path}: {error.strerror}; check the path and its permissions") from error
        try:
            life = self._prepare()
            self._link = self._new_link()
            await self._link.start(self._written()[0], life)
            self._files = StoreFiles(self.path)
            self._files.lost()
            self._looking = asyncio.get_running_loop().create_task(self._look(), name="looks at the store's files")
        except BaseException as error:
            await self._shut()
            if isinstance(error, apsw.Error):
                raise StoreFailed(f"cannot open {self.path}: {type(error).__name__}: {error}") from error
            raise

    def _new_link(self) -> WriterLink:
        return WriterLink(self.path, self.durability, self._locks, self._wait, self._written)

    def _written(self) -> tuple[int, dict[int, list[str]]]:
        """The number of the last batch in the file, and the lost groups of recent ones, by number."""
        meta = dict(self._reader.all("meta"))
        losses = (msgpack.decode(value) for name, value in meta.items() if name.startswith("lost "))
        return meta.get("batch", 0), dict(losses)

    def _prepare(self) -> str:
        """Opens the file, and returns its new life."""
        doubtful = lives.has_foreign_log(self.path, self._locks.last_life())
        db = self._db = apsw.Connection(self.path, statementcachesize=256)
        db.set_busy_timeout(10_000)
        if doubtful:
            log.warning(
                "the file is not known to be the one that the log beside it was written for; it is verified", path=self.path
            )
            lives.check_sound(db, self.path)
        if not db.pragma("page_count"):  # a new file can give back what it no longer needs
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA cache_size = -32768")
        self._schema = migrate(db, self.path)
        life = lives.begin(db)
        db.execute("PRAGMA query_only = ON")
        self._reader = Reader(db, self.counts)
        numbers = self._numbers = Numbers()
        numbers.lines = {(ns, process): number for number, ns, process in self._reader.all("lines")}
        self._records = RecordReads(self._reader, numbers.lines)
        self._runs = RunReader(self._reader, numbers.lines, self._records)
        meta = dict(self._reader.all("meta"))
        self._secret = meta["secret"]
        self._clock_saved = meta.get("clock", 0)
        self._clock.resume(self._clock_saved)
        highest = self._reader.one("highest")
        numbers.delivery = max(highest[0], meta.get("delivery", 0))
        numbers.dead = max(highest[1], meta.get("dead", 0))
        self._numbers_saved = [numbers.delivery, numbers.dead]
        return life

    async def close(self) -> None:
        if self._db is None:
            return
        if not self._link.failure:
            last = Encoded()
            last.add("meta_put", ("clock", self.now()))
            last.add("meta_put", ("delivery", self._numbers.delivery))
            last.add("meta_put", ("dead", self._numbers.dead))
            try:
                await self._link.send(False, self.now(), 1, last.ops())
            except StoreFailed as failure:
                self._trouble = str(failure)
        await self._shut()

    async def _shut(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
            self._looking = None
        await self._link.close()
        if self._db is not None:
            self._db.close()
            self._db = None
        self._locks.release()

    async def _look(self) -> None:
        """Files that are gone end the store, as a failed sync does. While writing fails it is tried again, so that health is
        right also when nobody else tries."""
        try:
            while not self._link.failure:
                if reason := self._files.lost():
                    await self._link.give_up(reason)
                elif self._unwritten and not self._link.waiting:
                    with contextlib.suppress(StoreFailed):
                        await self._try()
                await asyncio.sleep(LOOK)
        except Exception as error:
            log.critical("the store's files are no longer looked at", exc_info=error)
            await self._link.give_up(f"the store's files could not be looked at: {type(error).__name__}: {error}")

    async def _try(self) -> None:
        """A commit that changes nothing but the saved clock."""
        batch = Encoded()
        batch.add("meta_put", ("clock", self.now()))
        self._answered(await self._link.send(False, self.now(), 1, batch.ops()))

    def _answered(self, answer: list[Any]) -> Any:
        """The lost groups of a batch. Raises StoreFailed if it was not written."""
        _, lost, trouble, *_ = answer
        if lost is None:
            self._unwritten = trouble
            raise StoreFailed(f"{self.path} could not be written: {trouble}")
        self._unwritten = ""
        self._trouble = trouble
        return lost

    async def lost(self) -> str:
        """Returns, with the reason, when nothing more can be written until the store is opened again."""
        await self._link.lost.wait()
        return self._link.failure

    def now(self) -> int:
        return self._clock()

    @property
    def secret(self) -> bytes:
        return self._secret

    # ---- writing

    async def commit(self, groups: Sequence[Group]) -> list[Committed]:
        """Groups of one call are checked as if applied one after another. Calls take effect in the order in which they start."""
        if self._room.locked():
            async with self._room:
                return await self._commit(groups)
        await self._room.acquire()  # free: does not suspend, so that the order of calls is kept
        try:
            return await self._commit(groups)
        finally:
            self._room.release()

    async def _commit(self, groups: Sequence[Group]) -> list[Committed]:
        if self._link.failure:
            raise StoreFailed(self._link.failure)
        now = self.now()
        batch = Encoded()
        assigned: list[Assigned | Committed] = []  # by group: what it was given, or what is wrong with it
        for group in groups:
            if self._row_locks and (barred := self._row_locks.bars(group)):
                assigned.append(Committed(group.number, False, barred))
                continue
            try:
                assigned.append(batch.take(group, self._numbers, now))
            except UNFIT as error:
                assigned.append(Committed(group.number, False, f"invalid: {error}"))
        if not batch.groups:
            return [answer for answer in assigned if isinstance(answer, Committed)]
        written = batch.count
        self._save(batch, now)
        try:
            answer = self._link.send(entangled(groups), now, batch.groups + 1, batch.ops())
        except UNFIT:
            return await self._commit_fit(groups, batch, assigned)
        given = await answer
        lost, rest = self._answered(given), given[3:]
        self.counts.commits += 1
        self.counts.rows_written += written
        results: list[Committed] = []
        place = 0
        for group, each in zip(groups, assigned, strict=True):
            if isinstance(each, Committed):
                results.append(each)
                continue
            results.append(self._outcome(group.number, each, lost[place]))
            if results[-1].ok:
                self._row_locks.end_replaced(group)
            place += 1
        if batch.asks:
            self._tell(groups, results, assigned, rest[2] if len(rest) > 2 else None)
        if TALLY in batch.rows:
            _tell_tallies(groups, results, assigned, rest[3] if len(rest) > 3 else None)
        return results

    def _tell(
        self,
        groups: Sequence[Group],
        results: list[Committed],
        assigned: Sequence[Assigned | Committed],
        unchanged: list[tuple[int, int, int]] | None,
    ) -> None:
        """Adds which leases and claims did not apply. `unchanged` None: the writer died before it could say; then none counts."""
        written = [result for result, each in zip(results, assigned, strict=True) if not isinstance(each, Committed)]
        if unchanged is None:
            for group, result in zip(groups, results, strict=True):
                result.untaken = [place for place, lease in enumerate(group.leases) if lease.expected >= 0]
                result.refused = list(range(len(group.claims)))
            return
        leases = {
            result.number: [n for n, lease in enumerate(group.leases) if lease.expected >= 0]
            for group, result in zip(groups, results, strict=True)
            if group.has("leases")
        }
        for op, owner, position in unchanged:
            result = written[owner]
            if op == LEASE_IF:
                result.untaken = [*result.untaken, leases[result.number][position]]
            else:
                result.refused = [*result.refused, position]

    async def _commit_fit(self, groups: Sequence[Group], batch: Encoded, assigned: list[Assigned | Committed]) -> list[Committed]:
        """A number beyond 64 bits in a column fails only its own group; the others are written without it."""
        unfit = batch.unfit()
        results: dict[int, Committed] = {}
        fit: list[Group] = []
        place = 0
        for group, each in zip(groups, assigned, strict=True):
            if isinstance(each, Committed):
                results[group.number] = each
                continue
            if place in unfit:
                results[group.number] = Committed(group.number, False, f"invalid: {unfit[place]}")
            else:
                fit.append(group)
            place += 1
        if fit:
            results.update((done.number, done) for done in await self._commit(fit))
        return [results[group.number] for group in groups]

    async def lock(self, owner: Owner, rows: Collection[RowName], wait: float) -> bool:
        """One server has the file, and needs this never; but several engines of one process may share the store."""
        locked = False
        if await self._row_locks.take(owner, rows, wait):
            try:
                await self.commit([Group(0)])  # what was sent before the rows were locked is written then
                locked = True
            finally:
                if not locked:
                    self._row_locks.give(owner, rows)
        return locked

    async def unlock(self, owner: Owner, rows: Collection[RowName]) -> None:
        self._row_locks.give(owner, rows)

    async def due(self, sweep: Sweep) -> int:
        return due_rows(self._reader, sweep)

    async def sweep(self, sweep: Sweep) -> Swept:
        if self._link.failure:
            raise StoreFailed(self._link.failure)
        given = await self._link.send(False, sweep.now, 1, {SWEEP: ([(pack(sweep),)], [0])})
        self._answered(given)
        rest = given[3:]
        if len(rest) < 2:  # the writer died after it had done it, before it could tell
            return Swept(0, True)
        removed, more, runs, kept = rest[1]
        return Swept(removed, more, tuple(runs), kept)

    def _outcome(self, number: int, assigned: Assigned, lost: str) -> Committed:
        if lost:
            return Committed(number, False, lost)
        for pair in assigned.lines:
            self._numbers.unsaved.discard(pair)
        return Committed(number, True, "", assigned.numbers, assigned.dead_numbers)

    def _save(self, batch: Encoded, now: int) -> None:
        """Saves counters ahead, so that the next start does not fall behind them and few batches need this. A separate, last
        group."""
        if now >= self._clock_saved:
            self._clock_saved = now + CLOCK_AHEAD
            batch.add("meta_put", ("clock", self._clock_saved))
        for place, (name, number) in enumerate((("delivery", self._numbers.delivery), ("dead", self._numbers.dead))):
            if number > self._numbers_saved[place]:
                self._numbers_saved[place] = number + NUMBERS_AHEAD
                batch.add("meta_put", (name, self._numbers_saved[place]))

    # ---- runs

    async def head(self, key: int) -> Run | None:
        return self._runs.head(key)

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

    async def at_node(self, ns: str, process: str, slot: str, after: tuple[int, int], limit: int) -> list[OpenStep]:
        line = self._numbers.lines.get((ns, process), 0)
        return self._reader.opens(self._reader.all("open_at_node", line, slot, *after, limit)) if line else []

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
        return [decode_attempt(body) for (body,) in self._reader.all("attempts", run, n, after, limit)]

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

    async def held_all(self, ns: str, limit: int) -> list[HeldRow]:
        return [held_from(*row) for row in self._reader.all("held_all", ns, limit)]

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

    async def events(self, ns: str, *, type: str = "", after: int = 0, before: int = 0, limit: int = 100) -> list[EventRow]:
        way = "up" if after else "down"
        bounds = (ns, after or -TOP, before or TOP, limit)
        if type:
            return [_event(row) for row in self._reader.all(f"events_type_{way}", *bounds, type)]
        return [_event(row) for row in self._reader.all(f"events_{way}", *bounds)]

    async def reply(self, ns: str, request: str) -> ReplyRow | None:
        row = self._reader.one("reply", ns, request)
        return None if row is None else ReplyRow(ns, request, *row)

    async def tallies(self, ns: str, process: str, after: tuple[str, str] = ("", ""), limit: int = 1000) -> list[TallyValue]:
        line = self._numbers.lines.get((ns, process), 0)
        return [TallyValue(process, *row) for row in self._reader.all("tallies", line, *after, limit)]

    async def secret_named(self, ns: str, name: str) -> SecretRow | None:
        body = self._reader.value("secret", ns, name)
        return None if body is None else decode_secret(body)

    async def secrets(self, after: tuple[str, str], limit: int, ns: str = "") -> list[SecretRow]:
        rows = self._reader.all("secrets_of", ns, after[1], limit) if ns else self._reader.all("secrets", *after, limit)
        return [decode_secret(body) for (body,) in rows]

    async def bookmarks(self, ns: str, source: str, after: str, limit: int) -> list[BookmarkRow]:
        return [BookmarkRow(ns, source, name, state) for name, state in self._reader.all("seen", ns, source, after, limit)]

    # ---- definitions

    async def definition(self, id: int) -> DefinitionRow | None:
        return _definition(self._reader.one("definition", id))

    async def definitions(
        self, ns: str, kind: str, *, name: str = "", version: int = 0, at: int = 0, limit: int = 0, after: str = ""
    ) -> list[DefinitionRow]:
        most = limit or -1
        if at and name:
            rows = self._reader.all("definitions_name_at", ns, kind, most, name, version, at)
        elif at:
            rows = self._reader.all("definitions_at", ns, kind, most, after, version, at)
        elif name and version:
            rows = self._reader.all("definitions_version", ns, kind, most, name, version)
        elif name:
            rows = self._reader.all("definitions_name", ns, kind, most, name)
        elif version:
            rows = self._reader.all("definitions_any_version", ns, kind, most, "", version)
        else:
            rows = self._reader.all("definitions", ns, kind, most, after)
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

    def _free(self) -> int:
        """Bytes of the file that are free to be used again."""
        if self._db is None:
            return 0
        try:
            return int(self._db.pragma("freelist_count")) * int(self._db.pragma("page_size"))
        except DAMAGED as error:
            self._reader.damage = str(error)
            return 0

    def _unhealthy(self) -> str:
        """Why nothing can be committed now, or not be relied on; "" if all is well."""
        if self._link.failure:
            return self._link.failure
        if self._db is None:
            return "the store is not open"
        if self._reader.damage:
            return (
                f"a read found the file damaged: {self._reader.damage}; stop the server, and verify the file with `pelton check`"
            )
        if self._unwritten:
            return f"the last commit failed: {self._unwritten}"
        if self._link.waiting > STALLED:
            return f"a commit has been under way for {self._link.waiting:.0f} seconds"
        return ""

    async def health(self) -> dict[str, Any]:
        free = self._free()
        return {
            "store": "sqlite",
            "unhealthy": self._unhealthy(),
            "path": self.path,
            "durability": self.durability,
            "schema": self._schema,
            "free_bytes": free,
            "file_bytes": _size(self.path),
            "wal_bytes": _size(f"{self.path}-wal"),
            "failure": self._link.failure,
            "trouble": self._trouble,
            "clock": self._clock.state(),
            "writer_pid": self._link.pid,
            "writer_restarts": self._link.restarts,
            "writer": self._link.settings,
        }


def from_url(directory: str, durability: Durability) -> SqliteStore:
    """The store of `sqlite:DIRECTORY`, which is created if missing. Raises ValueError, OSError."""
    if not directory:
        raise ValueError("it names no directory: use sqlite:DIR")
    Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    return SqliteStore(Path(directory) / FILE, durability)


def _dead(row: Any) -> DeadLetter:
    number, body, ns = row
    return dead_from(number, ns, body)


def _event(row: Any) -> EventRow:
    body, outcome, key, ns, type_ = row
    return event_from(key, ns, type_, body, outcome)


def _definition(row: Any) -> DefinitionRow | None:
    if row is None or row[1] is None:
        return None
    found = decode_definition(row[1])
    found.until = row[0]
    return found


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def _tell_tallies(
    groups: Sequence[Group],
    results: list[Committed],
    assigned: Sequence[Assigned | Committed],
    tallied: list[tuple[int, int | float, int]] | None,
) -> None:
    """Adds the new values of what was added up. None: the writer died before it could say."""
    written = [
        (group, result) for group, result, each in zip(groups, results, assigned, strict=True) if not isinstance(each, Committed)
    ]
    if tallied is None:
        for group, result in written:
            if result.ok and group.has("tallies"):
                result.crossed = None
        return
    rows = {result.number: iter(net_tallies(group.tallies)) for group, result in written if group.has("tallies") and result.ok}
    for owner, value, crossed in tallied:
        result = written[owner][1]
        if result.ok:
            row: TallyRow = next(rows[result.number])
            result.tallies = [*result.tallies, TallyValue(row.process, row.node, row.name, value)]
            if crossed:
                result.crossed = [*(result.crossed or ()), crossed]
