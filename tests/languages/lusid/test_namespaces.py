"""Namespaces: the same names live side by side, and no route shows or changes what belongs to another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.languages.lusid.api import DEFINITIONS, HANDLERS, TYPES, WORKERS, Api, update_of
from tests.languages.lusid.machines import TASKS, here, move, values
from tests.languages.lusid.official import scope
from tests.languages.lusid.sides import MANUAL, Side
from tests.patience import happens

from pelton.runtime.caller import NAMESPACE, server_in

pytestmark = pytest.mark.asyncio(loop_scope="session")

Case = Callable[[Side, Side, Side], Awaitable[None]]
"""One route, tried with the ids and names of `first`: from `empty`, a namespace without anything, and from `twin`, where all has
the same names."""

CASES: dict[tuple[str, str], Case] = {}
ONE = "/{scope}/{code}"
LETTERS = str.maketrans("0123456789", "ghijklmnop")  # types of events have nothing else


def route(method: str, path: str) -> Callable[[Case], Case]:
    def add(case: Case) -> Case:
        assert (method, path) not in CASES
        CASES[method, path] = case
        return case

    return add


# ---- things with a scope and a code


class Named:
    """What the routes of such things have in common. `one`, `sent`: path and body of a side's own."""

    def __init__(self, noun: str, base: str, one: Callable[[Side], str], sent: Callable[[Side], Any]) -> None:
        self.noun = noun
        self.base = base
        self.one = one
        self.sent = sent
        for method, path, case in (
            ("POST", base, self.create),
            ("GET", base, self.list),
            ("GET", base + ONE, self.get),
            ("PUT", base + ONE, self.update),
            ("DELETE", base + ONE, self.remove),
        ):
            route(method, path)(case)

    async def create(self, first: Side, empty: Side, twin: Side) -> None:
        if self.base == HANDLERS:  # which say what they make
            problem = await empty.refused(400, "POST", self.base, self.sent(empty))
            assert "taskDefinitionId" in problem["errors"]
            await empty.made(DEFINITIONS, empty.job())
        made = await empty.made(self.base, self.sent(empty))
        assert (made["displayName"], made["version"]["asAtVersionNumber"]) == ("empty", 1)
        assert (await twin.refused(409, "POST", self.base, self.sent(twin)))["name"] == f"{self.noun}AlreadyExists"

    async def list(self, first: Side, empty: Side, twin: Side) -> None:
        found = await empty.ok("GET", self.base)
        assert (found["values"], "nextPage" in found) == ([], False)
        found = await twin.ok("GET", self.base, filter=f"id.scope eq '{here()}'")
        assert [each["displayName"] for each in found["values"]] == ["twin"]

    async def get(self, first: Side, empty: Side, twin: Side) -> None:
        for more in ({}, {"asAt": first.made_at}):
            assert (await empty.refused(404, "GET", self.one(first), **more))["name"] == f"{self.noun}NotFound"
        assert (await twin.ok("GET", self.one(first)))["displayName"] == "twin"
        await twin.refused(404, "GET", self.one(first), asAt=first.made_at)  # the twin has been made since

    async def update(self, first: Side, empty: Side, twin: Side) -> None:
        if self.base == HANDLERS:
            await empty.made(DEFINITIONS, empty.job())
        await empty.refused(404, "PUT", self.one(first), update_of(self.sent(empty)))
        made = await twin.ok("PUT", self.one(first), update_of({**self.sent(twin), "displayName": "changed"}))
        assert (made["displayName"], made["version"]["asAtVersionNumber"]) == ("changed", 2)

    async def remove(self, first: Side, empty: Side, twin: Side) -> None:
        await empty.refused(404, "DELETE", self.one(first))
        await twin.ok("DELETE", self.one(first))
        await twin.refused(404, "GET", self.one(first))
        await twin.refused(404, "DELETE", self.one(first))


Named("TaskDefinition", DEFINITIONS, lambda side: side.definition, Side.job)
Named("Worker", WORKERS, lambda side: side.worker, Side.machinery)
Named("EventHandler", HANDLERS, lambda side: side.handler, Side.on_event)


@route("POST", DEFINITIONS + ONE + "/properties")
async def properties(first: Side, empty: Side, twin: Side) -> None:
    path = f"{first.definition}/properties"
    body = {f"TaskDefinition/{here()}/p": {"key": f"TaskDefinition/{here()}/p", "value": {"labelValue": "x"}}}
    await empty.refused(404, "POST", path, body)
    await empty.refused(404, "POST", path, {})
    assert (await twin.ok("POST", path, body))["failed"] == {}
    assert list((await twin.ok("GET", first.definition, propertyKeys=list(body)))["properties"]) == list(body)


@route("GET", "/workflow/api/calendars" + ONE)
async def calendar(first: Side, empty: Side, twin: Side) -> None:
    await empty.refused(404, "GET", first.calendar)
    assert await twin.ok("GET", first.calendar) == twin.days()
    await twin.refused(404, "GET", first.calendar, asAt=first.made_at)


