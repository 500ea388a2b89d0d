"""Each task that the code starts is made to fail, as it really runs: that ends the one job, or the server with its reason.

The tasks are found in the code: one of a new kind is tried as well, or has to be put into one of the tables here.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
from msgspec import json
from tests.kernel.graphs import Graph, after
from tests.patience import PATIENCE, happens
from tests.runtime.harness import Shapes, handles
from tests.runtime.living import Living
from tests.runtime.nodes import Seat
from tests.source import PACKAGE

from pelton.connectors.registry import Connectors
from pelton.errors import PeltonError
from pelton.kernel.model.process import Process
from pelton.kernel.model.signals import Report
from pelton.runtime import supervision
from pelton.runtime.api import ClaimRequest, EventIn, StartCommand, WorkItem
from pelton.runtime.caller import SERVER
from pelton.runtime.engine import LocalEngine
from pelton.runtime.supervision import OwnedTasks, Supervisor, insist
from pelton.store.memory.store import MemoryStore
from pelton.store.port import Store
from pelton.store.retention import Keep
from pelton.testing import MemoryConnector

BROKEN = "broken on purpose"
OWNERS = ("_tasks", "_pollers", "_agent", "committer")
ONE = "one job"
INSISTS = "is tried again until it succeeds"
# Jobs that may fail alone, and why nothing else waits for them.
ALONE = {
    ("runtime/commit/committer.py", "work"): "of whoever calls it: see the others",
    ("runtime/commit/pending_signals.py", "recover"): INSISTS,
    ("runtime/delivery/sources.py", "_give_up"): "waits for what was received, and closes the address",
    ("runtime/delivery/sources.py", "_acknowledge"): "what is not acknowledged comes again, and is known",
    ("runtime/engine.py", "recover"): INSISTS,
    ("runtime/engine.py", "look"): INSISTS,
    ("runtime/events/fan_out.py", "_park"): ONE,
    ("runtime/events/fan_out.py", "_carry_out"): "gives its own trouble up after some tries, and lets the next one begin",
    ("runtime/work/queue.py", "_release_leased"): INSISTS,
    ("runtime/work/queue.py", "_read_limit"): INSISTS,
    ("runtime/work/queue.py", "_look_at"): INSISTS,
    ("runtime/work/runner.py", "_work"): "its lease ends, and the work is handed out again",
}
# Jobs that others rely on which an ordinary day does not come to; the way in which they are started is tried.
RARE = {
    ("runtime/commit/committer.py", "_look"): "after a change of definitions by another server",
    ("runtime/delivery/outbox.py", "_refill"): "with more messages than are kept in memory",
    ("runtime/events/fan_out.py", "_read_on"): "with more jobs than are kept in memory",
    ("runtime/timing/due_queue.py", "_look"): "with more timers than are kept in memory",
}
# Tasks as long as the server's life that are not the engine's: `tests/server/test_supervision.py` has them.
ELSEWHERE = {("server/lifecycle.py", "beat")}


class Started(NamedTuple):
    module: str
    owner: str  # class
    way: str  # spawn | spawn_vital | keep
    job: str

    @property
    def place(self) -> tuple[str, str]:
        return self.module, self.job


def started(source: str, module: str) -> list[Started]:
    """Every start of a task through its owner."""
    found = []
    for block in ast.walk(ast.parse(source)):
        if not isinstance(block, ast.ClassDef):
            continue
        for node in ast.walk(block):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WAYS and node.args:
                owner = node.func.value
                if isinstance(owner, ast.Attribute) and owner.attr in OWNERS:
                    found.append(Started(module, block.name, node.func.attr, job_of(node.args[0])))
    return found


WAYS = {"spawn", "spawn_vital", "keep"}


def job_of(node: ast.expr) -> str:
    """What the coroutine is made of: of `insist` the call that it insists on."""
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name) and node.func.id == "insist":
            return job_of(node.args[1])
        if isinstance(node.func, ast.Name) and node.func.id == "partial":
            return job_of(node.args[0])
        return job_of(node.func)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ast.unparse(node)


ALL = sorted({
    each for file in PACKAGE.rglob("*.py") if file.name != "supervision.py"
    for each in started(file.read_text("utf-8"), str(file.relative_to(PACKAGE)))
})  # fmt: skip
STRICT = [each for each in ALL if each.way != "spawn" and each.place not in RARE and each.place not in ELSEWHERE]
name_of = "{0.owner}.{0.job}".format


def test_the_code_is_searched_for_all_ways_and_owners() -> None:
    source = """
class A:
    def go(self):
        self._tasks.keep(self._run(), "x")
        self._tasks.spawn(insist("y", partial(self._look, 1)), "y")
        self.list.keep(1)
