"""Schedules over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog
from msgspec import UNSET, structs

from pelton.errors import Code, PeltonError
from pelton.languages.conductor import catalogue, decode
from pelton.languages.conductor.catalogue import Tag
from pelton.languages.conductor.http.api_context import ConductorApi, bulk
from pelton.languages.conductor.model import LANGUAGE
from pelton.languages.conductor.schedules import executions, forms
from pelton.languages.conductor.schedules.following import KIND, follow, next_due, schedule_of
from pelton.languages.conductor.schedules.forms import WorkflowSchedule
from pelton.languages.conductor.search import grammar
from pelton.runtime.caller import Caller
from pelton.runtime.rows import DefinitionRow
from pelton.transport.bulk import apply_to_each
from pelton.transport.http.asgi import Request, Response, Router, empty, json_response
from pelton.transport.pages import check_whole

log = structlog.get_logger("pelton.languages")
MOST_TIMES = 1_000
MAX_SIZE = 5_000
SORTED_BY = frozenset({"name", "createTime", "updatedTime", "nextRunTime"})


class ScheduleRoutes:
    def __init__(self, api: ConductorApi) -> None:
        self.api = api
        self.engine = api.engine

    def add_to(self, router: Router) -> None:
        base = "/scheduler/schedules"
        router.add("POST", base, self.save)
        router.add("GET", base, self.all)
        router.add("GET", f"{base}/search", self.search)
        one = base + "/{name}"
        router.add("GET", one, self.get)
        router.add("DELETE", one, self.remove)
        router.add("PUT", f"{one}/pause", self.pause)
        router.add("PUT", f"{one}/resume", self.resume)
        router.add("GET", f"{one}/tags", self.tags)
        router.add("PUT", f"{one}/tags", self.set_tags)
        router.add("DELETE", f"{one}/tags", self.remove_tags)
        router.add("GET", "/scheduler/nextFewSchedules", self.next_times)
        router.add("GET", "/scheduler/search/executions", self.executions)
        router.add("PUT", "/scheduler/bulk/pause", self._each(self._pause))
        router.add("PUT", "/scheduler/bulk/resume", self._each(self._resume))
        router.add("GET", "/scheduler/admin/pause", self._everything(self._pause), changes=True)
        router.add("GET", "/scheduler/admin/resume", self._everything(self._resume), changes=True)
        router.add("GET", "/scheduler/admin/requeue", self.requeue, changes=True)

    # ---- one

    async def _row(self, caller: Caller, name: str) -> DefinitionRow:
        row = await self.engine.definition(caller, KIND, name)
        if row is None or row.language != LANGUAGE:
            raise PeltonError(Code.NOT_FOUND, f"Schedule '{name[:200]}' not found")
        return row

    async def _write(self, caller: Caller, schedule: WorkflowSchedule, since: int = 0) -> None:
        body = msgspec.json.encode(forms.to_keep(schedule))
        actor = schedule.updated_by or schedule.created_by or ""
        await self.engine.define(caller, KIND, LANGUAGE, schedule.name, 1, body, actor=actor)
        await follow(self.engine, caller, schedule.name, schedule, since)

    async def _shown(self, caller: Caller, row: DefinitionRow) -> WorkflowSchedule:
        found = schedule_of(row)
        found.tags = list(await catalogue.tags_of(self.engine, caller, KIND, row.name))
        found.next_run_time = await next_due(self.engine, caller, row.name)
        return found

    async def save(self, request: Request) -> Response:
        given = decode.decode(await request.body(), WorkflowSchedule)
        forms.check(given)
        await self.api.refuse_foreign(request.caller, KIND, given.name)
        if not given.paused:
            given.paused_reason = UNSET
        known = await self.engine.definition(request.caller, KIND, given.name)
        given.create_time = schedule_of(known).create_time if known is not None else self.engine.now()
        await self._write(request.caller, given)
        return json_response(await self._shown(request.caller, await self._row(request.caller, given.name)))

    async def get(self, request: Request) -> Response:
        return json_response(await self._shown(request.caller, await self._row(request.caller, request.path["name"])))

    async def remove(self, request: Request) -> Response:
        """It is no error when there is none."""
        name = request.path["name"]
        if await self.api.owns(request.caller, KIND, name):
            try:
                await self.engine.undefine(request.caller, KIND, name, 1)
            except PeltonError as error:
                if error.code is not Code.NOT_FOUND:
                    raise
        await follow(self.engine, request.caller, name, None)
        await catalogue.forget_tags(self.engine, request.caller, KIND, name)
        return empty()

    async def _pause(self, caller: Caller, name: str, reason: str = "") -> None:
        schedule = schedule_of(await self._row(caller, name))
        if not schedule.paused:
            await self._write(caller, structs.replace(schedule, paused=True, paused_reason=reason or UNSET))

    async def _resume(self, caller: Caller, name: str, reason: str = "") -> None:
        """Times that passed in the meantime are made up for if the schedule says so."""
        row = await self._row(caller, name)
        schedule = schedule_of(row)
        if schedule.paused:
            since = row.since // 1000 if schedule.run_catchup_schedule_instances else 0
            await self._write(caller, structs.replace(schedule, paused=False, paused_reason=UNSET), since)

    async def pause(self, request: Request) -> Response:
        await self._pause(request.caller, request.path["name"], request.query.text("reason"))
        return empty()

    async def resume(self, request: Request) -> Response:
        await self._resume(request.caller, request.path["name"])
        return empty()

    # ---- several

    async def _list(self, caller: Caller) -> list[WorkflowSchedule]:
        """One that cannot be read has nothing but its name: it must not hide the others."""
        found: list[WorkflowSchedule] = []
        size = 0
        async for row in self.api.rows(caller, KIND):
            size += len(row.body)
            check_whole(size, "get single ones by their names")
            try:
                found.append(await self._shown(caller, row))
            except (PeltonError, msgspec.MsgspecError, LookupError, TypeError, ValueError) as error:
                log.error("a schedule cannot be read", name=row.name, error=str(error))
                found.append(WorkflowSchedule(name=row.name))
        return found

    async def all(self, request: Request) -> Response:
        wanted = request.query.text("workflowName")
        found = await self._list(request.caller)
        return json_response([each for each in found if wanted in ("", each.start_workflow_request.name)])

    async def search(self, request: Request) -> Response:
        query = request.query
        workflow, name, text = query.text("workflowName"), query.text("scheduleName"), query.text("freeText")
        paused = query.boolean("paused", False) if query.text("paused") else None
        start, size = query.integer("start", 0), query.integer("size", 100, 0, MAX_SIZE)
        found = [
            each
            for each in await self._list(request.caller)
            if workflow in ("", each.start_workflow_request.name)
            and (not name or name in each.name)
            and paused in (None, each.paused)
            and (not grammar.limits(text) or text.casefold() in msgspec.json.encode(each).decode().casefold())
        ]
        for order in reversed(grammar.parse_sort(query.text("sort"), SORTED_BY)):
            found.sort(key=_by(order.field), reverse=not order.ascending)
        return json_response({"totalHits": len(found), "results": found[start : start + size]})

    def _each(self, act: Callable[[Caller, str], Awaitable[None]]) -> Callable[[Request], Awaitable[Response]]:
        async def all_of(request: Request) -> Response:
            names = list(dict.fromkeys(decode.decode_texts(await request.body(), "the schedule names")))
            if len(names) > MOST_TIMES:
                raise PeltonError(Code.INVALID, f"Cannot process more than {MOST_TIMES} schedules at a time")
            outcome = await apply_to_each(names, lambda name: act(request.caller, name))
            return bulk(outcome.done, outcome.failed)

        return all_of

    def _everything(self, act: Callable[[Caller, str], Awaitable[None]]) -> Callable[[Request], Awaitable[Response]]:
        async def all_of(request: Request) -> Response:
            rows = [row async for row in self.api.rows(request.caller, KIND)]
            for row in rows:
                await act(request.caller, row.name)
            return json_response({"count": len(rows)})

        return all_of

    async def requeue(self, request: Request) -> Response:
        """Runs follow their schedules by themselves; one that is lacking is started."""
        rows = [row async for row in self.api.rows(request.caller, KIND)]
        for row in rows:
            schedule = schedule_of(row)
            if not schedule.paused and not await next_due(self.engine, request.caller, row.name):
                await follow(self.engine, request.caller, row.name, schedule)
        return json_response({"count": len(rows)})

    # ---- times

    async def next_times(self, request: Request) -> Response:
        query = request.query
        expression, zone = query.text("cronExpression"), query.text("zoneId", "UTC")
        start, end = query.integer("scheduleStartTime", 0), query.integer("scheduleEndTime", 0)
        count = query.integer("limit", 5, 0, MOST_TIMES)
        if not expression:
            raise PeltonError(Code.INVALID, "cronExpression is required", "cronExpression")
        if problems := forms.cron_problems(expression, zone):
            raise PeltonError(Code.INVALID, problems[0].message, problems=problems)
        at = max(self.engine.now(), start - 1)
        found: list[int] = []
        for _ in range(count):
            due = forms.next_of([(expression, zone)], at, start, end)
            if due is None:
                break
            found.append(due)
            at = due
        return json_response(found)

    async def executions(self, request: Request) -> Response:
        query = request.query
        text = query.text("freeText")
        found = await executions.find_executions(
            self.engine,
            request.caller,
            grammar.parse(query.text("query")),
            text if grammar.limits(text) else "",
            grammar.parse_sort(query.text("sort"), executions.FIELDS),
        )
        start, size = query.integer("start", 0), query.integer("size", 100, 0, MAX_SIZE)
        return json_response({"totalHits": len(found), "results": found[start : start + size]})

    # ---- tags

    async def _tagged(self, request: Request) -> list[Tag]:
        await self._row(request.caller, request.path["name"])
        return decode.decode_list(await request.body(), Tag)

    async def tags(self, request: Request) -> Response:
        await self._row(request.caller, request.path["name"])
        return json_response(await catalogue.tags_of(self.engine, request.caller, KIND, request.path["name"]))

    async def set_tags(self, request: Request) -> Response:
        await catalogue.set_tags(self.engine, request.caller, KIND, request.path["name"], await self._tagged(request))
        return empty()

    async def remove_tags(self, request: Request) -> Response:
        await catalogue.remove_tags(self.engine, request.caller, KIND, request.path["name"], await self._tagged(request))
        return empty()


def _by(field: str) -> Callable[[WorkflowSchedule], Any]:
    names = {"createTime": "create_time", "updatedTime": "updated_time", "nextRunTime": "next_run_time"}
    return lambda each: getattr(each, names.get(field, field))
