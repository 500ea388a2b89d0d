"""What every store must do for counts of descendants: added up within a day, gone some time after it."""

from __future__ import annotations

from tests.store.conftest import Factory
from tests.store.rows import go, lost, put, start

from pelton.store.group import Group
from pelton.store.port import Store
from pelton.store.rows import DESCENDANTS_SPAN, DescendantsRow


def row(count: int, since: int, ancestor: int = 7, ns: str = "a") -> DescendantsRow:
    return DescendantsRow(ns, ancestor, count, since)


async def test_counts_are_added_up_also_within_a_group_and_a_batch(store: Store) -> None:
    await put(store, Group(1, descendants=[row(1, 5), row(2, 6), row(1, 5, -7)]), Group(2, descendants=[row(3, 9)]))
    await put(store, Group(3, descendants=[row(4, 11), row(5, 11, ns="b")]))
    assert await store.descendants("a", 7) == row(10, 6)
    assert await store.descendants("a", -7) == row(1, 5, -7)
    assert await store.descendants("b", 7) == row(5, 11, ns="b")
    assert await store.descendants("b", -7) is None


async def test_a_count_begins_anew_after_its_span(store: Store) -> None:
    await put(store, Group(1, descendants=[row(3, 10)]))
    await put(store, Group(2, descendants=[row(1, 9 + DESCENDANTS_SPAN)]))
    assert await store.descendants("a", 7) == row(4, 10)
    await put(store, Group(3, descendants=[row(2, 10 + DESCENDANTS_SPAN)]))
    assert await store.descendants("a", 7) == row(2, 10 + DESCENDANTS_SPAN)


async def test_counts_whose_span_is_over_go_some_at_a_time(store: Store) -> None:
    await put(store, Group(1, descendants=[row(1, number, number + 1) for number in range(60)]))
    await put(store, Group(2, descendants=[row(1, DESCENDANTS_SPAN + 57, 99)]))
    gone = [await store.descendants("a", number + 1) is None for number in (0, 49, 50, 57, 59)]
    assert gone == [True, True, False, False, False]
    await put(store, Group(3, descendants=[row(1, DESCENDANTS_SPAN + 57, 99)]))
    assert [await store.descendants("a", number + 1) is None for number in (57, 58, 59)] == [True, False, False]
    assert await store.descendants("a", 99) == row(2, DESCENDANTS_SPAN + 57, 99)


async def test_a_count_is_there_with_its_group_or_not_at_all(store_factory: Factory) -> None:
    store = await store_factory()
    await put(store, Group(1, [start(1)], descendants=[row(1, 5)]))
    assert await lost(store, Group(2, [go(1, 7)], descendants=[row(1, 5)])) == "run 1"
    await store.close()
    again = await store_factory()
    assert await again.descendants("a", 7) == row(1, 5)
