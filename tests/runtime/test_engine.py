"""The engine as a whole: the real store, committer, router and services."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import json
from tests.kernel.graphs import Graph, after, look, outside
from tests.runtime.harness import Shapes, handles

from pelton.errors import PeltonError
from pelton.kernel.model.process import Process
from pelton.kernel.model.signals import Report, Terminate
from pelton.kernel.model.state import RunStatus, Step
from pelton.runtime import api
from pelton.runtime.api import ClaimRequest, EventIn, StartCommand, WorkItem
from pelton.runtime.caller import SERVER, server_in
from pelton.runtime.engine import LocalEngine
from pelton.store.sqlite.store import SqliteStore


@asynccontextmanager
async def engine(path: Path, shapes: Shapes) -> AsyncIterator[LocalEngine]:
    store = SqliteStore(path / "pelton.db", "relaxed")
    await store.open()
    made = LocalEngine(store)
    made.add_language(shapes)
    await made.open()
    try:
        yield made
    finally:
        await made.close(2.0)
        await store.close()


async def define(at: LocalEngine, shapes: Shapes, build: Any) -> None:
    process: Process = build()
    shapes.processes[process.name] = build
    await at.define(SERVER, "process", "shapes", process.name, 1, json.encode(process.name))


def work() -> Process:
    return Graph("work").work("a", "b", queue="q").work("b", queue="q").build()


def test_the_engine_is_what_the_rooms_above_expect() -> None:
    def face(made: LocalEngine) -> api.Engine:
        return made

    assert callable(face)


async def test_a_worker_gets_what_is_born_while_it_waits(tmp_path: Path) -> None:
    shapes = Shapes()
    async with engine(tmp_path, shapes) as at:
        await define(at, shapes, work)
        waiting = asyncio.ensure_future(at.claim(SERVER, ClaimRequest(queues=["q"], wait=5000, worker="w")))
        await asyncio.sleep(0)
        head = await at.start(SERVER, StartCommand(process="work", input={"x": 1}))
        (item,) = await waiting
        assert (item.step.slot, item.step.worker, item.run.key, item.start.output) == ("a", "w", head.key, {"x": 1})
        results, items = await at.exchange(
            SERVER,
            [(head.key, Report(n=item.step.n, output=5, worker="w"))],
            ClaimRequest(queues=["q"], wait=5000, worker="w"),
        )
        assert [result.error for result in results] == [None]
        assert [given.step.slot for given in items] == ["b"]
        (result,) = await at.report(SERVER, [(head.key, Report(n=items[0].step.n, output=6, worker="w"))])
        assert result.run is not None
        assert result.run.status == RunStatus.COMPLETED
        view = await at.view(SERVER, head.key)
        assert view is not None
        assert view.end is not None
        assert (view.start.output, view.end.output) == ({"x": 1}, 6)
        steps = [step for step in await at.steps(SERVER, head.key) if isinstance(step, Step)]
        assert [(step.slot, step.worker) for step in steps][1:3] == [("a", "w"), ("b", "w")]
        assert await at.view(server_in("other"), head.key) is None


async def test_workers_of_one_namespace_do_not_get_work_of_another(tmp_path: Path) -> None:
    shapes = Shapes()
    async with engine(tmp_path, shapes) as at:
        shapes.processes["work"] = work
        await at.define(server_in("tenant"), "process", "shapes", "work", 1, json.encode("work"))
        head = await at.start(server_in("tenant"), StartCommand(process="work"))
        assert await at.claim(SERVER, ClaimRequest(queues=["q"])) == []
        (item,) = await at.claim(server_in("tenant"), ClaimRequest(queues=["q"]))
        assert item.run.key == head.key
        assert ("q", "", at.polled(SERVER)[0][2]) in at.polled(SERVER)


async def test_work_is_there_after_a_restart(tmp_path: Path) -> None:
    shapes = Shapes()
    async with engine(tmp_path, shapes) as at:
        await define(at, shapes, work)
        head = await at.start(SERVER, StartCommand(process="work"))
    async with engine(tmp_path, shapes) as at:
        (item,) = await at.claim(SERVER, ClaimRequest(queues=["q"], wait=2000))
        assert item.run.key == head.key
        assert item.process.name == "work"


async def test_a_timer_moves_a_run(tmp_path: Path) -> None:
    def waits() -> Process:
        return Graph("waits").wait("w", after(30), outside(), to="").build()

    shapes = Shapes()
    async with engine(tmp_path, shapes) as at:
        await define(at, shapes, waits)
        head = await at.start(SERVER, StartCommand(process="waits"))
        with at.watch(SERVER, head.key) as watch:
            while (view := await at.view(SERVER, head.key)) is not None and not view.run.ended:
                assert await watch.changed(5.0)
        assert view is not None
        assert view.run.status == RunStatus.COMPLETED
        assert await at.store.timers(2**62, 10) == []


async def test_a_message_to_pelton_becomes_an_event_that_starts_a_run(tmp_path: Path) -> None:
    def sends() -> Process:
        return Graph("sends").emit("e", "pelton:shipped", look(lambda scene: scene.input, "$start")).build()

    shapes = Shapes()
    async with engine(tmp_path, shapes) as at:
        await define(at, shapes, sends)
        await define(at, shapes, work)
        shapes.handlers["h"] = handles("shipped", lambda context: [StartCommand(process="work", input=context.payload)])
        await at.define(SERVER, "handler", "shapes", "h", 1, b'"h"')
        await at.start(SERVER, StartCommand(process="sends", input={"order": 7}))
        (item,) = await at.claim(SERVER, ClaimRequest(queues=["q"], wait=5000))
        assert item.start.output == {"order": 7}
        assert item.run.hops == 2


async def test_built_in_work_is_done_here(tmp_path: Path) -> None:
    def built_in() -> Process:
        return Graph("built").work("a", queue="@double", input=look(lambda scene: scene.input, "$start")).build()

    async def double(item: WorkItem) -> Report:
        return Report(n=item.step.n, output=item.step.input * 2)

    shapes = Shapes()
    async with engine(tmp_path, shapes) as at:
        at.add_operation("double", double)
        await define(at, shapes, built_in)
        head = await at.start(SERVER, StartCommand(process="built", input=21))
        with at.watch(SERVER, head.key) as watch:
            while (view := await at.view(SERVER, head.key)) is not None and not view.run.ended:
                assert await watch.changed(5.0)
        assert view is not None
        assert view.end is not None
        assert view.end.output == 42


async def test_keys_of_starts(tmp_path: Path) -> None:
    shapes = Shapes()
    async with engine(tmp_path, shapes) as at:
        await define(at, shapes, work)
        same = StartCommand(process="work", key="k", on_same_key="return")
        heads = await asyncio.gather(*(at.start(SERVER, same) for _ in range(5)))
        assert len({head.key for head in heads}) == 1
        with pytest.raises(PeltonError) as error:
            await at.start(SERVER, StartCommand(process="work", key="k"))
        assert error.value.code == "conflict"
        with pytest.raises(PeltonError) as unknown:
            await at.start(SERVER, StartCommand(process="nothing"))
        assert unknown.value.code == "unknown process"


async def test_facts_become_events_when_somebody_listens(tmp_path: Path) -> None:
    shapes = Shapes()
    async with engine(tmp_path, shapes) as at:
        await define(at, shapes, work)
        silent = await at.start(SERVER, StartCommand(process="work"))
        await at.signal(SERVER, silent.key, Terminate())
        assert await at.events(SERVER) == []
        shapes.handlers["h"] = handles("run.ended", lambda context: [StartCommand(process="work", input=context.payload["run"])])
        await at.define(SERVER, "handler", "shapes", "h", 1, b'"h"')
        head = await at.start(SERVER, StartCommand(process="work"))
        await at.signal(SERVER, head.key, Terminate())
        items: list[WorkItem] = []
        while len(items) < 1:
            items += await at.claim(SERVER, ClaimRequest(queues=["q"], wait=5000))
        assert items[0].start.output == at.codec.run_id(head.key)


async def test_a_run_can_be_removed(tmp_path: Path) -> None:
    shapes = Shapes()
    async with engine(tmp_path, shapes) as at:
        await define(at, shapes, work)
        head = await at.start(SERVER, StartCommand(process="work"))
        with pytest.raises(PeltonError):
            await at.remove(server_in("other"), head.key)
        await at.remove(SERVER, head.key)
        assert await at.view(SERVER, head.key) is None
        assert await at.claim(SERVER, ClaimRequest(queues=["q"])) == []
        with pytest.raises(PeltonError) as error:
            await at.signal(SERVER, head.key, Terminate())
        assert error.value.code == "unknown run"


async def test_explain_and_logs_and_health(tmp_path: Path) -> None:
    shapes = Shapes()
    async with engine(tmp_path, shapes) as at:
        await define(at, shapes, work)
        (posted,) = await at.ingest(SERVER, [EventIn(source="s", type="t")])
        shapes.handlers["h"] = handles("other")
        await at.define(SERVER, "handler", "shapes", "h", 1, b'"h"')
        assert (await at.explain(SERVER, posted.key, "h")).verdict == "type differs"
        with pytest.raises(PeltonError):
            await at.explain(SERVER, posted.key, "nobody")
        head = await at.start(SERVER, StartCommand(process="work"))
        await at.log(SERVER, head.key, 1, [(0, "hello")])
        assert [row.text for row in await at.logs(SERVER, head.key, 1)] == ["hello"]
        assert (await at.health())["committer"]["lost"] == 0
