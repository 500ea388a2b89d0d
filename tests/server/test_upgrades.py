"""Requests that ask to go on in another protocol are answered in the one that they came in, with their body."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.patience import PATIENCE
from tests.server.test_protocol import exchange

from pelton.server.http import Listener, bind

# As the HTTP client of the JDK and `curl --http2` send it, byte for byte but for the order of headers.
JDK = (
    b"POST /api/metadata/workflow HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: %d\r\nHost: x\r\n"
    b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nUpgrade: h2c\r\nUser-Agent: Java-http-client/17.0.9\r\n"
    b"Content-Type: application/json\r\n\r\n"
)
CURL = (
    b"PUT /x?a=1 HTTP/1.1\r\nHost: x\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nContent-Length: %d\r\n\r\n"
)
CHUNKED = (
    b"POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, keep-alive\r\nUpgrade: h2c\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
)


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Says what it was asked, and what with."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    names = b",".join(sorted(name for name, _ in scope["headers"]))
    said = b"%s %s %s %s" % (scope["method"].encode(), scope["raw_path"], names, body)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(said)).encode())]})
    await send({"type": "http.response.body", "body": said})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    socket = bind("127.0.0.1", 0)
    listener = Listener(application, socket, 1)
    await listener.start()
    yield socket.getsockname()[1]
    await listener.stop()


@pytest.mark.parametrize("form", [JDK, CURL])
@pytest.mark.parametrize("body", [b"", b"{}", b"x" * 300_000])
async def test_the_body_of_a_request_for_h2c_arrives(port: int, form: bytes, body: bytes) -> None:
    status, said = await exchange(port, form % len(body) + body)
    assert status == 200
    method, path, _, rest = said.split(b" ", 3)
    assert form.startswith((b"%s %s HTTP" % (method, path), b"%s %s?" % (method, path)))
    assert rest == body


async def test_a_body_in_chunks(port: int) -> None:
    status, said = await exchange(port, CHUNKED)
    assert (status, said.split(b" ", 3)[3]) == (200, b"hello")


async def test_heads_and_bodies_in_pieces_and_one_after_another_on_one_connection(port: int) -> None:
    """Whatever the packets are: cut anywhere, or several requests in one."""
    one = JDK % 4 + b"{  }"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for pieces in (
            [one[:100], one[100:]],
            [one[:-2], one[-2:]],
            [one + CURL % 2 + b"ok" + one],
            [bytes([each]) for each in one],
        ):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            for _ in range(3 if len(pieces) == 1 else 1):
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
                assert head.startswith(b"HTTP/1.1 200")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                assert (await reader.readexactly(length)).endswith((b"{  }", b"ok"))
    finally:
        writer.close()


async def test_a_web_socket_is_answered_as_a_plain_request(port: int) -> None:
    head = b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n"
    status, said = await exchange(port, head)
    assert (status, said.split(b" ")[:2]) == (200, [b"GET", b"/ws"])


async def test_a_tunnel_is_refused(port: int) -> None:
    status, _ = await exchange(port, b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\nabc")
    assert status >= 400
