"""Documents that the languages take, to begin from: those of the manual, and one that has most of what there is."""

from __future__ import annotations

from typing import Any

from pelton.languages.plugin import plugins


def _task(kind: str, reference: str, **more: Any) -> dict[str, Any]:
    return {"name": reference, "taskReferenceName": reference, "type": kind, **more}


EVERYTHING: dict[str, Any] = {
    "name": "everything", "version": 1, "schemaVersion": 2, "timeoutSeconds": 60, "timeoutPolicy": "TIME_OUT_WF",
    "inputParameters": ["a"], "failureWorkflow": "event_testing", "ownerEmail": "a@example.com",
    "tasks": [
        _task("SET_VARIABLE", "set", inputParameters={"a": "${workflow.input.a}"}),
        _task("INLINE", "inline", inputParameters={"evaluatorType": "javascript", "expression": "$.a + 1",
        "a": "${workflow.input.a}"}),
        _task("SWITCH", "choose", evaluatorType="value-param", expression="a", inputParameters={"a": "${workflow.input.a}"},
              decisionCases={"x": [_task("WAIT", "wait", inputParameters={"duration": "1 second"})]},
              defaultCase=[_task("SIMPLE", "work", retryCount=1)]),
        _task("DO_WHILE", "loop", loopCondition="$.loop['iteration'] < 3", loopOver=[_task("SET_VARIABLE", "turn",
        inputParameters={"n": 1})]),
        _task("FORK_JOIN", "fork", forkTasks=[[_task("SIMPLE", "left")], [_task("WAIT", "right")]]),
        _task("JOIN", "join", joinOn=["left", "right"]),
        _task("SUB_WORKFLOW", "sub", subWorkflowParam={"name": "event_testing", "version": 1}),
        _task("EVENT", "tell", sink="conductor:told", inputParameters={"a": 1}),
        _task("TERMINATE", "end", inputParameters={"terminationStatus": "COMPLETED", "workflowOutput": {}}),
    ],
    "outputParameters": {"a": "${set.output.a}"},
}  # fmt: skip

START = {"name": "everything", "version": 1, "input": {"a": 1}, "correlationId": "c", "priority": 0, "taskToDomain": {"*": "d"}}
WORK = {
    "name": "work",
    "retryCount": 1,
    "timeoutSeconds": 60,
    "responseTimeoutSeconds": 30,
    "retryLogic": "FIXED",
    "ownerEmail": "a@b.c",
}
DONE = {
    "workflowInstanceId": "",
    "taskId": "",
    "status": "COMPLETED",
    "outputData": {"a": 1},
    "logs": [{"log": "a"}],
    "workerId": "w",
}
RERUN = {"reRunFromTaskId": "", "taskInput": {}, "workflowInput": {"a": 2}}
TASK = {
    "taskDefinitionId": {"scope": "Finbourne-Examples", "code": "Import-Quotes"},
    "correlationIds": ["c"], "fields": [{"name": "a", "value": "b"}], "stackingKey": "s",
}  # fmt: skip
MORE: tuple[Any, ...] = (
    [EVERYTHING],
    START,
    RERUN,
    TASK,
    {"a": 1},
    ["a"],
    [],
    "a",
    {"eventType": "orders", "body": {"a": 1}, "header": {}},
)
FITTING: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("/metadata/workflow", (EVERYTHING, [EVERYTHING])),
    ("/metadata/taskdefs", ([WORK], WORK)),
    ("/workflow/bulk", (["a"], [])),
    ("/rerun", (RERUN,)),
    ("/workflow", (START, {"a": 1})),
    ("/tasks", (DONE, TASK, {"a": 1})),
)
"""What a route takes whose path has this in it; the first that fits."""


def documents() -> list[Any]:
    return [each.document for plugin in plugins() for each in plugin.examples()] + list(MORE)


def fitting(path: str) -> tuple[Any, ...]:
    return next((found for part, found in FITTING if part in path), ())


def first() -> list[tuple[str, str, Any]]:
    """Requests that make the things which later ones are about."""
    found: list[tuple[str, str, Any]] = [
        ("POST", "/api/metadata/workflow", EVERYTHING),
        ("POST", "/api/metadata/taskdefs", [WORK]),
    ]
    for plugin in plugins():
        for example in plugin.examples():
            detected = plugin.detect(example.document)
            assert detected is not None
            found.append(detected.requests[0])
    found += [("POST", "/api/workflow", START)] * 3
    return found
