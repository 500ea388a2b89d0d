"""The official client as an application uses it, with what tests do all the time; and a plain HTTP caller for the rest.

Nothing here knows how the server works inside: a test sees what a user sees.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
from conductor.client.configuration.configuration import Configuration
from conductor.client.configuration.settings.authentication_settings import AuthenticationSettings
from conductor.client.http.api.event_resource_api import EventResourceApi
from conductor.client.http.api_client import ApiClient
from conductor.client.http.models import StartWorkflowRequest
from conductor.client.http.rest import ApiException
from conductor.client.orkes_clients import OrkesClients
from tests.patience import PATIENCE, eventually

ENDED = frozenset({"COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED"})


def unique(word: str) -> str:
    """A name that no other test uses: tests share a server."""
    return f"{word}_{secrets.token_hex(4)}"


class Official:
    """The clients of one application. `workflows`, `tasks`, `metadata`, `executor` and `events` are the package's own objects."""

    def __init__(self, address: str, key: str = "") -> None:
        settings = AuthenticationSettings(key_id="any", key_secret=key) if key else None
        self.configuration: Any = Configuration(server_api_url=f"{address}/api", authentication_settings=settings)
        clients = OrkesClients(self.configuration)
        self.workflows: Any = clients.get_workflow_client()
        self.tasks: Any = clients.get_task_client()
        self.metadata: Any = clients.get_metadata_client()
        self.executor: Any = clients.get_workflow_executor()
        self.api: Any = ApiClient(self.configuration)
        self.events: Any = EventResourceApi(self.api)

    def close(self) -> None:
        executor = vars(self.executor).values()
        for client in (self.workflows, self.tasks, self.metadata, *executor):
            api = getattr(client, "api_client", None)
            if api is not None:
                api.rest_client.connection.close()
        self.api.rest_client.connection.close()

    # ---- definitions as JSON, sent by the package's own calls

    def register(self, name: str, tasks: Sequence[Mapping[str, Any]], **more: Any) -> str:
        body = {"name": name, "version": 1, "schemaVersion": 2, "tasks": list(tasks), **more}
        self.workflows.metadataResourceApi.update1([body])
        return name

    def task_def(self, name: str, **policy: Any) -> None:
        self.metadata.metadataResourceApi.register_task_def([{"name": name, **policy}])

    def handler(self, name: str, event: str, action: str, member: Mapping[str, Any], **more: Any) -> str:
        self.events.add_event_handler(
            {"name": name, "event": event, "active": True, "actions": [{"action": action, action: dict(member)}], **more}
        )
        return name

    # ---- runs

    def start(self, name: str, value: Any = None, **more: Any) -> str:
        found = self.workflows.start_workflow(StartWorkflowRequest(name=name, input=value or {}, **more))
        assert isinstance(found, str)
        assert found
        return found

    def run(self, tasks: Sequence[Mapping[str, Any]], value: Any = None, **more: Any) -> str:
        """Registers a workflow of these tasks under a name of its own, and starts it."""
        return self.start(self.register(unique("wf"), tasks, **more), value)

    def get(self, run: str) -> Any:
        return self.workflows.get_workflow(run, True)

    def until(self, run: str, holds: Callable[[Any], Any], what: str, seconds: float = PATIENCE) -> Any:
        """The run, as soon as it is so."""
        last: list[Any] = []

        def look() -> bool:
            last[:] = [self.get(run)]
            return bool(holds(last[0]))

        try:
            eventually(look, what, seconds)
        except AssertionError as late:
            raise AssertionError(f"{late}; the run is {summary(last[0])}") from None
        return last[0]

    def ended(self, run: str, status: str = "COMPLETED", seconds: float = PATIENCE) -> Any:
        found = self.until(run, lambda found: found.status in ENDED, f"the run {run} ends", seconds)
        assert found.status == status, summary(found)
        return found

    def opened(self, run: str, reference: str, status: str = "IN_PROGRESS") -> Any:
        """The newest task of that name, as soon as it has that status."""
        found = self.until(
            run, lambda found: any(t.status == status for t in tasks_of(found, reference)), f"{reference} becomes {status}"
        )
        return tasks_of(found, reference)[-1]

    # ---- the worker's part

    def poll(self, kind: str, **more: Any) -> Any:
        """The next task of that type."""
        return eventually(lambda: self._polled(kind, **more), f"a task of type {kind}")

    def _polled(self, kind: str, **more: Any) -> Any:
        found = self.tasks.poll_task(kind, worker_id="w1", **more)
        return found if found is not None and found.task_id else None  # the package makes an empty task of no task

    def idle(self, kind: str) -> bool:
        """Whether there is no task of that type to be had now."""
        return not self.tasks.batch_poll_tasks(kind, worker_id="w1", count=1, timeout_in_millisecond=1)

    def finish(self, task: Any, status: str = "COMPLETED", output: Any = None, **more: Any) -> Any:
        return self.tasks.update_task(result_of(task, status, output, **more))

    def work(self, kind: str, output: Any = None, status: str = "COMPLETED", **more: Any) -> Any:
        """Polls a task and reports on it at once. The task as it was polled."""
        task = self.poll(kind)
        self.finish(task, status, output, **more)
        return task


