"""UpdateMatchingTasks: exactly the tasks that match are told; the decision record names each, and why one was skipped."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import Any

import pytest
from tests.acceptance.lusid.world import (
    HANDLERS,
    TASKS,
    World,
    creates,
    decision_of,
    effects_of,
    fields_of,
    letters,
    merged,
    updates,
)
from tests.acceptance.official import unique


def moved(posted: Any, handler: str) -> dict[str, Any]:
    """By task: the effect."""
    return {effect["run"]: effect for effect in effects_of(posted, handler) if effect.get("run")}


FILTERS = [
    # (filter, event, the tasks that it finds; tasks are a: path /in/a, rates, 5; b: path /in/b, credit, 10; c: nothing)
    ("", {}, "abc"),
    ("fields['path'] eq '/in/a'", {}, "a"),
    ("fields['path'] eq '/IN/A'", {}, "a"),
    ("FIELDS['PATH'] EQ '/in/a'", {}, "a"),
    ("fields[path] startswith '/IN/'", {}, "ab"),
    ("fields['path'] eq body.filePath", {"filePath": "/in/B"}, "b"),
    ("fields['path'] eq Body.FilePath", {"filePath": "/in/B"}, "b"),
    ("fields['path'] startswith body.folder", {"folder": "/In"}, "ab"),
    ("fields['path'] eq body.absent", {}, ""),
    ("fields['path'] neq body.absent", {}, ""),
    ("fields['path'] in '/in/a', '/in/b', '/in/c'", {}, "ab"),
    ("fields['path'] in (body.one, body.two)", {"one": "/in/a", "two": "/in/b"}, "ab"),
    ("fields['path'] not exists", {}, "c"),
    ("not (fields['path'] eq '/in/a')", {}, "bc"),
    ("fields['path'] neq '/in/a'", {}, "b"),
    ("fields['rows'] gt 7", {}, "b"),
    ("fields['rows'] gte body.least", {"least": 5}, "ab"),
    ("fields['rows'] eq 5", {}, "a"),
    ("fields['rows'] eq 5.0", {}, "a"),
    ("fields['rows'] eq body.n", {"n": 10.0}, "b"),
    ("fields['due'] eq 2026-01-31", {}, "a"),
    ("fields['due'] eq '2026-01-31T00:00:00Z'", {}, "a"),
    ("fields['due'] eq body.day", {"day": "2026-01-31T01:00:00+01:00"}, "a"),
    ("fields['due'] lt body.day", {"day": "2026-06-01"}, "a"),
    ("fields['urgent'] eq true", {}, "a"),
    ("fields['urgent'] eq body.is", {"is": False}, "b"),
    ("correlationIds any (~ eq 'One')", {}, "a"),
    ("correlationIds any (~ eq body.id)", {"id": "TWO"}, "b"),
    ("correlationIds any (~ startswith 't')", {}, "b"),
    ("stackingKey eq 'KEY-a'", {}, "a"),
    ("stackingKey eq body.key", {"key": "key-B"}, "b"),
    ("state eq 'Open' and (fields['desk'] eq 'rates' or fields['desk'] eq 'credit')", {}, "ab"),
    ("state eq 'Closed'", {}, ""),
    ("fields['path'] eq '/in/a' or fields['rows'] not exists", {}, "ac"),
    ("id eq body.task", {"task": ...}, "c"),
    ("version.userIdCreated eq 'anonymous' and fields['desk'] eq 'credit'", {}, "b"),
    ("header.nothing eq 'x'", None, ""),
    ("fields['path'] eq header.eventType", {}, ""),
    ("taskDefinitionId.scope eq 'ACME' and terminalState eq false and fields['desk'] eq 'rates'", {}, "a"),
]  # fmt: skip


@pytest.mark.parametrize(("where", "event", "expected"), FILTERS)
def test_exactly_the_matching_tasks_are_told(world: World, where: str, event: Any, expected: str) -> None:
    definition, other, kind = world.definition(), world.definition(), letters()
    if event is None:  # a path that tasks do not have: refused when the handler is made
        sent = world.handler_of(definition, kind, updates("check", where))
        assert "header" in world.refused("POST", "/workflow/api/eventhandlers", sent)["detail"]
        return
    made = {
        "a": task(world, definition, "a", ["one"], path="/in/a", rows=5, desk="rates", due="2026-01-31", urgent=True),
        "b": task(world, definition, "b", ["two", "x"], path="/in/b", rows=10, desk="credit", due="2026-06-30", urgent=False),
        "c": task(world, definition, ""),
    }
    stranger = task(world, other, "a", ["one", "two"], path="/in/a", rows=5)
    name = world.handler(definition, kind, updates("check", where, correlationIds=[{"setTo": "told"}]))
    body = {key: made["c"]["id"] if value is ... else value for key, value in event.items()}
    posted = world.post(kind, body)
    decision = decision_of(posted, name)
    assert decision["verdict"] == "fired", decision
    told = moved(posted, name)
    assert set(told) == {made[letter]["id"] for letter in expected}
    assert all(effect["outcome"] == "signalled" for effect in told.values())
    for letter, before in made.items():
        now = world.get(before)
        assert ("told" in now["correlationIds"]) == (letter in expected)
        assert now["version"]["asAtVersionNumber"] == (2 if letter in expected else 1)
        assert now["version"]["userIdModified"] == ("robot" if letter in expected else "anonymous")
    assert world.get(stranger) == merged(world.get(stranger), version=stranger["version"])
    if not expected:
        [effect] = effects_of(posted, name)
        assert effect["outcome"] == "unmatched"
        assert "looked at" in effect["detail"]


def task(world: World, definition: Any, key: str, correlations: Any = (), **fields: Any) -> Any:
    given = [{"name": name, "value": value} for name, value in fields.items()]
    asked = {"taskDefinitionId": definition, "fields": given, "correlationIds": list(correlations)}
    if key:
        asked["stackingKey"] = f"Key-{key}"
    return world.ask("POST", TASKS, asked, 201, trigger="begin")


def test_what_is_closed_or_deleted_is_not_told(world: World) -> None:
    definition, kind = world.definition(), letters()
    open_, closed, gone = (world.task(definition, path="/x", rows=1) for _ in range(3))
    world.ask("POST", f"{TASKS}/{closed['id']}", trigger="finish")
    world.ask("DELETE", f"{TASKS}/{gone['id']}")
    name = world.handler(definition, kind, updates("check", "fields['path'] eq body.path", {"desk": "rates"}))
    posted = world.post(kind, {"path": "/x"})
    assert set(moved(posted, name)) == {open_["id"]}
    assert fields_of(world.get(open_))["desk"] == "rates"
    assert fields_of(world.get(closed)) == {"path": "/x", "rows": 1}


def test_the_record_names_what_was_skipped_and_why(world: World) -> None:
    definition, kind = world.definition(), letters()
    ready = world.task(definition, path="/x", rows=3)
    empty = world.task(definition, path="/x", rows=0)
    young = world.task(definition, trigger="", path="/x", rows=3)
    name = world.handler(definition, kind, updates("finish", "fields['path'] eq '/x'"))
    posted = world.post(kind, {})
    told = moved(posted, name)
    assert decision_of(posted, name)["verdict"] == "fired"
    assert told[ready["id"]]["outcome"] == "signalled"
    assert world.get(ready)["state"] == "Closed"
    assert told[empty["id"]]["outcome"] == "unchanged"
    assert "No rows were loaded" in told[empty["id"]]["detail"]
    assert told[young["id"]]["outcome"] == "unchanged"
    assert "finish" in told[young["id"]]["detail"]
    assert "New" in told[young["id"]]["detail"]
    for skipped in (empty, young):
        assert world.get(skipped)["version"] == skipped["version"]
    assert world.event(posted["key"])["effects"] == posted["effects"]


def test_field_changes_that_one_task_refuses_leave_it_alone_and_the_others_go_on(world: World) -> None:
    """A field that nobody may change is no trouble where it has that value already."""
    definition, kind = world.definition(), letters()
    same, other = world.task(definition, fixed="v", rows=1), world.task(definition, fixed="w", rows=1)
    name = world.handler(definition, kind, updates("check", "", {"fixed": "$body.fixed", "path": "/p"}))
    posted = world.post(kind, {"fixed": "v"})
    told = moved(posted, name)
    assert told[same["id"]]["outcome"] == "signalled"
    assert fields_of(world.get(same)) == {"fixed": "v", "rows": 1, "path": "/p"}
    assert told[other["id"]]["outcome"] == "unchanged"
    assert "'fixed' is read-only" in told[other["id"]]["detail"]
    assert world.get(other)["version"] == other["version"]


def test_a_guard_sees_the_fields_that_the_event_brings(world: World) -> None:
    definition, kind = world.definition(), letters()
    made = world.task(definition, path="/x")
    world.handler(definition, kind, updates("finish", "", {"rows": "$body.rows"}))
    world.post(kind, {"rows": 0})
    assert fields_of(world.get(made)) == {"path": "/x"}
    world.post(kind, {"rows": 2})
    assert world.get(made)["state"] == "Closed"
    assert fields_of(world.get(made)) == {"path": "/x", "rows": 2}


def test_many_tasks_are_told_by_a_job_whose_results_can_be_read(world: World) -> None:
    definition, kind = world.definition(), letters()
    tasks = [world.task(definition, path="/x", rows=number % 4) for number in range(70)]
    skipped = {each["id"] for number, each in enumerate(tasks) if not number % 4}
    name = world.handler(definition, kind, updates("finish", "fields['path'] eq '/x'"))
    posted = world.post(kind, {})
    assert len(moved(posted, name)) == 32
    [rest] = [effect for effect in effects_of(posted, name) if not effect.get("run")]
    job, count = rest["output"]["job"], rest["output"]["runs"]
    assert count == 38

    def results() -> Any:
        page = world.ask("GET", f"/v1/jobs/{job}/results")
        return page if len(page["results"]) == page["runs"] else None

    page = world.wait(results, "the job is done")
    assert page["runs"] == 38
    found = {each["run"]: each for each in page["results"]}
    assert len(found) == 38
    everything = {**moved(posted, name), **found}
    assert set(everything) == {each["id"] for each in tasks}
    for each in tasks:
        assert everything[each["id"]]["outcome"] != "failed", everything[each["id"]]["detail"]
        assert everything[each["id"]]["outcome"] == ("unchanged" if each["id"] in skipped else "signalled")
        assert world.get(each)["state"] == ("Open" if each["id"] in skipped else "Closed")
    assert all("No rows were loaded" in everything[each]["detail"] for each in skipped)
    first = world.ask("GET", f"/v1/jobs/{job}/results", limit=20)
    second = world.ask("GET", f"/v1/jobs/{job}/results", limit=20, after=first["last"])
    assert [*first["results"], *second["results"]] == page["results"]
    assert "last" not in second
    again = world.post(kind, {}, id=posted["id"], status=200)
    assert again["effects"] == posted["effects"]


def test_jobs_that_are_not_there_are_not_found(world: World) -> None:
    for job in ("1", "0", "x", "-5", "9" * 30):
        answer = world.http.get(f"/v1/jobs/{job}/results")
        assert answer.status_code == 404, answer.text
        assert answer.json()["code"] == "not found"


def test_a_guard_that_reads_children_skips_like_any_other(world: World) -> None:
    """It looks at other tasks, which are locked against changes meanwhile: that is no change of this one."""
    config = {
        "taskDefinitionId": {"scope": "acme", "code": "child"},
        "childTaskFields": {"path": {"mapFrom": "path"}},
    }
    code = unique("parent")
    child = world.definition()
    config["taskDefinitionId"] = child
    guard = "childTasks all (fields['rows'] gt 0) and childTasks any (fields['rows'] gt 0)"
    parent = world.definition(
        code,
        actions=[{"name": "split", "actionDetails": {"type": "CreateChildTasks", "childTaskConfigurations": [config]}}],
        transitions=[
            {"fromState": "New", "toState": "Open", "trigger": "begin", "action": "split"},
            {"fromState": "Open", "toState": "Closed", "trigger": "finish", "guard": guard},
        ],
    )
    tasks = [world.task(parent, path="/x") for _ in range(40)]
    for each in tasks:
        world.wait(partial(has_child, world, each), "the child is there")
    [ready] = world.get(tasks[7])["childTasks"]
    world.ask("POST", f"{TASKS}/{ready['id']}", {"fields": [{"name": "rows", "value": 1}]})
    kind = letters()
    name = world.handler(parent, kind, updates("finish"))
    posted = world.post(kind, {})
    [rest] = [effect for effect in effects_of(posted, name) if not effect.get("run")]
    path = f"/v1/jobs/{rest['output']['job']}/results"
    page = world.wait(lambda: (found := world.ask("GET", path)) and len(found["results"]) == 8 and found, "the job is done")
    everything = {**moved(posted, name), **{each["run"]: each for each in page["results"]}}
    assert {run for run, each in everything.items() if each["outcome"] == "signalled"} == {tasks[7]["id"]}
    assert {each["outcome"] for run, each in everything.items() if run != tasks[7]["id"]} == {"unchanged"}
    assert [world.get(each)["state"] for each in tasks] == ["Closed" if n == 7 else "Open" for n in range(40)]


def has_child(world: World, task: Any) -> bool:
    return bool(world.get(task)["childTasks"])


@pytest.mark.parametrize(
    "where",
    [
        "parentTask.state eq 'Open'",
        "childTasks any (state eq 'x')",
        "stateDisplayName eq 'x'",
        "nothing eq 'x'",
        "openDuration gt 1",
    ],
)
def test_a_filter_may_not_ask_for_what_cannot_be_seen(world: World, where: str) -> None:
    definition = world.definition()
    said = world.refused("POST", HANDLERS, world.handler_of(definition, letters(), updates("check", where)))
    assert said["name"] == "InvalidFilter"
    assert "taskActivity.filter" in said["errors"]


def together(world: World, *events: tuple[str, Any]) -> list[Any]:
    """What became of events that were posted in one batch."""
    batch = [{"specversion": "1.0", "id": unique("i"), "source": "/t", "type": kind, "data": data} for kind, data in events]
    answer = world.http.post("/v1/events", json=batch, headers={"content-type": "application/cloudevents-batch+json"})
    assert answer.status_code == 200, answer.text
    found: list[Any] = answer.json()["events"]
    return found


def test_an_event_sees_what_the_event_before_it_did(world: World) -> None:
    definition, first, second = world.definition(), letters(), letters()
    world.handler(definition, first, creates({"path": "$body.path", "rows": 1}))
    name = world.handler(definition, second, updates("finish", "fields['path'] eq body.path"))
    path = unique("/p")
    _, told, late = together(world, *((kind, {"path": path}) for kind in (first, second, second)))
    [task] = world.tasks(definition)
    assert task["state"] == "Closed"
    assert set(moved(told, name)) == {task["id"]}
    assert moved(late, name) == {}


@pytest.mark.parametrize("where", ["fields['path'] eq body.path", "fields['urgent'] not exists"])
def test_events_change_a_task_in_their_order(world: World, where: str) -> None:
    definition, kind = world.definition(), letters()
    task = world.task(definition, path="/a")
    world.handler(definition, kind, updates("check", where, {"rows": "$body.n"}))
    for first in (0, 100, 200):
        together(world, *((kind, {"path": "/a", "n": first + number}) for number in range(40)))
    history = world.ask("GET", f"{TASKS}/{task['id']}/history")["values"]
    values = [item["newValue"] for item in history]
    assert values == sorted(values)
    assert len(values) == 120
    assert fields_of(world.get(task))["rows"] == 239


def test_two_handlers_that_want_the_same_task_act_in_turn(world: World) -> None:
    definition, kind = world.definition(), letters()
    task = world.task(definition, rows=1)
    first = world.handler(definition, kind, updates("check", "", {"path": "first"}))
    second = world.handler(definition, kind, updates("finish", "", {"desk": "rates"}))
    third = world.handler(definition, kind, updates("check", "", {"path": "third"}))
    posted = world.post(kind, {})
    assert [moved(posted, name)[task["id"]]["outcome"] for name in (first, second)] == ["signalled", "signalled"]
    [last] = effects_of(posted, third)
    assert last["outcome"] == "unchanged"
    now = world.get(task)
    assert (now["state"], fields_of(now)) == ("Closed", {"rows": 1, "path": "first", "desk": "rates"})


def test_the_command_line_explains_too(world: World) -> None:
    definition, kind = world.definition(), letters()
    name = world.handler(definition, kind, creates(), "body.size gt 100 and body.path startswith '/in'")
    posted = world.post(kind, {"size": 7, "path": "/in/a"})
    command = [sys.executable, "-m", "pelton.cli", "explain", posted["key"], "--handler", name, "--server", world.server.address]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    assert "body.size gt 100" in said
    assert "7" in said
