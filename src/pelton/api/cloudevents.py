"""CloudEvents 1.0 over HTTP: structured, batched and binary requests become `EventIn`, and stored events become CloudEvents.

Invariant: any bytes either become events or raise PeltonError or WebError; a refused event is identified by its index in the
batch.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from pelton.api.calls import media_type
from pelton.api.problems import bad
from pelton.errors import Code, FieldProblem, PeltonError
from pelton.runtime.api import EventIn
from pelton.runtime.names import disallowed
from pelton.runtime.rows import EventRow
from pelton.telemetry.trace import TRACEPARENT, from_mapping, headers_of
from pelton.transport.documents import parse
from pelton.transport.http.errors import WebError

STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"
MAX_BATCH = 1_000  # events in one request
MAX_TEXT = 1_024  # characters of an id, a type, a source, a subject
MAX_ATTRIBUTES = 40
ENCODED = "database64"  # Pelton's own attribute: the data was binary, and the body is its base64 text

HOPS = "peltonhops"  # attribute: number of events and runs that led to this one; see `Ingest` for the limit
MOST_HOPS = 1_000  # far above the limit that applies
ANCESTOR = "peltonancestor"  # attribute: the event or run among whose descendants it counts, as received with the call
OWN = "pelton"  # the source of events that the server itself raises

_ESCAPED = re.compile(r"\\(.)")
_NO_TEXT = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")  # what data of an unknown type does not have if it is a text
_ATTRIBUTE = re.compile(r"[a-z0-9]{1,40}")
_JSON_TYPE = re.compile(r"(application|text)/([a-z0-9!#$&^_.+-]+\+)?json", re.IGNORECASE)
_KNOWN = frozenset({"specversion", "id", "source", "type", "subject", "time", "data", "data_base64"})


def from_request(headers: Mapping[str, str], body: bytes) -> tuple[list[EventIn], bool]:
    """The events in a request, and whether it was a batch. `headers`: the content type, and those that start with `ce-`. Raises
    PeltonError, or WebError for an unsupported content type."""
    kind = media_type(headers.get("content-type", ""))
    if kind == BATCHED:
        found = parse(body)
        if not isinstance(found, list):
            raise bad("", "a batch must be a JSON array of events", f"send one event as {STRUCTURED}")
        if len(found) > MAX_BATCH:
            too_large = f"a batch may hold at most {MAX_BATCH} events"
            raise PeltonError(Code.TOO_LARGE, too_large, value=len(found), remedy="send several smaller batches")
        return [_structured(each, f"[{place}].") for place, each in enumerate(found)], True
    if kind == STRUCTURED:
        return [_structured(parse(body), "")], False
    if any(name.startswith("ce-") for name in headers):
        return [_binary(headers, kind, body)], False
    if kind in {"application/json", ""}:
        return [_structured(parse(body), "", strict=False)], False
    message = "the content type is not supported for events"
    raise WebError(
        415,
        message,
        problems=[FieldProblem("content-type", message, kind)],
        remedy=f"use {STRUCTURED}, {BATCHED}, application/json, or ce- headers with any content type",
    )


def _structured(found: Any, where: str, strict: bool = True) -> EventIn:
    """`strict`: the content type says CloudEvents, so specversion and id are required."""
    if not isinstance(found, dict):
        raise bad(where.rstrip("."), "an event must be a JSON object", "send an object with type and source", found)
    version = found.get("specversion", None if strict else "1.0")
    if version != "1.0":
        raise bad(f"{where}specversion", "only CloudEvents 1.0 is supported", 'set specversion to "1.0"', version)
    if "data" in found and "data_base64" in found:
        raise bad(f"{where}data_base64", "an event may have data or data_base64, not both", "omit one of them")
    attributes = {}
    if not found.keys() <= _KNOWN:
        attributes = {name: value for name, value in found.items() if name not in _KNOWN and value is not None}
    body, encoded = found.get("data"), False
    if found.get("data_base64") is not None:
        data = _base64(found["data_base64"], f"{where}data_base64")
        kind = found.get("datacontenttype")
        body, encoded = read_data(media_type(kind) if isinstance(kind, str) else "", data, f"{where}data_base64")
    event = EventIn(
        id=_text(found, "id", where, needed=strict),
        source=_text(found, "source", where),
        type=_text(found, "type", where),
        subject=_text(found, "subject", where, needed=False),
        time=_time(found.get("time"), f"{where}time"),
        body=body,
        attributes=_attributes(attributes, where),
    )
    if encoded:
        event.attributes[ENCODED] = True
    return _ours(event, where)


def _binary(headers: Mapping[str, str], kind: str, body: bytes) -> EventIn:
    found = {name[3:]: _header(name, value) for name, value in headers.items() if name.startswith("ce-")}
    if found.pop("specversion", None) != "1.0":
        raise bad("ce-specversion", "only CloudEvents 1.0 is supported", "send the header ce-specversion: 1.0")
    attributes = {name: value for name, value in found.items() if name not in _KNOWN}
    if content := headers.get("content-type"):
        attributes["datacontenttype"] = content
    data, encoded = read_data(kind, body, "")
    event = EventIn(
        id=_text(found, "id", "ce-"),
        source=_text(found, "source", "ce-"),
        type=_text(found, "type", "ce-"),
        subject=_text(found, "subject", "ce-", needed=False),
        time=_time(found.get("time"), "ce-time"),
        body=data,
        attributes=_attributes(attributes, "ce-"),
    )
    if encoded:
        event.attributes[ENCODED] = True
    return _ours(event, "ce-")


def _header(name: str, value: str) -> str:
    """A header's value as 3.1.3.2 of the HTTP binding decodes it."""
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = _ESCAPED.sub(r"\1", value[1:-1])
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise bad(
            name, "the header is not percent-encoded UTF-8", "encode it as the CloudEvents HTTP binding requires", value
        ) from None


