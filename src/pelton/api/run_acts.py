"""/v1/runs: what is done with runs, whatever language their process is in: to start one, to give it what it waits for, to pause,
resume, terminate, retry and rerun it. With many runs it is a durable job, whose results /v1/jobs has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, get_args

from pelton.api.calls import Parameter, Route, answer, decoded
from pelton.api.ids import no_run, run_key
from pelton.api.problems import bad
from pelton.api.run_selection import CORRELATION, RunSelection
from pelton.api.run_standing import Standing, described
from pelton.errors import Code, PeltonError
from pelton.kernel.model.signals import EventArrived, Pause, Report, Resume, Rewind, Signal, Terminate, Trigger
from pelton.kernel.model.state import Run, RunStatus, StartMeta
from pelton.models import (
    RunAct,
    RunActIn,
    RunFilterIn,
    RunHead,
    RunJobIn,
    RunJobOut,
    RunSignalIn,
    RunSignalOut,
    RunStartIn,
)
from pelton.runtime.api import Engine, StartCommand
from pelton.runtime.caller import Caller
from pelton.transport.http.asgi import Handler, Request, Response

ID = Parameter("id", "The run's id")
MOST_RUNS = 10_000  # of one job
SHOWN = 100
ACTS: tuple[RunAct, ...] = get_args(RunAct)

# In which status a run can be acted on so: a job made by filters is for these only, so that it can be repeated until nothing is
# left to be done.
FITTING: Mapping[RunAct, frozenset[int]] = {
    "retry": frozenset({RunStatus.FAILED, RunStatus.TIMED_OUT, RunStatus.TERMINATED}),
    "pause": frozenset({RunStatus.RUNNING}),
    "resume": frozenset({RunStatus.PAUSED}),
    "terminate": frozenset({RunStatus.RUNNING, RunStatus.PAUSED}),
    "rerun": frozenset(status for status in RunStatus if status.ended),
}
SUMMARIES: Mapping[RunAct, str] = {
    "retry": "Retry a run that has failed, timed out or was terminated: what failed is tried again.",
    "pause": "Pause a run: it stands until it is resumed.",
    "resume": "Resume a run that was paused.",
    "terminate": "Terminate a run that has not ended.",
    "rerun": "Run a finished run again, from its start or from a step.",
}
REMEDIES: Mapping[Code, str] = {
    Code.ENDED: "retry it, or run it again",
    Code.NOT_ENDED: "terminate it first, or wait for its end",
    Code.NOTHING_TO_RETRY: "run it again instead",
    Code.NOT_PAUSED: "nothing needs to be done",
    Code.PAUSED: "resume its process",
}

Head = Callable[[Run], Awaitable[RunHead]]


class RunActRoutes:
    """`head`: the view of a run's head."""

    def __init__(self, engine: Engine, head: Head) -> None:
        self._engine = engine
        self._head = head
        self._standing = Standing(engine)

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/v1/runs", "startRun", "Start a run of a process, whatever language it is in. The input is what the "
                  "process's language gives its runs.", self.start,
                  takes=RunStartIn, gives=(RunHead,), statuses=(201, 400, 404, 409, 413, 422)),
            Route("POST", "/v1/runs/{id}/signal", "signalRun", "Give a run what it waits for: a trigger, an event, or the report "
                  "of a step.", self.signal,
                  parameters=(ID,), takes=RunSignalIn, gives=(RunSignalOut,), statuses=(400, 404, 409, 413)),
            *(
                Route("POST", f"/v1/runs/{{id}}/{act}", f"{act}Run", SUMMARIES[act], self._acting(act),
                      parameters=(ID,), takes=RunActIn, gives=(RunHead,), statuses=(400, 404, 409))
                for act in ACTS
            ),
            Route("POST", "/v1/jobs", "createJob", "Do the same to many runs, by their ids or by what lists of runs are filtered "
                  "by, or preview it. Each run is acted on in a commit of its own; /v1/jobs/{number}/results has the outcomes.",
                  self.many, takes=RunJobIn, gives=(RunJobOut,), statuses=(400, 404, 413)),
        ]  # fmt: skip

    # ---- one run

    async def start(self, request: Request) -> Response:
        given = await decoded(request, RunStartIn)
        if not given.process:
            raise bad("process", "the process is not named", "/v1/processes lists them")
        command = StartCommand(
            process=given.process,
            version=given.version,
            input=given.input,
            meta=StartMeta(correlation=given.correlation or None, priority=given.priority, actor=request.caller.user or None),
            key=given.key,
            on_same_key="return" if given.key else "fail",
            keys=[(CORRELATION, given.correlation)] if given.correlation else [],
        )
        try:
            run = await self._engine.start(request.caller, command)
        except PeltonError as error:
            if error.code is Code.UNKNOWN_PROCESS:
                remedy = "/v1/processes lists the processes and their versions"
                raise PeltonError(error.code, error.message, "process", value=given.process, remedy=remedy) from None
            raise
        head = await self._head(run)
        return answer(head, 201, headers=((b"location", f"/v1/runs/{head.id}".encode()),))

    async def _run(self, request: Request) -> Run:
        text = request.path["id"]
        found = await self._engine.head(request.caller, run_key(self._engine, text))
        if found is None:
            raise no_run(text)
        return found

    async def signal(self, request: Request) -> Response:
        given = await decoded(request, RunSignalIn)
        run = await self._run(request)
        engine, caller = self._engine, request.caller
        if not given.name:
            raise bad("name", "what the run is to be given is not named", "use the name of a trigger, an event or a step")
        if RunStatus(run.status).ended:
            raise PeltonError(Code.ENDED, "the run has ended and waits for nothing", remedy=REMEDIES[Code.ENDED])
        waits = await self._standing.waits(caller, run)
        named = [each for each in waits if each.name == given.name and not each.key]
        signal: Signal
        as_what: Literal["trigger", "event", "report"]
        held = False
        if any(each.what == "trigger" for each in named):
            changes = given.data if given.data is not None else {}
            if not isinstance(changes, dict):
                raise bad("data", "the data of a trigger are changes by name", "send an object")
            signal = Trigger(name=given.name, changes=changes, actor=caller.user, request=caller.request)
            as_what = "trigger"
        elif any(each.what == "event" for each in named):
            signal = EventArrived(id=engine.new_key(), name=given.name, body=given.data, posted=engine.now())
            as_what = "event"
        elif at := next((each for each in waits if each.slot == given.name and each.what == "report"), None):
            signal = Report(n=at.n, output=given.data)
            as_what = "report"
        elif given.hold:
            signal = EventArrived(id=engine.new_key(), name=given.name, body=given.data, posted=engine.now())
            as_what, held = "event", True
        else:
            raise PeltonError(
                Code.CONFLICT,
                f"the run does not wait for {given.name!r} now: {described(waits) or 'it waits for nothing from outside'}",
                "name",
                value=given.name,
                remedy="give it what it waits for, or have it held with `hold`",
            )
        done = await engine.signal(caller, run.key, signal)
        return answer(RunSignalOut(await self._head(done.run), as_what, held))

    def _acting(self, act: RunAct) -> Handler:
        async def done(request: Request) -> Response:
            given = await decoded(request, RunActIn) if await request.body() else RunActIn()
            run = await self._run(request)
            if act == "pause" and run.status == RunStatus.PAUSED:
                return answer(await self._head(run))
            if given.step and act == "rerun":
                await self._check_step(request.caller, run, given.step)
            try:
                applied = await self._engine.signal(request.caller, run.key, signal_for(act, given))
            except PeltonError as error:
                raise _with_remedy(error) from None
            return answer(await self._head(applied.run))

        return done

    async def _check_step(self, caller: Caller, run: Run, n: int) -> None:
        if await self._engine.step(caller, run.key, n) is None:
            raise PeltonError(
                Code.UNKNOWN_STEP,
                "the run has no step of this number",
                "step",
                value=n,
                remedy="the list of the run's steps has their numbers",
            )

    # ---- many runs

    async def many(self, request: Request) -> Response:
        given = await decoded(request, RunJobIn)
        if bool(given.runs) == (given.where is not None):
            raise bad("runs", "give either the runs, or what they are found by", "send `runs`, or `where`")
        if given.runs:
            keys = list(dict.fromkeys(run_key(self._engine, each) for each in given.runs))
            heads = [head for key in keys[:SHOWN] if (head := await self._engine.head(request.caller, key)) is not None]
            below = 0
        else:
            wanted = given.where or RunFilterIn()
            newest = run_key(self._engine, given.newest) if given.newest else 0
            selection = RunSelection(self._engine, request.caller, wanted, FITTING[given.act])
            found, below = await selection.take(MOST_RUNS, newest)
            keys, heads = [run.key for run in found], found[:SHOWN]
        codec = self._engine.codec
        out = RunJobOut(given.act, len(keys), [await self._head(run) for run in heads])
        out.newest = codec.run_id(max(keys)) if keys else ""
        out.before = codec.run_id(below) if below else ""
        if keys and not given.preview:
            signal = signal_for(given.act, RunActIn(reason=given.reason))
            out.job = str(await self._engine.signal_many(request.caller, keys, signal))
        return answer(out)


def signal_for(act: RunAct, given: RunActIn) -> Signal:
    match act:
        case "pause":
            return Pause()
        case "resume":
            return Resume()
        case "terminate":
            return Terminate(reason=given.reason)
        case "retry":
            return Rewind(to="failed", children=True)
        case "rerun":
            if given.step:
                return Rewind(to="step", n=given.step, step_input=given.input)
            return Rewind(to="start", input=given.input)


def _with_remedy(error: PeltonError) -> PeltonError:
    if not error.remedy and error.code in REMEDIES:
        error.remedy = REMEDIES[error.code]
    return error
