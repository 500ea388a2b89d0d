"""What every store must do with what a source has told: it is there with the event's group, or not at all."""

from __future__ import annotations

from tests.store.conftest import Factory
from tests.store.rows import event, lost, put

from pelton.store.group import Group
from pelton.store.port import Store
from pelton.store.rows import SeenRow


def seen(name: str, state: bytes = b"1", source: str = "files:/in", ns: str = "a") -> SeenRow:
    return SeenRow(ns, source, name, state)


async def test_rows_are_listed_by_name_in_pages_apart_by_source_and_namespace(store: Store) -> None:
    mine = [seen(name) for name in ("b/x", "a", "ü", "b")]
    await put(store, Group(1, seen=[*mine, seen("a", source="files:/out"), seen("a", ns="b")]))
    first = await store.seen("a", "files:/in", "", 3)
    assert [row.name for row in first] == ["a", "b", "b/x"]
    assert await store.seen("a", "files:/in", first[-1].name, 3) == [seen("ü")]
    assert await store.seen("a", "files:/in", "ü", 3) == []


async def test_the_last_state_of_a_name_counts_also_within_a_batch_and_a_group(store: Store) -> None:
    await put(
        store,
        Group(1, seen=[seen("kept", b"1"), seen("gone", b"1")]),
        Group(2, seen=[seen("kept", b""), seen("gone", b"")]),
        Group(3, seen=[seen("kept", b"2")]),
        Group(4, seen=[seen("twice", b"1"), seen("twice", b"2"), seen("never", b"1"), seen("never", b"")]),
    )
    assert await store.seen("a", "files:/in", "", 9) == [seen("kept", b"2"), seen("twice", b"2")]


async def test_it_goes_with_its_event(store_factory: Factory) -> None:
    store = await store_factory()
    await put(store, Group(1, events=[event(1, "e")], seen=[seen("a", b"1")]))
    await lost(store, Group(2, events=[event(2, "e")], seen=[seen("a", b"2"), seen("b", b"2")]))
    assert await store.seen("a", "files:/in", "", 9) == [seen("a", b"1")]
    await store.close()
    again = await store_factory()
    assert await again.seen("a", "files:/in", "", 9) == [seen("a", b"1")]
