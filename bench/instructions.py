"""Instructions that a unit of work costs the server, counted by valgrind: `python -m bench.instructions`.

A count does not depend on what else the machine does, so two versions can be compared beside other work, and a change of 2 % is
seen. It says nothing about waiting, caches and the kernel. Each load runs twice on a server of its own, with few units and with
many; what a unit costs is the difference by the number of units, so that starting and stopping cancel out. A server that is
counted is some fifty times as slow as otherwise: what it does by the clock weighs fifty times as much, which is taken off by
measuring it idle.

`--checkout DIR` measures the server of another checkout, which has an environment of its own in DIR/.venv.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench import definitions
from bench import task_definitions as tasks
from bench.calls import Caller, Failed, event, events, request
from bench.load import together
from bench.worker import QUEUES

from pelton.client import Client

FEW, MANY = 200, 1_200
IDLE = 20.0  # seconds over which an idle server is measured
START_SECONDS = 1_200.0  # beside other loads a start takes minutes
SUMMARY = re.compile(r"^summary: (\d+)", re.MULTILINE)
CALLERS = 16


class Load(NamedTuple):
    """What is registered, and how `count` units are done."""

    documents: Sequence[tuple[str, dict[str, Any]]]
    units: Callable[[str, int], Awaitable[None]]
    scale: int = 1  # a unit of a heavy load counts as so many of a light one


class Counted:
    """A server under valgrind, on an empty directory. `stop` gives its instructions, those of its writer included."""

    def __init__(self, checkout: Path) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="pelton-instructions-")
        self._counts = Path(self._directory.name) / "counts"
        self._counts.mkdir()
        command = [
            "valgrind", "--tool=cachegrind", "--cache-sim=no", f"--cachegrind-out-file={self._counts}/%p", "--trace-children=yes",
            str(checkout / ".venv/bin/python"), "-m", "pelton.cli", "serve", "--port", "0", "--log-format", "json",
            "--data", f"{self._directory.name}/data",
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONHASHSEED": "1"}
        self._process = subprocess.Popen(
            command, cwd=self._directory.name, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment
        )
        self.url = ""
        self._ready = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        if not self._ready.wait(START_SECONDS) or not self.url:
            self._process.kill()
            raise RuntimeError("the server did not start under valgrind")
        self.began = time.monotonic()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if not self.url and '"ready"' in line:
                self.url = json.loads(line[line.index("{") :])["address"]
                self._ready.set()
        self._ready.set()

    def stop(self) -> tuple[int, float]:
        """Instructions in all, and the seconds since it was ready."""
        seconds = time.monotonic() - self.began
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=START_SECONDS)
        found = [SUMMARY.search(each.read_text(errors="replace")) for each in self._counts.iterdir()]
        self._directory.cleanup()
        return sum(int(each[1]) for each in found if each), seconds


async def shared(url: str, count: int, one: Callable[[Caller, int], Awaitable[None]]) -> None:
    """Does `one(caller, number)` for each number, by CALLERS callers."""
    numbers = iter(range(count))

    async def caller(connection: Caller, _: int) -> None:
        for number in numbers:
            await one(connection, number)

    await together(CALLERS, url, caller)


def posting(made: Callable[[int], bytes], sign: bytes, signs: int = 1) -> Callable[[str, int], Awaitable[None]]:
    async def one(caller: Caller, number: int) -> None:
        answer = await caller.good(made(number))
        if answer.count(sign) != signs:
            raise Failed(f"an event was answered {answer[:1000]!r}")

    return lambda url, count: shared(url, count, one)


def report(item: dict[str, Any], output: dict[str, Any]) -> dict[str, Any]:
    return {"id": item["id"], "attempt": item["attempt"], "output": output}


async def steps(url: str, count: int) -> None:
    """W1: runs of three steps, the work done by one worker."""
    path = "/api/workflow/bench_own"

    async def start(caller: Caller, number: int) -> None:
        await caller.good(request("POST", path, json.dumps({"order": f"A-{number}", "amount": 129.95}).encode()))

    starting = asyncio.create_task(shared(url, count, start))
    worker, done, reports = await Caller.connect(url), 0, list[dict[str, Any]]()
    while done < 3 * count:
        answer = await worker.work("w", reports, list(QUEUES), 50, 1_000 if not reports else 0)
        done += len(reports)
        reports = [report(item, {"reference": "A", "done": True}) for item in answer["items"]]
    worker.close()
    await starting


async def waits(url: str, count: int) -> None:
    """W2: a run that waits, the event that ends it, and the same event again."""

    async def one(caller: Caller, number: int) -> None:
        answer = json.loads(await caller.good(event(definitions.WAITING, f"w{number}", {"n": number})))
        message = event(definitions.PAID, f"p{number}", {"run": answer["effects"][0]["run"], "amount": 12.5})
        for sign in (b'"signalled"', b'"duplicate"'):
            found = await caller.good(message)
            if sign not in found:
                raise Failed(f"the event was answered {found[:1000]!r}")

    await shared(url, count, one)


async def moves(url: str, count: int) -> None:
    """T1: a task that an event makes, and a call that moves it."""

    async def one(caller: Caller, number: int) -> None:
        body = {**tasks.body(3, ""), "n": f"x{number}"}
        answer = json.loads(await caller.good(event(tasks.MAKE, f"e{number}", body)))
        run = answer["effects"][0]["run"]
        found = await caller.good(request("POST", f"{tasks.WORKFLOW}/tasks/{run}?trigger=go"))
        if b'"Going"' not in found:
            raise Failed(f"the trigger was answered {found[:1000]!r}")

    await shared(url, count, one)


async def rounds(url: str, count: int) -> None:
    """W5: iterations of loops that share the count."""
    caller = await Caller.connect(url)
    for _ in range(CALLERS):
        await caller.good(request("POST", "/api/workflow/bench_loop", b"{}"))
    done, reports = 0, list[dict[str, Any]]()
    while done < count:
        answer = await caller.work("w", reports, ["bench_turn"], 50, 1_000 if not reports else 0)
        done += len(reports)
        reports = [report(item, {"more": True}) for item in answer["items"]]
    caller.close()


def loads() -> dict[str, Load]:
    flow, handler = "/api/metadata/workflow", "/api/event"
    kinds, acting = f"{tasks.WORKFLOW}/taskdefinitions", f"{tasks.WORKFLOW}/eventhandlers"
    starting = [(flow, definitions.at_once()), (handler, definitions.starts("bench-start", definitions.START, "bench_at_once"))]
    waiting = [
        (flow, definitions.waiting()),
        (handler, definitions.starts("bench-wait", definitions.WAITING, "bench_waiting")),
        (handler, definitions.completes()),
    ]

    def made(fields: int) -> Load:
        return Load(
            [(kinds, tasks.kept(fields)), (acting, tasks.makes(fields))],
            posting(lambda n: event(tasks.MAKE, f"e{n}", {**tasks.body(fields, ""), "n": f"x{n}"}), b'"started"'),
        )

    def single(number: int) -> bytes:
        return event(definitions.START, f"e{number}", {"n": number, "topic": "", "text": "x" * 60})

    def batch(number: int) -> bytes:
        return events(
            definitions.START, [(f"e{number}-{each}", {"n": each, "topic": "", "text": "x" * 60}) for each in range(100)]
        )

    return {
        "W1": Load([(flow, definitions.three_steps("bench_own", QUEUES))], steps, 2),
        "W2": Load(waiting, waits, 2),
        "W3 singly": Load(starting, posting(single, b'"started"')),
        "W3 batches of 100": Load(starting, posting(batch, b'"started"', 100), 50),
        "W5": Load([(flow, definitions.loop(1_000_000))], rounds),
        "T1 0 fields": made(0),
        "T1 3 fields": made(3),
        "T1 made and moved": Load([(kinds, tasks.kept(3)), (acting, tasks.makes(3))], moves, 2),
    }


def run(checkout: Path, load: Load, count: int) -> tuple[int, float]:
    server = Counted(checkout)
    try:
        with Client(server.url) as client:
            for path, document in load.documents:
                client.request("POST", path, json.dumps(document).encode())
        asyncio.run(load.units(server.url, count))  # type: ignore[arg-type]
    finally:
        found = server.stop()
    return found


def idle(checkout: Path) -> float:
    """Instructions a second of a server that has nothing to do."""
    counts = []
    for seconds in (2.0, 2.0 + IDLE):
        server = Counted(checkout)
        time.sleep(seconds)
        counts.append(server.stop())
    (low, early), (high, late) = counts
    return (high - low) / (late - early)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description="Counts the instructions of the server for each unit of a load.")
    parser.add_argument("--checkout", type=Path, default=Path(__file__).resolve().parent.parent, help="whose server is measured")
    parser.add_argument("--only", default="", help="loads, by the beginnings of their names, separated by commas")
    options = parser.parse_args(arguments)
    checkout = options.checkout.resolve()
    a_second = idle(checkout)
    print(f"idle: {a_second:,.0f} instructions a second")
    wanted = tuple(each for each in options.only.split(",") if each)
    for name, load in loads().items():
        if wanted and not name.startswith(wanted):
            continue
        few, many = FEW // load.scale, MANY // load.scale
        (low, early), (high, late) = run(checkout, load, few), run(checkout, load, many)
        a_unit = (high - low - a_second * (late - early)) / (many - few)
        print(f"{name}: {a_unit:,.0f} instructions a unit", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