@route("PUT", "/workflow/api/calendars" + ONE)
async def change_calendar(first: Side, empty: Side, twin: Side) -> None:
    for side in (empty, twin):
        await side.ok("PUT", first.calendar, {"dates": ["2027-01-01"]})
        assert (await side.ok("GET", first.calendar))["dates"] == ["2027-01-01"]


# ---- tasks


@route("POST", TASKS)
async def create_task(first: Side, empty: Side, twin: Side) -> None:
    assert (await empty.refused(404, "POST", TASKS, first.request()))["name"] == "TaskDefinitionNotFound"
    made = await twin.ok("POST", TASKS, twin.request(), status=201, trigger="go")
    assert made["taskDefinitionDisplayName"] == "twin"
    assert "stack" not in made  # of the tasks with its key, the one of its namespace has ended
    assert [each["id"] for each in await twin.tasks()] == [twin.task, made["id"]]


@route("GET", TASKS)
async def list_tasks(first: Side, empty: Side, twin: Side) -> None:
    mine = f"taskDefinitionId.scope eq '{here()}'"
    for text in ("", mine, "correlationIds any (~ eq 'c')", f"id eq '{first.task}'"):
        for more in ({}, {"sortBy": "state"}):
            found = await empty.ok("GET", TASKS, **({"filter": text} if text else {}), **more)
            assert (found["values"], "nextPage" in found) == ([], False)
    for text in (mine, f"correlationIds any (~ eq 'c') and {mine}"):
        for more in ({}, {"sortBy": "state"}):
            found = await twin.ok("GET", TASKS, filter=text, **more)
            assert [each["id"] for each in found["values"]] == [twin.task]
    assert (await twin.ok("GET", TASKS, filter=mine, asAt=first.made_at))["values"] == []


@route("PATCH", TASKS + "/$update")
async def update_tasks(first: Side, empty: Side, twin: Side) -> None:
    for side in (empty, twin):
        asked = [{"taskInstanceId": first.task, "fields": [{"name": "n", "value": 9}], "correlationIds": ["theirs"]}]
        answer = await side.ok("PATCH", f"{TASKS}/$update", {"updateTasks": asked})
        assert answer["values"] == []
        assert [(each["id"], each["type"]) for each in answer["failed"]] == [(first.task, "TaskNotFound")]


@route("POST", TASKS + "/$delete")
async def delete_tasks(first: Side, empty: Side, twin: Side) -> None:
    await empty.refused(404, "POST", f"{TASKS}/$delete", {"taskIds": [first.task]})
    await twin.refused(404, "POST", f"{TASKS}/$delete", {"taskIds": [twin.task, first.task]})
    assert [each["id"] for each in await twin.tasks()] == [twin.task]
    await twin.ok("POST", f"{TASKS}/$delete", {"taskIds": [twin.task]})
    assert await twin.tasks() == []


async def absent(first: Side, others: tuple[Side, ...], method: str, path: str, body: Any = None, **query: Any) -> None:
    """A thing of the first is, to others, as one that has never been."""
    for side in others:
        there = await side.refused(404, method, path, body, **query)
        never = (
            path.replace(first.task, "7zzzzzzzzzzzz").replace(first.run, "7zzzzzzzzzzzz").replace(first.log, "7zzzzzzzzzzzz-1")
        )
        nowhere = await side.refused(404, method, never, body, **query)
        assert (there["name"], there["code"], there["title"]) == (nowhere["name"], nowhere["code"], nowhere["title"])


@route("GET", TASKS + "/{id}")
async def get_task(first: Side, empty: Side, twin: Side) -> None:
    await absent(first, (empty, twin), "GET", f"{TASKS}/{first.task}")
    await absent(first, (empty, twin), "GET", f"{TASKS}/{first.task}", asAt=first.made_at)


@route("POST", TASKS + "/{id}")
async def update_task(first: Side, empty: Side, twin: Side) -> None:
    path = f"{TASKS}/{first.task}"
    await absent(first, (empty, twin), "POST", path, {"fields": [{"name": "n", "value": 9}]})
    await absent(first, (empty, twin), "POST", path, trigger="finish")
    await absent(first, (empty, twin), "POST", path, trigger="unheard-of")


@route("DELETE", TASKS + "/{id}")
async def delete_task(first: Side, empty: Side, twin: Side) -> None:
    await absent(first, (empty, twin), "DELETE", f"{TASKS}/{first.task}")


@route("GET", TASKS + "/{id}/history")
async def history(first: Side, empty: Side, twin: Side) -> None:
    await absent(first, (empty, twin), "GET", f"{TASKS}/{first.task}/history")


@route("GET", DEFINITIONS + ONE + "/tasks")
async def tasks_of_definition(first: Side, empty: Side, twin: Side) -> None:
    await empty.refused(404, "GET", f"{first.definition}/tasks")
    assert [each["id"] for each in (await twin.ok("GET", f"{first.definition}/tasks"))["values"]] == [twin.task]
    await twin.refused(404, "GET", f"{first.definition}/tasks", asAt=first.made_at)


# ---- workers' runs and the logs of actions


