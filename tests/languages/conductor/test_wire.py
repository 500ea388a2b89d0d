"""The rules of the wire, definitions over HTTP, and errors."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.languages.conductor.api import Api, simple, step

from pelton.languages.conductor.http.api_context import Settings
from pelton.languages.conductor.language import Conductor
from pelton.runtime.caller import SERVER


async def test_definitions(api: Api) -> None:
    tasks = [simple("a")]
    await api.ok("POST", "/metadata/workflow", {"name": "wf", "version": "1", "tasks": tasks, "unknown": 1})
    answer = await api.refused("POST", "/metadata/workflow", {"name": "wf", "tasks": tasks})
    assert (answer.status, answer.json["message"]) == (409, "Workflow with wf.1 already exists!")
    await api.ok("POST", "/metadata/workflow", {"name": "wf", "tasks": tasks}, overwrite="True")
    done = await api.ok("PUT", "/metadata/workflow", [{"name": "wf", "version": 2, "tasks": tasks}], overwrite="True")
    assert done == {"bulkErrorResults": {}, "bulkSuccessfulResults": ["wf"]}
    assert (await api.ok("GET", "/metadata/workflow/wf"))["version"] == 2
    found = await api.ok("GET", "/metadata/workflow/wf", version=1)
    assert (found["version"], "failureWorkflow" in found) == (1, False)
    assert len(await api.ok("GET", "/metadata/workflow")) == 2
    assert await api.ok("GET", "/metadata/workflow/names") == ["wf"]
    assert [each["version"] for each in await api.ok("GET", "/metadata/workflow/wf/versions")] == [1, 2]
    assert [each["version"] for each in await api.ok("GET", "/metadata/workflow/latest-versions")] == [2]
    await api.ok("DELETE", "/metadata/workflow/wf/2", {})
    assert (await api.ok("GET", "/metadata/workflow/wf"))["version"] == 1
    answer = await api.refused("DELETE", "/metadata/workflow/wf/2")
    assert (answer.status, answer.json["message"]) == (404, "No such workflow definition: wf version: 2")
    answer = await api.refused("GET", "/metadata/workflow/nope")
    assert answer.json["message"] == "No such workflow found by name: nope, version: null"


async def test_a_run_keeps_its_definition(api: Api) -> None:
    run = await api.run([simple("a"), simple("b")])
    await api.ok("DELETE", "/metadata/workflow/wf/1")
    await api.update(await api.one("a"))
    await api.update(await api.one("b"))
    await api.ended(run)


async def test_task_definitions(api: Api) -> None:
    assert (await api.refused("PUT", "/metadata/taskdefs", {"name": "t"})).json["message"] == "No such task by name t"
    await api.ok("POST", "/metadata/taskdefs", [{"name": "t", "enforceSchema": False, "retryCount": None}])
    found = await api.ok("GET", "/metadata/taskdefs/t")
    assert (found["retryCount"], found["responseTimeoutSeconds"], found["timeoutPolicy"]) == (3, 3600, "TIME_OUT_WF")
    await api.ok("PUT", "/metadata/taskdefs", {"name": "t", "retryCount": "5"})
    assert (await api.ok("GET", "/metadata/taskdefs/t"))["retryCount"] == 5
    assert len(await api.ok("GET", "/metadata/taskdefs")) == 1
    await api.ok("DELETE", "/metadata/taskdefs/t")
    assert (await api.refused("GET", "/metadata/taskdefs/t")).json["message"] == "No such taskType found by name: t"
    assert (await api.refused("DELETE", "/metadata/taskdefs/t")).status == 404


@pytest.mark.parametrize(
    ("policy", "path"),
    [
        ({"name": ""}, "registerTaskDef.arg0[0].name"),
        ({"name": "t", "timeoutSeconds": 60}, "registerTaskDef.arg0[0]"),
        ({"name": "t", "responseTimeoutSeconds": 0}, "registerTaskDef.arg0[0].responseTimeoutSeconds"),
        ({"name": "t", "retryCount": -1}, "registerTaskDef.arg0[0].retryCount"),
        ({"name": "t", "timeoutPolicy": "ODD"}, "[0].timeoutPolicy"),
    ],
)
async def test_a_bad_task_definition(api: Api, policy: dict[str, Any], path: str) -> None:
    answer = await api.refused("POST", "/metadata/taskdefs", [policy])
    assert answer.status == 400
    assert [each["path"] for each in answer.json["validationErrors"]] == [path]


async def test_error_bodies(api: Api) -> None:
    answer = await api.refused("GET", "/workflow/w123")
    assert answer.json == {
        "status": 404,
        "message": "No such workflow found by id: w123",
        "instance": answer.json["instance"],
        "retryable": False,
    }
    assert (await api.refused("GET", "/nope/x")).json["message"] == "No static resource nope/x."
    answer = await api.refused("PATCH", "/workflow")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert (await api.refused("POST", "/workflow", {"name": "nope"})).json["message"] == (
        "No such workflow defined. name=nope, version=null"
    )
    assert (await api.refused("POST", "/workflow/nope", {})).json["message"] == (
        "No such workflow found by name: nope, version: null"
    )
    answer = await api.refused("POST", "/workflow", {"name": None})
    assert (answer.status, answer.json["validationErrors"][0]["path"]) == (400, "startWorkflow.arg0.name")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[1",
        b"nul",
        b'{"name": "\\ud800"}',
        b"[" * 100_000,
        b'{"name":"wf","input":' + b'{"a":' * 300 + b"1" + b"}" * 301,
        b'{"name":"wf","input":[]}',
        b'{"name":"wf","priority":100}',
        b'{"name":"wf","priority":"high"}',
        b'{"name":"wf","idempotencyStrategy":"ODD"}',
        b'{"name":"wf","workflowDef":{"name":"x"}}',
        b"\xff\xfe",
    ],
)
async def test_bad_bodies_are_refused_and_change_nothing(api: Api, raw: bytes) -> None:
    await api.register([simple("a")])
    answer = await api.call("POST", "/workflow", raw=raw)
    assert answer.status == 400, answer
    assert answer.json["message"]
    assert await api.ok("GET", "/workflow/running/wf") == []


async def test_a_body_that_is_too_large(api: Api) -> None:
    assert (await api.call("POST", "/workflow", raw=b" " * 5_000_001)).status == 413
    assert (await api.call("POST", "/workflow", raw=b"", headers={"content-length": "50000000"})).status == 413


async def test_a_trailing_slash_and_absent_query_values(api: Api) -> None:
    await api.register([simple("a")])
    run = await api.ok("POST", "/workflow/wf/", {}, version="None", priority="", correlationId="None")
    assert "correlationId" not in await api.get(run)
    [found] = await api.poll("a", domain="", count=1)
    assert found["workflowInstanceId"] == run
    assert (await api.refused("GET", "/tasks/poll/batch/a", timeout=5001)).status == 400
    assert (await api.refused("GET", "/tasks/poll/batch/a", count="x")).status == 400


@pytest.mark.parametrize(
    ("kind", "path", "body"),
    [
        ("process", "/metadata/workflow", [{"name": "mine", "tasks": [simple("a")]}]),
        ("policy", "/metadata/taskdefs", [{"name": "mine"}]),
        (
            "handler",
            "/event",
            {"name": "mine", "event": "a:b", "actions": [{"action": "start_workflow", "start_workflow": {"name": "x"}}]},
        ),
    ],
)
async def test_names_of_other_languages_are_left_alone(api: Api, kind: str, path: str, body: Any) -> None:
    class Other(Conductor):
        name = "other"

    api.engine.add_language(Other(Settings()))
    content = msgspec.json.encode(body[0] if isinstance(body, list) else body)
    await api.engine.define(SERVER, kind, "other", "mine", 1, content)
    if kind == "process":
        assert "mine" in (await api.ok("PUT", path, body))["bulkErrorResults"]
        await api.refused("POST", path, body[0], overwrite=True)
        await api.refused("DELETE", f"{path}/mine/1")
    else:
        assert (await api.refused("POST", path, body)).status == 409
        assert (await api.refused("DELETE", f"{path}/mine")).status == 404
    assert await api.ok("GET", path) == []
    row = await api.engine.definition(SERVER, kind, "mine")
    assert row is not None
    assert row.language == "other"


async def test_polling_one_by_one(api: Api) -> None:
    assert (await api.call("GET", "/tasks/poll/a")).status == 204
    run = await api.run([simple("a")])
    assert (await api.ok("GET", "/tasks/poll/a", workerid="w"))["workflowInstanceId"] == run


async def test_domains(api: Api) -> None:
    await api.register([simple("a")])
    run = await api.ok("POST", "/workflow", {"name": "wf", "taskToDomain": {"a": "d1"}})
    assert await api.poll("a") == []
    [found] = await api.poll("a", domain="d1")
    assert (found["workflowInstanceId"], found["domain"]) == (run, "d1")


@pytest.mark.parametrize(
    ("polled", "domains", "chosen"),
    [
        (["d1", "d2"], "d1, d2,d3", "d1"),
        (["d2"], "d1,d2,d3", "d2"),
        ([], "d1,d2", "d2"),
        (["d4"], "d1,d2", "d2"),
        ([], "d1,NO_DOMAIN", ""),
        ([""], "d1,NO_DOMAIN,d2", ""),
        (["d1"], "d1,NO_DOMAIN", "d1"),
        ([], "NO_DOMAIN", ""),
        ([], " , ", ""),
    ],
)
async def test_of_several_domains_the_first_that_has_workers(api: Api, polled: list[str], domains: str, chosen: str) -> None:
    await api.register([simple("a")])
    for domain in polled:
        assert await api.poll("a", domain=domain) == []
    await api.ok("POST", "/workflow", {"name": "wf", "taskToDomain": {"*": domains}})
    [found] = await api.poll("a", domain=chosen)
    assert found.get("domain", "") == chosen


async def test_reports_on_what_is_not_there(api: Api) -> None:
    run = await api.run([simple("a")])
    found = await api.one("a")
    result = {"workflowInstanceId": run, "taskId": found["taskId"], "status": "COMPLETED"}
    answer = await api.refused("POST", "/tasks", {**result, "workflowInstanceId": "nope"})
    assert answer.json["message"] == "No such workflow found by id: nope"
    answer = await api.refused("POST", "/tasks", {**result, "taskId": "nope"})
    assert answer.json["message"] == "No such task found by id: nope"
    assert (await api.call("POST", "/tasks/update-v2", {**result, "taskId": "nope"})).status == 204
    answer = await api.refused("POST", "/tasks", {"status": "COMPLETED"})
    assert {each["message"] for each in answer.json["validationErrors"]} == {
        "Workflow Id cannot be null or empty",
        "Task ID cannot be null or empty",
    }
    assert (await api.refused("POST", "/tasks", {**result, "status": "ODD"})).status == 400
    assert (await api.update(found)).status == 200
    assert (await api.update(found, output={"late": 1})).status == 200
    assert (await api.call("POST", "/tasks/update-v2", result)).status == 204
    assert (await api.get(run))["output"] == {}
    assert (await api.call("POST", f"/tasks/{run}/a/COMPLETED", {})).body == b""
    assert (await api.call("POST", "/tasks/nope/a/COMPLETED", {})).body == b""
    assert (await api.refused("POST", f"/tasks/{run}/a/COMPLETED/sync", {})).status == 404
    assert (await api.refused("GET", "/tasks/nope")).json["message"] == "Task not found for taskId: nope"


async def test_work_in_progress_comes_back(api: Api) -> None:
    run = await api.run([simple("a")])
    found = await api.one("a")
    await api.update(found, "IN_PROGRESS", {"half": 1})
    again = await api.one("a")
    assert (again["taskId"], again["pollCount"], again["outputData"]) == (found["taskId"], 2, {"half": 1})
    await api.update(again, "IN_PROGRESS", callbackAfterSeconds=60)
    assert await api.poll("a") == []
    [shown] = (await api.get(run))["tasks"]
    assert (shown["status"], shown["callbackAfterSeconds"], shown["startDelayInSeconds"]) == ("SCHEDULED", 60, 0)


async def test_leases(api: Api) -> None:
    await api.run([simple("a")])
    found = await api.one("a")
    assert (await api.update(found, "IN_PROGRESS", extendLease=True)).status == 200
    assert await api.poll("a") == []
    assert (await api.ok("GET", f"/tasks/{found['taskId']}"))["status"] == "IN_PROGRESS"


async def test_logs(api: Api) -> None:
    await api.run([simple("a")])
    found = await api.one("a")
    path = f"/tasks/{found['taskId']}/log"
    assert (await api.call("GET", path)).status == 204
    assert (await api.call("GET", "/tasks/nope/log")).status == 204
    await api.call("POST", path, raw=b'one\\n"two" \\\\n')
    await api.update(found, "IN_PROGRESS", logs=[{"log": "three", "createdTime": 1_700_000_000}])
    first, second = sorted(await api.ok("GET", path), key=lambda each: str(each["log"]))
    assert first["log"] == 'one\n"two" \\n'
    assert (second["log"], second["createdTime"], second["taskId"]) == ("three", 1_700_000_000_000, found["taskId"])


async def test_queues(api: Api) -> None:
    await api.run([simple("a")])
    assert await api.ok("GET", "/tasks/queue/sizes", taskType=["a", "b"]) == {"a": 1, "b": 0}
    assert await api.ok("GET", "/tasks/queue/size", taskType="a") == 1
    assert await api.ok("GET", "/tasks/queue/all") == {"a": 1}
    await api.poll("a")
    assert await api.ok("GET", "/tasks/queue/size", taskType="a") == 0
    [data] = await api.ok("GET", "/tasks/queue/polldata", taskType="a")
    assert (data["queueName"], data["workerId"]) == ("a", "w1")
    assert len(await api.ok("GET", "/tasks/queue/polldata/all")) >= 1


async def test_the_servers_own_queues_are_out_of_reach(api: Api) -> None:
    assert (await api.refused("GET", "/tasks/poll/batch/%40http")).status == 400
    answer = await api.refused("PUT", "/metadata/workflow", [{"name": "wf", "tasks": [simple("a", "@http")]}])
    assert answer.status == 400


async def test_update_by_reference_answers_with_the_run(api: Api) -> None:
    run = await api.run([step("WAIT", "w"), simple("a")])
    found = await api.ok("POST", f"/tasks/{run}/w/COMPLETED/sync", {"x": 1})
    assert (found["status"], found["tasks"][0]["outputData"]) == ("RUNNING", {"x": 1})
