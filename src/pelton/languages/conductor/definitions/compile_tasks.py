"""Compiles a task to a node of the process graph, by type. The node's name is the task's reference name, so that steps keep
their slot from version to version; every task becomes exactly one node.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from pelton.kernel.expressions import template
from pelton.kernel.expressions.base import JSON, Bound, BoundValue, Constant, Expression, ExpressionError, Read, in_words
from pelton.kernel.expressions.javascript import script as javascript
from pelton.kernel.expressions.template import compile_template
from pelton.kernel.model.process import (
    Assign,
    AtTime,
    Call,
    Choice,
    Edge,
    Emit,
    End,
    Fork,
    Join,
    Node,
    Outside,
    Scope,
    Wait,
    Work,
)
from pelton.kernel.model.state import RunStatus
from pelton.languages.conductor.definitions import policies, sinks
from pelton.languages.conductor.definitions.annotations import NodeAnnotations
from pelton.languages.conductor.definitions.definition_tree import walk
from pelton.languages.conductor.expressions import loops, scripts, secrets, times
from pelton.languages.conductor.expressions.references import References, TaskKind
from pelton.languages.conductor.model import TaskDef, WorkflowTask
from pelton.languages.conductor.tasks import kinds
from pelton.languages.conductor.tasks.makers import MAKERS, absent
from pelton.languages.conductor.tasks.queues import Queue

MAX_VARIABLES = 256 * 1024  # bytes of JSON text that one SET_VARIABLE may set

_END = {"COMPLETED": RunStatus.COMPLETED, "FAILED": RunStatus.FAILED, "TERMINATED": RunStatus.TERMINATED}


class Compiler:
    """Compiles the tasks of one definition into `nodes`."""

    def __init__(self, references: References, schemes: frozenset[str]) -> None:
        self.references = references
        self.schemes = schemes
        self.nodes: dict[str, Node] = {}

    def sequence(self, tasks: list[WorkflowTask], after: str) -> str:
        """Compiles tasks that follow one another; `after`: where the last leads. Returns where the first is entered."""
        following = after
        for index in range(len(tasks) - 1, -1, -1):
            task = tasks[index]
            next_task = tasks[index + 1] if index + 1 < len(tasks) else None
            node = self._node(task, next_task, following)
            self.nodes[node.name] = node
            following = node.name
        return following

    def _node(self, task: WorkflowTask, next_task: WorkflowTask | None, following: str) -> Node:
        if task.type == "FORK_JOIN":
            return self._fork(task, next_task)
        make = _MAKERS.get(task.type) or (absent if kinds.is_absent(task.type) else Compiler._simple)
        return make(self, task, self._common(task, following), following)

    def _common(self, task: WorkflowTask, following: str) -> dict[str, Any]:
        policy = task.task_definition if task.task_definition is not UNSET else policies.ad_hoc(task)
        return {
            "name": task.task_reference_name,
            "next": (Edge(following),) if following else (),
            "retry": policies.retry_of(task, policy),
            "limits": policies.limits_of(task, policy),
            "on_failure": policies.rules_of(task),
            "input": self._input(task, policy),
            "annotations": self._annotations(task, policy),
        }

    def _annotations(self, task: WorkflowTask, policy: TaskDef) -> NodeAnnotations:
        return NodeAnnotations(task, policy, Raw(msgspec.json.encode(task)), Raw(msgspec.json.encode(policy)), shown_type(task))

    def _input(self, task: WorkflowTask, policy: TaskDef) -> Expression:
        defaults = policy.input_template if kinds.is_workers(task.type) or task.type == "DYNAMIC" else {}
        compiled = compile_template({**defaults, **task.input_parameters}, self.references)
        return Defaulted(compiled, defaults) if defaults else compiled

    # ---- control

    def _fork(self, task: WorkflowTask, next_task: WorkflowTask | None) -> Node:
        common = self._common(task, "")
        if next_task is None or next_task.type != "JOIN":
            common.update(trace=False, input=None, retry=None)
            return End(
                **common,
                run=True,
                status=Constant(RunStatus.FAILED),
                reason=Constant("Fork task definition is not followed by a join task.  Check the blueprint"),
            )
        branches = [self.sequence(branch, "") for branch in task.fork_tasks]
        return Fork(**common, branches=(*branches, next_task.task_reference_name))

    def _join(self, task: WorkflowTask, common: dict[str, Any], following: str) -> Node:
        return Join(**common, on=tuple(dict.fromkeys(task.join_on)))

    def _switch(self, task: WorkflowTask, common: dict[str, Any], following: str) -> Node:
        cases = {name: self.sequence(case, following) for name, case in task.decision_cases.items()}
        return Choice(
            **common,
            select=scripts.Selected(task.evaluator_type or "", task.expression or ""),
            cases=cases,
            default=self.sequence(task.default_case, following),
            output=BoundValue(_choice_output),
        )

    def _loop(self, task: WorkflowTask, common: dict[str, Any], following: str) -> Node:
        given = task.input_parameters
        keep = given.get("keepLastN")
        member = loops.list_member(task)
        again = items = None
        if (task.loop_condition or "").strip() and member != loops.EACH:
            condition = loop_condition(task, self.references, member)
            again = scripts.Explained(condition, f"Unable to evaluate condition {task.loop_condition}")
        if member:
            items = BoundValue(lambda context: scripts.member(context.value, member))
        if member and task.items is not UNSET and task.items is not None:
            found = compile_template(task.items, self.references)
            common["input"] = Mapped(
                common["input"], lambda value, context: {**value, loops.ITEMS: found.evaluate(context)}, found.reads
            )
        return Scope(
            **common,
            body=self.sequence(task.loop_over, ""),
            again=again,
            renewed=Renewed(common["input"], member) if again is not None and template.references(given) else None,
            items=items,
            keep_last=compile_template(keep, self.references) if keep is not None else None,
        )

    def _terminate(self, task: WorkflowTask, common: dict[str, Any], following: str) -> Node:
        status = _END[str(task.input_parameters.get("terminationStatus"))]
        return End(**common, run=True, status=Constant(status), output=BoundValue(_end_output), reason=BoundValue(_end_reason))

    # ---- work

    def _simple(self, task: WorkflowTask, common: dict[str, Any], following: str) -> Node:
        policy: TaskDef = common["annotations"].policy
        use = secrets.use_of(policy.input_template, task.input_parameters)
        queue = Queue(kinds.queue_name(task.type, task.name))
        return Work(**common, queue=queue, delay=policies.milliseconds(task.start_delay), secrets=use)

    def _http(self, task: WorkflowTask, common: dict[str, Any], following: str) -> Node:
        flag = task.async_complete
        common["input"] = Mapped(common["input"], lambda value, context: {**value, "asyncComplete": flag})
        use = secrets.use_of(task.input_parameters)
        return Work(**common, queue="@http", delay=policies.milliseconds(task.start_delay), secrets=use)

    def _wait(self, task: WorkflowTask, common: dict[str, Any], following: str) -> Node:
        values = task.input_parameters
        if any(values.get(name) is not None for name in ("duration", "until", "wait_until")):
            return Wait(**common, arms=(Outside(), AtTime(at=BoundValue(wait_until))))
        return Wait(**common, arms=(Outside(),))

    def _event(self, task: WorkflowTask, common: dict[str, Any], following: str) -> Node:
        sink = compile_template(task.sink or "", self.references)
        flag = task.async_complete
        address = Sink(task.task_reference_name, self.references.name, self.schemes)

        def extended(value: dict[str, JSON], context: Any) -> JSON:
            return {**value, "sink": sink.evaluate(context), "asyncComplete": flag}

        common["input"] = Mapped(common["input"], extended, sink.reads)
        return Emit(
            **common,
            sink=BoundValue(address.evaluate),
            body=BoundValue(lambda context: event_body(context, address)),
            awaits="outside" if flag else "nothing",
        )

    def _sub_workflow(self, task: WorkflowTask, common: dict[str, Any], following: str) -> Node:
        param = task.sub_workflow_param
        assert param is not UNSET  # checked at registration
        described = {
            "subWorkflowName": param.name if param.name is not UNSET else None,
            "subWorkflowVersion": param.version if param.version is not UNSET else None,
            "subWorkflowTaskToDomain": param.task_to_domain if param.task_to_domain is not UNSET else None,
            "subWorkflowDefinition": param.workflow_definition if isinstance(param.workflow_definition, str) else None,
            "priority": param.priority if param.priority is not UNSET else None,
            "idempotencyKey": None,
            "idempotencyStrategy": None,
        }
        parts = compile_template(described, self.references)
        inline = param.workflow_definition if isinstance(param.workflow_definition, dict) else None

        def extended(value: dict[str, JSON], context: Any) -> JSON:
            found = parts.evaluate(context)
            if inline is not None:
                found = {**found, "subWorkflowDefinition": inline}
            return {**found, "workflowInput": value}

        common["input"] = Mapped(common["input"], extended, parts.reads)
        return Call(**common, target=BoundValue(call_target), child_input=BoundValue(_child_input), meta=BoundValue(call_meta))

    # ---- computations

    def _set_variable(self, task: WorkflowTask, common: dict[str, Any], following: str) -> Node:
        return Assign(**common, merge=BoundValue(_merged), output=Constant({}))

    def _inline(self, task: WorkflowTask, common: dict[str, Any], following: str) -> Node:
        return Assign(**common, output=scripts.Inline())


_MAKERS: dict[str, Callable[[Compiler, WorkflowTask, dict[str, Any], str], Node]] = {
    **MAKERS,
    "DO_WHILE": Compiler._loop,
    "EVENT": Compiler._event,
    "HTTP": Compiler._http,
    "INLINE": Compiler._inline,
    "JOIN": Compiler._join,
    "SET_VARIABLE": Compiler._set_variable,
    "SIMPLE": Compiler._simple,
    "SUB_WORKFLOW": Compiler._sub_workflow,
    "SWITCH": Compiler._switch,
    "TERMINATE": Compiler._terminate,
    "WAIT": Compiler._wait,
    "YIELD": Compiler._wait,
}


def kind_of(task: WorkflowTask) -> TaskKind:
    dynamic = (task.dynamic_task_name_param or "") if task.type == "DYNAMIC" else ""
    return TaskKind(task.type, task.name, shown_type(task), loops.list_member(task), dynamic)


def shown_type(task: WorkflowTask) -> str:
    """The type as a view of the task shows it."""
    if task.type == "SIMPLE":
        return task.name
    return "FORK" if task.type in ("FORK_JOIN", "FORK_JOIN_DYNAMIC") else task.type


# ---- inputs


class Mapped:
    """An input to which the server adds members."""

    __slots__ = ("_change", "_expression", "reads")

    def __init__(
        self, expression: Expression, change: Callable[[dict[str, JSON], Any], JSON], reads: frozenset[Read] = frozenset()
    ) -> None:
        self._expression = expression
        self._change = change
        self.reads = expression.reads | reads

    def evaluate(self, context: Any) -> JSON:
        return self._change(self._expression.evaluate(context), context)


class Renewed:
    """A loop's input as it is at a look at the condition. The list that the loop goes through stays as it was when it began."""

    __slots__ = ("_expression", "_list", "reads")

    def __init__(self, expression: Expression, member: str) -> None:
        self._expression = expression
        self._list = member
        self.reads = expression.reads

    def evaluate(self, context: Any) -> JSON:
        value = self._expression.evaluate(context)
        before = context.value
        if not self._list or not isinstance(before, dict) or self._list not in before:
            return value
        return {**value, self._list: before[self._list]}


