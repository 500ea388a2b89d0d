"""One request for work: what it asks for, what it has been given, and when it completes.

It completes as soon as it has something and nothing more is on its way to it, or when it times out. After its first item it
takes no more. Its owner either gets the items from `result`, or they go back to the queue.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from pelton.errors import Code, PeltonError
from pelton.kernel.model.state import OpenStep
from pelton.runtime.api import ClaimRequest
from pelton.runtime.services import Clock

MOST_ITEMS = 1_000
MOST_WAIT = 60_000  # milliseconds
MOST_QUEUES = 200


class Dispenser(Protocol):
    """The part of the work queue that a poller uses."""

    clock: Clock

    async def loaded(self, poller: Poller) -> None: ...
    def leave(self, poller: Poller) -> None: ...
    def ended(self, poller: Poller) -> None: ...
    def release(self, rows: list[OpenStep]) -> None: ...


class Poller:
    def __init__(self, work: Dispenser, request: ClaimRequest) -> None:
        """Raises PeltonError "invalid"."""
        self.queues = tuple(dict.fromkeys(request.queues))
        for field, value, low, high in (
            ("queues", len(self.queues), 1, MOST_QUEUES),
            ("count", request.count, 1, MOST_ITEMS),
            ("wait", request.wait, 0, MOST_WAIT),
        ):
            if not low <= value <= high:
                raise PeltonError(Code.INVALID, f"{field} is {value}: it must be between {low} and {high}", field)
        self.worker = request.worker
        self.wanted = request.count
        self.pending = 0  # leases being written
        self.closed = False  # nobody is there to take items
        self._wait = request.wait
        self._work = work
        self._items: list[OpenStep] = []
        self._expired = False
        self._error = ""
        self._waiter: asyncio.Future[None] | None = None

    @property
    def open(self) -> bool:
        """Whether it can take an item."""
        return not (self.closed or self._expired or self._items or self._error)

    @property
    def empty(self) -> bool:
        return not self._items and not self.pending and self.open

    async def result(self) -> list[OpenStep]:
        """The items; the wait starts here. Raises PeltonError "unavailable". Call only once."""
        alarm = None
        try:
            if self._wait and self.open:
                alarm = self._work.clock.call_at(self._work.clock.now() + self._wait, self.expire)
            else:
                if self.empty:
                    await self._work.loaded(self)
                self.expire()
            while not self._settled:
                await self.settlement()
        except BaseException:
            self.cancel()
            raise
        finally:
            if alarm is not None:
                alarm.cancel()
        self.closed = True
        self._work.ended(self)
        if self._error and not self._items:
            raise PeltonError(Code.UNAVAILABLE, f"work could not be handed out: {self._error}; retry in a moment")
        return self._items

    def cancel(self) -> None:
        """No one waits for the result any more: items given to it, now or later, go back."""
        if not self.closed:
            self.closed = True
            self._work.ended(self)
            items, self._items = self._items, []
            self._work.release(items)

    def expire(self) -> None:
        self._expired = True
        self._work.leave(self)
        self.check()

    def fail(self, reason: str) -> None:
        self._error = reason
        self._work.leave(self)
        self.check()

    def receive(self, row: OpenStep) -> None:
        """An item whose lease is committed."""
        self.pending -= 1
        self._items.append(row)
        self._work.leave(self)
        self.check()

    def settlement(self) -> asyncio.Future[None]:
        """Done when there is a result."""
        if self._waiter is None or self._waiter.done():
            self._waiter = asyncio.get_running_loop().create_future()
            self.check()
        return self._waiter

    def check(self) -> None:
        if self._settled and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def _settled(self) -> bool:
        return self.pending == 0 and not self.open
