"""Random stories on the real store: whatever is lost, repeated, forgotten or restarted, the rows obey the rules at the end."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
from hypothesis import given
from hypothesis import strategies as st
from tests.exploring import examples
from tests.kernel.graphs import Graph, look, on_event, out, outside
from tests.runtime.harness import Shapes, handles
from tests.runtime.living import Living, living

from pelton.errors import PeltonError
from pelton.kernel.model.process import Process
from pelton.kernel.model.reads import OpenKey
from pelton.kernel.model.signals import EventArrived, Report, Terminate
from pelton.kernel.model.state import Bit, OpenStep, Run, RunStatus, State, Step
from pelton.runtime.api import CorrelateCommand, EventIn, StartCommand
from pelton.runtime.caller import SERVER
from pelton.store.port import Store
from pelton.testing.losing_store import losing

HOUR = 3_600_000
EXPECTED_CODES = frozenset({"ended", "no step", "step ended", "invalid", "conflict"})
FIXED = examples(14)

given_key = look(lambda scene: scene.newest("$start").output, "$start")  # type: ignore[union-attr]


def waits() -> Process:
    return Graph("waits").wait("w", on_event("e", key=given_key), outside()).build()


def parent() -> Process:
    return (
        Graph("parent")
        .call("c", "waits", "last", input=given_key)
        .wait("last", on_event("e", key=given_key), input=out("c"))
        .build()
    )


def taker() -> Process:
    """Takes two events of its key, side by side, and then a third."""
    graph = (
        Graph("taker").fork("f", "a", "b", "j").wait("a", on_event("e", key=given_key)).wait("b", on_event("e", key=given_key))
    )
    return graph.join("j", "a", "b", to="third").wait("third", on_event("e", key=given_key)).build()


def named() -> Process:
    return Graph("named").wait("w", on_event("go"), to="last").wait("last", outside()).build()


PROCESSES: tuple[Callable[[], Process], ...] = (waits, parent, taker, named)

keys = st.sampled_from(["k", "l"])
operations = st.one_of(
    st.tuples(st.just("start"), st.sampled_from(["waits", "parent", "taker"]), keys),
    st.tuples(st.just("post"), st.sampled_from(["one", "one", "all"]), keys),
    st.tuples(st.just("event"), st.integers(0, 5), keys),  # with an id: the same one may come again
    st.tuples(st.just("send"), st.integers(0, 2), st.just("")),
    st.tuples(st.just("begin"), st.integers(0, 2), st.just("")),
    st.tuples(st.just("end"), st.integers(0, 9), st.just("")),
    st.tuples(st.just("skip"), st.integers(0, 9), st.just("")),
)
stories = st.lists(st.lists(operations, min_size=1, max_size=8), min_size=1, max_size=4)


class Story:
    """What was asked for and answered, so that the rows can be held against it."""

    def __init__(self) -> None:
        self.posts = 0
        self.copies: set[int] = set()  # bodies of events that are for all who wait
        self.runs: list[int] = []
        self.shapes = Shapes()
        self.shapes.handlers["h"] = handles(
            "t", lambda context: [CorrelateCommand(name="e", key=context.payload["key"], body=context.payload["id"], hold=HOUR)]
        )

    async def do(self, at: Living, operation: tuple[Any, ...]) -> None:
        kind, what, key = operation
        engine = at.engine
        try:
            if kind == "start":
                self.runs.append((await engine.start(SERVER, StartCommand(process=what, input=key))).key)
            elif kind == "post":
                self.posts += 1
                body = 1000 + self.posts
                if what == "all":
                    self.copies.add(body)
                await engine.correlate(SERVER, CorrelateCommand(name="e", key=key, body=body, hold=HOUR, mode=what))
            elif kind == "event":
                await engine.ingest(
                    SERVER, [EventIn(source="s", type="t", id=f"{what}-{key}", body={"key": key, "id": f"{what}-{key}"})]
                )
            elif kind == "send":
                event = EventArrived(id=what, name="go", body=what)
                await engine.signal_named(SERVER, "named", f"n{what}", event, hold=HOUR)
            elif kind == "begin":
                await engine.start(SERVER, StartCommand(process="named", key=f"n{what}", on_same_key="return"))
            elif self.runs:
                run = self.runs[what % len(self.runs)]
                signal: Any = Terminate() if kind == "end" else Report(slot="w", output=-1)
                await engine.signal(SERVER, run, signal)
        except PeltonError as error:
            if error.code not in EXPECTED_CODES:
                raise

    async def play(self, path: Path, story: list[list[tuple[Any, ...]]], **options: Any) -> None:
        for place, together in enumerate(story):
            async with living(path, *PROCESSES, shapes=self.shapes, **options) as at:
                if not place:
                    await at.engine.define(SERVER, "handler", "shapes", "h", 1, b'"h"')
                await asyncio.gather(*(self.do(at, operation) for operation in together))
                await at.quiet()
                if place == len(story) - 1:
                    await check(at, self)
        check_tables(path)


async def check(at: Living, story: Story) -> None:
    taken: Counter[Any] = Counter()
    waiting: set[str] = set()
    for run in await at.store.runs("default", limit=1000):
        rows = await at.store.steps(run, -1, 1000)
        opened: list[OpenStep] = (await at.store.read(run, [OpenKey()]))[0]
        check_run(run, rows, opened)
        taken.update(row.output for row in rows if isinstance(row, Step) and row.slot in TAKERS and row.output not in (None, -1))
        waiting |= {str(key) for row in opened for key in (row.waits or {}).values() if row.bits & Bit.KEYED}
        if run.parent:
            await check_child(at, run)
        assert len(await at.store.held_for(run.key, 1000)) == run.held
    held = [row for row in await at.engine.held(SERVER, 1000) if row.run == 0]
    assert not waiting & {row.key for row in held}, "an event and a wait that could take it both rest"
    twice = {body for body, count in taken.items() if count > 1} - story.copies
    assert not twice, f"taken twice: {twice}"
    assert not {row.body for row in held} & set(taken), "held, and taken too"


TAKERS = frozenset({"w", "last", "a", "b", "third"})


def check_run(run: Run, rows: list[OpenStep | Step], opened: list[OpenStep]) -> None:
    numbers = [row.n for row in rows]
    assert len(set(numbers)) == len(numbers), "a number was used twice"
    assert run.open == len(opened)
    assert RunStatus(run.status).ended == (not opened)
    assert (run.ended > 0) == RunStatus(run.status).ended
    assert all(row.n < run.next_n for row in rows)
    ended = {row.slot for row in rows if isinstance(row, Step)}
    for row in opened:
        if row.state == State.JOIN:
            assert row.left == 2 - len(ended & {"a", "b"})
        elif row.state == State.WAIT:
            assert row.slot in TAKERS
        else:
            assert row.state == State.CALL, f"nothing ends {row}"


async def check_child(at: Living, child: Run) -> None:
    parent = await at.store.head(child.parent)
    assert parent is not None
    (call,) = await at.store.read(parent, [OpenKey()])
    calling = [row for row in call if row.state == State.CALL and row.child == child.key]
    assert bool(calling) == (not RunStatus(child.status).ended), "a child and the step that awaits it disagree"


def check_tables(path: Path) -> None:
    """What belongs to a step or run goes with it."""
    db = apsw.Connection(str(path / "pelton.db"), flags=apsw.SQLITE_OPEN_READONLY)
    for sql in (
        "SELECT * FROM wait_key w WHERE NOT EXISTS (SELECT 1 FROM open o WHERE o.run = w.run AND o.n = w.n)",
        "SELECT * FROM timer t WHERE NOT EXISTS (SELECT 1 FROM run r WHERE r.key = t.run)",
        "SELECT * FROM held h WHERE h.run <> 0 AND NOT EXISTS (SELECT 1 FROM run r WHERE r.key = h.run)",
        "SELECT * FROM open o WHERE NOT EXISTS (SELECT 1 FROM run r WHERE r.key = o.run)",
        "SELECT * FROM run r WHERE length(r.head) > 300",
    ):
        assert not db.execute(sql).fetchall(), sql
    db.close()


def telling(path: Path) -> list[Any]:
    """Every row, with keys by their rank: the same for two plays of a story that ran in the same order."""
    db = apsw.Connection(str(path / "pelton.db"), flags=apsw.SQLITE_OPEN_READONLY)
    ranks = {key: rank for rank, (key,) in enumerate(db.execute("SELECT key FROM run ORDER BY key").fetchall())}
    tables = (
        "SELECT key, live, rev FROM run",
        "SELECT run, n, slot, scope, it FROM open",
        "SELECT run, n, slot, scope, it FROM step",
        "SELECT run, n, name, key FROM wait_key",
        "SELECT run, name, key, 0 FROM held",
        "SELECT run, kind, text, live FROM run_key",
    )
    told = [sorted((ranks.get(row[0], -1), *row[1:]) for row in db.execute(sql).fetchall()) for sql in tables]
    db.close()
    return told


def lossy(seed: int) -> Callable[[Store], Store]:
    return lambda inner: losing(inner, seed, 0.2)


@FIXED
@given(story=stories, seed=st.integers(0, 1000), cold=st.booleans())
def test_the_rows_of_any_story_obey_the_rules(story: list[list[tuple[Any, ...]]], seed: int, cold: bool) -> None:
    with tempfile.TemporaryDirectory() as place:
        options = {"cache_bytes": 1} if cold else {}
        asyncio.run(Story().play(Path(place), story, wrap=lossy(seed), **options))


@FIXED
@given(story=st.lists(operations, min_size=1, max_size=14), seed=st.integers(0, 1000))
def test_a_cold_cache_and_lost_races_give_the_rows_of_a_warm_one(story: list[tuple[Any, ...]], seed: int) -> None:
    async def play(place: str, **options: Any) -> list[Any]:
        mine = Story()
        async with living(Path(place), *PROCESSES, shapes=mine.shapes, **options) as at:
            await at.engine.define(SERVER, "handler", "shapes", "h", 1, b'"h"')
            for operation in story:
                if options:
                    at.forget()
                await mine.do(at, operation)
        return telling(Path(place))

    with tempfile.TemporaryDirectory() as warm, tempfile.TemporaryDirectory() as cold:
        told = asyncio.run(play(warm))
        assert asyncio.run(play(cold, cache_bytes=1, wrap=lossy(seed))) == told


def test_runs_that_end_beside_events_for_their_waits_come_to_rest() -> None:
    """With nothing kept in memory, and a fifth of all groups lost: what each signal reads has to come to an end."""
    together = [
        ("post", "all", "l"), ("end", 9, ""), ("post", "all", "k"), ("begin", 0, ""), ("end", 8, ""), ("begin", 1, ""),
        ("begin", 0, ""), ("end", 2, ""),
    ]  # fmt: skip
    story: list[list[tuple[Any, ...]]] = [[("start", "taker", "l"), ("start", "parent", "k")], together]
    for _ in range(10):  # the order in which commits and reads end is never the same
        with tempfile.TemporaryDirectory() as place:
            asyncio.run(Story().play(Path(place), story, wrap=lossy(827), cache_bytes=1))
