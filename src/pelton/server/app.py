"""The ASGI application: one in front of the languages' routers, the native API, health and metrics.

Every request gets an id and is counted; it is refused if too many are in progress or its caller is not allowed,
and every log line that it causes carries its id.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import structlog
from msgspec import json

from pelton import __version__
from pelton.api.calls import render
from pelton.api.problems import TITLES
from pelton.errors import RETRYABLE, Code, PeltonError
from pelton.runtime.caller import Caller
from pelton.server.access import Access, Denied
from pelton.telemetry import trace
from pelton.telemetry.histograms import Histograms
from pelton.telemetry.spans import NO_SPANS, Span, Spans
from pelton.transport.caller import set_caller
from pelton.transport.http.asgi import (
    ROUTE,
    Application,
    Receive,
    Request,
    Response,
    Router,
    Scope,
    Send,
    deliver,
    json_response,
    text_response,
)
from pelton.transport.http.asgi import raw_path as raw_path_of
from pelton.transport.http.mounts import Mount

Health = Callable[[], Awaitable[Mapping[str, Any]]]

HINT = f"""Pelton {__version__}: events in, durable work, events out.

POST /v1/events     accepts CloudEvents
GET  /openapi.json  describes the native API
GET  /health        reports the server's health
GET  /metrics       serves Prometheus metrics
"""
_GIVEN_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_OPEN = frozenset({b"/health", b"/api/health", b"/metrics"})
_log = structlog.get_logger("pelton.http")


METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
MOST_ROUTES = 5_000  # with their methods and classes of status; there are fewer

Answered = tuple[str, str, str, int]
"""Mount, pattern of the route ("" where none was found), method, first digit of the status (0: the caller was gone)."""


class HttpCounts:
    """Request counts for the metrics page. `durations`: long polls included."""

    def __init__(self) -> None:
        self.durations: Histograms[Answered] = Histograms(("", "", "", 0), most=MOST_ROUTES)
        self.under_way = 0
        self.refused = 0


class App:
    """`mounts`: routers under prefixes. `open_paths`: further raw paths that need no key. `directory`: of the data."""

    def __init__(
        self,
        mounts: Iterable[Mount],
        *,
        access: Access,
        health: Health,
        metrics: Callable[[str], Awaitable[tuple[bytes, str]]],
        openapi: bytes,
        max_requests: int,
        open_paths: Iterable[str] = (),
        spans: Spans = NO_SPANS,
        directory: str = "",
    ) -> None:
        self.counts = HttpCounts()
        self._spans = spans
        self._health = health
        self._metrics = metrics
        self._openapi = openapi
        self._access = access
        self._max_requests = max_requests
        self._directory = directory
        self._open = _OPEN | {path.encode() for path in open_paths}
        mounted = list(mounts)
        self._apis = {each.prefix.encode(): each for each in sorted(mounted, key=lambda each: len(each.prefix), reverse=True)}
        self._application = Application([*((each.prefix, each.router) for each in mounted), ("", self._root())])
        self._prefix = secrets.token_hex(4)
        self._number = 0

    def _root(self) -> Router:
        router = Router(render)
        router.add("GET", "/", self._hint)
        router.add("GET", "/health", self._get_health)
        router.add("GET", "/api/health", self._get_health)
        router.add("GET", "/metrics", self._get_metrics)
        router.add("GET", "/openapi.json", self._get_openapi)
        return router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        path = raw_path_of(scope)
        request_id = self._request_id(scope)
        request = request_id.decode()
        structlog.contextvars.bind_contextvars(request=request)
        came = trace.from_headers(scope["headers"])
        here = self._spans.own(came, "request", secrets.token_bytes(8)) if came else ""
        if self._spans.on and not came and path not in _OPEN:
            here = self._spans.root("request")
        if here:
            structlog.contextvars.bind_contextvars(trace=trace.trace_id(here))
            _traced.set(True)
            scope[_TRACE] = here
        elif _traced.get():  # what is sent on the heels of another request has its context
            structlog.contextvars.unbind_contextvars("trace")
            _traced.set(False)
        counts = self.counts
        status = 0
        counts.under_way += 1
        try:
            response = None if path in self._open else self._refusal(scope, path, request)
            if response is None:
                if path == b"/api/health":
                    scope[ROUTE] = "/api/health".removeprefix(self._api(path))
                    response = await self._shown_health(scope)
                else:
                    response = await self._application.response(scope, receive)
            if response is not None:
                response.headers = (*response.headers, (b"x-request-id", request_id))
                status = response.status
                if not await deliver(response, scope, send):
                    status = 0
        finally:
            counts.under_way -= 1
            method = scope["method"]
            answered = (self._api(path), scope.get(ROUTE, ""), method if method in METHODS else "other", status // 100)
            seconds = time.perf_counter() - started
            counts.durations.of(answered).observe(seconds)
            if here and self._spans.on:
                self._spans.report(_span(here, came, answered, status, seconds))
            if _debug.isEnabledFor(logging.DEBUG):
                _log.debug(
                    "request",
                    method=method,
                    path=path[:500].decode("latin-1"),
                    status=status,
                    milliseconds=round(seconds * 1000, 2),
                )

    def _request_id(self, scope: Scope) -> bytes:
        """The caller's own id, if it is short and plain; otherwise a new one."""
        for name, value in scope["headers"]:
            if name == b"x-request-id" and _GIVEN_ID.fullmatch(value):
                return bytes(value)
        self._number += 1
        return f"{self._prefix}-{self._number}".encode()

    def _api(self, path: bytes) -> str:
        mount = self._mount(path)
        return mount.prefix if mount is not None else ""

    def _mount(self, path: bytes) -> Mount | None:
        for prefix, mount in self._apis.items():
            if path.startswith(prefix):
                return mount
        return None

    def _refusal(self, scope: Scope, path: bytes, request_id: str) -> Response | None:
        admitted = self._access.admit(scope)
        if isinstance(admitted, Denied):
            self.counts.refused += 1
            return self._refused(path, admitted)
        set_caller(scope, Caller(admitted.namespace, admitted.user, request_id, admitted.forwards, scope.get(_TRACE, "")))
        if self.counts.under_way > self._max_requests:
            self.counts.refused += 1
            busy = Denied(Code.BUSY, "busy", f"{self._max_requests} requests are already in progress", "retry in a moment")
            return self._refused(path, busy)
        return None

    def _refused(self, path: bytes, denied: Denied) -> Response:
        mount = self._mount(path)
        answer = None
        if mount is not None and mount.refused is not None:
            answer = mount.refused(PeltonError(denied.code, f"{denied.detail}; {denied.remedy}"))
        if answer is None:
            answer = _refused(denied)
        if denied.code is Code.UNAUTHENTICATED:
            answer.headers = [*answer.headers, (b"www-authenticate", b"Bearer")]
        return answer

    async def _hint(self, request: Request) -> Response:
        return text_response(HINT)

    async def _get_health(self, request: Request) -> Response:
        return await self._shown_health(request.scope)

    async def _shown_health(self, scope: Scope) -> Response:
        found = await self._health()
        if self._access.denied(scope) is not None:  # it may be asked all the same
            found = without_paths(found, self._directory)
        body = {"healthy": found["healthy"], "healthResults": [], "suppressedHealthResults": []}
        body.update((name, value) for name, value in found.items() if name != "healthy")
        return json_response(body, 200 if found["healthy"] else 503)

    async def _get_metrics(self, request: Request) -> Response:
        body, content_type = await self._metrics(request.header(b"accept"))
        return Response(200, body, content_type.encode())

    async def _get_openapi(self, request: Request) -> Response:
        return Response(200, self._openapi, b"application/json")


