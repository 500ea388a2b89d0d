"""Servers that share a store: who lives, who is gone, and how far all have got. On a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest_asyncio

from pelton.kernel.model.signals import Signal
from pelton.runtime.api import Applied
from pelton.runtime.ids import Instants, KeyClock
from pelton.runtime.nodes import DEAD, Nodes
from pelton.store.group import Committed, Group
from pelton.store.memory.store import MemoryStore
from pelton.testing.clock import VirtualClock


class Writes:
    """A committer of nothing but services' rows."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.frozen = False

    def write(self, fill: Callable[[Group], None]) -> asyncio.Future[Committed]:
        return asyncio.ensure_future(self._write(fill))

    async def _write(self, fill: Callable[[Group], None]) -> Committed:
        if self.frozen:
            await asyncio.Event().wait()
        group = Group(1)
        fill(group)
        [done] = await self.store.commit([group])
        return done

    def submit(self, run: int, signal: Signal, pending: int = 0) -> asyncio.Future[Applied]:
        raise NotImplementedError


class Desk:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(clock=self.clock)
        self.store.shared = True
        self.made: list[Nodes] = []

    async def join(self, number: int = 0) -> tuple[Nodes, Writes, Instants]:
        writes, instants = Writes(self.store), Instants(self.store.now)
        nodes = Nodes(self.store, self.clock, writes, KeyClock(self.store.now), instants, instants.past, number)
        await nodes.join()
        self.made.append(nodes)
        return nodes, writes, instants


@pytest_asyncio.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    await made.store.open()
    yield made
    for nodes in made.made:
        await nodes.leave()
    await made.store.close()


async def test_a_silent_server_is_declared_dead_and_what_it_had_is_free(desk: Desk) -> None:
    (one, writes, _), (two, _, _) = await desk.join(), await desk.join()
    assert (one.number, two.number) == (1, 2)
    gone: list[str] = []
    two.on_gone = lambda: gone.append("one")
    assert await one.claim("lane", ["x"]) == {"x"}
    assert await two.claim("lane", ["x", "y"]) == {"y"}
    await desk.clock.advance(3 * DEAD)
    assert not gone
    assert not two.is_gone(one.name)
    writes.frozen = True
    await desk.clock.advance(DEAD)
    assert not gone
    await desk.clock.advance(DEAD)
    assert gone == ["one"]
    assert two.is_gone(one.name)
    assert two.is_mine(1 << 13)
    assert await two.claim("lane", ["x"]) == {"x"}
    again, _, _ = await desk.join()
    assert (again.number, again.epoch) == (1, one.epoch + 2)


async def test_numbers_are_free_again_when_their_servers_have_left(desk: Desk) -> None:
    first, _, _ = await desk.join()
    epoch = first.epoch
    await first.leave()
    second, _, _ = await desk.join()
    assert (second.number, second.epoch) == (1, epoch + 2)
    assert second.is_gone(f"1.{epoch}")
    assert second.is_gone("0123abcd")  # of a server that never shared the store
    assert not second.is_gone(second.name)


async def test_an_instant_is_settled_when_the_slowest_has_settled_it(desk: Desk) -> None:
    one, _, _ = await desk.join()
    _, writes, _ = await desk.join()
    await desk.clock.advance(3_000)
    assert one.instant() >= desk.clock.time * 1000 - 2_000_000
    writes.frozen = True
    await desk.clock.advance(3_000)
    behind = one.instant()
    assert behind < desk.clock.time * 1000 - 2_000_000
    _, _, instants = await desk.join()
    assert instants.next() > behind


async def test_a_server_that_has_its_store_for_itself_has_no_row(desk: Desk) -> None:
    desk.store.shared = False
    nodes, _, instants = await desk.join()
    assert (nodes.number, nodes.epoch) == (0, 0)
    assert await desk.store.nodes() == []
    assert await nodes.claim("lane", ["x"]) == {"x"}
    assert nodes.instant() == instants.past()
