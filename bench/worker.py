"""The worker process of W1: `python -m bench.worker {own|official} URL [SOCKET]`.

own: Pelton's worker; it tells the load generator through SOCKET which runs have ended, once the report of their last step has
been answered, so that knowing the end costs the server nothing. official: the TaskHandler of conductor-python, as its users run
it.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvloop

from pelton.client import Item, Worker

QUEUES = ("bench_one", "bench_two", "bench_three")
OFFICIAL = "bench_step"  # one name for all three steps: that worker has a process a name, and this is to be one process


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

    def step(item: Item) -> dict[str, Any]:
        if item.queue == QUEUES[2]:
            last[item.id] = item.run
        return {"reference": item.input.get("order", ""), "done": True}

    last: dict[str, str] = {}
    await Telling(url, dict.fromkeys(QUEUES, step), concurrency=1_000).run()


def step(task: Any) -> dict[str, Any]:
    """Found by its name in the process that it runs in."""
    return {"reference": task.input_data.get("order", ""), "done": True}


def official(url: str) -> None:
    from conductor.client.automator.task_handler import TaskHandler  # noqa: PLC0415 - half a second that the other needs not
    from conductor.client.configuration.configuration import Configuration  # noqa: PLC0415
    from conductor.client.worker.worker import Worker as Polling  # noqa: PLC0415

    configuration = Configuration(server_api_url=f"{url}/api")
    worker = Polling(OFFICIAL, step, poll_interval=1, thread_count=64)  # milliseconds
    with TaskHandler([worker], configuration, scan_for_annotated_workers=False) as handler:
        handler.start_processes()
        handler.join_processes()


if __name__ == "__main__":
    if sys.argv[1] == "own":
        uvloop.run(own(*sys.argv[2:4]))
    else:
        official(sys.argv[2])
