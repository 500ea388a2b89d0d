"""What an operator looks at beside runs: queues of work and who asks for it, and what would be removed for its age."""

from __future__ import annotations

from msgspec import Raw, json

from pelton.api.calls import Parameter, Route, answer
from pelton.api.problems import bad
from pelton.models import KeptView, PollerView, QueuePage, QueueView, RetentionView
from pelton.runtime.api import Engine
from pelton.runtime.rows import KEEP_KINDS, Keep, Kind, keep_text, parse_keep
from pelton.transport.http.asgi import Request, Response
from pelton.transport.pages import cut_page

KEEP = Parameter(
    "keep",
    "Suppose that a kind were kept so, as KIND=HOW, such as runs=7d or events=30d,1000000; else as in the settings. May be "
    "repeated",
)
AFTER = Parameter("after", "Only queues with later names: `after` of the previous page")
MOST_QUEUES = 1_000
MOST_POLLERS = 100  # of a queue
MOST_DUE = 100_000  # counted of a kind


class OperationRoutes:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/v1/work", "listQueues", "List the queues of work: how much is ready and held, and which workers ask "
                  "for it.", self.queues, parameters=(AFTER,), gives=(QueuePage,)),
            Route("GET", "/v1/retention", "previewRetention", "Preview what would be removed now for its age, by kind.", self.due,
                  parameters=(KEEP,), gives=(RetentionView,), statuses=(400,)),
        ]  # fmt: skip

    async def queues(self, request: Request) -> Response:
        caller = request.caller
        whole = await self._engine.queue_sizes(caller)
        ready = await self._engine.queue_sizes(caller, handed_out=False)
        pollers: dict[str, list[PollerView]] = {}
        for queue, worker, at in self._engine.polled(caller):
            if not queue.startswith("@"):
                pollers.setdefault(queue, []).append(PollerView(worker, at))
        after = request.query.text("after")
        names = [name for name in sorted(whole.keys() | pollers.keys()) if name > after]
        views = [
            QueueView(
                name,
                ready.get(name, 0),
                max(0, whole.get(name, 0) - ready.get(name, 0)),
                sorted(pollers.get(name, []), key=lambda each: (-each.at, each.worker))[:MOST_POLLERS],
            )
            for name in names[:MOST_QUEUES]
        ]
        shown = cut_page(Raw(json.encode(view)) for view in views)
        more = len(names) > len(shown)
        return answer(QueuePage(shown, more, names[len(shown) - 1] if more else ""))

    async def due(self, request: Request) -> Response:
        supposed: dict[Kind, Keep] = {}
        for text in request.query.texts("keep"):
            kind, sign, how = text.partition("=")
            name = kind.replace("-", "_")
            if not sign or name not in KEEP_KINDS:
                raise bad("keep", "is not a kind and how it is kept", f"use KIND=HOW with one of {', '.join(KEEP_KINDS)}", text)
            try:
                supposed[name] = parse_keep(how)
            except ValueError as error:
                raise bad("keep", str(error), "give an age such as 30d, a number, both, or forever", text) from None
        found = await self._engine.retention_due(supposed, MOST_DUE)
        return answer(RetentionView([KeptView(kind, keep_text(keep), due, due == MOST_DUE) for kind, keep, due in found]))
