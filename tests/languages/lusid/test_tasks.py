"""One task: made, triggered, changed; its versions, its past, its end."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from tests.languages.lusid.api import DEFINITIONS
from tests.languages.lusid.machines import TASKS, Desk, before, fields, here, identity, machine, steady, until, values

from pelton.kernel.model.state import RunStatus
from pelton.languages.lusid.tasks.view import TaskReader
from pelton.runtime.caller import SERVER

WAYS = "New go Doing, Doing finish Done, Doing back New"
KINDS = {"text": "String", "who": "LusidUserId", "number": "Decimal", "when": "DateTime", "flag": "Boolean"}
pytestmark = pytest.mark.asyncio(loop_scope="session")
LAST = "9999-12-31T23:59:59.999999Z"


async def test_a_new_task(desk: Desk) -> None:
    await desk.define(machine("job", WAYS, fields=KINDS, required=("text",)))
    task = await desk.create("job", user="ann", given={"text": ""}, correlationIds=["track-this", "b", "b"], stackingKey="k")
    assert re.fullmatch(r"[a-zA-Z0-9-]{30,40}", task["id"])
    definition = await desk.api.ok("GET", f"{DEFINITIONS}/{here()}/job")
    assert task["taskDefinitionId"] == identity("job")
    assert task["taskDefinitionVersion"] == {"asAtModified": definition["version"]["asAtModified"]}
    assert task["taskDefinitionDisplayName"] == "Job"
    assert (task["state"], task["terminalState"], task["completionStatus"]) == ("New", False, "NotStarted")
    assert task["hierarchicalPosition"] == "Standalone"
    assert task["ultimateParentTask"]["id"] == task["id"]
    assert "parentTask" not in task
    assert "previousTask" not in task
    assert task["childTasks"] == []
    assert task["correlationIds"] == ["track-this", "b"]
    assert task["fields"] == [{"name": "text", "value": ""}]
    assert task["stackingKey"] == "k"
    assert "stack" not in task
    version = task["version"]
    assert version["asAtVersionNumber"] == 1
    assert version["asAtCreated"] == version["asAtModified"] == task["asAtLastTransition"]
    assert version["userIdCreated"] == version["userIdModified"] == "ann"
    assert version["requestIdCreated"] == version["requestIdModified"]
    for name in ("openDuration", "openDurationSinceLastUpdate", "openDurationSinceLastTransition"):
        assert type(task[name]) is int
        assert 0 <= task[name] < 60
    assert not [name for name, value in task.items() if value is None]
    assert steady(await desk.get(task)) == steady(task)


async def test_made_with_a_trigger_it_is_one_version(desk: Desk) -> None:
    await desk.define(machine("job", WAYS, fields=KINDS))
    task = await desk.create("job", "go", given={"number": 1})
    assert (task["state"], task["completionStatus"], task["version"]["asAtVersionNumber"]) == ("Doing", "InProgress", 1)
    assert task["version"]["asAtCreated"] == task["version"]["asAtModified"] == task["asAtLastTransition"]
    assert await desk.history(task) == []
    through = await desk.create("job", "go")
    assert (await desk.fire(through, "finish"))["version"]["asAtVersionNumber"] == 2


async def test_a_trigger_that_ends_it_at_once(desk: Desk) -> None:
    await desk.define(machine("one", "New go Done"), machine("none", WAYS, triggers=[], transitions=[], states=[{"name": "New"}]))
    task = await desk.create("one", "go")
    assert (task["state"], task["terminalState"], task["completionStatus"]) == ("Done", True, "Completed")
    assert task["version"]["asAtVersionNumber"] == 1
    only = await desk.create("none")
    assert (only["state"], only["terminalState"], only["completionStatus"]) == ("New", True, "Completed")


async def test_what_is_refused_at_creation_leaves_nothing(desk: Desk) -> None:
    guarded = "New go Doing [fields['number'] gt 5], New leap Done, Doing finish Done"
    limits = {"constraintType": "Validated", "valueSourceType": "AcceptableValues", "acceptableValues": ["a", "b"]}
    kinds = {**KINDS, "choice": {"type": "String", "valueConstraints": limits}}
    await desk.define(machine("job", guarded, fields=kinds, required=("text", "flag")))
    good = {"text": "x", "flag": True}
    cases: list[tuple[str, dict[str, Any], str, str]] = [
        ("go", {**good, "number": 5}, "GuardConditionNotMet", ""),
        ("go", good, "GuardConditionNotMet", ""),
        ("finish", good, "InvalidTransition", ""),
        ("none", good, "UnknownTrigger", ""),
        ("", {"text": "x"}, "RequiredFieldMissing", "fields[flag]"),
        ("", {"text": None, "flag": False}, "RequiredFieldMissing", "fields[text]"),
        ("", {**good, "other": 1}, "FieldNotInSchema", "fields[other]"),
        ("", {**good, "Text": "y"}, "FieldNotInSchema", "fields[Text]"),
        ("", {**good, "number": "many"}, "FieldTypeMismatch", "fields[number]"),
        ("", {**good, "choice": "c"}, "FieldValueNotAcceptable", "fields[choice]"),
    ]
    for trigger, given, name, field in cases:
        problem = await desk.not_created("job", trigger, given=given)
        assert problem["name"] == name, problem
        assert list(problem.get("errors", {})) == ([field] if field else []), problem
    twice = {"taskDefinitionId": identity("job"), "fields": [*fields(**good), *fields(text="z")]}
    assert (await desk.api.refused(400, "POST", TASKS, twice))["errors"].keys() == {"fields[2].name"}
    assert (await desk.api.refused(400, "POST", TASKS, {"fields": []}))["errors"].keys() == {"taskDefinitionId"}
    nowhere = await desk.api.call("POST", TASKS, {"taskDefinitionId": identity("nowhere")})
    assert (nowhere.status, nowhere.json["name"]) == (404, "TaskDefinitionNotFound")
    assert await desk.listed() == []


async def test_either_a_definition_or_a_workflow(desk: Desk) -> None:
    await desk.define(machine("job", WAYS))
    both = {"taskDefinitionId": identity("job"), "workflowId": identity("flow")}
    await desk.api.refused(400, "POST", TASKS, both)
    assert (await desk.api.call("POST", TASKS, {"workflowId": identity("flow")})).status in (400, 404)
    assert await desk.listed() == []


# ---- triggers


async def test_triggers_move_it_and_save_fields_with_the_move(desk: Desk) -> None:
    await desk.define(machine("job", WAYS, fields=KINDS))
    task = await desk.create("job", user="ann")
    after = await desk.fire(task, "go", user="ben", given={"number": 3, "text": "x"})
    assert (after["state"], values(after), after["version"]["asAtVersionNumber"]) == ("Doing", {"text": "x", "number": 3}, 2)
    assert (after["version"]["userIdCreated"], after["version"]["userIdModified"]) == ("ann", "ben")
    assert after["version"]["requestIdModified"] != after["version"]["requestIdCreated"]
    assert after["version"]["asAtModified"] == after["asAtLastTransition"] > task["asAtLastTransition"]
    assert after["version"]["asAtCreated"] == task["version"]["asAtCreated"]
    only = await desk.fire(task, given={"number": 4})
    assert (only["state"], only["version"]["asAtVersionNumber"]) == ("Doing", 3)
    assert only["asAtLastTransition"] == after["asAtLastTransition"]
    ended = await desk.fire(task, "finish")
    assert (ended["state"], ended["terminalState"], ended["completionStatus"]) == ("Done", True, "Completed")
    assert ended["openDurationSinceLastUpdate"] == ended["openDurationSinceLastTransition"] == 0


async def test_triggers_that_lead_nowhere_save_nothing(desk: Desk) -> None:
    await desk.define(machine("job", WAYS, fields=KINDS))
    task = await desk.create("job")
    assert (await desk.refuses(task, "finish", given={"number": 1}))["name"] == "InvalidTransition"
    assert (await desk.refuses(task, "other", given={"number": 1}))["name"] == "UnknownTrigger"
    assert (await desk.refuses(task, "go", given={"number": "x"}))["name"] == "FieldTypeMismatch"
    await desk.fire(task, "go")
    await desk.fire(task, "finish")
    for trigger in ("go", "finish", "back"):
        problem = await desk.refuses(task, trigger, given={"number": 1})
        assert problem["name"] == "InvalidTransition"
        assert "terminal" in problem["detail"]
    assert (await desk.refuses(task, "other"))["name"] == "UnknownTrigger"
    missing = "0" * 8 + "-0000-4000-8000-" + "0" * 12
    assert (await desk.api.refused(404, "POST", f"{TASKS}/{missing}", trigger="go"))["name"] == "TaskNotFound"
    for bad in ("x", "1", "../tasks", "é" * 36):
        assert (await desk.api.call("GET", f"{TASKS}/{bad}")).status in (400, 404)


async def test_a_transition_into_the_same_state(desk: Desk) -> None:
    await desk.define(machine("job", "New again New, New go Done"))
    task = await desk.create("job")
    after = await desk.fire(task, "again")
    assert (after["state"], after["version"]["asAtVersionNumber"]) == ("New", 2)
    assert after["asAtLastTransition"] > task["asAtLastTransition"]
    assert (await desk.fire(task, "again"))["version"]["asAtVersionNumber"] == 3


async def test_the_first_way_whose_guard_holds_is_taken(desk: Desk) -> None:
    ways = "New go Big [fields['number'] gte 100], New go Small [fields['number'] lt 10], New go Middle, Big on Done"
    await desk.define(machine("job", ways, fields=KINDS))
    for number, state in ((100, "Big"), (5, "Small"), (50, "Middle"), (None, "Middle")):
        assert (await desk.create("job", "go", given={"number": number}))["state"] == state


async def test_of_two_equal_triggers_one_wins(desk: Desk) -> None:
    await desk.define(machine("job", WAYS))
    task = await desk.create("job")
    answers = await asyncio.gather(*(desk.api.call("POST", f"{TASKS}/{task['id']}", trigger="go") for _ in range(8)))
    assert sorted(each.status for each in answers) == [200] + [400] * 7
    assert (await desk.get(task))["version"]["asAtVersionNumber"] == 2


async def test_a_guard_s_message(desk: Desk) -> None:
    job = machine("job", "New go Done [fields['number'] gt 5 and fields['text'] exists]", fields=KINDS)
    await desk.define(job)
    task = await desk.create("job", given={"number": 4})
    problem = await desk.refuses(task, "go")
    assert problem["name"] == "GuardConditionNotMet"
    assert "fields['number'] gt 5" in problem["detail"]
    assert "4" in problem["detail"]
    job["id"] = identity("other")
    job["transitions"][0]["guardConditionNotMetMessage"] = "Too few"
    await desk.define(job)
    other = await desk.create("other", given={"number": 4})
    assert (await desk.refuses(other, "go"))["detail"] == "Too few"
    assert (await desk.fire(other, "go", given={"number": 6, "text": "now"}))["state"] == "Done"


# ---- fields


ACCEPTED: list[tuple[str, Any, Any]] = [
    ("text", "x", "x"),
    ("text", "", ""),
    ("text", "2024-01-01", "2024-01-01"),
    ("text", "ünï \U0001f600", "ünï \U0001f600"),
    ("who", "00u91lo2d7X42sfse2p7", "00u91lo2d7X42sfse2p7"),
    ("number", 0, 0),
    ("number", -12, -12),
    ("number", 1.5, 1.5),
    ("number", "12", 12),
    ("number", " 12.50 ", 12.5),
    ("number", "-1e3", -1000),
    ("number", 0.1, 0.1),
    ("number", 2**53 + 1, 2**53 + 1),
    ("when", "2024-01-01", "2024-01-01T00:00:00.0000000+00:00"),
    ("when", "2024-01-01T10:00:00", "2024-01-01T10:00:00.0000000+00:00"),
    ("when", "2024-01-01T10:00:00.1234567Z", "2024-01-01T10:00:00.1234560+00:00"),
    ("when", "2024-01-01T10:00:00.5+02:12", "2024-01-01T07:48:00.5000000+00:00"),
    ("flag", True, True),
    ("flag", False, False),
    ("flag", "TRUE", True),
    ("flag", "false", False),
]
REFUSED: list[tuple[str, Any]] = [
    ("text", 1),
    ("text", True),
    ("text", ["x"]),
    ("text", {"a": 1}),
    ("text", "x" * 64_001),
    ("who", 7),
    ("number", "many"),
    ("number", ""),
    ("number", True),
    ("number", "NaN"),
    ("number", "Infinity"),
    ("number", "1e999"),
    ("number", "1" * 500),
    ("number", []),
    ("when", "soon"),
    ("when", "2024-13-01"),
    ("when", ""),
    ("when", 1704067200),
    ("flag", "yes"),
    ("flag", 1),
    ("flag", ""),
]


async def test_values_by_type(desk: Desk) -> None:
    await desk.define(machine("job", WAYS, fields=KINDS))
    task = await desk.create("job")
    for name, given, kept in ACCEPTED:
        made = values(await desk.create("job", given={name: given}))[name]
        assert (made, type(made)) == (kept, type(kept)), (name, given)
        after = values(await desk.fire(task, given={name: given}))[name]
        assert (after, type(after)) == (kept, type(kept)), (name, given)
    for name, given in REFUSED:
        problem = await desk.refuses(task, given={name: given})
        assert problem["name"] == "FieldTypeMismatch", (name, given)
        assert list(problem["errors"]) == [f"fields[{name}]"]
        assert (await desk.not_created("job", given={name: given}))["name"] == "FieldTypeMismatch"


async def test_numbers_that_json_cannot_be_read_as(desk: Desk) -> None:
    """What has more digits than a number of a client can have is kept as it is, or refused: never changed in silence."""
    await desk.define(machine("job", WAYS, fields=KINDS))
    task = await desk.create("job")
    for digits in ("1e400", "-1e999", "1E+99999999", "NaN"):
        raw = f'{{"fields":[{{"name":"number","value":{digits}}}]}}'.encode()
        answer = await desk.api.call("POST", f"{TASKS}/{task['id']}", raw=raw)
        assert answer.status == 400, (digits, answer.body)
    assert (await desk.refuses(task, given={"number": "0.12345678901234567890123"}))["name"] == "FieldTypeMismatch"


async def test_suggested_values_reject_nothing_and_validated_ones_fit_the_type(desk: Desk) -> None:
    def limits(kind: str, *given: Any) -> dict[str, Any]:
        return {"constraintType": kind, "valueSourceType": "AcceptableValues", "acceptableValues": list(given)}

    kinds = {
        "some": {"type": "String", "valueConstraints": limits("Suggested", "a", "b")},
        "few": {"type": "Decimal", "valueConstraints": limits("Validated", 1, 2.5, "7")},
        "days": {"type": "DateTime", "valueConstraints": limits("Validated", "2024-01-01")},
        "yes": {"type": "Boolean", "valueConstraints": limits("Validated", True)},
    }
    await desk.define(machine("job", WAYS, fields=kinds))
    task = await desk.create("job", given={"some": "z", "few": "2.50", "days": "2024-01-01T00:00:00Z", "yes": "true"})
    assert values(task) == {"some": "z", "few": 2.5, "days": "2024-01-01T00:00:00.0000000+00:00", "yes": True}
    assert values(await desk.fire(task, given={"few": 7}))["few"] == 7
    for given in ({"few": 3}, {"days": "2024-01-02"}, {"yes": False}):
        problem = await desk.refuses(task, given=given)
        assert problem["name"] == "FieldValueNotAcceptable"
    assert "few" not in values(await desk.fire(task, given={"few": None}))


async def test_an_update_merges_and_null_clears(desk: Desk) -> None:
    await desk.define(machine("job", WAYS, fields=KINDS, required=("flag",)))
    task = await desk.create("job", given={"text": "x", "number": 1, "flag": True}, correlationIds=["a"], stackingKey="k")
    after = await desk.fire(task, given={"number": 2})
    assert values(after) == {"text": "x", "number": 2, "flag": True}
    after = await desk.fire(task, given={"text": None})
    assert values(after) == {"number": 2, "flag": True}
    assert after["correlationIds"] == ["a"]
    assert after["stackingKey"] == "k"
    assert (await desk.refuses(task, given={"flag": None}))["name"] == "RequiredFieldMissing"
    absent = await desk.api.ok("POST", f"{TASKS}/{task['id']}", {"fields": None, "correlationIds": None, "stackingKey": None})
    assert steady(absent) == steady(after)
    assert (await desk.fire(task, correlationIds=["b", "c"]))["correlationIds"] == ["b", "c"]
    assert (await desk.fire(task, stackingKey="l"))["stackingKey"] == "l"
    assert (await desk.fire(task, correlationIds=[]))["correlationIds"] == []
    twice = {"fields": [*fields(number=1), *fields(number=1)]}
    assert (await desk.api.refused(400, "POST", f"{TASKS}/{task['id']}", twice))["errors"].keys() == {"fields[1].name"}


async def test_what_changes_nothing_is_no_version(desk: Desk) -> None:
    await desk.define(machine("job", WAYS, fields=KINDS))
    task = await desk.create("job", given={"number": 1, "when": "2024-01-01"}, correlationIds=["a"], stackingKey="k", user="ann")
    same: list[dict[str, Any]] = [
        {},
        {"given": {"number": 1}},
        {"given": {"number": "1"}},
        {"given": {"when": "2024-01-01T02:00:00+02:00"}},
        {"given": {"text": None}},
        {"given": {}},
        {"correlationIds": ["a"]},
        {"stackingKey": "k"},
    ]
    for each in same:
        assert steady(await desk.fire(task, user="ben", **each)) == steady(task), each
    empty = await desk.api.call("POST", f"{TASKS}/{task['id']}", raw=b"")
    assert empty.status == 200
    assert await desk.history(task) == []


async def test_bodies_that_are_none(desk: Desk) -> None:
    await desk.define(machine("job", WAYS, fields=KINDS))
    task = await desk.create("job")
    for raw in (b"[]", b"{", b'"x"', b'{"fields":{}}', b'{"fields":[1]}', b'{"fields":[{"value":1}]}', b'{"correlationIds":[1]}'):
        for path in (TASKS, f"{TASKS}/{task['id']}"):
            answer = await desk.api.call("POST", path, raw=raw)
            assert answer.status == 400, raw
            assert type(answer.json["code"]) is int
    many = [str(number) for number in range(101)]
    assert (await desk.refuses(task, correlationIds=many))["errors"].keys() == {"correlationIds"}
    for trigger in ("a b", "x" * 1025, "ä"):
        assert (await desk.api.call("POST", f"{TASKS}/{task['id']}", trigger=trigger)).status == 400


# ---- read-only fields


async def test_read_only_fields(desk: Desk) -> None:
    def locked(kind: str, *states: str) -> dict[str, Any]:
        rule: dict[str, Any] = {"stateType": kind}
        return {"type": "String", "readOnlyStates": {**rule, "selectedStates": list(states)} if states else rule}

    kinds = {
        "initial": locked("InitialState"),
        "terminal": locked("TerminalState"),
        "always": locked("AllStates"),
        "doing": locked("SelectedStates", "Doing", "Done"),
        "free": "String",
    }
    await desk.define(machine("job", WAYS, fields=kinds, required=("initial", "always")))
    task = await desk.create("job", given=dict.fromkeys(kinds, "a"))

    async def writable() -> set[str]:
        found = set()
        for name in kinds:
            assert (
                await desk.api.call(
                    "POST", f"{TASKS}/{task['id']}", {"fields": fields(**{name: values(await desk.get(task))[name]})}
                )
            ).status == 200
            new = f"{name}-{(await desk.get(task))['version']['asAtVersionNumber']}"
            answer = await desk.api.call("POST", f"{TASKS}/{task['id']}", {"fields": fields(**{name: new})})
            if answer.status == 200:
                found.add(name)
            else:
                assert answer.json["name"] == "FieldReadOnly"
                assert list(answer.json["errors"]) == [f"fields[{name}]"]
        return found

    assert await writable() == {"terminal", "doing", "free"}
    # Judged by the state before the transition.
    assert (await desk.refuses(task, "go", given={"initial": "b"}))["name"] == "FieldReadOnly"
    await desk.fire(task, "go", given={"doing": "while still new"})
    assert await writable() == {"initial", "terminal", "free"}
    await desk.fire(task, "finish", given={"terminal": "last"})
    assert await writable() == {"initial", "free"}


# ---- versions, history, the past


async def test_history_lists_each_change_of_each_version(desk: Desk) -> None:
    await desk.define(machine("job", WAYS, fields=KINDS))
    task = await desk.create("job", given={"text": "a"}, user="ann")
    await desk.fire(task, "go", given={"number": 1, "text": "b"}, user="ben")
    third = await desk.fire(task, given={"text": None}, correlationIds=["c"], stackingKey="k")
    await desk.fire(task, "finish")
    assert await desk.history(task) == [
        (2, "State", "New", "Doing"),
        (2, "Fields[text]", "a", "b"),
        (2, "Fields[number]", None, 1),
        (3, "Fields[text]", "b", None),
        (3, "CorrelationIds", [], ["c"]),
        (3, "StackingKey", None, "k"),
        (4, "State", "Doing", "Done"),
    ]
    found = (await desk.api.ok("GET", f"{TASKS}/{task['id']}/history"))["values"]
    assert {each["action"] for each in found} == {"Update"}
    assert [each["userIdModified"] for each in found[:4]] == ["ben", "ben", "ben", "anonymous"]
    assert all(
        {"asAtModified", "userIdModified", "requestIdModified", "asAtVersionNumber", "attributeName", "newValue"} <= each.keys()
        for each in found
    )
    assert len({each["requestIdModified"] for each in found}) == 3
    at = third["version"]["asAtModified"]
    assert [number for number, *_ in await desk.history(task, asAt=at)] == [3, 3, 3, 4]
    assert await desk.history(task, asAt=LAST) == []
    assert len(await desk.history(task, asAt="2020-01-01")) == 7


async def test_a_task_as_it_was(desk: Desk) -> None:
    await desk.define(machine("job", WAYS, fields=KINDS))
    one = await desk.create("job", given={"text": "a"})
    two = await desk.fire(one, "go", given={"text": "b"})
    three = await desk.fire(one, "finish")
    for each in (one, two, three):
        at = each["version"]["asAtModified"]
        found = await desk.get(one, at)
        assert (found["state"], found["fields"], found["version"]) == (each["state"], each["fields"], each["version"])
        assert found["completionStatus"] == each["completionStatus"]
        [listed] = await desk.listed(asAt=at)
        assert listed == found
    assert steady(await desk.get(one, LAST)) == steady(three)
    assert steady(await desk.get(one, "2099-01-01")) == steady(three)
    for at in ("2020-01-01", before(one["version"]["asAtCreated"])):
        assert (await desk.api.refused(404, "GET", f"{TASKS}/{one['id']}", asAt=at))["name"] == "TaskNotFound"
        assert await desk.listed(asAt=at) == []
    assert (await desk.get(one, before(two["version"]["asAtModified"])))["state"] == "New"
    assert (await desk.api.refused(400, "GET", f"{TASKS}/{one['id']}", asAt="yesterday"))["name"] == "InvalidAsAt"
    assert await desk.listed("state eq 'Doing'", asAt=two["version"]["asAtModified"]) != []
    assert await desk.listed("state eq 'Doing'") == []


async def test_durations(desk: Desk) -> None:
    await desk.define(machine("job", WAYS, fields=KINDS))
    task = await desk.create("job", "go")
    await desk.fire(task, given={"number": 1})
    tasks = TaskReader(desk.api.engine, SERVER)
    run = desk.api.engine.codec.parse_run_id(task["id"])
    assert run is not None

    async def after(seconds: int) -> list[int]:
        record = await tasks.record(run)
        assert record is not None
        shown = await tasks.flat(record, record.since + seconds * 1_000_000)
        return [shown[name] for name in ("openDuration", "openDurationSinceLastUpdate", "openDurationSinceLastTransition")]

    whole, updated, moved = await after(3600)
    assert updated == 3600
    assert 3600 <= moved <= whole < 3700
    await desk.fire(task, "finish")
    assert (await after(3600))[1:] == [0, 0]
    assert 0 <= (await after(3600))[0] < 60
    before_it_ended = await desk.get(task, task["version"]["asAtModified"])
    assert before_it_ended["openDuration"] == 0
    later = await desk.get(await desk.create("job"), "2099-01-01")
    assert later["openDuration"] < 60


async def test_a_finished_task_s_fields_may_be_amended(desk: Desk) -> None:
    await desk.define(machine("job", "New go Done", fields=KINDS))
    task = await desk.create("job", "go", given={"text": "a"})
    after = await desk.fire(task, given={"text": "b"}, correlationIds=["x"])
    assert (values(after), after["version"]["asAtVersionNumber"], after["state"]) == ({"text": "b"}, 2, "Done")
    assert after["asAtLastTransition"] == task["asAtLastTransition"]
    again = await desk.fire(task, given={"number": 1})
    assert again["version"]["asAtVersionNumber"] == 3
    assert [each["id"] for each in await desk.listed("correlationIds any (~ eq 'x')")] == [task["id"]]


@pytest.mark.parametrize("finished", [False, True])
async def test_deleted_is_gone_from_now_on(desk: Desk, finished: bool) -> None:
    await desk.define(machine("job", "New go Doing, Doing finish Done", fields=KINDS))
    task = await desk.create("job", "go", given={"text": "a"})
    if finished:
        task = await desk.fire(task, "finish")
    gone = await desk.api.ok("DELETE", f"{TASKS}/{task['id']}")
    assert gone["effectiveFrom"].startswith("0001-01-01T00:00:00")
    assert gone["asAt"] > task["version"]["asAtModified"]
    path = f"{TASKS}/{task['id']}"
    for method, address in (("GET", path), ("DELETE", path), ("POST", path), ("GET", f"{path}/history")):
        assert (await desk.api.refused(404, method, address))["name"] == "TaskNotFound"
    assert (await desk.api.refused(404, "POST", path, trigger="finish"))["name"] == "TaskNotFound"
    assert await desk.listed() == []
    assert (await desk.get(task, task["version"]["asAtModified"]))["fields"] == task["fields"]
    assert len(await desk.listed(asAt=task["version"]["asAtModified"])) == 1
    assert (await desk.get(task, before(gone["asAt"])))["state"] == task["state"]
    assert (await desk.api.call("GET", path, asAt=gone["asAt"])).status == 404
    assert await desk.listed(asAt=gone["asAt"]) == []
    assert (await desk.api.ok("GET", f"{DEFINITIONS}/{here()}/job/tasks"))["values"] == []


async def test_many_are_deleted_at_once_or_none(desk: Desk) -> None:
    await desk.define(machine("job", WAYS))
    made = [await desk.create("job") for _ in range(3)]
    missing = "0" * 8 + "-0000-4000-8000-" + "0" * 12
    await desk.api.refused(404, "POST", f"{TASKS}/$delete", {"taskIds": [made[0]["id"], missing]})
    assert len(await desk.listed()) == 3
    ids = [made[0]["id"], made[1]["id"], made[0]["id"]]
    gone = await desk.api.ok("POST", f"{TASKS}/$delete", {"taskIds": ids})
    assert [each["id"] for each in await desk.listed()] == [made[2]["id"]]
    assert len(await desk.listed(asAt=before(gone["asAt"]))) >= 1
    assert len(await desk.listed(asAt=gone["asAt"])) == 1
    await desk.api.refused(404, "POST", f"{TASKS}/$delete", {"taskIds": [made[0]["id"]]})
    await desk.api.refused(400, "POST", f"{TASKS}/$delete", {})
    await desk.api.refused(400, "POST", f"{TASKS}/$delete", {"taskIds": "x"})
    await desk.api.refused(400, "POST", f"{TASKS}/$delete", {"taskIds": ["x"] * 1001})


# ---- definitions that change while tasks run


async def test_tasks_keep_the_version_of_their_definition(desk: Desk) -> None:
    first = machine("job", "New go Doing, Doing finish Done", fields={"text": "String"})
    await desk.define(first)
    old = await desk.create("job")
    other = machine("job", "Start jump End", fields={"number": "Decimal"}, displayName="Another")
    changed = await desk.redefine(other)
    new = await desk.create("job", "jump", given={"number": 1})
    assert new["state"] == "End"
    assert new["taskDefinitionVersion"]["asAtModified"] == changed["version"]["asAtModified"]
    assert new["taskDefinitionDisplayName"] == "Another"
    assert (await desk.refuses(old, "jump"))["name"] == "UnknownTrigger"
    assert (await desk.refuses(old, given={"number": 1}))["name"] == "FieldNotInSchema"
    after = await desk.fire(old, "go", given={"text": "x"})
    assert (after["state"], after["taskDefinitionDisplayName"]) == ("Doing", "Job")
    assert after["taskDefinitionVersion"] == old["taskDefinitionVersion"] != new["taskDefinitionVersion"]
    await desk.api.ok("DELETE", f"{DEFINITIONS}/{here()}/job")
    assert (await desk.fire(old, "finish"))["terminalState"] is True
    assert (await desk.api.call("POST", TASKS, {"taskDefinitionId": identity("job")})).status == 404
    await desk.define(machine("job", "A b C"))
    assert (await desk.create("job", "b"))["state"] == "C"
    assert (await desk.get(old))["taskDefinitionDisplayName"] == "Job"
    assert len(await desk.listed("taskDefinitionId.code eq 'job'")) == 3


async def test_tasks_of_a_definition(desk: Desk) -> None:
    await desk.define(machine("job", WAYS), machine("other", WAYS))
    path = f"{DEFINITIONS}/{here()}/job/tasks"
    assert (await desk.api.ok("GET", path))["values"] == []
    made = [await desk.create("job") for _ in range(12)]
    await desk.create("other")
    found = (await desk.api.ok("GET", path))["values"]
    assert [each["id"] for each in found] == [each["id"] for each in made]
    at = made[4]["version"]["asAtModified"]
    assert len((await desk.api.ok("GET", path, asAt=at))["values"]) == 5
    await desk.fire(made[0], "go")
    assert (await desk.api.ok("GET", path, asAt=at))["values"][0]["state"] == "New"
    assert (await desk.api.refused(404, "GET", f"{DEFINITIONS}/{here()}/none/tasks"))["name"] == "TaskDefinitionNotFound"
    await desk.api.refused(404, "GET", path, asAt="2020-01-01")


async def test_tasks_of_a_paused_definition_stand_and_say_so(desk: Desk) -> None:
    await desk.define(machine("job", WAYS, fields=KINDS))
    before_it = await desk.create("job")
    engine, name = desk.api.engine, f"{here()}/job"
    await engine.pause_process(SERVER, name, why="stocktaking")
    new = await desk.create("job")
    assert new["state"] == "New"
    for task in (new, before_it):
        await until(lambda task=task: stands(desk, task, True))  # type: ignore[misc]
        refused = await desk.api.refused(409, "POST", f"{TASKS}/{task['id']}", {"fields": []}, trigger="go")
        assert "is paused since" in refused["detail"]
        assert "(stocktaking)" in refused["detail"]
    await engine.resume_process(SERVER, name)
    for task in (new, before_it):
        await until(lambda task=task: stands(desk, task, False))  # type: ignore[misc]
        assert (await desk.fire(task, "go"))["state"] == "Doing"


async def stands(desk: Desk, task: Any, wanted: bool) -> bool:
    key = desk.api.engine.codec.parse_run_id(task["id"])
    assert key is not None
    head = await desk.api.engine.head(SERVER, key)
    return head is not None and (head.status == RunStatus.PAUSED) == wanted
