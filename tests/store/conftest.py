"""The stores that the conformance suite holds to the protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from pelton.store.memory.store import MemoryStore
from pelton.store.port import Store
from pelton.store.sqlite.store import SqliteStore
from pelton.testing.clock import VirtualClock
from pelton.testing.losing_store import losing

Factory = Callable[[], Awaitable[Store]]  # opens the store of this test; again after a close, it is the same data


@pytest.fixture
def time() -> VirtualClock:
    return VirtualClock()


@pytest_asyncio.fixture(params=["sqlite", "sqlite, losing none", "memory"])
async def store_factory(request: pytest.FixtureRequest, tmp_path: Path, time: VirtualClock) -> AsyncIterator[Factory]:
    opened: list[Store] = []
    memory = MemoryStore(clock=time)

    async def make() -> Store:
        store: Store = memory if request.param == "memory" else SqliteStore(tmp_path / "test.db", clock=time)
        if request.param == "sqlite, losing none":
            store = losing(store, 1, 0.0)
        await store.open()
        opened.append(store)
        return store

    yield make
    for store in opened:
        await store.close()


@pytest_asyncio.fixture
async def store(store_factory: Factory) -> Store:
    return await store_factory()
