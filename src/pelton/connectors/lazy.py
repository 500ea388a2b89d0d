"""Connectors that are loaded when they are used first: the libraries behind them cost start-up time and memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from pelton.connectors.connection import ConnectionRefused
from pelton.connectors.port import Connector, Health, Outgoing, Subscription


class LazyConnector:
    """`load` imports and makes the connector; it runs once. `check` and `subscribe` load on the loop (a fraction of a second,
    once), `send` beside it. `source`, `makes_events`: as the connector will say, without loading it."""

    def __init__(self, scheme: str, load: Callable[[], Connector], *, source: bool = True, makes_events: bool = False) -> None:
        self.source = source
        self.makes_events = makes_events
        self._scheme = scheme
        self._load = load
        self._loaded: Connector | None = None
        self._loading = asyncio.Lock()

    @property
    def scheme(self) -> str:
        return self._scheme

    @property
    def loaded(self) -> bool:
        return self._loaded is not None

    def _connector(self) -> Connector:
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def check(self, address: str) -> str | None:
        try:
            connector = self._connector()
        except ConnectionRefused as error:  # something that it needs is not there, or not yet
            return str(error)
        return connector.check(address)

    async def send(self, address: str, messages: Sequence[Outgoing]) -> Sequence[Exception | None]:
        if not self.loaded:
            async with self._loading:
                if not self.loaded:
                    made = await asyncio.to_thread(self._load)
                    if not self.loaded:  # `check` may have been quicker
                        self._loaded = made
        return await self._connector().send(address, messages)

    def subscribe(self, address: str) -> Subscription:
        return self._connector().subscribe(address)

    def health(self) -> Mapping[str, Health]:
        return self._loaded.health() if self._loaded is not None else {}

    async def close(self) -> None:
        if self._loaded is not None:
            await self._loaded.close()
