"""Outgoing HTTP, loaded on first use: its libraries cost start-up time and memory, and few servers need them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pelton.telemetry.spans import NO_SPANS, Span, Spans
from pelton.telemetry.trace import from_mapping, headers_of

if TYPE_CHECKING:
    from pelton.net.http import GuardedHttp, HttpReply


class LazyHttpPort:
    """The port for outgoing HTTP. `allow`: exceptions from the address rules. A request that belongs to a trace is reported to
    `spans`, without its path and query, which are often a password."""

    def __init__(self, allow: Iterable[str], spans: Spans = NO_SPANS) -> None:
        self.spans = spans
        self._allow = tuple(allow)
        self._port: GuardedHttp | None = None

    def port(self) -> GuardedHttp:
        if self._port is None:
            from pelton.net.http import GuardedHttp  # noqa: PLC0415 - an HTTP client that few servers need

            self._port = GuardedHttp(allow=self._allow)
        return self._port

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        connect_timeout: float = 5.0,
        read_timeout: float = 30.0,
        max_response: int = 1_048_576,
        patient: bool = False,
    ) -> HttpReply:
        """See `net.http.GuardedHttp.request`."""
        request = partial(
            self.port().request,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            max_response=max_response,
            patient=patient,
        )
        parent = from_mapping(dict(headers)) if self.spans.on else ""
        if not parent:
            return await request(method, url, headers, body)
        context, start = self.spans.own(parent, "http", os.urandom(8)), time.time_ns()
        others = {name: value for name, value in dict(headers).items() if name.lower() not in {"traceparent", "tracestate"}}
        status, error = 0, "no answer"
        try:
            reply = await request(method, url, {**others, **headers_of(context)}, body)
            status = reply.status
            error = f"status {status}" if status >= 400 else ""
            return reply
        finally:
            attributes = {"http.request.method": method, "http.response.status_code": status, **_host(url)}
            self.spans.report(Span(method, context, parent, start, time.time_ns(), "client", attributes, error))

    async def close(self) -> None:
        if self._port is not None:
            await self._port.close()


def _host(url: str) -> dict[str, str | int]:
    try:
        parts = urlsplit(url)
        return {"server.address": parts.hostname or "", "server.port": parts.port or (443 if parts.scheme == "https" else 80)}
    except ValueError:  # the port refuses it
        return {}
