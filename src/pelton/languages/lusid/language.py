"""The language as the runtime and the server know it: `register` puts it into an engine and returns its routes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pelton.kernel.expressions.base import JSON
from pelton.kernel.matching.handlers import Handler
from pelton.kernel.model.process import Process
from pelton.languages.lusid.definitions.actions import OPERATION
from pelton.languages.lusid.definitions.compile import compile_definition
from pelton.languages.lusid.definitions.versions import bound
from pelton.languages.lusid.handlers.compile import compile_handler
from pelton.languages.lusid.http import notifications
from pelton.languages.lusid.http.api_context import LusidContext
from pelton.languages.lusid.http.calendars import CalendarRoutes
from pelton.languages.lusid.http.definitions import DefinitionRoutes
from pelton.languages.lusid.http.errors import render
from pelton.languages.lusid.http.event_types import EventTypes
from pelton.languages.lusid.http.handlers import HandlerRoutes
from pelton.languages.lusid.http.metadata import MetadataRoutes
from pelton.languages.lusid.http.notifications import NotificationRoutes
from pelton.languages.lusid.http.runs import RunRoutes
from pelton.languages.lusid.http.tasks import TaskRoutes
from pelton.languages.lusid.http.workers import WorkerRoutes
from pelton.languages.lusid.names import LANGUAGE
from pelton.languages.lusid.schedules import scheduling
from pelton.languages.lusid.workers.lone_run import is_lone_run, lone_process
from pelton.languages.lusid.workers.operation import operation
from pelton.net.outgoing import HttpPort
from pelton.runtime.api import Engine
from pelton.runtime.caller import Caller, Users
from pelton.runtime.rows import DefinitionRow, EventRow
from pelton.transport.http.asgi import MAX_BODY, Router
from pelton.transport.http.mounts import Mount, Registered

WORKFLOW, NOTIFICATION = "/workflow", "/notification"

Refer = Callable[[str, str, int], DefinitionRow | None]


class Lusid:
    """The compiler. Pure."""

    name = LANGUAGE

    def __init__(self, users: Users) -> None:
        """`users`: whom handlers may act as."""
        self._users = users

    def bind(self, row: DefinitionRow, refer: Refer) -> bytes:
        return bound(row)

    def compile(self, name: str, version: int, body: bytes, definition: int) -> Process:
        if is_lone_run(body):
            return lone_process(body, definition)
        return compile_definition(name, version, body, definition)

    def handler(self, row: DefinitionRow) -> Handler:
        return compile_handler(row, self._users)

    def payload(self, event: EventRow) -> JSON:
        return notifications.payload(event)


def register(
    engine: Engine, *, http: HttpPort, ns: str = "default", max_body: int = MAX_BODY, users: Users | None = None, **others: Any
) -> Registered:
    """Adds the compiler to the engine. To be called before the engine starts.

    `http`: the way out for workers. `users`: whom handlers may act as; None = anybody. `others`: what a server offers that only
    other languages use.
    """
    known = users if users is not None else Users()
    engine.add_language(Lusid(known))
    scheduling.register(engine)
    engine.add_operation(OPERATION, operation(engine, http, Caller(ns)))
    context = LusidContext(engine, Caller(ns), known)
    types = EventTypes(context)
    workflow = Router(render, max_body=max_body, collapse=True)
    handlers = HandlerRoutes(context, types)
    parts = (
        DefinitionRoutes(context),
        handlers,
        WorkerRoutes(context),
        CalendarRoutes(context, handlers),
        TaskRoutes(context),
        RunRoutes(context),
        MetadataRoutes(WORKFLOW),
    )
    for part in parts:
        part.add_to(workflow)
    notification = Router(render, max_body=max_body, collapse=True)
    NotificationRoutes(context, types).add_to(notification)
    return Registered((Mount(WORKFLOW, workflow, render), Mount(NOTIFICATION, notification, render)), opened=handlers.restore)
