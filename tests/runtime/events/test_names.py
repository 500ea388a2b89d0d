"""A step finds another run by its name, and knows at once what comes of a start, a signal or a look."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from tests.kernel.graphs import Graph, card, look, on_event, on_merge
from tests.runtime.harness import handles
from tests.runtime.living import Living, living
from tests.runtime.nodes import STORES, two

from pelton.kernel.model.process import Process, Rule
from pelton.kernel.model.signals import EventArrived, Merge, Pause, Report, Resume, Terminate
from pelton.kernel.model.state import RunStatus
from pelton.runtime.api import EventIn, StartCommand
from pelton.runtime.caller import SERVER, Caller
from pelton.testing.losing_store import LosingStore, losing

case = pytest.mark.parametrize("kind", STORES)
TO = look(lambda scene: (scene.input or {}).get("to", "x"), "$start")
CAUGHT = (Rule("edge", to="caught"),)
ADD = Merge(changes={"add": 1}, must_leave=True)


def total(scene: Any) -> int:
    known = scene.variables()
    return int((known.get("sum") or 0) + (known.get("add") or 0))


def counter() -> Process:
    """Waits for additions, and adds them up."""
    return Graph("counter").wait("w", on_merge(), to="s").assign("s", to="w", sum=total).build()


def failure(scene: Any) -> Any:
    return scene.newest("f").failure


def caught(graph: Graph) -> Process:
    """The run's output is that of the last step, or the name of the failure."""
    return graph.assign("caught", output=look(failure, "f")).build()


def finder(name: str, does: Any, process: str = "counter", **more: Any) -> Callable[[], Process]:
    return lambda: caught(Graph(name).find("f", process, TO, does=does, on_failure=CAUGHT, **more))


READ = finder("read", "read")
MAKE = finder("make", "start", given={"made": True})
ADDS = finder("adds", "signal", signal=ADD)
LONE = finder("lone", "start", "nowhere")


def both() -> Process:
    """Makes a counter, adds to it, and again, and reads it: one step after another, all by name."""
    graph = Graph("both").find("m", "counter", TO, "f", does="start").find("f", "counter", TO, "g", does="signal", signal=ADD)
    return graph.find("g", "counter", TO, "r", does="signal", signal=ADD).find("r", "counter", TO).build()


def ping(name: str, other: str) -> Callable[[], Process]:
    """Whenever it is told something it tells the other, until it has been told ten times."""
    more = look(lambda scene: "more" if total(scene) < 10 else "enough")

    def build() -> Process:
        graph = Graph(name).wait("w", on_merge(), to="s").assign("s", to="c", sum=total)
        graph.choice("c", more, {"more": "f"}, "e").find("f", other, "x", "w", does="signal", signal=ADD, on_failure=CAUGHT)
        return caught(graph.assign("e", output="enough"))

    return build


def itself() -> Process:
    graph = Graph("itself").wait("w", on_merge(), to="f")
    return caught(graph.find("f", "itself", "x", does="signal", signal=ADD, on_failure=CAUGHT))


ALL = (counter, READ, MAKE, ADDS, LONE, both, itself, ping("ping", "pong"), ping("pong", "ping"))


async def begin(at: Living, process: str, key: str = "", **value: Any) -> int:
    command = StartCommand(process=process, input=value, key=key, on_same_key="fail if live" if key else "return")
    return (await at.engine.start(SERVER, command)).key


async def ask(at: Living, process: str, **value: Any) -> Any:
    return await at.ended(await begin(at, process, **value))


async def sum_of(at: Living, name: str = "x") -> Any:
    return (await ask(at, "read", to=name))["variables"].get("sum", 0)


def key_of(at: Living, run: str) -> int:
    key = at.engine.codec.parse_run_id(run)
    assert key is not None
    return key


async def status(at: Living, run: int) -> RunStatus:
    view = await at.engine.view(SERVER, run)
    assert view is not None
    return RunStatus(view.run.status)


