"""/v1/sets: what was applied together, by a name that whoever applies it chooses, so that what is gone from it can be removed."""

from __future__ import annotations

from msgspec import json

from pelton.api.calls import Parameter, Route, answer, decoded
from pelton.api.problems import bad
from pelton.models import AppliedSet, AppliedSetIn
from pelton.runtime.api import Engine
from pelton.runtime.people.process import PERSON
from pelton.transport.http.asgi import Request, Response

NAME = Parameter("name", "The set's name")
KIND = "applied set"
LONGEST_NAME = 512
_decode = json.Decoder(AppliedSetIn).decode


class SetRoutes:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/v1/sets/{name}", "getAppliedSet", "Get what was applied under a name; nothing if it is not known.",
                  self.get, parameters=(NAME,), gives=(AppliedSet,), statuses=(400,)),
            Route("PUT", "/v1/sets/{name}", "putAppliedSet", "Note what is applied under a name, instead of what was. Nothing "
                  "else changes.", self.put,
                  parameters=(NAME,), takes=AppliedSetIn, gives=(AppliedSet,), statuses=(400, 413)),
        ]  # fmt: skip

    async def get(self, request: Request) -> Response:
        return answer(await self._set(request))

    async def put(self, request: Request) -> Response:
        given = await decoded(request, AppliedSetIn)
        name = self._name(request)
        # Kept among the definitions, in the language of what Pelton itself defines.
        await self._engine.define(request.caller, KIND, PERSON, name, 1, json.encode(given))
        return answer(await self._set(request))

    async def _set(self, request: Request) -> AppliedSet:
        name = self._name(request)
        row = await self._engine.definition(request.caller, KIND, name, 1)
        if row is None:
            return AppliedSet(name, [])
        return AppliedSet(name, _decode(row.body).documents, row.since // 1000, row.actor)

    def _name(self, request: Request) -> str:
        name = request.path["name"]
        if len(name) > LONGEST_NAME:
            raise bad("name", f"a name has at most {LONGEST_NAME} characters", "shorten it", name)
        return name
