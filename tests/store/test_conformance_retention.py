"""What every store must do when old data is removed."""

from __future__ import annotations

from typing import Any

import pytest
from tests.store.rows import ENDED, done, event, go, lost, put, start, work

from pelton.kernel.model.state import Record, RunStatus
from pelton.store.group import Group
from pelton.store.port import Store
from pelton.store.retention import Kind, Sweep, Swept
from pelton.store.rows import BookmarkRow, DeadLetter, HeldRow, KeptRow, LogRow, ResultRow, RunKeyRow, TimerRow, WaitKeyRow

NOW = 10_000


def sweep(kind: Kind, before: int = 0, rows: int = -1, limit: int = 100, **more: Any) -> Sweep:
    return Sweep(kind, more.pop("now", NOW), before, more.pop("below", before), rows, limit, **more)


def letter(at: int) -> DeadLetter:
    return DeadLetter(0, "a", "out", "x:y", "i", b"b", {}, "why", 1, at)


async def finish(store: Store, key: int, at: int, **head: Any) -> None:
    """A run that was started, and ended at that time."""
    write = start(key, root=head.pop("root", key))
    write.ended = [done(key, 0), done(key, 1, output="x" * 20_000)]
    await put(store, Group(1, [write]))
    over = go(key, 1, status=ENDED, root=write.run.root, **head)
    over.run.ended = at
    await put(store, Group(2, [over]))


async def keys(store: Store) -> list[int]:
    return [run.key for run in reversed(await store.runs("a"))]


async def test_runs_that_ended_early_go_and_live_ones_stay_however_old(store: Store) -> None:
    await put(store, Group(1, [start(1, created=1)]))
    for key, at in ((2, 300), (3, 100), (4, 200)):
        await finish(store, key, at)
    assert (await store.sweep(sweep("runs", before=100))).removed == 0
    swept = await store.sweep(sweep("runs", before=300))
    assert (swept.removed, swept.more, sorted(swept.runs)) == (2, False, [3, 4])
    assert await keys(store) == [1, 2]


async def test_everything_about_a_run_goes_with_it(store: Store) -> None:
    write = start(
        7,
        opened=[work(7, 3)],
        variables=[(0, "v", 1)],
        fragments=[(1, "f", {}, 0)],
        record=Record(7, 5, 1, True, {"a": 1}),
        attributes=[("color", "red", True)],
    )
    write.ended = [done(7, 0), done(7, 1, output="x" * 20_000)]
    about = Group(
        1,
        [write],
        timers=[TimerRow(7, 3, "limit", 0, 1)],
        wait_keys=[WaitKeyRow("a", "n", "k", 7, 3)],
        run_keys=[RunKeyRow("a", "key", "p", "text", 7, True)],
        logs=[LogRow(7, 3, 1, "line")],
        held=[HeldRow(50, "a", 7, "n", "", None, -1, -1, 1, 0, None, "")],
        kept=[KeptRow(50, "a", 7, "n", "i", None, -1, -1, 1, 0, ""), KeptRow(51, "a", 7, "n", "", None, -1, -1, 1, 0, "", 5, 3)],
    )
    await put(store, about)
    over = go(
        7, 1, status=ENDED, closed=[3], record=Record(7, 6, 2, False, {"a": 2}), past=[(Record(7, 5, 1, True, {"a": 1}), 6)]
    )
    over.run.ended = 50
    await put(store, Group(2, [over]))
    assert (await store.sweep(sweep("runs", before=60))).runs == (7,)
    assert await store.head(7) is None
    assert await store.steps(over.run, -1, 9) == []
    assert await store.record(7) is None
    assert await store.past(7) == []
    assert await store.records("a", at=5) == []
    assert await store.candidates("a", "p", [[("color", "red", False)]], 9) == []
    assert await store.run_keys("a", "key", "p", "text", False) == []
    assert await store.logs(7, 3, 9) == []
    assert await store.held_for(7, 9) == []
    assert await store.kept_of(7, 0, 9) == []
    assert await store.waiting("a", "n", "k", 9) == []
    assert await store.timers(99, 9) == []
    await put(store, Group(3, [start(7)], run_keys=[RunKeyRow("a", "key", "p", "text", 7, True)]))