def without_paths(health: Mapping[str, Any], directory: str) -> Mapping[str, Any]:
    """What callers without a key see: not where the data are, which the store says, and perhaps why it cannot be written."""
    details = dict(health.get("details", {}))
    store = dict(details.get("store", {}))
    path = str(store.pop("path", ""))
    if store:
        details["store"] = store
    hidden = [each for each in (str(Path(path).parent), directory) if each not in {"", "."}]

    def shown(value: Any) -> Any:
        if isinstance(value, str):
            for each in hidden:
                value = value.replace(each + os.sep, "")
                value = value.replace(each, "the data directory") if each.startswith(os.sep) else value
            return value
        if isinstance(value, Mapping):
            return {name: shown(member) for name, member in value.items()}
        return [shown(member) for member in value] if isinstance(value, list | tuple) else value

    return {**health, "details": shown(details)}


_debug = logging.getLogger("pelton.http")
_TRACE = "pelton.trace"  # in a scope: the context of the request
_traced: ContextVar[bool] = ContextVar("traced", default=False)  # whether log lines have a trace


def _span(here: str, came: str, answered: Answered, status: int, seconds: float) -> Span:
    mount, pattern, method, _ = answered
    end = time.time_ns()
    route = mount + pattern
    known = {"http.request.method": method, "http.route": route, "http.response.status_code": status}
    attributes: dict[str, Any] = {name: value for name, value in known.items() if value}
    error = f"status {status}" if status >= 500 else ""
    return Span(f"{method} {route}".strip(), here, came, end - int(seconds * 1e9), end, "server", attributes, error)


def _refused(denied: Denied) -> Response:
    """A refusal that every API's clients understand: a problem body, with the members `message` and `error` of other APIs."""
    code, word, detail, remedy = denied
    retryable = code in RETRYABLE
    body = {
        "type": f"urn:pelton:problem:{word.lower().replace(' ', '-')}",
        "title": TITLES[denied.status],
        "status": denied.status,
        "detail": detail,
        "code": word,
        "remedy": remedy,
        "message": f"{detail}; {remedy}",
        "error": word,
        "retryable": retryable,
    }
    headers = [(b"retry-after", b"1")] if retryable else []
    return Response(denied.status, json.encode(body), b"application/problem+json", headers)
