"""EventHandlersApi of the official client, and the request that the original's own documentation shows."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from lusid_workflow import models
from tests.languages.lusid.official import Official, definition, refused, scope

# As an application would send it with curl, after a guide to handlers for new quote files.
QUOTES: dict[str, Any] = {
    "id": {"scope": "Finbourne-Examples", "code": "New-Quotes-File"},
    "displayName": "NewQuotesFileInDrive",
    "description": "Creates a quote import and data quality check task when a new file arrives in the quotes folder in Drive.",
    "status": "Active",
    "eventMatchingPattern": {"eventType": "FileCreated", "filter": "body.filePath startswith '/acme/quotes'"},
    "runAsUserId": {"setTo": "00uji4ve5haBc1Hlf2p7"},
    "taskDefinitionId": {"scope": "Finbourne-Examples", "code": "Import-Quotes-From-File"},
    "taskActivity": {
        "initialTrigger": "start",
        "type": "CreateNewTask",
        "taskFields": {"folder": {"mapFrom": "body.filePath"}, "quoteScope": {"setTo": "Finbourne-Examples"}},
    },
}
IMPORT: dict[str, Any] = {
    "id": {"scope": "Finbourne-Examples", "code": "Import-Quotes-From-File"},
    "displayName": "Import quotes from file",
    "states": [{"name": "Pending"}, {"name": "InProgress"}],
    "fieldSchema": [{"name": "folder", "type": "String"}, {"name": "quoteScope", "type": "String"}],
    "initialState": {"name": "Pending", "requiredFields": ["folder", "quoteScope"]},
    "triggers": [{"name": "start", "trigger": {"type": "External"}}],
    "transitions": [{"fromState": "Pending", "toState": "InProgress", "trigger": "start"}],
}


def create_new(**more: Any) -> Any:
    given = {
        "type": "CreateNewTask",
        "initial_trigger": "start",
        "correlation_ids": [models.EventHandlerMapping(map_from="body.fileId"), models.EventHandlerMapping(set_to="fixed")],
        "task_fields": {
            "folder": models.FieldMapping(map_from="body.filePath"),
            "desk": models.FieldMapping(set_to="rates"),
            "rows": models.FieldMapping(set_to=12.5),
        },
    }
    return models.TaskActivity(models.CreateNewTaskActivity(**{**given, **more}))


def handler(scope: str, code: str = "on-file", **more: Any) -> Any:
    given: dict[str, Any] = {
        "id": models.ResourceId(scope=scope, code=code),
        "display_name": "On file",
        "description": "Begins an import",
        "status": "Active",
        "event_matching_pattern": models.EventMatchingPattern(event_type="FileCreated", filter="body.filePath startswith '/a'"),
        "run_as_user_id": models.EventHandlerMapping(map_from="header.userId"),
        "task_definition_id": models.ResourceId(scope=scope, code="import"),
        "task_activity": create_new(),
    }
    return models.CreateEventHandlerRequest(**{**given, **more})


def updated(request: Any, **more: Any) -> Any:
    given = {name: getattr(request, name) for name in request.__fields__ if name != "id"}
    return models.UpdateEventHandlerRequest(**{**given, **more})


@pytest.fixture
def here(official: Official) -> str:
    """A scope with the definition that handlers are for."""
    found = scope()
    official.definitions.create_task_definition(definition(found))
    return found


def test_the_documented_request(official: Official) -> None:
    assert official.plain.post("/workflow/api/taskdefinitions", json=IMPORT).status_code == 201
    answer = official.plain.post("/workflow/api/eventhandlers", json=QUOTES)
    assert answer.status_code == 201
    found = answer.json()
    version = found.pop("version")
    assert found == QUOTES
    assert list(version) == [
        "asAtCreated", "userIdCreated", "requestIdCreated", "asAtModified", "userIdModified", "requestIdModified",
        "asAtVersionNumber",
    ]  # fmt: skip
    assert version["asAtVersionNumber"] == 1
    assert version["asAtCreated"] == version["asAtModified"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}0\+00:00", version["asAtCreated"])
    assert re.fullmatch(r"[0-9A-V]{13}:[0-9A-F]{8}", version["requestIdCreated"])
    got = official.handlers.get_event_handler("Finbourne-Examples", "New-Quotes-File")
    assert got.run_as_user_id.set_to == "00uji4ve5haBc1Hlf2p7"


def test_what_is_created_comes_back_in_typed_models(official: Official, here: str) -> None:
    made = official.handlers.create_event_handler(handler(here))
    assert isinstance(made, models.EventHandler)
    got = official.handlers.get_event_handler(here, "on-file")
    assert got.to_dict() == made.to_dict()
    assert (got.status, got.display_name, got.description) == ("Active", "On file", "Begins an import")
    assert got.event_matching_pattern.event_type == "FileCreated"
    assert got.schedule_matching_pattern is None
    assert got.task_definition_as_at is None
    assert (got.run_as_user_id.map_from, got.run_as_user_id.set_to) == ("header.userId", None)
    activity = got.task_activity.actual_instance
    assert isinstance(activity, models.CreateNewTaskActivityResponse)
    assert activity.initial_trigger == "start"
    assert [(each.map_from, each.set_to) for each in activity.correlation_ids] == [("body.fileId", None), (None, "fixed")]
    assert activity.task_fields["rows"].set_to == 12.5
    assert got.version.as_at_version_number == 1


def test_updating_matching_tasks(official: Official, here: str) -> None:
    activity = models.UpdateMatchingTasksActivity(
        type="UpdateMatchingTasks",
        trigger="finish",
        filter="fields['folder'] eq body.filePath and state neq 'Done'",
        task_fields={"rows": models.FieldMapping(map_from="body.size")},
    )
    made = official.handlers.create_event_handler(handler(here, task_activity=models.TaskActivity(activity)))
    got = made.task_activity.actual_instance
    assert isinstance(got, models.UpdateMatchingTasksActivityResponse)
    assert (got.trigger, got.filter) == ("finish", "fields['folder'] eq body.filePath and state neq 'Done'")


def test_a_schedule(official: Official, here: str) -> None:
    pattern = models.ScheduleMatchingPattern(
        context=models.ScheduleMatchingPatternContext(time_zone="Europe/London"),
        recurrence_pattern=models.RecurrencePattern(
            time_constraints=models.TimeConstraints(
                start_date="2026-01-05",
                times_of_day=[models.TimeOfDay(models.SpecifiedTime(type="Specified", hours=9, minutes=30))],
            ),
            date_regularity=models.DateRegularity(models.WeekRegularity(type="Week", frequency=1, days_of_week=["Monday"])),
            business_day_adjustment="Following",
        ),
    )
    request = handler(
        here,
        event_matching_pattern=None,
        schedule_matching_pattern=pattern,
        run_as_user_id=models.EventHandlerMapping(set_to="robot"),
        task_activity=create_new(correlation_ids=None, task_fields={"folder": models.FieldMapping(set_to="/daily")}),
    )
    made = official.handlers.create_event_handler(request)
    assert made.event_matching_pattern is None
    assert made.schedule_matching_pattern.context.time_zone == "Europe/London"
    got = official.plain.get(f"/workflow/api/eventhandlers/{here}/on-file").json()
    assert "eventMatchingPattern" not in got
    assert got["scheduleMatchingPattern"]["recurrencePattern"]["dateRegularity"]["type"] == "Week"


def test_replaced_switched_off_read_as_it_was_and_removed(official: Official, here: str) -> None:
    request = handler(here)
    first = official.handlers.create_event_handler(request)
    off = official.handlers.update_event_handler(here, "on-file", updated(request, status="Inactive", description=None))
    assert (off.status, off.description, off.version.as_at_version_number) == ("Inactive", None, 2)
    assert official.handlers.get_event_handler(here, "on-file", as_at=first.version.as_at_modified) == first
    [listed] = official.handlers.list_event_handlers(filter=f"id.scope eq '{here}' and status eq 'Inactive'").values
    assert listed == off
    assert official.handlers.list_event_handlers(filter=f"id.scope eq '{here}' and status eq 'Active'").values == []
    then = official.handlers.list_event_handlers(filter=f"id.scope eq '{here}'", as_at=first.version.as_at_modified)
    assert then.values == [first]
    gone = official.handlers.delete_event_handler(here, "on-file")
    assert isinstance(gone, models.DeletedEntityResponse)
    assert refused(404, official.handlers.get_event_handler, here, "on-file")["name"] == "EventHandlerNotFound"
    refused(404, official.handlers.update_event_handler, here, "on-file", updated(request))
    refused(404, official.handlers.delete_event_handler, here, "on-file")
    assert official.handlers.create_event_handler(request).version.as_at_version_number == 1
    assert refused(409, official.handlers.create_event_handler, request)["name"] == "EventHandlerAlreadyExists"


def test_the_moment_of_the_definition_is_echoed(official: Official, here: str) -> None:
    made = official.definitions.get_task_definition(here, "import")
    for code, at in (("last", datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)), ("then", made.version.as_at_modified)):
        assert official.handlers.create_event_handler(handler(here, code, task_definition_as_at=at)).task_definition_as_at == at
    early = handler(here, "early", task_definition_as_at=datetime(2020, 1, 1, tzinfo=UTC))
    assert "taskDefinitionId" in refused(400, official.handlers.create_event_handler, early)["errors"]


def test_what_the_client_cannot_know_is_refused_with_the_field(official: Official, here: str) -> None:
    wrong = [
        ({"status": "Paused"}, "status"),
        ({"task_definition_id": models.ResourceId(scope=here, code="none")}, "taskDefinitionId"),
        ({"event_matching_pattern": models.EventMatchingPattern(event_type="TaskCreated")}, "eventMatchingPattern.eventType"),
        ({"task_activity": create_new(task_fields={"x": models.FieldMapping(set_to=1)})}, "taskActivity.taskFields[x]"),
        ({"task_activity": create_new(initial_trigger="go")}, "taskActivity.initialTrigger"),
        ({"run_as_user_id": models.EventHandlerMapping(map_from="body.user")}, "runAsUserId.mapFrom"),
    ]
    for more, field in wrong:
        assert list(refused(400, official.handlers.create_event_handler, handler(here, **more))["errors"]) == [field]
    refused(404, official.handlers.get_event_handler, here, "on-file")
