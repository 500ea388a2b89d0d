"""Keyed events that stay: the store's part of the contract."""

from __future__ import annotations

from typing import Any

import pytest
from tests.store.rows import lost, put

from pelton.store.group import Group
from pelton.store.memory import writes
from pelton.store.port import Store
from pelton.store.rows import CopyRow, StickyRow
from pelton.store.sqlite import encode


def sticky(id: int, key: str, name: str = "e", **fields: Any) -> StickyRow:
    return StickyRow(id, "a", name, key, {"n": id}, posted=5, source="s", **{"expires": 0, **fields})


async def test_sticky_events_have_copies_and_are_found_by_name_and_key(store: Store) -> None:
    await put(
        store, Group(1, sticky=[sticky(1, "k"), sticky(2, "l", expires=50), sticky(3, "m", expires=40), sticky(4, "k", "f")])
    )
    assert await store.sticky("a", "e", "k") == sticky(1, "k")
    assert await store.sticky("b", "e", "k") is None
    assert await lost(store, Group(2, sticky=[sticky(9, "k")])) == "sticky event e k"
    copies = [CopyRow(1, 20, 7, 3, 0, -1, 9), CopyRow(1, 10, 8, 2, 1, 4, 9), CopyRow(5, 11, 8, 2, 1, 4, 9)]
    await put(store, Group(3, copies=copies))
    assert await store.copies(1, 0, 9) == [copies[1], copies[0]]
    assert await store.copies(1, 10, 9) == [copies[0]]
    assert await store.copies(1, 0, 1) == [copies[1]]
    assert await store.copies(5, 0, 9) == [], "of what is not there nothing is kept"
    for got, keys in ((None, ["k", "l", "m"]), (True, ["k"]), (False, ["l", "m"])):
        assert [row.key for row in await store.sticky_named("a", "e", got, "", 9)] == keys
    assert [(row.key, row.got) for row in await store.sticky_named("a", "e", None, "", 1)] == [("k", 2)]
    assert [row.key for row in await store.sticky_named("a", "e", None, "k", 9)] == ["l", "m"]
    assert [row.id for row in await store.sticky_expired(50, 9)] == [3, 2]
    assert [row.id for row in await store.sticky_expired(49, 9)] == [3]
    count, size = await store.sticky_size("a")
    assert (count, size > 0, await store.sticky_size("b")) == (4, True, (0, 0))
    await put(store, Group(4, sticky_gone=[1, 99], sticky=[sticky(6, "k")], copies=[CopyRow(1, 30, 7, 3, 0, -1, 9)]))
    assert await store.copies(1, 0, 9) == []
    assert await store.sticky("a", "e", "k") == sticky(6, "k")


async def test_the_list_of_copies_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (encode, writes):
        monkeypatch.setattr(module, "MOST_COPIES", 2)
    await put(store, Group(1, sticky=[sticky(1, "k")]))
    for n in range(1, 5):
        await put(store, Group(1 + n, copies=[CopyRow(1, n, 7, n, 0, -1, 9)]))
    assert [row.id for row in await store.copies(1, 0, 9)] == [1, 2]
    assert (await store.sticky("a", "e", "k")).got == 4  # type: ignore[union-attr]
