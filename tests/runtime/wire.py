"""A connector of which a test decides everything: what it accepts, what it delivers, and when it is out of reach."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from pelton.connectors.port import Health, Incoming, Outgoing, Temporary


class Line:
    """An open subscription."""

    def __init__(self, wire: Wire, address: str) -> None:
        self.wire = wire
        self.address = address
        self.closed = False

    async def batches(self) -> AsyncIterator[Sequence[Incoming]]:
        while True:
            self.wire.waiting[self.address].set()
            found = await self.wire.queues[self.address].get()
            self.wire.waiting[self.address].clear()
            if isinstance(found, Exception):
                raise found
            yield found

    async def acknowledge(self, messages: Sequence[Incoming]) -> None:
        self.wire.acknowledged[self.address] += [message.id for message in messages]

    async def give_back(self, messages: Sequence[Incoming]) -> None:
        self.wire.given_back[self.address] += [message.id for message in messages]

    async def close(self) -> None:
        self.closed = True


class Wire:
    SHORT = Temporary("leave this outcome out")
    scheme = "wire"
    makes_events = False

    def __init__(self) -> None:
        self.fail: Callable[[Outgoing, int], Exception | None] = lambda message, times: None
        self.got: dict[str, list[str]] = defaultdict(list)
        self.tries: Counter[str] = Counter()
        self.hang: set[str] = set()
        self.active: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.lines: list[Line] = []
        self.queues: dict[str, asyncio.Queue[Sequence[Incoming] | Exception]] = defaultdict(asyncio.Queue)
        self.waiting: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.acknowledged: dict[str, list[str]] = defaultdict(list)
        self.given_back: dict[str, list[str]] = defaultdict(list)

    def check(self, address: str) -> str | None:
        return "the name is bad" if address == "bad name" else None

    async def send(self, address: str, messages: Sequence[Outgoing]) -> Sequence[Exception | None]:
        self.active[address] += 1
        self.most[address] = max(self.most[address], self.active[address])
        try:
            assert len({message.key for message in messages}) == len(messages), "two messages of a lane at once"
            if address in self.hang:
                await asyncio.Event().wait()
            if address == "broken":
                raise RuntimeError("a bug")
            outcomes: list[Exception | None] = []
            for message in messages:
                await asyncio.sleep(0)
                result = self.fail(message, self.tries[message.id])
                self.tries[message.id] += 1
                if result is self.SHORT:
                    return outcomes
                if result is None:
                    self.got[address].append(message.id)
                outcomes.append(result)
            return outcomes
        finally:
            self.active[address] -= 1

    def subscribe(self, address: str) -> Line:
        line = Line(self, address)
        self.lines.append(line)
        return line

    def health(self) -> Mapping[str, Health]:
        return {}

    async def close(self) -> None:
        pass
