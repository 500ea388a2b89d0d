"""The API over a real engine and a real store, called in process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import msgspec
from tests.patience import PATIENCE

from pelton.connectors.port import Outgoing
from pelton.connectors.registry import Connectors
from pelton.languages.conductor.plugin import PLUGIN
from pelton.languages.plugin import Host, install
from pelton.runtime.caller import SERVER, Caller
from pelton.runtime.engine import LocalEngine
from pelton.runtime.scripting.pool import ScriptPool
from pelton.store.sqlite.store import SqliteStore
from pelton.transport.caller import set_caller
from pelton.transport.http.asgi import GONE, Application


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class Reply(NamedTuple):
    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Web:
    """The way out for HTTP tasks, answered by the test."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.limits: list[dict[str, Any]] = []
        self.replies: list[Reply | Exception] = []

    async def request(self, method: str, url: str, headers: Any = (), body: bytes = b"", **limits: Any) -> Reply:
        self.requests.append((method, url, dict(headers), body))
        self.limits.append(limits)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply


class Queue:
    """A connector that keeps what is sent. `scheme` is sqs, so that definitions look as they do in life."""

    scheme = "sqs"
    source = False

    def __init__(self) -> None:
        self.sent: list[tuple[str, Outgoing]] = []

    def check(self, address: str) -> str | None:
        return None if address else "an address needs a name"

    async def send(self, address: str, messages: list[Outgoing]) -> list[None]:
        self.sent += [(address, message) for message in messages]
        return [None] * len(messages)

    def subscribe(self, address: str) -> Any:
        raise AssertionError(f"nothing is listened to, {address} neither")

    def health(self) -> dict[str, Any]:
        return {}

    async def close(self) -> None:
        pass


class Api:
    """`routes`: all that are registered. `calls`: namespace, method and path of all calls so far, whoever made them."""

    def __init__(
        self, engine: LocalEngine, application: Application, web: Web, queue: Queue, routes: list[tuple[str, str]]
    ) -> None:
        self.engine = engine
        self.application = application
        self.web = web
        self.queue = queue
        self.routes = routes
        self.caller = SERVER
        self.calls: list[tuple[str, str, str]] = []

    def by(self, caller: Caller) -> Api:
        """The same server, called by someone else."""
        other = copy(self)
        other.caller = caller
        return other

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
        gone: bool = False,
        **query: Any,
    ) -> Answer:
        """`path` is a raw one; `body` becomes JSON, `raw` is sent as it is. `gone`: the caller has hung up; status 0 when nothing
        was sent."""
        data = raw if raw is not None else b"" if body is None else msgspec.json.encode(body)
        scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": f"/api{path}".encode(),
            "query_string": urlencode(query, doseq=True).encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        }
        scope[GONE] = lambda: gone
        set_caller(scope, self.caller)
        self.calls.append((self.caller.namespace, method, path))
        sent: list[Any] = []
        left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        given = [{"type": "http.request", "body": data, "more_body": False}]

        async def receive() -> Any:
            if given:
                return given.pop(0)
            await left
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.application(scope, receive, send)
        if not sent:
            return Answer(0, {}, b"")
        start, end = sent
        found = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], found, end["body"])

    async def ok(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """The answer's value; the call must succeed."""
        answer = await self.call(method, path, body, **query)
        assert answer.status in (200, 204), (answer.status, answer.body)
        if not answer.body:
            return None
        return answer.json if "json" in answer.headers.get("content-type", "") else answer.text

    async def refused(self, method: str, path: str, body: Any = None, **query: Any) -> Answer:
        answer = await self.call(method, path, body, **query)
        assert answer.status >= 400, (answer.status, answer.body)
        assert answer.json["status"] == answer.status
        assert "Traceback" not in answer.text
        return answer

    # ---- what tests do all the time

    async def register(self, tasks: list[dict[str, Any]], name: str = "wf", **more: Any) -> None:
        await self.ok("PUT", "/metadata/workflow", [{"name": name, "tasks": tasks, **more}])

    async def start(self, value: Any = None, name: str = "wf", **query: Any) -> str:
        found = await self.ok("POST", f"/workflow/{name}", value or {}, **query)
        assert isinstance(found, str)
        return found

    async def run(self, tasks: list[dict[str, Any]], value: Any = None, **more: Any) -> str:
        await self.register(tasks, **more)
        return await self.start(value)

    async def get(self, run: str) -> Any:
        return await self.ok("GET", f"/workflow/{run}")

    async def poll(self, kind: str, **query: Any) -> list[Any]:
        found = await self.ok("GET", f"/tasks/poll/batch/{quote(kind, safe='')}", **{"workerid": "w1", "timeout": 0, **query})
        assert isinstance(found, list)
        return found

    async def one(self, kind: str, **query: Any) -> Any:
        [task] = await self.poll(kind, **{"timeout": 5000, **query})
        return task

    async def update(self, task: Any, status: str = "COMPLETED", output: Any = None, **more: Any) -> Answer:
        result = {"workflowInstanceId": task["workflowInstanceId"], "taskId": task["taskId"], "status": status}
        return await self.call("POST", "/tasks", {**result, "outputData": output or {}, "workerId": "w1", **more})

    async def until(self, run: str, holds: Callable[[Any], bool]) -> Any:
        """The run, as soon as it is there and is so."""
        key = self.engine.codec.parse_run_id(run)
        assert key is not None
        deadline = asyncio.get_running_loop().time() + PATIENCE
        with self.engine.watch(self.caller, key) as watch:
            while True:
                answer = await self.call("GET", f"/workflow/{run}")
                found = answer.json
                if answer.status == 200 and holds(found):
                    return found
                left = deadline - asyncio.get_running_loop().time()
                assert left > 0, found
                await watch.changed(min(left, 0.5))

    async def ended(self, run: str, status: str = "COMPLETED") -> Any:
        found = await self.until(run, lambda found: found["status"] in ENDED)
        assert found["status"] == status, found
        return found


ENDED = ("COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED")


def task(found: Any, reference: str) -> Any:
    """The newest task of a reference name in a run."""
    return [each for each in found["tasks"] if each["referenceTaskName"] == reference][-1]


def simple(reference: str = "t", name: str = "", **more: Any) -> dict[str, Any]:
    return {"name": name or reference, "taskReferenceName": reference, "type": "SIMPLE", **more}


def step(kind: str, reference: str, **more: Any) -> dict[str, Any]:
    return {"name": reference, "taskReferenceName": reference, "type": kind, **more}


@asynccontextmanager
async def serving(path: Path, **options: Any) -> AsyncIterator[Api]:
    store = SqliteStore(path / "pelton.db", "relaxed")
    await store.open()
    web, queue = Web(), Queue()
    scripts = ScriptPool(1)
    engine = LocalEngine(store, connectors=Connectors([queue]), scripts=scripts)  # type: ignore[list-item]
    host = Host(engine=engine, http=web, schemes=frozenset({"sqs"}), **options)
    [mount] = install(PLUGIN, host, engine.add_local).mounts
    application = Application([(mount.prefix, mount.router)])
    await engine.open()
    try:
        yield Api(engine, application, web, queue, mount.router.patterns)
    finally:
        await engine.close(2.0)
        await scripts.close()
        await store.close()


Serve = Callable[..., Awaitable[Api]]
