"""What the store can do: transitions a second at 1, 10 and 100 a commit, read times, and bytes kept of a finished run.

A run has three steps of work: four transitions (the start and three reports), written as the kernel would fold them.
`uv run python bench/store.py [seconds]`. A sync costs what the disk says: compare ratios, not machines.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

import uvloop

from pelton.kernel.facts import NewestKey
from pelton.kernel.rows import END, START, OpenStep, Run, RunStatus, State, Step
from pelton.store.base import Group, RunWrite
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
    for question in (lambda: store.head(key), lambda: store.facts(run, [NewestKey("task_2")])):
        start = time.perf_counter()
        for _ in range(5000):
            await question()
        times.append((time.perf_counter() - start) / 5000 * 1e6)
    return times[0], times[1]


async def main(seconds: float) -> None:
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
