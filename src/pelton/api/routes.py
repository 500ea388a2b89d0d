"""All routes of /v1."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pelton.api.calls import Route, answer, router
from pelton.api.dead_letters import DeadLetterRoutes
from pelton.api.events import EventRoutes
from pelton.api.handlers import HandlerListRoutes, Switch
from pelton.api.hooks import HookRoutes
from pelton.api.jobs import JobRoutes
from pelton.api.operations import OperationRoutes
from pelton.api.processes import ProcessRoutes
from pelton.api.run_acts import RunActRoutes
from pelton.api.runs import RunRoutes
from pelton.api.secrets import SecretRoutes
from pelton.api.sets import SetRoutes
from pelton.api.user_tasks import UserTaskRoutes
from pelton.api.work import WorkRoutes
from pelton.models import HealthOut
from pelton.runtime.api import Engine
from pelton.runtime.event_feed import EventFeed
from pelton.transport.http.asgi import Request, Response, Router

PREFIX = "/v1"
Health = Callable[[], Awaitable[Mapping[str, Any]]]


def routes(engine: Engine, feed: EventFeed, health: Health, switches: Mapping[str, Switch] = {}) -> list[Route]:
    """The route table. `health` returns the body of GET /health, including `healthy`. `switches`: what switches handlers on and
    off, by language."""

    async def get_health(request: Request) -> Response:
        found = dict(await health())
        healthy = bool(found.pop("healthy"))
        return answer(HealthOut(healthy, found), 200 if healthy else 503)

    events = EventRoutes(engine, feed)
    runs = RunRoutes(engine)
    return [
        *events.routes(),
        *HookRoutes(events).routes(),
        *DeadLetterRoutes(engine).routes(),
        *runs.routes(),
        *RunActRoutes(engine, runs.view).routes(),
        *ProcessRoutes(engine).routes(),
        *HandlerListRoutes(engine, switches).routes(),
        *OperationRoutes(engine).routes(),
        *JobRoutes(engine).routes(),
        *SetRoutes(engine).routes(),
        *WorkRoutes(engine).routes(),
        *UserTaskRoutes(engine).routes(),
        *SecretRoutes(engine).routes(),
        Route("GET", "/v1/health", "getHealth", "Get the health of the server and of its parts.", get_health,
                  parameters=(), takes=None,
              gives=(HealthOut,), statuses=(503,)),
    ]  # fmt: skip


def mount(table: list[Route], max_body: int) -> tuple[str, Router]:
    return PREFIX, router(table, PREFIX, max_body)
