"""Callers that wait for a run to end or to reach a blocking task, and the shapes of their responses."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from pelton.errors import Code, PeltonError
from pelton.kernel.model.state import RunStatus
from pelton.languages.conductor.http.api_context import ConductorApi
from pelton.languages.conductor.runs import view
from pelton.languages.conductor.runs.blocking import Blocked, find_blocked
from pelton.runtime.api import RunView
from pelton.runtime.caller import Caller
from pelton.transport.http.asgi import Response, empty, raw_json
from pelton.transport.waiting import wait_until_found

MAX_REFERENCES = 100

STRATEGIES = ("TARGET_WORKFLOW", "BLOCKING_WORKFLOW", "BLOCKING_TASK", "BLOCKING_TASK_INPUT")


class WaitOutcome(NamedTuple):
    """What a wait ended with. `blocked` None with `timed_out` false: the run has ended."""

    target: RunView
    blocked: Blocked | None
    timed_out: bool


def strategy_of(text: str) -> str:
    if text not in STRATEGIES:
        raise PeltonError(Code.INVALID, f"returnStrategy must be one of {', '.join(STRATEGIES)}, not {text[:100]!r}")
    return text


def references_of(text: str) -> list[str]:
    found = [part.strip() for part in text.split(",") if part.strip()]
    if len(found) > MAX_REFERENCES:
        raise PeltonError(Code.INVALID, f"waitUntilTaskRef names {len(found)} tasks; at most {MAX_REFERENCES} can be waited for")
    return found


async def wait(api: ConductorApi, caller: Caller, key: int, references: Collection[str], seconds: float) -> WaitOutcome:
    """Until the run has ended, or something blocks it; at most so many seconds."""

    async def target() -> RunView:
        found = await api.engine.view(caller, key)
        if found is None:
            raise PeltonError(Code.UNKNOWN_RUN, "the workflow was removed while it was waited for")
        return found

    async def look() -> WaitOutcome | None:
        run = await target()
        if RunStatus(run.run.status).ended:
            return WaitOutcome(run, None, False)
        blocked = await find_blocked(api.engine, caller, run, references)
        return WaitOutcome(run, blocked, False) if blocked is not None else None

    found = await wait_until_found(api.engine.watch(caller, key), look, seconds)
    return found if found is not None else WaitOutcome(await target(), None, True)


async def answer(api: ConductorApi, caller: Caller, look: WaitOutcome, strategy: str, request: str) -> Response:
    """The answer to a caller who waited, in the shape that they asked for."""
    engine, codec = api.engine, api.engine.codec
    if strategy in ("BLOCKING_TASK", "BLOCKING_TASK_INPUT"):
        if look.blocked is None:
            return empty()
        context = view.context_of(engine, look.blocked.run)
        step = look.blocked.step
        task = view.task_view(context, step, await view.output_of(engine, caller, step))
        return raw_json(view.encode(view.task_answer(look.target, task, codec, strategy, request)))
    run = look.blocked.run if look.blocked is not None and strategy == "BLOCKING_WORKFLOW" else look.target
    workflow = await view.workflow_view(engine, caller, run)
    return raw_json(view.encode(view.run_answer(look.target, workflow, codec, strategy, request, look.timed_out)))
