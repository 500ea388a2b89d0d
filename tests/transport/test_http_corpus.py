"""One corpus of requests through our own HTTP connections and through two servers that others keep: the same answers, or a
written reason. Each request comes in one piece, byte by byte, and cut at every place that hypothesis thinks of."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import h11
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from tests.transport.http_corpus import CASES, NEXT, chunked
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from pelton.transport.http.connection import Connections

OURS = "ours"
OTHERS = ("httptools", "h11")
ODD_STATUS = {200, 400, 431}


class Wire(asyncio.Transport):
    """The other end of a connection: keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def set_protocol(self, protocol: Any) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Answers(NamedTuple):
    """`answers`: status, and what the application was asked, of each. `closed`: the connection has ended."""

    answers: list[tuple[int, Any]]
    closed: bool


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Says what it was asked."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message["more_body"]:
            break
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
    seen = [scope["method"], scope["path"], scope["query_string"].decode("latin-1"), headers, body.decode("latin-1")]
    out = json.dumps(seen).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(out))]})
    await send({"type": "http.response.body", "body": out})


def connection(server: str) -> Any:
    if server == OURS:
        return Connections(echo).connection()
    config = uvicorn.Config(echo, ws="none", lifespan="off", log_config=None, date_header=False, server_header=False)
    config.load()
    make: Callable[..., Any] = HttpToolsProtocol if server == "httptools" else H11Protocol
    return make(config, ServerState(), {})


async def answers(server: str, pieces: list[bytes]) -> Answers:
    made = connection(server)
    wire = Wire()
    made.connection_made(wire)
    for piece in pieces:
        if wire.closed:
            break
        made.data_received(piece)
        await asyncio.sleep(0)
    for _ in range(8 + 3 * b"".join(pieces).count(b"HTTP/1.")):
        await asyncio.sleep(0)
    closed = wire.closed
    made.connection_lost(None)
    for _ in range(5):
        await asyncio.sleep(0)
    return Answers(read(wire.written, b"".join(pieces), closed), closed)


def read(written: bytes, asked: bytes, closed: bool) -> list[tuple[int, Any]]:
    """What a strict client reads."""
    found: list[tuple[int, Any]] = []
    heads = asked.startswith(b"HEAD")
    while written:
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method="HEAD" if heads else "GET", target="/", headers=[("host", "x")]))
        client.send(h11.EndOfMessage())
        client.receive_data(written)
        status, body, ended = 0, b"", False
        while not isinstance(event := next_event(client), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            if event is h11.NEED_DATA:
                assert closed, "the answer is not whole"
                assert not ended, "the answer is not whole"
                client.receive_data(b"")
                ended = True
        found.append((status, json.loads(body) if status == 200 and body else None))
        written = client.trailing_data[0] if client.their_state is not h11.ERROR else b""
    return found


def next_event(client: h11.Connection) -> Any:
    try:
        return client.next_event()
    except h11.RemoteProtocolError:  # it was cut short, which is another server's fault: ours fail by what they lack
        return h11.EndOfMessage()


def in_bytes(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("other", OTHERS)
async def test_a_request_is_answered_as_by_others(name: str, other: str) -> None:
    case = CASES[name]
    ours, theirs = await answers(OURS, [case.data]), await answers(other, [case.data])
    assert (ours != theirs) == (other in case.unlike), (ours, theirs)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if len(case.data) < 1_000])
async def test_a_request_in_bytes_is_answered_as_in_one(name: str) -> None:
    data = CASES[name].data
    assert await answers(OURS, in_bytes(data)) == await answers(OURS, [data])


@pytest.mark.parametrize("name", CASES)
async def test_nothing_but_these_answers(name: str) -> None:
    found, _ = await answers(OURS, [CASES[name].data])
    assert {status for status, _ in found} <= ODD_STATUS


async def test_what_is_asked_for_in_another_protocol_arrives_whole() -> None:
    for name in ("h2c with a body", "h2c with chunks"):
        [(status, first), (_, second)], closed = await answers(OURS, [CASES[name].data])
        assert (status, first[0], first[4][:3], second[1], closed) == (200, "POST", "abc", "/next", False)


Asked = tuple[bytes, list[Any]]
WORDS = st.text("abcXYZ019-_", min_size=1, max_size=12)
BODIES = st.binary(max_size=300)


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, list[Any]]:
    """A good request, and what the application sees of it."""
    method = draw(st.sampled_from(["GET", "POST", "PUT", "DELETE"]))
    path = "/" + "/".join(draw(st.lists(WORDS, max_size=3)))
    query = draw(st.just("") | WORDS)
    headers = [
        ["host", "x"],
        *([f"x-{name.lower()}", value] for name, value in draw(st.lists(st.tuples(WORDS, WORDS), max_size=4))),
    ]
    kind = draw(st.sampled_from(["none", "length", "chunked"]))
    pieces = draw(st.lists(BODIES, max_size=3))
    body = b"".join(pieces)
    raw = b""
    if kind == "length":
        headers.append(["content-length", str(len(body))])
        raw = body
    elif kind == "chunked":
        headers.append(["transfer-encoding", "chunked"])
        raw = chunked(*(piece for piece in pieces if piece))
    else:
        body = b""
    if draw(st.booleans()):
        headers += [["connection", "Upgrade"], ["upgrade", "h2c"]]
    target = f"{path}?{query}" if query else path
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode() + raw, [method, path, query, headers, body.decode("latin-1")]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    at = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[low:high] for low, high in pairwise(at) if low < high]


PLACES = st.lists(st.integers(0, 5_000), max_size=6)


@given(st.lists(requests(), min_size=1, max_size=4), PLACES)
async def test_good_requests_arrive_as_they_are_however_they_are_cut(
    asked: list[tuple[bytes, list[Any]]], places: list[int]
) -> None:
    found = await answers(OURS, cut(b"".join(data for data, _ in asked), places))
    assert found == Answers([(200, seen) for _, seen in asked], False)


@given(
    st.lists(requests(), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 5_000), st.binary(max_size=3)), max_size=3),
    PLACES,
)
async def test_what_is_broken_is_answered_or_ended_and_nothing_is_taken_for_a_request_that_another_parser_does_not_see(
    asked: list[tuple[bytes, list[Any]]], spoilt: list[tuple[int, bytes]], places: list[int]
) -> None:
    data = b"".join(data for data, _ in asked).replace(b"upgrade", b"u-grade")
    for place, junk in spoilt:
        at = place % (len(data) + 1)
        data = data[:at] + junk + data[at + 1 :]
    ours, theirs = await answers(OURS, cut(data, places)), await answers("httptools", [data])
    assert {status for status, _ in ours.answers} <= ODD_STATUS
    taken = [seen for status, seen in ours.answers if status == 200]
    # uvicorn forgets answers that are outstanding when a later request is broken; ours are given.
    seen = [each for status, each in theirs.answers if status == 200]
    assert taken[: len(seen)] == seen[: len(taken)]
    assert await answers(OURS, in_bytes(data)) == ours


async def test_a_refusal_comes_after_the_answers_to_what_came_before() -> None:
    found = await answers(OURS, [NEXT + NEXT + b"BAD\r\n\r\n" + NEXT])
    assert ([status for status, _ in found.answers], found.closed) == ([200, 200, 400], True)
