"""The load generator, a process of its own: `python -m bench.load JOB` with a job as JSON, which prints its result as JSON.

It reads the processor time of the servers and of itself at the same two instants that it takes the time, so that rates and costs
belong together. The first second of a load is not counted.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import uvloop
from bench import definitions
from bench.calls import Caller, Failed, event, events, no_live_runs, request
from bench.definitions import PAID, START, TOPIC, WAITING
from bench.processes import tree_cpu
from msgspec import json

WARM = 1.0  # seconds before counting
CHECKED = 200  # of so many events one is looked at at once: is its run really complete?


def percentile(values: list[float], share: float) -> float:
    """In milliseconds."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else 0.0


class Meter:
    """Counts between `begin` and `end`. `pids`: heads of the process trees that are Pelton's."""

    def __init__(self, pids: list[int]) -> None:
        self.pids = pids
        self.counting = False
        self.times: list[float] = []
        self.units = 0

    def _spent(self) -> list[float]:
        return [*(tree_cpu(pid) for pid in self.pids), time.process_time()]

    def begin(self) -> None:
        self.counting, self.units, self.times = True, 0, []
        self._cpu, self._time = self._spent(), time.perf_counter()

    def add(self, seconds: float, units: int = 1) -> None:
        if self.counting:
            self.times.append(seconds)
            self.units += units

    def end(self, at: float = 0.0) -> dict[str, Any]:
        """`at`: the instant when the last unit was complete, if that is not now."""
        now = at or time.perf_counter()
        spent = [after - before for before, after in zip(self._cpu, self._spent(), strict=True)]
        self.counting = False
        units, seconds = max(1, self.units), now - self._time
        return {
            "units": self.units,
            "seconds": seconds,
            "rate": self.units / seconds,
            "p50": percentile(self.times, 0.5),
            "p99": percentile(self.times, 0.99),
            "cpu": [each * 1000 / units for each in spent[:-1]],  # milliseconds a unit, by process tree
            "load_cpu": spent[-1] * 1000 / units,
        }


async def together(callers: int, url: str, one: Any) -> None:
    """Runs `one(caller, number)` on so many connections until all return."""
    connections = [await Caller.connect(url) for _ in range(callers)]
    try:
        async with asyncio.TaskGroup() as group:
            for number, connection in enumerate(connections):
                group.create_task(one(connection, number))
    finally:
        for connection in connections:
            connection.close()


async def clocked(meter: Meter, seconds: float) -> dict[str, Any]:
    await asyncio.sleep(WARM)
    meter.begin()
    await asyncio.sleep(seconds)
    return meter.end()


async def posting(
    job: dict[str, Any], made: Callable[[str, int], bytes], sign: bytes, signs: int, units: int = 1, process: str = ""
) -> dict[str, Any]:
    """Each caller posts one after another what `made(name, turn)` gives, `units` events under a name of their own; `turn` goes up
    from the caller's number. An answer has `sign` so many times. With a `process`, the load is over when no run of it is open."""
    meter, stopped, mark = Meter(job["pids"]), False, uuid4().hex[:8]

    async def one(caller: Caller, number: int) -> None:
        turn = number
        while not stopped:
            turn += 1
            message = made(f"{mark}-{number}-{turn}", turn)
            began = time.perf_counter()
            answer = await caller.good(message)
            meter.add(time.perf_counter() - began, units)
            if answer.count(sign) != signs:
                raise Failed(f"{units} events were answered {answer[:1000]!r}")

    async def stopping() -> dict[str, Any]:
        nonlocal stopped
        await asyncio.sleep(WARM)
        meter.begin()
        await asyncio.sleep(job["seconds"])
        caller = await Caller.connect(job["url"]) if process else None
        stopped = True
        return meter.end(await no_live_runs(caller, process) if caller is not None else 0.0)

    clock = asyncio.create_task(stopping())
    await together(job["callers"], job["url"], one)
    return await clock


def batch(type_: str, name: str, datas: list[dict[str, Any]]) -> bytes:
    """Events in one request: one alone is sent singly."""
    if len(datas) == 1:
        return event(type_, f"{name}-0", datas[0])
    return events(type_, [(f"{name}-{each}", data) for each, data in enumerate(datas)])


# ---- W1


