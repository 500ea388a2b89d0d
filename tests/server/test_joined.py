"""Answers on the wire: one write for what is complete, and nothing else changed by that."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.patience import PATIENCE

from pelton.server.http import Listener, bind
from pelton.transport.http.connection import Connections

END_OF_HEAD = b"\r\n\r\n"


class Ways:
    """Answers in the way that the path says; `go` lets a slow stream go on."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        way = scope["path"].strip("/")
        headers = [(b"content-length", b"5"), (b"x-way", way.encode())]
        if way == "late":
            await receive()
        if way == "stream":
            headers = headers[1:]
        if way == "close":
            headers.append((b"connection", b"close"))
        if way == "bad":
            headers.append((b"x-bad", b"a\r\nset-cookie: b"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if way == "raises":
            raise ValueError("after the head")
        if way == "nothing":
            return
        if way in {"pieces", "stream"}:
            if way == "stream":
                await self.go.wait()
            await send({"type": "http.response.body", "body": b"he", "more_body": True})
            await send({"type": "http.response.body", "body": b"llo"})
            return
        short = {"short": b"hell", "long": b"hello!"}.get(way, b"hello")
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else short})
        if way == "twice":
            await send({"type": "http.response.body", "body": b"again"})


@pytest.fixture
def ways() -> Ways:
    return Ways()


@pytest.fixture
async def port(ways: Ways) -> AsyncIterator[int]:
    socket = bind("127.0.0.1", 0)
    listener = Listener(ways, socket, 1)
    await listener.start()
    yield socket.getsockname()[1]
    await listener.stop()


class Caller:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def ask(self, way: str, method: str = "GET", *lines: str, body: bytes = b"") -> None:
        self.writer.write("\r\n".join([f"{method} /{way} HTTP/1.1", "Host: x", *lines, "", ""]).encode() + body)

    async def head(self) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(END_OF_HEAD), PATIENCE)

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of an answer that declares its length."""
        head = await self.head()
        length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
        return int(head.split(b" ")[1]), await asyncio.wait_for(self.reader.readexactly(length), PATIENCE)

    async def rest(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), PATIENCE)


@pytest.fixture
async def caller(port: int) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield Caller(reader, writer)
    writer.close()


class Recording(asyncio.Transport):
    """Keeps each write apart."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def writes_of(ways: Ways, *paths: str, paused: bool = False) -> list[bytes]:
    """What is written for one request after another on one connection."""
    shared = Connections(ways)
    connection = shared.connection()
    transport = Recording()
    connection.connection_made(transport)
    if paused:
        connection.pause_writing()
    for path in paths:
        connection.data_received(f"GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        tasks = [each.task for each in shared.at_work if each.task is not None]
        if paused:
            await asyncio.sleep(0)
            connection.resume_writing()
        await asyncio.gather(*tasks)
    connection.connection_lost(None)
    return transport.writes


async def test_a_complete_answer_is_one_write(ways: Ways) -> None:
    writes = await writes_of(ways, "whole", "whole")
    assert [write.partition(END_OF_HEAD)[2] for write in writes] == [b"hello", b"hello"]
    assert writes[0].startswith(b"HTTP/1.1 200 OK\r\n")


async def test_an_answer_says_the_same_as_when_it_is_written_in_pieces(ways: Ways) -> None:
    whole = await writes_of(ways, "whole")
    pieces = await writes_of(ways, "pieces")
    assert len(pieces) == 2
    assert b"".join(pieces).replace(b"pieces", b"whole") == whole[0]


async def test_an_answer_waits_for_a_caller_who_does_not_read(ways: Ways) -> None:
    writes = await writes_of(ways, "whole", paused=True)
    assert b"".join(writes).endswith(b"\r\n\r\nhello")


async def test_a_connection_is_used_again(caller: Caller) -> None:
    for way in ("whole", "pieces", "whole", "late", "whole"):
        caller.ask(way)
        assert await caller.answer() == (200, b"hello")
    caller.ask("late", "POST", "Content-Length: 3", body=b"abc")
    assert await caller.answer() == (200, b"hello")


async def test_pipelined_requests_are_answered_in_their_order(caller: Caller) -> None:
    for way in ("whole", "pieces", "late", "whole"):
        caller.ask(way)
    for way in ("whole", "pieces", "late", "whole"):
        assert f"x-way: {way}\r\n".encode() in await caller.head()
        assert await caller.reader.readexactly(5) == b"hello"


async def test_head_has_the_length_and_no_body(caller: Caller) -> None:
    caller.ask("whole", "HEAD")
    assert b"content-length: 5\r\n" in await caller.head()
    caller.ask("whole")  # nothing of the answer before is in the way
    assert await caller.answer() == (200, b"hello")


async def test_the_head_of_a_stream_is_not_kept_back(caller: Caller, ways: Ways) -> None:
    caller.ask("stream")
    assert b"transfer-encoding: chunked\r\n" in await caller.head()
    ways.go.set()
    found = await asyncio.wait_for(caller.reader.readuntil(b"0\r\n\r\n"), PATIENCE)
    assert found == b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"


@pytest.mark.parametrize("line", ["Connection: close", "X: y"])
async def test_a_connection_that_is_to_end_ends(caller: Caller, line: str) -> None:
    caller.ask("whole" if line.startswith("Connection") else "close", "GET", line)
    found = await caller.rest()
    assert found.endswith(b"\r\n\r\nhello")
    assert found.count(b"connection: close") == 1


async def test_http_1_0_is_answered_and_ended(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /whole HTTP/1.0\r\n\r\n")
    assert (await asyncio.wait_for(reader.read(), PATIENCE)).endswith(b"hello")
    writer.close()


async def test_expect_continue_is_said_only_when_the_body_is_wanted(caller: Caller) -> None:
    caller.ask("whole", "POST", "Content-Length: 3", "Expect: 100-continue")
    assert (await caller.answer())[0] == 200
    caller.writer.write(b"abc")
    caller.ask("late", "POST", "Content-Length: 3", "Expect: 100-continue")
    assert (await caller.head()).startswith(b"HTTP/1.1 100 ")
    caller.writer.write(b"abc")
    assert await caller.answer() == (200, b"hello")


@pytest.mark.parametrize("way", ["raises", "nothing", "bad"])
async def test_what_fails_before_the_body_is_an_error_or_ends(caller: Caller, way: str) -> None:
    """A head that was kept back has not been sent: the caller learns of the failure."""
    caller.ask(way)
    found = await caller.rest()
    assert found == b"" or found.startswith(b"HTTP/1.1 500 ")
    assert b"set-cookie" not in found


@pytest.mark.parametrize("way", ["short", "long"])
async def test_a_body_of_another_length_ends_the_connection(caller: Caller, way: str) -> None:
    caller.ask(way)
    assert not (await caller.rest()).endswith(b"hello!")


async def test_a_second_body_is_not_sent(caller: Caller) -> None:
    caller.ask("twice")
    assert await caller.answer() == (200, b"hello")
    caller.writer.write_eof()
    assert b"again" not in await caller.rest()


async def test_a_request_leaves_nothing_for_the_collector(ways: Ways) -> None:
    shared = Connections(ways)
    connection = shared.connection()
    connection.connection_made(Recording())
    gc.disable()
    try:
        seen = []
        for _ in range(2):
            connection.data_received(b"GET /whole HTTP/1.1\r\nHost: x\r\n\r\n")
            [exchange] = shared.at_work
            assert exchange.task is not None
            seen.append(weakref.ref(exchange))
            await exchange.task
            del exchange
        assert seen[0]() is None
    finally:
        gc.enable()
    connection.connection_lost(None)
