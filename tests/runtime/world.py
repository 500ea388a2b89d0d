"""A small world for the services: a clock that the test moves, a store in memory, and a committer that writes to it in batches.

The store keeps the contract of `pelton.store.port` for the rows that services touch, and answers late, so that reads overlap with
commits. The committer gathers, commits after a few turns of the loop, then calls the hooks and answers, as the real one does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from copy import copy
from typing import Any

from msgspec.structs import replace

from pelton.errors import Code, PeltonError
from pelton.kernel.model.signals import Signal
from pelton.kernel.model.state import OpenStep, Run, State
from pelton.runtime.api import Applied
from pelton.store.group import Committed, Group
from pelton.store.rows import BookmarkRow, DeadLetter, Delivery, HeldRow, PauseRow, PendingSignalRow, StickyRow, TimerRow
from pelton.testing.clock import VirtualClock


class MemoryStore:
    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.open: dict[tuple[int, int], OpenStep] = {}
        self.timer_rows: dict[tuple[int, int, str], TimerRow] = {}
        self.delivery_rows: dict[int, Delivery] = {}
        self.dead_rows: dict[int, DeadLetter] = {}
        self.bookmark_rows: list[BookmarkRow] = []
        self.pending_rows: dict[int, PendingSignalRow] = {}
        self.held_rows: dict[int, HeldRow] = {}
        self.run_rows: dict[int, Run] = {}
        self.number = 0
        self.reads = 0
        self.read_turns = 3
        self.broken = False
        self.lose: Callable[[Group], bool] = lambda group: False

    async def late(self, rows: list[Any]) -> list[Any]:
        """The answer is of now, and comes later."""
        self.reads += 1
        if self.broken:
            raise OSError("disk on fire")
        found = [copy(row) for row in rows]
        for _ in range(self.read_turns):
            await asyncio.sleep(0)
        return found

    async def sticky_expired(self, now: int, limit: int) -> list[StickyRow]:
        return []

    async def pause(self, ns: str, process: str) -> PauseRow | None:
        return None

    async def ready(self, queue: str, limit: int, after: tuple[int, int, int, int] | None = None) -> list[OpenStep]:
        def place(row: OpenStep) -> tuple[int, int, int, int]:
            return (-row.priority, row.due, row.run, row.n)

        mark = None if after is None else (-after[0], *after[1:])
        rows = [row for row in self.open.values() if row.queue == queue and not row.lease]
        rows = sorted((row for row in rows if mark is None or place(row) > mark), key=place)
        return await self.late(rows[:limit])

    async def leased(self, before: int, limit: int) -> list[OpenStep]:
        def end(row: OpenStep) -> int:
            return min(row.lease, row.started + row.limit if row.limit else row.lease)

        rows = sorted((row for row in self.open.values() if row.lease and end(row) < before), key=end)
        return await self.late(rows[:limit])

    async def queue_sizes(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for row in self.open.values():
            sizes[row.queue] = sizes.get(row.queue, 0) + 1
        return sizes

    async def head(self, key: int) -> Run | None:
        return Run(key, "default", 1) if any(run == key for run, _ in self.open) else None

    async def read(self, run: Run, keys: Any) -> list[Any]:
        return await self.late([self.open.get((run.key, key.n)) for key in keys])

    async def timers(self, before: int, limit: int) -> list[TimerRow]:
        rows = sorted((row for row in self.timer_rows.values() if row.due < before), key=lambda row: row.due)
        return await self.late(rows[:limit])

    async def deliveries(self, limit: int, after: int = 0) -> list[Delivery]:
        return await self.late([row for number, row in sorted(self.delivery_rows.items()) if number > after][:limit])

    async def dead_letter(self, number: int) -> DeadLetter | None:
        return self.dead_rows.get(number)

    async def pending_signals(self, limit: int) -> list[PendingSignalRow]:
        rows = sorted((row for row in self.pending_rows.values() if not row.parked), key=lambda row: (row.due, row.id))
        return await self.late(rows[:limit])

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
    ) -> list[Run]:
        rows = sorted((row for row in self.run_rows.values() if row.ns == ns and row.key < before), key=lambda row: -row.key)
        return await self.late(rows[:limit])

    async def held_expired(self, now: int, limit: int) -> list[HeldRow]:
        return await self.late([row for row in self.held_rows.values() if row.expires and row.expires <= now][:limit])

    def write(self, group: Group) -> Committed:
        if self.lose(group) or any(number not in self.held_rows for number in group.release):
            return Committed(group.number, False, "lost by the test")
        for lease in group.leases:
            row = self.open.get((lease.run, lease.n))
            if row is not None:
                self.open[lease.run, lease.n] = replace(
                    row, lease=lease.lease, worker=lease.worker, polls=lease.polls, started=lease.started, due=lease.due
                )
        self._write_runs(group)
        self._write_timers(group)
        for held in group.release:
            del self.held_rows[held]
        done = Committed(group.number, True)
        self._write_deliveries(group, done)
        for pending in group.pending_signals:
            self.pending_rows[pending.id] = pending
        for number in group.pending_done:
            self.pending_rows.pop(number, None)
        return done

    def _write_runs(self, group: Group) -> None:
        for write in group.runs:
            for row in [*write.opened, *(row for row, *_ in write.changed)]:
                self.open[row.run, row.n] = copy(row)
            for n in write.closed:
                del self.open[write.run.key, n]

    def _write_timers(self, group: Group) -> None:
        for run, n, arm in group.clear_timers:
            for key in [key for key in self.timer_rows if key[:2] == (run, n) and arm in {"", key[2]}]:
                del self.timer_rows[key]
        for timer in group.timers:
            self.timer_rows[timer.run, timer.n, timer.arm] = timer

    def _write_deliveries(self, group: Group, done: Committed) -> None:
        for delivery in group.deliveries:
            self.number += 1
            self.delivery_rows[self.number] = replace(delivery, number=self.number)
            done.numbers.append(self.number)
        for number in group.delivered:
            self.delivery_rows.pop(number, None)
        for number, tries, due, error in group.retried:
            if number in self.delivery_rows:
                self.delivery_rows[number] = replace(self.delivery_rows[number], tries=tries, due=due, error=error)
        self.bookmark_rows += group.bookmarks
        for letter in group.dead:
            self.number += 1
            self.dead_rows[self.number] = replace(letter, number=self.number)
            done.dead_numbers.append(self.number)
        for number in group.dead_removed:
            self.dead_rows.pop(number, None)


class MemoryCommitter:
    """Signals are kept in `signals`, and what `on_signal` puts into their group is committed with them."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.turns = 2
        self.down = False
        self.signals: list[tuple[int, Signal, int]] = []
        self.on_signal: Callable[[int, Signal, Group], Callable[[], None] | None] = lambda run, signal, group: None
        self.refuse: Callable[[int, Signal], Exception | None] = lambda run, signal: None
        self.before: list[Callable[[Group], None]] = []
        self.commits = 0
        self._waiting: list[tuple[Group, Callable[[Committed | Exception], None]]] = []
        self._task: asyncio.Task[None] | None = None

    def write(self, fill: Callable[[Group], None]) -> asyncio.Future[Committed]:
        future: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        group = Group(0)
        fill(group)
        self.commit(group, lambda result: self._answer(future, result))
        return future

    def submit(self, run: int, signal: Signal, pending: int = 0) -> asyncio.Future[Applied]:
        future: asyncio.Future[Applied] = asyncio.get_running_loop().create_future()
        if (refusal := self.refuse(run, signal)) is not None:
            future.set_exception(refusal)
            return future
        self.signals.append((run, signal, self.store.clock.now()))
        group = Group(0)
        if pending:
            group.pending_done.append(pending)
        hook = self.on_signal(run, signal, group)

        def done(result: Committed | Exception) -> None:
            if hook is not None and isinstance(result, Committed) and result.ok:
                hook()
            self._answer(future, Applied(Run(run, "default", 1)) if isinstance(result, Committed) else result)

        self.commit(group, done)
        return future

    def commit(self, group: Group, done: Callable[[Committed | Exception], None]) -> None:
        self._waiting.append((group, done))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self._waiting:
            await asyncio.sleep(0)
            batch, self._waiting = self._waiting, []
            for group, _ in batch:
                for before in self.before:
                    before(group)
            for _ in range(self.turns):
                await asyncio.sleep(0)
            self.commits += 1
            down = PeltonError(Code.UNAVAILABLE, "the store could not write: disk full") if self.down else None
            results = [down or self.store.write(group) for group, _ in batch]
            for _ in range(self.turns):
                await asyncio.sleep(0)
            for (_, done), result in zip(batch, results, strict=True):
                done(result)
        self._task = None

    @staticmethod
    def _answer(future: asyncio.Future[Any], result: Any) -> None:
        if future.done():
            return
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)


class World:
    def __init__(self) -> None:
        self.clock = VirtualClock(1_000_000)
        self.store = MemoryStore(self.clock)
        self.committer = MemoryCommitter(self.store)


def work(run: int, n: int = 1, queue: str = "q", **fields: Any) -> OpenStep:
    return OpenStep(run, n, "slot", State.WORK, queue=queue, **fields)
