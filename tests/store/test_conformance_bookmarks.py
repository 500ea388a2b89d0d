"""What every store must do with the bookmarks of sources: each is there with the event's group, or not at all."""

from __future__ import annotations

from tests.store.conftest import Factory
from tests.store.rows import event, lost, put

from pelton.store.group import Group
from pelton.store.port import Store
from pelton.store.rows import BookmarkRow


def bookmark(name: str, state: bytes = b"1", source: str = "files:/in", ns: str = "a") -> BookmarkRow:
    return BookmarkRow(ns, source, name, state)


async def test_rows_are_listed_by_name_in_pages_apart_by_source_and_namespace(store: Store) -> None:
    mine = [bookmark(name) for name in ("b/x", "a", "ü", "b")]
    await put(store, Group(1, bookmarks=[*mine, bookmark("a", source="files:/out"), bookmark("a", ns="b")]))
    first = await store.bookmarks("a", "files:/in", "", 3)
    assert [row.name for row in first] == ["a", "b", "b/x"]
    assert await store.bookmarks("a", "files:/in", first[-1].name, 3) == [bookmark("ü")]
    assert await store.bookmarks("a", "files:/in", "ü", 3) == []


async def test_the_last_state_of_a_name_counts_also_within_a_batch_and_a_group(store: Store) -> None:
    await put(
        store,
        Group(1, bookmarks=[bookmark("kept", b"1"), bookmark("gone", b"1")]),
        Group(2, bookmarks=[bookmark("kept", b""), bookmark("gone", b"")]),
        Group(3, bookmarks=[bookmark("kept", b"2")]),
        Group(4, bookmarks=[bookmark("twice", b"1"), bookmark("twice", b"2"), bookmark("never", b"1"), bookmark("never", b"")]),
    )
    assert await store.bookmarks("a", "files:/in", "", 9) == [bookmark("kept", b"2"), bookmark("twice", b"2")]


async def test_it_goes_with_its_event(store_factory: Factory) -> None:
    store = await store_factory()
    await put(store, Group(1, events=[event(1, "e")], bookmarks=[bookmark("a", b"1")]))
    await lost(store, Group(2, events=[event(2, "e")], bookmarks=[bookmark("a", b"2"), bookmark("b", b"2")]))
    assert await store.bookmarks("a", "files:/in", "", 9) == [bookmark("a", b"1")]
    await store.close()
    again = await store_factory()
    assert await again.bookmarks("a", "files:/in", "", 9) == [bookmark("a", b"1")]
