"""What a user of event handlers sees: a server, a folder that it watches, and plain HTTP."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from tests.acceptance.official import unique
from tests.patience import PATIENCE, eventually
from tests.server.running import fresh

from pelton.cli.process import ServerProcess

HANDLERS = "/workflow/api/eventhandlers"
DEFINITIONS = "/workflow/api/taskdefinitions"
TASKS = "/workflow/api/tasks"
CLOUD = {"content-type": "application/cloudevents+json"}
JSON = {"content-type": "application/json-patch+json"}
SCOPE = "acme"

IMPORT: dict[str, Any] = {
    "id": {"scope": "Finbourne-Examples", "code": "Import-Quotes-From-File"},
    "displayName": "Import quotes from a file",
    "states": [{"name": "Pending"}, {"name": "Importing"}, {"name": "Done"}],
    "fieldSchema": [{"name": "folder", "type": "String"}, {"name": "quoteScope", "type": "String"}],
    "initialState": {"name": "Pending", "requiredFields": ["folder", "quoteScope"]},
    "triggers": [{"name": "start", "trigger": {"type": "External"}}, {"name": "finish", "trigger": {"type": "External"}}],
    "transitions": [
        {"fromState": "Pending", "toState": "Importing", "trigger": "start"},
        {"fromState": "Importing", "toState": "Done", "trigger": "finish"},
    ],
}
WORK: dict[str, Any] = {
    "displayName": "Work",
    "states": [{"name": "New"}, {"name": "Open"}, {"name": "Closed"}],
    "fieldSchema": [
        {"name": "path", "type": "String"},
        {"name": "rows", "type": "Decimal"},
        {"name": "due", "type": "DateTime"},
        {"name": "urgent", "type": "Boolean"},
        {
            "name": "desk",
            "type": "String",
            "valueConstraints": {
                "constraintType": "Validated",
                "valueSourceType": "AcceptableValues",
                "acceptableValues": ["rates", "credit"],
            },
        },
        {"name": "fixed", "type": "String", "readOnlyStates": {"stateType": "AllStates"}},
    ],
    "initialState": {"name": "New", "requiredFields": []},
    "triggers": [{"name": name, "trigger": {"type": "External"}} for name in ("begin", "check", "finish", "unused")],
    "transitions": [
        {"fromState": "New", "toState": "Open", "trigger": "begin"},
        {"fromState": "Open", "toState": "Open", "trigger": "check"},
        {
            "fromState": "Open",
            "toState": "Closed",
            "trigger": "finish",
            "guard": "fields['rows'] gt 0",
            "guardConditionNotMetMessage": "No rows were loaded",
        },
    ],
}


def merged(document: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A copy with members changed; `...` takes one away."""
    made = {**copy.deepcopy(dict(document)), **more}
    return {key: value for key, value in made.items() if value is not ...}


def creates(fields: Mapping[str, Any] | None = None, trigger: str | None = "begin", **more: Any) -> dict[str, Any]:
    activity: dict[str, Any] = {"type": "CreateNewTask", "initialTrigger": trigger, **more}
    return {**activity, "taskFields": _mappings(fields)}


def updates(trigger: str, where: str = "", fields: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "UpdateMatchingTasks", "trigger": trigger, "taskFields": _mappings(fields), **more}
    return {**found, "filter": where} if where else found


def _mappings(fields: Mapping[str, Any] | None) -> dict[str, Any]:
    """A path into the event is written `"$body.x"`, anything else is the value."""
    return {name: _mapping(value) for name, value in (fields or {}).items()}


def _mapping(value: Any) -> dict[str, Any]:
    if isinstance(value, str) and value.startswith("$"):
        return {"mapFrom": value[1:]}
    return {"setTo": value}


