"""What follows transitions: children, rows of them, and triggers up, down and along."""

from __future__ import annotations

from typing import Any

import pytest
from tests.languages.lusid.api import DEFINITIONS
from tests.languages.lusid.machines import (
    Desk,
    action,
    before,
    child,
    here,
    kinds,
    machine,
    steady,
    until,
    values,
)

from pelton.kernel.model.state import RunStatus
from pelton.runtime.caller import SERVER

pytestmark = pytest.mark.asyncio(loop_scope="session")
LEAF = "New go Doing, Doing finish Done"


def leaf(**more: Any) -> Any:
    return machine("leaf", LEAF, fields={"a": "String", "n": "Decimal"}, **more)


def maker(*children: Any, ways: str = "New begin Open !make, Open end Closed", **details: Any) -> Any:
    make = action("make", "CreateChildTasks", childTaskConfigurations=list(children), **details)
    return machine("root", ways, fields={"text": "String", "number": "Decimal", "key": "String"}, actions=[make])


async def test_children(desk: Desk) -> None:
    mappings = {"a": {"mapFrom": "text", "setTo": None}, "n": {"setTo": 7}}
    await desk.define(leaf(), maker(child("leaf", "go", childTaskFields=mappings), child("leaf")))
    root = await desk.create("root", user="ann", given={"text": "x"}, correlationIds=["track"])
    opened = await desk.fire(root, "begin", user="ben")
    assert opened["version"]["asAtVersionNumber"] == 2
    one, two = await desk.children(root, 2)
    assert (one["state"], two["state"]) == ("Doing", "New")
    assert values(one) == {"a": "x", "n": 7}
    assert values(two) == {}
    root = await desk.get(root)
    assert root["hierarchicalPosition"] == "UltimateParent"
    assert root["version"]["asAtVersionNumber"] == 2
    for each in (one, two):
        assert each["hierarchicalPosition"] == "Child"
        assert each["parentTask"]["id"] == each["ultimateParentTask"]["id"] == root["id"]
        assert each["parentTask"]["state"] == "Open"
        assert each["correlationIds"] == ["track"]
        assert each["version"]["asAtVersionNumber"] == 1
        assert each["version"]["userIdCreated"] == "ben"
        assert each["version"]["requestIdCreated"] == root["version"]["requestIdModified"]
        assert each["actionLogIdCreated"] == root["actionLogIdSubmitted"]
        assert "previousTask" not in each
        assert "nextTask" not in each
    assert [(each["id"], each["state"]) for each in root["childTasks"]] == [(one["id"], "Doing"), (two["id"], "New")]
    log = await desk.log(root["actionLogIdSubmitted"])
    assert (log["actionType"], log["runAsUserId"]) == ("CreateChildTasks", "ben")
    assert log["origin"] == {"requestId": opened["version"]["requestIdModified"], "taskId": root["id"]}
    assert kinds(log)[0] == "ActionSubmitted"
    assert kinds(log)[-1] == "ActionSuccessful"
    assert await desk.history(root) == [(2, "State", "New", "Open")]


async def test_run_as(desk: Desk) -> None:
    root = maker(child("leaf"))
    root["actions"][0]["runAsUserId"] = "robot"
    await desk.define(leaf(), root)
    made = await desk.create("root", "begin", user="ann")
    [one] = await desk.children(made, 1)
    assert one["version"]["userIdCreated"] == "robot"
    assert (await desk.log(made["actionLogIdSubmitted"]))["runAsUserId"] == "robot"


