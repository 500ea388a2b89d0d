"""uvicorn's HTTP/1.1 connection with limits on what a caller may keep open: the size of a request's head, which stays in memory
until it is complete, and the time within which a request must arrive.

A request has `PATIENCE` seconds, and more the more of it has arrived, so that a slow line is served, but a caller that sends
nothing, or a byte now and then, does not occupy one of the request slots for ever. Refusals are JSON
like any other error, and close the connection.

A listener has room for so many connections. When one more comes, one that is idle is closed for it, and if none is, the new one
is refused: the system, out of files, would let it in and cut it off without a word, for /health as well.

A response with a declared length is sent in one write, head and body together: a second write costs as much as the rest of the
response, and often a packet. Anything else (a stream, a response in parts, one that ends the connection) is left to uvicorn.

Cost: one comparison per chunk and one per header; a timer only for requests that arrive in more than one piece.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from itertools import islice
from typing import Any

import structlog
from msgspec import json
from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from pelton.server.files import UNLIMITED
from pelton.transport.http.asgi import GONE

MAX_HEAD = 64 * 1024  # bytes of request line and headers; one chunk more may have been read
MAX_HEADERS = 200
PATIENCE = 30.0  # seconds for a request to arrive, or to begin on a new connection
SLOWEST = 10_000  # bytes a second that earn it more
LOOKED_AT = 200  # connections, for one that is idle, when there is no room for another
SAID_EVERY = 10.0  # seconds between lines in the log about that

log = structlog.get_logger("pelton.http")


class _TooMany(Exception):
    """Raised through the parser, which reports it as an invalid request."""


_PLAIN = frozenset({b"content-length", b"content-type", b"location", b"x-request-id"})  # names that need no look


class Joining(RequestResponseCycle):
    """The sending side of one request. The head of a response with a declared length is held until the body is available."""

    _head: Any = None

    async def send(self, message: Any) -> None:
        head = self._head
        if message["type"] == "http.response.start":
            # One that was kept has not been sent: uvicorn's "internal error" may still take its place.
            headers = message.get("headers")
            if headers and headers[0][0] == b"content-length" and not self.response_started:
                self._head = message
                return
            self._head = None
        elif head is not None:
            self._head = None
            if self._write(head, message):
                return
            await super().send(head)
        await super().send(message)

    def _write(self, head: Any, message: Any) -> bool:
        """False: nothing was done, since this is not a complete response to a caller that is still connected."""
        if self.disconnected or self.flow.write_paused or not self.keep_alive or message.get("more_body"):
            return False
        headers = head["headers"]
        body = message.get("body", b"")
        if self.scope["method"] == "HEAD":
            body = b""
        elif headers[0][1] != b"%d" % len(body):
            return False
        parts = [STATUS_LINE[head["status"]]]
        for name, value in (*self.default_headers, *headers):
            if name not in _PLAIN and (name in _HOP_BY_HOP or HEADER_RE.search(name)):
                return False  # uvicorn knows what to do, or to raise
            if HEADER_VALUE_RE.search(value):
                return False
            parts += (name, b": ", value, b"\r\n")
        parts += (b"\r\n", body)
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        self.transport.write(b"".join(parts))
        self.message_event.set()
        self.on_response()
        return True


_HOP_BY_HOP = frozenset({b"connection", b"transfer-encoding"})


class Room:
    """How many connections a listener may have."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._said = -SAID_EVERY

    def short(self, now: float, shed: bool) -> None:
        """Says, not too often, that there is no room for another one."""
        if now - self._said >= SAID_EVERY:
            self._said = now
            log.warning(
                "there are as many connections as there may be",
                most=self.most,
                action="idle ones are closed" if shed else "new ones are refused",
                remedy="raise the limit of open files (ulimit -n)",
            )


class BoundedProtocol(HttpToolsProtocol):
    _in_head = False
    _head = 0  # bytes of the head so far
    _arriving = True  # a request, or the first one is waited for
    _began = 0.0
    _received = 0  # bytes of the request so far
    _timer: asyncio.TimerHandle | None = None
    _refusal = ""
    room: Room = Room(UNLIMITED)  # of the listener; each has a class with its own

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.room.most and not self._make_room():
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, f"there are {self.room.most} connections already; retry in a moment")
            return
        self._began = self.loop.time()
        self._timer = self.loop.call_later(PATIENCE, self._look)

    @property
    def idle(self) -> bool:
        """Whether it can be closed without anybody missing an answer."""
        cycle: Any = self.cycle
        return not self._received if self._arriving else cycle is None or cycle.response_complete

    def _make_room(self) -> bool:
        """Closes the connection that has been idle for longest, of some. False if they are all in use."""
        idle = [each for each in islice(self.connections, LOOKED_AT) if isinstance(each, BoundedProtocol) and each.idle]
        idle = [each for each in idle if each is not self and not each.transport.is_closing()]
        self.room.short(self.loop.time(), bool(idle))
        if not idle:
            return False
        oldest = min(idle, key=lambda each: each._began)
        self.connections.discard(oldest)  # it is on its way
        oldest.transport.close()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self._in_head
        super().data_received(data)
        if not self._arriving:
            self._stop_timer()
            return
        if self.transport.is_closing():
            return
        self._received += len(data)
        if self._timer is None:
            self._timer = self.loop.call_later(PATIENCE, self._look)
        if self._in_head:
            self._head += len(data) if before else 0
            if self._head > MAX_HEAD:
                self._refusal = f"request line and headers have more than {MAX_HEAD} bytes; send less"
                self.send_400_response("")

    def _look(self) -> None:
        """Ends the connection if its request is overdue."""
        self._timer = None
        if not self._arriving or self.transport.is_closing():
            return
        left = self._began + PATIENCE + self._received / SLOWEST - self.loop.time()
        if left > 0 or self.flow.read_paused:  # who is not read cannot send
            self._timer = self.loop.call_later(max(left, 1.0), self._look)
        elif self._received and self._may_answer():
            message = f"the request did not arrive within {PATIENCE:g} seconds, or was slower than {SLOWEST} bytes per second"
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, message)
        else:
            self.transport.close()

    def _may_answer(self) -> bool:
        """Whether a refusal would not end up inside, or after, another response."""
        cycle: Any = self.cycle  # of this request, or of the one before it while the head has not ended
        if cycle is None:
            return True
        return bool(cycle.response_complete if self._in_head else not cycle.response_started)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        scope: Any = self.scope  # which may hold more than what ASGI names
        scope[GONE] = self.transport.is_closing
        self._in_head, self._head = True, 0
        self._arriving, self._received, self._began = True, 0, self.loop.time()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer: it comes when who calls and what with is settled, and past whatever a proxy has checked
        if len(self.headers) >= MAX_HEADERS:
            self._refusal = f"the request has more than {MAX_HEADERS} headers; send fewer"
            raise _TooMany
        name = name.lower()  # the rest as in uvicorn, whose own method would be a second call a header
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        # uvicorn makes it by the name of its own class. An object beside it, each holding the other, would stay until the
        # collector comes: that cost more than the second write.
        cycle.__class__ = Joining
        super()._start_asgi_task(cycle, app)

    def on_message_complete(self) -> None:
        self._arriving = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Sends the parser's refusal, or this module's."""
        if self._refusal:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, self._refusal)
        else:
            self._refuse(HTTPStatus.BAD_REQUEST, "this is not a valid HTTP/1.1 request; check its method, path and headers")

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        body = json.encode({"status": status.value, "message": message, "retryable": status == HTTPStatus.SERVICE_UNAVAILABLE})
        head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status.value] + head.encode() + body)
        self.transport.close()
