"""What is over goes after its time, and nobody who still needs something misses it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec import json
from tests.kernel.graphs import Graph, outside
from tests.runtime.harness import Shapes

from pelton.errors import PeltonError
from pelton.kernel.model.process import Process
from pelton.kernel.model.signals import Report, Rewind
from pelton.runtime.api import EventIn, Ingested, StartCommand
from pelton.runtime.caller import SERVER
from pelton.runtime.engine import LocalEngine
from pelton.runtime.retention import GRACE
from pelton.store.memory.store import MemoryStore
from pelton.store.port import StoreFailed
from pelton.store.retention import Keep, Kind, Sweep, Swept
from pelton.testing.clock import VirtualClock

DAY = 86_400_000


def asking() -> Process:
    return Graph("asking").wait("ask", outside()).build()


@asynccontextmanager
async def keeping(store: MemoryStore | None = None, **keep: Keep) -> AsyncIterator[tuple[LocalEngine, VirtualClock]]:
    time = VirtualClock()
    at = store or MemoryStore(clock=time)
    await at.open()
    shapes = Shapes()
    shapes.processes["asking"] = asking
    kinds: dict[Kind, Keep] = keep  # type: ignore[assignment]
    engine = LocalEngine(at, clock=time, keep=kinds)
    engine.add_language(shapes)
    await engine.open()
    await engine.define(SERVER, "process", "shapes", "asking", 1, json.encode("asking"))
    try:
        yield engine, time
    finally:
        await engine.close(2.0)
        await at.close()


async def start(engine: LocalEngine) -> int:
    return (await engine.start(SERVER, StartCommand(process="asking"))).key


async def end(engine: LocalEngine, run: int) -> None:
    await engine.signal(SERVER, run, Report(slot="ask"))


async def pass_time(engine: LocalEngine, time: VirtualClock, milliseconds: int) -> None:
    """Without ringing every alarm of days, and then one look."""
    time.time += milliseconds
    await engine.retention.look()


async def post(engine: LocalEngine, name: str, body: Any = None) -> Ingested:
    (found,) = await engine.ingest(SERVER, [EventIn(source="test", id=name, type="some.type", body=body)])
    assert isinstance(found, Ingested)
    return found


async def test_a_run_goes_some_time_after_its_end_and_one_that_goes_on_does_not() -> None:
    async with keeping(runs=Keep(30 * DAY)) as (engine, time):
        over, going = await start(engine), await start(engine)
        await end(engine, over)
        await pass_time(engine, time, 29 * DAY)
        assert await engine.view(SERVER, over) is not None
        await pass_time(engine, time, 2 * DAY)
        assert await engine.view(SERVER, over) is None
        assert await engine.view(SERVER, going) is not None
        with pytest.raises(PeltonError):
            await engine.signal(SERVER, over, Rewind(to="start"))
        assert engine.retention.stats()["removed"]["runs"] == 1


async def test_a_run_that_was_taken_up_again_counts_from_its_last_end() -> None:
    async with keeping(runs=Keep(30 * DAY)) as (engine, time):
        run = await start(engine)
        await end(engine, run)
        await pass_time(engine, time, 20 * DAY)
        await engine.signal(SERVER, run, Rewind(to="start"))
        await pass_time(engine, time, 20 * DAY)
        await end(engine, run)
        await pass_time(engine, time, 20 * DAY)
        assert await engine.view(SERVER, run) is not None
        await pass_time(engine, time, 11 * DAY)
        assert await engine.view(SERVER, run) is None


async def test_with_none_kept_there_is_time_to_read_the_outcome() -> None:
    async with keeping(runs=Keep(None, 0), events=Keep(0)) as (engine, time):
        run = await start(engine)
        await end(engine, run)
        posted = await post(engine, "e")
        await pass_time(engine, time, GRACE // 2)
        assert await engine.view(SERVER, run) is not None
        assert await engine.event(SERVER, posted.key) is not None
        await pass_time(engine, time, GRACE)
        assert await engine.view(SERVER, run) is None
        assert await engine.event(SERVER, posted.key) is None


async def test_a_repeat_is_recognised_for_as_long_as_ids_are_kept() -> None:
    async with keeping(events=Keep(DAY), ids=Keep(30 * DAY)) as (engine, time):
        engine.ingester._most = 0  # as after a restart: what is not in the store is not known
        first = await post(engine, "once", {"a": 1})
        await pass_time(engine, time, 2 * DAY)
        assert await engine.event(SERVER, first.key) is None
        again = await post(engine, "once", {"a": 1})
        assert (again.duplicate, again.conflict, again.key, again.state) == (True, False, first.key, "unmatched")
        assert (await post(engine, "once", {"a": 2})).conflict
        await pass_time(engine, time, 31 * DAY)
        new = await post(engine, "once", {"a": 2})
        assert (new.duplicate, new.key > first.key) == (False, True)


async def test_many_go_in_steps_with_rests_between_them() -> None:
    async with keeping(events=Keep(None, 3), ids=Keep(None, 0)) as (engine, time):
        for each in range(1_203):
            await post(engine, f"e{each}")
        await time.advance(2_000)
        assert len(await engine.store.events("default", limit=100)) == 3
        assert engine.retention.stats()["kept"]["events"] == 3


async def test_a_store_that_fails_is_tried_again_and_the_trouble_is_told() -> None:
    class Failing(MemoryStore):
        fails = True

        async def sweep(self, sweep: Sweep) -> Swept:
            if self.fails:
                raise StoreFailed("disk full")
            return await super().sweep(sweep)

    time = VirtualClock()
    store = Failing(clock=time)
    async with keeping(store, events=Keep(None, 0)) as (engine, clock):
        await post(engine, "e")
        await clock.advance(2_000)
        assert engine.retention.stats()["trouble"] == "disk full"
        store.fails = False
        await clock.advance(20_000)
        assert engine.retention.stats()["trouble"] == ""


async def test_nothing_goes_unless_it_is_asked_for() -> None:
    async with keeping() as (engine, time):
        run = await start(engine)
        await end(engine, run)
        await pass_time(engine, time, 3_000 * DAY)
        assert await engine.view(SERVER, run) is not None


async def test_a_kind_of_which_ever_more_comes_does_not_keep_the_others_waiting() -> None:
    class Endless(MemoryStore):
        left = 50

        async def sweep(self, sweep: Sweep) -> Swept:
            if sweep.kind == "events" and self.left:
                self.left -= 1
                return Swept(1, True)
            order.append(sweep.kind)
            return await super().sweep(sweep)

    order: list[str] = []
    time = VirtualClock()
    async with keeping(Endless(clock=time), events=Keep(None, 1), runs=Keep(None, 1)) as (_, clock):
        await clock.advance(1_500)
        assert order.index("runs") < order.index("events")


async def test_bookmarks_are_looked_at_at_the_start_and_then_rarely() -> None:
    class Told(MemoryStore):
        async def sweep(self, sweep: Sweep) -> Swept:
            told.append(sweep.kind)
            return await super().sweep(sweep)

    told: list[str] = []
    time = VirtualClock()
    async with keeping(Told(clock=time), bookmarks=Keep(90 * DAY), runs=Keep(None, 1)) as (engine, clock):
        await clock.advance(5_500)
        assert (told.count("bookmarks"), told.count("runs") > 3) == (1, True)
        await pass_time(engine, clock, 3_600_000)
        assert told.count("bookmarks") == 2


async def test_a_kind_that_was_done_is_looked_at_again_while_another_lags_behind() -> None:
    class Lagging(MemoryStore):
        async def sweep(self, sweep: Sweep) -> Swept:
            swept = await super().sweep(sweep)
            return swept._replace(more=True) if sweep.kind == "runs" else swept

    time = VirtualClock()
    store = Lagging(clock=time)
    async with keeping(store, events=Keep(None, 1), runs=Keep(None, 1)) as (engine, clock):
        await clock.advance(1_500)
        for each in range(5):
            await post(engine, f"e{each}")
        await clock.advance(1_500)
        assert len(await store.events("default", limit=10)) == 1
