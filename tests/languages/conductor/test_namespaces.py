"""Namespaces side by side: each has its own workflows, definitions, handlers, keys, queues and events, under the same names as
the others, and what others have looks as if it were not there.

Every route of the language has a case here; one that is added without a case makes `test_every_route_has_a_case` fail.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.languages.conductor.api import Answer, Api, serving, simple, step, task
from tests.patience import happens

from pelton.runtime.api import EventIn
from pelton.runtime.caller import SERVER, Caller
from pelton.runtime.secrets.cipher import Cipher

CALLERS = (SERVER, Caller("acme"), Caller("zeta", "ann", "r-1"))

Apis = list[Api]  # one for each of CALLERS
Test = Callable[[Apis], Awaitable[None]]

COVERED: set[tuple[str, str]] = set()


@pytest.fixture
async def apis(tmp_path: Path) -> AsyncIterator[Apis]:
    async with serving(tmp_path, valid_key=lambda key: key == "s3cret") as api:
        yield [api.by(caller) for caller in CALLERS]


def covers(*routes: str) -> Callable[[Test], Test]:
    """A case for these routes: a test that calls each of them from two namespaces at least."""
    wanted = {(method, pattern) for method, pattern in (route.split() for route in routes)}
    COVERED.update(wanted)

    def wrap(test: Test) -> Test:
        @functools.wraps(test)
        async def checked(apis: Apis) -> None:
            await test(apis)
            seen: dict[tuple[str, str], set[str]] = {}
            for namespace, method, path in apis[0].calls:
                seen.setdefault((method, pattern_of(apis[0], method, path)), set()).add(namespace)
            assert {route for route in wanted if len(seen.get(route, ())) < 2} == set(), "called from fewer than two namespaces"

        return checked

    return wrap


def pattern_of(api: Api, method: str, path: str) -> str:
    """The route that takes a path: of those that fit, the one with the fewest parameters."""
    fits = [
        pattern for verb, pattern in api.routes if verb == method and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), path)
    ]
    return min(fits, key=lambda pattern: pattern.count("{"))


def others(apis: Apis, mine: Api) -> Apis:
    return [each for each in apis if each.caller.namespace != mine.caller.namespace]


def name_of(api: Api) -> str:
    return api.caller.namespace


async def absent(api: Api, method: str, path: str, body: Any = None, **query: Any) -> None:
    assert (await api.refused(method, path, body, **query)).status == 404


async def test_every_route_has_a_case(apis: Apis) -> None:
    assert set(apis[0].routes) == COVERED


# ---- definitions


@covers(
    "POST /metadata/workflow",
    "PUT /metadata/workflow",
    "GET /metadata/workflow",
    "POST /metadata/workflow/validate",
    "GET /metadata/workflow/names",
    "GET /metadata/workflow/names-and-versions",
    "GET /metadata/workflow/latest-versions",
    "GET /metadata/workflow/{name}",
    "GET /metadata/workflow/{name}/versions",
    "DELETE /metadata/workflow/{name}/{version}",
)
async def test_workflow_definitions(apis: Apis) -> None:
    for api in apis:
        body = {"name": "wf", "version": 1, "description": name_of(api), "tasks": [simple("t")]}
        await api.ok("POST", "/metadata/workflow", body)
        assert (await api.refused("POST", "/metadata/workflow", body)).status == 409
        await api.ok("POST", "/metadata/workflow/validate", body)
        own = f"only_{name_of(api)}"
        await api.ok("PUT", "/metadata/workflow", [{**body, "name": own}, {**body, "version": 2}])
        for other in others(apis, api):
            await absent(other, "GET", f"/metadata/workflow/{own}")
            await absent(other, "DELETE", f"/metadata/workflow/{own}/1")
            assert await other.ok("GET", f"/metadata/workflow/{own}/versions") == []
    for api in apis:
        names = [f"only_{name_of(api)}", "wf"]
        assert {each["description"] for each in await api.ok("GET", "/metadata/workflow")} == {name_of(api)}
        assert {each["description"] for each in await api.ok("GET", "/metadata/workflow/latest-versions")} == {name_of(api)}
        assert sorted(await api.ok("GET", "/metadata/workflow/names")) == names
        assert sorted(await api.ok("GET", "/metadata/workflow/names-and-versions")) == names
        assert len(await api.ok("GET", "/metadata/workflow/wf/versions")) == 2
        row = await api.engine.definition(api.caller, "process", "wf")
        assert row is not None
        assert row.actor == api.caller.user
    await apis[1].ok("DELETE", "/metadata/workflow/wf/2")
    assert [(await api.ok("GET", "/metadata/workflow/wf"))["version"] for api in apis] == [2, 1, 2]


@covers(
    "POST /metadata/taskdefs",
    "PUT /metadata/taskdefs",
    "GET /metadata/taskdefs",
    "GET /metadata/taskdefs/{type}",
    "DELETE /metadata/taskdefs/{type}",
)
async def test_task_definitions(apis: Apis) -> None:
    for api in apis:
        await absent(api, "GET", "/metadata/taskdefs/t")
        await absent(api, "PUT", "/metadata/taskdefs", {"name": "t", "description": "by another"})
        await absent(api, "DELETE", "/metadata/taskdefs/t")
        await api.ok("POST", "/metadata/taskdefs", [{"name": "t", "description": "at first"}])
        await api.ok("PUT", "/metadata/taskdefs", {"name": "t", "description": name_of(api)})
        assert [each["description"] for each in await api.ok("GET", "/metadata/taskdefs")] == [name_of(api)]
    runs = [await api.run([simple("t")]) for api in apis]
    for api, run in zip(apis, runs, strict=True):
        assert (await api.ok("GET", "/metadata/taskdefs/t"))["description"] == name_of(api)
        [found] = (await api.get(run))["tasks"]
        assert found["taskDefinition"]["description"] == name_of(api), "a workflow follows the definition of its namespace"
    await apis[2].ok("DELETE", "/metadata/taskdefs/t")
    assert [len(await api.ok("GET", "/metadata/taskdefs")) for api in apis] == [1, 1, 0]


def starter(event: str, workflow: str, **given: Any) -> dict[str, Any]:
    start = {"name": workflow, "input": given}
    return {"name": "h", "event": event, "active": True, "actions": [{"action": "start_workflow", "start_workflow": start}]}


async def post(api: Api, kind: str, body: Any = None) -> list[str]:
    """Outcomes of an event's actions."""
    [posted] = await api.engine.ingest(api.caller, [EventIn(source="test", type=kind, id="same", body=body or {})])
    assert not posted.duplicate
    return [effect.outcome for effect in posted.effects]


