"""What goes wrong for one event: the decision of that handler says which field and why, others do not notice, and nothing is
half-made."""

from __future__ import annotations

from typing import Any

import pytest
from tests.acceptance.lusid.world import (
    DEFINITIONS,
    HANDLERS,
    WORK,
    World,
    creates,
    decision_of,
    effects_of,
    fields_of,
    letters,
    merged,
    updates,
)

FAILURES = [
    # (fields, initial trigger, event, what the decision says)
    ({"path": "$body.path"}, "begin", {}, ["'path'", "needs a value"]),
    ({"path": "$body.path"}, "begin", {"path": None}, ["'path'", "needs a value"]),
    ({"path": "$body.path"}, "begin", {"path": 7}, ["'path'", "a text", "7"]),
    ({"path": "$body.path"}, "begin", {"path": {"a": 1}}, ["'path'", "a text"]),
    ({"path": "$body.path"}, "begin", {"path": "x" * 70_000}, ["'path'", "characters"]),
    ({"path": "p", "rows": "$body.rows"}, "begin", {"rows": "many"}, ["'rows'", "a number", "'many'"]),
    ({"path": "p", "rows": "$body.rows"}, "begin", {"rows": True}, ["'rows'", "a number"]),
    ({"path": "p", "rows": "$body.rows"}, "begin", {"rows": "1e999999"}, ["'rows'"]),
    ({"path": "p", "due": "$body.due"}, "begin", {"due": "soon"}, ["'due'", "date", "'soon'"]),
    ({"path": "p", "due": "$body.due"}, "begin", {"due": 20260101}, ["'due'", "date"]),
    ({"path": "p", "urgent": "$body.urgent"}, "begin", {"urgent": "yes"}, ["'urgent'", "true or false", "'yes'"]),
    ({"path": "p", "desk": "$body.desk"}, "begin", {"desk": "equity"}, ["'desk'", "'rates', 'credit'", "'equity'"]),
    ({"path": "p", "rows": "$body.rows"}, "close", {"rows": 0}, ["No rows were loaded"]),
    ({"path": "p"}, "close", {}, ["No rows were loaded"]),
    ({"path": "p"}, "finish", {}, ["'finish'", "'New'"]),
]  # fmt: skip
STRICT = merged(
    WORK,
    initialState={"name": "New", "requiredFields": ["path"]},
    triggers=[*WORK["triggers"], {"name": "close", "trigger": {"type": "External"}}],
    transitions=[
        *WORK["transitions"],
        {
            "fromState": "New",
            "toState": "Closed",
            "trigger": "close",
            "guard": "fields['rows'] gt 0",
            "guardConditionNotMetMessage": "No rows were loaded",
        },
    ],
)


@pytest.mark.parametrize(("fields", "trigger", "event", "said"), FAILURES)
def test_the_decision_says_which_field_and_why(
    world: World, fields: dict[str, Any], trigger: str, event: Any, said: list[str]
) -> None:
    definition, other, kind = world.definition(base=STRICT), world.definition(), letters()
    bad = world.handler(definition, kind, creates(fields, trigger))
    good = world.handler(other, kind, creates({"path": "fine"}))
    posted = world.post(kind, event)
    decision = decision_of(posted, bad)
    assert decision["verdict"] == "failed"
    for word in said:
        assert word in decision["detail"], decision
    assert len(decision["detail"]) <= 2_000
    assert [effect["outcome"] for effect in effects_of(posted, bad)] == ["failed"]
    assert decision_of(posted, good)["verdict"] == "fired"
    assert posted["state"] == "matched"
    assert world.tasks(definition) == []
    assert len(world.tasks(other)) == 1
    assert world.event(posted["key"])["decisions"] == posted["decisions"]
    assert world.post(kind, event, id=posted["id"], status=200)["decisions"] == posted["decisions"]


