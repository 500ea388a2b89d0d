"""Every code has a category, and through every transport an answer that fits it."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
import pytest

from pelton.api import calls
from pelton.api.problems import STATUS_OF
from pelton.errors import CATEGORY, FAULT, RETRYABLE, Category, Code, FieldProblem, PeltonError, Stopping
from pelton.languages.conductor.http import errors as conductor
from pelton.languages.lusid.errors import NAME_OF
from pelton.languages.lusid.http import errors as lusid
from pelton.transport.grpc.status import GRPC_STATUS
from pelton.transport.http.asgi import Response
from pelton.transport.http.errors import STATUS

SECRET = "secret.py, line 7"

HTTP = {
    Category.ABSENT: {404},
    Category.CONFLICT: {409, 400},  # 400: a guard, in a language that takes it for a part of what was sent
    Category.INVALID: {400, 413, 422},
    Category.BUSY: {503},
    Category.DENIED: {401, 403},
    Category.FAULT: {500},
}
GRPC = {
    Category.ABSENT: {"NOT_FOUND"},
    Category.CONFLICT: {"FAILED_PRECONDITION", "ABORTED", "ALREADY_EXISTS"},
    Category.INVALID: {"INVALID_ARGUMENT"},
    Category.BUSY: {"UNAVAILABLE"},
    Category.DENIED: {"PERMISSION_DENIED", "UNAUTHENTICATED"},
    Category.FAULT: {"INTERNAL"},
}


class Api(NamedTuple):
    render: Callable[[Exception], Response | None]
    word: Callable[[Any], str]  # what the body says for programs


APIS = {
    "v1": Api(calls.render, lambda body: str(body["code"])),
    "conductor": Api(conductor.render, lambda body: str(body["retryable"])),
    "lusid": Api(lusid.render, lambda body: str(body["name"])),
}
TABLES: dict[str, Mapping[Code, Any]] = {"http": STATUS, "v1": STATUS_OF, "lusid": NAME_OF, "grpc": GRPC_STATUS}


def answer(api: Api, error: Exception) -> tuple[Response, Any]:
    found = api.render(error)
    assert found is not None
    return found, msgspec.json.decode(found.body)


@pytest.mark.parametrize("table", TABLES)
def test_tables_are_whole(table: str) -> None:
    assert set(TABLES[table]) == set(Code)
    assert set(CATEGORY) == set(Code)
    assert set(CATEGORY.values()) == set(Category)


@pytest.mark.parametrize("name", APIS)
@pytest.mark.parametrize("code", Code)
def test_every_code_through_every_api(code: Code, name: str) -> None:
    api = APIS[name]
    error = PeltonError(code, f"message: {SECRET}", "field", [{"trace": SECRET}], value=SECRET, remedy="wait")
    found, body = answer(api, error)
    category = CATEGORY[code]
    assert found.status in HTTP[category]
    assert body["status"] == found.status
    assert api.word(body)
    headers = {key.lower() for key, _ in found.headers}
    assert (b"retry-after" in headers) == (code in RETRYABLE and name != "conductor")
    text = found.body.decode()
    if category is Category.FAULT:
        assert SECRET not in text
        assert FAULT in text
    else:
        assert SECRET in text


@pytest.mark.parametrize("code", Code)
def test_every_code_through_grpc(code: Code) -> None:
    assert GRPC_STATUS[code] in GRPC[CATEGORY[code]]


@pytest.mark.parametrize("name", APIS)
def test_several_problems_are_all_named(name: str) -> None:
    problems = [FieldProblem("a.b", "is odd", "7"), FieldProblem("c", "is required")]
    found, body = answer(APIS[name], PeltonError(Code.INVALID, "a.b is odd (and 1 more)", problems=problems))
    assert found.status == 400
    text = found.body.decode()
    assert "a.b is odd (and 1 more)" in text
    if name == "conductor":
        assert body["validationErrors"] == [
            {"path": "a.b", "message": "is odd", "invalidValue": "7"},
            {"path": "c", "message": "is required"},
        ]
    elif name == "lusid":
        assert (body["name"], body["errors"]) == ("ValidationError", {"a.b": ["is odd"], "c": ["is required"]})
    else:
        assert (body["field"], body["value"]) == ("a.b", "7")


def test_whether_to_try_again() -> None:
    assert {Code.BUSY, Code.STOPPING, Code.UNAVAILABLE} == RETRYABLE
    assert PeltonError(Code.BUSY, "m").retryable
    assert Stopping().retryable
    assert not PeltonError(Code.CONFLICT, "m").retryable, "the state is to be looked at again first"


def test_codes_are_words() -> None:
    assert (f"{Code.NOT_FOUND}", str(Code.NOT_FOUND), msgspec.json.encode(Code.NOT_FOUND)) == (
        "not found",
        "not found",
        b'"not found"',
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode([Code.BUSY])) == ["busy"]
    assert {"busy": 1}[Code.BUSY] == 1
    assert pickle.loads(pickle.dumps(Code.BUSY)) is Code.BUSY
