"""Recognises documents of this language, and returns the requests that register them; used by `pelton apply`."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from msgspec import Struct, json

from pelton.languages.conductor import decode
from pelton.languages.conductor.definitions import validate
from pelton.languages.conductor.handlers.validate import check_handler
from pelton.languages.conductor.model import EventHandlerDef, TaskDef, WorkflowDef
from pelton.languages.plugin import Detected

BASE = "/api"
WORKFLOW, HANDLER, TASK = "workflow", "event handler", "task"
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
        definition = decode.convert(document, WorkflowDef)
        validate.check_workflow(definition)
        base = f"{BASE}/metadata/workflow"
        current = f"{base}/{quote(name, safe='')}?version={definition.version}"
        put = ("PUT", base, [document])
        return Detected(WORKFLOW, name, (put,), f"{name}/{definition.version}", current, _plain(definition), _without_times)
    if "actions" in document and "event" in document:
        handler = decode.convert(document, EventHandlerDef)
        check_handler(handler, "addEventHandler")
        path = f"{BASE}/event"
        return Detected(
            HANDLER,
            name,
            (("POST", path, document), ("PUT", path, document)),
            current=path,
            normal=_plain(handler),
            seen=lambda answer: next((each for each in answer if each.get("name") == name), None),
        )
    if document.keys() & _POLICY and "tasks" not in document:
        policy = decode.convert(document, TaskDef)
        validate.check_policies([policy])
        path = f"{BASE}/metadata/taskdefs"
        put = ("POST", path, [document])
        return Detected(TASK, name, (put,), "", f"{path}/{quote(name, safe='')}", _plain(policy), _without_times)
    return None


def removal(kind: str, identity: str) -> tuple[str, str] | None:
    match kind:
        case "workflow":
            name, _, version = identity.rpartition("/")
            return "DELETE", f"{BASE}/metadata/workflow/{quote(name, safe='')}/{quote(version)}"
        case "event handler":
            return "DELETE", f"{BASE}/event/{quote(identity, safe='')}"
        case "task":
            return "DELETE", f"{BASE}/metadata/taskdefs/{quote(identity, safe='')}"
        case _:
            return None


def _plain(form: Struct) -> Any:
    return _without_times(json.decode(json.encode(form)))


def _without_times(answer: Any) -> Any:
    """What an author has written: the times are the server's."""
    if isinstance(answer, dict):
        return {key: _without_times(each) for key, each in answer.items() if key not in {"createTime", "updateTime"}}
    return [_without_times(each) for each in answer] if isinstance(answer, list) else answer
