"""Retries, time-outs, and what a failure makes of a run."""

from __future__ import annotations

import msgspec
from tests.languages.conductor.api import Api, simple, step, task


async def test_a_retry_is_a_new_task_with_fresh_input(api: Api) -> None:
    await api.ok("POST", "/metadata/taskdefs", [{"name": "t", "retryCount": 1, "retryDelaySeconds": 0}])
    run = await api.run([simple("t", inputParameters={"id": "${CPEWF_TASK_ID}"})])
    first = await api.one("t")
    await api.update(first, "FAILED", {"o": 1}, reasonForIncompletion="first")
    second = await api.one("t")
    assert second["taskId"] != first["taskId"]
    assert second["inputData"] == {"id": second["taskId"]}
    assert (second["retryCount"], second["retriedTaskId"]) == (1, first["taskId"])
    assert second["reasonForIncompletion"] == "first"
    found = await api.get(run)
    assert [(each["status"], each["retried"]) for each in found["tasks"]] == [("FAILED", True), ("IN_PROGRESS", False)]
    await api.update(second, "FAILED", reasonForIncompletion="second")
    ended = await api.ended(run, "FAILED")
    assert ended["reasonForIncompletion"] == f"Task {second['taskId']} failed with status: FAILED and reason: 'second'"
    assert ended["failedReferenceTaskNames"] == ["t"]
    assert ended["failedTaskNames"] == ["t"]


async def test_a_delay_before_the_next_attempt_is_shown(api: Api) -> None:
    await api.ok("POST", "/metadata/taskdefs", [{"name": "t", "retryDelaySeconds": 7, "retryLogic": "EXPONENTIAL_BACKOFF"}])
    run = await api.run([simple("t")])
    await api.update(await api.one("t"), "FAILED")
    waiting = (await api.get(run))["tasks"][-1]
    assert (waiting["status"], waiting["callbackAfterSeconds"], waiting["startDelayInSeconds"]) == ("SCHEDULED", 7, 7)
    assert await api.poll("t") == []


async def test_an_unregistered_worker_task_is_tried_three_times_more(api: Api) -> None:
    run = await api.run([simple("t")])
    definition = (await api.get(run))["workflowDefinition"]["tasks"][0]["taskDefinition"]
    assert (definition["retryCount"], definition["retryDelaySeconds"]) == (3, 60)
    await api.update(await api.one("t"), "FAILED")
    assert (await api.get(run))["status"] == "RUNNING"


async def test_a_terminal_error_is_not_tried_again(api: Api) -> None:
    run = await api.run([simple("t")])
    await api.update(await api.one("t"), "FAILED_WITH_TERMINAL_ERROR")
    found = await api.ended(run, "FAILED")
    assert found["reasonForIncompletion"].endswith("and reason: 'null'")


async def test_a_canceled_task_terminates_the_run(api: Api) -> None:
    run = await api.run([simple("t")])
    await api.update(await api.one("t"), "CANCELED")
    await api.ended(run, "TERMINATED")


async def test_an_optional_task_may_fail(api: Api) -> None:
    run = await api.run([simple("t", retryCount=0, optional=True), step("SET_VARIABLE", "s", inputParameters={"a": 1})])
    await api.update(await api.one("t"), "FAILED", {"e": 1}, reasonForIncompletion="oh")
    found = await api.ended(run)
    assert task(found, "t")["status"] == "COMPLETED_WITH_ERRORS"
    assert task(found, "t")["outputData"] == {"e": 1}
    assert found["variables"] == {"a": 1}


async def test_a_permissive_task_lets_the_others_finish_first(api: Api) -> None:
    run = await api.run(
        [
            step("FORK_JOIN", "f", forkTasks=[[simple("a", retryCount=0, permissive=True)], [simple("b")]]),
            step("JOIN", "j", joinOn=["a", "b"]),
        ]
    )
    await api.update(await api.one("a"), "FAILED", reasonForIncompletion="no")
    assert (await api.get(run))["status"] == "RUNNING"
    await api.update(await api.one("b"))
    found = await api.ended(run, "FAILED")
    assert task(found, "j")["status"] == "FAILED"


async def test_a_failed_branch_ends_the_run_and_cancels_the_rest(api: Api) -> None:
    run = await api.run(
        [
            step("FORK_JOIN", "f", forkTasks=[[simple("a", retryCount=0)], [simple("b")]]),
            step("JOIN", "j", joinOn=["a", "b"]),
        ]
    )
    await api.update(await api.one("a"), "FAILED")
    found = await api.ended(run, "FAILED")
    assert (task(found, "b")["status"], task(found, "j")["status"]) == ("CANCELED", "CANCELED")
    assert await api.poll("b") == []


