"""Workers over HTTP: their definitions. Running them is in `runs`."""

from __future__ import annotations

from typing import Any

from pelton.languages.lusid import decode
from pelton.languages.lusid.entity import WORKERS, Entity
from pelton.languages.lusid.forms import CreateWorker, UpdateWorker
from pelton.languages.lusid.http.api_context import LusidContext, as_at
from pelton.languages.lusid.http.entities import Entities, deleted, path_name
from pelton.languages.lusid.http.listing import listed
from pelton.languages.lusid.member_names import WORKER_MEMBERS
from pelton.languages.lusid.workers.configurations import (
    OWN_KINDS,
    known_to_clients,
    parameters_of,
    read_worker,
    result_fields_of,
)
from pelton.transport import documents
from pelton.transport.http.asgi import Request, Response, Router, json_response

BASE = "/api/workers"
ONE = BASE + "/{scope}/{code}"


class WorkerRoutes:
    def __init__(self, context: LusidContext) -> None:
        self.context = context
        self.entities = Entities(context, WORKERS)

    def add_to(self, router: Router) -> None:
        router.add("POST", BASE, self.create)
        router.add("GET", BASE, self.list)
        router.add("GET", ONE, self.get)
        router.add("PUT", ONE, self.update)
        router.add("DELETE", ONE, self.remove)

    async def create(self, request: Request) -> Response:
        given = read_worker(documents.parse(await request.body()), CreateWorker)
        made = await self.entities.create(self.context.caller(request), given.id.name, decode.plain(given))
        return json_response(to_wire(made), 201)

    async def update(self, request: Request) -> Response:
        name = path_name(request.path)
        given = read_worker(documents.parse(await request.body()), UpdateWorker)
        identity = {"scope": request.path["scope"], "code": request.path["code"]}
        made = await self.entities.replace(self.context.caller(request), name, {"id": identity, **decode.plain(given)})
        return json_response(to_wire(made))

    async def get(self, request: Request) -> Response:
        return json_response(to_wire(await self.entities.get(request.caller, path_name(request.path), as_at(request))))

    async def remove(self, request: Request) -> Response:
        name = path_name(request.path)
        return json_response(deleted(await self.entities.remove(self.context.caller(request), name)))

    async def list(self, request: Request) -> Response:
        return await listed(request, self.entities, to_wire, WORKER_MEMBERS)


def to_wire(entity: Entity) -> dict[str, Any]:
    """Always with all of its members: deploy tools take them for granted."""
    value = dict(entity.value)
    configuration = value["workerConfiguration"]
    return {
        "id": value.pop("id"),
        "version": entity.version,
        **value,
        "workerConfiguration": known_to_clients(configuration),
        **({"ownConfiguration": configuration} if configuration["type"] in OWN_KINDS else {}),
        "parameters": parameters_of(configuration),
        "resultFields": result_fields_of(configuration),
        "links": [],
    }
