"""Input that is wrong: each is refused with an error that names the field, and changes nothing; nobody else notices."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.acceptance.official import Answer, Plain, simple, step, unique, wait
from tests.acceptance.pulse import Pulse
from tests.patience import PATIENCE
from tests.server.running import fresh

from pelton.cli.process import ServerProcess

INSIDES = re.compile(r"Traceback|File \"|\.py\b|site-packages|/src/|msgspec|starlette|sqlite|0x[0-9a-f]{6}", re.IGNORECASE)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of these tests' own."""
    process = fresh(tmp_path_factory.mktemp("attacked") / "data")
    yield process
    assert process.stop() == 0, "\n".join(process.log)
    assert not [line for line in process.log if '"level":"error"' in line]


@pytest.fixture(scope="module")
def bad(attacked: ServerProcess) -> Iterator[Plain]:
    """Plain HTTP to that server, on which one workflow, one task, one handler and one waiting run are known."""
    plain = Plain(attacked.address)
    plain.ok("PUT", "/api/metadata/workflow", [{"name": "known", "version": 1, "tasks": [wait("w")]}])
    plain.ok("POST", "/api/metadata/taskdefs", [{"name": "known"}])
    action = {"action": "complete_task", "complete_task": {"workflowId": "${w}", "taskRefName": "r"}}
    plain.ok("POST", "/api/event", {"name": "known", "event": "known", "actions": [action], "active": True})
    yield plain
    plain.close()


@pytest.fixture(scope="module")
def run(bad: Plain) -> str:
    return str(bad.ok("POST", "/api/workflow/known", {}))


@pytest.fixture(scope="module")
def pulse(bad: Plain, attacked: ServerProcess) -> Iterator[Pulse]:
    """Another user, at work all the time."""
    found = Pulse(attacked)
    yield found
    found.stop()


def state(plain: Plain) -> Any:
    """Everything that callers can see, but for the other user's runs."""
    return [
        plain.ok("GET", "/api/metadata/workflow"),
        plain.ok("GET", "/api/metadata/taskdefs"),
        plain.ok("GET", "/api/event"),
        plain.ok("GET", "/api/workflow/running/known"),
        [plain.ok("GET", f"/api/workflow/{run}") for run in plain.ok("GET", "/api/workflow/running/known")],
        plain.ok("GET", "/v1/events"),
        plain.ok("GET", "/v1/dead-letters"),
    ]


def check(answer: Answer, *words: str, status: int | range = range(400, 500)) -> Any:
    """A clear refusal: JSON of the documented shape that says these words, and nothing of what is inside the server."""
    assert answer.status in ([status] if isinstance(status, int) else status), (answer.status, answer.text[:500])
    assert answer.headers["content-type"].startswith("application/json"), answer.headers
    body = answer.json
    assert body["status"] == answer.status
    assert body["message"]
    assert body.get("retryable") is False
    assert not INSIDES.search(answer.text), answer.text[:2_000]
    for problem in body.get("validationErrors", ()):
        assert set(problem) <= {"path", "message", "invalidValue"}
        assert problem["message"], problem
    for word in words:
        assert word in answer.text, (word, answer.text[:2_000])
    assert len(answer.body) < 20_000
    return body


def refused(plain: Plain, pulse: Pulse, method: str, path: str, body: Any = None, *words: str, **more: Any) -> Any:
    """`more`: of `Plain.call`."""
    before = state(plain)
    found = check(plain.call(method, path, body, **more), *words)
    assert state(plain) == before
    pulse.check()
    return found


# ---- what is not JSON

