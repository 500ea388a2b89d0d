"""Compiles a bound definition to a process graph. In a bound definition every task includes its policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from pelton.errors import PeltonError
from pelton.kernel.expressions.base import Constant, Expression, Invalid
from pelton.kernel.expressions.template import compile_template
from pelton.kernel.model.process import Body, Limit, Process
from pelton.kernel.model.state import Failure, OpenStep, RunStatus, Step, StepStatus
from pelton.languages.conductor import decode, status_names
from pelton.languages.conductor.definitions import policies
from pelton.languages.conductor.definitions.annotations import NodeAnnotations, ProcessAnnotations
from pelton.languages.conductor.definitions.compile_tasks import Compiler, kind_of
from pelton.languages.conductor.definitions.definition_tree import all_tasks
from pelton.languages.conductor.definitions.follow_up import follow_ups
from pelton.languages.conductor.expressions.references import References
from pelton.languages.conductor.model import LANGUAGE, TaskDef, WorkflowDef

FINDS_POLICY = Callable[[str], TaskDef | None]
FINDS_VERSION = Callable[[str], int]


def bind(definition: WorkflowDef, policy: FINDS_POLICY, latest: FINDS_VERSION) -> WorkflowDef:
    """Puts into each task its policy (registered, given or ad hoc), and the version of a sub-workflow that is the latest now.
    Changes the definition it is given."""
    for task in all_tasks(definition):
        if task.task_definition is UNSET:
            task.task_definition = policy(task.name) or policies.ad_hoc(task)
        param = task.sub_workflow_param
        if param is UNSET or param.workflow_definition not in (UNSET, None) or not param.name or "${" in param.name:
            continue
        if param.version in (UNSET, 0, "0", "", None):
            found = latest(param.name)
            if found:
                param.version = found
    return definition


def compile_definition(name: str, version: int, body: bytes, row: int, schemes: frozenset[str]) -> Process:
    """Raises Invalid for a body that is not a definition."""
    try:
        definition = decode.decode(body, WorkflowDef)
    except PeltonError as error:
        raise Invalid(error.message) from None
    return compile_process(definition, name, version, row, schemes)


def compile_process(definition: WorkflowDef, name: str, version: int, row: int, schemes: frozenset[str]) -> Process:
    tasks = all_tasks(definition)
    kinds = {task.task_reference_name: kind_of(task) for task in tasks}
    references = References(name, version, kinds, definition.input_template)
    compiler = Compiler(references, schemes)
    entry = compiler.sequence(definition.tasks, "")
    variables: dict[str, Expression] = {key: Constant(value) for key, value in definition.variables.items()}
    process = Process(
        name=name,
        version=version,
        entry=entry,
        nodes=compiler.nodes,
        bodies={entry: Body(entry, variables)} if variables else {},
        language=LANGUAGE,
        definition=row,
        deadline=_deadline(definition),
        output=compile_template(definition.output_parameters, references) if definition.output_parameters else None,
        follow_ups=follow_ups(definition),
        failed_status=failed_status,
        failed_reason=failed_reason,
        annotations=ProcessAnnotations(definition, Raw(msgspec.json.encode(definition)), references),
    )
    try:
        return process.finish()
    except ValueError as error:
        raise Invalid(str(error)) from None


def _deadline(definition: WorkflowDef) -> Limit | None:
    seconds = definition.timeout_seconds
    if seconds <= 0:
        return None
    return Limit(
        policies.milliseconds(seconds),
        "fail run" if definition.timeout_policy == "TIME_OUT_WF" else "announce",
        message=f"Workflow timed out after {{elapsed}} seconds. Timeout configured as {seconds} seconds. "
        f"Timeout policy configured to {definition.timeout_policy}",
    )


def failed_status(failure: Failure, status: StepStatus) -> RunStatus:
    if status == StepStatus.CANCELED:
        return RunStatus.TERMINATED
    return RunStatus.TIMED_OUT if status == StepStatus.TIMED_OUT else RunStatus.FAILED


def failed_reason(context: Any, step: OpenStep | Step | None, failure: Failure, status: int) -> str:
    if step is None:
        return failure.message
    task = context.codec.step_id(context.run.key, step.n)
    shown = status_names.RUN_STATUS[RunStatus(status)]
    node = context.process.nodes.get(step.slot)
    if node is not None and isinstance(node.annotations, NodeAnnotations) and node.annotations.task.permissive:
        shown = status_names.task_status(step)  # the run continued, and fails because of it only at its end
    reason = status_names.reason(context.codec, step) or failure.message or "null"
    return f"Task {task} failed with status: {shown} and reason: '{reason}'"
