"""What handlers of both languages can read of an event beside its data, and paths that lead nowhere."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.acceptance.lusid.world import DEFINITIONS, HANDLERS, TASKS, WORK, creates, fields_of, merged, updates
from tests.acceptance.official import unique
from tests.server.running import WAITING

from pelton.testing import running_server

DEFINITION = {"scope": "acme", "code": "headers"}
EVENT = {
    "specversion": "1.0", "id": "e-1", "source": "/shop/berlin", "type": "order", "subject": "order 7",
    "time": "2026-01-31T12:00:00Z",
    "tenant": "north", "level": 3, "data": {"items": [{"sku": "a"}, {"sku": "b"}], "rows": [[1, 2], [3]]},
}  # fmt: skip


async def asked(http: httpx.AsyncClient, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    answer = await http.request(method, path, json=body)
    assert answer.status_code == status, (answer.status_code, answer.text)
    return answer.json() if answer.content else None


def handler(activity: Any, where: str = "", **more: Any) -> dict[str, Any]:
    made = {
        "id": {"scope": "acme", "code": unique("on")},
        "displayName": "A handler",
        "description": "A handler",
        "status": "Active",
        "eventMatchingPattern": {"eventType": "order", **({"filter": where} if where else {})},
        "runAsUserId": {"setTo": "robot"},
        "taskDefinitionId": DEFINITION,
        "taskActivity": activity,
    }
    return merged(made, **more)


async def test_tasks_know_where_an_event_is_from() -> None:
    names = ("id", "source", "subject", "time", "attributes.tenant", "attributes['level']")
    schema = [{"name": f"f{place}", "type": "String"} for place in range(len(names))]
    fields = {f"f{place}": f"$header.{name}" for place, name in enumerate(names) if "level" not in name}
    fields["path"] = "$body.items[1].sku"
    where = (
        "header.source startswith '/shop/' and header.subject eq 'order 7' and header.attributes.Tenant in 'north', 'south' "
        "and header.attributes['level'] gt 2 and header.time gt 2026-01-01 and header.id eq 'e-1' and body.items[0].sku eq 'a' "
        "and body.rows[1][0] eq 3 and body.items[2] not exists"
    )
    async with running_server() as server, httpx.AsyncClient(base_url=server.url) as http:
        body = merged(WORK, id=DEFINITION, fieldSchema=[*WORK["fieldSchema"], *schema])
        await asked(http, "POST", DEFINITIONS, body, 201)
        await asked(http, "POST", HANDLERS, handler(creates(fields), where), 201)
        other = handler(creates({}), "header.source eq '/shop/paris'")
        await asked(http, "POST", HANDLERS, other, 201)
        moves = updates("check", "fields['f1'] eq header.source and fields['path'] eq body.items[1].sku", {"rows": 5})
        await asked(http, "POST", HANDLERS, handler(moves, "header.attributes.tenant eq 'move'"), 201)
        first = await asked(http, "POST", "/v1/events", EVENT, 201)
        [task] = (await asked(http, "GET", f"{DEFINITIONS}/acme/headers/tasks"))["values"]
        assert fields_of(task) == {
            "f0": "e-1", "f1": "/shop/berlin", "f2": "order 7", "f3": "2026-01-31T12:00:00.0000000+00:00",
            "f4": "north", "path": "b",
        }  # fmt: skip
        assert [each["verdict"] for each in first["decisions"] if each["handler"] == f"acme/{other['id']['code']}"] in (
            [],
            ["false"],
        )
        second = await asked(http, "POST", "/v1/events", {**EVENT, "id": "e-2", "tenant": "move"}, 201)
        assert [each["outcome"] for each in second["effects"]] == ["signalled"]
        assert fields_of(await asked(http, "GET", f"{TASKS}/{task['id']}"))["rows"] == 5


NOWHERE = ["header.nope", "header.source.x", "header.attributes", "header.attributes.tenant.x", "header.attributes.no_such"]


@pytest.mark.parametrize("path", [*NOWHERE, "header"])
async def test_a_path_that_leads_nowhere_is_refused(path: str) -> None:
    async with running_server() as server, httpx.AsyncClient(base_url=server.url) as http:
        await asked(http, "POST", DEFINITIONS, merged(WORK, id=DEFINITION), 201)
        said = await asked(http, "POST", HANDLERS, handler(creates({"path": f"${path}"})), 400)
        [message] = said["errors"]["taskActivity.taskFields[path].mapFrom"]
        assert "header.userId" in message or "attributes.NAME" in message
        if path not in ("header", "header.attributes"):  # these can be asked for, if only whether they exist
            for where in (f"{path} eq 'x'", f"not ({path} eq 'x')", f"body.a exists or {path} exists"):
                said = await asked(http, "POST", HANDLERS, handler(creates(), where), 400)
                assert "no filter" in said["errors"]["eventMatchingPattern.filter"][0]
            for where in (f"fields['path'] eq {path}", f"correlationIds any (~ in {path}, 'x')"):
                said = await asked(http, "POST", HANDLERS, handler(updates("check", where)), 400)
                assert "no filter" in said["errors"]["taskActivity.filter"][0]


async def test_a_filter_on_tasks_leads_somewhere() -> None:
    async with running_server() as server, httpx.AsyncClient(base_url=server.url) as http:
        await asked(http, "POST", DEFINITIONS, merged(WORK, id=DEFINITION), 201)
        for where in ("not (taskDefinitionId.cod eq 'x')", "version.who eq 'x'", "state.name exists"):
            said = await asked(http, "POST", HANDLERS, handler(updates("check", where)), 400)
            assert "no filter" in said["errors"]["taskActivity.filter"][0]


def workflow_handler(name: str, condition: str, start: dict[str, Any]) -> dict[str, Any]:
    action = {"action": "start_workflow", "start_workflow": {"name": "waiting", "version": 1, "input": start}}
    return {"name": name, "event": "order", "condition": condition, "actions": [action], "active": True}


@pytest.mark.parametrize("data", [EVENT["data"], None, {"header": {"source": "its own"}}])
async def test_workflows_know_where_an_event_is_from(data: Any) -> None:
    hidden = data is not None and "header" in data
    condition = "$.header.source == '/shop/berlin' && $.header.attributes.tenant == 'north' && $.header.id === 'e-1'"
    start = {
        "from": "${header.source}",
        "about": "${header.subject}",
        "when": "${header.time}",
        "level": "${header.attributes.level}",
    }
    async with running_server() as server, httpx.AsyncClient(base_url=server.url) as http:
        await asked(http, "POST", "/api/metadata/workflow", WAITING)
        await asked(http, "POST", "/api/event", workflow_handler("berlin", condition, start))
        await asked(http, "POST", "/api/event", workflow_handler("paris", "$.header.source == '/shop/paris'", start))
        await asked(http, "POST", "/api/event", workflow_handler("whole", "", {"all": "${}", "from": "${header.source}"}))
        posted = await asked(http, "POST", "/v1/events", {**EVENT, "data": data}, 201)
        runs = {each["handler"]: each["run"] for each in posted["effects"]}
        assert set(runs) == ({"whole"} if hidden else {"berlin", "whole"})
        given = (await asked(http, "GET", f"/api/workflow/{runs['whole']}"))["input"]
        assert given["from"] == ("its own" if hidden else "/shop/berlin")
        if not hidden:
            given = (await asked(http, "GET", f"/api/workflow/{runs['berlin']}"))["input"]
            wanted = {"from": "/shop/berlin", "about": "order 7", "when": "2026-01-31T12:00:00.000Z", "level": 3}
            assert {name: given[name] for name in wanted} == wanted