@case
async def test_what_comes_of_it_is_known_in_the_same_commit(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, *ALL) as pair:
        assert [await ask(at, name) for at in pair.both for name in ("read", "adds")] == ["no such run"] * 4
        run = await begin(pair.a, "counter", "x")
        assert await ask(pair.b, "adds") == {"run": pair.a.engine.codec.run_id(run)}
        told = await ask(pair.a, "read")
        assert (told["run"], told["status"], told["variables"]["sum"]) == (pair.a.engine.codec.run_id(run), "RUNNING", 1)
        assert await ask(pair.b, "make") == "name taken"
        assert await ask(pair.b, "lone") == "not accepted"
        await pair.b.engine.signal(SERVER, run, Pause())
        assert [await ask(at, "adds") for at in pair.both] == ["not accepted"] * 2, "it does not leave while it is paused"
        await pair.a.engine.signal(SERVER, run, Resume())
        assert await ask(pair.b, "adds") == {"run": pair.a.engine.codec.run_id(run)}
        assert await sum_of(pair.b) == 2
        await pair.b.engine.signal(SERVER, run, Terminate())
        assert [await ask(at, name) for at in pair.both for name in ("read", "adds")] == ["no such run"] * 4


@case
async def test_a_run_is_started_under_a_name_by_one(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, *ALL) as pair:
        got = await asyncio.gather(*(ask(at, "make") for at in pair.both * 5))
        assert Counter(isinstance(each, dict) for each in got) == {True: 1, False: 9}
        assert {each for each in got if isinstance(each, str)} == {"name taken"}
        made = next(each["run"] for each in got if isinstance(each, dict))
        assert await ask(pair.b, "adds") == {"run": made}
        assert len(await pair.store.run_keys("default", "key", "counter", "x", True)) == 1
        run = (await pair.store.run_keys("default", "key", "counter", "x", True))[0]
        await pair.a.engine.signal(SERVER, run, Terminate())
        assert isinstance(await ask(pair.b, "make"), dict), "the name is free when the run has ended"


@case
async def test_one_step_after_another_comes_to_the_same_run(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, *ALL) as pair:
        told = await ask(pair.a, "both")
        assert told["variables"]["sum"] == 2
        assert await sum_of(pair.b) == 2


@case
async def test_runs_that_tell_one_another_come_to_an_end(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, *ALL) as pair:
        runs = [await begin(pair.a, "ping", "x"), await begin(pair.b, "pong", "x")]
        await pair.b.engine.signal(SERVER, runs[0], Merge(changes={"add": 1}))
        assert await pair.a.ended(runs[0]) == "enough"
        assert await status(pair.b, runs[1]) == RunStatus.RUNNING
        own = await begin(pair.b, "itself", "x")
        await pair.b.engine.signal(SERVER, own, Merge(changes={"add": 1}))
        assert await pair.b.ended(own) == "not accepted"


OWN = finder("own", "start", "own")
MAKES_OWN = finder("makes own", "start", "own", given=look(lambda scene: scene.input, "$start"))
READS_OWN = finder("reads own", "read", "reads own")


def awaited() -> Process:
    return Graph("awaited").wait("w", on_event("go"), to="u").wait("u", on_merge()).build()


BEGINS = finder("begins", "start", "awaited")
READS_AWAITED = finder("reads awaited", "read", "awaited")


def refuses() -> Process:
    """Keeps a record that cannot be made of what it is given."""
    return Graph("refuses", records=card()).wait("w", on_merge()).build()


