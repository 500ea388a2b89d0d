"""Retry and rerun of a run of more than 10,000 tasks, and of tasks whose failure was put off."""

from __future__ import annotations

from typing import Any

from tests.languages.conductor.api import Api, simple, step, task
from tests.patience import unsearched

ITERATIONS = 520
EACH = 20  # tasks of an iteration


async def reached(api: Api, kind: str) -> Any:
    """The task, once the run has come to it."""
    found: list[Any] = []
    while not found:
        found = await api.poll(kind, timeout=5000)
    return found[0]


async def has_status(api: Api, run: str, status: str) -> None:
    assert (await api.ok("GET", f"/workflow/{run}", includeTasks=False))["status"] == status


async def test_a_run_of_more_than_10000_tasks_is_retried_and_rerun(api: Api) -> None:
    body = [step("SET_VARIABLE", f"v{number}", inputParameters={"x": number}) for number in range(EACH)]
    with unsearched():
        run = await api.run(
            [
                step("DO_WHILE", "d", loopCondition=f"$.d.iteration < {ITERATIONS}", loopOver=body),
                simple("t", retryCount=0),
            ],
            outputParameters={"done": True},
        )
        failed = await reached(api, "t")
        await api.update(failed, "FAILED", reasonForIncompletion="no")
        await has_status(api, run, "FAILED")
        assert (await api.call("POST", f"/workflow/{run}/retry", {})).status == 204
        again = await api.one("t")
        assert again["retriedTaskId"] == failed["taskId"]
        await api.update(again)
        found = await api.ended(run)
        assert len(found["tasks"]) == EACH * ITERATIONS + 3
        last = task(found, f"v1__{ITERATIONS}")
        for named in (again, last):
            await api.ok("POST", f"/workflow/{run}/rerun", {"reRunFromTaskId": named["taskId"]})
            await api.update(await reached(api, "t"))
            await has_status(api, run, "COMPLETED")
    found = await api.get(run)
    assert len(found["tasks"]) == EACH * ITERATIONS + 2
    assert task(found, "d")["iteration"] == ITERATIONS


async def test_a_retry_leaves_out_what_followed_a_permissive_task(api: Api) -> None:
    run = await api.run([simple("a", permissive=True, retryCount=0), simple("b"), simple("c", permissive=True, retryCount=0)])
    await api.update(await api.one("a"), "FAILED")
    await api.update(await api.one("b"))
    await api.update(await api.one("c"), "FAILED")
    await api.ended(run, "FAILED")
    await api.ok("POST", f"/workflow/{run}/retry")
    await api.update(await api.one("a"))
    await api.update(await api.one("c"))
    found = await api.ended(run)
    assert [each["referenceTaskName"] for each in found["tasks"]].count("b") == 1


async def test_a_rerun_of_what_followed_a_permissive_task_leaves_its_failure_standing(api: Api) -> None:
    run = await api.run([simple("a", permissive=True, retryCount=0), simple("b")])
    await api.update(await api.one("a"), "FAILED")
    await api.update(await api.one("b"))
    found = await api.ended(run, "FAILED")
    await api.ok("POST", f"/workflow/{run}/rerun", {"reRunFromTaskId": task(found, "b")["taskId"]})
    await api.update(await api.one("b"))
    await api.ended(run, "FAILED")


async def test_a_rerun_in_one_branch_finds_the_task_behind_a_switch_of_another(api: Api) -> None:
    switch = step(
        "SWITCH",
        "s",
        evaluatorType="value-param",
        expression="k",
        inputParameters={"k": "x"},
        decisionCases={"x": [simple("x")]},
        defaultCase=[],
    )
    fork = step("FORK_JOIN", "f", forkTasks=[[switch], [simple("y")]])
    run = await api.run([fork, step("JOIN", "j", joinOn=["x", "y"])])
    await api.update(await api.one("x"))
    await api.update(await api.one("y"))
    found = await api.ended(run)
    await api.ok("POST", f"/workflow/{run}/rerun", {"reRunFromTaskId": task(found, "y")["taskId"]})
    for name in ("x", "y"):
        for each in await api.poll(name):
            await api.update(each)
    await api.ended(run)