async def test_children_that_cannot_be_made_are_told_in_the_log(desk: Desk) -> None:
    await desk.define(
        machine("leaf", "New go Done [fields['a'] exists]", fields={"a": "String", "n": "Decimal"}, required=("n",)),
        maker(
            child("leaf"),
            child("leaf", childTaskFields={"n": {"mapFrom": "text"}}),
            child("leaf", "go", childTaskFields={"n": {"setTo": 1}}),
            child("leaf", "stop", childTaskFields={"n": {"setTo": 1}}),
            child("leaf", childTaskFields={"n": {"setTo": 1}, "other": {"setTo": 1}}),
            child("nowhere"),
            child("leaf", childTaskFields={"n": {"setTo": 2}}),
        ),
    )
    root = await desk.create("root", "begin", given={"text": "many"})
    log = await desk.said(root["actionLogIdSubmitted"], "ActionFailed", 6)
    said = [each["details"] for each in log["loggedItems"] if each["logType"] == "ActionFailed"]
    for part in (
        "needs a value for 'n'",
        "must be a number",
        "fields['a'] exists|not allowed",
        "leads nowhere|not declared",
        "'other'",
        "nowhere",
    ):
        assert any(option in text for text in said for option in part.split("|")), (part, said)
    [one] = await desk.children(root, 1)
    assert values(one) == {"n": 2}


async def test_conditions_see_the_fields_of_the_triggering_update(desk: Desk) -> None:
    await desk.define(
        leaf(),
        maker(
            child("leaf", condition="fields['number'] gt 5", childTaskFields={"a": {"setTo": "big"}}),
            child("leaf", condition="fields['number'] lte 5", childTaskFields={"a": {"setTo": "small"}}),
            child("leaf", condition="fields['text'] exists", childTaskFields={"a": {"setTo": "text"}}),
        ),
    )
    root = await desk.create("root", given={"number": 9})
    await desk.fire(root, "begin", given={"number": 2})
    assert [values(each)["a"] for each in await desk.children(root, 1)] == ["small"]


async def test_conditions_are_like_guards(desk: Desk) -> None:
    conditions = {
        "other": "UserCreated neq CurrentUser",
        "same": "UserCreated eq CurrentUser",
        "open": "state eq 'Open' and childTasks none (state eq 'New')",
    }
    wanted = [child("leaf", condition=text, childTaskFields={"a": {"setTo": name}}) for name, text in conditions.items()]
    await desk.define(leaf(), maker(*wanted))
    root = await desk.create("root", user="ann")
    await desk.fire(root, "begin", user="ben")
    assert [values(each)["a"] for each in await desk.children(root, 2)] == ["other", "open"]


async def test_stacking_keys_are_mapped(desk: Desk) -> None:
    keys = [child("leaf", mapStackingKeyFrom="key"), child("leaf", mapStackingKeyFrom="text"), child("leaf")]
    await desk.define(leaf(), maker(*keys))
    root = await desk.create("root", "begin", given={"key": "k"})
    one, two, three = await desk.children(root, 3)
    assert one["stackingKey"] == "k"
    assert "stackingKey" not in two
    assert "stackingKey" not in three


async def test_a_pinned_version_of_the_child_s_definition(desk: Desk) -> None:
    await desk.define(leaf())
    first = await desk.api.ok("GET", f"{DEFINITIONS}/{here()}/leaf")
    at = first["version"]["asAtModified"]
    changed = await desk.redefine(machine("leaf", "Other go Done", displayName="Second"))
    await desk.define(
        maker(
            child("leaf", taskDefinitionAsAt=at),
            child("leaf"),
            child("leaf", taskDefinitionAsAt="9999-12-31T23:59:59.999999Z"),
            child("leaf", taskDefinitionAsAt="2020-01-01"),
        )
    )
    root = await desk.create("root", "begin")
    await desk.said(root["actionLogIdSubmitted"], "ActionFailed")
    one, two, three = await desk.children(root, 3)
    assert (one["state"], one["taskDefinitionVersion"]["asAtModified"]) == ("New", at)
    for each in (two, three):
        assert (each["state"], each["taskDefinitionVersion"]["asAtModified"]) == ("Other", changed["version"]["asAtModified"])


async def test_many_children(desk: Desk) -> None:
    await desk.define(leaf(), maker(*(child("leaf", childTaskFields={"n": {"setTo": n}}) for n in range(120))))
    root = await desk.create("root", "begin")
    found = await desk.children(root, 120)
    assert [values(each)["n"] for each in found] == list(range(120))


