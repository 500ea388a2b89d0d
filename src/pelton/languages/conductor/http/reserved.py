"""Addresses of the original's API that are not served. They say so, and never stand for a workflow or a task of that name: a
request for a mock run must not start a real one because somebody has a workflow called `test`."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from pelton.transport.http.asgi import Request, Response, Router
from pelton.transport.http.errors import WebError

_READ, _WRITE = ("GET",), ("POST", "PUT", "DELETE")
_ALL = (*_READ, *_WRITE)
_PARAMETER = re.compile(r"\{[^}]*\}")

RESERVED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("/workflow/test", ("POST",)),
    ("/workflow/search", _READ),
    ("/workflow/search-v2", _READ),
    ("/workflow/search-by-tasks", _READ),
    ("/workflow/search-by-tasks-v2", _READ),
    ("/workflow/externalstoragelocation", _READ),
    ("/workflow/external-storage-location", _READ),
    ("/workflow/introspection/records", _READ),
    ("/workflow/execute/{name}", ("GET", "POST")),
    ("/workflow/bulk/search", ("POST",)),
    ("/workflow/{id}/state", ("POST",)),
    ("/workflow/{id}/upgrade", ("POST",)),
    ("/workflow/{id}/jump/{ref}", ("POST",)),
    ("/workflow/{id}/messages", ("POST",)),
    ("/workflow/{id}/size", _READ),
    ("/tasks/search", _READ),
    ("/tasks/search-v2", _READ),
    ("/tasks/externalstoragelocation", _READ),
    ("/tasks/external-storage-location", _READ),
    ("/tasks/queue/all/verbose", _READ),
    ("/tasks/queue/requeue/{type}", ("POST",)),
    ("/metadata/tags/workflow/{name}", _ALL),
    ("/metadata/workflow/{name}/tags", _ALL),
    ("/metadata/task/{name}/tags", _ALL),
    ("/metadata/taskdefs/{name}/tags", _ALL),
    ("/event/execution", _READ),
    ("/event/execution/{event}", _READ),
    ("/event/queue/config", _READ),
    ("/event/queue/config/{type}/{name}", ("GET", "PUT", "DELETE")),
    ("/queue", _READ),
    ("/queue/size", _READ),
    ("/queue/update/{wf}/{ref}/{status}", ("POST",)),
    ("/queue/update/{wf}/task/{id}/{status}", ("POST",)),
    ("/admin/queues", _READ),
    ("/admin/config", _READ),
    ("/admin/task/{type}", _READ),
    ("/admin/sweep/requeue/{wf}", ("POST",)),
    ("/admin/consistency/verifyAndRepair/{wf}", ("POST",)),
    ("/schema", ("GET", "POST")),
    ("/schema/{name}", ("GET", "DELETE")),
    ("/schema/{name}/{version}", ("GET", "DELETE")),
    ("/scheduler/schedules", ("GET", "POST")),
    ("/scheduler/schedules/search", _READ),
    ("/scheduler/schedules/{name}", ("GET", "DELETE")),
    ("/scheduler/schedules/{name}/pause", ("GET", "PUT")),
    ("/scheduler/schedules/{name}/resume", ("GET", "PUT")),
    ("/scheduler/schedules/{name}/tags", ("GET", "PUT", "DELETE")),
    ("/scheduler/nextFewSchedules", _READ),
    ("/scheduler/search/executions", _READ),
    ("/secrets", _READ),
    ("/secrets/v2", _READ),
    ("/secrets/{name}", ("GET", "PUT", "DELETE")),
    ("/environment", _READ),
    ("/environment/{name}", ("GET", "PUT", "DELETE")),
)


def reserve(router: Router) -> None:
    """Adds what the router does not have. To be called when all other routes are there."""
    known = {(method, shape(pattern)) for method, pattern in router.patterns}
    for pattern, methods in RESERVED:
        for method in methods:
            if (method, shape(pattern)) not in known:
                router.add(method, pattern, _refusal(method, pattern), served=False)


def shape(pattern: str) -> str:
    """A pattern without the names of its parameters, which tell no two addresses apart."""
    return _PARAMETER.sub("{}", pattern)


def _refusal(method: str, pattern: str) -> Callable[[Request], Awaitable[Response]]:
    async def refuse(request: Request) -> Response:
        raise WebError(501, f"{method} {pattern} is not supported by this server")

    return refuse
