"""The work queue: the workers that wait, the work that is ready, and how they are brought together.

A work item is an open step; handing it out writes its lease columns and does not change its run's revision. There are three ways:
* it is ready when a worker asks: the lease is written first, and the worker gets it after that commit;
* a worker is waiting when it is created: it is inserted with the lease (`born`), and handed out after the commit that creates it;
* it comes back (a lost lease, a worker that disconnected, `release`) and goes one of these ways again.

Invariants:
* A row is in one place: in a window, in a flight (a commit that leases or frees it), or handed out.
* A row goes to a poller only after the commit of its lease, and only to one poller.
* What was given to a poller that disconnected comes back immediately.
* Reads of the store run beside commits: whatever changed here since a read started is newer than its result (`_loads`).

Everything runs on the event loop; the committer calls the hooks after each commit, in commit order. One node per store: a queue
is known by its window (see `ready_window`). Cost: O(log n) per row, and no store read while the window holds enough.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from functools import partial
from typing import Any, Protocol

from pelton.errors import Code, PeltonError
from pelton.kernel.model.reads import StepKey
from pelton.kernel.model.signals import TimerFired
from pelton.kernel.model.state import OpenStep, Run, State
from pelton.runtime.api import ClaimRequest
from pelton.runtime.services import NEVER, Clock, CommitPort, Handle, OwnedTasks, log, outcome, say, sleep
from pelton.runtime.supervision import insist
from pelton.runtime.timing.due_queue import Due, DueQueue
from pelton.runtime.work.limits import QueueLimiter
from pelton.runtime.work.poller import Poller
from pelton.runtime.work.ready_window import Key, ReadyWindow
from pelton.store.group import Committed, LeaseWrite
from pelton.telemetry.histograms import OTHER, WAITS, Histograms

WINDOW = 10_000  # rows kept in memory of one queue
ROWS = 200_000  # rows kept in memory of all queues: beyond it, those that nobody polls are forgotten
QUEUES = 2_000  # queues with a window
PAGE = 1_000
POLLERS = 10_000
SEEN = 10_000  # entries of poll data
BUILT_IN_LEASE = 30_000  # milliseconds: built-in work without a limit of its own; its runner renews it
STOP_GRACE = 5.0  # seconds
LOOK = 1_000  # milliseconds between looks for work that other servers have made
PEEK = 100  # rows of such a look
LATE = 1_000  # milliseconds after which the end of a lease that another server gave is everybody's


class WorkStore(Protocol):
    async def ready(self, queue: str, limit: int, after: tuple[int, int, int, int] | None = None) -> list[OpenStep]: ...
    async def leased(self, before: int, limit: int) -> list[OpenStep]: ...
    async def queue_sizes(self) -> dict[str, int]: ...
    async def head(self, key: int) -> Run | None: ...
    async def read(self, run: Run, keys: Sequence[Any]) -> list[Any]: ...


class Flight:
    """A row whose lease is being written. `back`: the row without a lease. `newer`: it changed in the meantime, and is free."""

    __slots__ = ("back", "born", "newer", "poller", "row")

    def __init__(self, row: OpenStep, back: OpenStep, poller: Poller | None, born: bool = False) -> None:
        self.row = row
        self.back = back
        self.poller = poller  # None: on its way back
        self.born = born
        self.newer: OpenStep | None = None


class QueueState:
    __slots__ = ("alarm", "alarm_at", "limiter", "loading", "looked", "name", "pollers", "window")

    def __init__(self, name: str, most: int) -> None:
        self.name = name
        self.window = ReadyWindow(most)
        self.pollers: OrderedDict[int, Poller] = OrderedDict()  # those who can take more, first come first
        self.loading: asyncio.Task[None] | None = None
        self.looked = 0  # when it was last looked at for what other servers have made
        self.alarm: Handle | None = None
        self.alarm_at = NEVER
        self.limiter: QueueLimiter | None = None  # known once the window is loaded


class WorkQueue:
    """`instance` names this process as the worker of built-in queues ("@..."): such work held by another instance when this one
    starts was left by a crash, and is freed immediately. `on_gone(run, n)` is called for work that ended or was withdrawn."""

    def __init__(
        self,
        store: WorkStore,
        committer: CommitPort,
        clock: Clock,
        *,
        instance: str = "",
        window: int = WINDOW,
        rows: int = ROWS,
        pollers: int = POLLERS,
        page: int = PAGE,
        on_gone: Callable[[int, int], None] | None = None,
        shared: bool = False,
        limits: Callable[[str], Awaitable[QueueLimiter | None]] | None = None,
    ) -> None:
        self.handed_out = 0
        self.born_leased = 0
        self.returned = 0
        self.waits: Histograms[str] = Histograms(OTHER, WAITS)  # from when work could be taken until it was, by queue
        self.on_gone = on_gone
        self.stopping = False
        self.clock = clock
        self.instance = instance
        self._limits = limits  # of a queue
        self._limited: dict[Key, QueueLimiter] = {}  # handed out, or being leased, under a limit
        self._shared = shared  # other servers hand out the same work
        self._dead: Callable[[str], bool] = lambda worker: True  # whether a server is gone, by its name as a worker
        self._store = store
        self._committer = committer
        self._window = window
        self._rows = rows
        self._page = page
        self._most_pollers = pollers
        self._queues: OrderedDict[str, QueueState] = OrderedDict()  # least recently polled first
        self._where: dict[Key, QueueState] = {}
        self._flights: dict[Key, Flight] = {}
        self._loads: list[set[Key]] = []
        self._pollers: set[Poller] = set()
        self._writes: set[asyncio.Future[Committed]] = set()
        self._next_queue = 0
        self._handed: OrderedDict[Key, int] = OrderedDict()  # `started` before the hand-out
        self._extending: dict[Key, int] = {}
        self._polled: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._last: OrderedDict[str, int] = OrderedDict()
        self._tasks = OwnedTasks("work")
        self._leases: DueQueue[OpenStep] = DueQueue("leases", clock, self._scan_leases, self._lease_over)

    # ---- life

    async def start(self) -> None:
        await self._leases.start()
        if self._shared:
            self._tasks.keep(self._look_again(), "looks for work of other servers", lambda: self.stopping)

    async def stop(self) -> None:
        """Waiting pollers complete empty; leases being written may finish, for a few seconds."""
        self.stopping = True
        for poller in list(self._pollers):
            poller.expire()
        if self._writes:
            await asyncio.wait(self._writes, timeout=STOP_GRACE)
        for queue in self._queues.values():
            if queue.alarm is not None:
                queue.alarm.cancel()
        await self._leases.stop()
        await self._tasks.stop()

    def stats(self) -> dict[str, int]:
        return {
            "queues": len(self._queues),
            "mirrored": len(self._where),
            "pollers": len(self._pollers),
            "flights": len(self._flights),
            "handed_out": self.handed_out,
            "born_leased": self.born_leased,
            "returned": self.returned,
            **{f"leases_{name}": value for name, value in self._leases.stats().items()},
        }

    # ---- asking for work

    async def claim(self, request: ClaimRequest) -> list[OpenStep]:
        """Leased rows, at most `count`, as soon as there is one; empty after `wait`. Raises PeltonError (invalid, busy,
        unavailable)."""
        return await self.poll(request).result()

    def poll(self, request: ClaimRequest) -> Poller:
        """Joins the line immediately, and takes what is ready. `result()` is called later, so that work created by reports in
        between comes straight here. Must be ended by `result()` or `cancel()`. Raises PeltonError (invalid, busy)."""
        poller = Poller(self, request)
        if len(self._pollers) >= self._most_pollers:
            raise PeltonError(
                Code.BUSY, f"{self._most_pollers} pollers are already waiting: use fewer connections, or retry later"
            )
        now = self.clock.now()
        if self.stopping:
            poller.expire()
            return poller
        self._pollers.add(poller)
        queues = [self._queue(name) for name in poller.queues]
        for queue in queues:
            queue.pollers[id(poller)] = poller
            self._note_poll(queue.name, request.worker, now)
        self._serve(poller, queues, now)
        for queue in queues:
            self._refill(queue)
        return poller

    def last_polled(self, queue: str) -> int:
        """When a worker last polled that queue; now, if one is polling; 0 = no known poll."""
        known = self._queues.get(queue)
        return self.clock.now() if known is not None and known.pollers else self._last.get(queue, 0)

    def polled(self) -> list[tuple[str, str, int]]:
        return [(queue, worker, at) for (queue, worker), at in self._polled.items()]

    async def sizes(self) -> dict[str, int]:
        """Unfinished work by queue, handed out or not."""
        return await self._store.queue_sizes()

    def release(self, rows: Sequence[OpenStep]) -> None:
        """Frees handed-out rows whose receiver could not be reached; they are available again after the next commit."""
        for row in rows:
            key = (row.run, row.n)
            if key in self._flights:
                continue
            if key in self._handed:
                self._free(row, self._handed.pop(key))
            else:  # its step has ended, or very many were handed out since: the store knows
                self._tasks.spawn(insist("release", partial(self._release_leased, row)), "release")

    async def _release_leased(self, row: OpenStep) -> None:
        found = await self.leased(row.run, row.n)
        if found is not None and found.polls == row.polls:
            self._free(found, found.started)

    async def leased(self, run: int, n: int) -> OpenStep | None:
        """The stored row of work that a worker holds; None if no worker holds it, or it is being handed out or returned."""
        key = (run, n)
        touched: set[Key] = set()
        self._loads.append(touched)
        try:
            head = await self._store.head(run)
            row = (await self._store.read(head, [StepKey(n)]))[0] if head is not None else None
        finally:
            self._loads = [each for each in self._loads if each is not touched]
        changing = key in touched or key in self._flights or key in self._where
        return row if isinstance(row, OpenStep) and row.lease and not changing else None

    def tells_dead(self, instance: str, dead: Callable[[str], bool]) -> None:
        """Where other servers hand out the same work: this one's name as a worker of built-in queues, and whether the server is
        gone that has another."""
        self.instance, self._dead = instance, dead

    async def extend(self, run: int, n: int, row: OpenStep | None = None) -> bool:
        """A heartbeat: renews the lease. False if it has none that could end. Raises PeltonError "no step"."""
        if row is None or self._shared:  # as it is remembered, it may be long over
            head = await self._store.head(run)
            found = (await self._store.read(head, [StepKey(n)]))[0] if head is not None else None
            if not isinstance(found, OpenStep):
                raise PeltonError(
                    Code.NO_STEP, f"step {n} of the run has ended or does not exist, so its lease cannot be extended", "n"
                )
            row = found
        if not row.lease or row.lease == NEVER:
            return False
        return bool(await self.extend_all([row]))

    async def extend_all(self, rows: Sequence[OpenStep]) -> int:
        """As `extend`, for leased rows as they were handed out. Returns how many are still so. Raises PeltonError
        "unavailable"."""
        now = self.clock.now()
        longer = [copy(row) for row in rows]
        for row in longer:
            row.lease = now + _period(row)
            key = (row.run, row.n)
            self._extending[key] = self._extending.get(key, 0) + 1
        try:
            writes = [_lease_write(row, row.polls if self._shared else -1) for row in longer]
            done = await self._committer.write(lambda group: group.leases.extend(writes))
            for place, row in enumerate(longer):
                if (row.run, row.n) in self._extending and place not in done.untaken:
                    self._track(row)
            return len(longer) - len(done.untaken)
        finally:
            for row in longer:
                key = (row.run, row.n)
                if (left := self._extending.pop(key, 0) - 1) > 0:
                    self._extending[key] = left

    # ---- what the committer says

    def born(self, row: OpenStep) -> OpenStep:
        now = self.clock.now()
        if not _is_work(row) or row.lease or row.due > now or self.stopping:
            return row
        key = (row.run, row.n)
        if (before := self._flights.get(key)) is not None:
            if not before.born:
                return row
            self.unborn(row)  # decided again
        queue = self._queues.get(row.queue)
        if queue is None or not queue.pollers or not queue.window.loaded or queue.window.ready or queue.limiter is not None:
            return row
        poller = next(iter(queue.pollers.values()))
        leased = self._leased(row, poller, now)
        self._flights[key] = Flight(leased, row, poller, born=True)
        self._reserve(poller, 1)
        return leased

    def offered(self, row: OpenStep) -> None:
        key = (row.run, row.n)
        if not _is_work(row):
            if key in self._where or key in self._flights:
                self.gone(row.run, row.n)
            return
        self._touch(key)
        flight = self._flights.get(key)
        if flight is not None:
            if flight.born and row.lease:
                flight.row = row
                self._land(key, flight)
            elif not row.lease:
                flight.newer = row
                if flight.born:
                    self._land(key, flight)
            else:
                flight.row = self._with_lease_of(flight.row, row)
            return
        self._forget(key)
        if row.lease:
            self._track(row)
        else:
            self._leases.drop(key)
            self._insert(row)

    def unborn(self, row: OpenStep) -> None:
        key = (row.run, row.n)
        flight = self._flights.get(key)
        if flight is not None and flight.born and flight.poller is not None:
            del self._flights[key]
            self._unreserve(flight.poller)

    def gone(self, run: int, n: int) -> None:
        key = (run, n)
        self._touch(key)
        self._forget(key)
        self._leases.drop(key)
        self._handed.pop(key, None)
        self._give_back(key)
        self._extending.pop(key, None)
        flight = self._flights.pop(key, None)
        if flight is not None and flight.poller is not None:
            self._unreserve(flight.poller)
        if self.on_gone is not None:
            self.on_gone(run, n)

    # ---- pollers (called by Poller too)

    async def loaded(self, poller: Poller) -> None:
        """Waits until the poller's queues are in memory as far as this poller needs them."""
        for name in poller.queues:
            queue = self._queues.get(name)
            while queue is not None and queue.loading is not None and poller.empty:
                await asyncio.wait([queue.loading, poller.settlement()], return_when=asyncio.FIRST_COMPLETED)

    def leave(self, poller: Poller) -> None:
        """Removes the poller; it takes nothing more."""
        for name in poller.queues:
            if (queue := self._queues.get(name)) is not None:
                queue.pollers.pop(id(poller), None)

    def ended(self, poller: Poller) -> None:
        self.leave(poller)
        self._pollers.discard(poller)

    def _reserve(self, poller: Poller, count: int) -> None:
        poller.wanted -= count
        poller.pending += count
        if poller.wanted <= 0:
            self.leave(poller)

    def _unreserve(self, poller: Poller) -> None:
        """The poller does not get what was reserved for it: it keeps waiting, at the front."""
        poller.pending -= 1
        if poller.open:
            poller.wanted += 1
            for name in poller.queues:
                queue = self._queue(name)
                queue.pollers[id(poller)] = poller
                queue.pollers.move_to_end(id(poller), last=False)
            self._serve(poller, [self._queue(name) for name in poller.queues], self.clock.now())
        poller.check()

    def _serve(self, poller: Poller, queues: Sequence[QueueState], now: int) -> None:
        """One row of each queue in turn, starting with a different queue each time, so that no queue of a request starves."""
        self._next_queue += 1
        start = self._next_queue % len(queues)
        order = [*queues[start:], *queues[:start]]
        taken: list[OpenStep] = []
        while order and len(taken) < poller.wanted:
            for queue in list(order):
                row = self._take(queue, now) if len(taken) < poller.wanted else None
                if row is None:
                    order.remove(queue)
                else:
                    taken.append(row)
        if taken:
            self._lease(poller, taken, now)

    def _match(self, queue: QueueState) -> None:
        now = self.clock.now()
        queue.window.ripen(now)
        while queue.pollers and queue.window.ready:
            poller = next(iter(queue.pollers.values()))
            self._serve(poller, [queue], now)
            if poller.wanted > 0:
                break

    def _take(self, queue: QueueState, now: int) -> OpenStep | None:
        limiter = queue.limiter
        if limiter is not None and not limiter.admits(now):
            self._set_alarm(queue)
            return None
        row = queue.window.take(now)
        if row is not None:
            key = (row.run, row.n)
            self._where.pop(key, None)
            if limiter is not None:
                limiter.take(key, now)
                self._limited[key] = limiter
        return row

    # ---- limits

    def limits_changed(self) -> None:
        """Some definition that may limit queues has: what is known of them is read anew."""
        for queue in self._queues.values():
            if queue.window.loaded or queue.loading is not None:
                what = f"limit of {queue.name}"
                self._tasks.spawn(insist(what, partial(self._read_limit, queue)), what)

    async def _read_limit(self, queue: QueueState) -> None:
        if self._limits is None:
            return
        before = queue.limiter
        queue.limiter = await self._limits(queue.name)
        if queue.limiter is not before or queue.limiter is not None:
            self._match(queue)
            self._set_alarm(queue)

    def _give_back(self, key: Key) -> None:
        """It is not out any more: another of its limit may be."""
        limiter = self._limited.pop(key, None)
        if limiter is None or not limiter.give_back(key):
            return
        limiter.refused_until = 0
        for queue in [queue for queue in self._queues.values() if queue.limiter is limiter and queue.pollers]:
            self._match(queue)

    def _refused(self, key: Key, flight: Flight, limiter: QueueLimiter) -> None:
        """The limit leaves no room, as others have more of it out than is known here; or another server has the row."""
        limiter.refuse(self.clock.now())
        self._limited.pop(key, None)
        limiter.give_back(key)
        row = flight.newer or flight.back
        self._tasks.spawn(insist("refused work", partial(self._look_at, row)), "look at refused work")
        if flight.poller is not None:
            self._unreserve(flight.poller)

    async def _look_at(self, row: OpenStep) -> None:
        """Puts a row back that is still free in the store."""
        key = (row.run, row.n)
        touched: set[Key] = set()
        self._loads.append(touched)
        try:
            head = await self._store.head(row.run)
            found = (await self._store.read(head, [StepKey(row.n)]))[0] if head is not None else None
        finally:
            self._loads = [each for each in self._loads if each is not touched]
        if isinstance(found, OpenStep) and not found.lease and key not in touched and key not in self._flights:
            self._insert(found)

    # ---- leases

    def _leased(self, row: OpenStep, poller: Poller, now: int) -> OpenStep:
        leased = copy(row)
        leased.started = row.started or now
        period = _period(row)
        leased.lease = now + period if period else NEVER
        leased.worker = poller.worker
        leased.polls = row.polls + 1
        return leased

    def _lease(self, poller: Poller, rows: list[OpenStep], now: int) -> None:
        flights = []
        for row in rows:
            key = (row.run, row.n)
            flight = Flight(self._leased(row, poller, now), row, poller)
            self._flights[key] = flight
            self._touch(key)
            flights.append(flight)
        self._reserve(poller, len(rows))
        self._write([self._lease_of(flight, now) for flight in flights], flights)

    def _lease_of(self, flight: Flight, now: int) -> LeaseWrite:
        limiter = self._limited.get((flight.row.run, flight.row.n)) if self._limited else None
        if limiter is None:
            return _lease_write(flight.row, flight.back.polls if self._shared else -1, self._shared)
        write = _lease_write(flight.row, flight.back.polls, True)
        write.limit = limiter.lease_limit(now)
        return write

    def _write(self, writes: list[LeaseWrite], flights: list[Flight]) -> None:
        future = self._committer.write(lambda group: group.leases.extend(writes))
        self._writes.add(future)
        future.add_done_callback(lambda done: self._lease_written(flights, done))

    def _lease_written(self, flights: list[Flight], done: asyncio.Future[Committed]) -> None:
        self._writes.discard(done)
        error = outcome(done)
        lost = error is not None or not done.result().ok
        untaken = () if lost else done.result().untaken
        for place, flight in enumerate(flights):
            key = (flight.row.run, flight.row.n)
            if self._flights.get(key) is not flight:
                continue
            if place in untaken:
                self._overtaken(key, flight)
            elif lost:
                del self._flights[key]
                self._touch(key)
                if flight.poller is not None:
                    flight.poller.pending -= 1
                    flight.poller.fail(say(error) if error is not None else "the lease could not be written")
                self._insert(flight.newer or flight.back)
            else:
                self._land(key, flight)

    def _overtaken(self, key: Key, flight: Flight) -> None:
        """Another server has handed the row out, or freed it: what is known of it here is old."""
        del self._flights[key]
        self._touch(key)
        limiter = self._limited.get(key)
        if limiter is not None and flight.poller is not None:
            self._refused(key, flight, limiter)
            return
        if flight.newer is not None:
            self._insert(flight.newer)
        if flight.poller is not None:
            self._unreserve(flight.poller)

    def _land(self, key: Key, flight: Flight) -> None:
        """After the commit: hands the row to the poller, or puts it back."""
        del self._flights[key]
        self._touch(key)
        poller = flight.poller
        if poller is None:
            self._insert(flight.newer or flight.row)
            return
        if flight.newer is not None:
            if flight.born:
                self._insert(flight.newer)
            else:
                self._free(flight.newer, flight.newer.started)  # whichever write came last: this one comes after both
            self._unreserve(poller)
            return
        if poller.closed:
            poller.pending -= 1
            self._free(flight.row, flight.back.started)
            poller.check()
            return
        self.handed_out += 1
        row = flight.row
        self.waits.of(row.queue).observe((self.clock.now() - max(row.due, flight.back.updated)) / 1000)
        self.born_leased += flight.born
        self._handed[key] = flight.back.started
        if len(self._handed) > SEEN:
            self._handed.popitem(last=False)
        self._track(flight.row)
        poller.receive(flight.row)

    def _free(self, row: OpenStep, started: int) -> None:
        """Removes the lease; polls stay counted, so that a pending end of the old lease has no effect."""
        key = (row.run, row.n)
        self._leases.drop(key)
        self._touch(key)
        free = copy(row)
        free.lease, free.worker, free.started = 0, "", started
        flight = Flight(free, free, None)
        self._flights[key] = flight
        self.returned += 1
        self._write([_lease_write(free, row.polls if self._shared else -1)], [flight])

    def _with_lease_of(self, leased: OpenStep, row: OpenStep) -> OpenStep:
        mine = copy(row)
        mine.lease, mine.worker, mine.polls, mine.started = leased.lease, leased.worker, leased.polls, leased.started
        return mine

    def _track(self, row: OpenStep) -> None:
        self._leases.put((row.run, row.n), "lease", min(_ends(row)), row)

    async def _scan_leases(self, before: int, limit: int) -> Sequence[Due[OpenStep]]:
        first = self._leases.scans == 0
        found = []
        for row in await self._store.leased(before, limit):
            built_in = row.queue.startswith("@") and row.worker != self.instance
            left = built_in and (self._dead(row.worker) if self._shared else first)
            late = LATE if self._shared and (row.run, row.n) not in self._handed else 0
            found.append(Due((row.run, row.n), "lease", 0 if left else min(NEVER, min(_ends(row)) + late), row))
        return found

    def _lease_over(self, row: OpenStep) -> asyncio.Future[Any]:
        idle, limit = _ends(row)
        if row.queue.startswith("@") and limit > self.clock.now() and not (row.idle and idle <= self.clock.now()):
            key = (row.run, row.n)
            if key not in self._flights:
                self._free(row, row.started)
            nothing: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            nothing.set_result(None)
            return nothing
        arm = "limit" if limit <= idle else "idle"
        return self._committer.submit(row.run, TimerFired(n=row.n, arm=arm, epoch=row.polls))

    # ---- windows

    def _queue(self, name: str) -> QueueState:
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = QueueState(name, self._window)
            self._evict()
        return queue

    def _evict(self) -> None:
        while len(self._queues) > QUEUES or len(self._where) > self._rows:
            idle = next((queue for queue in self._queues.values() if not queue.pollers and queue.loading is None), None)
            if idle is None or len(self._queues) == 1:
                return
            if idle.alarm is not None:
                idle.alarm.cancel()
            for key in idle.window.forget():
                self._where.pop(key, None)
            del self._queues[idle.name]

    def _insert(self, row: OpenStep) -> None:
        """Puts a free row into its window, if it belongs there; otherwise it stays in the store."""
        if self._limited:
            self._give_back((row.run, row.n))
        queue = self._queues.get(row.queue)
        if queue is None:
            return
        if queue.loading is not None or queue.window.covers(row):
            self._keep(queue, row)
            if queue.loading is None and len(queue.window) > 2 * queue.window.most:
                self._shrink(queue)
            self._match(queue)
        self._set_alarm(queue)

    def _keep(self, queue: QueueState, row: OpenStep) -> None:
        queue.window.add(row, self.clock.now())
        self._where[(row.run, row.n)] = queue

    def _forget(self, key: Key) -> None:
        queue = self._where.pop(key, None)
        if queue is not None:
            queue.window.discard(key)

    def _shrink(self, queue: QueueState) -> None:
        for key in queue.window.shrink(self.clock.now()):
            self._where.pop(key, None)

    def _touch(self, key: Key) -> None:
        for load in self._loads:
            load.add(key)

    async def _look_again(self) -> None:
        """Work that another server made is in the store only: queues with pollers are looked at from their beginning."""
        while not self.stopping:
            await sleep(self.clock, LOOK)
            for queue in [queue for queue in self._queues.values() if queue.pollers and queue.window.loaded]:
                await self._read_limit(queue)
                if queue.loading is None and len(queue.window.ready) < PEEK:
                    queue.loading = self._tasks.spawn_vital(self._peek(queue), f"look at {queue.name}")

    async def _peek(self, queue: QueueState) -> None:
        touched: set[Key] = set()
        self._loads.append(touched)
        try:
            for row in await self._store.ready(queue.name, PEEK):
                key = (row.run, row.n)
                if key not in touched and key not in self._flights and key not in self._where and row.due < queue.window.blind:
                    self._keep(queue, row)
            queue.looked = self.clock.now()
        except Exception as error:
            log.warning("queue not read", queue=queue.name, error=say(error))
        finally:
            self._loads = [each for each in self._loads if each is not touched]
            queue.loading = None
            self._match(queue)
            self._set_alarm(queue)

    def _refill(self, queue: QueueState) -> None:
        window = queue.window
        if queue.loading is not None or self.stopping:
            return
        if self._shared and window.complete and not window.ready and self.clock.now() - queue.looked >= LOOK:
            queue.loading = self._tasks.spawn_vital(self._peek(queue), f"look at {queue.name}")
            return
        if not window.loaded or (not window.complete and len(window.ready) < window.most // 4):
            queue.loading = self._tasks.spawn_vital(self._load(queue), f"load of {queue.name}")

    async def _load(self, queue: QueueState) -> None:
        """Reads pages of the store until half a window is ready or nothing is left."""
        try:
            if self._limits is not None:
                queue.limiter = await self._limits(queue.name)
            while not self.stopping and not await self._load_page(queue):
                pass
        except Exception as error:
            log.warning("queue not read", queue=queue.name, error=say(error))
            for poller in list(queue.pollers.values()):
                poller.fail("the queue could not be read; the server's log has the reason")
        finally:
            queue.loading = None
            if len(queue.window) > queue.window.most:
                self._shrink(queue)
            self._match(queue)
            self._set_alarm(queue)
            self._evict()

    async def _load_page(self, queue: QueueState) -> bool:
        """True if it was enough."""
        window = queue.window
        touched: set[Key] = set()
        self._loads.append(touched)
        try:
            mark = window.mark
            limit = min(self._page, window.most)
            after = None if mark is None else (-mark[0], *mark[1:])
            page = await self._store.ready(queue.name, limit, after)
        finally:
            self._loads = [each for each in self._loads if each is not touched]  # not by value: all may be empty
        for row in page:
            key = (row.run, row.n)
            if key not in touched and key not in self._flights and key not in self._where and row.due < window.blind:
                self._keep(queue, row)
        last = page[-1] if page else None
        window.advance((-last.priority, last.due, last.run, last.n) if last is not None and len(page) == limit else None)
        if len(window.later) > window.most:
            self._shrink(queue)
        self._match(queue)
        return window.complete or len(window.ready) >= window.most // 2

    def _set_alarm(self, queue: QueueState) -> None:
        when = queue.window.next_due() if not self.stopping else NEVER
        if queue.limiter is not None and queue.window.ready and queue.pollers:
            when = min(when, queue.limiter.next_at(self.clock.now()))
        if queue.alarm is not None:
            if queue.alarm_at == when:
                return
            queue.alarm.cancel()
            queue.alarm = None
        queue.alarm_at = when
        if when != NEVER:
            queue.alarm = self.clock.call_at(when, lambda: self._ring(queue))

    def _ring(self, queue: QueueState) -> None:
        queue.alarm = None
        if self.clock.now() >= queue.window.blind and queue.loading is None:
            for key in queue.window.forget():
                self._where.pop(key, None)
            if queue.pollers:
                self._refill(queue)
        self._match(queue)
        self._set_alarm(queue)

    def _note_poll(self, queue: str, worker: str, now: int) -> None:
        self._queues.move_to_end(queue)
        for book, key in ((self._last, queue), (self._polled, (queue, worker))):
            _note(book, key, now)


def _note(book: OrderedDict[Any, int], key: Any, now: int) -> None:
    book[key] = now
    book.move_to_end(key)
    if len(book) > SEEN:
        book.popitem(last=False)


def _is_work(row: OpenStep) -> bool:
    return row.state == State.WORK and row.n > 0 and bool(row.queue)


def _period(row: OpenStep) -> int:
    """How long a lease lasts without a heartbeat, in milliseconds; 0 = for ever."""
    return row.idle or (BUILT_IN_LEASE if row.queue.startswith("@") else 0)


def _ends(row: OpenStep) -> tuple[int, int]:
    """When the lease expires, and when the attempt times out."""
    return row.lease, row.started + row.limit if row.limit else NEVER


def _lease_write(row: OpenStep, expected: int = -1, unleased: bool = False) -> LeaseWrite:
    return LeaseWrite(row.run, row.n, row.lease, row.worker, row.polls, row.started, row.due, expected, unleased)