async def running(api: Api, name: str = "wf") -> list[str]:
    found: list[str] = await api.ok("GET", f"/workflow/running/{name}")
    return found


@covers("POST /event", "PUT /event", "GET /event", "GET /event/{event}", "DELETE /event/{event}")
async def test_event_handlers(apis: Apis) -> None:
    for api in apis:
        await api.register([simple("t")])
        await absent(api, "PUT", "/event", starter("shop:paid", "wf"))
        await absent(api, "DELETE", "/event/h")
        assert await api.ok("GET", "/event/shop:paid") == await api.ok("GET", "/event") == []
        await api.ok("POST", "/event", starter("shop:paid", "wf"))
        assert (await api.refused("POST", "/event", starter("shop:paid", "wf"))).status == 409
        await api.ok("PUT", "/event", starter("shop:paid", "wf", by=name_of(api)))
    for api in apis:
        for found in (await api.ok("GET", "/event/shop:paid"), await api.ok("GET", "/event")):
            assert [each["actions"][0]["start_workflow"]["input"] for each in found] == [{"by": name_of(api)}]
    for count, api in enumerate(
        apis, 1
    ):  # an event starts the workflows of its namespace only; the same id is another event there
        assert await post(api, "shop:paid") == ["started"]
        assert [len(await running(each)) for each in apis] == [1] * count + [0] * (3 - count)
        [run] = await running(api)
        assert (await api.get(run))["input"]["by"] == name_of(api)
    await apis[0].ok("DELETE", "/event/h")
    assert [len(await api.ok("GET", "/event")) for api in apis] == [0, 1, 1]


# ---- starting


@covers(
    "POST /workflow",
    "POST /workflow/{name}",
    "GET /workflow/running/{name}",
    "GET /workflow/{name}/correlated/{cid}",
    "POST /workflow/{name}/correlated",
    "POST /workflow/correlated/batch",
)
async def test_starting_with_the_same_keys(apis: Apis) -> None:
    runs = []
    for api in apis:
        body = {"name": "wf", "correlationId": "c", "idempotencyKey": "k"}
        await absent(api, "POST", "/workflow", body)
        await absent(api, "POST", "/workflow/wf", {})
        await api.register([simple("t")])
        run = await api.ok("POST", "/workflow", body)
        runs.append(run)
        assert (await api.refused("POST", "/workflow/wf", {}, idempotencyKey="k")).status == 409
        assert await api.start(idempotencyKey="k", idempotencyStrategy="RETURN_EXISTING") == run
    assert len(set(runs)) == 3
    batch = {"workflowNames": ["wf"], "correlationIds": ["c"]}
    for api, run in zip(apis, runs, strict=True):
        assert await running(api) == [run]
        assert [each["workflowId"] for each in await api.ok("GET", "/workflow/wf/correlated/c")] == [run]
        for found in (
            await api.ok("POST", "/workflow/wf/correlated", ["c"]),
            await api.ok("POST", "/workflow/correlated/batch", batch),
        ):
            assert {name: [each["workflowId"] for each in mine] for name, mine in found.items()} == {"c": [run]}


