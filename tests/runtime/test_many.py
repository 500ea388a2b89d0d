"""Jobs for many runs end exactly once for each, circles of signals end, and timers that ring for nothing ring once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.graphs import Graph, on_event, outside
from tests.runtime.harness import Rig, Shapes, Wrapped, handles, rig
from tests.runtime.living import Living, living

from pelton.kernel.model.process import Limit, Limits, Process
from pelton.kernel.model.signals import EventArrived, Report, Terminate
from pelton.kernel.model.state import RunStatus, Step
from pelton.runtime.api import ClaimRequest, EventIn, SignalCommand, StartCommand
from pelton.runtime.caller import SERVER
from pelton.runtime.commit.group_builder import GroupBuilder
from pelton.runtime.commit.requests import SignalRequest
from pelton.runtime.events import fan_out
from pelton.store.group import Committed, Group
from pelton.store.port import Store, StoreFailed


def waits() -> Process:
    return Graph("waits").wait("w", outside(), to="x").wait("x", outside()).build()


def echo() -> Process:
    """Answers each event with an event."""
    return Graph("echo").wait("w", on_event("go", "e")).emit("e", "pelton:said", "again", to="w").build()


def limited() -> Process:
    return Graph("limited").work("a", queue="q", limits=Limits(queue=Limit(after=40, action="fail"))).build()


class Dying(Wrapped):
    """A store whose disk is full after so many commits."""

    def __init__(self, inner: Store, commits: int) -> None:
        super().__init__(inner)
        self.left = commits

    async def commit(self, groups: Sequence[Group]) -> list[Committed]:
        self.left -= 1
        if self.left < 0:
            raise StoreFailed("no space left")
        done: list[Committed] = await self.inner.commit(groups)
        return done


async def start(at: Living, name: str) -> int:
    return (await at.engine.start(SERVER, StartCommand(process=name))).key


@pytest.mark.parametrize("commits", [0, 1, 2, 4, 7])
async def test_a_job_that_is_stopped_in_the_middle_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commits: int
) -> None:
    monkeypatch.setattr(fan_out, "SLICE", 8)
    made: list[Any] = []

    def dying(inner: Store) -> Any:
        made.append(Dying(inner, 10**9))
        return made[0]

    shapes = Shapes()
    async with living(tmp_path, waits, shapes=shapes, wrap=dying) as at:
        runs = [await start(at, "waits") for _ in range(50)]
        await at.engine.signal(SERVER, runs[7], Terminate())
        await at.engine.remove(SERVER, runs[9])
        job = await at.engine.signal_many(SERVER, [*runs, runs[3]], Report(slot="w", output="many"))
        made[0].left = commits
        await at.until(lambda: made[0].left < 0)
    async with living(tmp_path, waits, shapes=shapes) as at:
        for run in runs:
            if run not in (runs[7], runs[9]):
                await at.until_found(lambda run=run: at.store.results(job, (run, -1), 1))  # type: ignore[misc]
        await at.until_found(lambda: at.store.results(job, (runs[-1], -1), 1))
        await at.quiet()
        results = await at.engine.results(SERVER, job)
        assert (results[0].run, results[0].n) == (0, 50)
        outcomes = {row.run: row.outcome for row in results[1:]}
        assert set(outcomes) == set(runs)
        assert {run for run, outcome in outcomes.items() if outcome == "failed"} == {runs[7], runs[9]}
        for run in set(runs) - {runs[7], runs[9]}:
            steps = await at.engine.steps(SERVER, run)
            assert [(step.slot, step.output) for step in steps if isinstance(step, Step)][1:] == [("w", "many")]


async def test_events_that_cause_one_another_come_to_an_end(tmp_path: Path) -> None:
    shapes = Shapes()
    async with living(tmp_path, echo, shapes=shapes) as at:
        run = await start(at, "echo")
        go = EventArrived(id=1, name="go")
        shapes.handlers["h"] = handles("said", lambda context: [SignalCommand(run=run, signal=go)])
        await at.engine.define(SERVER, "handler", "shapes", "h", 1, b'"h"')
        await at.engine.ingest(SERVER, [EventIn(source="s", type="said")])
        failed = await at.until_found(lambda: ended(at))
        assert "for a loop" in failed
        head = await at.store.head(run)
        assert head is not None
        assert head.status == RunStatus.RUNNING


async def ended(at: Living) -> list[str]:
    return [str(row.effects) for row in await at.store.events("default", limit=1) if row.state == "failed"]


class Sends(SignalRequest):
    """Sends a durable signal to another run besides."""

    __slots__ = ("to",)
    to: int

    def perform(self, unit: Any) -> GroupBuilder | None:
        unit.defer(self.to, Terminate())
        self.notes = unit.notes
        building: GroupBuilder = unit.finish()
        building.requests.append(self)
        return building


@pytest.mark.parametrize(("hops", "arrives"), [(63, True), (64, False)])
async def test_a_signal_that_has_come_too_far_is_put_aside(tmp_path: Path, hops: int, arrives: bool) -> None:
    async with rig(tmp_path) as at:
        process = await at.define(waits)
        head = await at.begin(process)
        done: list[SignalRequest] = []
        job = Sends(head.key, Terminate(), done.append, hops=hops)
        job.to = head.key
        at.committer.enqueue(job)
        await settle(at)
        stored = await at.store.head(head.key)
        assert stored is not None
        assert (stored.status == RunStatus.TERMINATED) is arrives
        assert bool(done[0].notes) is not arrives
        assert await at.store.pending_signals(9) == []


async def settle(at: Rig) -> None:
    while not at.committer.idle or len(at.committer.pending_signals):
        await at.committer.write(lambda group: None)


async def test_a_timer_that_changes_nothing_goes_though_its_step_is_open(tmp_path: Path) -> None:
    async with living(tmp_path, limited) as at:
        run = await start(at, "limited")
        assert len(await at.store.timers(2**62, 9)) == 1
        (item,) = await at.engine.claim(SERVER, ClaimRequest(queues=["q"]))
        await at.until(lambda: at.engine.timers.stats()["fired"] == 1)
        await at.until(lambda: at.engine.committer.idle)
        assert await at.store.timers(2**62, 9) == []
        (result,) = await at.engine.report(SERVER, [(run, Report(n=item.step.n))])
        assert result.run is not None
        assert result.run.status == RunStatus.COMPLETED
