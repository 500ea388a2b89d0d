"""One HTTP/1.1 connection: bytes in, requests to an ASGI application, responses in the order of their requests.

Invariants: responses go out in the order in which requests came in; while a response is outstanding at most one read of further
requests waits, and nothing more is read; nothing is written into, or after, another response.

Limits: a request's head stays in memory until it is complete, so that it has most so many bytes and headers; a body that the
application does not read is not read from the line either. A request has `PATIENCE` seconds to arrive, and more the more of it
has arrived, so that a slow line is served, but a caller that sends nothing, or a byte now and then, does not occupy a place for
ever. Refusals are JSON like any other error, and close the connection. A listener has room for so many connections: when one
more comes, one that is idle is closed for it, and if none is, the new one is refused: the system, out of files, would let it in
and cut it off without a word, for /health as well.

What asks for another protocol (`Upgrade: h2c`, as the JDK's client and `curl --http2` do) is answered in HTTP/1.1, as the
standard allows. The parser takes such a request to end with its head, so that another parser is told how its body is framed.

Cost: no timer is set or stopped for a request that arrives in one piece.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from email.utils import formatdate
from http import HTTPStatus
from itertools import islice
from typing import Any
from urllib.parse import unquote

import httptools
import structlog
from msgspec import json

from pelton.transport.http.asgi import GONE
from pelton.transport.http.exchange import STATUS_LINES, HttpExchange

MAX_HEAD = 64 * 1024  # bytes of request line and headers; one chunk more may have been read
MAX_HEADERS = 200
MAX_UNREAD = 64 * 1024  # bytes of a body that wait for the application before the line is not read any more
PATIENCE = 30.0  # seconds for a request to arrive, or to begin on a new connection
SLOWEST = 10_000  # bytes a second that earn it more
KEEP_ALIVE_SECONDS = 75.0  # between two requests
LOOKED_AT = 200  # connections, for one that is idle, when there is no room for another
SAID_EVERY = 10.0  # seconds between lines in the log about that
UNBOUNDED = sys.maxsize

_ASGI = {"version": "3.0", "spec_version": "2.3"}
_FRAMES = frozenset({b"content-length", b"transfer-encoding"})
_INVALID = "this is not a valid HTTP/1.1 request; check its method, path and headers"

log = structlog.get_logger("pelton.http")


class _Refused(Exception):
    """Raised through the parser. `args`: status and message."""


class Connections:
    """What the connections of one listener share: the application, how many there may be, and who is at work."""

    def __init__(self, application: Any, most: int = UNBOUNDED, scheme: str = "http") -> None:
        self.application = application
        self.most = most
        self.scheme = scheme
        self.open: set[HttpConnection] = set()
        self.at_work: set[HttpExchange] = set()
        self.closing = False
        self._empty: asyncio.Event | None = None
        self._said = -SAID_EVERY
        self._second = 0
        self._date = b""

    def connection(self) -> HttpConnection:
        return HttpConnection(self)

    def date(self) -> bytes:
        """The line of a response's head that says when it was made."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._date = f"date: {formatdate(second, usegmt=True)}\r\n".encode()
        return self._date

    def left(self, connection: HttpConnection) -> None:
        self.open.discard(connection)
        if self._empty is not None and not self.open:
            self._empty.set()

    def make_room(self, newcomer: HttpConnection) -> bool:
        """Closes the connection that has been idle for longest, of some. False if they are all in use."""
        idle = [each for each in islice(self.open, LOOKED_AT) if each is not newcomer and each.idle]
        now = newcomer.loop.time()
        if now - self._said >= SAID_EVERY:
            self._said = now
            log.warning(
                "there are as many connections as there may be",
                most=self.most,
                action="idle ones are closed" if idle else "new ones are refused",
                remedy="raise the limit of open files (ulimit -n)",
            )
        if not idle:
            return False
        oldest = min(idle, key=lambda each: each.began)
        self.open.discard(oldest)  # it is on its way
        oldest.close()
        return True

    async def end(self, drain: float) -> None:
        """Closes every connection: idle ones at once, the others after their response. What is not answered within `drain`
        seconds is cancelled."""
        self.closing = True
        for each in list(self.open):
            each.end_soon()
        if self.open:
            self._empty = asyncio.Event()
            try:
                async with asyncio.timeout(drain):
                    await self._empty.wait()
            except TimeoutError:
                log.warning("requests were cancelled, since they took too long to end", requests=len(self.at_work))
        left = [each.task for each in self.at_work if each.task is not None]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=1.0)
        for each in list(self.open):
            each.abort()


