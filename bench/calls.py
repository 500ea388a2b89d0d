"""HTTP for load generators: one keep-alive connection a caller, requests made beforehand, answers parsed by httptools.

It costs 30 to 40 us a request on top of the loop, so that what is measured is the server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httptools
from msgspec import json, msgpack

BATCH = "application/cloudevents-batch+json"
ONE = "application/cloudevents+json"
MSGPACK = "application/msgpack"


local: dict[str, Callable[[], Caller]] = {}  # callers of servers in this process, by what they connect to


class Failed(Exception):
    """The server gave an answer that the load does not expect, or none."""


class Caller(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._chunks: list[bytes] = []
        self._waiting: asyncio.Future[tuple[int, bytes]] | None = None

    @staticmethod
    async def connect(url: str) -> Caller:
        if url in local:
            return local[url]()
        parts = urlsplit(url)
        host, port = parts.hostname or "127.0.0.1", parts.port or 80
        _, caller = await asyncio.get_running_loop().create_connection(Caller, host, port)
        return caller

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._parser = httptools.HttpResponseParser(self)

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(Failed(f"the connection was closed: {error}"))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        chunks, self._chunks = self._chunks, []
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            status = self._parser.get_status_code()
            waiting.set_result((status, chunks[0] if len(chunks) == 1 else b"".join(chunks)))
        self._parser = httptools.HttpResponseParser(self)  # a fresh one, so that an answer without a length cannot confuse it

    def ask(self, request: bytes) -> asyncio.Future[tuple[int, bytes]]:
        assert self._transport is not None
        assert self._waiting is None, "a connection carries one request at a time"
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._waiting

    async def good(self, request: bytes) -> bytes:
        """The body of a 2xx answer. Raises Failed for any other."""
        status, body = await self.ask(request)
        if not 200 <= status < 300:
            raise Failed(f"{request[:60]!r} was answered {status}: {body[:500]!r}")
        return body

    async def json(self, method: str, path: str, value: Any = None) -> Any:
        """For preparing and checking, where speed does not matter."""
        body = await self.good(request(method, path, b"" if value is None else json.encode(value)))
        try:
            return json.decode(body) if body else None
        except Exception:
            return body.decode()

    async def work(self, worker: str, reports: Sequence[Mapping[str, Any]], queues: list[str], count: int, wait: int = 0) -> Any:
        """One exchange of /v1/work; no claim when `count` is 0."""
        asked: dict[str, Any] = {"worker": worker, "reports": reports}
        if count:
            asked["claim"] = {"queues": queues, "count": count, "wait": wait}
        return msgpack.decode(await self.good(request("POST", "/v1/work", msgpack.encode(asked), MSGPACK)))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def request(method: str, path: str, body: bytes = b"", content_type: str = "application/json") -> bytes:
    kind = f"Content-Type: {content_type}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{kind}Content-Length: {len(body)}\r\n\r\n".encode() + body


def event(type_: str, id_: str, data: Any) -> bytes:
    found = {"specversion": "1.0", "type": type_, "source": "bench", "id": id_, "data": data}
    return request("POST", "/v1/events", json.encode(found), ONE)


def events(type_: str, batch: list[tuple[str, Any]]) -> bytes:
    found = [{"specversion": "1.0", "type": type_, "source": "bench", "id": id_, "data": data} for id_, data in batch]
    return request("POST", "/v1/events", json.encode(found), BATCH)


async def no_live_runs(caller: Caller, process: str, seconds: float = 120.0) -> float:
    """Waits until every run of the process has ended; gives the time of the look that found none. Raises Failed."""
    path = f"/v1/runs?process={process}&live=true&limit=1"
    deadline = time.perf_counter() + seconds
    while (await caller.json("GET", path))["runs"]:
        if time.perf_counter() > deadline:
            raise Failed(f"runs of {process} have not ended after {seconds:g} s")
        await asyncio.sleep(0.005)
    return time.perf_counter()