@covers("POST /workflow/execute/{name}/{version}")
async def test_waiting_for_a_workflow(apis: Apis) -> None:
    mine, *rest = apis
    await absent(mine, "POST", "/workflow/execute/wf/1", {})
    for api in apis:
        await api.register([simple("t", inputParameters={"of": name_of(api)})])
    waiting = asyncio.create_task(mine.ok("POST", "/workflow/execute/wf/1", {}, waitForSeconds=60))
    await happens(lambda: running(mine))
    for api in rest:  # what ends there is no news here
        found = asyncio.create_task(api.ok("POST", "/workflow/execute/wf/1", {}, waitForSeconds=60))
        await api.update(await api.one("t"), output={"by": name_of(api)})
        assert ((await found)["status"], (await found)["output"]) == ("COMPLETED", {"by": name_of(api)})
    assert not waiting.done()
    await mine.update(await mine.one("t"), output={"by": "mine"})
    assert (await waiting)["output"] == {"by": "mine"}


@covers("POST /token")
async def test_a_key_is_exchanged_whoever_calls(apis: Apis) -> None:
    for api in apis:
        assert await api.ok("POST", "/token", {"keyId": "id", "keySecret": "s3cret"}) == {"token": "s3cret"}


# ---- what names a workflow or a task of another namespace


class Owned(NamedTuple):
    """A workflow of one namespace, and a task of it."""

    run: str
    task: str


class Foreign(NamedTuple):
    """A route that names a workflow or a task. `status`: of the answer when there is none."""

    method: str
    pattern: str
    body: Callable[[Owned], Any] = lambda owned: {}
    status: int = 404


def result(status: str, **more: Any) -> Callable[[Owned], Any]:
    return lambda owned: {
        "workflowInstanceId": owned.run, "taskId": owned.task, "status": status, "workerId": "w1", "logs": [{"log": "x"}], **more
    }  # fmt: skip


FOREIGN = [
    Foreign("GET", "/workflow/{id}"),
    Foreign("DELETE", "/workflow/{id}"),
    Foreign("GET", "/workflow/{id}/tasks"),
    Foreign("GET", "/workflow/{id}/status"),
    Foreign("PUT", "/workflow/{id}/pause"),
    Foreign("PUT", "/workflow/{id}/resume"),
    Foreign("POST", "/workflow/{id}/restart"),
    Foreign("POST", "/workflow/{id}/retry"),
    Foreign("POST", "/workflow/{id}/rerun"),
    Foreign("POST", "/workflow/{id}/rerun", lambda owned: {"reRunFromTaskId": owned.task}),
    Foreign("POST", "/workflow/{id}/resetcallbacks"),
    Foreign("DELETE", "/workflow/{id}/remove"),
    Foreign("DELETE", "/workflow/{id}/terminate-remove"),
    Foreign("PUT", "/workflow/{id}/skiptask/{ref}"),
    Foreign("PUT", "/workflow/decide/{id}"),
    Foreign("POST", "/workflow/{id}/variables", lambda owned: {"changed": True}),
    Foreign("POST", "/tasks", result("COMPLETED")),
    Foreign("POST", "/tasks", result("IN_PROGRESS", callbackAfterSeconds=60)),
    Foreign("POST", "/tasks", result("IN_PROGRESS", extendLease=True)),
    Foreign("POST", "/tasks/update-v2", result("COMPLETED"), 204),
    Foreign("POST", "/tasks/{wf}/{ref}/{status}", status=200),
    Foreign("POST", "/tasks/{wf}/{ref}/{status}/sync"),
    Foreign("POST", "/tasks/{wf}/{status}/signal"),
    Foreign("POST", "/tasks/{wf}/{status}/signal/sync"),
    Foreign("GET", "/tasks/{id}"),
    Foreign("POST", "/tasks/{id}/log"),
    Foreign("GET", "/tasks/{id}/log", status=204),
]
COVERED.update((each.method, each.pattern) for each in FOREIGN)

BULK = {
    "/workflow/bulk/pause": "PUT",
    "/workflow/bulk/resume": "PUT",
    "/workflow/bulk/restart": "POST",
    "/workflow/bulk/retry": "POST",
    "/workflow/bulk/terminate": "POST",
    "/workflow/bulk/remove": "DELETE",
    "/workflow/bulk/terminate-remove": "DELETE",
}
COVERED.update((method, pattern) for pattern, method in BULK.items())


async def call(api: Api, each: Foreign, owned: Owned) -> Answer:
    identity = owned.task if each.pattern.startswith("/tasks/{id}") else owned.run
    path = each.pattern.format(id=identity, wf=owned.run, ref="w", status="COMPLETED")
    body = each.body(owned) if each.method in {"POST", "PUT"} else None
    return await api.call(each.method, path, body)


