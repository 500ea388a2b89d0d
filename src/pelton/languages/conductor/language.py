"""The language as a server uses it: its compiler, and everything that it offers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import msgspec

from pelton.errors import Code, PeltonError
from pelton.kernel.expressions.base import JSON, Invalid
from pelton.kernel.matching.handlers import Handler
from pelton.kernel.model.process import Process
from pelton.languages.conductor import decode
from pelton.languages.conductor.definitions import compile as compiling
from pelton.languages.conductor.definitions import policies, sinks, validate
from pelton.languages.conductor.handlers import compile as handlers
from pelton.languages.conductor.handlers import payloads
from pelton.languages.conductor.http.api_context import ConductorApi, Settings
from pelton.languages.conductor.http.bulk import BulkRoutes
from pelton.languages.conductor.http.catalogue.schedules import ScheduleRoutes
from pelton.languages.conductor.http.catalogue.schemas import SchemaRoutes
from pelton.languages.conductor.http.catalogue.tags import TagRoutes
from pelton.languages.conductor.http.errors import render
from pelton.languages.conductor.http.events import EventHandlerRoutes
from pelton.languages.conductor.http.metadata import WorkflowDefRoutes
from pelton.languages.conductor.http.reserved import reserve
from pelton.languages.conductor.http.run_changes import RunChangeRoutes
from pelton.languages.conductor.http.runs import WorkflowRoutes
from pelton.languages.conductor.http.searches import SearchRoutes
from pelton.languages.conductor.http.service.about import ServiceRoutes
from pelton.languages.conductor.http.service.event_log import EventLogRoutes
from pelton.languages.conductor.http.service.secrets import ConductorSecretRoutes
from pelton.languages.conductor.http.service.wait_queues import WaitQueueRoutes
from pelton.languages.conductor.http.tasks import ConductorTaskRoutes
from pelton.languages.conductor.model import LANGUAGE, TaskDef, WorkflowDef
from pelton.languages.conductor.runs import http_task
from pelton.languages.conductor.runs.identifiers import Ids
from pelton.languages.conductor.schedules import process as scheduling
from pelton.languages.conductor.schedules.following import restore
from pelton.languages.plugin import Host, Offer
from pelton.runtime.api import Engine, EventIn, LocalSink
from pelton.runtime.caller import server_in
from pelton.runtime.rows import DefinitionRow, Delivery, EventRow, QueueLimit
from pelton.transport.http.asgi import Request, Response, Router, json_response
from pelton.transport.http.mounts import Mount

PREFIX = "/api"
HOLD = 3_600_000  # milliseconds
ABSENT = ("", "None")  # how clients write a query value that they do not have

Refer = Callable[[str, str, int], DefinitionRow | None]


class Conductor:
    """The compiler. Pure."""

    name = LANGUAGE

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def bind(self, row: DefinitionRow, refer: Refer) -> bytes:
        try:
            definition = decode.decode(row.body, WorkflowDef)
            definition.name = definition.name or row.name
            validate.check_workflow(definition, "workflowDef", registered=False)
        except PeltonError as error:
            text = "; ".join(f"{each.path}: {each.message}" for each in error.problems[:5])
            raise Invalid(text or error.message) from None

        def policy(name: str) -> TaskDef | None:
            found = refer("policy", name, 0)
            return decode.decode(found.body, TaskDef) if found is not None and found.language == self.name else None

        def latest(name: str) -> int:
            found = refer("process", name, 0)
            return found.version if found is not None else 0

        return msgspec.json.encode(compiling.bind(definition, policy, latest))

    def compile(self, name: str, version: int, body: bytes, definition: int) -> Process:
        return compiling.compile_definition(name, version, body, definition, self._settings.schemes)

    def handler(self, row: DefinitionRow) -> Handler:
        return handlers.compile_handler(row, self.name, self._settings.hold)

    def limit(self, row: DefinitionRow) -> QueueLimit | None:
        """How many of a task's executions may be under way, and how many may begin in a time."""
        return policies.queue_limit(decode.decode(row.body, TaskDef))

    def payload(self, event: EventRow) -> JSON:
        """An event as conditions see it."""
        return payloads.seen(event)


def offer(host: Host, *, hold: int = HOLD) -> Offer:
    """The compiler, the operation behind HTTP tasks, the internal sink and the routes. `hold`: how many
    milliseconds an event may come before the task that it completes."""
    settings = Settings(hold, frozenset({sinks.INTERNAL, *host.schemes}))
    api = ConductorApi(host.engine, cast(Ids, host.engine.codec), settings)
    router = Router(render, max_body=host.max_body, absent=ABSENT)
    runs = WorkflowRoutes(api)
    handlers_api = EventHandlerRoutes(api)
    for part in (WorkflowDefRoutes(api), runs, BulkRoutes(api, runs), ConductorTaskRoutes(api), handlers_api):
        part.add_to(router)
    searches = SearchRoutes(api)
    for more in (searches, ScheduleRoutes(api), TagRoutes(api), SchemaRoutes(api), RunChangeRoutes(api)):
        more.add_to(router)
    for own in (ConductorSecretRoutes(api), ServiceRoutes(api, searches.tasks, handlers_api), EventLogRoutes(api)):
        own.add_to(router)
    WaitQueueRoutes(api).add_to(router)
    if host.valid_key is not None:
        router.add("POST", "/token", token(host.valid_key))
    reserve(router)
    return Offer(
        compilers=(Conductor(settings), scheduling.ScheduleRuns()),
        operations={
            http_task.OPERATION: http_task.operation(host.http, host.max_body),
            scheduling.OPERATION: scheduling.operation(host.engine),
        },
        bounds={http_task.OPERATION: http_task.BOUNDS},
        sinks={sinks.INTERNAL: internal_sink(host.engine)},
        mounts=(Mount(PREFIX, router),),
        opened=lambda: restore(host.engine),
        switch=handlers_api.switch,
        open_paths=(f"{PREFIX}/token",) if host.valid_key is not None else (),
    )


def internal_sink(engine: Engine) -> LocalSink:
    """Takes what EVENT tasks publish to internal queues, and posts it as an event of that name. The event's id is the task's, so
    that it is the same however often the delivery is made."""

    async def deliver(delivery: Delivery) -> None:
        event = EventIn(
            door="run",
            source=sinks.INTERNAL,
            type=delivery.sink,
            id=engine.codec.step_id(delivery.run, delivery.n),
            body=msgspec.json.decode(delivery.body),
            hops=delivery.hops + 1,
            ancestor=delivery.ancestor,
            trace=delivery.trace,
        )
        outcomes: list[Any] = list(await engine.ingest(server_in(delivery.ns), [event]))
        for outcome in outcomes:
            if isinstance(outcome, PeltonError):
                raise outcome

    return deliver


def token(valid_key: Callable[[str], bool]) -> Callable[[Request], Awaitable[Response]]:
    """Exchanges a key for a token, which here is the key itself: clients that know keys only in this form are served too."""

    async def answer(request: Request) -> Response:
        given = decode.decode_map(await request.body(), "the key")
        secret = given.get("keySecret")
        if isinstance(secret, str) and valid_key(secret):
            return json_response({"token": secret})
        raise PeltonError(Code.UNAUTHENTICATED, "keyId and keySecret are not known; give a key of this server as keySecret")

    return answer
