"""Keyed events that stay: each wait for the key gets a copy, now or later, once; with a list of who has got one."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.graphs import Graph, look, on_event
from tests.patience import happens
from tests.runtime.harness import Shapes, code_of, handles
from tests.runtime.living import Living, living
from tests.runtime.nodes import STORES, Pair, two

from pelton.errors import Code, PeltonError
from pelton.kernel.model.process import Process
from pelton.kernel.model.signals import Pause, Resume
from pelton.runtime.api import CorrelateCommand, Correlated, EventIn, StartCommand
from pelton.runtime.cache import correlations
from pelton.runtime.caller import SERVER, server_in
from pelton.runtime.events import correlation
from pelton.testing.losing_store import losing

case = pytest.mark.parametrize("kind", STORES)
KEY = look(lambda scene: scene.input, "$start")


def waits() -> Process:
    return Graph("waits").wait("w", on_event("paid", key=KEY)).build()


def stays() -> Process:
    """Counts what it gets, as long as it waits."""
    graph = Graph("stays", output=look(lambda scene: scene.var("hits")))
    graph.body("", hits=0)
    arm = on_event("paid", key=KEY, stays=True, hits=look(lambda scene: scene.var("hits") + 1))
    return graph.wait("w", arm, on_event("stop", "")).build()


def branches() -> Process:
    graph = Graph("branches").fork("f", "a", "b", "j")
    return graph.wait("a", on_event("paid", key=KEY)).wait("b", on_event("paid", key=KEY)).join("j", "a", "b").build()


ALL = (waits, stays, branches)


def stick(key: str, body: Any = None, **more: Any) -> CorrelateCommand:
    return CorrelateCommand(name="paid", key=key, body=body, mode="sticky", **more)


async def post(at: Living, key: str, body: Any = None, **more: Any) -> Correlated:
    return await at.engine.correlate(SERVER, stick(key, body, **more))


async def begin(at: Living, process: str, key: str) -> int:
    return (await at.engine.start(SERVER, StartCommand(process=process, input=key))).key


async def got(at: Living, key: str) -> list[tuple[int, int]]:
    return [(copy.run, copy.n) for copy in await at.engine.copies(SERVER, "paid", key)]


@case
async def test_who_waits_and_who_comes_later_gets_a_copy_with_an_id(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, *ALL) as pair:
        first, second = [await begin(at, "waits", "k") for at in pair.both]
        met = await post(pair.a, "k", {"sum": 5})
        assert (met.taken, met.later, met.held) == ([(first, 1), (second, 1)], 0, 0)
        assert [(copy.run, copy.n, copy.thread) for copy in met.copies] == [(first, 1, 0), (second, 1, 0)]
        assert [await pair.b.ended(run) for run in (first, second)] == [{"sum": 5}] * 2
        late = await begin(pair.b, "waits", "k")
        assert await pair.b.ended(late) == {"sum": 5}
        both = await begin(pair.a, "branches", "k")
        await pair.a.ended(both)
        found = await pair.b.engine.copies(SERVER, "paid", "k")
        assert found[:2] == met.copies
        assert sorted((copy.run, copy.n) for copy in found[2:]) == sorted([(late, 1), (both, 2), (both, 3)])
        assert len({copy.id for copy in found}) == 5
        assert await pair.b.engine.copies(SERVER, "paid", "k", found[3].id) == found[4:]
        row = await pair.b.engine.sticky(SERVER, "paid", "k")
        assert row is not None
        assert (row.id, row.body, row.got) == (met.sticky, {"sum": 5}, 5)
        assert await pair.a.engine.sticky(server_in("other"), "paid", "k") is None
        assert await begin(pair.a, "waits", "other")


@case
async def test_there_is_one_at_a_time_and_it_can_be_listed_and_removed(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, *ALL) as pair:
        await pair.b.ended(await begin_after(pair, "b"))
        outcomes = await asyncio.gather(*(post(at, "a", at is pair.a) for at in pair.both), return_exceptions=True)
        assert [each.code for each in outcomes if isinstance(each, PeltonError)] == [Code.EXISTS]
        for at in pair.both:
            assert await code_of(asyncio.ensure_future(post(at, "a"))) == Code.EXISTS
        for got_one, keys in ((None, ["a", "b"]), (True, ["b"]), (False, ["a"])):
            assert [row.key for row in await pair.a.engine.sticky_named(SERVER, "paid", got_one)] == keys
        assert [row.key for row in await pair.a.engine.sticky_named(SERVER, "paid", after="a")] == ["b"]
        assert await pair.a.engine.sticky_named(SERVER, "other") == []
        assert await pair.b.engine.remove_sticky(SERVER, "paid", "b")
        assert not await pair.a.engine.remove_sticky(SERVER, "paid", "b")
        assert await got(pair.a, "b") == []
        run = await begin(pair.a, "waits", "b")
        assert (await post(pair.b, "b", 2)).taken == [(run, 1)]
        assert await got(pair.a, "b") == [(run, 1)]


async def begin_after(pair: Pair, key: str) -> int:
    await post(pair.a, key)
    return await begin(pair.b, "waits", key)


@case
async def test_one_that_goes_with_the_first_who_get_it(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, *ALL) as pair:
        runs = [await begin(at, "waits", "k") for at in pair.both]
        met = await post(pair.a, "k", 1, once=True)
        assert [copy.run for copy in met.copies] == runs
        assert await pair.b.engine.sticky(SERVER, "paid", "k") is None
        await post(pair.b, "k", 2, once=True)
        both = await begin(pair.a, "branches", "k")
        late = await begin(pair.b, "waits", "k")
        assert await pair.a.engine.sticky(SERVER, "paid", "k") is None
        for run in (both, late):
            view = await pair.a.engine.view(SERVER, run)
            assert view is not None
            assert not view.run.ended, "of its two waits one has got it"
        assert len((await post(pair.a, "k", 3)).taken) == 2
        assert await pair.b.ended(both) is not None
        assert await pair.b.ended(late) == 3


@case
@pytest.mark.parametrize("removed", [False, True])
async def test_a_wait_gets_it_once_whatever_halts_it(kind: str, removed: bool, tmp_path: Path) -> None:
    async with two(kind, tmp_path, *ALL) as pair:
        before = await begin(pair.a, "stays", "k")
        halted = await begin(pair.a, "stays", "k")
        leaves = await begin(pair.b, "waits", "k")
        for run in (halted, leaves):
            await pair.b.engine.signal(SERVER, run, Pause())
        met = await post(pair.a, "k", "body")
        assert {run for run, _ in met.taken} == {before, halted, leaves}
        after = await begin(pair.b, "stays", "k")
        if removed:
            assert await pair.b.engine.remove_sticky(SERVER, "paid", "k")
        for run in (before, after):
            await pair.a.engine.signal(SERVER, run, Pause())
        for run in (before, after, halted, leaves):
            await pair.b.engine.signal(SERVER, run, Resume())
        assert await pair.a.ended(leaves) == "body", "a copy was kept for it, though the event is gone"
        for run in (before, after, halted):
            view = await pair.a.engine.view(SERVER, run)
            assert view is not None
            assert view.variables["hits"] == 1
        if not removed:
            assert sorted(run for run, _ in await got(pair.a, "k")) == sorted([before, halted, leaves, after])


async def test_it_goes_when_its_time_is_over(tmp_path: Path) -> None:
    async with living(tmp_path, *ALL) as at:
        await post(at, "k", 1, ttl=1)
        await post(at, "stays", 1, ttl=3_600_000)

        async def gone() -> bool:
            return [row.key for row in await at.store.sticky_named("default", "paid", None, "", 9)] == ["stays"]

        await happens(gone)
        run = await begin(at, "waits", "k")
        assert (await post(at, "k", 2, ttl=1)).taken == [(run, 1)]
        await happens(gone)
        assert await at.store.copies(1, 0, 9) == []


async def test_one_whose_time_is_over_is_not_there_before_it_is_removed(tmp_path: Path) -> None:
    async with living(tmp_path, *ALL) as at:
        await at.engine.expiry.stop()
        first = await post(at, "k", 1, ttl=1)
        until = at.engine.now() + 2
        await happens(lambda: at.engine.now() > until)
        run = await begin(at, "waits", "k")
        assert await at.engine.sticky(SERVER, "paid", "k") is None
        second = await post(at, "k", 2, once=True)
        assert second.taken == [(run, 1)]
        assert await at.store.sticky("default", "paid", "k") is None
        third = await post(at, "k", 3)
        assert len({first.sticky, second.sticky, third.sticky}) == 3
        assert await at.ended(await begin(at, "waits", "k")) == 3


async def test_very_many_get_it_through_a_job_and_the_list_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlations, "WAITERS", 10)
    monkeypatch.setattr(correlation, "CHUNK", 20)
    shapes = Shapes()
    async with living(tmp_path, *ALL, shapes=shapes) as at:
        runs = [await begin(at, "waits", "k") for _ in range(50)]
        at.engine.durable_jobs._running = False  # it stops before the job has begun
        met = await post(at, "k", "copy")
        assert (met.taken, met.later) == ([], 50)
    async with living(tmp_path, *ALL, shapes=shapes) as at:
        late = await begin(at, "waits", "k")
        for run in (*runs, late):
            assert await at.ended(run) == "copy"
        assert sorted(await got(at, "k")) == sorted((run, 1) for run in (*runs, late))


async def test_limits_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlations, "STICKY_COUNT", 2)
    async with living(tmp_path, *ALL) as at:
        await post(at, "a")
        await post(at, "b")
        with pytest.raises(PeltonError, match="namespace 'default' has 2 sticky events") as error:
            await post(at, "c")
        assert error.value.code == Code.BUSY
        for bad in (stick("k", ttl=-1), stick("k", hold=5), stick("k", thread=1), stick("k", position=2)):
            assert await code_of(asyncio.ensure_future(at.engine.correlate(SERVER, bad))) == Code.INVALID
        await at.engine.remove_sticky(SERVER, "paid", "a")
        await post(at, "c")


async def test_handlers_post_them(tmp_path: Path) -> None:
    shapes = Shapes()
    async with living(tmp_path, *ALL, shapes=shapes) as at:
        shapes.handlers["h"] = handles(
            "t", lambda context: [stick("k", 1), stick("k", 2)], lambda context: [StartCommand(process="waits", input="k")]
        )
        await at.engine.define(SERVER, "handler", "shapes", "h", 1, b'"h"')
        (posted,) = await at.engine.ingest(SERVER, [EventIn(source="s", id="1", type="t")])
        assert [effect.outcome for effect in posted.effects] == ["held", "unchanged", "started"]
        assert await at.ended(posted.effects[2].run) == 1


@case
@pytest.mark.parametrize("seed", range(4))
async def test_each_wait_gets_it_once_and_nobody_rests_while_it_is_there(kind: str, seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    async with two(kind, tmp_path, *ALL) as pair:
        runs: list[int] = []
        paused: list[int] = []

        async def one() -> None:
            at = rng.choice(pair.both)
            what, key = rng.randrange(9), rng.choice("ab")
            if what < 4:
                runs.append(await begin(at, rng.choice(["waits", "stays"]), key))
            elif what < 6:
                await asyncio.gather(
                    post(at, key, once=rng.random() < 0.4, ttl=rng.choice([0, 1, 3_600_000])), return_exceptions=True
                )
            elif what == 6:
                await at.engine.remove_sticky(SERVER, "paid", key)
            elif what == 7 and runs:
                paused.append(rng.choice(runs))
                await asyncio.gather(at.engine.signal(SERVER, paused[-1], Pause()), return_exceptions=True)
            elif paused:
                run = paused.pop(rng.randrange(len(paused)))
                await asyncio.gather(at.engine.signal(SERVER, run, Resume()), return_exceptions=True)

        for _ in range(25):
            await asyncio.gather(*(one() for _ in range(rng.randrange(1, 6))))
        for run in paused:
            await asyncio.gather(pair.b.engine.signal(SERVER, run, Resume()), return_exceptions=True)
        for at in pair.both:
            await at.quiet()
        for key in "ab":
            row = await pair.a.engine.sticky(SERVER, "paid", key)
            copies = await got(pair.a, key)
            assert len(copies) == len(set(copies)), "nobody has it twice"
            assert row is None or row.got == len(copies)
            for run in runs:
                view = await pair.a.engine.view(SERVER, run)
                assert view is not None
                if row is not None and view.start.output == key:
                    assert view.run.ended or (run, 1) in copies, "whoever waits has got it"


async def test_lost_commits_and_a_cold_cache_change_nothing(tmp_path: Path) -> None:
    async with living(tmp_path, *ALL, wrap=lambda inner: losing(inner, 7, 0.3), cache_bytes=1) as at:
        keys = [f"k{number}" for number in range(30)]
        jobs = [job for key in keys for job in (begin(at, "waits", key), post(at, key, key), begin(at, "waits", key))]
        done: list[Any] = await asyncio.gather(*jobs)
        for place, key in enumerate(keys):
            runs = done[3 * place], done[3 * place + 2]
            assert [await at.ended(run) for run in runs] == [key] * 2
            assert sorted(await got(at, key)) == sorted((run, 1) for run in runs)
