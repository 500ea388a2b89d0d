"""What is on the wire where the official client does not show it: lenience towards clients, shapes of answers, raw paths."""

from __future__ import annotations

import gzip
import json
import socket
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from tests.acceptance.official import Official, Plain, simple, step, unique, wait
from tests.patience import PATIENCE


def workflow(name: str, tasks: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "version": 1, "schemaVersion": 2, "tasks": tasks or [wait("w")], **more}


# ---- W1: unknown members


def test_unknown_members_are_ignored_everywhere(plain: Plain) -> None:
    name, odd = unique("odd"), {"nobodyKnows": {"this": [1]}}
    task = {**wait("w"), **odd}
    plain.ok("POST", "/api/metadata/workflow", {**workflow(name, [task]), **odd})
    plain.ok("PUT", "/api/metadata/workflow", [{**workflow(name, [task]), **odd}])
    plain.ok("POST", "/api/metadata/taskdefs", [{"name": name, **odd}])
    plain.ok("PUT", "/api/metadata/taskdefs", {"name": name, **odd})
    action = {"action": "complete_task", "complete_task": {"workflowId": "${w}", "taskRefName": "r", "input": {}, **odd}, **odd}
    plain.ok("POST", "/api/event", {"name": name, "event": name, "actions": [action], "active": True, **odd})
    run = plain.ok("POST", "/api/workflow", {"name": name, **odd})
    plain.ok("POST", f"/api/tasks/{run}/w/COMPLETED", odd)
    assert plain.ok("GET", f"/api/workflow/{run}")["output"] == odd


# ---- W2: scalars


def test_scalars_are_converted_and_null_means_the_default(plain: Plain) -> None:
    name = unique("scalars")
    plain.ok(
        "PUT",
        "/api/metadata/workflow",
        [
            {
                **workflow(name),
                "version": "1",
                "restartable": "false",
                "timeoutSeconds": "60",
                "description": 5,
                "timeoutPolicy": None,
            }
        ],
    )
    found = plain.ok("GET", f"/api/metadata/workflow/{name}")
    assert (found["version"], found["restartable"], found["timeoutSeconds"], found["description"]) == (1, False, 60, "5")
    assert found["timeoutPolicy"] == "ALERT_ONLY"
    plain.ok(
        "POST", "/api/metadata/taskdefs", [{"name": name, "retryCount": "2", "retryDelaySeconds": None, "timeoutSeconds": 0.0}]
    )
    found = plain.ok("GET", f"/api/metadata/taskdefs/{name}")
    assert (found["retryCount"], found["retryDelaySeconds"], found["timeoutSeconds"]) == (2, 60, 0)
    action = {"action": "start_workflow", "start_workflow": {"name": name, "version": "1"}, "expandInlineJSON": "true"}
    plain.ok("POST", "/api/event", {"name": name, "event": name, "actions": [action], "active": "true", "condition": True})
    [handler] = plain.ok("GET", f"/api/event/{name}")
    assert (handler["active"], handler["condition"], handler["actions"][0]["expandInlineJSON"]) == (True, "true", True)
    run = plain.ok("POST", "/api/workflow", {"name": name, "version": "1", "priority": "7", "input": None, "correlationId": 5})
    found = plain.ok("GET", f"/api/workflow/{run}")
    assert (found["priority"], found["input"], found["correlationId"]) == (7, {}, "5")


# ---- W3: null


def test_null_properties_are_left_out_and_null_values_inside_maps_are_kept(plain: Plain) -> None:
    name = unique("nulls")
    plain.ok("PUT", "/api/metadata/workflow", [workflow(name, variables={"none": None})])
    run = plain.ok("POST", f"/api/workflow/{name}", {"none": None, "empty": {}, "list": [], "no": False, "zero": 0})
    found = plain.ok("GET", f"/api/workflow/{run}")
    assert found["input"] == {"none": None, "empty": {}, "list": [], "no": False, "zero": 0}
    assert found["variables"] == {"none": None}
    [task] = found["tasks"]
    for shown in (found, task, found["workflowDefinition"], plain.ok("GET", f"/api/metadata/workflow/{name}")):
        assert None not in shown.values()
    assert (found["output"], found["failedTaskNames"], task["retried"], task["retryCount"]) == ({}, [], False, 0)
    for absent in ("correlationId", "parentWorkflowId", "reasonForIncompletion", "event"):
        assert absent not in found


# ---- W4, W5: what clients write into queries