def test_a_path_that_is_missing_leaves_a_field_unset_that_is_not_required(world: World) -> None:
    definition, kind = world.definition(base=STRICT), letters()
    world.handler(definition, kind, creates({"path": "$body.path", "rows": "$body.rows"}))
    world.post(kind, {"path": "p", "rows": None})
    [task] = world.tasks(definition)
    assert fields_of(task) == {"path": "p"}


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("rows", "12.5", 12.5),
        ("rows", 0, 0),
        ("rows", -1e3, -1000.0),
        ("urgent", "TRUE", True),
        ("urgent", False, False),
        ("due", "2026-01-31T10:00:00+02:00", "2026-01-31T08:00:00.0000000+00:00"),
        ("due", "2026-01-31", "2026-01-31T00:00:00.0000000+00:00"),
        ("path", "", ""),
        ("path", "schön 'quoted' \\ 🙂", "schön 'quoted' \\ 🙂"),
    ],
)
def test_values_are_converted(world: World, field: str, value: Any, kept: Any) -> None:
    definition, kind = world.definition(), letters()
    world.handler(definition, kind, creates({field: "$body.value"}))
    world.post(kind, {"value": value})
    [task] = world.tasks(definition)
    assert fields_of(task) == {field: kept}
    assert type(fields_of(task)[field]) is type(kept)


def test_correlation_ids_are_texts_whatever_they_come_from(world: World) -> None:
    definition, kind = world.definition(), letters()
    sources = [{"mapFrom": f"body.{name}"} for name in ("n", "f", "b", "s", "list", "none")] + [{"setTo": "fixed"}]
    world.handler(definition, kind, creates({}, correlationIds=sources))
    world.post(kind, {"n": 7, "f": 1.5, "b": True, "s": "x", "list": [1, "a"]})
    [task] = world.tasks(definition)
    assert task["correlationIds"] == ["7", "1.5", "true", "x", '[1,"a"]', "fixed"]


def test_a_definition_that_is_gone_fails_the_latest_and_leaves_the_pinned(world: World) -> None:
    definition, kind = world.definition(), letters()
    made = world.ask("GET", f"{DEFINITIONS}/acme/{definition['code']}")["version"]["asAtModified"]
    latest = world.handler(definition, kind, creates({"path": "latest"}))
    pinned = world.handler(definition, kind, creates({"path": "pinned"}), taskDefinitionAsAt=made)
    old = world.task(definition, path="old")
    mover = world.handler(definition, kind, updates("check", "fields['path'] eq 'old'", {"rows": 1}))
    world.ask("DELETE", f"{DEFINITIONS}/acme/{definition['code']}")
    posted = world.post(kind, {})
    decision = decision_of(posted, latest)
    assert decision["verdict"] == "failed"
    assert f"acme/{definition['code']}" in decision["detail"]
    assert decision_of(posted, pinned)["verdict"] == "fired"
    [effect] = effects_of(posted, pinned)
    assert fields_of(world.get(effect["run"])) == {"path": "pinned"}
    assert decision_of(posted, mover)["verdict"] == "fired"  # tasks go on with the version that they have
    assert fields_of(world.get(old)) == {"path": "old", "rows": 1}
    again = world.definition(definition["code"])
    assert decision_of(world.post(kind, {}), latest)["verdict"] == "fired"
    assert len(world.tasks(again)) == 4


def test_the_version_of_a_past_instant_is_used(world: World) -> None:
    definition, kind = world.definition(), letters()
    first = world.ask("GET", f"{DEFINITIONS}/acme/{definition['code']}")["version"]["asAtModified"]
    slim = merged(WORK, fieldSchema=[{"name": "path", "type": "String"}], transitions=WORK["transitions"][:1])
    second = world.ask("PUT", f"{DEFINITIONS}/acme/{definition['code']}", slim)["version"]["asAtModified"]
    fields = {"path": "p", "rows": 5}
    pinned = world.handler_of(definition, kind, creates(fields), taskDefinitionAsAt=first)
    assert world.ask("POST", HANDLERS, pinned, 201)["taskDefinitionAsAt"] == first
    future = "9999-12-31T23:59:59.9999999+00:00"
    never = "2001-01-01T00:00:00Z"
    for at, status in ((second, 400), (future, 400), (None, 400), (never, 400)):
        said = world.refused("POST", HANDLERS, world.handler_of(definition, kind, creates(fields), taskDefinitionAsAt=at), status)
        assert ("taskDefinitionId" if at == never else "rows") in said["detail"]
    late = world.handler_of(definition, kind, creates({"path": "late"}), taskDefinitionAsAt=future)
    assert world.ask("POST", HANDLERS, late, 201)["taskDefinitionAsAt"] == future
    posted = world.post(kind, {})
    tasks = {fields_of(task)["path"]: task for task in world.tasks(definition)}
    assert fields_of(tasks["p"])["rows"] == 5
    assert tasks["p"]["taskDefinitionVersion"]["asAtModified"] == first
    assert tasks["late"]["taskDefinitionVersion"]["asAtModified"] == second
    assert posted["state"] == "matched"


