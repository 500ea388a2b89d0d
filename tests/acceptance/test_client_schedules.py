"""Schedules and tags through the official client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from conductor.client.http.models.save_schedule_request import SaveScheduleRequest
from conductor.client.http.models.start_workflow_request import StartWorkflowRequest
from conductor.client.orkes.models.metadata_tag import MetadataTag
from conductor.client.orkes_clients import OrkesClients
from tests.acceptance.official import Official, simple, unique
from tests.patience import eventually


@pytest.fixture
def scheduler(official: Official) -> Iterator[Any]:
    client = OrkesClients(official.configuration).get_scheduler_client()
    yield client
    client.api_client.rest_client.connection.close()


def test_a_schedule_starts_workflows_until_it_is_paused(official: Official, scheduler: Any) -> None:
    kind = unique("scheduled")
    workflow = official.register(unique("wf"), [simple("t", kind)])
    name = unique("schedule")
    asked = SaveScheduleRequest(
        name=name,
        cron_expression="* * * * * ?",
        start_workflow_request=StartWorkflowRequest(name=workflow, version=1, input={"a": 1}),
    )
    scheduler.save_schedule(asked)
    found = scheduler.get_schedule(name)
    assert (found.name, found.cron_expression, found.paused) == (name, "* * * * * ?", False)
    assert [each.name for each in scheduler.get_all_schedules(workflow)] == [name]
    task = official.poll(kind)
    assert official.get(task.workflow_instance_id).input["_startedByScheduler"] == name
    scheduler.pause_schedule(name, "enough")
    paused = scheduler.get_schedule(name)
    assert (paused.paused, paused.paused_reason) == (True, "enough")

    def started() -> bool:
        executions = scheduler.search_schedule_executions(query=f"scheduleName IN ({name})").results
        return any(each.workflow_id == task.workflow_instance_id and each.state == "EXECUTED" for each in executions)

    eventually(started, "the execution is recorded")
    assert len(scheduler.get_next_few_schedule_execution_times("0 0 * * * ?", limit=3)) == 3
    scheduler.set_scheduler_tags([MetadataTag("team", "x")], name)
    assert [(each.key, each.value) for each in scheduler.get_scheduler_tags(name)] == [("team", "x")]
    scheduler.delete_schedule(name)
    assert scheduler.get_all_schedules(workflow) == []
