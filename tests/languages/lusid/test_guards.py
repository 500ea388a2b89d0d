"""Guards: every form that is published, the names that only they have, and children seen by them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.languages.lusid.api import DEFINITIONS
from tests.languages.lusid.machines import TASKS, Desk, action, child, fields, machine

pytestmark = pytest.mark.asyncio(loop_scope="session")
KINDS = {"a": "String", "b": "String", "d": "String", "number": "Decimal", "when": "DateTime", "flag": "Boolean"}

FORMS: list[tuple[str, dict[str, Any], bool]] = [
    ("fields['a'] exists and fields['b'] exists", {"a": "x", "b": ""}, True),
    ("fields['a'] exists and fields['b'] exists", {"a": "x"}, False),
    ("fields['a'] exists AND fields['a'] NOT eq ''", {"a": "x"}, True),
    ("fields['a'] exists AND fields['a'] NOT eq ''", {"a": ""}, False),
    ("fields['a'] exists AND fields['a'] NOT eq ''", {}, False),
    ("fields['d'] neq ''", {"d": "x"}, True),
    ("fields['d'] neq ''", {"d": ""}, False),
    ("fields['d'] neq ''", {}, False),
    ("not (fields['d'] eq 'x')", {}, True),
    ("fields['d'] not exists", {}, True),
    ("fields[d] eq 'X'", {"d": "x"}, True),
    ("fields['number'] gt 2 and fields['number'] lte 2.5", {"number": "2.5"}, True),
    ("fields['when'] gte 2024-01-01", {"when": "2024-01-01T00:00:00"}, True),
    ("fields['when'] lt '2024-01-01T00:00:00Z'", {"when": "2024-01-01T01:00:00+02:00"}, True),
    ("fields['flag'] eq true", {"flag": "true"}, True),
    ("fields['flag'] eq True", {"flag": False}, False),
    ("fields['a'] in 'x', 'y'", {"a": "y"}, True),
    ("fields['a'] in ('x', 'y') and fields['b'] not in 'z'", {"a": "y", "b": "x"}, True),
    ("fields['nowhere'] exists", {}, False),
    ("fields['nowhere'] not exists", {}, True),
    ("state eq 'New'", {}, True),
    ("correlationIds any (~ startswith 'batch-')", {}, True),
    ("correlationIds none (~ eq 'batch-1')", {}, False),
    ("stackingKey eq 'k1'", {}, True),
    ("taskDefinitionId.code eq 'job'", {}, True),
    ("childTasks all (state eq 'Done')", {}, True),
    ("childTasks any (state eq 'Done')", {}, False),
    ("childTasks none (state eq 'Done')", {}, True),
    ("UserCreated eq 'ann'", {}, True),
    ("UserUpdated eq 'ann'", {}, True),
    ("version.userIdCreated eq 'ann'", {}, True),
    ("version.userIdModified eq 'ann'", {}, True),
    ("version.asAtVersionNumber eq 1", {}, True),
    ("version.asAtCreated gt 2020-01-01", {}, True),
    ("terminalState eq false", {}, True),
    ("completionStatus eq 'NotStarted'", {}, True),
    ("parentTask not exists", {}, True),
    ("asAtLastTransition gt 2020-01-01", {}, True),
    ("CurrentUser eq 'ben'", {}, True),
    ("CurrentUser not in 'ben'", {}, False),
    ("not (CurrentUser eq 'ben')", {}, False),
    ("currentuser in 'ann', 'ben' and CurrentUser neq CurrentUser", {}, False),
    ("correlationIds[1] eq 'batch-1'", {}, True),
    ("correlationIds[2] exists", {}, False),
]


@pytest.mark.parametrize("number", range(len(FORMS)))
async def test_forms(desk: Desk, number: int) -> None:
    guard, given, passes = FORMS[number]
    await desk.define(machine("job", f"New go Done [{guard.replace(',', ';')}]", fields=KINDS))
    task = await desk.create("job", user="ann", given=given, correlationIds=["other", "batch-1"], stackingKey="k1")
    if passes:
        assert (await desk.fire(task, "go", user="ben"))["state"] == "Done"
    else:
        assert (await desk.refuses(task, "go", user="ben"))["name"] == "GuardConditionNotMet"


async def test_the_fields_of_the_triggering_update_are_seen(desk: Desk) -> None:
    await desk.define(machine("job", "New go Done [fields['a'] eq 'x' and fields['b'] not exists]", fields=KINDS))
    task = await desk.create("job", given={"b": "y"})
    await desk.refuses(task, "go", given={"a": "x"})
    await desk.refuses(task, "go", given={"a": "z", "b": None})
    assert (await desk.fire(task, "go", given={"a": "x", "b": None}))["state"] == "Done"


async def test_four_eyes(desk: Desk) -> None:
    for code, guard in enumerate(
        ("UserCreated neq CurrentUser", "version.userIdCreated neq CurrentUser", "UserUpdated neq CurrentUser")
    ):
        await desk.define(machine(f"job-{code}", f"New go Done [{guard}]", fields=KINDS))
        task = await desk.create(f"job-{code}", user="ann")
        await desk.refuses(task, "go", user="ann")
        await desk.refuses(task, "go", user="ann", given={"a": "x"})
        assert (await desk.fire(task, "go", user="ben"))["state"] == "Done"


async def test_who_updated_it_last(desk: Desk) -> None:
    """The creator until somebody else changes it; who fires now is not yet that."""
    await desk.define(
        machine("job", "New go Mid [UserUpdated neq CurrentUser], Mid on Done [UserUpdated neq CurrentUser]", fields=KINDS)
    )
    task = await desk.create("job", user="ann")
    await desk.fire(task, user="ben", given={"a": "x"})
    await desk.refuses(task, "go", user="ben")
    await desk.refuses(task, "go", user="ben", given={"a": "y"})
    after = await desk.fire(task, "go", user="ann", given={"a": "y"})
    assert after["version"]["userIdModified"] == "ann"
    await desk.refuses(task, "on", user="ann")
    assert (await desk.fire(task, "on", user="ben"))["state"] == "Done"


async def test_the_run_as_user_is_the_current_one_of_automatic_triggers(desk: Desk) -> None:
    up = action("up", "TriggerParentTask", "robot", trigger="finish")
    await desk.define(
        machine("leaf", "New go Done !up", actions=[up]),
        machine(
            "root",
            "New go Open !down, Open finish Done [UserCreated neq CurrentUser]",
            actions=[action("down", "CreateChildTasks", childTaskConfigurations=[child("leaf")])],
        ),
    )
    root = await desk.create("root", "go", user="ann")
    [leaf] = await desk.children(root, 1)
    await desk.refuses(root, "finish", user="ann")
    await desk.fire(leaf, "go", user="ann")
    done = await desk.becomes(root, "Done")
    assert done["version"]["userIdModified"] == "robot"


CHILDREN: list[tuple[str, list[str]]] = [
    # the guard; for none, one, two of two children done: whether it holds
    ("childTasks all (state eq 'Done' or state eq 'Skipped')", ["no", "no", "yes"]),
    ("childTasks all (state in 'Done')", ["no", "no", "yes"]),
    ("childTasks any (state eq 'Done')", ["no", "yes", "yes"]),
    ("childTasks none (state eq 'New')", ["no", "no", "yes"]),
    ("childTasks all (fields['n'] gt 0 and state eq 'Done')", ["no", "no", "yes"]),
    ("childTasks any (fields['n'] eq 2 and state eq 'Done')", ["no", "no", "yes"]),
    ("childTasks all (completionStatus eq 'Completed')", ["no", "no", "yes"]),
    ("childTasks all (terminalState eq true)", ["no", "no", "yes"]),
    ("childTasks none (id eq 'x') and childTasks all (id exists and parentTask.id exists)", ["yes", "yes", "yes"]),
    ("childTasks all (taskDefinitionId.code neq 'leaf' or state eq 'Done')", ["no", "no", "yes"]),
    ("childTasks any (version.userIdModified eq 'kim')", ["no", "yes", "yes"]),
]


@pytest.mark.parametrize("number", range(len(CHILDREN)))
async def test_children(desk: Desk, number: int) -> None:
    guard, expected = CHILDREN[number]
    two = [child("leaf", childTaskFields={"n": {"setTo": n}}) for n in (1, 2)]
    await desk.define(
        machine("leaf", "New go Done", fields={"n": "Decimal"}),
        machine(
            "root",
            f"New begin Open !make, Open look Open [{guard}]",
            actions=[action("make", "CreateChildTasks", childTaskConfigurations=two)],
        ),
    )
    root = await desk.create("root", "begin")
    leaves = await desk.children(root, 2)
    for done, answer in enumerate(expected):
        if done:
            await desk.fire(leaves[done - 1], "go", user="kim")
        if answer == "yes":
            await desk.fire(root, "look")
        else:
            assert (await desk.refuses(root, "look"))["name"] == "GuardConditionNotMet"


async def test_a_guard_sees_what_its_children_have_become_at_the_same_moment(desk: Desk) -> None:
    """The parent may close while its child stands; the child falls when it may, and asks its own child whether it may."""
    down = action("down", "CreateChildTasks", childTaskConfigurations=[child("mid", childTaskFields={"n": {"setTo": 1}})])
    under = action("under", "CreateChildTasks", childTaskConfigurations=[child("leaf", childTaskFields={"n": {"setTo": 1}})])
    await desk.define(
        machine("leaf", "New go Done", fields={"n": "Decimal"}),
        machine(
            "mid",
            "New begin Open !under, Open fall Fallen [childTasks all (fields['n'] gt 0)]",
            fields={"n": "Decimal"},
            actions=[under],
        ),
        machine("root", "New begin Open !down, Open close Closed [childTasks all (fields['n'] gt 0)]", actions=[down]),
    )
    for _ in range(4):
        root = await desk.create("root", "begin")
        [mid] = await desk.children(root, 1)
        await desk.fire(mid, "begin")
        await desk.children(mid, 1)
        fall = desk.api.call("POST", f"{TASKS}/{mid['id']}", {"fields": fields(n=-1)}, trigger="fall")
        close = desk.api.call("POST", f"{TASKS}/{root['id']}", None, trigger="close")
        shut, fallen = await asyncio.gather(close, fall)
        assert fallen.status == 200
        if shut.status == 200:
            assert shut.json["version"]["asAtModified"] < fallen.json["version"]["asAtModified"]
        else:
            assert shut.json["name"] == "GuardConditionNotMet"


NOWHERE = [
    # (guard, what there is not, one that there is)
    ("not (stte eq 'Done')", "'stte'", "state"),
    ("not (childTask any (state eq 'Done'))", "'childTask'", "childTasks"),
    ("not (childTasks any (stte eq 'Done'))", "'stte'", "state"),
    ("not (childTasks any (CurrentUser eq 'ann'))", "'CurrentUser'", "UserCreated"),
    ("not (childTasks all (fields['a'] eq 'x' or taskDefinitionId.cod eq 'x'))", "'cod' in taskDefinitionId", "code"),
    ("not (CurentUser eq 'ben')", "'CurentUser'", "CurrentUser"),
    ("not (version.userCreated eq 'ann')", "'userCreated' in version", "userIdCreated"),
    ("not (parentTask.state eq 'Done')", "'state' in parentTask", "id"),
    ("properties[Task/a/b] eq 'x'", "'properties'", "fields"),
    ("some.other.member exists", "'some'", "state"),
    ("state.name eq 'Done'", "state has no members", ""),
    ("CurrentUser.id eq 'ann'", "CurrentUser has no members", ""),
    ("not (state any (~ eq 'Done'))", "state is no list", ""),
    ("not (childTasks.state eq 'Done')", "childTasks is a list", "any"),
    ("not (~ eq 'x')", "no ~ outside", "state"),
]


@pytest.mark.parametrize("number", range(len(NOWHERE)))
async def test_a_word_that_leads_nowhere_is_refused(desk: Desk, number: int) -> None:
    guard, missing, known = NOWHERE[number]
    made = machine("job", "New go Done", fields=KINDS)
    made["transitions"][0]["guard"] = guard
    said = await desk.api.refused(400, "POST", DEFINITIONS, made)
    [message] = said["errors"]["transitions[0].guard"]
    assert missing in message
    assert known in message
    made["transitions"][0].pop("guard")
    child_row = {"taskDefinitionId": made["id"], "condition": guard}
    details = {"type": "CreateChildTasks", "childTaskConfigurations": [child_row]}
    said = await desk.api.refused(400, "POST", DEFINITIONS, {**made, "actions": [{"name": "split", "actionDetails": details}]})
    assert missing in said["errors"]["actions[0].actionDetails.childTaskConfigurations[0].condition"][0]


async def test_a_filter_on_children_leads_somewhere_too(desk: Desk) -> None:
    made = machine("job", "New go Done", fields=KINDS)
    for condition, missing in (("not (stte eq 'x')", "'stte'"), ("childTasks any (state eq 'x')", "'childTasks'")):
        details = {"type": "TriggerChildTasks", "trigger": "go", "filter": condition}
        said = await desk.api.refused(400, "POST", DEFINITIONS, {**made, "actions": [{"name": "tell", "actionDetails": details}]})
        assert missing in said["errors"]["actions[0].actionDetails.filter"][0]


async def test_children_are_made_by_who_changes_their_parent(desk: Desk) -> None:
    """`CurrentUser` on the left of a condition."""
    one = action(
        "split", "CreateChildTasks", childTaskConfigurations=[child("kid", condition="CurrentUser eq 'ben'"), child("kid")]
    )
    await desk.define(machine("kid", "New go Done"), machine("parent", "New go Done !split", actions=[one]))
    for user, count in (("ben", 2), ("ann", 1)):
        task = await desk.create("parent", user="ann")
        await desk.fire(task, "go", user=user)
        await desk.children(task, count)
