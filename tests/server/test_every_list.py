"""Every list route of a server, found from its routes: no row hides the others, and every answer has a bound of bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import apsw
import pytest
from msgspec import json, to_builtins
from tests.server.lists import LISTS, SINGLE, List, World
from tests.server.test_bad_rows import KEPT

from pelton.api.routes import routes as native_routes
from pelton.client import AsyncClient, RequestRefused
from pelton.kernel.model.state import Run, Step
from pelton.runtime.caller import SERVER
from pelton.runtime.event_feed import EventFeed
from pelton.runtime.rows import FEW
from pelton.server.assembly import Given
from pelton.server.config import Config
from pelton.server.lifecycle import Server
from pelton.store.memory.store import MemoryStore
from pelton.store.packing import decode_any, decode_run, decode_step, pack, size_of
from pelton.store.port import Store
from pelton.store.sqlite.store import SqliteStore
from pelton.transport import pages as pages_module
from pelton.transport.pages import MAX_PAGE

Change = Callable[[bytes], bytes]


class Opened:
    """A server, a client of it and what is behind it."""

    def __init__(self, store: Store) -> None:
        self.server = Server(Config(port=0, **KEPT), Given(store=store, any_loop=True))

    async def __aenter__(self) -> World:
        await self.server.start()
        self.client = AsyncClient(self.server.address)
        return World(self.server.engine, self.client)

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
        await self.server.stop()


async def test_every_route_that_lists_has_a_case() -> None:
    opened = Opened(MemoryStore())
    async with opened as world:
        parts = opened.server._parts
        assert parts is not None
        native = native_routes(world.engine, EventFeed(), opened.server.health)
        found = {route.path for route in native if route.method == "GET"}
        for mount in parts.mounts:
            found |= {mount.prefix + path for method, path in mount.router.patterns if method == "GET"}
    assert found - LISTS.keys() - SINGLE == set(), "say in tests/server/lists.py what these routes list"
    assert (LISTS.keys() | SINGLE) - found == set(), "these routes are gone"


# ---- rows that cannot be read, or mean nothing


def broken(_: bytes) -> bytes:
    return b"\xc1"


def odd_run(body: bytes) -> bytes:
    run: Run = decode_run(body)
    run.status = 99
    return pack(run)


def odd_step(body: bytes) -> bytes:
    step: Step = decode_step(body)
    step.status, step.state, step.output = 99, 99, 5
    return pack(step)


def odd_definition(body: bytes) -> bytes:
    row = decode_any(body)
    row[6] = b"[1]"
    return pack(row)


def odd_value(body: bytes) -> bytes:
    """A definition whose envelope can be read, and whose value cannot be shown."""
    row = decode_any(body)
    row[6] = b'{"value": {"id": 5}}'
    return pack(row)


def odd_record(_: bytes) -> bytes:
    return pack({"definition": 7, "state": 5})


def odd_event(body: bytes) -> bytes:
    row = decode_any(body)
    row[6] = 253_402_300_800_000  # after the last moment of a calendar
    return pack(row)


def same(body: bytes) -> bytes:
    return body


ODD: dict[str, Change] = {
    "run": odd_run, "step": odd_step, "definition": odd_definition, "record": odd_record, "event": odd_event, "held": same,
    "dead": same, "secret": same, "open": same, "past": odd_record,
}  # fmt: skip
BODY = {"run": "head"}


async def spots(world: World) -> list[tuple[str, dict[str, Any]]]:
    """Table and key of the second of each three."""
    codec, ids = world.engine.codec, world.ids
    found: list[tuple[str, dict[str, Any]]] = [
        ("run", {"key": codec.parse_run_id(ids["runs"][1])}),
        ("step", {"run": codec.parse_run_id(ids["run"]), "n": 2}),
        ("open", {"run": codec.parse_run_id(ids["runs"][2]), "n": 1}),
        ("event", {"key": 12}),
        ("held", {"id": 2}),
        ("dead", {"number": 2}),
        ("secret", {"ns": "default", "name": "b"}),
        ("record", {"run": codec.parse_run_id(ids["tasks"][1])}),
        ("record", {"run": codec.parse_run_id(ids["people"][1])}),
    ]
    for kind, names in (
        ("process", ("flow-b", "acme/b")), ("policy", ("job-b",)), ("handler", ("hear-b", "acme/b")), ("worker", ("acme/b",)),
        ("schedule", ("when-b",)),
        ("event type", ("Mineb",)),
    ):  # fmt: skip
        for name in names:
            row = await world.engine.definition(SERVER, kind, name)
            assert row is not None, (kind, name)
            found.append(("definition", {"id": row.id}))
    for run in (ids["lusid"], ids["person"]):
        key = codec.parse_run_id(run)
        assert key is not None
        value, _ = (await world.engine.past(SERVER, key))[1]
        found.append(("past", {"run": key, "since": value.since}))
    return found


def change(store: Store, path: Path, where: list[tuple[str, dict[str, Any]]], how: Callable[[str], Change]) -> None:
    if isinstance(store, SqliteStore):
        db = apsw.Connection(str(path))
        for table, key in where:
            column = BODY.get(table, "body")
            test = " AND ".join(f"{name} = ?" for name in key)
            rows: Any = db.execute(f"SELECT {column} FROM {table} WHERE {test}", tuple(key.values())).fetchall()
            [[body]] = rows
            db.execute(f"UPDATE {table} SET {column} = ? WHERE {test}", (how(table)(body), *key.values()))
        db.close()
        return
    assert isinstance(store, MemoryStore)
    tables = store._tables
    named: dict[str, Any] = {
        "run": tables.runs, "step": tables.steps, "event": tables.events, "held": tables.held, "dead": tables.dead,
        "record": tables.records, "past": tables.past, "definition": tables.definitions,
    }  # fmt: skip
    for table, key in where:
        if table in named:  # secrets and open rows are not packed there
            rows = named[table].rows
            place = tuple(key.values()) if len(key) > 1 else next(iter(key.values()))
            column = BODY.get(table, "body")
            rows[place] = rows[place]._replace(**{column: how(table)(getattr(rows[place], column))})


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("way", ["broken", "odd", "odd value"])
async def test_no_row_hides_the_others(tmp_path: Path, kind: str, way: str) -> None:
    path = tmp_path / "pelton.db"
    store: Store = MemoryStore() if kind == "memory" else SqliteStore(path)
    async with Opened(store) as world:
        await world.fill()
        ids, where = world.ids, await spots(world)
        whole = {}
        for route, each in LISTS.items():
            whole[route] = len(each.rows(await world.client.request("GET", each.at.format(**ids))))
        assert not {route for route, each in LISTS.items() if whole[route] < each.damaged}, whole
    odd = {**ODD, "definition": odd_value if way == "odd value" else odd_definition}
    change(store, path, where, lambda table: broken if way == "broken" else odd[table])
    async with Opened(store) as world:
        wrong = {}
        for route, each in LISTS.items():
            wanted = each.damaged if way == "broken" else whole[route]
            if route.endswith(("/polldata", "/polldata/all", "/event/{event}")):
                wanted = 0  # of this server; of handlers for an event those that say so
            try:
                found = len(each.rows(await world.client.request("GET", each.at.format(**ids))))
            except Exception as error:  # all of them are told
                wrong[route] = repr(error)[:200]
            else:
                if found < wanted:
                    wrong[route] = f"{found} of {wanted}"
        assert not wrong, "\n".join(f"{route}: {text}" for route, text in wrong.items())


@pytest.mark.parametrize("route", [route for route, each in LISTS.items() if each.cursor and "{limit}" in each.at])
async def test_cursors_go_beyond_a_row_that_cannot_be_read(route: str) -> None:
    store, each = MemoryStore(), LISTS[route]
    async with Opened(store) as world:
        await world.fill()
        change(store, Path(), await spots(world), lambda table: broken)
        world.ids["limit"] = 1
        found: list[Any] = []
        async for page in pages(world, route, each):
            found += each.rows(page)
            assert len(found) < 50
        assert len(found) >= each.damaged


# ---- rows that are large

COUNT, LARGE = 6, 1_000_000
READS = {
    "events", "dead", "held_all", "steps", "records", "records_of", "past", "definitions", "results", "secrets", "at_node",
    "runs", "attempts",
}  # fmt: skip


class MeasuredStore(MemoryStore):
    """Knows how many bytes the largest answer to one question had."""

    most = 0
    asked = ""

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in READS:
            return found

        async def measured(*values: Any, **named: Any) -> Any:
            answer = await found(*values, **named)
            size = sum(size_of(to_builtins(row, builtin_types=(bytes,))) for row in answer)
            if size > self.most:
                self.most, self.asked = size, name
            return answer

        return measured


async def test_every_answer_and_every_read_has_a_bound_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list with a cursor has all of it page by page; one without is whole, or refused."""
    store = MeasuredStore()
    wrong: dict[str, str] = {}
    async with Opened(store) as opened:
        world = World(opened.engine, opened.client, COUNT)
        await world.fill("x" * LARGE)
        enlarge(store)
        for route, each in LISTS.items():
            store.most = 0
            counts = []
            try:
                async for page in pages(world, route, each):
                    counts.append(len(each.rows(page)))
                    if each.cursor and len(json.encode(page)) > MAX_PAGE + 100_000:
                        wrong[route] = f"a page of {len(json.encode(page))} bytes"
            except Exception as error:  # all of them are told
                wrong[route] = repr(error)[:200]
            if (
                route not in wrong
                and each.damaged > 1
                and sum(counts) < COUNT - (route == "/v1/processes/{name}/nodes/{node}/steps")
            ):
                wrong[route] = f"{counts} of {COUNT}"
            if store.most > (FEW + 1) * (LARGE + 10_000):
                wrong[route] = f"{store.asked} reads {store.most} bytes at once"
        assert not wrong, "\n".join(f"{route}: {text}" for route, text in wrong.items())
        monkeypatch.setattr(pages_module, "MAX_WHOLE", 2 * LARGE)
        refused = set()
        for route, each in LISTS.items():
            if each.cursor or route in TRIMMED:
                continue
            status, text = await asked(world, each)
            if status != 200:
                refused.add(route)
            assert status in {200, 400, 413}, route
            assert len(text) < 2 * LARGE if status == 200 else "MiB" in text, route
        assert "/api/metadata/workflow" in refused
        assert "/workflow/api/taskdefinitions/{scope}/{code}/tasks" in refused


