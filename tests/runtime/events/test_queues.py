"""Queues of waiting runs: a step of another run takes the first or the last of them, with what it offers, exactly once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from tests.kernel.graphs import Graph, after, look, on_event, on_merge
from tests.runtime.living import Living, living
from tests.runtime.nodes import STORES, Pair, two

from pelton.kernel.model.process import Limit, Limits, Process
from pelton.kernel.model.signals import Merge, Pause, Resume, Signal, Terminate
from pelton.kernel.model.state import RunStatus
from pelton.runtime.api import StartCommand
from pelton.runtime.cache import correlations
from pelton.runtime.caller import SERVER
from pelton.testing.losing_store import LosingStore, losing

case = pytest.mark.parametrize("kind", STORES)
KEY = look(lambda scene: (scene.input or {}).get("key", "k"), "$start")


def offers(scene: Any) -> Any:
    return {**scene.variables(), "no": scene.input.get("no")}


def place() -> Process:
    """Waits in a queue; its output is what it was given."""
    return Graph("place").wait("q", on_event("line", key=KEY, offers=offers), on_merge(stays=True)).build()


def place_for_a_while() -> Process:
    return Graph("short").wait("q", on_event("line", key=KEY, offers=offers), after(1_000)).build()


def taker(name: str, **more: Any) -> Callable[[], Process]:
    def build() -> Process:
        graph = Graph(name)
        graph.take("t", "line", KEY, body=look(lambda scene: {"by": scene.input.get("by")}), **more)
        return graph.assign("none", output="nobody").build()

    return build


FIRST = taker("first")
LAST = taker("last", last=True)
ELSE = taker("else", empty="edge", nobody="none")
RESTS = taker("rests", empty="wait")
ALL = (place, place_for_a_while, FIRST, LAST, ELSE, RESTS)


async def begin(at: Living, process: str, **value: Any) -> int:
    return (await at.engine.start(SERVER, StartCommand(process=process, input=value))).key


async def tell(at: Living, run: int, signal: Signal) -> None:
    await at.engine.signal(SERVER, run, signal)


async def status(at: Living, run: int) -> RunStatus:
    view = await at.engine.view(SERVER, run)
    assert view is not None
    return RunStatus(view.run.status)


@case
async def test_the_first_and_the_last_are_taken_with_what_they_offer_then(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, *ALL) as pair:
        runs = [await begin(at, "place", no=no) for no, at in enumerate((pair.a, pair.b, pair.a, pair.b))]
        await tell(pair.b, runs[0], Merge(changes={"sum": 7}))
        got = await pair.a.ended(await begin(pair.a, "first", by="me"))
        assert got == {"run": pair.a.engine.codec.run_id(runs[0]), "n": 1, "data": {"sum": 7, "no": 0}}
        assert await pair.b.ended(runs[0]) == {"by": "me"}
        assert [(await pair.a.ended(await begin(at, "last")))["data"]["no"] for at in pair.both] == [3, 2]
        assert (await pair.b.ended(await begin(pair.b, "else")))["data"]["no"] == 1
        assert await pair.b.ended(await begin(pair.b, "else")) == "nobody"
        run = await begin(pair.a, "first")
        assert await status(pair.a, run) == RunStatus.FAILED
        step = (await pair.a.engine.steps(SERVER, run))[-1]
        assert (step.failure, step.kind) == ("nobody waits", "business")  # type: ignore[union-attr]
        other = await pair.a.engine.start(SERVER, StartCommand(process="place", input={"key": "other"}))
        assert await pair.a.ended(await begin(pair.a, "else")) == "nobody"
        assert await status(pair.a, other.key) == RunStatus.RUNNING
        assert await pair.store.waiting("default", "line", "k", 9) == []


@case
async def test_who_is_halted_is_passed_over_and_keeps_the_place(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, *ALL) as pair:
        runs = [await begin(pair.a, "place", no=no) for no in range(3)]
        for run in runs[:2]:
            await tell(pair.a, run, Pause())
        assert (await pair.b.ended(await begin(pair.b, "first")))["data"]["no"] == 2
        assert await pair.b.ended(await begin(pair.b, "else")) == "nobody"
        rests = [await begin(pair.b, "rests") for _ in range(2)]
        await tell(pair.b, rests[0], Pause())
        runs.append(await begin(pair.a, "place", no=3))
        assert (await pair.a.ended(rests[1]))["data"]["no"] == 3, "the one that is not halted gets it"
        await begin(pair.a, "place", no=4)
        for run in reversed(runs[:2]):
            await tell(pair.a, run, Resume())
        assert (await pair.a.ended(await begin(pair.a, "first")))["data"]["no"] == 0
        await tell(pair.b, rests[0], Resume())
        assert (await pair.b.ended(rests[0]))["data"]["no"] == 1


@case
async def test_a_taker_waits_until_somebody_comes(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, *ALL) as pair:
        rests = [await begin(at, "rests", by=by) for by, at in enumerate(pair.both * 2)]
        await tell(pair.b, rests[0], Terminate())
        first, second = [await begin(at, "place", no=no) for no, at in enumerate(pair.both)]
        assert [(await pair.a.ended(run))["data"]["no"] for run in rests[1:3]] == [0, 1]
        assert [await pair.b.ended(run) for run in (first, second)] == [{"by": 1}, {"by": 2}]
        assert await status(pair.a, rests[3]) == RunStatus.RUNNING
        await tell(pair.a, rests[3], Pause())
        third = await begin(pair.b, "place", no=2)
        assert await status(pair.b, third) == RunStatus.RUNNING
        await tell(pair.b, rests[3], Resume())
        assert await pair.a.ended(third) == {"by": 3}
        assert await pair.store.waiting("default", "take:line", "k", 9) == []


BRIEF = taker("brief", empty="wait", limits=Limits(attempt=Limit(20, action="edge", to="none")))


async def test_the_limit_of_a_taker(tmp_path: Path) -> None:
    async with living(tmp_path, *ALL, BRIEF) as at:
        assert await at.ended(await begin(at, "brief", key="z")) == "nobody"
        run = await begin(at, "place", key="z")
        assert await status(at, run) == RunStatus.RUNNING, "who has gone takes nothing"
        assert (await at.ended(await begin(at, "rests", key="z", by=1)))["n"] == 1
        assert await at.ended(run) == {"by": 1}


def branches(*names: str) -> Process:
    """In one run: places and takers side by side."""
    graph = Graph("branches").fork("f", *names, "j")
    for name in names:
        if name.startswith("p"):
            graph.wait(name, on_event("line", key="own", offers=lambda scene: "mine"))
        else:
            graph.take(name, "line", "own", empty="wait" if name.startswith("r") else "fail")
    return graph.join("j", *names).build()


@case
@pytest.mark.parametrize(
    "names", [("p1", "t1"), ("r1", "p1"), ("p1", "p2", "t1", "r1"), ("r1", "r2", "p1", "p2"), ("r1", "p1", "t1", "p2")]
)
async def test_branches_of_one_run_take_one_another(kind: str, names: tuple[str, ...], tmp_path: Path) -> None:
    async with two(kind, tmp_path, lambda: branches(*names)) as pair:
        run = await begin(pair.a, "branches")
        await pair.b.ended(run)
        assert await status(pair.a, run) == RunStatus.COMPLETED


def chain() -> Process:
    """Each that is taken takes the next."""
    graph = Graph("chain").wait("q", on_event("line", key="k", offers=lambda scene: scene.input["no"]), to="t")
    return graph.take("t", "line", "k", empty="edge").build()


def many() -> Process:
    """Takes as many as there are, one after the other."""
    graph = Graph("many").take("t", "line", KEY, "t", empty="edge", nobody="end")
    return graph.assign("end", output="done").build()


@case
async def test_more_than_fit_into_a_commit_follow_in_the_next(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, place, chain, many, FIRST) as pair:
        runs = await asyncio.gather(*(begin(pair.a, "place", no=no) for no in range(50)))
        take = await begin(pair.b, "many")
        assert await pair.b.ended(take) == "done"
        steps = await pair.b.engine.steps(SERVER, take)
        assert sorted(step.output["data"]["no"] for step in steps if step.output and step.slot == "t") == list(range(50))
        for run in runs:
            await pair.a.ended(run)
        runs = [await begin(pair.a, "chain", no=no) for no in range(50)]
        await begin(pair.b, "first")
        for run in runs:
            await pair.b.ended(run)


@case
async def test_two_engines_never_take_one_twice(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, *ALL) as pair:
        runs = await asyncio.gather(*(begin(pair.both[no % 2], "place", no=no) for no in range(30)))
        for at in pair.both:
            at.forget()
        takers = await asyncio.gather(*(begin(pair.both[no % 2], ("else", "last")[no % 3 == 0], by=no) for no in range(30)))
        got = [(await pair.a.ended(run))["data"]["no"] for run in takers]
        assert sorted(got) == list(range(30))
        given = [(await pair.b.ended(run))["by"] for run in runs]
        assert [got[by] for by in given] == list(range(30))


@pytest.mark.parametrize("last", [False, True])
async def test_a_take_reads_as_much_from_a_long_queue_as_from_a_short_one(
    last: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(correlations, "WAITERS", 20)
    async with living(tmp_path, *ALL) as at:

        async def read(count: int) -> int:
            before = at.store.counts.rows_read
            for _ in range(count):
                await at.ended(await begin(at, "last" if last else "first"))
            return at.store.counts.rows_read - before

        await asyncio.gather(*(begin(at, "place", no=no) for no in range(100)))
        short = await read(20)
        await asyncio.gather(*(begin(at, "place", no=no) for no in range(100, 1_000)))
        assert await read(20) <= short * 1.5 + 60
        no = (await at.ended(await begin(at, "last" if last else "first")))["data"]["no"]
        assert no > 900 if last else no < 100


@case
@pytest.mark.parametrize("seed", range(4))
async def test_each_is_taken_once_and_nobody_rests_while_somebody_waits(kind: str, seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    async with two(kind, tmp_path, *ALL) as pair:
        places: list[int] = []
        takers: list[int] = []
        paused: list[int] = []

        async def one() -> None:
            at = rng.choice(pair.both)
            what = rng.randrange(10)
            key = rng.choice("ab")
            if what < 4:
                places.append(await begin(at, "place", no=0, key=key))
            elif what < 7:
                takers.append(await begin(at, rng.choice(["else", "last", "rests", "rests"]), key=key))
            elif what == 7 and (places or takers):
                run = rng.choice(places + takers)
                if await status(at, run) == RunStatus.RUNNING:
                    paused.append(run)
                    await asyncio.gather(at.engine.signal(SERVER, run, Pause()), return_exceptions=True)
            elif what == 8 and paused:
                run = paused.pop(rng.randrange(len(paused)))
                await asyncio.gather(at.engine.signal(SERVER, run, Resume()), return_exceptions=True)
            elif takers:
                await asyncio.gather(at.engine.signal(SERVER, rng.choice(takers), Terminate()), return_exceptions=True)

        for _ in range(25):
            await asyncio.gather(*(one() for _ in range(rng.randrange(1, 6))))
        for run in paused:
            await asyncio.gather(pair.a.engine.signal(SERVER, run, Resume()), return_exceptions=True)
        for at in pair.both:
            await at.quiet()
        got: list[str] = []
        waiting: Counter[str] = Counter()
        resting: Counter[str] = Counter()
        for run in takers:
            view = await pair.a.engine.view(SERVER, run)
            assert view is not None
            steps = await pair.a.engine.steps(SERVER, run)
            got += [step.output["run"] for step in steps if step.slot == "t" and step.output]
            if not view.run.ended:
                resting[(await key_of(pair, run))] += 1
        taken = []
        for run in places:
            if await status(pair.a, run) == RunStatus.COMPLETED:
                taken.append(pair.a.engine.codec.run_id(run))
            else:
                waiting[(await key_of(pair, run))] += 1
        assert sorted(got) == sorted(taken)
        assert not set(waiting) & set(resting), f"waiting {waiting}, resting {resting}"


async def key_of(pair: Pair, run: int) -> str:
    view = await pair.a.engine.view(SERVER, run)
    assert view is not None
    start = await pair.a.engine.step(SERVER, run, 0)
    assert start is not None
    return str(start.output["key"])


async def test_lost_commits_and_a_cold_cache_change_nothing(tmp_path: Path) -> None:
    async with living(tmp_path, *ALL, wrap=lambda inner: losing(inner, 5, 0.3), cache_bytes=1) as at:
        runs: list[int] = []
        for few in range(0, 40, 4):
            jobs = [begin(at, process, no=no, by=no) for no in range(few, few + 4) for process in ("place", "rests")]
            runs += await asyncio.gather(*jobs)
        got = [(await at.ended(run))["data"]["no"] for run in runs[1::2]]
        assert sorted(got) == list(range(40))
        assert [got[(await at.ended(run))["by"]] for run in runs[::2]] == list(range(40))
        assert cast(LosingStore, at.store).lost > 0


async def test_a_queue_survives_a_stop(tmp_path: Path) -> None:
    async with living(tmp_path, *ALL) as at:
        runs = [await begin(at, "place", no=no) for no in range(2)]
        rests = await begin(at, "rests", key="z", by="z")
    async with living(tmp_path, *ALL) as at:
        assert (await at.ended(await begin(at, "last", by=1)))["data"]["no"] == 1
        assert await at.ended(await begin(at, "place", key="z")) == {"by": "z"}
        assert (await at.ended(rests))["data"] == {"no": None}
        assert await status(at, runs[0]) == RunStatus.RUNNING
