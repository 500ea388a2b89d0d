"""START_WORKFLOW: starts another workflow and goes on. The input's `startWorkflow` is a request to start one."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from pelton.errors import PeltonError
from pelton.kernel.expressions.base import JSON, ExpressionError
from pelton.languages.conductor import decode
from pelton.languages.conductor.model import StartWorkflowRequest

START = "startWorkflow"
MOST_PRIORITY = 99


def request_of(context: Any) -> StartWorkflowRequest:
    """Raises ExpressionError for what is no request."""
    given = context.value.get(START) if isinstance(context.value, dict) else None
    if not isinstance(given, dict):
        raise ExpressionError(f"Missing '{START}' in input data: an object with the workflow's name, version and input")
    try:
        return decode.convert(given, StartWorkflowRequest)
    except PeltonError as error:
        described = "; ".join(f"{each.path}: {each.message}" for each in error.problems[:5])
        raise ExpressionError(f"'{START}' is no request to start a workflow: {described or error.message}") from None


def target(context: Any) -> JSON:
    given = request_of(context)
    if given.workflow_def is not UNSET:
        return {"definition": context.value[START]["workflowDef"]}
    if not given.name.strip():
        raise ExpressionError("Workflow name cannot be null or empty")
    return {"name": given.name, "version": given.version or 0}


def child_input(context: Any) -> JSON:
    return request_of(context).input


def meta(context: Any) -> JSON:
    """What the request does not say of these is as it is for the run that starts it."""
    given, mine = request_of(context), context.meta
    correlation = given.correlation_id if given.correlation_id is not UNSET else mine.correlation
    found: dict[str, JSON] = {"routes": given.task_to_domain or dict(mine.routes)}
    if correlation is not None:
        found["correlation"] = correlation
    if 0 < given.priority <= MOST_PRIORITY:
        found["priority"] = given.priority
    return found