@pytest.mark.parametrize("flag", ["true", "True", "TRUE"])
def test_booleans_in_queries_in_any_case(plain: Plain, flag: str) -> None:
    name = unique("flags")
    plain.ok("POST", "/api/metadata/workflow", workflow(name))
    assert plain.call("POST", "/api/metadata/workflow?overwrite=False", workflow(name)).status == 409
    assert plain.call("POST", f"/api/metadata/workflow?overwrite={flag}", workflow(name)).status == 200
    run = plain.ok("POST", f"/api/workflow/{name}")
    assert len(plain.ok("GET", f"/api/workflow/{run}?includeTasks={flag}")["tasks"]) == 1
    assert plain.ok("GET", f"/api/workflow/{run}?includeTasks=False").get("tasks", []) == []


def test_none_and_nothing_in_queries_mean_absent(plain: Plain) -> None:
    name = unique("absent")
    plain.ok("PUT", "/api/metadata/workflow?overwrite=None", [workflow(name, [simple("t", name)])])
    run = plain.ok("POST", f"/api/workflow/{name}?version=None&correlationId=None&priority=None")
    assert "correlationId" not in plain.ok("GET", f"/api/workflow/{run}?includeTasks=")
    assert plain.ok("GET", f"/api/tasks/poll/batch/{name}?workerid=&domain=&count=&timeout=")[0]["workflowInstanceId"] == run
    path = f"/api/workflow/execute/{name}/1?requestId=None&waitUntilTaskRef=None&waitForSeconds=1&returnStrategy=None"
    answer = plain.ok("POST", path, {"name": name})
    assert answer["requestId"] not in {"", "None"}
    assert answer["responseType"] == "TARGET_WORKFLOW"


# ---- W6: bodies where none is needed


def test_a_body_of_nothing_is_accepted_with_every_verb(plain: Plain) -> None:
    name = unique("bodies")
    plain.ok("PUT", "/api/metadata/workflow", [workflow(name)])
    run = plain.ok("POST", f"/api/workflow/{name}", {})
    for method, path in (
        ("PUT", f"/api/workflow/{run}/pause"),
        ("PUT", f"/api/workflow/{run}/resume"),
        ("PUT", f"/api/workflow/decide/{run}"),
        ("DELETE", f"/api/workflow/{run}?reason=None"),
        ("POST", f"/api/workflow/{run}/retry"),
        ("DELETE", f"/api/workflow/{run}"),
        ("POST", f"/api/workflow/{run}/restart"),
        ("DELETE", f"/api/workflow/{run}"),
        ("DELETE", f"/api/workflow/{run}/remove"),
        ("DELETE", f"/api/metadata/workflow/{name}/1"),
    ):
        answer = plain.call(method, path, {})
        assert answer.status in {200, 204}, (method, path, answer.text)
        assert answer.body == b"", (method, path)


def test_which_calls_answer_204(plain: Plain) -> None:
    name = unique("empty")
    plain.ok("PUT", "/api/metadata/workflow", [workflow(name)])
    run = plain.ok("POST", f"/api/workflow/{name}")
    plain.ok("DELETE", f"/api/workflow/{run}")
    assert plain.call("POST", f"/api/workflow/{run}/retry").status == 204
    plain.ok("DELETE", f"/api/workflow/{run}")
    assert plain.call("POST", f"/api/workflow/{run}/restart").status == 204
    task = plain.ok("GET", f"/api/workflow/{run}")["tasks"][0]["taskId"]
    assert plain.call("GET", f"/api/tasks/{task}/log").status == 204
    assert plain.call("GET", f"/api/tasks/poll/{name}").status == 204


# ---- W7, W9: types of answers


def test_ids_are_bare_text_and_nothing_is_406(plain: Plain) -> None:
    name = unique("types")
    plain.ok("PUT", "/api/metadata/workflow", [workflow(name)])
    for accept in ("application/json", "text/plain", "*/*", "image/png", "application/xml;q=0.1", "nonsense"):
        answer = plain.call("POST", f"/api/workflow/{name}", {}, headers={"accept": accept})
        assert answer.status == 200, (accept, answer.text)
        assert answer.headers["content-type"].startswith("text/plain")
        assert '"' not in answer.text
        found = plain.call("POST", f"/api/tasks/{answer.text}/w/COMPLETED/sync", {}, headers={"accept": accept})
        assert found.status == 200
        assert found.json["status"] == "COMPLETED"
        assert found.headers["content-type"].startswith("application/json")


def test_a_log_line_is_raw_text_whatever_its_content_type(plain: Plain) -> None:
    name = unique("log")
    plain.ok("PUT", "/api/metadata/workflow", [workflow(name)])
    run = plain.ok("POST", f"/api/workflow/{name}")
    task = plain.ok("GET", f"/api/workflow/{run}")["tasks"][0]["taskId"]
    for raw in (b"plain", b"{not json", b'"quoted"', b"a\\nb \\\\n \\u00fc"):
        assert plain.call("POST", f"/api/tasks/{task}/log", raw=raw).status == 200
    found = plain.ok("GET", f"/api/tasks/{task}/log")
    assert [each["log"] for each in found] == ["plain", "{not json", "quoted", "a\nb \\n ü"]


