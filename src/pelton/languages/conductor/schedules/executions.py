"""What became of the times at which schedules were due."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog
from msgspec import UNSET

from pelton.kernel.model.state import OpenStep, Step
from pelton.languages.conductor.model import CamelForm, Text
from pelton.languages.conductor.schedules.process import KEPT, PROCESS, START_STEP
from pelton.languages.conductor.search import grammar
from pelton.languages.conductor.search.grammar import QueryCondition, Sort
from pelton.runtime.api import Engine
from pelton.runtime.caller import Caller
from pelton.runtime.rows import RunQuery

log = structlog.get_logger("pelton.languages")
RUNS = 1_000  # of schedules, the newest, that are looked at
FIELDS = frozenset(
    {"executionId", "scheduleName", "scheduledTime", "executionTime", "workflowName", "workflowId", "state", "startTime"}
)
_TIMES = ("scheduledTime", "executionTime", "startTime")


class ScheduleExecution(CamelForm):
    execution_id: str
    schedule_name: str
    scheduled_time: int
    execution_time: int
    workflow_name: str
    workflow_id: Text
    reason: Text
    start_workflow_request: Any
    state: str
    zone_id: str


async def find_executions(
    engine: Engine, caller: Caller, conditions: Sequence[QueryCondition], text: str, sort: Sequence[Sort]
) -> list[ScheduleExecution]:
    """The latest first, unless sorted otherwise."""
    of: dict[str, list[QueryCondition]] = {}
    for each in conditions:
        if each.field in FIELDS:
            of.setdefault(each.field, []).append(each)
    tests = {field: grammar.time_test(given) if field in _TIMES else grammar.text_test(given) for field, given in of.items()}
    sought = text.strip().casefold()
    found: list[ScheduleExecution] = []
    _, runs = await engine.find_runs(caller, RunQuery(caller.namespace, (PROCESS,)), 0, RUNS)
    for head in runs:
        try:
            view = await engine.view(caller, head.key)
        except (msgspec.MsgspecError, LookupError, TypeError, ValueError) as error:  # it must not hide the others
            log.error("a schedule's run cannot be read", run=engine.codec.run_id(head.key), error=str(error))
            continue
        if view is None:
            continue
        given = view.start.output
        after = max(-1, head.next_n - 4 * KEPT)
        for step in await engine.steps(caller, head.key, after, 4 * KEPT + 4):
            if step.slot != START_STEP or not isinstance(given, dict):
                continue
            execution = execution_of(engine, given, step)
            fits = all(test(_value(execution, field)) for field, test in tests.items())
            if fits and (not sought or _mentions(execution, sought)):
                found.append(execution)
        await asyncio.sleep(0)
    found.sort(key=_by(Sort("scheduledTime", False)), reverse=True)
    for order in reversed(sort):
        found.sort(key=_by(order), reverse=not order.ascending)
    return found


def _by(order: Sort) -> Any:
    return lambda each: _value(each, order.field)


def execution_of(engine: Engine, given: Any, step: OpenStep | Step) -> ScheduleExecution:
    output = step.output if isinstance(step.output, dict) else {}
    failed = isinstance(step, Step) and not output
    return ScheduleExecution(
        execution_id=engine.codec.step_id(step.run, step.n),
        schedule_name=given["name"],
        scheduled_time=step.input["scheduledTime"] if isinstance(step.input, dict) else 0,
        execution_time=output.get("executionTime", step.opened),
        workflow_name=given["request"].get("name", ""),
        workflow_id=output.get("workflowId", UNSET),
        reason=output.get("reason", UNSET) if not failed else step.reason or UNSET,
        start_workflow_request=given["request"],
        state=output.get("state", "FAILED" if failed else "POLLED"),
        zone_id=given["zone"],
    )


def _value(each: ScheduleExecution, field: str) -> Any:
    return {
        "executionId": each.execution_id,
        "scheduleName": each.schedule_name,
        "scheduledTime": each.scheduled_time,
        "executionTime": each.execution_time,
        "startTime": each.execution_time,
        "workflowName": each.workflow_name,
        "workflowId": each.workflow_id or "",
        "state": each.state,
    }[field]


def _mentions(each: ScheduleExecution, sought: str) -> bool:
    texts = (each.schedule_name, each.workflow_name, each.workflow_id or "", each.reason or "", each.state)
    return any(sought in text.casefold() for text in texts)
