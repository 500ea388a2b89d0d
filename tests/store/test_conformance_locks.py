"""What every store must do when one of several servers locks the rows of a group that was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tests.store.conftest import Factory
from tests.store.rows import go, put, start

from pelton.store.group import Group, NodeWrite
from pelton.store.port import Store
from pelton.store.row_locks import Owner, RowName

A, B, C = (1, 1), (2, 1), (3, 1)
SOON = 0.05  # seconds, of those who wait in vain
LONG = 60.0
POINT = ("a", "name", "key")


def taking(store: Store, owner: Owner, *rows: RowName, wait: float = LONG) -> asyncio.Task[bool]:
    return asyncio.ensure_future(store.lock(owner, rows, wait))


async def turns(*tasks: asyncio.Task[bool]) -> list[bool]:
    """Which of them are done, when all have had their chance."""
    for _ in range(20):
        await asyncio.sleep(0)
    return [task.done() for task in tasks]


async def outcomes(store: Store, *groups: Group) -> list[str]:
    return [done.lost for done in await store.commit(groups)]


def by(owner: Owner, group: Group) -> Group:
    group.fence.append(owner)
    return group


async def living(store: Store, *owners: Owner) -> None:
    await put(store, *(Group(number, nodes=[NodeWrite(number, 0, epoch, 1, 0)]) for number, epoch in owners))


async def test_only_who_has_locked_a_row_changes_it(store: Store) -> None:
    await living(store, A, B)
    await put(store, Group(1, [start(1), start(2)]))
    assert await store.lock(A, [1], LONG)
    assert await outcomes(store, by(B, Group(1, [go(1, 1)])), by(B, Group(2, [go(2, 1)]))) == ["run 1", ""]
    assert await outcomes(store, by(B, Group(1, remove_runs=[1])), by(A, Group(2, [go(1, 1)]))) == ["run 1", ""]
    await store.unlock(A, [1])
    assert await outcomes(store, by(B, Group(1, [go(1, 2)]))) == [""]


async def test_a_look_is_not_in_the_way_of_a_lock(store: Store) -> None:
    await living(store, A, B)
    await put(store, Group(1, [start(1)]))
    assert await store.lock(A, [1], LONG)
    assert await outcomes(store, by(B, Group(1, reads=[(1, 1)]))) == [""]


async def test_a_correlation_point_and_a_run_that_is_not_there_are_locked_too(store: Store) -> None:
    await living(store, A, B)
    assert await store.lock(A, [7, POINT], LONG)
    assert await outcomes(store, by(B, Group(1, [start(7)])), by(B, Group(2, rendezvous=[(*POINT, 0)]))) == [
        "run 7",
        "rendezvous name key of a",
    ]
    assert await outcomes(store, by(A, Group(1, [start(7)], rendezvous=[(*POINT, 0)]))) == [""]


async def test_what_was_being_written_before_is_written_when_the_lock_is_there(store: Store) -> None:
    await living(store, A, B)
    await put(store, Group(1, [start(1)]))
    writing = asyncio.ensure_future(store.commit([by(B, Group(1, [go(1, 1)]))]))
    await asyncio.sleep(0)
    assert await store.lock(A, [1], LONG)
    head = await store.head(1)
    assert head is not None
    assert await outcomes(store, by(A, Group(2, [go(1, head.rev)]))) == [""]
    assert (await writing)[0].ok == (head.rev == 2)


async def test_who_wants_a_locked_row_waits_in_line(store: Store) -> None:
    await living(store, A, B, C)
    assert await store.lock(A, [1], LONG)
    second, third = taking(store, B, 1), taking(store, C, 1)
    assert await turns(second, third) == [False, False]
    again = taking(store, A, 1)
    assert await turns(again) == [False], "who has it does not push in before those who wait"
    await store.unlock(A, [1])
    assert await second
    assert await turns(third, again) == [False, False]
    await store.unlock(B, [1])
    assert await third
    await store.unlock(C, [1])
    assert await again


async def test_one_server_may_have_a_row_several_times(store: Store) -> None:
    await living(store, A, B)
    assert await store.lock(A, [1], LONG)
    assert await store.lock(A, [1, 2], LONG)
    waiting = taking(store, B, 1)
    await store.unlock(A, [1, 2])
    assert await turns(waiting) == [False]
    await store.unlock(A, [1])
    assert await waiting


async def test_all_rows_are_locked_or_none_and_nobody_waits_for_ever(store: Store) -> None:
    await living(store, A, B)
    assert await store.lock(A, [2], LONG)
    assert not await store.lock(B, [1, 2, 3], SOON)
    assert await store.lock(A, [1, 3], LONG), "nothing is left of a lock that was not had"
    await store.unlock(A, [1, 2, 3])
    assert await store.lock(B, [1, 2, 3], LONG)


async def test_who_gives_up_waiting_is_passed_by(store: Store) -> None:
    await living(store, A, B, C)
    assert await store.lock(A, [1], LONG)
    second, third = taking(store, B, 1), taking(store, C, 1)
    await turns(second)
    second.cancel()
    await turns(second)
    await store.unlock(A, [1])
    assert await third


async def test_rows_in_any_order_never_let_two_wait_for_each_other(store: Store) -> None:
    await living(store, A, B)
    rows: list[RowName] = [3, 1, POINT, 2]

    async def often(owner: Owner, wanted: Sequence[RowName]) -> None:
        for _ in range(20):
            assert await store.lock(owner, wanted, LONG)
            await asyncio.sleep(0)
            await store.unlock(owner, wanted)

    await asyncio.gather(*(often(owner, wanted) for owner, wanted in ((A, rows), (B, rows[::-1]), (A, rows[1:3]), (B, rows[2:]))))


async def test_the_rows_of_a_server_that_is_declared_dead_are_free_and_it_gets_no_more(store: Store) -> None:
    await living(store, A, B, C)
    assert await store.lock(A, [1, 2], LONG)
    assert await store.lock(B, [3], LONG)
    dead, alive = taking(store, A, 3), taking(store, C, 1)
    assert await turns(dead, alive) == [False, False]
    await put(store, Group(1, nodes=[NodeWrite(1, 1, 2, 0, 0)]))
    assert await alive
    assert not await dead
    assert not await store.lock(A, [9], LONG)
    await store.unlock(A, [1])
    assert await outcomes(store, by(B, Group(1, [start(1)]))) == ["run 1"], "a dead server gives back nothing of another's"
    assert await store.lock((1, 2), [9], LONG)


async def test_a_sign_of_life_takes_no_lock_away(store_factory: Factory) -> None:
    store = await store_factory()
    await living(store, A, B)
    assert await store.lock(A, [1], LONG)
    await put(store, Group(1, nodes=[NodeWrite(1, 1, 1, 2, 0)]))
    assert await outcomes(store, by(B, Group(1, [start(1)]))) == ["run 1"]
