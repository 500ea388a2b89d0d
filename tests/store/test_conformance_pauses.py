"""What every store must do for paused processes, and for what stands at the nodes of a process."""

from __future__ import annotations

from typing import Any

from tests.store.conftest import Factory
from tests.store.rows import go, lost, put, start

from pelton.kernel.model.state import OpenStep, RunStatus, State
from pelton.store.group import Group, RunWrite
from pelton.store.port import Store
from pelton.store.rows import PauseRow


def pause(epoch: int = 1, paused: bool = True, process: str = "p", ns: str = "a", **more: Any) -> PauseRow:
    return PauseRow(ns, process, epoch, paused, **more)


# ---- pauses


async def test_a_pause_is_there_with_all_that_is_said_of_it(store_factory: Factory) -> None:
    store = await store_factory()
    said = pause(since=123, by="ann", why="stocktaking", refuses=True)
    assert await store.pause("a", "p") is None
    await put(store, Group(1, pauses=[said]))
    assert await store.pause("a", "p") == said
    assert await store.pause("b", "p") is None
    assert await store.pause("a", "q") is None
    await store.close()
    again = await store_factory()
    assert await again.pause("a", "p") == said
    await put(again, Group(2, pauses=[pause(2, False)]))
    assert await again.pause("a", "p") == pause(2, False)


async def test_of_two_who_change_a_pause_at_once_one_is_lost(store: Store) -> None:
    done = await store.commit([Group(1, pauses=[pause()]), Group(2, pauses=[pause(by="bob")])])
    assert [(each.ok, each.lost) for each in done] == [(True, ""), (False, "pause a p")]
    assert await lost(store, Group(3, pauses=[pause(3)])) == "pause a p"
    done = await store.commit([Group(4, pauses=[pause(2, False)]), Group(5, pauses=[pause(3)])])
    assert [each.ok for each in done] == [True, True]
    assert await store.pause("a", "p") == pause(3)


async def test_what_rests_on_a_pause_is_lost_when_that_has_changed_in_the_same_batch_too(store: Store) -> None:
    await put(store, Group(1, [start(1)], pause_epochs=[("a", "p", 0)]))
    groups = [
        Group(2, [start(2)], pause_epochs=[("a", "p", 0)]),
        Group(3, pauses=[pause()]),
        Group(4, [start(4)], pause_epochs=[("a", "p", 0)]),
        Group(5, [start(5)], pause_epochs=[("a", "p", 1), ("a", "q", 0)]),
    ]
    done = await store.commit(groups)
    assert [(each.ok, each.lost) for each in done] == [(True, ""), (True, ""), (False, "pause a p"), (True, "")]
    assert [await store.head(key) is not None for key in (1, 2, 4, 5)] == [True, True, False, True]


# ---- at a node


def at(run: int, n: int, slot: str, **more: Any) -> OpenStep:
    return OpenStep(run, n, slot, more.pop("state", State.WAIT), **more)


def begun(key: int, *rows: OpenStep, process: str = "p", ns: str = "a") -> RunWrite:
    return start(key, process=process, ns=ns, open=len(rows), opened=rows)


async def places(store: Store, slot: str, process: str = "p", ns: str = "a", **more: Any) -> list[tuple[int, int]]:
    found = await store.at_node(ns, process, slot, **{"after": (0, 0), "limit": 100, **more})
    return [(row.run, row.n) for row in found]


async def test_what_stands_at_a_node_is_found_over_all_runs_of_its_process_oldest_first(store: Store) -> None:
    writes = [
        begun(3, at(3, 2, "x"), at(3, 1, "y")),
        begun(1, at(1, 7, "x"), at(1, 4, "x")),
        begun(2, at(2, 1, "x"), process="other"),
        begun(4, at(4, 1, "x"), ns="b"),
    ]
    await put(store, *(Group(number, [write]) for number, write in enumerate(writes)))
    assert await places(store, "x") == [(1, 4), (1, 7), (3, 2)]
    assert await places(store, "y") == [(3, 1)]
    assert await places(store, "x", "other") == [(2, 1)]
    assert await places(store, "x", ns="b") == [(4, 1)]
    assert await places(store, "z") == []
    assert await places(store, "x", "unknown") == []
    assert await store.count_at_node("a", "p", "x", 100) == 3
    assert await store.count_at_node("a", "p", "x", 2) == 2
    assert await store.count_at_node("a", "unknown", "x", 2) == 0


async def test_pages_of_what_stands_at_a_node(store: Store) -> None:
    await put(store, *(Group(run, [begun(run, at(run, 1, "x"), at(run, 2, "x"))]) for run in (1, 2, 3)))
    seen: list[tuple[int, int]] = []
    while page := await places(store, "x", after=seen[-1] if seen else (0, 0), limit=4):
        seen += page
    assert seen == [(run, n) for run in (1, 2, 3) for n in (1, 2)]


async def test_rows_have_their_parts_and_leave_the_node_when_they_close(store_factory: Factory) -> None:
    store = await store_factory()
    row = at(1, 1, "x", input={"text": "a" * 5_000})
    await put(store, Group(1, [begun(1, row)]))
    (found,) = await store.at_node("a", "p", "x", (0, 0), 10)
    assert found.input == row.input
    await store.close()
    store = await store_factory()  # another one, which has not seen the run start
    await put(store, Group(2, [go(1, 1, closed=[1], opened=[at(1, 2, "y"), at(1, -1, "x", state=State.PARKED)])]))
    assert await places(store, "x") == [(1, -1)]
    assert await places(store, "y") == [(1, 2)]
    await put(store, Group(3, remove_runs=[1]))
    assert await places(store, "x") == await places(store, "y") == []


async def test_live_runs_of_a_process_are_counted(store: Store) -> None:
    await put(store, *(Group(run, [begun(run, at(run, 1, "x"))]) for run in (1, 2, 3)))
    await put(store, Group(9, [go(2, 1, status=int(RunStatus.COMPLETED), closed=[1])]))
    assert await store.count_live("a", "p", 10) == 2
    assert await store.count_live("a", "p", 1) == 1
    assert await store.count_live("a", "q", 10) == 0