BROKEN = {
    "cut": b'{"name": "x", "tasks": [',
    "words": b"hello",
    "comma": b'{"name": "x",}',
    "quotes": b"{'name': 'x'}",
    "nan": b'{"name": NaN}',
    "bare control": b'{"name": "a\nb"}',
    "bad utf-8": b'{"name": "\xff\xfe"}',
    "half a pair": b'{"name": "\\ud800"}',
    "utf-16": '{"name": "x"}'.encode("utf-16"),
    "two": b'{"name": "x"} {"name": "y"}',
    "nul bytes": b"\x00" * 100,
    "xml": b"<workflow/>",
    "endless zeros": b"0" * 100_000,
    "minus": b"-",
    "open string": b'"' + b"a" * 100_000,
    "empty": b"",
    "blank": b"  \n ",
}
TAKERS = (
    ("POST", "/api/metadata/workflow"),
    ("PUT", "/api/metadata/workflow"),
    ("POST", "/api/metadata/taskdefs"),
    ("PUT", "/api/metadata/taskdefs"),
    ("POST", "/api/event"),
    ("PUT", "/api/event"),
    ("POST", "/api/workflow"),
    ("POST", "/api/tasks"),
    ("POST", "/api/tasks/update-v2"),
)


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_not_json(bad: Plain, pulse: Pulse, run: str, kind: str) -> None:
    before = state(bad)
    for method, path in TAKERS:
        check(bad.call(method, path, raw=BROKEN[kind]), status=400)
    if BROKEN[kind].strip():  # no body is an empty object where any object will do
        for method, path in (
            ("POST", "/api/workflow/known"),
            ("POST", f"/api/workflow/{run}/variables"),
            ("POST", f"/api/tasks/{run}/w/COMPLETED"),
            ("POST", f"/api/tasks/{run}/COMPLETED/signal"),
            ("POST", "/api/workflow/execute/known/1"),
        ):
            check(bad.call(method, path, raw=BROKEN[kind]), status=400)
    assert state(bad) == before
    pulse.check()


@pytest.mark.parametrize("document", ["5", "true", "null", '"text"', "[5]", "[[]]", "[null]", "{}", "[{}, 5]", "1e999", "-0"])
def test_documents_of_another_form(bad: Plain, pulse: Pulse, document: str) -> None:
    before = state(bad)
    for method, path in TAKERS:
        answer = bad.call(method, path, raw=document.encode())
        check(answer, status=400)
    assert state(bad) == before
    pulse.check()


# ---- wrong members

