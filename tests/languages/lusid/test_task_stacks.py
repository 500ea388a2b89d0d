"""Stacks, over the API."""

from __future__ import annotations

import pytest
from tests.languages.lusid.api import DEFINITIONS
from tests.languages.lusid.machines import TASKS, Desk, before, here, machine

pytestmark = pytest.mark.asyncio(loop_scope="session")
WAYS = "New go Doing, Doing finish Done"


async def test_a_stack_opens_and_closes(desk: Desk) -> None:
    await desk.define(machine("job", WAYS), machine("other", WAYS))
    lead = await desk.create("job", stackingKey="k")
    assert "stack" not in lead
    await desk.create("job", stackingKey="another")
    await desk.create("other", stackingKey="k")
    assert "stack" not in await desk.get(lead)
    one = await desk.create("job", stackingKey="k")
    two = await desk.create("job", stackingKey="k")
    created = one["version"]["asAtCreated"]
    stack = (await desk.get(lead))["stack"]
    assert stack == {
        "memberAddedAsAt": created,
        "stackOpenedAsAt": created,
        "stackMembershipType": "Lead",
        "stackStatus": "Open",
        "leadTaskId": lead["id"],
        "leadTaskState": "New",
        "tasksInStack": 3,
    }
    assert one["stack"]["stackMembershipType"] == "Member"
    assert one["stack"]["tasksInStack"] == 2
    assert two["stack"]["memberAddedAsAt"] == two["version"]["asAtCreated"]
    assert two["stack"]["stackOpenedAsAt"] == created
    assert [each["id"] for each in await desk.listed("stack.stackMembershipType eq 'Member'")] == [one["id"], two["id"]]
    assert len(await desk.listed(f"stack.leadTaskId eq '{lead['id']}' and stack.stackStatus eq 'Open'")) == 3
    await desk.fire(lead, "go")
    assert (await desk.get(two))["stack"]["leadTaskState"] == "Doing"
    done = await desk.fire(lead, "finish")
    closed = (await desk.get(one))["stack"]
    assert (closed["stackStatus"], closed["leadTaskState"]) == ("Closed", "Done")
    assert closed["stackClosedAsAt"] == done["asAtLastTransition"]
    assert (await desk.get(one))["state"] == "New"
    # Who comes now stacks up with the earliest that is still open.
    three = await desk.create("job", stackingKey="k")
    assert three["stack"]["leadTaskId"] == one["id"]
    assert (await desk.get(one))["stack"]["stackMembershipType"] == "Lead"
    # And what was is still readable.
    then = (await desk.get(one, created))["stack"]
    assert (then["stackStatus"], then["tasksInStack"], then["leadTaskState"]) == ("Open", 2, "New")
    assert then["leadTaskId"] == lead["id"]
    assert "stack" not in await desk.get(lead, before(created))


async def test_members_that_are_deleted_since(desk: Desk) -> None:
    await desk.define(machine("job", WAYS))
    lead = await desk.create("job", stackingKey="k")
    member = await desk.create("job", stackingKey="k")
    await desk.api.ok("DELETE", f"{TASKS}/{member['id']}")
    assert "stack" not in await desk.get(lead)
    assert (await desk.get(lead, member["version"]["asAtCreated"]))["stack"]["tasksInStack"] == 2


async def test_a_task_that_ended_before_another_came_leads_nothing(desk: Desk) -> None:
    await desk.define(machine("job", "New go Done"))
    await desk.create("job", "go", stackingKey="k")
    second = await desk.create("job", stackingKey="k")
    assert "stack" not in second
    third = await desk.create("job", stackingKey="K")
    assert "stack" not in third


async def test_properties_are_those_of_when_the_task_was_made(desk: Desk) -> None:
    key = "TaskDefinition/s/desk"
    other = "TaskDefinition/s/other"
    label = {"key": key, "value": {"labelValue": "rates"}}
    await desk.define(machine("job", WAYS, properties={key: label}))
    task = await desk.create("job")
    assert "properties" not in task
    assert (await desk.api.ok("GET", f"{TASKS}/{task['id']}", propertyKeys=[key, other]))["properties"] == {key: label}
    changed = {key: {"key": key, "value": {"labelValue": "credit"}}}
    await desk.api.ok("POST", f"{DEFINITIONS}/{here()}/job/properties", changed)
    assert (await desk.api.ok("GET", f"{TASKS}/{task['id']}", propertyKeys=key))["properties"] == {key: label}
    second = await desk.create("job")
    found = await desk.listed(propertyKeys=key)
    assert [each["properties"] for each in found] == [{key: label}, changed]
    assert [each["id"] for each in await desk.listed(f"properties[{key}] eq 'Credit'")] == [second["id"]]
    assert [each["id"] for each in await desk.listed(sortBy=f"properties[{key}]")] == [second["id"], task["id"]]
    assert len(await desk.listed(f"properties[{other}] not exists")) == 2
    listed = await desk.api.ok("GET", f"{DEFINITIONS}/{here()}/job/tasks", propertyKeys=key)
    assert listed["values"][1]["properties"] == changed
    assert "properties" not in await desk.get(second)