class Defaulted:
    """An input whose members fall back to those of the task's policy when they evaluate to null."""

    __slots__ = ("_defaults", "_expression", "reads")

    def __init__(self, expression: Expression, defaults: dict[str, JSON]) -> None:
        self._expression = expression
        self._defaults = defaults
        self.reads = expression.reads

    def evaluate(self, context: Any) -> JSON:
        value = self._expression.evaluate(context)
        missing = {name: default for name, default in self._defaults.items() if value.get(name) is None}
        return {**value, **missing} if missing else value


# ---- what the types compute


def _choice_output(context: Any) -> JSON:
    return {"evaluationResult": [context.value], "selectedCase": context.value}


def wait_until(context: Any) -> JSON:
    """Epoch milliseconds at which a WAIT ends by itself. Raises ExpressionError for any other text."""
    value = context.value if isinstance(context.value, dict) else {}
    duration = value.get("duration")
    until = value.get("until") if value.get("until") is not None else value.get("wait_until")
    if duration is not None and until is not None:
        raise ExpressionError("Both 'duration' and 'until' specified. Please provide only one input")
    if duration is not None:
        length = times.duration(str(duration))
        if length is None:
            raise ExpressionError(f"Not valid duration: {duration}")
        return context.now + length
    if until is None:
        return None
    at = times.moment(str(until))
    if at is None:
        raise ExpressionError(f"Invalid/Unsupported Wait Until format.  Provided: {until}")
    return at


