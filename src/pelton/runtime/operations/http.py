"""One HTTP request as the work of a step.

Whatever the way out says (an address that is refused, a time-out, a reply that is too large) is the step's failure and never the
server's: it comes back as a `NoReply` with one line for people. Any status of a reply is a reply; what it means is the language's
to say. Bounds on time, size and addresses are those of the port.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec import Struct

from pelton.kernel.expressions.base import JSON
from pelton.kernel.model.signals import Report
from pelton.net.outgoing import HttpPort, Reply
from pelton.runtime.api import Operation, WorkItem
from pelton.runtime.services import say


class HttpCall(Struct, frozen=True):
    """A request. Time-outs in seconds: of connecting, and of reading."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    connect_timeout: float
    read_timeout: float


class NoReply(Struct, frozen=True):
    """There was no reply. `reason`: why, in one line of at most 1,000 characters."""

    reason: str


Outcome = Reply | NoReply


async def request(port: HttpPort, call: HttpCall) -> Outcome:
    """Makes one request; never raises but when it is cancelled."""
    try:
        return await port.request(
            call.method,
            call.url,
            call.headers,
            call.body,
            connect_timeout=call.connect_timeout,
            read_timeout=call.read_timeout,
        )
    except asyncio.CancelledError:
        raise
    except Exception as error:
        return NoReply(say(error))


def http_operation(
    port: HttpPort, call_of: Callable[[WorkItem], HttpCall | Report], report_of: Callable[[WorkItem, Outcome], Report]
) -> Operation:
    """An operation that makes the request that `call_of` reads out of an item, and reports what `report_of` makes of the outcome.

    `call_of` answers with a report when the item asks for nothing that could be sent.
    """

    async def perform(item: WorkItem) -> Report:
        call = call_of(item)
        return call if isinstance(call, Report) else report_of(item, await request(port, call))

    return perform


def body_as_json(body: bytes) -> JSON:
    """A body as JSON where it is JSON, else as text; None when it is empty."""
    if not body:
        return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return body.decode("utf-8", "replace")


def headers_by_name(headers: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """Headers of a reply, with every value that a name has, in order."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name, []).append(value)
    return found
