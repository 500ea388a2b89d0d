"""Runs that are expected: what comes before the start waits for it, and goes when the run never starts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.kernel.graphs import Graph, on_event, outside
from tests.runtime.harness import Shapes, handles
from tests.runtime.living import Living, living

from pelton.errors import PeltonError
from pelton.kernel.model.process import Process
from pelton.kernel.model.signals import EventArrived, Report, Terminate
from pelton.kernel.model.state import Run, RunStatus
from pelton.runtime.api import Applied, EventIn, StartCommand
from pelton.runtime.caller import SERVER
from pelton.testing.losing_store import losing

HOUR = 3_600_000


def waits() -> Process:
    return Graph("waits").wait("w", on_event("go"), to="last").wait("last", outside()).build()


def go(number: int, body: object = None) -> EventArrived:
    return EventArrived(id=number, name="go", body=body)


async def send(at: Living, text: str, number: int = 1, hold: int = HOUR) -> Applied:
    return await at.engine.signal_named(SERVER, "waits", text, go(number, number), hold=hold)


async def start(at: Living, text: str, same: str = "fail") -> Run:
    return await at.engine.start(SERVER, StartCommand(process="waits", key=text, on_same_key=same))  # type: ignore[arg-type]


async def test_an_event_and_a_report_wait_for_the_start(tmp_path: Path) -> None:
    async with living(tmp_path, waits) as at:
        first = await send(at, "a", 1)
        assert first.run.status == RunStatus.EXPECTED
        at.forget()
        second = await at.engine.signal_named(SERVER, "waits", "a", Report(slot="last", output="end", hold=HOUR), hold=HOUR)
        assert (second.run.key, second.run.held) == (first.run.key, 2)
        assert await at.store.runs("default") == []
        assert await at.engine.view(SERVER, first.run.key) is None
    async with living(tmp_path, waits, shapes=at.shapes) as at:
        head = await start(at, "a")
        assert head.key == first.run.key
        assert head.status == RunStatus.COMPLETED
        assert await at.ended(head.key) == "end"
        assert await at.store.timers(2**62, 9) == []
        assert [run.key for run in await at.store.runs("default", process="waits")] == [head.key]
        with pytest.raises(PeltonError) as error:
            await start(at, "a")
        assert error.value.code == "conflict"


async def test_a_name_leads_to_the_run_when_it_is_there(tmp_path: Path) -> None:
    async with living(tmp_path, waits) as at:
        head = await start(at, "a", "fail if live")
        applied = await send(at, "a")
        assert (applied.run.key, applied.run.held) == (head.key, 0)
        assert [row.slot for row in await at.engine.steps(SERVER, head.key)] == ["$start", "w", "last"]
        await at.engine.signal(SERVER, head.key, Terminate())
        assert (await send(at, "a")).run.key != head.key  # the name was freed at the end
        with pytest.raises(PeltonError) as error:
            await send(at, "b", hold=0)
        assert error.value.code == "unknown run"
        with pytest.raises(PeltonError) as refused:
            await at.engine.signal_named(SERVER, "waits", "c", Terminate(), hold=HOUR)
        assert refused.value.code == "unknown run"
        assert await at.store.run_keys("default", "key", "waits", "c", True) == []


async def test_events_and_starts_side_by_side_make_one_run(tmp_path: Path) -> None:
    async with living(tmp_path, waits, wrap=lambda inner: losing(inner, 5, 0.25), cache_bytes=1) as at:
        names = [f"n{number}" for number in range(12)]
        jobs = [job for name in names for job in (send(at, name, 1), start(at, name, "return"), send(at, name, 2))]
        applied = await asyncio.gather(*jobs)
        for place in range(len(names)):
            one, head, two = applied[3 * place : 3 * place + 3]
            assert isinstance(head, Run)
            assert isinstance(one, Applied)
            assert isinstance(two, Applied)
            assert one.run.key == head.key == two.run.key
            stored = await at.store.head(head.key)
            assert stored is not None
            assert (stored.status, stored.held) == (RunStatus.RUNNING, 1)
            assert [row.slot for row in await at.engine.steps(SERVER, head.key)] == ["$start", "w", "last"]
            assert len(await at.store.held_for(head.key, 9)) == 1


async def test_a_stub_that_nobody_starts_goes_and_is_told(tmp_path: Path) -> None:
    shapes = Shapes()
    async with living(tmp_path, waits, shapes=shapes) as at:
        shapes.handlers["h"] = handles("run.not_started", lambda context: [])
        await at.engine.define(SERVER, "handler", "shapes", "h", 1, b'"h"')
        head = (await send(at, "a", hold=5)).run
        (fact,) = [await at.until_found(lambda: at.store.events("default"))]
        assert fact.subject == at.engine.codec.run_id(head.key)
        assert await at.store.head(head.key) is None
        assert await at.store.held_for(head.key, 9) == []
        assert await at.store.run_keys("default", "key", "waits", "a", False) == []
        assert await at.store.timers(2**62, 9) == []
        assert (await start(at, "a")).key != head.key


async def test_a_stub_that_was_started_is_not_ended_by_its_timer(tmp_path: Path) -> None:
    async with living(tmp_path, waits) as at:
        head = (await send(at, "a")).run
        await start(at, "a")
        await at.engine._end_placeholder(head.key)  # as if it had rung at the same moment
        stored = await at.store.head(head.key)
        assert stored is not None
        assert stored.status == RunStatus.RUNNING


async def test_what_a_run_holds_too_long_goes_and_is_counted_no_more(tmp_path: Path) -> None:
    async with living(tmp_path, waits) as at:
        head = await start(at, "a")
        await at.engine.signal(SERVER, head.key, Report(slot="last", output=1, hold=5))
        await at.until(lambda: at.engine.expiry.expired == 1)
        stored = await at.store.head(head.key)
        assert stored is not None
        assert stored.held == 0
        assert await at.store.held_for(head.key, 9) == []


async def test_handlers_start_runs_that_are_expected(tmp_path: Path) -> None:
    shapes = Shapes()
    async with living(tmp_path, waits, shapes=shapes, cache_bytes=1) as at:
        shapes.handlers["h"] = handles("t", lambda context: [StartCommand(process="waits", key="a", on_same_key="return")])
        await at.engine.define(SERVER, "handler", "shapes", "h", 1, b'"h"')
        head = (await send(at, "a")).run
        (posted,) = await at.engine.ingest(SERVER, [EventIn(source="s", type="t", id="1")])
        assert [(effect.outcome, effect.run) for effect in posted.effects] == [("started", head.key)]
        assert [row.slot for row in await at.engine.steps(SERVER, head.key)] == ["$start", "w", "last"]
        (again,) = await at.engine.ingest(SERVER, [EventIn(source="s", type="t", id="2")])
        assert [(effect.outcome, effect.run) for effect in again.effects] == [("unchanged", head.key)]


async def test_two_starts_of_one_stub_make_one_run(tmp_path: Path) -> None:
    async with living(tmp_path, waits, cache_bytes=1) as at:
        head = (await send(at, "a")).run
        first, second = await asyncio.gather(start(at, "a", "return"), start(at, "a", "return"))
        assert first.key == second.key == head.key
