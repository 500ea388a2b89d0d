"""/v1/jobs: the outcomes of signals to many runs, each in a separate commit."""

from __future__ import annotations

from pelton.api.calls import Parameter, Route, answer
from pelton.api.problems import bad
from pelton.errors import Code, PeltonError
from pelton.models import JobResultPage, JobResultView
from pelton.runtime.api import Engine
from pelton.runtime.rows import ResultRow
from pelton.transport.http.asgi import Request, Response
from pelton.transport.pages import fill_page, shown_row

NUMBER = Parameter("number", "The job's number, from the event's effect")
AFTER = Parameter("after", "Where the page starts: `last` of the previous page")
LIMIT = Parameter("limit", "Maximum number to return", "integer", 1_000, low=1, high=1_000)
FIRST = (-1, 0)


class JobRoutes:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/v1/jobs/{number}/results", "listJobResults", "List the outcomes of a job's signal by run. Results are "
                  "kept for a week. While the job is running, new results may appear at any position.", self.results,
                  parameters=(NUMBER, AFTER, LIMIT), takes=None, gives=(JobResultPage,), statuses=(400, 404)),
        ]  # fmt: skip

    async def results(self, request: Request) -> Response:
        written, limit = request.path["number"], LIMIT.number(request)
        number = _whole(written)
        found = await self._engine.results(request.caller, number, FIRST, 1) if number else []
        if not found or found[0].run:
            raise PeltonError(
                Code.NOT_FOUND,
                "no such job, or its results have expired",
                field="number",
                value=written,
                remedy="an event's effects have the numbers of its jobs",
            )

        async def read(after: tuple[int, int], count: int) -> list[ResultRow]:
            return await self._engine.results(request.caller, number, after, count)

        start = self._place(request.query.text("after"))
        page = await fill_page(
            read, start, limit, lambda row: (row.run, row.n), lambda row: shown_row(row, self._view, self._bare)
        )
        last = "{}-{}".format(*page.place) if page.more else ""
        return answer(JobResultPage(job=written, runs=found[0].n, results=page.shown, last=last))

    def _place(self, written: str) -> tuple[int, int]:
        """Where to start: after the job's own row, unless `after` is given. Raises PeltonError."""
        if not written:
            return (0, 2**62)
        run, _, n = written.partition("-")
        place = (_whole(run), _whole(n))
        if place[0] <= 0:
            raise bad("after", "is not a position in the results", "use `last` of the previous page", written)
        return place

    def _view(self, row: ResultRow) -> JobResultView:
        codec = self._engine.codec
        return JobResultView(
            run=codec.run_id(row.run),
            outcome=row.outcome,
            at=row.at,
            step=codec.step_id(row.run, row.n) if row.n else "",
            detail=row.detail,
        )

    def _bare(self, row: ResultRow, reason: str) -> JobResultView:
        return JobResultView(run=self._engine.codec.run_id(row.run), outcome=str(row.outcome), at=0, detail=reason)


def _whole(text: str) -> int:
    """The number, or 0 if the text is not a possible key."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 19 and int(text) < 2**62 else 0
