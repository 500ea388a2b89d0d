"""uvicorn's HTTP/1.1 connection with bounds on the head of a request, which it keeps in memory until the head is complete.

What is refused before there is a request to be routed is answered here, in JSON like any other error, and the connection is
closed. Cost: one comparison a chunk and one a header. Head and body of an answer leave together: one system call and one packet
instead of two.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, cast

from msgspec import json
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

MAX_HEAD = 64 * 1024  # bytes of request line and headers; one chunk more may have been read
MAX_HEADERS = 200


class _TooMany(Exception):
    """Raised through the parser, which reports it as a request that is not valid."""


class Together:
    """A transport whose first write waits for the next one, at most until the loop comes round; then both go in one."""

    __slots__ = ("_kept", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._kept = b""

    def write(self, data: bytes) -> None:
        if self._kept:
            data, self._kept = self._kept + data, b""
            self._transport.write(data)
        elif data:
            self._kept = data
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._kept:
            data, self._kept = self._kept, b""
            if not self._transport.is_closing():
                self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class BoundedProtocol(HttpToolsProtocol):
    _in_head = False
    _head = 0
    _refusal = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, Together(transport, self.loop)))

    def data_received(self, data: bytes) -> None:
        before = self._in_head
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head += len(data) if before else 0
            if self._head > MAX_HEAD:
                self._refusal = f"request line and headers have more than {MAX_HEAD} bytes; send less"
                self.send_400_response("")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head = True, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= MAX_HEADERS:
            self._refusal = f"the request has more than {MAX_HEADERS} headers; send fewer"
            raise _TooMany
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """The parser's complaint, or ours, as an answer; then the end of the connection."""
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if self._refusal else HTTPStatus.BAD_REQUEST
        message = self._refusal or "this is no valid HTTP/1.1 request; check its method, path and headers"
        body = json.encode({"status": status.value, "message": message, "retryable": False})
        head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status.value] + head.encode() + body)
        self.transport.close()
