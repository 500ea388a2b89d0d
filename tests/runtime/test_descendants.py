"""A circle with two arms ends: what goes back to one event or run is counted, and has a bound."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import json
from tests.kernel.graphs import Graph
from tests.runtime.harness import Shapes, handles
from tests.runtime.living import Living
from tests.runtime.nodes import STORES, Pair, two

from pelton.connectors.registry import Connectors
from pelton.kernel.model.process import Process
from pelton.runtime.api import EventIn, Ingested, StartCommand
from pelton.runtime.cache.descendants import Descendants
from pelton.runtime.caller import SERVER
from pelton.runtime.engine import LocalEngine
from pelton.store.memory.store import MemoryStore
from pelton.store.port import Store
from pelton.store.rows import DESCENDANTS_SPAN, DescendantsRow, EventRow
from pelton.store.sqlite.store import SqliteStore
from pelton.testing import MemoryConnector

case = pytest.mark.parametrize("kind", STORES)
LIMIT = 40


def tells(name: str, *sinks: str) -> Callable[[], Process]:
    """A run that sends a message to each of the sinks."""

    def build() -> Process:
        graph = Graph(name)
        for number, sink in enumerate(sinks):
            graph.emit(f"m{number}", sink, number, f"m{number + 1}" if number < len(sinks) - 1 else "")
        return graph.build()

    return build


@asynccontextmanager
async def one(kind: str, path: Path, *processes: Callable[[], Process], **options: Any) -> AsyncIterator[Living]:
    """An engine that has its store for itself."""
    store: Store = MemoryStore() if kind == "memory" else SqliteStore(path / "pelton.db", "relaxed")
    await store.open()
    at = Living(store, LocalEngine(store, **{"descendants": LIMIT, **options}), Shapes())
    at.engine.add_language(at.shapes)
    try:
        await at.engine.open()
        for build in processes:
            await at.define(build)
        yield at
    finally:
        await at.engine.close(1.0)
        await store.close()


async def listen(at: Living, kind: str, *starts: str) -> None:
    commands = [StartCommand(process=name) for name in starts]
    at.shapes.handlers[f"on {kind}"] = handles(kind, lambda context: commands)
    await at.engine.define(SERVER, "handler", "shapes", f"on {kind}", 1, json.encode(f"on {kind}"))


async def post(at: Living, kind: str, **more: Any) -> Ingested:
    (posted,) = await at.engine.ingest(SERVER, [EventIn(source="/test", type=kind, **more)])
    assert isinstance(posted, Ingested)
    return posted


async def recorded(at: Living, kind: str = "") -> list[EventRow]:
    return [row for row in await at.store.events("default", limit=10_000) if row.type == kind or not kind]


def over(row: EventRow) -> str:
    """Why it was one too many; "" if it was not."""
    return next((each["detail"] for each in row.effects if "within a day" in each["detail"]), "")


async def counts(at: Living, *ancestors: int) -> list[int]:
    found = [await at.store.descendants("default", ancestor) for ancestor in ancestors]
    return [0 if row is None else row.count for row in found]


@case
async def test_a_circle_with_two_arms_ends_and_says_which(kind: str, tmp_path: Path) -> None:
    async with one(kind, tmp_path, tells("left", "pelton:ding", "pelton:ding")) as at:
        await listen(at, "ding", "left")
        root = await post(at, "ding")
        await at.quiet()
        events = await recorded(at)
        failed = [row for row in events if row.state == "failed"]
        acted = [row for row in events if row.state == "matched"]
        assert len(acted) == LIMIT + 1  # and the root itself
        assert len(failed) == LIMIT + 2  # two of each run that has found no more room
        name = f"event {at.engine.codec.event_id(root.key)} has led to {LIMIT} events and runs within a day; the limit is {LIMIT}"
        for row in failed:
            assert over(row).startswith(name)
            assert [(each["verdict"], each["detail"]) for each in row.decisions] == [("failed", over(row))]
            assert row.ancestor == root.key
        assert await counts(at, root.key) == [LIMIT]


@case
async def test_two_handlers_that_each_tell_the_other_end(kind: str, tmp_path: Path) -> None:
    processes = tells("tick", "pelton:tock", "pelton:tock"), tells("tock", "pelton:tick", "pelton:tick")
    async with one(kind, tmp_path, *processes) as at:
        await listen(at, "tick", "tick")
        await listen(at, "tock", "tock")
        root = await post(at, "tick")
        await at.quiet()
        assert len([row for row in await recorded(at) if row.state == "matched"]) == LIMIT + 1
        assert await counts(at, root.key) == [LIMIT]
        other = await post(at, "tock")  # another event has a budget of its own
        await at.quiet()
        assert await counts(at, other.key) == [LIMIT]


@case
async def test_a_circle_that_begins_with_a_run_ends_for_each_of_its_events(kind: str, tmp_path: Path) -> None:
    async with one(kind, tmp_path, tells("left", "pelton:ding", "pelton:ding")) as at:
        await listen(at, "ding", "left")
        run = (await at.engine.start(SERVER, StartCommand(process="left"))).key
        await at.quiet()
        events = await recorded(at)
        roots = [row.key for row in events if not row.ancestor]
        assert len(roots) == 2  # what a run from outside causes directly is nobody's descendant
        assert {row.ancestor for row in events if row.state == "failed"} == set(roots)
        assert await counts(at, *roots, run, -run) == [LIMIT, LIMIT, 0, 0]


def doubles() -> Process:
    graph = Graph("doubles").call("c1", "doubles", "c2", awaits="nothing")
    return graph.call("c2", "doubles", awaits="nothing").build()


@case
async def test_runs_that_start_one_another_twice_end(kind: str, tmp_path: Path) -> None:
    async with one(kind, tmp_path, doubles) as at:
        top = (await at.engine.start(SERVER, StartCommand(process="doubles"))).key
        await at.quiet()
        runs = await at.store.runs("default", limit=10_000)
        firsts = [-run.key for run in runs if run.hops == 1]
        assert {run.ancestor for run in runs} == {0, *firsts}  # of the first run, and of those that it has started itself, nobody
        assert len(firsts) == 2
        assert await counts(at, *firsts, -top) == [LIMIT, LIMIT, 0]
        assert len(runs) == 2 * LIMIT + 3


@case
async def test_one_event_may_start_many_runs_that_each_tell_something(kind: str, tmp_path: Path) -> None:
    """A wide fan-out is no circle: under the default it goes through."""
    many = 400

    def fans() -> Process:
        return Graph("fans").scope("each", "child", items=list(range(many))).call("child", "leaf", awaits="nothing").build()

    async with one(kind, tmp_path, tells("leaf", "pelton:leaf"), tells("last", "pelton:nothing"), fans, descendants=10_000) as at:
        await listen(at, "go", "fans")
        await listen(at, "leaf", "last")
        root = await post(at, "go")
        await at.quiet()
        leaves = await recorded(at, "leaf")
        assert len(leaves) == many
        assert {row.state for row in leaves} == {"matched"}
        assert {row.ancestor for row in leaves} == {root.key}
        assert await counts(at, root.key) == [2 * many]


@case
async def test_events_that_lead_nowhere_and_plain_ones_cost_no_row(kind: str, tmp_path: Path) -> None:
    async with one(kind, tmp_path, tells("talks", *["pelton:nobody"] * (LIMIT + 3)), tells("leaf", "pelton:nothing")) as at:
        await listen(at, "go", "talks")
        await listen(at, "plain", "leaf")
        root = await post(at, "go")
        plain = await post(at, "plain")
        await at.quiet()
        assert {row.state for row in await recorded(at, "nobody")} == {"unmatched"}
        assert await counts(at, root.key, plain.key) == [0, 0]


@case
async def test_a_circle_through_another_system_ends(kind: str, tmp_path: Path) -> None:
    """The message says what it goes back to, and is ours by its id."""
    connector = MemoryConnector()
    processes = (tells("left", "memory:somewhere", "memory:somewhere"),)
    async with one(kind, tmp_path, *processes, connectors=Connectors([connector])) as at:
        await listen(at, "memory:somewhere", "left")
        await post(at, "memory:somewhere")
        await at.quiet()
        await at.until_found(lambda: failures(at))
        await at.quiet()
        events = await recorded(at, "memory:somewhere")
        assert len([row for row in events if row.state == "matched"]) == LIMIT + 1
        assert max(row.hops for row in events) > 4


async def failures(at: Living) -> Sequence[EventRow]:
    return [row for row in await recorded(at) if row.state == "failed"]


@case
async def test_the_budget_is_one_for_all_servers(kind: str, tmp_path: Path) -> None:
    """Each knows of the others' what it has read: it may be ahead by a sixteenth for each."""
    async with two(kind, tmp_path, tells("left", "pelton:ding", "pelton:ding"), options=lambda: {"descendants": LIMIT}) as pair:
        await listen(pair.a, "ding", "left")
        root = await post(pair.b, "ding")
        await both_quiet(pair)
        acted = [row for row in await recorded(pair.a) if row.state == "matched"]
        assert LIMIT + 1 <= len(acted) <= LIMIT * 1.5
        (count,) = await counts(pair.a, root.key)
        assert count == len(acted) - 1


