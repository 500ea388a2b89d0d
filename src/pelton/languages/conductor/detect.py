"""Recognises documents of this language, and returns the requests that register them; used by `pelton apply`."""

from __future__ import annotations

from typing import Any

from pelton.languages.conductor import decode
from pelton.languages.conductor.definitions import validate
from pelton.languages.conductor.handlers.validate import check_handler
from pelton.languages.conductor.model import EventHandlerDef, TaskDef, WorkflowDef
from pelton.languages.plugin import Detected

BASE = "/api"
_POLICY = frozenset(
    {
        "retryCount",
        "retryLogic",
        "retryDelaySeconds",
        "timeoutSeconds",
        "timeoutPolicy",
        "responseTimeoutSeconds",
        "pollTimeoutSeconds",
        "concurrentExecLimit",
        "rateLimitPerFrequency",
        "inputKeys",
        "outputKeys",
        "totalTimeoutSeconds",
    }
)


def detect(document: Any) -> Detected | None:
    """None: not of this language. Raises PeltonError naming the field when it is, and is wrong."""
    if not isinstance(document, dict) or not isinstance(document.get("name"), str):
        return None
    return _detected(document, document["name"])


def _detected(document: dict[str, Any], name: str) -> Detected | None:
    if isinstance(document.get("tasks"), list) and not document.keys() & {"event", "actions"}:
        validate.check_workflow(decode.convert(document, WorkflowDef))
        return Detected("workflow", name, (("PUT", f"{BASE}/metadata/workflow", [document]),))
    if "actions" in document and "event" in document:
        check_handler(decode.convert(document, EventHandlerDef), "addEventHandler")
        path = f"{BASE}/event"
        return Detected("event handler", name, (("POST", path, document), ("PUT", path, document)))
    if document.keys() & _POLICY and "tasks" not in document:
        validate.check_policies([decode.convert(document, TaskDef)])
        return Detected("task", name, (("POST", f"{BASE}/metadata/taskdefs", [document]),))
    return None
