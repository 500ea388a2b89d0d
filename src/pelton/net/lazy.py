"""Outgoing HTTP, loaded on first use: its libraries cost start-up time and memory, and few servers need them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pelton.net.http import GuardedHttp, HttpReply


class LazyHttpPort:
    """The port for outgoing HTTP. `allow`: exceptions from the address rules."""

    def __init__(self, allow: Iterable[str]) -> None:
        self._allow = tuple(allow)
        self._port: GuardedHttp | None = None

    def port(self) -> GuardedHttp:
        if self._port is None:
            from pelton.net.http import GuardedHttp  # noqa: PLC0415 - an HTTP client that few servers need

            self._port = GuardedHttp(allow=self._allow)
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
        """See `net.http.GuardedHttp.request`."""
        return await self.port().request(method, url, headers, body, connect_timeout=connect_timeout, read_timeout=read_timeout)

    async def close(self) -> None:
        if self._port is not None:
            await self._port.close()
