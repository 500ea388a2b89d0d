"""One HTTP request as the work of a step.

Any failure of the HTTP port (a refused address, a timeout, an oversized reply) is the step's failure and never the
server's: it is returned as a `NoReply` with one line for people. A reply with any status is a reply; the language decides what it
means. Limits on time, size and addresses are those of the port, which is asked for each redirect that is followed.
"""

from __future__ import annotations

import asyncio
import codecs
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pelton.kernel.expressions.base import JSON
from pelton.kernel.model.signals import Report
from pelton.net.outgoing import HttpPort, Reply
from pelton.runtime.api import Operation, WorkItem
from pelton.runtime.services import say
from pelton.telemetry.trace import passed_on

MOVED = frozenset({301, 302, 303, 307, 308})
_SAME_METHOD = frozenset({307, 308})
_OF_A_BODY = frozenset({"content-type", "content-encoding", "content-language", "content-location"})
_CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization"})
_NO_CHARSETS = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"})  # of Python, not of HTTP
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
_XML_CHARSET = re.compile(rb"^\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)


class HttpCall(Struct, frozen=True):
    """A request. Timeouts in seconds, for connecting and for reading.

    `max_response`: bytes of the reply's body, 0 = the port's default. `patient`: waits for a turn while the host is busy, however
    long. `redirects`: how many are followed."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    connect_timeout: float
    read_timeout: float
    max_response: int = 0
    patient: bool = False
    redirects: int = 0


class NoReply(Struct, frozen=True):
    """There was no reply. `reason`: why, in one line of at most 1,000 characters."""

    reason: str


Outcome = Reply | NoReply


async def request(port: HttpPort, call: HttpCall) -> Outcome:
    """Makes one request, and those that its replies redirect to; raises only if it is cancelled."""
    more: dict[str, Any] = {}
    if call.max_response:
        more["max_response"] = call.max_response
    if call.patient:
        more["patient"] = True
    try:
        left = call.redirects
        while True:
            reply = await port.request(
                call.method,
                call.url,
                call.headers,
                call.body,
                connect_timeout=call.connect_timeout,
                read_timeout=call.read_timeout,
                **more,
            )
            following = redirected(call, reply) if reply.status in MOVED and call.redirects else None
            if following is None:
                return reply
            if not left:
                return NoReply(f"{call.redirects} redirects led to yet another one; check where the address leads")
            left -= 1
            call = following
    except asyncio.CancelledError:
        raise
    except Exception as error:
        return NoReply(say(error))


def redirected(call: HttpCall, reply: Reply) -> HttpCall | None:
    """The request that a redirect asks for, as browsers understand it; None if it names no other address, or one that is less
    secure. Credentials go to the same host only."""
    place = next((value for name, value in reply.headers if name.lower() == "location"), "")
    if not place:
        return None
    try:
        before, url = urlsplit(call.url), urljoin(call.url, place)
        after = urlsplit(url)
    except ValueError:
        return None
    if after.scheme not in ("http", "https") or (before.scheme, after.scheme) == ("https", "http"):
        return None
    method, body, headers = call.method, call.body, dict(call.headers)
    if reply.status not in _SAME_METHOD and method not in ("GET", "HEAD"):
        method, body = "GET", b""
        headers = {name: value for name, value in headers.items() if name.lower() not in _OF_A_BODY}
    if (before.scheme, before.netloc.lower()) != (after.scheme, after.netloc.lower()):
        headers = {name: value for name, value in headers.items() if name.lower() not in _CREDENTIALS}
    return replace(call, method=method, url=url.partition("#")[0], headers=headers, body=body)


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


def body_as_json(body: bytes, content_type: str = "") -> JSON:
    """A body as JSON if it is JSON, otherwise as text; None if it is empty. Text is in the charset that the content type or
    the head of an XML document names; else in UTF-8."""
    if not body:
        return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = _text(body, content_type)
    if text[:1] in ("{", "[", '"'):  # JSON in another charset
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
            pass
    return text


def _text(body: bytes, content_type: str) -> str:
    found = _CHARSET.search(content_type)
    named = found[1] if found is not None else ""
    if not named and (declared := _XML_CHARSET.match(body)) is not None:
        named = declared[1].decode()
    try:
        if named and codecs.lookup(named).name not in _NO_CHARSETS:
            return body.decode(named, "replace")
    except (LookupError, UnicodeError):
        pass  # a charset that is not known here
    return body.decode("utf-8", "replace")


def content_type_of(headers: Sequence[tuple[str, str]]) -> str:
    return next((value for name, value in headers if name.lower() == "content-type"), "")


def headers_by_name(headers: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """A reply's headers, with all values of each name, in order."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name, []).append(value)
    return found
