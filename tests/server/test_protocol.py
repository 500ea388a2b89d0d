"""The HTTP connection itself: heads that are too large, and bytes that are no HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.patience import PATIENCE

from pelton.server.http import Listener, bind
from pelton.transport.http import connection as protocol
from pelton.transport.http.asgi import GONE
from pelton.transport.http.connection import MAX_HEAD, MAX_HEADERS, Connections


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Says how many headers it got."""
    body = str(len(scope["headers"])).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    socket = bind("127.0.0.1", 0)
    listener = Listener(application, socket, 1)
    await listener.start()
    yield socket.getsockname()[1]
    await listener.stop()


async def exchange(port: int, data: bytes) -> tuple[int, bytes]:
    """Status and body of the first answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        return int(head.split(b" ")[1]), await reader.readexactly(length)
    finally:
        writer.close()


def head(*lines: str) -> bytes:
    return "\r\n".join(["GET / HTTP/1.1", "Host: x", *lines, "", ""]).encode()


async def test_heads_up_to_the_bounds_are_served(port: int) -> None:
    assert await exchange(port, head(f"X-Long: {'a' * (MAX_HEAD // 2)}")) == (200, b"2")
    full = head(*(f"X-{number}: 1" for number in range(MAX_HEADERS - 1)))
    assert await exchange(port, full) == (200, str(MAX_HEADERS).encode())


class Transport(asyncio.Transport):
    """Keeps what is written. A connection of its own would be reset while its end still sends, and the answer lost with it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


@pytest.mark.parametrize("piece", [100, 1_000, 100_000])
@pytest.mark.parametrize(
    "data",
    [
        head(*(f"X-{number}: 1" for number in range(MAX_HEADERS))),
        b"GET / HTTP/1.1\r\nX-Long: " + b"a" * 500_000,
        b"GET / HTTP/1.1\r\n" + b"a" * 500_000,
        b"GET /" + b"a" * 500_000,
        b"GET / HTTP/1.1\r\n" + b"A: 1\r\n" * 100_000,
    ],
)
async def test_heads_beyond_are_refused_before_they_end(data: bytes, piece: int) -> None:
    transport = Transport()
    connection = Connections(application).connection()
    connection.connection_made(transport)
    taken = 0
    while not transport.closed:
        assert taken < len(data), "all of it was taken"
        connection.data_received(data[taken : taken + piece])
        taken += piece
    assert taken <= MAX_HEAD + 2 * piece
    lines, _, body = transport.written.partition(b"\r\n\r\n")
    assert lines.startswith(b"HTTP/1.1 431 ")
    assert f"content-length: {len(body)}\r\n".encode() in lines + b"\r\n"
    found = json.loads(body)
    assert (found["status"], found["retryable"]) == (431, False)
    assert "more than" in found["message"]
    connection.connection_lost(None)


