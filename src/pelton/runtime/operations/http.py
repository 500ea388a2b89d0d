"""One HTTP request as the work of a step.

Any failure of the HTTP port (a refused address, a timeout, an oversized reply) is the step's failure and never the
server's: it is returned as a `NoReply` with one line for people. A reply with any status is a reply; the language decides what it
means. Limits on time, size and addresses are those of the port.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pelton.kernel.expressions.base import JSON
from pelton.kernel.model.signals import Report
from pelton.net.outgoing import HttpPort, Reply
from pelton.runtime.api import Operation, WorkItem
from pelton.runtime.services import say
from pelton.telemetry.trace import passed_on


class HttpCall(Struct, frozen=True):
    """A request. Timeouts in seconds, for connecting and for reading."""

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
    """Makes one request; raises only if it is cancelled."""
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
    """An operation that makes the request that `call_of` derives from an item, and reports the outcome through `report_of`.

    `call_of` returns a report instead if the item specifies no valid request.
    """

    async def perform(item: WorkItem) -> Report:
        call = call_of(item)
        if isinstance(call, Report):
            return call
        if item.trace:
            call = replace(call, headers=passed_on(call.headers, item.trace))
        return report_of(item, await request(port, call))

    return perform


def body_as_json(body: bytes) -> JSON:
    """A body as JSON if it is JSON, otherwise as text; None if it is empty."""
    if not body:
        return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return body.decode("utf-8", "replace")


def headers_by_name(headers: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """A reply's headers, with all values of each name, in order."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name, []).append(value)
    return found
