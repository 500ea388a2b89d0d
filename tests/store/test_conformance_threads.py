"""What every store must do with the rows of one thread of many: found by thread, by place, by parent and by why they parked."""

from __future__ import annotations

from typing import Any

from tests.store.conftest import Factory
from tests.store.rows import go, put, run, start, work

from pelton.kernel.model.reads import ChildrenKey, StrandedKey, ThreadRowsKey, WaitsKey
from pelton.kernel.model.state import THREADED, Bit, OpenStep, State, Thread, ThreadStatus
from pelton.store.group import Group
from pelton.store.port import Store

THREADS: dict[str, Any] = {"flags": THREADED, "threaded": 3}  # what was numbered below 3 is the root thread's


def wait(key: int, n: int, thread: int, slot: str = "w") -> OpenStep:
    return OpenStep(key, n, slot, State.WAIT, thread=thread)


def parked(key: int, n: int, thread: int, bits: int = 0, slot: str = "w") -> OpenStep:
    return OpenStep(key, n, slot, State.PARKED, thread=thread, bits=bits)


async def before_and_after(store: Store) -> None:
    """Run 1 opens two steps of the root thread, then becomes one with threads; run 2 is another with the same numbers."""
    await put(store, Group(1, [start(1, opened=[wait(1, 1, 0), wait(1, 2, 0, "v")]), start(2, opened=[wait(2, 1, 0)])]))
    rows = [wait(1, 3, 0), wait(1, 7, 1), wait(1, 8, 2), wait(1, 9, 1, "v"), wait(1, 10, 1), parked(1, -1, 1), parked(1, -2, 0)]
    await put(store, Group(2, [go(1, 1, opened=rows, **THREADS)]))


async def test_the_rows_of_a_thread_are_read_by_number_and_nothing_else(store: Store) -> None:
    await before_and_after(store)
    head = run(1, 2, **THREADS)
    before = store.counts.rows_read
    found = await store.read(head, [ThreadRowsKey(0), ThreadRowsKey(1), ThreadRowsKey(2), ThreadRowsKey(3)])
    assert [[row.n for row in rows] for rows in found] == [[-2, 1, 2, 3], [-1, 7, 9, 10], [8], []]
    assert store.counts.rows_read - before == 9


async def test_a_run_without_threads_has_all_its_rows_in_the_root_thread(store: Store) -> None:
    await put(store, Group(1, [start(1, opened=[wait(1, 1, 0), work(1, 2), parked(1, -1, 0)])]))
    assert await store.read(run(1), [ThreadRowsKey(0)]) == [[parked(1, -1, 0), wait(1, 1, 0), work(1, 2)]]
    assert await store.read(run(1), [WaitsKey("w", (0, 0), 5), WaitsKey("w", (0, 1), 5)]) == [[wait(1, 1, 0)], []]


async def test_waits_at_a_slot_come_by_thread_and_number_in_pages(store: Store) -> None:
    await before_and_after(store)
    head = run(1, 2, **THREADS)
    every = [(0, 1), (0, 3), (1, 7), (1, 10), (2, 8)]
    for limit in (1, 2, 3, 5, 9):
        place, found = (0, 0), []
        while True:
            before = store.counts.rows_read
            (page,) = await store.read(head, [WaitsKey("w", place, limit)])
            assert store.counts.rows_read - before <= 2 * limit
            found += [(row.thread, row.n) for row in page]
            if len(page) < limit:
                break
            place = (page[-1].thread, page[-1].n)
        assert found == every
    assert [row.n for row in (await store.read(head, [WaitsKey("v", (0, 2), 9)]))[0]] == [9]


async def test_a_closed_row_is_in_no_list_and_one_thread_of_many_costs_one_row(store: Store) -> None:
    rows = [wait(1, 10 + no, no) for no in range(1, 301)]
    await put(store, Group(1, [start(1, opened=rows, **THREADS)]))
    await put(store, Group(2, [go(1, 1, closed=[11, 13], **THREADS)]))
    head = run(1, 2, **THREADS)
    before = store.counts.rows_read
    found = await store.read(head, [ThreadRowsKey(1), ThreadRowsKey(150), WaitsKey("w", (0, 0), 2), WaitsKey("w", (0, 0), 2)])
    assert [[row.n for row in each] for each in found] == [[], [160], [12, 14], [12, 14]]
    assert store.counts.rows_read - before == 5


async def test_tokens_that_parked_for_fuel_are_found_behind_any_number_that_a_halt_keeps(store: Store) -> None:
    halted = [parked(1, -n, 1) for n in range(1, 1_201)]
    stranded = [parked(1, -n, 0, Bit.STRANDED) for n in range(1_201, 1_204)]
    await put(store, Group(1, [start(1, opened=[*halted, *stranded], **THREADS)]))
    head = run(1, **THREADS)
    before = store.counts.rows_read
    assert await store.read(head, [StrandedKey(2)]) == [stranded[:2]]
    assert store.counts.rows_read - before == 2
    kept = parked(1, -1_202, 0)
    await put(store, Group(2, [go(1, 1, changed=[(kept, False, True)], **THREADS)]))
    assert await store.read(run(1, 2, **THREADS), [StrandedKey(9), ThreadRowsKey(0)]) == [
        [stranded[0], stranded[2]],
        [stranded[2], kept, stranded[0]],
    ]


async def test_children_are_those_that_have_not_ended_and_follow_a_change_of_parent(store_factory: Factory) -> None:
    store = await store_factory()
    threads = [Thread(1, 0), *(Thread(1, no, parent=0) for no in range(1, 100)), Thread(1, 100, parent=5), Thread(2, 1, parent=5)]
    await put(store, Group(1, [start(1, threads=threads[:-1], **THREADS), start(2, threads=threads[-1:], **THREADS)]))
    ended = [Thread(1, no, int(ThreadStatus.COMPLETED), parent=0) for no in range(2, 99)]
    moved = Thread(1, 99, parent=5)
    await put(store, Group(2, [go(1, 1, threads=[*ended, moved], **THREADS)]))
    await store.close()
    store = await store_factory()
    before = store.counts.rows_read
    found = await store.read(run(1, 2, **THREADS), [ChildrenKey(0), ChildrenKey(5), ChildrenKey(1)])
    assert [[thread.no for thread in each] for each in found] == [[1], [99, 100], []]
    assert store.counts.rows_read - before == 3
