"""A run and its steps in this language's JSON. Nothing here changes anything.

Cost: about 6 us per task including its JSON text, since the definition's part is already text; outputs of joins and loops are
assembled by the engine, at a cost proportional to their size.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection
from copy import copy
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from pelton.kernel.model.process import Choice, Node, Process
from pelton.kernel.model.reads import Codec
from pelton.kernel.model.signals import BY_PARENT
from pelton.kernel.model.state import END, Bit, OpenStep, Run, RunStatus, StartMeta, State, Step, worker_of
from pelton.languages.conductor import status_names
from pelton.languages.conductor.definitions.annotations import NodeAnnotations, ProcessAnnotations
from pelton.languages.conductor.expressions import loops
from pelton.languages.conductor.expressions.references import with_defaults
from pelton.languages.conductor.model import CamelForm, Map, Text, Whole
from pelton.runtime.api import Engine, RunView, WorkItem
from pelton.runtime.caller import Caller
from pelton.runtime.names import shown_queue
from pelton.runtime.rows import FEW, next_count
from pelton.transport.pages import check_whole, shown_later

MOST_TASKS = 100_000  # of one run in one answer; more are available page by page
MOST_BYTES = 64 << 20  # of these tasks
LOOKED_AT = 16  # rows at once, when most of them are not shown: each may be large

encode = msgspec.json.Encoder().encode
_NO_TASK = Raw(b'{"name":"","taskReferenceName":""}')


class Task(CamelForm):
    task_type: str
    status: str
    input_data: Any
    reference_task_name: str
    retry_count: int
    seq: int
    correlation_id: Text
    poll_count: int
    task_def_name: str
    scheduled_time: int
    start_time: int
    end_time: int
    update_time: int
    start_delay_in_seconds: int
    retried_task_id: Text
    retried: bool
    executed: bool
    callback_from_worker: bool
    response_timeout_seconds: int
    workflow_instance_id: str
    workflow_type: str
    task_id: str
    reason_for_incompletion: Text
    callback_after_seconds: int
    worker_id: Text
    output_data: Any
    workflow_task: Raw
    domain: Text
    rate_limit_per_frequency: int
    rate_limit_frequency_in_seconds: int
    workflow_priority: int
    execution_name_space: Text
    isolation_group_id: Text
    iteration: int
    sub_workflow_id: Text
    subworkflow_changed: bool
    first_start_time: int
    queue_wait_time: int
    loop_over_task: bool
    task_definition: Raw | UnsetType


class Workflow(CamelForm):
    owner_app: Text
    create_time: int
    update_time: int
    created_by: Text
    status: str
    end_time: int
    workflow_id: str
    parent_workflow_id: Text
    parent_workflow_task_id: Text
    tasks: list[Raw]
    input: Any
    output: Any
    correlation_id: Text
    reason_for_incompletion: Text
    event: Text
    task_to_domain: dict[str, str]
    failed_reference_task_names: list[str]
    workflow_definition: Raw
    priority: int
    variables: Map
    last_retried_time: int
    failed_task_names: list[str]
    history: list[Any]
    idempotency_key: Text
    rate_limited: bool
    start_time: int
    workflow_name: str
    workflow_version: int


class Signalled(CamelForm):
    """What a caller who waited gets: a run (WorkflowRun), or the task that blocks it (TaskRun)."""

    response_type: str
    target_workflow_id: str
    target_workflow_status: str
    request_id: Text
    workflow_id: str
    correlation_id: Text
    input: Any
    output: Any
    signal_timeout: bool
    priority: int
    created_by: Text
    create_time: int
    status: str
    update_time: int
    variables: Map | UnsetType = UNSET
    tasks: list[Raw] | UnsetType = UNSET
    task_type: Text = UNSET
    task_id: Text = UNSET
    reference_task_name: Text = UNSET
    retry_count: Whole = UNSET
    task_def_name: Text = UNSET
    retried_task_id: Text = UNSET
    workflow_type: Text = UNSET
    reason_for_incompletion: Text = UNSET


class RunContext(Struct, frozen=True):
    """What every task of a run shares."""

    codec: Codec
    run: Run
    process: Process
    meta: StartMeta
    now: int


def meta_of(start: Step) -> StartMeta:
    return msgspec.convert(start.input, StartMeta) if start.input else StartMeta()


def annotations_of(process: Process) -> ProcessAnnotations:
    annotations = process.annotations
    if not isinstance(annotations, ProcessAnnotations):
        raise TypeError(f"process {process.name!r} was compiled by another language")
    return annotations


# ---- tasks


def task_view(context: RunContext, step: OpenStep | Step, output: Any = None) -> Task:
    """`output`: the assembled one, for a join or a loop."""
    run, process = context.run, context.process
    node = process.nodes.get(step.slot)
    annotations = node.annotations if node is not None and isinstance(node.annotations, NodeAnnotations) else None
    ended = step.ended if isinstance(step, Step) else 0
    policy = annotations.policy if annotations is not None else None
    domain, found, _ = shown_queue(step.queue).rpartition(":") if isinstance(step, OpenStep) else ("", "", "")
    retried = bool(step.bits & Bit.RETRIED)
    child = step.child if step.state == State.CALL else 0
    iteration = status_names.iteration(step)
    kind = annotations.task.type if annotations is not None else ""
    named = (
        status_names.dynamic_name(step, annotations.task.dynamic_task_name_param or "")
        if annotations and kind == "DYNAMIC"
        else ""
    )
    return Task(
        task_type=named or (annotations.shown if annotations is not None else step.slot),
        status=status_names.task_status(step),
        input_data=_input(step, node),
        reference_task_name=status_names.reference(step.slot, step.it),
        retry_count=step.attempt,
        seq=step.n,
        correlation_id=context.meta.correlation or UNSET,
        poll_count=step.polls,
        task_def_name=named or (annotations.task.name if annotations is not None else step.slot),
        scheduled_time=step.opened,
        start_time=step.started,
        end_time=ended,
        update_time=ended or (step.updated if isinstance(step, OpenStep) else 0),
        start_delay_in_seconds=status_names.start_delay(step),
        retried_task_id=context.codec.step_id(run.key, step.previous) if step.previous else UNSET,
        retried=retried,
        executed=bool(ended) and not retried,
        callback_from_worker=True,
        response_timeout_seconds=policy.response_timeout_seconds if policy is not None else 0,
        workflow_instance_id=context.codec.run_id(run.key),
        workflow_type=process.name,
        task_id=context.codec.step_id(run.key, step.n),
        reason_for_incompletion=status_names.reason(context.codec, step) or UNSET,
        callback_after_seconds=status_names.callback_after(step, context.now),
        worker_id=worker_of(step.worker)[0] or UNSET,
        output_data=_output(context, step, child, output, annotations),
        workflow_task=annotations.text if annotations is not None else _NO_TASK,
        domain=domain if found else UNSET,
        rate_limit_per_frequency=policy.rate_limit_per_frequency if policy is not None else 0,
        rate_limit_frequency_in_seconds=policy.rate_limit_frequency_in_seconds if policy is not None else 0,
        workflow_priority=context.meta.priority,
        execution_name_space=policy.execution_name_space if policy is not None else UNSET,
        isolation_group_id=policy.isolation_group_id if policy is not None else UNSET,
        iteration=iteration,
        sub_workflow_id=context.codec.run_id(child) if child > 0 and kind == "SUB_WORKFLOW" else UNSET,
        subworkflow_changed=False,
        first_start_time=step.first,
        queue_wait_time=max(0, step.started - step.opened) if step.started else 0,
        loop_over_task=iteration > 0,
        task_definition=annotations.policy_text if annotations is not None else UNSET,
    )


def _input(step: OpenStep | Step, node: Node | None) -> Any:
    if isinstance(node, Choice) and isinstance(step, Step) and isinstance(step.output, dict):
        if "caseOutput" in step.output:  # a DECISION, which shows nothing else of its input
            case = step.output["caseOutput"][0]
            return {"case": case, "hasChildren": "true"} if case in node.cases or node.default else {"case": case}
        found = {**(step.input or {}), "case": step.output.get("selectedCase")}
        return {**found, "hasChildren": "true"} if step.output.get("selectedCase") in node.cases or node.default else found
    return step.input if step.input is not None else {}


def _output(context: RunContext, step: OpenStep | Step, child: int, assembled: Any, annotations: NodeAnnotations | None) -> Any:
    output = assembled if assembled is not None else step.output
    if assembled is not None and annotations is not None and (member := loops.list_member(annotations.task)):
        return {**assembled, **loops.own_output(step, member)}
    kind = annotations.task.type if annotations is not None else ""
    if kind == "START_WORKFLOW":
        return {"workflowId": context.codec.run_id(child)} if child > 0 else {}
    if kind in status_names.TELL_ERRORS:
        return status_names.with_error(context.codec, step, output)
    if child > 0:
        return {**(output if isinstance(output, dict) else {}), "subWorkflowId": context.codec.run_id(child)}
    return output if output is not None else {}


def item_view(codec: Codec, item: WorkItem, now: int) -> Task:
    """What a worker gets."""
    step = item.step
    if item.filled is not UNSET:
        step = copy(step)
        step.input = item.filled
    return task_view(RunContext(codec, item.run, item.process, meta_of(item.start), now), step)


def is_task(step: OpenStep | Step) -> bool:
    """Whether a row is shown as a task: not the start, not the end, not a parked token."""
    return step.n > 0 and step.slot != END


async def output_of(engine: Engine, caller: Caller, step: OpenStep | Step) -> Any:
    return await engine.derived(caller, step.run, step) if step.state in (State.JOIN, State.SCOPE) else None


def context_of(engine: Engine, view: RunView) -> RunContext:
    return RunContext(engine.codec, view.run, view.process, meta_of(view.start), engine.now())


class ShownTask(NamedTuple):
    """A task, encoded, and what its workflow says of it."""

    encoded: Raw
    reference: str
    name: str
    failed: bool


async def shown_task(context: RunContext, engine: Engine, caller: Caller, step: OpenStep | Step) -> ShownTask:
    """One that cannot be shown whole stands as far as it can be read: it must not hide the others."""

    found: Task | None = None

    async def whole(step: OpenStep | Step) -> Task:
        nonlocal found
        found = task_view(context, step, await output_of(engine, caller, step))
        return found

    def bare(step: OpenStep | Step, why: str) -> dict[str, Any]:
        return bare_task(context, step, why)

    encoded = await shown_later(step, whole, bare)
    if found is None:
        return ShownTask(encoded, step.slot, step.slot, False)
    failed = not found.retried and found.status in _FAILED
    return ShownTask(encoded, found.reference_task_name, found.task_def_name, failed)


def bare_task(context: RunContext, step: OpenStep | Step, why: str) -> dict[str, Any]:
    return {
        "taskId": context.codec.step_id(context.run.key, step.n),
        "taskType": step.slot,
        "referenceTaskName": step.slot,
        "taskDefName": step.slot,
        "status": "FAILED" if isinstance(step, Step) else "IN_PROGRESS",
        "seq": step.n,
        "workflowInstanceId": context.codec.run_id(context.run.key),
        "workflowType": context.process.name,
        "reasonForIncompletion": str(step.reason or why),
        "inputData": {},
        "outputData": {},
    }


async def tasks_of(engine: Engine, caller: Caller, view: RunView) -> list[ShownTask]:
    """Every task of a run, by number; the newest when there are more than MOST_TASKS, or than MOST_BYTES of them."""
    context = context_of(engine, view)
    found: deque[ShownTask] = deque()
    after, count, size = max(0, view.run.next_n - MOST_TASKS - 1), FEW, 0
    while True:
        steps = await engine.steps(caller, view.run.key, after, count)
        before = size
        for step in steps:
            if is_task(step):
                found.append(await shown_task(context, engine, caller, step))
                size += len(bytes(found[-1].encoded))
        read = size - before
        while size > MOST_BYTES and len(found) > 1:
            size -= len(bytes(found.popleft().encoded))
        if len(steps) < count:
            return list(found)
        after = max(step.n for step in steps)
        count = next_count(count, read)
        await asyncio.sleep(0)  # reads do not wait: without this, a long run would block everyone else


async def tasks_page(
    engine: Engine, caller: Caller, view: RunView, start: int, count: int, wanted: Collection[str]
) -> tuple[int, list[Raw]]:
    """How many tasks there are, of the `wanted` statuses if any are named, and those of one page.

    A run that was never rewound and keeps all iterations has its numbers without gaps: the page is found by number. Else the
    rows are read in chunks, and only those of the page are kept. Raises PeltonError TOO_LARGE: a shorter page would be taken for
    the last one.
    """
    head, context = view.run, context_of(engine, view)
    page: list[Raw] = []
    total = size = 0
    by_number = (
        not wanted and not head.era and all(getattr(node, "keep_last", None) is None for node in view.process.nodes.values())
    )
    after = start if by_number else 0
    left = count
    most = FEW
    while not by_number or left > 0:
        steps = await engine.steps(caller, head.key, after, min(most, left) if by_number else most)
        read = 0
        for step in steps:
            after = max(after, step.n)
            left -= 1
            if not is_task(step) or (wanted and status_names.task_status(step) not in wanted):
                continue
            if by_number or start <= total < start + count:
                page.append((await shown_task(context, engine, caller, step)).encoded)
                read += len(bytes(page[-1]))
            total += 1
        size += read
        check_whole(size, "ask for fewer tasks at a time, by `count`")
        if len(steps) < most:
            break
        most = next_count(most, read) if by_number else min(next_count(most, read), LOOKED_AT)
        await asyncio.sleep(0)
    return (head.next_n - 1 - bool(head.ended) if by_number else total), page


# ---- runs


async def workflow_view(engine: Engine, caller: Caller, view: RunView, include_tasks: bool = True) -> Workflow:
    run, meta, codec = view.run, meta_of(view.start), engine.codec
    status = status_names.known_status(run.status)
    unsuccessful = status.ended and status != RunStatus.COMPLETED
    tasks = await tasks_of(engine, caller, view) if include_tasks or unsuccessful else []
    failed = [task for task in tasks if task.failed]
    annotations = annotations_of(view.process)
    return Workflow(
        owner_app=annotations.definition.owner_app,
        create_time=run.created,
        update_time=run.updated,
        created_by=meta.actor or UNSET,
        status=status_names.RUN_STATUS[status],
        end_time=run.ended,
        workflow_id=codec.run_id(run.key),
        parent_workflow_id=codec.run_id(run.parent) if run.parent else UNSET,
        parent_workflow_task_id=codec.step_id(run.parent, run.parent_n) if run.parent else UNSET,
        tasks=[task.encoded for task in tasks] if include_tasks else [],
        input=input_of(view),
        output=output_to_wire(view),
        correlation_id=meta.correlation if meta.correlation is not None else UNSET,
        reason_for_incompletion=reason_of(view) or UNSET,
        event=meta.event or UNSET,
        task_to_domain=domains_to_wire(meta),
        failed_reference_task_names=list(dict.fromkeys(task.reference for task in failed)),
        workflow_definition=annotations.text,
        priority=meta.priority,
        variables=view.variables,
        last_retried_time=run.retried,
        failed_task_names=list(dict.fromkeys(task.name for task in failed)),
        history=[],
        idempotency_key=meta.extra.get("idempotencyKey", UNSET),
        rate_limited=False,
        start_time=run.created,
        workflow_name=view.process.name,
        workflow_version=view.process.version,
    )


_FAILED = frozenset({"FAILED", "FAILED_WITH_TERMINAL_ERROR", "TIMED_OUT"})


def input_of(view: RunView) -> Any:
    return with_defaults(view.start.output, annotations_of(view.process).defaults)


def output_to_wire(view: RunView) -> Any:
    output = view.end.output if view.end is not None else None
    return output if output is not None else {}


def reason_of(view: RunView) -> str:
    if view.end is None:
        return ""
    if view.end.failure == BY_PARENT:
        return f"Parent workflow has been terminated with reason: {view.end.reason}"
    return view.end.reason


def domains_to_wire(meta: StartMeta) -> dict[str, str]:
    return dict(meta.routes)


def run_answer(target: RunView, shown: Workflow, codec: Codec, strategy: str, request: str, timed_out: bool) -> Signalled:
    return Signalled(
        response_type=strategy,
        target_workflow_id=codec.run_id(target.run.key),
        target_workflow_status=status_names.RUN_STATUS[RunStatus(target.run.status)],
        request_id=request,
        workflow_id=shown.workflow_id,
        correlation_id=shown.correlation_id,
        input=shown.input,
        output=shown.output,
        signal_timeout=timed_out,
        priority=shown.priority,
        created_by=shown.created_by,
        create_time=shown.create_time,
        status=shown.status,
        update_time=shown.update_time,
        variables=shown.variables,
        tasks=shown.tasks,
    )


def task_answer(target: RunView, task: Task, codec: Codec, strategy: str, request: str) -> Signalled:
    return Signalled(
        response_type=strategy,
        target_workflow_id=codec.run_id(target.run.key),
        target_workflow_status=status_names.RUN_STATUS[RunStatus(target.run.status)],
        request_id=request,
        workflow_id=task.workflow_instance_id,
        correlation_id=task.correlation_id,
        input=task.input_data,
        output=task.output_data,
        signal_timeout=False,
        priority=task.workflow_priority,
        created_by=meta_of(target.start).actor or UNSET,
        create_time=task.scheduled_time,
        status=task.status,
        update_time=task.update_time,
        task_type=task.task_type,
        task_id=task.task_id,
        reference_task_name=task.reference_task_name,
        retry_count=task.retry_count,
        task_def_name=task.task_def_name,
        retried_task_id=task.retried_task_id,
        workflow_type=task.workflow_type,
        reason_for_incompletion=task.reason_for_incompletion,
    )
