"""Recognises documents of this language, and returns the requests that register them; used by `pelton apply`."""

from __future__ import annotations

from typing import Any

from pelton.languages.lusid import decode
from pelton.languages.lusid.definitions.checks import check_definition
from pelton.languages.lusid.forms import CreateEventHandler, CreateTaskDefinition, CreateWorker, EventTypeEntry
from pelton.languages.lusid.handlers.checks import check_handler
from pelton.languages.lusid.workers.configurations import read_worker
from pelton.languages.plugin import Detected
from pelton.runtime.caller import Users

WORKFLOW, NOTIFICATION = "/workflow/api", "/notification/api"


def detect(document: Any) -> Detected | None:
    """None: not of this language. Raises PeltonError naming the field when it is, and is wrong."""
    if not isinstance(document, dict):
        return None
    return _detected(document)


def _detected(document: dict[str, Any]) -> Detected | None:
    if isinstance(document.get("id"), str) and "bodySchema" in document:
        entry = decode.convert(document, EventTypeEntry)
        path = f"{NOTIFICATION}/eventtypes"
        return Detected("event type", entry.id, (("POST", path, document), ("PUT", f"{path}/{entry.id}", document)))
    if not isinstance(document.get("id"), dict):
        return None
    if "states" in document and "initialState" in document:
        definition = decode.convert(document, CreateTaskDefinition)
        check_definition(definition)
        return _thing("task definition", "taskdefinitions", definition.id.name, document)
    if "taskActivity" in document:
        handler = decode.convert(document, CreateEventHandler)
        check_handler(handler, Users())
        return _thing("event handler", "eventhandlers", handler.id.name, document)
    if "workerConfiguration" in document:
        worker = read_worker(document, CreateWorker)
        return _thing("worker", "workers", worker.id.name, document)
    return None


def _thing(kind: str, path: str, name: str, document: dict[str, Any]) -> Detected:
    update = {key: value for key, value in document.items() if key != "id"}
    base = f"{WORKFLOW}/{path}"
    return Detected(kind, name, (("POST", base, document), ("PUT", f"{base}/{name}", update)))
