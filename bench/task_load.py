"""The load generator of tasks, a process of its own: `python -m bench.task_load JOB`. As load.py otherwise."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any
from uuid import uuid4

from bench import task_definitions as definitions
from bench.calls import Caller, Failed, event, events, request
from bench.load import WARM, Meter, batch, main, posting, together
from bench.task_definitions import CLOSE, FLIP, MAKE, SCOPE, TOPIC, WORKFLOW
from msgspec import json

BUSY = 0.002  # seconds between looks at a run that is expected to end


# ---- T1


async def makes(job: dict[str, Any]) -> dict[str, Any]:
    """Events, singly or in batches, each of which makes a task that stays open. `fields`: how many it has."""
    size = job["batch"]
    body = definitions.body(job["fields"], "")

    def made(name: str, turn: int) -> bytes:
        return batch(MAKE, name, [{**body, "n": f"{name}-{each}"} for each in range(size)])

    return await posting(job, made, b'"started"', size, size)


async def moves(job: dict[str, Any]) -> dict[str, Any]:
    """Tasks are made first; then each gets one trigger that changes its state: by an event that names it (`by` "event"), or by
    the call for one task, whose answer holds the whole task."""
    mark = uuid4().hex[:8]
    ready: deque[tuple[str, str]] = deque()
    body = definitions.body(job["fields"], "")

    async def making(connection: Caller, number: int) -> None:
        for at in range(number * 100, job["count"], 400):
            names = [f"{mark}-{each}" for each in range(at, min(at + 100, job["count"]))]
            answer = json.decode(await connection.good(events(MAKE, [(name, {**body, "n": name}) for name in names])))
            ready.extend((each["id"], effect["run"]) for each in answer["events"] for effect in each["effects"])

    await together(4, job["url"], making)
    if len(ready) != job["count"]:
        raise Failed(f"{job['count']} events made {len(ready)} tasks")
    meter, stopped = Meter(job["pids"]), False

    async def one(connection: Caller, number: int) -> None:
        while ready and not stopped:
            name, run = ready.popleft()
            if job["by"] == "event":
                message = event(FLIP, f"go-{name}", {"n": name})
            else:
                message = request("POST", f"{WORKFLOW}/tasks/{run}?trigger=go")
            began = time.perf_counter()
            answer = await connection.good(message)
            meter.add(time.perf_counter() - began)
            if (b'"signalled"' if job["by"] == "event" else b'"Going"') not in answer:
                raise Failed(f"the trigger was answered {answer[:1000]!r}")

    async def stopping() -> None:
        nonlocal stopped
        await asyncio.sleep(WARM)
        meter.begin()
        await asyncio.sleep(job["seconds"])
        stopped = True

    clock = asyncio.create_task(stopping())
    await together(job["callers"], job["url"], one)
    if not meter.counting:
        raise Failed(f"{job['count']} tasks did not last for {WARM:g} s")
    found = meter.end()
    clock.cancel()
    return found


# ---- T2


async def handlers(job: dict[str, Any]) -> dict[str, Any]:
    """Registers handlers `first` to `last`; gives how many there were time for."""
    deadline, done = time.perf_counter() + job["seconds"], 0
    queue = deque(range(job["first"], job["last"]))
    meter = Meter(job["pids"])
    meter.begin()

    async def one(caller: Caller, number: int) -> None:
        nonlocal done
        while queue and time.perf_counter() < deadline:
            began = time.perf_counter()
            body = json.encode(definitions.topical(queue.popleft()))
            await caller.good(request("POST", f"{WORKFLOW}/eventhandlers", body))
            meter.add(time.perf_counter() - began)
            done += 1

    await together(32, job["url"], one)
    return meter.end()


async def topics(job: dict[str, Any]) -> dict[str, Any]:
    """Events for which one handler of many fires."""
    numbers = job["topics"]

    def made(name: str, turn: int) -> bytes:
        return event(TOPIC, name, definitions.topic(numbers[turn % len(numbers)], turn))

    return await posting(job, made, b'"started"', 1)


# ---- T3


async def open_tasks(job: dict[str, Any]) -> dict[str, Any]:
    """Makes tasks that stay open, three of each `ref`."""
    mark = uuid4().hex[:8]
    began = time.perf_counter()

    async def one(caller: Caller, number: int) -> None:
        for at in range(number * 100, job["count"], 400):
            made = [
                (f"{mark}-{each}", {"ref": f"r{each // 3}", "n": each}) for each in range(at, min(at + 100, job["count"]))
            ]  # fmt: skip
            answer = await caller.good(events(MAKE, made))
            if answer.count(b'"started"') != len(made):
                raise Failed(f"{len(made)} events were answered {answer[:1000]!r}")

    await together(4, job["url"], one)
    return {"units": job["count"], "seconds": time.perf_counter() - began}


async def flips(job: dict[str, Any]) -> dict[str, Any]:
    """Each event is for three of the open tasks; none is taken twice until all were (`again`: the first 50 in turn)."""
    last = job["count"] // 3
    queue = deque((each * 7_919) % last for each in range(50 if job["again"] else last))  # in no order of making

    def made(name: str, turn: int) -> bytes:
        ref = queue.popleft()
        queue.append(ref)
        return event(FLIP, name, {"ref": f"r{ref}"})

    return await posting(job, made, b'"signalled"', 3)


# ---- T4


async def closes(job: dict[str, Any]) -> dict[str, Any]:
    """One parent with children at a time; they are closed by one event, and the parent by the last of them. Counted is the time
    from that event until the parent is closed, by children."""
    caller = await Caller.connect(job["url"])
    meter = Meter(job["pids"])
    children, mark, made, told = job["children"], uuid4().hex[:8], 0.0, 0.0
    spent: list[dict[str, Any]] = []
    for number in range(job["rounds"]):
        group = f"{mark}-{number}"
        began = time.perf_counter()
        answer = json.decode(await caller.good(event(MAKE, group, {"group": group})))
        effect = answer["events"][0]["effects"][0] if "events" in answer else answer["effects"][0]
        await _count(caller, "child", children)
        made += time.perf_counter() - began
        meter.begin()
        began = time.perf_counter()
        await caller.good(event(CLOSE, f"close-{group}", {"group": group}))
        while (await caller.json("GET", f"/v1/runs/{effect['run']}"))["run"]["status"] != "COMPLETED":
            if time.perf_counter() > began + 120:
                raise Failed(f"the parent of {children} children did not close within two minutes")
            await asyncio.sleep(BUSY)
        told = time.perf_counter() - began
        meter.add(told, children)
        spent.append(meter.end())
        await _count(caller, "child", 0)
    found = min(spent, key=lambda each: float(each["seconds"]))
    return {**found, "made": made / job["rounds"]}


async def _count(caller: Caller, code: str, wanted: int) -> None:
    """Waits until so many tasks of a definition are open."""
    deadline = time.perf_counter() + 120
    path = f"/v1/runs?process={SCOPE}/{code}&live=true&limit=1000"
    while len((await caller.json("GET", path))["runs"]) != wanted:
        if time.perf_counter() > deadline:
            raise Failed(f"there are not {wanted} open tasks of {code} after two minutes")
        await asyncio.sleep(0.02)


JOBS = {
    "makes": makes, "moves": moves, "handlers": handlers, "topics": topics, "open": open_tasks, "flips": flips, "closes": closes,
}  # fmt: skip

if __name__ == "__main__":
    main(JOBS)
