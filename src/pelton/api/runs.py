"""/v1/runs: runs and their steps. What is done with runs is in `run_acts`."""

from __future__ import annotations

from collections import OrderedDict
from enum import IntEnum
from typing import Any

from msgspec import DecodeError, Raw, json

from pelton.api.calls import Parameter, Route, answer
from pelton.api.ids import no_run, run_key
from pelton.api.problems import bad
from pelton.api.run_selection import RunSelection
from pelton.api.run_standing import Standing
from pelton.errors import Code, PeltonError
from pelton.kernel.expressions.base import JSON
from pelton.kernel.machine.tokens.lifecycle import failure_of, meta_from
from pelton.kernel.model.state import (
    END,
    Bit,
    OpenStep,
    Run,
    RunStatus,
    State,
    Step,
    StepAttempt,
    StepStatus,
    worker_of,
)
from pelton.models import (
    AttemptPage,
    AttemptView,
    FailureView,
    RunDetail,
    RunExplanation,
    RunFilterIn,
    RunHead,
    RunPage,
    StepPage,
    StepView,
)
from pelton.runtime.api import Engine, outcome_of
from pelton.runtime.ids import IdCodec
from pelton.runtime.names import shown_queue
from pelton.transport.http.asgi import Request, Response
from pelton.transport.pages import cut_page, each_shown, fill_page, shown_later, shown_row

PROCESS = Parameter("process", "Only runs of the process with this name")
LIVE = Parameter("live", "true: only runs that have not ended; false: only those that have")
STATUS = Parameter("status", "Only runs in this status, as in a run: RUNNING, PAUSED, COMPLETED, FAILED, TIMED_OUT or TERMINATED")
VARIABLE = Parameter(
    "variable",
    "Only runs in which a variable has this value, as NAME=VALUE; the value is JSON, or else a text. Only variables that the "
    "process makes searchable are found. May be repeated: then all must hold",
)
KEY = Parameter("key", "Only runs with this idempotency key or correlation id")
TEXT = Parameter(
    "text",
    "Only runs in whose input, output, variables or reason this text is. At most 1,000 runs are looked at for a page, which may "
    "so be short, and have a `before` all the same",
)
SINCE = Parameter("since", "Only runs started from then on, in epoch milliseconds", "integer", 0)
UNTIL = Parameter("until", "Only runs started before then, in epoch milliseconds", "integer", 0)
BEFORE = Parameter("before", "Only runs older than this one: `before` of the previous page")
LIMIT = Parameter("limit", "Maximum number to return", "integer", 100, low=1, high=1_000)
LONGEST_NAME = 512
ID = Parameter("id", "The run's id")
STEP = Parameter("n", "The step's number")
AFTER = Parameter("after", "Only steps with higher numbers", "integer", -1, low=-1)
KNOWN_DEFINITIONS = 2_000  # names cached


def variable_of(text: str) -> tuple[str, JSON]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise bad("variable", "the variable and its value are not told apart", "use NAME=VALUE", text)
    try:
        return name, json.decode(value)
    except DecodeError:
        return name, value


