"""What the server is, and what waits in its queues."""

from __future__ import annotations

import pelton
from pelton.errors import Code, PeltonError
from pelton.languages.conductor.http.api_context import ConductorApi
from pelton.languages.conductor.http.events import EventHandlerRoutes
from pelton.languages.conductor.runs import view
from pelton.languages.conductor.search.grammar import QueryCondition
from pelton.languages.conductor.search.tasks import TaskSearch
from pelton.languages.conductor.search.workflows import SearchQuestion
from pelton.transport.http.asgi import Request, Response, Router, json_response, text_response

MOST = 1_000


class ServiceRoutes:
    def __init__(self, api: ConductorApi, tasks: TaskSearch, handlers: EventHandlerRoutes) -> None:
        self.api = api
        self.engine = api.engine
        self._tasks = tasks
        self._handlers = handlers

    def add_to(self, router: Router) -> None:
        router.add("GET", "/version", self.version)
        router.add("GET", "/token/userInfo", self.user)
        router.add("GET", "/admin/config", self.config)
        router.add("GET", "/admin/task/{type}", self.pending)
        router.add("POST", "/admin/sweep/requeue/{id}", self.sweep)
        router.add("POST", "/admin/consistency/verifyAndRepair/{id}", self.verify)
        router.add("GET", "/admin/queues", self.event_queues)
        router.add("GET", "/tasks/queue/all/verbose", self.verbose)
        router.add("POST", "/tasks/queue/requeue/{type}", self.requeue)
        router.add("GET", "/workflow/{id}/size", self.size)

    async def version(self, request: Request) -> Response:
        return text_response(pelton.__version__)

    async def user(self, request: Request) -> Response:
        name = request.caller.user
        return json_response({"id": name, "name": name, "applicationUser": False, "roles": [], "groups": []})

    async def config(self, request: Request) -> Response:
        """Nothing of the machine."""
        return json_response({"version": pelton.__version__, "server": "pelton"})

    # ---- queues

    async def pending(self, request: Request) -> Response:
        """Tasks of a type that have not been handed out."""
        query = request.query
        conditions = [
            QueryCondition("taskType", "=", (request.path["type"],)),
            QueryCondition("status", "=", ("SCHEDULED",)),
        ]
        asked = SearchQuestion(conditions, "", (), query.integer("start", 0), query.integer("count", 100, 0, MOST))
        _, found = await self._tasks.find(request.caller, asked)
        return json_response([view.task_view(task.context, task.step) for task in found])

    async def verbose(self, request: Request) -> Response:
        """In one shard: the original's queues have several."""
        free = await self.engine.queue_sizes(request.caller, handed_out=False)
        all_ = await self.engine.queue_sizes(request.caller)
        return json_response(
            {name: {"a": {"size": free.get(name, 0), "uacked": count - free.get(name, 0)}} for name, count in all_.items()}
        )

    async def requeue(self, request: Request) -> Response:
        """Queues are read from the store, so none of their tasks can be missing; the caller learns how many there are."""
        sizes = await self.engine.queue_sizes(request.caller, handed_out=False)
        return text_response(str(sizes.get(request.path["type"], 0)))

    async def event_queues(self, request: Request) -> Response:
        """What handlers that are switched on listen to."""
        found = {each.event: each.event for each in await self._handlers.active(request.caller)}
        if request.query.boolean("verbose", False):
            return json_response({event: {event: 0} for event in found})
        return json_response(found)

    # ---- runs

    async def sweep(self, request: Request) -> Response:
        """A run always advances by itself; the caller learns that it is there."""
        await self.api.view(request.caller, request.path["id"])
        return text_response(f"true.{request.path['id']}")

    async def verify(self, request: Request) -> Response:
        """Nothing is ever found that would have to be repaired: a run and its queue are written together."""
        await self.api.view(request.caller, request.path["id"])
        return text_response("false")

    async def size(self, request: Request) -> Response:
        """Bytes of the workflow as it is shown."""
        found = await self.api.view(request.caller, request.path["id"])
        if found.run.next_n > MOST:
            raise PeltonError(Code.TOO_LARGE, f"the workflow has {found.run.next_n} tasks; its size is told up to {MOST}")
        return json_response(len(view.encode(await view.workflow_view(self.engine, request.caller, found))))
