"""/v1/secrets: setting, listing and removing secrets. Their values go in and never come out."""

from __future__ import annotations

from pelton.api.calls import Parameter, Route, answer, decoded
from pelton.models import SecretIn, SecretPage, SecretView
from pelton.runtime.api import Engine
from pelton.runtime.rows import SecretRow
from pelton.transport.http.asgi import Request, Response

NAME = Parameter("name", "The secret's name")
AFTER = Parameter("after", "Only secrets with later names: `after` of the previous page")
LIMIT = Parameter("limit", "Maximum number to return", "integer", 100, low=1, high=1_000)


class SecretRoutes:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/v1/secrets", "listSecrets", "List secrets by name: when each was set and by whom, never its value.",
                  self.list, parameters=(AFTER, LIMIT), takes=None, gives=(SecretPage,), statuses=(400,)),
            Route("PUT", "/v1/secrets/{name}", "setSecret", "Set a secret. Work that is handed out from then on gets it.",
                  self.set, parameters=(NAME,), takes=SecretIn, gives=(SecretView,), statuses=(400, 413)),
            Route("DELETE", "/v1/secrets/{name}", "removeSecret", "Remove a secret. Steps that need it fail, with a reason that "
                  "names it.", self.remove, parameters=(NAME,), takes=None, gives=(SecretView,), statuses=(404,)),
        ]  # fmt: skip

    async def list(self, request: Request) -> Response:
        limit = LIMIT.number(request)
        rows = await self._engine.secrets(request.caller, after=request.query.text("after"), limit=limit)
        return answer(SecretPage([view(row) for row in rows], rows[-1].name if len(rows) == limit else ""))

    async def set(self, request: Request) -> Response:
        given = await decoded(request, SecretIn)
        name = request.path["name"]
        return answer(view(await self._engine.set_secret(request.caller, name, value=given.value, source=given.source)))

    async def remove(self, request: Request) -> Response:
        return answer(view(await self._engine.remove_secret(request.caller, request.path["name"])))


def view(row: SecretRow) -> SecretView:
    return SecretView(row.name, row.set_at, row.set_by, row.source, row.key)
