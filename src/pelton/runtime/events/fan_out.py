"""Durable jobs: events that are for more runs than one commit may touch, and announcements on their way to becoming events.

A job is a row among the pending signals, written in the commit that caused it. (Rows that are one signal to one run are the
committer's own.) A fan-out job has a signal, a way to list the runs that it is for, and a cursor. A slice of it is one commit: at
most `SLICE` durable signals, one a run, and the job with its cursor behind them, or without the job when nothing is left. So each
run gets the signal exactly once, wherever the server stops; the committer applies and removes each durable signal in one commit.

Invariants:
* Announcements are posted in the order of their commits; posting one twice is harmless, since its id is that of the event.
* A job that fails is tried a bounded number of times, then parked with its reason: kept in the store, passed over, visible here.
  Temporary trouble of the server, such as a full disk, is no reason to park it, however long it lasts.
* A job makes its next slice only after the one before is committed, and while the committer is not behind (`backlog`).
* Memory is bounded; what does not fit stays in the store and is read when there is room.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from pelton.errors import Code, PeltonError
from pelton.kernel.model.signals import AnySignal, EventArrived
from pelton.kernel.model.state import Run
from pelton.runtime.api import EventIn
from pelton.runtime.commit.durable import DurableAnnouncement, durable
from pelton.runtime.services import Backoff, Clock, CommitPort, OwnedTasks, final, log, say, sleep
from pelton.store.group import Committed, Group
from pelton.store.packing import UNFIT, decoder, pack
from pelton.store.port import StoreFailed
from pelton.store.rows import PauseRow, PendingSignalRow

SLICE = 64
BACKLOG = 1_000  # durable signals that the committer has yet to apply: beyond it no slice is made
MOST = 10_000  # jobs in memory
AT_ONCE = 4  # fan-out jobs under way
ANNOUNCEMENTS = 100  # posted together
TRIES = 8
PAGE = 10_000
PARKED_SHOWN = 100
PAUSE = 20  # milliseconds between looks at the backlog
LOOK = 1_000  # milliseconds between reads of a store that has more


def _is_temporary(error: BaseException | None) -> bool:
    """Whether it is a trouble of the server rather than of the job."""
    return isinstance(error, StoreFailed | OSError) or (isinstance(error, PeltonError) and error.retryable)


class FanOut(Struct, tag="many", omit_defaults=True):
    """One signal for many runs. With `runs`: those keys, and the cursor is a position. Without: the live runs of `process` (""
    = any) in the namespace whose key is below the cursor, newest first; the first cursor is the newest key plus one.

    `positions`: with an event, the step of each run that it is for. `results`: the job under whose number the outcomes are
    stored; 0 = not stored. `hops`: number of signals and events that led here. `epoch`: of a pause of the process; the job is
    over when there is a later one, which has a job of its own."""

    ns: str
    signal: AnySignal
    runs: list[int] = []
    process: str = ""
    cursor: int = 0
    positions: list[int] = []
    results: int = 0
    hops: int = 0
    epoch: int = 0
    ancestor: int = 0  # as in Run


class PendingSignalStore(Protocol):
    async def pending_signals(self, limit: int) -> list[PendingSignalRow]: ...
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
    ) -> list[Run]: ...
    async def pause(self, ns: str, process: str) -> PauseRow | None: ...


_decode: Callable[[bytes], DurableAnnouncement | FanOut] = decoder(DurableAnnouncement | FanOut)


def durable_job(number: int, job: FanOut, due: int = 0) -> PendingSignalRow:
    """The row of a job, to be added to the group of the commit that causes it."""
    return PendingSignalRow(number, 0, pack(job), due, job=True)


class DurableJobs:
    """`take_up(row)` makes the committer apply a committed durable signal. `ingest(events)` records events and returns
    after the commit, with one outcome per event (an exception = not recorded). `keys` generates increasing row numbers."""

    def __init__(
        self,
        store: PendingSignalStore,
        committer: CommitPort,
        clock: Clock,
        keys: Callable[[], int],
        take_up: Callable[[PendingSignalRow], None],
        ingest: Callable[[Sequence[EventIn]], Awaitable[Sequence[Exception | None]]],
        *,
        backlog: Callable[[], int] = lambda: 0,
        most: int = MOST,
        tries: int = TRIES,
        backoff: Backoff | None = None,
    ) -> None:
        self.jobs = 0
        self.slices = 0
        self.signals = 0
        self.announcements = 0
        self._store = store
        self._committer = committer
        self._clock = clock
        self._keys = keys
        self._take_up = take_up
        self._ingest = ingest
        self._backlog = backlog
        self._most = most
        self._tries = tries
        self._backoff = backoff or Backoff(500, 60_000)
        self._known: dict[int, PendingSignalRow] = {}
        self._announcements: dict[int, tuple[PendingSignalRow, EventIn]] = {}  # to be posted, in order
        self._ingesting = False
        self._many: dict[int, tuple[PendingSignalRow, FanOut]] = {}  # to be begun, in order
        self._active = 0
        self._more = False  # the store has jobs that are not here
        self._done_lately: set[int] | None = None  # while the store is read
        self._parked: dict[int, str] = {}
        self._parked_count = 0
        self.mine: Callable[[int], bool] | None = None  # where others write too: whether a row is this server's to carry out
        self._running = False
        self._tasks = OwnedTasks("fanout")

    # ---- life

    async def start(self) -> None:
        """Returns when the jobs that an earlier server left are in memory, as far as there is room."""
        self._running = True
        await self._read()

    async def stop(self, grace: float = 5.0) -> None:
        """Jobs in progress may continue for so many seconds; every job is in the store."""
        self._running = False
        await self._tasks.stop(grace)

    def added(self, row: PendingSignalRow) -> None:
        """Called with a committed job. Rows that are not jobs, are parked or are known are skipped."""
        if not self._running or not row.job or row.parked or row.id in self._known:
            return
        if len(self._known) >= self._most:
            if not self._more:
                self._more = True
                self._tasks.spawn_vital(self._read_on(), "reading pending jobs")
            return
        self._keep(row)

    def health(self) -> dict[str, Any]:
        """`parked`: the latest 100 jobs given up since the start, by row number."""
        return {"parked": dict(self._parked)}

    def stats(self) -> dict[str, int]:
        return {
            "kept": len(self._known),
            "more_in_store": int(self._more),
            "active": self._active,
            "jobs": self.jobs,
            "slices": self.slices,
            "signals": self.signals,
            "facts": self.announcements,
            "parked": self._parked_count,
            "failures": self._tasks.failures,
        }

    # ---- what is there

    def _keep(self, row: PendingSignalRow) -> None:
        self._known[row.id] = row
        try:
            body = _decode(row.signal)
        except UNFIT as error:
            self._tasks.spawn(self._park(row, f"unreadable: {say(error)}"), "parking")
            return
        if isinstance(body, DurableAnnouncement):
            self._announcements[row.id] = (row, body.event)
            if not self._ingesting:
                self._ingesting = True
                self._tasks.spawn_vital(self._ingest_announcements(), "posting")
        else:
            self._many[row.id] = (row, body)
            self._begin()

    def _begin(self) -> None:
        while self._running and self._many and self._active < AT_ONCE:
            number = next(iter(self._many))
            row, job = self._many.pop(number)
            self._active += 1
            self._tasks.spawn(self._carry_out(row, job), f"job {number}")

    def _forget(self, row: PendingSignalRow) -> None:
        self._known.pop(row.id, None)
        if self._done_lately is not None:
            self._done_lately.add(row.id)

    async def _read(self) -> None:
        """Reads jobs from the store as far as there is room. Raises what the store raises."""
        done: set[int] = set()
        self._done_lately = done
        try:
            rows = await self._store.pending_signals(PAGE)
        finally:
            self._done_lately = None
        for row in rows:
            if row.job and row.id not in done and (self.mine is None or self.mine(row.id)):
                self.added(row)

    async def look(self) -> None:
        """Reads what a server that is gone has left."""
        if self._running:
            await self._read()

    async def _read_on(self) -> None:
        while self._more:
            await sleep(self._clock, LOOK)
            if len(self._known) > self._most // 2:
                continue
            try:
                self._more = False
                await self._read()
            except Exception as error:
                self._more = True
                log.warning("pending jobs not read", error=say(error))

    # ---- announcements

    async def _ingest_announcements(self) -> None:
        waited = 0  # rounds in a row with temporary trouble
        try:
            while self._announcements and self._running:
                batch = [self._announcements[number] for number in list(self._announcements)[:ANNOUNCEMENTS]]
                outcomes = await self._ingested([event for _, event in batch])
                done = [row for (row, _), result in zip(batch, outcomes, strict=True) if result is None]
                failures = waited = waited + 1 if any(map(_is_temporary, outcomes)) else 0
                for (row, _), result in zip(batch, outcomes, strict=True):
                    if result is None:
                        continue
                    if done or not _is_temporary(result):  # where another one was recorded it is this one's own trouble
                        row.tries += 1
                    if final(result) or row.tries >= self._tries:
                        del self._announcements[row.id]
                        await self._park(row, say(result))
                if done and await self._remove(done):
                    self.announcements += len(done)
                    for row in done:
                        del self._announcements[row.id]
                        self._forget(row)
                elif done:
                    failures = max(failures, 1)
                if failures:
                    await sleep(self._clock, self._backoff.delay(failures))
        finally:
            self._ingesting = False

    async def _ingested(self, events: list[EventIn]) -> list[Exception | None]:
        try:
            outcomes = list(await self._ingest(events))
        except Exception as error:
            if len(events) == 1 or (isinstance(error, PeltonError) and not final(error)):
                return [error] * len(events)
            return [(await self._ingested([event]))[0] for event in events]
        return outcomes

    async def _remove(self, rows: list[PendingSignalRow]) -> bool:
        result = await self._result(lambda group: group.pending_done.extend(row.id for row in rows))
        if result is None or result.ok or len(rows) == 1:
            return result is not None  # one that is gone has been posted by another server too, which is the same event
        return all([await self._remove([row]) for row in rows])

    async def _written(self, fill: Callable[[Group], None]) -> bool:
        result = await self._result(fill)
        return result is not None and result.ok

    async def _result(self, fill: Callable[[Group], None]) -> Committed | None:
        """None if nothing could be written."""
        try:
            return await self._committer.write(fill)
        except Exception as error:
            log.warning("job not noted", error=say(error))
            return None

    # ---- many runs

    async def _carry_out(self, row: PendingSignalRow, job: FanOut) -> None:
        failures = 0  # in a row, of any kind
        try:
            if row.due > self._clock.now():
                await sleep(self._clock, row.due - self._clock.now())
            while self._running:
                try:
                    if await self._slice(row, job):
                        self.jobs += 1
                        self._forget(row)
                        return
                    row.tries = failures = 0
                except Exception as error:
                    failures += 1
                    row.tries += not _is_temporary(error)
                    log.warning("a job failed", job=row.id, failures=failures, tried=row.tries, error=say(error))
                    if row.tries >= self._tries:
                        await self._park(row, say(error))
                        return
                    await sleep(self._clock, self._backoff.delay(failures))
        finally:
            self._active -= 1
            self._begin()

    async def _is_past(self, job: FanOut) -> bool:
        pause = await self._store.pause(job.ns, job.process)
        return pause is not None and pause.epoch > job.epoch

    async def _slice(self, row: PendingSignalRow, job: FanOut) -> bool:
        """One commit: the next runs' signals and the cursor. True if the job is done."""
        while self._backlog() > BACKLOG:
            await sleep(self._clock, PAUSE)
        if job.runs:
            runs = job.runs[job.cursor : job.cursor + SLICE]
            cursor = job.cursor + len(runs)
            over = cursor >= len(job.runs)
        else:
            found = await self._store.runs(job.ns, process=job.process, live=True, before=job.cursor, limit=SLICE)
            if job.epoch and await self._is_past(job):
                found = []
            runs = [run.key for run in found]
            cursor = runs[-1] if runs else job.cursor
            over = len(runs) < SLICE
        now = self._clock.now()
        body = durable(job.signal, job.hops, job.results, job.ns, job.ancestor)
        bodies = [body] * len(runs)
        if job.positions and isinstance(job.signal, EventArrived):
            places = job.positions[job.cursor : cursor]
            bodies = [durable(replace(job.signal, position=-1, n=n), job.hops, job.results, job.ns, job.ancestor) for n in places]
        signals = [PendingSignalRow(self._keys(), run, each, now) for run, each in zip(runs, bodies, strict=True)]
        rest = PendingSignalRow(
            self._keys(), row.run, b"", row.due, 0, True
        )  # another row: who has moved it has removed this one
        if not over:
            rest.signal = pack(replace(job, cursor=cursor))

        def fill(group: Group) -> None:
            group.pending_signals.extend(signals)
            group.pending_done.append(row.id)
            if not over:
                group.pending_signals.append(rest)

        if not over:
            self._known[rest.id] = row  # before the store has it
        try:
            result = await self._committer.write(fill)
        except BaseException:
            self._known.pop(rest.id, None)
            raise
        if not result.ok:
            self._known.pop(rest.id, None)
        if result.lost == f"signal {row.id}":
            return True  # another server carries the job out
        if not result.ok:
            raise PeltonError(Code.CONFLICT, f"the slice was not committed: {result.lost}")
        job.cursor = cursor
        if not over:
            self._forget(row)
            row.id, row.signal = rest.id, rest.signal
        self.slices += 1
        self.signals += len(signals)
        for signal in signals:
            self._take_up(signal)
        return over

    async def _park(self, row: PendingSignalRow, reason: str) -> None:
        """Sets the job aside for an operator; if even that cannot be written, the job is retried at the next start."""
        self._parked_count += 1
        self._parked[row.id] = reason
        if len(self._parked) > PARKED_SHOWN:
            self._parked.pop(next(iter(self._parked)))
        log.error("a job was set aside", job=row.id, reason=reason)
        parked = PendingSignalRow(self._keys(), row.run, row.signal, row.due, row.tries, True, reason)

        def fill(group: Group) -> None:
            group.pending_done.append(row.id)
            group.pending_signals.append(parked)

        await self._written(fill)
        self._forget(row)