async def test_a_deleted_child_does_not_count(desk: Desk) -> None:
    ways = "New begin Open !make, Open end Closed [childTasks all (state eq 'Done')]"
    await desk.define(leaf(), maker(child("leaf"), child("leaf", "go"), ways=ways))
    made = await desk.create("root", "begin")
    one, two = await desk.children(made, 2)
    done = await desk.fire(two, "finish")
    await desk.refuses(made, "end")
    gone = await desk.api.ok("DELETE", f"/workflow/api/tasks/{one['id']}")
    assert [each["id"] for each in (await desk.get(made))["childTasks"]] == [two["id"]]
    then = await desk.get(made, done["version"]["asAtModified"])
    assert [(each["id"], each["state"]) for each in then["childTasks"]] == [(one["id"], "New"), (two["id"], "Done")]
    earlier = await desk.get(made, before(done["version"]["asAtModified"]))
    assert [each["state"] for each in earlier["childTasks"]] == ["New", "Doing"]
    assert len((await desk.get(made, gone["asAt"]))["childTasks"]) == 1
    assert (await desk.fire(made, "end"))["state"] == "Closed"


async def test_children_outlive_a_deleted_parent(desk: Desk) -> None:
    up = action("up", "TriggerParentTask", trigger="end")
    await desk.define(machine("leaf", "New go Done !up", actions=[up]), maker(child("leaf")))
    root = await desk.create("root", "begin")
    [one] = await desk.children(root, 1)
    await desk.api.ok("DELETE", f"/workflow/api/tasks/{root['id']}")
    found = await desk.get(one)
    assert "parentTask" not in found
    assert found["ultimateParentTask"]["id"]
    assert found["hierarchicalPosition"] == "Child"
    assert (await desk.get(one, one["version"]["asAtCreated"]))["parentTask"]["id"] == root["id"]
    done = await desk.fire(one, "go")
    assert done["state"] == "Done"
    log = await desk.said(done["actionLogIdSubmitted"], "TriggerNotApplied")
    assert "ActionSubmitted" in kinds(log)


# ---- up


async def test_the_last_child_ends_the_parent(desk: Desk) -> None:
    up = action("up", "TriggerParentTask", trigger="end")
    await desk.define(
        machine("leaf", "New go Done !up, New skip Skipped !up", actions=[up]),
        maker(*[child("leaf")] * 3, ways="New begin Open !make, Open end Closed [childTasks all (state in 'Done'; 'Skipped')]"),
    )
    root = await desk.create("root", "begin", user="ann")
    made = await desk.children(root, 3)
    first = await desk.fire(made[0], "go")
    log = await desk.said(first["actionLogIdSubmitted"], "TriggerNotApplied")
    [text] = [each["details"] for each in log["loggedItems"] if each["logType"] == "TriggerNotApplied"]
    assert "'end'" in text
    assert root["id"] in text
    assert (await desk.get(root))["version"]["asAtVersionNumber"] == 1
    await desk.fire(made[1], "skip")
    last = await desk.fire(made[2], "go", user="ben")
    closed = await desk.becomes(root, "Closed")
    assert closed["version"]["asAtVersionNumber"] == 2
    assert closed["actionLogIdModified"] == last["actionLogIdSubmitted"]
    assert closed["version"]["userIdModified"] == "ben"
    assert closed["version"]["requestIdModified"] == last["version"]["requestIdModified"]
    assert "TriggerNotApplied" not in kinds(await desk.log(last["actionLogIdSubmitted"]))


async def test_triggers_that_lead_nowhere_are_tolerated(desk: Desk) -> None:
    names = ("unknown", "begin", "end")
    ups = [action(f"up-{name}", "TriggerParentTask", trigger=name) for name in names]
    ways = ",".join(f"S{n} go-{name} S{n + 1} !up-{name}" for n, name in enumerate(names))
    guarded = "New begin Open !make, Open end Closed [fields['text'] exists]"
    await desk.define(machine("leaf", ways, actions=ups), maker(child("leaf"), ways=guarded))
    root = await desk.create("root", "begin")
    [one] = await desk.children(root, 1)
    for name in names:
        after = await desk.fire(one, f"go-{name}")
        log = await desk.said(after["actionLogIdSubmitted"], "TriggerNotApplied")
        assert any(f"'{name}'" in item["details"] for item in log["loggedItems"])
    assert steady(await desk.get(root))["version"] == root["version"]
    alone = await desk.create("leaf", "go-unknown")
    assert kinds(await desk.said(alone["actionLogIdSubmitted"], "ActionSuccessful"))[0] == "ActionSubmitted"


