"""The lean HTTP client against servers that behave well, badly, and in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from pelton.client.errors import Unreachable
from pelton.client.http import Http

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[Http]:
    """A server on which every connection follows the script, and a client for it."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = Http(f"http://127.0.0.1:{port}")
    try:
        yield client
    finally:
        await client.close()
        server.close()


async def head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def whole(body: bytes, status: str = "200 OK", extra: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body


async def test_many_requests_share_a_connection() -> None:
    connections = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            line = (await head(reader)).split(b" ")[1]
            writer.write(whole(line))

    async with serving(script) as client:
        for number in range(50):
            answer = await client.request("GET", f"/{number}")
            assert (answer.status, answer.content_type, answer.body) == (200, "text/plain", f"/{number}".encode())
    assert connections == 1


async def test_an_answer_may_come_byte_by_byte_and_in_chunks() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        for byte in text:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    async with serving(script) as client:
        assert (await client.request("GET", "/")).body == b"abcde"


async def test_a_hint_before_the_answer_is_not_the_answer() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" + whole(b"real"))

    async with serving(script) as client:
        answer = await client.request("GET", "/")
        assert (answer.status, answer.body) == (200, b"real")


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"SSH-2.0-nothing like it\r\n\r\n",
    ],
)
async def test_a_broken_answer_is_no_answer(broken: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(broken)

    async with serving(script) as client:
        with pytest.raises(Unreachable):
            await client.request("GET", "/", seconds=5)


async def test_a_connection_that_the_server_ends_is_not_used_again() -> None:
    connections = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await head(reader)
        writer.write(whole(b"x", extra="Connection: close\r\n"))

    async with serving(script) as client:
        for _ in range(3):
            assert (await client.request("GET", "/")).body == b"x"
    assert connections == 3


async def test_the_answer_to_a_cancelled_request_is_never_taken_for_the_next_ones() -> None:
    asked = asyncio.Event()
    go = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await head(reader)).split(b" ")[1]
        asked.set()
        if path == b"/slow":
            await go.wait()
        writer.write(whole(path))

    async with serving(script) as client:
        slow = asyncio.create_task(client.request("GET", "/slow"))
        await asked.wait()
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        go.set()
        assert (await client.request("GET", "/next")).body == b"/next"


async def test_patience_ends() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        await reader.read()

    async with serving(script) as client:
        with pytest.raises(Unreachable, match=r"within 0\.05 seconds"):
            await client.request("GET", "/", seconds=0.05)


async def test_nobody_there() -> None:
    with pytest.raises(Unreachable, match="cannot be reached"):
        await Http("http://127.0.0.1:1").request("GET", "/")


@pytest.mark.parametrize("url", ["127.0.0.1:80", "ftp://host", "http://", "http://user@host"])
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(ValueError, match="use http"):
        Http(url)


async def test_nothing_can_be_smuggled_into_the_request() -> None:
    with pytest.raises(ValueError, match="not encoded"):
        await Http("http://127.0.0.1:1").request("GET", "/a HTTP/1.1\r\nX: y")
    with pytest.raises(ValueError, match="key"):
        Http("http://127.0.0.1:1", key="a\r\nb")
