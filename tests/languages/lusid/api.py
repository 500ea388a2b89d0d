"""The API over a real engine and a real store, called in process."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec

from pelton.connectors.registry import Connectors
from pelton.languages.lusid.plugin import PLUGIN
from pelton.languages.plugin import Host, install
from pelton.net.http import GuardedHttp
from pelton.runtime.caller import NAMESPACE, Caller, Users
from pelton.runtime.engine import LocalEngine
from pelton.runtime.scripting.pool import ScriptPool
from pelton.store.sqlite.store import SqliteStore
from pelton.testing.clock import VirtualClock
from pelton.transport.caller import set_caller
from pelton.transport.http.asgi import Application
from pelton.transport.http.mounts import Mount

DEFINITIONS = "/workflow/api/taskdefinitions"
HANDLERS = "/workflow/api/eventhandlers"
WORKERS = "/workflow/api/workers"
TYPES = "/notification/api/eventtypes"

INTAKE: dict[str, Any] = {
    "id": {"scope": "acme", "code": "intake"},
    "displayName": "Intake",
    "states": [{"name": "New"}, {"name": "Checking"}, {"name": "Closed"}],
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
    ],
    "initialState": {"name": "New", "requiredFields": ["path"]},
    "triggers": [
        {"name": "begin", "trigger": {"type": "External"}},
        {"name": "finish", "trigger": {"type": "External"}},
    ],
    "transitions": [
        {"fromState": "New", "toState": "Checking", "trigger": "begin"},
        {
            "fromState": "Checking",
            "toState": "Closed",
            "trigger": "finish",
            "guard": "fields['rows'] gt 0",
            "guardConditionNotMetMessage": "No rows were loaded",
        },
    ],
}
ON_FILE: dict[str, Any] = {
    "id": {"scope": "acme", "code": "on-file"},
    "displayName": "On file",
    "status": "Active",
    "eventMatchingPattern": {"eventType": "FileCreated", "filter": "body.filePath startswith '/acme/inbox'"},
    "runAsUserId": {"mapFrom": "header.userId", "setTo": None},
    "taskDefinitionId": {"scope": "acme", "code": "intake"},
    "taskActivity": {
        "type": "CreateNewTask",
        "initialTrigger": "begin",
        "correlationIds": [{"mapFrom": "body.fileId"}],
        "taskFields": {"path": {"mapFrom": "body.filePath"}, "rows": {"setTo": 0}},
    },
}
SLEEPER: dict[str, Any] = {
    "id": {"scope": "acme", "code": "sleeper"},
    "displayName": "Sleeper",
    "workerConfiguration": {"type": "Sleep"},
}


def named(document: dict[str, Any], code: str, **more: Any) -> dict[str, Any]:
    """A copy under another code, members changed."""
    return {**copy.deepcopy(document), "id": {**document["id"], "code": code}, **more}


def update_of(document: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What a PUT of it takes."""
    return {**{key: value for key, value in document.items() if key != "id"}, **more}


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with the member at `a.0.b` set, or taken away (...)."""
    made = copy.deepcopy(document)
    *parents, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    at: Any = made
    for step in parents:
        at = at[step]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return made


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Api:
    """`routes`: method and path of every route. `opened`: what the language does once the engine is open."""

    def __init__(self, engine: LocalEngine, mounts: Sequence[Mount], opened: Callable[[], Awaitable[None]]) -> None:
        self.engine = engine
        self.application = Application([(mount.prefix, mount.router) for mount in mounts])
        self.routes = [(method, mount.prefix + path) for mount in mounts for method, path in mount.router.patterns]
        self.opened = opened

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        user: str = "",
        namespace: str = NAMESPACE,
        **query: Any,
    ) -> Answer:
        """`path` is a raw one; `body` becomes JSON, `raw` is sent as it is."""
        data = raw if raw is not None else b"" if body is None else msgspec.json.encode(body)
        scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": urlencode(query, doseq=True).encode(),
            "headers": [(b"content-type", b"application/json-patch+json")],
        }
        if user or namespace != NAMESPACE:
            set_caller(scope, Caller(namespace, user))
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": data, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.application(scope, receive, send)
        start, end = sent
        return Answer(start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, end["body"])

    async def ok(self, method: str, path: str, body: Any = None, *, status: int = 200, user: str = "", **query: Any) -> Any:
        answer = await self.call(method, path, body, user=user, **query)
        assert answer.status == status, (answer.status, answer.body)
        return answer.json

    async def made(self, path: str, body: Any, user: str = "") -> Any:
        return await self.ok("POST", path, body, status=201, user=user)

    async def refused(self, status: int, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """The problem body of an answer that must be this one."""
        answer = await self.call(method, path, body, **query)
        assert answer.status == status, (answer.status, answer.body)
        found = answer.json
        assert found["status"] == status
        assert type(found["code"]) is int
        assert found["name"]
        assert "retry-after" not in answer.headers or status in (429, 503)
        assert "Traceback" not in answer.body.decode()
        return found


@asynccontextmanager
async def serving(path: Path, users: Users | None = None, clock: VirtualClock | None = None) -> AsyncIterator[Api]:
    """`clock`: one that the test moves, in place of the real one."""
    store = SqliteStore(path / "pelton.db", "relaxed", clock=clock)
    await store.open()
    scripts = ScriptPool(1)
    engine = LocalEngine(store, connectors=Connectors([]), scripts=scripts, clock=clock)
    http = GuardedHttp(allow=["127.0.0.1"])
    host = Host(engine=engine, http=http, users=users or Users())
    offer = install(PLUGIN, host, engine.add_local)
    assert offer.opened is not None
    await engine.open()
    try:
        yield Api(engine, offer.mounts, offer.opened)
    finally:
        closing = asyncio.ensure_future(engine.close(2.0))
        while clock is not None and not closing.done():
            clock.time += 100
            clock.ring()
            await asyncio.sleep(0)
        await closing
        await scripts.close()
        await http.close()
        await store.close()
