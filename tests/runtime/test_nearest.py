"""Threads through the engine's parts and a real store: what their expressions read is their own, and read together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.kernel.graphs import Graph, look, out
from tests.runtime.harness import rig

from pelton.kernel.model.process import Process
from pelton.kernel.model.state import OpenStep, Run
from pelton.store.sqlite.store import SqliteStore


class Counting(SqliteStore):
    """Counts how often it is asked."""

    asked = 0

    async def read(self, run: Run, keys: Sequence[Any]) -> list[Any]:
        self.asked += 1
        return await super().read(run, keys)


def parallel() -> Process:
    graph = Graph("parallel").work("before", "l").scope("l", "x", "z", items=[1, 2, 3], parallel=True).work("z", input=out("x"))
    graph.work("x", "y", queue="q")
    return graph.work("y", input=look(lambda c: [output(c, "before"), output(c, "x"), c.item("l")], "before", "x", "l")).build()


def output(scene: Any, slot: str) -> Any:
    row = scene.newest(slot)
    return row.output if row is not None else None


async def test_threads_read_their_own_in_a_few_rounds_whatever_is_in_memory(tmp_path: Path) -> None:
    stores: list[Counting] = []

    def counting(store: Any) -> Counting:
        stores.append(Counting(tmp_path / "counted.db", "relaxed"))
        return stores[0]

    async with rig(tmp_path, wrap=counting) as each:
        run = (await each.begin(await each.define(parallel))).key
        await each.report(run, "before", "b")
        rows: list[OpenStep] = sorted((row for row in await each.open_rows(run) if row.slot == "x"), key=lambda row: row.thread)
        asked = []
        for row in rows:
            each.cold()
            before = stores[0].asked
            await each.report(run, n=row.n, output=f"x of {row.thread}")
            asked.append(stores[0].asked - before)
        found = sorted((row for row in await each.open_rows(run) if row.slot == "y"), key=lambda row: row.thread)
        assert [row.input for row in found] == [["b", f"x of {no}", no] for no in (1, 2, 3)]
        assert max(asked) <= 4
        each.cold()
        for row in found:
            await each.report(run, n=row.n)
        assert [row.input for row in await each.open_rows(run)] == ["x of 3"]
