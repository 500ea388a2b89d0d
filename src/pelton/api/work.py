"""/v1/work: workers report finished work and request more in one exchange of up to 1,000 items.

An item is identified by its step's id. A report may be repeated if its response was lost: it changes nothing, and gets the same
response as the first time, with the items that were in it.
"""

from __future__ import annotations

from msgspec.structs import replace

from pelton.api.calls import Route, answer, decoded, is_msgpack
from pelton.api.problems import bad
from pelton.errors import PeltonError
from pelton.kernel.model.signals import Report
from pelton.kernel.model.state import Failure, StepStatus
from pelton.models import ItemOut, ReportIn, ReportOut, WorkIn, WorkOut
from pelton.runtime.api import ClaimRequest, Engine, ReportResult, WorkItem
from pelton.runtime.caller import Caller
from pelton.runtime.names import shown_queue
from pelton.transport.http.asgi import Request, Response

_STATUS: dict[str, int | None] = {
    "COMPLETED": StepStatus.COMPLETED,
    "FAILED": StepStatus.FAILED,
    "FAILED_FOR_GOOD": StepStatus.FAILED_FOR_GOOD,
    "WORKING": None,
}
_KINDS = frozenset({"technical", "business", "cancelled", "timed out"})


class WorkRoutes:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/v1/work", "exchangeWork", "Report the outcomes of work items and take more, in one commit. JSON, or "
                  "msgpack in both directions with Content-Type application/msgpack.", self.exchange,
                  parameters=(), takes=WorkIn, gives=(WorkOut,),
                  statuses=(400, 413, 503)),
        ]  # fmt: skip

    async def exchange(self, request: Request) -> Response:
        asked = await decoded(request, WorkIn)
        known: list[tuple[int, Report]] = []
        places: list[int] = []
        results = [ReportOut(False, "no step", "no such step") for _ in asked.reports]
        for place, each in enumerate(asked.reports):
            report = self._report(each, asked.worker, place)
            found = self._engine.codec.parse_step_id(each.id)
            if found is None:
                continue
            if report.status is None and not report.again_after and report.output is None:
                results[place] = await self._alive(request.caller, *found)
            else:
                known.append((found[0], replace(report, n=found[1])))
                places.append(place)
        claim = asked.claim and ClaimRequest(
            queues=asked.claim.queues, count=asked.claim.count, wait=asked.claim.wait, worker=asked.worker
        )
        items: list[WorkItem] = []
        if known or claim:
            working = self._engine.exchange(request.caller, known, claim or None)
            waits = claim is not None and claim.wait > 0
            done, items = await (request.unless_gone(working) if waits else working)
            for place, result in zip(places, done, strict=True):
                results[place] = _result(result)
        response = answer(WorkOut(results, [self._item(item) for item in items]), packed=is_msgpack(request))
        if items:
            response.undelivered = lambda: self._engine.release(items)
        return response

    async def _alive(self, caller: Caller, run: int, n: int) -> ReportOut:
        """A heartbeat without other content: renews the lease."""
        try:
            await self._engine.extend(caller, run, n)
        except PeltonError as error:
            return _refused(error)
        return ReportOut(True)

    def _report(self, given: ReportIn, worker: str, place: int) -> Report:
        if given.status not in _STATUS:
            raise bad(f"reports[{place}].status", f"must be one of {', '.join(_STATUS)}", "see /openapi.json", given.status)
        failure = None
        if given.failure is not None:
            if given.failure.kind not in _KINDS:
                raise bad(
                    f"reports[{place}].failure.kind", f"must be one of {', '.join(sorted(_KINDS))}", value=given.failure.kind
                )
            failure = Failure(
                given.failure.name, given.failure.kind, given.failure.message, given.failure.content, given.failure.retriable
            )
        return Report(
            attempt=given.attempt,
            status=_STATUS[given.status],
            output=given.output,
            reason=given.reason,
            failure=failure,
            worker=worker,
            again_after=given.again_after,
        )

    def _item(self, item: WorkItem) -> ItemOut:
        step = item.step
        run = self._engine.codec.run_id(step.run)
        return ItemOut(
            id=f"{run}-{step.n}",  # the same as codec.step_id, without a second hash
            queue=shown_queue(step.queue),
            run=run,
            process=item.process.name,
            slot=step.slot,
            attempt=step.attempt,
            input=step.input,
            previous=step.output,
            polls=step.polls,
            lease=step.idle,
        )


def _result(result: ReportResult) -> ReportOut:
    if result.error is None:
        return ReportOut(True)
    return _refused(result.error)


def _refused(error: PeltonError) -> ReportOut:
    return ReportOut(False, error.code, error.public().message)
