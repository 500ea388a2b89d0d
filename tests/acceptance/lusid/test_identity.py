"""Who did what: users with tokens, handlers that act as others, and what was there at an earlier moment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.acceptance.lusid.world import (
    HANDLERS,
    TASKS,
    WORK,
    World,
    creates,
    decision_of,
    effects_of,
    fields_of,
    letters,
    merged,
    serving,
    updates,
)
from tests.acceptance.official import unique

ANN, BOB, GATEWAY = "token-of-ann-000001", "token-of-bob-000002", "key-of-the-gateway-3"
MANUAL = "/notification/api/manualevent"


@pytest.fixture(scope="module")
def ann(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    users = ("--user", f"ann={ANN}", "--user", f"bob={BOB}", "--service-user", "robot", "--forwarder", GATEWAY)
    with serving(tmp_path_factory.mktemp("users"), *users, token=ANN) as made:
        yield made


@pytest.fixture
def bob(ann: World) -> Iterator[World]:
    made = World(ann.server, ann.folder, BOB)
    yield made
    made.close()


@pytest.fixture
def gateway(ann: World) -> Iterator[World]:
    """Says whose events are."""
    made = World(ann.server, ann.folder, GATEWAY)
    yield made
    made.close()


def test_without_a_token_nothing_is_answered(ann: World) -> None:
    calls = [("GET", HANDLERS), ("POST", HANDLERS), ("GET", TASKS), ("POST", MANUAL), ("GET", "/notification/api/eventtypes")]
    with httpx.Client(base_url=ann.server.address) as client:
        for method, path in calls:
            for headers in (
                {},
                {"authorization": "Bearer x"},
                {"authorization": "Basic YTpi"},
                {"authorization": f"Bearer {ANN}x"},
            ):
                answer = client.request(method, path, headers=headers)
                assert answer.status_code == 401
                found = answer.json()
                assert (found["name"], type(found["code"]), found["status"]) == ("Unauthorized", int, 401)
                assert "retry-after" not in answer.headers


def test_everything_that_a_handler_does_is_done_by_its_user(ann: World, bob: World, gateway: World) -> None:
    kind = letters()
    child = ann.definition()
    config = {"taskDefinitionId": child, "childTaskFields": {"path": {"mapFrom": "path"}}}
    action = {"name": "split", "actionDetails": {"type": "CreateChildTasks", "childTaskConfigurations": [config]}}
    begin, check, finish = WORK["transitions"]
    definition = ann.definition(actions=[action], transitions=[{**begin, "action": "split"}, check, finish])
    handler = bob.handler_of(definition, kind, creates({"path": "$body.path"}))
    made = bob.ask("POST", HANDLERS, handler, 201)
    assert made["version"]["userIdCreated"] == made["version"]["userIdModified"] == "bob"
    mover = merged(handler, id={"scope": "acme", "code": unique("on")}, taskActivity=updates("check", "", {"rows": 4}))
    mover["eventMatchingPattern"] = {"eventType": f"{kind}x"}
    ann.made(merged(mover, runAsUserId={"mapFrom": "header.userId"}))
    posted = ann.post(kind, {"path": "p"})
    [effect] = effects_of(posted, f"acme/{made['id']['code']}")
    task = ann.get(effect["run"])
    version = task["version"]
    assert (version["userIdCreated"], version["userIdModified"]) == ("robot", "robot")
    assert version["requestIdCreated"] == posted["key"]
    children = ann.wait(lambda: ann.get(task)["childTasks"], "the child is made")
    assert ann.get(children[0])["version"]["userIdCreated"] == "robot"
    assert ann.ask("GET", f"/workflow/api/actionlogs/{ann.get(task)['actionLogIdSubmitted']}")["runAsUserId"] == "robot"
    gateway.post(f"{kind}x", {}, userid="bob")
    now = ann.get(task)["version"]
    assert (now["userIdCreated"], now["userIdModified"], now["asAtVersionNumber"]) == ("robot", "bob", 2)
    history = ann.ask("GET", f"{TASKS}/{task['id']}/history")["values"]
    assert {item["userIdModified"] for item in history} == {"bob"}


@pytest.mark.parametrize(
    ("attributes", "said"),
    [({}, "no user"), ({"userid": "mallory"}, "'mallory'"), ({"userid": ""}, "no user")],
)
def test_a_user_who_is_not_known_fails_the_handler(ann: World, gateway: World, attributes: Any, said: str) -> None:
    definition, kind = ann.definition(), letters()
    name = ann.handler(definition, kind, creates(), runAsUserId={"mapFrom": "header.userId"})
    good = ann.handler(definition, kind, creates({"path": "fine"}))
    posted = gateway.post(kind, {}, **attributes)
    decision = decision_of(posted, name)
    assert decision["verdict"] == "failed"
    assert "runAsUserId" in decision["detail"]
    assert said in decision["detail"]
    assert decision_of(posted, good)["verdict"] == "fired"
    assert [fields_of(task) for task in ann.tasks(definition)] == [{"path": "fine"}]


@pytest.mark.parametrize(
    "run_as", [{"setTo": "mallory"}, {"setTo": ""}, {}, {"setTo": "robot", "mapFrom": "header.userId"}, {"mapFrom": "body.user"}]
)
def test_a_handler_may_not_name_just_anybody(ann: World, run_as: Any) -> None:
    said = ann.refused("POST", HANDLERS, ann.handler_of(ann.definition(), letters(), creates(), runAsUserId=run_as))
    assert any(path.startswith("runAsUserId") for path in said["errors"])


def test_a_manual_event_has_its_caller_as_its_user(ann: World, bob: World) -> None:
    definition = ann.definition()
    fields = {"path": "$body.subject", "rows": "$body.jsonMessage.rows", "urgent": "$body.jsonMessage.deep.er[0]"}
    where = f"body.message eq '{unique('m')}' and header.entityType eq 'manual'"
    name = ann.handler(definition, "Manual", creates(fields), where, runAsUserId={"mapFrom": "header.userId"})
    message = where.split("'")[1]
    sent = {"subject": "s", "message": message, "jsonMessage": {"rows": 12, "deep": {"er": [True]}}}
    answer = bob.ask("POST", MANUAL, sent, 201)
    assert answer["body"] == sent
    assert (answer["header"]["eventType"], answer["header"]["userId"]) == ("Manual", "bob")
    assert bob.ask("POST", MANUAL, {"subject": "s", "message": "another"}, 201)["body"] == {"subject": "s", "message": "another"}
    [task] = ann.tasks(definition)
    assert task["version"]["userIdCreated"] == "bob"
    assert {key: value for key, value in fields_of(task).items() if key != "urgent"} == {"path": "s", "rows": 12}
    [event] = [
        each for each in ann.ask("GET", "/v1/events", type="Manual", limit=10)["events"] if each["data"]["message"] == message
    ]
    assert decision_of(event, name)["verdict"] == "fired"
    assert event["attributes"]["requestid"] == answer["header"]["requestId"]


@pytest.mark.parametrize("body", [{}, {"subject": "s"}, {"message": "m"}, {"subject": 1, "message": "m"}, [], "x", None])
def test_a_manual_event_needs_subject_and_message(ann: World, body: Any) -> None:
    ann.refused("POST", MANUAL, content=b"null" if body is None else None, body=body)


def test_a_handler_is_readable_as_it_was(ann: World, bob: World) -> None:
    definition, kind = ann.definition(), letters()
    handler = ann.handler_of(definition, kind, creates({"path": "first"}))
    first = ann.ask("POST", HANDLERS, handler, 201)
    path = f"{HANDLERS}/acme/{first['id']['code']}"
    second = bob.put(f"acme/{first['id']['code']}", merged(handler, taskActivity=creates({"path": "second"}), displayName="New"))
    version = second["version"]
    assert (version["userIdCreated"], version["userIdModified"], version["asAtVersionNumber"]) == ("ann", "bob", 2)
    assert version["asAtCreated"] == first["version"]["asAtCreated"] < version["asAtModified"]
    assert version["requestIdCreated"] == first["version"]["requestIdCreated"] != version["requestIdModified"]
    ann.post(kind, {})
    gone = bob.ask("DELETE", path)["asAt"]
    assert ann.ask("GET", path, asAt=first["version"]["asAtModified"]) == first
    assert ann.ask("GET", path, asAt=version["asAtModified"]) == second
    ann.refused("GET", path, status=404)
    for at, status in (("2001-01-01", 404), (gone, 404), ("9999-12-31T23:59:59.999999Z", 404), ("nonsense", 400)):
        answer = ann.http.get(path, params={"asAt": at})
        assert answer.status_code == status, at
    listed = ann.ask("GET", HANDLERS, asAt=version["asAtModified"], filter=f"id.code eq '{first['id']['code']}'")["values"]
    assert listed == [second]
    assert ann.ask("GET", HANDLERS, filter=f"id.code eq '{first['id']['code']}'")["values"] == []
    again = ann.ask("POST", HANDLERS, handler, 201)
    assert again["version"]["asAtVersionNumber"] == 1
    assert again["version"]["asAtCreated"] > gone
    ann.post(kind, {})
    assert [fields_of(task)["path"] for task in ann.tasks(definition)] == ["second", "first"]
