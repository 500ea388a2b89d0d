"""/v1/jobs: what became of signals that are for many runs, each in a commit of its own."""

from __future__ import annotations

from pelton.api.calls import Parameter, Route, answer
from pelton.api.problems import bad
from pelton.errors import Code, PeltonError
from pelton.models import JobResultPage, JobResultView
from pelton.runtime.api import Engine
from pelton.runtime.rows import ResultRow
from pelton.transport.http.asgi import Request, Response

NUMBER = Parameter("number", "The job's number, as the effect of the event says it")
AFTER = Parameter("after", "Behind this place, as `last` of the page before says it")
LIMIT = Parameter("limit", "How many at most", "integer", 1_000, low=1, high=1_000)
FIRST = (-1, 0)


class Jobs:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/v1/jobs/{number}/results", "listJobResults", "What became of a job's signal, run by run; results are "
                  "kept for a week. While the job is under way, results may come in anywhere.", self.results,
                  (NUMBER, AFTER, LIMIT), None, (JobResultPage,), (400, 404)),
        ]  # fmt: skip

    async def results(self, request: Request) -> Response:
        written = request.path["number"]
        number = _whole(written)
        found = await self._engine.results(request.caller, number, FIRST, 1) if number else []
        if not found or found[0].run:
            raise PeltonError(
                Code.NOT_FOUND,
                "there is no such job, or no more",
                field="number",
                value=written,
                remedy="effects of events name the jobs that they caused",
            )
        limit = LIMIT.number(request)
        rows = await self._engine.results(request.caller, number, self._place(request.query.text("after")), limit)
        return answer(
            JobResultPage(
                job=written,
                runs=found[0].n,
                results=[self._view(row) for row in rows],
                last=f"{rows[-1].run}-{rows[-1].n}" if len(rows) == limit else "",
            )
        )

    def _place(self, written: str) -> tuple[int, int]:
        """Behind the job's own row, unless a page said otherwise. Raises PeltonError."""
        if not written:
            return (0, 2**62)
        run, _, n = written.partition("-")
        place = (_whole(run), _whole(n))
        if place[0] <= 0:
            raise bad("after", "is not the place of a result", "use `last` of the page before", written)
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


def _whole(text: str) -> int:
    """0 for what is no number that a key could be."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 19 and int(text) < 2**63 else 0
