"""Callers that wait for a run: they register, look, and wait for the next commit that touches the run's tree.

Registering before looking makes this safe: a commit between the look and the wait has already set the flag. Nothing here
is durable; a watch lives as long as its caller's connection. Waking costs one dictionary look-up per commit and root.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Self

from pelton.errors import Code, PeltonError, Stopping
from pelton.runtime.services import Clock

MOST = 100_000


class RunWatch:
    """See runtime.api.Watch."""

    __slots__ = ("_open", "_touched", "_waiter", "_watches", "root")

    def __init__(self, watches: Watches, root: Hashable) -> None:
        self.root = root
        self._watches = watches
        self._touched = False
        self._open = False
        self._waiter: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        self._watches.add(self)
        self._open = True
        return self

    def __exit__(self, *exc: object) -> None:
        if self._open:
            self._open = False
            self._watches.remove(self)

    async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109 - the time is the clock's, which may be a test's
        """Raises Stopping if the server stops, and RuntimeError if it is not entered or is waited for twice at once."""
        if not self._open or self._waiter is not None:
            raise RuntimeError("a watch is entered first, and waited for by one caller at a time")
        if not self._touched and timeout > 0 and not self._watches.stopping:
            await self._wait(timeout)
        if self._watches.stopping:
            raise Stopping
        touched, self._touched = self._touched, False
        return touched

    async def _wait(self, timeout: float) -> None:  # noqa: ASYNC109 - as above
        clock = self._watches.clock
        due = clock.now() + round(timeout * 1000)
        if self._watches.look and due > clock.now() + self._watches.look:
            due = clock.now() + self._watches.look
            self._touched = True
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        alarm = clock.call_at(due, self.wake)
        try:
            await waiter
        finally:
            alarm.cancel()
            self._waiter = None

    def touch(self) -> None:
        self._touched = True
        self.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Watches:
    def __init__(self, clock: Clock, most: int = MOST, look: int = 0) -> None:
        """`look`: milliseconds after which a waiting caller looks again, since another server may have changed the run; 0 = it is
        told of every change."""
        self.clock = clock
        self.look = look
        self.stopping = False
        self.touches = 0
        self._most = most
        self._count = 0
        self._by_root: dict[Hashable, set[RunWatch]] = {}

    async def start(self) -> None:
        self.stopping = False

    async def stop(self) -> None:
        """Ends all waits because the server is stopping."""
        self.stopping = True
        for watches in self._by_root.values():
            for watch in watches:
                watch.wake()

    def watch(self, root: Hashable) -> RunWatch:
        """Watches a tree, by the key of its root run; or a request for an answer, by namespace and name."""
        return RunWatch(self, root)

    def touched(self, root: Hashable) -> None:
        watches = self._by_root.get(root)
        if watches is not None:
            self.touches += 1
            for watch in watches:
                watch.touch()

    def add(self, watch: RunWatch) -> None:
        if self.stopping:
            raise Stopping
        if self._count >= self._most:
            raise PeltonError(Code.BUSY, f"{self._count} callers are already waiting for runs: retry later, or poll the run")
        self._count += 1
        self._by_root.setdefault(watch.root, set()).add(watch)

    def remove(self, watch: RunWatch) -> None:
        watches = self._by_root[watch.root]
        watches.remove(watch)
        self._count -= 1
        if not watches:
            del self._by_root[watch.root]

    def stats(self) -> dict[str, int]:
        return {"watches": self._count, "roots": len(self._by_root), "touches": self.touches}
