"""Namespaces at work: events, children, stacks, schedules and pages, with the same names, ids and keys in each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.languages.lusid.api import DEFINITIONS, HANDLERS, TYPES, WORKERS, Api, serving
from tests.languages.lusid.machines import TASKS, Desk, action, child, here, identity, machine, move, values
from tests.languages.lusid.official import scope
from tests.languages.lusid.sides import CALENDARS, MANUAL, Inside
from tests.languages.lusid.test_scheduling import World, ms
from tests.patience import happens

from pelton.kernel.model.signals import Report, Terminate
from pelton.kernel.model.state import StepStatus
from pelton.languages.lusid.http.paging import Question
from pelton.languages.lusid.schedules import scheduling
from pelton.runtime.api import ClaimRequest, EventIn
from pelton.runtime.caller import NAMESPACE, server_in
from pelton.testing.clock import VirtualClock
from pelton.transport.paging import question_hash

SPACES = (NAMESPACE, "acme", "zeta")
UPDATE = {"type": "UpdateMatchingTasks", "trigger": "check", "filter": "correlationIds any (~ eq body.message)"}


@pytest.fixture
def sides(shared: Api) -> list[Inside]:
    move(scope())
    return [Inside(shared, namespace) for namespace in SPACES]


def desk(side: Inside) -> Desk:
    return Desk(side)  # type: ignore[arg-type]  # all that a desk asks of an API is there


def handler(code: str, kind: str, activity: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": identity(code),
        "displayName": code,
        "status": "Active",
        "eventMatchingPattern": {"eventType": kind, "filter": f"body.subject eq '{here()}'"},
        "runAsUserId": {"setTo": "robot"},
        "taskDefinitionId": identity("job"),
        "taskActivity": activity,
        **more,
    }


async def listed(side: Inside, code: str = "job") -> list[Any]:
    found: list[Any] = (await side.ok("GET", f"{DEFINITIONS}/{here()}/{code}/tasks"))["values"]
    return found


# ---- events


@pytest.mark.asyncio(loop_scope="session")
async def test_events_make_and_update_tasks_of_their_namespace_only(sides: list[Inside]) -> None:
    tasks: dict[str, Any] = {}
    for side in sides:
        fields = {"title": "String"}
        await side.made(DEFINITIONS, machine("job", "New check Seen, Seen check Seen", fields=fields))
        mapped = {"title": {"setTo": side.namespace}}
        await side.made(HANDLERS, handler("update", "Manual", {**UPDATE, "taskFields": mapped}))
        create = {"type": "CreateNewTask", "correlationIds": [{"mapFrom": "body.message"}], "taskFields": mapped}
        await side.made(HANDLERS, handler("create", "made.elsewhere", create))
        tasks[side.namespace] = await desk(side).create("job", correlationIds=["c"])
    for count, side in enumerate(sides, 1):
        await side.made(MANUAL, {"subject": here(), "message": "c"})
        seen = await desk(side).becomes(tasks[side.namespace], "Seen")
        assert values(seen) == {"title": side.namespace}
        # Another comes from elsewhere, with an id that is the same in all of them.
        event = EventIn(source="/elsewhere", type="made.elsewhere", id=f"1 {here()}", body={"subject": here(), "message": "c"})
        [ingested] = await side.api.engine.ingest(server_in(side.namespace), [event])
        assert (ingested.duplicate, [each.outcome for each in ingested.effects]) == (False, ["started"])
        for index, other in enumerate(sides):
            first, *more = await listed(other)
            assert first["id"] == tasks[other.namespace]["id"]
            assert (first["state"], len(more)) == (("Seen", 1) if index < count else ("New", 0)), other.namespace
            assert [values(each) for each in more] == [{"title": other.namespace}] * len(more)
    for side in sides:  # one more of the same: every task of its namespace, the one that an event made as well
        await side.made(MANUAL, {"subject": here(), "message": "c"})
        await happens(lambda side=side: all_seen(side), f"all tasks of {side.namespace} are seen")
    assert [[each["version"]["asAtVersionNumber"] for each in await listed(side)] for side in sides] == [[3, 2]] * 3


async def all_seen(side: Inside) -> bool:
    return {each["state"] for each in await listed(side)} == {"Seen"}


@pytest.mark.asyncio(loop_scope="session")
async def test_what_a_handler_names_is_looked_for_in_its_namespace(sides: list[Inside]) -> None:
    ours, theirs, _ = sides
    kind = here()[2:].translate(str.maketrans("0123456789", "ghijklmnop"))
    definition = await ours.made(DEFINITIONS, machine("job", "New check Seen", fields={"title": "String"}))
    await theirs.made(DEFINITIONS, machine("job", "New check Seen", fields={"title": "String"}))
    await ours.ok("PUT", f"{CALENDARS}/{here()}/closed", {"dates": []})
    await ours.made(TYPES, {"id": kind, "bodySchema": [{"name": "known", "type": "String"}]})
    then = handler("then", kind, {"type": "CreateNewTask"}, taskDefinitionAsAt=definition["version"]["asAtModified"])
    on_days = handler("days", kind, {"type": "CreateNewTask"}, scheduleMatchingPattern=daily(9, "closed", scope=here()))
    del on_days["eventMatchingPattern"]
    mapped = handler("mapped", kind, {"type": "CreateNewTask", "taskFields": {"title": {"mapFrom": "body.unknown"}}})
    del mapped["eventMatchingPattern"]["filter"], then["eventMatchingPattern"]["filter"]
    for sent in (then, on_days):
        await ours.made(HANDLERS, sent)
        await theirs.refused(400, "POST", HANDLERS, sent)
    await theirs.made(HANDLERS, mapped)  # only there no one has said what such events have
    await ours.refused(400, "POST", HANDLERS, mapped)


@pytest.mark.asyncio(loop_scope="session")
async def test_workers_elsewhere_get_the_work_of_their_namespace(sides: list[Inside]) -> None:
    queue = f"q {here()}"
    runs: list[str] = []
    for side in sides:
        await desk(side).worker("far", "Queue", queue=queue)
        parameters = [{"name": "whose", "value": side.namespace}]
        runs.append((await side.ok("POST", f"{WORKERS}/{here()}/far/$run", {"parameters": parameters}))["runId"])
    for side, run in zip(reversed(sides), reversed(runs), strict=True):
        caller = server_in(side.namespace)
        [item] = await side.api.engine.claim(caller, ClaimRequest(queues=[queue], count=9, wait=30_000, worker="w"))
        assert item.step.input["parameters"] == {"whose": side.namespace}
        report = Report(n=item.step.n, status=int(StepStatus.COMPLETED), output={"results": [{"whose": side.namespace}]})
        for other in sides:
            if other is not side:
                [outcome] = await side.api.engine.report(server_in(other.namespace), [(item.run.key, report)])
                assert outcome.error is not None
        [outcome] = await side.api.engine.report(caller, [(item.run.key, report)])
        assert outcome.error is None
        found = await side.ok("GET", f"{WORKERS}/{run}/$result")
        assert (found["workerStatus"], found["results"]) == ("CompletedWithResults", [{"whose": side.namespace}])


# ---- tasks tied to one another


@pytest.mark.asyncio(loop_scope="session")
async def test_children_guards_and_stacks_keep_to_their_namespace(sides: list[Inside]) -> None:
    trees: list[tuple[Desk, Any, list[Any]]] = []
    for side in sides:
        at = desk(side)
        up = action("up", "TriggerParentTask", trigger="end")
        make = action("make", "CreateChildTasks", childTaskConfigurations=[child("leaf", childTaskFields=titled(side))] * 2)
        guard = f"childTasks all (state eq 'Done' and fields['title'] eq '{side.namespace}')"
        ways = f"New begin Open !make, Open end Closed [{guard}]"
        await at.define(
            machine("leaf", "New go Done !up", fields={"title": "String"}, actions=[up]),
            machine("root", ways, actions=[make]),
        )
        root = await at.create("root", "begin", stackingKey="k", correlationIds=["c"])
        trees.append((at, root, await at.children(root, 2)))
    for at, root, children in trees:
        for leaf in children:
            await at.fire(leaf, "go")
        closed = await at.becomes(root, "Closed")
        assert "stack" not in closed
        assert [each["id"] for each in closed["childTasks"]] == [each["id"] for each in children]
        later = trees[[each is at for each, _, _ in trees].index(True) + 1 :]
        for other, waiting, _ in later:
            found = await other.get(waiting)
            assert (found["state"], {each["state"] for each in found["childTasks"]}) == ("Open", {"New"})
    for at, root, children in trees:
        lead = await at.create("root", "begin", stackingKey="k")
        assert "stack" not in lead
        member = await at.create("root", stackingKey="k")
        assert (member["stack"]["leadTaskId"], member["stack"]["tasksInStack"]) == (lead["id"], 2)
        family = [root["id"], *(each["id"] for each in children)]
        assert [each["id"] for each in await at.listed("correlationIds any (~ eq 'c')")] == family
        assert len(await at.listed(f"parentTask.id eq '{root['id']}'")) == 2


def titled(side: Inside) -> dict[str, Any]:
    return {"title": {"setTo": side.namespace}}


# ---- pages


@pytest.mark.asyncio(loop_scope="session")
async def test_a_page_token_is_good_in_its_namespace_only(sides: list[Inside]) -> None:
    question: dict[str, Any] = {"limit": 1, "filter": f"id.scope eq '{here()}'"}
    tasks = {"limit": 1, "filter": f"taskDefinitionId.scope eq '{here()}'"}
    for side in sides:
        for code in ("job", "other"):
            await side.made(DEFINITIONS, machine(code, "New check Seen"))
            await desk(side).worker(code, "Fail")
            await side.made(HANDLERS, handler(code, "Manual", {"type": "CreateNewTask"}))
            await desk(side).create("job")
    for path, asked in ((DEFINITIONS, question), (WORKERS, question), (HANDLERS, question), (TASKS, tasks)):
        for side in sides:
            first = await side.ok("GET", path, **asked)
            second = await side.ok("GET", path, **asked, page=first["nextPage"])
            assert first["values"][0]["id"] != second["values"][0]["id"]
            for other in sides:
                if other is not side:
                    for token in (first["nextPage"], second["previousPage"]):
                        problem = await other.refused(400, "GET", path, **asked, page=token)
                        assert problem["name"] == "InvalidPageToken"


def test_page_tokens_of_the_default_namespace_have_no_namespace_in_them() -> None:
    asked = Question(NAMESPACE, "tasks", 7, "state eq 'x'", ("state",))
    assert asked.hash == question_hash("tasks", "7", "state eq 'x'", "state")
    assert len({asked._replace(namespace=each).hash for each in SPACES}) == 3


# ---- schedules


def daily(hour: int, *calendars: str, scope: str = "s") -> dict[str, Any]:
    return {
        "context": {"timeZone": "UTC", "holidayCalendars": [{"scope": scope, "code": code} for code in calendars]},
        "recurrencePattern": {
            "timeConstraints": {"startDate": "2026-01-01", "timesOfDay": [{"type": "Specified", "hours": hour, "minutes": 0}]},
            "dateRegularity": {"type": "Day", "frequency": 1},
            "businessDayAdjustment": "Following",
        },
    }


@asynccontextmanager
async def scheduled(path: Path, clock: VirtualClock) -> AsyncIterator[tuple[World, list[Inside]]]:
    async with serving(path, clock=clock) as api:
        await api.opened()
        yield World(api.engine, clock), [Inside(api, namespace) for namespace in SPACES]


def on_schedule(hour: int) -> dict[str, Any]:
    made = handler("daily", "Unused", {"type": "CreateNewTask"}, scheduleMatchingPattern=daily(hour, "closed"))
    del made["eventMatchingPattern"]
    return made


async def due(side: Inside) -> str | None:
    """When the handler's schedule is due next, by the run that waits for it; None when there is none."""
    found = await scheduling.next_due(side.api.engine, server_in(side.namespace), "s/daily")
    return None if found is None else str((found - ms("2026-03-02")) // 3_600_000)


async def counts(sides: list[Inside]) -> list[int]:
    return [len(await listed(side)) for side in sides]


async def test_schedules_fire_in_their_namespace_and_are_restored_in_each(tmp_path: Path) -> None:
    move("s")
    clock = VirtualClock(ms("2026-03-02T06:00"))
    async with scheduled(tmp_path, clock) as (world, sides):
        for hour, side in enumerate(sides, 8):
            await side.made(DEFINITIONS, machine("job", "New check Seen"))
            await side.ok("PUT", f"{CALENDARS}/s/closed", {"dates": [], "weekends": []})
            await side.made(HANDLERS, on_schedule(hour))
        assert [await due(side) for side in sides] == ["8", "9", "10"]
        for clock_time, expected in (("08:30", [1, 0, 0]), ("09:30", [1, 1, 0]), ("10:30", [1, 1, 1])):
            await world.to(f"2026-03-02T{clock_time}")
            assert await counts(sides) == expected
        assert [await due(side) for side in sides] == ["32", "33", "34"]
        # A calendar of one: the schedules of the others, which look at one of that name as well, stay as they are.
        await sides[1].ok("PUT", f"{CALENDARS}/s/closed", {"dates": ["2026-03-03"], "weekends": []})
        await world.quiet()
        assert [await due(side) for side in sides] == ["32", "57", "34"]
        # And a handler: those of its name go on.
        await sides[0].ok("DELETE", f"{HANDLERS}/s/daily")
        await world.quiet()
        assert [await due(side) for side in sides] == [None, "57", "34"]
        await sides[0].made(HANDLERS, on_schedule(8))
        # What a crash would leave behind: two that wait for nothing any more, and one that waits for a handler that is gone.
        for side in sides[:2]:
            caller = server_in(side.namespace)
            run = await scheduling.live(side.api.engine, caller, "s/daily")
            await side.api.engine.signal(caller, run, Terminate())
        await sides[2].api.engine.undefine(server_in(sides[2].namespace), "handler", "s/daily", 1)
        assert [await due(side) for side in sides] == [None, None, "34"]
    async with scheduled(tmp_path, clock) as (world, sides):
        await world.quiet()
        assert [await due(side) for side in sides] == ["32", "57", None]
        await world.to("2026-03-05T00:00", steps=60)
        assert await counts(sides) == [3, 2, 1]
