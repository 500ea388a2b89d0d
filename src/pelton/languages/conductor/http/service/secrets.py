"""The server's own secrets under this language's addresses. Values go in and never come out: who reads one is refused."""

from __future__ import annotations

import msgspec

from pelton.errors import Code, PeltonError
from pelton.languages.conductor import catalogue
from pelton.languages.conductor.http.api_context import ConductorApi
from pelton.languages.conductor.http.catalogue.tags import MOST_SECRETS, secret_exists
from pelton.runtime.caller import Caller
from pelton.runtime.rows import SecretRow
from pelton.transport.http.asgi import Request, Response, Router, empty, json_response

HIDDEN = "***"


class ConductorSecretRoutes:
    def __init__(self, api: ConductorApi) -> None:
        self.api = api
        self.engine = api.engine

    def add_to(self, router: Router) -> None:
        router.add("GET", "/secrets", self.names)
        router.add("POST", "/secrets", self.names)
        router.add("GET", "/secrets/v2", self.described)
        router.add("GET", "/secrets-v2", self.described)
        router.add("PUT", "/secrets/{name}", self.set)
        router.add("GET", "/secrets/{name}", self.hidden)
        router.add("DELETE", "/secrets/{name}", self.remove)
        router.add("GET", "/secrets/{name}/exists", self.exists)
        router.add("GET", "/environment", self.environment)
        router.add("GET", "/environment/{name}", self.hidden)
        router.add("PUT", "/environment/{name}", self.set)
        router.add("DELETE", "/environment/{name}", self.remove)

    async def _rows(self, caller: Caller) -> list[SecretRow]:
        return await self.engine.secrets(caller, limit=MOST_SECRETS)

    async def names(self, request: Request) -> Response:
        return json_response([row.name for row in await self._rows(request.caller)])

    async def described(self, request: Request) -> Response:
        found = [
            {
                "name": row.name,
                "tags": await catalogue.tags_of(self.engine, request.caller, "secret", row.name),
                "updateTime": row.set_at,
                "updatedBy": row.set_by,
            }
            for row in await self._rows(request.caller)
        ]
        return json_response(found)

    async def environment(self, request: Request) -> Response:
        return json_response([{"name": row.name, "value": HIDDEN} for row in await self._rows(request.caller)])

    async def set(self, request: Request) -> Response:
        await self.engine.set_secret(request.caller, request.path["name"], value=value_of(await request.body()))
        return empty()

    async def hidden(self, request: Request) -> Response:
        name = request.path["name"]
        if not await secret_exists(self.api, request.caller, name):
            raise PeltonError(Code.NOT_FOUND, f"there is no secret {name[:200]!r}")
        raise PeltonError(
            Code.FORBIDDEN,
            "values of secrets are given to the tasks that name them as ${workflow.secrets.NAME}, and to nobody else",
        )

    async def remove(self, request: Request) -> Response:
        await self.engine.remove_secret(request.caller, request.path["name"])
        await catalogue.forget_tags(self.engine, request.caller, "secret", request.path["name"])
        return empty()

    async def exists(self, request: Request) -> Response:
        return json_response(await secret_exists(self.api, request.caller, request.path["name"]))


def value_of(body: bytes) -> str:
    """As text or as a text of JSON: clients send both."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise PeltonError(Code.INVALID, "the value is not text", "value", remedy="encode it, as in Base64") from None
    if text.startswith('"') and text.endswith('"') and len(text) > 1:
        try:
            found = msgspec.json.decode(body)
        except msgspec.DecodeError:
            return text
        return found if isinstance(found, str) else text
    return text