async def test_response_time_out(api: Api) -> None:
    await api.ok("POST", "/metadata/taskdefs", [{"name": "t", "retryCount": 0, "responseTimeoutSeconds": 1}])
    run = await api.run([simple("t")])
    found = await api.one("t")
    ended = await api.ended(run, "TIMED_OUT")
    assert task(ended, "t")["status"] == "TIMED_OUT"
    assert task(ended, "t")["reasonForIncompletion"] == (
        f"responseTimeout: 1 exceeded for the taskId: {found['taskId']} with Task Definition: t"
    )


async def test_the_time_of_a_run_is_limited(api: Api) -> None:
    run = await api.run([step("WAIT", "w")], timeoutSeconds=1, timeoutPolicy="TIME_OUT_WF")
    found = await api.ended(run, "TIMED_OUT")
    assert found["reasonForIncompletion"].startswith("Workflow timed out after ")
    assert " seconds. Timeout configured as 1 seconds." in found["reasonForIncompletion"]
    assert task(found, "w")["status"] == "CANCELED"


async def test_the_failure_workflow_is_started(api: Api) -> None:
    await api.register([simple("care")], "rescue")
    run = await api.run([simple("t", retryCount=0)], {"a": 1}, failureWorkflow="rescue")
    failed = await api.one("t")
    await api.update(failed, "FAILED", {"why": "x"}, reasonForIncompletion="boom")
    ended = await api.ended(run, "FAILED")
    rescue = ended["output"]["conductor.failure_workflow"]
    given = (await api.until(rescue, lambda found: True))["input"]
    assert (given["a"], given["workflowId"], given["failureStatus"]) == (1, run, "FAILED")
    assert given["failureTaskId"] == failed["taskId"]
    whole = given["failedWorkflow"]
    assert (whole["workflowId"], whole["workflowType"], whole["status"]) == (run, "wf", "FAILED")
    assert (whole["reasonForIncompletion"], whole["input"]) == (ended["reasonForIncompletion"], {"a": 1})
    assert (whole["failedReferenceTaskNames"], whole["failedTaskNames"]) == (["t"], ["t"])
    [told] = whole["tasks"]
    assert (told["taskId"], told["status"], told["reasonForIncompletion"]) == (failed["taskId"], "FAILED", "boom")
    assert told["outputData"] == {"why": "x"}
    assert "truncated" not in whole
    assert given["reason"] == ended["reasonForIncompletion"]


async def test_a_failure_workflow_that_is_not_there(api: Api) -> None:
    run = await api.run([simple("t", retryCount=0)], failureWorkflow="${workflow.input.who}", inputTemplate={"who": "x", "d": 1})
    await api.update(await api.one("t"), "FAILED")
    assert "conductor.failure_workflow" not in (await api.ended(run, "FAILED"))["output"]  # an empty input takes no defaults
    run = await api.start({"a": 1})
    await api.update(await api.one("t"), "FAILED")
    said = (await api.ended(run, "FAILED"))["output"]["conductor.failure_workflow"]
    assert said.startswith("Error workflow x failed to start.  reason: there is no process named 'x'")
    await api.register([simple("care")], "x")
    await api.start({"a": 1})
    await api.update(await api.one("t"), "FAILED")
    care = await api.one("care")
    given = (await api.get(care["workflowInstanceId"]))["input"]
    assert (given["a"], given["d"], given["failedWorkflow"]["input"]) == (1, 1, {"who": "x", "d": 1, "a": 1})


async def test_a_failed_child_is_named_wherever_the_reason_is_told(api: Api) -> None:
    await api.register([simple("t", retryCount=0)], "child")
    call = step("SUB_WORKFLOW", "s", optional=True, subWorkflowParam={"name": "child"})
    strict = {**call, "taskReferenceName": "strict", "optional": False}
    said = {"said": "${s.reasonForIncompletion}"}
    run = await api.run([call, step("SET_VARIABLE", "v", inputParameters=said), strict])
    children = []
    for _ in range(2):
        failed = await api.one("t")
        children.append(failed["workflowInstanceId"])
        await api.update(failed, "FAILED", reasonForIncompletion="broken")
    found = await api.ended(run, "FAILED")
    first, second = (f"Sub workflow {child} failure reason: Task {child}-1 failed" for child in children)
    assert task(found, "s")["reasonForIncompletion"].startswith(first)
    assert found["variables"]["said"].startswith(first)
    assert found["reasonForIncompletion"].startswith(
        f"Task {task(found, 'strict')['taskId']} failed with status: FAILED and reason: '{second}"
    )


