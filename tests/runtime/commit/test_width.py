"""What one signal to a wide run reads from the store: counted in rows, on SQLite, from a warm cache and from a cold one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.kernel.graphs import Graph, look, on_event, when
from tests.runtime.harness import Rig
from tests.runtime.harness import rig as opened

from pelton.kernel.model.process import Process
from pelton.kernel.model.signals import EventArrived, Report, SetVars, Signal
from pelton.kernel.model.state import OpenStep

WIDTHS = (10, 100, 1_000)
EVENT = EventArrived(id=1, name="go")


def threads() -> Process:
    graph = Graph("wide").body("", v=0).scope("all", "w", items=look(lambda c: list(range(c.input))), parallel=True)
    graph.wait("w", on_event("go"), when(lambda c: c.var("mine") == 1, "$mine"), to="t").body("w", mine=0).work("t").work("z")
    return graph.build()


def report(rows: list[OpenStep]) -> Signal:
    return Report(n=next(row.n for row in rows if row.slot == "t"))


SIGNALS: dict[str, Callable[[list[OpenStep]], Signal]] = {
    "an event for whoever waits first": lambda rows: EVENT,
    "an event for one thread": lambda rows: EventArrived(id=1, name="go", thread=7),
    "a variable of one thread": lambda rows: SetVars(changes={"mine": 1}, thread=8),
    "the end of a thread": report,
}


async def rows_read(rig: Rig, wide: int, name: str, cold: bool) -> int:
    head = await rig.begin(await rig.define(threads), wide)
    await rig.committer.submit(head.key, EVENT)
    if wide > 500:  # fuel: the rest of the threads follow
        await rig.committer.submit(head.key, SetVars(changes={"other": 1}))
    rows = await rig.open_rows(head.key)
    assert len(rows) > wide
    if cold:
        rig.cold()
    before = rig.store.counts.rows_read
    await rig.committer.submit(head.key, SIGNALS[name](rows))
    return int(rig.store.counts.rows_read - before)


@pytest.mark.parametrize("name", SIGNALS)
async def test_a_signal_reads_as_much_whatever_the_width(tmp_path: Path, name: str) -> None:
    read: dict[bool, list[int]] = {False: [], True: []}
    for wide in WIDTHS:
        for cold, found in read.items():
            async with opened(tmp_path / f"{wide}{cold}") as rig:
                found.append(await rows_read(rig, wide, name, cold))
    assert max(read[False]) <= 2, read
    assert read[True][2] <= read[True][1] + 2 <= 160, read  # from 64 waits on, as many as are read ahead
