"""Callers who wait: for a run to end, or to come to a task that blocks it."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import NamedTuple

from pelton.kernel.model.state import Bit, OpenStep, Run, RunStatus, State, Step
from pelton.languages.conductor.http.api_context import ConductorApi
from pelton.languages.conductor.runs import view
from pelton.languages.conductor.runs.identifiers import split_reference
from pelton.runtime.api import RunView
from pelton.transport.http.asgi import Response, empty, raw_json
from pelton.transport.http.errors import WebError

MAX_DEPTH = 20  # of runs that call runs
MAX_LOOKED = 200  # runs looked at in one look
SLOW_LOOK = 1.0  # seconds after which a look is made whether or not something is known to have changed
MAX_REFERENCES = 100

STRATEGIES = ("TARGET_WORKFLOW", "BLOCKING_WORKFLOW", "BLOCKING_TASK", "BLOCKING_TASK_INPUT")


class Blocked(NamedTuple):
    run: RunView
    step: OpenStep | Step


class Seen(NamedTuple):
    """What a look came to. `blocked` None with `timed_out` false: the run has ended."""

    target: RunView
    blocked: Blocked | None
    timed_out: bool


def strategy_of(text: str) -> str:
    if text not in STRATEGIES:
        raise WebError(400, f"returnStrategy must be one of {', '.join(STRATEGIES)}, not {text[:100]!r}")
    return text


async def wait(api: ConductorApi, key: int, references: Collection[str], seconds: float) -> Seen:
    """Until the run has ended, or something blocks it; at most so many seconds."""
    deadline = time.monotonic() + seconds
    with api.engine.watch(api.caller, key) as watch:
        while True:
            target = await api.engine.view(api.caller, key)
            if target is None:
                raise WebError(404, "the workflow was removed while it was waited for")
            if RunStatus(target.run.status).ended:
                return Seen(target, None, False)
            blocked = await blocking(api, target, references)
            if blocked is not None:
                return Seen(target, blocked, False)
            left = deadline - time.monotonic()
            if left <= 0:
                return Seen(target, None, True)
            await watch.changed(min(left, SLOW_LOOK))


async def blocking(api: ConductorApi, target: RunView, references: Collection[str]) -> Blocked | None:
    """The first task that blocks the run or one of the runs it has called: a wait without an end, or one of `references` that
    has ended."""
    pending: list[tuple[RunView, int]] = [(target, 0)]
    looked = 0
    while pending and looked < MAX_LOOKED:
        current, depth = pending.pop(0)
        looked += 1
        for reference in references:
            slot, it = split_reference(reference, current.process.nodes)
            found = await api.engine.newest(api.caller, current.run.key, slot, it)
            if isinstance(found, Step) and not found.bits & Bit.RETRIED:
                return Blocked(current, found)
        rows = await open_steps(api, current.run)
        for row in rows:
            if row.state == State.WAIT and not row.bits & (Bit.TIMED | Bit.AWAITS_THREADS):
                return Blocked(current, row)
        if depth < MAX_DEPTH:
            pending += [(child, depth + 1) for child in await children(api, rows)]
    return None


async def open_steps(api: ConductorApi, run: Run) -> list[OpenStep]:
    """Tasks that have not ended, by number."""
    return [row for row in await api.engine.open_steps(run) if row.n > 0]


async def answer(api: ConductorApi, seen: Seen, strategy: str, request: str) -> Response:
    """The answer to a caller who waited, in the shape that he asked for."""
    engine, codec, caller = api.engine, api.engine.codec, api.caller
    if strategy in ("BLOCKING_TASK", "BLOCKING_TASK_INPUT"):
        if seen.blocked is None:
            return empty()
        place = view.context_of(engine, seen.blocked.run)
        step = seen.blocked.step
        task = view.task_view(place, step, await view.output_of(engine, caller, step))
        return raw_json(view.encode(view.task_answer(seen.target, task, codec, strategy, request)))
    shown = seen.blocked.run if seen.blocked is not None and strategy == "BLOCKING_WORKFLOW" else seen.target
    workflow = await view.workflow_view(engine, caller, shown)
    return raw_json(view.encode(view.run_answer(seen.target, workflow, codec, strategy, request, seen.timed_out)))


def references_of(text: str) -> list[str]:
    found = [part.strip() for part in text.split(",") if part.strip()]
    if len(found) > MAX_REFERENCES:
        raise WebError(400, f"waitUntilTaskRef names {len(found)} tasks; at most {MAX_REFERENCES} can be waited for")
    return found


async def waiting(api: ConductorApi, target: RunView) -> Blocked | None:
    """The first open WAIT of the run, else of the runs that it has called; one that would end by itself counts too."""
    pending: list[tuple[RunView, int]] = [(target, 0)]
    looked = 0
    while pending and looked < MAX_LOOKED:
        current, depth = pending.pop(0)
        looked += 1
        rows = await open_steps(api, current.run)
        for row in rows:
            if row.state == State.WAIT and not row.bits & Bit.AWAITS_THREADS:
                return Blocked(current, row)
        if depth < MAX_DEPTH:
            pending += [(child, depth + 1) for child in await children(api, rows)]
    return None


async def children(api: ConductorApi, rows: list[OpenStep]) -> list[RunView]:
    """The runs that these tasks have called and that go on."""
    found = []
    for row in rows:
        if row.state == State.CALL and row.child > 0:
            child = await api.engine.view(api.caller, row.child)
            if child is not None and not RunStatus(child.run.status).ended and child.process.language == api.language:
                found.append(child)
    return found
