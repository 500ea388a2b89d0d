"""Callers who wait, and signals."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.languages.conductor.api import Api, simple, step


async def execute(api: Api, name: str = "wf", body: Any = None, **query: Any) -> Any:
    given = {"waitForSeconds": 60, "requestId": "r1", "waitUntilTaskRef": "None", **query}
    return await api.ok("POST", f"/workflow/execute/{name}/1", body or {"name": name, "input": {"a": 1}}, **given)


async def test_a_run_that_ends_at_once(api: Api) -> None:
    await api.register([step("SET_VARIABLE", "s", inputParameters={"v": 1})])
    found = await execute(api)
    assert found["responseType"] == "TARGET_WORKFLOW"
    assert (found["targetWorkflowStatus"], found["status"], found["requestId"]) == ("COMPLETED", "COMPLETED", "r1")
    assert found["workflowId"] == found["targetWorkflowId"]
    assert (found["input"], found["variables"], found["signalTimeout"]) == ({"a": 1}, {"v": 1}, False)
    assert [each["referenceTaskName"] for each in found["tasks"]] == ["s"]


async def test_the_caller_is_answered_when_a_worker_ends_the_run(api: Api) -> None:
    await api.register([simple("a")])
    waiting = asyncio.create_task(execute(api))
    await api.update(await api.one("a"), output={"x": 1})
    found = await waiting
    assert (found["status"], found["output"]) == ("COMPLETED", {"x": 1})


async def test_time_is_up(api: Api) -> None:
    await api.register([simple("a")])
    found = await execute(api, waitForSeconds=1)
    assert (found["status"], found["signalTimeout"]) == ("RUNNING", True)
    assert await api.call("POST", "/workflow/execute/wf/1", {}, waitForSeconds=1, returnStrategy="BLOCKING_TASK") == (
        200,
        {"content-length": "0"},
        b"",
    )


@pytest.mark.parametrize("strategy", ["TARGET_WORKFLOW", "BLOCKING_WORKFLOW", "BLOCKING_TASK", "BLOCKING_TASK_INPUT"])
async def test_strategies_with_a_wait_in_a_child(api: Api, strategy: str) -> None:
    await api.register([step("WAIT", "w", inputParameters={"k": 1})], "child")
    await api.register([step("SUB_WORKFLOW", "s", subWorkflowParam={"name": "child"})])
    found = await execute(api, returnStrategy=strategy)
    assert (found["responseType"], found["targetWorkflowStatus"]) == (strategy, "RUNNING")
    if strategy == "TARGET_WORKFLOW":
        assert found["workflowId"] == found["targetWorkflowId"]
    else:
        assert found["workflowId"] != found["targetWorkflowId"]
    if strategy.startswith("BLOCKING_TASK"):
        assert (found["referenceTaskName"], found["taskType"], found["input"]) == ("w", "WAIT", {"k": 1})
    run = found["targetWorkflowId"]
    answer = await api.ok("POST", f"/tasks/{run}/COMPLETED/signal/sync", {"done": True}, timeoutMillis=30_000)
    assert (answer["status"], answer["workflowId"]) == ("COMPLETED", run)
    assert answer["output"]["done"] is True


async def test_a_named_task_that_has_ended_blocks(api: Api) -> None:
    await api.register([step("SET_VARIABLE", "s", inputParameters={}), simple("a")])
    found = await execute(api, waitUntilTaskRef="s,other", returnStrategy="BLOCKING_TASK")
    assert (found["referenceTaskName"], found["status"]) == ("s", "COMPLETED")


async def test_an_inline_definition(api: Api) -> None:
    inline = {"name": "dyn", "version": 7, "tasks": [step("SET_VARIABLE", "s", inputParameters={})]}
    found = await execute(api, "dyn", {"name": "dyn", "version": 1, "workflowDef": inline, "idempotencyStrategy": "FAIL"})
    assert found["status"] == "COMPLETED"
    assert found["input"] == {"_systemMetadata": {"dynamic": True}}
    assert (await api.refused("GET", "/metadata/workflow/dyn")).status == 404


async def test_signals_without_anything_to_signal(api: Api) -> None:
    run = await api.run([simple("a")])
    assert await api.ok("POST", f"/tasks/{run}/COMPLETED/signal", {}) is None
    answer = await api.refused("POST", f"/tasks/{run}/COMPLETED/signal/sync", {})
    assert (answer.status, answer.json["message"]) == (404, f"Found no blocked task in workflow {run} to signal")
    assert (await api.refused("POST", f"/tasks/{run}/ODD/signal", {})).status == 400
    assert (await api.refused("POST", "/tasks/nope/COMPLETED/signal", {})).status == 404


async def test_a_bad_strategy(api: Api) -> None:
    await api.register([simple("a")])
    assert (await api.refused("POST", "/workflow/execute/wf/1", {}, returnStrategy="ODD")).status == 400
    assert (await api.refused("POST", "/workflow/execute/wf/x", {})).status == 400
