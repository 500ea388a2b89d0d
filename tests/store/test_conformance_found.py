"""What every store must do to find runs by process, status and time, page by page. Held to by each store of `store_factory`."""

from __future__ import annotations

import random

import pytest
from tests.store.conftest import Factory
from tests.store.rows import go, put, start

from pelton.kernel.model.state import Run, RunStatus
from pelton.store.group import Group
from pelton.store.port import Store
from pelton.store.run_query import RunQuery
from pelton.store.sqlite.search import finder

RUNNING, PAUSED, COMPLETED, FAILED = RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.COMPLETED, RunStatus.FAILED


async def keys(store: Store, query: RunQuery, offset: int = 0, limit: int = 100) -> list[int]:
    return [run.key for run in (await store.find_runs(query, offset, limit))[1]]


async def count(store: Store, query: RunQuery) -> int:
    return (await store.find_runs(query, 0, 0))[0]


async def some(store: Store) -> None:
    rows = [
        (1, "p", COMPLETED, 10),
        (2, "q", FAILED, 20),
        (3, "p", RUNNING, 30),
        (4, "p", PAUSED, 40),
        (5, "q", COMPLETED, 50),
        (6, "r", COMPLETED, 60),
    ]
    for key, process, status, created in rows:
        await put(store, Group(key, [start(key, process=process, status=status, created=created)]))
    await put(store, Group(7, [start(7, process="", status=RunStatus.EXPECTED, created=70)]))
    await put(store, Group(8, [start(8, process="p", ns="b", status=COMPLETED, created=80)]))


async def test_runs_are_found_by_process_status_and_time_newest_first(store: Store) -> None:
    await some(store)
    cases = [
        (RunQuery("a"), [6, 5, 4, 3, 2, 1]),
        (RunQuery("b"), [8]),
        (RunQuery("c"), []),
        (RunQuery("a", ("p",)), [4, 3, 1]),
        (RunQuery("a", ("q", "r", "none", "q")), [6, 5, 2]),
        (RunQuery("a", ()), []),
        (RunQuery("a", None, (int(COMPLETED),)), [6, 5, 1]),
        (RunQuery("a", None, (int(RUNNING), int(FAILED))), [3, 2]),
        (RunQuery("a", ("p",), (int(PAUSED),)), [4]),
        (RunQuery("a", since=20, until=50), [4, 3, 2]),
        (RunQuery("a", ("p",), (int(COMPLETED),), until=10), []),
    ]
    for query, expected in cases:
        assert await keys(store, query) == expected, query
        assert await count(store, query) == len(expected), query
        assert await keys(store, query._replace(ascending=True)) == expected[::-1], query
    assert await store.run_processes("a") == ["p", "q", "r"]
    assert await store.run_processes("b") == ["p"]


async def test_a_run_moves_with_its_status_and_goes_when_it_is_removed(store: Store) -> None:
    await some(store)
    done = RunQuery("a", ("p",), (int(COMPLETED),))
    assert await count(store, done) == 1
    await put(store, Group(9, [go(3, 1, status=COMPLETED, created=30)]))
    assert (await keys(store, done), await count(store, done)) == ([3, 1], 2)
    await put(store, Group(10, [go(1, 1, status=RUNNING, created=10)]))
    assert (await keys(store, done), await count(store, done)) == ([3], 1)
    await put(store, Group(11, remove_runs=[3]))
    assert (await keys(store, done), await count(store, done)) == ([], 0)


@pytest.mark.parametrize("small", [True, False], ids=["sought by time", "read as a whole"])
async def test_every_page_is_a_cut_out_of_the_whole(store_factory: Factory, small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With many runs of one millisecond, with gaps in time, over several processes and statuses."""
    if small:
        monkeypatch.setattr(finder, "AT_ONCE", 8)
        monkeypatch.setattr(finder, "TAIL", 10)
    store = await store_factory()
    chance = random.Random(7)
    created = 0
    rows: list[Run] = []
    writes = []
    for key in range(1, 301):
        created += chance.choice([0, 0, 0, 1, 3, 500])
        status = chance.choice([COMPLETED, COMPLETED, COMPLETED, FAILED, RUNNING])
        process = chance.choice(["p", "p", "q"])
        writes.append(start(key, process=process, status=status, created=created))
        rows.append(writes[-1].run)
    await put(store, *(Group(number, [write]) for number, write in enumerate(writes)))
    names = {write.run.key: write.process for write in writes}
    for query in (
        RunQuery("a"),
        RunQuery("a", ("p",), (int(COMPLETED),)),
        RunQuery("a", None, (int(COMPLETED), int(FAILED)), since=created // 4, until=created // 2),
        RunQuery("a", ("q", "p"), (int(RUNNING),)),
    ):
        right = [
            run.key
            for run in sorted(rows, key=lambda run: (run.created, run.key), reverse=True)
            if query.processes is None or names[run.key] in query.processes
            if not query.statuses or run.status in query.statuses
            if query.since <= run.created < (query.until or created + 1)
        ]
        for ordered, sought in ((right, query), (right[::-1], query._replace(ascending=True))):
            assert await count(store, sought) == len(ordered)
            for _ in range(2):  # again: what the first look found may be remembered
                for offset in (0, 1, 7, 50, len(ordered) // 2, len(ordered) - 3, len(ordered), len(ordered) + 9):
                    for limit in (0, 1, 13, 1000):
                        found = await keys(store, sought, max(offset, 0), limit)
                        assert found == ordered[max(offset, 0) : max(offset, 0) + limit], (sought, offset, limit)


async def test_what_is_remembered_of_a_long_list_follows_its_changes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finder, "TAIL", 3)
    writes = [start(key, status=COMPLETED, created=key * 10) for key in range(1, 41)]
    await put(store, *(Group(number, [write]) for number, write in enumerate(writes)))
    done = RunQuery("a", ("p",), (int(COMPLETED),))
    assert await count(store, done) == 40
    await put(store, Group(100, [go(2, 1, status=RUNNING, created=20)]))  # an old one goes on
    assert await count(store, done) == 39
    await put(store, Group(101, [go(2, 2, status=FAILED, created=20)]))
    assert await count(store, done) == 39
    await put(store, Group(102, remove_runs=[1]))
    assert await count(store, done) == 38
    await put(store, Group(103, [start(50, status=COMPLETED, created=500)]))
    assert await count(store, done) == 39
    assert await count(store, RunQuery("a")) == 40
