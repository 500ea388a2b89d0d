"""Task types beside the basic ones, over the API: each registers, runs, and says what it has found or why it failed."""

from __future__ import annotations

from typing import Any

import pytest
from tests.languages.conductor.api import Api, simple, step, task


async def jq(api: Api, query: str, value: Any = None, **more: Any) -> Any:
    given = {"queryExpression": query, "data": "${workflow.input.data}"}
    return await api.get(await api.run([step("JSON_JQ_TRANSFORM", "q", inputParameters=given, **more)], {"data": value}))


@pytest.mark.parametrize(
    ("query", "value", "results"),
    [
        (".data.a", {"a": 1}, [1]),
        (".data[]", [1, 2, 3], [1, 2, 3]),
        (".data[] | select(. > 5)", [1, 2], []),
        ("[.data[] | {name, size: (.parts | length)}]", [{"name": "x", "parts": [1, 2]}], [[{"name": "x", "size": 2}]]),
        (".data | group_by(.k) | map({(.[0].k): length}) | add", [{"k": "a"}, {"k": "b"}, {"k": "a"}], [{"a": 2, "b": 1}]),
        (".data | @base64d | fromjson", "eyJhIjoxfQ==", [{"a": 1}]),
        (".data.missing", {}, [None]),
    ],
)
async def test_a_jq_program_sees_the_whole_input(api: Api, query: str, value: Any, results: list[Any]) -> None:
    found = await jq(api, query, value)
    assert found["status"] == "COMPLETED", found["reasonForIncompletion"]
    assert task(found, "q")["outputData"] == {"result": results[0] if results else None, "resultList": results}


@pytest.mark.parametrize("query", [".data | keys", ".data[", "env", "def f: f; f | error"])
async def test_a_jq_program_that_fails_says_why(api: Api, query: str) -> None:
    found = await jq(api, query, 5)
    assert found["status"] == "FAILED"
    failed = task(found, "q")
    assert failed["status"] == "FAILED"
    assert failed["outputData"]["error"] == failed["reasonForIncompletion"] != ""


async def test_a_jq_program_that_goes_on_for_ever_is_ended(api: Api) -> None:
    found = await jq(api, "def f: 1 | f; f")
    assert found["status"] == "FAILED" or (await api.ended(found["workflowId"], "FAILED"))


async def test_an_optional_jq_program_leaves_its_error_to_those_that_follow(api: Api) -> None:
    run = await api.run(
        [
            step("JSON_JQ_TRANSFORM", "q", inputParameters={"queryExpression": 'error("no")'}, optional=True),
            simple("a", inputParameters={"e": "${q.output.error}"}),
        ]
    )
    assert "no" in (await api.one("a"))["inputData"]["e"]
    assert task(await api.get(run), "q")["status"] == "COMPLETED_WITH_ERRORS"


async def test_a_lambda_is_the_body_of_a_function(api: Api) -> None:
    body = "if ($.n > 1) { return {big: true}; } return 'small';"
    for n, result in ((2, {"big": True}), (1, "small")):
        run = await api.run([step("LAMBDA", "l", inputParameters={"n": n, "scriptExpression": body})])
        assert task(await api.get(run), "l")["outputData"] == {"result": result}
    run = await api.run([step("LAMBDA", "l", inputParameters={"scriptExpression": "return $.a.b.c;"})])
    found = await api.get(run)
    assert (found["status"], task(found, "l")["status"]) == ("FAILED", "FAILED")
    assert task(found, "l")["outputData"]["error"]


@pytest.mark.parametrize(("value", "ran"), [("x", "in-x"), ("y", "other"), ("none", "other"), (None, "other")])
@pytest.mark.parametrize("how", ["param", "script"])
async def test_a_decision_takes_the_default_for_what_has_no_tasks(api: Api, value: Any, ran: str, how: str) -> None:
    by = {"caseValueParam": "case"} if how == "param" else {"caseExpression": "$.case"}
    given = {"case": "${workflow.input.case}"}
    cases = {"x": [step("NOOP", "in-x")], "none": []}
    tasks = [step("DECISION", "d", inputParameters=given, decisionCases=cases, defaultCase=[step("NOOP", "other")], **by)]
    found = await api.get(await api.run(tasks, {"case": value}))
    text = "null" if value is None else value
    assert found["status"] == "COMPLETED"
    assert task(found, "d")["outputData"] == {"caseOutput": [text]}
    assert task(found, "d")["inputData"] == {"case": text, "hasChildren": "true"}
    assert [each["referenceTaskName"] for each in found["tasks"]] == ["d", ran]


