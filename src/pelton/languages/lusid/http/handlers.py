"""Event handlers over HTTP."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from pelton.errors import FieldProblem, PeltonError
from pelton.languages.lusid import decode
from pelton.languages.lusid.entity import DEFINITIONS, HANDLERS, Entity
from pelton.languages.lusid.errors import invalid
from pelton.languages.lusid.forms import CreateEventHandler, UpdateEventHandler
from pelton.languages.lusid.handlers.checks import check_against, check_handler, check_named, value_of
from pelton.languages.lusid.http.api_context import LusidContext, as_at
from pelton.languages.lusid.http.entities import Entities, deleted, path_name
from pelton.languages.lusid.http.event_types import EventTypes
from pelton.languages.lusid.http.listing import listed
from pelton.languages.lusid.member_names import HANDLER_MEMBERS
from pelton.languages.lusid.schedules import schedule, scheduling
from pelton.languages.lusid.times import pinned, print_moment
from pelton.runtime.caller import NAMESPACE, Caller, server_in
from pelton.transport.http.asgi import Request, Response, Router, json_response

ACTIVE, INACTIVE = "Active", "Inactive"
BASE = "/api/eventhandlers"
ONE = BASE + "/{scope}/{code}"


class HandlerRoutes:
    def __init__(self, context: LusidContext, types: EventTypes) -> None:
        self.context = context
        self.types = types
        self.entities = Entities(context, HANDLERS)
        self._definitions = Entities(context, DEFINITIONS)

    def add_to(self, router: Router) -> None:
        router.add("POST", BASE, self.create)
        router.add("GET", BASE, self.list)
        router.add("GET", ONE, self.get)
        router.add("PUT", ONE, self.update)
        router.add("DELETE", ONE, self.remove)

    async def create(self, request: Request) -> Response:
        given = decode.decode(await request.body(), CreateEventHandler)
        tied = await self._check(request.caller, given)
        caller = self.context.caller(request)
        made = await self.entities.create(caller, given.id.name, value_of(given), tied)
        await self._follow(caller, made)
        return json_response(to_wire(made), 201)

    async def update(self, request: Request) -> Response:
        name = path_name(request.path)
        given = decode.decode(await request.body(), UpdateEventHandler)
        await self.entities.get(request.caller, name)
        tied = await self._check(request.caller, given)
        identity = {"scope": request.path["scope"], "code": request.path["code"]}
        caller = self.context.caller(request)
        made = await self.entities.replace(caller, name, {"id": identity, **value_of(given)}, tied)
        await self._follow(caller, made)
        return json_response(to_wire(made))

    async def get(self, request: Request) -> Response:
        return json_response(to_wire(await self.entities.get(request.caller, path_name(request.path), as_at(request))))

    async def remove(self, request: Request) -> Response:
        name = path_name(request.path)
        caller = self.context.caller(request)
        at = await self.entities.remove(caller, name)
        await scheduling.follow(self.context.engine, caller, name, None)
        return json_response(deleted(at))

    async def switch(self, caller: Caller, name: str, active: bool) -> None:
        """Nothing else about it changes; when it is so already there is no new version."""
        acting = self.context.acting(caller)
        status = ACTIVE if active else INACTIVE
        live = await self.entities.get(acting, name)
        if live.value["status"] == status:
            return
        tied = live.envelope.definition
        made = await self.entities.change(acting, name, lambda before: {**before, "status": status}, tied)
        await self._follow(acting, made)

    async def _follow(self, caller: Caller, made: Entity) -> None:
        """The run that keeps the handler's schedule, if it has one, follows what the handler says now."""
        pattern = pattern_of(made)
        await scheduling.follow(self.context.engine, caller, made.row.name, pattern, order=made.row.since)

    async def restore_all(self) -> None:
        """Restores every namespace. Raises the first error, when the others have been seen to."""
        failed: Exception | None = None
        for namespace in self.context.engine.namespaces():
            try:
                await self.restore(server_in(namespace))
            except PeltonError as error:
                failed = failed or error
        if failed is not None:
            raise failed

    async def restore(self, caller: Caller) -> None:
        """Puts right what a crash between the change of a handler and of its run left behind, in the caller's namespace."""
        patterns = {
            each.row.name: (pattern, each.row.since)
            async for each in self.entities.each(caller)
            if b'"scheduleMatchingPattern"' in each.row.body and (pattern := pattern_of(each))
        }
        await scheduling.restore(self.context.engine, caller, patterns)

    async def list(self, request: Request) -> Response:
        return await listed(request, self.entities, to_wire, HANDLER_MEMBERS, sorts=False)

    async def _check(self, caller: Caller, given: UpdateEventHandler) -> int:
        """The row of the task definition that the handler is tied to, 0 = always the latest. Raises LusidError."""
        check_handler(given, self.context.users)
        if caller.namespace == NAMESPACE:
            check_named(given, self.context.users)
        name = given.task_definition_id.name
        at = tied_to(given, self.context.engine.now())
        definition = await self._definitions.find(caller, name, at)
        if definition is None:
            when = f" as at {print_moment(at)}" if at else ""
            message = f"is {name!r}, and there is no such task definition{when}; create it first"
            raise invalid([FieldProblem("taskDefinitionId", message, name)])
        if given.schedule_matching_pattern is not UNSET:  # that its calendars are there is said before anything is kept
            pattern = schedule.parse_pattern(given.schedule_matching_pattern)
            await scheduling.holidays_now(self.context.engine, caller, pattern)
        event = given.event_matching_pattern
        members = await self.types.body(caller, event.event_type) if event is not UNSET else ()
        check_against(given, definition.value, members)
        if not at:
            return 0
        return (await self.context.engine.process(definition.row.id)).definition


def tied_to(given: UpdateEventHandler, now: int) -> int:
    """The moment (microseconds) whose version of the task definition a handler uses, 0 = the latest whenever an event comes: when
    none is given, and when it is in the future, as clients write "latest". `now`: milliseconds."""
    return pinned(given.task_definition_as_at or "", now * 1000)


def to_wire(entity: Entity) -> dict[str, Any]:
    value = dict(entity.value)
    return {"id": value.pop("id"), "version": entity.version, **value}


def pattern_of(handler: Entity) -> schedule.Pattern | None:
    """The schedule that a handler follows now; None when it has none, or is inactive."""
    given = handler.value.get("scheduleMatchingPattern")
    return schedule.parse_pattern(given) if given and handler.value["status"] == "Active" else None
