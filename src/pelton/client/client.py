"""The native API for programs: `Client` blocks, `AsyncClient` is for asyncio. Both have the same calls and give JSON.

Every call raises Refused when the server says no, and Unreachable when no answer came.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from pelton.client import asks
from pelton.client.asks import Ask
from pelton.client.errors import Unreachable
from pelton.client.http import Http

DEFAULT_URL = "http://127.0.0.1:8080"


class Client:
    """Not for several threads at once: one each. A connection that was lost between two calls is opened anew."""

    def __init__(self, url: str = DEFAULT_URL, *, key: str = "", seconds: float = 30.0) -> None:
        """`seconds`: patience with one answer. Raises ValueError for what is no URL of a server."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url!r} is not the URL of a server: write http://HOST:PORT")
        self.url = url
        self._tls = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._prefix = parts.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._seconds = seconds
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def call(self, ask: Ask) -> Any:
        """Any request, also to paths outside the native API."""
        headers = {**self._headers, **({"Content-Type": ask.content_type} if ask.body else {})}
        fresh = self._connection is None
        try:
            if self._connection is None:
                self._connection = self._open()
            self._connection.timeout = self._seconds + ask.seconds
            if self._connection.sock is not None:
                self._connection.sock.settimeout(self._connection.timeout)
            self._connection.request(ask.method, self._prefix + ask.path, ask.body or None, headers)
            answer = self._connection.getresponse()
            body = answer.read()
        except (http.client.HTTPException, OSError) as error:
            self.close()
            if not fresh and ask.repeatable and isinstance(error, ConnectionResetError | BrokenPipeError):
                return self.call(ask)  # most often an idle connection that the server has closed
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Unreachable(f"{self.url} gave no answer: {why}") from None
        return asks.answered(answer.status, answer.headers.get("content-type", ""), body)

    def _open(self) -> http.client.HTTPConnection:
        if self._tls:
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=self._seconds, context=ssl.create_default_context()
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=self._seconds)

    def health(self) -> Any:
        return self.call(asks.health())

    def post_event(
        self, type: str, source: str, data: Any = None, *, id: str = "", subject: str = "", attributes: Mapping[str, Any] = {}
    ) -> Any:
        """Answers after the commit. Give an `id`, and a repeat is known and changes nothing."""
        return self.call(asks.event(type, source, data, id, subject, attributes))

    def post_events(self, batch: Sequence[Mapping[str, Any]]) -> Any:
        """CloudEvents, at most 1,000; one result each."""
        return self.call(asks.events(batch))

    def events(
        self, *, type: str = "", state: str = "", after: str = "", before: str = "", limit: int = 100, wait: int = 0
    ) -> Any:
        """A page, newest first; with `after` oldest first. `wait`: milliseconds to wait for the first one."""
        return self.call(asks.event_page(type, state, after, before, limit, wait))

    def event(self, key: str, source: str = "") -> Any:
        return self.call(asks.one_event(key, source))

    def explain(self, key: str, *, source: str = "", handler: str = "") -> Any:
        return self.call(asks.explain(key, source, handler))

    def held(self, limit: int = 100) -> Any:
        return self.call(asks.held(limit))

    def dead_letters(self, after: int = 0, limit: int = 100) -> Any:
        return self.call(asks.dead_letters(after, limit))

    def redeliver(self, number: int) -> Any:
        return self.call(asks.redeliver(number))

    def runs(self, *, process: str = "", live: bool | None = None, before: str = "", limit: int = 100) -> Any:
        return self.call(asks.runs(process, live, before, limit))

    def run(self, id: str) -> Any:
        return self.call(asks.run(id))

    def steps(self, id: str, after: int = -1, limit: int = 1_000) -> Any:
        return self.call(asks.steps(id, after, limit))


class AsyncClient:
    """For one event loop; calls may overlap."""

    def __init__(self, url: str = DEFAULT_URL, *, key: str = "", seconds: float = 30.0) -> None:
        self.url = url
        self._http = Http(url, key=key)
        self._seconds = seconds

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.close()

    async def call(self, ask: Ask) -> Any:
        """Any request, also to paths outside the native API."""
        answer = await self._http.request(ask.method, ask.path, ask.body, ask.content_type, self._seconds + ask.seconds)
        return asks.answered(answer.status, answer.content_type, answer.body)

    async def health(self) -> Any:
        return await self.call(asks.health())

    async def post_event(
        self, type: str, source: str, data: Any = None, *, id: str = "", subject: str = "", attributes: Mapping[str, Any] = {}
    ) -> Any:
        return await self.call(asks.event(type, source, data, id, subject, attributes))

    async def post_events(self, batch: Sequence[Mapping[str, Any]]) -> Any:
        return await self.call(asks.events(batch))

    async def events(
        self, *, type: str = "", state: str = "", after: str = "", before: str = "", limit: int = 100, wait: int = 0
    ) -> Any:
        return await self.call(asks.event_page(type, state, after, before, limit, wait))

    async def event(self, key: str, source: str = "") -> Any:
        return await self.call(asks.one_event(key, source))

    async def explain(self, key: str, *, source: str = "", handler: str = "") -> Any:
        return await self.call(asks.explain(key, source, handler))

    async def held(self, limit: int = 100) -> Any:
        return await self.call(asks.held(limit))

    async def dead_letters(self, after: int = 0, limit: int = 100) -> Any:
        return await self.call(asks.dead_letters(after, limit))

    async def redeliver(self, number: int) -> Any:
        return await self.call(asks.redeliver(number))

    async def runs(self, *, process: str = "", live: bool | None = None, before: str = "", limit: int = 100) -> Any:
        return await self.call(asks.runs(process, live, before, limit))

    async def run(self, id: str) -> Any:
        return await self.call(asks.run(id))

    async def steps(self, id: str, after: int = -1, limit: int = 1_000) -> Any:
        return await self.call(asks.steps(id, after, limit))