async def test_noop_keeps_no_input(api: Api) -> None:
    found = await api.get(await api.run([step("NOOP", "n", inputParameters={"a": 1})]))
    assert (task(found, "n")["status"], task(found, "n")["inputData"], task(found, "n")["outputData"]) == ("COMPLETED", {}, {})


@pytest.mark.parametrize("kind", ["HUMAN", "YIELD", "WAIT_FOR_WEBHOOK"])
async def test_what_waits_is_completed_from_outside(api: Api, kind: str) -> None:
    run = await api.run([step(kind, "h", inputParameters={"form": 1})])
    open_task = task(await api.get(run), "h")
    assert (open_task["status"], open_task["taskType"], open_task["inputData"]) == ("IN_PROGRESS", kind, {"form": 1})
    await api.ok("POST", f"/tasks/{run}/h/COMPLETED", {"yes": True})
    found = await api.get(run)
    assert (found["status"], task(found, "h")["outputData"]) == ("COMPLETED", {"yes": True})


async def test_a_signal_is_no_answer_of_a_person(api: Api) -> None:
    run = await api.run([step("HUMAN", "h")])
    await api.ok("POST", f"/tasks/{run}/COMPLETED/signal", {})
    assert task(await api.get(run), "h")["status"] == "IN_PROGRESS"
    run = await api.run([step("YIELD", "y")])
    await api.ok("POST", f"/tasks/{run}/COMPLETED/signal", {"a": 1})
    assert task(await api.get(run), "y")["outputData"] == {"a": 1}


async def test_a_dynamic_task_has_the_name_that_its_input_gives(api: Api) -> None:
    given = {"taskToRun": "${workflow.input.which}", "v": 1}
    tasks = [step("DYNAMIC", "d", dynamicTaskNameParam="taskToRun", inputParameters=given)]
    run = await api.run(
        [*tasks, step("INLINE", "i", inputParameters={"expression": "$.t", "t": "${d.taskType}"})], {"which": "red"}
    )
    found = await api.one("red")
    assert (found["taskType"], found["taskDefName"], found["inputData"]) == ("red", "red", {"taskToRun": "red", "v": 1})
    await api.update(found, output={"x": 1})
    ended = await api.get(run)
    assert task(ended, "d")["taskType"] == "red"
    assert task(ended, "i")["outputData"] == {"result": "red"}
    failed = await api.get(await api.start({"which": 5}))
    assert failed["status"] == "FAILED"
    assert "dynamic task" in failed["reasonForIncompletion"]


def exclusive(**more: Any) -> list[dict[str, Any]]:
    cases = {"a": [simple("a1"), simple("a2")], "b": [simple("b1")]}
    decision = step("SWITCH", "s", evaluatorType="value-param", expression="v", inputParameters={"v": "${workflow.input.v}"})
    return [simple("first"), {**decision, "decisionCases": cases}, step("EXCLUSIVE_JOIN", "e", joinOn=["a2", "b1"], **more)]


async def test_an_exclusive_join_has_the_output_of_the_way_that_was_taken(api: Api) -> None:
    await api.register([*exclusive(), simple("z", inputParameters={"n": "${e.output.n}"})])
    for case, ways in (("a", ["a1", "a2"]), ("b", ["b1"])):
        await api.start({"v": case})
        await api.update(await api.one("first"))
        for way in ways:
            await api.update(await api.one(way), output={"n": way})
        assert (await api.one("z"))["inputData"] == {"n": ways[-1]}


async def test_an_exclusive_join_without_a_way_takes_its_default_or_fails(api: Api) -> None:
    run = await api.run(exclusive(defaultExclusiveJoinTask=["first"]), {"v": "c"})
    await api.update(await api.one("first"), output={"n": 7})
    assert task(await api.get(run), "e")["outputData"] == {"n": 7}
    run = await api.run(exclusive(), {"v": "c"})
    await api.update(await api.one("first"), output={"n": 7})
    found = await api.get(run)
    assert found["status"] == "FAILED"
    assert "no task that the join waits for has run" in found["reasonForIncompletion"]


