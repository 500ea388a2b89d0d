"""The HTTP listener, inside the server's own event loop. The fast parser and event loop are worth a factor of four, so a server
without them does not start."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from typing import Any

from pelton.server.files import UNLIMITED

TLS_SECONDS = 15.0  # for a handshake
BACKLOG = 2_048


class SelfCheckFailed(Exception):
    """A required part is missing. The text says which, and how to install it."""


def self_check(loop: asyncio.AbstractEventLoop, any_loop: bool = False) -> None:
    """Raises SelfCheckFailed unless requests are parsed by httptools, and unless the loop is uvloop's (where it exists) or
    `any_loop` is set."""
    try:
        import httptools  # noqa: F401, PLC0415 - the import is the check
    except ImportError as error:
        raise SelfCheckFailed(
            f"the HTTP parser httptools cannot be loaded ({error}): reinstall pelton with its dependencies"
        ) from error
    if sys.platform != "win32" and not any_loop:
        import uvloop  # noqa: PLC0415 - exists on POSIX only

        if not isinstance(loop, uvloop.Loop):
            raise SelfCheckFailed("the event loop is not uvloop: start the server with `pelton serve`")


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError with the address in its text."""
    host = host.strip("[]")
    try:
        [(family, _, _, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise OSError(
            error.errno, f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --host or --port"
        ) from error
    return listener


class Listener:
    """One HTTP port. `start` returns when it accepts requests; `stop` when every connection is closed."""

    def __init__(
        self, app: Any, listener: socket.socket, drain: float, most: int = UNLIMITED, tls: ssl.SSLContext | None = None
    ) -> None:
        """`most`: connections. `drain`: how many seconds requests in progress get at a stop before they are cancelled."""
        from pelton.transport.http.connection import Connections  # noqa: PLC0415 - needs the parser that `self_check` looks for

        scheme = "http" if tls is None else "https"
        self._connections = Connections(app, most, scheme)
        self._socket = listener
        self._drain = drain
        self._tls = tls
        self._server: asyncio.Server | None = None
        name = listener.getsockname()
        self.address = f"{scheme}://{f'[{name[0]}]' if ':' in name[0] else name[0]}:{name[1]}"

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        patience = TLS_SECONDS if self._tls is not None else None
        self._server = await loop.create_server(
            self._connections.connection, sock=self._socket, backlog=BACKLOG, ssl=self._tls, ssl_handshake_timeout=patience
        )

    async def stop(self) -> None:
        if self._server is None:
            self._socket.close()
            return
        self._server.close()
        await self._connections.end(self._drain)