class Sink:
    """Where an EVENT task's message goes."""

    def __init__(self, reference: str, workflow: str, schemes: frozenset[str]) -> None:
        self.reference = reference
        self.workflow = workflow
        self.schemes = schemes

    def evaluate(self, context: Any) -> str:
        """Raises ExpressionError for an address that is none, or of a type that this server does not know."""
        address = self.address(context)
        scheme, found, _ = address.partition(":")
        if not found:
            raise self._error(context, address, f"Illegal event {address}")
        if scheme not in self.schemes:
            raise self._error(
                context, address, f"Unknown queue type {scheme}; this server knows {', '.join(sorted(self.schemes))}"
            )
        return address

    def address(self, context: Any) -> str:
        """What the sink is rewritten to, whether or not anything can be sent there. Raises ExpressionError."""
        sink = context.value.get("sink") if isinstance(context.value, dict) else None
        if not isinstance(sink, str) or not sink:
            raise ExpressionError(f"Invalid / Unsupported sink specified: {sink}")
        return sinks.rewrite(sink, self.workflow, self.reference)

    def _error(self, context: Any, address: str, why: str) -> ExpressionError:
        task = context.codec.step_id(context.run.key, context.step.n) if context.step is not None else ""
        return ExpressionError(f"Error loading queue:{address}, for task:{task}, error: {why}")


