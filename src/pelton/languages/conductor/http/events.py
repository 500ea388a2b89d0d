"""Event handlers over HTTP."""

from __future__ import annotations

from contextlib import suppress

import msgspec
from msgspec import Raw

from pelton.errors import Code, PeltonError
from pelton.languages.conductor import decode
from pelton.languages.conductor.handlers.validate import check_handler
from pelton.languages.conductor.http.api_context import ConductorApi
from pelton.languages.conductor.model import EventHandlerDef
from pelton.runtime.caller import Caller
from pelton.runtime.rows import DefinitionRow
from pelton.transport.http.asgi import Request, Response, Router, empty, json_response
from pelton.transport.pages import shown_row, whole_list

REMEDY = "/v1/handlers lists them in pages"


class EventHandlerRoutes:
    def __init__(self, api: ConductorApi) -> None:
        self.api = api
        self.engine = api.engine

    def add_to(self, router: Router) -> None:
        router.add("POST", "/event", self.create)
        router.add("PUT", "/event", self.update)
        router.add("GET", "/event", self.all)
        router.add("GET", "/event/{event}", self.of_event)
        router.add("DELETE", "/event/{event}", self.remove)

    async def _put(self, caller: Caller, handler: EventHandlerDef, must_be_new: bool) -> None:
        await self.api.refuse_foreign(caller, "handler", handler.name)
        await self.engine.define(
            caller, "handler", self.api.language, handler.name, 1, msgspec.json.encode(handler), must_be_new=must_be_new
        )

    async def create(self, request: Request) -> Response:
        handlers = decode.decode_list(await request.body(), EventHandlerDef)
        if len(handlers) != 1:
            raise PeltonError(Code.INVALID, f"the body must be one event handler, not a list of {len(handlers)}")
        [handler] = handlers
        check_handler(handler, "addEventHandler")
        try:
            await self._put(request.caller, handler, must_be_new=True)
        except PeltonError as error:
            if error.code is Code.EXISTS:
                raise PeltonError(Code.EXISTS, f"EventHandler with name {handler.name} already exists!") from None
            raise
        return empty()

    async def update(self, request: Request) -> Response:
        handler = decode.decode(await request.body(), EventHandlerDef)
        check_handler(handler, "updateEventHandler")
        if not await self.api.owns(request.caller, "handler", handler.name):
            raise _unknown(handler.name)
        await self._put(request.caller, handler, must_be_new=False)
        return empty()

    async def switch(self, caller: Caller, name: str, active: bool) -> None:
        row = await self.engine.definition(caller, "handler", name, 1)
        if row is None or row.language != self.api.language:
            raise _unknown(name)
        handler = decode.decode(row.body, EventHandlerDef)
        handler.active = active
        body = msgspec.json.encode(handler)
        await self.engine.define(caller, "handler", self.api.language, name, 1, body, seen=row.id)

    async def remove(self, request: Request) -> Response:
        name = request.path["event"]
        if not await self.api.owns(request.caller, "handler", name):
            raise _unknown(name)
        try:
            await self.engine.undefine(request.caller, "handler", name, 1)
        except PeltonError as error:
            if error.code is Code.NOT_FOUND:
                raise _unknown(name) from None
            raise
        return empty()

    async def active(self, caller: Caller) -> list[EventHandlerDef]:
        found: list[EventHandlerDef] = []
        async for row in self.api.rows(caller, "handler"):
            with suppress(PeltonError):  # one that cannot be read does nothing
                found.append(to_wire(row))
        return [each for each in found if each.active]

    async def all(self, request: Request) -> Response:
        rows = self.api.rows(request.caller, "handler")
        return json_response(await whole_list(rows, lambda row: shown_row(row, to_wire, bare), REMEDY))

    async def of_event(self, request: Request) -> Response:
        event, active_only = request.path["event"], request.query.boolean("activeOnly", True)

        def show(row: DefinitionRow) -> Raw | None:
            try:
                handler = to_wire(row)
            except PeltonError:  # nobody can say which event it is for; the list of all shows it
                return None
            wanted = handler.event == event and (handler.active or not active_only)
            return Raw(msgspec.json.encode(handler)) if wanted else None

        return json_response(await whole_list(self.api.rows(request.caller, "handler"), show, REMEDY))


def to_wire(row: DefinitionRow) -> EventHandlerDef:
    return decode.decode(row.body, EventHandlerDef)


def bare(row: DefinitionRow, _: str) -> EventHandlerDef:
    """What can be shown of one that cannot be read."""
    return EventHandlerDef(name=row.name)


def _unknown(name: str) -> PeltonError:
    return PeltonError(Code.NOT_FOUND, f"EventHandler with name {name[:200]} not found!")
