"""The HTTP listener: uvicorn inside the server's own event loop.

uvicorn re-raises a caught signal after serving, so that nothing after it would run; therefore the server handles signals itself,
and stops the listener by a call. The fast parser and event loop are worth a factor of four, so a server without them does not
start.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Generator
from typing import Any

import uvicorn

from pelton.runtime.supervision import OwnedTasks
from pelton.server.files import UNLIMITED

KEEP_ALIVE_SECONDS = 75
BACKLOG = 2_048


class SelfCheckFailed(Exception):
    """A required part is missing. The text says which, and how to install it."""


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def self_check(loop: asyncio.AbstractEventLoop, any_loop: bool = False) -> None:
    """Raises SelfCheckFailed unless requests are parsed by httptools, and unless the loop is uvloop's (where it exists) or
    `any_loop` is set."""
    try:
        from uvicorn.protocols.http import httptools_impl  # noqa: F401, PLC0415 - the import is the check
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
        self, app: Any, listener: socket.socket, drain: int, tasks: OwnedTasks | None = None, most: int = UNLIMITED
    ) -> None:
        """`most`: connections. `drain`: how many seconds requests in progress get at a stop before they are cancelled."""
        from pelton.server.protocol import BoundedProtocol, Room  # noqa: PLC0415 - needs the parser that `self_check` looks for

        room = Room(most)

        class RoomyProtocol(BoundedProtocol):
            pass

        RoomyProtocol.room = room
        settings = uvicorn.Config(
            app,
            loop="none",
            http=RoomyProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=drain,
            backlog=BACKLOG,
        )
        self._socket = listener
        self._server = _Uvicorn(settings)
        self._task: asyncio.Task[None] | None = None
        self._tasks = OwnedTasks("server") if tasks is None else tasks
        name = listener.getsockname()
        self.address = f"http://{f'[{name[0]}]' if ':' in name[0] else name[0]}:{name[1]}"

    async def start(self) -> None:
        serving = self._server.serve(sockets=[self._socket])
        self._task = self._tasks.keep(serving, "http", lambda: self._server.should_exit)
        while not self._server.started:
            if self._task.done():
                await self._task  # raises what went wrong
                raise SelfCheckFailed("the HTTP listener stopped while starting")
            await asyncio.sleep(0)  # a few turns of the loop: it only creates a listening handle

    async def stop(self) -> None:
        self._server.should_exit = True
        if self._task is None:
            return
        await asyncio.wait([self._task])  # what it ended with has been said, and must not keep the next part from stopping
        if (self._task.cancelled() or self._task.exception() is not None) and hasattr(self._server, "servers"):
            await self._server.shutdown(sockets=[self._socket])
