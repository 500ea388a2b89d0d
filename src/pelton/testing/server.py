"""A complete server in the test's event loop: HTTP on a free local port, and a store in memory unless another is given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pelton.client import AsyncClient
from pelton.connectors.port import Connector
from pelton.runtime.engine import LocalEngine
from pelton.runtime.services import Clock
from pelton.server.assembly import Given
from pelton.server.config import Config, check
from pelton.server.lifecycle import Server
from pelton.store.memory.store import MemoryStore
from pelton.store.port import Store


class RunningServer:
    """`url`: its HTTP URL. `client`: a client of it, with the first of its keys. `engine`, `store`: the parts behind it."""

    def __init__(self, url: str, client: AsyncClient, engine: LocalEngine, store: Store) -> None:
        self.url = url
        self.client = client
        self.engine = engine
        self.store = store


@asynccontextmanager
async def running_server(
    *,
    store: Store | None = None,
    languages: Sequence[str] | None = None,
    connectors: Iterable[Connector] = (),
    clock: Clock | None = None,
    **settings: Any,
) -> AsyncIterator[RunningServer]:
    """Started when the block begins, stopped when it ends.

    `store`: not open yet; it is opened and closed here, so a MemoryStore may be given to one server after another. `connectors`:
    beside those of every server. `clock`: of timers, retries and leases; give the store the same. `settings`: members of
    `pelton.server.config.Config`, as in `api_keys=("0123456789abcdef",)`. Raises ConfigError, StartFailed."""
    config = Config(**{"port": 0, **settings})
    check(config)
    kept = store if store is not None else MemoryStore()
    server = Server(config, Given(store=kept, languages=languages, connectors=tuple(connectors), clock=clock, any_loop=True))
    await server.start()
    try:
        key = config.api_keys[0] if config.api_keys else ""
        async with AsyncClient(server.address, key=key) as client:
            yield RunningServer(server.address, client, server.engine, kept)
    finally:
        await server.stop()