# ---- W8: raw paths


@pytest.mark.parametrize("word", ["a/b", "a:b c", "ü", "100%", "a%2Fb", "..", "a?b#c", "+&=", "'\""])
def test_segments_of_a_path_are_decoded_after_they_are_told_apart(plain: Plain, word: str) -> None:
    name = unique("") + word
    path = quote(name, safe="")
    plain.ok("POST", "/api/metadata/taskdefs", [{"name": name}])
    assert plain.ok("GET", f"/api/metadata/taskdefs/{path}")["name"] == name
    plain.ok("PUT", "/api/metadata/workflow", [workflow(name)])
    assert plain.ok("GET", f"/api/metadata/workflow/{path}?version=1")["name"] == name
    run = plain.ok("POST", f"/api/workflow/{path}", {})
    assert plain.ok("GET", f"/api/workflow/running/{path}") == [run]
    action = {"action": "start_workflow", "start_workflow": {"name": name}}
    plain.ok("POST", "/api/event", {"name": name, "event": f"conductor:{name}", "actions": [action]})
    [handler] = plain.ok("GET", f"/api/event/{quote('conductor:' + name, safe='')}?activeOnly=false")
    assert handler["name"] == name
    plain.ok("DELETE", f"/api/event/{path}")
    plain.ok("DELETE", f"/api/metadata/taskdefs/{path}")
    plain.ok("DELETE", f"/api/metadata/workflow/{path}/1")


# ---- W10: enumerations (every status that the package reads was read by the other modules)


def test_statuses_of_a_path_are_checked(plain: Plain) -> None:
    name = unique("enum")
    plain.ok("PUT", "/api/metadata/workflow", [workflow(name)])
    run = plain.ok("POST", f"/api/workflow/{name}")
    answer = plain.call("POST", f"/api/tasks/{run}/w/DONE", {})
    assert answer.status == 400
    assert "COMPLETED" in answer.json["message"]
    assert plain.ok("GET", f"/api/workflow/{run}")["status"] == "RUNNING"


# ---- W11, W12: connections and slashes


def test_gzip_is_offered_and_a_connection_serves_many_requests(plain: Plain) -> None:
    parts = urlsplit(plain.address)
    lines = [
        "GET /api/metadata/taskdefs HTTP/1.1",
        f"Host: {parts.netloc}",
        "Accept-Encoding: gzip",
        "Content-Type: application/json",
    ]
    request = "\r\n".join([*lines, "", ""]).encode()
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=PATIENCE) as connection:
        reader = connection.makefile("rb")
        for _ in range(20):
            connection.sendall(request)
            status = reader.readline()
            assert b" 200 " in status
            headers = {}
            while line := reader.readline().strip():
                key, _, value = line.partition(b":")
                headers[key.lower()] = value.strip()
            body = reader.read(int(headers[b"content-length"]))
            if headers.get(b"content-encoding") == b"gzip":
                body = gzip.decompress(body)
            assert isinstance(json.loads(body), list)


def test_a_slash_at_the_end_changes_nothing(plain: Plain) -> None:
    name = unique("slash")
    assert plain.call("PUT", "/api/metadata/workflow/", [workflow(name)]).status == 200
    run = plain.call("POST", "/api/workflow/", {"name": name})
    assert run.status == 200
    assert plain.call("GET", f"/api/workflow/{run.text}/").json["workflowId"] == run.text
    assert plain.call("GET", "/api/event/").status == 200


# ---- shapes


