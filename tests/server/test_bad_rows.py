"""One bad row never hides the others: every list shows it as well as it can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec import json

from pelton.runtime.caller import SERVER
from pelton.store.group import Group
from pelton.store.memory.store import MemoryStore
from pelton.store.port import Store
from pelton.store.retention import Kind, Sweep
from pelton.store.rows import DeadLetter, EventRow, HeldRow
from pelton.store.sqlite.store import SqliteStore
from pelton.testing import running_server

DEEP = b"[" * 5_000
NESTED = b"[" * 900 + b"]" * 900
FAR = 253_402_300_800_000  # a millisecond after the last one that a calendar has
KEPT: dict[str, Any] = {"keep_events": "forever", "keep_dead_letters": "forever"}
LISTS = ("/v1/events", "/v1/events?after=0", "/v1/held", "/v1/dead-letters")


def event(key: int, body: Any = None, **others: Any) -> EventRow:
    values: dict[str, Any] = {
        "key": key, "ns": "default", "source": "/s", "event_id": f"e{key}", "type": "t", "subject": "", "time": 0, "received": 1,
        "body": body, "attributes": {}, "hash": b"h", "handlers": 0, "decisions": [], "effects": [], "state": "unmatched",
    }  # fmt: skip
    return EventRow(**{**values, **others})


def letter(body: bytes) -> DeadLetter:
    return DeadLetter(0, "default", "in", "sqs:q", "1", body, {}, "no", 5, 1)


def held(number: int, body: Any = 1) -> HeldRow:
    return HeldRow(number, "default", 0, "name", "key", body, -1, -1, number, 0, None, "")


async def listed(client: Any, path: str) -> list[Any]:
    found = await client.request("GET", path)
    (rows,) = [value for value in found.values() if isinstance(value, list)]
    return list(rows)


@pytest.mark.parametrize("body", [DEEP, NESTED, b"\xff\xfe", b"1" * 400, b"", b'{"a": "\\ud800"}'])
async def test_a_message_of_any_kind_is_shown_among_the_dead_letters(body: bytes) -> None:
    store = MemoryStore()
    async with running_server(store=store, **KEPT) as server:
        await server.engine.write(lambda group: group.dead.extend([letter(b'{"n": 1}'), letter(body), letter(b'{"n": 3}')]))
        shown = await listed(server.client, "/v1/dead-letters")
    assert [each["number"] for each in shown] == [1, 2, 3]
    assert shown[0]["body"] == {"n": 1}


@pytest.mark.parametrize(
    "bad",
    [
        event(12, {"a": 1}, time=FAR),
        event(12, {"a": 1}, time=-(10**15)),
        event(12, json.decode(NESTED)),
        event(12, {"a": {1: 2, "b": None}}),
        event(12, {"a": 1}, decisions=[{"nothing": 1}]),
        event(12, {"a": 1}, effects=[7]),
    ],
    ids=["far", "before", "nested", "keys", "decisions", "effects"],
)
async def test_an_event_of_any_kind_is_shown_among_the_others(bad: EventRow) -> None:
    async with running_server(store=MemoryStore(), **KEPT) as server:
        await server.engine.write(lambda group: group.events.extend([event(11), bad, event(13)]))
        shown = await listed(server.client, "/v1/events?after=0")
        assert [each["id"] for each in shown] == ["e11", "e12", "e13"]
        assert len(await listed(server.client, "/v1/events")) == 3
        (middle,) = [each for each in shown if each["id"] == "e12"]
        assert (await server.client.request("GET", f"/v1/events/{middle['key']}"))["id"] == "e12"


async def damaged(kind: str, path: Path) -> Store:
    """A store with three rows in each list, of which the second cannot be decoded."""
    store: Store = MemoryStore() if kind == "memory" else SqliteStore(path / "pelton.db")
    await store.open()
    group = Group(1, events=[event(11), event(12), event(13)], held=[held(1), held(2), held(3)])
    group.dead = [letter(b"1"), letter(b"2"), letter(b"3")]
    assert (await store.commit([group]))[0].ok
    if isinstance(store, MemoryStore):
        tables = store._tables
        every: list[dict[int, Any]] = [tables.events.rows, tables.held.rows, tables.dead.rows]
        for rows in every:
            number = sorted(rows)[1]
            rows[number] = rows[number]._replace(body=b"\xc1")
    await store.close()
    if kind == "sqlite":
        db = apsw.Connection(str(path / "pelton.db"))
        for change in ("event SET body = x'c1' WHERE key = 12", "held SET body = x'c1' WHERE id = 2"):
            db.execute(f"UPDATE {change}")
        db.execute("UPDATE dead SET body = x'c1' WHERE number = 2")
        db.close()
    return store


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_row_that_cannot_be_decoded_is_shown_as_well_as_it_can_be(tmp_path: Path, kind: str) -> None:
    store = await damaged(kind, tmp_path)
    async with running_server(store=store, **KEPT) as server:
        for path in LISTS:
            assert len(await listed(server.client, path)) == 3, path
        shown = await listed(server.client, "/v1/events?after=0")
        assert [each["type"] for each in shown] == ["t"] * 3
        assert "unreadable" in shown[1]["attributes"]
        assert "cannot be read" in (await listed(server.client, "/v1/dead-letters"))[1]["reason"]
        assert (await server.client.request("GET", f"/v1/events/{shown[1]['key']}"))["state"] == "unmatched"
        assert len(await server.engine.events(SERVER)) == 3


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_row_that_cannot_be_decoded_goes_when_its_time_is_over(tmp_path: Path, kind: str) -> None:
    store = await damaged(kind, tmp_path)
    await store.open()
    kinds: tuple[Kind, ...] = ("events", "dead_letters")
    for sort in kinds:
        sweep = Sweep(sort, 10_000, 9_000, 9_000, -1, 100, remember=sort == "events")
        assert await store.due(sweep) == 3
        assert (await store.sweep(sweep)).removed == 3
    assert await store.events("default") == []
    assert await store.dead("default", 10) == []
    known = await store.event_by_id("default", "/s", "e12")
    assert known is not None
    assert (known.key, known.type) == (12, "")
    await store.close()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_held_row_that_cannot_be_decoded_does_not_keep_the_others_from_expiring(tmp_path: Path, kind: str) -> None:
    store = await damaged(kind, tmp_path)
    await store.open()
    assert await store.held_expired(10, 10) == []
    assert [row.id for row in await store.held_all("default", 10)] == [1, 2, 3]
    await store.close()
