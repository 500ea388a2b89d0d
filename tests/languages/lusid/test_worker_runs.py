"""Workers at work: for tasks, with triggers by outcome and children out of rows; and on their own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from tests.languages.lusid.api import WORKERS
from tests.languages.lusid.machines import Desk, action, child, here, identity, kinds, machine, until, values

from pelton.kernel.model.signals import Report
from pelton.kernel.model.state import Failure, StepStatus
from pelton.languages.lusid.definitions.actions import MOST_CHILDREN
from pelton.runtime.api import ClaimRequest, WorkItem
from pelton.runtime.caller import SERVER

pytestmark = pytest.mark.asyncio(loop_scope="session")
OUTCOMES = ("started", "completedWithResults", "completedNoResults", "failedToStart", "failedToComplete")
ENDS = {"some": "Full", "none": "Empty", "unstarted": "Unstarted", "failed": "Failed"}
WAYS = "New go Running !run, Running started Begun, " + ", ".join(
    f"{start} {trigger} {state}" for start in ("Running", "Begun") for trigger, state in ENDS.items()
)
KINDS = {"text": "String", "seconds": "Decimal", "n": "Decimal"}


def triggers(*names: str) -> dict[str, str | None]:
    known = dict(zip(OUTCOMES, ("started", "some", "none", "unstarted", "failed"), strict=True))
    return {name: known[name] for name in names or OUTCOMES}


def runner(worker: str, *children: Any, ways: str = "", status: dict[str, str | None] | None = None, **details: Any) -> Any:
    """A task that runs a worker when it is triggered with go, and moves on as the worker does."""
    run = action(
        "run",
        "RunWorker",
        workerId=identity(worker),
        workerStatusTriggers=triggers() if status is None else status,
        childTaskConfigurations=list(children),
        **details,
    )
    return machine("job", ways or WAYS, fields=KINDS, actions=[run])


class Shop:
    """A small web server: what it was asked, and what it is to answer."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.status = 200
        self.body = b""
        self.address = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode().rstrip().split("\r\n")
            method, path, _ = first.split(" ")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.asked.append((method, path, headers, body))
            answer = f"HTTP/1.1 {self.status} Said\r\nconnection: close\r\ncontent-length: {len(self.body)}\r\n\r\n"
            writer.write(answer.encode() + self.body)
            await writer.drain()
        finally:
            writer.close()
            await writer.wait_closed()


@pytest_asyncio.fixture(loop_scope="session")
async def shop() -> AsyncIterator[Shop]:
    found = Shop()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield found
    server.close()


async def taken(desk: Desk, queue: str) -> WorkItem:
    [item] = await desk.api.engine.claim(SERVER, ClaimRequest(queues=[queue], wait=10_000, worker="test"))
    return item


async def gives(desk: Desk, item: WorkItem, output: Any) -> None:
    report = Report(n=item.step.n, attempt=item.step.attempt, status=int(StepStatus.COMPLETED), output=output)
    [result] = await desk.api.engine.report(SERVER, [(item.run.key, report)])
    assert result.error is None


async def fails(desk: Desk, item: WorkItem, reason: str) -> None:
    failure = Failure("mine", "technical", reason, None, False)
    status = int(StepStatus.FAILED_FOR_GOOD)
    report = Report(n=item.step.n, attempt=item.step.attempt, status=status, reason=reason, failure=failure)
    await desk.api.engine.report(SERVER, [(item.run.key, report)])


async def states(desk: Desk, task: Any) -> list[str]:
    """The states that the task went through."""
    return [new for _, name, _, new in await desk.history(task) if name == "State"]


# ---- outcomes


