"""Errors of every category over HTTP, in the dialect of each API: what is answered, and that nothing of the inside is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio
from tests.languages.lusid.api import INTAKE

from pelton.errors import Code, PeltonError
from pelton.runtime.engine import LocalEngine
from pelton.testing import running_server

KEY = "a-key-of-this-server"
SECRET = "secret.py, line 7"
WORKFLOW = {"name": "w", "version": 1, "ownerEmail": "a@b.c", "tasks": [{"name": "t", "taskReferenceName": "t"}]}
EVENT = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": 1}

v1, conductor, lusid = "/v1", "/api", "/workflow/api"
BAD_WORKFLOW = {**WORKFLOW, "name": ""}
BAD_TASK_DEFINITION = {**INTAKE, "states": []}


class Case(NamedTuple):
    """`before`: sent first, and taken. `word`: of the body, for programs."""

    method: str
    path: str
    status: int
    word: tuple[str, Any]
    body: Any = None
    before: Any = None
    key: str = KEY


CASES = {
    "v1 absent": Case("GET", f"{v1}/events/none", 404, ("code", "not found")),
    "v1 conflict": Case("POST", f"{v1}/events", 409, ("code", "conflict"), {**EVENT, "data": 2}, EVENT),
    "v1 invalid": Case("POST", f"{v1}/events", 400, ("code", "invalid"), {**EVENT, "specversion": "9"}),
    "v1 denied": Case("GET", f"{v1}/runs", 401, ("code", "INVALID_TOKEN"), key="wrong"),
    "conductor absent": Case("GET", f"{conductor}/metadata/workflow/none", 404, ("retryable", False)),
    "conductor conflict": Case("POST", f"{conductor}/metadata/workflow", 409, ("retryable", False), WORKFLOW, WORKFLOW),
    "conductor invalid": Case("POST", f"{conductor}/metadata/workflow", 400, ("retryable", False), BAD_WORKFLOW),
    "conductor denied": Case("GET", f"{conductor}/metadata/workflow", 401, ("error", "INVALID_TOKEN"), key="wrong"),
    "lusid absent": Case("GET", f"{lusid}/taskdefinitions/a/none", 404, ("name", "TaskDefinitionNotFound")),
    "lusid conflict": Case("POST", f"{lusid}/taskdefinitions", 409, ("name", "TaskDefinitionAlreadyExists"), INTAKE, INTAKE),
    "lusid invalid": Case("POST", f"{lusid}/taskdefinitions", 400, ("name", "ValidationError"), BAD_TASK_DEFINITION),
    "lusid denied": Case("GET", f"{lusid}/taskdefinitions", 401, ("name", "Unauthorized"), key="wrong"),
}

# Requests, the call of the engine that they need, and by which words their API names a fault and a moment's trouble.
READS = {
    "v1": (f"{v1}/runs", "runs", ("code", "internal"), ("code", "busy")),
    "conductor": (f"{conductor}/metadata/workflow", "each_definition", ("retryable", False), ("retryable", True)),
    "lusid": (f"{lusid}/taskdefinitions", "each_definition", ("name", "InternalError"), ("name", "Unavailable")),
}
FAULTS = [KeyError(SECRET), PeltonError(Code.INTERNAL, SECRET, "f", [SECRET], value=SECRET)]


@pytest_asyncio.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with (
        running_server(api_keys=(KEY,)) as server,
        httpx.AsyncClient(base_url=server.url, headers={"x-request-id": "mine-1"}) as found,
    ):
        yield found


async def send(client: httpx.AsyncClient, case: Case, body: Any) -> httpx.Response:
    return await client.request(case.method, case.path, json=body, headers={"Authorization": f"Bearer {case.key}"})


@pytest.mark.parametrize("name", CASES)
async def test_errors_of_callers(client: httpx.AsyncClient, name: str) -> None:
    case = CASES[name]
    if case.before is not None:
        assert (await send(client, case, case.before)).is_success
    answer = await send(client, case, case.body)
    found = answer.json()
    member, word = case.word
    assert (answer.status_code, found["status"], found[member]) == (case.status, case.status, word)
    assert answer.headers["x-request-id"] == "mine-1"
    assert ("www-authenticate" in answer.headers) == (case.status == 401)


@pytest.mark.parametrize("api", READS)
@pytest.mark.parametrize(
    "error", [KeyError(SECRET), PeltonError(Code.INTERNAL, SECRET, "f", [SECRET], value=SECRET)], ids=["bug", "fault"]
)
async def test_a_fault_is_500_and_says_nothing_of_the_inside(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, api: str, error: Exception
) -> None:
    path, call, (member, word), _ = READS[api]
    fails(monkeypatch, call, error)
    answer = await client.get(path, headers={"Authorization": f"Bearer {KEY}"})
    found = answer.json()
    assert (answer.status_code, found["status"], found[member]) == (500, 500, word)
    assert SECRET not in answer.text
    assert "Error" not in found.get("detail", found.get("message"))
    assert "retry-after" not in answer.headers
    if api != "conductor":  # it has no member for it; the header has it
        assert "mine-1" in answer.text


@pytest.mark.parametrize("api", READS)
async def test_a_moments_trouble_is_503_and_may_be_tried_again(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, api: str
) -> None:
    path, call, _, (member, word) = READS[api]
    fails(monkeypatch, call, PeltonError(Code.BUSY, "others are at it; try again"))
    answer = await client.get(path, headers={"Authorization": f"Bearer {KEY}"})
    found = answer.json()
    assert (answer.status_code, found["status"], found[member]) == (503, 503, word)
    assert "others are at it" in answer.text
    assert ("retry-after" in answer.headers) == (api != "conductor")
    monkeypatch.undo()
    assert (await client.get(path, headers={"Authorization": f"Bearer {KEY}"})).status_code == 200


def fails(monkeypatch: pytest.MonkeyPatch, call: str, error: Exception) -> None:
    def failing(*arguments: Any, **options: Any) -> Any:
        raise error

    monkeypatch.setattr(LocalEngine, call, failing)