TRIMMED = {
    "/api/workflow/{id}",
    "/api/workflow/{name}/correlated/{cid}",
    *(route for route in LISTS if "search" in route),
}
"""The newest tasks of a workflow, and as many finds as are asked for: each up to a bound of its own."""


def enlarge(store: MemoryStore) -> None:
    """The things of a language that takes less."""
    tables = store._tables
    for number, row in tables.definitions.rows.items():
        packed = decode_any(row.body)
        packed[6] = packed[6].replace(b'"value":{', b'"value":{"remark":"%s",' % (b"x" * LARGE), 1)
        tables.definitions.rows[number] = row._replace(body=pack(packed))
    records: list[dict[Any, Any]] = [tables.records.rows, tables.past.rows]
    for rows in records:
        for place, row in rows.items():
            body = decode_any(row.body)
            if "fields" in body:
                body["fields"]["path"] += "x" * LARGE
            else:
                body["data"] = "x" * LARGE
            rows[place] = row._replace(body=pack(body))


async def asked(world: World, each: List) -> tuple[int, str]:
    try:
        return 200, str(await world.client.request("GET", each.at.format(**world.ids)))
    except RequestRefused as refused:
        return refused.status, str(refused)


async def pages(world: World, route: str, each: List) -> AsyncIterator[Any]:
    end = (-1,) if route == "/v1/runs/{id}/steps" else (None, "", 0)
    place: Any = ""
    while True:
        address = each.at.format(**world.ids) + (f"&{each.parameter}={quote(str(place))}" if place != "" else "")
        page = await world.client.request("GET", address)
        yield page
        place = page.get(each.cursor) if each.cursor else None
        if place in end or place is None:
            return
