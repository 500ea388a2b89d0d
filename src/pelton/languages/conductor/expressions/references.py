"""Resolving a name in `${...}`: `workflow`, a task by its reference name (`ref`, or `ref__3` for its third iteration), or a
system-defined name. Only this module knows how to query the kernel's context.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pelton.kernel.expressions.base import JSON, Bound, ExpressionError, Read
from pelton.kernel.machine.tokens.outputs import number_of, output_of, part_of
from pelton.kernel.model.state import OpenStep, RunStatus, State, Step, worker_of
from pelton.languages.conductor import status_names
from pelton.languages.conductor.expressions import loops, secrets

_ITERATION = re.compile(r"(.+)__([1-9][0-9]{0,8})")
NOTHING: frozenset[Read] = frozenset()
_COMPOSED = frozenset({"JOIN", "DO_WHILE", "SUB_WORKFLOW", "START_WORKFLOW", *status_names.TELL_ERRORS})

Get = Callable[[Any], JSON]


class TaskKind:
    """What an expression may ask of a task of the definition: its kind and its names."""

    __slots__ = ("dynamic", "items", "kind", "name", "shown")

    def __init__(self, kind: str, name: str, shown: str, items: str = "", dynamic: str = "") -> None:
        self.kind = kind  # the type of the definition
        self.name = name  # its definition's name
        self.shown = shown  # the type as views show it
        self.items = items  # of a loop over a list: the member of its input that holds the list
        self.dynamic = dynamic  # of a DYNAMIC task: the member of its input that holds its name


class References:
    """The resolver of one definition. `tasks` by reference name; `defaults`: the definition's `inputTemplate`."""

    def __init__(self, name: str, version: int, tasks: Mapping[str, TaskKind], defaults: Mapping[str, JSON]) -> None:
        self.name = name
        self.version = version
        self.tasks = tasks
        self.defaults = defaults

    def __call__(self, name: str, members: tuple[str | int, ...]) -> Bound:
        if name == "":
            return Bound(self._document, 0, NOTHING)
        kind = self.tasks.get(name)
        if kind is not None:
            return self._task(name, None, kind, members)
        if name == "workflow":
            return self._workflow(members)
        if name == "CPEWF_TASK_ID":
            return Bound(_task_id, 0, NOTHING)
        found = _ITERATION.fullmatch(name)
        if found is not None and found[1] in self.tasks:
            return self._task(found[1], int(found[2]), self.tasks[found[1]], members)
        return Bound(_nothing, 0, NOTHING)

    # ---- workflow

    def _workflow(self, members: tuple[str | int, ...]) -> Bound:
        head = members[0] if members else None
        if head == "input":
            return Bound(self.input, 1, NOTHING)
        if head == "variables":
            if len(members) > 1 and isinstance(members[1], str):
                name = members[1]
                return Bound(lambda context: context.var(name), 2, frozenset({Read("var", name)}))
            return Bound(_variables, 1, NOTHING)
        if head == secrets.SECRETS and len(members) > 1:
            text = secrets.text_of(members)
            return Bound(lambda context: text, len(members), NOTHING)
        if head in (secrets.SECRETS, secrets.ENVIRONMENT):
            return Bound(_not_read(secrets.text_of(members)), len(members), NOTHING)
        get = self._members().get(head) if isinstance(head, str) else None
        if get is not None:
            return Bound(get, 1, NOTHING)
        if head is None:
            return Bound(self._whole, 0, NOTHING)
        return Bound(_nothing, 0, NOTHING)

    def input(self, context: Any) -> JSON:
        """The run's input with the definition's defaults filled in."""
        return with_defaults(context.input, self.defaults)

    def _members(self) -> dict[str, Get]:
        return {
            "workflowId": lambda context: context.codec.run_id(context.run.key),
            "status": lambda context: status_names.RUN_STATUS[RunStatus(_status(context))],
            "output": lambda context: {},
            "parentWorkflowId": lambda context: context.codec.run_id(context.run.parent) if context.run.parent else None,
            "parentWorkflowTaskId": _parent_task,
            "workflowType": lambda context: self.name,
            "version": lambda context: self.version,
            "correlationId": lambda context: context.meta.correlation,
            "reasonForIncompletion": lambda context: context.end.reason if context.end is not None else None,
            "schemaVersion": lambda context: 2,
            "createTime": lambda context: context.run.created,
            "startTime": lambda context: context.run.created,
            "priority": lambda context: context.meta.priority,
        }

    def _whole(self, context: Any) -> JSON:
        found = {name: get(context) for name, get in self._members().items()}
        return {**found, "input": self.input(context), "variables": _variables(context)}

    def _document(self, context: Any) -> JSON:
        """Everything, for paths that search it. Costs as many reads as the definition has tasks."""
        found: dict[str, JSON] = {"workflow": self._whole(context)}
        for name, kind in self.tasks.items():
            step = context.newest(name)
            if step is not None:
                found[name] = _all_of(context, step, name, kind)
        return found

    # ---- tasks

    def _task(self, slot: str, iteration: int | None, kind: TaskKind, members: tuple[str | int, ...]) -> Bound:
        reads = frozenset({Read("slot", slot)}) if iteration is None else NOTHING

        def newest(context: Any) -> OpenStep | Step | None:
            found: OpenStep | Step | None = context.newest(slot, iteration)
            return found

        head = members[0] if members else None
        if head == "output" and kind.kind not in _COMPOSED:

            def plain(context: Any) -> JSON:
                step = newest(context)
                return step.output if step is not None else None

            return Bound(plain, 1, reads)
        if head == "output" and kind.kind == "DO_WHILE" and members[1:2] and members[1] in loops.OWN_MEMBERS:
            own = str(members[1])

            def of_loop(context: Any) -> JSON:
                step = newest(context)
                return loops.own_output(step, kind.items).get(own) if step is not None else None

            return Bound(of_loop, 2, reads)
        inside = self._parts(kind, members)
        if inside > 1:
            parts = members[1:inside]

            def part(context: Any) -> JSON:
                step = newest(context)
                return part_of(context.draft, step, parts) if step is not None else None

            return Bound(part, inside, reads)
        if head is None:

            def whole(context: Any) -> JSON:
                step = newest(context)
                return _all_of(context, step, slot, kind) if step is not None else None

            return Bound(whole, 0, reads)
        get = MEMBERS.get(head) if isinstance(head, str) else None
        if get is None:
            return Bound(_nothing, 0, NOTHING)
        member = get

        def selected(context: Any) -> JSON:
            step = newest(context)
            return member(context, step, slot, kind) if step is not None else None

        return Bound(selected, 1, reads)

    def _parts(self, kind: TaskKind, members: tuple[str | int, ...]) -> int:
        """How many members of a path name an iteration of a loop, or a task in one or behind a join, so that this part of the
        output can be read without the rest; `output` itself is counted."""
        used = 1
        if members[:1] != ("output",):
            return 0
        inside: TaskKind | None = kind
        while inside is not None and inside.kind in ("DO_WHILE", "JOIN") and used < len(members):
            if inside.kind == "DO_WHILE":
                if not number_of(members[used]):
                    return used
                used += 1
            if used < len(members):
                inside = self.tasks.get(str(members[used]))
                used += inside is not None
        return used


