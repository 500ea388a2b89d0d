"""What an operator may do to a run."""

from __future__ import annotations

import pytest
from tests.languages.conductor.api import Api, simple, step, task


async def test_pause_holds_the_next_task_back_and_resume_lets_it_go(api: Api) -> None:
    run = await api.run([simple("a"), simple("b")])
    found = await api.one("a")
    await api.ok("PUT", f"/workflow/{run}/pause")
    await api.ok("PUT", f"/workflow/{run}/pause")
    await api.update(found)
    assert (await api.get(run))["status"] == "PAUSED"
    assert await api.poll("b") == []
    await api.ok("PUT", f"/workflow/{run}/resume")
    assert (await api.get(run))["status"] == "RUNNING"
    await api.update(await api.one("b"))
    await api.ended(run)
    assert (await api.refused("PUT", f"/workflow/{run}/pause")).status == 409
    assert (await api.refused("PUT", f"/workflow/{run}/resume")).status == 409


async def test_a_task_that_fails_for_good_in_a_paused_run_fails_the_run_on_resume(api: Api) -> None:
    run = await api.run([simple("a", retryCount=0), simple("b")])
    found = await api.one("a")
    await api.ok("PUT", f"/workflow/{run}/pause")
    await api.update(found, "FAILED", reasonForIncompletion="why")
    paused = await api.get(run)
    assert (paused["status"], task(paused, "a")["status"]) == ("PAUSED", "FAILED")
    assert task(paused, "a")["reasonForIncompletion"] == "why"
    assert paused["failedReferenceTaskNames"] == ["a"]
    assert (await api.refused("POST", f"/workflow/{run}/retry")).status == 404
    await api.ok("PUT", f"/workflow/{run}/resume")
    assert "why" in (await api.ended(run, "FAILED"))["reasonForIncompletion"]
    await api.ok("POST", f"/workflow/{run}/retry")
    await api.update(await api.one("a"))
    await api.update(await api.one("b"))
    await api.ended(run)


async def test_a_loop_fork_or_child_that_fails_in_a_paused_run_fails_it_on_resume(api: Api) -> None:
    loop = step("DO_WHILE", "l", loopCondition="true", loopOver=[simple("a", retryCount=0)])
    for tasks in ([loop], [simple("a", retryCount=0, permissive=True)]):
        run = await api.run(tasks)
        found = await api.one("a")
        await api.ok("PUT", f"/workflow/{run}/pause")
        await api.update(found, "FAILED_WITH_TERMINAL_ERROR", reasonForIncompletion="why")
        assert (await api.get(run))["status"] == "PAUSED"
        await api.ok("PUT", f"/workflow/{run}/resume")
        await api.ended(run, "FAILED")


async def test_terminate(api: Api) -> None:
    run = await api.run([simple("a")])
    await api.ok("DELETE", f"/workflow/{run}", {}, reason="stop it")
    found = await api.get(run)
    assert (found["status"], found["reasonForIncompletion"]) == ("TERMINATED", "stop it")
    assert task(found, "a")["status"] == "CANCELED"
    await api.ok("DELETE", f"/workflow/{run}")
    assert await api.poll("a") == []


async def test_a_completed_run_cannot_be_terminated(api: Api) -> None:
    run = await api.run([step("SET_VARIABLE", "s", inputParameters={})])
    assert (await api.refused("DELETE", f"/workflow/{run}")).status == 409


async def test_a_failed_run_stays_as_it_is_when_it_is_terminated(api: Api) -> None:
    run = await api.run([simple("a", retryCount=0)])
    await api.update(await api.one("a"), "FAILED", reasonForIncompletion="why")
    before = await api.ended(run, "FAILED")
    await api.ok("DELETE", f"/workflow/{run}", {}, reason="stop it")
    assert await api.get(run) == before


async def test_restart_begins_again_under_the_same_id(api: Api) -> None:
    run = await api.run([simple("a")], {"x": 1})
    assert (await api.refused("POST", f"/workflow/{run}/restart")).status == 409
    first = await api.one("a")
    await api.update(first)
    assert (await api.call("POST", f"/workflow/{run}/restart", {})).status == 204
    second = await api.one("a")
    assert second["taskId"] != first["taskId"]
    found = await api.get(run)
    assert (found["status"], found["input"], len(found["tasks"])) == ("RUNNING", {"x": 1}, 1)


async def test_restart_with_the_latest_definition(api: Api) -> None:
    run = await api.run([simple("a")])
    await api.update(await api.one("a"))
    await api.register([simple("b")], version=2)
    await api.ok("POST", f"/workflow/{run}/restart", useLatestDefinitions=True)
    await api.one("b")
    assert (await api.get(run))["workflowVersion"] == 2


