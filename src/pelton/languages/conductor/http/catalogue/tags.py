"""Tags of workflows, tasks and secrets over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pelton.errors import Code, PeltonError
from pelton.languages.conductor import catalogue, decode
from pelton.languages.conductor.catalogue import Tag
from pelton.languages.conductor.http.api_context import ConductorApi
from pelton.runtime.caller import Caller
from pelton.transport.http.asgi import Handler, Request, Response, Router, empty, json_response

MOST_SECRETS = 1_000  # that a namespace has

Exists = Callable[[Caller, str], Awaitable[bool]]


class TagRoutes:
    def __init__(self, api: ConductorApi) -> None:
        self.api = api
        self.engine = api.engine

    def add_to(self, router: Router) -> None:
        self._routes(router, "/metadata/workflow/{name}/tags", "process", self._has_workflow)
        self._routes(router, "/metadata/tags/workflow/{name}", "process", self._has_workflow)
        self._routes(router, "/metadata/task/{name}/tags", "policy", self._has_task)
        self._routes(router, "/secrets/{name}/tags", "secret", self._has_secret)

    def _routes(self, router: Router, path: str, what: str, exists: Exists) -> None:
        router.add("GET", path, self._read(what, exists))
        router.add("POST", path, self._write(what, exists, catalogue.add_tags))
        router.add("PUT", path, self._write(what, exists, catalogue.set_tags))
        router.add("DELETE", path, self._write(what, exists, catalogue.remove_tags))

    async def _has_workflow(self, caller: Caller, name: str) -> bool:
        return await self.api.owns(caller, "process", name)

    async def _has_task(self, caller: Caller, name: str) -> bool:
        return await self.api.owns(caller, "policy", name)

    async def _has_secret(self, caller: Caller, name: str) -> bool:
        return await secret_exists(self.api, caller, name)

    def _read(self, what: str, exists: Exists) -> Handler:
        async def answer(request: Request) -> Response:
            await _check(request, exists)
            return json_response(await catalogue.tags_of(self.engine, request.caller, what, request.path["name"]))

        return answer

    def _write(self, what: str, exists: Exists, write: Callable[..., Awaitable[None]]) -> Handler:
        async def answer(request: Request) -> Response:
            await _check(request, exists)
            tags = decode.decode_list(await request.body(), Tag)  # one alone counts as a list
            await write(self.engine, request.caller, what, request.path["name"], tags)
            return empty()

        return answer


async def _check(request: Request, exists: Exists) -> None:
    name = request.path["name"]
    if not await exists(request.caller, name):
        raise PeltonError(Code.NOT_FOUND, f"there is nothing of the name {name[:200]} that could have tags")


async def secret_exists(api: ConductorApi, caller: Caller, name: str) -> bool:
    return any(row.name == name for row in await api.engine.secrets(caller, limit=MOST_SECRETS))
