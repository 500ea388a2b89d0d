"""Validation of an event handler before it is stored. All problems are reported at once, each with its path."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from pelton.languages.conductor.definitions.problems import MAX_NAME, DefinitionProblems, check_name, check_script, check_template
from pelton.languages.conductor.model import ActionDef, EventHandlerDef
from pelton.transport.validation import Problems

MAX_ACTIONS = 100


def check_handler(handler: EventHandlerDef, operation: str) -> None:
    """Raises PeltonError "invalid" with every problem found."""
    problems = DefinitionProblems(operation + ".arg0.")
    check_name(handler.name, "name", "Missing event handler name", problems)
    if not handler.event.strip():
        problems.add("event", "Missing event location", handler.event)
    elif len(handler.event) > 2 * MAX_NAME:
        problems.add("event", f"the event has {len(handler.event)} characters; the limit is {2 * MAX_NAME}")
    if not handler.actions:
        problems.add("actions", "No actions specified. Please specify at-least one action")
    elif len(handler.actions) > MAX_ACTIONS:
        problems.add("actions", f"a handler may have at most {MAX_ACTIONS} actions")
    for index, action in enumerate(handler.actions[:MAX_ACTIONS]):
        _check_action(action, f"actions[{index}]", problems)
    if handler.condition and handler.evaluator_type == "python":
        problems.add("evaluatorType", "evaluatorType 'python' is not supported; write the condition in javascript", "python")
    elif handler.condition and handler.evaluator_type != "value-param":
        check_script("condition", handler.condition, problems)
    problems.raise_any()


def _check_action(action: ActionDef, path: str, problems: Problems) -> None:
    if action.action is UNSET:
        problems.add(f"{path}.action", "Missing action; say which, e.g. start_workflow")
        return
    member = getattr(action, action.action)
    if member is UNSET:
        problems.add(f"{path}.{action.action}", f"the action is {action.action}, but its member {action.action!r} is missing")
        return
    if action.action == "start_workflow":
        check_name(member.name or "", f"{path}.start_workflow.name", "Missing name of the workflow to start", problems)
    elif action.action in ("complete_task", "fail_task"):
        if not member.task_id and not (member.workflow_id and member.task_ref_name):
            problems.add(f"{path}.{action.action}", "say which task: taskId, or workflowId and taskRefName")
    elif not member.workflow_id:
        problems.add(f"{path}.{action.action}.workflowId", "say which workflow: workflowId")
    check_template(_templates(member), f"{path}.{action.action}", problems)


def _templates(member: Any) -> list[Any]:
    return [getattr(member, name) for name in member.__struct_fields__ if getattr(member, name) is not UNSET]