async def test_sleep(desk: Desk) -> None:
    await desk.worker("sleeper", "Sleep")
    await desk.define(runner("sleeper", workerParameters={"SleepTimeSeconds": {"mapFrom": "seconds"}}))
    task = await desk.create("job", user="ann", given={"seconds": 0.03})
    went = await desk.fire(task, "go", user="ben")
    assert went["state"] == "Running"
    empty = await desk.becomes(task, "Empty")
    assert await states(desk, task) == ["Running", "Begun", "Empty"]
    assert empty["version"]["userIdModified"] == "ben"
    assert empty["version"]["requestIdModified"] == went["version"]["requestIdModified"]
    assert empty["actionLogIdModified"] == went["actionLogIdSubmitted"]
    log = await desk.log(went["actionLogIdSubmitted"])
    assert log["actionType"] == "RunWorker"
    assert [kind for kind in kinds(log) if kind != "ActionProgressUpdate"] == [
        "ActionSubmitted",
        "ActionInitialising",
        "ActionStarted",
        "ActionSuccessful",
    ]


async def test_parameters_that_the_worker_cannot_take(desk: Desk) -> None:
    await desk.worker("sleeper", "Sleep")
    await desk.define(runner("sleeper", workerParameters={"SleepTimeSeconds": {"mapFrom": "text", "setTo": None}}))
    task = await desk.create("job", "go", given={"text": "long"})
    await desk.becomes(task, "Unstarted")
    assert await states(desk, task) == ["Begun", "Unstarted"]


async def test_fail(desk: Desk) -> None:
    await desk.worker("bad", "Fail")
    await desk.define(runner("bad"))
    task = await desk.create("job", "go")
    await desk.becomes(task, "Failed")
    log = await desk.log((await desk.get(task))["actionLogIdSubmitted"])
    assert kinds(log)[-1] == "ActionFailed"
    assert "always fails" in log["loggedItems"][-1]["details"]


async def test_workers_that_cannot_begin(desk: Desk) -> None:
    await desk.worker("view", "LuminesceView", name="v")
    await desk.define(runner("view"))
    task = await desk.create("job", "go")
    await desk.becomes(task, "Unstarted")
    await desk.redefine(runner("nowhere"))
    other = await desk.create("job", "go")
    await desk.becomes(other, "Unstarted")
    log = await desk.log((await desk.get(other))["actionLogIdSubmitted"])
    assert "there is no worker" in str(log["loggedItems"])


async def test_health_check(desk: Desk, shop: Shop) -> None:
    await desk.worker("check", "HealthCheck", url=f"{shop.address}/health")
    one = child("leaf", "go", childTaskFields={"code": {"mapFrom": "HttpStatusCode"}})
    await desk.define(machine("leaf", "New go Done", fields={"code": "String"}), runner("check", one))
    task = await desk.create("job", "go")
    await desk.becomes(task, "Full")
    [made] = await desk.children(task, 1)
    assert values(made) == {"code": "200"}
    assert shop.asked[0][:2] == ("GET", "/health")
    shop.status = 500
    again = await desk.create("job", "go")
    await desk.becomes(again, "Full")
    assert values((await desk.children(again, 1))[0]) == {"code": "500"}
    await desk.worker("nobody", "HealthCheck", url="http://127.0.0.1:1/")
    await desk.redefine(runner("nobody"))
    await desk.becomes(await desk.create("job", "go"), "Failed")
    await desk.worker("elsewhere", "HealthCheck", url="http://10.0.0.1/")
    await desk.redefine(runner("elsewhere"))
    await desk.becomes(await desk.create("job", "go"), "Failed")


async def test_http(desk: Desk, shop: Shop) -> None:
    await desk.worker("web", "Http", url=f"{shop.address}/work", headers={"x-key": "k"})
    one = child("leaf", childTaskFields={"code": {"mapFrom": "Name"}, "text": {"mapFrom": "text"}})
    parameters = {"P": {"mapFrom": "text"}, "Q": {"setTo": 5}, "None": {"mapFrom": "n"}}
    await desk.define(
        machine("leaf", "New go Done", fields={"code": "String", "text": "String"}),
        runner("web", one, workerParameters=parameters),
    )
    cases: list[tuple[int, bytes, str, list[str]]] = [
        (200, b'[{"Name":"a"},{"name":"b"}]', "Full", ["a", "b"]),
        (201, b'{"results":[{"Name":"c"}]}', "Full", ["c"]),
        (200, b'{"Name":"d"}', "Full", ["d"]),
        (200, b"[]", "Empty", []),
        (200, b"", "Empty", []),
        (204, b"", "Empty", []),
        (500, b"[]", "Failed", []),
        (200, b"<html>", "Failed", []),
        (200, b"[1]", "Failed", []),
        (200, b'"x"', "Failed", []),
    ]
    for status, body, state, names in cases:
        shop.status, shop.body = status, body
        task = await desk.create("job", "go", given={"text": "t"})
        await desk.becomes(task, state)
        made = await desk.children(task, len(names))
        assert [values(each) for each in made] == [{"code": name, "text": "t"} for name in names], body
    method, path, headers, sent = shop.asked[0]
    assert (method, path, headers["x-key"], headers["content-type"]) == ("POST", "/work", "k", "application/json")
    assert json.loads(sent) == {"parameters": {"P": "t", "Q": 5}, "worker": identity("web")}