async def test_a_run_that_must_not_be_restarted(api: Api) -> None:
    run = await api.run([step("SET_VARIABLE", "s", inputParameters={})], restartable=False)
    answer = await api.refused("POST", f"/workflow/{run}/restart")
    assert (answer.status, answer.json["message"]) == (404, f"Workflow: wf.1/{run}.COMPLETED is non-restartable")


async def test_retry_goes_on_where_it_failed(api: Api) -> None:
    run = await api.run([simple("a"), simple("b", retryCount=0), simple("c")])
    assert (await api.refused("POST", f"/workflow/{run}/retry")).status == 404
    await api.update(await api.one("a"))
    failed = await api.one("b")
    await api.update(failed, "FAILED")
    assert (await api.call("POST", f"/workflow/{run}/retry", {})).status == 204
    again = await api.one("b")
    assert again["taskId"] != failed["taskId"]
    assert (await api.get(run))["lastRetriedTime"] > 0
    await api.update(again)
    await api.update(await api.one("c"))
    await api.ended(run)
    assert (await api.refused("POST", f"/workflow/{run}/retry")).status == 409


async def test_a_failed_child_is_retried_and_its_parents_go_on(api: Api) -> None:
    await api.register([simple("t", retryCount=0)], "low")
    await api.register([step("SUB_WORKFLOW", "s", subWorkflowParam={"name": "low"})], "middle")
    run = await api.run([step("SUB_WORKFLOW", "s", subWorkflowParam={"name": "middle"})])
    failed = await api.one("t")
    await api.update(failed, "FAILED")
    await api.ended(run, "FAILED")
    await api.ok("POST", f"/workflow/{failed['workflowInstanceId']}/retry")
    await api.until(run, lambda found: found["status"] == "RUNNING")
    await api.update(await api.one("t"))
    await api.ended(run)


async def test_rerun_from_a_task(api: Api) -> None:
    run = await api.run([simple("a"), simple("b")], {"x": 1})
    first = await api.one("a")
    await api.update(first)
    await api.update(await api.one("b"))
    body = {"reRunFromTaskId": first["taskId"], "taskInput": {"given": True}, "correlationId": "c2"}
    assert await api.ok("POST", f"/workflow/{run}/rerun", body) == run
    again = await api.one("a")
    assert (again["taskId"], again["inputData"]) == (first["taskId"], {"given": True})
    found = await api.get(run)
    assert (found["correlationId"], len(found["tasks"])) == ("c2", 1)
    answer = await api.refused("POST", f"/workflow/{run}/rerun", {})
    assert answer.status == 409


async def test_rerun_of_a_task_that_is_not_there(api: Api) -> None:
    run = await api.run([step("SET_VARIABLE", "s", inputParameters={})])
    answer = await api.refused("POST", f"/workflow/{run}/rerun", {"reRunFromTaskId": "nope"})
    assert (answer.status, answer.json["message"]) == (400, "Task nope not found")


@pytest.mark.parametrize("form", ["json", "query", "literal", "form"])
async def test_skip_in_all_encodings(api: Api, form: str) -> None:
    run = await api.run([simple("a"), simple("b")])
    path = f"/workflow/{run}/skiptask/b"
    if form == "json":
        await api.ok("PUT", path, {"taskInput": {"i": "1"}, "taskOutput": {"o": "x"}})
    elif form == "query":
        await api.ok("PUT", path, {}, **{"taskOutput[o]": "x", "taskInput[i]": "1"})
    elif form == "literal":
        await api.ok("PUT", path, {}, skipTaskRequest="{'taskInput': {'i': '1'}, 'taskOutput': {'o': 'x'}}")
    else:
        answer = await api.call(
            "PUT",
            path,
            raw=b"taskOutput%5Bo%5D=x&taskInput%5Bi%5D=1",
            headers={"content-type": "application/x-www-form-urlencoded"},
        )
        assert answer.status == 200
    assert (await api.refused("PUT", f"/workflow/{run}/skiptask/a", {})).status == 409
    await api.update(await api.one("a"))
    found = await api.ended(run)
    skipped = task(found, "b")
    assert (skipped["status"], skipped["outputData"], skipped["inputData"]) == ("SKIPPED", {"o": "x"}, {"i": "1"})


async def test_a_fork_cannot_be_skipped(api: Api) -> None:
    fork = step("FORK_JOIN", "f", forkTasks=[[simple("x")]])
    run = await api.run([simple("a"), fork, step("JOIN", "j", joinOn=["x"])])
    answer = await api.refused("PUT", f"/workflow/{run}/skiptask/f", {})
    assert (answer.status, "skip the steps in them" in answer.json["message"]) == (400, True)
    await api.update(await api.one("a"))
    await api.update(await api.one("x"))
    assert (await api.ended(run))["status"] == "COMPLETED"


