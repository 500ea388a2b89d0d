"""Event handlers: when they fire, and which commands their actions send to the engine.

A completion that arrives before its task has been scheduled is not lost: it is held until the task opens, for as long as
configured.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec
from msgspec import UNSET

from pelton.errors import PeltonError
from pelton.kernel.expressions.base import JSON, Expression, Invalid
from pelton.kernel.expressions.cache import remembered
from pelton.kernel.expressions.template import compile_template
from pelton.kernel.matching.conditions import compile_condition
from pelton.kernel.matching.filters import Filter, ParameterTest
from pelton.kernel.matching.handlers import Handler
from pelton.kernel.model.signals import Report, SetVars, Signal, Terminate
from pelton.kernel.model.state import StartMeta, StepStatus
from pelton.languages.conductor import decode
from pelton.languages.conductor.handlers.payloads import Rooted, expand, references
from pelton.languages.conductor.handlers.validate import check_handler
from pelton.languages.conductor.model import (
    ActionDef,
    EventHandlerDef,
    StartWorkflowAction,
    TaskAction,
    TerminateAction,
    VariablesAction,
)
from pelton.languages.conductor.runs.identifiers import Ids, split_reference
from pelton.languages.conductor.runs.starting import MAX_TEXT, SAME_KEY, keys_of
from pelton.runtime.api import SYSTEM_ID, ActionContext, Command, PlanProblem, SignalCommand, StartCommand
from pelton.runtime.rows import DefinitionRow
from pelton.transport.validation import describe

MESSAGE_ID, EVENT_NAME = "conductor.event.messageId", "conductor.event.name"

Plan = Callable[[Any, ActionContext, int], Command]
"""What an action is for an event; the last is how long, in milliseconds, a report on a task that is not there yet is held."""


class Planned:
    """An action of a handler. It holds its text: handlers are many, often with the same action, and few are at work."""

    __slots__ = ("_expand", "_hold", "_text", "name")

    records = ""  # its runs keep none

    def __init__(self, name: str, text: str, expand: bool, hold: int) -> None:
        """Raises Invalid for an action that does not compile."""
        self.name = sys.intern(name)
        self._text = sys.intern(text)
        self._expand = expand
        self._hold = hold
        _planner(text)

    def plan(self, context: ActionContext) -> Sequence[Command]:
        payload = context.event.body
        plan = _planner(self._text)
        return [plan(Rooted(expand(payload) if self._expand else payload, context), context, self._hold)]


def compile_handler(row: DefinitionRow, language: str, hold: int) -> Handler:
    """Raises Invalid for a body that is not a handler."""
    try:
        form = decode.decode(row.body, EventHandlerDef)
        check_handler(form, "addEventHandler")
    except PeltonError as error:
        raise Invalid(error.message) from None
    actions = [_action(index, action, hold) for index, action in enumerate(form.actions)]
    return Handler(
        id=row.id,
        ns=row.ns,
        name=form.name,
        types=(sys.intern(form.event),),
        filter=_filter(form),
        actions=tuple(actions),
        active=form.active,
        language=language,
    )


def _filter(form: EventHandlerDef) -> Filter | None:
    if not form.condition:
        return None
    if form.evaluator_type == "value-param":
        return ParameterTest(form.condition)
    return compile_condition(form.condition)


def _action(index: int, action: ActionDef, hold: int) -> Planned:
    # Names tell the actions of one handler apart.
    name = f"{action.action}[{index}]" if index else str(action.action)
    return Planned(name, msgspec.json.encode(action).decode(), action.expand_inline_json, hold)


@remembered
def _planner(text: str) -> Plan:
    action = decode.decode(text.encode(), ActionDef)
    assert action.action is not UNSET  # checked with the handler
    return _PLANS[action.action](getattr(action, action.action))


def _text(value: JSON) -> str:
    return value if isinstance(value, str) else ""


def _template(value: JSON) -> Expression:
    return compile_template(None if value is UNSET else value, references)


def _stamp(context: ActionContext) -> dict[str, JSON]:
    event = context.event
    return {MESSAGE_ID: event.attributes.get(SYSTEM_ID, event.event_id), EVENT_NAME: event.type}


# ---- starting


def _start(member: StartWorkflowAction) -> Plan:
    given = _template(member.input)
    correlation = _template(member.correlation_id)
    keyed = _template(member.idempotency_key)

    def plan(root: Rooted, context: ActionContext, hold: int) -> Command:
        domains: JSON = member.task_to_domain
        if domains is UNSET and isinstance(root.payload, dict):
            domains = root.payload.get("taskToDomain")
        routes = domains if isinstance(domains, dict) and all(isinstance(each, str) for each in domains.values()) else {}
        value = correlation.evaluate(root)
        identity = value if isinstance(value, str) or value is None else str(value)
        value = keyed.evaluate(root)
        if member.idempotency_key and (value is None or value == ""):  # to start without it could mean to start twice
            detail = f"idempotencyKey {member.idempotency_key[:200]!r} comes to nothing for this event"
            return PlanProblem(detail=detail, field="idempotencyKey")
        key = "" if value is None else value if isinstance(value, str) else msgspec.json.encode(value).decode()
        if len(key) > MAX_TEXT:
            return PlanProblem(
                detail=f"idempotencyKey has {len(key)} characters; the limit is {MAX_TEXT}", field="idempotencyKey"
            )
        return StartCommand(
            process=member.name or "",
            version=member.version or 0,
            input={**given.evaluate(root), **_stamp(context)},
            meta=StartMeta(
                correlation=identity,
                event=context.event.type,
                routes=routes,
                extra={"idempotencyKey": key} if key else {},
            ),
            key=key,
            on_same_key=SAME_KEY[member.idempotency_strategy or "FAIL"],
            keys=keys_of(identity),
            hops=context.event.hops + 1,
        )

    return plan


# ---- tasks


def _report(status: StepStatus) -> Callable[[TaskAction], Plan]:
    def make(member: TaskAction) -> Plan:
        parts = _template(
            {
                "workflowId": member.workflow_id or None,
                "taskId": member.task_id or None,
                "taskRefName": member.task_ref_name or None,
                "reasonForIncompletion": member.reason_for_incompletion or None,
            }
        )
        output = _template(member.output)

        def plan(root: Rooted, context: ActionContext, hold: int) -> Command:
            named = parts.evaluate(root)
            place = _place(named, cast(Ids, context.codec))
            if isinstance(place, PlanProblem):
                return place
            run, n, slot, it = place
            reason = named["reasonForIncompletion"]
            report = Report(
                n=n,
                slot=slot,
                it=it,
                status=int(status),
                output={**named, **output.evaluate(root), **_stamp(context)},
                reason=_text(reason) if status == StepStatus.FAILED else "",
                hold=0 if n else hold,
                source=context.event.event_id,
                strict=False,
            )
            return SignalCommand(run=run, signal=report)

        return plan

    return make


def _place(named: dict[str, JSON], ids: Ids) -> tuple[int, int, str, int] | PlanProblem:
    """Run, number, slot and iteration of the task that an action names."""
    task, workflow, reference = _text(named["taskId"]), _text(named["workflowId"]), _text(named["taskRefName"])
    if task:
        place = ids.parse_step_id(task)
        if place is None:
            return PlanProblem(detail=f"No task found with taskId: {task[:200]}", field="taskId")
        return (*place, "", 0)
    if not workflow or not reference:
        which = "workflowId" if not workflow else "taskRefName"
        named_task = f"reference name: {reference or 'null'}, workflowId: {workflow or 'null'}"
        problem = f"{which} comes to {describe(named[which])}"
        return PlanProblem(detail=f"No task found with taskId: null, {named_task}: {problem}", field=which)
    run = ids.parse_run_id(workflow)
    if run is None:
        return PlanProblem(detail=f"No such workflow found by id: {workflow[:200]}", field="workflowId")
    slot, it = split_reference(reference, ())
    return run, 0, slot, it


# ---- runs


def _run_signal(workflow: Expression, signal: Callable[[Rooted], Signal]) -> Plan:
    def plan(root: Rooted, context: ActionContext, hold: int) -> Command:
        identity = workflow.evaluate(root)
        run = cast(Ids, context.codec).parse_run_id(identity) if isinstance(identity, str) else None
        if run is None:
            return PlanProblem(detail=f"No such workflow found by id: {describe(identity)}", field="workflowId")
        return SignalCommand(run=run, signal=signal(root))

    return plan


def _terminate(member: TerminateAction) -> Plan:
    reason = _template(member.termination_reason or "")
    return _run_signal(_template(member.workflow_id), lambda root: Terminate(reason=_text(reason.evaluate(root)), strict=False))


def _variables(member: VariablesAction) -> Plan:
    changes = _template(member.variables)
    return _run_signal(
        _template(member.workflow_id),
        lambda root: SetVars(changes=changes.evaluate(root), append=member.append_array, strict=False),
    )


_PLANS: dict[str, Callable[[Any], Plan]] = {
    "start_workflow": _start,
    "complete_task": _report(StepStatus.COMPLETED),
    "fail_task": _report(StepStatus.FAILED),
    "terminate_workflow": _terminate,
    "update_workflow_variables": _variables,
}
