"""How long a search for workflows takes beside many that have ended: `uv run python -m bench.search [runs] [directory]`.

The store is loaded directly, with copies of a run that a server has made; the searches are asked of a server by HTTP. A directory
that is given is kept, and used again as it is when it has a store.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import apsw

from pelton.client import AsyncClient
from pelton.store.packing import decode_run, decode_step, pack
from pelton.store.sqlite.store import FILE, SqliteStore
from pelton.testing.server import running_server

NAMES = ("search_a", "search_b", "search_c", "search_d")
FIRST = 1_700_000_000_000
EVERY = 997  # milliseconds between two starts
REPEATS = 9
CHUNK = 10_000

# (what, its bound in milliseconds, its query)
SEARCHES: tuple[tuple[str, float, dict[str, Any]], ...] = (
    ("first page of all", 50, {"size": 100}),
    ("page 1,000 of all", 100, {"size": 100, "start": 99_900}),
    ("last page of all, oldest first", 100, {"size": 100, "start": 99_900, "sort": "startTime:ASC"}),
    ("first page, one name, COMPLETED", 50, {"size": 100, "query": "workflowType=search_a AND status=COMPLETED"}),
    ("page 1,000, two names", 100, {"size": 100, "start": 99_900, "query": "workflowType IN (search_a,search_b)"}),
    ("first page, FAILED", 50, {"size": 100, "query": "status IN (FAILED,TIMED_OUT)"}),
    (
        "a day in the middle",
        50,
        {"size": 100, "query": f"startTime>{FIRST + 5 * 86_400_000} AND startTime<{FIRST + 6 * 86_400_000}"},
    ),
    ("by a correlation id", 50, {"size": 100, "query": "correlationId='bench-7'"}),
)


async def prepare(path: Path) -> None:
    """A store with one run of each name, that a server has made."""
    async with running_server(store=SqliteStore(path)) as server:
        for name in NAMES:
            script = {"name": "i", "taskReferenceName": "i", "type": "INLINE"}
            script["inputParameters"] = {"evaluatorType": "javascript", "expression": "1"}  # type: ignore[assignment]
            await server.client.request("PUT", "/api/metadata/workflow", json.dumps([{"name": name, "tasks": [script]}]).encode())
            body = json.dumps({"name": name, "input": {"order": "A-10023", "amount": 129.95}, "correlationId": "bench-7"})
            found = await server.client.request("POST", f"/api/workflow/execute/{name}/1", body.encode())
            if found["status"] != "COMPLETED":
                raise RuntimeError(f"the run to be copied did not end: {found}")


def load(path: Path, count: int) -> None:
    db = apsw.Connection(str(path))
    db.execute("PRAGMA synchronous = OFF")
    made = db.execute("SELECT key, line, head FROM run WHERE status = 3 ORDER BY key").fetchall()
    steps = {
        key: db.execute("SELECT n, slot, scope, it, parts, body, place FROM step WHERE run = ?", (key,)).fetchall()
        for key, *_ in made
    }

    def runs(low: int, high: int) -> Iterator[tuple[Any, ...]]:
        for number in range(low, high):
            _, line, head = made[number % len(made)]
            run = decode_run(head)
            run.created = FIRST + number * EVERY
            run.key = run.root = run.created << 21
            run.updated = run.ended = run.created + 5
            run.status = 4 if number % 50 == 0 else 3
            yield run.key, line, 0, run.rev, run.created, pack(run), run.ended, run.status

    def rows(low: int, high: int) -> Iterator[tuple[Any, ...]]:
        for number in range(low, high):
            key = (FIRST + number * EVERY) << 21
            for n, slot, scope, it, parts, body, place in steps[made[number % len(made)][0]]:
                step = decode_step(body)
                step.run = key
                yield key, n, slot, scope, it, parts, pack(step), place

    for low in range(0, count, CHUNK):
        high = min(low + CHUNK, count)
        with db:
            db.executemany(
                "INSERT INTO run (key, line, live, rev, created, head, ended, status) VALUES (?,?,?,?,?,?,?,?)", runs(low, high)
            )
            db.executemany(
                "INSERT INTO step (run, n, slot, scope, it, parts, body, place) VALUES (?,?,?,?,?,?,?,?)", rows(low, high)
            )
    db.close()


async def measure(path: Path) -> None:
    async with running_server(store=SqliteStore(path), keep_runs="forever") as server:
        for what, bound, query in SEARCHES:
            taken: list[float] = []
            spent = time.process_time()
            found: Any = None
            for _ in range(REPEATS):
                began = time.perf_counter()
                found = await ask(server.client, query)
                taken.append((time.perf_counter() - began) * 1000)
            spent = (time.process_time() - spent) * 1000 / REPEATS  # of server and client; what other programs do is not in it
            middle = statistics.median(taken)
            print(
                f"{what:32} {found['totalHits']:>9,} in all, first {taken[0]:6.1f} ms, median {middle:6.1f} ms, "
                f"CPU {spent:5.1f} ms, bound {bound:.0f} ms {'' if spent < bound else 'MISSED'}"
            )


async def ask(client: AsyncClient, query: dict[str, Any]) -> Any:
    return await client.request("GET", f"/api/workflow/search?{urlencode(query)}")


def main() -> None:
    count = int(sys.argv[1].replace("_", "")) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory(prefix="pelton-search-") as made:
        directory = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(made)
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / FILE
        if not path.exists():
            asyncio.run(prepare(path))
            began = time.perf_counter()
            load(path, count)
            print(f"{count:,} runs loaded in {time.perf_counter() - began:.0f} s, {path.stat().st_size / 2**20:,.0f} MB")
        asyncio.run(measure(path))


if __name__ == "__main__":
    main()