async def test_three_levels_and_more(desk: Desk) -> None:
    """The lowest that ends ends the one above, and so on up to the root."""
    up = action("up", "TriggerParentTask", trigger="end")
    levels = 4
    for level in range(levels):
        make = action("make", "CreateChildTasks", childTaskConfigurations=[child(f"l{level + 1}", "begin")] * 2)
        guard = "[childTasks all (state eq 'Closed')]"
        await desk.define(machine(f"l{level}", f"New begin Open !make, Open end Closed !up {guard}", actions=[make, up]))
    await desk.define(machine(f"l{levels}", "New begin Open, Open end Closed !up", actions=[up]))
    root = await desk.create("l0", "begin", user="ann")

    async def lowest() -> Any:
        found = await desk.listed(f"taskDefinitionId.code eq 'l{levels}'")
        return found if len(found) == 2**levels else None

    found = await until(lowest)
    assert {each["ultimateParentTask"]["id"] for each in found} == {root["id"]}
    middle = await desk.listed("hierarchicalPosition eq 'IntermediateParent'")
    assert len(middle) == 2 + 4 + 8
    first = root["version"]["requestIdCreated"]
    assert {each["version"]["requestIdCreated"] for each in found} == {first}
    for each in found[:-1]:
        await desk.fire(each, "end")
    assert (await desk.get(root))["state"] == "Open"
    last = await desk.fire(found[-1], "end")
    closed = await desk.becomes(root, "Closed")
    assert closed["version"]["requestIdModified"] == last["version"]["requestIdModified"]
    assert await desk.listed("state neq 'Closed'") == []


# ---- down


async def test_triggers_for_children(desk: Desk) -> None:
    tell = action("tell", "TriggerChildTasks", trigger="go")
    some = action("some", "TriggerChildTasks", "robot", trigger="finish", filter="fields['n'] gt 1 and state eq 'Doing'")
    three = [child("leaf", childTaskFields={"n": {"setTo": n}}) for n in range(3)]
    make = action("make", "CreateChildTasks", childTaskConfigurations=three)
    ways = "New begin Open !make, Open next Told !tell, Told more Said !some, Said on On !tell"
    await desk.define(leaf(), machine("root", ways, actions=[make, tell, some]))
    root = await desk.create("root", "begin")
    await desk.children(root, 3)
    told = await desk.fire(root, "next", user="ann")
    found = await desk.children(root, 3, "Doing")
    assert {each["actionLogIdModified"] for each in found} == {told["actionLogIdSubmitted"]}
    assert {each["version"]["userIdModified"] for each in found} == {"ann"}
    await desk.fire(root, "more")
    last = await desk.becomes(found[2], "Done")
    assert last["version"]["userIdModified"] == "robot"
    assert [(await desk.get(each))["state"] for each in found] == ["Doing", "Doing", "Done"]
    again = await desk.fire(root, "on")
    log = await desk.said(again["actionLogIdSubmitted"], "TriggerNotApplied", 3)
    assert kinds(log).count("TriggerNotApplied") == 3


async def test_children_chosen_by_their_place_in_the_row(desk: Desk) -> None:
    begin = action("first", "TriggerChildTasks", trigger="go", filter="previousTask not exists")
    rest = action("rest", "TriggerChildTasks", trigger="finish", filter="previousTask exists")
    make = action("make", "CreateChildTasks", childTaskConfigurations=[child("leaf")] * 3, ordering="Series")
    ways = "New begin Open !make, Open next Told !first, Told more Said !rest"
    await desk.define(leaf(), machine("root", ways, actions=[make, begin, rest]))
    root = await desk.create("root", "begin")
    one, *_ = await desk.children(root, 3)
    await desk.fire(root, "next")
    await desk.becomes(one, "Doing")
    more = await desk.fire(root, "more")
    log = await desk.said(more["actionLogIdSubmitted"], "TriggerNotApplied", 2)
    assert [each["state"] for each in await desk.children(root, 3)] == ["Doing", "New", "New"]
    assert kinds(log).count("TriggerNotApplied") == 2