@case
async def test_a_run_has_its_name_from_its_first_step_on(kind: str, tmp_path: Path) -> None:
    """Whoever starts it: a caller, a step, a handler, or a caller of one that was expected."""
    async with two(kind, tmp_path, *ALL, OWN, MAKES_OWN, READS_OWN) as pair:
        a, b = pair.both
        assert await a.ended(await begin(a, "own", "x", to="x")) == "name taken"
        made = (await ask(b, "makes own", to="y"))["run"]
        assert await b.ended(key_of(b, made)) == "name taken"
        told = await a.ended(await begin(a, "reads own", "x", to="x"))
        assert (told["status"], told["variables"]) == ("RUNNING", {})
        held = Report(slot="none", output=1, hold=3_600_000)
        expected = (await a.engine.signal_named(SERVER, "own", "z", held, hold=3_600_000)).run.key
        assert await begin(b, "own", "z", to="z") == expected
        assert await a.ended(expected) == "name taken"
        starts = [StartCommand(process=name, input={"to": "w"}, key="w") for name in ("own", "reads own")]
        pair.shapes.handlers["h"] = handles("go", lambda context: starts)
        await a.engine.define(SERVER, "handler", "shapes", "h", 1, b'"h"')
        (done,) = await b.engine.ingest(SERVER, [EventIn(type="go", source="s", id="1")])
        runs = [effect.run for effect in done.effects]
        assert await a.ended(runs[0]) == "name taken"
        assert (await a.ended(runs[1]))["run"] == a.engine.codec.run_id(runs[1])


@case
async def test_a_run_that_is_expected_becomes_the_one_that_a_step_starts(kind: str, tmp_path: Path) -> None:
    """With what was held for it; of many that start it at once one does."""
    held = 3_600_000
    async with two(kind, tmp_path, *ALL, awaited, BEGINS, READS_AWAITED) as pair:
        a, b = pair.both
        keys = []
        for name in "xyz":
            event = EventArrived(id=1, name="go", body=name)
            expected = (await a.engine.signal_named(SERVER, "awaited", name, event, hold=held)).run
            keys.append(expected.key)
            assert expected.status == RunStatus.EXPECTED
            assert await ask(b, "reads awaited", to=name) == "no such run", "it is not there yet"
            got = await asyncio.gather(*(ask(at, "begins", to=name) for at in pair.both * 3))
            assert Counter(isinstance(each, dict) for each in got) == {True: 1, False: 5}
            assert next(each["run"] for each in got if isinstance(each, dict)) == a.engine.codec.run_id(expected.key)
            steps = await b.engine.steps(SERVER, expected.key)
            assert [(row.slot, row.output) for row in steps[1:]] == [("w", name), ("u", None)], (
                "the event was there before the run"
            )
            await b.engine.signal(SERVER, expected.key, Merge(must_leave=True))
            await a.ended(expected.key)
        assert await pair.store.timers(2**62, 9) == []
        again = await ask(a, "begins", to="x")
        assert key_of(a, again["run"]) not in keys, "it has ended, and its name is free"


@case
async def test_a_run_that_was_expected_and_is_not_started_leaves_its_name(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, *ALL, awaited, BEGINS) as pair:
        event = EventArrived(id=1, name="go", body=1)
        expected = (await pair.a.engine.signal_named(SERVER, "awaited", "x", event, hold=3_600_000)).run
        await pair.b.engine._end_placeholder(expected.key)
        run = key_of(pair.b, (await ask(pair.a, "begins"))["run"])
        assert run != expected.key
        assert await status(pair.b, run) == RunStatus.RUNNING


def starts_and_takes() -> Process:
    """Starts a run that comes into a queue, takes the first of that queue, and reads what it started."""
    graph = Graph("starts").find("m", "placed", TO, "t", does="start", given=look(lambda scene: scene.input, "$start"))
    graph.take("t", "line", "k", "f").find("f", "placed", TO, on_failure=CAUGHT)
    return caught(graph)


def takes_and_starts() -> Process:
    graph = Graph("takes").take("t", "line", "k", "f")
    return caught(graph.find("f", "placed", TO, does="start", given=look(lambda scene: scene.input, "$start"), on_failure=CAUGHT))


def placed() -> Process:
    return Graph("placed").wait("q", on_event("line", key="k", offers=lambda scene: scene.input["to"])).build()


