"""/v1/secrets: setting, listing and removing secrets. Their values go in and never come out."""

from __future__ import annotations

from pelton.api.calls import Parameter, Route, answer, decoded
from pelton.models import SecretIn, SecretPage, SecretView
from pelton.runtime.api import Engine
from pelton.runtime.rows import SecretRow
from pelton.transport.http.asgi import Request, Response
from pelton.transport.pages import fill_page, shown_row

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
        async def read(after: str, count: int) -> list[SecretRow]:
            return await self._engine.secrets(request.caller, after=after, limit=count)

        start, limit = request.query.text("after"), LIMIT.number(request)
        page = await fill_page(read, start, limit, lambda row: row.name, lambda row: shown_row(row, view, bare))
        return answer(SecretPage(page.shown, page.place if page.more else ""))

    async def set(self, request: Request) -> Response:
        given = await decoded(request, SecretIn)
        name = request.path["name"]
        return answer(view(await self._engine.set_secret(request.caller, name, value=given.value, source=given.source)))

    async def remove(self, request: Request) -> Response:
        return answer(view(await self._engine.remove_secret(request.caller, request.path["name"])))


def bare(row: SecretRow, reason: str) -> SecretView:
    return SecretView(row.name, 0, source=reason)


def view(row: SecretRow) -> SecretView:
    return SecretView(row.name, row.set_at, row.set_by, row.source, row.key)
