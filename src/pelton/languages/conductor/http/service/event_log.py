"""What became of events: what handlers did with each, and the actions that they took."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from pelton.languages.conductor.http.api_context import ConductorApi
from pelton.languages.conductor.model import CamelForm, Text
from pelton.runtime.caller import Caller
from pelton.runtime.rows import EventRow
from pelton.transport.http.asgi import Request, Response, Router, json_response
from pelton.transport.pages import check_whole

MOST = 1_000

AT_ONCE = 4  # events that are read together: each may be large


class EventExecution(CamelForm):
    id: str
    message_id: str
    name: str
    event: str
    created: int
    status: str
    action: Text
    output: dict[str, Any]


class EventLogRoutes:
    def __init__(self, api: ConductorApi) -> None:
        self.api = api
        self.engine = api.engine

    def add_to(self, router: Router) -> None:
        router.add("GET", "/event/execution", self.all)
        router.add("GET", "/event/execution/{event}", self.of_event)

    async def all(self, request: Request) -> Response:
        return json_response(await self._executions(request, ""))

    async def of_event(self, request: Request) -> Response:
        return json_response(await self._executions(request, request.path["event"]))

    async def _executions(self, request: Request, event: str) -> list[EventExecution]:
        """Of the newest events, the newest first."""
        count = request.query.integer("count", 100, 0, MOST)
        found: list[EventExecution] = []
        looked = before = size = 0
        while looked < count:
            rows = await self.engine.events(request.caller, type=event, before=before, limit=min(AT_ONCE, count - looked))
            for row in rows:
                shown = await self._of(request.caller, row)
                size += len(msgspec.json.encode(shown, enc_hook=str))
                check_whole(size, "ask for fewer at a time, by `count`")
                found += shown
            looked += len(rows)
            if len(rows) < AT_ONCE:
                break
            before = rows[-1].key
        return found

    async def _of(self, caller: Caller, row: EventRow) -> list[EventExecution]:
        """Its handlers of this language: one for each action, or one for a handler that took none."""
        found: list[EventExecution] = []
        shown = await self.engine.event(caller, row.key) or row
        acted: dict[str, int] = {}
        for effect in shown.effects:
            values = _members(effect, ("handler", "action", "outcome", "run", "n", "detail", "output"))
            name = str(values.get("handler", ""))
            if not await self.api.owns(caller, "handler", name):
                continue
            place = acted[name] = acted.get(name, -1) + 1
            output = values.get("output")
            found.append(
                EventExecution(
                    id=f"{row.event_id}_{place}",
                    message_id=row.event_id,
                    name=name,
                    event=row.type,
                    created=row.received,
                    status="FAILED" if values.get("outcome") == "failed" else "COMPLETED",
                    action=str(values.get("action") or "") or UNSET,
                    output=output if isinstance(output, dict) else {"detail": values.get("detail", "")},
                )
            )
        for decision in shown.decisions:
            values = _members(decision, ("handler", "id", "verdict", "detail", "trace"))
            name = str(values.get("handler", ""))
            if name in acted or values.get("verdict") == "fired" or not await self.api.owns(caller, "handler", name):
                continue
            found.append(
                EventExecution(
                    id=f"{row.event_id}_0",
                    message_id=row.event_id,
                    name=name,
                    event=row.type,
                    created=row.received,
                    status="FAILED" if values.get("verdict") == "failed" else "SKIPPED",
                    action=UNSET,
                    output={"msg": str(values.get("detail") or values.get("verdict", ""))},
                )
            )
        return found


def _members(value: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Of plain data as it is stored."""
    if isinstance(value, dict):
        return value
    return dict(zip(names, value, strict=False)) if isinstance(value, list | tuple) else {}
