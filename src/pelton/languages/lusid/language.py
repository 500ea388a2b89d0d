"""The language as a server uses it: its compilers, and everything that it offers."""

from __future__ import annotations

from collections.abc import Callable

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
from pelton.languages.lusid.http.runs import WorkerRunRoutes
from pelton.languages.lusid.http.tasks import TaskRoutes
from pelton.languages.lusid.http.workers import WorkerRoutes
from pelton.languages.lusid.names import LANGUAGE
from pelton.languages.lusid.schedules import scheduling
from pelton.languages.lusid.workers.lone_run import is_lone_run, lone_process
from pelton.languages.lusid.workers.operation import operation
from pelton.languages.plugin import Host, Offer
from pelton.runtime.caller import Users
from pelton.runtime.rows import DefinitionRow, EventRow
from pelton.transport.http.asgi import Router
from pelton.transport.http.mounts import Mount

WORKFLOW, NOTIFICATION = "/workflow", "/notification"

Refer = Callable[[str, str, int], DefinitionRow | None]


class Lusid:
    """The compiler. Pure."""

    name = LANGUAGE

    def __init__(self, users: Users) -> None:
        """`users`: the users that handlers may run as."""
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


def offer(host: Host) -> Offer:
    """The compilers, the operation behind workers, and the routes of both APIs."""
    engine = host.engine
    context = LusidContext(engine, host.users)
    types = EventTypes(context)
    workflow = Router(render, max_body=host.max_body, collapse=True)
    handlers = HandlerRoutes(context, types)
    parts = (
        DefinitionRoutes(context),
        handlers,
        WorkerRoutes(context),
        CalendarRoutes(context, handlers),
        TaskRoutes(context),
        WorkerRunRoutes(context),
        MetadataRoutes(WORKFLOW),
    )
    for part in parts:
        part.add_to(workflow)
    notification = Router(render, max_body=host.max_body, collapse=True)
    NotificationRoutes(context, types).add_to(notification)
    return Offer(
        compilers=(Lusid(host.users), scheduling.Schedules()),
        operations={OPERATION: operation(engine, host.http)},
        mounts=(Mount(WORKFLOW, workflow, render), Mount(NOTIFICATION, notification, render)),
        opened=handlers.restore_all,
        switch=handlers.switch,
    )
