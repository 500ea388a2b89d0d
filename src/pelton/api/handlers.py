"""/v1/handlers: the handlers of all languages, what they lately decided, and switching them on and off. They are defined through
their language's API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from msgspec import Raw, convert, json

from pelton.api.calls import Parameter, Route, answer
from pelton.errors import Code, PeltonError
from pelton.models import HandlerPage, HandlerView
from pelton.runtime.api import Engine, HandlerDecision, HandlerInfo
from pelton.runtime.caller import Caller
from pelton.runtime.rows import FEW, next_count
from pelton.transport.http.asgi import Handler, Request, Response
from pelton.transport.pages import fill_page

NAME = Parameter("name", "The handler's name")
AFTER = Parameter("after", "Only handlers with later names: `after` of the previous page")
LIMIT = Parameter("limit", "Maximum number to return", "integer", 100, low=1, high=1_000)
EVENTS = Parameter("events", "How many of the newest events to count decisions of", "integer", 1_000, low=0, high=10_000)
_encode = json.Encoder(enc_hook=str).encode

Switch = Callable[[Caller, str, bool], Awaitable[None]]


class HandlerListRoutes:
    def __init__(self, engine: Engine, switches: Mapping[str, Switch]) -> None:
        self._engine = engine
        self._switches = switches

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/v1/handlers", "listHandlers", "List the handlers of all languages by name: what they are for, whether "
                  "they are on, and what they decided on the newest events.", self.list,
                  parameters=(AFTER, LIMIT, EVENTS), gives=(HandlerPage,), statuses=(400,)),
            *(
                Route("POST", f"/v1/handlers/{{name}}/{word}", f"switch{word.title()}Handler", f"Switch a handler {word}. One "
                      f"that is {word} already stays as it is.", self._switching(word == "on"),
                      parameters=(NAME,), gives=(HandlerView,), statuses=(404, 409))
                for word in ("on", "off")
            ),
        ]  # fmt: skip

    async def list(self, request: Request) -> Response:
        limit, events = LIMIT.number(request), EVENTS.number(request)

        async def read(after: str, count: int) -> list[HandlerInfo]:
            return await self._engine.handlers(request.caller, after=after, limit=count)

        views: dict[str, HandlerView] = {}

        def show(info: HandlerInfo) -> Raw:
            view = views[info.name] = view_of(info)
            return Raw(json.encode(view))

        page = await fill_page(read, request.query.text("after"), limit, lambda info: info.name, show)
        listed = list(views.values())[: len(page.shown)]
        counted = await self._count(request.caller, {view.name: view for view in listed}, events) if listed else 0
        return answer(HandlerPage(listed, counted, page.place if page.more else ""))

    async def _count(self, caller: Caller, views: Mapping[str, HandlerView], most: int) -> int:
        """Counts the decisions on the newest events; returns on how many events."""
        before = counted = 0
        count = FEW
        while counted < most:
            wanted = min(count, most - counted)
            rows = await self._engine.events(caller, before=before, limit=wanted)
            for row in rows:
                for decision in row.decisions:
                    with suppress(Exception):  # what cannot be read counts for none; the event's own view says so
                        note(views, decision, self._engine.codec.event_id(row.key), row.received)
            counted += len(rows)
            if len(rows) < wanted:
                break
            before = rows[-1].key
            count = next_count(count, sum(len(_encode(row.body)) for row in rows))
            await asyncio.sleep(0)
        return counted

    def _switching(self, active: bool) -> Handler:
        async def done(request: Request) -> Response:
            caller, name = request.caller, request.path["name"]
            info = await self._info(caller, name)
            switch = self._switches.get(info.language)
            if switch is None:
                raise PeltonError(
                    Code.CONFLICT,
                    f"handlers of language {info.language!r} cannot be switched",
                    "name",
                    value=name,
                    remedy="change it through its language's API",
                )
            await switch(caller, name, active)
            return answer(view_of(await self._info(caller, name)))

        return done

    async def _info(self, caller: Caller, name: str) -> HandlerInfo:
        row = await self._engine.definition(caller, "handler", name)
        if row is None:
            raise PeltonError(Code.NOT_FOUND, "no such handler", "name", value=name, remedy="/v1/handlers lists them")
        return self._engine.handler_info(row)


def view_of(info: HandlerInfo) -> HandlerView:
    return HandlerView(info.name, info.language, list(info.types), info.active, info.since // 1000, info.actor, info.problem)


def note(views: Mapping[str, HandlerView], decision: Any, event: str, at: int) -> None:
    found = convert(decision, HandlerDecision) if isinstance(decision, dict) else decision
    view = views.get(found.handler)
    if view is None:
        return
    if found.verdict == "fired":
        view.fired += 1
    elif found.verdict == "failed":
        view.failed += 1
    else:
        view.other += 1
    if not view.last:
        view.last, view.last_event, view.last_at = found.verdict, event, at
