"""What people's event handlers do: several actions, templates from the root, JSON in JSON."""

from __future__ import annotations

from typing import Any

import pytest
from tests.languages.conductor.api import Api, step
from tests.languages.conductor.test_events import handler, post


async def runs_of(api: Api, name: str) -> list[Any]:
    found = await api.ok("GET", f"/workflow/running/{name}", version=1)
    return [await api.get(run) for run in found]


def begin(name: str, **more: Any) -> dict[str, Any]:
    return {"action": "start_workflow", "start_workflow": {"name": name, "version": 1, **more}}


# ---- actions stand each for itself


@pytest.mark.parametrize("bad_first", [True, False])
async def test_an_action_that_cannot_start_its_workflow_leaves_the_others_alone(api: Api, bad_first: bool) -> None:
    await api.register([step("WAIT", "w")], "good")
    actions = [begin("nowhere"), begin("good")]
    if not bad_first:
        actions.reverse()
    await api.ok("POST", "/event", {"name": "h", "event": "shop:paid", "active": True, "actions": actions})
    posted = await post(api, "shop:paid", {"k": 1})
    assert len(await runs_of(api, "good")) == 1
    assert sorted(effect.outcome for effect in posted.effects) == ["failed", "started"]
    [failed] = [effect for effect in posted.effects if effect.outcome == "failed"]
    assert "nowhere" in failed.detail
    assert posted.state == "matched"


async def test_an_action_on_a_version_that_is_not_there(api: Api) -> None:
    await api.register([step("WAIT", "w")], "good")
    later = {"action": "start_workflow", "start_workflow": {"name": "good", "version": 9}}
    await api.ok("POST", "/event", {"name": "h", "event": "shop:paid", "active": True, "actions": [later, begin("good")]})
    await post(api, "shop:paid", {})
    assert len(await runs_of(api, "good")) == 1
    await api.register([step("WAIT", "w")], "good", version=9)
    posted = await post(api, "shop:paid", {})
    assert [effect.outcome for effect in posted.effects] == ["started", "started"]


async def test_an_action_whose_template_fails_leaves_the_others_alone(api: Api) -> None:
    await api.register([step("WAIT", "w")], "good")
    big = begin("good", input={"x": "${big}" * 40})
    await api.ok("POST", "/event", {"name": "h", "event": "shop:paid", "active": True, "actions": [big, begin("good")]})
    posted = await post(api, "shop:paid", {"big": "x" * 100_000})
    assert sorted(effect.outcome for effect in posted.effects) == ["failed", "started"]
    assert len(await runs_of(api, "good")) == 1


async def test_a_handler_none_of_whose_actions_succeeds_has_failed(api: Api) -> None:
    actions = [begin("nowhere"), begin("neither")]
    await api.ok("POST", "/event", {"name": "h", "event": "shop:paid", "active": True, "actions": actions})
    posted = await post(api, "shop:paid", {})
    assert posted.state == "failed"
    [decision] = posted.decisions
    assert (decision.verdict, "nowhere" in decision.detail, "neither" in decision.detail) == ("failed", True, True)


# ---- what templates see


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("${$}", {"k": 7, "deep": [{"a": 1}]}),
        ("${$.k}", 7),
        ("${$.deep[0].a}", 1),
        ("${$['k']}", 7),
        ("${$.deep[*].a}", [1]),
        ("${$..a}", [1]),
        ("${k}", 7),
        ("k is ${$.k}", "k is 7"),
        ("${$.deep[${$.deep[0].a}].a}", None),
        ("${deep[0].a}", 1),
    ],
)
async def test_paths_from_the_root_of_the_payload(api: Api, template: str, value: Any) -> None:
    await api.register([step("WAIT", "w")], "good")
    given = {"name": "good", "version": 1, "input": {"found": template}}
    await api.ok("POST", "/event", handler("start_workflow", given))
    await post(api, "shop:paid", {"k": 7, "deep": [{"a": 1}]})
    [found] = await runs_of(api, "good")
    assert found["input"]["found"] == value


async def test_a_path_from_the_root_below_the_top_of_a_workflow(api: Api) -> None:
    """Only inputs at the top of a definition are held to name a task; the root sign means the same everywhere."""
    inner = step("SET_VARIABLE", "s", inputParameters={"x": "${$.workflow.input.a}", "y": "${$.nothing}"})
    loop = step("DO_WHILE", "l", loopCondition="false", loopOver=[inner])
    found = await api.ended(await api.run([loop], {"a": 5}))
    assert found["variables"] == {"x": 5, "y": None}


# ---- JSON in JSON

RECORDS = {
    "Records": [{"body": '{"id":5,"tags":["{\\"deep\\":1}"]}'}, {"body": "plain"}, '{"left":"alone"}'],
    "n": {"m": '["a"]'},
}


async def test_json_in_objects_in_lists_is_expanded(api: Api) -> None:
    await api.register([step("WAIT", "w")], "good")
    given = {"name": "good", "version": 1, "input": {"id": "${Records[0].body.id}", "all": "${Records}", "m": "${n.m[0]}"}}
    made = handler("start_workflow", given)
    made["actions"][0]["expandInlineJSON"] = True
    await api.ok("POST", "/event", made)
    await post(api, "shop:paid", RECORDS)
    [found] = await runs_of(api, "good")
    assert found["input"]["id"] == 5
    assert found["input"]["m"] == "a"
    assert found["input"]["all"] == [{"body": {"id": 5, "tags": ['{"deep":1}']}}, {"body": "plain"}, '{"left":"alone"}']


async def test_a_condition_reads_json_in_objects_in_lists(api: Api) -> None:
    await api.register([step("WAIT", "w")], "good")
    given = {"name": "good", "version": 1}
    await api.ok("POST", "/event", handler("start_workflow", given, condition="$.Records[0].body.id == 5"))
    assert (await post(api, "shop:paid", RECORDS)).state == "matched"


@pytest.mark.parametrize("condition", ["", "true", "$.body.id == 5"])
async def test_a_condition_changes_nothing_about_what_the_actions_see(api: Api, condition: str) -> None:
    await api.register([step("WAIT", "w")], "good")
    given = {"name": "good", "version": 1, "input": {"b": "${body}"}}
    await api.ok("POST", "/event", handler("start_workflow", given, condition=condition))
    await post(api, "shop:paid", {"body": '{"id":5}'})
    [found] = await runs_of(api, "good")
    assert found["input"]["b"] == '{"id":5}'
