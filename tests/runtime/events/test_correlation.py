"""Keyed events meet the waits for them, whichever comes first, whoever loses a race, and however many wait."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
from tests.kernel.graphs import Graph, look, on_event, outside
from tests.runtime.harness import Shapes, handles
from tests.runtime.living import Living, living

from pelton.errors import PeltonError
from pelton.kernel.model.process import Process
from pelton.kernel.model.signals import Pause, Resume, Terminate
from pelton.kernel.model.state import RunStatus
from pelton.runtime.api import CorrelateCommand, Correlated, EventIn, StartCommand
from pelton.runtime.cache import correlations
from pelton.runtime.caller import SERVER, server_in
from pelton.runtime.events import correlation
from pelton.testing.losing_store import LosingStore, losing

HOUR = 3_600_000


def waits() -> Process:
    key = look(lambda scene: scene.newest("$start").output, "$start")  # type: ignore[union-attr]
    return Graph("waits").wait("w", on_event("paid", key=key), outside()).build()


def queue() -> Process:
    """Takes from a queue for ever."""
    return Graph("queue").wait("w", on_event("job", "w", key="q"), outside("")).build()


def both() -> Process:
    key = look(lambda scene: scene.newest("$start").output, "$start")  # type: ignore[union-attr]
    graph = Graph("both").fork("f", "a", "b", "j")
    graph.wait("a", on_event("paid", key=key)).wait("b", on_event("paid", key=key)).join("j", "a", "b")
    return graph.build()


def paid(key: str, body: Any = None, **more: Any) -> CorrelateCommand:
    return CorrelateCommand(name="paid", key=key, body=body, **more)


async def start(at: Living, name: str, value: Any = None) -> int:
    return (await at.engine.start(SERVER, StartCommand(process=name, input=value))).key


async def test_an_event_goes_to_the_wait_or_waits_for_it(tmp_path: Path) -> None:
    async with living(tmp_path, waits) as at:
        first = await start(at, "waits", "k1")
        met = await at.engine.correlate(SERVER, paid("k1", {"sum": 5}))
        assert [run for run, _ in met.taken] == [first]
        assert (await at.ended(first)) == {"sum": 5}
        held = await at.engine.correlate(SERVER, paid("k2", 7, hold=HOUR))
        assert (held.taken, held.held > 0) == ([], True)
        assert [(row.name, row.key, row.body) for row in await at.engine.held(SERVER)] == [("paid", "k2", 7)]
        second = await start(at, "waits", "k2")
        assert await at.ended(second) == 7
        assert await at.engine.held(SERVER) == []
        assert await at.engine.correlate(SERVER, paid("k3")) == Correlated([])
        assert await at.engine.correlate(server_in("other"), paid("k2", hold=HOUR)) == Correlated(
            [], held=(await at.engine.held(server_in("other")))[0].id
        )


async def test_the_wait_that_is_oldest_gets_it_and_what_is_oldest_is_taken(tmp_path: Path) -> None:
    async with living(tmp_path, waits) as at:
        runs = [await start(at, "waits", "k") for _ in range(3)]
        for number, run in enumerate(runs):
            assert (await at.engine.correlate(SERVER, paid("k", number))).taken[0][0] == run
        for number in range(3):
            await at.engine.correlate(SERVER, paid("k", number, hold=HOUR))
        at.forget()
        assert [await at.ended(await start(at, "waits", "k")) for _ in range(3)] == [0, 1, 2]


async def test_all_who_wait_get_a_copy_and_each_wait_of_a_run_one(tmp_path: Path) -> None:
    async with living(tmp_path, waits, both) as at:
        runs = [await start(at, "waits", "k") for _ in range(correlation.DIRECT + 5)]
        run = await start(at, "both", "k")
        met = await at.engine.correlate(SERVER, paid("k", "copy", mode="all", hold=HOUR))
        assert (len(met.taken), met.later, met.held) == (correlation.DIRECT, 7, 0)
        assert [await at.ended(each) for each in runs] == ["copy"] * len(runs)
        await at.ended(run)
        assert await at.engine.correlate(SERVER, paid("k", mode="all")) == Correlated([])


async def test_very_many_are_served_by_a_job_that_survives_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlations, "WAITERS", 10)
    monkeypatch.setattr(correlation, "CHUNK", 30)
    shapes = Shapes()
    async with living(tmp_path, waits, both, shapes=shapes) as at:
        runs = [await start(at, "waits", "k") for _ in range(75)]
        runs.append(await start(at, "both", "k"))
        at.engine.durable_jobs._running = False  # it stops before the job has begun
        met = await at.engine.correlate(SERVER, paid("k", "copy", mode="all"))
        assert (met.taken, met.later) == ([], 77)
        assert met.job > 0
    async with living(tmp_path, waits, both, shapes=shapes) as at:
        for run in runs:
            await at.ended(run)
        results = await at.engine.results(SERVER, met.job)
        assert len(results) == 77
        assert {(row.run, row.outcome) for row in results} == {(run, "signalled") for run in runs}
        assert await at.store.pending_signals(10) == []


async def test_a_run_that_waits_no_more_is_passed_over(tmp_path: Path) -> None:
    async with living(tmp_path, waits) as at:
        first, second = await start(at, "waits", "k"), await start(at, "waits", "k")
        assert (await at.engine.correlate(SERVER, paid("k", position=99))) == Correlated([])  # the place is in memory
        await at.engine.signal(SERVER, first, Terminate())
        await at.engine.remove(SERVER, first)
        assert (await at.engine.correlate(SERVER, paid("k", 1))).taken[0][0] == second


async def test_a_queue_is_worked_off_and_nothing_is_taken_twice(tmp_path: Path) -> None:
    async with living(tmp_path, queue, wrap=lambda inner: losing(inner, 3, 0.2)) as at:
        posts = [CorrelateCommand(name="job", key="q", body=number, hold=HOUR) for number in range(60)]
        takers = [start(at, "queue") for _ in range(3)]
        await asyncio.gather(*takers, *(at.engine.correlate(SERVER, post) for post in posts[:20]))
        for first in range(20, 60, 4):
            await asyncio.gather(*(at.engine.correlate(SERVER, post) for post in posts[first : first + 4]))
        assert cast(LosingStore, at.store).lost > 0
        assert await at.engine.held(SERVER) == []
        runs = await at.store.runs("default")
        steps = [step for run in runs for step in await at.store.steps(run, 0, 1000)]
        assert sorted(step.output for step in steps if step.output is not None) == list(range(60))


async def test_an_event_and_a_wait_posted_side_by_side_never_both_rest(tmp_path: Path) -> None:
    async with living(tmp_path, waits, wrap=lambda inner: losing(inner, 7, 0.3), cache_bytes=1) as at:
        keys = [f"k{number}" for number in range(40)]
        starts = [start(at, "waits", key) for key in keys]
        posts = [at.engine.correlate(SERVER, paid(key, key, hold=HOUR)) for key in keys]
        runs = (await asyncio.gather(*(job for pair in zip(starts, posts, strict=True) for job in pair)))[::2]
        assert [await at.ended(cast(int, run)) for run in runs] == keys
        assert await at.engine.held(SERVER) == []
        assert await at.store.waiting("default", "paid", "k1", 9) == []


async def test_handlers_post_by_key(tmp_path: Path) -> None:
    shapes = Shapes()
    async with living(tmp_path, waits, shapes=shapes) as at:
        shapes.handlers["h"] = handles(
            "t",
            lambda context: [paid("k", context.payload, hold=HOUR)],
            lambda context: [StartCommand(process="waits", input="k")],  # begins after, in the same turn
        )
        await at.engine.define(SERVER, "handler", "shapes", "h", 1, b'"h"')
        (posted,) = await at.engine.ingest(SERVER, [EventIn(source="s", id="1", type="t", body="x")])
        assert [effect.outcome for effect in posted.effects] == ["held", "started"]
        assert await at.ended(posted.effects[1].run) == "x"
        assert await at.engine.held(SERVER) == []
        shapes.handlers["h2"] = handles(
            "u", lambda context: [StartCommand(process="waits", input="k")], lambda context: [paid("k", 2), paid("k", 3)]
        )
        await at.engine.define(SERVER, "handler", "shapes", "h2", 1, b'"h2"')
        (posted,) = await at.engine.ingest(SERVER, [EventIn(source="s", id="2", type="u")])
        assert [effect.outcome for effect in posted.effects] == ["started", "signalled", "unchanged"]
        assert await at.ended(posted.effects[0].run) == 2


async def test_bounds_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlations, "KEY_COUNT", 2)
    monkeypatch.setattr(correlations, "NS_COUNT", 3)
    async with living(tmp_path, waits) as at:
        for key in ("a", "a", "b"):
            await at.engine.correlate(SERVER, paid(key, hold=HOUR))
        for key, said in (("a", "2 events"), ("c", "namespace 'default' holds 3 events")):
            with pytest.raises(PeltonError, match=said) as error:
                await at.engine.correlate(SERVER, paid(key, hold=HOUR))
            assert (error.value.code, error.value.field) == ("busy", "key")
        for bad in (paid(""), paid("k" * 2000), paid("k", hold=-1), paid("k", "x" * (1 << 20))):
            with pytest.raises(PeltonError):
                await at.engine.correlate(SERVER, bad)
        assert len(await at.engine.held(SERVER)) == 3


async def test_what_is_held_too_long_goes_and_is_told(tmp_path: Path) -> None:
    shapes = Shapes()
    async with living(tmp_path, waits, shapes=shapes) as at:
        shapes.handlers["h"] = handles(
            "held.expired", lambda context: [StartCommand(process="waits", input=context.payload["key"])]
        )
        await at.engine.define(SERVER, "handler", "shapes", "h", 1, b'"h"')
        await at.engine.correlate(SERVER, paid("k", hold=1))
        await at.until(lambda: at.engine.expiry.expired == 1)
        assert await at.engine.held(SERVER) == []
        await at.until(lambda: at.engine.ingester.stats["events"] == 1)
        run = await at.until_found(lambda: at.store.runs("default"))
        assert RunStatus(run.status) == RunStatus.RUNNING


async def test_an_event_for_all_is_kept_for_the_waits_that_are_halted(tmp_path: Path) -> None:
    async with living(tmp_path, waits) as at:
        runs = [await start(at, "waits", "k") for _ in range(3)]
        await at.engine.signal(SERVER, runs[1], Pause())
        met = await at.engine.correlate(SERVER, paid("k", 1, mode="all"))
        assert {run for run, _ in met.taken} == set(runs)
        assert [(row.run, row.name, row.key, row.body) for row in await at.engine.held(SERVER)] == [(runs[1], "paid", "k", 1)]
        assert [await at.ended(run) for run in (runs[0], runs[2])] == [1, 1]
    async with living(tmp_path, waits) as at:
        await at.engine.signal(SERVER, runs[1], Resume())
        assert await at.ended(runs[1]) == 1
        assert not await at.engine.held(SERVER)


async def test_what_is_kept_for_halted_waits_reaches_them_through_a_job_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(correlation, "DIRECT", 2)
    monkeypatch.setattr(correlations, "WAITERS", 4)
    for count in (4, 9):
        path = tmp_path / str(count)
        path.mkdir()
        async with living(path, waits) as at:
            runs = [await start(at, "waits", "k") for _ in range(count)]
            for run in runs:
                await at.engine.signal(SERVER, run, Pause())
            await at.engine.correlate(SERVER, paid("k", 1, mode="all"))
            await at.quiet()
            assert len(await at.engine.held(SERVER)) == count
            for run in runs:
                await at.engine.signal(SERVER, run, Resume())
                assert await at.ended(run) == 1


async def test_an_event_for_one_goes_to_the_next_that_is_not_halted_else_it_is_held(tmp_path: Path) -> None:
    async with living(tmp_path, waits) as at:
        first, second = await start(at, "waits", "k"), await start(at, "waits", "k")
        await at.engine.signal(SERVER, first, Pause())
        assert [run for run, _ in (await at.engine.correlate(SERVER, paid("k", 1))).taken] == [second]
        held = await at.engine.correlate(SERVER, paid("k", 2, hold=HOUR))
        assert held.held
        assert not held.taken
        await at.engine.signal(SERVER, first, Resume())
        assert await at.ended(first) == 2

        third, fourth = await start(at, "waits", "q"), await start(at, "waits", "q")
        for run in (third, fourth):
            await at.engine.signal(SERVER, run, Pause())
        kept = await at.engine.correlate(SERVER, paid("q", 3))
        assert [run for run, _ in kept.taken] == [third], "who waits is not passed over, even where nothing is to be held"
        for run in (fourth, third):
            await at.engine.signal(SERVER, run, Resume())
        assert await at.ended(third) == 3
        view = await at.engine.view(SERVER, fourth)
        assert view is not None
        assert view.run.status == RunStatus.RUNNING


async def test_a_held_event_is_found_behind_any_number_that_are_for_others(tmp_path: Path) -> None:
    async with living(tmp_path, waits) as at:
        for number in range(150):
            await at.engine.correlate(SERVER, paid("k", number, hold=HOUR, thread=5))
        for _ in range(2):
            await at.engine.correlate(SERVER, paid("k", "mine", hold=HOUR))
    async with living(tmp_path, waits) as at:
        first, second = await start(at, "waits", "k"), await start(at, "waits", "k")
        assert [await at.ended(run) for run in (first, second)] == ["mine", "mine"]
        assert len(await at.engine.held(SERVER, 1_000)) == 150
