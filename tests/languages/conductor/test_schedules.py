"""Schedules: saved, paused, followed, made up for, and what became of them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from tests.languages.conductor.api import Api, simple
from tests.patience import happens

from pelton.languages.conductor.schedules.following import follow, restore, schedule_of

NEVER = "0 0 0 1 1 ?"


async def save(api: Api, name: str = "s", cron: str = NEVER, **more: Any) -> Any:
    body = {"name": name, "cronExpression": cron, "startWorkflowRequest": {"name": "wf", "input": {"a": 1}}, **more}
    return await api.ok("POST", "/scheduler/schedules", body)


async def executions(api: Api, **query: Any) -> list[Any]:
    found = await api.ok("GET", "/scheduler/search/executions", **query)
    assert found["totalHits"] >= len(found["results"])
    return list(found["results"])


async def test_a_schedule_is_saved_shown_and_removed(api: Api) -> None:
    saved = await save(api, zoneId="Europe/Berlin", description="words", createdBy="ann")
    found = await api.ok("GET", "/scheduler/schedules/s")
    assert found == saved
    assert (found["cronExpression"], found["zoneId"], found["paused"]) == (NEVER, "Europe/Berlin", False)
    assert found["startWorkflowRequest"]["input"] == {"a": 1}
    assert found["nextRunTime"] > found["createTime"] > 0
    await save(api, "t", paused=True, pausedReason="later")
    assert [each["name"] for each in await api.ok("GET", "/scheduler/schedules")] == ["s", "t"]
    assert [each["name"] for each in await api.ok("GET", "/scheduler/schedules", workflowName="wf")] == ["s", "t"]
    assert await api.ok("GET", "/scheduler/schedules", workflowName="other") == []
    search = await api.ok("GET", "/scheduler/schedules/search", paused="true")
    assert [each["pausedReason"] for each in search["results"]] == ["later"]
    assert (await api.ok("GET", "/scheduler/schedules/search", freeText="WORDS"))["totalHits"] == 1
    assert (await api.ok("GET", "/scheduler/schedules/search", size=1, sort="name:DESC"))["results"][0]["name"] == "t"
    await api.ok("DELETE", "/scheduler/schedules/s")
    await api.ok("DELETE", "/scheduler/schedules/s")
    assert (await api.refused("GET", "/scheduler/schedules/s")).json["message"] == "Schedule 's' not found"


async def test_workflows_start_when_they_are_due_until_the_schedule_is_paused(api: Api) -> None:
    await api.register([simple("t")])
    await save(api, cron="* * * * * ?")
    task = await happens(lambda: api.poll("t", timeout=1000))
    run = await api.get(task[0]["workflowInstanceId"])
    assert run["input"]["a"] == 1
    assert run["input"]["_startedByScheduler"] == "s"
    await api.ok("PUT", "/scheduler/schedules/s/pause", reason="enough")
    paused = await api.ok("GET", "/scheduler/schedules/s")
    assert (paused["paused"], paused["pausedReason"], paused["nextRunTime"]) == (True, "enough", 0)
    found = await executions(api, query="scheduleName IN (s)")
    first = found[-1]
    assert (first["state"], first["workflowId"], first["workflowName"]) == ("EXECUTED", run["workflowId"], "wf")
    assert first["scheduledTime"] % 1000 == 0
    assert first["executionTime"] >= first["scheduledTime"] == run["input"]["_scheduledTime"]
    assert len({each["scheduledTime"] for each in found}) == len(found), "no time is started twice"
    await api.ok("PUT", "/scheduler/schedules/s/resume")
    resumed = await api.ok("GET", "/scheduler/schedules/s")
    assert (resumed["paused"], "pausedReason" in resumed) == (False, False)
    assert resumed["nextRunTime"] > 0


async def test_what_cannot_be_started_is_said_and_the_schedule_goes_on(api: Api) -> None:
    await save(api, cron="* * * * * ?")

    async def two() -> list[Any]:
        found = await executions(api, query="state=FAILED")
        return found if len(found) > 1 else []

    found = await happens(two)
    assert "No such workflow defined" in found[0]["reason"]
    assert await executions(api, query="state=EXECUTED") == []
    assert len(await executions(api, freeText="no such", size=1)) == 1


async def test_times_that_have_passed_are_made_up_for_if_the_schedule_says_so(api: Api) -> None:
    await api.register([simple("t")])
    await save(api, cron="0 * * * * ?", runCatchupScheduleInstances=True)
    row = await api.engine.definition(api.caller, "schedule", "s")
    assert row is not None
    now = api.engine.now()
    await follow(api.engine, api.caller, "s", schedule_of(row), now - 180_000)

    async def three() -> list[Any]:
        found = await executions(api, query="state=EXECUTED")
        return found if len(found) >= 3 else []

    found = await happens(three)
    times = [each["scheduledTime"] for each in found]
    assert times == sorted(times, reverse=True)
    assert {first - second for first, second in pairwise(times)} == {60_000}
    await follow(api.engine, api.caller, "s", schedule_of(row), now - 180_000)  # the same times are not started again
    assert len({each["workflowId"] for each in await executions(api, query="state=EXECUTED")}) == len(times)


async def test_a_schedule_without_its_run_gets_one_when_the_server_starts(api: Api) -> None:
    await save(api)
    await follow(api.engine, api.caller, "s", None)
    assert (await api.ok("GET", "/scheduler/schedules/s"))["nextRunTime"] == 0
    await restore(api.engine)
    assert (await api.ok("GET", "/scheduler/schedules/s"))["nextRunTime"] > 0


async def test_the_next_times(api: Api) -> None:
    times = await api.ok("GET", "/scheduler/nextFewSchedules", cronExpression="0 0 12 * * ?", limit=3)
    assert [second - first for first, second in pairwise(times)] == [86_400_000] * 2
    start = 1_900_000_000_000
    span = {"scheduleStartTime": start, "scheduleEndTime": start + 8_000_000}
    bounded = await api.ok("GET", "/scheduler/nextFewSchedules", cronExpression="0 0 * * * ?", **span)
    assert len(bounded) == 3
    assert all(start <= each <= start + 8_000_000 for each in bounded)
    assert len(await api.ok("GET", "/scheduler/nextFewSchedules", cronExpression="0 * * * * ?")) == 5


async def test_many_at_once_and_tags(api: Api) -> None:
    for name in ("a", "b"):
        await save(api, name)
    found = await api.ok("PUT", "/scheduler/bulk/pause", ["a", "none"])
    assert (found["bulkSuccessfulResults"], list(found["bulkErrorResults"])) == (["a"], ["none"])
    await api.ok("GET", "/scheduler/admin/pause")
    assert [each["paused"] for each in await api.ok("GET", "/scheduler/schedules")] == [True, True]
    await api.ok("PUT", "/scheduler/bulk/resume", ["b"])
    assert [each["paused"] for each in await api.ok("GET", "/scheduler/schedules")] == [True, False]
    await api.ok("GET", "/scheduler/admin/resume")
    assert (await api.ok("GET", "/scheduler/admin/requeue"))["count"] == 2
    tag = {"key": "team", "value": "x", "type": "METADATA"}
    await api.ok("PUT", "/scheduler/schedules/a/tags", [tag])
    assert await api.ok("GET", "/scheduler/schedules/a/tags") == [tag]
    assert (await api.ok("GET", "/scheduler/schedules/a"))["tags"] == [tag]
    await api.ok("DELETE", "/scheduler/schedules/a/tags", [tag])
    assert await api.ok("GET", "/scheduler/schedules/a/tags") == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"cronExpression": "bad"}, "cronExpression"),
        ({"cronExpression": ""}, "cronExpression"),
        ({"name": " "}, "name"),
        ({"zoneId": "Nowhere"}, "zoneId"),
        ({"startWorkflowRequest": {}}, "startWorkflowRequest.name"),
        ({"scheduleStartTime": 9, "scheduleEndTime": 8}, "scheduleEndTime"),
        ({"cronSchedules": [{"cronExpression": "x"}]}, "cronExpression"),
    ],
)
async def test_a_schedule_that_cannot_be_is_refused(api: Api, change: dict[str, Any], field: str) -> None:
    body = {"name": "s", "cronExpression": NEVER, "startWorkflowRequest": {"name": "wf"}, **change}
    refused = await api.refused("POST", "/scheduler/schedules", body)
    assert refused.status == 400
    assert [each["path"] for each in refused.json["validationErrors"]] == [field]
    assert (await api.refused("GET", "/scheduler/nextFewSchedules", cronExpression="bad")).status == 400