class RunRoutes:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._standing = Standing(engine)
        self._names: OrderedDict[int, tuple[str, int]] = OrderedDict()

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/v1/runs", "listRuns", "List runs, newest first.", self.list,
                  parameters=(PROCESS, LIVE, STATUS, KEY, SINCE, UNTIL, VARIABLE, TEXT, BEFORE, LIMIT), takes=None,
                  gives=(RunPage,), statuses=(400, 413)),
            Route("GET", "/v1/runs/{id}", "getRun", "Get a run: its status, input, output and variables.",
                  self.get, parameters=(ID,), takes=None, gives=(RunDetail,), statuses=(404,)),
            Route("GET", "/v1/runs/{id}/explain", "explainRun", "Explain why a run stands where it stands: what its open steps "
                  "wait for, who holds its work, and the events that it has got and sent.", self.explain,
                  parameters=(ID,), takes=None, gives=(RunExplanation,), statuses=(404,)),
            Route("GET", "/v1/runs/{id}/steps", "listSteps", "List a run's steps by number, both open and ended.", self.steps,
                  parameters=(ID, AFTER, LIMIT), takes=None, gives=(StepPage,), statuses=(404,)),
            Route("GET", "/v1/runs/{id}/steps/{n}/attempts", "listAttempts", "List the attempts of a step of work: when each "
                  "began and ended, who worked on it, and what came of it.", self.attempts,
                  parameters=(ID, STEP), takes=None, gives=(AttemptPage,), statuses=(404,)),
        ]  # fmt: skip

    async def list(self, request: Request) -> Response:
        query, limit = request.query, LIMIT.number(request)
        process = query.text("process")
        if len(process) > LONGEST_NAME:
            raise bad("process", f"a name has at most {LONGEST_NAME} characters", "shorten it", process)
        wanted = RunFilterIn(
            process=process,
            live=query.boolean("live", False) if query.text("live") else None,
            status=query.text("status"),
            key=query.text("key"),
            since=SINCE.number(request),
            until=UNTIL.number(request),
            variables=dict(variable_of(text) for text in query.texts("variable")),
            text=query.text("text"),
            before=query.text("before"),
        )
        runs, below = await RunSelection(self._engine, request.caller, wanted).take(limit)
        shown: list[Any] = [await shown_later(run, self.view, self._bare) for run in runs]
        return answer(RunPage(shown, self._engine.codec.run_id(below) if below else ""))

    async def view(self, run: Run) -> RunHead:
        name, version = await self._name(run.definition)
        return self.head(run, name, version)

    def _bare(self, run: Run, _: str) -> RunHead:
        """Without its process, which is what cannot be read."""
        return self.head(run, "", 0)

    def head(self, run: Run, name: str, version: int) -> RunHead:
        codec = self._engine.codec
        return RunHead(
            id=codec.run_id(run.key),
            status=name_of(RunStatus, run.status),
            process=name,
            version=version,
            created=run.created,
            updated=run.updated,
            ended=run.ended,
            parent=codec.run_id(run.parent) if run.parent else "",
            era=run.era,
        )

    async def _name(self, definition: int) -> tuple[str, int]:
        """Name and version of a definition's row; rows never change, so a cached value stays valid."""
        found = self._names.get(definition)
        if found is None:
            row = await self._engine.definition_row(definition)
            found = (row.name, row.version) if row is not None else ("", 0)
            self._names[definition] = found
            while len(self._names) > KNOWN_DEFINITIONS:
                self._names.popitem(last=False)
        return found

    async def get(self, request: Request) -> Response:
        text = request.path["id"]
        view = await self._engine.view(request.caller, run_key(self._engine, text))
        if view is None:
            raise no_run(text)
        meta = meta_from(view.start.input)
        return answer(
            RunDetail(
                run=self.head(view.run, view.process.name, view.process.version),
                input=view.start.output,
                output=view.end.output if view.end else None,
                reason=view.end.reason if view.end else "",
                variables=view.variables,
                correlation=meta.correlation or "",
                priority=meta.priority,
                event=meta.event or "",
                failure=failure_view(view.end),
                why_paused=await self._engine.why_paused(request.caller, view.run),
            )
        )

    async def explain(self, request: Request) -> Response:
        text = request.path["id"]
        found = await self._engine.view(request.caller, run_key(self._engine, text))
        if found is None:
            raise no_run(text)
        return answer(await self._standing.explain(request.caller, found, await self.view(found.run)))

    async def steps(self, request: Request) -> Response:
        text = request.path["id"]
        key = run_key(self._engine, text)
        limit = LIMIT.number(request)
        if await self._engine.head(request.caller, key) is None:
            raise no_run(text)
        codec = self._engine.codec

        def view(row: OpenStep | Step) -> StepView:
            return step_view(codec, row)

        def bare(row: OpenStep | Step, reason: str) -> StepView:
            return bare_step(codec, row, reason)

        def show(row: OpenStep | Step) -> Raw | None:
            return shown_row(row, view, bare) if row.n > 0 and row.slot != END else None

        async def read(after: int, count: int) -> list[OpenStep | Step]:
            return await self._engine.steps(request.caller, key, after, count)

        page = await fill_page(read, AFTER.number(request), limit, lambda row: row.n, show)
        return answer(StepPage(page.shown, page.place if page.more else -1))

    async def attempts(self, request: Request) -> Response:
        text, number = request.path["id"], request.path["n"]
        key = run_key(self._engine, text)
        n = int(number) if number.isascii() and number.isdecimal() and len(number) < 19 else 0
        if await self._engine.head(request.caller, key) is None:
            raise no_run(text)
        if not n or await self._engine.step(request.caller, key, n) is None:
            raise PeltonError(Code.UNKNOWN_STEP, "the run has no step of this number", "n", number)
        now = self._engine.now()
        found = await self._engine.attempts(request.caller, key, n)
        shown = each_shown(found, lambda attempt: attempt_view(attempt, now), bare_attempt)
        newest = cut_page(reversed(shown))
        return answer(AttemptPage(newest[::-1], len(shown) - len(newest)))