# ---- along


def row(*children: Any, **more: Any) -> Any:
    make = action("make", "CreateChildTasks", childTaskConfigurations=list(children), ordering="Series")
    ways = "New begin Open !make, Open end Closed, Open oops Broken"
    return machine("root", ways, actions=[make], **more)


async def test_a_row_of_children(desk: Desk) -> None:
    along = action("along", "TriggerNextTask", defaultTrigger="go")
    await desk.define(
        machine("leaf", "New go Doing, New jump Doing, Doing finish Done !along", actions=[along]),
        row(child("leaf", "go"), child("leaf", "jump"), child("leaf")),
    )
    root = await desk.create("root", "begin", user="ann")
    one, two, three = await desk.children(root, 3)
    assert [each["state"] for each in (one, two, three)] == ["Doing", "New", "New"]
    assert (one["nextTask"]["id"], two["nextTask"]["id"]) == (two["id"], three["id"])
    assert (two["previousTask"]["id"], three["previousTask"]["id"]) == (one["id"], two["id"])
    assert "previousTask" not in one
    assert "nextTask" not in three
    assert one["nextTaskInitialTrigger"] == "jump"
    assert "nextTaskInitialTrigger" not in two
    assert one["nextTask"]["state"] == "New"
    done = await desk.fire(one, "finish", user="ben")
    moved = await desk.becomes(two, "Doing")
    assert moved["actionLogIdModified"] == done["actionLogIdSubmitted"]
    assert moved["version"]["userIdModified"] == "ben"
    assert moved["version"]["requestIdModified"] == done["version"]["requestIdModified"]
    assert (await desk.get(three))["state"] == "New"
    await desk.fire(two, "finish")
    await desk.becomes(three, "Doing")
    last = await desk.fire(three, "finish")
    log = await desk.said(last["actionLogIdSubmitted"], "ActionSuccessful")
    assert "TriggerNotApplied" not in kinds(log)
    then = await desk.get(two, one["version"]["asAtCreated"])
    assert then["previousTask"]["id"] == one["id"]


async def test_at_the_end_of_the_row_another_action_takes_over(desk: Desk) -> None:
    fallback = {"endOfSequence": "up", "nextTaskError": "oops"}
    along = action("along", "TriggerNextTask", defaultTrigger="go", fallbackActions=fallback)
    others = [action("up", "TriggerParentTask", trigger="end"), action("oops", "TriggerParentTask", "robot", trigger="oops")]
    await desk.define(
        machine("leaf", "New go Doing, Doing finish Done !along", actions=[along, *others]),
        row(child("leaf", "go"), child("leaf")),
    )
    root = await desk.create("root", "begin")
    one, two = await desk.children(root, 2)
    first = await desk.fire(one, "finish")
    await desk.becomes(two, "Doing")
    assert (await desk.get(root))["state"] == "Open"
    last = await desk.fire(two, "finish", user="ben")
    closed = await desk.becomes(root, "Closed")
    assert closed["version"]["userIdModified"] == "ben"
    assert closed["version"]["requestIdModified"] == last["version"]["requestIdModified"]
    assert (await desk.log(closed["actionLogIdModified"]))["actionType"] == "TriggerParentTask"
    for each in (first, last):
        assert (await desk.log(each["actionLogIdSubmitted"]))["actionType"] == "TriggerNextTask"
    assert (await desk.get(two))["version"]["asAtVersionNumber"] == 3
    for each in (one, two):  # nothing is left waiting
        run = desk.api.engine.codec.parse_run_id(each["id"])
        view = await desk.api.engine.view(SERVER, run) if run is not None else None
        assert view is not None
        assert view.run.status == RunStatus.COMPLETED