async def starts(job: dict[str, Any]) -> dict[str, Any]:
    """Each caller starts a run, waits for its end, and starts the next. `sync`: by the call that is answered at the end."""
    meter, stopped = Meter(job["pids"]), False
    ended: dict[str, asyncio.Future[None] | None] = {}
    path = f"/api/workflow/{job['workflow']}"
    loop = asyncio.get_running_loop()

    async def notices(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.CancelledError):  # the load is over
            while line := await reader.readline():
                run = line.strip().decode()
                waiting = ended.get(run)
                if waiting is None:
                    ended[run] = None  # sooner than the answer to its start
                elif not waiting.done():
                    waiting.set_result(None)

    async def one(caller: Caller, number: int) -> None:
        count = 0
        while not stopped:
            count += 1
            body = {"order": f"A-{number}-{count}", "amount": 129.95, "customer": {"id": number, "name": "Somebody"}}
            began = time.perf_counter()
            if job["sync"]:
                whole = {"name": job["workflow"], "version": 1, "input": body}
                answer = json.decode(
                    await caller.good(
                        request("POST", f"/api/workflow/execute/{job['workflow']}/1?waitForSeconds=30", json.encode(whole))
                    )
                )
                if answer.get("status") != "COMPLETED":
                    raise Failed(f"the run ended as {answer.get('status')}")
            else:
                run = (await caller.good(request("POST", path, json.encode(body)))).decode()
                if run not in ended:
                    ended[run] = waiting = loop.create_future()
                    await waiting
                del ended[run]
            meter.add(time.perf_counter() - began)

    server = await asyncio.start_unix_server(notices, job["socket"]) if job["socket"] else None
    print("listening", flush=True)
    meter.pids.append(int(await loop.run_in_executor(None, sys.stdin.readline)))  # of the worker, once it asks for work

    async def stopping() -> dict[str, Any]:
        nonlocal stopped
        found = await clocked(meter, job["seconds"])
        stopped = True
        return found

    clock = asyncio.create_task(stopping())
    await together(job["callers"], job["url"], one)
    if server is not None:
        server.close()
    caller = await Caller.connect(job["url"])
    await no_live_runs(caller, job["workflow"])
    return await clock


# ---- W2


