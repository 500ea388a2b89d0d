"""A server from start to stop: store, engine, languages, HTTP; and the same in reverse.

Invariants:
* The server listens only once the store is open and the engine runs; /health returns 200 from the first request on.
* A stop completes requests in progress (long polls return empty), then stops the engine, then the store. It takes at most
  `STOP_SECONDS`, whatever hangs, and the process exits with 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Mapping
from typing import Any

import structlog
from msgspec import json

from pelton import __version__
from pelton.api import routes
from pelton.api.openapi import document
from pelton.connectors.port import public_address, public_detail
from pelton.connectors.registry import Connectors
from pelton.languages.plugin import PluginFailed
from pelton.net.lazy import LazyHttpPort
from pelton.runtime.engine import LocalEngine
from pelton.runtime.supervision import OwnedTasks, Supervisor, Watchdog
from pelton.server import assembly, ends, files, logs
from pelton.server.access import Access
from pelton.server.app import App
from pelton.server.assembly import NOTHING_GIVEN, Given
from pelton.server.config import Config, ConfigError
from pelton.server.files import UNLIMITED
from pelton.server.http import Listener, SelfCheckFailed, bind, self_check
from pelton.server.metrics.page import Metrics
from pelton.server.metrics.readings import Reading, Watched, readings
from pelton.server.notify import ServiceManager
from pelton.server.tls import Tls, tls
from pelton.store.port import StoreBusy, StoreFailed
from pelton.telemetry import otel
from pelton.telemetry.spans import NO_SPANS
from pelton.transport.http.mounts import Mount

STOP_SECONDS = 9.0
DRAIN_SECONDS = 4  # of it, for requests under way
HEALTH_SECONDS = 5.0
GC_THRESHOLDS = (50_000, 50, 100)

_log = structlog.get_logger("pelton.server")


class StartFailed(Exception):
    """The server cannot start. The text says why, and what to do."""


class ServerLost(StartFailed):
    """The server was running and cannot continue. The text says why."""


class Server:
    """Call `start` once, then `stop` once. `address`: the HTTP URL. `given`: parts supplied by tests."""

    def __init__(self, config: Config, given: Given = NOTHING_GIVEN) -> None:
        self.config = config
        self._given = given
        self._stopping = False
        self.address = ""
        self._began = time.monotonic()
        self._listener: Listener | None = None
        self.tls: Tls | None = None
        self._parts: assembly.Parts | None = None
        self._access = Access(config)
        self._spans = NO_SPANS
        self._http = LazyHttpPort(config.allow_outgoing)
        self._tasks: OwnedTasks | None = None
        self._handler: Any = None  # of the loop, before this server
        self.watchdog = Watchdog()
        self.most_connections = UNLIMITED
        self._connectors = Connectors()

    async def start(self) -> None:
        """Raises StartFailed; nothing is then left running."""
        listening: socket.socket | None = None
        try:
            self_check(asyncio.get_running_loop(), self._given.any_loop)
            self.tls = tls(self.config)
            self._spans = self._http.spans = otel.collected()
            secrets = ends.ConnectionSecrets()
            self._connectors = ends.make_connectors(self.config, self._http, secrets=secrets)
            for connector in self._given.connectors:
                self._connectors.add(connector)
            listening = bind(self.config.host, self.config.port)
            self._parts = await assembly.start(self.config, self._given, self._connectors, self._http, self._access, secrets)
            self._supervise(self._parts.engine.supervisor)
            assert self._tasks is not None
            context = None if self.tls is None else self.tls.context
            self._listener = Listener(self._app(self._parts), listening, DRAIN_SECONDS, self.most_connections, context)
            await self._listener.start()
            self.address = self._listener.address
        except (SelfCheckFailed, ConfigError, PluginFailed, StoreBusy, StoreFailed, OSError, ValueError) as error:
            if listening is not None:
                listening.close()
            await self.stop()
            raise StartFailed(str(error)) from error

    def _supervise(self, supervisor: Supervisor) -> None:
        """The server's own tasks, and what escapes from callbacks of the loop, are under the engine's supervisor."""
        with supervisor:
            self._tasks = OwnedTasks("server")
        self._tasks.keep(self.watchdog.beat(), "heartbeat")
        loop = asyncio.get_running_loop()
        self._handler = loop.get_exception_handler()
        loop.set_exception_handler(supervisor.handle)

    @property
    def engine(self) -> LocalEngine:
        """The engine of a started server."""
        assert self._parts is not None, "start the server first"
        return self._parts.engine

    def _app(self, parts: assembly.Parts) -> App:
        table = routes.routes(parts.engine, parts.engine.event_feed, self.health, parts.switches)

        async def read() -> list[Reading]:
            return await readings(Watched(parts.engine, parts.scripts, app.counts, self.watchdog.behind))

        app = App(
            [Mount(*routes.mount(table, self.config.max_body)), *parts.mounts],
            access=self._access,
            health=self.health,
            metrics=Metrics(read).page,
            openapi=json.encode(document(table, __version__)),
            max_requests=self.config.max_requests,
            open_paths=parts.open_paths,
            spans=self._spans,
            directory=str(self.config.directory or ""),
        )
        return app

    async def health(self) -> Mapping[str, Any]:
        """`healthy`, and the health of each part."""
        details: dict[str, Any] = {"version": __version__, "uptime_seconds": round(time.monotonic() - self._began, 1)}
        if self._parts is None or self._stopping:
            failure = self._parts.engine.supervisor.failure if self._parts is not None else ""
            return {"healthy": False, "details": {**details, "detail": failure or "the server is not running"}}
        try:
            async with asyncio.timeout(HEALTH_SECONDS):
                found = dict(await self._parts.engine.health())
        except TimeoutError:
            return {"healthy": False, "details": {**details, "detail": f"no response within {HEALTH_SECONDS:g} seconds"}}
        except Exception as error:
            _log.error("the server's health could not be determined", exc_info=error)
            return {"healthy": False, "details": {**details, "detail": f"{type(error).__name__}; the log has the details"}}
        healthy = not found.get("store", {}).get("unhealthy") and not found["tasks"]["failure"]
        found["loop"] = {"behind_ms": round(self.watchdog.behind * 1000)}
        found["connectors"] = {
            public_address(address): {
                "healthy": each.healthy,
                "detail": public_detail(each.detail, address),
                "since": each.since,
            }
            for address, each in self._connectors.health().items()
        }
        return {"healthy": healthy, "details": {**details, **found}}

    async def lost(self) -> str:
        """Returns, with the reason, when this server cannot go on: the store can no longer be written, or a part that it cannot
        be without has failed. A new server on the same data can go on."""
        assert self._parts is not None, "start the server first"
        supervisor = self._parts.engine.supervisor
        store = asyncio.ensure_future(self._parts.store.lost())
        fallen = asyncio.ensure_future(supervisor.fallen.wait())
        try:
            await asyncio.wait({store, fallen}, return_when=asyncio.FIRST_COMPLETED)
            return supervisor.failure or store.result()
        finally:
            store.cancel()
            fallen.cancel()

    async def stop(self) -> None:
        """Stops in reverse order of the start; a part that hangs or fails does not prevent the next from stopping."""
        deadline = time.monotonic() + STOP_SECONDS
        self._stopping = True
        if self._parts is not None:
            self._parts.engine.supervisor.stopping = True
            self._parts.drain()
        if self._listener is not None:
            await _end("http", self._listener.stop(), deadline)
        if self._parts is not None:
            await _end("engine", self._parts.stop_engine(), deadline - 1)
        await _end("connectors", self._connectors.close(), deadline - 0.5)
        if self._parts is not None:
            await _end("store", self._parts.store.close(), deadline)
        await _end("traces", self._spans.close(), deadline)
        if self._tasks is not None:
            self.watchdog.stop()
            await self._tasks.stop()
            asyncio.get_running_loop().set_exception_handler(self._handler)


async def _end(part: str, ending: Awaitable[None], deadline: float) -> None:
    try:
        async with asyncio.timeout(max(0.2, deadline - time.monotonic())):
            await ending
    except TimeoutError:
        _log.error("a part did not stop in time", part=part)
    except Exception as error:
        _log.error("a part did not stop cleanly", part=part, exc_info=error)


def serve_forever(config: Config) -> None:
    """Runs until SIGTERM or SIGINT. Raises StartFailed, and ServerLost if it could not continue."""
    logs.configure(config)
    os.umask(0o077)  # what this process and its children create is read by nobody else
    with contextlib.suppress(KeyboardInterrupt):
        if sys.platform == "win32":
            asyncio.run(_serve(config))
        else:
            import uvloop  # noqa: PLC0415 - exists on POSIX only

            uvloop.run(_serve(config))


def settle_memory() -> None:
    """Objects that exist now stay until the end, so the garbage collector need not scan them again. Later ones are mostly
    free of cycles, and the numerous ones (the run cache) are long-lived: frequent collections cost a third of the CPU time and
    find almost nothing. A full collection scans the caches too, so it is made rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