async def settle(api: Api) -> list[Owned]:
    """Workflows in several states: running, paused, failed, terminated and completed, each with a worker's task and a wait."""
    await api.ok("POST", "/metadata/taskdefs", [{"name": "t", "retryCount": 0}])
    await api.register([simple("t"), step("WAIT", "w")])
    found = []
    for _ in range(5):
        await api.start(correlationId="c")
        work = await api.one("t")
        await api.ok("POST", f"/tasks/{work['taskId']}/log", "mine")
        found.append(Owned(work["workflowInstanceId"], work["taskId"]))
    await api.ok("PUT", f"/workflow/{found[1].run}/pause")
    await api.ok("POST", "/tasks", result("FAILED")(found[2]))
    await api.ok("DELETE", f"/workflow/{found[3].run}")
    await api.ok("POST", "/tasks", result("COMPLETED")(found[4]))
    await api.ok("POST", f"/tasks/{found[4].run}/w/COMPLETED", {})
    assert [(await api.get(each.run))["status"] for each in found] == STATES
    return found


STATES = ["RUNNING", "PAUSED", "FAILED", "TERMINATED", "COMPLETED"]


async def shown(api: Api, owned: list[Owned]) -> list[Any]:
    """All that can be seen of those workflows by their owner."""
    return [(await api.get(each.run), await api.ok("GET", f"/tasks/{each.task}/log")) for each in owned]


@pytest.mark.parametrize("owner", range(3), ids=lambda at: CALLERS[at].namespace)
async def test_ids_of_another_namespace_are_absent(apis: Apis, owner: int) -> None:
    mine = apis[owner]
    owned = await settle(mine)
    before = await shown(mine, owned)
    foreign = others(apis, mine)
    answers: list[Answer] = []
    for api in foreign:
        await api.register([simple("t"), step("WAIT", "w")])
        own = await api.start(correlationId="c")  # work and a workflow of the same names that might be taken instead
        for each in FOREIGN:
            for one in owned:
                answer = await call(api, each, one)
                assert answer.status == each.status, (each, answer)
                answers.append(answer)
        assert (await api.get(own))["tasks"][0]["status"] == "SCHEDULED"
    assert await shown(mine, owned) == before
    for at, one in enumerate(owned):
        await mine.ok("DELETE", f"/workflow/{one.run}/{'terminate-remove' if at < 2 else 'remove'}")
    again = [await call(api, each, one) for api in foreign for each in FOREIGN for one in owned]
    assert answers == again, "what another namespace has looks like what does not exist"


async def test_bulk_operations_on_ids_of_another_namespace(apis: Apis) -> None:
    mine, *rest = apis
    owned = await settle(mine)
    before = await shown(mine, owned)
    for api in rest:
        await api.register([simple("t")])
        for path, method in BULK.items():
            foreign = [each.run for each in owned]
            done = await api.ok(method, path, foreign)
            failed = {run: f"No such workflow found by id: {run}" for run in foreign}
            assert done == {"bulkErrorResults": failed, "bulkSuccessfulResults": []}
        own = await api.start()
        done = await api.ok("POST", "/workflow/bulk/terminate", [owned[0].run, own])
        assert (list(done["bulkErrorResults"]), done["bulkSuccessfulResults"]) == ([owned[0].run], [own])
    assert await shown(mine, owned) == before


async def test_ids_of_another_namespace_beside_own_ones(apis: Apis) -> None:
    [foreign, *_], [own, paused, *_] = await settle(apis[0]), await settle(apis[1])
    api = apis[1]
    mixed = {"workflowInstanceId": own.run, "taskId": foreign.task, "status": "COMPLETED"}
    await absent(api, "POST", "/tasks", mixed)
    await absent(api, "POST", "/tasks", {**mixed, "workflowInstanceId": foreign.run, "taskId": own.task})
    await api.ok("DELETE", f"/workflow/{paused.run}")
    answer = await api.refused("POST", f"/workflow/{paused.run}/rerun", {"reRunFromTaskId": foreign.task})
    assert (answer.status, answer.json["message"]) == (400, f"Task {foreign.task} not found")
    assert (await apis[0].get(foreign.run))["tasks"][0]["status"] == "IN_PROGRESS"


# ---- work