async def test_a_child_stays_as_long_as_its_outermost_run(store: Store) -> None:
    await put(store, Group(1, [start(1)]))
    await finish(store, 2, 100, root=1)
    assert (await store.sweep(sweep("runs", before=200))).runs == ()
    assert await keys(store) == [1, 2]
    over = go(1, 1, status=ENDED, root=1)
    over.run.ended = 500
    await put(store, Group(3, [over]))
    assert (await store.sweep(sweep("runs", before=400))).runs == ()
    removed: set[int] = set()
    for _ in range(3):
        removed |= set((await store.sweep(sweep("runs", before=NOW + 1))).runs)
    assert removed == {1, 2}


async def test_a_child_whose_outermost_run_is_gone_goes_in_its_turn(store: Store) -> None:
    await finish(store, 2, 100, root=1)
    assert (await store.sweep(sweep("runs", before=200))).runs == (2,)


async def test_a_run_that_goes_on_again_is_not_removed(store: Store) -> None:
    await finish(store, 2, 100)
    await put(store, Group(3, [go(2, 2, status=RunStatus.RUNNING, era=1)]))
    assert (await store.sweep(sweep("runs", before=200))).runs == ()
    assert await keys(store) == [2]


async def test_a_group_that_was_decided_on_a_removed_run_is_lost(store: Store) -> None:
    await finish(store, 2, 100)
    await store.sweep(sweep("runs", before=200))
    assert await lost(store, Group(4, [go(2, 2, status=RunStatus.RUNNING, era=1)])) == "run 2"


async def test_the_oldest_of_too_many_runs_go(store: Store) -> None:
    for key in range(2, 8):
        await finish(store, key, 1_000 - key)
    swept = await store.sweep(sweep("runs", rows=4))
    assert (swept.removed, set(swept.runs)) == (2, {7, 6})
    await finish(store, 9, 2_000)
    assert set((await store.sweep(sweep("runs", rows=4))).runs) == {5}
    assert await keys(store) == [2, 3, 4, 9]


async def test_a_sweep_takes_no_more_than_it_may(store: Store) -> None:
    for key in range(1, 6):
        await put(store, Group(key, events=[event(key, f"e{key}")]))
    first = await store.sweep(sweep("events", below=5, limit=3))
    assert (first.removed, first.more) == (3, True)
    second = await store.sweep(sweep("events", below=5, limit=3))
    assert (second.removed, second.more) == (1, False)
    assert [row.key for row in await store.events("a")] == [5]


async def test_an_event_that_went_is_still_recognised(store: Store) -> None:
    await put(store, Group(1, events=[event(1, "once")]), Group(2, events=[event(2, "twice")]))
    await store.sweep(sweep("events", below=2))
    known = await store.event_by_id("a", "source", "once")
    assert known is not None
    assert (known.key, known.type, bytes(known.hash), known.state, known.decisions) == (1, "", b"h", "matched", [])
    assert await store.event("a", 1) is None
    assert await lost(store, Group(3, events=[event(3, "once")])) == "event"
    outcomes = await store.commit([Group(4, events=[event(4, "once")]), Group(5, events=[event(5, "new")])])
    assert [outcome.ok for outcome in outcomes] == [False, True]


async def test_ids_go_in_their_turn_and_then_the_event_is_new(store: Store) -> None:
    await put(store, Group(1, events=[event(1, "once")]), Group(2, events=[event(2, "twice")]))
    await store.sweep(sweep("events", below=3))
    assert (await store.sweep(sweep("ids", below=2))).removed == 1
    assert await store.event_by_id("a", "source", "once") is None
    assert await store.event_by_id("a", "source", "twice") is not None
    await put(store, Group(3, events=[event(3, "once")]))
    assert (await store.sweep(sweep("ids", rows=0))).removed == 1


async def test_ids_need_not_be_remembered(store: Store) -> None:
    await put(store, Group(1, events=[event(1, "once")]))
    await store.sweep(sweep("events", rows=0, remember=False))
    assert await store.event_by_id("a", "source", "once") is None
    await put(store, Group(3, events=[event(3, "once")]))