GOOD = {"name": "new", "version": 1, "schemaVersion": 2, "tasks": [wait("w")]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": None}, ["name", "cannot be null or empty"]),
        ({"name": ""}, ["name"]),
        ({"name": "  "}, ["name"]),
        ({"name": {"a": 1}}, ["name", "must be text"]),
        ({"name": "a\x00b"}, ["name"]),
        ({"name": "n" * 501}, ["name", "500"]),
        ({"version": "x"}, ["version", "whole number"]),
        ({"version": -1}, ["version"]),
        ({"version": 1.5}, ["version"]),
        ({"version": 10**30}, ["version"]),
        ({"version": True}, ["version"]),
        ({"schemaVersion": 1}, ["schemaVersion"]),
        ({"tasks": []}, ["tasks", "cannot be empty"]),
        ({"tasks": {}}, ["tasks", "must be a list"]),
        ({"tasks": [5]}, ["tasks[0]", "must be an object"]),
        ({"tasks": [None]}, ["tasks[0]"]),
        ({"timeoutPolicy": "NEVER"}, ["timeoutPolicy", "TIME_OUT_WF"]),
        ({"timeoutSeconds": -1}, ["timeoutSeconds"]),
        ({"restartable": "perhaps"}, ["restartable", "true or false"]),
        ({"inputParameters": "a"}, ["inputParameters", "must be a list"]),
        ({"outputParameters": []}, ["outputParameters", "must be an object"]),
        ({"variables": 5}, ["variables", "must be an object"]),
        ({"inputTemplate": "x"}, ["inputTemplate"]),
    ],
)
def test_wrong_members_of_a_workflow(bad: Plain, pulse: Pulse, change: dict[str, Any], words: list[str]) -> None:
    refused(bad, pulse, "POST", "/api/metadata/workflow", {**GOOD, **change}, *words)
    refused(bad, pulse, "PUT", "/api/metadata/workflow", [GOOD, {**GOOD, "version": 2, **change}], *words)


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ([step("@WAIT", "x")], ["tasks[0].type", "@WAIT"]),
        ([{**wait("x"), "type": {}}], ["tasks[0].type"]),
        ([{"type": "WAIT"}], ["tasks[0].name", "tasks[0].taskReferenceName"]),
        ([wait("x"), wait("x")], ["tasks[1].taskReferenceName", "unique"]),
        ([step("SWITCH", "s", evaluatorType="value-param", expression="e", decisionCases={"a": [wait("x")], "b": [wait("x")]})],
         ["decisionCases", "unique"]),
        ([wait("x__1")], ["taskReferenceName", "__"]),
        ([simple("@x")], ["name", "@"]),
        ([simple("x", inputParameters={"a": "${nowhere.output.x}"})], ["inputParameters.a", "${nowhere.output.x}"]),
        ([simple("x", inputParameters={"a": "${}"})], ["inputParameters.a", "not valid"]),
        ([simple("x", inputParameters={"a": "${ x }"})], ["inputParameters.a"]),
        ([simple("x", inputParameters={"a": "${.x}"})], ["inputParameters.a"]),
        ([simple("x", inputParameters=[])], ["tasks[0].inputParameters"]),
        ([simple("x", retryCount=-1)], ["tasks[0].retryCount"]),
        ([simple("x", startDelay=-1)], ["tasks[0].startDelay"]),
        ([simple("x", optional="maybe")], ["tasks[0].optional"]),
        ([step("JOIN", "j", joinOn=["j"])], ["joinOn", "never complete"]),
        ([step("JOIN", "j", joinOn=["later"]), wait("later")], ["joinOn", "never complete"]),
        ([step("JOIN", "j", joinOn=["nothing"])], ["joinOn[0]", "nothing"]),
        ([step("JOIN", "j", joinOn="w")], ["joinOn"]),
        ([step("FORK_JOIN", "f", forkTasks=[[step("JOIN", "a", joinOn=["b"])], [step("JOIN", "b", joinOn=["a"])]]),
          step("JOIN", "j", joinOn=["a", "b"])], ["joinOn", "never complete"]),
        ([step("FORK_JOIN", "f", forkTasks=[]), step("JOIN", "j", joinOn=[])], ["forkTasks"]),
        ([step("FORK_JOIN", "f", forkTasks=[[]]), step("JOIN", "j", joinOn=[])], ["forkTasks[0]"]),
        ([step("FORK_JOIN", "f", forkTasks=[wait("x")]), step("JOIN", "j", joinOn=[])], ["forkTasks[0]", "must be a list"]),
        ([step("EVENT", "e")], ["sink", "required"]),
        ([step("EVENT", "e", sink="")], ["sink"]),
        ([step("EVENT", "e", sink="bogus:q")], ["sink", "bogus"]),
        ([step("EVENT", "e", sink="nocolon")], ["sink", "nocolon"]),
        ([step("EVENT", "e", sink="conductorX")], ["sink", "conductorX"]),
        ([step("EVENT", "e", sink="sqs:not a queue!")], ["sink"]),
        ([step("EVENT", "e", sink="sqs:https://sqs.us-east-1.amazonaws.com/1/q")], ["sink"]),
        ([wait("w", duration="5")], ["duration", "Not valid duration"]),
        ([wait("w", duration="-5s")], ["duration"]),
        ([wait("w", duration="99999999999999999999s")], ["duration"]),
        ([wait("w", until="soon")], ["until"]),
        ([wait("w", until="2024-02-31")], ["until"]),
        ([wait("w", until="2030-01-01", duration="5s")], ["Both 'duration' and 'until'"]),
        ([step("SWITCH", "s", evaluatorType="perl", expression="1", decisionCases={"a": [wait("x")]})], ["perl"]),
        ([step("SWITCH", "s", expression="1", decisionCases={"a": [wait("x")]})], ["evaluatorType"]),
        ([step("SWITCH", "s", evaluatorType="javascript", decisionCases={"a": [wait("x")]})], ["expression"]),
        ([step("SWITCH", "s", evaluatorType="javascript", expression="if (", decisionCases={"a": [wait("x")]})],
         ["expression", "SyntaxError"]),
        ([step("SWITCH", "s", evaluatorType="value-param", expression="x")], ["decisionCases"]),
        ([step("SWITCH", "s", evaluatorType="value-param", expression="x", decisionCases={"a": wait("x")})], ["decisionCases.a"]),
        ([step("DO_WHILE", "d", loopOver=[wait("x")])], ["loopCondition"]),
        ([step("DO_WHILE", "d", loopCondition="true")], ["loopOver"]),
        ([step("DO_WHILE", "d", loopCondition="][", loopOver=[wait("x")])], ["loopCondition", "SyntaxError"]),
        ([step("SUB_WORKFLOW", "s")], ["subWorkflowParam"]),
        ([step("SUB_WORKFLOW", "s", subWorkflowParam={})], ["subWorkflowParam.name"]),
        ([step("SUB_WORKFLOW", "s", subWorkflowParam={"name": "new"})], ["subWorkflowParam.name", "call itself"]),
        ([step("SUB_WORKFLOW", "s", subWorkflowParam={"name": "x", "version": "one"})], ["subWorkflowParam.version"]),
        ([step("SUB_WORKFLOW", "s", subWorkflowParam={"name": "x", "workflowDefinition": 5})], ["workflowDefinition"]),
        ([step("SUB_WORKFLOW", "s", subWorkflowParam={"workflowDefinition": {"name": "x", "tasks": [step("@NO", "n")]}})],
         ["subWorkflowParam.workflowDefinition.tasks[0].type"]),
        ([step("INLINE", "i", inputParameters={"evaluatorType": "perl", "expression": "1"})], ["perl"]),
        ([step("TERMINATE", "t", inputParameters={"terminationStatus": "GONE"})], ["terminationStatus", "GONE"]),
        ([step("TERMINATE", "t", inputParameters={"terminationStatus": "${workflow.input.s}"})], ["terminationStatus"]),
        ([step("TERMINATE", "t", inputParameters={})], ["terminationStatus"]),
        ([step("TERMINATE", "t", optional=True, inputParameters={"terminationStatus": "FAILED"})], ["optional"]),
        ([simple("x", taskDefinition={"retryLogic": "MAGIC"})], ["taskDefinition.retryLogic", "FIXED"]),
    ],
)  # fmt: skip
def test_wrong_tasks(bad: Plain, pulse: Pulse, tasks: list[Any], words: list[str]) -> None:
    refused(bad, pulse, "POST", "/api/metadata/workflow", {**GOOD, "tasks": tasks}, *words)
    check(bad.call("POST", "/api/metadata/workflow/validate", {**GOOD, "tasks": tasks}), *words)
    # Definitions that are given with a start are held to the same.
    check(bad.call("POST", "/api/workflow", {"name": "new", "workflowDef": {**GOOD, "tasks": tasks}}), *words)
    assert bad.ok("GET", "/api/workflow/running/new") == []


