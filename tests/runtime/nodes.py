"""Two engines on one store object, as two servers on one database: each with a cache, a clock and a number of its own.

What only a database of many clients can show is not here, and is to be tried where there is one: that a commit's notification
wakes the other server (LISTEN and NOTIFY); that a lock goes with the session of a server that has died; that timers and
claims pass over rows which another server has locked (SKIP LOCKED); that a connection lost in the middle of a commit is told from
one lost before; and that a lane's numbers come from the lane's row while two transactions are open.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from tests.runtime.harness import Shapes, Wrapped
from tests.runtime.living import Living

from pelton.kernel.model.process import Process
from pelton.runtime.engine import LocalEngine
from pelton.store.group import Committed, Group
from pelton.store.memory.store import MemoryStore
from pelton.store.port import Store, StoreFailed
from pelton.store.sqlite.store import SqliteStore

STORES = ("memory", "sqlite")


class Seat(Wrapped):
    """One engine's way to the store that they share. `offset`: milliseconds that its clock is ahead."""

    shared = True

    def __init__(self, inner: Store, offset: int = 0) -> None:
        super().__init__(inner)
        self.offset = offset
        self.unsure = 0  # commits to come that are written and reported as failed
        self.frozen: asyncio.Event | None = None  # commits wait for it: the engine does not get to run
        self.before: Callable[[], Awaitable[None]] | None = None  # runs once, just before the next commit

    def now(self) -> int:
        return self.inner.now() + self.offset

    async def commit(self, groups: Sequence[Group], *more: Any, **options: Any) -> list[Committed]:
        if self.frozen is not None:
            await self.frozen.wait()
        if self.before is not None:
            before, self.before = self.before, None
            await before()
        done = await self.inner.commit(groups, *more, **options)
        if self.unsure:
            self.unsure -= 1
            raise StoreFailed("the connection was lost")
        return done


class Pair:
    def __init__(self, store: Store, shapes: Shapes) -> None:
        self.store = store
        self.shapes = shapes
        self.a: Living
        self.b: Living

    @property
    def both(self) -> tuple[Living, Living]:
        return self.a, self.b


def seat(at: Living) -> Seat:
    return cast(Seat, at.store)


def node(
    store: Store, shapes: Shapes, *, offset: int = 0, prepare: Callable[[LocalEngine], None] | None = None, **options: Any
) -> Living:
    """One more engine on the store, not opened yet."""
    sits = cast(Store, Seat(store, offset))
    engine = LocalEngine(sits, **options)
    engine.add_language(shapes)
    if prepare is not None:
        prepare(engine)
    return Living(sits, engine, shapes)


@asynccontextmanager
async def two(
    kind: str,
    path: Path,
    *processes: Callable[[], Process],
    offset: int = 0,
    shapes: Shapes | None = None,
    options: Callable[[], dict[str, Any]] = dict,
    **more: Any,
) -> AsyncIterator[Pair]:
    """Both engines opened, with the processes defined. `options()`: for each engine its own."""
    store: Store = MemoryStore() if kind == "memory" else SqliteStore(path / "pelton.db", "relaxed")
    await store.open()
    pair = Pair(store, shapes or Shapes())
    for build in processes:
        pair.shapes.processes[build().name] = build
    pair.a = node(store, pair.shapes, node=1, instance="a", **more, **options())
    pair.b = node(store, pair.shapes, node=2, instance="b", offset=offset, **more, **options())
    try:
        for at in pair.both:
            await at.engine.open()
        for build in processes:
            await pair.a.define(build)
        yield pair
    finally:
        for at in pair.both:
            if (frozen := cast(Seat, at.store).frozen) is not None:
                frozen.set()
            await at.engine.close(1.0)
        await store.close()
