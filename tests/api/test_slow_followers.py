"""Followers of the event log that do not read: what each of them holds in memory is bounded, however large the events are."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import json
from msgspec.structs import replace

from pelton.api.calls import Stream
from pelton.api.events import HELD, EventRoutes
from pelton.runtime.api import EventIn
from pelton.runtime.caller import SERVER
from pelton.server.config import Config
from pelton.server.lifecycle import Server
from pelton.store.rows import EventRow
from pelton.testing import MemoryStore
from pelton.transport.http.asgi import Request

LARGE = 2_000_000
FOLLOWERS = 30


class Given(MemoryStore):
    """A store whose events may be changed behind the server's back."""

    changed = False

    async def event(self, ns: str, key: int) -> EventRow | None:
        row = await super().event(ns, key)
        return replace(row, subject="changed") if row is not None and self.changed else row


@pytest.fixture
async def at() -> AsyncIterator[tuple[EventRoutes, Given]]:
    from pelton.server.assembly import Given as Parts

    store = Given()
    server = Server(Config(port=0), Parts(store=store, any_loop=True))
    await server.start()
    engine = server.engine
    for number in range(2):
        event = EventIn(source="s", type="large", id=str(number), body=f"{number}" + "x" * LARGE)
        await engine.ingest(SERVER, [event])
    yield EventRoutes(engine, engine.event_feed), store
    await server.stop()


def asked() -> Request:
    scope: dict[str, Any] = {
        "type": "http", "method": "GET", "path": "/v1/events", "query_string": b"after=0",
        "headers": [(b"accept", b"text/event-stream")],
    }  # fmt: skip

    async def receive() -> Any:
        await asyncio.Event().wait()

    return Request(scope, receive, {}, 0, frozenset())


async def stream(routes: EventRoutes) -> Any:
    response = await routes.list(asked())
    assert isinstance(response, Stream)
    return response.chunks


async def test_who_does_not_read_holds_a_part_of_an_event_only(at: tuple[EventRoutes, Given]) -> None:
    routes, _ = at
    gc.collect()
    tracemalloc.start()
    try:
        held = []
        for _ in range(FOLLOWERS):
            chunks = await stream(routes)
            for _ in range(4):
                await anext(chunks)
            held.append(chunks)
        gc.collect()
        now, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert now < FOLLOWERS * HELD * 2
    for chunks in held:
        await chunks.aclose()


async def test_a_large_event_arrives_whole(at: tuple[EventRoutes, Given]) -> None:
    routes, _ = at
    chunks = await stream(routes)
    text = b""
    while text.count(b"\n\n") < 3:
        text += await anext(chunks)
    await chunks.aclose()
    found = [json.decode(part.partition(b"data: ")[2]) for part in text.split(b"\n\n")[1:3]]
    assert [(each["id"], len(each["data"])) for each in found] == [("0", LARGE + 1), ("1", LARGE + 1)]


async def test_one_that_changes_meanwhile_ends_the_stream_before_its_end(at: tuple[EventRoutes, Given]) -> None:
    """The reader drops what has no end, and asks for it anew."""
    routes, store = at
    chunks = await stream(routes)
    text = await anext(chunks) + await anext(chunks)
    store.changed = True
    async for chunk in chunks:
        text += chunk
    assert not text.endswith(b"\n\n")
    assert text.count(b"data: ") == 1