def test_all_that_is_wrong_is_told_at_once(bad: Plain, pulse: Pulse) -> None:
    tasks = [step("@NO", "a"), {"type": "WAIT"}, step("EVENT", "e"), wait("e")]
    found = refused(bad, pulse, "POST", "/api/metadata/workflow", {"name": "", "schemaVersion": 7, "tasks": tasks})
    paths = {problem["path"].removeprefix("registerWorkflowDef.arg0.") for problem in found["validationErrors"]}
    assert {
        "name", "schemaVersion", "tasks[0].type", "tasks[1].name", "tasks[1].taskReferenceName", "tasks[2].sink",
        "tasks[3].taskReferenceName",
    } <= paths  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": ""}, ["name"]),
        ({"retryCount": -1}, ["retryCount"]),
        ({"retryCount": "many"}, ["retryCount"]),
        ({"retryLogic": "FIX"}, ["retryLogic", "EXPONENTIAL_BACKOFF"]),
        ({"timeoutPolicy": ""}, ["timeoutPolicy"]),
        ({"timeoutPolicy": "ALERT"}, ["timeoutPolicy"]),
        ({"timeoutSeconds": 60}, ["responseTimeoutSeconds", "must be less than timeoutSeconds"]),
        ({"responseTimeoutSeconds": 0}, ["responseTimeoutSeconds"]),
        ({"backoffScaleFactor": 0}, ["backoffScaleFactor"]),
        ({"totalTimeoutSeconds": 5, "timeoutSeconds": 6, "responseTimeoutSeconds": 1}, ["totalTimeoutSeconds"]),
        ({"inputTemplate": []}, ["inputTemplate"]),
        ({"inputKeys": [{}]}, ["inputKeys[0]"]),
    ],
)
def test_wrong_members_of_a_task_definition(bad: Plain, pulse: Pulse, change: dict[str, Any], words: list[str]) -> None:
    refused(bad, pulse, "POST", "/api/metadata/taskdefs", [{"name": "new"}, {"name": "newer", **change}], *words)
    refused(bad, pulse, "PUT", "/api/metadata/taskdefs", {"name": "known", **change}, *words)


