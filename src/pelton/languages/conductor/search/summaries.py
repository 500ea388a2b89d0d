"""Workflows and tasks as searches show them: short, with times and data as text."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from msgspec import UNSET

from pelton.kernel.model.state import Bit, OpenStep, RunStatus, Step, StepStatus
from pelton.languages.conductor import status_names
from pelton.languages.conductor.definitions.annotations import NodeAnnotations
from pelton.languages.conductor.model import CamelForm, Text
from pelton.languages.conductor.runs import view
from pelton.runtime.api import Engine, RunView
from pelton.runtime.caller import Caller

NEWEST_STEPS = 500  # of a failed workflow, among which its failed tasks are looked for
AT_ONCE = 16  # steps that are read together: each may be large
_FAILED = (StepStatus.FAILED, StepStatus.FAILED_FOR_GOOD, StepStatus.TIMED_OUT)


class WorkflowSummary(CamelForm):
    workflow_type: str
    version: int
    workflow_id: str
    correlation_id: Text
    start_time: str
    update_time: str
    end_time: Text
    status: str
    input: str
    output: str
    reason_for_incompletion: Text
    execution_time: int
    event: Text
    failed_reference_task_names: str
    failed_task_names: list[str]
    priority: int
    created_by: Text
    task_to_domain: dict[str, str]
    idempotency_key: Text
    parent_workflow_id: Text
    output_size: int
    input_size: int


class TaskSummary(CamelForm):
    workflow_id: str
    workflow_type: str
    correlation_id: Text
    scheduled_time: str
    start_time: Text
    update_time: Text
    end_time: Text
    status: str
    reason_for_incompletion: Text
    execution_time: int
    queue_wait_time: int
    task_def_name: str
    task_type: str
    input: str
    output: str
    task_id: str
    reference_task_name: str
    workflow_priority: int
    domain: Text
    retry_count: int


def instant(at: int) -> str:
    try:
        return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):  # beyond the year 9999
        return "9999-12-31T23:59:59.999Z"


def text_of(value: Any) -> str:
    return view.encode(value if value is not None else {}).decode()


async def workflow_summary(engine: Engine, caller: Caller, found: RunView) -> WorkflowSummary:
    run, meta, codec = found.run, view.meta_of(found.start), engine.codec
    status = status_names.known_status(run.status)
    failed = await _failed(engine, caller, found) if status.ended and status != RunStatus.COMPLETED else []
    given, output = text_of(view.input_of(found)), text_of(view.output_to_wire(found))
    return WorkflowSummary(
        workflow_type=found.process.name,
        version=found.process.version,
        workflow_id=codec.run_id(run.key),
        correlation_id=meta.correlation if meta.correlation is not None else UNSET,
        start_time=instant(run.created),
        update_time=instant(run.updated or run.created),
        end_time=instant(run.ended) if run.ended else UNSET,
        status=status_names.RUN_STATUS[status],
        input=given,
        output=output,
        reason_for_incompletion=view.reason_of(found) or UNSET,
        execution_time=max(0, run.ended - run.created) if run.ended else 0,
        event=meta.event or UNSET,
        failed_reference_task_names=",".join(dict.fromkeys(status_names.reference(step.slot, step.it) for step in failed)),
        failed_task_names=list(dict.fromkeys(_task_name(found, step) for step in failed)),
        priority=meta.priority,
        created_by=meta.actor or UNSET,
        task_to_domain=view.domains_to_wire(meta),
        idempotency_key=meta.extra.get("idempotencyKey", UNSET),
        parent_workflow_id=codec.run_id(run.parent) if run.parent else UNSET,
        output_size=len(output),
        input_size=len(given),
    )


async def _failed(engine: Engine, caller: Caller, found: RunView) -> list[Step]:
    failed: list[Step] = []
    after = max(0, found.run.next_n - NEWEST_STEPS - 1)
    while True:
        steps = await engine.steps(caller, found.run.key, after, AT_ONCE)
        for step in steps:
            if isinstance(step, Step) and view.is_task(step) and step.status in _FAILED and not step.bits & Bit.RETRIED:
                step.input = step.output = None  # only its name is asked for
                failed.append(step)
        if len(steps) < AT_ONCE:
            return failed
        after = max(step.n for step in steps)


def _task_name(found: RunView, step: Step) -> str:
    node = found.process.nodes.get(step.slot)
    annotations = node.annotations if node is not None else None
    return annotations.task.name if isinstance(annotations, NodeAnnotations) else step.slot


async def task_summary(engine: Engine, caller: Caller, context: view.RunContext, step: OpenStep | Step) -> TaskSummary:
    task = view.task_view(context, step, await view.output_of(engine, caller, step))
    return TaskSummary(
        workflow_id=task.workflow_instance_id,
        workflow_type=task.workflow_type,
        correlation_id=task.correlation_id,
        scheduled_time=instant(task.scheduled_time),
        start_time=instant(task.start_time) if task.start_time else UNSET,
        update_time=instant(task.update_time) if task.update_time else UNSET,
        end_time=instant(task.end_time) if task.end_time else UNSET,
        status=task.status,
        reason_for_incompletion=task.reason_for_incompletion,
        execution_time=max(0, task.end_time - task.start_time) if task.end_time and task.start_time else 0,
        queue_wait_time=task.queue_wait_time,
        task_def_name=task.task_def_name,
        task_type=task.task_type,
        input=text_of(task.input_data),
        output=text_of(task.output_data),
        task_id=task.task_id,
        reference_task_name=task.reference_task_name,
        workflow_priority=task.workflow_priority,
        domain=task.domain,
        retry_count=task.retry_count,
    )
