"""Queues in the memory of this process: a message sent to an address is received from it.

Messages that were received but not acknowledged are delivered again: immediately if they were given back, otherwise when the
visibility time has passed or the subscription is closed.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from pelton.connectors.health import HealthBook
from pelton.connectors.port import OWN_ID, Health, Incoming, Outgoing, Permanent, Temporary

BATCH = 10  # messages received at once
TICK = 0.05  # seconds after which it is seen that a message's visibility time has passed
MAX_NAME = 80  # characters of an address
CLOSED = "the memory connector is closed"


class StoredMessage:
    """`number`: also its id. `hidden`: until when it is out of sight of receivers, on the connector's clock."""

    __slots__ = ("body", "deliveries", "headers", "hidden", "number")

    def __init__(self, number: int, message: Outgoing) -> None:
        self.number = number
        self.body = message.body
        self.headers = {OWN_ID: message.id, **message.headers}
        self.deliveries = 0
        self.hidden = 0.0


class MemoryConnector:
    """`scheme`: what its addresses begin with. `visibility`: seconds. `clock`: seconds that only rise.

    What tests may change at any time: `down`, why the system cannot be reached ("" = it can); `refuses`, why a message will never
    be taken (None = it is). What they may look at: `sent`, all messages by address, in order; `acknowledged`, ids by address."""

    source: bool = True

    def __init__(self, scheme: str = "memory", *, visibility: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._scheme = scheme
        self._visibility = visibility
        self._clock = clock
        self.down = ""
        self.refuses: Callable[[Outgoing], str | None] = lambda message: None
        self.sent: defaultdict[str, list[Outgoing]] = defaultdict(list)
        self.acknowledged: defaultdict[str, list[str]] = defaultdict(list)
        self._queues: defaultdict[str, deque[StoredMessage]] = defaultdict(deque)
        self._moved = asyncio.Event()
        self._health = HealthBook()
        self._number = 0
        self._closed = False

    @property
    def scheme(self) -> str:
        return self._scheme

    def check(self, address: str) -> str | None:
        if 0 < len(address) <= MAX_NAME and not any(each.isspace() for each in address):
            return None
        return f"{address[:100]!r} is not a valid name of a queue in memory: use 1 to {MAX_NAME} characters without spaces"

    async def send(self, address: str, messages: Sequence[Outgoing]) -> Sequence[Exception | None]:
        if (reason := self.check(address)) is not None:
            return [Permanent(reason) for _ in messages]
        trouble = self._trouble()
        self._note(address, trouble)
        if trouble is not None:
            return [trouble for _ in messages]
        return [self._take(address, message) for message in messages]

    def put(self, address: str, body: bytes, headers: Mapping[str, str] | None = None) -> str:
        """Adds a message as if from another program, without a Pelton id. Returns its id in the queue."""
        kept = self._keep(address, Outgoing("", body, "", headers or {}, ""))
        del kept.headers[OWN_ID]
        return str(kept.number)

    def _take(self, address: str, message: Outgoing) -> Exception | None:
        if (reason := self.refuses(message)) is not None:
            return Permanent(reason)
        self.sent[address].append(message)
        self._keep(address, message)
        return None

    def _keep(self, address: str, message: Outgoing) -> StoredMessage:
        self._number += 1
        kept = StoredMessage(self._number, message)
        self._queues[address].append(kept)
        self._moved.set()
        return kept

    def waiting(self, address: str) -> int:
        """Number of messages, including those received and not acknowledged."""
        return len(self._queues[address])

    def subscribe(self, address: str) -> MemorySubscription:
        return MemorySubscription(self, address)

    def health(self) -> Mapping[str, Health]:
        return self._health.view()

    async def close(self) -> None:
        self._closed = True
        self._moved.set()

    # ---- what subscriptions use

    def _trouble(self) -> Temporary | None:
        return Temporary(CLOSED) if self._closed else Temporary(self.down) if self.down else None

    def _note(self, address: str, trouble: Temporary | None) -> None:
        if trouble is None:
            self._health.good(address)
        else:
            self._health.bad(address, str(trouble))

    def receive(self, address: str) -> list[StoredMessage]:
        """Takes the visible messages, which are hidden from now on. Raises Temporary."""
        trouble = self._trouble()
        self._note(address, trouble)
        if trouble is not None:
            raise trouble
        now = self._clock()
        found = [kept for kept in self._queues[address] if kept.hidden <= now][:BATCH]
        for kept in found:
            kept.hidden = now + self._visibility
            kept.deliveries += 1
        return found

    async def moved(self) -> None:
        """Returns when a message may have arrived or become visible again."""
        self._moved.clear()
        try:
            async with asyncio.timeout(TICK):
                await self._moved.wait()
        except TimeoutError:
            return

    def settle(self, address: str, messages: Sequence[Incoming], done: bool) -> None:
        """Removes messages, or makes them visible again immediately."""
        numbers = {int(message.id) for message in messages}
        queue = self._queues[address]
        for kept in queue:
            if kept.number in numbers and not done:
                kept.hidden = 0.0
        if done:
            self.acknowledged[address] += [message.id for message in messages]
            self._queues[address] = deque(kept for kept in queue if kept.number not in numbers)
        self._moved.set()


class MemorySubscription:
    def __init__(self, connector: MemoryConnector, address: str) -> None:
        self._connector = connector
        self._address = address
        self._open: dict[str, Incoming] = {}  # received, neither acknowledged nor given back
        self._closed = False

    async def batches(self) -> AsyncIterator[Sequence[Incoming]]:
        if (reason := self._connector.check(self._address)) is not None:
            raise Permanent(reason)
        well = False
        while not self._closed:
            found = [
                Incoming(str(kept.number), kept.body, dict(kept.headers), kept.number, kept.deliveries)
                for kept in self._connector.receive(self._address)
            ]
            self._open.update((message.id, message) for message in found)
            if found or not well:
                well = True
                yield found
            else:
                await self._connector.moved()

    async def acknowledge(self, messages: Sequence[Incoming]) -> None:
        self._settle(messages, done=True)

    async def give_back(self, messages: Sequence[Incoming]) -> None:
        self._settle(messages, done=False)

    async def close(self) -> None:
        self._closed = True
        self._settle(list(self._open.values()), done=False)

    def _settle(self, messages: Sequence[Incoming], done: bool) -> None:
        for message in messages:
            self._open.pop(message.id, None)
        self._connector.settle(self._address, messages, done)