def read_data(kind: str, data: bytes, field: str) -> tuple[Any, bool]:
    """The data of an event, and whether it had to be encoded as base64, in every mode alike. `kind`: its media type; of data
    without one it is found out. Raises PeltonError for JSON that is none, naming `field`."""
    if not data:
        return None, False
    if _JSON_TYPE.fullmatch(kind):
        try:
            return parse(data), False
        except PeltonError as error:
            if field:
                error.field = field
            raise
    if not kind:
        with suppress(PeltonError):
            return parse(data), False
    if not kind or kind.startswith("text/"):
        with suppress(UnicodeDecodeError):
            text = data.decode()
            if kind or not _NO_TEXT.search(text):
                return text, False
    return base64.b64encode(data).decode(), True


def from_parts(found: Mapping[str, Any], data: Any, encoded: bool, attributes: dict[str, Any]) -> EventIn:
    """An event that did not come as a CloudEvent. `found`: its id ("" = none), type, source and subject. Raises PeltonError."""
    event = EventIn(
        id=_text(found, "id", "", needed=False),
        source=_text(found, "source", ""),
        type=_text(found, "type", ""),
        subject=_text(found, "subject", "", needed=False),
        body=data,
        attributes=_attributes(attributes, ""),
    )
    if encoded:
        event.attributes[ENCODED] = True
    return _ours(event, "")


def _ours(event: EventIn, where: str) -> EventIn:
    """Checks and takes out what has a special meaning to this server."""
    if event.source == OWN:
        raise bad(f"{where}source", "this source is reserved for the server", "use a source of your own", event.source)
    if HOPS in event.attributes:
        text = str(event.attributes.pop(HOPS))
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise bad(f"{where}{HOPS}", "must be a whole number, as received with the call", "omit it if there was no call", text)
        event.hops = min(int(text), MOST_HOPS)
    if TRACEPARENT in event.attributes:
        event.trace = from_mapping(event.attributes)
    return event


def _text(found: Mapping[str, Any], name: str, where: str, needed: bool = True) -> str:
    value = found.get(name)
    if type(value) is str and 0 < len(value) <= MAX_TEXT and value.isascii() and value.isprintable():
        return value  # nearly all
    if value is None or value == "":
        if needed:
            raise bad(f"{where}{name}", f"an event must have {name}", f"set {name} to a non-empty string", value)
        return ""
    if not isinstance(value, str):
        raise bad(f"{where}{name}", f"{name} must be a string", "put it in quotes", value)
    if len(value) > MAX_TEXT:
        raise bad(f"{where}{name}", f"{name} has {len(value)} characters; the limit is {MAX_TEXT}", "shorten it", value)
    if (wrong := disallowed(value)) is not None:
        message = f"{name} has the character U+{ord(value[wrong]):04X} at {wrong}, which CloudEvents does not allow in texts"
        raise bad(f"{where}{name}", message, "take it out", value)
    return value


def _attributes(found: dict[str, Any], where: str) -> dict[str, Any]:
    if len(found) > MAX_ATTRIBUTES:
        raise bad(
            where.rstrip("."),
            f"an event may have at most {MAX_ATTRIBUTES} extension attributes",
            "move the rest into data",
            len(found),
        )
    for name, value in found.items():
        if not _ATTRIBUTE.fullmatch(name):
            raise bad(
                f"{where}{name[:60]}",
                "an attribute's name may contain only lower-case letters and digits",
                "rename it, or move it into data",
            )
        if name == ENCODED:
            raise bad(f"{where}{name}", "this attribute is reserved for the server", "rename it")
        if not isinstance(value, str | bool | int) or (isinstance(value, str) and len(value) > MAX_TEXT):
            raise bad(
                f"{where}{name}", "an attribute must be a string, a whole number, true or false", "move it into data", value
            )
    return found


def _base64(value: Any, where: str) -> bytes:
    try:
        if not isinstance(value, str):
            raise TypeError
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise bad(where, "is not valid base64", "encode the bytes with the standard alphabet and padding", value) from None


def _time(value: Any, where: str) -> int:
    """Epoch milliseconds of an RFC 3339 time."""
    if value is None or value == "":
        return 0
    try:
        if not isinstance(value, str) or len(value) < 19 or value[10] not in "Tt ":
            raise ValueError
        found = datetime.fromisoformat(value.upper())
        if found.tzinfo is None:
            raise ValueError
        return round(found.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise bad(where, "is not a timestamp with a time zone", "use the form 2026-01-31T12:00:00Z", value) from None


def to_json(row: EventRow) -> dict[str, Any]:
    """A stored event as a structured CloudEvent."""
    found: dict[str, Any] = {"specversion": "1.0", "id": row.event_id, "source": row.source, "type": row.type}
    if row.subject:
        found["subject"] = row.subject
    if row.time:
        moment = datetime.fromtimestamp(row.time / 1000, UTC)
        found["time"] = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    found.update(headers_of(row.trace))  # of an event that has the attributes these are the same
    found.update((name, value) for name, value in row.attributes.items() if name != ENCODED)
    found["data_base64" if row.attributes.get(ENCODED) else "data"] = row.body
    return found