@case
async def test_a_start_by_name_and_a_place_in_a_queue_in_one_transition(kind: str, tmp_path: Path) -> None:
    """What was decided on comes in the order of the decisions: the one that was first in the queue when the step looked is taken,
    and the one that is started comes behind it."""
    async with two(kind, tmp_path, *ALL, placed, starts_and_takes, takes_and_starts) as pair:
        a, b = pair.both
        first = await begin(a, "placed", "first", to="first")
        run = await begin(b, "starts", to="own")
        told = await b.ended(run)
        steps = {step.slot: step for step in await a.engine.steps(SERVER, run)}
        assert steps["t"].output["data"] == "first"
        assert await status(a, first) == RunStatus.COMPLETED
        assert told["status"] == "RUNNING"
        assert told["run"] == steps["m"].output["run"]
        taking = await begin(a, "takes", to="next")
        assert isinstance(await a.ended(taking), dict)
        assert await status(b, key_of(b, told["run"])) == RunStatus.COMPLETED, "the one that was started has its turn"
        taking = await begin(b, "takes", to="last")
        await b.ended(taking)
        assert [row.run for row in await pair.store.waiting("default", "line", "k", 9)] == [
            (await pair.store.run_keys("default", "key", "placed", "last", True))[0]
        ]


@case
async def test_a_run_that_is_taken_and_signalled_in_one_transition(kind: str, tmp_path: Path) -> None:
    """It is taken, and then it is not there any more for what is sent by name: that waits until it has been taken."""
    graph = Graph("both ways").take("t", "line", "k", "f")
    graph.find("f", "placed", TO, does="signal", signal=Pause(), on_failure=CAUGHT)
    built = caught(graph)
    async with two(kind, tmp_path, *ALL, placed, lambda: built) as pair:
        one = await begin(pair.a, "placed", "x", to="x")
        assert await ask(pair.b, "both ways", to="x") == "no such run"
        assert await status(pair.a, one) == RunStatus.COMPLETED


@case
async def test_a_start_that_the_process_refuses_leaves_nothing(kind: str, tmp_path: Path) -> None:
    tries = finder("tries", "start", "refuses", given="refused")
    async with two(kind, tmp_path, *ALL, refuses, tries) as pair:
        assert [await ask(at, "tries") for at in pair.both] == ["not accepted"] * 2
        assert await pair.store.run_keys("default", "key", "refuses", "x", False) == []
        assert await pair.store.runs("default", process="refuses") == []


async def test_runs_of_other_namespaces_are_not_reached(tmp_path: Path) -> None:
    async with living(tmp_path, *ALL) as at:
        other = Caller("other")
        await at.engine.define(other, "process", "shapes", "counter", 1, b'"counter"')
        await at.engine.start(other, StartCommand(process="counter", input={}, key="x", on_same_key="fail if live"))
        assert [await ask(at, name) for name in ("read", "adds")] == ["no such run"] * 2
        assert isinstance(await ask(at, "make"), dict)


@case
@pytest.mark.parametrize("seed", range(3))
async def test_sums_stay_exact_when_all_goes_on_at_once(kind: str, seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    async with two(kind, tmp_path, *ALL) as pair:
        for name in "xy":
            await begin(pair.a, "counter", name)
        names = [rng.choice("xyz") for _ in range(60)]
        got: list[Any] = []
        for few in range(0, 60, 12):
            got += await asyncio.gather(*(ask(rng.choice(pair.both), "adds", to=name) for name in names[few : few + 12]))
        told = Counter(name for name, each in zip(names, got, strict=True) if isinstance(each, dict))
        assert {each for each in got if isinstance(each, str)} <= {"no such run"}
        assert told == Counter(name for name in names if name != "z")
        assert [await sum_of(pair.b, name) for name in "xy"] == [told["x"], told["y"]]


async def test_lost_commits_and_a_cold_cache_change_nothing(tmp_path: Path) -> None:
    async with living(tmp_path, *ALL, wrap=lambda inner: losing(inner, 5, 0.3), cache_bytes=1) as at:
        made = [ask(at, "make") for _ in range(4)]
        assert Counter(isinstance(each, dict) for each in await asyncio.gather(*made)) == {True: 1, False: 3}
        for _ in range(5):
            assert all(isinstance(each, dict) for each in await asyncio.gather(*(ask(at, "adds") for _ in range(6))))
        assert await sum_of(at) == 30
        assert cast(LosingStore, at.store).lost > 0