async def test_a_queue(desk: Desk) -> None:
    queue = f"q-{here()}"
    await desk.worker("queue", "Queue", queue=queue)
    await desk.define(runner("queue", workerParameters={"P": {"mapFrom": "text"}}))
    task = await desk.create("job", "go", user="ann", given={"text": "x"})
    item = await taken(desk, queue)
    assert item.step.input["parameters"] == {"P": "x"}
    assert item.step.input["worker"] == identity("queue")
    assert item.step.input["origin"]["user"] == "ann"
    assert (await desk.becomes(task, "Begun"))["version"]["asAtVersionNumber"] == 2
    await gives(desk, item, {"results": [{"a": 1}]})
    await desk.becomes(task, "Full")
    empty = await desk.create("job", "go")
    await gives(desk, await taken(desk, queue), None)
    await desk.becomes(empty, "Empty")
    broken = await desk.create("job", "go")
    await fails(desk, await taken(desk, queue), "out of paper")
    after = await desk.becomes(broken, "Failed")
    log = await desk.log(after["actionLogIdSubmitted"])
    assert "out of paper" in str(log["loggedItems"])


async def test_the_same_action_twice_at_once(desk: Desk) -> None:
    """Each run of the worker has its own rows and its own log."""
    queue = f"q-{here()}"
    await desk.worker("queue", "Queue", queue=queue)
    one = child("leaf", childTaskFields={"code": {"mapFrom": "code"}})
    run = runner("queue", one, ways="Open go Open !run, Open some Open, Open end Done", status={"completedWithResults": "some"})
    await desk.define(machine("leaf", "New go Done", fields={"code": "String"}), run)
    task = await desk.create("job")
    first = await desk.fire(task, "go", user="ann")
    one_item = await taken(desk, queue)
    second = await desk.fire(task, "go", user="ben")
    two_item = await taken(desk, queue)
    await gives(desk, one_item, [{"code": "one"}])
    [made] = await desk.children(task, 1)
    assert values(made) == {"code": "one"}
    assert made["actionLogIdCreated"] == first["actionLogIdSubmitted"]
    assert made["version"]["userIdCreated"] == "ann"
    await gives(desk, two_item, [{"code": "two"}, {"code": "three"}])
    found = await desk.children(task, 3)
    assert sorted(values(each)["code"] for each in found) == ["one", "three", "two"]
    assert [each["actionLogIdCreated"] for each in found[1:]] == [second["actionLogIdSubmitted"]] * 2
    assert [each["version"]["userIdCreated"] for each in found[1:]] == ["ben"] * 2


async def test_triggers_that_the_task_does_not_know_change_nothing(desk: Desk) -> None:
    """As samples do: the trigger for `started` is the very one that was just used."""
    await desk.worker("sleeper", "Sleep")
    status: dict[str, str | None] = {
        "started": "go",
        "completedNoResults": "none",
        "completedWithResults": None,
        "failedToStart": "unknown",
    }
    at_once = {"SleepTimeSeconds": {"setTo": 0}}
    run = runner("sleeper", ways="New go Running !run, Running none Done", status=status, workerParameters=at_once)
    await desk.define(run)
    task = await desk.create("job", "go")
    done = await desk.becomes(task, "Done")
    log = await desk.said(done["actionLogIdSubmitted"], "TriggerNotApplied")
    assert "'go'" in str(log["loggedItems"])
    assert done["version"]["asAtVersionNumber"] == 2
    bare = runner("sleeper", ways="New go Done !run", status={}, workerParameters=at_once)
    await desk.redefine(bare)
    ended = await desk.create("job", "go")
    await desk.said(ended["actionLogIdSubmitted"], "ActionSuccessful")


