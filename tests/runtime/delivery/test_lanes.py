"""Lanes of messages where several servers share a store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tests.patience import happens

from pelton.runtime.delivery.lanes import Lanes
from pelton.store.rows import Delivery

ROW = Delivery(1, "default", "l", "1", "wire:out", b"", "text/plain", {}, 0)


class Slow:
    """A store whose answers are held up, and claims that are always granted."""

    def __init__(self) -> None:
        self.rows = [ROW]
        self.asked = 0
        self.go = asyncio.Semaphore(0)

    async def deliveries(self, limit: int, after: int = 0) -> list[Delivery]:
        found = list(self.rows)
        self.asked += 1
        await self.go.acquire()
        return found

    async def claim(self, kind: str, names: Sequence[str]) -> set[str]:
        return set(names)

    async def unclaim(self, kind: str, names: Sequence[str]) -> None:
        pass


async def test_what_was_sent_while_the_store_answered_is_not_sent_again() -> None:
    store, placed = Slow(), list[int]()
    known: set[int] = set()

    def place(row: Delivery) -> None:
        if row.number not in known:
            known.add(row.number)
            placed.append(row.number)

    lanes = Lanes(store, store, place, lambda row: bool(known))
    lanes.start()
    for _ in range(2):  # once more after the claim
        store.go.release()
    await happens(lambda: placed == [1])
    lanes.kick()
    await happens(lambda: store.asked == 3)
    known.clear()  # it has been sent, and noted
    store.rows.clear()
    lanes.ended(1)
    store.go.release()
    lanes.kick()
    await happens(lambda: store.asked == 4)
    assert placed == [1]
    store.go.release()
    await lanes.stop()