@pytest.mark.parametrize("rows", [-1, 2])
async def test_dead_letters_results_and_logs_go_by_age_or_number(store: Store, rows: int) -> None:
    times = (100, 200, 300, 400)
    await put(
        store,
        Group(
            1,
            dead=[letter(at) for at in times],
            results=[ResultRow(1, number, 0, at, "signalled") for number, at in enumerate(times)],
            logs=[LogRow(1, 1, at, str(at)) for at in times],
        ),
    )
    before = 0 if rows >= 0 else 300
    for kind in ("dead_letters", "results", "logs"):
        swept = await store.sweep(sweep(kind, before=before, rows=rows))
        assert (swept.removed, swept.more) == (2, False)
    assert [row.at for row in await store.dead("a", 9)] == [300, 400]
    assert [row.at for row in await store.results(1, (-1, 0), 9)] == [300, 400]
    assert sorted(row.at for row in await store.logs(1, 1, 9)) == [300, 400]


async def test_bookmarks_go_once_their_source_has_not_been_in_use_for_long(store: Store) -> None:
    rows = [BookmarkRow("a", source, name, b"s") for source in ("used", "idle") for name in ("x", "y", "z")]
    await put(store, Group(1, bookmarks=rows))
    used = (("a", "used"),)
    assert (await store.sweep(sweep("bookmarks", before=1_000, now=2_000, used=used))).removed == 0  # seen for the first time
    assert (await store.sweep(sweep("bookmarks", before=2_500, now=3_000, used=used, limit=2))) == Swept(2, True)
    assert (await store.sweep(sweep("bookmarks", before=2_500, now=3_000, used=used, limit=2))).removed == 1
    assert await store.bookmarks("a", "idle", "", 9) == []
    assert len(await store.bookmarks("a", "used", "", 9)) == 3
    assert (await store.sweep(sweep("bookmarks", before=2_999, now=5_000))).removed == 0


async def test_sweeps_and_commits_in_any_order_leave_the_count_right(store: Store) -> None:
    for key in range(1, 30):
        await put(store, Group(key, events=[event(key, f"e{key}")]))
        await store.commit([Group(1, events=[event(100 + key, f"e{key}")]), Group(2, [start(key + 1_000)])])
        await store.sweep(sweep("events", rows=5))
        assert len(await store.events("a")) == min(key, 5)
    assert (await store.sweep(sweep("ids", rows=10))).kept in (-1, 10)


async def test_runs_that_go_on_again_or_are_removed_are_not_counted(store: Store) -> None:
    for key in range(1, 6):
        await finish(store, key, 100 + key)
    assert (await store.sweep(sweep("runs", rows=5))).removed == 0
    await put(store, Group(1, [go(1, 2, status=RunStatus.RUNNING, era=1)]), Group(2, remove_runs=[2]))
    await finish(store, 6, 200)
    assert (await store.sweep(sweep("runs", rows=4))).removed == 0
    assert await keys(store) == [1, 3, 4, 5, 6]


async def test_what_is_due_is_counted_and_stays(store: Store) -> None:
    await put(store, Group(1, [start(1, created=1)]))
    for key, at in ((2, 300), (3, 100), (4, 200)):
        await finish(store, key, at)
    rows = [LogRow(1, 1, at, "line") for at in (100, 200, 300)]
    results = [ResultRow(9, run, 1, run * 100, "signalled") for run in (1, 2, 3)]
    await put(store, Group(3, [], logs=rows, results=results))
    kinds: tuple[Kind, ...] = ("runs", "logs", "results")
    for kind in kinds:
        assert await store.due(sweep(kind, before=250)) == 2, kind
        assert await store.due(sweep(kind, before=250, limit=1)) == 1, kind
        assert await store.due(sweep(kind, before=0)) == 0, kind
    assert await store.due(sweep("bookmarks", before=250)) == 0
    assert await keys(store) == [1, 2, 3, 4]
    assert (await store.sweep(sweep("runs", before=250))).removed == 2
    assert await store.due(sweep("runs", before=250)) == 0


async def test_events_ids_and_dead_letters_that_are_due_are_counted(store: Store) -> None:
    await put(store, Group(1, [], events=[event(key, event_id=f"e{key}") for key in (10, 20, 30)]))
    await put(store, Group(2, [], dead=[letter(at) for at in (100, 200, 300)]))
    assert await store.due(sweep("events", before=25)) == 2
    assert await store.due(sweep("dead_letters", before=250)) == 2
    assert await store.due(sweep("ids", before=25)) == 0
    await store.sweep(sweep("events", before=25))
    assert (await store.due(sweep("events", before=25)), await store.due(sweep("ids", before=25))) == (0, 2)