async def test_a_worker_that_takes_too_long(desk: Desk) -> None:
    await desk.worker("sleeper", "Sleep")
    await desk.define(runner("sleeper", workerTimeout=1, workerParameters={"SleepTimeSeconds": {"setTo": 3600}}))
    task = await desk.create("job", "go")
    failed = await desk.becomes(task, "Failed")
    log = await desk.log(failed["actionLogIdSubmitted"])
    assert "within 1 seconds" in str(log["loggedItems"])
    queue = f"q-{here()}"
    await desk.worker("queue", "Queue", queue=queue)
    await desk.redefine(runner("queue", workerTimeout=1))
    other = await desk.create("job", "go")
    await taken(desk, queue)
    await desk.becomes(other, "Failed")


async def test_a_worker_as_it_was(desk: Desk, shop: Shop) -> None:
    first = await desk.worker("check", "HealthCheck", url=f"{shop.address}/one")
    await desk.api.ok(
        "PUT",
        f"{WORKERS}/{here()}/check",
        {"displayName": "x", "workerConfiguration": {"type": "HealthCheck", "url": f"{shop.address}/two"}},
    )
    at = first["version"]["asAtModified"]
    await desk.define(runner("check", workerAsAt=at))
    await desk.becomes(await desk.create("job", "go"), "Full")
    assert shop.asked[-1][1] == "/one"
    await desk.redefine(runner("check"))
    await desk.becomes(await desk.create("job", "go"), "Full")
    assert shop.asked[-1][1] == "/two"
    await desk.redefine(runner("check", workerAsAt="9999-12-31T23:59:59.999999Z"))
    await desk.becomes(await desk.create("job", "go"), "Full")
    assert shop.asked[-1][1] == "/two"
    await desk.redefine(runner("check", workerAsAt="2020-01-01"))
    await desk.becomes(await desk.create("job", "go"), "Unstarted")
    await desk.api.ok("DELETE", f"{WORKERS}/{here()}/check")
    await desk.redefine(runner("check", workerAsAt=at))
    await desk.becomes(await desk.create("job", "go"), "Full")
    started = await desk.api.ok("POST", f"{WORKERS}/{here()}/check/$run", asAt=at)
    assert (await result(desk, started["runId"]))["results"] == [{"HttpStatusCode": "200"}]


# ---- rows


ROWS = [{"Name": "a", "Kind": "x", "Size": 1}, {"Name": "b", "Kind": "y", "Size": 2}, {"Name": "c", "Kind": "x", "Size": 3}]


def row_child(pattern: str = "", **more: Any) -> Any:
    mappings = {"name": {"mapFrom": "name"}, "size": {"mapFrom": "Size"}, "why": {"setTo": "row"}, "text": {"mapFrom": "text"}}
    found = child("leaf", childTaskFields=mappings, mapStackingKeyFrom="Name", **more)
    return {**found, "resultMatchingPattern": {"filter": pattern}} if pattern else found


def leaf() -> Any:
    along = action("along", "TriggerNextTask", defaultTrigger="go")
    kinds = {"name": "String", "size": "Decimal", "why": "String", "text": "String"}
    return machine("leaf", "New go Doing, Doing finish Done !along", fields=kinds, actions=[along])


async def with_rows(desk: Desk, job: Any, rows: Any = None) -> Any:
    queue = f"q-{here()}"
    await desk.worker("queue", "Queue", queue=queue)
    await desk.define(leaf(), job)
    task = await desk.create("job", "go", given={"text": "t"}, correlationIds=["c"])
    await gives(desk, await taken(desk, queue), {"results": ROWS if rows is None else rows})
    return task


