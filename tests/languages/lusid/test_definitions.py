"""Task definitions over plain HTTP: what the official client would not send, and what it does not look at."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.languages.lusid.api import DEFINITIONS, INTAKE, WORKERS, Api, changed, named, update_of

from pelton.errors import Code, PeltonError
from pelton.runtime.caller import SERVER
from pelton.runtime.rows import EventRow

ONE = f"{DEFINITIONS}/acme/intake"


async def test_the_answer_is_the_request_and_a_version(api: Api) -> None:
    made = await api.made(DEFINITIONS, INTAKE, user="ann")
    version = made.pop("version")
    assert made == INTAKE
    assert version["userIdCreated"] == version["userIdModified"] == "ann"
    got = await api.ok("GET", ONE)
    assert got == {**INTAKE, "version": version}
    done = await api.ok("PUT", ONE, update_of(INTAKE, displayName="Other"), user="bob")
    assert (done["version"]["userIdCreated"], done["version"]["userIdModified"]) == ("ann", "bob")
    assert (done["id"], done["displayName"]) == (INTAKE["id"], "Other")


async def test_null_is_absent(api: Api) -> None:
    sent = {**INTAKE, "description": None, "actions": None, "properties": None}
    made = await api.made(DEFINITIONS, sent)
    assert not made.keys() & {"description", "actions", "properties"}


async def test_doubled_slashes_and_a_slash_at_the_end(api: Api) -> None:
    await api.ok("POST", "/workflow//api/taskdefinitions", INTAKE, status=201)
    await api.ok("GET", "/workflow//api///taskdefinitions/acme/intake/")


async def test_unknown_members_are_ignored_and_not_kept(api: Api) -> None:
    made = await api.made(DEFINITIONS, {**INTAKE, "extra": {"deep": [1]}, "states": [*INTAKE["states"], {"name": "X", "odd": 1}]})
    assert "extra" not in made
    assert made["states"][-1] == {"name": "X"}


SELECTED = {"stateType": "SelectedStates"}
CHILD = {"taskDefinitionId": {"scope": "s", "code": "c"}}


def action(**details: Any) -> list[dict[str, Any]]:
    return [{"name": "act", "actionDetails": details}]


WRONG: list[tuple[str, Any, str]] = [
    ("id", ..., "id"),
    ("id.scope", "", "id.scope"),
    ("id.code", "a b", "id.code"),
    ("displayName", "", "displayName"),
    ("states", [], "states"),
    ("states", [{"name": "New"}, {"name": "New"}, {"name": "Checking"}, {"name": "Closed"}], "states[1].name"),
    ("states.1.name", "no space", "states[1].name"),
    ("initialState.name", "Nowhere", "initialState.name"),
    ("initialState.requiredFields", ["path", "none"], "initialState.requiredFields[1]"),
    ("fieldSchema.1.name", "path", "fieldSchema[1].name"),
    ("fieldSchema.1.type", "Number", "fieldSchema[1].type"),
    ("fieldSchema.0.readOnlyStates", SELECTED, "fieldSchema[0].readOnlyStates.selectedStates"),
    ("fieldSchema.0.readOnlyStates", {"stateType": "Never"}, "fieldSchema[0].readOnlyStates.stateType"),
    (
        "fieldSchema.0.readOnlyStates",
        {"stateType": "AllStates", "selectedStates": ["New"]},
        "fieldSchema[0].readOnlyStates.selectedStates",
    ),
    (
        "fieldSchema.0.readOnlyStates",
        {**SELECTED, "selectedStates": ["New", "Old"]},
        "fieldSchema[0].readOnlyStates.selectedStates[1]",
    ),
    ("fieldSchema.4.valueConstraints.acceptableValues", [], "fieldSchema[4].valueConstraints.acceptableValues"),
    ("fieldSchema.4.valueConstraints.acceptableValues", ["a", 1], "fieldSchema[4].valueConstraints.acceptableValues[1]"),
    ("fieldSchema.4.valueConstraints.constraintType", "Strict", "fieldSchema[4].valueConstraints.constraintType"),
    ("triggers.1.name", "begin", "triggers[1].name"),
    ("triggers.0.trigger.type", "Timer", "triggers[0].trigger.type"),
    ("transitions.0.fromState", "Old", "transitions[0].fromState"),
    ("transitions.0.toState", "Old", "transitions[0].toState"),
    ("transitions.0.trigger", "go", "transitions[0].trigger"),
    ("transitions.0.action", "act", "transitions[0].action"),
    ("transitions.1.guard", "fields[", "transitions[1].guard"),
    ("transitions.1.guard", "", "transitions[1].guard"),
    ("transitions.1.guard", "state eq '" + "x" * 1024 + "'", "transitions[1].guard"),
    ("actions", action(type="TriggerChildTasks", trigger="t", filter="x eq CurrentUser"), "actions[0].actionDetails.filter"),
    ("actions", action(type="Sing"), "actions[0].actionDetails.type"),
    ("actions", action(), "actions[0].actionDetails.type"),
    ("actions", action(type="TriggerParentTask"), "actions[0].actionDetails.trigger"),
    ("actions", action(type="TriggerParentTask", trigger="t") * 2, "actions[1].name"),
    ("actions", action(type="TriggerChildTasks", trigger="t", filter="state is x"), "actions[0].actionDetails.filter"),
    (
        "actions",
        action(type="TriggerNextTask", fallbackActions={"endOfSequence": "none"}),
        "actions[0].actionDetails.fallbackActions.endOfSequence",
    ),
    ("actions", action(type="CreateChildTasks", childTaskConfigurations=[]), "actions[0].actionDetails.childTaskConfigurations"),
    (
        "actions",
        action(type="CreateChildTasks", childTaskConfigurations=[{**CHILD, "condition": "x eq"}]),
        "actions[0].actionDetails.childTaskConfigurations[0].condition",
    ),
    (
        "actions",
        action(type="CreateChildTasks", childTaskConfigurations=[{**CHILD, "taskDefinitionAsAt": "yesterday"}]),
        "actions[0].actionDetails.childTaskConfigurations[0].taskDefinitionAsAt",
    ),
    (
        "actions",
        action(type="CreateChildTasks", ordering="ParallelSeries", childTaskConfigurations=[CHILD]),
        "actions[0].actionDetails.ordering",
    ),
    (
        "actions",
        action(type="RunWorker", workerId=CHILD["taskDefinitionId"], childTaskConfigurations=[CHILD]),
        "actions[0].actionDetails.childTaskConfigurations[0].childTaskFields",
    ),
    (
        "actions",
        action(type="RunWorker", workerId=CHILD["taskDefinitionId"], workerParameters={"p": {"setTo": None}}),
        "actions[0].actionDetails.workerParameters[p]",
    ),
    (
        "actions",
        action(
            type="RunWorker",
            workerId=CHILD["taskDefinitionId"],
            childTaskConfigurations=[{**CHILD, "childTaskFields": {}, "resultMatchingPattern": {"filter": "and"}}],
        ),
        "actions[0].actionDetails.childTaskConfigurations[0].resultMatchingPattern.filter",
    ),
    ("properties", {"Task/a/b": {"key": "Task/a/b", "value": {"labelValue": "x"}}}, "properties[Task/a/b]"),
    (
        "properties",
        {"TaskDefinition/a/b": {"key": "TaskDefinition/a/b", "value": {"labelValue": "x", "metricValue": {"value": 1}}}},
        "properties[TaskDefinition/a/b]",
    ),
]


async def test_what_is_wrong_is_refused_with_its_field(api: Api) -> None:
    for path, value, field in WRONG:
        found = await api.refused(400, "POST", DEFINITIONS, changed(INTAKE, path, value))
        assert field in found["errors"], (path, value, found)
        assert len(found["errors"]) <= 2, found
    assert (await api.ok("GET", DEFINITIONS))["values"] == []


async def test_a_guard_may_name_what_the_schema_lacks(api: Api) -> None:
    await api.made(DEFINITIONS, changed(INTAKE, "transitions.1.guard", "fields['later'] exists and UserCreated neq CurrentUser"))


async def test_mappings_with_both_members_are_taken(api: Api) -> None:
    both = {"p": {"mapFrom": "path", "setTo": "x"}}
    details = action(type="RunWorker", workerId={"scope": "s", "code": "c"}, workerParameters=both)
    made = await api.made(DEFINITIONS, {**INTAKE, "actions": details})
    assert made["actions"] == details


async def test_bodies_that_are_none(api: Api) -> None:
    for body in (b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"id": ' + b"[" * 300 + b"]" * 300 + b"}"):
        answer = await api.call("POST", DEFINITIONS, raw=body)
        assert answer.status == 400, body
        assert answer.json["name"] in ("InvalidRequest", "ValidationError")
        assert answer.headers["content-type"] == "application/problem+json"


async def test_of_those_who_create_at_once_one_wins(api: Api) -> None:
    answers = await asyncio.gather(*(api.call("POST", DEFINITIONS, named(INTAKE, "race")) for _ in range(10)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 9


async def test_those_who_update_at_once_count_up_one_by_one(api: Api) -> None:
    await api.made(DEFINITIONS, INTAKE)
    updates = (api.ok("PUT", ONE, update_of(INTAKE, displayName=f"n{number}")) for number in range(8))
    found = await asyncio.gather(*updates)
    assert sorted(each["version"]["asAtVersionNumber"] for each in found) == list(range(2, 10))
    assert len({each["version"]["asAtModified"] for each in found}) == 8
    for each in found:
        assert await api.ok("GET", ONE, asAt=each["version"]["asAtModified"]) == each


async def test_every_way_to_write_a_moment(api: Api) -> None:
    made = await api.made(DEFINITIONS, INTAKE)
    at: str = made["version"]["asAtModified"]
    for text in (
        at,
        at.replace("+00:00", "Z"),
        at[:26],
        "9999-12-31",
        "9999-12-31T23:59:59.9999999+00:00",
        "3000-01-01T00:00+05:30",
    ):
        assert await api.ok("GET", ONE, asAt=text) == made, text
    for text in ("2020-01-01", "2020-01-01T10:00Z", "0001-01-01T00:00:00Z", at[:22] + "00000Z"):
        found = await api.call("GET", ONE, asAt=text)
        assert found.status == (404 if text < at else 200)
    found = await api.refused(400, "GET", ONE, asAt="yesterday")
    assert (found["name"], list(found["errors"])) == ("InvalidAsAt", ["asAt"])


async def test_names_of_other_languages_are_left_alone(api: Api) -> None:
    class Other:
        name = "other"

        def payload(self, event: EventRow) -> Any:
            return event.body

    api.engine.add_language(Other())  # type: ignore[arg-type]
    await api.engine.define(SERVER, "process", "other", "acme/intake", 7, b"{}")
    assert (await api.refused(409, "POST", DEFINITIONS, INTAKE))["name"] == "TaskDefinitionAlreadyExists"
    await api.refused(404, "GET", ONE)
    await api.refused(404, "PUT", ONE, update_of(INTAKE))
    await api.refused(404, "DELETE", ONE)
    assert (await api.ok("GET", DEFINITIONS))["values"] == []


async def test_paths_that_cannot_be(api: Api) -> None:
    for path in (f"{DEFINITIONS}/a%20b/c", f"{DEFINITIONS}/{'x' * 65}/c", f"{DEFINITIONS}/a/%2F"):
        assert (await api.refused(400, "GET", path))["errors"]
    assert (await api.refused(404, "GET", "/workflow/api/nothing"))["name"] == "NotFound"
    found = await api.call("PATCH", ONE)
    assert (found.status, found.json["name"]) == (405, "MethodNotAllowed")


async def test_what_the_engine_refuses_is_said_in_this_language(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def busy(*arguments: Any, **more: Any) -> Any:
        raise PeltonError(Code.BUSY, "too much at once")

    monkeypatch.setattr(api.engine, "define", busy)
    answer = await api.call("POST", DEFINITIONS, INTAKE)
    assert (answer.status, answer.headers["retry-after"], answer.json["name"]) == (503, "1", "Unavailable")


async def test_definitions_and_workers_do_not_share_names(api: Api) -> None:
    await api.made(DEFINITIONS, INTAKE)
    worker = {"id": INTAKE["id"], "displayName": "w", "workerConfiguration": {"type": "Fail"}}
    assert (await api.made(WORKERS, worker))["version"]["asAtVersionNumber"] == 1


async def test_properties(api: Api) -> None:
    await api.made(DEFINITIONS, INTAKE)
    url = f"{ONE}/properties"
    key = "TaskDefinition/a/b"
    label = {"key": key, "value": {"labelValue": "x"}}
    done = await api.ok("POST", url, {key: label, "bad": {"key": "bad"}, "TaskDefinition/a/c": {"key": key}})
    assert done["values"] == {key: label}
    assert set(done["failed"]) == {"bad", "TaskDefinition/a/c"}
    assert done["failed"]["bad"]["detail"]
    found = await api.refused(400, "POST", url, {key: label, "bad": None}, successMode="Atomic")
    assert list(found["errors"]) == ["bad"]
    assert list((await api.refused(400, "POST", url, {}, successMode="Some"))["errors"]) == ["successMode"]
    assert (await api.ok("GET", ONE, propertyKeys=[key, "TaskDefinition/x/y"]))["properties"] == {key: label}
    done = await api.ok("POST", url, {key: None})
    assert done["values"] == {key: {"key": key}}
    assert "properties" not in await api.ok("GET", ONE, propertyKeys=key)
    await api.refused(404, "POST", f"{DEFINITIONS}/acme/none/properties", {key: label})
    await api.refused(400, "POST", url, [])