@pytest.mark.parametrize("text", ["{'a': " * 300, "__import__('os')", "[]", "1", "(" * 5000, "{'taskInput': 1}"])
async def test_a_literal_that_is_none_is_refused(api: Api, text: str) -> None:
    run = await api.run([simple("a"), simple("b")])
    assert (await api.refused("PUT", f"/workflow/{run}/skiptask/b", {}, skipTaskRequest=text)).status == 400


async def test_variables(api: Api) -> None:
    run = await api.run([simple("a")], variables={"v": 1})
    found = await api.ok("POST", f"/workflow/{run}/variables", {"w": {"x": None}})
    assert found["variables"] == {"v": 1, "w": {"x": None}}
    status = await api.ok("GET", f"/workflow/{run}/status", includeVariables=True, includeOutput="True")
    assert status == {"workflowId": run, "status": "RUNNING", "output": {}, "variables": {"v": 1, "w": {"x": None}}}


async def test_remove(api: Api) -> None:
    run = await api.run([simple("a")])
    answer = await api.refused("DELETE", f"/workflow/{run}/remove")
    assert (answer.status, answer.json["message"]) == (400, f"Cannot archive workflow: {run} with status: RUNNING")
    await api.update(await api.one("a"))
    await api.ok("DELETE", f"/workflow/{run}/remove")
    assert (await api.refused("GET", f"/workflow/{run}")).status == 404


async def test_paging_and_running(api: Api) -> None:
    run = await api.run([step("SET_VARIABLE", f"s{number}", inputParameters={}) for number in range(5)] + [simple("a")])
    page = await api.ok("GET", f"/workflow/{run}/tasks", start=1, count=2)
    assert (page["totalHits"], [each["referenceTaskName"] for each in page["results"]]) == (6, ["s1", "s2"])
    page = await api.ok("GET", f"/workflow/{run}/tasks", status=["SCHEDULED", "FAILED"])
    assert [each["referenceTaskName"] for each in page["results"]] == ["a"]
    assert (await api.refused("GET", f"/workflow/{run}/tasks", status="ODD")).status == 400
    assert await api.ok("GET", "/workflow/running/wf", version=1) == [run]
    assert await api.ok("GET", "/workflow/running/wf", version=2) == []
    assert await api.ok("PUT", f"/workflow/decide/{run}", {}) is None


@pytest.mark.parametrize("count", [0, 1, 3, 50])
async def test_pages_of_tasks_are_those_of_the_whole_run(api: Api, count: int) -> None:
    inner = [step("INLINE", "x", inputParameters={"expression": "1"}), step("WAIT", "w")]
    loop = step("DO_WHILE", "loop", loopCondition="$.loop.iteration < 3", loopOver=inner)
    run = await api.run([simple("t", retryCount=0), loop, simple("end", retryCount=0)])
    for number in range(3):
        if number != 1:
            await api.update(await api.one("t"), "FAILED" if number == 0 else "COMPLETED")
        whole = (await api.get(run))["tasks"]
        for start in range(len(whole) + 2):
            page = await api.ok("GET", f"/workflow/{run}/tasks", start=start, count=count)
            assert (page["totalHits"], page["results"]) == (len(whole), whole[start : start + count])
            page = await api.ok("GET", f"/workflow/{run}/tasks", start=start, count=count, status="COMPLETED")
            wanted = [each for each in whole if each["status"] == "COMPLETED"]
            assert (page["totalHits"], page["results"]) == (len(wanted), wanted[start : start + count])
        if number == 0:
            await api.ok("POST", f"/workflow/{run}/retry")


async def test_idempotency_keys(api: Api) -> None:
    await api.register([simple("a")])
    body = {"name": "wf", "idempotencyKey": "k1", "idempotencyStrategy": "RETURN_EXISTING"}
    first = await api.ok("POST", "/workflow", body)
    assert await api.ok("POST", "/workflow", body) == first
    assert (await api.refused("POST", "/workflow", {**body, "idempotencyStrategy": "FAIL"})).status == 409
    assert (await api.refused("POST", "/workflow", {**body, "idempotencyStrategy": "FAIL_ON_RUNNING"})).status == 409
    assert (await api.get(first))["idempotencyKey"] == "k1"
    live = {"name": "wf", "idempotencyKey": "k2", "idempotencyStrategy": "FAIL_ON_RUNNING"}
    second = await api.ok("POST", "/workflow", live)
    await api.ok("DELETE", f"/workflow/{second}")
    assert await api.ok("POST", "/workflow", live) != second
    without = await api.ok("POST", "/workflow", {"name": "wf", "idempotencyStrategy": "FAIL"})
    assert without != await api.ok("POST", "/workflow", {"name": "wf", "idempotencyStrategy": "FAIL"})
