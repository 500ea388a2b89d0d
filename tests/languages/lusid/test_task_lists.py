"""Lists of tasks: filters and orders over every member, pages that stay the same, and many updates in one request."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from tests.languages.lusid.machines import TASKS, Desk, action, before, child, fields, here, identity, machine, steady, values

pytestmark = pytest.mark.asyncio(loop_scope="session")
KINDS = {"name": "String", "n": "Decimal", "when": "DateTime", "flag": "Boolean"}
WAYS = "New go Doing, Doing finish Done"


async def some(desk: Desk, count: int = 6) -> list[Any]:
    """Tasks of one definition: number n has the name name-n, every second one is flagged, the last is finished."""
    await desk.define(machine("job", WAYS, fields=KINDS))
    made = []
    for n in range(count):
        given: dict[str, Any] = {"name": f"Name-{n}", "when": f"2024-01-{n + 1:02}", "flag": n % 2 == 0}
        if n != 3:
            given["n"] = 10 - n
        made.append(
            await desk.create(
                "job", user=f"user-{n % 3}", given=given, correlationIds=[f"batch-{n % 2}", f"c{n}"], stackingKey=f"K{n}"
            )
        )
    made[-2] = await desk.fire(made[-2], "go")
    await desk.fire(made[-1], "go")
    made[-1] = await desk.fire(made[-1], "finish")
    return made


FILTERS: list[tuple[str, list[int]]] = [
    ("", [0, 1, 2, 3, 4, 5]),
    ("state eq 'new'", [0, 1, 2, 3]),
    ("STATE in 'Doing', 'Done'", [4, 5]),
    ("state not in ('New')", [4, 5]),
    ("state eq 'None'", []),
    ("terminalState eq true", [5]),
    ("not terminalState eq true", [0, 1, 2, 3, 4]),
    ("completionStatus in 'NotStarted','Completed'", [0, 1, 2, 3, 5]),
    ("fields['name'] eq 'name-2'", [2]),
    ("fields[name] startswith 'NAME-'", [0, 1, 2, 3, 4, 5]),
    ("fields['name'] endswith '-4' or fields['name'] contains 'me-1'", [1, 4]),
    ("fields['n'] gt 7", [0, 1, 2]),
    ("fields['n'] gte 7.0 and fields['n'] lt 10", [1, 2]),
    ("fields['n'] neq 10", [1, 2, 4, 5]),
    ("fields['n'] not exists", [3]),
    ("not (fields['n'] gt 7)", [3, 4, 5]),
    ("fields['when'] lt 2024-01-03", [0, 1]),
    ("fields['when'] eq '2024-01-02T01:00:00+01:00'", [1]),
    ("fields['flag'] eq True", [0, 2, 4]),
    ("fields['flag'] eq false and not (state eq 'Done')", [1, 3]),
    ("fields['nowhere'] exists", []),
    ("fields['nowhere'] not exists and state eq 'Done'", [5]),
    ("correlationIds any (~ eq 'C3')", [3]),
    ("correlationIds any (~ startswith 'batch-')", [0, 1, 2, 3, 4, 5]),
    ("correlationIds any (~ in 'c1', 'c5')", [1, 5]),
    ("correlationIds none (~ eq 'batch-1')", [0, 2, 4]),
    ("correlationIds all (~ startswith 'b')", []),
    ("stackingKey eq 'k2' or stackingKey eq 'k4'", [2, 4]),
    ("stack exists", []),
    ("stack.stackStatus eq 'Open'", []),
    ("taskDefinitionId.code eq 'JOB'", [0, 1, 2, 3, 4, 5]),
    ("taskDefinitionDisplayName eq 'Job'", [0, 1, 2, 3, 4, 5]),
    ("taskDefinitionVersion.asAtModified gt 2020-01-01", [0, 1, 2, 3, 4, 5]),
    ("version.userIdCreated eq 'user-1'", [1, 4]),
    ("version.userIdModified eq 'anonymous'", [4, 5]),
    ("version.asAtVersionNumber gt 1", [4, 5]),
    ("version.asAtVersionNumber eq 3", [5]),
    ("version.asAtCreated gt 2020-01-01", [0, 1, 2, 3, 4, 5]),
    ("version.requestIdCreated exists", [0, 1, 2, 3, 4, 5]),
    ("asAtLastTransition lt 2020-01-01", []),
    ("childTasks none (state eq 'New')", [0, 1, 2, 3, 4, 5]),
    ("childTasks any (state eq 'New')", []),
    ("parentTask not exists and previousTask not exists and nextTask not exists", [0, 1, 2, 3, 4, 5]),
    ("parentTask.id exists", []),
    ("ultimateParentTask.state eq 'Done'", [5]),
    ("hierarchicalPosition eq 'Standalone'", [0, 1, 2, 3, 4, 5]),
    ("openDuration gte 0 and openDuration lt 1000", [0, 1, 2, 3, 4, 5]),
    ("openDurationSinceLastUpdate eq 0 and state eq 'Done'", [5]),
    ("actionLogIdCreated exists", []),
    ("properties[TaskDefinition/s/c] exists", []),
]


async def test_filters(desk: Desk) -> None:
    made = await some(desk)
    numbers = {task["id"]: number for number, task in enumerate(made)}
    for text, expected in FILTERS:
        assert [numbers[each["id"]] for each in await desk.listed(text)] == expected, text
    first = made[0]["id"]
    assert [each["id"] for each in await desk.listed(f"id eq '{first}'")] == [first]
    assert [each["id"] for each in await desk.listed(f"id in '{first}', '{made[2]['id']}'")] == [first, made[2]["id"]]
    at = made[2]["version"]["asAtCreated"]
    assert len(await desk.listed(f"version.asAtCreated lte {at[:26]}Z")) == 3
    assert len(await desk.listed(f"version.asAtCreated lt '{at}'")) == 2


BAD = [
    "state",
    "state eq",
    "state eq New",
    'state eq "New"',
    "state is 'New'",
    "nonsense eq 'x'",
    "(state eq 'New'",
    "state eq 'New' and",
    "fields[ eq 1",
    "childTasks any state eq 'New'",
    "state eq CurrentUser",
    "state eq 'x' " * 2000,
]


async def test_filters_that_are_none(desk: Desk) -> None:
    for text in BAD:
        problem = await desk.api.refused(400, "GET", TASKS, filter=text)
        assert problem["name"] == "InvalidFilter", text
        assert list(problem["errors"]) == ["filter"]


ORDERS: list[tuple[list[str], list[int]]] = [
    (["fields['n']"], [5, 4, 2, 1, 0, 3]),
    (["fields['n'] ASC"], [5, 4, 2, 1, 0, 3]),
    (["fields['n'] DESC"], [0, 1, 2, 4, 5, 3]),
    (["fields[name] desc"], [5, 4, 3, 2, 1, 0]),
    (["state"], [4, 5, 0, 1, 2, 3]),
    (["state DESC", "fields['n'] ASC"], [2, 1, 0, 3, 5, 4]),
    (["version.userIdCreated ASC", "version.asAtCreated DESC"], [3, 0, 4, 1, 5, 2]),
    (["fields['flag']", "fields['when'] DESC"], [5, 3, 1, 4, 2, 0]),
    (["terminalState DESC"], [5, 0, 1, 2, 3, 4]),
    (["version.asAtCreated"], [0, 1, 2, 3, 4, 5]),
    (["version.asAtModified desc"], [5, 4, 3, 2, 1, 0]),
    (["taskDefinitionId.code"], [0, 1, 2, 3, 4, 5]),
    (["hierarchicalPosition", "stackingKey DESC"], [5, 4, 3, 2, 1, 0]),
    (["stack.stackStatus"], [0, 1, 2, 3, 4, 5]),
]


async def test_orders(desk: Desk) -> None:
    made = await some(desk)
    numbers = {task["id"]: number for number, task in enumerate(made)}
    for orders, expected in ORDERS:
        assert [numbers[each["id"]] for each in await desk.listed(sortBy=orders)] == expected, orders
    for order in ("nonsense", "state UP", "state ASC DESC", "", "[", "fields['n'] ,"):
        answer = await desk.api.call("GET", TASKS, sortBy=order)
        assert answer.status == (400 if order else 200), order
        assert not order or answer.json["name"] == "InvalidSort"


async def walk(desk: Desk, query: dict[str, Any]) -> list[list[str]]:
    """The ids of each page."""
    pages = []
    page: dict[str, Any] = {}
    while True:
        found = await desk.api.ok("GET", TASKS, **query, **page)
        pages.append([each["id"] for each in found["values"]])
        assert ("previousPage" in found) == (len(pages) > 1)
        if "nextPage" not in found:
            return pages
        token = found["nextPage"]
        assert base64.b64encode(base64.b64decode(token, validate=True)).decode() == token
        assert len(token) <= 500
        page = {"page": token}


@pytest.mark.parametrize("sort", [[], ["fields['name'] DESC"], ["state", "fields['n']"]])
async def test_pages(desk: Desk, sort: list[str]) -> None:
    made = await some(desk, 11)
    ours: dict[str, Any] = {"filter": f"taskDefinitionId.scope eq '{here()}'", **({"sortBy": sort} if sort else {})}
    everything = [each["id"] for each in await desk.listed(sortBy=sort)]
    assert len((await desk.api.ok("GET", TASKS, **ours))["values"]) == 10
    for limit, sizes in ((10, [10, 1]), (4, [4, 4, 3]), (11, [11]), (5, [5, 5, 1]), (5000, [11])):
        pages = await walk(desk, {**ours, "limit": limit})
        assert [len(each) for each in pages] == sizes
        assert [each for page in pages for each in page] == everything
    for bad in (0, -1, 5001, "x", 1.5):
        await desk.api.refused(400, "GET", TASKS, limit=bad)
    # Back again.
    query: dict[str, Any] = {**ours, "limit": 4}
    first = await desk.api.ok("GET", TASKS, **query)
    second = await desk.api.ok("GET", TASKS, **query, page=first["nextPage"])
    third = await desk.api.ok("GET", TASKS, **query, page=second["nextPage"])
    assert (await desk.api.ok("GET", TASKS, **query, page=third["previousPage"]))["values"] == second["values"]
    back = await desk.api.ok("GET", TASKS, **query, page=second["previousPage"])
    assert [each["id"] for each in back["values"]] == [each["id"] for each in first["values"]]
    # Stays as it was while tasks change, come and go.
    await desk.fire(made[8], "go", given={"name": "aaa", "n": 0})
    await desk.api.ok("DELETE", f"{TASKS}/{made[0]['id']}")
    await desk.create("job", given={"name": "new"})
    again = await desk.api.ok("GET", TASKS, **query, page=first["nextPage"])
    assert again["values"] == second["values"]
    assert (await desk.api.ok("GET", TASKS, **query, page=again["nextPage"]))["values"] == third["values"]


async def test_pages_belong_to_their_question(desk: Desk) -> None:
    await some(desk, 6)
    ours: dict[str, Any] = {"filter": f"taskDefinitionId.scope eq '{here()}'", "limit": 2}
    token = (await desk.api.ok("GET", TASKS, **ours))["nextPage"]
    others: list[dict[str, Any]] = [
        {**ours, "filter": ours["filter"] + " "},
        {"limit": 2},
        {**ours, "sortBy": "state"},
        {**ours, "asAt": "2099-01-01"},
    ]
    for other in others:
        problem = await desk.api.refused(400, "GET", TASKS, **other, page=token)
        assert (problem["name"], list(problem["errors"])) == ("InvalidPageToken", ["page"])
    for bad in ("x", "!!!", token[:-4], token + token, "A" * 501, base64.b64encode(bytes(24)).decode()):
        assert (await desk.api.refused(400, "GET", TASKS, **ours, page=bad))["name"] == "InvalidPageToken"


async def test_lists_of_the_past(desk: Desk) -> None:
    made = await some(desk)
    at = made[3]["version"]["asAtCreated"]
    assert [each["id"] for each in await desk.listed(asAt=at)] == [each["id"] for each in made[:4]]
    ended = made[5]["version"]["asAtModified"]
    assert [each["id"] for each in await desk.listed("state eq 'Done'", asAt=before(ended))] == []
    assert [each["id"] for each in await desk.listed("state eq 'Doing'", asAt=before(ended))] == [made[4]["id"], made[5]["id"]]
    await desk.fire(made[0], given={"name": "changed"}, correlationIds=["late"])
    await desk.api.ok("DELETE", f"{TASKS}/{made[1]['id']}")
    assert [values(each)["name"] for each in await desk.listed(sortBy="fields['name'] DESC", asAt=ended)] == [
        f"Name-{n}" for n in (5, 4, 3, 2, 1, 0)
    ]
    [then] = await desk.listed("correlationIds any (~ eq 'c0')", asAt=ended)
    assert then["correlationIds"] == ["batch-0", "c0"]
    assert await desk.listed("correlationIds any (~ eq 'c0')") == []
    assert [each["id"] for each in await desk.listed("correlationIds any (~ eq 'late')")] == [made[0]["id"]]
    assert len(await desk.listed(asAt="9999-12-31T23:59:59.999999Z")) == 5
    assert len(await desk.listed(asAt="2099-01-01")) == 5
    assert (await desk.api.refused(400, "GET", TASKS, asAt="then"))["name"] == "InvalidAsAt"


async def test_an_indexed_filter_between_two_pages(desk: Desk) -> None:
    """The index knows only what holds now: a page that is pinned to an earlier moment must not miss what has changed since."""
    made = await some(desk)
    query: dict[str, Any] = {
        "filter": f"correlationIds any (~ eq 'batch-0') and taskDefinitionId.scope eq '{here()}'",
        "limit": 1,
    }
    first = await desk.api.ok("GET", TASKS, **query)
    await desk.fire(made[2], correlationIds=["other"])
    await desk.api.ok("DELETE", f"{TASKS}/{made[4]['id']}")
    second = await desk.api.ok("GET", TASKS, **query, page=first["nextPage"])
    third = await desk.api.ok("GET", TASKS, **query, page=second["nextPage"])
    assert [each["id"] for page in (first, second, third) for each in page["values"]] == [made[n]["id"] for n in (0, 2, 4)]
    assert "nextPage" not in third


async def test_relatives_in_lists(desk: Desk) -> None:
    make = action("make", "CreateChildTasks", childTaskConfigurations=[child("job", "go"), child("job")])
    await desk.define(machine("job", WAYS, fields=KINDS), machine("top", "New go Open !make, Open end Closed", actions=[make]))
    top = await desk.create("top", "go")
    await desk.create("job")
    one, two = await desk.children(top, 2)
    expected: list[tuple[str, list[Any]]] = [
        ("childTasks any (state eq 'Doing')", [top]),
        ("childTasks all (state eq 'Doing') and hierarchicalPosition eq 'UltimateParent'", []),
        (f"parentTask.id eq '{top['id']}'", [one, two]),
        (f"ultimateParentTask.id eq '{top['id']}'", [top, one, two]),
        ("ultimateParentTask.taskDefinitionId.code eq 'top' and state eq 'New'", [two]),
        ("parentTask.state eq 'Open' and hierarchicalPosition eq 'Child'", [one, two]),
        ("actionLogIdCreated exists", [one, two]),
        (f"actionLogIdSubmitted eq '{top['actionLogIdSubmitted']}'", [top]),
    ]
    for text, found in expected:
        assert [each["id"] for each in await desk.listed(text)] == [each["id"] for each in found], text
    assert (await desk.listed(sortBy="parentTask.id", limit=1))[0]["id"] == one["id"]


# ---- many at once


async def test_a_batch_succeeds_in_part(desk: Desk) -> None:
    await desk.define(machine("job", "New go Doing, Doing finish Done [fields['n'] gt 1]", fields=KINDS))
    made = [await desk.create("job") for _ in range(4)]
    missing = "0" * 8 + "-0000-4000-8000-" + "0" * 12
    updates: list[dict[str, Any]] = [
        {
            "taskInstanceId": made[0]["id"],
            "triggerName": "go",
            "fields": fields(n=1),
            "correlationIds": ["x"],
            "stackingKey": "k",
        },
        {"taskInstanceId": made[1]["id"], "triggerName": "finish"},
        {"taskInstanceId": missing, "triggerName": "go"},
        {"taskInstanceId": made[2]["id"], "triggerName": None, "fields": fields(name="x"), "correlationIds": None},
        {"taskInstanceId": made[3]["id"], "fields": fields(n="x")},
        {"taskInstanceId": made[3]["id"], "fields": [*fields(n=1), *fields(n=2)]},
        {"taskInstanceId": made[0]["id"], "triggerName": "finish"},
        {"taskInstanceId": made[0]["id"], "triggerName": "finish", "fields": fields(n=2)},
        {"taskInstanceId": made[3]["id"], "triggerName": "none"},
    ]
    found = await desk.api.ok("PATCH", f"{TASKS}/$update", {"updateTasks": updates}, user="ann")
    assert [(each["id"], each["state"]) for each in found["values"]] == [
        (made[0]["id"], "Doing"),
        (made[2]["id"], "New"),
        (made[0]["id"], "Done"),
    ]
    assert [each["version"]["asAtVersionNumber"] for each in found["values"]] == [2, 2, 3]
    assert {each["version"]["userIdModified"] for each in found["values"]} == {"ann"}
    assert found["values"][0]["correlationIds"] == ["x"]
    assert found["values"][0]["stackingKey"] == "k"
    assert [(each["id"], each["type"]) for each in found["failed"]] == [
        (made[1]["id"], "InvalidTransition"),
        (missing, "TaskNotFound"),
        (made[3]["id"], "FieldTypeMismatch"),
        (made[3]["id"], "ValidationError"),
        (made[0]["id"], "GuardConditionNotMet"),
        (made[3]["id"], "UnknownTrigger"),
    ]
    assert all(each["detail"] for each in found["failed"])
    assert steady(await desk.get(made[3])) == steady(made[3])
    requests = {each["version"]["requestIdModified"] for each in found["values"]}
    assert len(requests) == 1


async def test_batches_that_are_none(desk: Desk) -> None:
    assert (await desk.api.ok("PATCH", f"{TASKS}/$update", {"updateTasks": []}))["values"] == []
    bad: list[Any] = [{}, {"updateTasks": {}}, {"updateTasks": [{}]}, {"updateTasks": [{"taskInstanceId": "x"}] * 1001}, [], None]
    for body in bad:
        await desk.api.refused(400, "PATCH", f"{TASKS}/$update", body)


async def test_nothing_is_listed_for_what_is_not_there(desk: Desk) -> None:
    found = await desk.api.ok("GET", TASKS, filter=f"taskDefinitionId.scope eq '{here()}'")
    assert found == {"values": [], "links": []}
    assert await desk.listed(f"taskDefinitionId.code eq '{identity('x')['code']}'") == []