@covers(
    "GET /tasks/poll/{type}",
    "GET /tasks/poll/batch/{type}",
    "GET /tasks/queue/sizes",
    "GET /tasks/queue/size",
    "GET /tasks/queue/all",
    "GET /tasks/queue/polldata",
    "GET /tasks/queue/polldata/all",
)
async def test_work_goes_to_workers_of_its_namespace(apis: Apis) -> None:
    for api in apis:
        await api.register([simple("t")])
        assert await api.poll("t", workerid=f"w_{name_of(api)}") == []
        await absent(api, "GET", f"/workflow/{'0' * 20}")
    for count, api in enumerate(apis, 1):
        for number in range(count):
            await api.start({"number": number})
        await api.start(taskToDomain="x")
    for count, api in enumerate(apis, 1):
        assert await api.ok("GET", "/tasks/queue/all") == {"t": count + 1}
        assert await api.ok("GET", "/tasks/queue/sizes", taskType=["t", "u"]) == {"t": count + 1, "u": 0}
        assert await api.ok("GET", "/tasks/queue/size", taskType="t") == count + 1
        polled = [{"queueName": "t", "workerId": f"w_{name_of(api)}"}]
        for found in (
            await api.ok("GET", "/tasks/queue/polldata", taskType="t"),
            await api.ok("GET", "/tasks/queue/polldata/all"),
        ):
            assert [{name: each[name] for name in polled[0]} for each in found] == polled
    for count, api in reversed(list(enumerate(apis, 1))):
        first = await api.ok("GET", "/tasks/poll/t", workerid="w1")
        more = await api.poll("t", count=100)
        ids = {each["workflowInstanceId"] for each in (first, *more)}
        assert (len(ids), ids) == (count + 1, set(await running(api)))
        assert await api.poll("t") == []


async def test_domains_are_those_of_a_namespace(apis: Apis) -> None:
    for api in apis:
        await api.register([simple("t")])
        await api.ok("POST", "/workflow", {"name": "wf", "taskToDomain": {"t": "blue"}})
    for api in apis:
        assert await api.ok("GET", "/tasks/queue/all") == {"blue:t": 1}
        found = await api.one("t", domain="blue")
        assert (found["domain"], await running(api)) == ("blue", [found["workflowInstanceId"]])
        assert await api.poll("t", domain="blue") == []


async def test_no_name_of_a_queue_leads_into_another_namespace(apis: Apis) -> None:
    """The names under which the store has queues are of no use to callers."""
    for api in apis:
        await api.register([simple("t")])
        await api.start()
        await api.ok("POST", "/workflow", {"name": "wf", "taskToDomain": {"t": "acme\x1fblue"}})
    for api in (apis[0], apis[2]):
        assert await api.poll("acme\x1ft") == []
        assert await api.poll("blue:t") == []
        assert await api.poll("t", domain="blue") == []
        [found] = await api.poll("t", domain="acme\x1fblue")
        assert found["workflowInstanceId"] in await running(api)
    assert (await apis[1].one("t", domain="blue"))["workflowInstanceId"] in await running(apis[1])


async def test_the_next_task_comes_from_the_same_namespace(apis: Apis) -> None:
    """A report is answered with the next task; when it is repeated, by whoever was answered so before."""
    for api in apis:
        await api.register([simple("t")])
        await api.start()
        await api.start()
    for api in apis:
        first = await api.one("t")
        report = result("COMPLETED")(Owned(first["workflowInstanceId"], first["taskId"]))
        following = await api.ok("POST", "/tasks/update-v2", report)
        assert following["workflowInstanceId"] in await running(api)
        for other in others(apis, api):
            assert (await other.call("POST", "/tasks/update-v2", report)).status == 204
        again = await api.ok("POST", "/tasks/update-v2", report)
        assert again["taskId"] == following["taskId"]


# ---- events and workflows that lead to others


async def test_an_event_task_stays_in_its_namespace(apis: Apis) -> None:
    for api in apis:
        await api.register([simple("t")], "target")
        await api.register([step("EVENT", "e", sink="conductor:done", inputParameters={"of": name_of(api)})])
        await api.ok("POST", "/event", starter("conductor:wf:done", "target", of="${of}"))
    for count, api in enumerate(apis, 1):
        await api.ended(await api.start())
        [run] = await happens(lambda api=api: running(api, "target"))
        assert (await api.get(run))["input"]["of"] == name_of(api)
        assert [len(await running(each, "target")) for each in apis] == [1] * count + [0] * (3 - count)


@pytest.mark.parametrize("many", [1, 40])
async def test_actions_reach_workflows_of_their_namespace_only(apis: Apis, many: int) -> None:
    """Also those that are carried out in later commits, because there are many."""
    mine, other = apis[0], apis[1]
    owned = await mine.run([step("WAIT", "w")])
    [wait] = (await mine.get(owned))["tasks"]
    before = await mine.get(owned)
    by_name = {"workflowId": owned, "taskRefName": "w", "output": {}}
    members: list[tuple[str, Any]] = [
        ("complete_task", by_name),
        ("fail_task", by_name),
        ("complete_task", {"taskId": wait["taskId"], "output": {}}),
        ("update_workflow_variables", {"workflowId": owned, "variables": {"changed": True}}),
        ("terminate_workflow", {"workflowId": owned}),
    ]
    actions = [{"action": kind, kind: member} for kind, member in members * many]
    await other.ok("POST", "/event", {"name": "h", "event": "reach", "active": True, "actions": actions[:100]})
    assert set((await post(other, "reach"))[:30]) == {"failed"}
    await happens(lambda: nothing_pending(mine))
    assert await mine.get(owned) == before
    await mine.ok("POST", "/event", {"name": "h", "event": "reach", "active": True, "actions": actions[:1]})
    assert await post(mine, "reach") == ["signalled"]
    await mine.ended(owned)


