"""What every store must do with leases under a limit. Held to by each store of `store_factory`."""

from __future__ import annotations

from tests.store.conftest import Factory
from tests.store.rows import go, put, start, work

from pelton.store.group import Group, LeaseLimit, LeaseWrite, RunWrite
from pelton.store.port import Store


async def lease(
    store: Store, *steps: tuple[int, int], most: int = 0, rate: int = 0, at: int = 1_000, polls: int = 0
) -> list[int]:
    """Hands out steps of runs under the limit, in one group. Which of them were not."""
    limit = LeaseLimit("a", most, rate, 100, at)
    writes = [LeaseWrite(run, n, 5_000, "w", polls + 1, at, 0, expected=polls, unleased=True, limit=limit) for run, n in steps]
    (done,) = await put(store, Group(1, leases=writes))
    return [writes[place].run for place in done.untaken]


def work_done(key: int) -> RunWrite:
    return go(key, 1, closed=[1])


async def free(store: Store, run: int, polls: int = 1) -> None:
    await put(store, Group(2, leases=[LeaseWrite(run, 1, 0, "", polls, 0, 0)]))


async def ready(store: Store) -> list[int]:
    return [row.run for row in await store.ready("q", 100)]


async def test_no_more_are_handed_out_at_a_time_than_the_limit_says(store: Store) -> None:
    await put(store, *(Group(key, [start(key, opened=[work(key, 1)])]) for key in range(1, 7)))
    assert await lease(store, (1, 1), (2, 1), (3, 1), most=2) == [3]
    assert await ready(store) == [3, 4, 5, 6]
    assert await lease(store, (3, 1), most=2) == [3]
    await free(store, 1)
    assert await lease(store, (3, 1), (4, 1), most=2) == [4]
    await put(store, Group(3, [work_done(2)]))  # it ends
    assert await lease(store, (5, 1), (6, 1), most=2) == [6]
    assert await lease(store, (6, 1), most=3) == []  # the limit was raised
    await put(store, Group(4, remove_runs=[3]))
    assert await lease(store, (1, 1), most=3, polls=1) == []


async def test_no_more_are_handed_out_in_a_time_than_the_limit_says(store: Store) -> None:
    await put(store, *(Group(key, [start(key, opened=[work(key, 1)])]) for key in range(1, 7)))
    assert await lease(store, (1, 1), (2, 1), (3, 1), rate=2, at=1_000) == [3]
    await put(store, Group(3, [work_done(1)]))  # that it has ended leaves no room
    await free(store, 2)
    assert await lease(store, (3, 1), rate=2, at=1_050) == [3]
    assert await lease(store, (3, 1), rate=2, at=1_099) == [3]
    assert await lease(store, (3, 1), (4, 1), (5, 1), rate=2, at=1_100) == [5]
    assert await lease(store, (5, 1), (6, 1), rate=2, most=3, at=1_200) == [6]


async def test_one_that_somebody_else_has_is_not_taken_and_takes_no_room(store_factory: Factory) -> None:
    store = await store_factory()
    await put(store, *(Group(key, [start(key, opened=[work(key, 1)])]) for key in range(1, 4)))
    assert await lease(store, (1, 1), most=2, rate=9) == []
    assert await lease(store, (1, 1), (2, 1), (3, 1), most=2, rate=9, polls=0) == [1, 3]
    await store.close()
    store = await store_factory()
    assert await lease(store, (3, 1), most=2) == [3]
