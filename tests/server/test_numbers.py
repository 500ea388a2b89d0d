"""Numbers out of range, as parameters of every route there is: refused by name, and never a fault of the server."""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from httpx import AsyncClient as Http
from httpx import Response
from tests.server.running import WAITING
from tests.server.test_running_server import define
from tests.source import PACKAGE

from pelton.api import routes
from pelton.client import AsyncClient
from pelton.server.assembly import Given
from pelton.server.config import Config
from pelton.server.lifecycle import Server
from pelton.store.sqlite.store import SqliteStore
from pelton.transport.http.query import MOST

READ = re.compile(r"integer\(\s*\"(\w+)\"")
BEYOND = (MOST + 1, 2**63 - 1, 2**63, 10**19, 10**30, -(2**63), -(10**30))
PARAMETER = re.compile(r"\{(\w+)\}")
NUMBERS = frozenset({"number", "version", "after"})  # of parameters in paths
WAITS = frozenset({"wait", "timeout", "timeoutMillis", "waitForSeconds"})  # not tried with what they allow
CHANGES = ("POST", "PUT", "PATCH", "DELETE")


class World:
    """A server on a real store with a run and an event, and all routes of all its APIs."""

    def __init__(self, server: Server, http: Http, known: dict[str, str]) -> None:
        self.http = http
        self.known = known
        assert server._parts is not None
        self.table = routes.routes(server.engine, server.engine.event_feed, server.health)
        self.routes = [(each.method, each.path, each.handler) for each in self.table]
        for mount in server._parts.mounts:
            for method, pattern in mount.router.patterns:
                handler, *_ = mount.router._find(method, pattern.encode())
                self.routes.append((method, mount.prefix + pattern, handler))
        self.routes.sort(key=lambda each: CHANGES.index(each[0]) + 1 if each[0] in CHANGES else 0)
        assert len({path.split("/")[1] for _, path, _ in self.routes}) >= 3

    def path(self, pattern: str, number: object = 1) -> str:
        def value(found: re.Match[str]) -> str:
            return str(number) if found[1] in NUMBERS else self.known.get(found[1], "nothing")

        return PARAMETER.sub(value, pattern)

    async def ask(self, method: str, path: str, **query: object) -> Response:
        body: Any = [] if "bulk" in path else {}
        parameters = {name: str(value) for name, value in query.items()}
        content = {"json": body} if method in CHANGES else {}
        return await self.http.request(method, path, params=parameters, **content)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    store = SqliteStore(Path(tmp_path_factory.mktemp("numbers")) / "pelton.db", "relaxed")
    server = Server(Config(port=0), Given(store=store, any_loop=True))
    await server.start()
    try:
        async with AsyncClient(server.address) as client, Http(base_url=server.address, timeout=60) as http:
            await define(client, WAITING)
            run = await client.request("POST", "/api/workflow/waiting", {}, content_type="application/json")
            event = await client.post_event("test.type", "/test", {}, id="1")
            steps = await client.request("GET", f"/v1/runs/{run}/steps")
            step = f"{run}-{steps['steps'][-1]['n']}"
            known = {"id": run, "workflowId": run, "key": event.key, "taskId": step, "name": "waiting"}
            yield World(server, http, known)
    finally:
        await server.stop()


@pytest.mark.asyncio(loop_scope="module")
async def test_every_number_of_the_native_routes_is_bounded_and_named(world: World) -> None:
    tried = 0
    for route in world.table:
        for parameter in route.parameters:
            if parameter.kind != "integer" or f"{{{parameter.name}}}" in route.path:
                continue
            assert parameter.high <= MOST, (route.path, parameter.name)
            for number in BEYOND:
                answer = await world.ask(route.method, world.path(route.path), **{parameter.name: number})
                assert answer.status_code == 400, (route.path, parameter.name, number, answer.text)
                assert answer.json()["field"] == parameter.name
                tried += 1
            if parameter.name not in WAITS:
                answer = await world.ask(route.method, world.path(route.path), **{parameter.name: parameter.high})
                assert answer.status_code < 500, (route.path, parameter.name, answer.text)
    assert tried > 50


@pytest.mark.asyncio(loop_scope="module")
async def test_every_number_that_a_language_reads_is_bounded_and_named(world: World) -> None:
    tried = 0
    for method, pattern, handler in world.routes:
        for name in READ.findall(inspect.getsource(handler)):
            for number in BEYOND:
                if method != "GET":
                    continue
                answer = await world.ask(method, world.path(pattern), **{name: number})
                assert answer.status_code == 400, (pattern, name, number, answer.text)
                assert name in answer.text
                tried += 1
    assert tried > 50


@pytest.mark.asyncio(loop_scope="module")
async def test_no_number_anywhere_is_a_fault_of_the_server(world: World) -> None:
    names = {name for file in PACKAGE.rglob("*.py") for name in READ.findall(file.read_text("utf-8"))}
    names |= {each.name for route in world.table for each in route.parameters}
    for method, pattern, _ in world.routes:
        for number in (MOST + 1, 2**63, 10**30):
            answer = await world.ask(method, world.path(pattern, number), **dict.fromkeys(sorted(names - {"after"}), number))
            assert answer.status_code < 500, (method, pattern, number, answer.text)
        for number in (MOST, MOST + 1, 2**63 - 1, 2**63, -1, -(2**63), 10**30):
            answer = await world.ask(method, world.path(pattern, number))
            assert answer.status_code < 500, (method, pattern, number, answer.text)
