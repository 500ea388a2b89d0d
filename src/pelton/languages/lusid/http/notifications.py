"""The supported part of the notification service: manual events, and the known event types.

Handlers and filters see an event as a header, with the event's type, id, time and further attributes, and a body.
"""

from __future__ import annotations

from msgspec import Raw, json

from pelton.errors import FieldProblem
from pelton.kernel.expressions.base import JSON
from pelton.languages.lusid import decode
from pelton.languages.lusid.errors import LusidError, invalid
from pelton.languages.lusid.forms import EventTypeEntry, ManualEvent
from pelton.languages.lusid.http.api_context import LusidContext
from pelton.languages.lusid.http.entities import deleted
from pelton.languages.lusid.http.event_types import BUILT_IN, EventTypes, entry
from pelton.languages.lusid.times import print_milliseconds
from pelton.runtime.api import USER_ID, EventIn
from pelton.runtime.rows import EventRow
from pelton.transport import documents
from pelton.transport.http.asgi import Request, Response, Router, json_response
from pelton.transport.pages import whole_list

MANUAL = "Manual"
SOURCE = "/notification/api/manualevent"
TYPES = "/api/eventtypes"
ONE = TYPES + "/{eventType}"

# Attributes of an event that are shown in its header, and how they are called there.
_HEADER = (("requestid", "requestId"), (USER_ID, "userId"), ("action", "action"), ("entitytype", "entityType"), ("href", "href"))


def payload(event: EventRow) -> JSON:
    """What handlers see of an event."""
    attributes = event.attributes
    header: dict[str, JSON] = {"eventType": event.type, "id": event.event_id, "source": event.source, "attributes": attributes}
    if event.subject:
        header["subject"] = event.subject
    if event.time:
        header["time"] = print_milliseconds(event.time)
    for name, shown in _HEADER:
        value = attributes.get(name)
        if value is not None:
            header[shown] = value
    header["timestamp"] = print_milliseconds(event.time or event.received)
    return {"header": header, "body": event.body}


class NotificationRoutes:
    def __init__(self, context: LusidContext, types: EventTypes) -> None:
        self.context = context
        self.types = types

    def add_to(self, router: Router) -> None:
        router.add("POST", "/api/manualevent", self.raise_event)
        router.add("GET", TYPES, self.all)
        router.add("POST", TYPES, self.register)
        router.add("GET", ONE, self.get)
        router.add("PUT", ONE, self.update)
        router.add("DELETE", ONE, self.remove)

    async def raise_event(self, request: Request) -> Response:
        given = decode.decode(await request.body(), ManualEvent)
        caller = self.context.caller(request)
        now = self.context.engine.now()
        body = decode.plain(given)
        event = EventIn(
            source=SOURCE,
            type=MANUAL,
            id=caller.request,
            time=now,
            body=body,
            attributes={USER_ID: caller.user, "requestid": caller.request, "action": "Create", "entitytype": MANUAL},
        )
        await self.context.engine.ingest(caller, [event])
        header = {
            "eventType": MANUAL,
            "timestamp": print_milliseconds(now),
            "userId": caller.user,
            "requestId": caller.request,
            "action": "Create",
            "entityType": MANUAL,
        }
        return json_response({"header": header, "body": body}, 201)

    async def all(self, request: Request) -> Response:
        remedy = "ask for single ones by their ids"
        found = await whole_list(self.types.all(request.caller), lambda each: Raw(json.encode(each)), remedy)
        return json_response({"values": found, "links": []})

    async def get(self, request: Request) -> Response:
        return json_response(await self.types.get(request.caller, request.path["eventType"]))

    async def register(self, request: Request) -> Response:
        """Not in the original: lets operators describe their own events."""
        given = decode.decode(await request.body(), EventTypeEntry)
        if given.id in BUILT_IN:
            raise LusidError("EventTypeAlreadyExists", f"event type {given.id!r} comes with the service; register another")
        made = await self.types.entities.create(self.context.caller(request), given.id, decode.plain(given))
        return json_response(entry(made.value), 201)

    async def update(self, request: Request) -> Response:
        name = request.path["eventType"]
        given = documents.parse(await request.body())
        form = decode.convert({"id": name, **given} if isinstance(given, dict) else given, EventTypeEntry)
        if form.id != name:
            raise invalid([FieldProblem("id", f"must be {name[:100]!r}, as in the path, or absent", form.id)])
        made = await self.types.entities.replace(self.context.caller(request), name, decode.plain(form))
        return json_response(entry(made.value))

    async def remove(self, request: Request) -> Response:
        return json_response(deleted(await self.types.entities.remove(self.context.caller(request), request.path["eventType"])))
