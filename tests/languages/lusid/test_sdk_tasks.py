"""TasksApi of the official client: everything that it offers, in its own models."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from lusid_workflow import models
from tests.languages.lusid.official import Official, refused, scope, state, trigger

LAST = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


def field(name: str, value: Any) -> Any:
    return models.TaskInstanceField(name=name, value=value)


def plain(scope: str, code: str = "job", **more: Any) -> Any:
    """A definition without actions."""
    given: dict[str, Any] = {
        "id": models.ResourceId(scope=scope, code=code),
        "display_name": "A job",
        "states": [state("New", display_name="Brand new"), state("Doing"), state("Done")],
        "field_schema": [
            models.TaskFieldDefinition(name="text", type="String"),
            models.TaskFieldDefinition(name="number", type="Decimal"),
            models.TaskFieldDefinition(name="when", type="DateTime"),
            models.TaskFieldDefinition(name="flag", type="Boolean"),
            models.TaskFieldDefinition(
                name="fixed", type="String", read_only_states=models.ReadOnlyStates(state_type="AllStates")
            ),
        ],
        "initial_state": models.InitialState(name="New", required_fields=["text"]),
        "triggers": [trigger("go"), trigger("finish")],
        "transitions": [
            models.TaskTransitionDefinition(from_state="New", to_state="Doing", trigger="go"),
            models.TaskTransitionDefinition(
                from_state="Doing",
                to_state="Done",
                trigger="finish",
                guard="fields['number'] gt 0",
                guard_condition_not_met_message="Nothing was counted",
            ),
        ],
    }
    return models.CreateTaskDefinitionRequest(**{**given, **more})


def wanted(scope: str, code: str = "job", fields: Any = None, **more: Any) -> Any:
    given = [field("text", "x")] if fields is None else fields
    return models.CreateTaskRequest(task_definition_id=models.ResourceId(scope=scope, code=code), fields=given, **more)


def values(task: Any) -> dict[str, Any]:
    return {each.name: each.value for each in task.fields}


@pytest.fixture
def here(official: Official) -> str:
    found = scope()
    official.definitions.create_task_definition(plain(found))
    return found


def test_made_and_read_back(official: Official, here: str) -> None:
    when = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
    fields = [field("text", "ä'x"), field("number", 2.5), field("when", when), field("flag", False), field("fixed", None)]
    task = official.tasks.create_task(wanted(here, fields=fields, correlation_ids=["a", "b"], stacking_key="k"))
    assert isinstance(task, models.Task)
    assert (task.state, task.state_display_name, task.terminal_state) == ("New", "Brand new", False)
    assert values(task) == {"text": "ä'x", "number": 2.5, "when": "2024-05-06T07:08:09.1234560+00:00", "flag": False}
    assert type(values(task)["number"]) is float
    assert (task.correlation_ids, task.stacking_key, task.stack) == (["a", "b"], "k", None)
    assert (task.hierarchical_position, task.completion_status) == ("Standalone", "NotStarted")
    assert task.ultimate_parent_task.id == task.id
    assert task.ultimate_parent_task.task_definition_version.as_at_modified == task.task_definition_version.as_at_modified
    assert (task.parent_task, task.child_tasks, task.previous_task, task.next_task) == (None, [], None, None)
    version = task.version
    assert version.as_at_version_number == 1
    assert version.as_at_created == version.as_at_modified == task.as_at_last_transition
    assert version.user_id_created == version.user_id_modified == "anonymous"
    assert task.open_duration >= 0
    got = official.tasks.get_task(task.id)
    assert {**got.to_dict(), "openDuration": 0} == {**task.to_dict(), "openDuration": 0}
    definition = official.definitions.get_task_definition(here, "job")
    assert task.task_definition_version.as_at_modified == definition.version.as_at_modified


def test_made_with_a_trigger(official: Official, here: str) -> None:
    task = official.tasks.create_task(wanted(here), trigger="go")
    assert (task.state, task.version.as_at_version_number, task.completion_status) == ("Doing", 1, "InProgress")
    assert task.as_at_last_transition == task.version.as_at_created == task.version.as_at_modified
    for name, code in (("finish", "InvalidTransition"), ("none", "UnknownTrigger")):
        assert refused(400, official.tasks.create_task, wanted(here), trigger=name)["name"] == code


def test_requests_that_do_not_fit(official: Official, here: str) -> None:
    cases: list[tuple[list[Any], str]] = [
        ([], "RequiredFieldMissing"),
        ([field("text", None)], "RequiredFieldMissing"),
        ([field("text", 1)], "FieldTypeMismatch"),
        ([field("text", "x"), field("number", "y")], "FieldTypeMismatch"),
        ([field("text", "x"), field("other", "y")], "FieldNotInSchema"),
        ([field("text", "x"), field("text", "y")], "ValidationError"),
    ]
    for fields, name in cases:
        assert refused(400, official.tasks.create_task, wanted(here, fields=fields))["name"] == name
    assert refused(404, official.tasks.create_task, wanted(here, "none"))["name"] == "TaskDefinitionNotFound"
    refused(400, official.tasks.create_task, models.CreateTaskRequest())
    missing = "00000000-0000-4000-8000-000000000000"
    api = official.tasks
    for call in (api.get_task, api.update_task, api.delete_task, api.get_task_history):
        assert refused(404, call, missing)["name"] == "TaskNotFound"


def test_the_shortest_path_of_the_contract(official: Official, here: str) -> None:
    task = official.tasks.create_task(wanted(here, fields=[field("text", "x"), field("number", 0)]), trigger="go")
    problem = refused(400, official.tasks.update_task, task.id, trigger="finish")
    assert (problem["name"], problem["detail"], problem["status"]) == ("GuardConditionNotMet", "Nothing was counted", 400)
    request = models.UpdateTaskRequest(fields=[field("number", 12)])
    done = official.tasks.update_task(task.id, trigger="finish", update_task_request=request)
    assert (done.state, done.terminal_state, done.version.as_at_version_number) == ("Done", True, 2)
    assert values(done) == {"text": "x", "number": 12}
    changes = official.tasks.get_task_history(task.id).values
    assert [(each.as_at_version_number, each.action) for each in changes] == [(2, "Update")] * 2
    assert [(each.attribute_name, each.previous_value, each.new_value) for each in changes] == [
        ("State", "Doing", "Done"),
        ("Fields[number]", 0, 12),
    ]
    assert {each.as_at_modified for each in changes} == {done.version.as_at_modified}
    assert {each.request_id_modified for each in changes} == {done.version.request_id_modified}
    for name in ("finish", "go"):
        assert refused(400, official.tasks.update_task, task.id, trigger=name)["name"] == "InvalidTransition"


def test_updates(official: Official, here: str) -> None:
    task = official.tasks.create_task(wanted(here, fields=[field("text", "x"), field("fixed", "f")], correlation_ids=["a"]))
    triggered = official.tasks.update_task(task.id, trigger="go")  # without any body
    assert (triggered.state, triggered.correlation_ids) == ("Doing", ["a"])
    same = official.tasks.update_task(task.id)
    assert same.version.as_at_version_number == 2
    request = models.UpdateTaskRequest(fields=[field("number", 5), field("text", None)], stacking_key="k")
    assert refused(400, official.tasks.update_task, task.id, update_task_request=request)["name"] == "RequiredFieldMissing"
    request = models.UpdateTaskRequest(fields=[field("number", 5), field("flag", True)], stacking_key="k")
    after = official.tasks.update_task(task.id, update_task_request=request)
    assert values(after) == {"text": "x", "number": 5, "flag": True, "fixed": "f"}
    assert (after.stacking_key, after.correlation_ids, after.version.as_at_version_number) == ("k", ["a"], 3)
    cleared = official.tasks.update_task(task.id, update_task_request=models.UpdateTaskRequest(fields=[field("flag", None)]))
    assert "flag" not in values(cleared)
    locked = models.UpdateTaskRequest(fields=[field("fixed", "g")])
    problem = refused(400, official.tasks.update_task, task.id, update_task_request=locked)
    assert (problem["name"], list(problem["errors"])) == ("FieldReadOnly", ["fields[fixed]"])
    history = official.tasks.get_task_history(task.id).values
    assert [each.attribute_name for each in history] == ["State", "Fields[number]", "Fields[flag]", "StackingKey", "Fields[flag]"]
    assert history[-1].new_value is None
    recent = official.tasks.get_task_history(task.id, as_at=after.version.as_at_modified).values
    assert [each.as_at_version_number for each in recent] == [3, 3, 3, 4]


def test_as_it_was(official: Official, here: str) -> None:
    one = official.tasks.create_task(wanted(here))
    two = official.tasks.update_task(one.id, trigger="go")
    for each in (one, two):
        then = official.tasks.get_task(one.id, as_at=each.version.as_at_modified)
        assert (then.state, then.version) == (each.state, each.version)
        [listed] = official.tasks.list_tasks(as_at=each.version.as_at_modified, filter=f"id eq '{one.id}'").values
        assert listed == then
    assert official.tasks.get_task(one.id, as_at=LAST).state == "Doing"
    earlier = one.version.as_at_created - timedelta(microseconds=1)
    assert refused(404, official.tasks.get_task, one.id, as_at=earlier)["name"] == "TaskNotFound"
    gone = official.tasks.delete_task(one.id)
    assert isinstance(gone, models.DeletedEntityResponse)
    assert gone.as_at > two.version.as_at_modified
    refused(404, official.tasks.get_task, one.id)
    refused(404, official.tasks.delete_task, one.id)
    assert official.tasks.get_task(one.id, as_at=two.version.as_at_modified).state == "Doing"
    assert official.tasks.list_tasks(filter=f"id eq '{one.id}'").values == []


def test_lists(official: Official, here: str) -> None:
    made = []
    for n in range(12):
        fields = [field("text", f"t{n}"), field("number", n)]
        made.append(official.tasks.create_task(wanted(here, fields=fields, correlation_ids=[f"c{n % 2}"])))
    ours = f"taskDefinitionId.scope eq '{here}'"
    first = official.tasks.list_tasks(filter=ours)
    assert isinstance(first, models.PagedResourceListOfTask)
    assert [each.id for each in first.values] == [each.id for each in made[:10]]
    assert first.previous_page is None
    official.tasks.update_task(made[11].id, trigger="go")
    second = official.tasks.list_tasks(filter=ours, page=first.next_page)
    assert [(each.id, each.state) for each in second.values] == [(made[10].id, "New"), (made[11].id, "New")]
    assert second.next_page is None
    assert [each.id for each in official.tasks.list_tasks(filter=ours, page=second.previous_page).values] == [
        each.id for each in first.values
    ]
    problem = refused(400, official.tasks.list_tasks, filter=ours, page=first.next_page, sort_by=["state"])
    assert problem["name"] == "InvalidPageToken"
    found = official.tasks.list_tasks(filter=f"{ours} and fields['number'] gte 9", sort_by=["fields['number'] DESC"], limit=2)
    assert [values(each)["number"] for each in found.values] == [11, 10]
    odd = f"{ours} and correlationIds any (~ eq 'c1')"
    found = official.tasks.list_tasks(filter=odd, sort_by=["state", "fields[text] ASC"], limit=50)
    assert [values(each)["text"] for each in found.values] == ["t11", "t1", "t3", "t5", "t7", "t9"]
    assert official.tasks.list_tasks(filter=f"{ours} and state eq 'None'").values == []
    assert refused(400, official.tasks.list_tasks, filter="state equals 'x'")["name"] == "InvalidFilter"
    assert refused(400, official.tasks.list_tasks, sort_by=["nothing"])["name"] == "InvalidSort"
    of_it = official.definitions.list_tasks_for_task_definition(here, "job")
    assert isinstance(of_it, models.ResourceListOfTask)
    assert len(of_it.values) == 12
    assert len(official.definitions.list_tasks_for_task_definition(here, "job", as_at=made[2].version.as_at_created).values) == 3
    refused(404, official.definitions.list_tasks_for_task_definition, here, "none")


def test_many_at_once(official: Official, here: str) -> None:
    one, two = (official.tasks.create_task(wanted(here)) for _ in range(2))
    missing = "00000000-0000-4000-8000-000000000000"
    update = models.UpdateTaskWithIdAndTriggerRequest
    request = models.BatchUpdateTasksRequest(
        update_tasks=[
            update(task_instance_id=one.id, trigger_name="go", fields=[field("number", 3)], correlation_ids=["z"]),
            update(task_instance_id=two.id, trigger_name="finish"),
            update(task_instance_id=missing, trigger_name="go"),
            update(task_instance_id=two.id, fields=[field("text", "y")]),
        ]
    )
    answer = official.tasks.batch_update_tasks(request)
    assert isinstance(answer, models.BatchUpdateTasksResponse)
    assert [(each.id, each.state) for each in answer.values] == [(one.id, "Doing"), (two.id, "New")]
    assert values(answer.values[1]) == {"text": "y"}
    assert [(each.id, each.type) for each in answer.failed] == [(two.id, "InvalidTransition"), (missing, "TaskNotFound")]
    gone = official.tasks.delete_tasks(models.DeleteTasksRequest(task_ids=[one.id, two.id]))
    assert isinstance(gone, models.DeletedEntityResponse)
    assert official.tasks.list_tasks(filter=f"taskDefinitionId.scope eq '{here}'").values == []
    refused(404, official.tasks.delete_tasks, models.DeleteTasksRequest(task_ids=[one.id]))


def test_definitions_that_change_under_their_tasks(official: Official, here: str) -> None:
    task = official.tasks.create_task(wanted(here))
    given = plain(here, states=[state("Other")], initial_state=models.InitialState(name="Other"), triggers=[], transitions=[])
    update = models.UpdateTaskDefinitionRequest(**{name: getattr(given, name) for name in given.__fields__ if name != "id"})
    changed = official.definitions.update_task_definition(here, "job", update)
    assert official.tasks.create_task(wanted(here)).state == "Other"
    assert official.tasks.update_task(task.id, trigger="go").state == "Doing"
    assert official.tasks.get_task(task.id).task_definition_version.as_at_modified < changed.version.as_at_modified
    official.definitions.delete_task_definition(here, "job")
    request = models.UpdateTaskRequest(fields=[field("number", 1)])
    assert official.tasks.update_task(task.id, trigger="finish", update_task_request=request).terminal_state is True
    refused(404, official.tasks.create_task, wanted(here))


def test_properties(official: Official, here: str) -> None:
    key = "TaskDefinition/s/desk"
    label = models.PerpetualProperty(key=key, value=models.PropertyValue(label_value="rates"))
    official.definitions.create_task_definition(plain(here, "labelled", properties={key: label}))
    task = official.tasks.create_task(wanted(here, "labelled"))
    assert task.properties is None
    assert official.tasks.get_task(task.id, property_keys=[key]).properties[key].value.label_value == "rates"
    [listed] = official.tasks.list_tasks(filter=f"id eq '{task.id}'", property_keys=[key]).values
    assert listed.properties[key].value.label_value == "rates"


def test_stacks(official: Official, here: str) -> None:
    lead, member = (official.tasks.create_task(wanted(here, stacking_key="k")) for _ in range(2))
    assert (member.stack.stack_membership_type, member.stack.stack_status, member.stack.tasks_in_stack) == ("Member", "Open", 2)
    assert member.stack.lead_task_id == lead.id
    assert official.tasks.get_task(lead.id).stack.stack_membership_type == "Lead"
