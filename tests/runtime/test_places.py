"""Places through the engine and a real store: steps are read by them, and events find them."""

from __future__ import annotations

from pathlib import Path

from tests.kernel.graphs import Graph, on_event
from tests.runtime.harness import Shapes, rig
from tests.runtime.test_engine import define, engine

from pelton.kernel.model.process import Process, Retry
from pelton.kernel.model.signals import EventArrived, Report, Rewind
from pelton.kernel.model.state import OpenStep, RunStatus, Step, StepStatus
from pelton.runtime.api import StartCommand
from pelton.runtime.caller import SERVER


def counted() -> Process:
    graph = Graph("counted").work("a", "f", queue="q", retry=Retry(count=1)).fork("f", "t", "x", "y")
    graph.wait("x", on_event("e")).wait("y", on_event("e")).call("t", thread="in", awaits="nothing").wait("in", on_event("e"))
    process = graph.build()
    process.positions = True
    return process


async def test_a_step_is_read_by_its_place_and_events_go_to_places(tmp_path: Path) -> None:
    shapes = Shapes()
    async with engine(tmp_path, shapes) as at:
        await define(at, shapes, counted)
        run = (await at.start(SERVER, StartCommand(process="counted"))).key
        await at.signal(SERVER, run, EventArrived(id=1, name="e", body="early", thread=0, position=4))
        first = await at.at_place(SERVER, run, 0, 0)
        assert isinstance(first, OpenStep)
        for status in (StepStatus.FAILED, StepStatus.COMPLETED):
            row = await at.at_place(SERVER, run, 0, 0)
            assert row is not None
            await at.report(SERVER, [(run, Report(n=row.n, status=status))])
        again = await at.at_place(SERVER, run, 0, 0)
        assert isinstance(again, Step)
        assert (again.slot, again.attempt, again.previous) == ("a", 1, first.n)
        early = await at.at_place(SERVER, run, 0, 4)
        assert isinstance(early, Step)
        assert (early.slot, early.output) == ("y", "early")
        await at.signal(SERVER, run, EventArrived(id=2, name="e", body="theirs", thread=1, position=0))
        inner = await at.at_place(SERVER, run, 1, 0)
        assert isinstance(inner, Step)
        assert inner.output == "theirs"
        assert await at.at_place(SERVER, run, 0, 99) is None
        assert await at.at_place(SERVER, run + 1, 0, 0) is None


async def test_a_rewind_counts_on_from_what_it_keeps_when_the_run_is_not_in_memory(tmp_path: Path) -> None:
    async with rig(tmp_path) as each:
        process = await each.define(counted)
        run = (await each.begin(process)).key
        await each.report(run, "a")
        for number in range(3):
            await each.committer.submit(run, EventArrived(id=number, name="e"))
        assert (await each.store.head(run)).status == RunStatus.COMPLETED  # type: ignore[union-attr]
        each.cold()
        fork = next(row.n for row in await each.rows(run) if row.slot == "f")
        await each.committer.submit(run, Rewind(to="step", n=fork))
        places = [(row.slot, row.thread, row.position) for row in await each.rows(run) if row.position >= 0]
        assert places == [("a", 0, 0), ("f", 0, 1), ("t", 0, 2), ("x", 0, 3), ("y", 0, 4), ("in", 2, 0)]
