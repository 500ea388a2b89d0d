"""What is loaded when it is used first: the libraries behind connectors and outgoing HTTP cost start-up time and memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pelton.connectors.port import Connector, Health, Outgoing, Subscription

if TYPE_CHECKING:
    from pelton.net.http import HttpPort, HttpReply


class LazyConnector:
    """`load` imports and makes the connector; it runs once. `check` and `subscribe` load on the loop (a fraction of a second,
    once), `send` beside it. `source`: whether messages can be received from it."""

    def __init__(self, scheme: str, load: Callable[[], Connector], source: bool = True) -> None:
        self.source = source
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
        return self._connector().check(address)

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


class LazyHttpPort:
    """The one way out over HTTP. `allow`: exceptions from the address rules."""

    def __init__(self, allow: Iterable[str]) -> None:
        self._allow = tuple(allow)
        self._port: HttpPort | None = None

    def port(self) -> HttpPort:
        if self._port is None:
            from pelton.net.http import HttpPort  # noqa: PLC0415 - an HTTP client that few servers need

            self._port = HttpPort(allow=self._allow)
        return self._port

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        connect_timeout: float = 5.0,
        read_timeout: float = 30.0,
    ) -> HttpReply:
        """See `connectors.http.HttpPort.request`."""
        return await self.port().request(method, url, headers, body, connect_timeout=connect_timeout, read_timeout=read_timeout)

    async def close(self) -> None:
        if self._port is not None:
            await self._port.close()
