"""The committer: the only place where runs change.

Requests (signals, starts, events, rows of services) are performed one after another on the in-memory state and gathered into
the open batch. A batch is sent at once if none is being written, otherwise when the previous one is acknowledged or the batch
is large. The next batch is built on the in-memory state that the last one left, while that one is being written. A batch is a
list of commit groups: runs that signal one another share a group, and a lost group affects no other.

Invariants:
* A caller gets its response after its group is committed, even if the response is a refusal: a refusal decided on state that is
  not yet in the store waits for that state.
* A request that lacks something (a run, old steps, a script's result) leaves no trace, is set aside while that is read, and is
  performed again; no other run waits for it. A run is read from the store only while no unacknowledged batch holds it, and is
  not changed while it is being read.
* When a group is lost, its runs are dropped from memory, what was built on it is rebuilt, and its requests are performed again
  from the state in the store: immediately the first time, then with growing delays, `TRIES` times in all. Where other servers
  write too, its rows are locked first (`second_tries`).
* A request that raises an unexpected error is logged and set aside on its own.
* Everything is bounded: waiting requests (`queue`), requests and rows of a batch, batches in flight, rounds and keys of reads.

The in-memory state is the `workspace`. The `loader` reads what a request lacks; `pending_signals` handles the signals that
are rows in the store.

Cost: per signal no task, no await, no copy of a run; per batch one task.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog

from pelton.errors import Code, PeltonError, Stopping
from pelton.kernel.model.reads import EvaluationKey, Spent
from pelton.kernel.model.signals import Signal
from pelton.kernel.model.state import OpenStep
from pelton.runtime.api import Applied, OutboxHooks, TimerHooks, WatchHooks
from pelton.runtime.cache.reads import of_run
from pelton.runtime.cache.runs import RunEntry, work_row
from pelton.runtime.cache.shared import Shared
from pelton.runtime.commit.batch import BATCH_JOBS, Batch
from pelton.runtime.commit.confirm import NodeHooks, confirmed, fenced, forget_reads, forget_untaken, found_out
from pelton.runtime.commit.group_builder import GROUP_ROWS, GROUP_RUNS, GroupBuilder
from pelton.runtime.commit.loader import ReadLoader, Scripts
from pelton.runtime.commit.pending_signals import PendingSignals
from pelton.runtime.commit.requests import CommitRequest, SignalRequest, WriteRequest
from pelton.runtime.commit.second_tries import CONTENDED, SecondTries, rows_of
from pelton.runtime.commit.spans import report_run
from pelton.runtime.commit.suspend import NextBatch, Suspend
from pelton.runtime.commit.unit_of_work import UnitOfWork
from pelton.runtime.commit.workspace import Workspace
from pelton.runtime.event_feed import EventFeed
from pelton.runtime.ids import IdCodec
from pelton.runtime.supervision import OwnedTasks, guarded
from pelton.store.group import Committed, Group
from pelton.store.port import Store, StoreFailed
from pelton.store.row_locks import RowName
from pelton.telemetry.histograms import Histogram

log = structlog.get_logger("pelton.runtime")

QUEUE = 20_000  # requests from outside that may wait
DEPTH = 2  # batches being written
ROUNDS = 200  # a run of many threads with nothing of it in memory has been seen to need fifty
KEYS = 10_000
SPARE = 100  # further rounds in which a signal that has used up its own may be brought to an end, and again if that fails
TRIES = 8
WAIT = 0.01  # seconds before the third try, doubled for each further one
WAIT_MOST = 2.0
INVALID = "invalid: "  # how a store begins the reason of a group that it can never hold
CACHE_BYTES = 256 << 20


class Committer:
    def __init__(
        self,
        store: Store,
        codec: IdCodec,
        keys: Callable[[], int],
        *,
        scripts: Scripts | None = None,
        cache_bytes: int = CACHE_BYTES,
        queue: int = QUEUE,
        tries: int = TRIES,
        rounds: int = ROUNDS,
        read_keys: int = KEYS,
    ) -> None:
        """`rounds`, `read_keys`: of reads for one signal to a run, and of keys in one of them, before it has to do with less."""
        self.rounds = rounds
        self.keys = read_keys
        self.workspace = Workspace(store, codec, keys, self.write, self.settled, cache_bytes)
        self.loader = ReadLoader(self.workspace, self.release, scripts)
        self.pending_signals = PendingSignals(self.workspace, self)
        self.second_tries = SecondTries(self.workspace, self.loader.begin_run, self.release, self.spawn, self._perform_again)
        self.timers: TimerHooks | None = None
        self.outbox: OutboxHooks | None = None
        self.watches: WatchHooks | None = None
        self.nodes: NodeHooks | None = None  # where other servers write to the store too
        self.fenced = ""  # why nothing more is written: another server has declared this one dead
        self.event_feed = EventFeed()
        self.stats = {"jobs": 0, "batches": 0, "groups": 0, "lost": 0, "suspended": 0, "poisoned": 0, "most_tries": 0}
        self.durations = Histogram()  # of commits, from their sending to their answer
        self.moves: Counter[tuple[int, int]] = Counter()  # of runs, from a status to another; -1: there was no run
        self._queue = queue
        self._tries = tries
        self._unit = UnitOfWork(self.workspace)
        self._pending: deque[CommitRequest] = deque()
        self._later: list[CommitRequest] = []  # for the next batch: their group is full
        self._flight: list[Batch] = []
        self._away = 0  # requests that are having something read, or wait for a run or for their next try
        self._scheduled = False
        self._settled = 0  # the instant up to which everything that was decided is committed, as of the last commit
        self._quiet: list[tuple[int, asyncio.Future[None]]] = []  # (number of a batch, who waits until it is committed)
        self._stopping = False
        self._tasks = OwnedTasks("committer")
        self._guarded_run = guarded("committer", self._run)

    # ---- the door

    def enqueue(self, request: CommitRequest) -> None:
        """Queues a request. Raises PeltonError if the queue is full or the server is stopping."""
        if self.fenced:
            raise PeltonError(Code.UNAVAILABLE, self.fenced)
        if not request.internal:
            if self._stopping:
                raise Stopping
            if len(self._pending) + self._away >= self._queue:
                raise PeltonError(Code.BUSY, f"{self._queue} requests are already waiting; retry in a moment")
        self._pending.append(request)
        self._wake()

    @property
    def room(self) -> int:
        """How many more external requests can be queued now."""
        return 0 if self._stopping else max(0, self._queue - len(self._pending) - self._away)

    @property
    def waiting(self) -> int:
        """Requests that are queued, or are having something read."""
        return len(self._pending) + self._away

    @property
    def stopping(self) -> bool:
        return self._stopping

    def submit(self, run: int, signal: Signal, pending: int = 0, ns: str = "") -> asyncio.Future[Applied]:
        """A signal to a run. `pending`: the durable signal that this is, removed in the same group. Fails with PeltonError."""
        future: asyncio.Future[Applied] = asyncio.get_running_loop().create_future()

        def done(request: SignalRequest) -> None:
            if future.done():
                return
            if request.error is not None:
                future.set_exception(request.error)
            else:
                assert request.head is not None
                future.set_result(Applied(request.head, request.notes))

        try:
            self.enqueue(SignalRequest(run, signal, done, ns, pending))
        except PeltonError as error:
            future.set_exception(error)
        return future

    def write(self, fill: Callable[[Group], None]) -> asyncio.Future[Committed]:
        """`fill` adds rows to a separate group in the next batch; it may be called again if that batch fails. The result says
        whether the group was lost; PeltonError "unavailable" if nothing could be written."""
        future: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        self.enqueue(WriteRequest(fill, future))
        return future

    def instant(self) -> int:
        """The latest instant (microseconds) up to which every decision made here is committed, so that the store is final about
        it, as far as this server goes."""
        if not self._flight and not self.workspace.open_batch.groups:
            self._settled = max(self._settled, self.workspace.instants.past())
        return self._settled

    async def settled(self) -> None:
        """Returns when everything decided so far is committed or lost."""
        if not self._flight and not self.workspace.open_batch.groups:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._quiet.append(
            (self.workspace.open_batch.number if self.workspace.open_batch.groups else self._flight[-1].number, future)
        )
        self._wake()
        await future

    def _quieten(self) -> None:
        # An open batch that has nothing (any more: it was built on what was lost) is none that anybody waits for.
        unborn = self.workspace.open_batch.number + (not self.workspace.open_batch.groups)
        oldest = min((batch.number for batch in self._flight), default=unborn)
        for number, future in self._quiet:
            if number < oldest and not future.done():
                future.set_result(None)
        self._quiet = [(number, future) for number, future in self._quiet if number >= oldest]

    # ---- gathering

    def _wake(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._guarded_run)

    def _run(self) -> None:
        self._scheduled = False
        pending = self._pending
        now = self.workspace.store.now()
        requests = 0
        while pending and requests < BATCH_JOBS and not self.workspace.open_batch.full:
            requests += 1
            self._perform(pending.popleft(), now)
        in_flight = len(self._flight)
        if self.workspace.open_batch.groups and (not in_flight or (in_flight < DEPTH and self.workspace.open_batch.early)):
            self._flush()
        if pending and not self.workspace.open_batch.full:
            self._wake()
        if self._quiet:
            self._quieten()

    def _perform(self, request: CommitRequest, now: int) -> None:
        unit = self._unit
        unit.begin(request, request.asked or now)
        self.stats["jobs"] += 1
        try:
            builder = request.perform(unit)
        except Suspend as suspend:
            unit.revert()
            self._suspend(request, suspend)
        except NextBatch:
            unit.revert()
            self._later.append(request)
        except PeltonError as error:
            unit.revert()
            self._give_up(request, error)
        except Exception as error:  # a poison signal: it must not take others with it
            unit.revert()
            self._poisoned(request, error)
        else:
            if builder is None:
                self._answer(request, unit)

    def _answer(self, request: CommitRequest, unit: UnitOfWork) -> None:
        """Nothing to write: the response waits for the state that it was decided on, and where others write too, for that state
        to be confirmed."""
        if self.workspace.shared:
            if confirmed(unit, request) is None:
                self._settle(request)
            return
        run = getattr(request, "run", 0)
        entry = self.workspace.cache.peek(run) if run else None
        if entry is not None and entry.pins and entry.group is not None:
            entry.group.requests.append(request)
        else:
            self._settle(request)

    def _settle(self, request: CommitRequest) -> None:
        request.settled()
        if request.locked is not None:
            self.second_tries.done(request)

    def _poisoned(self, request: CommitRequest, error: Exception) -> None:
        self.stats["poisoned"] += 1
        log.error(
            "a signal could not be applied and was set aside",
            job=type(request).__name__,
            run=getattr(request, "run", 0),
            exc_info=error,
        )
        self._give_up(request, PeltonError(Code.INTERNAL, "the signal could not be applied; the server's log has the details"))

    def _give_up(self, request: CommitRequest, error: PeltonError) -> None:
        """Fails the request; `pending_signals` decides what happens to its durable signal."""
        request.failed(error)
        if request.locked is not None:
            self.second_tries.done(request)
        if isinstance(request, SignalRequest) and request.pending:
            self.pending_signals.given_up(request, error)

    # ---- writing

    def _flush(self) -> None:
        batch = self.workspace.open_batch
        self.workspace.open_batch = Batch(batch.number + 1, batch.shared)
        batch.instant = self.workspace.instants.past()
        if self._later:
            self._pending.extendleft(reversed(self._later))
            self._later.clear()
        born = self._born
        groups = [builder.finish(born) for builder in batch.groups.values()]
        if not batch.shared:  # else a lease is given in the order of the groups, if nobody else has given it
            for group in groups:
                if group.has("leases"):
                    self._current_leases(group)
        if self.nodes is not None:
            groups.append(fenced(groups, self.nodes, batch.number))
        self._flight.append(batch)
        self.stats["batches"] += 1
        self.stats["groups"] += len(groups)
        self._tasks.spawn_vital(self._commit(batch, groups), "commit")

    def _born(self, row: OpenStep) -> OpenStep:
        return self.workspace.work.born(row) if self.workspace.work is not None else row

    def _current_leases(self, group: Group) -> None:
        """A lease is written after the rows of its batch, so a later change in memory takes precedence."""
        for lease in group.leases:
            entry = self.workspace.cache.peek(lease.run)
            row = entry.open.get(lease.n) if entry is not None and not entry.stale else None
            if row is not None:
                lease.lease, lease.worker, lease.polls, lease.started, lease.due = (
                    row.lease,
                    row.worker,
                    row.polls,
                    row.started,
                    row.due,
                )

    async def _commit(self, batch: Batch, groups: list[Group]) -> None:
        results: list[Committed] | None = None
        began = time.perf_counter()
        try:
            results = await self.workspace.store.commit(groups)
            self.durations.observe(time.perf_counter() - began)
        except StoreFailed as error:
            log.error("the store could not write", reason=str(error), groups=len(groups))
            if self.nodes is not None:
                results = await found_out(self.workspace.store, self.nodes, batch.number, groups)
        except Exception as error:  # a store must not take the committer down
            log.error("a commit failed", exc_info=error)
        if results is not None and self.nodes is not None and results[-1].lost.startswith("node "):
            self._fence()
        self._flight.remove(batch)
        older = [each for each in self._flight if each.number < batch.number]
        if older:  # what was decided before is not all there yet: the one that makes it so will say it
            older[-1].instant = max(older[-1].instant, batch.instant)
        else:
            self._settled = max(self._settled, batch.instant)
        for index, builder in enumerate(batch.groups.values()):
            if results is None:
                self._undone(builder)
                self._unavailable(builder)
            elif results[index].ok:
                self._unpin(builder)
                self._committed(builder, results[index])
            else:
                self.stats["lost"] += 1
                if batch.shared:
                    forget_reads(self.workspace, builder.group)
                self._undone(builder)
                self._lost(builder, results[index])
        batch.groups.clear()  # groups know their batch: without this each would stay until the collector comes
        self.workspace.cache.trim()
        self._run()

    def _fence(self) -> None:
        """Another server has declared this one dead: nothing that it holds counts any more."""
        if self.fenced:
            return
        self.fenced = "other servers have declared this one dead, since it gave no sign of life; start it again"
        log.critical("this server writes nothing more", reason=self.fenced)
        for entry in self.workspace.cache.all():
            self.workspace.forget(entry.key)
        while self._pending:
            self._give_up(self._pending.popleft(), PeltonError(Code.UNAVAILABLE, self.fenced))
        if self.nodes is not None:
            self.nodes.fall()

    def _unpin(self, builder: GroupBuilder) -> None:
        for lane in builder.lanes.values():
            lane.pins -= 1
            if lane.pins == 0:
                if lane.group is builder:
                    lane.group = None
                lane.stale = False
                self.workspace.lanes.settle(lane)
                self.release(lane)
        for point in builder.points.values():
            point.pins -= 1
            if point.pins == 0:
                if point.group is builder:
                    point.group = None
                self.workspace.correlations.settle(point)
                self.release(point)
        for delta in builder.deltas.values():
            entry = delta.entry
            entry.pins -= 1
            if entry.pins == 0:
                if entry.group is builder:
                    entry.group = None
                self.workspace.record_log.settle(entry)
                if entry.stale:
                    self.workspace.cache.drop(entry)
                else:
                    self.workspace.cache.settle(entry)
                self.release(entry)
                for quiet in entry.quiet:
                    if not quiet.done():
                        quiet.set_result(None)
                entry.quiet.clear()
            elif not entry.stale:
                self.workspace.record_log.committed(entry, builder.batch.number)

    def _committed(self, builder: GroupBuilder, result: Committed) -> None:
        group = builder.group
        if result.untaken:
            forget_untaken(self.workspace, group, result)
        self._tell_services(builder)
        if self.outbox is not None and group.has("deliveries"):
            for delivery, number in zip(group.deliveries, result.numbers, strict=False):
                delivery.number = number
            self.outbox.committed(group.deliveries)
        if self.watches is not None:
            for root in {delta.run.root or delta.run.key for delta in builder.deltas.values()}:
                self.watches.touched(root)
            for reply in group.replies if group.has("replies") else ():
                self.watches.touched((reply.ns, reply.request))
        if group.has("events") or group.has("event_updates"):
            self.event_feed.recorded()
        for posted in builder.enqueued:
            self.pending_signals.take_up(posted)
        if group.has("tallies"):
            self.pending_signals.crossed(group.tallies, result.crossed)
        for request in builder.requests:
            request.committed = result  # type: ignore[attr-defined]
            self._settle(request)  # type: ignore[arg-type]

    def _tell_services(self, builder: GroupBuilder) -> None:
        work, timers = self.workspace.work, self.timers
        for delta in builder.deltas.values():
            if delta.run.status != delta.was:
                self.moves[delta.was, delta.run.status] += 1
            if delta.run.trace and self.workspace.spans.on:
                report_run(self.workspace, delta)
        if work is not None:
            for delta in builder.deltas.values():
                for n in delta.gone:
                    work.gone(delta.run.key, n)
                for row in delta.opened.values():
                    if work_row(row):
                        work.offered(row)
                for row, *_ in delta.changed.values():
                    if work_row(row):
                        work.offered(row)
        if timers is not None:
            for key, timer in builder.timers.items():
                if timer is None:
                    timers.clear(*key)
                else:
                    timers.set(timer)

    def _undone(self, builder: GroupBuilder) -> None:
        """Undoes a lost group: drops its runs from memory, and rebuilds what the open batch built on them."""
        for point in builder.points.values():
            point.stale = True
        for counted in builder.group.descendants if builder.group.has("descendants") else ():
            self.workspace.descendants.forget((counted.ns, counted.ancestor))
        for lane in builder.lanes.values():
            lane.stale = True
        for delta in builder.deltas.values():
            delta.entry.stale = True
            if self.workspace.work is not None:
                for row in delta.opened.values():
                    if row.lease and work_row(row):
                        self.workspace.work.unborn(row)
        batch = self.workspace.open_batch
        doomed = [other for other in batch.groups.values() if other.stale]
        for other in doomed:
            if other.group.number not in batch.groups:
                continue
            del batch.groups[other.group.number]
            for request in reversed(other.requests):
                self._pending.appendleft(request)  # type: ignore[arg-type]
                request.lost("built on what was lost")  # type: ignore[attr-defined]
            self._undone(other)
        self._unpin(builder)

    def _lost(self, builder: GroupBuilder, result: Committed) -> None:
        contended = self.nodes is not None and result.lost.partition(" ")[0] in CONTENDED
        again: list[CommitRequest] = []  # under a lock
        for member in reversed(builder.requests):  # they go before all that came after them
            request: CommitRequest = member  # type: ignore[assignment]
            if isinstance(request, WriteRequest):
                request.committed = result
                request.settled()
                continue
            if self.fenced:
                self._give_up(request, PeltonError(Code.UNAVAILABLE, self.fenced))
                continue
            request.tries += 1
            if result.lost.startswith(INVALID):
                self._unfit(builder, request, result.lost)
                continue
            self.stats["most_tries"] = max(self.stats["most_tries"], request.tries)
            if request.tries >= self._tries:
                what = f"contention on {result.lost}: gave up after {request.tries} attempts; retry the request"
                self._give_up(request, PeltonError(Code.BUSY, what))
                continue
            request.lost(result.lost)
            what, _, ns = result.lost.partition(" ")
            if what == "definitions":
                self.workspace.definitions.doubt(ns)
                self._tasks.spawn_vital(self._look(request, self.workspace.definitions.look(ns)), "look at definitions")
            elif what == "handlers" and self.workspace.shared and not getattr(request, "outdated", False):
                self._tasks.spawn_vital(self._look(request, self.workspace.definitions.handlers.refresh(ns)), "look at handlers")
            elif what == "pause":
                name, _, process = ns.partition(" ")
                self.workspace.pauses.forget((name, process))
                self._pending.appendleft(request)
            elif contended:
                again.append(request)
            else:
                self._try_again(request)
        if again:
            again.reverse()
            self._lock(rows_of(builder), again)

    def _unfit(self, builder: GroupBuilder, request: CommitRequest, lost: str) -> None:
        """What no store can hold is not tried again. Of several requests the one is refused that fails in a group of its own."""
        if len(builder.requests) == 1:
            self._give_up(request, PeltonError(Code.INVALID, f"it cannot be stored: {lost.removeprefix(INVALID)}"))
        else:
            request.alone = True
            request.lost(lost)
            self._pending.appendleft(request)

    def _try_again(self, request: CommitRequest) -> None:
        if request.tries < 2:
            self._pending.appendleft(request)
        else:
            self.wait(request, min(WAIT_MOST, WAIT * 2 ** (request.tries - 2)) * random.uniform(0.5, 1.0))

    def _lock(self, rows: set[RowName], requests: Sequence[CommitRequest]) -> None:
        """Performs them again when nobody else can change the rows."""
        assert self.nodes is not None
        if self.second_tries.begin(self.nodes.fence, rows, requests):
            self._away += len(requests)
        else:
            for request in reversed(requests):
                self._try_again(request)

    def _perform_again(self, requests: Sequence[CommitRequest]) -> None:
        self._away -= len(requests)
        self._pending.extendleft(reversed(requests))
        self._wake()

    async def _look(self, request: CommitRequest, look: Coroutine[Any, Any, object]) -> None:
        """Performs the request again when what it rests on was read again."""
        self._away += 1
        try:
            await look
        except Exception as error:
            log.warning("what a request rests on could not be read", error=str(error))
        self._away -= 1
        self._pending.appendleft(request)
        self._wake()

    def _unavailable(self, builder: GroupBuilder) -> None:
        """Callers are not told the reason, which names files of this machine: it is in the log and in the server's health."""
        for member in builder.requests:
            request: CommitRequest = member  # type: ignore[assignment]
            self._give_up(
                request, PeltonError(Code.UNAVAILABLE, "nothing can be written at the moment; the server's log has the reason")
            )

    def wait(self, request: CommitRequest, delay: float) -> None:
        """Performs the request again after `delay` seconds."""
        self._away += 1

        def back() -> None:
            self._away -= 1
            self._pending.append(request)
            self._wake()

        asyncio.get_running_loop().call_later(delay, back)

    # ---- reading what a request lacks

    def _suspend(self, request: CommitRequest, suspend: Suspend) -> None:
        self.stats["suspended"] += 1
        if suspend.wait is not None:
            if request.locked is not None and isinstance(suspend.wait, RunEntry) and self.second_tries.is_awaited(suspend.wait):
                self._lock({suspend.wait.key}, [request])
                return
            self._away += 1
            suspend.wait.waiting.append(request)
            if not suspend.wait.busy and not suspend.wait.pins:  # nothing else will wake it
                self.release(suspend.wait)
            return
        if suspend.keys:
            if not request.asked and any(type(key) is EvaluationKey for key in suspend.keys):
                request.asked = self._unit.now
            what = self._exceeded(request, suspend)
            if what:
                self._spent(request, suspend, what)
                return
            if suspend.entry is not None and suspend.entry.busy:
                self._away += 1
                suspend.entry.waiting.append(request)
                return
            if suspend.entry is not None and any(map(of_run, suspend.keys)):
                # From here on, not from when the reading begins: what comes behind would change what is asked for, every time.
                suspend.entry.busy = True
        self._away += 1
        # Now, so that those behind wait for them in their order.
        suspend.started = [self.loader.begin_run(run) for run in suspend.loads]
        self._tasks.spawn_vital(self._fetch(request, suspend), "reads")

    def _exceeded(self, request: CommitRequest, suspend: Suspend) -> str:
        """Which limit of reads is exceeded, for people; "" for none. Each level of `_spent` has an allowance of its own."""
        run = suspend.entry.key if suspend.entry is not None else 0
        level = self._level(request, run)
        rounds = request.rounds[run] = request.rounds.get(run, 0) + 1
        if rounds > self.rounds + level * SPARE:
            return f"more than {self.rounds} rounds of reads"
        if len(suspend.keys) > (KEYS if level else self.keys):
            return f"{len(suspend.keys)} reads at once, and there may be {self.keys}"
        return ""

    def _level(self, request: CommitRequest, run: int) -> int:
        spent = request.answers.spent.get(run) if request.answers.spent else None
        return 0 if spent is None else 2 if spent.last else 1

    def _spent(self, request: CommitRequest, suspend: Suspend, what: str) -> None:
        """Performs the request again with what it has: it must come to an end now, at the cost of a step, or else of the run."""
        entry = suspend.entry
        level = self._level(request, entry.key) if entry is not None else 2
        if entry is None or level == 2:
            self._give_up(
                request, PeltonError(Code.TOO_LARGE, f"the signal needs {what}; the definition reads too much in one step")
            )
            return
        answers = request.answers
        known = answers.spent.get(entry.key) if answers.spent else None
        answers.spent = {**(answers.spent or {}), entry.key: Spent(known.what if known is not None else what, level == 1)}
        self._pending.appendleft(request)
        self._wake()

    async def _fetch(self, request: CommitRequest, suspend: Suspend) -> None:
        try:
            await self.loader.fetch(request, suspend)
        except PeltonError as error:
            self._away -= 1
            self._give_up(request, error)
        except Exception as error:  # whatever the store, a pool or a language does, the request ends
            self._away -= 1
            log.error("what the request reads could not be fetched", job=type(request).__name__, exc_info=error)
            self._give_up(
                request, PeltonError(Code.UNAVAILABLE, "what the request needs could not be read; the cause is in the log")
            )
        else:
            self._away -= 1
            if suspend.entry is not None:
                self.release(suspend.entry)
            self._pending.appendleft(request)  # before those who waited: what it has fetched is true now
        if suspend.entry is not None:
            self.release(suspend.entry)
        self._wake()

    def release(self, shared: Shared) -> None:
        """Performs next, in order, the requests that waited for the run or point."""
        if shared.waiting and not shared.busy:
            self._away -= len(shared.waiting)
            self._pending.extendleft(reversed(shared.waiting))
            shared.waiting.clear()
            self._wake()

    # ---- life

    @property
    def idle(self) -> bool:
        return not (self._pending or self._away or self._flight or self.workspace.open_batch.groups or self._later)

    async def drain(self, grace: float) -> bool:
        """Stops accepting external requests, and waits until everything is written; False if that takes over `grace` seconds."""
        self._stopping = True
        loop = asyncio.get_running_loop()
        until = loop.time() + grace
        while not self.idle and loop.time() < until:
            self._wake()
            await asyncio.sleep(0.005)
        return self.idle

    async def stop(self, grace: float = 10.0) -> None:
        await self.drain(grace)
        await self._tasks.stop()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """What it fails with is logged, and ends nothing else."""
        self._tasks.spawn(work, "work of a service")


__all__ = ["GROUP_ROWS", "GROUP_RUNS", "Committer", "Scripts"]