TaskGet = Callable[[Any, OpenStep | Step, str, TaskKind], JSON]

MEMBERS: dict[str, TaskGet] = {
    "input": lambda context, step, slot, kind: step.input if step.input is not None else {},
    "output": lambda context, step, slot, kind: _output(context, step, kind),
    "taskType": lambda context, step, slot, kind: status_names.dynamic_name(step, kind.dynamic) or kind.shown,
    "status": lambda context, step, slot, kind: status_names.task_status(step),
    "referenceTaskName": lambda context, step, slot, kind: status_names.reference(slot, step.it),
    "retryCount": lambda context, step, slot, kind: step.attempt,
    "correlationId": lambda context, step, slot, kind: context.meta.correlation,
    "pollCount": lambda context, step, slot, kind: step.polls,
    "taskDefName": lambda context, step, slot, kind: status_names.dynamic_name(step, kind.dynamic) or kind.name,
    "scheduledTime": lambda context, step, slot, kind: step.opened,
    "startTime": lambda context, step, slot, kind: step.started,
    "endTime": lambda context, step, slot, kind: step.ended if isinstance(step, Step) else 0,
    "workflowInstanceId": lambda context, step, slot, kind: context.codec.run_id(context.run.key),
    "taskId": lambda context, step, slot, kind: context.codec.step_id(context.run.key, step.n),
    "reasonForIncompletion": lambda context, step, slot, kind: status_names.reason(context.codec, step) or None,
    "callbackAfterSeconds": lambda context, step, slot, kind: status_names.callback_after(step, context.now),
    "workerId": lambda context, step, slot, kind: worker_of(step.worker)[0] or None,
    "iteration": lambda context, step, slot, kind: status_names.iteration(step),
    "subWorkflowId": lambda context, step, slot, kind: (
        context.codec.run_id(step.child) if step.state == State.CALL and step.child > 0 else None
    ),
}


def _output(context: Any, step: OpenStep | Step, kind: TaskKind) -> JSON:
    output = output_of(context.draft, step)
    if kind.items and isinstance(output, dict):
        return {**output, **loops.own_output(step, kind.items)}
    if kind.kind == "START_WORKFLOW":
        return {"workflowId": context.codec.run_id(step.child)} if step.child > 0 else {}
    if kind.kind in status_names.TELL_ERRORS:
        return status_names.with_error(context.codec, step, output)
    if step.state == State.CALL and step.child > 0:
        return {**(output if isinstance(output, dict) else {}), "subWorkflowId": context.codec.run_id(step.child)}
    return output if output is not None else {}


def _all_of(context: Any, step: OpenStep | Step, slot: str, kind: TaskKind) -> JSON:
    return {name: get(context, step, slot, kind) for name, get in MEMBERS.items()}


def _status(context: Any) -> int:
    return int(context.end.status if context.end is not None else context.run.status)


def _parent_task(context: Any) -> JSON:
    return context.codec.step_id(context.run.parent, context.run.parent_n) if context.run.parent else None


def _task_id(context: Any) -> JSON:
    return context.codec.step_id(context.run.key, context.step.n) if context.step is not None else None


def _variables(context: Any) -> JSON:
    return context.variables()


def _not_read(text: str) -> Get:
    def get(context: Any) -> JSON:
        raise ExpressionError(f"{text} is not supported; name a secret as ${{workflow.secrets.NAME}}")

    return get


def _nothing(context: Any) -> JSON:
    return None


def with_defaults(value: JSON, defaults: Mapping[str, JSON]) -> JSON:
    """Defaults fill what is absent or null, but only in an input that is not empty."""
    if not defaults or not isinstance(value, dict) or not value:
        return value if value is not None else {}
    filled = {**defaults, **value}
    for name, default in defaults.items():
        if filled[name] is None:
            filled[name] = default
    return filled
