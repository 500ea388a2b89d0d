"""Answers with tasks in them that do not arrive: the caller hung up, or the answer was lost on its way."""

from __future__ import annotations

from typing import Any

import pytest
from tests.languages.conductor.api import Api, simple


def done(task: Any, **more: Any) -> dict[str, Any]:
    return {"workflowInstanceId": task["workflowInstanceId"], "taskId": task["taskId"], "status": "COMPLETED", **more}


@pytest.mark.parametrize("path", ["/tasks/poll/work", "/tasks/poll/batch/work"])
async def test_a_task_whose_poller_is_gone_before_the_answer_is_free_again(api: Api, path: str) -> None:
    await api.register([simple("a", "work")])
    await api.start()
    assert (await api.call("GET", path, gone=True, workerid="w1")).status == 0
    task = await api.one("work", workerid="w2")
    assert (task["workerId"], task["pollCount"]) == ("w2", 2)


async def test_the_next_task_is_free_again_when_the_one_who_reported_is_gone(api: Api) -> None:
    await api.register([simple("a", "work"), simple("b", "work")])
    run = await api.start()
    first = await api.one("work", workerid="w1")
    assert (await api.call("POST", "/tasks/update-v2", done(first, workerId="w1"), gone=True)).status == 0
    second = await api.one("work", workerid="w2")
    assert (second["referenceTaskName"], second["workerId"]) == ("b", "w2")
    assert await api.ok("POST", "/tasks/update-v2", done(first, workerId="w1")) is None  # somebody else has it
    await api.update(second)
    assert (await api.get(run))["status"] == "COMPLETED"


async def test_a_repeated_report_gets_the_task_that_was_in_the_lost_answer(api: Api) -> None:
    await api.register([simple("a", "work"), simple("b", "work")])
    runs = [await api.start(), await api.start()]
    first = await api.one("work", workerid="w1")
    other = await api.one("work", workerid="w1")
    given = await api.ok("POST", "/tasks/update-v2", done(first, workerId="w1"))
    for _ in range(2):
        again = await api.ok("POST", "/tasks/update-v2", done(first, workerId="w1"))
        assert (again["taskId"], again["pollCount"], again["inputData"]) == (given["taskId"], 1, given["inputData"])
    assert given["taskId"] != other["taskId"]
    assert await api.ok("POST", "/tasks/update-v2", done(given, workerId="w1")) is None
    assert await api.ok("POST", "/tasks/update-v2", done(first, workerId="w1")) is None  # that one is over
    await api.ok("POST", "/tasks/update-v2", done(other, workerId="w1"))
    assert [(await api.get(run))["status"] for run in runs] == ["COMPLETED", "RUNNING"]


async def test_a_task_that_its_worker_has_given_a_sign_of_life_for_is_not_given_again(api: Api) -> None:
    policy = {"name": "work", "retryCount": 0, "timeoutSeconds": 0, "responseTimeoutSeconds": 60, "ownerEmail": "a@b.c"}
    await api.ok("POST", "/metadata/taskdefs", [policy])
    await api.register([simple("a", "work"), simple("b", "work")])
    await api.start()
    first = await api.one("work", workerid="w1")
    given = await api.ok("POST", "/tasks/update-v2", done(first, workerId="w1"))
    before = api.engine.now()
    while api.engine.now() == before:  # a lease is counted in milliseconds
        pass
    await api.call("POST", "/tasks", {**done(given), "status": "IN_PROGRESS", "extendLease": True})
    assert await api.ok("POST", "/tasks/update-v2", done(first, workerId="w1")) is None


async def test_a_report_that_is_repeated_by_a_plain_update_frees_the_task_of_the_lost_answer(api: Api) -> None:
    await api.register([simple("a", "work"), simple("b", "work")])
    await api.start()
    first = await api.one("work", workerid="w1")
    given = await api.ok("POST", "/tasks/update-v2", done(first, workerId="w1"))
    assert await api.ok("POST", "/tasks", done(first, workerId="w2")) == first["taskId"]  # somebody else has lost nothing
    assert await api.ok("GET", "/tasks/poll/work", workerid="w1") is None
    assert await api.ok("POST", "/tasks", done(first, workerId="w1")) == first["taskId"]
    again = await api.one("work", workerid="w1")
    assert (again["taskId"], again["pollCount"]) == (given["taskId"], 2)


async def test_the_log_entries_of_a_repeated_report_are_kept_once(api: Api) -> None:
    await api.register([simple("a", "work"), simple("b", "work")])
    await api.start()
    first = await api.one("work", workerid="w1")
    for _ in range(2):
        await api.ok("POST", "/tasks/update-v2", done(first, workerId="w1", logs=[{"log": "said once", "createdTime": 1}]))
    logs = await api.ok("GET", f"/tasks/{first['taskId']}/log")
    assert [entry["log"] for entry in logs] == ["said once"]
