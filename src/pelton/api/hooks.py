"""/v1/hooks/NAME: webhooks that are no CloudEvents become events, with source and type from the address; and the handshake by
which senders of CloudEvents ask whether they may deliver here."""

from __future__ import annotations

import base64
import re
from typing import Any
from urllib.parse import parse_qsl

from pelton.api.calls import Parameter, Route, answer, media_type
from pelton.api.cloudevents import ANCESTOR, BATCHED, HOPS, STRUCTURED, from_parts, read_data
from pelton.api.events import EventRoutes, event_headers
from pelton.api.problems import bad
from pelton.models import Accepted, AcceptedBatch
from pelton.transport.http.asgi import Request, Response

NAME = Parameter("name", "Name of the hook, and by default the type of its events")
TYPE = Parameter("type", "Type of the event, instead of the hook's name")
SOURCE = Parameter("source", "Source of the event, instead of /v1/hooks/NAME")
SUBJECT = Parameter("subject", "Subject of the event")
ID = Parameter("id", "Id of the delivery, by which a repeat is recognised; without it and `id_header` each delivery is new")
ID_HEADER = Parameter("id_header", "Name of the request header in which the sender puts the id of the delivery")

FORM = "application/x-www-form-urlencoded"
MOST_FIELDS = 1_000  # of a form
_XML = re.compile(r"(application|text)/([a-z0-9!#$&^_.+-]+\+)?xml", re.IGNORECASE)
_ORIGIN = re.compile(r"[A-Za-z0-9.*:/\[\]_-]{1,255}")
_RATE = re.compile(r"[0-9]{1,9}")


class HookRoutes:
    def __init__(self, events: EventRoutes) -> None:
        self._events = events

    def routes(self) -> list[Route]:
        takes = ("application/json", "application/xml", FORM, "text/plain", "application/octet-stream", STRUCTURED, BATCHED)
        handshake = "Answer the handshake of the CloudEvents webhook specification: deliveries are welcome, at any rate."
        return [
            Route("POST", "/v1/hooks/{name}", "postHook", "Post a webhook of any kind: its body becomes the data of an event "
                  "(JSON as it is, a form as an object, XML and other text as text, the rest as base64). A CloudEvent stays one.",
                  self.post, parameters=(NAME, TYPE, SOURCE, SUBJECT, ID, ID_HEADER), takes=takes,
                  gives=(Accepted, AcceptedBatch), statuses=(201, 400, 403, 409, 413, 415)),
            Route("OPTIONS", "/v1/hooks/{name}", "askHook", handshake, self.ask, parameters=(NAME,), statuses=(400,)),
            Route("OPTIONS", "/v1/events", "askEvents", handshake, self.ask, statuses=(400,)),
        ]  # fmt: skip

    async def post(self, request: Request) -> Response:
        headers = event_headers(request)
        content = headers.get("content-type", "")
        if media_type(content) in {STRUCTURED, BATCHED} or "ce-specversion" in headers:
            return await self._events.post(request)
        name, header = request.path["name"], request.query.text(ID_HEADER.name)
        data, encoded = _data(media_type(content), await request.body())
        found: dict[str, Any] = {
            "id": (request.header(header.lower().encode("latin-1", "replace")) if header else "") or request.query.text(ID.name),
            "type": request.query.text(TYPE.name, name),
            "source": request.query.text(SOURCE.name, f"/v1/hooks/{name}"),
            "subject": request.query.text(SUBJECT.name),
        }
        attributes: dict[str, Any] = {"datacontenttype": content} if content else {}
        attributes |= {name: past for name in (HOPS, ANCESTOR) if (past := headers.get(f"ce-{name}"))}
        return await self._events.record(request, from_parts(found, data, encoded, attributes))

    async def ask(self, request: Request) -> Response:
        """Without the question in its headers, only which methods there are."""
        headers = [(b"allow", b"POST, OPTIONS")]
        if origin := request.header(b"webhook-request-origin"):
            if not _ORIGIN.fullmatch(origin):
                raise bad(
                    "webhook-request-origin", "is not the name of a sender", "send a host name, such as example.com", origin
                )
            headers.append((b"webhook-allowed-origin", origin.encode()))
            if _RATE.fullmatch(request.header(b"webhook-request-rate")):
                headers.append((b"webhook-allowed-rate", b"*"))
        return answer({}, headers=headers)


def _data(kind: str, body: bytes) -> tuple[Any, bool]:
    """The data of an event, and whether it had to be encoded as base64."""
    if kind == FORM:
        return _form(body), False
    if _XML.fullmatch(kind):
        try:
            return (body.decode() if body else None), False
        except UnicodeDecodeError:
            return base64.b64encode(body).decode(), True
    return read_data(kind, body, "")


def _form(body: bytes) -> dict[str, Any]:
    """A field that is given several times is a list."""
    found: dict[str, Any] = {}
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except UnicodeDecodeError:
        raise bad("", "the form is not UTF-8", "percent-encode it as UTF-8") from None
    except ValueError:
        raise bad("", f"the form has more than {MOST_FIELDS} fields", "send fewer, or JSON") from None
    for name, value in fields:
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]
    return found