async def nothing_pending(api: Api) -> bool:
    return not await api.engine.store.pending_signals(1)


async def test_workflows_that_workflows_start_are_of_their_namespace(apis: Apis) -> None:
    for api in apis:
        await api.register([step("SET_VARIABLE", "s")], "child", outputParameters={"of": name_of(api)})
        await api.register([simple("t")], "sorry")
        await api.register(
            [step("SUB_WORKFLOW", "c", subWorkflowParam={"name": "child"}), step("WAIT", "w")], failureWorkflow="sorry"
        )
    for count, api in enumerate(apis, 1):
        run = await api.start()
        found = await api.get(run)
        assert task(found, "c")["outputData"]["of"] == name_of(api)
        child = task(found, "c")["subWorkflowId"]
        for other in others(apis, api):
            await absent(other, "GET", f"/workflow/{child}")
        await api.ok("DELETE", f"/workflow/{run}", triggerFailureWorkflow=True)
        [sorry] = await happens(lambda api=api: running(api, "sorry"))
        assert (await api.get(sorry))["input"]["workflowId"] == run
        assert [len(await running(each, "sorry")) for each in apis] == [1] * count + [0] * (3 - count)


# ---- searching


@covers(
    "GET /workflow/search",
    "GET /workflow/search-v2",
    "GET /workflow/search-by-tasks",
    "GET /workflow/search-by-tasks-v2",
    "POST /workflow/bulk/search",
    "GET /tasks/search",
    "GET /tasks/search-v2",
)
async def test_searches(apis: Apis) -> None:
    runs = [await api.run([simple("t")]) for api in apis]
    for api, run in zip(apis, runs, strict=True):
        for path in ("search", "search-v2", "search-by-tasks", "search-by-tasks-v2"):
            found = await api.ok("GET", f"/workflow/{path}")
            assert [each["workflowId"] for each in found["results"]] == [run]
            assert found["totalHits"] == 1
        for query in (f"workflowId IN ({','.join(runs)})", "workflowType=wf", ""):
            assert (await api.ok("GET", "/workflow/search", query=query))["totalHits"] == 1
        for path in ("search", "search-v2"):
            for query in (f"workflowId IN ({','.join(runs)})", "taskType=t", ""):
                assert (await api.ok("GET", f"/tasks/{path}", query=query))["totalHits"] == 1
        found = await api.ok("POST", "/workflow/bulk/search", runs)
        assert [each["workflowId"] for each in found["bulkSuccessfulResults"]] == [run]
        assert len(found["bulkErrorResults"]) == 2


