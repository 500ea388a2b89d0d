"""Handlers whose tasks raise the event that they listen to are cut, and one can see where; and events that come from another
language."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from tests.acceptance.lusid.world import CLOUD, WORK, World, creates, decision_of, effects_of, fields_of, letters, serving
from tests.acceptance.official import unique

MOST = 64  # events and runs that may lead to one another
BUDGET = 60  # of them that may go back to one event, on a server of its own


def registered(world: World, name: str, tasks: list[Any]) -> None:
    body = [{"name": name, "version": 1, "schemaVersion": 2, "tasks": tasks}]
    answer = world.http.put("/api/metadata/workflow", json=body)
    assert answer.status_code == 200, answer.text


def starts(world: World, kind: str, name: str) -> None:
    """Another language's handler."""
    action = {"action": "start_workflow", "start_workflow": {"name": name, "version": 1, "input": {"path": "${path}"}}}
    answer = world.http.post("/api/event", json={"name": unique("h"), "event": kind, "active": True, "actions": [action]})
    assert answer.status_code == 200, answer.text


def publish(sink: str) -> dict[str, Any]:
    return {
        "name": "tell",
        "taskReferenceName": "tell",
        "type": "EVENT",
        "sink": sink,
        "inputParameters": {"path": "${workflow.input.path}"},
    }


def events(world: World, kind: str, state: str = "") -> list[Any]:
    found: list[Any] = world.ask("GET", "/v1/events", type=kind, limit=1000, state=state)["events"]
    return found


def test_an_event_of_another_language_makes_a_task(world: World) -> None:
    name, definition = unique("wf"), world.definition()
    kind = f"conductor:{name}:done"
    handler = world.handler(definition, kind, creates({"path": "$body.path"}))
    registered(world, name, [publish("conductor:done")])
    assert world.http.post(f"/api/workflow/{name}", json={"path": "/from/there"}).status_code == 200
    [task] = world.wait(lambda: world.tasks(definition), "the task is made")
    assert fields_of(task) == {"path": "/from/there"}
    [event] = events(world, kind)
    assert decision_of(event, handler)["verdict"] == "fired"
    assert task["version"]["userIdCreated"] == "robot"


def test_a_circle_through_another_language_is_cut_and_seen(world: World) -> None:
    name, definition = unique("wf"), world.definition()
    kind = f"conductor:{name}:done"
    handler = world.handler(definition, kind, creates({"path": "$body.path"}))
    registered(world, name, [publish("conductor:done")])
    starts(world, kind, name)
    world.post(kind, {"path": "/round"})
    [last] = world.wait(lambda: events(world, kind, "failed"), "the circle is cut")
    assert "loop" in last["effects"][0]["detail"]
    all_ = events(world, kind)
    assert MOST // 4 <= len(all_) <= MOST + 1
    assert len(world.tasks(definition)) == len(all_) - 1
    assert effects_of(last, handler) == []


@pytest.fixture
def echo(world: World) -> Iterator[str]:
    """A program that posts an event whenever it is called: what a worker's service may well do."""

    class Echo(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            event = {"specversion": "1.0", "id": unique("e"), "source": "/echo", "type": self.path.strip("/"), "data": {}}
            event["peltonhops"] = self.headers["ce-peltonhops"]
            httpx.post(f"{world.server.address}/v1/events", json=event, headers=CLOUD)
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_circle_through_a_worker_is_cut_and_seen(world: World, echo: str) -> None:
    kind, code = letters(), unique("worker")
    worker = {
        "id": {"scope": "acme", "code": code},
        "displayName": "w",
        "workerConfiguration": {"type": "Http", "url": f"{echo}/{kind}"},
    }
    world.ask("POST", "/workflow/api/workers", worker, 201)
    action = {"name": "call", "actionDetails": {"type": "RunWorker", "workerId": worker["id"], "childTaskConfigurations": []}}
    begin, *others = WORK["transitions"]
    definition = world.definition(actions=[action], transitions=[{**begin, "action": "call"}, *others])
    world.handler(definition, kind, creates({"path": "p"}))
    world.post(kind, {})
    [last] = world.wait(lambda: events(world, kind, "failed"), "the circle is cut", 60)
    assert "loop" in last["effects"][0]["detail"]
    assert MOST // 4 <= len(world.tasks(definition)) <= MOST


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server that allows few descendants."""
    with serving(tmp_path_factory.mktemp("narrow"), "--most-descendants", str(BUDGET)) as world:
        yield world


def test_a_circle_with_two_arms_ends_and_says_which_event_it_goes_back_to(narrow: World) -> None:
    """Two handlers of two languages, and each round makes two of one."""
    name, definition = unique("wf"), narrow.definition()
    kind = f"conductor:{name}:done"
    handler = narrow.handler(definition, kind, creates({"path": "$body.path"}))
    registered(narrow, name, [publish("conductor:done"), {**publish("conductor:done"), "taskReferenceName": "again"}])
    starts(narrow, kind, name)
    root = narrow.post(kind, {"path": "/round"})
    acted = narrow.wait(lambda: len(found := narrow.tasks(definition)) > BUDGET and found, "the budget is used up")
    narrow.wait(lambda: len(events(narrow, kind, "failed")) == BUDGET + 2, "what is left over fails", 60)
    assert len(narrow.tasks(definition)) == len(acted) == BUDGET + 1
    for event in events(narrow, kind, "failed"):
        detail = event["effects"][0]["detail"]
        assert detail.startswith(f"event {root['key']} has led to {BUDGET} events and runs within a day; the limit is {BUDGET}")
        assert decision_of(event, handler)["verdict"] == "failed"
        assert effects_of(event, handler) == []
    again = narrow.post(kind, {"path": "/again"})  # another event has a budget of its own
    assert again["state"] == "matched"
    narrow.wait(lambda: len(narrow.tasks(definition)) == 2 * (BUDGET + 1), "and uses it")


def test_what_an_event_goes_back_to_is_an_event_or_a_run(world: World) -> None:
    root = world.post(letters(), {})
    for bad in ("x", 7, root["key"][:-1] + ("0" if root["key"][-1] != "0" else "1"), True):
        assert "peltonancestor" in world.post(letters(), {}, 400, peltonancestor=bad)["field"]
    assert world.post(letters(), {}, peltonancestor=root["key"], peltonhops=2)["state"] == "unmatched"


def test_the_number_of_hops_is_a_number(world: World) -> None:
    for bad in ("x", "-1", "1.5", "9" * 30, True):
        assert "peltonhops" in world.post(letters(), {}, 400, peltonhops=bad)["field"]
    world.post(letters(), {}, peltonhops=3)
    assert world.post(letters(), {}, peltonhops=65)["state"] == "failed"


def test_nobody_else_speaks_for_the_server(world: World) -> None:
    for kind in ("lusid.schedule", letters()):
        assert world.post(kind, {}, 400, source="pelton")["field"] == "source"
    headers = {"ce-specversion": "1.0", "ce-id": unique("e"), "ce-source": "pelton", "ce-type": "lusid.schedule"}
    assert (
        world.http.post("/v1/events", content=b"{}", headers={**headers, "content-type": "application/json"}).status_code == 400
    )


def test_a_handler_listens_to_events_of_a_queue(world: World) -> None:
    """Events of sources have their address as their type."""
    definition = world.definition()
    name = world.handler(definition, "com.example.order-placed/v2", creates({"path": "$body.path"}))
    posted = world.post("com.example.order-placed/v2", {"path": "/q"})
    assert decision_of(posted, name)["verdict"] == "fired"
    assert fields_of(world.tasks(definition)[0]) == {"path": "/q"}