async def test_a_permissive_failure_says_how_the_task_ended(api: Api) -> None:
    run = await api.run([simple("t", permissive=True), simple("b")])
    failed = await api.one("t")
    await api.update(failed, "FAILED_WITH_TERMINAL_ERROR", reasonForIncompletion="r")
    await api.update(await api.one("b"))
    said = (await api.ended(run, "FAILED"))["reasonForIncompletion"]
    assert said == f"Task {failed['taskId']} failed with status: FAILED_WITH_TERMINAL_ERROR and reason: 'r'"


async def test_what_the_failure_workflow_is_told_is_bounded(api: Api) -> None:
    await api.register([simple("care")], "rescue")
    body = [step("INLINE", "x", inputParameters={"expression": "'y'.repeat(2000)"})]
    loop = step("DO_WHILE", "loop", loopCondition="$.loop.iteration < 150", loopOver=body)
    run = await api.run([loop, simple("t", retryCount=0)], {"big": "z" * 100_000}, failureWorkflow="rescue")
    await api.update(await api.one("t"), "FAILED")
    ended = await api.ended(run, "FAILED")
    given = (await api.until(ended["output"]["conductor.failure_workflow"], lambda found: True))["input"]
    assert len(given["big"]) == 100_000
    whole = given["failedWorkflow"]
    assert whole["truncated"] is True
    assert len(whole["tasks"]) == 100
    assert [each["referenceTaskName"] for each in whole["tasks"]][-2:] == ["x__150", "t"]
    assert len(msgspec.json.encode(whole)) < 300_000


async def test_an_endless_script_fails_its_task_and_nobody_else(api: Api) -> None:
    run = await api.run([step("INLINE", "i", inputParameters={"expression": "for (;;) {}"})])
    found = await api.ended(run, "FAILED")
    assert "stopped after 4000 ms" in task(found, "i")["reasonForIncompletion"]


async def test_a_template_that_multiplies_is_refused_when_it_is_evaluated(api: Api) -> None:
    big = {f"k{number}": "${workflow.input.big}" for number in range(100)}
    run = await api.run([step("SET_VARIABLE", "s", inputParameters=big)], {"big": "x" * 400_000})
    found = await api.ended(run, "FAILED")
    assert "the limit is" in found["reasonForIncompletion"]


async def test_variables_have_a_limit(api: Api) -> None:
    run = await api.run([step("SET_VARIABLE", "s", inputParameters={"v": "${workflow.input.v}"})], {"v": "x" * 300_000})
    found = await api.ended(run, "FAILED")
    assert task(found, "s")["status"] == "FAILED_WITH_TERMINAL_ERROR"
    assert found["variables"] == {}


async def test_the_time_of_every_task_that_stands_is_limited_by_its_definition(api: Api) -> None:
    """All of them by the same policy as a worker's; what is inside goes with it, and a sub-workflow is started again."""
    policy = {"timeoutSeconds": 1, "responseTimeoutSeconds": 1, "retryDelaySeconds": 0}
    ends = {"name": "slow", "retryCount": 0, "timeoutPolicy": "TIME_OUT_WF", **policy}
    again = {"name": "again", "retryCount": 1, "timeoutPolicy": "RETRY", **policy}
    await api.ok("POST", "/metadata/taskdefs", [ends, again])
    await api.register([step("WAIT", "inner")], "child")
    param = {"name": "child"}
    kinds = {
        "SUB_WORKFLOW": [step("SUB_WORKFLOW", "s", name="slow", subWorkflowParam=param)],
        "DO_WHILE": [step("DO_WHILE", "s", name="slow", loopCondition="false", loopOver=[step("WAIT", "inner")])],
        "EVENT": [step("EVENT", "s", name="slow", sink="conductor", asyncComplete=True)],
        "JOIN": [step("FORK_JOIN", "f", forkTasks=[[step("WAIT", "inner")]]), step("JOIN", "s", name="slow", joinOn=["inner"])],
        "WAIT": [step("WAIT", "s", name="slow")],
        "again": [step("SUB_WORKFLOW", "s", name="again", subWorkflowParam=param)],
    }
    runs = {kind: await api.run(tasks) for kind, tasks in kinds.items()}
    for kind, run in runs.items():
        found = await api.ended(run, "TIMED_OUT")
        late = [each for each in found["tasks"] if each["referenceTaskName"] == "s"]
        assert [each["status"] for each in late] == ["TIMED_OUT"] * (2 if kind == "again" else 1)
        assert late[0]["reasonForIncompletion"].startswith("Task timed out after ")
        for each in late if kind in ("SUB_WORKFLOW", "again") else ():
            await api.ended(each["subWorkflowId"], "TERMINATED")
        if kind in ("DO_WHILE", "JOIN"):
            assert [each["status"] for each in found["tasks"] if each["taskType"] == "WAIT"] == ["CANCELED"]
        if kind == "again":
            assert len({each["subWorkflowId"] for each in late}) == 2