class HttpConnection(asyncio.Protocol):
    def __init__(self, shared: Connections) -> None:
        self.shared = shared
        self.loop = asyncio.get_running_loop()
        self.began = 0.0  # when the present request did, or the wait for the next one
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._client: tuple[str, int] | None = None
        self._server: tuple[str, int | None] | None = None
        # the request that arrives
        self._arriving = True  # or the first one is waited for
        self._in_head = False
        self._head = 0  # bytes of the head so far
        self._received = 0  # bytes of the request so far
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._continues = False
        self._fed: HttpExchange | None = None  # whose body comes
        self._framed: list[bytes] | None = None  # how the body is framed of a request that asks for another protocol
        self._again = False  # the parser is told a head that has been seen already
        # responses
        self._serving: HttpExchange | None = None
        self._waiting: deque[HttpExchange] = deque()
        self._final = False  # no further request is taken after the one that arrives
        self._last = False  # no further one is taken
        self._farewell = b""  # a refusal that waits for the responses before it
        # the line
        self._reading = True
        self._writable: asyncio.Event | None = None  # set while there is room; None: there always was
        self._timer: asyncio.TimerHandle | None = None

    # ---- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        shared = self.shared
        shared.open.add(self)
        self._client = _address(transport.get_extra_info("peername"))
        self._server = _address(transport.get_extra_info("sockname"))
        self.began = self.loop.time()
        if shared.closing:
            transport.close()
        elif len(shared.open) > shared.most and not shared.make_room(self):
            self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, f"there are {shared.most} connections already; retry in a moment")
        else:
            self._timer = self.loop.call_later(PATIENCE, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self.shared.left(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._serving is not None:
            self._serving.lost()
        for each in self._waiting:
            each.lost()
        self._waiting.clear()
        if self._writable is not None:
            self._writable.set()
        self._parser = None

    def data_received(self, data: bytes) -> None:
        if self._last:
            return
        before = self._in_head
        try:
            self._parse(data)
        except _Refused as refused:
            self._give_up(*refused.args)
            return
        if not self._arriving or self._last:
            return
        self._received += len(data)
        self._look_by(self.began + PATIENCE)
        if self._in_head:
            self._head += len(data) if before else 0
            if self._head > MAX_HEAD:
                too_long = f"request line and headers have more than {MAX_HEAD} bytes; send less"
                self._give_up(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, too_long)

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = asyncio.Event()
        self._writable.clear()

    def resume_writing(self) -> None:
        if self._writable is not None:
            self._writable.set()

    # ---- the parser

    def _parse(self, data: bytes) -> None:
        """Raises _Refused."""
        while data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._plain() + data[upgrade.args[0] :]
                continue
            except httptools.HttpParserError as error:
                context = error.__context__
                if isinstance(context, _Refused):
                    raise context from None
                if context is not None:
                    log.error("a request could not be taken", exc_info=context)
                if not self._last:  # what follows a last request is nobody's
                    raise _Refused(HTTPStatus.BAD_REQUEST, _INVALID) from None
            return

    def _plain(self) -> bytes:
        """Goes on in HTTP/1.1 after a head that asks for another protocol. Returns what another parser is told first."""
        self._parser = httptools.HttpRequestParser(self)
        frames, self._framed = self._framed, None
        if not frames:
            return b""
        self._again = True
        return b"POST / HTTP/1.1\r\n%b\r\n" % b"".join(frames)

    def on_message_begin(self) -> None:
        if self._again:
            return
        self._in_head, self._head, self._url, self._headers, self._continues = True, 0, b"", [], False
        self._arriving, self._received, self.began = True, 0, self.loop.time()

    def on_url(self, url: bytes) -> None:
        if not self._again:
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer: it comes when who calls and what with is settled, and past whatever a proxy has checked
        headers = self._headers
        if len(headers) >= MAX_HEADERS:
            message = f"the request has more than {MAX_HEADERS} headers; send fewer"
            raise _Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, message)
        headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._again:
            return
        self._in_head = False
        parser = self._parser
        headers = self._headers
        old = parser.get_http_version() == "1.0"
        hosts = 0
        for name, value in headers:
            if name == b"host":
                hosts += 1
            elif name == b"expect" and value.lower() == b"100-continue":
                self._continues = not old
        if hosts > 1 or (not hosts and not old):
            raise _Refused(HTTPStatus.BAD_REQUEST, f"the request has {hosts or 'no'} Host headers; send exactly one")
        method = parser.get_method().decode("ascii")
        keep = parser.should_keep_alive()
        if parser.should_upgrade():
            if method == "CONNECT":
                raise _Refused(
                    HTTPStatus.BAD_REQUEST, "this server is no proxy, so that CONNECT leads nowhere; send the request itself"
                )
            keep = not old and not _closes(headers)
            self._framed = [b"%b: %b\r\n" % header for header in headers if header[0] in _FRAMES]
        raw, _, query = self._url.partition(b"?")
        if (raw[:1] != b"/" and raw != b"*") or b"#" in self._url:
            raw, query = _split(self._url)
        path = raw.decode("latin-1")
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": "1.0" if old else "1.1",
            "server": self._server,
            "client": self._client,
            "scheme": self.shared.scheme,
            "method": method,
            "root_path": "",
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw,
            "query_string": query,
            "headers": headers,
            GONE: self._transport.is_closing,
        }
        exchange = self._fed = HttpExchange(self, scope, keep, self._continues, old)
        if self._serving is None:
            self._serve(exchange)
        else:
            self._waiting.append(exchange)
            self._stop_reading()
        self._final = not keep

    def on_body(self, body: bytes) -> None:
        if self._fed is not None and self._fed.feed(body) > MAX_UNREAD:
            self._stop_reading()

    def on_message_complete(self) -> None:
        if self._framed:
            return  # the body is yet to come
        self._again = self._arriving = False
        self._last = self._last or self._final
        if self._fed is not None:
            self._fed.arrived()
            self._fed = None

    # ---- responses

    def _serve(self, exchange: HttpExchange) -> None:
        self._serving = exchange
        shared = self.shared
        shared.at_work.add(exchange)
        exchange.task = self.loop.create_task(exchange.run(shared.application))

    def finished(self, exchange: HttpExchange) -> None:
        self.shared.at_work.discard(exchange)
        exchange.task = None

    def ended(self, exchange: HttpExchange) -> None:
        if exchange is not self._serving:
            return
        self._serving = None
        if not exchange.keep or self.shared.closing:
            self.close()
        elif self._waiting:
            self._serve(self._waiting.popleft())
        elif self._farewell:
            self._transport.write(self._farewell)
            self.close()
        else:
            if not self._arriving:
                self.began = self.loop.time()
            self._go_on_reading()

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def date(self) -> bytes:
        return self.shared.date()

    async def room_to_write(self) -> None:
        if self._writable is not None and not self._writable.is_set():
            await self._writable.wait()

    def refuse(self, status: HTTPStatus, message: str) -> None:
        self._transport.write(self._refusal(status, message))
        self.close()

    def _give_up(self, status: HTTPStatus, message: str) -> None:
        """Refuses what arrives, after the responses to what has arrived."""
        self._last = True
        if self._fed is not None and self._fed in self._waiting:
            self._waiting.remove(self._fed)
        if self._serving is None:
            self.refuse(status, message)
        elif self._serving is self._fed:
            if self._serving.started:
                self.cut()
            else:
                self.refuse(status, message)
        else:
            self._farewell = self._refusal(status, message)

    def _refusal(self, status: HTTPStatus, message: str) -> bytes:
        body = json.encode({"status": status.value, "message": message, "retryable": status == HTTPStatus.SERVICE_UNAVAILABLE})
        head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        return STATUS_LINES[status.value] + head.encode() + body

    # ---- the line

    @property
    def idle(self) -> bool:
        """Whether it can be closed without anybody missing an answer."""
        return self._serving is None and not (self._arriving and self._received) and not self._transport.is_closing()

    def wants_more(self) -> None:
        if not self._waiting:
            self._go_on_reading()

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def _go_on_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()

    def close(self) -> None:
        self._last = True
        self._transport.close()

    def cut(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self.close()

    def abort(self) -> None:
        self._transport.abort()

    def end_soon(self) -> None:
        if self._serving is None:
            self.close()
        else:
            self._serving.keep = False

    def _look_by(self, when: float) -> None:
        if self._timer is None or self._timer.when() > when:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_at(when, self._look)

    def _look(self) -> None:
        """Ends the connection if its request is overdue, or if none has come for long."""
        self._timer = None
        if self._transport.is_closing():
            return
        now = self.loop.time()
        if self._arriving:
            left = self.began + PATIENCE + self._received / SLOWEST - now
            if left > 0 or not self._reading:  # who is not read cannot send
                self._look_by(now + max(left, 1.0))
            elif self._received and (self._serving is None or (self._serving is self._fed and not self._serving.started)):
                message = f"the request did not arrive within {PATIENCE:g} seconds, or was slower than {SLOWEST} bytes per second"
                self.refuse(HTTPStatus.REQUEST_TIMEOUT, message)
            else:
                self.cut()
        elif self._serving is not None:
            self._look_by(now + KEEP_ALIVE_SECONDS)
        else:
            left = self.began + KEEP_ALIVE_SECONDS - now
            if left > 0:
                self._look_by(now + left)
            else:
                self.close()


def _split(url: bytes) -> tuple[bytes, bytes]:
    """Path and query of a URL that is absolute or has a fragment. Raises _Refused."""
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        raise _Refused(HTTPStatus.BAD_REQUEST, _INVALID) from None
    return parsed.path or b"/", parsed.query or b""


def _closes(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name == b"connection" and b"close" in value.lower() for name, value in headers)


def _address(found: Any) -> tuple[str, Any] | None:
    """Host and port of an endpoint; None for a socket that has none."""
    if isinstance(found, tuple):
        return str(found[0]), int(found[1])
    return (found, None) if isinstance(found, str) and found else None
