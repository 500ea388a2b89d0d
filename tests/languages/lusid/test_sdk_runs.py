"""Workers that run: for tasks, on their own, and in a process of somebody else, as the official client sees them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from lusid_workflow import models
from tests.languages.lusid.official import Official, refused, scope
from tests.languages.lusid.test_sdk_actions import action, becomes, create, define, until, way
from tests.patience import PATIENCE

from pelton.client.worker import Fail, Item, Worker


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/well" else 503)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Healthy)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def add(official: Official, here: str, code: str, configuration: Any) -> Any:
    return official.workers.create_worker(
        models.CreateWorkerRequest(
            id=models.ResourceId(scope=here, code=code),
            display_name=code,
            worker_configuration=models.WorkerConfiguration(configuration),
        )
    )


def run(official: Official, here: str, code: str, **more: Any) -> Any:
    """The result, as soon as there is one."""
    request = models.RunWorkerRequest(**{"parameters": [], **more})
    started = official.workers.run_worker(here, code, request)
    assert isinstance(started, models.RunWorkerResponse)

    def look() -> Any:
        found = official.workers.get_worker_result(started.run_id)
        return None if found.worker_status in ("NotStarted", "Started") else found

    return until(look)


STATUS = models.WorkerStatusTriggers(
    started="started",
    completed_with_results="full",
    completed_no_results="empty",
    failed_to_start="unstarted",
    failed_to_complete="failed",
)
WAYS = [
    way("New", "go", "Running", "run"),
    way("Running", "started", "Begun"),
    *(way(start, name, name.title()) for start in ("Running", "Begun") for name in ("full", "empty", "unstarted", "failed")),
]


def runs(here: str, code: str, *children: Any, **more: Any) -> Any:
    return action(
        "run",
        models.RunWorkerAction(
            type="RunWorker",
            worker_id=models.ResourceId(scope=here, code=code),
            worker_status_triggers=STATUS,
            child_task_configurations=list(children) or None,
            **more,
        ),
        "robot",
    )


def test_on_their_own(official: Official, address: str) -> None:
    here = scope()
    add(official, here, "sleep", models.Sleep(type="Sleep"))
    add(official, here, "fail", models.Fail(type="Fail"))
    first = add(official, here, "health", models.HealthCheck(type="HealthCheck", url=f"{address}/well"))
    add(official, here, "view", models.LuminesceView(type="LuminesceView", name="v"))
    seconds = models.ParameterValue(name="SleepTimeSeconds", value="0.01")
    slept = run(official, here, "sleep", parameters=[seconds], worker_timeout=30)
    assert isinstance(slept, models.GetWorkerResultResponse)
    assert (slept.worker_status, slept.results) == ("CompletedNoResults", [])
    assert run(official, here, "fail").worker_status == "FailedToComplete"
    unstarted = run(official, here, "view")
    assert (unstarted.worker_status, unstarted.results) == ("FailedToStart", [])
    assert "LuminesceView" in unstarted.status_detail
    assert run(official, here, "health").results == [{"HttpStatusCode": "200"}]
    official.workers.update_worker(
        here,
        "health",
        models.UpdateWorkerRequest(
            display_name="h", worker_configuration=models.HealthCheck(type="HealthCheck", url=f"{address}/ill")
        ),
    )
    assert run(official, here, "health").results == [{"HttpStatusCode": "503"}]
    then = official.workers.run_worker(here, "health", models.RunWorkerRequest(parameters=[]), as_at=first.version.as_at_modified)
    assert until(lambda: official.workers.get_worker_result(then.run_id).results) == [{"HttpStatusCode": "200"}]
    problem = refused(404, official.workers.run_worker, here, "none", models.RunWorkerRequest(parameters=[]))
    assert problem["name"] == "WorkerNotFound"
    missing = "00000000-0000-4000-8000-000000000000"
    assert refused(404, official.workers.get_worker_result, missing)["name"] == "WorkerRunNotFound"


@pytest.mark.parametrize(
    ("code", "configuration", "states"),
    [
        ("sleep", models.Sleep(type="Sleep"), ["Running", "Begun", "Empty"]),
        ("fail", models.Fail(type="Fail"), ["Running", "Begun", "Failed"]),
        ("view", models.LuminesceView(type="LuminesceView", name="v"), ["Running", "Begun", "Unstarted"]),
    ],
)
def test_for_a_task(official: Official, code: str, configuration: Any, states: list[str]) -> None:
    here = scope()
    add(official, here, code, configuration)
    parameters = {"SleepTimeSeconds": models.FieldMapping(map_from="seconds")}
    define(official, here, "job", WAYS, runs(here, code, worker_parameters=parameters), fields=[("seconds", "Decimal")])
    task = create(official, here, "job", seconds=0.01)
    went = official.tasks.update_task(task.id, trigger="go")
    assert went.state == "Running"
    ended = becomes(official, task, states[-1])
    history = official.tasks.get_task_history(task.id).values
    assert [each.new_value for each in history if each.attribute_name == "State"] == states
    assert ended.version.user_id_modified == "robot"
    assert ended.version.request_id_modified == went.version.request_id_modified
    log = official.logs.get_action_logs(went.action_log_id_submitted)
    assert (log.action_type, log.run_as_user_id) == ("RunWorker", "robot")
    assert log.logged_items[-1].log_type == ("ActionSuccessful" if code == "sleep" else "ActionFailed")


@contextmanager
def working(official: Official, queue: str, function: Any) -> Iterator[None]:
    """The worker of this project's client, as somebody runs it in a process of his own."""
    worker = Worker(official.address, {queue: function}, wait=200)
    thread = threading.Thread(target=lambda: asyncio.run(worker.run()))
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join(PATIENCE)


