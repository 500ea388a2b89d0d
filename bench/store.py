"""What the store can do: transitions a second at 1, 10 and 100 a commit, read times, and bytes kept of a finished run; what a
document and what it is found by cost, and how long it takes to find 3 among 100,000.

A run has three steps of work: four transitions (the start and three reports), written as the kernel would fold them.
`uv run python bench/store.py [seconds]`. A sync costs what the disk says: compare ratios, not machines.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from pelton.kernel.model.reads import NewestKey
from pelton.kernel.model.state import END, START, OpenStep, Record, Run, RunStatus, State, Step
from pelton.store.group import Group, RunWrite
from pelton.store.sqlite.store import SqliteStore

INPUT = {"order": "A-10023", "customer": {"id": 4711, "name": "Somebody Somewhere"}, "amount": 129.95, "lines": list(range(10))}
OUTPUT = {"state": "done", "reference": "0123456789abcdef", "checks": [True, True, False], "score": 0.25}
NOW = 1_790_000_000_000


def transition(key: int, stage: int) -> RunWrite:
    run = Run(key, "default", 7, rev=stage + 1, next_n=stage + 2, open=int(stage < 3), created=NOW, updated=NOW + stage, root=key)
    ended: list[Step] = []
    if stage == 0:
        meta = {"correlation": "c-1"}
        ended.append(Step(key, 0, START, 1, opened=NOW, started=NOW, ended=NOW, input=meta, output=INPUT))
    else:
        step = Step(
            key, stage, f"task_{stage}", 1, opened=NOW, started=NOW + 1, ended=NOW + 2, first=NOW, input=INPUT, output=OUTPUT
        )
        step.worker, step.polls, step.state = "worker-1", 1, State.WORK
        ended.append(step)
    opened: list[OpenStep] = []
    if stage < 3:
        n = stage + 1
        token = OpenStep(key, n, f"task_{n}", State.WORK, opened=NOW, updated=NOW, first=NOW, input=INPUT)
        token.queue = token.slot
        opened.append(token)
    else:
        run.status, run.ended, run.next_n = RunStatus.COMPLETED, NOW + 9, 5
        ended.append(Step(key, 4, END, 1, opened=NOW, started=NOW, ended=NOW, output=OUTPUT))
    return RunWrite(
        run, stage if stage else -1, opened=opened, closed=[stage] if stage else [], ended=ended, process="" if stage else "bench"
    )


async def load(store: SqliteStore, size: int, seconds: float, first: int) -> tuple[float, int]:
    """Transitions a second with two commits under way, and the runs finished. Each commit holds `size` runs' next transitions."""
    done, key, finished = 0, first, 0
    ready: deque[tuple[int, int]] = deque()
    under_way: deque[tuple[asyncio.Task[list[object]], list[tuple[int, int]]]] = deque()
    end = time.perf_counter() + seconds
    start = time.perf_counter()
    while time.perf_counter() < end or under_way or ready:
        if len(under_way) == 2 or (under_way and len(ready) < size and time.perf_counter() >= end):
            task, batch = under_way.popleft()
            assert all(outcome.ok for outcome in await task)  # type: ignore[attr-defined]
            done += len(batch)
            finished += sum(stage == 3 for _, stage in batch)
            ready.extend((run, stage + 1) for run, stage in batch if stage < 3)
        batch = [ready.popleft() for _ in range(min(size, len(ready)))]
        if time.perf_counter() < end:
            fresh = size - len(batch)
            batch += [(key + place, 0) for place in range(fresh)]
            key += fresh
        if batch:
            groups = [Group(place, [transition(run, stage)]) for place, (run, stage) in enumerate(batch)]
            under_way.append((asyncio.create_task(store.commit(groups)), batch))  # type: ignore[arg-type]
            await asyncio.sleep(0)
    return done / (time.perf_counter() - start), finished


async def reads(store: SqliteStore, key: int) -> tuple[float, float]:
    """Microseconds of a head and of the newest step of a slot."""
    run = await store.head(key)
    assert run is not None
    times = []
    for question in (lambda: store.head(key), lambda: store.read(run, [NewestKey("task_2")])):
        start = time.perf_counter()
        for _ in range(5000):
            await question()
        times.append((time.perf_counter() - start) / 5000 * 1e6)
    return times[0], times[1]


DOCUMENTS = 100_000
FIELDS = {f"field{n}": {"type": "String", "value": f"value {n}"} for n in range(6)}


