"""Holiday calendars over HTTP: `{"dates": ["2026-12-25"], "weekends": ["Saturday", "Sunday"]}`.

They are an extension of this server: in the original product another service, outside the workflow API, manages them.
"""

from __future__ import annotations

import msgspec

from pelton.languages.lusid.errors import LusidError
from pelton.languages.lusid.http.api_context import LusidContext, as_at
from pelton.languages.lusid.http.entities import path_name
from pelton.languages.lusid.http.handlers import HandlerRoutes
from pelton.languages.lusid.names import LANGUAGE
from pelton.languages.lusid.schedules.calendars import CALENDAR, calendar_body, parse_calendar
from pelton.transport import documents
from pelton.transport.http.asgi import Request, Response, Router, json_response
from pelton.transport.named import VERSION

ONE = "/api/calendars/{scope}/{code}"


class CalendarRoutes:
    def __init__(self, context: LusidContext, handlers: HandlerRoutes) -> None:
        self._context = context
        self._handlers = handlers

    def add_to(self, router: Router) -> None:
        router.add("GET", ONE, self.get)
        router.add("PUT", ONE, self.put)

    async def get(self, request: Request) -> Response:
        name = path_name(request.path)
        row = await self._context.engine.definition(request.caller, CALENDAR, name, VERSION, as_at(request))
        if row is None:
            raise LusidError("NotFound", f"there is no calendar {name[:200]!r}")
        return json_response(msgspec.json.decode(row.body))

    async def put(self, request: Request) -> Response:
        """Schedules that look at the calendar follow it at once."""
        name = path_name(request.path)
        body = calendar_body(parse_calendar(documents.parse(await request.body()), "calendar"))
        caller = self._context.caller(request)
        await self._context.engine.define(caller, CALENDAR, LANGUAGE, name, VERSION, msgspec.json.encode(body), actor=caller.user)
        await self._handlers.restore(caller)
        return json_response(body)
