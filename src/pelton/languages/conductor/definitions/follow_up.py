"""The failure workflow: when it is started, and the input that it gets about the failed run.

That input is bounded, since it becomes part of a row: the newest MOST_TASKS tasks, with payloads up to a total of
BUDGET. For more, the failure workflow can read the failed run by its id, which is always included.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pelton.kernel.expressions.base import JSON, BoundValue
from pelton.kernel.model.process import FollowUp
from pelton.kernel.model.reads import EndedKey
from pelton.kernel.model.state import END, Bit, RunStatus, Step, StepStatus, worker_of
from pelton.languages.conductor import status_names
from pelton.languages.conductor.definitions.annotations import NodeAnnotations, ProcessAnnotations
from pelton.languages.conductor.expressions.references import with_defaults
from pelton.languages.conductor.model import WorkflowDef

MOST_TASKS = 100
BUDGET = 128 * 1024  # bytes of JSON text

_BAD_ENDS = frozenset({RunStatus.FAILED, RunStatus.TIMED_OUT, RunStatus.TERMINATED})
_FAILED = frozenset({StepStatus.FAILED, StepStatus.FAILED_FOR_GOOD, StepStatus.TIMED_OUT})


def follow_ups(definition: WorkflowDef) -> tuple[FollowUp, ...]:
    name = definition.failure_workflow or ""
    if not name.strip():
        return ()
    version = definition.failure_workflow_version or 0

    def target(context: Any) -> JSON:
        wanted: JSON = name
        if name.startswith("${") and name.endswith("}"):
            key = name[2:-1].split(".", 2)[-1]
            wanted = _given(context).get(key)
        return {"name": wanted, "version": version} if isinstance(wanted, str) and wanted else None

    return (
        FollowUp(
            statuses=_BAD_ENDS,
            target=BoundValue(target),
            input=BoundValue(failure_input),
            meta=BoundValue(_failure_meta),
            note="conductor.failure_workflow",
            excuse="Error workflow {name} failed to start.  reason: {reason}",
        ),
    )


def failure_input(context: Any) -> JSON:
    """The failed run's input and its outcome."""
    end, run = context.end, context.run
    failed = context.draft.last
    unsuccessful = isinstance(failed, Step) and not StepStatus(failed.status).successful
    return {
        **_given(context),
        "workflowId": context.codec.run_id(run.key),
        "reason": end.reason,
        "failureStatus": status_names.RUN_STATUS[RunStatus(end.status)],
        "failureTaskId": context.codec.step_id(run.key, failed.n) if unsuccessful else "",
        "failedWorkflow": failed_workflow(context),
    }


def _given(context: Any) -> dict[str, JSON]:
    """The run's input as its tasks saw it."""
    annotations = context.process.annotations
    found = with_defaults(context.input, annotations.defaults) if isinstance(annotations, ProcessAnnotations) else context.input
    return found if isinstance(found, dict) else {}


class _Budget:
    """Admits payloads while there is room; `spent`: something was left out."""

    def __init__(self) -> None:
        self.left = BUDGET
        self.spent = False

    def fit(self, value: JSON) -> JSON:
        size = len(msgspec.json.encode(value)) if value else 0
        if size > self.left:
            self.spent = True
            return {}
        self.left -= size
        return value if value is not None else {}


def failed_workflow(context: Any) -> dict[str, JSON]:
    """The run in the form in which it is read, without what has no bound; `truncated` when something is left out."""
    end, run, codec, process = context.end, context.run, context.codec, context.process
    steps, more = _steps(context)
    budget = _Budget()
    found: dict[str, JSON] = {
        "workflowId": codec.run_id(run.key),
        "workflowName": process.name,
        "workflowType": process.name,
        "workflowVersion": process.version,
        "status": status_names.RUN_STATUS[RunStatus(end.status)],
        "output": budget.fit(end.output),
        "input": budget.fit(_given(context)),
        "variables": budget.fit(context.variables()),
        "correlationId": context.meta.correlation,
        "reasonForIncompletion": end.reason,
        "parentWorkflowId": codec.run_id(run.parent) if run.parent else None,
        "taskToDomain": dict(context.meta.routes),
        "priority": context.meta.priority,
        "event": context.meta.event,
        "createTime": run.created,
        "startTime": run.created,
        "updateTime": context.now,
        "endTime": context.now,
    }
    found = {name: value for name, value in found.items() if value is not None}
    failed = [step for step in steps if StepStatus(step.status) in _FAILED and not step.bits & Bit.RETRIED]
    found["failedReferenceTaskNames"] = list(dict.fromkeys(status_names.reference(step.slot, step.it) for step in failed))
    found["failedTaskNames"] = list(dict.fromkeys(_name(process, step) for step in failed))
    # The newest tasks are the likeliest to be asked about: they come first where room is short.
    tasks = [_task(context, step, budget) for step in reversed(steps)]
    found["tasks"] = tasks[::-1]
    if isinstance(process.annotations, ProcessAnnotations):
        found["ownerApp"] = process.annotations.definition.owner_app or ""
    if more or budget.spent:
        found["truncated"] = True
    return found


def _steps(context: Any) -> tuple[list[Step], bool]:
    """The newest ended tasks, by number; whether there are more."""
    draft = context.draft
    found: dict[int, Step] = {}
    if not draft.created:
        for step in draft.reads.answer(EndedKey(1, draft.head.next_n, MOST_TASKS + 1)):
            if step.n not in draft.reopened and not (draft.cut and step.n >= draft.cut):
                found[step.n] = step
    found.update((n, step) for n, step in draft.ended.items() if n > 0)
    steps = sorted((step for step in found.values() if step.slot != END), key=lambda step: step.n)
    return steps[-MOST_TASKS:], len(steps) > MOST_TASKS


def _annotations_of(process: Any, step: Step) -> NodeAnnotations | None:
    node = process.nodes.get(step.slot)
    return node.annotations if node is not None and isinstance(node.annotations, NodeAnnotations) else None


def _name(process: Any, step: Step) -> str:
    annotations = _annotations_of(process, step)
    return annotations.task.name if annotations is not None else step.slot


def _task(context: Any, step: Step, budget: _Budget) -> dict[str, JSON]:
    annotations = _annotations_of(context.process, step)
    found: dict[str, JSON] = {
        "taskId": context.codec.step_id(context.run.key, step.n),
        "taskType": annotations.shown if annotations is not None else step.slot,
        "taskDefName": _name(context.process, step),
        "referenceTaskName": status_names.reference(step.slot, step.it),
        "status": status_names.task_status(step),
        "workflowInstanceId": context.codec.run_id(context.run.key),
        "workflowType": context.process.name,
        "retryCount": step.attempt,
        "retried": bool(step.bits & Bit.RETRIED),
        "seq": step.n,
        "iteration": status_names.iteration(step),
        "pollCount": step.polls,
        "scheduledTime": step.opened,
        "startTime": step.started,
        "endTime": step.ended,
        "inputData": budget.fit(step.input),
        "outputData": budget.fit(step.output),
    }
    if step.reason:
        found["reasonForIncompletion"] = status_names.reason(context.codec, step)
    if step.worker:
        found["workerId"] = worker_of(step.worker)[0]
    return found


def _failure_meta(context: Any) -> JSON:
    meta = context.meta
    found: dict[str, JSON] = {"routes": dict(meta.routes)}
    if meta.correlation is not None:
        found["correlation"] = meta.correlation
    return found
