"""Every route of a server with odd input: those of the OpenAPI document, with documents of its schemas, and those of the
languages' tables.

Invariants: there is an answer to everything; it is no 5xx but 503 with the form of an error; every refusal has that form, in the
words of the API that was asked; what says that it is JSON or msgpack is; what JSON is refused for, msgpack is, too. Nothing is
logged as an error, the interpreter warns of nothing, and at the end the server is well and has not grown.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import re
import warnings
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
from structlog.testing import capture_logs
from tests.fuzz.documents import documents, first, fitting
from tests.fuzz.values import DEPTHS, anything, changed, nested, of_schema, text
from tests.fuzz.wire import Answer, Broken, Input, Wire

from pelton.server.assembly import Given
from pelton.server.config import Config
from pelton.server.lifecycle import Server
from pelton.store.port import Store

KINDS = (b"application/json", b"application/msgpack", b"application/cloudevents+json", b"application/cloudevents-batch+json",
         b"text/plain", b"application/xml", b"", b"application/json; charset=utf-16", b"multipart/form-data; boundary=x",
         b"/;=")  # fmt: skip
ENCODINGS = (b"gzip", b"br", b"identity", b"gzip, gzip", b"\xff")
NAMED = ("id", "key", "name", "number", "run", "workflowId", "taskId", "code", "scope", "item", "event", "queue", "state", "type")
WAITS = ("0", "1", "-1", "", "x", "99999999999999999999", "1.5")  # not a time that would be waited for
QUERY = ("filter", "sortBy", "page", "limit", "start", "size", "status", "includeTasks", "version", "asAt", "reason", "count",
"workerid",
         "domain", "freeText", "query", "sort", "name", "queueName", "event", "activeOnly", "after", "before", "state", "type",
         "correlationId", "includeClosed", "endTime", "startTime", "taskReferenceName", "propertyKeys", "handler")  # fmt: skip
LEFT = frozenset({("GET", "/metrics")})  # text for machines of another kind, with a suite of its own
RECENT = 400  # names that were seen lately
CALLERS = 4
SHOWN = 1_500
GROWTH = 150  # megabytes that a session may add: what 40,000 inputs leave behind is in the store, and the caches are bounded


class Endpoint(NamedTuple):
    """`mount`: "" for what is no language's. `query`: names. `schema`: of the body, None = not known."""

    method: str
    path: str
    mount: str
    query: tuple[str, ...] = QUERY
    schema: dict[str, Any] | None = None
    kinds: tuple[bytes, ...] = KINDS[:1]


class Report:
    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.routes: set[tuple[str, str]] = set()
        self.faults: list[str] = []
        self.memory: list[int] = []  # megabytes resident, after each tenth

    def text(self) -> str:
        statuses = ", ".join(f"{status}: {count}" for status, count in sorted(self.statuses.items()))
        lines = [
            f"{sum(self.statuses.values())} answers from {len(self.routes)} routes; {statuses}",
            f"memory, MB: {self.memory}",
        ]
        return "\n".join([*lines, f"{len(self.faults)} faults", *self.faults[:20]])


