"""Lists and streams are bounded by bytes: what a page has, what is read for it, and what a reader that does not read keeps."""

from __future__ import annotations

import asyncio
import socket
from typing import Any
from urllib.parse import urlsplit

from msgspec import json
from tests.patience import happens
from tests.server.test_bad_rows import KEPT, event, letter

from pelton.cli.look import _listed
from pelton.client import AsyncClient
from pelton.models import EventPage, EventView
from pelton.runtime.rows import FEW
from pelton.store.memory.store import MemoryStore
from pelton.store.rows import DeadLetter, EventRow
from pelton.testing import running_server
from pelton.transport.pages import MAX_PAGE

LARGE = "x" * 1_000_000


class CountingStore(MemoryStore):
    """Knows how much was read in one go."""

    rows = 0
    most = 0

    def _count(self, rows: Any) -> Any:
        self.rows += len(rows)
        self.most = max(self.most, sum(len(json.encode(row.body, enc_hook=str)) for row in rows))
        return rows

    async def events(self, ns: str, **given: Any) -> list[EventRow]:
        return list(self._count(await super().events(ns, **given)))

    async def dead(self, ns: str, limit: int, after: int = 0) -> list[DeadLetter]:
        return list(self._count(await super().dead(ns, limit, after)))


async def pages(client: AsyncClient, path: str, member: str, cursor: str, end: Any) -> list[list[Any]]:
    """All pages, each of which has no more bytes than a page may."""
    found: list[list[Any]] = []
    place: Any = None
    while place != end:
        page = await client.request("GET", path + (f"&{cursor}={place}" if place is not None else ""))
        assert len(json.encode(page)) <= MAX_PAGE + 10_000
        found.append(page[member])
        place = page[cursor]
    return found


async def test_a_page_of_large_events_ends_early_and_says_where_the_rest_is() -> None:
    store = CountingStore()
    async with running_server(store=store, **KEPT) as server:
        await server.engine.write(lambda group: group.events.extend(event(key, LARGE) for key in range(101, 121)))
        store.most = 0
        down = await pages(server.client, "/v1/events?limit=100", "events", "before", "")
        assert [len(page) for page in down] == [4] * 5
        keys = [each["key"] for page in down for each in page]
        place, up = "0", []
        while page := (await server.client.events(after=place, limit=100)).events:
            assert len(page) <= 4
            up += [each.key for each in page]
            place = page[-1].key
        assert up == keys[::-1]
        assert len(up) == 20
        assert store.most <= FEW * (len(LARGE) + 100)


async def test_a_page_of_large_dead_letters_ends_early() -> None:
    store = CountingStore()
    async with running_server(store=store, **KEPT) as server:
        await server.engine.write(lambda group: group.dead.extend(letter(json.encode(LARGE)) for _ in range(10)))
        found = await pages(server.client, "/v1/dead-letters?limit=100", "dead_letters", "after", 0)
        assert [len(page) for page in found] == [4, 4, 2]
        assert [each["number"] for page in found for each in page] == list(range(1, 11))


async def test_one_failed_event_is_found_behind_any_number_of_others() -> None:
    store = CountingStore()
    async with running_server(store=store, **KEPT) as server:
        failed = event(101, state="failed")
        await server.engine.write(lambda group: group.events.extend([failed, *(event(key) for key in range(102, 1_400))]))
        store.rows = 0
        page = await server.client.events(state="failed", limit=10)
        assert [each.id for each in page.events] == ["e101"]
        assert not page.before
        later = event(2_000, state="failed")
        await server.engine.write(lambda group: group.events.append(later))
        forward = await server.client.events(state="failed", after=page.after, wait=60_000)
        assert [each.id for each in forward.events] == ["e2000"]
        assert store.rows == 2  # and none of the others


async def test_a_stream_shows_the_next_failure_however_many_others_there_are() -> None:
    store = CountingStore()
    async with running_server(store=store, **KEPT) as server:
        rows = [*(event(key) for key in range(101, 900)), event(900, state="failed")]
        await server.engine.write(lambda group: group.events.extend(rows))
        store.rows = 0
        with follower(server.url, "state=failed&after=0&limit=1") as stream:
            text = b""
            while b'"e900"' not in text:
                text += await receive(stream)
            assert b'"e101"' not in text
        assert store.rows == 1


def follower(address: str, query: str) -> socket.socket:
    parts = urlsplit(address)
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
    found.connect((parts.hostname, parts.port))
    found.setblocking(False)
    found.send(f"GET /v1/events?{query} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode())
    return found


async def receive(stream: socket.socket) -> bytes:
    return await asyncio.get_running_loop().sock_recv(stream, 65_536)


async def test_followers_that_do_not_read_keep_little_and_are_counted_until_they_leave() -> None:
    store = CountingStore()
    async with running_server(store=store, **KEPT) as server:
        await server.engine.write(lambda group: group.events.extend(event(key, LARGE) for key in range(101, 161)))
        store.rows = store.most = 0
        feed = server.engine.event_feed
        streams = [follower(server.url, "after=0&limit=100") for _ in range(60)]
        await happens(lambda: feed.followers == 60)
        slow = [await server.client.events(limit=100) for _ in range(10)]
        assert {len(page.events) for page in slow} == {4}
        assert (await server.client.health()).healthy
        assert store.most <= FEW * (len(LARGE) + 100)
        assert store.rows < 60 * 60 / 2  # what the system's own buffers take, and not all events for each of them
        for stream in streams:
            stream.close()
        await happens(lambda: feed.followers == 0)


def test_the_command_looks_on() -> None:
    """What `pelton events --state failed` does."""
    asked: list[dict[str, Any]] = []

    class Pages:
        def events(self, **given: Any) -> Any:
            asked.append(given)
            view = EventView(key="7", id="e7", source="/s", type="t", state="failed", received=1)
            return EventPage([view] if given.get("before") == "8" else [], "99", "" if given.get("before") == "8" else "8")

    found, newest = _listed(Pages(), "", "failed", 20)  # type: ignore[arg-type]
    assert [each.id for each in found] == ["e7"]
    assert newest == "99"
    assert [each.get("before", "") for each in asked] == ["", "8"]