@pytest.mark.parametrize("why", ["moved on", "deleted", "guard", "unknown"])
async def test_when_the_next_one_cannot_be_triggered_another_action_takes_over(desk: Desk, why: str) -> None:
    trigger = "nonsense" if why == "unknown" else "go"
    along = action("along", "TriggerNextTask", defaultTrigger=trigger, fallbackActions={"nextTaskError": "oops"})
    oops = action("oops", "TriggerParentTask", trigger="oops")
    guard = " [fields['a'] exists]" if why == "guard" else ""
    ways = f"New start Doing, New go Doing{guard}, Doing finish Done !along"
    leaf = machine("leaf", ways, fields={"a": "String"}, actions=[along, oops])
    await desk.define(leaf, row(child("leaf", "start"), child("leaf")))
    root = await desk.create("root", "begin", user="ann")
    one, two = await desk.children(root, 2)
    if why == "moved on":
        await desk.fire(two, "start")
    done = await desk.fire(one, "finish", user="ben") if why != "deleted" else None
    if why == "deleted":  # the sibling goes: the row ends there, which is no error
        await desk.api.ok("DELETE", f"/workflow/api/tasks/{two['id']}")
        done = await desk.fire(one, "finish", user="ben")
        await desk.said(done["actionLogIdSubmitted"], "ActionSuccessful")
        assert (await desk.get(root))["state"] == "Open"
        return
    assert done is not None
    broken = await desk.becomes(root, "Broken")
    assert broken["version"]["userIdModified"] == "ben"
    assert broken["version"]["requestIdModified"] == done["version"]["requestIdModified"]
    await desk.said(done["actionLogIdSubmitted"], "TriggerNotApplied")


async def test_fallbacks_that_go_in_a_circle_are_refused(desk: Desk) -> None:
    def along(name: str, other: str) -> Any:
        return action(name, "TriggerNextTask", fallbackActions={"endOfSequence": other})

    for actions in ([along("a", "a")], [along("a", "b"), along("b", "c"), along("c", "a")]):
        body = machine("leaf", "New go Done !a", actions=actions)
        problem = await desk.api.refused(400, "POST", DEFINITIONS, body)
        assert "actions[0].actionDetails.fallbackActions" in problem["errors"]
    body = machine("leaf", "New go Done !a", actions=[along("a", "none")])
    await desk.api.refused(400, "POST", DEFINITIONS, body)
    chain = [along("a", "b"), along("b", "c"), action("c", "TriggerParentTask", trigger="end")]
    await desk.define(machine("leaf", "New go Done !a", actions=chain), maker(child("leaf")))
    root = await desk.create("root", "begin")
    [one] = await desk.children(root, 1)
    await desk.fire(one, "go")
    await desk.becomes(root, "Closed")


async def test_a_transition_repeats_its_action(desk: Desk) -> None:
    await desk.define(leaf(), maker(child("leaf"), ways="Open more Open !make, Open end Closed"))
    root = await desk.create("root")
    logs = set()
    for count in range(1, 4):
        after = await desk.fire(root, "more")
        logs.add(after["actionLogIdSubmitted"])
        await desk.children(root, count)
    assert len(logs) == 3
    found = await desk.children(root, 3)
    assert {each["actionLogIdCreated"] for each in found} == logs
    for each in logs:
        assert kinds(await desk.log(each)) == ["ActionSubmitted", "ActionSuccessful"]


async def test_two_terminal_states_at_once(desk: Desk) -> None:
    """A task that ends with its transition still does what the transition asks for."""
    await desk.define(leaf(), maker(child("leaf", "go"), ways="New begin Closed !make"))
    root = await desk.create("root", "begin")
    assert root["terminalState"] is True
    [one] = await desk.children(root, 1)
    assert one["state"] == "Doing"
    assert one["parentTask"]["state"] == "Closed"


async def test_logs_that_are_not_there(desk: Desk) -> None:
    await desk.define(leaf())
    task = await desk.create("leaf")
    for bad in (task["id"], "x", "0" * 8 + "-0000-4000-8000-" + "0" * 12):
        assert (await desk.api.refused(404, "GET", f"/workflow/api/actionlogs/{bad}"))["name"] == "ActionLogNotFound"