COMPLETE = {"action": "complete_task", "complete_task": {"workflowId": "${w}", "taskRefName": "r"}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": ""}, ["name", "Missing event handler name"]),
        ({"event": ""}, ["event", "Missing event location"]),
        ({"event": None}, ["event"]),
        ({"event": "e" * 2_000}, ["event"]),
        ({"actions": []}, ["actions", "No actions specified"]),
        ({"actions": [COMPLETE] * 101}, ["actions", "100"]),
        ({"actions": [{}]}, ["actions[0].action"]),
        ({"actions": [{"action": "explode"}]}, ["actions[0].action", "start_workflow"]),
        ({"actions": [{"action": "start_workflow"}]}, ["actions[0].start_workflow"]),
        ({"actions": [{"action": "start_workflow", "start_workflow": {}}]}, ["actions[0].start_workflow.name"]),
        ({"actions": [{"action": "complete_task", "complete_task": {}}]}, ["actions[0].complete_task", "taskId"]),
        ({"actions": [{"action": "fail_task", "fail_task": {"workflowId": "w"}}]}, ["actions[0].fail_task"]),
        ({"actions": [{"action": "terminate_workflow", "terminate_workflow": {}}]}, ["terminate_workflow.workflowId"]),
        ({"actions": [{"action": "start_workflow", "start_workflow": {"name": "known", "input": 5}}]}, ["start_workflow.input"]),
        ({"condition": "if ("}, ["condition", "SyntaxError"]),
        ({"condition": "x" * 200_000}, ["condition"]),
        ({"condition": "True", "evaluatorType": "python"}, ["evaluatorType", "python"]),
        ({"active": "perhaps"}, ["active"]),
    ],
)
def test_wrong_members_of_a_handler(bad: Plain, pulse: Pulse, change: dict[str, Any], words: list[str]) -> None:
    good = {"name": "new", "event": "new", "active": True, "actions": [COMPLETE]}
    refused(bad, pulse, "POST", "/api/event", {**good, **change}, *words)
    if "name" not in change:
        refused(bad, pulse, "PUT", "/api/event", {**good, "name": "known", **change}, *words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": ""}, ["name", "Workflow name cannot be null or empty"]),
        ({"name": None}, ["name"]),
        ({"name": "absent"}, ["No such workflow defined. name=absent"]),
        ({"version": 7}, ["No such workflow defined. name=known, version=7"]),
        ({"version": -1}, ["version"]),
        ({"version": 2**31}, ["version"]),
        ({"priority": 100}, ["priority", "99"]),
        ({"priority": -1}, ["priority"]),
        ({"input": []}, ["input", "must be an object"]),
        ({"input": "x"}, ["input"]),
        ({"correlationId": {}}, ["correlationId"]),
        ({"correlationId": "c" * 1_001}, ["correlationId", "1000"]),
        ({"idempotencyKey": "k" * 1_001}, ["idempotencyKey"]),
        ({"idempotencyKey": "k", "idempotencyStrategy": "HOPE"}, ["idempotencyStrategy", "RETURN_EXISTING"]),
        ({"taskToDomain": []}, ["taskToDomain"]),
        ({"taskToDomain": {"a": {}}}, ["taskToDomain.a"]),
        ({"workflowDef": {}}, ["workflowDef"]),
        ({"workflowDef": "x"}, ["workflowDef"]),
    ],
)
def test_wrong_starts(bad: Plain, pulse: Pulse, change: dict[str, Any], words: list[str]) -> None:
    refused(bad, pulse, "POST", "/api/workflow", {"name": "known", **change}, *words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"workflowInstanceId": ""}, ["workflowInstanceId", "Workflow Id cannot be null or empty"]),
        ({"taskId": ""}, ["taskId", "Task ID cannot be null or empty"]),
        ({"workflowInstanceId": "nonsense"}, ["No such workflow found by id: nonsense"]),
        ({"taskId": "nonsense"}, ["No such task found by id: nonsense"]),
        ({"status": "DONE"}, ["status", "COMPLETED"]),
        ({"status": 5}, ["status"]),
        ({"outputData": []}, ["outputData", "must be an object"]),
        ({"callbackAfterSeconds": -1}, ["callbackAfterSeconds"]),
        ({"logs": [5]}, ["logs[0]"]),
        ({"logs": [{"log": "x"}] * 1_001}, ["logs"]),
        ({"extendLease": "x"}, ["extendLease"]),
    ],
)
def test_wrong_results(bad: Plain, pulse: Pulse, run: str, change: dict[str, Any], words: list[str]) -> None:
    [task] = bad.ok("GET", f"/api/workflow/{run}")["tasks"]
    good = {"workflowInstanceId": run, "taskId": task["taskId"], "status": "COMPLETED"}
    refused(bad, pulse, "POST", "/api/tasks", {**good, **change}, *words)


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("GET", "/api/metadata/workflow/known?version=x", ["version", "whole number"]),
        ("GET", "/api/metadata/workflow/known?version=99999999999999999999999", ["version"]),
        ("POST", "/api/metadata/workflow?overwrite=perhaps", ["overwrite", "true or false"]),
        ("DELETE", "/api/metadata/workflow/known/x", ["version"]),
        ("POST", "/api/workflow/known?priority=100", ["priority"]),
        ("POST", "/api/workflow/known?version=-1", ["version"]),
        ("POST", "/api/workflow/execute/known/x", ["version"]),
        ("POST", "/api/workflow/execute/known/1?returnStrategy=ALL", ["returnStrategy", "BLOCKING_TASK"]),
        ("POST", "/api/workflow/execute/known/1?waitForSeconds=1000000", ["waitForSeconds"]),
        ("GET", "/api/workflow/{run}?includeTasks=7", ["includeTasks"]),
        ("GET", "/api/workflow/{run}/tasks?status=DONE", ["status"]),
        ("GET", "/api/workflow/{run}/tasks?start=-1", ["start"]),
        ("GET", "/api/workflow/{run}/tasks?count=100000", ["count"]),
        ("GET", "/api/tasks/poll/batch/known?timeout=5001", ["timeout"]),
        ("GET", "/api/tasks/poll/batch/known?timeout=x", ["timeout"]),
        ("GET", "/api/tasks/poll/batch/known?count=1.5", ["count"]),
        ("GET", "/api/tasks/poll/batch/@http", ["@"]),
        ("POST", "/api/tasks/{run}/w/DONE", ["status"]),
        ("POST", "/api/tasks/{run}/DONE/signal", ["status"]),
        ("GET", "/api/workflow/nonsense", ["No such workflow found by id: nonsense"]),
        ("GET", "/api/workflow/%00", ["No such workflow found"]),
        ("GET", "/api/workflow/%ff", ["UTF-8"]),
        ("GET", "/api/tasks/nonsense", ["nonsense"]),
        ("GET", "/api/metadata/taskdefs/absent", ["absent"]),
        ("DELETE", "/api/event/absent", ["absent"]),
        ("GET", "/api/workflow/" + "x" * 5_000, ["No such workflow found"]),
        ("GET", "/api/metadata/taskdefs/..%2f..%2fetc%2fpasswd", ["No such taskType"]),
        ("GET", "/api/metadata/taskdefs/'%20OR%201=1%20--", ["No such taskType"]),
        ("GET", "/api/tasks/poll/batch/known?" + "&".join(f"a{number}=1" for number in range(2_000)), ["parameters"]),
    ],
)
def test_wrong_paths_and_queries(bad: Plain, pulse: Pulse, run: str, method: str, path: str, words: list[str]) -> None:
    body = None if method == "GET" else GOOD if "overwrite" in path else {}
    refused(bad, pulse, method, path.format(run=run) if "{run}" in path else path, body, *words)


