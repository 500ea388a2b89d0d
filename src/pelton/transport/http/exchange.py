"""One request on a connection, and its response: the two sides that ASGI calls `receive` and `send`.

The head of a response with a declared length is held until its body is there, so that both go out in one write: a second write
costs as much as the rest of the response, and often a packet. A head without a length goes out at once, since a stream may have
nothing else to say for minutes.

`respond` is the short way for a response that is complete: an extension of ASGI, offered in the scope under the name `RESPOND`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Protocol

import structlog

from pelton.transport.http.asgi import RESPOND

STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_DISCONNECT = {"type": "http.disconnect"}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_PLAIN = frozenset({b"content-type", b"location", b"x-request-id", b"cache-control", b"retry-after"})  # names that need no look
_BAD_NAME = re.compile(rb'[\x00-\x1f\x7f()<>@,;:\[\]={} \t\\"]')
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_BODILESS = frozenset({HTTPStatus.NO_CONTENT.value, HTTPStatus.NOT_MODIFIED.value})

Headers = Iterable[tuple[bytes, bytes]]

log = structlog.get_logger("pelton.http")


class Line(Protocol):
    """A connection, as its exchanges see it."""

    def write(self, data: bytes) -> None: ...

    async def room_to_write(self) -> None: ...

    def date(self) -> bytes: ...

    def wants_more(self) -> None:
        """The application has read what there was, or waits for more, if only for the caller to hang up."""

    def ended(self, exchange: HttpExchange) -> None:
        """The response has been written."""

    def finished(self, exchange: HttpExchange) -> None:
        """The application is done with it."""

    def refuse(self, status: HTTPStatus, message: str) -> None:
        """Answers with an error, and ends the connection."""

    def cut(self) -> None:
        """Ends the connection in the middle of a response, so that it cannot be taken for a whole one."""


class HttpExchange:
    """`keep`: whether the connection goes on afterwards. `whole`: the request has arrived completely. `started`: bytes of the
    response are on their way. `complete`: nothing more is to be sent. `gone`: the caller has hung up."""

    __slots__ = (
        "__weakref__",
        "_chunked",
        "_continues",
        "_head",
        "_kept",
        "_left",
        "_news",
        "_size",
        "complete",
        "gone",
        "head_only",
        "keep",
        "line",
        "old",
        "scope",
        "started",
        "task",
        "whole",
    )  # fmt: skip

    def __init__(self, line: Line, scope: dict[str, Any], keep: bool, continues: bool, old: bool) -> None:
        """`continues`: the caller waits to hear that its body is wanted. `old`: it speaks HTTP/1.0."""
        self.line = line
        self.scope = scope
        self.keep = keep
        self.old = old
        self.head_only = scope["method"] == "HEAD"
        self.whole = self.started = self.complete = self.gone = False
        self.task: asyncio.Task[None] | None = None
        self._continues = continues
        self._kept: list[bytes] = []
        self._size = 0
        self._news: asyncio.Event | None = None
        self._head: tuple[int, Headers] | None = None
        self._chunked = False
        self._left: int | None = None  # bytes of the body that its head has promised; None: a stream's end tells

    # ---- the request

    def feed(self, body: bytes) -> int:
        """Takes a piece of the body. Returns how many bytes wait to be read."""
        if self.complete or self.gone:
            return 0
        self._kept.append(body)
        self._size += len(body)
        self._wake()
        return self._size

    def arrived(self) -> None:
        self.whole = True
        self._wake()

    def lost(self) -> None:
        self.gone = True
        self._wake()

    def _wake(self) -> None:
        if self._news is not None:
            self._news.set()

    async def receive(self) -> dict[str, Any]:
        if self._continues and not self.started:
            self._continues = False
            self.line.write(_CONTINUE)
        while not (self.gone or self.complete):
            if self._kept or (self.whole and self._size >= 0):
                body = self._kept[0] if len(self._kept) == 1 else b"".join(self._kept)
                self._kept.clear()
                self._size = -1 if self.whole else 0  # the end is told once
                self.line.wants_more()
                return {"type": "http.request", "body": body, "more_body": not self.whole}
            if self._news is None:
                self._news = asyncio.Event()
            self._news.clear()
            self.line.wants_more()
            await self._news.wait()
        return _DISCONNECT

    # ---- the response

    async def send(self, message: Any) -> None:
        """Raises RuntimeError or ValueError for a response that cannot be sent as it is."""
        await self.line.room_to_write()
        kind = message["type"]
        if kind == "http.response.start":
            if self.started or self._head is not None:
                raise RuntimeError("a response has one head; this is its second")
            headers = list(message.get("headers", ()))
            self._head = (message["status"], headers)
            if not any(name.lower() == b"content-length" for name, _ in headers):
                self._write_head(b"")
        elif kind == "http.response.body":
            self._send_body(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError(f"nothing of type {kind!r} can be sent in a response")

    def _send_body(self, body: bytes, more: bool) -> None:
        if self._head is None and not self.started:
            raise RuntimeError("the head of a response comes before its body")
        if self.complete:
            raise RuntimeError("the response is complete; nothing can follow")
        if self._head is not None:
            if self._write_head(body, more):
                return
        elif self.gone or self.head_only:
            pass
        elif self._left is not None:
            self._left = _rest(self._left, body, more)
            self.line.write(body)
        elif self._chunked:
            self.line.write(_chunk(body, more))
        else:
            self.line.write(body)
        if not more:
            self._ended()

    def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """Sends a complete response whose length is that of `body`; `headers` has no content-length. Raises RuntimeError,
        ValueError."""
        if self.started or self._head is not None:
            raise RuntimeError("a response has one head; this is its second")
        parts = [STATUS_LINES[status], self.line.date()]
        if status not in _BODILESS:
            parts.append(b"content-length: %d\r\n" % len(body))
        self._add(parts, headers)
        self._end_head(parts)
        if not (self.head_only or status in _BODILESS):
            parts.append(body)
        self.started = True
        self.line.write(b"".join(parts))
        self._ended()

    def _write_head(self, body: bytes, more: bool = True) -> bool:
        """Writes the head that was held, and `body` with it if that is all of it. Returns whether the response is complete."""
        assert self._head is not None
        status, headers = self._head
        self._head = None
        line = STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        parts = [line, self.line.date()]
        bodiless = self.head_only or status in _BODILESS
        promised = self._add(parts, headers, status in _BODILESS)
        if promised is None and not bodiless:
            if self.old:
                self.keep = False  # the end of the connection is the end of the body
            else:
                self._chunked = True
                parts.append(b"transfer-encoding: chunked\r\n")
        self._end_head(parts)
        if bodiless:
            self._left = None if self.head_only else 0
        elif promised is not None:
            self._left = _rest(promised, body, more)
            parts.append(body)
        self.started = True
        self.line.write(b"".join(parts))
        if more:
            return False
        self._ended()
        return True

    def _add(self, parts: list[bytes], headers: Headers, bodiless: bool = False) -> int | None:
        """Adds the lines of the headers, each of which is looked at: a value must not become a line of its own. Returns the
        declared length of the body."""
        promised: int | None = None
        for given, value in headers:
            name = given
            if name not in _PLAIN:
                name = name.lower()
                if _BAD_NAME.search(name) or not name:
                    raise ValueError(f"a response has a header whose name is not valid: {name[:100]!r}")
                if name == b"content-length":
                    promised = int(value)
                    if bodiless:
                        continue
                elif name == b"connection":
                    if b"close" in value.lower():
                        self.keep = False
                    continue  # it is said once, at the end
                elif name == b"transfer-encoding":
                    continue  # how the body is sent is this module's to say
            if _BAD_VALUE.search(value):
                raise ValueError(f"a response has a header whose value is not valid: {name[:100].decode('latin-1')}")
            parts += (name, b": ", value, b"\r\n")
        return promised

    def _end_head(self, parts: list[bytes]) -> None:
        """Says what becomes of the connection, which is known when all else in the head is."""
        if not self.keep:
            parts.append(b"connection: close\r\n")
        elif self.old:
            parts.append(b"connection: keep-alive\r\n")
        parts.append(b"\r\n")

    def _ended(self) -> None:
        self.complete = True
        self._kept.clear()
        self._wake()
        self.line.ended(self)

    async def run(self, application: Any) -> None:
        """Has the application answer. Whatever it raises, the caller gets an answer or the end of the connection."""
        # Each holding the other, the two would stay until the collector comes: that costs more than all the rest here.
        scope, self.scope = self.scope, {}
        scope["extensions"] = {RESPOND: self.respond}
        try:
            await application(scope, self.receive, self.send)
            if not self.complete and not self.gone:
                log.error("a request has no complete response", method=scope["method"], path=scope["path"][:500])
                self._failed()
        except Exception as error:
            log.error("a request failed", method=scope["method"], path=scope["path"][:500], exc_info=error)
            self._failed()
        finally:
            self.line.finished(self)
            if not self.complete:
                self.line.cut()  # it was cancelled

    def _failed(self) -> None:
        if self.complete or self.gone:
            return
        if self.started:
            self.line.cut()
        else:
            self._head, self.keep = None, False
            self.line.refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "the server could not answer; its log says why")
            self.started = self.complete = True


def _rest(promised: int, body: bytes, more: bool) -> int:
    """How many bytes are still to come. Raises RuntimeError if there are too many, or too few at the end."""
    left = promised - len(body)
    if left < 0 or (left and not more):
        raise RuntimeError(f"the body is {'longer' if left < 0 else 'shorter'} than its declared length")
    return left


def _chunk(body: bytes, more: bool) -> bytes:
    piece = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    return piece if more else piece + b"0\r\n\r\n"
