"""Definitions in every shape that the original registers: all of them register here too."""

from __future__ import annotations

from typing import Any

import pytest
from tests.languages.conductor.api import Api, simple, step

ONE = [simple("a")]
FORK = step("FORK_JOIN", "f", forkTasks=[[simple("b1")], [simple("b2"), simple("b3")]])
REQUEST = {"uri": "http://a.example/x", "method": "GET"}

TASKS: dict[str, list[dict[str, Any]]] = {
    "a worker's task without a type": [{"name": "a", "taskReferenceName": "a"}],
    "a worker's task with its policy": [simple("a", taskDefinition={"name": "a", "retryCount": 1, "timeoutSeconds": 60})],
    "all the marks that a task may have": [
        simple(
            "a",
            description="d",
            metadata={"k": 1},
            optional=True,
            permissive=True,
            startDelay=3,
            retryCount=0,
            asyncComplete=True,
            rateLimited=False,
            cacheConfig={"key": "${workflow.input.k}", "ttlInSecond": 5},
            onStateChange={"onStart": [{"type": "audit", "payload": {"a": 1}}]},
        )
    ],
    "numbers and truth as texts": [simple("a", optional="true", startDelay="5", retryCount="2")],
    "null where there is nothing": [simple("a", inputParameters=None, description=None, sink=None, forkTasks=None, joinOn=None)],
    "members that nobody knows": [simple("a", workflowTaskType="SIMPLE", somethingElse={"b": [1]})],
    "deep inputs of all kinds": [simple("a", inputParameters={"l": [1, 2.5, None, True, {"m": ["${workflow.input.x[0]}"]}]})],
    "a type of a worker": [step("ENCODE_VIDEO", "e")],
    "a type in small letters": [step("switch_later", "e")],
    "a language model": [step("LLM_CHAT_COMPLETE", "m", inputParameters={"llmProvider": "p", "model": "m", "messages": []})],
    "an agent": [step("AGENT", "m", inputParameters={"name": "n"})],
    "a tool": [step("CALL_MCP_TOOL", "m"), step("LIST_MCP_TOOLS", "l")],
    "an HTTP request": [step("HTTP", "h", inputParameters={"http_request": REQUEST})],
    "an HTTP request at the top": [step("HTTP", "h", inputParameters=REQUEST, asyncComplete=True)],
    "an HTTP poll": [step("HTTP_POLL", "h", inputParameters={"http_request": {**REQUEST, "terminationCondition": "true"}})],
    "a webhook": [step("WAIT_FOR_WEBHOOK", "w", inputParameters={"matches": {"$['type']": "paid"}})],
    "an inner event": [step("EVENT", "e", sink="conductor")],
    "an inner event by name": [step("EVENT", "e", sink="conductor:done", inputParameters={"a": "${workflow.input.a}"})],
    "an event whose sink is computed": [step("EVENT", "e", sink="${workflow.input.sink}", asyncComplete=True)],
    "an event to a queue": [step("EVENT", "e", sink="sqs:queue")],
    "a wait for a time": [step("WAIT", "w", inputParameters={"duration": "1 day 2 hours"})],
    "a wait for a computed time": [step("WAIT", "w", inputParameters={"duration": "${workflow.input.d}"})],
    "a wait until an instant": [step("WAIT", "w", inputParameters={"until": "2030-01-31 12:30 UTC"})],
    "a wait for ever": [step("WAIT", "w")],
    "a yield": [step("YIELD", "w")],
    "a person": [step("HUMAN", "h", inputParameters={"__humanTaskDefinition": {"displayName": "x"}})],
    "nothing": [step("NOOP", "n", inputParameters={"a": 1})],
    "variables": [step("SET_VARIABLE", "v", inputParameters={"a": "${workflow.variables.b}", "c": [1]})],
    "a script": [step("INLINE", "i", inputParameters={"evaluatorType": "graaljs", "expression": "(() => $.a)()", "a": 1})],
    "a script without an engine": [step("INLINE", "i", inputParameters={"expression": "1"})],
    "a function": [step("LAMBDA", "l", inputParameters={"scriptExpression": "return {a: $.b};", "b": 1})],
    "a jq program": [step("JSON_JQ_TRANSFORM", "q", inputParameters={"queryExpression": ".a | map(.b)", "a": []})],
    "a jq program from the input": [step("JSON_JQ_TRANSFORM", "q", inputParameters={"queryExpression": "${workflow.input.q}"})],
    "an end": [step("TERMINATE", "t", inputParameters={"terminationStatus": "COMPLETED", "workflowOutput": {"a": 1}})],
    "an end with a reason": [
        step(
            "TERMINATE",
            "t",
            inputParameters={
                "terminationStatus": "FAILED",
                "terminationReason": "${workflow.input.r}",
                "workflowOutput": "${workflow.input}",
            },
        )
    ],
    "an end by termination": [step("TERMINATE", "t", inputParameters={"terminationStatus": "TERMINATED"})],
    "branches": [FORK, step("JOIN", "j", joinOn=["b1", "b3"])],
    "branches that nobody joins": [FORK],
    "a join without names": [FORK, step("JOIN", "j")],
    "a join with a mode": [FORK, step("JOIN", "j", joinOn=["b1"], joinMode="ASYNC", joinStatus="x", asyncComplete=True)],
    "a join with a script": [FORK, step("JOIN", "j", joinOn=["b1"], expression="true", evaluatorType="js")],
    "branches in branches": [
        step("FORK_JOIN", "o", forkTasks=[[FORK, step("JOIN", "j", joinOn=["b1", "b3"])], [simple("c")]]),
        step("JOIN", "p", joinOn=["j", "c"]),
    ],
    "branches made in the run": [
        step(
            "FORK_JOIN_DYNAMIC",
            "f",
            dynamicForkTasksParam="tasks",
            dynamicForkTasksInputParamName="inputs",
            inputParameters={"tasks": "${workflow.input.tasks}", "inputs": "${workflow.input.inputs}"},
        ),
        step("JOIN", "j"),
    ],
    "branches made from a list": [
        step("FORK_JOIN_DYNAMIC", "f", inputParameters={"forkTaskName": "a", "forkTaskInputs": [{"a": 1}, 2]}),
        step("JOIN", "j"),
    ],
    "branches made in the old way": [
        step("FORK_JOIN_DYNAMIC", "f", dynamicForkJoinTasksParam="d", inputParameters={"d": "${workflow.input.d}"}),
        step("JOIN", "j"),
    ],
    "an exclusive join": [
        step("DECISION", "d", caseValueParam="v", decisionCases={"x": [simple("x")]}, defaultCase=[simple("y")]),
        step("EXCLUSIVE_JOIN", "e", joinOn=["x"], defaultExclusiveJoinTask=["y"]),
    ],
    "a switch by value": [
        step("SWITCH", "s", evaluatorType="value-param", expression="v", inputParameters={"v": 1}, decisionCases={"1": ONE})
    ],
    "a switch by script": [
        step("SWITCH", "s", evaluatorType="javascript", expression="$.a > 1 ? 'x' : 'y'", decisionCases={"x": [], "y": ONE})
    ],
    "a decision by value": [step("DECISION", "d", caseValueParam="v", decisionCases={"x": ONE}, inputParameters={"v": "x"})],
    "a decision by script": [
        step("DECISION", "d", caseExpression="if ($.v == 'x') 'x'; else 'y';", decisionCases={"x": ONE, "y": []}, defaultCase=[])
    ],
    "a loop": [step("DO_WHILE", "l", loopCondition="if ($.l['iteration'] < $.n) { true; } else { false; }", loopOver=ONE)],
    "a loop over items": [step("DO_WHILE", "l", items="${workflow.input.list}", loopOver=ONE)],
    "a loop that keeps little": [step("DO_WHILE", "l", loopCondition="false", loopOver=ONE, inputParameters={"keepLastN": 2})],
    "another workflow": [step("SUB_WORKFLOW", "s", subWorkflowParam={"name": "other", "version": 1})],
    "another workflow of a computed name": [
        step("SUB_WORKFLOW", "s", subWorkflowParam={"name": "${workflow.input.n}", "version": "${workflow.input.v}"})
    ],
    "another workflow with all that may be said of it": [
        step("SUB_WORKFLOW", "s", subWorkflowParam={"name": "other", "taskToDomain": {"*": "d"}, "priority": "5", "version": ""})
    ],
    "another workflow in full": [
        step("SUB_WORKFLOW", "s", subWorkflowParam={"name": "in", "workflowDefinition": {"name": "in", "tasks": ONE}})
    ],
    "another workflow from the input": [
        step("SUB_WORKFLOW", "s", subWorkflowParam={"name": "in", "workflowDefinition": "${workflow.input.definition}"})
    ],
    "a start": [step("START_WORKFLOW", "s", inputParameters={"startWorkflow": {"name": "other", "input": {"a": 1}}})],
    "a dynamic task": [step("DYNAMIC", "d", dynamicTaskNameParam="n", inputParameters={"n": "${workflow.input.n}"})],
    "a Kafka message": [
        step(
            "KAFKA_PUBLISH",
            "k",
            inputParameters={
                "kafka_request": {"topic": "t", "value": "v", "bootStrapServers": "b:9092", "key": "k", "headers": {"a": "b"}}
            },
        )
    ],
    "messages": [step("PULL_WORKFLOW_MESSAGES", "p", inputParameters={"batchSize": 5, "blocking": False})],
    "words of the system": [simple("a", inputParameters={"id": "${CPEWF_TASK_ID}", "env": "${NETFLIX_ENV}", "lit": "$${x}"})],
}

