"""The language as the runtime and the server know it: `register` puts it into an engine and returns its routes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pelton.kernel.expressions.base import JSON, Invalid
from pelton.kernel.handlers import Handler
from pelton.kernel.process import Process
from pelton.languages.lusid import notifications
from pelton.languages.lusid.compile import bound
from pelton.languages.lusid.errors import render
from pelton.languages.lusid.event_types import EventTypes
from pelton.languages.lusid.face import LANGUAGE, Face
from pelton.languages.lusid.handlers import compile_handler
from pelton.languages.lusid.notifications import Notifications
from pelton.languages.lusid.routes_definitions import Definitions
from pelton.languages.lusid.routes_handlers import Handlers
from pelton.languages.lusid.routes_metadata import Metadata
from pelton.languages.lusid.routes_workers import Workers
from pelton.runtime.base import Engine
from pelton.runtime.rows import DefinitionRow, EventRow
from pelton.web.asgi import MAX_BODY, Router
from pelton.web.identity import Users
from pelton.web.mounts import Mount, Registered

WORKFLOW, NOTIFICATION = "/workflow", "/notification"

Refer = Callable[[str, str, int], DefinitionRow | None]


class Lusid:
    """The compiler. Pure."""

    name = LANGUAGE

    def bind(self, row: DefinitionRow, refer: Refer) -> bytes:
        return bound(row)

    def compile(self, name: str, version: int, body: bytes, definition: int) -> Process:
        raise Invalid("task definitions can be kept and read; no tasks can be made of them yet")

    def handler(self, row: DefinitionRow) -> Handler:
        return compile_handler(row)

    def payload(self, event: EventRow) -> JSON:
        return notifications.payload(event)


def register(
    engine: Engine, *, ns: str = "default", max_body: int = MAX_BODY, users: Users | None = None, **others: Any
) -> Registered:
    """Adds the compiler to the engine. To be called before the engine starts.

    `users`: whom handlers may act as; None = anybody. `others`: what a server offers that only other languages use.
    """
    engine.add_language(Lusid())
    face = Face(engine, ns, users if users is not None else Users())
    types = EventTypes(face)
    workflow = Router(render, max_body=max_body, collapse=True)
    for part in (Definitions(face), Handlers(face, types), Workers(face), Metadata(WORKFLOW)):
        part.add_to(workflow)
    notification = Router(render, max_body=max_body, collapse=True)
    Notifications(face, types).add_to(notification)
    return Registered((Mount(WORKFLOW, workflow, render), Mount(NOTIFICATION, notification, render)))
