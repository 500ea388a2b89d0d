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

from pelton.store.clock import SteadyClock
from pelton.store.group import Committed, Group, LeaseWrite
from pelton.store.packing import (
    UNFIT,
    pack,
)
from pelton.store.port import Durability, RowCounts, StoreFailed
from pelton.store.retention import Sweep, Swept
from pelton.store.row_locks import Owner, RowLocks, RowName
from pelton.store.rows import (
    TallyRow,
    TallyValue,
    net_tallies,
)
from pelton.store.sqlite import lives
from pelton.store.sqlite.answers import SqliteReads
from pelton.store.sqlite.due import due as due_rows
from pelton.store.sqlite.encode import LEASE_IF, LEASE_LIMITED, TALLY, Assigned, Encoded, Numbers, entangled
from pelton.store.sqlite.files import StoreFiles, disk_free, secure
from pelton.store.sqlite.link import WriterLink
from pelton.store.sqlite.locks import Locks
from pelton.store.sqlite.ops import SWEEP
from pelton.store.sqlite.prefetch import Prefetcher
from pelton.store.sqlite.reader import DAMAGED, Reader
from pelton.store.sqlite.records import RecordReads
from pelton.store.sqlite.runs import RunReader
from pelton.store.sqlite.schema import migrate
from pelton.store.sqlite.search.finder import RunFinder

CLOCK_AHEAD = 250  # milliseconds that the saved clock runs ahead of: saved no more often than that
NUMBERS_AHEAD = 1000  # numbers reserved at a time
FILE = "pelton.db"  # in the directory of a store that is given as a URL
IN_FLIGHT = 64  # batches under way; a further commit waits
LOOK = 1.0  # seconds between looks at the files, and at whether writing works again
STALLED = 5.0  # seconds under way after which a commit makes the server unhealthy

log = structlog.get_logger("pelton.store")


class SqliteStore(SqliteReads):
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
        self._finder = RunFinder(self._reader, numbers.lines)
        self._prefetcher = Prefetcher(self._reader, self._runs, self._records)
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
        self._finder.totals.committed(groups, results)
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
                result.untaken = [place for place, lease in enumerate(group.leases) if _asked(lease)]
                result.refused = list(range(len(group.claims)))
            return
        leases = {
            (result.number, op): [n for n, lease in enumerate(group.leases) if _asked(lease) == op]
            for group, result in zip(groups, results, strict=True)
            if group.has("leases")
            for op in (LEASE_IF, LEASE_LIMITED)
        }
        for op, owner, position in unchanged:
            result = written[owner]
            if op in (LEASE_IF, LEASE_LIMITED):
                result.untaken = [*result.untaken, leases[result.number, op][position]]
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
        self._finder.totals.forget()
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

    # ---- health

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
            "disk_free_bytes": disk_free(self.path),
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


def _asked(lease: LeaseWrite) -> int:
    """The operation of which the writer tells whether it applied; 0 = it does not."""
    return LEASE_LIMITED if lease.limit is not None else LEASE_IF if lease.expected >= 0 else 0


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
