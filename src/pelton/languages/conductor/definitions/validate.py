"""Validation of a definition before it is stored. All problems are reported at once, each with its path.

Limits: tasks in a definition, their nesting, and definitions inside definitions. Definitions that the original server accepts
although no run of them could ever end (a join that waits for itself, a workflow whose first task calls itself) are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import UNSET

from pelton.errors import PeltonError
from pelton.kernel.expressions import template
from pelton.kernel.expressions.base import Invalid
from pelton.languages.conductor import decode
from pelton.languages.conductor.definitions.definition_tree import TaskPosition, inner_lists, walk
from pelton.languages.conductor.definitions.problems import (
    DefinitionProblems,
    check_name,
    check_script,
    check_secrets,
    check_template,
)
from pelton.languages.conductor.expressions import loops, scripts, secrets, times
from pelton.languages.conductor.model import TaskDef, WorkflowDef, WorkflowTask
from pelton.languages.conductor.tasks import checks, kinds
from pelton.transport.validation import Problems, describe

MAX_TASKS = 5_000
MAX_NESTING = 40
MAX_INLINE = 5  # definitions in definitions

# Roots that a `${...}` may name besides the definition's own tasks.
SYSTEM_WORDS = frozenset({"workflow", "CPEWF_TASK_ID", "NETFLIX_ENV", "NETFLIX_STACK"})

_ITERATION = re.compile(r".__[0-9]+$")

CheckSink = Callable[[str], str | None]


# ---- workflow definitions


def check_workflow(
    definition: WorkflowDef,
    operation: str = "registerWorkflowDef.arg0",
    check_sink: CheckSink | None = None,
    *,
    registered: bool = True,
) -> None:
    """Raises PeltonError "invalid" with every problem found. `registered`: it is not given inside another definition, so its
    templates must name something."""
    problems = DefinitionProblems(operation + ".")
    _check_workflow(definition, "", problems, check_sink, 0, registered)
    problems.raise_any()


def _check_workflow(
    definition: WorkflowDef, at: str, problems: Problems, check_sink: CheckSink | None, inline: int, registered: bool = False
) -> None:
    if inline > MAX_INLINE:
        problems.add(
            at.rstrip("."), f"definitions are given inside definitions more than {MAX_INLINE} levels deep; register them"
        )
        return
    check_name(definition.name, f"{at}name", "WorkflowDef name cannot be null or empty", problems)
    if not 0 <= definition.version < 2**31:
        problems.add(f"{at}version", "version must be from 0 to 2147483647", definition.version)
    if definition.schema_version != 2:
        problems.add(f"{at}schemaVersion", "schemaVersion must be 2, the only one there is", definition.schema_version)
    if definition.timeout_seconds < 0:
        problems.add(f"{at}timeoutSeconds", "timeoutSeconds must be at least 0", definition.timeout_seconds)
    if not definition.tasks:
        problems.add(f"{at}tasks", "WorkflowTask list cannot be empty")
        return
    places: list[TaskPosition] = []
    for place in walk(definition.tasks, f"{at}tasks"):
        places.append(place)
        if place.depth > MAX_NESTING:
            problems.add(place.path, f"tasks are nested deeper than {MAX_NESTING}; use sub-workflows")
            return
        if len(places) > MAX_TASKS:
            problems.add(f"{at}tasks", f"the definition has more than {MAX_TASKS} tasks; use sub-workflows")
            return
    references = _check_references(places, problems)
    for place in places:
        _check_task(place, references, problems, check_sink, inline)
    if registered:  # inside another what names nothing comes to null
        _check_inputs(definition, references, at, problems)
    check_template(definition.output_parameters, f"{at}outputParameters", problems)
    check_secrets(definition.output_parameters, f"{at}outputParameters", problems)
    if not problems.found:
        _check_order(definition, places, problems)
        _check_self_call(definition, at, problems)


def _check_references(places: Sequence[TaskPosition], problems: Problems) -> dict[str, WorkflowTask]:
    found: dict[str, WorkflowTask] = {}
    for path, task, _ in places:
        reference = task.task_reference_name
        check_name(task.name, f"{path}.name", "WorkflowTask name cannot be empty or null", problems)
        check_name(
            reference, f"{path}.taskReferenceName", "WorkflowTask taskReferenceName name cannot be empty or null", problems
        )
        if _ITERATION.search(reference):
            problems.add(
                f"{path}.taskReferenceName", "names that end in __ and a number stand for iterations; rename it", reference
            )
        if reference.startswith("$"):
            problems.add(f"{path}.taskReferenceName", "taskReferenceName must not begin with '$'", reference)
        if reference in found:
            problems.add(
                f"{path}.taskReferenceName",
                f"taskReferenceName: {reference} should be unique across tasks for a given workflowDefinition",
                reference,
            )
        found[reference] = task
    return found


def _check_task(
    place: TaskPosition, references: dict[str, WorkflowTask], problems: Problems, check_sink: CheckSink | None, inline: int
) -> None:
    path, task, _ = place
    if kinds.is_workers(task.type) and (queue := kinds.queue_name(task.type, task.name)).startswith("@"):
        problems.add(
            f"{path}.{'name' if task.type == 'SIMPLE' else 'type'}",
            "the name of a worker's task must not begin with '@': such queues are the server's own",
            queue,
        )
    if task.type not in kinds.SUPPORTED:
        check_name(task.type, f"{path}.type", "WorkflowTask type cannot be empty or null", problems)
    if task.start_delay < 0:
        problems.add(f"{path}.startDelay", "startDelay must be at least 0", task.start_delay)
    if task.retry_count is not UNSET and task.retry_count < 0:
        problems.add(f"{path}.retryCount", "retryCount must be at least 0", task.retry_count)
    if task.task_definition is not UNSET:
        _check_policy(task.task_definition, f"{path}.taskDefinition", problems, embedded=True)
    check_template(task.input_parameters, f"{path}.inputParameters", problems)
    check_secrets(
        task.input_parameters,
        f"{path}.inputParameters",
        problems,
        allowed=task.type in secrets.TASKS or kinds.is_workers(task.type),
    )
    check_secrets(_other_templates(task), path, problems)
    check = _CHECKS.get(task.type)
    if check is not None:
        check(path, task, problems)
    if task.type == "JOIN":
        for index, reference in enumerate(task.join_on):
            if reference not in references:
                problems.add(
                    f"{path}.joinOn[{index}]", f"joinOn names {reference!r}, which is no task of this definition", reference
                )
    elif task.type == "EVENT":
        _check_sink(path, task, problems, check_sink)
    elif task.type == "SUB_WORKFLOW":
        _check_sub_workflow(path, task, problems, check_sink, inline)


def _other_templates(task: WorkflowTask) -> dict[str, Any]:
    """What is evaluated of a task beside its inputParameters."""
    found: dict[str, Any] = {"sink": task.sink, "items": task.items}
    if (param := task.sub_workflow_param) is not UNSET:
        found["subWorkflowParam"] = {
            "name": param.name, "version": param.version, "priority": param.priority, "taskToDomain": param.task_to_domain,
            "workflowDefinition": param.workflow_definition if isinstance(param.workflow_definition, str) else UNSET,
        }  # fmt: skip
    return found


def _check_inputs(definition: WorkflowDef, references: dict[str, WorkflowTask], at: str, problems: Problems) -> None:
    """Each `${root...}` in the inputs of the tasks at the top must name something that exists."""
    for index, task in enumerate(definition.tasks):
        path = f"{at}tasks[{index}].inputParameters"
        for key, value in task.input_parameters.items():
            try:
                bad = [each for each in template.lint(value) if _refused(each)]
                found = template.references(value)
            except Invalid:
                continue  # reported as a template already
            for each in bad:
                problems.add(f"{path}.{key}", f"{each.text} is not valid: {each.problem}", each.text)
            for each_reference in found:
                name = each_reference.name
                if not name or name in SYSTEM_WORDS or name in references or name.rpartition("__")[0] in references:
                    continue
                problems.add(
                    f"{path}.{key}",
                    f"taskReferenceName: {task.task_reference_name} for given task: {task.name} input value: {key} of input "
                    f"parameter: {each_reference.text} is not defined in workflow definition.",
                    each_reference.text,
                )


def _refused(problem: template.Problem) -> bool:
    return any(word in problem.problem for word in ("nothing between", "blank inside", "begins with a dot"))


def _check_sink(path: str, task: WorkflowTask, problems: Problems, check_sink: CheckSink | None) -> None:
    sink = task.sink or ""
    if not sink.strip():
        problems.add(f"{path}.sink", f"sink field is required for taskType: EVENT taskName: {task.name}")
        return
    if "${" in sink or check_sink is None or sink == "conductor" or sink.startswith("conductor:"):
        return
    if sink.startswith("conductor"):
        problems.add(f"{path}.sink", f"Invalid / Unsupported sink specified: {sink}", sink)
        return
    complaint = check_sink(sink)
    if complaint is not None:
        problems.add(f"{path}.sink", f"nothing can be sent to sink {sink!r}: {complaint}", sink)


def _check_wait(path: str, task: WorkflowTask, problems: Problems) -> None:
    values = task.input_parameters
    duration, until = values.get("duration"), values.get("until", values.get("wait_until"))
    if duration is not None and until is not None:
        problems.add(f"{path}.inputParameters", "Both 'duration' and 'until' specified. Please provide only one input")
        return
    if duration is not None and not _templated(duration) and times.duration(str(duration)) is None:
        problems.add(
            f"{path}.inputParameters.duration",
            f"Not valid duration: {duration}; write it like '1 day 2 hours' or '10s'",
            duration,
        )
    if until is not None and not _templated(until) and times.moment(str(until)) is None:
        problems.add(
            f"{path}.inputParameters.until",
            f"Invalid/Unsupported Wait Until format.  Provided: {until}; write it like '2030-01-31 12:30 UTC'",
            until,
        )


def _templated(value: Any) -> bool:
    return isinstance(value, str) and "${" in value


def _check_switch(path: str, task: WorkflowTask, problems: Problems) -> None:
    if not task.evaluator_type:
        problems.add(f"{path}.evaluatorType", f"evaluatorType field is required for taskType: SWITCH taskName: {task.name}")
    elif task.evaluator_type not in scripts.EVALUATORS:
        known = ", ".join(scripts.EVALUATORS)
        problems.add(
            f"{path}.evaluatorType",
            f"evaluatorType {task.evaluator_type!r} is not supported; use one of {known}",
            task.evaluator_type,
        )
    if not task.expression:
        problems.add(f"{path}.expression", f"expression field is required for taskType: SWITCH taskName: {task.name}")
    elif task.evaluator_type in scripts.JAVASCRIPT:
        check_script(f"{path}.expression", task.expression, problems)
    if not task.decision_cases:
        problems.add(
            f"{path}.decisionCases", f"decisionCases should have at least one task for taskType: SWITCH taskName: {task.name}"
        )


def _check_loop(path: str, task: WorkflowTask, problems: Problems) -> None:
    condition = task.loop_condition or ""
    if not condition.strip():  # as editors leave it: one round, or the list
        if task.loop_condition is UNSET and not loops.list_member(task):
            problems.add(f"{path}.loopCondition", f"loopCondition field is required for taskType: DO_WHILE taskName: {task.name}")
    else:
        check_script(f"{path}.loopCondition", condition, problems)
    if not task.loop_over:
        problems.add(f"{path}.loopOver", f"loopOver field is required for taskType: DO_WHILE taskName: {task.name}")
    for place, value in (
        (f"{path}.items", task.items),
        (f"{path}.inputParameters._items", task.input_parameters.get(loops.ITEMS)),
    ):
        if value is not UNSET and value is not None and not isinstance(value, list) and not _templated(value):
            problems.add(place, "what a loop goes through must be a list, or a template that yields one", value)
    if task.items is not UNSET:
        check_template(task.items, f"{path}.items", problems)


def _check_fork(path: str, task: WorkflowTask, problems: Problems) -> None:
    if not task.fork_tasks:
        problems.add(
            f"{path}.forkTasks", f"forkTasks should have at least one task for taskType: FORK_JOIN taskName: {task.name}"
        )
    for index, branch in enumerate(task.fork_tasks):
        if not branch:
            problems.add(f"{path}.forkTasks[{index}]", "a branch must have at least one task; remove the empty one")


def _check_terminate(path: str, task: WorkflowTask, problems: Problems) -> None:
    status = task.input_parameters.get("terminationStatus")
    if status not in ("COMPLETED", "FAILED", "TERMINATED"):
        problems.add(
            f"{path}.inputParameters.terminationStatus",
            f"terminate task must have an terminationStatus parameter: COMPLETED, FAILED or TERMINATED, not "
            f"{describe(status)}; taskName: {task.name}",
            status,
        )
    if task.optional:
        problems.add(f"{path}.optional", f"terminate task cannot be optional, taskName: {task.name}", True)


def _check_inline(path: str, task: WorkflowTask, problems: Problems) -> None:
    evaluator = task.input_parameters.get("evaluatorType", "javascript")
    if not _templated(evaluator) and evaluator not in scripts.EVALUATORS:
        known = ", ".join(scripts.EVALUATORS)
        problems.add(
            f"{path}.inputParameters.evaluatorType",
            f"Unknown evaluator {describe(evaluator)} in INLINE task; use one of {known}",
        )


def _check_sub_workflow(path: str, task: WorkflowTask, problems: Problems, check_sink: CheckSink | None, inline: int) -> None:
    param = task.sub_workflow_param
    if param is UNSET:
        problems.add(f"{path}.subWorkflowParam", f"subWorkflowParam is required for taskType: SUB_WORKFLOW taskName: {task.name}")
        return
    version = param.version
    if (
        version is not UNSET
        and not _templated(version)
        and not (isinstance(version, int) or not version.strip() or version.strip().isdigit())
    ):
        problems.add(f"{path}.subWorkflowParam.version", "version must be a whole number or a template", version)
    inner = param.workflow_definition
    if inner is UNSET or inner is None:
        if not (param.name or "").strip():
            problems.add(f"{path}.subWorkflowParam.name", "SubWorkflowParams name cannot be null or empty")
    elif isinstance(inner, dict):
        here = f"{path}.subWorkflowParam.workflowDefinition"
        try:
            definition = decode.convert(inner, WorkflowDef)
        except PeltonError as error:
            problems.include(here, error.problems)
            return
        _check_workflow(definition, here + ".", problems, check_sink, inline + 1)
    elif not _templated(inner):
        problems.add(f"{path}.subWorkflowParam.workflowDefinition", "must be an object, or a template that yields one", inner)


_CHECKS: dict[str, Callable[[str, WorkflowTask, Problems], None]] = {
    **checks.CHECKS,
    "DO_WHILE": _check_loop,
    "FORK_JOIN": _check_fork,
    "INLINE": _check_inline,
    "SWITCH": _check_switch,
    "TERMINATE": _check_terminate,
    "WAIT": _check_wait,
    "YIELD": _check_wait,
}


def _check_order(definition: WorkflowDef, places: Sequence[TaskPosition], problems: Problems) -> None:
    """No join may wait, directly or through others, for what can only run after it.

    `entered` and `left` of each task are points in time; each point has others that must come first. A circle never ends.
    """
    first: dict[str, list[str]] = {}
    _order(definition.tasks, "", first)
    state: dict[str, int] = {}
    for start in first:
        stack: list[tuple[str, int]] = [(start, 0)]
        while stack:
            point, at = stack.pop()
            if at == 0:
                if state.get(point) == 2:
                    continue
                state[point] = 1
            before = first.get(point, [])
            if at == len(before):
                state[point] = 2
                continue
            stack.append((point, at + 1))
            if state.get(before[at]) == 1:
                circle = _circle([each for each, _ in stack], before[at])
                path = next((place.path for place in places if place.task.task_reference_name == circle[0]), "tasks")
                problems.add(f"{path}.joinOn", f"the join can never complete: {' waits for '.join(circle)}")
                return
            if state.get(before[at]) is None:
                stack.append((before[at], 0))


def _circle(points: list[str], back: str) -> list[str]:
    names = [point[1:] for point in points[points.index(back) :]] + [back[1:]]
    return [name for index, name in enumerate(names) if index == 0 or names[index - 1] != name]


def _order(tasks: Sequence[WorkflowTask], before: str, first: dict[str, list[str]]) -> str:
    """Notes what must come before the points of these tasks; returns the point at which the last is left."""
    for task in tasks:
        reference = task.task_reference_name
        entered, left = f"<{reference}", f">{reference}"
        first[entered] = [before] if before else []
        first[left] = [entered]
        if task.type == "JOIN":
            first[left] += [f">{other}" for other in task.join_on]
        for _, inner in inner_lists(task):
            end = _order(inner, entered, first)
            if task.type == "DO_WHILE":
                first[left].append(end)
        before = left
    return before


def _check_self_call(definition: WorkflowDef, at: str, problems: Problems) -> None:
    for index, task in enumerate(definition.tasks):
        if task.type in ("SWITCH", "DECISION", "TERMINATE", "WAIT", "YIELD", "HUMAN", "WAIT_FOR_WEBHOOK"):
            return
        param = task.sub_workflow_param
        if task.type != "SUB_WORKFLOW" or param is UNSET or param.workflow_definition not in (UNSET, None):
            continue
        if param.name == definition.name and param.version in (UNSET, 0, "0", "", definition.version, str(definition.version)):
            problems.add(
                f"{at}tasks[{index}].subWorkflowParam.name",
                "the workflow would call itself for ever; put a SWITCH before",
                param.name,
            )
            return


# ---- task definitions


def check_policies(policies: Sequence[TaskDef], operation: str = "registerTaskDef.arg0") -> None:
    problems = DefinitionProblems(operation)
    for index, policy in enumerate(policies):
        _check_policy(policy, f"[{index}]" if operation.startswith("register") else "", problems)
    problems.raise_any()


def _check_policy(policy: TaskDef, path: str, problems: Problems, embedded: bool = False) -> None:
    if not (embedded and not policy.name):
        check_name(policy.name, f"{path}.name", "TaskDef name cannot be null or empty", problems)
    for name, value, low in (
        ("retryCount", policy.retry_count, 0),
        ("retryDelaySeconds", policy.retry_delay_seconds, 0),
        ("timeoutSeconds", policy.timeout_seconds, 0),
        ("totalTimeoutSeconds", policy.total_timeout_seconds, 0),
        ("maxRetryDelaySeconds", policy.max_retry_delay_seconds, 0),
        ("backoffJitterMs", policy.backoff_jitter_ms, 0),
        ("backoffScaleFactor", policy.backoff_scale_factor, 1),
        ("pollTimeoutSeconds", policy.poll_timeout_seconds or 0, 0),
        ("concurrentExecLimit", policy.concurrent_exec_limit or 0, 0),
        ("responseTimeoutSeconds", policy.response_timeout_seconds, 0 if embedded else 1),
    ):
        if value < low:
            if name == "responseTimeoutSeconds":
                problems.add(f"{path}.{name}", f"TaskDef responseTimeoutSeconds: {value} should be minimum 1 second", value)
            else:
                problems.add(f"{path}.{name}", f"TaskDef {name} must be at least {low}", value)
    timeout, response, total = policy.timeout_seconds, policy.response_timeout_seconds, policy.total_timeout_seconds
    if not embedded and timeout > 0 and response > timeout:
        problems.add(
            path or "",
            f"TaskDef: {policy.name} responseTimeoutSeconds: {response} must be less than timeoutSeconds: {timeout}",
        )
    if total > 0 and timeout > total:
        problems.add(path, f"TaskDef: {policy.name} timeoutSeconds: {timeout} must be at most totalTimeoutSeconds: {total}")
