"""A small runtime for tests: the real store, the real committer, and processes built in Python instead of a language."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec import json
from tests.patience import happens

from pelton.errors import PeltonError
from pelton.kernel.matching.handlers import Handler
from pelton.kernel.model.process import Process
from pelton.kernel.model.reads import OpenKey
from pelton.kernel.model.signals import Report, Start
from pelton.kernel.model.state import OpenStep, Run, Step
from pelton.runtime.api import ActionContext, Applied, Command
from pelton.runtime.commit.committer import Committer
from pelton.runtime.commit.requests import StartRequest
from pelton.runtime.ids import IdCodec, KeyClock
from pelton.runtime.names import KEY_KIND
from pelton.store.group import Committed, Group
from pelton.store.port import Store
from pelton.store.rows import DefinitionRow, EventRow, RunKeyRow
from pelton.store.sqlite.store import SqliteStore


class Shapes:
    """A language whose definitions are the names of processes that the test has built."""

    name = "shapes"

    def __init__(self) -> None:
        self.processes: dict[str, Callable[[], Process]] = {}
        self.handlers: dict[str, Callable[[DefinitionRow], Handler]] = {}

    def bind(self, row: DefinitionRow, refer: Callable[[str, str, int], DefinitionRow | None]) -> bytes:
        return row.body

    def compile(self, name: str, version: int, body: bytes, definition: int) -> Process:
        process = self.processes[json.decode(body)]()
        process.version, process.definition, process.language = version, definition, self.name
        return process

    def payload(self, event: EventRow) -> Any:
        return event.body

    def handler(self, row: DefinitionRow) -> Handler:
        return self.handlers[row.name](row)


class Rig:
    def __init__(self, store: Store, shapes: Shapes, **options: Any) -> None:
        self.store = store
        self.codec = IdCodec(store.secret)
        self.keys = KeyClock(store.now)
        self.committer = Committer(store, self.codec, self.keys, **options)
        self.shapes = shapes
        self.committer.workspace.definitions.add_language(shapes)

    async def define(self, process: Callable[[], Process], name: str = "") -> Process:
        built = process()
        name = name or built.name
        self.shapes.processes[name] = process
        await self.committer.workspace.definitions.define("default", "process", "shapes", name, 1, json.encode(name))
        await self.committer.workspace.pauses.prepare(("default", name))
        return await self.committer.workspace.definitions.bind("default", name)

    async def handle(self, name: str, compile_row: Callable[[DefinitionRow], Handler]) -> None:
        self.shapes.handlers[name] = compile_row
        await self.committer.workspace.definitions.define(
            "default", "handler", "shapes", name, 1, json.encode([name, self.keys()])
        )

    def begin(self, process: Process, value: Any = None, key: int = 0, alone: str = "") -> asyncio.Future[Run]:
        """`alone`: a name that it has while it lives."""
        future: asyncio.Future[Run] = asyncio.get_running_loop().create_future()

        def done(job: StartRequest) -> None:
            if job.error is not None:
                future.set_exception(job.error)
            else:
                assert job.head is not None
                future.set_result(job.head)

        signal = Start(key=key or self.keys(), ns="default", definition=process.definition, input=value)
        names = [RunKeyRow("default", KEY_KIND, process.name, alone, signal.key, True)] if alone else []
        self.committer.enqueue(StartRequest(signal, process, names, done, frees=bool(alone)))
        return future

    async def open_rows(self, run: int) -> list[OpenStep]:
        head = await self.store.head(run)
        assert head is not None
        rows: list[OpenStep] = (await self.store.read(head, [OpenKey()]))[0]
        return rows

    async def report(self, run: int, slot: str = "", output: Any = None, **more: Any) -> Applied:
        return await self.committer.submit(run, Report(slot=slot, output=output, **more))

    async def rows(self, run: int) -> list[OpenStep | Step]:
        head = await self.store.head(run)
        assert head is not None
        return await self.store.steps(head, -1, 10_000)

    def cold(self) -> None:
        """Forgets every run, as another server would not know it."""
        for entry in list(self.committer.workspace.cache._entries.values()):
            assert not entry.pins
            self.committer.workspace.cache.drop(entry)


class Does:
    """An action out of a function."""

    def __init__(self, plan: Callable[[ActionContext], Sequence[Command]], name: str = "does", records: str = "") -> None:
        self.name = name
        self.records = records
        self._plan = plan

    def plan(self, context: ActionContext) -> Sequence[Command]:
        return self._plan(context)


def handles(
    kind: str, *plans: Callable[[ActionContext], Sequence[Command]], when: Any = None, records: str = ""
) -> Callable[[DefinitionRow], Handler]:
    """What compiles a handler of events of that type."""

    def compile_row(row: DefinitionRow) -> Handler:
        actions = tuple(Does(plan, records=records) for plan in plans)
        return Handler(id=row.id, ns=row.ns, name=row.name, types=(kind,), filter=when, actions=actions, language="shapes")

    return compile_row


@asynccontextmanager
async def rig(
    path: Path, wrap: Callable[[Store], Store] | None = None, shapes: Shapes | None = None, **options: Any
) -> AsyncIterator[Rig]:
    store: Store = SqliteStore(path / "pelton.db", "relaxed")
    if wrap is not None:
        store = wrap(store)
    await store.open()
    made = Rig(store, shapes or Shapes(), **options)
    try:
        yield made
    finally:
        await made.committer.stop(1.0)
        await store.close()


class Wrapped:
    """A store that does what another one does, but for what a test changes."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Gate(Wrapped):
    """Commits wait while the gate is shut, and fail or are lost when the test says so."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.open_gate = asyncio.Event()
        self.open_gate.set()
        self.lose: Callable[[Group], str] = lambda group: ""
        self.fail: list[Exception] = []
        self.batches: list[Sequence[Group]] = []
        self.before: Callable[[], Awaitable[None]] | None = None  # runs once, just before the next commit

    async def commit(self, groups: Sequence[Group]) -> list[Committed]:
        self.batches.append(groups)
        await self.open_gate.wait()
        if self.fail:
            raise self.fail.pop(0)
        if self.before is not None:
            before, self.before = self.before, None
            await before()
        reasons = [self.lose(group) for group in groups]
        kept = [group for group, reason in zip(groups, reasons, strict=True) if not reason]
        done = {result.number: result for result in (await self.inner.commit(kept) if kept else [])}
        return [
            done[group.number] if not reason else Committed(group.number, False, reason)
            for group, reason in zip(groups, reasons, strict=True)
        ]


async def until(condition: Callable[[], bool]) -> None:
    """Lets the loop turn until the condition holds."""
    await happens(condition, look=0)


async def code_of(future: asyncio.Future[Any]) -> str:
    try:
        await future
    except PeltonError as error:
        return error.code
    return ""
