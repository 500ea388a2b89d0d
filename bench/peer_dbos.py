"""DBOS on SQLite doing the same work: `python -m bench.peer_dbos JOB`, which prints its result as JSON.

DBOS is a library: the workflows run inside the process that starts them, so that its numbers hold no HTTP and no second process.
Its processor time is that of the whole process, load included. SQLite has the settings that DBOS
gives it.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from dbos import DBOS, SetWorkflowID
from msgspec import json

WARM = 1.0


@DBOS.step()
def step(value: dict[str, Any]) -> dict[str, Any]:
    return {"reference": value.get("order", ""), "done": True}


@DBOS.workflow()
def three_steps(order: dict[str, Any]) -> dict[str, Any]:
    one = step({"order": order["order"], "amount": order["amount"]})
    two = step({"order": order["order"], "reference": one["reference"]})
    return step({"order": order["order"], "reference": two["reference"]})


@DBOS.workflow()
def at_once(value: dict[str, Any]) -> dict[str, Any]:
    return value


@DBOS.workflow()
async def waiting(value: dict[str, Any]) -> Any:
    return await DBOS.recv_async("paid", timeout_seconds=600)


class Meter:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.times: list[float] = []
        self.counting = False

    def begin(self) -> None:
        with self.lock:
            self.times, self.counting = [], True
        self._cpu, self._time = time.process_time(), time.perf_counter()

    def add(self, seconds: float) -> None:
        with self.lock:
            if self.counting:
                self.times.append(seconds)

    def end(self) -> dict[str, Any]:
        spent, cpu = time.perf_counter() - self._time, time.process_time() - self._cpu
        with self.lock:
            self.counting = False
            ordered = sorted(self.times) or [0.0]
        count = len(ordered)
        return {
            "units": count, "seconds": spent, "rate": count / spent, "cpu": [cpu * 1000 / count],
            "p50": ordered[count // 2] * 1000, "p99": ordered[min(count - 1, int(count * 0.99))] * 1000,
        }  # fmt: skip


def driven(one: Any, callers: int, seconds: float) -> dict[str, Any]:
    meter, stopped = Meter(), threading.Event()

    def calling(number: int) -> None:
        count = 0
        while not stopped.is_set():
            count += 1
            began = time.perf_counter()
            one(number, count)
            meter.add(time.perf_counter() - began)

    threads = [threading.Thread(target=calling, args=(number,), daemon=True) for number in range(callers)]
    for thread in threads:
        thread.start()
    time.sleep(WARM)
    meter.begin()
    time.sleep(seconds)
    found = meter.end()
    stopped.set()
    for thread in threads:
        thread.join(timeout=30)
    return found


def starts(job: dict[str, Any]) -> dict[str, Any]:
    def one(number: int, count: int) -> None:
        order = {"order": f"A-{number}-{count}", "amount": 129.95, "customer": {"id": number, "name": "Somebody"}}
        DBOS.start_workflow(three_steps, order).get_result()

    return driven(one, job["callers"], job["seconds"])


def posts(job: dict[str, Any]) -> dict[str, Any]:
    mark = uuid4().hex[:8]

    def one(number: int, count: int) -> None:
        with SetWorkflowID(f"{mark}-{number}-{count}"):  # so that a repeat of the event starts nothing
            handle = DBOS.start_workflow(at_once, {"n": count, "text": "x" * 60})
        handle.get_result()

    return driven(one, job["callers"], job["seconds"])


async def waits(job: dict[str, Any]) -> dict[str, Any]:
    meter = Meter()
    handles = [await DBOS.start_workflow_async(waiting, {"n": number}) for number in range(job["count"])]
    await asyncio.sleep(WARM)
    deadline = time.perf_counter() + job["seconds"]
    meter.begin()

    async def calling() -> None:
        while handles and time.perf_counter() < deadline:
            handle = handles.pop()
            began = time.perf_counter()
            for _ in range(2):
                await DBOS.send_async(handle.workflow_id, {"amount": 12.5}, "paid", idempotency_key=f"p-{handle.workflow_id}")
            await handle.get_result()
            meter.add(time.perf_counter() - began)

    await asyncio.gather(*(calling() for _ in range(job["callers"])))
    return meter.end()


def main() -> None:
    job = json.decode(sys.argv[1])
    logging.disable(logging.CRITICAL)
    path = Path(job["directory"]) / "dbos.sqlite"
    threads = max(64, job["callers"] * 2)
    config = {
        "name": "bench", "system_database_url": f"sqlite:///{path}", "max_executor_threads": threads, "log_level": "CRITICAL",
        "notification_listener_polling_interval_sec": 0.01,  # its usual second would be all that W2 measures
    }  # fmt: skip
    DBOS(config=config)
    DBOS.launch()
    kind = job["job"]
    found = asyncio.run(waits(job)) if kind == "waits" else {"starts": starts, "posts": posts}[kind](job)
    print(json.encode(found).decode(), flush=True)
    DBOS.destroy()


if __name__ == "__main__":
    main()
