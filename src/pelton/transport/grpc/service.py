"""A service over gRPC as a language offers it: methods by name, each from a caller and a message to a message.

Who listens puts the wire to it: messages are what that wire decodes and encodes. An error of ours becomes a status by one table;
anything else is INTERNAL, and its text stays here.
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
    """`name`: with its package, as in `acme.orders.Orders`."""

    name: str
    methods: Mapping[str, Method]


class Answer(NamedTuple):
    """`status`: "OK", or the name of an error's status with `detail` for people."""

    status: str
    message: Any = None
    detail: str = ""


async def call(service: Service, name: str, caller: Caller, message: Any) -> Answer:
    """One call of a method, and what it comes to on any wire. Raises nothing of the method's own."""
    method = service.methods.get(name)
    if method is None:
        return Answer("UNIMPLEMENTED", detail=f"{service.name} has no method {name[:200]!r}")
    try:
        return Answer("OK", await method(caller, message))
    except PeltonError as error:
        return Answer(GRPC_STATUS[error.code], detail=error.message)
    except Exception as error:
        _log.error("a method has failed", service=service.name, method=name, exc_info=error)
        return Answer("INTERNAL", detail="the call failed inside the server; it has been logged")