def test_rows_of_a_polling_worker_become_children(official: Official) -> None:
    here = scope()
    queue = f"rows-{here}"
    configuration = {"type": "Queue", "queue": queue}
    body = {"id": {"scope": here, "code": "rows"}, "displayName": "Rows", "workerConfiguration": configuration}
    assert official.plain.post("/workflow/api/workers", json=body).status_code == 201
    assert official.workers.get_worker(here, "rows").worker_configuration.actual_instance.type == "Library"
    define(official, here, "leaf", [way("New", "go", "Done")], fields=[("name", "String"), ("size", "Decimal")])
    leaf = models.ResultantChildTaskConfiguration(
        task_definition_id=models.ResourceId(scope=here, code="leaf"),
        initial_trigger="go",
        result_matching_pattern=models.ResultMatchingPattern(filter="size gt 1"),
        child_task_fields={"name": models.FieldMapping(map_from="name"), "size": models.FieldMapping(map_from="SIZE")},
        map_stacking_key_from="name",
    )
    parameters = {"Folder": models.FieldMapping(map_from="folder")}
    define(official, here, "job", WAYS, runs(here, "rows", leaf, worker_parameters=parameters), fields=[("folder", "String")])

    def work(item: Item) -> Any:
        folder = item.input["parameters"]["Folder"]
        if folder == "/bad":
            raise Fail("there is no such folder", retriable=False)
        return {"results": [{"name": f"{folder}/{n}", "size": n} for n in range(4)]}

    with working(official, queue, work):
        task = create(official, here, "job", "go", folder="/in")
        full = becomes(official, task, "Full")
        assert [each.state for each in full.child_tasks] == ["Done", "Done"]
        children = [official.tasks.get_task(each.id) for each in full.child_tasks]
        assert [{field.name: field.value for field in each.fields} for each in children] == [
            {"name": "/in/2", "size": 2},
            {"name": "/in/3", "size": 3},
        ]
        assert [each.stacking_key for each in children] == ["/in/2", "/in/3"]
        bad = create(official, here, "job", "go", folder="/bad")
        failed = becomes(official, bad, "Failed")
        items = official.logs.get_action_logs(failed.action_log_id_submitted).logged_items
        assert "no such folder" in items[-1].details
        assert run(official, here, "rows", parameters=[models.ParameterValue(name="Folder", value="/own")]).results[3] == {
            "name": "/own/3",
            "size": 3,
        }