@covers(
    "POST /scheduler/schedules",
    "GET /scheduler/schedules",
    "GET /scheduler/schedules/search",
    "GET /scheduler/schedules/{name}",
    "DELETE /scheduler/schedules/{name}",
    "PUT /scheduler/schedules/{name}/pause",
    "PUT /scheduler/schedules/{name}/resume",
    "GET /scheduler/schedules/{name}/tags",
    "PUT /scheduler/schedules/{name}/tags",
    "DELETE /scheduler/schedules/{name}/tags",
    "GET /scheduler/nextFewSchedules",
    "GET /scheduler/search/executions",
    "PUT /scheduler/bulk/pause",
    "PUT /scheduler/bulk/resume",
    "GET /scheduler/admin/pause",
    "GET /scheduler/admin/resume",
    "GET /scheduler/admin/requeue",
)
async def test_schedules(apis: Apis) -> None:
    one = "/scheduler/schedules/s"
    for api in apis:
        await api.ok("GET", "/scheduler/nextFewSchedules", cronExpression="@daily")
        for method, path in (("GET", one), ("PUT", f"{one}/pause"), ("PUT", f"{one}/resume"), ("GET", f"{one}/tags")):
            await absent(api, method, path)
        tag = {"key": "by", "value": name_of(api), "type": "METADATA"}
        for method in ("PUT", "DELETE"):
            await absent(api, method, f"{one}/tags", [tag])
        start = {"name": "wf", "input": {"by": name_of(api)}}
        await api.ok("POST", "/scheduler/schedules", {"name": "s", "cronExpression": "@yearly", "startWorkflowRequest": start})
        await api.ok("PUT", f"{one}/tags", [tag])
    for api in apis:
        [found] = await api.ok("GET", "/scheduler/schedules")
        assert found == (await api.ok("GET", "/scheduler/schedules/search"))["results"][0] == await api.ok("GET", one)
        assert (found["startWorkflowRequest"]["input"], found["tags"][0]["value"]) == ({"by": name_of(api)}, name_of(api))
        assert (await api.ok("GET", "/scheduler/search/executions"))["results"] == []
    await apis[1].ok("PUT", "/scheduler/bulk/pause", ["s"])
    await apis[2].ok("GET", "/scheduler/admin/pause")
    assert [(await api.ok("GET", one))["paused"] for api in apis] == [False, True, True]
    await apis[0].ok("PUT", "/scheduler/bulk/pause", ["s"])
    await apis[0].ok("PUT", "/scheduler/bulk/resume", ["s"])
    await apis[0].ok("GET", "/scheduler/admin/pause")
    await apis[2].ok("GET", "/scheduler/admin/resume")
    await apis[1].ok("GET", "/scheduler/admin/resume")
    await apis[2].ok("PUT", "/scheduler/bulk/pause", ["s"])
    await apis[2].ok("PUT", "/scheduler/bulk/resume", ["s"])
    for api in apis[:2]:
        assert (await api.ok("GET", "/scheduler/admin/requeue"))["count"] == 1
        await api.ok("DELETE", f"{one}/tags", [{"key": "by", "value": name_of(api)}])
    assert [(await api.ok("GET", one))["paused"] for api in apis] == [True, False, False]
    assert [len(await api.ok("GET", f"{one}/tags")) for api in apis] == [0, 0, 1]
    await apis[0].ok("PUT", f"{one}/resume")
    await apis[1].ok("PUT", f"{one}/pause")
    await apis[2].ok("PUT", f"{one}/pause")
    await apis[2].ok("PUT", f"{one}/resume")
    assert [(await api.ok("GET", one))["paused"] for api in apis] == [False, True, False]
    for count, api in enumerate(apis, 1):
        await api.ok("DELETE", one)
        assert [len(await each.ok("GET", "/scheduler/schedules")) for each in apis] == [0] * count + [1] * (3 - count)


# ---- what is kept beside workflows, and the server's own things


@covers(
    *(f"{method} /metadata/workflow/{{name}}/tags" for method in ("GET", "POST", "PUT", "DELETE")),
    *(f"{method} /metadata/tags/workflow/{{name}}" for method in ("GET", "POST", "PUT", "DELETE")),
    *(f"{method} /metadata/task/{{name}}/tags" for method in ("GET", "POST", "PUT", "DELETE")),
    "POST /schema",
    "GET /schema",
    "GET /schema/{name}",
    "GET /schema/{name}/{version}",
    "DELETE /schema/{name}",
    "DELETE /schema/{name}/{version}",
)
async def test_tags_and_schemas(apis: Apis) -> None:
    paths = ("/metadata/workflow/wf/tags", "/metadata/task/t/tags", "/metadata/tags/workflow/wf")
    for api in apis:
        for path in paths:
            for method in ("GET", "POST", "PUT", "DELETE"):
                await absent(api, method, path, [])
        await api.register([simple("t")])
        await api.ok("POST", "/metadata/taskdefs", [{"name": "t"}])
        tag = {"key": "by", "value": name_of(api), "type": "METADATA"}
        for path in paths:
            await api.ok("POST", path, tag)
        for path in ("/schema/s", "/schema/s/1"):
            await absent(api, "GET", path)
            await absent(api, "DELETE", path)
        await api.ok("POST", "/schema", {"name": "s", "data": {"by": name_of(api)}})
    for api in apis:
        for path in paths:
            assert [each["value"] for each in await api.ok("GET", path)] == [name_of(api)]
        assert [each["data"] for each in await api.ok("GET", "/schema")] == [{"by": name_of(api)}]
        assert await api.ok("GET", "/schema/s") == await api.ok("GET", "/schema/s/1")
    for path in paths:
        await apis[0].ok("PUT", path, [])
    assert [len(await api.ok("GET", paths[0])) for api in apis] == [0, 1, 1]
    await apis[1].ok("DELETE", "/schema/s")
    assert [len(await api.ok("GET", "/schema")) for api in apis] == [1, 0, 1]


