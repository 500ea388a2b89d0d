"""What every store must do with numbers that are added up over all runs of a process, and with marks that they cross."""

from __future__ import annotations

from typing import Any

from tests.store.conftest import Factory
from tests.store.rows import go, lost, put, start

from pelton.store.group import Committed, Group
from pelton.store.port import Store
from pelton.store.rows import PendingSignalRow, TallyRow, TallyValue


def tally(by: float, node: str = "n", name: str = "standing", ns: str = "a", process: str = "p", **more: Any) -> TallyRow:
    return TallyRow(ns, process, node, name, by, **more)


def then(number: int) -> PendingSignalRow:
    return PendingSignalRow(number, 9, b"signal", 0)


def marked(by: int, at: int, reached: int, fallen: int = 0) -> TallyRow:
    return tally(by, at=at, reached=then(reached), fallen=then(fallen) if fallen else None)


def values(done: Committed) -> list[tuple[str, str, float]]:
    return [(value.node, value.name, value.value) for value in done.tallies]


async def waiting(store: Store) -> list[int]:
    return sorted(row.id for row in await store.pending_signals(99))


async def test_all_changes_of_a_group_are_added_to_one_number_each(store: Store) -> None:
    rows = [tally(1), tally(1), tally(-1), tally(1, "m"), tally(0.5, name="sum:x"), tally(2, name="sum:x"), tally(5, ns="b")]
    (done,) = await put(store, Group(1, tallies=rows))
    assert values(done) == [("m", "standing", 1), ("n", "standing", 1), ("n", "sum:x", 2.5), ("n", "standing", 5)]
    (done,) = await put(store, Group(2, tallies=[tally(2), tally(1, process="q")]))
    assert values(done) == [("n", "standing", 3), ("n", "standing", 1)]
    mine = await store.tallies("a", "p")
    assert mine == [TallyValue("p", "m", "standing", 1), TallyValue("p", "n", "standing", 3), TallyValue("p", "n", "sum:x", 2.5)]
    assert await store.tallies("a", "p", ("m", "standing"), 1) == mine[1:2]
    assert await store.tallies("a", "none") == []
    assert [type(value.value) for value in mine] == [int, int, float]


async def test_a_mark_is_told_once_by_the_group_that_crosses_it(store: Store) -> None:
    done = await put(store, *[Group(number, tallies=[marked(1, 3, number)]) for number in range(1, 6)])
    assert [each.crossed for each in done] == [[], [], [3], [], []]
    assert await waiting(store) == [3]
    (row,) = await store.pending_signals(9)
    assert row == then(3)


async def test_a_mark_that_is_crossed_to_and_fro_within_a_group_is_not_told(store: Store) -> None:
    await put(store, Group(1, tallies=[tally(2)]))
    (done,) = await put(store, Group(2, tallies=[marked(1, 3, 10), marked(-1, 3, 11, 12)]))
    assert (done.crossed, await waiting(store)) == ([], [])
    (done,) = await put(store, Group(3, tallies=[marked(-2, 3, 20), marked(1, 3, 21), marked(4, 3, 22)]))
    assert (done.crossed, values(done)) == ([22], [("n", "standing", 5)])


async def test_it_is_told_when_the_number_falls_below_and_again_when_it_comes_back(store: Store) -> None:
    steps = [(3, 1, 2), (-1, 3, 4), (-1, 5, 6), (2, 7, 8), (-1, 9, 10)]
    done = [await put(store, Group(1, tallies=[marked(by, 3, up, down)])) for by, up, down in steps]
    assert [each.crossed for (each,) in done] == [[1], [4], [], [7], [10]]
    (quiet,) = await put(store, Group(1, tallies=[tally(9, at=3)]))
    assert quiet.crossed == []


async def test_a_lost_group_adds_nothing_and_another_of_its_batch_crosses_the_mark(store: Store) -> None:
    await put(store, Group(1, [start(1)], tallies=[tally(2)]))
    groups = [
        Group(2, [go(1, 7)], tallies=[marked(1, 3, 2)]),
        Group(3, [go(1, 1)], tallies=[marked(1, 3, 3)]),
        Group(4, [go(1, 2)], tallies=[marked(1, 3, 4)]),
    ]
    done = await store.commit(groups)
    assert [(each.ok, each.crossed, values(each)) for each in done] == [
        (False, [], []),
        (True, [3], [("n", "standing", 3)]),
        (True, [], [("n", "standing", 4)]),
    ]
    assert await waiting(store) == [3]
    assert await lost(store, Group(5, [go(1, 1)], tallies=[tally(1)])) == "run 1"
    assert (await store.tallies("a", "p"))[0].value == 4


async def test_two_writers_add_to_one_number_without_losing_to_each_other(store: Store) -> None:
    """Neither knows what the other adds; the mark is told to the one that crosses it."""
    await put(store, Group(1, [start(1), start(2)]))
    one = [Group(2, [go(1, 1)], tallies=[marked(1, 2, 20)]), Group(3, [go(1, 2)], tallies=[marked(1, 2, 30)])]
    other = [Group(2, [go(2, 1)], tallies=[marked(1, 2, 21)]), Group(3, [go(2, 2)], tallies=[marked(1, 2, 31)])]
    done = [(await put(store, mine), await put(store, theirs)) for mine, theirs in zip(one, other, strict=True)]
    assert [(first.crossed, second.crossed) for (first,), (second,) in done] == [([], [21]), ([], [])]
    assert (await store.tallies("a", "p"))[0].value == 4


async def test_numbers_are_there_after_the_store_was_closed(store_factory: Factory) -> None:
    store = await store_factory()
    await put(store, Group(1, tallies=[tally(2)]))
    await store.close()
    again = await store_factory()
    (done,) = await put(again, Group(2, tallies=[marked(1, 3, 5)]))
    assert (values(done), done.crossed, await waiting(again)) == ([("n", "standing", 3)], [5], [5])


async def test_a_number_that_is_too_large_for_the_store_goes_on_as_a_float(store: Store) -> None:
    (done,) = await put(store, Group(1, tallies=[tally((1 << 63) - 1, name="sum:x")]))
    assert values(done)[0][2] == (1 << 63) - 1
    (done,) = await put(store, Group(2, tallies=[tally(10, name="sum:x")]))
    assert values(done)[0][2] == float((1 << 63) + 9)
