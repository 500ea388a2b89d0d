"""What every store must do for who rests on it that no live run has a name (`Group.unnamed`)."""

from __future__ import annotations

import pytest
from tests.store.rows import ENDED, go, lost, put, start

from pelton.kernel.model.state import RunStatus
from pelton.store.group import Group
from pelton.store.port import Store
from pelton.store.rows import RunKeyRow

NAME = ("a", "ref", "p", "t")  # namespace, kind, process, text


def name(key: int, text: str = "t", *, unique: bool = True, **more: str) -> RunKeyRow:
    return RunKeyRow(more.get("ns", "a"), more.get("kind", "ref"), more.get("process", "p"), text, key, unique)


def named(number: int, key: int, text: str = "t", *, unnamed: bool = False, unique: bool = True) -> Group:
    """Starts a run of that name. `unnamed`: if no run has it."""
    group = Group(number, [start(key)], run_keys=[name(key, text, unique=unique)])
    if unnamed:
        group.unnamed = [("a", "ref", "p", text)]
    return group


async def test_a_name_that_a_run_has_loses_who_rests_on_its_absence(store: Store) -> None:
    await put(store, Group(1, [start(9)], unnamed=[NAME]))
    await put(store, named(2, 1))
    assert await lost(store, Group(3, [go(9, 1)], unnamed=[NAME])) == "name t of a"
    head = await store.head(9)
    assert head is not None
    assert head.rev == 1, "nothing of the group is written"
    others = [("b", *NAME[1:]), ("a", "other", "p", "t"), ("a", "ref", "q", "t"), ("a", "ref", "p", "u")]
    await put(store, Group(4, [go(9, 1)], unnamed=others))
    assert await lost(store, Group(5, unnamed=[others[0], NAME])) == "name t of a", "a look alone is a group too"


async def test_of_two_writers_one_gives_the_name(store: Store) -> None:
    """Each has looked, has found nobody, and starts one: the second is lost at its look, or at the name itself."""
    await put(store, named(1, 1, unnamed=True))
    assert await lost(store, named(2, 2, unnamed=True)) in ("name t of a", "key ref t of a")
    outcomes = await store.commit(
        [named(3, 3, "u", unnamed=True), named(4, 4, "u", unnamed=True), named(5, 5, "v", unnamed=True)]
    )
    assert [outcome.ok for outcome in outcomes] == [True, False, True]
    assert await store.run_keys(*NAME[:3], "u", True) == [3]
    assert await store.head(4) is None


@pytest.mark.parametrize("unique", [True, False])
async def test_in_one_batch_the_order_of_the_groups_counts(store: Store, unique: bool) -> None:
    """Who looks before the name is given has found nobody; who looks after it has not."""
    await put(store, Group(1, [start(8)]), Group(2, [start(9)]))
    given = named(4, 1, unique=unique)
    outcomes = await store.commit([Group(3, [go(8, 1)], unnamed=[NAME]), given, Group(5, [go(9, 1)], unnamed=[NAME])])
    assert [(outcome.ok, outcome.lost) for outcome in outcomes] == [(True, ""), (True, ""), (False, "name t of a")]


async def test_a_group_may_look_and_then_give_the_name_itself(store: Store) -> None:
    await put(store, named(1, 1, unnamed=True))
    assert await store.run_keys(*NAME, True) == [1]


async def test_a_run_that_ends_frees_its_name_and_one_that_goes_on_has_it_again(store: Store) -> None:
    await put(store, named(1, 1), Group(2, [start(9)]))
    await put(store, Group(3, [go(1, 1, status=ENDED)]))
    assert await lost(store, Group(4, unnamed=[NAME])) == "name t of a", "it has ended, and keeps its name"
    outcomes = await store.commit([Group(5, [go(1, 2, status=ENDED)], free_run_keys=[1]), Group(6, [go(9, 1)], unnamed=[NAME])])
    assert [outcome.ok for outcome in outcomes] == [True, True], "free for the next group of the same batch"
    await put(store, named(7, 2, unnamed=True), Group(8, [go(2, 1, status=ENDED)], free_run_keys=[2]))
    await put(store, Group(9, [go(1, 3)], claim_run_keys=[1]))
    assert await lost(store, Group(10, unnamed=[NAME])) == "name t of a"
    outcomes = await store.commit(
        [
            Group(11, [go(1, 4, status=ENDED)], free_run_keys=[1]),
            named(12, 3, unnamed=True),
            Group(13, [go(9, 2)], unnamed=[NAME]),
        ]
    )
    assert [outcome.ok for outcome in outcomes] == [True, True, False]


async def test_a_group_that_frees_a_name_has_looked_before(store: Store) -> None:
    await put(store, named(1, 1))
    assert await lost(store, Group(2, [go(1, 1, status=ENDED)], free_run_keys=[1], unnamed=[NAME])) == "name t of a"
    await put(store, Group(3, [go(1, 1, status=ENDED), start(2)], free_run_keys=[1], run_keys=[name(2)]))
    assert await store.run_keys(*NAME, True) == [2]


async def test_a_lost_group_gives_no_name(store: Store) -> None:
    await put(store, Group(1, [start(9)]))
    losing = Group(2, [start(1), go(9, 5)], run_keys=[name(1)])
    outcomes = await store.commit([losing, Group(3, [go(9, 1)], unnamed=[NAME])])
    assert [(outcome.ok, outcome.lost) for outcome in outcomes] == [(False, "run 9"), (True, "")]


async def test_a_run_that_is_expected_has_its_name_and_loses_it_when_it_goes(store: Store) -> None:
    expected = Group(1, [start(1, status=RunStatus.EXPECTED, definition=0)], run_keys=[name(1)])
    await put(store, expected, Group(2, [start(9)]))
    assert await lost(store, Group(3, unnamed=[NAME])) == "name t of a"
    await put(store, Group(4, [go(1, 1)]))
    assert await lost(store, Group(5, unnamed=[NAME])) == "name t of a", "it has begun"
    outcomes = await store.commit([Group(6, remove_runs=[1]), Group(7, [go(9, 1)], unnamed=[NAME])])
    assert [outcome.ok for outcome in outcomes] == [True, True]