@route("POST", WORKERS + ONE + "/$run")
async def run_worker(first: Side, empty: Side, twin: Side) -> None:
    await empty.refused(404, "POST", f"{first.worker}/$run", {})
    twin.run = (await twin.ok("POST", f"{first.worker}/$run", twin.parameters()))["runId"]
    await twin.rest()
    assert (await twin.ok("GET", f"{WORKERS}/{twin.run}/$result"))["workerStatus"] == "CompletedNoResults"
    assert (await first.ok("GET", f"{WORKERS}/{first.run}/$result"))["workerStatus"] == "FailedToComplete"


@route("GET", WORKERS + "/{id}/$result")
async def result(first: Side, empty: Side, twin: Side) -> None:
    await absent(first, (empty, twin), "GET", f"{WORKERS}/{first.run}/$result")


@route("GET", "/workflow/api/actionlogs/{id}")
async def log(first: Side, empty: Side, twin: Side) -> None:
    await absent(first, (empty, twin), "GET", f"/workflow/api/actionlogs/{first.log}")


# ---- events and their types


@route("POST", MANUAL)
async def raise_event(first: Side, empty: Side, twin: Side) -> None:
    """Nothing comes of it elsewhere, though handlers there are for events such as these."""
    await empty.made(MANUAL, empty.event())
    await twin.made(MANUAL, twin.event())
    await happens(lambda: made_by_handler(twin), "the handler makes a task")
    [task] = await made_by_handler(twin)
    assert (task["taskDefinitionDisplayName"], values(task), task["correlationIds"]) == ("twin", {"title": "twin"}, ["c"])
    for side in (first, empty):
        raised = await side.api.engine.events(server_in(side.namespace), type="Manual")
        assert sum(each.body["subject"] == here() for each in raised) == (side is empty)


async def made_by_handler(side: Side) -> list[Any]:
    return [each for each in await side.tasks() if each["version"]["userIdCreated"] == "robot"]


@route("GET", TYPES)
async def event_types(first: Side, empty: Side, twin: Side) -> None:
    assert not [each for each in (await empty.ok("GET", TYPES))["values"] if each["application"] == ""]
    found = [each for each in (await twin.ok("GET", TYPES))["values"] if each["id"] == here()]
    assert [each["displayName"] for each in found] == ["twin"]


@route("POST", TYPES)
async def register_type(first: Side, empty: Side, twin: Side) -> None:
    assert (await empty.made(TYPES, empty.kind_of_event()))["displayName"] == "empty"
    await twin.refused(409, "POST", TYPES, twin.kind_of_event())


@route("GET", TYPES + "/{eventType}")
async def event_type(first: Side, empty: Side, twin: Side) -> None:
    await empty.refused(404, "GET", first.type)
    assert (await twin.ok("GET", first.type))["displayName"] == "twin"


@route("PUT", TYPES + "/{eventType}")
async def change_type(first: Side, empty: Side, twin: Side) -> None:
    await empty.refused(404, "PUT", first.type, {"displayName": "changed"})
    assert (await twin.ok("PUT", first.type, {"displayName": "changed"}))["displayName"] == "changed"


@route("DELETE", TYPES + "/{eventType}")
async def remove_type(first: Side, empty: Side, twin: Side) -> None:
    await empty.refused(404, "DELETE", first.type)
    await twin.ok("DELETE", first.type)
    await twin.refused(404, "GET", first.type)


# ---- what is the same for all


@route("GET", "/workflow/api/metadata/access/resources")
async def resources(first: Side, empty: Side, twin: Side) -> None:
    await same(first, empty, twin, "/workflow/api/metadata/access/resources")


@route("GET", "/workflow/api/metadata/endpoints")
async def endpoints(first: Side, empty: Side, twin: Side) -> None:
    await same(first, empty, twin, "/workflow/api/metadata/endpoints")


async def same(first: Side, empty: Side, twin: Side, path: str) -> None:
    one, other, third = [await side.ok("GET", path) for side in (first, empty, twin)]
    assert one == other == third


# ---- all of them


async def test_every_route_has_a_case(shared: Api) -> None:
    assert sorted(CASES) == sorted(shared.routes)


@pytest.mark.parametrize("whose", ["default", "another"])
@pytest.mark.parametrize("which", list(CASES), ids=" ".join)
async def test_no_route_reaches_into_another_namespace(shared: Api, which: tuple[str, str], whose: str) -> None:
    """The default namespace is one like others: whether the things that are reached for are in it, or their twins."""
    move(scope()[2:].translate(LETTERS))
    name = here()
    spaces = (NAMESPACE, f"{name}-twin") if whose == "default" else (f"{name}-first", NAMESPACE)
    first = await Side(shared, spaces[0], "first").fill()
    before = await first.seen()
    twin = await Side(shared, spaces[1], "twin", "Sleep").fill()
    empty = Side(shared, f"{name}-empty", "empty")
    empty.task, empty.run, empty.log = first.task, first.run, first.log
    await CASES[which](first, empty, twin)
    assert await first.seen() == before
