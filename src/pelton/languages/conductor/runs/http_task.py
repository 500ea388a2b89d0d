"""The built-in operation behind HTTP tasks. May be repeated when the server dies between the request and its record."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from pelton.kernel.expressions.base import JSON
from pelton.kernel.model.signals import Report
from pelton.kernel.model.state import StepStatus
from pelton.net.outgoing import HttpPort
from pelton.runtime.api import WorkItem

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
TIME_OUT = 3_000  # milliseconds, of connecting and of reading each
MOST_TIME_OUT = 120_000
OPERATION = "http"


class _Bad(Exception):
    pass


def operation(port: HttpPort) -> Callable[[WorkItem], Awaitable[Report]]:
    async def perform(item: WorkItem) -> Report:
        given = item.step.input if isinstance(item.step.input, dict) else {}
        asked = given.get("http_request", given)
        try:
            method, url, headers, body, connect, read = _request(asked)
        except _Bad as bad:
            return _failed(str(bad), {})
        try:
            reply = await port.request(method, url, headers, body, connect_timeout=connect, read_timeout=read)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # whatever the way out says is the task's failure, not the server's
            text = " ".join(str(error).split())[:1000] or type(error).__name__
            return _failed(f"Failed to invoke HTTP task due to: {text}", {"response": text})
        response = {
            "body": _parsed(reply.body),
            "headers": _headers_of(reply.headers),
            "statusCode": reply.status,
            "reasonPhrase": reply.reason,
        }
        if not 200 <= reply.status < 300:
            shown = f"{reply.status} {reply.reason}".strip()
            return _failed(f"Failed to invoke HTTP task due to: {shown}", {"response": response})
        status = None if given.get("asyncComplete") is True else int(StepStatus.COMPLETED)
        return Report(status=status, output={"response": response})

    return perform


def _failed(reason: str, output: dict[str, JSON]) -> Report:
    return Report(status=int(StepStatus.FAILED), output=output, reason=reason)


def _request(asked: Any) -> tuple[str, str, dict[str, str], bytes, float, float]:
    if not isinstance(asked, dict):
        raise _Bad("Missing HTTP request. Task input MUST have a 'http_request' key with HTTP parameters")
    url, method = asked.get("uri"), asked.get("method")
    if not isinstance(url, str) or not url.strip():
        raise _Bad("Missing HTTP URI. See documentation for HttpTask for required input parameters")
    if not isinstance(method, str) or not method.strip():
        raise _Bad("No HTTP method specified")
    if method not in METHODS:
        raise _Bad(f"Invalid HTTP method: {method[:50]}")
    headers: dict[str, str] = {}
    given = asked.get("headers")
    for name, value in given.items() if isinstance(given, dict) else ():
        if value is not None:
            headers[name] = ",".join(_word(each) for each in value) if isinstance(value, list) else _word(value)
    lower = {name.lower() for name in headers}
    accept = asked.get("accept")
    if accept and "accept" not in lower:
        headers["Accept"] = ", ".join(map(str, accept)) if isinstance(accept, list) else str(accept)
    body = b""
    if asked.get("body") is not None:
        value = asked["body"]
        body = value.encode() if isinstance(value, str) else msgspec.json.encode(value)
        if "content-type" not in lower:
            headers["Content-Type"] = str(asked.get("contentType") or "application/json")
    return method, url.strip(), headers, body, _seconds(asked, "connectionTimeOut"), _seconds(asked, "readTimeOut")


def _word(value: JSON) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _seconds(asked: dict[str, Any], name: str) -> float:
    value = asked.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        value = TIME_OUT
    return min(value, MOST_TIME_OUT) / 1000


def _headers_of(headers: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name, []).append(value)
    return found


def _parsed(body: bytes) -> JSON:
    """The body as JSON where it is JSON, else as text; a number counts as a floating one."""
    if not body:
        return None
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return body.decode("utf-8", "replace")
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
