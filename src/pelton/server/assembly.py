"""The parts behind the APIs: the store, the engine on it, and the languages in the engine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from uuid import uuid4

import structlog
from msgspec import Struct

from pelton.connectors.files import TYPES
from pelton.connectors.port import Connector
from pelton.connectors.registry import Connectors
from pelton.languages.plugin import Host, install, plugins
from pelton.net.lazy import LazyHttpPort
from pelton.runtime.caller import Caller, Users
from pelton.runtime.engine import LocalEngine
from pelton.runtime.scripting.pool import ScriptPool
from pelton.runtime.services import Clock
from pelton.server import ends
from pelton.server.access import Access
from pelton.server.config import Config, kept, watched
from pelton.store.port import Store
from pelton.transport.grpc.service import Service
from pelton.transport.http.mounts import Mount

log = structlog.get_logger("pelton.server")

CLOSE_SECONDS = 3.0  # of the engine's own end
OPERATIONS_SECONDS = 1.0  # for built-in work under way; what is not done by then is done again by the next server


class Parts:
    """The parts that were started, and how to stop them."""

    def __init__(self, store: Store, engine: LocalEngine, scripts: ScriptPool, http: LazyHttpPort) -> None:
        self.store = store
        self.engine = engine
        self.mounts: list[Mount] = []
        self.services: list[Service] = []
        self.open_paths: list[str] = []
        self.switches: dict[str, Callable[[Caller, str, bool], Awaitable[None]]] = {}  # of handlers, by language
        self.scripts = scripts
        self._http = http
        self._draining: asyncio.Task[None] | None = None
        self._opening: asyncio.Task[None] | None = None

    def spawn(self, opened: Sequence[Callable[[], Awaitable[None]]]) -> None:
        """Starts a language's work that follows the engine's start; nothing waits for it."""

        async def all_of_it() -> None:
            for each in opened:
                try:
                    await each()
                except Exception as error:
                    log.error("a language's start-up work has failed", exc_info=error)

        self._opening = asyncio.create_task(all_of_it(), name="opened")

    def drain(self) -> None:
        """Begins the shutdown: callers that wait for work or for a run get a response with what there is."""
        self.engine.event_feed.stop()
        self._draining = asyncio.create_task(self._drain(), name="drain")

    async def _drain(self) -> None:
        await self.engine.watches.stop()
        await self.engine.operations.stop(OPERATIONS_SECONDS)  # they poll as well, and would poll again
        await self.engine.work.stop()

    async def stop_engine(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        if self._draining is not None:
            await asyncio.gather(self._draining, return_exceptions=True)
        await self.engine.close(CLOSE_SECONDS)
        await self.scripts.close()
        await self._http.close()


class Given(Struct, frozen=True, kw_only=True):
    """Parts that do not come from the settings but from a test. `store`: not open yet. `connectors`: additional ones."""

    store: Store | None = None
    languages: Sequence[str] | None = None
    connectors: Sequence[Connector] = ()
    clock: Clock | None = None
    any_loop: bool = False  # tests run in the loop that they have; a server is quick on uvloop only


NOTHING_GIVEN = Given()


async def start(
    config: Config, given: Given, connectors: Connectors, http: LazyHttpPort, access: Access, secrets: ends.ConnectionSecrets
) -> Parts:
    """Raises ConfigError, StoreBusy, StoreFailed, OSError; nothing is then left running."""
    store = given.store or ends.make_store(config)
    await store.open()
    parts: Parts | None = None
    opened: list[Callable[[], Awaitable[None]]] = []
    try:
        vault = ends.make_vault(config, store)
        await secrets.follow(vault)
        scripts = ScriptPool()
        sources = [f"files:{prefix}" for prefix in watched(config)]
        engine = LocalEngine(
            store,
            connectors=connectors,
            scripts=scripts,
            clock=given.clock,
            instance=uuid4().hex,
            watched=sources,
            keep=kept(config),
            vault=vault,
            descendants=config.most_descendants,
            spans=http.spans,
        )
        parts = Parts(store, engine, scripts, http)
        host = Host(
            engine=engine,
            http=http,
            schemes=frozenset(connectors.schemes),
            max_body=config.max_body,
            valid_key=access.valid if access.mode == "keys" else None,
            users=Users(
                access.users | set(config.service_users) if config.service_users else None,
                TYPES if config.watch and not config.file_user else (),
            ),
        )
        for each in plugins(given.languages):
            offer = install(each, host, engine.add_local)
            parts.mounts += offer.mounts
            parts.services += offer.services
            parts.open_paths += offer.open_paths
            if offer.switch is not None:
                parts.switches[each.name] = offer.switch
            if offer.opened is not None:
                opened.append(offer.opened)
        await engine.open()
        parts.spawn(opened)
    except BaseException:
        with contextlib.suppress(Exception):
            if parts is not None:
                await parts.stop_engine()
        await store.close()
        raise
    return parts
