"""The workloads of tasks (T1 to T4), as those of workloads.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bench import task_definitions as definitions
from bench.processes import Pelton, memory
from bench.table import Row, Target
from bench.task_definitions import WORKFLOW
from bench.workloads import Plan, posted, row, run_load, server, single

from pelton.client import Client

RATE = Target("rate", 3_000, False)
LOAD = "task_load"
REGISTERING = 240.0  # seconds that registering handlers may take


@contextmanager
def tasks(*kinds: dict[str, Any], handlers: Sequence[dict[str, Any]] = ()) -> Iterator[Pelton]:
    """A new server on an empty directory, with task definitions and event handlers."""
    with server() as pelton:
        with Client(pelton.url) as client:
            for path, documents in (("taskdefinitions", kinds), ("eventhandlers", handlers)):
                for document in documents:
                    client.request("POST", f"{WORKFLOW}/{path}", json.dumps(document).encode())
        yield pelton


def load(pelton: Pelton, job: str, seconds: float, **more: Any) -> dict[str, Any]:
    return run_load({"job": job, "url": pelton.url, "pids": [pelton.pid], "seconds": seconds, **more}, seconds, LOAD)


# ---- T1


def t1(plan: Plan) -> Iterator[Row]:
    """W3 comes first, so that what a task costs is to be seen beside a run that ends at once."""
    settings = (("singly, 64 callers", 1, 64), ("batches of 100, 4 callers", 100, 4))
    least: dict[int, float] = {}
    started = 0.0  # runs that one event each starts, a second
    for name, batch, callers in settings:
        found = posted(plan.seconds, batch, callers)
        yield row("T1", f"W3, {name}", found, "event")
        least[batch] = sum(found.get("cpu", ()))
        if batch == 1 and "error" not in found:
            started = found["units"] / found["seconds"]
    for name, batch, callers in settings:
        for fields in (0, 3, 6):
            with tasks(definitions.kept(fields), handlers=[definitions.makes(fields)]) as pelton:
                found = load(pelton, "makes", plan.seconds, batch=batch, callers=callers, fields=fields)
            yield row("T1", f"{fields} fields, {name}", found, "event", (RATE,))
            if least[batch] and "error" not in found:
                ratio = sum(found["cpu"]) / least[batch]
                yield Row("T1", f"{fields} fields against W3, CPU", "Pelton", value=ratio, shown=f"{ratio:.2f}x")
    for by, name in (("event", "by an event for one"), ("call", "by the call, with the task in its answer")):
        with tasks(definitions.kept(3), handlers=[definitions.makes(3), definitions.moves(3)]) as pelton:
            count = int((plan.seconds + 1) * 4_000)
            found = load(pelton, "moves", plan.seconds, by=by, callers=64, fields=3, count=count)
        yield row("T1", f"a further state, {name}, 64 callers", found, "task")
        if by == "event" and started and "error" not in found:
            part = found["units"] / found["seconds"] / started
            yield Row("T1", "an event for one task against W3 singly, rate", "Pelton", value=part, shown=f"{part:.2f}x")


# ---- T2


def t2(plan: Plan) -> Iterator[Row]:
    """All handlers are for the same type of event, and differ in what they want of its body."""
    with tasks(definitions.kept(0)) as pelton:
        had, first, last = 0, 0.0, 0.0
        for wanted in plan.handlers[1:]:
            idle = memory(pelton.pid)[1]
            made = load(pelton, "handlers", REGISTERING, first=had, last=wanted)
            yield row("T2", f"registering {wanted - had:,} handlers, 32 callers", made, "handler")
            if "error" in made:
                return
            had += made["units"]
            topics = [int(had * part / 31) for part in range(31)]
            found = load(pelton, "topics", plan.seconds, callers=32, topics=topics)
            yield row("T2", f"{had:,} handlers", found, "event")
            if "error" in found:
                return
            last = sum(found["cpu"])
            first = first or last
            if wanted == plan.handlers[-1]:
                note = "" if had == wanted else f" (time for {had:,} handlers)"
                yield single("T2", "most against fewest, CPU", last / first, f"{last / first:.2f}x{note}", 1.5)
                grown = (memory(pelton.pid)[1] - idle) * 1e6 / made["units"]
                yield Row("T2", "memory a handler", "Pelton", value=grown, shown=f"{grown:,.0f} B")
            if had < wanted:
                return


# ---- T3


def t3(plan: Plan) -> Iterator[Row]:
    with tasks(definitions.flipping(), handlers=definitions.flips()) as pelton:
        made = load(pelton, "open", 240.0, count=plan.tasks)
        if "error" in made:
            yield Row("T3", f"{plan.tasks:,} open tasks", "Pelton", error=made["error"])
            return
        yield Row("T3", f"making {plan.tasks:,} tasks", "Pelton", made["units"] / made["seconds"], "task")
        for callers, again in ((1, True), (1, False), (16, False)):
            found = load(pelton, "flips", plan.seconds, count=plan.tasks, callers=callers, again=again)
            which = "touched before" if again else "not in memory"
            targets = (Target("p50", 5.0),) if callers == 1 else ()
            yield row("T3", f"3 of {plan.tasks:,}, {which}, {callers} callers", found, "event", targets)


# ---- T4


def t4(plan: Plan) -> Iterator[Row]:
    costs: list[dict[str, Any]] = []
    for children in plan.children:
        with tasks(definitions.child(), definitions.parent(children), handlers=definitions.family(children)) as pelton:
            found = load(pelton, "closes", 300.0, children=children, rounds=3)
        if "error" in found:
            yield Row("T4", f"{children:,} children", "Pelton", error=found["error"])
            return
        costs.append(found)
        total = found["seconds"]
        shown = f"{total * 1000:,.0f} ms ({total / children * 1000:.2f} a child)"
        cpu = sum(found["cpu"])
        yield Row("T4", f"{children:,} children close, then their parent", "Pelton", cpu=cpu, shown=shown)
        yield Row("T4", f"making the parent and {children:,} children", "Pelton", shown=f"{found['made'] * 1000:,.0f} ms")
    fewest, most = plan.children[0], plan.children[-1]
    ratio = sum(costs[-1]["cpu"]) / sum(costs[0]["cpu"])
    yield single("T4", f"a child of {most:,} against {fewest:,}, CPU", ratio, f"{ratio:.2f}x", 1.5)
    ratio = (costs[-1]["seconds"] / most) / (costs[0]["seconds"] / fewest)
    yield single("T4", f"a child of {most:,} against {fewest:,}, time", ratio, f"{ratio:.2f}x", 1.5)


ALL: dict[str, Callable[[Plan], Iterator[Row]]] = {"T1": t1, "T2": t2, "T3": t3, "T4": t4}