async def test_rows_become_children(desk: Desk) -> None:
    task = await with_rows(desk, runner("queue", row_child(initialTrigger="go"), row_child("Kind eq 'X' and Size gt 1")))
    full = await desk.becomes(task, "Full")
    found = await desk.children(task, 4)
    assert [values(each)["name"] for each in found] == ["a", "b", "c", "c"]
    assert [values(each)["size"] for each in found] == [1, 2, 3, 3]
    assert {(values(each)["why"], values(each)["text"]) for each in found} == {("row", "t")}
    assert [each["stackingKey"] for each in found] == ["a", "b", "c", "c"]
    assert [each["state"] for each in found] == ["Doing", "Doing", "Doing", "New"]
    assert all(each["correlationIds"] == ["c"] for each in found)
    assert {each["actionLogIdCreated"] for each in found} == {full["actionLogIdSubmitted"]}
    assert all("previousTask" not in each for each in found)


async def test_children_are_there_before_the_trigger_fires(desk: Desk) -> None:
    """Guards over children see all of them, also of very many."""
    job = runner(
        "queue",
        row_child(),
        ways="New go Running !run, Running some Right [childTasks any (fields['size'] eq 119)]",
        status={"completedWithResults": "some"},
    )
    task = await with_rows(desk, job, [{"Name": str(n), "Size": n} for n in range(120)])
    await desk.becomes(task, "Right")
    assert len((await desk.get(task))["childTasks"]) == 120


async def test_no_rows_that_match(desk: Desk) -> None:
    task = await with_rows(desk, runner("queue", row_child("Kind eq 'z'")))
    await desk.becomes(task, "Full")
    assert (await desk.get(task))["childTasks"] == []


async def test_a_series_of_rows(desk: Desk) -> None:
    task = await with_rows(desk, runner("queue", row_child(initialTrigger="go"), ordering="Series"))
    one, two, three = await desk.children(task, 3)
    assert [each["state"] for each in (one, two, three)] == ["Doing", "New", "New"]
    assert three["previousTask"]["id"] == two["id"]
    await desk.fire(one, "finish")
    await desk.becomes(two, "Doing")


async def test_several_series_at_once(desk: Desk) -> None:
    both = (row_child("Kind eq 'x'", initialTrigger="go"), row_child("Size lte 2", initialTrigger="go"))
    task = await with_rows(desk, runner("queue", *both, ordering="ParallelSeries"))
    found = await desk.children(task, 4)
    assert [(values(each)["name"], each["state"]) for each in found] == [
        ("a", "Doing"),
        ("c", "New"),
        ("a", "Doing"),
        ("b", "New"),
    ]
    assert [each.get("previousTask", {}).get("id") for each in found] == [None, found[0]["id"], None, found[2]["id"]]
    await desk.fire(found[0], "finish")
    await desk.becomes(found[1], "Doing")
    assert (await desk.get(found[3]))["state"] == "New"


async def test_rows_that_make_no_good_children(desk: Desk) -> None:
    task = await with_rows(desk, runner("queue", row_child()), [{"Name": "a", "Size": "many"}, {"Name": "b", "Size": 1}])
    full = await desk.becomes(task, "Full")
    [made] = await desk.children(task, 1)
    assert values(made)["name"] == "b"
    log = await desk.said(full["actionLogIdSubmitted"], "ActionFailed")
    assert "'size'" in str(log["loggedItems"])
    assert "ActionSuccessful" in kinds(log)


async def test_more_rows_than_children_can_be_made_of(desk: Desk) -> None:
    task = await with_rows(desk, runner("queue", row_child()), [{"Name": "x"}] * (MOST_CHILDREN + 1))
    failed = await desk.becomes(task, "Failed")
    assert failed["childTasks"] == []
    log = await desk.log(failed["actionLogIdSubmitted"])
    assert "10001 child tasks" in str(log["loggedItems"])
    assert (await desk.fire(task, given={"text": "it goes on"}))["version"]["asAtVersionNumber"] > 3


# ---- on their own