class Session:
    def __init__(self, server: Server, seed: int) -> None:
        self._server = server
        self._rng = random.Random(seed)
        self._endpoints: list[Endpoint] = []
        self._schemas: dict[str, Any] = {}
        self._documents = documents()
        self._known: deque[str] = deque(
            ["everything", "event_testing", "work", "orders", "Finbourne-Examples", "1"], maxlen=RECENT
        )
        self.report = Report()

    async def run(self, inputs: int) -> Report:
        host, _, port = self._server.address.removeprefix("http://").rpartition(":")
        wires = [Wire(host, int(port)) for _ in range(CALLERS)]
        openapi = msgspec.json.decode((await wires[0].ask(Input("GET", b"/openapi.json", (), b""))).body)
        self._schemas = openapi["components"]["schemas"]
        self._endpoints = [*described(openapi), *mounted(self._server)]
        for method, path, document in first():
            made = await wires[0].ask(
                Input(method, path.encode(), ((b"content-type", b"application/json"),), encoded(document, packed=False))
            )
            if made.status >= 300:
                self.report.faults.append(f"not made: {path} {made.status} {made.body[:SHOWN]!r}")
        share = max(1, inputs // 10)
        for start in range(0, inputs, share):
            given = [self._input() for _ in range(start, min(inputs, start + share))]
            given.reverse()

            async def ask(wire: Wire, left: list[tuple[Endpoint, Input]] = given) -> None:
                while left:
                    await self._ask(wire, *left.pop())

            await asyncio.gather(*(ask(wire) for wire in wires))
            self.report.memory.append(resident())
        if self.report.memory[-1] > self.report.memory[0] + GROWTH:
            self.report.faults.append(f"memory grew by more than {GROWTH} MB")
        healthy = await wires[0].ask(Input("GET", b"/health", (), b""))
        if healthy.status != 200 or self._server.engine.supervisor.failure:
            self.report.faults.append(f"the server is not healthy: {healthy.body[:SHOWN]!r}")
        for wire in wires:
            await wire.close()
        return self.report

    # ---- one input

    def _input(self) -> tuple[Endpoint, Input]:
        rng = self._rng
        endpoint = rng.choice(self._endpoints)
        path = re.sub(r"{\w+}", lambda _: self._segment(), endpoint.path)
        query = [
            f"{name}={quote(self._parameter(name), errors='surrogatepass')}"
            for name in endpoint.query
            if rng.random() < min(0.3, 2 / len(endpoint.query))
        ]
        if rng.random() < 0.02:
            query.append(rng.choice(("%", "a=%ff", "=&=&", "a" * 3_000, "&" * 500)))
        target = (endpoint.mount + path).encode() + (b"?" + "&".join(query).encode() if query else b"")
        method = (
            endpoint.method if rng.random() < 0.97 else rng.choice(("HEAD", "PATCH", "PUT", "DELETE", "OPTIONS", "POST", "GET"))
        )
        headers: list[tuple[bytes, bytes]] = []
        body = b""
        if method in {"POST", "PUT", "PATCH"} or rng.random() < 0.03:
            kind = rng.choice(endpoint.kinds) if rng.random() < 0.85 else rng.choice(KINDS)
            if endpoint.schema is not None and rng.random() < 0.25:
                kind = b"application/msgpack"
            body = self._body(endpoint, packed=kind == b"application/msgpack")
            headers.append((b"content-type", kind))
        if rng.random() < 0.02:
            headers.append((b"content-encoding", rng.choice(ENCODINGS)))
        if (
            b"cloudevents" not in (headers[0][1] if headers else b"")
            and endpoint.path.startswith("/v1/events")
            and rng.random() < 0.5
        ):
            headers += [
                (f"ce-{name}".encode(), self._header()) for name in ("specversion", "id", "source", "type", "time", "subject")
            ]
        return endpoint, Input(method, target, tuple(headers), body)

    def _segment(self) -> str:
        given = self._rng.choice(self._known) if self._rng.random() < 0.7 else text(self._rng)[:200]
        return (
            quote(given, safe="", errors="surrogatepass")
            if self._rng.random() < 0.97
            else self._rng.choice(("", "%", "%zz", "%ff%fe", "%2e%2e", "a%00"))
        )

    def _parameter(self, name: str) -> str:
        if name in {"wait", "timeout", "waitForSeconds"}:
            return self._rng.choice(WAITS)
        return self._rng.choice(self._known) if self._rng.random() < 0.4 else text(self._rng)[:1_000]

    def _header(self) -> bytes:
        given = self._rng.choice(("1.0", "a", "/s", "2026-01-01T00:00:00Z", "%00", "%E2%82%AC", '"a\\"', "\x80", "é", " "))
        return given.encode("latin-1")

    def _body(self, endpoint: Endpoint, *, packed: bool) -> bytes:
        rng = self._rng
        chosen = rng.random()
        if chosen < 0.04:
            return bytes(rng.randrange(256) for _ in range(rng.randrange(40)))
        if chosen < 0.07:
            depth = rng.choice(DEPTHS)
            return b"\x91" * depth + b"\xc0" if packed else b"[" * depth + b"]" * rng.choice((0, depth))
        if endpoint.schema is not None:
            document = of_schema(rng, endpoint.schema, self._schemas, self._known)
        elif chosen < 0.15:
            document = anything(rng)
        else:
            document = rng.choice((rng.random() < 0.8 and fitting(endpoint.path)) or self._documents)
        if rng.random() < 0.5:
            document = changed(rng, document, rng.choice((1, 1, 2, 4)))
        elif rng.random() < 0.05:
            document = nested(rng, rng.choice(DEPTHS[:4]))
        if isinstance(document, dict) and "wait" in str(document):
            document = without_waits(document)
        whole = encoded(document, packed=packed)
        if rng.random() < 0.06 and whole:
            cut = rng.randrange(len(whole))
            return (
                whole[:cut] + rng.choice((b"", b"\x00", b"\xff", b"\xed\xa0\x80", b",", b"}")) + whole[cut + rng.randrange(2) :]
            )
        return whole

    # ---- one answer

    async def _ask(self, wire: Wire, endpoint: Endpoint, given: Input) -> None:
        try:
            answer = await wire.ask(given)
        except Broken as broken:
            self._fault(given, str(broken))
            return
        self.report.statuses[answer.status] += 1
        self.report.routes.add((endpoint.method, endpoint.mount + endpoint.path))
        wrong = problem(endpoint, given, answer) or await self._twin(wire, endpoint, given, answer)
        if wrong:
            self._fault(given, f"{wrong}: {answer.status} {answer.kind} {answer.body[:SHOWN]!r}")
        elif answer.status < 300 and answer.body and answer.kind.startswith("application/json"):
            self._known.extend(names(msgspec.json.decode(answer.body)))

    async def _twin(self, wire: Wire, endpoint: Endpoint, given: Input, answer: Answer) -> str:
        """What is refused as JSON is refused as msgpack, too: it is one document."""
        if answer.status != 400 or endpoint.schema is None or (b"content-type", b"application/json") not in given.headers:
            return ""
        try:
            packed = msgspec.msgpack.encode(msgspec.json.decode(given.body))
        except (msgspec.DecodeError, OverflowError, RecursionError, UnicodeError):
            return ""
        headers = tuple(each for each in given.headers if each[0] != b"content-type")
        twin = given._replace(headers=((b"content-type", b"application/msgpack"), *headers), body=packed)
        found = await wire.ask(twin)
        self.report.statuses[found.status] += 1
        return "" if 400 <= found.status < 500 else f"the same as msgpack gives {found.status} {found.body[:SHOWN]!r}"

    def _fault(self, given: Input, what: str) -> None:
        self.report.faults.append(f"{what}\n  {given.method} {given.target!r} {given.headers!r}\n  {given.body[:SHOWN]!r}")


def problem(endpoint: Endpoint, given: Input, answer: Answer) -> str:
    """What is wrong with the answer, "" = nothing."""
    if answer.status >= 500 and answer.status != 503:
        return "the server failed"
    if given.method == "HEAD" or not answer.body:
        return "" if given.method == "HEAD" or answer.status < 400 else "a refusal without a body"
    try:
        if "msgpack" in answer.kind:
            found = msgspec.msgpack.decode(answer.body)
        elif "json" in answer.kind:
            found = msgspec.json.decode(answer.body)
        else:
            return "" if answer.status < 400 else "a refusal that is no document"
    except (msgspec.DecodeError, UnicodeError) as error:
        return f"not what it says it is: {error}"
    if answer.status < 400:
        return ""
    if not isinstance(found, dict) or found.get("status") != answer.status:
        return "a refusal without its status"
    texts = {"": ("title", "detail", "code"), "/api": ("message",)}.get(endpoint.mount, ("name", "title"))
    missing = [name for name in texts if not isinstance(found.get(name), str)]
    return f"a refusal without {', '.join(missing)}" if missing else ""


def described(openapi: dict[str, Any]) -> Iterator[Endpoint]:
    for path, item in openapi["paths"].items():
        for method, operation in item.items():
            if (method.upper(), path) in LEFT:
                continue
            query = tuple(each["name"] for each in operation.get("parameters", ()) if each["in"] == "query")
            content = operation.get("requestBody", {}).get("content", {})
            schemas = [each["schema"] for each in content.values() if "schema" in each]
            kinds = tuple(each.encode() for each in content) or KINDS[:1]
            yield Endpoint(method.upper(), path, "", query, schemas[0] if schemas else None, kinds)


def mounted(server: Server) -> Iterator[Endpoint]:
    assert server._parts is not None
    for mount in server._parts.mounts:
        for method, path in mount.router.patterns:
            yield Endpoint(method, path, mount.prefix)


def encoded(document: Any, *, packed: bool) -> bytes:
    try:
        return msgspec.msgpack.encode(document) if packed else json.dumps(document).encode()
    except (OverflowError, UnicodeEncodeError, RecursionError):  # what these encoders do not say is said by others in a text
        return msgspec.msgpack.encode(ascii(document)[:5_000]) if packed else b"[" * 2_000


def without_waits(document: dict[str, Any]) -> dict[str, Any]:
    """The same, but nobody waits for long: the time of a test is its own."""
    found: dict[str, Any] = {name: without_waits(value) if isinstance(value, dict) else value for name, value in document.items()}
    wait = found.get("wait")
    if isinstance(wait, int) and 1 < wait <= 60_000:
        found["wait"] = 1
    return found


def names(document: Any, depth: int = 4) -> Iterator[str]:
    """Names and keys in an answer, for paths of later inputs."""
    if isinstance(document, list) and depth:
        for each in document[:3]:
            yield from names(each, depth - 1)
    elif isinstance(document, dict) and depth:
        for name, value in document.items():
            if name in NAMED and isinstance(value, str | int) and value != "" and not isinstance(value, bool):
                yield str(value)[:200]
            else:
                yield from names(value, depth - 1)
    elif isinstance(document, str) and depth == 4 and document:
        yield document[:200]


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 // (1 << 20)


async def fuzz(inputs: int, seed: int, store: Store) -> Report:
    """Nothing may be logged as an error meanwhile, and the interpreter may have nothing to warn of."""
    server = Server(Config(port=0), Given(store=store, any_loop=True))
    with warnings.catch_warnings(record=True) as warned, capture_logs() as logged:
        warnings.simplefilter("always")
        await server.start()
        try:
            report = await Session(server, seed).run(inputs)
        finally:
            await server.stop()
        gc.collect()
    report.faults += [f"warned: {each.message}" for each in warned]
    report.faults += [f"logged: {each}" for each in logged if each["log_level"] in {"error", "critical"}]
    return report