async def both_quiet(pair: Pair) -> None:
    for at in (*pair.both, *pair.both):
        await at.quiet()


@pytest.mark.parametrize("kind", ["sqlite"])  # of a store in memory nothing is left
async def test_the_count_goes_on_after_a_restart(kind: str, tmp_path: Path) -> None:
    root = 0
    for _ in range(2):
        async with one(kind, tmp_path, tells("left", "pelton:ding", "pelton:ding")) as at:
            await listen(at, "ding", "left")
            posted = await post(at, "ding", id="the one", ancestor=root)
            root = root or posted.key
            await at.quiet()
            assert await counts(at, root) == [LIMIT]


async def test_what_is_remembered_begins_anew_after_a_day_and_is_bounded() -> None:
    store = MemoryStore()
    await store.open()
    known = Descendants(store)
    place = ("default", 7)
    assert known.count(place, 5) is None
    await known.read(place)
    known.add([DescendantsRow(*place, 3, 5)])
    known.add([DescendantsRow(*place, 2, 6)])
    assert known.count(place, DESCENDANTS_SPAN + 4) == 5
    assert known.count(place, DESCENDANTS_SPAN + 5) == 0
    known.add([DescendantsRow(*place, 1, DESCENDANTS_SPAN + 5)])
    assert known.count(place, DESCENDANTS_SPAN + 6) == 1
    known.forget(place)
    assert known.count(place, 5) is None
    known.add([DescendantsRow(*place, 1, 5)])  # a group that was decided before
    assert known.count(place, 5) is None
    await store.close()