async def result(desk: Desk, run: str) -> Any:
    async def look() -> Any:
        found = await desk.api.ok("GET", f"{WORKERS}/{run}/$result")
        return None if found["workerStatus"] in ("NotStarted", "Started") else found

    return await until(look)


async def test_runs_on_their_own(desk: Desk, shop: Shop) -> None:
    for code, kind in (("sleeper", "Sleep"), ("bad", "Fail"), ("other", "InstantiateRec")):
        await desk.worker(code, kind)
    await desk.worker("check", "HealthCheck", url=shop.address)

    async def run(code: str, body: Any = None) -> Any:
        started = await desk.api.ok("POST", f"{WORKERS}/{here()}/{code}/$run", body)
        assert started["runId"]
        return await result(desk, started["runId"])

    slept = await run("sleeper", {"parameters": [{"name": "SleepTimeSeconds", "value": 0.01}], "workerTimeout": 60})
    assert (slept["workerStatus"], slept["results"]) == ("CompletedNoResults", [])
    for seconds, status in (
        ("0.01", "CompletedNoResults"),
        (-1, "FailedToStart"),
        ("soon", "FailedToStart"),
        (1e300, "FailedToStart"),
    ):
        found = await run("sleeper", {"parameters": [{"name": "SleepTimeSeconds", "value": seconds}]})
        assert found["workerStatus"] == status
    late = await run("sleeper", {"parameters": [{"name": "SleepTimeSeconds", "value": 60}], "workerTimeout": 1})
    assert (late["workerStatus"], late["results"]) == ("FailedToComplete", [])
    assert "1 seconds" in late["statusDetail"]
    failed = await run("bad")
    assert failed["workerStatus"] == "FailedToComplete"
    assert "always fails" in failed["statusDetail"]
    unstarted = await run("other")
    assert unstarted["workerStatus"] == "FailedToStart"
    assert "InstantiateRec" in unstarted["statusDetail"]
    checked = await run("check")
    assert (checked["workerStatus"], checked["results"]) == ("CompletedWithResults", [{"HttpStatusCode": "200"}])


async def test_a_run_that_is_under_way(desk: Desk) -> None:
    queue = f"q-{here()}"
    await desk.worker("queue", "Queue", queue=queue)
    body = {"parameters": [{"name": "P", "value": [1, {"a": None}]}]}
    started = await desk.api.ok("POST", f"{WORKERS}/{here()}/queue/$run", body)
    item = await taken(desk, queue)
    assert item.step.input == {"parameters": {"P": [1, {"a": None}]}, "worker": identity("queue")}
    found = await desk.api.ok("GET", f"{WORKERS}/{started['runId']}/$result")
    assert (found["workerStatus"], found["results"]) == ("Started", [])
    await gives(desk, item, {"results": [{"x": 1}]})
    assert (await result(desk, started["runId"]))["results"] == [{"x": 1}]


async def test_runs_that_cannot_be(desk: Desk) -> None:
    await desk.worker("sleeper", "Sleep")
    path = f"{WORKERS}/{here()}/sleeper/$run"
    bad: list[Any] = [
        {"parameters": {}},
        {"parameters": [{"value": 1}]},
        {"parameters": [{"name": "a", "value": 1}, {"name": "a", "value": 2}]},
        {"workerTimeout": -1},
        {"workerTimeout": "1"},
        {"workerTimeout": 1.5},
        [],
    ]
    for body in bad:
        await desk.api.refused(400, "POST", path, body)
    assert (await desk.api.refused(404, "POST", f"{WORKERS}/{here()}/none/$run"))["name"] == "WorkerNotFound"
    await desk.api.refused(404, "POST", path, asAt="2020-01-01")
    await desk.define(machine("job", "New go Done", fields={"a": "String"}))
    task = await desk.create("job", given={"a": "x"})
    for run in ("x", task["id"], "0" * 8 + "-0000-4000-8000-" + "0" * 12):
        assert (await desk.api.refused(404, "GET", f"{WORKERS}/{run}/$result"))["name"] == "WorkerRunNotFound"