"""
    assert started(source, "m") == [Started("m", "A", "keep", "_run"), Started("m", "A", "spawn", "_look")]
    modules = {str(file.relative_to(PACKAGE)) for file in PACKAGE.rglob("*.py") if "OwnedTasks(" in file.read_text("utf-8")}
    assert modules - {"runtime/supervision.py"} <= {each.module for each in ALL}


def test_each_job_that_may_fail_alone_is_known_here_with_the_reason() -> None:
    assert {each.place for each in ALL if each.way == "spawn"} == set(ALONE)
    assert set(RARE) | ELSEWHERE <= {each.place for each in ALL if each.way != "spawn"}


def test_what_is_insisted_on_is_started_so() -> None:
    for module, job in (place for place, why in ALONE.items() if why == INSISTS):
        source = (PACKAGE / module).read_text("utf-8")
        calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
        insisting = [job_of(node) for node in calls if isinstance(node.func, ast.Name) and node.func.id == "insist"]
        assert job in insisting, f"{module}: {job} is not insisted on"


async def broken(*_: object, **__: object) -> None:
    raise RuntimeError(BROKEN)


def everything() -> Process:
    """A run that is worked on by the server and by a worker, sends a message, and waits for a time."""
    graph = Graph("everything").work("double", "work", queue="@double").work("work", "tell", queue="q")
    return graph.emit("tell", "memory:somewhere", 1, "late").wait("late", after(1)).build()


@asynccontextmanager
async def day(path: Path) -> AsyncIterator[Living]:
    """An engine on a shared store that has everything to do; `live` lets it do so."""
    store = MemoryStore()
    await store.open()
    seat = cast(Store, Seat(store))
    keep = {"events": Keep(1_000)}
    engine = LocalEngine(seat, node=1, instance="a", connectors=Connectors([MemoryConnector()]), keep=cast(Any, keep))
    at = Living(seat, engine, Shapes())
    engine.add_language(at.shapes)
    at.shapes.processes["everything"] = everything
    for name, kind in (("h", "memory:somewhere"), ("late", "run.late"), ("end", "run.ended")):
        at.shapes.handlers[name] = handles(kind, lambda context: [StartCommand(process="last")])
    at.shapes.processes["last"] = Graph("last").wait("w", after(1)).build

    async def double(item: WorkItem) -> Report:
        return Report(n=item.step.n, output=2)

    engine.add_operation("double", double)
    try:
        yield at
    finally:
        with contextlib.suppress(Exception, asyncio.TimeoutError):
            await asyncio.wait_for(engine.close(0.1), PATIENCE)
        await store.close()


async def live(at: Living) -> None:
    engine = at.engine
    await engine.open()
    for name in at.shapes.processes:
        await engine.define(SERVER, "process", "shapes", name, 1, json.encode(name))
    for name in at.shapes.handlers:
        await engine.define(SERVER, "handler", "shapes", name, 1, json.encode(name))
    for number in range(3):
        await engine.start(SERVER, StartCommand(process="everything"))
        for item in await engine.claim(SERVER, ClaimRequest(queues=["q"], wait=2_000, worker="w")):
            await engine.report(SERVER, [(item.run.key, Report(n=item.step.n))])
        await engine.ingest(SERVER, [EventIn(source="s", type="t", id=str(number))])
    await engine.ingest(SERVER, [EventIn(source="s", type="memory:somewhere", id="x")])
    await at.quiet()


@pytest.mark.parametrize("each", STRICT, ids=name_of)
async def test_what_others_rely_on_ends_the_server_with_its_reason(
    each: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("pelton." + each.module.removesuffix(".py").replace("/", "."))
    owner = getattr(module, each.owner)
    async with day(tmp_path) as at:
        monkeypatch.setattr(owner, each.job, broken)
        living = asyncio.ensure_future(live(at))
        try:
            await asyncio.wait_for(at.engine.supervisor.fallen.wait(), PATIENCE)
            assert at.engine.supervisor.failure.endswith(f"RuntimeError: {BROKEN}")
        finally:
            monkeypatch.undo()
            living.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await living


async def test_a_whole_day_ends_nothing(tmp_path: Path) -> None:
    async with day(tmp_path) as at:
        await live(at)
        assert at.engine.supervisor.failure == ""
        assert sum(owner.failures for owner in at.engine.supervisor.owners) == 0


@pytest.mark.parametrize("way", ["spawn_vital", "keep"])
async def test_the_ways_in_which_rare_jobs_are_started_end_the_server(way: str) -> None:
    supervisor = Supervisor()
    with supervisor:
        tasks = OwnedTasks("rare")
    getattr(tasks, way)(broken(), "job")
    await asyncio.wait_for(supervisor.fallen.wait(), PATIENCE)
    assert supervisor.failure == f"rare: job: RuntimeError: {BROKEN}"


async def test_what_is_insisted_on_is_done_when_the_trouble_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "FIRST_DELAY", 0.0)
    tries: list[int] = []

    async def call() -> None:
        tries.append(1)
        if len(tries) < 4:
            raise PeltonError("unavailable", "not now")  # type: ignore[arg-type]

    tasks = OwnedTasks("insistent")
    tasks.spawn(insist("it", call), "it")
    await happens(lambda: len(tries) == 4 and not len(tasks), "it is done")
    assert tasks.failures == 0
