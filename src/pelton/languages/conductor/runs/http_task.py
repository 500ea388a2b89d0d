"""HTTP tasks: from a task's input to a request, and from the reply to the task's output."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import structs

from pelton.kernel.expressions.base import JSON
from pelton.kernel.model.signals import Report
from pelton.kernel.model.state import StepStatus
from pelton.net.outgoing import HttpPort
from pelton.runtime.api import Operation, OperationBounds, WorkItem
from pelton.runtime.operations.http import (
    HttpCall,
    NoReply,
    Outcome,
    body_as_json,
    content_type_of,
    headers_by_name,
    http_operation,
)

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
TIME_OUT = 3_000  # milliseconds, of connecting and of reading each
MOST_CONNECTING = 300_000
MOST_READING = 3_600_000  # what "no time-out" means too
MOST_REDIRECTS = 20
OPERATION = "http"
# Those of one host wait here for their turn, so there are more than there may be requests, and the wait counts.
BOUNDS: OperationBounds = (256, 86_400_000)


class _BadInput(Exception):
    pass


def operation(port: HttpPort, max_response: int) -> Operation:
    """The built-in operation behind HTTP tasks. `max_response`: bytes that the body of a reply may have."""

    def call(item: WorkItem) -> HttpCall | Report:
        found = call_of(item)
        return found if isinstance(found, Report) else structs.replace(found, max_response=max_response)

    return http_operation(port, call, report_of)


def call_of(item: WorkItem) -> HttpCall | Report:
    values = item.input if isinstance(item.input, dict) else {}
    try:
        return _call(values.get("http_request", values))
    except _BadInput as error:
        return _failed(str(error), {})


def report_of(item: WorkItem, outcome: Outcome) -> Report:
    if isinstance(outcome, NoReply):
        return _failed(f"Failed to invoke HTTP task due to: {outcome.reason}", {"response": outcome.reason})
    response: dict[str, JSON] = {
        "body": _body(outcome.body, content_type_of(outcome.headers)),
        "headers": headers_by_name(outcome.headers),
        "statusCode": outcome.status,
        "reasonPhrase": outcome.reason,
    }
    if not 200 <= outcome.status < 300:
        status_line = f"{outcome.status} {outcome.reason}".strip()
        return _failed(f"Failed to invoke HTTP task due to: {status_line}", {"response": response})
    completes_later = isinstance(item.step.input, dict) and item.step.input.get("asyncComplete") is True
    return Report(status=None if completes_later else int(StepStatus.COMPLETED), output={"response": response})


def _failed(reason: str, output: dict[str, JSON]) -> Report:
    return Report(status=int(StepStatus.FAILED), output=output, reason=reason)


def _call(values: Any) -> HttpCall:
    if not isinstance(values, dict):
        raise _BadInput("Missing HTTP request. Task input MUST have a 'http_request' key with HTTP parameters")
    url, method = values.get("uri"), values.get("method")
    if not isinstance(url, str) or not url.strip():
        raise _BadInput("Missing HTTP URI. See documentation for HttpTask for required input parameters")
    if not isinstance(method, str) or not method.strip():
        raise _BadInput("No HTTP method specified")
    if method not in METHODS:
        raise _BadInput(f"Invalid HTTP method: {method[:50]}")
    headers: dict[str, str] = {}
    given = values.get("headers")
    for name, value in given.items() if isinstance(given, dict) else ():
        if value is not None:
            headers[name] = ",".join(_text(each) for each in value) if isinstance(value, list) else _text(value)
    lower = {name.lower() for name in headers}
    accept = values.get("accept")
    if "accept" not in lower:
        headers["Accept"] = ", ".join(map(str, accept)) if isinstance(accept, list) else str(accept or "application/json")
    body = b""
    if values.get("body") is not None:
        value = values["body"]
        body = value.encode() if isinstance(value, str) else msgspec.json.encode(value)
        if "content-type" not in lower:
            headers["Content-Type"] = str(values.get("contentType") or "application/json")
    return HttpCall(
        method,
        url.strip(),
        headers,
        body,
        _seconds(values, "connectionTimeOut", MOST_CONNECTING),
        _seconds(values, "readTimeOut", MOST_READING),
        patient=True,
        redirects=MOST_REDIRECTS,
    )


def _text(value: JSON) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _seconds(values: dict[str, Any], name: str, most: int) -> float:
    """A time-out; 0 stands for none, so for as long as there may be."""
    value = values.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        value = TIME_OUT
    return min(value or most, most) / 1000


def _body(body: bytes, content_type: str) -> JSON:
    """A reply's body; a number counts as a floating one."""
    value = body_as_json(body, content_type)
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
