"""A gRPC service as a language offers it: methods by name, each taking a caller and a message and returning a message.

The server that listens supplies the wire protocol, which decodes and encodes the messages. A PeltonError becomes a status by one
table; any other exception becomes INTERNAL, and its text stays in the log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import structlog

from pelton.errors import PeltonError
from pelton.runtime.caller import Caller
from pelton.transport.grpc.status import GRPC_STATUS

Method = Callable[[Caller, Any], Awaitable[Any]]
"""Answers one message. Raises PeltonError."""

_log = structlog.get_logger("pelton.transport")


class Service(NamedTuple):
    """`name`: including its package, as in `acme.orders.Orders`."""

    name: str
    methods: Mapping[str, Method]


class Answer(NamedTuple):
    """`status`: "OK", or the name of an error status, with `detail` for people."""

    status: str
    message: Any = None
    detail: str = ""


async def call(service: Service, name: str, caller: Caller, message: Any) -> Answer:
    """Calls a method, and returns the response for any wire protocol. Exceptions of the method become a status."""
    method = service.methods.get(name)
    if method is None:
        return Answer("UNIMPLEMENTED", detail=f"{service.name} has no method {name[:200]!r}")
    try:
        return Answer("OK", await method(caller, message))
    except PeltonError as error:
        return Answer(GRPC_STATUS[error.code], detail=error.message)
    except Exception as error:
        _log.error("a method has failed", service=service.name, method=name, exc_info=error)
        return Answer("INTERNAL", detail="internal error; the server's log has the details")
