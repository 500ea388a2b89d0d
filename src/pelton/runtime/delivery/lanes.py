"""Which server sends the messages of which lane, where several share a store.

A lane is had by one server at a time, so that its messages keep their order and none is sent by two. A server claims a lane when
the store has messages in it, reads them after the claim is written, and gives the lane back when nothing is left in it. A server
that is gone has no lanes: another claims them at its next look.

Cost: a look reads the first `PAGES` pages of what has not been delivered; a claim is a row for each lane that has something.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol

from pelton.runtime.services import OwnedTasks, log, say
from pelton.store.rows import Delivery

LOOK = 1.0  # seconds between looks for what other servers have left
PAGE = 500
PAGES = 10
CLAIMS = 1_000  # lanes claimed at once


class LaneStore(Protocol):
    async def deliveries(self, limit: int, after: int = 0) -> list[Delivery]: ...


class LaneClaims(Protocol):
    """The part of the servers' agreement that is used here."""

    async def claim(self, kind: str, names: Sequence[str]) -> set[str]:
        """Those that this server has now."""
        ...

    async def unclaim(self, kind: str, names: Sequence[str]) -> None: ...


class Lanes:
    def __init__(
        self, store: LaneStore, claims: LaneClaims, place: Callable[[Delivery], None], busy: Callable[[Delivery], bool]
    ) -> None:
        """`place(row)` has a row of an owned lane sent; rows of a lane come in order, and again at every look. `busy(row)`:
        whether something of that row's lane is still in memory."""
        self._store = store
        self._claims = claims
        self._place = place
        self._busy = busy
        self._owned: dict[str, Delivery] = {}  # with a row of each
        self._ended: set[int] = set()  # numbers of what has been sent since the store was last asked
        self._wake = asyncio.Event()
        self._running = False
        self._tasks = OwnedTasks("lanes")

    def start(self) -> None:
        self._running = True
        self._tasks.keep(self._run(), "looks", lambda: not self._running)

    async def stop(self) -> None:
        self._running = False
        await self._tasks.stop()

    def owns(self, row: Delivery) -> bool:
        return _name(row) in self._owned

    def ended(self, number: int) -> None:
        """A message is no longer under way. The answer to a question that was asked before may still name it."""
        self._ended.add(number)

    def kick(self) -> None:
        """There are new messages."""
        self._wake.set()

    async def _run(self) -> None:
        while self._running:
            self._wake.clear()
            try:
                await self._look()
            except Exception as error:
                log.warning("lanes not looked at", error=say(error))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), LOOK)

    async def _look(self) -> None:
        rows = await self._read()
        lanes = {_name(row): row for row in rows}
        wanted = [name for name in lanes if name not in self._owned][:CLAIMS]
        if wanted:
            taken = await self._claims.claim("lane", wanted)
            self._owned.update((name, lanes[name]) for name in taken)
            if taken:
                rows = await self._read()  # what was there before may have been sent by whoever had the lane
        for row in rows:
            if _name(row) in self._owned and row.number not in self._ended:
                self._place(row)
        idle = [name for name, row in self._owned.items() if name not in lanes and not self._busy(row)]
        for name in idle:
            del self._owned[name]
        if idle:
            await self._claims.unclaim("lane", idle)

    async def _read(self) -> list[Delivery]:
        self._ended.clear()
        found: list[Delivery] = []
        call: Callable[[int, int], Awaitable[list[Delivery]]] = self._store.deliveries
        for _ in range(PAGES):
            page = await call(PAGE, found[-1].number if found else 0)
            found += page
            if len(page) < PAGE:
                break
        return found


def _name(row: Delivery) -> str:
    return f"{row.sink}\n{row.lane}"
