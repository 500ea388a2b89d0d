"""TaskDefinitionsApi of the official client."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from lusid_workflow import models
from lusid_workflow.exceptions import NotFoundException
from tests.languages.lusid.official import Official, body, definition, refused, scope, state


def test_what_is_created_comes_back_in_typed_models(official: Official) -> None:
    made = official.definitions.create_task_definition(definition(here := scope()))
    assert isinstance(made, models.TaskDefinition)
    got = official.definitions.get_task_definition(here, "import")
    assert got.to_dict() == made.to_dict()
    assert (got.id.scope, got.id.code) == (here, "import")
    assert (got.display_name, got.description) == ("Import", "Imports a file")
    assert [(each.name, each.display_name, each.category) for each in got.states] == [
        ("Pending", None, "open"),
        ("Running", None, None),
        ("Done", "All done", None),
    ]
    assert got.initial_state.required_fields == ["folder"]
    folder, desk, rows = got.field_schema
    assert (folder.type, folder.contains_url, desk.type, rows.type) == ("String", False, "String", "Decimal")
    assert desk.read_only_states.selected_states == ["Running"]
    assert desk.value_constraints.acceptable_values == ["rates", "credit"]
    assert [each.name for each in got.triggers] == ["start", "finish"]
    assert got.triggers[0].trigger.type == "External"
    first, second = got.transitions
    assert (first.from_state, first.to_state, first.trigger, first.action, first.guard) == (
        "Pending", "Running", "start", "children", None,
    )  # fmt: skip
    assert (second.guard_description, second.guard_condition_not_met_message) == ("every child is done", "not yet")
    children, parent = got.actions
    assert children.run_as_user_id == "robot"
    details = children.action_details.actual_instance
    assert isinstance(details, models.CreateChildTasksActionResponse)
    assert details.child_task_configurations[0].child_task_fields["folder"].map_from == "folder"
    assert isinstance(parent.action_details.actual_instance, models.TriggerParentTaskActionResponse)


def test_the_version_block(official: Official) -> None:
    before = datetime.now(UTC)
    made = official.definitions.create_task_definition(definition(here := scope()))
    version = made.version
    assert version.as_at_version_number == 1
    assert version.as_at_created == version.as_at_modified
    assert abs((version.as_at_created - before).total_seconds()) < 60
    assert version.user_id_created == version.user_id_modified == "anonymous"
    assert len(version.request_id_created) == 22
    updated = official.definitions.update_task_definition(here, "import", models.UpdateTaskDefinitionRequest(**body()))
    assert updated.version.as_at_version_number == 2
    assert updated.version.as_at_created == version.as_at_created
    assert updated.version.request_id_created == version.request_id_created
    assert updated.version.as_at_modified > version.as_at_modified
    assert updated.version.request_id_modified != version.request_id_modified


def test_an_update_replaces_everything_and_the_past_stays(official: Official) -> None:
    first = official.definitions.create_task_definition(definition(here := scope()))
    short = models.UpdateTaskDefinitionRequest(
        display_name="Short", states=[state("Only")], initial_state=models.InitialState(name="Only")
    )
    second = official.definitions.update_task_definition(here, "import", short)
    assert (second.description, second.field_schema, second.triggers, second.transitions, second.actions) == (None,) * 5
    third = official.definitions.update_task_definition(here, "import", short)
    for version in (first, second, third):
        then = official.definitions.get_task_definition(here, "import", as_at=version.version.as_at_modified)
        assert then.to_dict() == version.to_dict()
    latest = official.definitions.get_task_definition(
        here, "import", as_at=datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    )
    assert latest.to_dict() == third.to_dict()
    refused(404, official.definitions.get_task_definition, here, "import", as_at=datetime(2020, 1, 1, tzinfo=UTC))


def test_deleted_is_gone_but_not_from_the_past_and_can_begin_again(official: Official) -> None:
    here = scope()
    first = official.definitions.create_task_definition(definition(here))
    gone = official.definitions.delete_task_definition(here, "import")
    assert isinstance(gone, models.DeletedEntityResponse)
    assert gone.as_at > first.version.as_at_modified
    assert gone.effective_from.year == 1
    found = refused(404, official.definitions.get_task_definition, here, "import")
    assert found["name"] == "TaskDefinitionNotFound"
    refused(404, official.definitions.get_task_definition, here, "import", as_at=gone.as_at)
    assert official.definitions.get_task_definition(here, "import", as_at=first.version.as_at_modified) == first
    refused(404, official.definitions.delete_task_definition, here, "import")
    refused(404, official.definitions.update_task_definition, here, "import", models.UpdateTaskDefinitionRequest(**body()))
    again = official.definitions.create_task_definition(definition(here))
    assert again.version.as_at_version_number == 1
    assert again.version.as_at_created > gone.as_at


def test_duplicates_and_unknown_ones(official: Official) -> None:
    official.definitions.create_task_definition(definition(here := scope()))
    assert refused(409, official.definitions.create_task_definition, definition(here))["name"] == "TaskDefinitionAlreadyExists"
    with pytest.raises(NotFoundException):
        official.definitions.get_task_definition(here, "other")


def test_what_the_client_cannot_know_is_refused_with_the_field(official: Official) -> None:
    wrong = body()
    wrong["transitions"][1].guard = "rows gt"
    wrong["transitions"][0].to_state = "Nowhere"
    found = refused(400, official.definitions.create_task_definition, definition(scope(), **wrong))
    assert set(found["errors"]) == {"transitions[0].toState", "transitions[1].guard"}
    assert found["name"] == "ValidationError"


def pages(list_: Any, **more: Any) -> list[Any]:
    found, page = [], None
    while True:
        answer = list_(page=page, **more)
        found.append([each.id.code for each in answer.values])
        page = answer.next_page
        if page is None:
            return found


def test_lists_are_filtered_sorted_and_paged(official: Official) -> None:
    here = scope()
    for code in ("c", "a", "e", "b", "d"):
        official.definitions.create_task_definition(definition(here, code, display_name=f"Name {code.upper()}"))
    mine = f"id.scope eq '{here}'"
    assert pages(official.definitions.list_task_definitions, filter=mine) == [["c", "a", "e", "b", "d"]]
    assert pages(official.definitions.list_task_definitions, filter=mine, sort_by=["id.code ASC"], limit=2) == [
        ["a", "b"], ["c", "d"], ["e"],
    ]  # fmt: skip
    assert pages(official.definitions.list_task_definitions, filter=mine, sort_by=["displayName DESC"], limit=4) == [
        ["e", "d", "c", "b"], ["a"],
    ]  # fmt: skip
    some = f"{mine} and (id.code in 'a', 'e' or displayName eq 'name c')"
    assert pages(official.definitions.list_task_definitions, filter=some, sort_by=["id.code"]) == [["a", "c", "e"]]
    empty = official.definitions.list_task_definitions(filter=f"{mine} and id.code eq 'z'")
    assert isinstance(empty, models.PagedResourceListOfTaskDefinition)
    assert empty.values == []


def test_a_listing_goes_on_as_it_began(official: Official) -> None:
    here = scope()
    for number in range(5):
        official.definitions.create_task_definition(definition(here, f"d{number}"))
    mine = f"id.scope eq '{here}'"
    first = official.definitions.list_task_definitions(filter=mine, limit=2)
    official.definitions.delete_task_definition(here, "d0")
    official.definitions.create_task_definition(definition(here, "d9"))
    second = official.definitions.list_task_definitions(filter=mine, limit=2, page=first.next_page)
    assert [each.id.code for each in second.values] == ["d2", "d3"]
    back = official.definitions.list_task_definitions(filter=mine, limit=2, page=second.previous_page)
    assert [each.id.code for each in back.values] == ["d0", "d1"]
    assert refused(400, official.definitions.list_task_definitions, page=first.next_page)["name"] == "InvalidPageToken"
    then = official.definitions.list_task_definitions(filter=mine, as_at=first.values[-1].version.as_at_modified)
    assert [each.id.code for each in then.values] == ["d0", "d1"]


def test_properties_are_shown_when_written_and_when_asked_for(official: Official) -> None:
    here = scope()
    key, other = "TaskDefinition/acme/owner", "TaskDefinition/acme/tags"
    label = models.PerpetualProperty(key=key, value=models.PropertyValue(label_value="ops"))
    made = official.definitions.create_task_definition(definition(here, properties={key: label}))
    assert made.properties[key].value.label_value == "ops"
    assert official.definitions.get_task_definition(here, "import").properties is None
    got = official.definitions.get_task_definition(here, "import", property_keys=[key, other])
    assert list(got.properties) == [key]
    tags = models.PerpetualProperty(
        key=other, value=models.PropertyValue(label_value_set=models.LabelValueSet(values=["a", "b"]))
    )
    wrong = models.PerpetualProperty(key="Workflow/x/y", value=models.PropertyValue(label_value="v"))
    done = official.definitions.upsert_task_definition_properties(
        here, "import", {other: tags, "Workflow/x/y": wrong, key: models.PerpetualProperty(key=key)}
    )
    assert isinstance(done, models.BatchUpsertTaskDefinitionPropertiesResponse)
    assert set(done.values) == {other, key}
    assert set(done.failed) == {"Workflow/x/y"}
    got = official.definitions.get_task_definition(here, "import", property_keys=[key, other])
    assert got.version.as_at_version_number == 2
    assert got.properties[other].value.label_value_set.values == ["a", "b"]
    assert key not in got.properties
    refused(
        400, official.definitions.upsert_task_definition_properties, here, "import", {"Workflow/x/y": wrong, key: label},
        success_mode="Atomic",
    )  # fmt: skip
    [listed] = official.definitions.list_task_definitions(filter=f"id.scope eq '{here}'", property_keys=[other]).values
    assert list(listed.properties) == [other]