def event_body(context: Any, address: Sink) -> JSON:
    """What is sent: the input, and five members about the run; also what the task leaves behind."""
    meta = context.meta
    try:
        produced = {"event_produced": address.address(context)}
    except ExpressionError:  # the sink makes the task fail; the message it would have sent is still shown
        produced = {}
    return {
        **context.value,
        "workflowInstanceId": context.codec.run_id(context.run.key),
        "workflowType": context.process.name,
        "workflowVersion": context.process.version,
        "correlationId": meta.correlation,
        "taskToDomain": dict(meta.routes),
        **produced,
    }


def call_target(context: Any) -> JSON:
    """The process a SUB_WORKFLOW calls. Raises ExpressionError when it names none."""
    value = context.value
    inline = value.get("subWorkflowDefinition")
    if inline is not None:
        if not isinstance(inline, dict):
            raise ExpressionError("subWorkflowParam.workflowDefinition does not come to an object")
        return {"definition": inline}
    name, version = value.get("subWorkflowName"), value.get("subWorkflowVersion")
    if not isinstance(name, str) or not name:
        raise ExpressionError(f"The Task {context.process.name} defined as a sub-workflow has no workflow definition available ")
    try:
        number = int(version) if version not in (None, "") else 0
    except (TypeError, ValueError):
        raise ExpressionError(f"subWorkflowParam.version comes to {in_words(version)}, which is no whole number") from None
    return {"name": name, "version": number}


def _child_input(context: Any) -> JSON:
    return context.value.get("workflowInput") or {}


def call_meta(context: Any) -> JSON:
    """A child inherits the parent's correlation id, and its domains unless it has its own; its priority only when given."""
    meta = context.meta
    value = context.value
    domains = value.get("subWorkflowTaskToDomain")
    found: dict[str, JSON] = {"routes": domains if isinstance(domains, dict) else dict(meta.routes)}
    if meta.correlation is not None:
        found["correlation"] = meta.correlation
    priority = value.get("priority")
    if isinstance(priority, str) and priority.strip().isdigit():
        priority = int(priority)
    if isinstance(priority, int) and 0 <= priority <= 99:
        found["priority"] = priority
    return found


def _merged(context: Any) -> JSON:
    size = len(msgspec.json.encode(context.value))
    if size > MAX_VARIABLES:
        raise ExpressionError(f"The variables payload size: {size} is greater than the permissible limit: {MAX_VARIABLES} bytes")
    return context.value


def _end_output(context: Any) -> JSON:
    output = context.value.get("workflowOutput")
    if output is None:
        return {}
    return output if isinstance(output, dict) else {"output": output}


def _end_reason(context: Any) -> JSON:
    reason = context.value.get("terminationReason")
    if reason is not None and reason != "":
        return reason if isinstance(reason, str) else msgspec.json.encode(reason).decode()
    status = context.value.get("terminationStatus")
    task = context.codec.step_id(context.run.key, context.step.n) if context.step is not None else ""
    return f"Workflow is {status} by TERMINATE task: {task}"


# ---- loops


def loop_condition(task: WorkflowTask, references: References, items: str = "") -> javascript.Script:
    """The condition over `$`: the loop's input, its own output, and the latest output of each task in it. Only what the script
    may read is put there, so that a loop's cost does not grow with the iterations that are behind it."""
    source = task.loop_condition or ""
    uses = javascript.member_uses(source)
    wanted = {name for name, _ in uses.members}
    own = task.task_reference_name
    inner = [place.task.task_reference_name for place in walk(task.loop_over)]
    read = [name for name in inner if uses.computed or name in wanted]
    own_only = not uses.computed and all(after in loops.OWN_MEMBERS for name, after in uses.members if name == own)
    outputs = {name: references(name, ("output",)) for name in read}
    whole: Bound = references(own, ("output",))

    def argument(context: Any) -> JSON:
        found = dict(context.value) if isinstance(context.value, dict) else {}
        if items and not uses.computed and items not in wanted:
            del found[items]
        found[own] = loops.own_output(context.step, items) if own_only else whole.get(context)
        for name, bound in outputs.items():
            found[name] = bound.get(context)
        return found

    reads: frozenset[Read] = frozenset().union(*(bound.reads for bound in outputs.values())) if outputs else frozenset()
    return scripts.script(source, argument, reads)
