"""An engine on a real store for tests, with what they ask of it again and again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from msgspec import json
from tests.patience import PATIENCE, happens
from tests.runtime.harness import Shapes

from pelton.kernel.model.process import Process
from pelton.runtime.caller import SERVER
from pelton.runtime.engine import LocalEngine
from pelton.store.port import Store
from pelton.store.sqlite.store import SqliteStore

T = TypeVar("T")


class Living:
    def __init__(self, store: Store, engine: LocalEngine, shapes: Shapes) -> None:
        self.store = store
        self.engine = engine
        self.shapes = shapes

    async def define(self, build: Callable[[], Process]) -> None:
        name = build().name
        self.shapes.processes[name] = build
        await self.engine.define(SERVER, "process", "shapes", name, 1, json.encode(name))

    async def ended(self, run: int) -> Any:
        """The run's output, when it has ended."""
        with self.engine.watch(SERVER, run) as watch:
            end = asyncio.get_running_loop().time() + PATIENCE
            while (view := await self.engine.view(SERVER, run)) is None or not view.run.ended:
                assert asyncio.get_running_loop().time() < end, f"run {run} does not end: {await self.engine.steps(SERVER, run)}"
                await watch.changed(1.0)
        assert view.end is not None
        return view.end.output

    async def until(self, condition: Callable[[], bool]) -> None:
        await happens(condition)

    async def until_found(self, look: Callable[[], Awaitable[Sequence[T]]]) -> T:
        found: Sequence[T] = await happens(look)
        return found[0]

    async def quiet(self) -> None:
        """Returns when nothing durable is left to be done: no signals, jobs or deliveries."""

        async def done() -> bool:
            return not (await self.store.pending_signals(1) or await self.store.deliveries(1)) and self.engine.committer.idle

        await happens(done, "nothing is left")

    def forget(self) -> None:
        """What is not pinned, as if another server had the store."""
        committer = self.engine.committer
        for entry in [entry for entry in committer.workspace.cache._entries.values() if not entry.pins]:
            committer.workspace.cache.drop(entry)
        for place in [place for place in committer.workspace.correlations._known.values() if not place.pins]:
            committer.workspace.correlations.drop(place)


@asynccontextmanager
async def living(
    path: Path,
    *processes: Callable[[], Process],
    shapes: Shapes | None = None,
    wrap: Callable[[Store], Store] | None = None,
    prepare: Callable[[LocalEngine], None] | None = None,
    **options: Any,
) -> AsyncIterator[Living]:
    """Opened on `path`, with the processes defined; closed at the end, so that the next one goes on."""
    store: Store = SqliteStore(path / "pelton.db", "relaxed")
    await store.open()
    given = wrap(store) if wrap is not None else store
    engine = LocalEngine(given, **options)
    at = Living(given, engine, shapes or Shapes())
    engine.add_language(at.shapes)
    for build in processes:
        at.shapes.processes[build().name] = build
    if prepare is not None:
        prepare(engine)
    try:
        await engine.open()
        for build in processes:
            await at.define(build)
        yield at
    finally:
        await engine.close(2.0)
        await store.close()