WHOLE: dict[str, dict[str, Any]] = {
    "all that a definition may say": {
        "description": "d",
        "version": 3,
        "inputParameters": ["a", "b"],
        "outputParameters": {"a": "${a.output.x}", "b": {"c": ["${workflow.input.b}"]}},
        "inputTemplate": {"a": 1},
        "variables": {"v": [1]},
        "failureWorkflow": "other",
        "failureWorkflowVersion": 1,
        "schemaVersion": 2,
        "restartable": False,
        "timeoutPolicy": "TIME_OUT_WF",
        "timeoutSeconds": 60,
        "ownerEmail": "a@b.example",
        "ownerApp": "app",
        "createdBy": "me",
        "workflowStatusListenerEnabled": True,
        "workflowStatusListenerSink": "kafka:t",
        "rateLimitConfig": {"rateLimitKey": "k", "concurrentExecLimit": 5, "policy": "QUEUE"},
        "inputSchema": {"name": "s", "version": 1, "type": "JSON", "data": {}},
        "enforceSchema": False,
        "cacheConfig": {"key": "k", "ttlInSecond": 1},
        "maskedFields": ["a"],
        "metadata": {"m": 1},
    },
    "what clients send for nothing": {"failureWorkflow": "", "timeoutSeconds": "60", "variables": {}, "ownerEmail": None},
    "a failure workflow from the input": {"failureWorkflow": "${workflow.input.name}"},
    "times of another server": {"createTime": 1700000000000, "updateTime": 0, "overwriteTags": True, "tags": []},
}


@pytest.mark.parametrize("shape", TASKS)
async def test_tasks_of_every_shape_register(api: Api, shape: str) -> None:
    definition = {"name": f"shape: {shape}", "tasks": TASKS[shape]}
    answer = await api.call("POST", "/metadata/workflow", definition)
    assert answer.status == 200, answer.text
    answer = await api.call("POST", "/metadata/workflow/validate", definition)
    assert answer.status == 200, answer.text


@pytest.mark.parametrize("shape", WHOLE)
async def test_definitions_of_every_shape_register(api: Api, shape: str) -> None:
    answer = await api.call("PUT", "/metadata/workflow", [{"name": "wf", "tasks": ONE, **WHOLE[shape]}])
    assert answer.status == 200, answer.text