class World:
    def __init__(self, server: ServerProcess, folder: Path, token: str = "any") -> None:
        self.server = server
        self.folder = folder
        self.http = httpx.Client(base_url=server.address, headers={"authorization": f"Bearer {token}"}, timeout=60)

    def close(self) -> None:
        self.http.close()

    # ---- asking

    def ask(self, method: str, path: str, body: Any = None, status: int = 200, **query: Any) -> Any:
        """The JSON of an answer that must have this status."""
        answer = self.http.request(method, path, json=body, params=query, headers=JSON) if body is not None else (
            self.http.request(method, path, params=query)
        )  # fmt: skip
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer.json()

    def refused(self, method: str, path: str, body: Any = None, status: int = 400, content: bytes | None = None) -> Any:
        """A problem body with what clients look at."""
        if content is None:
            answer = self.http.request(method, path, json=body, headers=JSON)
        else:
            answer = self.http.request(method, path, content=content, headers=JSON)
        assert answer.status_code == status, (answer.status_code, answer.text[:2000])
        found = answer.json()
        assert type(found["code"]) is int
        assert found["name"]
        assert found["status"] == status
        assert "retry-after" not in answer.headers or status in (429, 503)
        assert "Traceback" not in answer.text
        assert len(answer.content) < 20_000
        return found

    def wait(self, holds: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
        try:
            return eventually(holds, what, seconds)
        except AssertionError as late:
            raise AssertionError("\n".join([str(late), *self.server.log])) from None

    # ---- defining

    def definition(self, code: str = "", base: Mapping[str, Any] = WORK, **more: Any) -> dict[str, Any]:
        """Its id."""
        identity = {"scope": SCOPE, "code": code or unique("work")}
        self.ask("POST", DEFINITIONS, merged(base, id=identity, **more), 201)
        return identity

    def handler(self, definition: Mapping[str, Any], kind: str, activity: Any, where: str = "", **more: Any) -> str:
        """Its name."""
        return self.made(self.handler_of(definition, kind, activity, where, **more))

    def made(self, handler: Mapping[str, Any]) -> str:
        made = self.ask("POST", HANDLERS, handler, 201)
        return f"{made['id']['scope']}/{made['id']['code']}"

    def handler_of(self, definition: Mapping[str, Any], kind: str, activity: Any, where: str = "", **more: Any) -> dict[str, Any]:
        pattern = {"eventType": kind, **({"filter": where} if where else {})}
        base = {
            "id": {"scope": SCOPE, "code": unique("on")},
            "displayName": "A handler",
            "description": "A handler",
            "status": "Active",
            "eventMatchingPattern": pattern,
            "runAsUserId": {"setTo": "robot"},
            "taskDefinitionId": definition,
            "taskActivity": activity,
        }
        return merged(base, **more)

    def put(self, name: str, handler: Mapping[str, Any]) -> Any:
        return self.ask("PUT", f"{HANDLERS}/{name}", merged(handler, id=...))

    # ---- events

    def post(self, kind: str, data: Any = None, status: int = 201, **more: Any) -> Any:
        """What the server made of it."""
        event = {"specversion": "1.0", "id": unique("id"), "source": "/test", "type": kind, "data": data, **more}
        answer = self.http.post("/v1/events", json=event, headers=CLOUD)
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer.json()

    def event(self, key: str) -> Any:
        return self.ask("GET", f"/v1/events/{key}")

    def explain(self, key: str, handler: str) -> Any:
        return self.ask("GET", f"/v1/events/{key}/explain", handler=handler)

    # ---- tasks

    def task(self, definition: Mapping[str, Any], trigger: str = "begin", **fields: Any) -> Any:
        given = [{"name": name, "value": value} for name, value in fields.items()]
        asked = {"taskDefinitionId": definition, "fields": given}
        return self.ask("POST", TASKS, asked, 201, **({"trigger": trigger} if trigger else {}))

    def tasks(self, definition: Mapping[str, Any]) -> list[Any]:
        """All that there are, oldest first."""
        path = f"{DEFINITIONS}/{quote(definition['scope'])}/{quote(definition['code'])}/tasks"
        found: list[Any] = self.ask("GET", path)["values"]
        return found

    def get(self, task: Any) -> Any:
        return self.ask("GET", f"{TASKS}/{task if isinstance(task, str) else task['id']}")


def letters() -> str:
    """A type of events that nobody else uses: letters only."""
    return unique("")[1:].translate(str.maketrans("0123456789", "ghijklmnop"))


def fields_of(task: Mapping[str, Any]) -> dict[str, Any]:
    return {each["name"]: each["value"] for each in task["fields"]}


def decision_of(posted: Mapping[str, Any], handler: str) -> Any:
    [found] = [each for each in posted["decisions"] if each["handler"] == handler]
    return found


def effects_of(posted: Mapping[str, Any], handler: str) -> list[Any]:
    return [each for each in posted.get("effects", []) if each["handler"] == handler]


@contextmanager
def serving(directory: Path, *arguments: str, token: str = "any", ahead: float = 0.0) -> Iterator[World]:
    """A server of one's own that watches a folder. `ahead`: seconds by which its clock is."""
    folder = directory / "drive"
    folder.mkdir(exist_ok=True)
    watch = ("--watch", f"{folder}=/acme", "--watch-settle", "50", "--allow-outgoing", "127.0.0.1")
    process = fresh(directory / "data", *watch, *arguments, ahead=ahead)
    world = World(process, folder, token)
    try:
        yield world
    finally:
        world.close()
        assert process.stop() == 0, "\n".join(process.log)