async def _serve(config: Config) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    if sys.platform != "win32":  # there, KeyboardInterrupt ends the loop
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, stopping.set)
    began = time.monotonic()
    manager = ServiceManager.of(os.environ)
    server = Server(config)
    limit = files.raise_limit()
    server.most_connections = files.connections(limit)
    if server.most_connections < config.max_requests:
        _log.warning(
            "the limit of open files is too low for --max-requests",
            files=limit,
            connections=server.most_connections,
            max_requests=config.max_requests,
            remedy=f"raise the hard limit (ulimit -Hn) to {config.max_requests + files.RESERVE} or more",
        )
    await server.start()
    if server.tls is not None and sys.platform != "win32":
        loop.add_signal_handler(signal.SIGHUP, server.tls.reload)
    settle_memory()
    server.watchdog.start()
    _log.info(
        "ready",
        address=server.address,
        data=str(config.data) if not config.store else config.store,
        durability=config.durability,
        access=Access(config).mode,
        process=os.getpid(),
        seconds=round(time.monotonic() - began, 3),
    )
    manager.ready(f"listening on {server.address}")
    alive = asyncio.create_task(manager.beat(), name="signs of life")
    lost = asyncio.create_task(server.lost(), name="store")
    asked = asyncio.create_task(stopping.wait(), name="signals")
    await asyncio.wait({lost, asked}, return_when=asyncio.FIRST_COMPLETED)
    reason = lost.result() if lost.done() else ""
    lost.cancel()
    asked.cancel()
    _log.info("stopping", reason=reason or "asked to")
    manager.stopping(reason or "asked to stop")
    await server.stop()
    alive.cancel()
    _log.info("stopped")
    if reason:  # to end is the remedy: what starts servers starts another, which opens the file again
        raise ServerLost(f"the server ended because it could not go on: {reason}")