async def waits(job: dict[str, Any]) -> dict[str, Any]:
    """Runs that wait are made first; then each gets an event that ends it, and the same event again."""
    caller = await Caller.connect(job["url"])
    ready: deque[tuple[str, str]] = deque()
    mark = uuid4().hex[:8]

    async def making(connection: Caller, number: int) -> None:
        for at in range(number * 100, job["count"], 400):
            part = [(f"{mark}-w{each}", {"n": each}) for each in range(at, min(at + 100, job["count"]))]
            answer = json.decode(await connection.good(events(WAITING, part)))
            ready.extend((f"{mark}-p{each['id']}", effect["run"]) for each in answer["events"] for effect in each["effects"])

    await together(4, job["url"], making)
    if len(ready) != job["count"]:
        raise Failed(f"{job['count']} events started {len(ready)} runs")
    meter, stopped, applied, repeats, looked = Meter(job["pids"]), False, [], 0, 0

    async def one(connection: Caller, number: int) -> None:
        nonlocal repeats, looked
        while ready and not stopped:
            id_, run = ready.popleft()
            message = event(PAID, id_, {"run": run, "amount": 12.5})
            began = time.perf_counter()
            first = json.decode(await connection.good(message))
            meter.add(time.perf_counter() - began)
            second = json.decode(await connection.good(message))
            if first["outcome"] != "accepted" or [each["outcome"] for each in first["effects"]] != ["signalled"]:
                raise Failed(f"the event was answered {first}")
            if second["outcome"] != "duplicate" or second["key"] != first["key"]:
                raise Failed(f"the repeat was answered {second}")
            applied.append(run)
            repeats += 1
            if len(applied) % CHECKED == 0:  # what was answered is what is so
                looked += 1
                found = await connection.json("GET", f"/v1/runs/{run}")
                if found["run"]["status"] != "COMPLETED" or found["output"] != {"amount": 12.5}:
                    raise Failed(f"the run after its event: {found}")

    async def stopping() -> None:
        nonlocal stopped
        await asyncio.sleep(job["seconds"])
        stopped = True

    meter.begin()
    clock = asyncio.create_task(stopping())
    await together(job["callers"], job["url"], one)
    found = meter.end()
    clock.cancel()
    for run in applied[:: max(1, len(applied) // 300)]:
        steps = (await caller.json("GET", f"/v1/runs/{run}/steps"))["steps"]
        if len(steps) != 1 or steps[0]["status"] != "COMPLETED":
            raise Failed(f"a run that got one event twice has the steps {steps}")
    return {**found, "repeats": repeats, "checked": looked}


# ---- W3 and W4


async def posts(job: dict[str, Any]) -> dict[str, Any]:
    """Events, singly or in batches, each of which starts a run that ends at once. Counted until no run of them is open."""
    size, topics = job["batch"], job.get("topics", [])

    def made(name: str, turn: int) -> bytes:
        datas = [{"n": turn, "topic": topics[(turn * size + each) % len(topics)] if topics else "", "text": "x" * 60}
                 for each in range(size)]  # fmt: skip
        return batch(TOPIC if topics else START, name, datas)

    return await posting(job, made, b'"started"', size, size, "bench_at_once")


async def handlers(job: dict[str, Any]) -> dict[str, Any]:
    """Registers handlers `first` to `last`; gives how many there were time for."""
    deadline, done = time.perf_counter() + job["seconds"], 0
    queue = deque(range(job["first"], job["last"]))
    began = time.perf_counter()

    async def one(caller: Caller, number: int) -> None:
        nonlocal done
        while queue and time.perf_counter() < deadline:
            each = queue.popleft()
            body = definitions.starts(f"h{each}", TOPIC, "bench_at_once", f"$.topic == 't{each}' && $.n > 0")
            await caller.good(request("POST", "/api/event", json.encode(body)))
            done += 1

    await together(32, job["url"], one)
    return {"units": done, "seconds": time.perf_counter() - began}


# ---- W5


async def rounds(job: dict[str, Any]) -> dict[str, Any]:
    """Drives loops to an iteration, all of them in one exchange a round, and measures the rounds of two windows."""
    caller = await Caller.connect(job["url"])
    runs = [await caller.json("POST", "/api/workflow/bench_loop", {"n": each}) for each in range(job["loops"])]
    reports: list[dict[str, Any]] = []
    items: list[dict[str, Any]] = []
    found: dict[str, Any] = {}
    meter = Meter(job["pids"])
    windows: dict[int, int] = dict(job["windows"])
    last = max([*windows.values(), job["until"]])
    end = 0
    for it in range(1, last + 1):
        if it in windows:
            end = windows[it]
            meter.begin()
        began = time.perf_counter()
        items = []
        while len(items) < len(runs):
            answer = await caller.work("loop", reports, ["bench_turn"], len(runs) - len(items), 2_000)
            reports = []
            items += answer["items"]
        meter.add(time.perf_counter() - began, len(runs))
        if it == end:
            low = next(low for low, high in windows.items() if high == end)
            found[str(low)] = meter.end()
        reports = [{"id": each["id"], "attempt": each["attempt"], "output": {"more": True}} for each in items]
    if any(each["input"]["n"] != last for each in items):
        raise Failed(f"after {last} rounds the loops are at {[each['input'] for each in items][:3]}")
    return {**found, "held": reports}


async def cold(job: dict[str, Any]) -> dict[str, Any]:
    """One report for each of the loops in hand, on a server that has only just been started; then the next items of them."""
    caller = await Caller.connect(job["url"])
    warm = await caller.json("POST", "/api/workflow/bench_loop", {"n": -1})  # code and definitions, but none of the loops
    for _ in range(20):
        answer = await caller.work("warm", [], ["bench_turn"], 1, 2_000)
        [item] = answer["items"]
        if item["run"] != warm:
            raise Failed("an item that is in hand was offered again")
        report = {"id": item["id"], "attempt": item["attempt"], "output": {"more": True}}
        await caller.work("warm", [report], [], 0)
    await caller.json("DELETE", f"/api/workflow/{warm}")
    times: list[float] = []
    held: list[dict[str, Any]] = []
    usual: list[float] = []
    for report in job["held"]:
        began = time.perf_counter()
        answer = await caller.work("loop", [report], [], 0)
        times.append(time.perf_counter() - began)
        if not answer["results"][0]["ok"]:
            raise Failed(f"the report was answered {answer}")
    for _ in range(2):  # the same again, now that they are in memory
        held = []
        while len(held) < len(job["held"]):
            answer = await caller.work("loop", [], ["bench_turn"], len(job["held"]) - len(held), 2_000)
            held += [{"id": each["id"], "attempt": each["attempt"], "output": {"more": True}} for each in answer["items"]]
        if not usual:
            for report in held:
                began = time.perf_counter()
                await caller.work("loop", [report], [], 0)
                usual.append(time.perf_counter() - began)
    return {"cold": times, "cached": usual, "held": held}


JOBS = {"starts": starts, "waits": waits, "posts": posts, "handlers": handlers, "rounds": rounds, "cold": cold}


def main(jobs: Mapping[str, Callable[[dict[str, Any]], Coroutine[Any, Any, dict[str, Any]]]]) -> None:
    source = sys.argv[1]
    job = json.decode(Path(source[1:]).read_bytes() if source.startswith("@") else source.encode())
    try:
        found = uvloop.run(jobs[job["job"]](job))
    except (ExceptionGroup, Failed, OSError) as error:
        first: BaseException = error
        while isinstance(first, ExceptionGroup):
            first = first.exceptions[0]
        found = {"error": f"{type(first).__name__}: {first}"[:2_000]}
    print(json.encode(found).decode(), flush=True)


if __name__ == "__main__":
    main(JOBS)