async def test_start_workflow_starts_one_and_goes_on(api: Api) -> None:
    await api.register([simple("inner")], name="other")
    request = {"name": "other", "input": {"a": "${workflow.input.a}"}, "priority": 3}
    run = await api.run(
        [
            step("START_WORKFLOW", "s", inputParameters={"startWorkflow": request}),
            simple("z", inputParameters={"id": "${s.output.workflowId}"}),
        ],
        {"a": 5},
    )
    found = await api.get(run)
    assert task(found, "s")["status"] == "COMPLETED"
    started = task(found, "s")["outputData"]["workflowId"]
    assert (await api.one("z"))["inputData"] == {"id": started}
    other = await api.until(started, lambda found: found["tasks"] != [])
    assert (other["workflowName"], other["input"], other["priority"]) == ("other", {"a": 5}, 3)
    assert "parentWorkflowId" not in other


@pytest.mark.parametrize("request_", [None, {"name": "nobody"}, {"name": "wf", "version": "x"}, {}])
async def test_start_workflow_of_what_is_not_there_fails(api: Api, request_: Any) -> None:
    found = await api.get(await api.run([step("START_WORKFLOW", "s", inputParameters={"startWorkflow": request_})]))
    assert found["status"] == "FAILED"


async def test_kafka_without_a_connection_registers_with_a_warning_and_fails(api: Api) -> None:
    request = {"bootStrapServers": "b:9092", "topic": "t", "value": {"a": 1}}
    tasks = [step("KAFKA_PUBLISH", "k", inputParameters={"kafka_request": request})]
    answer = await api.call("PUT", "/metadata/workflow", [{"name": "wf", "tasks": tasks}])
    assert "no Kafka connection" in answer.headers["warning"]
    found = await api.get(await api.start())
    assert found["status"] == "FAILED"
    assert "no Kafka connection is configured" in found["reasonForIncompletion"]


async def test_kafka_without_a_part_of_the_request_says_which(api: Api) -> None:
    found = await api.get(
        await api.run([step("KAFKA_PUBLISH", "k", inputParameters={"kafka_request": {"bootStrapServers": "b"}})])
    )
    assert "Missing Kafka topic" in found["reasonForIncompletion"]


async def test_a_type_that_nobody_knows_is_a_workers(api: Api) -> None:
    tasks = [step("RESIZE_IMAGE", "r", inputParameters={"a": 1})]
    answer = await api.call("POST", "/metadata/workflow", {"name": "wf", "tasks": tasks})
    assert answer.status == 200
    assert "RESIZE_IMAGE" in answer.headers["warning"]
    shown = await api.ok("GET", "/metadata/workflow/wf")
    assert "RESIZE_IMAGE" in shown["warnings"][0]
    assert (await api.call("PUT", "/metadata/workflow", [shown])).status == 200
    run = await api.start()
    found = await api.one("RESIZE_IMAGE")
    assert (found["taskType"], found["inputData"]) == ("RESIZE_IMAGE", {"a": 1})
    await api.update(found)
    assert (await api.get(run))["status"] == "COMPLETED"


async def test_what_is_known_comes_without_a_warning(api: Api) -> None:
    answer = await api.call("POST", "/metadata/workflow", {"name": "wf", "tasks": [simple("a"), step("NOOP", "b")]})
    assert "warning" not in answer.headers
    assert "warnings" not in await api.ok("GET", "/metadata/workflow/wf")


@pytest.mark.parametrize("kind", ["LLM_TEXT_COMPLETE", "LLM_CHAT_COMPLETE", "AGENT", "CALL_MCP_TOOL", "GENERATE_PDF"])
async def test_what_this_server_cannot_do_registers_and_fails_with_a_reason(api: Api, kind: str) -> None:
    answer = await api.call("POST", "/metadata/workflow", {"name": "wf", "tasks": [step(kind, "m")]})
    assert kind in answer.headers["warning"]
    found = await api.get(await api.start())
    assert found["status"] == "FAILED"
    assert kind in found["reasonForIncompletion"]
