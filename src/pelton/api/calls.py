"""What the native API's routes share: the route table, bodies as structs, responses, and errors as problem bodies.

The dispatcher and the OpenAPI document are built from the same table.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import structlog
from msgspec import DecodeError, Struct, ValidationError, json, msgpack, to_builtins

from pelton.api.problems import CONTENT_TYPE, bad, exchange_problem, problem
from pelton.errors import Category, PeltonError
from pelton.transport import documents
from pelton.transport.http.asgi import Handler, Request, Response, Router, Send
from pelton.transport.http.errors import WebError
from pelton.transport.http.query import MOST

MSGPACK = "application/msgpack"
MSGPACK_TYPES = frozenset({MSGPACK, "application/x-msgpack", "application/vnd.msgpack"})

T = TypeVar("T")

_decoders: dict[tuple[type, bool], Any] = {}
_json = json.Encoder(enc_hook=str)
_msgpack = msgpack.Encoder(enc_hook=str)


class Parameter(NamedTuple):
    """A path or query parameter. `kind`: string | integer."""

    name: str
    help: str
    kind: str = "string"
    default: int = 0
    low: int = 0
    high: int = MOST

    def number(self, request: Request) -> int:
        """The value, or the default. Raises WebError unless it is a whole number within bounds."""
        return request.query.integer(self.name, self.default, self.low, self.high)


class Route(NamedTuple):
    """`takes`: the body's type, or media types if the body is not a struct. `gives`: body types of a successful response."""

    method: str
    path: str
    name: str
    summary: str
    handler: Handler
    parameters: tuple[Parameter, ...] = ()
    takes: type[Struct] | tuple[str, ...] | None = None
    gives: tuple[type[Struct], ...] = ()
    statuses: tuple[int, ...] = ()


def is_msgpack(request: Request) -> bool:
    """Whether the body is msgpack; if so, the response is too."""
    return media_type(request.header(b"content-type")) in MSGPACK_TYPES


def media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


async def decoded(request: Request, kind: type[T]) -> T:
    """The body as a struct. Raises PeltonError naming the field."""
    body = await request.body()
    packed = is_msgpack(request)
    decoder = _decoders.get((kind, packed))
    if decoder is None:
        decoder = _decoders[kind, packed] = msgpack.Decoder(kind) if packed else json.Decoder(kind)
    try:
        if not packed:
            body = documents.without_mark(body)
            documents.check_depth(body)
            if documents.has_long_number(body):
                documents.parse(body)  # raises if one does not fit
        found: T = decoder.decode(body)
        if packed:
            documents.clean(found)
    except ValidationError as error:
        text, _, place = str(error).partition(" - at `$")
        raise bad(place.rstrip("`").lstrip("."), text, "see /openapi.json for the expected type") from None
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad("", f"the body cannot be read: {error}", f"send JSON, or msgpack as {MSGPACK}") from None
    return found


def answer(value: Any, status: int = 200, *, packed: bool = False, headers: Sequence[tuple[bytes, bytes]] = ()) -> Response:
    if packed:
        return Response(status, _pack(value), MSGPACK.encode(), headers)
    return Response(status, _json.encode(value), b"application/json", headers)


def _pack(value: Any) -> bytes:
    """As msgpack, which has no whole numbers beyond 64 bits: one that somebody else's JSON had is given as a text."""
    try:
        return _msgpack.encode(value)
    except OverflowError:
        return _msgpack.encode(_without_big(to_builtins(value, builtin_types=(bytes,), enc_hook=str)))


def _without_big(value: Any) -> Any:
    if type(value) is int:
        return value if -(1 << 63) <= value < 1 << 63 else str(value)
    if isinstance(value, dict):
        return {name: _without_big(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_without_big(member) for member in value]
    return value


class Stream(Response):
    """A response whose chunks are sent as they arrive."""

    __slots__ = ("chunks",)
    streams = True

    def __init__(self, chunks: AsyncIterator[bytes], content_type: bytes) -> None:
        super().__init__(200, b"", content_type, ((b"cache-control", b"no-store"),))
        self.chunks = chunks

    async def send(self, send: Send, head: bool = False) -> None:
        headers = [(b"content-type", self.content_type), *self.headers]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        if not head:
            async for chunk in self.chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def render(error: Exception) -> Response | None:
    """An error as a problem body; None for an unexpected exception."""
    headers: Mapping[str, str] = {}
    if isinstance(error, WebError):
        body, headers = exchange_problem(error), error.headers
    elif isinstance(error, PeltonError):
        fault = error.category is Category.FAULT  # only the server's log has the details, under this id
        body = problem(error, str(structlog.contextvars.get_contextvars().get("request", "")) if fault else "")
        if error.retryable:
            headers = {"retry-after": "1"}
    else:
        return None
    encoded = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    return Response(body.status, _json.encode(body), CONTENT_TYPE.encode(), encoded)


def router(routes: Sequence[Route], prefix: str, max_body: int) -> Router:
    """A router for the routes, whose paths in the table start with `prefix`."""
    found = Router(render, max_body=max_body)
    for route in routes:
        found.add(route.method, route.path.removeprefix(prefix), route.handler)
    return found
