"""Timers of runs: each fires within a few milliseconds of its time, as a signal to its run.

The rows are in the store; `DueQueue` keeps those due soon. Firing is a signal, and the transition that it causes removes the row
in the same commit. So a timer that had fired but not committed when the server died fires again; the epoch makes that
harmless.
`Expiry` removes held rows that have expired.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from pelton.kernel.model.signals import TimerFired
from pelton.runtime.services import Clock, CommitPort, OwnedTasks, log, say, sleep
from pelton.runtime.timing.due_queue import FLIGHT, HORIZON, MOST, Due, DueQueue
from pelton.store.group import Group
from pelton.store.rows import HeldRow, StickyRow, TimerRow

LATE = 1_000  # milliseconds after which a timer that another server should have fired is fired by any
SHARED_HORIZON = 2_000  # milliseconds: how far ahead timers are read where other servers set them too
EXPIRY_INTERVAL = 1_000  # milliseconds
EXPIRY_PAGE = 256


class TimerStore(Protocol):
    async def timers(self, before: int, limit: int) -> list[TimerRow]: ...


class Timers:
    """`set` and `clear` are called after their commit, in its order (clear before set)."""

    def __init__(
        self,
        store: TimerStore,
        committer: CommitPort,
        clock: Clock,
        *,
        horizon: int = HORIZON,
        most: int = MOST,
        flight: int = FLIGHT,
        special: Mapping[str, Callable[[TimerRow], asyncio.Future[Any]]] | None = None,
        mine: Callable[[int], bool] | None = None,
    ) -> None:
        """`special`: what to do instead of sending a signal to the run, by arm. `mine(run)`: whether the timers of that run
        are this server's to fire on time; others that it finds in the store it fires when they are `LATE`. None = all are."""
        self._mine = mine
        self._store = store
        self._committer = committer
        self._special = special or {}
        self._due: DueQueue[TimerRow] = DueQueue(
            "timers",
            clock,
            self._scan,
            self._fire,
            horizon=horizon if mine is None else min(horizon, SHARED_HORIZON),
            most=most,
            flight=flight,
        )

    async def start(self) -> None:
        await self._due.start()

    async def stop(self) -> None:
        await self._due.stop()

    def set(self, row: TimerRow) -> None:
        self._due.put((row.run, row.n), row.arm, row.due, row)

    def clear(self, run: int, n: int, arm: str) -> None:
        """Clears timers; `arm` "" = all of the step's; `n` 0 = the run's own."""
        self._due.drop((run, n), arm)

    def stats(self) -> dict[str, int]:
        return self._due.stats()

    async def _scan(self, before: int, limit: int) -> Sequence[Due[TimerRow]]:
        rows = await self._store.timers(before, limit)
        mine = self._mine
        return [Due((row.run, row.n), row.arm, row.due if mine is None or mine(row.run) else row.due + LATE, row) for row in rows]

    def _fire(self, row: TimerRow) -> asyncio.Future[Any]:
        special = self._special.get(row.arm)
        if special is not None:
            return special(row)
        return self._committer.submit(row.run, TimerFired(n=row.n, arm=row.arm, epoch=row.epoch))


class ExpiryStore(Protocol):
    async def held_expired(self, now: int, limit: int) -> list[HeldRow]: ...
    async def sticky_expired(self, now: int, limit: int) -> list[StickyRow]: ...


class Expiry:
    """Removes expired held rows, each in a separate group, so that one that is claimed at the same time stays claimed.

    `note(group, row)` may add a record of the removal to the group, and returns a callback for after the commit. `release(row)`
    removes a row held for a run, which counts such rows; without it they are removed like the others. `unstick(row)` removes a
    sticky event; without it they stay.
    """

    def __init__(
        self,
        store: ExpiryStore,
        committer: CommitPort,
        clock: Clock,
        note: Callable[[Group, HeldRow], Callable[[], None] | None] | None = None,
        interval: int = EXPIRY_INTERVAL,
        release: Callable[[HeldRow], Awaitable[object]] | None = None,
        unstick: Callable[[StickyRow], Awaitable[object]] | None = None,
    ) -> None:
        self.expired = 0
        self._store = store
        self._committer = committer
        self._clock = clock
        self._note = note
        self._release = release
        self._unstick = unstick
        self._interval = interval
        self._tasks = OwnedTasks("expiry")

    async def start(self) -> None:
        self._tasks.keep(self._run(), "scan")

    async def stop(self) -> None:
        await self._tasks.stop()

    def stats(self) -> dict[str, int]:
        return {"expired": self.expired, "failures": self._tasks.failures}

    async def _run(self) -> None:
        while True:
            removed = 0
            try:
                rows = await self._store.held_expired(self._clock.now(), EXPIRY_PAGE)
                jobs: list[Awaitable[Any]] = [self._remove(row) for row in rows]
                if self._unstick is not None:
                    jobs += [self._unstick(row) for row in await self._store.sticky_expired(self._clock.now(), EXPIRY_PAGE)]
                results = await asyncio.gather(*jobs, return_exceptions=True)
                removed = sum(1 for result in results if result is True)
                self.expired += removed
            except Exception as error:
                log.warning("expiry failed", error=say(error))
            if removed < EXPIRY_PAGE:
                await sleep(self._clock, self._interval)

    async def _remove(self, row: HeldRow) -> Any:
        if row.run and self._release is not None:
            await self._release(row)
            return True

        after: Callable[[], None] | None = None

        def fill(group: Group) -> None:
            nonlocal after
            group.release.append(row.id)
            if self._note is not None:
                after = self._note(group, row)

        done = await self._committer.write(fill)
        if done.ok and after is not None:
            after()
        return done.ok
