"""The workloads: each starts servers, runs load generators beside them, and gives the rows of its part of the table."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import apsw
from bench import definitions
from bench.processes import ROOT, Pelton, memory, tree
from bench.table import Row, Target
from bench.worker import QUEUES

from pelton.client import Client

OFFICIAL = "bench_step"  # as in official_worker.py, whose imports take half a second
SPARE = 120.0  # seconds beyond the load's own that a generator may take to prepare and check


class Plan(NamedTuple):
    seconds: float = 10.0
    handlers: tuple[int, ...] = (10, 1_000, 100_000)
    loop: int = 20_000
    window: int = 1_000
    loops: int = 8
    tasks: int = 100_000
    children: tuple[int, ...] = (100, 500, 1_000)
    peers: bool = True
    events: int = 1_000_000
    kept: int = 150_000


def run_load(job: dict[str, Any], seconds: float, module: str = "load") -> dict[str, Any]:
    with Load(job, module) as load:
        return load.result(seconds)


class Load:
    """A load generator at work."""

    def __init__(self, job: dict[str, Any], module: str = "load") -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
            json.dump(job, file)
        self._file = Path(file.name)
        command = [sys.executable, "-m", f"bench.{module}", f"@{file.name}"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._file.unlink()

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def go(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def result(self, seconds: float) -> dict[str, Any]:
        try:
            text, _ = self._process.communicate(timeout=seconds + SPARE)
        except subprocess.TimeoutExpired:
            return {"error": f"the load did not end within {seconds + SPARE:g} s"}
        lines = text.strip().splitlines()
        found: dict[str, Any] = json.loads(lines[-1]) if lines else {"error": "the load ended without a result"}
        return found


@contextmanager
def server(*workflows: dict[str, Any], handlers: Sequence[dict[str, Any]] = (), options: Sequence[str] = ()) -> Iterator[Pelton]:
    """A new server on an empty directory, with definitions."""
    with tempfile.TemporaryDirectory(prefix="pelton-bench-") as directory:
        found = Pelton(Path(directory), *options).start()
        try:
            with Client(found.url) as client:
                for workflow in workflows:
                    client.request("POST", "/api/metadata/workflow", json.dumps(workflow).encode())
                for handler in handlers:
                    client.request("POST", "/api/event", json.dumps(handler).encode())
            yield found
        finally:
            found.stop()


def row(
    load: str, setting: str, found: dict[str, Any], unit: str, targets: tuple[Target, ...] = (), system: str = "Pelton"
) -> Row:
    if "error" in found:
        return Row(load, setting, system, error=found["error"])
    cpu = sum(found["cpu"])
    return Row(
        load, setting, system, found["rate"], unit, found["p50"], found["p99"], cpu, found.get("load_cpu", 0.0), targets=targets
    )


def single(load: str, setting: str, value: float, shown: str, most: float) -> Row:
    """A row of one number, which should be at most so much."""
    return Row(load, setting, "Pelton", value=value, shown=shown, targets=(Target("value", most),))


def dbos(job: dict[str, Any]) -> dict[str, Any]:
    """Runs the peer: here when it is installed, else through uv, in an environment of its own that has it."""
    with tempfile.TemporaryDirectory(prefix="pelton-bench-") as directory:
        argument = json.dumps({**job, "directory": directory})
        try:
            import dbos as _  # noqa: F401, PLC0415 - is it here?

            command = [sys.executable]
        except ImportError:
            command = [sys.executable, "-m", "uv", "run", "--isolated", "--frozen", "--group", "bench", "python"]
        command += ["-m", "bench.peer_dbos", argument]
        try:
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, timeout=job["seconds"] + SPARE * 2, check=False
            )
        except subprocess.TimeoutExpired:
            return {"error": "it did not end in time"}
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        return json.loads(lines[-1]) if lines else {"error": (done.stderr.strip() or "no result").splitlines()[-1]}


# ---- W1


def w1(plan: Plan) -> Iterator[Row]:
    own, official = definitions.three_steps("bench_own", QUEUES), definitions.three_steps("bench_official", (OFFICIAL,) * 3)
    with server(own, official) as pelton:
        time.sleep(2.0)  # idle
        resident, proportional = memory(pelton.pid)
        yield single("start", "to ready", pelton.ready, f"{pelton.ready:.2f} s", 1.0)
        shown = f"{resident:.0f} MB (shared once: {proportional:.0f})"
        yield single("memory", "idle", resident, shown, 80.0)
    for callers, targets in ((1, (Target("p50", 4.0),)), (32, ()), (256, (Target("rate", 2_000, False), Target("cpu", 0.8)))):
        with server(own) as pelton:
            before = pelton.size()
            found = started(pelton, plan, "bench_own", callers, sync=False)
            yield row("W1", f"own worker, {callers} callers", found, "run", targets)
            pelton.stop()
            if callers == 256 and "error" not in found:
                kept = (pelton.size() - before) / max(1, runs_made(pelton))
                yield single("W1", "kept a run", kept, f"{kept:,.0f} B", 2_000)
    with server(own) as pelton:
        yield row("W1", "own worker, 32 callers, sync", started(pelton, plan, "bench_own", 32, sync=True), "run")
    for callers in (1, 32, 256):
        with server(official) as pelton:
            found = started(pelton, plan, "bench_official", callers, sync=True)
            yield row("W1", f"official worker, {callers} callers, sync", found, "run")
    for callers in (1, 32, 256) if plan.peers else ():
        found = dbos({"job": "starts", "callers": callers, "seconds": plan.seconds})
        yield row("W1", f"{callers} callers", found, "run", system="DBOS")


def started(pelton: Pelton, plan: Plan, workflow: str, callers: int, *, sync: bool) -> dict[str, Any]:
    """The load first, then the worker, whose processor time counts as Pelton's."""
    socket = str(pelton.directory / "ends")
    job = {
        "job": "starts", "url": pelton.url, "pids": [pelton.pid], "workflow": workflow, "callers": callers,
        "seconds": plan.seconds, "sync": sync, "socket": socket,
    }  # fmt: skip
    with Load(job) as load:
        load.line()  # it listens
        name = "worker" if workflow == "bench_own" else "official_worker"
        command = [sys.executable, "-m", f"bench.{name}", pelton.url, socket]
        worker = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 20
            while not polled(pelton, workflow) and time.monotonic() < deadline and worker.poll() is None:
                time.sleep(0.05)
            load.go(str(worker.pid))
            return load.result(plan.seconds)
        finally:
            for pid in tree(worker.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            worker.wait()


def polled(pelton: Pelton, workflow: str) -> bool:
    """Whether the worker asks for work already."""
    queue = OFFICIAL if workflow == "bench_official" else QUEUES[0]
    with Client(pelton.url) as client:
        return bool(client.request("GET", f"/api/tasks/queue/polldata?taskType={queue}"))


def runs_made(pelton: Pelton) -> int:
    """Counted in the file of a server that has stopped."""
    [path] = list(pelton.data.rglob("*.db"))
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    count: Any = db.execute("SELECT count(*) FROM run").fetchall()[0][0]
    db.close()
    return int(count)


# ---- W2, W3, W4


def w2(plan: Plan) -> Iterator[Row]:
    handlers = [definitions.starts("bench-wait", definitions.WAITING, "bench_waiting"), definitions.completes()]
    for callers, targets in ((1, (Target("p50", 5.0),)), (32, (Target("rate", 4_000, False), Target("p50", 8.0)))):
        with server(definitions.waiting(), handlers=handlers) as pelton:
            job = {"job": "waits", "url": pelton.url, "pids": [pelton.pid], "callers": callers, "seconds": plan.seconds}
            count = int(plan.seconds * (1_500 if callers == 1 else 6_000))
            yield row("W2", f"{callers} callers", run_load({**job, "count": count}, plan.seconds + 60), "event", targets)
    for callers in (1, 32) if plan.peers else ():
        job = {"job": "waits", "callers": callers, "seconds": plan.seconds, "count": 500}
        yield row("W2", f"{callers} callers", dbos(job), "event", system="DBOS")


def w3(plan: Plan) -> Iterator[Row]:
    settings = (
        ("singly, 64 callers", 1, 64, (Target("rate", 8_000, False), Target("cpu", 0.2))),
        ("batches of 100, 4 callers", 100, 4, (Target("rate", 15_000, False), Target("cpu", 0.2))),
    )
    for name, batch, callers, targets in settings:
        yield row("W3", name, posted(plan.seconds, batch, callers), "event", targets)
    if plan.peers:
        found = dbos({"job": "posts", "callers": 32, "seconds": plan.seconds})
        yield row("W3", "singly, 32 callers", found, "event", system="DBOS")


def posted(seconds: float, batch: int, callers: int) -> dict[str, Any]:
    handlers = [definitions.starts("bench-start", definitions.START, "bench_at_once")]
    with server(definitions.at_once(), handlers=handlers) as pelton:
        job = {"job": "posts", "url": pelton.url, "pids": [pelton.pid], "callers": callers, "batch": batch}
        return run_load({**job, "seconds": seconds}, seconds)


def w4(plan: Plan) -> Iterator[Row]:
    """All handlers are for the same type of event, and differ in what one equality test of their condition wants."""
    with server(definitions.at_once()) as pelton:
        had, first = 0, 0.0
        for wanted in plan.handlers:
            made = run_load(
                {"job": "handlers", "url": pelton.url, "first": had, "last": wanted, "seconds": 240.0}, 240.0
            )  # fmt: skip
            if "error" in made:
                yield Row("W4", f"{wanted:,} handlers", "Pelton", error=made["error"])
                return
            had += made["units"]
            topics = [f"t{each}" for each in range(0, had, max(1, had // 10))]
            job = {"job": "posts", "url": pelton.url, "pids": [pelton.pid], "callers": 32, "batch": 1, "topics": topics}
            found = run_load({**job, "seconds": plan.seconds}, plan.seconds)
            yield row("W4", f"{had:,} handlers", found, "event")
            if "error" in found:
                return
            cost = sum(found["cpu"])
            first = first or cost
            if wanted == plan.handlers[-1]:
                note = "" if had == wanted else f" (time for {had:,} handlers)"
                shown = f"{cost / first:.2f}x{note}"
                yield single("W4", "most against fewest, CPU", cost / first, shown, 1.5)
            if made["units"] >= 900:
                rate = made["units"] / made["seconds"]
                yield Row("W4", f"registering the last {made['units']:,}", "Pelton", rate, "handler")
            if had < wanted:
                return


# ---- W5


def w5(plan: Plan) -> Iterator[Row]:
    early, late, window = 100, plan.loop, plan.window
    windows = [[early, early + window - 1], [late - window, late - 1]]
    with server(definitions.loop(plan.loop * 10)) as pelton:
        job = {"job": "rounds", "url": pelton.url, "pids": [pelton.pid], "loops": plan.loops}
        found = run_load({**job, "windows": windows, "until": late}, 600)
        if "error" in found:
            yield Row("W5", "cached", "Pelton", error=found["error"])
            return
        first, last = found[str(early)], found[str(late - window)]
        for at, each in ((early, first), (late, last)):
            yield row("W5", f"iteration {at:,}, cached", each, "iteration")
        ratio = sum(last["cpu"]) / sum(first["cpu"])
        yield single("W5", f"{late:,} against {early}, cached, CPU", ratio, f"{ratio:.2f}x", 1.2)
        ratio = first["rate"] / last["rate"]
        yield single("W5", f"{late:,} against {early}, cached, time", ratio, f"{ratio:.2f}x", 1.2)
        young = run_load({**job, "windows": [], "until": early}, 60)
        yield from colds(pelton, early, young, late, found)


def colds(pelton: Pelton, early: int, young: dict[str, Any], late: int, old: dict[str, Any]) -> Iterator[Row]:
    """The server is stopped with the loops' items in hand; each loop's first report to the new server is timed."""
    times: dict[int, list[float]] = {early: [], late: []}
    held = {early: young.get("held", []), late: old["held"]}
    for _ in range(4):
        for at in (early, late):
            pelton.stop()
            pelton.start()
            found = run_load({"job": "cold", "url": pelton.url, "held": held[at]}, 60)
            if "error" in found or not found["cold"]:
                yield Row("W5", f"iteration {at:,}, cold", "Pelton", error=found.get("error", "there were no loops"))
                return
            held[at] = found["held"]
            times[at] += found["cold"]
    middle = {at: statistics.median(each) * 1000 for at, each in times.items()}
    for at in (early, late):
        shown = f"{middle[at]:.2f} ms"
        yield Row("W5", f"iteration {at:,}, cold, one report", "Pelton", shown=shown, p50=middle[at], p99=max(times[at]) * 1000)
    ratio = middle[late] / middle[early]
    yield single("W5", f"{late:,} against {early}, cold, time", ratio, f"{ratio:.2f}x", 1.5)


ALL: dict[str, Callable[[Plan], Iterator[Row]]] = {"W1": w1, "W2": w2, "W3": w3, "W4": w4, "W5": w5}
