"""The worker process of W1 with Pelton's own client: `python -m bench.worker URL SOCKET`; official_worker.py is the other one.

It tells the load generator through SOCKET which runs have ended, once the report of their last step has been answered, so that
knowing the end costs the server nothing.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvloop

from pelton.client import Item, Worker

QUEUES = ("bench_one", "bench_two", "bench_three")


async def own(url: str, path: str) -> None:
    _, writer = await asyncio.open_unix_connection(path)

    class Telling(Worker):
        """Says which runs have ended."""

        async def _exchange(self, reports: list[Any], claim: Any) -> Any:
            answer = await super()._exchange(reports, claim)
            done = [last[report.id] for report in reports if report.id in last]
            for report in reports:
                last.pop(report.id, None)
            if done:
                writer.write(("\n".join(done) + "\n").encode())
            return answer

    def work(item: Item) -> dict[str, Any]:
        if item.queue == QUEUES[2]:
            last[item.id] = item.run
        return {"reference": item.input.get("order", ""), "done": True}

    last: dict[str, str] = {}
    await Telling(url, dict.fromkeys(QUEUES, work), concurrency=1_000).run()


if __name__ == "__main__":
    uvloop.run(own(*sys.argv[1:3]))