def name_of(kind: type[IntEnum], number: int) -> str:
    """Of a number that this version does not know, too."""
    try:
        return kind(number).name
    except ValueError:
        return "UNKNOWN"


def bare_step(codec: IdCodec, row: OpenStep | Step, reason: str) -> StepView:
    """What can be shown of a step that cannot be shown whole."""
    return StepView(codec.step_id(row.run, row.n), row.n, str(row.slot), "UNKNOWN", 0, reason=str(row.reason or reason))


def bare_attempt(attempt: StepAttempt, reason: str) -> AttemptView:
    return AttemptView(attempt.n, attempt.number, "unknown", 0, reason=str(attempt.message or reason))


def step_view(codec: IdCodec, row: OpenStep | Step) -> StepView:
    worker, version = worker_of(row.worker)
    view = StepView(
        id=codec.step_id(row.run, row.n),
        n=row.n,
        slot=row.slot,
        status="OPEN",
        opened=row.opened,
        started=row.started,
        attempt=row.attempt,
        iteration=row.it,
        worker=worker,
        version=version,
        checkpoints=row.tries.checkpoints if row.tries is not None else 0,
        input=row.input,
        output=row.output,
        reason=row.reason,
    )
    if isinstance(row, OpenStep):
        view.waits_for = name_of(State, row.state)
        view.queue = shown_queue(row.queue)
    else:
        view.status = name_of(StepStatus, row.status)
        view.ended = row.ended
        view.failure = failure_view(row)
    if row.child and row.state == State.CALL and not row.bits & Bit.THREAD:
        view.child = codec.run_id(row.child)
    return view


def failure_view(step: Step | None) -> FailureView | None:
    """What a step failed with; None for one that did not fail, and for a step of a data directory from before that was kept."""
    if step is None or not step.failure:
        return None
    failure = failure_of(step)
    handled = bool(step.bits & Bit.HANDLED) or step.status == StepStatus.COMPLETED_WITH_ERRORS
    return FailureView(failure.name, failure.kind, failure.content, handled)


def attempt_view(attempt: StepAttempt, now: int) -> AttemptView:
    worker, version = worker_of(attempt.worker)
    failure = FailureView(attempt.failure, attempt.kind, attempt.content) if attempt.failure else None
    return AttemptView(
        step=attempt.n,
        number=attempt.number,
        outcome=outcome_of(attempt, now),
        scheduled=attempt.scheduled,
        due=attempt.due,
        started=attempt.started,
        ended=attempt.ended,
        worker=worker,
        version=version,
        polls=attempt.polls,
        reason=attempt.message,
        failure=failure,
        log=attempt.log,
    )