async def test_a_flood_over_a_real_connection_ends_it(port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nX-Long: ")
    with pytest.raises(ConnectionError):
        await flood(writer)
    writer.close()


async def flood(writer: asyncio.StreamWriter) -> None:
    for _ in range(1_000):
        writer.write(b"a" * 100_000)
        await writer.drain()
        await asyncio.sleep(0)


async def test_a_connection_counts_anew_for_each_request(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(10):
        writer.write(head(f"X-Long: {'a' * (MAX_HEAD // 3)}"))
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        assert b" 200 " in answer
        assert await reader.readexactly(1) == b"2"
    writer.close()


# ---- time


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "PATIENCE", 0.2)


async def reads_all(scope: Any, receive: Any, send: Any) -> None:
    """Says how many bytes came."""
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    body = str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def reading() -> AsyncIterator[int]:
    """Port of a server that reads bodies to their end."""
    socket = bind("127.0.0.1", 0)
    listener = Listener(reads_all, socket, 1)
    await listener.start()
    yield socket.getsockname()[1]
    await listener.stop()


POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("data", [b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n", POST, POST + b"abc"])
async def test_a_request_that_does_not_arrive_is_given_up(reading: int, data: bytes) -> None:
    status, body = await exchange(reading, data)
    found = json.loads(body)
    assert (status, found["status"]) == (408, 408)
    assert "did not arrive" in found["message"]


@pytest.mark.usefixtures("hurry")
async def test_a_byte_now_and_then_is_not_enough(reading: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", reading)
    writer.write(POST)
    answer = asyncio.ensure_future(reader.read())
    while not answer.done():
        writer.write(b"a")
        await asyncio.wait([answer], timeout=0.02)
    assert not answer.exception() or isinstance(answer.exception(), ConnectionError)
    writer.close()


@pytest.mark.usefixtures("hurry")
async def test_a_connection_that_says_nothing_is_closed(reading: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", reading)
    assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
    writer.close()


@pytest.mark.usefixtures("hurry")
async def test_slow_lines_are_served(reading: int) -> None:
    """Twice as long as the patience, at twice the slowest rate; and then a pause between two requests."""
    reader, writer = await asyncio.open_connection("127.0.0.1", reading)
    for _ in range(2):
        writer.write(POST)
        for _ in range(20):
            writer.write(b"a" * 5_000)
            await asyncio.sleep(0.02)  # the line's pace
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        assert b" 200 " in head
        assert await reader.readexactly(6) == b"100000"
        await asyncio.sleep(0.3)
    writer.close()


@pytest.mark.parametrize("data", [b"\x00" * 100, b"BREW / HTTP/1.1\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
async def test_what_is_no_http_is_answered_in_json(port: int, data: bytes) -> None:
    status, body = await exchange(port, data)
    assert (status, json.loads(body)["status"]) == (400, 400)


async def test_a_scope_says_whether_its_caller_has_hung_up() -> None:
    seen: asyncio.Queue[bool] = asyncio.Queue()

    async def looks(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        seen.put_nowait(scope[GONE]())
        assert (await receive())["type"] == "http.disconnect"
        seen.put_nowait(scope[GONE]())

    socket = bind("127.0.0.1", 0)
    listener = Listener(looks, socket, 1)
    await listener.start()
    _, writer = await asyncio.open_connection("127.0.0.1", socket.getsockname()[1])
    writer.write(head())
    assert not await asyncio.wait_for(seen.get(), PATIENCE)
    writer.close()
    assert await asyncio.wait_for(seen.get(), PATIENCE)
    await listener.stop()


async def test_trailers_are_no_headers() -> None:
    """Not who calls, not what with: they may come past a proxy that sets or removes such headers."""
    seen: asyncio.Queue[list[tuple[bytes, bytes]]] = asyncio.Queue()
    begun = asyncio.Event()

    async def looks(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            begun.set()
        seen.put_nowait(list(scope["headers"]))
        await application(scope, receive, send)

    socket = bind("127.0.0.1", 0)
    listener = Listener(looks, socket, 1)
    await listener.start()
    chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nAuthorization: Bearer a\r\n\r\n2\r\n{}\r\n0\r\n"
    trailers = b"authorization: Bearer b\r\nce-type: x\r\nx-request-id: y\r\ncontent-type: text/plain\r\nhost: z\r\n\r\n"
    port = socket.getsockname()[1]
    assert await exchange(port, chunked + trailers) == (200, b"3")
    heads = [await asyncio.wait_for(seen.get(), PATIENCE)]
    begun.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(chunked)
    await asyncio.wait_for(begun.wait(), PATIENCE)
    writer.write(trailers)  # in a packet of their own
    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
    heads.append(await asyncio.wait_for(seen.get(), PATIENCE))
    writer.close()
    await listener.stop()
    for found in heads:
        assert [name for name, _ in found] == [b"host", b"transfer-encoding", b"authorization"]
        assert dict(found)[b"authorization"] == b"Bearer a"
