"""Recognises documents of this language, and returns the requests that register them; used by `pelton apply`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

from pelton.languages.lusid import decode
from pelton.languages.lusid.definitions.checks import check_definition
from pelton.languages.lusid.definitions.checks import value_of as definition_value
from pelton.languages.lusid.forms import CreateEventHandler, CreateTaskDefinition, CreateWorker, EventTypeEntry
from pelton.languages.lusid.handlers.checks import check_handler
from pelton.languages.lusid.handlers.checks import value_of as handler_value
from pelton.languages.lusid.workers.configurations import read_worker
from pelton.languages.plugin import Detected
from pelton.runtime.caller import Users

WORKFLOW, NOTIFICATION = "/workflow/api", "/notification/api"
PATHS = {"task definition": "taskdefinitions", "event handler": "eventhandlers", "worker": "workers"}
OWN = frozenset({"version", "links"})  # of an answer: the server's own
DEFAULTED = frozenset({"displayName", "description", "application", "headerSchema", "bodySchema", *OWN})


def detect(document: Any) -> Detected | None:
    """None: not of this language. Raises PeltonError naming the field when it is, and is wrong."""
    if not isinstance(document, dict):
        return None
    return _detected(document)


def _detected(document: dict[str, Any]) -> Detected | None:
    if isinstance(document.get("id"), str) and "bodySchema" in document:
        entry = decode.convert(document, EventTypeEntry)
        path = f"{NOTIFICATION}/eventtypes"
        one = f"{path}/{quote(entry.id, safe='')}"
        kept = decode.plain(entry)
        return Detected(
            "event type",
            entry.id,
            (("POST", path, document), ("PUT", one, document)),
            current=one,
            normal=kept,
            seen=lambda answer: {key: each for key, each in answer.items() if key in kept or key not in DEFAULTED},
        )
    if not isinstance(document.get("id"), dict):
        return None
    if "states" in document and "initialState" in document:
        definition = decode.convert(document, CreateTaskDefinition)
        check_definition(definition)
        return _thing("task definition", "taskdefinitions", definition.id.name, document, definition_value(definition))
    if "taskActivity" in document:
        handler = decode.convert(document, CreateEventHandler)
        check_handler(handler, Users())
        return _thing("event handler", "eventhandlers", handler.id.name, document, handler_value(handler))
    if "workerConfiguration" in document:
        worker = read_worker(document, CreateWorker)
        return _thing("worker", "workers", worker.id.name, document, decode.plain(worker), _seen_worker)
    return None


def _thing(
    kind: str, path: str, name: str, document: dict[str, Any], normal: Any, seen: Callable[[Any], Any] | None = None
) -> Detected:
    update = {key: value for key, value in document.items() if key != "id"}
    base = f"{WORKFLOW}/{path}"
    one = f"{base}/{name}"
    keys = [("propertyKeys", key) for key in normal.get("properties") or ()]
    return Detected(
        kind,
        name,
        (("POST", base, document), ("PUT", one, update)),
        current=f"{one}?{urlencode(keys)}" if keys else one,
        normal=normal,
        seen=seen or _seen,
    )


def _seen(answer: Any) -> Any:
    return {key: each for key, each in answer.items() if key not in OWN}


def _seen_worker(answer: Any) -> Any:
    found = {key: each for key, each in _seen(answer).items() if key not in {"parameters", "resultFields"}}
    own = found.pop("ownConfiguration", None)
    return found if own is None else {**found, "workerConfiguration": own}


def removal(kind: str, identity: str) -> tuple[str, str] | None:
    if kind == "event type":
        return "DELETE", f"{NOTIFICATION}/eventtypes/{quote(identity, safe='')}"
    path = PATHS.get(kind)
    return None if path is None else ("DELETE", f"{WORKFLOW}/{path}/{quote(identity)}")