@pytest.mark.parametrize(
    "path", ["/api", "/api/", "/api/nothing", "/api/workflow/a/b/c/d/e", "/api/tasks/a/b/c/d", "/api/" + "x/" * 500]
)
def test_unknown_routes_are_404_in_json(bad: Plain, pulse: Pulse, path: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
        check(bad.call(method, path, {} if method != "GET" else None), status=404)
    pulse.check()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", "/api/workflow"), ("DELETE", "/api/metadata/taskdefs"), ("PUT", "/api/tasks"), ("POST", "/api/tasks/poll/x"),
        ("GET", "/api/workflow/execute/a/1"), ("GET", "/api/workflow/x/pause"), ("PATCH", "/api/event"), ("POST", "/api/event/x"),
        ("OPTIONS", "/api/event"), ("TRACE", "/api/event"),
    ],
)  # fmt: skip
def test_wrong_verbs_are_405_in_json_with_the_right_ones(bad: Plain, pulse: Pulse, method: str, path: str) -> None:
    answer = bad.call(method, path, {} if method != "GET" else None)
    check(answer, method, status=405)
    assert answer.headers["allow"]
    pulse.check()


# ---- size


def test_a_body_of_fifty_megabytes(bad: Plain, pulse: Pulse) -> None:
    """Told from its header alone, and when it comes in chunks without one."""
    before = state(bad)
    body = b'{"name": "known", "input": {"x": "' + b"a" * 50_000_000 + b'"}}'
    for method, path in (("POST", "/api/workflow"), ("PUT", "/api/metadata/workflow"), ("POST", "/api/tasks")):
        parts = urlsplit(bad.address)
        for chunked in (False, True):
            head = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
            with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=PATIENCE) as connection:
                connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{head}\r\n\r\n".encode())
                try:
                    for at in range(0, len(body), 1_000_000):
                        chunk = body[at : at + 1_000_000]
                        connection.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" if chunked else chunk)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # refused before the end, as it should be
                try:
                    status = connection.recv(64)
                except ConnectionResetError:
                    continue  # the answer was overtaken by the end of the connection
                assert status.startswith(b"HTTP/1.1 413"), status
        pulse.check()
    # Small enough to be read, so that the answer is sure to arrive.
    answer = bad.call("POST", "/api/workflow", raw=body[:5_000_000])
    check(answer, "limit", status=413)
    assert state(bad) == before
    pulse.check()


