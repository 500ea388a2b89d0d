"""Finding tasks.

By their ids, and by the ids of their workflows, they are looked up. Otherwise they are looked for in the newest workflows that
may have them, up to a bound: there is no index of tasks over all workflows, since each task of each run would have to pay for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

from pelton.kernel.model.process import Process
from pelton.kernel.model.state import OpenStep, RunStatus, Step
from pelton.languages.conductor import status_names
from pelton.languages.conductor.definitions.annotations import NodeAnnotations
from pelton.languages.conductor.runs import view
from pelton.languages.conductor.runs.identifiers import Ids
from pelton.languages.conductor.search import grammar
from pelton.languages.conductor.search.grammar import QueryCondition
from pelton.languages.conductor.search.summaries import text_of
from pelton.languages.conductor.search.workflows import TEXT, SearchQuestion, WorkflowSearch
from pelton.runtime.api import Engine, RunView
from pelton.runtime.caller import Caller

RUNS = 2_000  # workflows whose tasks one search looks at
STEPS = 50_000  # tasks that it looks at
PAGE = 16  # steps that are read together: each may be large

_TIMES = ("scheduledTime", "startTime", "updateTime", "endTime")
FIELDS = frozenset(
    {*_TIMES, "taskId", "workflowId", "workflowType", "correlationId", "taskType", "taskDefName", "status", "workerId", "domain"}
    | {"referenceTaskName", "taskReferenceName"}
)
_OPEN = ("SCHEDULED", "IN_PROGRESS")


class FoundTask(NamedTuple):
    run: RunView
    context: view.RunContext
    step: OpenStep | Step
    fields: dict[str, Any]  # what conditions and orders are about


class TaskSearch:
    def __init__(self, engine: Engine, ids: Ids, workflows: WorkflowSearch) -> None:
        self._engine = engine
        self._ids = ids
        self._workflows = workflows

    async def find(self, caller: Caller, question: SearchQuestion) -> tuple[int, list[FoundTask]]:
        found = await self._matching(caller, question)
        return len(found), found[question.start : question.start + question.size]

    async def find_workflows(self, caller: Caller, question: SearchQuestion) -> tuple[int, list[RunView]]:
        """Those of the tasks, each once."""
        found = {task.run.run.key: task.run for task in await self._matching(caller, question)}
        return len(found), list(found.values())[question.start : question.start + question.size]

    async def _matching(self, caller: Caller, question: SearchQuestion) -> list[FoundTask]:
        of: dict[str, list[QueryCondition]] = {}
        for each in question.conditions:
            if each.field in FIELDS:
                of.setdefault(_NAMES.get(each.field, each.field), []).append(each)
        tests = {
            field: grammar.time_test(conditions) if field in _TIMES else grammar.text_test(conditions)
            for field, conditions in of.items()
        }
        sought = question.text.strip().casefold()
        found: list[FoundTask] = []
        looked = 0
        async for run in self._runs(caller, of):
            if not _may_have(run.process, of):
                continue
            context = view.context_of(self._engine, run)
            mine: list[FoundTask] = []
            async for step in self._steps(caller, run):
                looked += 1
                fields = _fields_of(context, step)
                if all(test(fields[field]) for field, test in tests.items()) and (not sought or _mentions(fields, step, sought)):
                    step.input = step.output = None  # read again when it is shown: there may be very many
                    mine.append(FoundTask(run, context, step, fields))
            found += reversed(mine)
            if looked >= STEPS:
                break
        for order in reversed(question.sort):
            found.sort(key=_by(_NAMES.get(order.field, order.field)), reverse=not order.ascending)
        return found

    async def _steps(self, caller: Caller, run: RunView) -> AsyncIterator[OpenStep | Step]:
        after = max(0, run.run.next_n - STEPS - 1)
        while True:
            steps = await self._engine.steps(caller, run.run.key, after, PAGE)
            for step in steps:
                if view.is_task(step):
                    yield step
            if len(steps) < PAGE:
                return
            after = max(step.n for step in steps)
            await asyncio.sleep(0)

    async def _runs(self, caller: Caller, of: dict[str, list[QueryCondition]]) -> AsyncIterator[RunView]:
        """Workflows that may have such tasks, newest first."""
        keys: set[int] | None = None
        if (tasks := grammar.exact(of.get("taskId", ()))) is not None:
            keys = {place[0] for text in tasks if (place := self._ids.parse_step_id(text)) is not None}
        elif (workflows := grammar.exact(of.get("workflowId", ()))) is not None:
            keys = {key for text in workflows if (key := self._ids.parse_run_id(text)) is not None}
        conditions = [each for field in ("workflowType", "correlationId") for each in of.get(field, ())]
        if keys is not None:
            conditions.append(QueryCondition("workflowId", "in", tuple(self._ids.run_id(key) for key in keys)))
        if (statuses := grammar.exact(of.get("status", ()))) is not None and all(each in _OPEN for each in statuses):
            live = [name for status, name in status_names.RUN_STATUS.items() if not status.ended and status != RunStatus.EXPECTED]
            conditions.append(QueryCondition("status", "in", tuple(live)))  # open tasks are in open workflows
        found = await self._workflows.find(caller, SearchQuestion(conditions, "", (), 0, RUNS))
        for number, run in enumerate(found.runs):
            yield run
            if number % 20 == 19:
                await asyncio.sleep(0)


_NAMES = {"taskReferenceName": "referenceTaskName"}


def _may_have(process: Process, of: dict[str, list[QueryCondition]]) -> bool:
    """Whether some task of the definition fulfils what is said about types and names; forks whose tasks come later may."""
    if "taskType" not in of and "taskDefName" not in of:
        return True
    kind, name = grammar.text_test(of.get("taskType", ())), grammar.text_test(of.get("taskDefName", ()))
    for node in process.nodes.values():
        if not isinstance(node.annotations, NodeAnnotations):
            continue
        task = node.annotations.task
        if "DYNAMIC" in task.type or (kind(node.annotations.shown) and name(task.name)):
            return True
    return False


def _fields_of(context: view.RunContext, step: OpenStep | Step) -> dict[str, Any]:
    try:
        return _fields(context, step)
    except (LookupError, TypeError, ValueError, AttributeError):  # it must not hide the others
        bare = view.bare_task(context, step, "")
        return {**dict.fromkeys(FIELDS, ""), **dict.fromkeys(_TIMES, 0), **{name: bare.get(name, "") for name in _SHOWN_BARE}}


_SHOWN_BARE = ("taskId", "workflowType", "taskType", "taskDefName", "referenceTaskName", "status")


def _fields(context: view.RunContext, step: OpenStep | Step) -> dict[str, Any]:
    task = view.task_view(context, step)
    return {
        "taskId": task.task_id,
        "workflowId": task.workflow_instance_id,
        "workflowType": task.workflow_type,
        "correlationId": task.correlation_id or "",
        "taskType": task.task_type,
        "taskDefName": task.task_def_name,
        "referenceTaskName": task.reference_task_name,
        "status": task.status,
        "scheduledTime": task.scheduled_time,
        "startTime": task.start_time,
        "updateTime": task.update_time,
        "endTime": task.end_time,
        "workerId": task.worker_id or "",
        "domain": task.domain or "",
        "reason": task.reason_for_incompletion or "",
    }


def _by(field: str) -> Callable[[FoundTask], Any]:
    return lambda task: task.fields[field]


def _mentions(fields: dict[str, Any], step: OpenStep | Step, sought: str) -> bool:
    texts = [str(value) for value in fields.values()]
    texts += [text_of(step.input)[:TEXT], text_of(step.output)[:TEXT]]
    return any(sought in text.casefold() for text in texts)
