"""/v1/dead-letters: messages that could not be delivered or received, and redelivery."""

from __future__ import annotations

from typing import Any

from msgspec import json

from pelton.api.calls import Parameter, Route, answer
from pelton.errors import Code, PeltonError
from pelton.models import DeadLetterPage, DeadLetterView, Redelivered
from pelton.runtime.api import Engine
from pelton.runtime.rows import DeadLetter
from pelton.transport import documents
from pelton.transport.http.asgi import Request, Response
from pelton.transport.pages import fill_page, shown_row

LIMIT = Parameter("limit", "Maximum number to return", "integer", 100, low=1, high=1_000)
AFTER = Parameter("after", "Only dead letters with higher numbers", "integer", 0)
NUMBER = Parameter("number", "The dead letter's number", "integer")


class DeadLetterRoutes:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/v1/dead-letters", "listDeadLetters", "List deliveries that were given up and messages that could not "
                  "be received, by number.", self.list,
                  parameters=(AFTER, LIMIT), takes=None, gives=(DeadLetterPage,), statuses=(400,)),
            Route("POST", "/v1/dead-letters/{number}/redeliver", "redeliver", "Put a failed delivery back into the outbox, at "
                  "the end of its lane.", self.redeliver,
                  parameters=(NUMBER,), takes=None, gives=(Redelivered,), statuses=(404, 409)),
        ]  # fmt: skip

    async def list(self, request: Request) -> Response:
        limit = LIMIT.number(request)

        def show(row: DeadLetter) -> Any:
            return shown_row(row, _view, _bare)

        async def read(after: int, count: int) -> list[DeadLetter]:
            return await self._engine.dead(request.caller, count, after)

        page = await fill_page(read, AFTER.number(request), limit, lambda row: row.number, show)
        return answer(DeadLetterPage(page.shown, page.place if page.more else 0))

    async def redeliver(self, request: Request) -> Response:
        written = request.path["number"]
        if not (written.isascii() and written.isdigit() and len(written) < 19):
            raise PeltonError(
                Code.NOT_FOUND,
                "no such dead letter",
                field="number",
                value=written,
                remedy="/v1/dead-letters lists them",
            )
        await self._engine.redeliver(request.caller, int(written))
        return answer(Redelivered(int(written), True))


def _view(row: DeadLetter) -> DeadLetterView:
    body: Any
    try:
        documents.check_depth(row.body)
        body = json.decode(row.body)
    except Exception:  # it was given up, perhaps for this: it is shown as text
        body = row.body.decode(errors="replace")
    return _shown(row, body)


def _bare(row: DeadLetter, _: str) -> DeadLetterView:
    return _shown(row, row.body.decode(errors="replace"))


def _shown(row: DeadLetter, body: Any) -> DeadLetterView:
    return DeadLetterView(
        number=row.number,
        direction=row.direction,
        address=row.address,
        id=row.id,
        reason=row.reason,
        tries=row.tries,
        at=row.at,
        body=body,
        headers=dict(row.headers),
    )