def nested(levels: int, inner: Any = 1, kind: str = "list") -> Any:
    value = inner
    for _ in range(levels):
        value = [value] if kind == "list" else {"a": value}
    return value


@pytest.mark.parametrize("kind", ["list", "object"])
def test_nesting(bad: Plain, pulse: Pulse, kind: str) -> None:
    """As deep as is allowed goes in and comes out; deeper is refused, however deep."""
    before = state(bad)
    for levels in (201, 1_000, 100_000):
        raw = b"[" * levels + b"]" * levels if kind == "list" else b'{"a":' * levels + b"1" + b"}" * levels
        body = b'{"name": "known", "input": {"x": ' + raw + b"}}"
        check(bad.call("POST", "/api/workflow", raw=body), "nested", status=400)
        check(bad.call("POST", "/api/metadata/workflow", raw=b'{"name":"n","variables":{"x":' + raw + b"}}"), status=400)
        check(bad.call("POST", "/api/workflow", raw=body[: len(body) // 2]), status=400)
    assert state(bad) == before
    deep = nested(190, kind=kind)
    run = bad.ok("POST", "/api/workflow", {"name": "known", "input": {"x": deep}})
    assert bad.ok("GET", f"/api/workflow/{run}")["input"] == {"x": deep}
    bad.ok("DELETE", f"/api/workflow/{run}")
    pulse.check()


def test_tasks_inside_tasks(bad: Plain, pulse: Pulse) -> None:
    task = wait("innermost")
    for number in range(60):
        task = step("SWITCH", f"s{number}", evaluatorType="value-param", expression="x", decisionCases={"a": [task]})
    refused(bad, pulse, "POST", "/api/metadata/workflow", {**GOOD, "tasks": [task]}, "nested deeper")
    inner: dict[str, Any] = {**GOOD}
    for number in range(10):
        param = {"name": f"n{number}", "workflowDefinition": inner}
        inner = {**GOOD, "name": f"n{number}", "tasks": [step("SUB_WORKFLOW", "s", subWorkflowParam=param)]}
    refused(bad, pulse, "POST", "/api/metadata/workflow", inner, "levels deep")


def test_too_many_tasks(bad: Plain, pulse: Pulse) -> None:
    tasks = [wait(f"w{number}") for number in range(5_001)]
    refused(bad, pulse, "POST", "/api/metadata/workflow", {**GOOD, "tasks": tasks}, "tasks", "5000")


def test_nul_and_odd_characters_in_values_come_back_as_they_went(bad: Plain, pulse: Pulse) -> None:
    odd = {"nul\x00": "\x00", "controls": "".join(map(chr, range(1, 32))), "far": "\U0001f600\u2028\uffff", "rtl": "\u202eabc"}
    run = bad.ok("POST", "/api/workflow/known", odd)
    assert bad.ok("GET", f"/api/workflow/{run}")["input"] == odd
    bad.ok("DELETE", f"/api/workflow/{run}?reason=%00%0a")
    assert bad.ok("GET", f"/api/workflow/{run}")["reasonForIncompletion"] == "\x00\n"
    pulse.check()


KEPT = ("9223372036854775807", "18446744073709551616", "-9223372036854775809", "1" + "0" * 40, "1e308", "-0.0", "5e-324", "0.1")


@pytest.mark.parametrize("number", KEPT)
def test_numbers_that_can_be_kept_are_kept(bad: Plain, number: str) -> None:
    run = bad.call("POST", "/api/workflow/known", raw=f'{{"n": {number}}}'.encode()).text
    found = bad.ok("GET", f"/api/workflow/{run}")["input"]["n"]
    assert found == json.loads(number)
    bad.ok("DELETE", f"/api/workflow/{run}")


@pytest.mark.parametrize("number", ["1" + "0" * 5_000, "1e400", "-1e400"])
def test_numbers_that_cannot_be_kept_are_refused(bad: Plain, pulse: Pulse, number: str) -> None:
    refused(bad, pulse, "POST", "/api/workflow/known", raw=f'{{"n": {number}}}'.encode())


# ---- connections


def exchange(address: str, data: bytes, seconds: float = PATIENCE) -> bytes:
    """What a server says to these bytes, until it is silent for a while or hangs up."""
    parts = urlsplit(address)
    found = b""
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=seconds) as connection:
        try:
            for at in range(0, len(data), 65_536):
                connection.sendall(data[at : at + 65_536])
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            while chunk := connection.recv(65_536):
                found += chunk
                if b"\r\n\r\n" in found:
                    break
        except (TimeoutError, ConnectionResetError):
            pass
    return found


FLOOD = 10_000_000  # bytes
FLOODS = {
    "one long header": ("/api/event", "X-Long: " + "a" * FLOOD + "\r\n\r\n"),
    "many headers": ("/api/event", "".join(f"X-{number}: 1\r\n" for number in range(FLOOD // 12)) + "\r\n"),
    "a long name": ("/api/event", "a" * FLOOD + ": 1\r\n\r\n"),
    "a long path": ("/api/" + "a" * FLOOD, "\r\n"),
    "a long query": ("/api/event?" + "a" * FLOOD, "\r\n"),
    "never ending": ("/api/event", "A: 1\r\n" * (FLOOD // 6)),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_header_floods(bad: Plain, attacked: ServerProcess, pulse: Pulse, flood: str) -> None:
    """Refused, or the connection is closed; in no case is it all kept in memory."""
    before = memory_of(attacked)
    path, headers = FLOODS[flood]
    request = f"GET {path} HTTP/1.1\r\nHost: {urlsplit(bad.address).netloc}\r\n{headers}"
    answer = exchange(bad.address, request.encode(), 5.0)
    assert not answer or answer.split(b" ", 2)[1] in {b"400", b"414", b"431"}, answer[:200]
    assert memory_of(attacked) - before < 20_000_000
    pulse.check()


def memory_of(process: ServerProcess) -> int:
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 1_000, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,
        b"POST /api/workflow HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /api/workflow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\nabcde",
        b"POST /api/workflow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST /api/workflow HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"POST /api/workflow HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        b"GET /api/event HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_not_http(bad: Plain, pulse: Pulse, data: bytes) -> None:
    before = state(bad)
    answer = exchange(bad.address, data, 2.0)
    assert not answer or answer.split(b" ", 2)[1][:1] == b"4", answer[:300]
    assert not INSIDES.search(answer.decode("latin-1"))
    assert state(bad) == before
    pulse.check()


def test_slow_bodies_and_hang_ups_hold_up_nobody(bad: Plain, attacked: ServerProcess, pulse: Pulse) -> None:
    parts = urlsplit(bad.address)
    head = f"POST /api/workflow/known HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: 1000\r\n\r\n{{".encode()
    before = state(bad)
    connections = []
    try:
        for _ in range(300):
            connection = socket.create_connection((parts.hostname or "", parts.port or 80), timeout=PATIENCE)
            connection.sendall(head)
            connections.append(connection)
        for _ in range(5):
            for connection in connections:
                connection.sendall(b" ")
            pulse.check()
        assert state(bad) == before
    finally:
        for connection in connections:
            connection.close()
    assert state(bad) == before
    pulse.check()


def test_callers_that_hang_up_while_they_wait(bad: Plain, pulse: Pulse) -> None:
    parts = urlsplit(bad.address)
    kind = unique("gone")
    poll = f"GET /api/tasks/poll/batch/{kind}?timeout=5000&count=10 HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
    threads = [threading.Thread(target=hang_up, args=(parts.hostname, parts.port, poll)) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bad.ok("PUT", "/api/metadata/workflow", [{"name": kind, "tasks": [simple("t", kind)]}])
    run = bad.ok("POST", f"/api/workflow/{kind}")
    [task] = bad.ok("GET", f"/api/tasks/poll/batch/{kind}?timeout=5000")  # nobody who is gone has been given it
    assert task["workflowInstanceId"] == run
    bad.ok("DELETE", f"/api/workflow/{run}")
    bad.ok("DELETE", f"/api/metadata/workflow/{kind}/1")
    pulse.check()


def hang_up(host: str, port: int, data: bytes) -> None:
    with socket.create_connection((host, port), timeout=PATIENCE) as connection:
        connection.sendall(data)
