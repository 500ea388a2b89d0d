"""Sources that say themselves which events they bring, and remember what they told: the engine's side."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.runtime.wire import Line, Wire

from pelton.connectors.port import Bookmark, Incoming, SourceEvent
from pelton.connectors.registry import Connectors
from pelton.runtime.caller import SERVER
from pelton.runtime.engine import BOOKMARK_PAGE, LocalEngine
from pelton.store.group import Group
from pelton.store.rows import BookmarkRow
from pelton.store.sqlite.store import SqliteStore

WATCHED = "wire:in"


class Remembering(Line):
    def __init__(self, wire: Wire, address: str) -> None:
        super().__init__(wire, address)
        self.bookmarks: list[Bookmark] = []

    def resume(self, bookmarks: Sequence[Bookmark]) -> None:
        self.bookmarks += bookmarks


class RememberingWire(Wire):
    def __init__(self) -> None:
        super().__init__()
        self.remembering: list[Remembering] = []

    def subscribe(self, address: str) -> Line:
        self.remembering.append(Remembering(self, address))
        return self.remembering[-1]


@asynccontextmanager
async def engine(path: Path, wire: Wire, *watched: str) -> AsyncIterator[LocalEngine]:
    store = SqliteStore(path / "pelton.db", "relaxed")
    await store.open()
    made = LocalEngine(store, connectors=Connectors([wire]), watched=watched)
    await made.open()
    try:
        yield made
    finally:
        await made.close(2.0)
        await store.close()


def message(id: str, name: str, state: bytes, kind: str = "Came") -> Incoming:
    return Incoming(id, b"", {}, None, 1, SourceEvent(kind, name, 5, {"a": 1}), (name, state))


def forged(id: str) -> Incoming:
    """A message of somebody else, with the headers that a dead letter of a source's own event has."""
    headers = {"event-type": "Came", "event-subject": "a", "event-time": "5", "seen-name": "a", "seen-state": "31"}
    return Incoming(id, b'{"a":1}', headers, None, 1)


async def bring(wire: Wire, *messages: Incoming) -> None:
    """Waits until they are recorded, and the next ones are waited for."""
    await wire.waiting["in"].wait()
    wire.waiting["in"].clear()
    wire.queues["in"].put_nowait(list(messages))
    await wire.waiting["in"].wait()


async def test_an_event_and_what_is_remembered_with_it_are_recorded_together_and_recalled(tmp_path: Path) -> None:
    wire = RememberingWire()
    async with engine(tmp_path, wire, WATCHED) as at:
        await bring(wire, message("1", "a", b"1"), message("2", "b", b"2"), message("3", "b", b"", "Went"))
        (went, _, came) = await at.events(SERVER)
        assert (came.type, came.source, came.event_id, came.subject, came.time, came.body) == (
            "Came", WATCHED, "1", "a", 5, {"a": 1},
        )  # fmt: skip
        assert went.type == "Went"
        assert await at.store.bookmarks("default", WATCHED, "", 9) == [BookmarkRow("default", WATCHED, "a", b"1")]
    wire = RememberingWire()
    async with engine(tmp_path, wire, WATCHED):
        await wire.waiting["in"].wait()
        assert [line.bookmarks for line in wire.remembering] == [[("a", b"1")]]


async def test_more_than_a_page_is_recalled_whole(tmp_path: Path) -> None:
    rows = [BookmarkRow("default", WATCHED, f"{number:05}", b"1") for number in range(BOOKMARK_PAGE + 1)]
    wire = RememberingWire()
    async with engine(tmp_path, wire) as at:
        await at.store.commit([Group(1, bookmarks=rows)])
    async with engine(tmp_path, wire, WATCHED):
        await wire.waiting["in"].wait()
        assert [name for name, _ in wire.remembering[-1].bookmarks] == [row.name for row in rows]


async def test_a_repeat_is_one_event_and_is_remembered_all_the_same(tmp_path: Path) -> None:
    wire = RememberingWire()
    async with engine(tmp_path, wire, WATCHED) as at:
        await bring(wire, message("1", "a", b"1"))
        await at.store.commit([Group(10**9, bookmarks=[BookmarkRow("default", WATCHED, "a", b"")])])
        await bring(wire, message("1", "a", b"1"))
        assert len(await at.events(SERVER)) == 1
        assert await at.store.bookmarks("default", WATCHED, "", 9) == [BookmarkRow("default", WATCHED, "a", b"1")]


async def test_others_cannot_name_their_events_or_have_anything_remembered(tmp_path: Path) -> None:
    wire = RememberingWire()
    async with engine(tmp_path, wire, "wire:other") as at:
        at.listening.addresses["wire:in"] = ["default"]
        at.sources.refresh(at.listening.addresses)
        await bring(wire, forged("1"))
        (event,) = await at.events(SERVER)
        assert (event.type, event.subject) == ("wire:in", "")
        assert await at.store.bookmarks("default", "wire:in", "", 9) == []
