"""Routing, bodies, queries and answers."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Coroutine
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pelton.errors import PeltonError
from pelton.transport.documents import MAX_WORK, check_depth, parse
from pelton.transport.http.asgi import Application, Request, Response, Router, json_response, text_response
from pelton.transport.http.errors import STATUS, WebError
from pelton.transport.http.query import Query


def render(error: Exception) -> Response | None:
    if isinstance(error, WebError):
        return json_response({"message": error.message}, error.status)
    if isinstance(error, PeltonError):
        return json_response({"message": error.message}, STATUS[error.code])
    return None


async def call(router: Router, method: str, path: bytes, chunks: list[bytes] | None = None, gone: bool = False) -> Any:
    sent: list[Any] = []
    given_chunks = list(chunks or [b""])

    async def receive() -> Any:
        if given_chunks:
            chunk = given_chunks.pop(0)
            return {"type": "http.request", "body": chunk, "more_body": bool(given_chunks) or gone}
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "raw_path": path, "path": "", "query_string": b"a=1", "headers": []}
    await Application([("/api", router)])(scope, receive, send)
    return (sent[0]["status"], sent[1]["body"]) if sent else None


def echo(name: str) -> Any:
    async def answer(request: Request) -> Response:
        return text_response(f"{name} {sorted(request.path.items())}")

    return answer


def routes() -> Router:
    router = Router(render, max_body=10)
    for method, pattern in (
        ("GET", "/workflow/{id}"),
        ("GET", "/workflow/search"),
        ("GET", "/workflow/{id}/status"),
        ("GET", "/workflow/running/{name}"),
        ("POST", "/workflow"),
        ("DELETE", "/workflow/{id}"),
    ):
        router.add(method, pattern, echo(pattern))
    return router


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (b"/api/workflow/search", "/workflow/search []"),
        (b"/api/workflow/search/", "/workflow/search []"),
        (b"/api/workflow/a%2Fb%20c", "/workflow/{id} [('id', 'a/b c')]"),
        (b"/api/workflow/search/status", "/workflow/{id}/status [('id', 'search')]"),
        (b"/api/workflow/running/status", "/workflow/running/{name} [('name', 'status')]"),
        (b"/api/workflow/%C3%BC", "/workflow/{id} [('id', '\xfc')]"),
    ],
)
async def test_paths_are_split_before_they_are_decoded(path: bytes, answer: str) -> None:
    assert await call(routes(), "GET", path) == (200, answer.encode())


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", b"/api/workflow/x", 405),
        ("GET", b"/api/workflow", 405),
        ("GET", b"/api/nope", 404),
        ("GET", b"/api", 404),
        ("GET", b"/apiary/workflow/x", 404),
        ("GET", b"/api/workflow//", 404),
        ("GET", b"/api/workflow/%ff", 400),
        ("GET", b"/api" + b"/a" * 5000, 404),
    ],
)
async def test_what_is_not_there(method: str, path: bytes, status: int) -> None:
    assert (await call(routes(), method, path))[0] == status


async def test_a_get_that_changes_something_has_no_head() -> None:
    router = Router(render)
    router.add("GET", "/take/{what}", echo("taken"), changes=True)
    router.add("GET", "/take", echo("taken"), changes=True)
    router.add("GET", "/look", echo("looked"))
    assert (await call(router, "HEAD", b"/api/take/x"))[0] == 405
    assert (await call(router, "HEAD", b"/api/take"))[0] == 405
    assert (await call(router, "GET", b"/api/take/x"))[0] == 200
    assert (await call(router, "HEAD", b"/api/look"))[0] == 200


async def test_a_route_is_added_once() -> None:
    router = routes()
    with pytest.raises(ValueError, match="already"):
        router.add("GET", "/workflow/{other}", echo("x"))


async def test_bodies_are_bounded_even_in_pieces() -> None:
    async def size(request: Request) -> Response:
        return text_response(str(len(await request.body())))

    router = Router(render, max_body=10)
    router.add("POST", "/x", size)
    assert await call(router, "POST", b"/api/x", [b"12345", b"67890"]) == (200, b"10")
    assert (await call(router, "POST", b"/api/x", [b"12345", b"678901"]))[0] == 413
    assert await call(router, "POST", b"/api/x", [b"12345"], gone=True) is None


async def test_a_fault_shows_nothing_of_itself() -> None:
    async def broken(request: Request) -> Response:
        raise KeyError("secret")

    router = Router(render)
    router.add("GET", "/x", broken)
    status, body = await call(router, "GET", b"/api/x")
    assert status == 500
    assert b"secret" not in body


async def test_work_is_cancelled_when_the_caller_hangs_up() -> None:
    cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def waits(request: Request) -> Response:
        await request.unless_gone(work())
        return text_response("never")

    router = Router(render)
    router.add("GET", "/x", waits)
    assert await call(router, "GET", b"/api/x") is None
    assert cancelled.is_set()


async def test_work_is_not_begun_for_a_body_that_cannot_be_read() -> None:
    """And it is closed: the interpreter warns of work that was made and never begun, which is an error here."""
    made: list[Coroutine[Any, Any, None]] = []

    async def work() -> None:
        raise AssertionError("begun")

    async def waits(request: Request) -> Response:
        made.append(work())
        await request.unless_gone(made[0])
        return text_response("never")

    router = Router(render, max_body=4)
    router.add("POST", "/x", waits)
    status, _ = await call(router, "POST", b"/api/x", [b"12345"])
    assert status == 413
    assert inspect.getcoroutinestate(made[0]) == inspect.CORO_CLOSED


def test_queries() -> None:
    query = Query(b"a=1&b=&c=None&d=x%20y+z&e=True&e=no", frozenset({"", "None"}))
    assert (query.integer("a", 5), query.text("b", "d"), query.text("c", "d"), query.text("d")) == (1, "d", "d", "x y z")
    assert (query.boolean("e", False), query.boolean("b", True), query.texts("e")) == (True, True, ["True", "no"])
    with pytest.raises(WebError, match="whole number"):
        query.integer("d", 0)
    with pytest.raises(WebError, match="true or false"):
        query.boolean("d", False)
    with pytest.raises(WebError, match="between 2 and 5"):
        query.integer("a", 0, 2, 5)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max((depth(item) for item in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((depth(item) for item in value), default=0)
    return 0


documents = st.recursive(
    st.none() | st.booleans() | st.text('[]{}"\\a', max_size=6) | st.integers(-5, 5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('[]{}"\\', max_size=4), inner, max_size=4),
    max_leaves=30,
)


@given(documents, st.integers(0, 6))
@example("[", 0)  # a bracket in a text is no level, at the least limit too
@example(["{[["], 1)
@example([], 0)
def test_depth_is_judged_rightly(value: Any, limit: int) -> None:
    data = msgspec.json.encode(value)
    if depth(value) > limit:
        with pytest.raises(PeltonError):
            check_depth(data, limit)
    else:
        check_depth(data, limit)


@given(st.binary(max_size=300))
def test_any_bytes_parse_or_are_refused(data: bytes) -> None:
    with contextlib.suppress(PeltonError):
        parse(data)


@pytest.mark.parametrize("data", [b"[" * 2_000_000, b'[{"a":' * 400_000, b'"' + b"[" * 3_000_000, b"[[],[]," * 300_000])
def test_large_bad_documents_are_refused_quickly(data: bytes) -> None:
    with pytest.raises(PeltonError):
        parse(data)


def chains(number: int, levels: int) -> bytes:
    return b"[" + b",".join([b"[" * levels + b"]" * levels] * number) + b"]"


class Counted(bytes):
    """Counts the bytes that are looked at to take levels away."""

    looked = 0

    def replace(self, old: Any, new: Any, count: Any = -1, /) -> Counted:
        Counted.looked += len(self)
        return Counted(super().replace(old, new, count))

    def translate(self, table: Any, /, delete: Any = b"") -> Counted:
        return Counted(super().translate(table, delete))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (chains(10_900, 190), "lists and objects"),
        (chains(2_600, 190), "nested deeply in too many places"),
        (chains(8_000, 60), "nested deeply in too many places"),
        (b"[" + b"[],{}," * 300_000 + b"0]", "lists and objects"),
        (b'{"a":"[' + b"[" * 3_000_000 + b'","b":' + chains(9, 300) + b"}", "deeper than 200 levels"),
    ],
)
def test_looking_for_depth_is_bounded(data: bytes, message: str) -> None:
    Counted.looked = 0
    with pytest.raises(PeltonError, match=message):
        check_depth(Counted(data))
    assert Counted.looked <= len(data) + MAX_WORK


def test_ordinary_large_documents_pass() -> None:
    one = {"id": 1, "lines": [{"price": {"amount": 1, "tags": ["a", "b"]}}] * 3, "text": "[" * 50}
    check_depth(msgspec.json.encode([one] * 20_000))
    check_depth(chains(400, 190))


@pytest.mark.parametrize("text", ["18446744073709551616", "-9223372036854775809", "1" * 400])
def test_numbers_that_no_store_holds(text: str) -> None:
    with pytest.raises(PeltonError, match=r"a\.b\[0\]|JSON parse error"):
        parse(b'{"a":{"b":[' + text.encode() + b"]}}")
