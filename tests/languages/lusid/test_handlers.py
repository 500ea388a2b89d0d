"""Event handlers over plain HTTP, and what the engine makes of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.languages.lusid.api import DEFINITIONS, HANDLERS, INTAKE, ON_FILE, TYPES, Api, changed, named, serving, update_of

from pelton.runtime.api import EventIn
from pelton.runtime.caller import SERVER, Users

ONE = f"{HANDLERS}/acme/on-file"
MATCHING: dict[str, Any] = changed(
    ON_FILE,
    "taskActivity",
    {"type": "UpdateMatchingTasks", "trigger": "finish", "filter": "fields['path'] eq body.filePath", "taskFields": {}},
)
SCHEDULE: dict[str, Any] = {
    "context": {"timeZone": "Europe/London"},
    "recurrencePattern": {
        "timeConstraints": {"startDate": "2026-01-05", "timesOfDay": [{"type": "Specified", "hours": 9, "minutes": 0}]},
        "dateRegularity": {"type": "Day", "frequency": 1},
        "businessDayAdjustment": "None",
    },
}


def scheduled(**more: Any) -> dict[str, Any]:
    made = {**ON_FILE, "runAsUserId": {"setTo": "robot"}, "scheduleMatchingPattern": SCHEDULE, **more}
    made.pop("eventMatchingPattern")
    made["taskActivity"] = {"type": "CreateNewTask", "taskFields": {"path": {"setTo": "/x"}}}
    return made


async def test_the_answer_is_the_request_without_nulls_and_a_version(api: Api) -> None:
    await api.made(DEFINITIONS, INTAKE)
    sent = {**ON_FILE, "scheduleMatchingPattern": None, "taskDefinitionAsAt": None, "description": None}
    made = await api.made(HANDLERS, sent)
    assert made.pop("version")["asAtVersionNumber"] == 1
    assert made == changed(ON_FILE, "runAsUserId", {"mapFrom": "header.userId"})
    assert next(iter(made)) == "id"
    assert "scheduleMatchingPattern" not in (await api.ok("GET", HANDLERS))["values"][0]


async def test_a_scheduled_handler_has_no_event_pattern(api: Api) -> None:
    await api.made(DEFINITIONS, INTAKE)
    made = await api.made(HANDLERS, scheduled(eventMatchingPattern=None))
    assert "eventMatchingPattern" not in made
    assert made["scheduleMatchingPattern"] == SCHEDULE


TASK_FIELDS = "taskActivity.taskFields"
WRONG: list[tuple[dict[str, Any], str]] = [
    (changed(ON_FILE, "status", "active"), "status"),
    (changed(ON_FILE, "status", ...), "status"),
    (changed(ON_FILE, "eventMatchingPattern", ...), "eventMatchingPattern"),
    ({**ON_FILE, "runAsUserId": {"setTo": "robot"}, "scheduleMatchingPattern": SCHEDULE}, "eventMatchingPattern"),
    (changed(ON_FILE, "eventMatchingPattern.eventType", "File Created"), "eventMatchingPattern.eventType"),
    (changed(ON_FILE, "eventMatchingPattern.eventType", "x" * 513), "eventMatchingPattern.eventType"),
    (changed(ON_FILE, "eventMatchingPattern.eventType", "TaskUpdated"), "eventMatchingPattern.eventType"),
    (changed(ON_FILE, "eventMatchingPattern.eventType", "taskdefinitioncreated"), "eventMatchingPattern.eventType"),
    (changed(ON_FILE, "eventMatchingPattern.filter", "body.x eq"), "eventMatchingPattern.filter"),
    (changed(ON_FILE, "eventMatchingPattern.filter", "header.userId eq CurrentUser"), "eventMatchingPattern.filter"),
    (changed(ON_FILE, "eventMatchingPattern.filter", "filePath eq 'x'"), "eventMatchingPattern.filter"),
    (changed(ON_FILE, "runAsUserId", ...), "runAsUserId"),
    (changed(ON_FILE, "runAsUserId", {}), "runAsUserId"),
    (changed(ON_FILE, "runAsUserId", {"mapFrom": "header.userId", "setTo": "x"}), "runAsUserId"),
    (changed(ON_FILE, "runAsUserId", {"mapFrom": "header.requestId"}), "runAsUserId.mapFrom"),
    (changed(ON_FILE, "runAsUserId", {"setTo": 5}), "runAsUserId.setTo"),
    (changed(ON_FILE, "taskDefinitionId.code", "none"), "taskDefinitionId"),
    ({**ON_FILE, "taskDefinitionAsAt": "2020-01-01"}, "taskDefinitionId"),
    ({**ON_FILE, "taskDefinitionAsAt": "soon"}, "taskDefinitionAsAt"),
    (changed(ON_FILE, "taskActivity", ...), "taskActivity"),
    (changed(ON_FILE, "taskActivity.type", "Explode"), "taskActivity.type"),
    (changed(ON_FILE, "taskActivity.type", ...), "taskActivity.type"),
    (changed(ON_FILE, "taskActivity.initialTrigger", "go"), "taskActivity.initialTrigger"),
    (changed(ON_FILE, "taskActivity.correlationIds", [{}]), "taskActivity.correlationIds[0]"),
    (changed(ON_FILE, "taskActivity.correlationIds", [{"mapFrom": "fileId"}]), "taskActivity.correlationIds[0].mapFrom"),
    (changed(ON_FILE, "taskActivity.correlationIds", [{"setTo": 7}]), "taskActivity.correlationIds[0].setTo"),
    (changed(ON_FILE, f"{TASK_FIELDS}.none", {"setTo": 1}), "taskActivity.taskFields[none]"),
    (changed(ON_FILE, f"{TASK_FIELDS}.rows", {}), "taskActivity.taskFields[rows]"),
    (changed(ON_FILE, f"{TASK_FIELDS}.rows", {"setTo": "many"}), "taskActivity.taskFields[rows].setTo"),
    (changed(ON_FILE, f"{TASK_FIELDS}.due", {"setTo": "tomorrow"}), "taskActivity.taskFields[due].setTo"),
    (changed(ON_FILE, f"{TASK_FIELDS}.urgent", {"setTo": 1}), "taskActivity.taskFields[urgent].setTo"),
    (changed(ON_FILE, f"{TASK_FIELDS}.desk", {"setTo": "equity"}), "taskActivity.taskFields[desk].setTo"),
    (changed(ON_FILE, f"{TASK_FIELDS}.path", {"mapFrom": "body"}), "taskActivity.taskFields[path].mapFrom"),
    (changed(ON_FILE, f"{TASK_FIELDS}.path", {"mapFrom": "event.x"}), "taskActivity.taskFields[path].mapFrom"),
    (changed(ON_FILE, f"{TASK_FIELDS}.path", {"mapFrom": "header.colour"}), "taskActivity.taskFields[path].mapFrom"),
    (changed(ON_FILE, f"{TASK_FIELDS}.path", {"mapFrom": "body.x[y"}), "taskActivity.taskFields[path].mapFrom"),
    (changed(ON_FILE, "taskActivity.scheduleDependentTaskFields", {"due": {}}), "taskActivity.scheduleDependentTaskFields"),
    (changed(MATCHING, "taskActivity.trigger", ...), "taskActivity.trigger"),
    (changed(MATCHING, "taskActivity.trigger", "go"), "taskActivity.trigger"),
    (changed(MATCHING, "taskActivity.filter", "colour eq 'red'"), "taskActivity.filter"),
    (changed(MATCHING, "taskActivity.filter", "state eq other.x"), "taskActivity.filter"),
    (scheduled(runAsUserId={"mapFrom": "header.userId"}), "runAsUserId.mapFrom"),
    (changed(scheduled(), "scheduleMatchingPattern.context.timeZone", "Mars/Base"), "scheduleMatchingPattern.context.timeZone"),
    (changed(scheduled(), "scheduleMatchingPattern.recurrencePattern", ...), "scheduleMatchingPattern.recurrencePattern"),
    (changed(scheduled(), "scheduleMatchingPattern", "daily"), "scheduleMatchingPattern"),
]


async def test_what_is_wrong_is_refused_with_its_field(api: Api) -> None:
    await api.made(DEFINITIONS, INTAKE)
    for sent, field in WRONG:
        found = await api.refused(400, "POST", HANDLERS, sent)
        assert field in found["errors"], (field, found)
        assert len(found["errors"]) <= 2, found
    assert (await api.ok("GET", HANDLERS))["values"] == []
    await api.made(HANDLERS, ON_FILE)
    for sent, _ in WRONG:
        await api.refused(400, "PUT", ONE, update_of(sent))
    assert (await api.ok("GET", ONE))["version"]["asAtVersionNumber"] == 1


async def test_own_events_are_refused_by_name(api: Api) -> None:
    await api.made(DEFINITIONS, INTAKE)
    found = await api.refused(400, "POST", HANDLERS, changed(ON_FILE, "eventMatchingPattern.eventType", "TaskCreated"))
    assert found["name"] == "UnsupportedEventType"


async def test_constants_of_every_type_are_taken(api: Api) -> None:
    await api.made(DEFINITIONS, INTAKE)
    constants = {"rows": "12.50", "due": "2026-01-05", "urgent": "True", "desk": "rates", "path": ""}
    fields = {name: {"setTo": value} for name, value in constants.items()}
    made = await api.made(HANDLERS, changed(ON_FILE, TASK_FIELDS, fields))
    assert made["taskActivity"]["taskFields"] == fields
    both = {"path": {"mapFrom": "body.filePath", "setTo": "x"}}
    assert (await api.made(HANDLERS, changed(named(ON_FILE, "b"), TASK_FIELDS, both)))["taskActivity"]["taskFields"] == both


async def test_the_moment_of_the_definition(api: Api) -> None:
    first = (await api.made(DEFINITIONS, INTAKE))["version"]["asAtModified"]
    await api.ok("PUT", f"{DEFINITIONS}/acme/intake", update_of(changed(INTAKE, "fieldSchema.1.name", "lines")))
    await api.refused(400, "POST", HANDLERS, ON_FILE)  # the latest version has no such field
    tied = await api.made(HANDLERS, {**ON_FILE, "taskDefinitionAsAt": first})
    assert tied["taskDefinitionAsAt"] == first
    last = "9999-12-31T23:59:59.9999999+00:00"
    free = changed({**ON_FILE, "taskDefinitionAsAt": last}, f"{TASK_FIELDS}.rows", ...)
    assert (await api.ok("PUT", ONE, update_of(free)))["taskDefinitionAsAt"] == last
    today = {**free, "taskDefinitionAsAt": "9999-12-31"}
    assert (await api.ok("PUT", ONE, update_of(today)))["taskDefinitionAsAt"] == "9999-12-31T00:00:00.0000000+00:00"


async def test_users_must_be_known_when_somebody_has_said_who_there_is(tmp_path: Path) -> None:
    async with serving(tmp_path, Users(["robot"])) as api:
        await api.made(DEFINITIONS, INTAKE)
        found = await api.refused(400, "POST", HANDLERS, changed(ON_FILE, "runAsUserId", {"setTo": "nobody"}))
        assert list(found["errors"]) == ["runAsUserId.setTo"]
        await api.made(HANDLERS, changed(ON_FILE, "runAsUserId", {"setTo": "robot"}))


async def test_registered_schemas_are_held_against_mappings(api: Api) -> None:
    await api.made(DEFINITIONS, INTAKE)
    members = [("where", "String"), ("size", "Int"), ("ids", "CollectionOfIdentifiers"), ("at", "DateTime")]
    schema = [{"name": name, "type": kind} for name, kind in members]
    await api.made(TYPES, {"id": "ScanDone", "bodySchema": schema})
    base = changed(ON_FILE, "eventMatchingPattern", {"eventType": "ScanDone"})
    good = {
        "path": {"mapFrom": "Body.Where"},
        "rows": {"mapFrom": "body.size"},
        "desk": {"mapFrom": "body.ids[Instrument/default/Figi]"},
        "due": {"mapFrom": "body.at"},
    }
    base = changed(base, "taskActivity.correlationIds", [{"mapFrom": "body.size"}])
    await api.made(HANDLERS, changed(base, TASK_FIELDS, good))
    for name, path in (("path", "body.colour"), ("path", "body.size"), ("urgent", "body.where"), ("rows", "body.where")):
        found = await api.refused(400, "POST", HANDLERS, changed(base, TASK_FIELDS, {name: {"mapFrom": path}}))
        assert list(found["errors"]) == [f"taskActivity.taskFields[{name}].mapFrom"]
    unregistered = changed(ON_FILE, f"{TASK_FIELDS}.path", {"mapFrom": "body.anything.at[all]"})
    await api.made(HANDLERS, named(unregistered, "free"))


async def test_of_those_who_create_at_once_one_wins(api: Api) -> None:
    await api.made(DEFINITIONS, INTAKE)
    answers = await asyncio.gather(*(api.call("POST", HANDLERS, ON_FILE) for _ in range(6)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 5


async def test_handlers_hear_the_events_that_they_are_for(api: Api) -> None:
    await api.made(DEFINITIONS, INTAKE)
    await api.made(HANDLERS, ON_FILE)
    await api.made(HANDLERS, named(ON_FILE, "off", status="Inactive"))
    users = changed(named(ON_FILE, "users"), "eventMatchingPattern.filter", "header.userId eq 'ann' and header.href not exists")
    await api.made(HANDLERS, changed(users, "eventMatchingPattern.eventType", "FileDeleted"))

    async def verdict(code: str, kind: str, path: str) -> str:
        event = EventIn(source="s", type=kind, body={"filePath": path}, attributes={"userid": "ann", "requestid": "r-1"})
        [posted] = await api.engine.ingest(SERVER, [event])
        return (await api.engine.explain(SERVER, posted.key, f"acme/{code}")).verdict

    assert await verdict("on-file", "FileCreated", "/ACME/inbox/a.csv") == "fired"
    assert await verdict("on-file", "FileCreated", "/other/a.csv") == "false"
    assert await verdict("on-file", "FileUpdated", "/acme/inbox/a.csv") == "type differs"
    assert await verdict("off", "FileCreated", "/acme/inbox/a.csv") == "inactive"
    assert await verdict("users", "FileDeleted", "") == "fired"
    await api.ok("DELETE", ONE)
    [posted] = await api.engine.ingest(SERVER, [EventIn(source="s", type="FileCreated", body={"filePath": "/acme/inbox/b"})])
    assert "acme/on-file" not in [each.handler for each in posted.decisions]