def document(key: int, number: int, attributes: int) -> RunWrite:
    """A run with a document, `attributes` -1: without one. The second value supersedes the first."""
    run = Run(key, "default", 7, rev=number, created=NOW, updated=NOW, root=key)
    write = RunWrite(run, number - 1 or -1, process="" if number > 1 else "bench")
    if attributes >= 0:
        body = {"state": "Open" if number == 1 else "Done", "correlation": [f"c-{key}"], "fields": FIELDS, "actor": "somebody"}
        write.record = Record(key, NOW * 1000 + number, number, True, body)
        values = ("all", "same"), ("rare", f"{key // 3}"), ("correlation", f"c-{key}")
        values += tuple((f"field{n}", f"value {n} of {key}") for n in range(3))
        if number == 1:
            write.attributes = [(name, value, True) for name, value in values[:attributes]]
        else:
            write.past = [(Record(key, NOW * 1000 + number - 1, number - 1, True, body), NOW * 1000 + number)]
    return write


async def documents(attributes: int, count: int, look: bool) -> tuple[float, float, float, float]:
    """Microseconds and bytes of a new run, and of a second value, 100 a commit; `look`: and how long searches take."""
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "bench.db")
        await store.open()
        costs: list[float] = []
        sizes = [0]
        for number in (1, 2):
            start = time.perf_counter()
            under_way: deque[asyncio.Task[list[object]]] = deque()
            for first in range(0, count, 100):
                groups = [Group(key, [document(key, number, attributes)]) for key in range(first + 1, first + 101)]
                under_way.append(asyncio.create_task(store.commit(groups)))  # type: ignore[arg-type]
                if len(under_way) == 2:
                    assert all(outcome.ok for outcome in await under_way.popleft())  # type: ignore[attr-defined]
            await asyncio.gather(*under_way)
            costs.append((time.perf_counter() - start) / count * 1e6)
            if look and number == 1:
                await searches(store, count)
            await store.close()  # moves the WAL into the file
            sizes.append((Path(folder) / "bench.db").stat().st_size)
            await store.open()
        await store.close()
    return costs[0], (sizes[1] - sizes[0]) / count, costs[1], (sizes[2] - sizes[1]) / count


async def searches(store: SqliteStore, count: int) -> None:
    middle = count // 2 // 3
    rare, all_of_them = [("rare", str(middle), False)], [("all", "same", False)]
    at = NOW * 1000 + 1
    asked: dict[str, Callable[[], Awaitable[object]]] = {
        "3 of them by one attribute": lambda: store.candidates("default", "bench", [rare], 100_000),
        "beside a part that is true of all": lambda: store.candidates("default", "bench", [all_of_them, rare], 100_000),
        "by how a value begins": lambda: store.candidates("default", "bench", [[("correlation", f"c-{middle}", True)]], 100_000),
        "whatever the process": lambda: store.candidates("default", "", [all_of_them, rare], 100_000),
        "all of them refused beyond 1,000": lambda: store.candidates("default", "bench", [all_of_them], 1000),
        "a document": lambda: store.record(count // 2),
        "500 documents as of an instant": lambda: store.records("default", process="bench", at=at, after=count // 2),
    }
    assert await asked["beside a part that is true of all"]() == [middle * 3, middle * 3 + 1, middle * 3 + 2]
    for what, ask in asked.items():
        start = time.perf_counter()
        for _ in range(200):
            await ask()
        print(f"of {count} documents, {what}: {(time.perf_counter() - start) / 200 * 1e6:.1f} us")


async def main(seconds: float) -> None:
    for attributes in (-1, 0, 3, 6):
        look = attributes == 3
        new, size, again, more = await documents(attributes, DOCUMENTS if look else DOCUMENTS // 5, look)
        what = f"a document found by {attributes}" if attributes >= 0 else "no document"
        print(f"a new run with {what}: {new:.1f} us, {size:.0f} B; a further value: {again:.1f} us, {more:.0f} B")
    for size in (1, 10, 100):
        with tempfile.TemporaryDirectory() as folder:
            store = SqliteStore(Path(folder) / "bench.db")
            start = time.perf_counter()
            await store.open()
            opening = time.perf_counter() - start
            cpu = time.process_time()
            rate, finished = await load(store, size, seconds, 1 << 58)
            cpu = time.process_time() - cpu
            head, slot = await reads(store, 1 << 58)
            health = await store.health()
            await store.close()
            kept = (Path(folder) / "bench.db").stat().st_size
            print(
                f"{size:4} a commit: {rate:8.0f} transitions/s, {cpu / (finished * 4) * 1e6:5.1f} us of this process each, "
                f"{kept / finished:5.0f} B a finished run, head {head:.1f} us, newest of a slot {slot:.1f} us, "
                f"WAL {health['wal_bytes'] / 1e6:.0f} MB, open {opening * 1000:.0f} ms"
            )


if __name__ == "__main__":
    uvloop.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0))
