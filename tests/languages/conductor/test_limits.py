"""Limits of task definitions: how many executions may be under way, and how many may begin in a time."""

from __future__ import annotations

from typing import Any

from tests.languages.conductor.api import Api, simple


async def limited(api: Api, runs: int, **policy: Any) -> list[str]:
    await api.ok("POST", "/metadata/taskdefs", [{"name": "t", "retryCount": 0, **policy}])
    await api.register([simple("t")])
    return [await api.start() for _ in range(runs)]


async def test_no_more_are_under_way_than_the_limit_says_and_the_others_stay_queued(api: Api) -> None:
    runs = await limited(api, 5, concurrentExecLimit=2)
    first = await api.poll("t", count=10)
    assert len(first) == 2
    assert await api.poll("t", count=10) == []
    assert await api.ok("GET", "/tasks/queue/sizes", taskType="t") == {"t": 3}
    await api.update(first[0])
    [third] = await api.poll("t", count=10)
    await api.update(first[1], "FAILED")
    await api.ok("DELETE", f"/workflow/{third['workflowInstanceId']}")  # its place is free again, too
    left = await api.poll("t", count=10)
    assert len(left) == 2
    for task in left:
        await api.update(task)
    statuses = sorted([(await api.get(run))["status"] for run in runs])
    assert statuses == ["COMPLETED", "COMPLETED", "COMPLETED", "FAILED", "TERMINATED"]


async def test_a_waiting_poller_gets_what_another_ends(api: Api) -> None:
    await limited(api, 2, concurrentExecLimit=1)
    task = await api.one("t")
    answer = await api.call(
        "POST",
        "/tasks/update-v2",
        {"workflowInstanceId": task["workflowInstanceId"], "taskId": task["taskId"], "status": "COMPLETED", "workerId": "w1"},
    )
    assert answer.status == 200, "the report frees the place that the next needs"
    assert answer.json["taskId"] != task["taskId"]


async def test_a_task_that_is_put_off_gives_its_place_back(api: Api) -> None:
    await limited(api, 2, concurrentExecLimit=1)
    task = await api.one("t")
    await api.update(task, "IN_PROGRESS", callbackAfterSeconds=3600)
    other = await api.one("t")
    assert other["taskId"] != task["taskId"]


async def test_domains_share_the_limit_of_their_task(api: Api) -> None:
    await limited(api, 1, concurrentExecLimit=1)
    await api.ok("POST", "/workflow", {"name": "wf", "taskToDomain": {"t": "d"}})
    task = await api.one("t", domain="d")
    assert await api.poll("t") == await api.poll("t", domain="d") == []
    await api.update(task)
    await api.one("t")


async def test_a_limit_that_is_changed_or_removed_counts_at_once(api: Api) -> None:
    await limited(api, 4, concurrentExecLimit=1)
    await api.one("t")
    assert await api.poll("t") == []
    await api.ok("POST", "/metadata/taskdefs", [{"name": "t", "concurrentExecLimit": 2}])
    await api.one("t")
    assert await api.poll("t") == []
    await api.ok("DELETE", "/metadata/taskdefs/t")
    assert len(await api.poll("t", count=10, timeout=5000)) == 2


async def test_no_more_begin_in_a_time_than_the_rate_says(api: Api) -> None:
    await limited(api, 4, rateLimitPerFrequency=2, rateLimitFrequencyInSeconds=3600)
    tasks = await api.poll("t", count=10)
    assert len(tasks) == 2
    for task in tasks:
        await api.update(task)
    assert await api.poll("t", count=10) == []
    assert await api.ok("GET", "/tasks/queue/sizes", taskType="t") == {"t": 2}
    await api.ok("POST", "/metadata/taskdefs", [{"name": "t", "rateLimitPerFrequency": 3, "rateLimitFrequencyInSeconds": 3600}])
    assert len(await api.poll("t", count=10, timeout=5000)) == 1
