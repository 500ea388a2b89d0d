"""What every store must do with the results of jobs, timers that fired for nothing, and who waits longest."""

from __future__ import annotations

from tests.store.rows import held, lost, put

from pelton.store.group import Group
from pelton.store.port import Store
from pelton.store.rows import ResultRow, TimerRow, WaitKeyRow

NOW = 1_790_000_000_000


async def test_a_result_is_there_once_and_listed_in_pages(store: Store) -> None:
    rows = [ResultRow(7, run, n, NOW, "signalled", "") for run in (3, 1, 2) for n in (0, 5)]
    await put(store, Group(1, results=rows), Group(2, results=[ResultRow(8, 1, 0, NOW, "failed", "why")]))
    listed = await store.results(7, (-1, 0), 4)
    assert [(row.run, row.n) for row in listed] == [(1, 0), (1, 5), (2, 0), (2, 5)]
    assert [(row.run, row.n) for row in await store.results(7, (2, 5), 4)] == [(3, 0), (3, 5)]
    assert await store.results(8, (-1, 0), 4) == [ResultRow(8, 1, 0, NOW, "failed", "why")]
    again = Group(3, results=[ResultRow(7, 2, 5, NOW, "signalled", "")], held=[held(1)])
    assert "result of run 2 in job 7" in await lost(store, again)
    assert await store.held_all("a", 9) == []


async def test_a_timer_that_fired_for_nothing_goes_unless_it_was_set_anew(store: Store) -> None:
    await put(store, Group(1, timers=[TimerRow(1, 2, "0", 4, 50), TimerRow(1, 3, "0", 4, 60)]))
    await put(store, Group(2, stale_timers=[(1, 2, "0", 3), (1, 3, "0", 4), (9, 9, "", 0)]))
    assert await store.timers(99, 9) == [TimerRow(1, 2, "0", 4, 50)]
    await put(store, Group(3, stale_timers=[(1, 2, "0", 4)], timers=[TimerRow(1, 2, "0", 5, 70)]))
    assert await store.timers(99, 9) == [TimerRow(1, 2, "0", 5, 70)]


async def test_who_waits_longest_comes_first(store: Store) -> None:
    late, early = WaitKeyRow("a", "n", "k", 1, 9, 200), WaitKeyRow("a", "n", "k", 2, 1, 100)
    await put(store, Group(1, wait_keys=[late, early]))
    assert await store.waiting("a", "n", "k", 9) == [early, late]
    assert await store.waiting("a", "n", "k", 9, True) == [late, early]
    assert await store.waiting("a", "n", "k", 1, True) == [late]


async def test_the_size_of_what_is_held(store: Store) -> None:
    assert await store.held_size("a", "name", "k") == (0, 0)
    await put(store, Group(1, held=[held(1), held(2), held(3, "other"), held(4, run=5), held(5, ns="b")]))
    count, size = await store.held_size("a", "name", "k")
    assert count == 2
    assert size > 0
    total, all_bytes = await store.held_size("a")
    assert total == 3
    assert all_bytes > size