def test_the_minimal_sequence_byte_for_byte(plain: Plain) -> None:
    """Register, start, poll, update, look: the members that the documentation of the wire format shows."""
    kind, name = unique("greet"), unique("hello")
    policy = {"name": kind, "retryCount": 1, "retryDelaySeconds": 1, "responseTimeoutSeconds": 30, "timeoutSeconds": 60}
    assert plain.call("POST", "/api/metadata/taskdefs", [policy]).body == b""
    definition = {
        "name": name, "version": 1, "schemaVersion": 2, "failureWorkflow": "", "timeoutSeconds": 60,
        "tasks": [simple("g", kind, inputParameters={"name": "${workflow.input.name}"})],
        "outputParameters": {"say": "${g.output.result}"}, "inputParameters": ["name"], "variables": {}, "inputTemplate": {},
        "enforceSchema": False,
    }  # fmt: skip
    answer = plain.call("PUT", "/api/metadata/workflow?overwrite=True", [definition])
    assert answer.json == {"bulkErrorResults": {}, "bulkSuccessfulResults": [name]}
    run = plain.ok("POST", "/api/workflow", {"name": name, "version": 1, "input": {"name": "abc"}, "idempotencyStrategy": "FAIL"})
    [task] = plain.ok("GET", f"/api/tasks/poll/batch/{kind}?workerid=w1&count=1&timeout=100")
    assert {
        "taskType": kind, "taskDefName": kind, "status": "IN_PROGRESS", "referenceTaskName": "g", "workflowInstanceId": run,
        "workflowType": name, "inputData": {"name": "abc"}, "outputData": {}, "seq": 1, "retryCount": 0, "pollCount": 1,
        "endTime": 0, "startDelayInSeconds": 0, "retried": False, "executed": False, "callbackFromWorker": True,
        "responseTimeoutSeconds": 30, "callbackAfterSeconds": 0, "workerId": "w1", "iteration": 0, "workflowPriority": 0,
        "subworkflowChanged": False, "loopOverTask": False,
    }.items() <= task.items()  # fmt: skip
    assert task["queueWaitTime"] == task["startTime"] - task["scheduledTime"]
    result = {
        "workflowInstanceId": run, "taskId": task["taskId"], "workerId": "w1", "status": "COMPLETED",
        "outputData": {"result": "Hi abc"}, "extendLease": False,
    }  # fmt: skip
    assert plain.call("POST", "/api/tasks/update-v2", result).status == 204
    found = plain.ok("GET", f"/api/workflow/{run}")
    assert (found["status"], found["output"]) == ("COMPLETED", {"say": "Hi abc"})


def test_skip_in_all_three_encodings(official: Official, plain: Plain) -> None:
    name = official.register(unique("skip"), [wait("w"), simple("s", unique("x"))])
    output = {"given": "it's"}
    literal = quote(str({"taskInput": None, "taskOutput": output}))
    for path, body, kind in (
        ("", json.dumps({"taskOutput": output}).encode(), "application/json"),
        ("", b"taskOutput%5Bgiven%5D=it%27s", "application/x-www-form-urlencoded"),
        ("?taskOutput%5Bgiven%5D=it%27s", b"{}", "application/json"),
        (f"?skipTaskRequest={literal}", b"{}", "application/json"),
    ):
        run = official.start(name)
        answer = plain.call("PUT", f"/api/workflow/{run}/skiptask/s{path}", raw=body, headers={"content-type": kind})
        assert answer.status == 200, answer.text
        official.tasks.update_task_by_ref_name(run, "w", "COMPLETED", {})
        assert official.ended(run).output == output


TEMPLATES: dict[str, tuple[Any, Any]] = {  # what is written, and what it comes to
    "whole": ("${workflow.input.a}", {"n": 1}),
    "text": ("a=${workflow.input.a.n} b=${workflow.input.none}", "a=1 b=null"),
    "absent": ("${workflow.input.no.such}", None),
    "index": ("${workflow.input.list[1]}", {"n": 2}),
    "all": ("${workflow.input.list[*].n}", [1, 2]),
    "filter": ("${workflow.input.list[?(@.n>1)].n}", [2]),
    "deep": ({"list": ["${workflow.input.a.n}", {"x": "${workflow.input.a}"}]}, {"list": [1, {"x": {"n": 1}}]}),
    "literal": ("$${workflow.input.a}", "${workflow.input.a}"),
    "nested": ("${workflow.input.a.${workflow.input.key}}", 1),
    "number": (5, 5),
    "${not.a.key}": (1, 1),
    "correlation": ("${workflow.correlationId}", "c"),
    "before": ("${w.output.result}", 7),
    "status": ("${w.status}", "COMPLETED"),
}


def test_templates(official: Official) -> None:
    given = {key: written for key, (written, _) in TEMPLATES.items()}
    names = {"id": "${workflow.workflowId}", "type": "${workflow.workflowType}"}
    task = step("INLINE", "i", inputParameters={"expression": "1", **given, **names})
    name = official.register(unique("templates"), [wait("w"), task])
    run = official.start(name, {"a": {"n": 1}, "none": None, "list": [{"n": 1}, {"n": 2}], "key": "n"}, correlation_id="c")
    official.tasks.update_task_by_ref_name(run, "w", "COMPLETED", 7)
    [_, done] = official.ended(run).tasks
    expected = {key: value for key, (_, value) in TEMPLATES.items()}
    assert done.input_data == {"expression": "1", **expected, "id": run, "type": name}


def test_templates_do_not_see_the_environment(official: Official, plain: Plain) -> None:
    tasks = [step("INLINE", "i", inputParameters={"expression": "$.deep.path", "deep": {"path": "${PATH}"}})]
    answer = plain.call("PUT", "/api/metadata/workflow", [workflow(unique("env"), tasks)])
    assert answer.status == 400
    inner = step("SWITCH", "s", evaluatorType="value-param", expression="v", inputParameters={"v": 1}, decisionCases={"1": tasks})
    assert official.ended(official.run([inner])).output == {"result": None}
