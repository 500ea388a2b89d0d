"""What one signal costs in a wide run, through the committer and SQLite: processor time of the event loop for each of several
signals, in runs of 10 and of 1,000 threads, waits or branches; and what it takes to pause and resume a thousand threads.

uv run python bench/width.py
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the graphs and the harness of the tests

from tests.kernel.graphs import Graph, look, on_event
from tests.kernel.test_width import dynamic, forked
from tests.runtime.harness import Rig, rig

from pelton.kernel.model.process import Process
from pelton.kernel.model.signals import EventArrived, Pause, Report, Resume, SetVars, Signal
from pelton.kernel.model.state import OpenStep

NARROW, WIDE = 10, 1_000
SIGNALS = 200  # of each width, over several runs where they are narrow
PER_RUN = 5  # of a run's rows, so that its width stays about the same
TARGET = 1.5  # times the cost in the narrow run
HALT_MS = 50.0


def waits(_: int) -> Process:
    graph = Graph("waits").scope("all", "x", items=look(lambda c: list(range(c.input))), parallel=True)
    return graph.wait("x", on_event("go"), to="y").wait("y", on_event("never")).build()


def threads(_: int) -> Process:
    graph = Graph("threads").scope("all", "x", items=look(lambda c: list(range(c.input))), parallel=True)
    return graph.work("x").build()


def branches(wide: int) -> Process:
    return forked(wide).build()


def made(wide: int) -> Process:
    return dynamic(wide).build()


class Case(NamedTuple):
    name: str
    process: Callable[[int], Process]
    signal: Callable[[list[OpenStep], int], Signal]


CASES = (
    Case("an event to one of the waits", waits, lambda rows, at: EventArrived(id=at + 1, name="go")),
    Case("the end of one of the threads", threads, lambda rows, at: Report(n=rows[at].n)),
    Case("a report in a static fork", branches, lambda rows, at: Report(n=rows[at].n)),
    Case("a report in a dynamic fork", made, lambda rows, at: Report(n=rows[at].n)),
)


async def begun(at: Rig, case: Case, wide: int) -> tuple[int, list[OpenStep]]:
    head = await at.begin(await at.define(lambda: named(case.process(wide), f"{case.name} {wide}")), wide)
    for _ in range(wide // 250):  # what parked for fuel goes on in the commits that follow
        await at.committer.submit(head.key, SetVars(changes={"other": 1}))
    rows = [row for row in await at.open_rows(head.key) if row.slot.startswith("x")]
    assert len(rows) == wide, (len(rows), wide)
    return head.key, rows


def named(process: Process, name: str) -> Process:
    process.name = name
    return process


async def measured(case: Case, wide: int) -> float:
    """Milliseconds of processor time for a signal, the median over the runs."""
    found: list[float] = []
    with tempfile.TemporaryDirectory(prefix="pelton-bench-") as directory:
        async with rig(Path(directory)) as at:
            for _ in range(SIGNALS // PER_RUN if wide == NARROW else 8):
                run, rows = await begun(at, case, wide)
                count = PER_RUN if wide == NARROW else SIGNALS // 8
                began = time.thread_time()
                for each in range(count):
                    await at.committer.submit(run, case.signal(rows, each))
                found.append((time.thread_time() - began) / count * 1_000)
    return statistics.median(found)


async def halted(case: Case) -> tuple[float, float]:
    """Milliseconds to pause, and to resume, a run of a thousand threads."""
    pauses: list[float] = []
    resumes: list[float] = []
    with tempfile.TemporaryDirectory(prefix="pelton-bench-") as directory:
        async with rig(Path(directory)) as at:
            run, _ = await begun(at, case, WIDE)
            for _ in range(5):
                for signal, found in ((Pause(), pauses), (Resume(), resumes)):
                    began = time.thread_time()
                    await at.committer.submit(run, signal)
                    found.append((time.thread_time() - began) * 1_000)
    return statistics.median(pauses), statistics.median(resumes)


async def main() -> None:
    print(f"{'signal':32} {'at 10':>9} {'at 1,000':>9} {'ratio':>6}  target")
    for case in CASES:
        narrow, wide = await measured(case, NARROW), await measured(case, WIDE)
        met = "yes" if wide / narrow <= TARGET else "no"
        print(f"{case.name:32} {narrow:6.3f} ms {wide:6.3f} ms {wide / narrow:5.2f}x  <= {TARGET}x {met}")
    for case in (CASES[0], CASES[1]):
        for word, spent in zip(("pause", "resume"), await halted(case), strict=True):
            met = "yes" if spent <= HALT_MS else "no"
            print(f"{word + ' of 1,000: ' + case.process.__name__:32} {'':9} {spent:6.1f} ms {'':6}  <= {HALT_MS:g} ms {met}")


if __name__ == "__main__":
    uvloop.run(main())
