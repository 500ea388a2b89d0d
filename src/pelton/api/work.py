"""/v1/work: workers report finished work and request more in one exchange of up to 1,000 items, and put checkpoints.

An item is identified by its step's id. A report may be repeated if its response was lost: it changes nothing, and gets the same
response as the first time, with the items that were in it.
"""

from __future__ import annotations

from msgspec.structs import replace

from pelton.api.calls import Parameter, Route, answer, decoded, is_msgpack
from pelton.api.problems import bad
from pelton.errors import Code, PeltonError
from pelton.kernel.model.signals import PutCheckpoint, Report
from pelton.kernel.model.state import Failure, StepStatus, worker_text
from pelton.models import CheckpointIn, CheckpointOut, CheckpointView, ItemOut, ReportIn, ReportOut, WorkIn, WorkOut
from pelton.runtime.api import ClaimRequest, Engine, ReportResult, WorkItem
from pelton.runtime.caller import Caller
from pelton.runtime.names import shown_queue
from pelton.telemetry.trace import headers_of
from pelton.transport.http.asgi import Request, Response

_STATUS: dict[str, int | None] = {
    "COMPLETED": StepStatus.COMPLETED,
    "FAILED": StepStatus.FAILED,
    "FAILED_FOR_GOOD": StepStatus.FAILED_FOR_GOOD,
    "WORKING": None,
}
ITEM = Parameter("id", "The item's id")
NUMBER = Parameter("number", "The checkpoint's number; the first one is 0")
_KINDS = frozenset({"technical", "business", "cancelled", "timed out"})


class WorkRoutes:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/v1/work", "exchangeWork", "Report the outcomes of work items and take more, in one commit. JSON, or "
                  "msgpack in both directions with Content-Type application/msgpack (which gives a whole number beyond 64 bits "
                  "as a text).", self.exchange,
                  parameters=(), takes=WorkIn, gives=(WorkOut,),
                  statuses=(400, 413, 503)),
            Route("PUT", "/v1/work/{id}/checkpoints/{number}", "putCheckpoint", "Store what the present attempt of a work item "
                  "has done, so that no later attempt need do it again; its lease and its time limit begin anew. Numbers count "
                  "from 0, over all attempts.", self.put_checkpoint,
                  parameters=(ITEM, NUMBER), takes=CheckpointIn, gives=(CheckpointOut,), statuses=(400, 409, 413, 503)),
            Route("GET", "/v1/work/{id}/checkpoints/{number}", "getCheckpoint", "Get what an attempt of a work item stored.",
                  self.checkpoint, parameters=(ITEM, NUMBER), takes=None, gives=(CheckpointView,), statuses=(404,)),
        ]  # fmt: skip

    async def put_checkpoint(self, request: Request) -> Response:
        asked = await decoded(request, CheckpointIn)
        run, n, number = self._place(request)
        signal = PutCheckpoint(n=n, attempt=asked.attempt, value=asked.value, number=number, log=asked.log, worker=asked.worker)
        put = await self._engine.put_checkpoint(request.caller, run, signal)
        return answer(CheckpointOut(put.accepted, put.number, put.reason), packed=is_msgpack(request))

    async def checkpoint(self, request: Request) -> Response:
        run, n, number = self._place(request)
        found = await self._engine.checkpoint(request.caller, run, n, number)
        if found is None:
            raise PeltonError(Code.NOT_FOUND, "the item has no checkpoint of this number", "number")
        return answer(CheckpointView(found.number, found.attempt, found.at, found.value, found.log))

    def _place(self, request: Request) -> tuple[int, int, int]:
        """Run, step and number of a checkpoint. Raises PeltonError."""
        found = self._engine.codec.parse_step_id(request.path["id"])
        if found is None:
            raise PeltonError(Code.NO_STEP, "no such work item", "id", request.path["id"])
        text = request.path["number"]
        if not (text.isascii() and text.isdecimal() and len(text) <= 9):
            raise bad("number", "must be a whole number, from 0 on", value=text)
        return *found, int(text)

    async def exchange(self, request: Request) -> Response:
        asked = await decoded(request, WorkIn)
        worker = worker_text(asked.worker, asked.version)
        known: list[tuple[int, Report]] = []
        places: list[int] = []
        results = [ReportOut(False, "no step", "no such step") for _ in asked.reports]
        for place, each in enumerate(asked.reports):
            report = self._report(each, worker, place)
            found = self._engine.codec.parse_step_id(each.id)
            if found is None:
                continue
            if report.status is None and not report.again_after and report.output is None:
                results[place] = await self._alive(request.caller, *found)
            else:
                known.append((found[0], replace(report, n=found[1])))
                places.append(place)
        claim = asked.claim and ClaimRequest(
            queues=asked.claim.queues, count=asked.claim.count, wait=asked.claim.wait, worker=worker
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
        if given.log and given.status == "WORKING" and not given.again_after:
            raise bad(f"reports[{place}].log", "a heartbeat carries no log", "send it with the report that ends the attempt")
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
            log=given.log,
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
            input=item.input,
            previous=step.output,
            polls=step.polls,
            lease=step.idle,
            checkpoints=step.tries.checkpoints if step.tries is not None else 0,
            **headers_of(item.trace),
        )


def _result(result: ReportResult) -> ReportOut:
    if result.error is None:
        return ReportOut(True)
    return _refused(result.error)


def _refused(error: PeltonError) -> ReportOut:
    return ReportOut(False, error.code, error.public().message)
