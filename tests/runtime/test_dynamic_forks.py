"""Dynamic forks through the engine's parts and a real store: what they make is compiled once, kept by step, and read by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.kernel.graphs import Graph, look
from tests.patience import happens
from tests.runtime.harness import Rig, rig

from pelton.kernel.model.process import Fragment, Process
from pelton.kernel.model.state import OpenStep, RunStatus, Step
from pelton.runtime.definitions import fragments
from pelton.store.sqlite.store import SqliteStore

WIDE = 1_000
made: list[str] = []


def fragment_of(name: str, value: Any) -> Fragment:
    made.append(name)
    graph = Graph()
    for slot in value:
        graph.work(slot, queue="q")
    return Fragment(nodes=graph.nodes, branches=(*value, "j"), joins={"j": tuple(value)})


def dynamic() -> Process:
    graph = Graph("dynamic", fragment=fragment_of).fork("f", dynamic=look(lambda c: [f"t{i}" for i in range(c.input)]))
    return graph.join("j", to="z").work("z").build()


def static() -> Process:
    slots = [f"t{i}" for i in range(WIDE)]
    graph = Graph("static").fork("f", *slots, "j")
    for slot in slots:
        graph.work(slot, queue="q")
    return graph.join("j", *slots, to="z").work("z").build()


def looped() -> Process:
    graph = Graph("looped", fragment=fragment_of).scope("l", "f", "z", again=look(lambda c: c.iteration < 12), keep=2)
    return graph.fork("f", dynamic=look(lambda c: ["a", "b"])).join("j").work("z").build()


async def opened(rig: Rig, run: int) -> None:
    async def all_there() -> bool:
        return len(await rig.open_rows(run)) == WIDE + 1

    await happens(all_there, "the fork has opened all its branches")


async def reading(rig: Rig, run: int, slot: str) -> int:
    """Reports on a step. Answers how many rows were read for it."""
    store = rig.store
    assert isinstance(store, SqliteStore)
    before = store.counts.rows_read
    await rig.report(run, slot)
    return store.counts.rows_read - before


async def test_a_report_in_a_wide_fork_reads_what_it_reads_in_a_static_one(tmp_path: Path) -> None:
    made.clear()
    async with rig(tmp_path) as each:
        costs: dict[str, tuple[list[int], list[int]]] = {}
        for process, given in ((static, None), (dynamic, WIDE)):
            run = (await each.begin(await each.define(process), given)).key
            await opened(each, run)
            warm = [await reading(each, run, f"t{i}") for i in range(5)]
            cold = []
            for i in range(5, 8):
                each.cold()
                cold.append(await reading(each, run, f"t{i}"))
            costs[process.__name__] = warm, cold
        assert made == ["f"], "compiled once, for every report and after the run was forgotten"
        assert max(costs["dynamic"][0]) <= max(costs["static"][0])
        assert max(costs["dynamic"][1]) <= max(costs["static"][1]) + 1


async def test_runs_that_fork_into_the_same_share_what_was_compiled(tmp_path: Path) -> None:
    made.clear()
    async with rig(tmp_path) as each:
        process = await each.define(dynamic)
        for width in (2, 2, 3):
            run = (await each.begin(process, width)).key
            for i in range(width):
                await each.report(run, f"t{i}")
            head = await each.store.head(run)
            assert head is not None
            assert [row.slot for row in await each.open_rows(run)] == ["z"]
            await each.report(run, "z")
            head = await each.store.head(run)
            assert head is not None
            assert head.status == RunStatus.COMPLETED
        assert len(made) == 2


async def test_a_run_goes_on_after_a_restart_in_the_nodes_that_it_made(tmp_path: Path) -> None:
    made.clear()
    async with rig(tmp_path) as first:
        run = (await first.begin(await first.define(dynamic), 3)).key
        await first.report(run, "t1")
    async with rig(tmp_path, shapes=first.shapes) as again:
        await again.report(run, "t0")
        await again.report(run, "t2")
        assert [row.slot for row in await again.open_rows(run)] == ["z"]
    assert len(made) == 2


async def test_what_a_loop_drops_is_dropped_with_what_its_forks_made(tmp_path: Path) -> None:
    made.clear()
    async with rig(tmp_path) as each:
        run = (await each.begin(await each.define(looped))).key
        for _ in range(12):
            await each.report(run, "a")
            await each.report(run, "b")
            steps: list[OpenStep | Step] = await each.rows(run)
            assert len([step for step in steps if step.slot == "f"]) <= 3
            store = each.store
            assert isinstance(store, SqliteStore)
            [[kept]] = store._reader.db.execute("SELECT count(*) FROM fragment WHERE run = ?", (run,)).fetchall()
            assert isinstance(kept, int)
            assert kept <= 3
        assert len(made) == 1
        assert [row.slot for row in await each.open_rows(run)] == ["z"]


def test_what_is_kept_of_compiled_forks_is_bounded() -> None:
    cache = fragments.FragmentCache()
    process = dynamic()
    for i in range(fragments.FRAGMENTS_KEPT + 10):
        cache.compiled(process, "f", f'["t{i}"]')
    assert len(cache._fragments) == fragments.FRAGMENTS_KEPT
    big = "x" * (fragments.TEXT_KEPT // 3)
    for i in range(6):
        cache.compiled(process, "f", f'["{big}{i}"]')
    assert len(cache._fragments) <= 3