def result_of(task: Any, status: str, output: Any = None, **more: Any) -> Any:
    from conductor.client.http.models import TaskResult

    return TaskResult(
        workflow_instance_id=task.workflow_instance_id,
        task_id=task.task_id,
        worker_id="w1",
        status=status,
        output_data=output or {},
        **more,
    )


def tasks_of(run: Any, reference: str) -> list[Any]:
    return [task for task in run.tasks if task.reference_task_name == reference]


def task_of(run: Any, reference: str) -> Any:
    """The newest task of that name."""
    return tasks_of(run, reference)[-1]


def statuses(run: Any) -> dict[str, str]:
    """Status by reference name, of the newest attempt."""
    return {task.reference_task_name: task.status for task in run.tasks}


def summary(run: Any) -> str:
    tasks = ", ".join(f"{task.reference_task_name}={task.status}" for task in run.tasks or ())
    return f"{run.status} ({run.reason_for_incompletion}); {tasks}"


def refused(call: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
    """The exception that the package raises for an answer that is not 2xx."""
    try:
        found = call(*arguments, **more)
    except ApiException as error:
        return error
    raise AssertionError(f"accepted: {found!r}")


# ---- tasks as JSON


def simple(reference: str, name: str = "", **more: Any) -> dict[str, Any]:
    return {"name": name or reference, "taskReferenceName": reference, "type": "SIMPLE", **more}


def step(kind: str, reference: str, **more: Any) -> dict[str, Any]:
    return {"name": reference, "taskReferenceName": reference, "type": kind, **more}


def wait(reference: str, **more: Any) -> dict[str, Any]:
    return step("WAIT", reference, inputParameters=more)


# ---- plain HTTP


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Plain:
    """HTTP without the package: for what it never sends, and for what exactly is on the wire."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._client = httpx.Client(base_url=address, timeout=PATIENCE)

    def close(self) -> None:
        self._client.close()

    def call(
        self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """`path` is a raw one, with its query; `body` becomes JSON, `raw` is sent as it is."""
        content = raw if raw is not None else None if body is None else json.dumps(body).encode()
        given = {"content-type": "application/json", **(headers or {})}
        found = self._client.request(method, path, content=content, headers=given)
        return Answer(found.status_code, found.headers, found.content)

    def ok(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.call(method, path, body)
        assert answer.status in {200, 201, 204}, (answer.status, answer.text)
        if not answer.body:
            return None
        return answer.json if "json" in answer.headers.get("content-type", "") else answer.text

    def events(self, kind: str) -> list[Any]:
        """Events of a type, oldest first, as the native API lists them."""
        found = self.ok("GET", f"/v1/events?type={quote(kind, safe='')}&after=0&limit=1000")
        return list(found["events"])