def test_a_handler_that_no_longer_fits_its_definition_says_so_when_the_event_comes(world: World) -> None:
    definition, kind = world.definition(), letters()
    name = world.handler(definition, kind, creates({"path": "p", "rows": 5}))
    world.ask("PUT", f"{DEFINITIONS}/acme/{definition['code']}", merged(WORK, fieldSchema=[{"name": "path", "type": "String"}]))
    decision = decision_of(world.post(kind, {}), name)
    assert decision["verdict"] == "failed"
    assert "'rows'" in decision["detail"]
    assert world.tasks(definition) == []


def test_an_inactive_handler_does_nothing_and_what_it_missed_is_not_made_up_for(world: World) -> None:
    definition, kind = world.definition(), letters()
    handler = world.handler_of(definition, kind, creates({"path": "$body.path"}), status="Inactive")
    name = world.made(handler)
    posted = world.post(kind, {"path": "a"})
    assert "effects" not in posted
    assert world.explain(posted["key"], name)["verdict"] == "inactive"
    world.put(name, merged(handler, status="Active"))
    assert world.tasks(definition) == []
    world.post(kind, {"path": "b"})
    world.put(name, handler)
    world.post(kind, {"path": "c"})
    world.put(name, merged(handler, status="Active"))
    world.ask("DELETE", f"{HANDLERS}/{name}")
    world.post(kind, {"path": "d"})
    assert [fields_of(task)["path"] for task in world.tasks(definition)] == ["b"]


@pytest.mark.parametrize("kind", ["TaskCreated", "taskupdated", "TaskDeleted", "TaskDefinitionCreated", "TASKDEFINITIONUPDATED"])
def test_events_of_the_service_itself_are_no_triggers(world: World, kind: str) -> None:
    said = world.refused("POST", HANDLERS, world.handler_of(world.definition(), kind, creates()))
    assert said["name"] == "UnsupportedEventType"
    assert "eventMatchingPattern.eventType" in said["errors"]


@pytest.mark.parametrize("kind", ["", "File Created", ".created", "1File", "x" * 513, 7, "Späte"])
def test_types_of_events_are_names(world: World, kind: Any) -> None:
    world.refused("POST", HANDLERS, world.handler_of(world.definition(), kind, creates()))


def test_many_handlers_of_one_event_each_act_on_their_own(world: World) -> None:
    definition, kind = world.definition(base=STRICT), letters()
    names = []
    for number in range(60):
        fields = {"path": "$body.path" if number % 3 else "$body.absent", "rows": number}
        names.append(world.handler(definition, kind, creates(fields), where=f"body.least lte {number}"))
    posted = world.post(kind, {"path": "p", "least": 10})
    verdicts = [decision_of(posted, name)["verdict"] for name in names]
    assert verdicts == ["false" if number < 10 else "fired" if number % 3 else "failed" for number in range(60)]
    made = [number for number in range(10, 60) if number % 3]
    world.wait(lambda: len(world.tasks(definition)) >= len(made), "those of later commits are there")
    assert sorted(fields_of(task)["rows"] for task in world.tasks(definition)) == made
    assert {effect["run"] for effect in posted["effects"] if effect["outcome"] == "started"} == {
        task["id"] for task in world.tasks(definition)
    }