@covers(
    "GET /secrets",
    "POST /secrets",
    "GET /secrets/v2",
    "GET /secrets-v2",
    "PUT /secrets/{name}",
    "GET /secrets/{name}",
    "DELETE /secrets/{name}",
    "GET /secrets/{name}/exists",
    "GET /environment",
    "GET /environment/{name}",
    "PUT /environment/{name}",
    "DELETE /environment/{name}",
    "GET /secrets/{name}/tags",
    "POST /secrets/{name}/tags",
    "PUT /secrets/{name}/tags",
    "DELETE /secrets/{name}/tags",
)
async def test_secrets(apis: Apis) -> None:
    apis[0].engine.vault._cipher = Cipher(b"k" * 32)
    for api in apis:
        for path in ("/secrets/a", "/environment/b", "/secrets/a/tags"):
            await absent(api, "GET", path)
        for method in ("POST", "PUT", "DELETE"):
            await absent(api, method, "/secrets/a/tags", [])
        for path in ("/secrets/a", "/environment/b"):
            await absent(api, "DELETE", path)
        assert await api.ok("GET", "/secrets/a/exists") is False
        await api.ok("PUT", "/secrets/a", name_of(api))
        await api.ok("PUT", f"/environment/{name_of(api)}", "x")
    for api in apis:
        names = ["a", name_of(api)]
        assert await api.ok("GET", "/secrets") == await api.ok("POST", "/secrets") == names
        for path in ("/environment", "/secrets/v2", "/secrets-v2"):
            assert [each["name"] for each in await api.ok("GET", path)] == names
    await apis[1].ok("DELETE", "/secrets/a")
    assert [await api.ok("GET", "/secrets/a/exists") for api in apis] == [True, False, True]


@covers(
    "GET /version",
    "GET /token/userInfo",
    "GET /admin/config",
    "GET /admin/task/{type}",
    "GET /admin/queues",
    "POST /admin/sweep/requeue/{id}",
    "POST /admin/consistency/verifyAndRepair/{id}",
    "GET /tasks/queue/all/verbose",
    "POST /tasks/queue/requeue/{type}",
    "GET /workflow/{id}/size",
    "GET /event/execution",
    "GET /event/execution/{event}",
    "POST /workflow/execute/{name}",
    "GET /workflow/execute/{name}",
    "POST /workflow/{id}/state",
    "POST /workflow/{id}/upgrade",
)
async def test_service(apis: Apis) -> None:
    runs = [await api.run([simple("t")]) for api in apis]
    for api, run in zip(apis, runs, strict=True):
        for path in ("/version", "/token/userInfo", "/admin/config"):
            await api.ok("GET", path)
        assert [each["workflowInstanceId"] for each in await api.ok("GET", "/admin/task/t")] == [run]
        assert await api.ok("GET", "/admin/queues") == {}
        assert await api.ok("GET", "/tasks/queue/all/verbose") == {"t": {"a": {"size": 1, "uacked": 0}}}
        assert await api.ok("POST", "/tasks/queue/requeue/t") == "1"
        for other in (each for each in runs if each != run):
            await absent(api, "POST", f"/admin/sweep/requeue/{other}")
            await absent(api, "POST", f"/admin/consistency/verifyAndRepair/{other}")
            await absent(api, "GET", f"/workflow/{other}/size")
            await absent(api, "POST", f"/workflow/{other}/state", {})
            await absent(api, "POST", f"/workflow/{other}/upgrade", {})
        own = f"only_{name_of(api)}"
        await api.register([simple("t")], name=own)
        for other_api in others(apis, api):
            await absent(other_api, "POST", f"/workflow/execute/{own}", {})
            await absent(other_api, "GET", f"/workflow/execute/{own}")
        await api.ok("POST", "/event", starter("shop:paid", "wf"))
        assert await post(api, "shop:paid") == ["started"]
        for path in ("/event/execution", "/event/execution/shop:paid"):
            assert [each["messageId"] for each in await api.ok("GET", path)] == ["same"]


@covers(
    "GET /queue",
    "GET /queue/size",
    "POST /queue/update/{wf}/{ref}/{status}",
    "POST /queue/update/{wf}/task/{task}/{status}",
    "GET /event/queue/config",
    "GET /event/queue/config/{type}/{name}",
    "PUT /event/queue/config/{type}/{name}",
    "DELETE /event/queue/config/{type}/{name}",
)
async def test_queues_of_waiting_tasks(apis: Apis) -> None:
    runs = [await api.run([step("WAIT", "w")]) for api in apis]
    config = "/event/queue/config/kafka/q"
    for api, run in zip(apis, runs, strict=True):
        for path in ("/queue", "/queue/size"):
            await api.ok("GET", path)
        identity = (await api.get(run))["tasks"][0]["taskId"]
        for other in others(apis, api):
            await absent(other, "POST", f"/queue/update/{run}/w/COMPLETED", {})
            await absent(other, "POST", f"/queue/update/{run}/task/{identity}/COMPLETED", {})
        assert await api.ok("GET", config) == {}
        await api.ok("PUT", config, {"by": name_of(api)})
    for api in apis:
        assert await api.ok("GET", "/event/queue/config") == {"kafka:q": {"by": name_of(api)}}
    await apis[0].ok("DELETE", config)
    await apis[1].ok("DELETE", config)
    assert await apis[2].ok("GET", config) == {"by": "zeta"}
