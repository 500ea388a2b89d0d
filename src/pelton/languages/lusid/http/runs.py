"""The routes of runs: workers without a task, their results, and action logs."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from pelton.kernel.model.state import END, OpenStep, RunStatus, StartMeta, State, Step, StepStatus
from pelton.languages.lusid import decode
from pelton.languages.lusid.definitions.actions import FAILED_TO_START, action_of, rows_of
from pelton.languages.lusid.errors import LusidError
from pelton.languages.lusid.http.api_context import LusidContext, as_at
from pelton.languages.lusid.names import LANGUAGE, LONE, WORKER_RUN
from pelton.languages.lusid.tasks.forms import RunWorkerRequest, by_name
from pelton.languages.lusid.times import print_moment
from pelton.runtime.api import StartCommand
from pelton.runtime.caller import Caller
from pelton.runtime.rows import LogRow
from pelton.transport.http.asgi import Request, Response, Router, json_response

MOST_STEPS = 1_000  # of an action that its log shows


class WorkerRunRoutes:
    def __init__(self, context: LusidContext) -> None:
        self._context = context
        self._engine = context.engine

    def add_to(self, router: Router) -> None:
        router.add("POST", "/api/workers/{scope}/{code}/$run", self.run)
        router.add("GET", "/api/workers/{id}/$result", self.result)
        router.add("GET", "/api/actionlogs/{id}", self.log)

    # ---- workers

    async def run(self, request: Request) -> Response:
        data = await request.body()
        form = decode.decode(data, RunWorkerRequest) if data.strip() else RunWorkerRequest()
        identity = {"scope": request.path["scope"], "code": request.path["code"]}
        name = f"{identity['scope']}/{identity['code']}"
        at = as_at(request)
        row = await self._engine.definition(request.caller, "worker", name, at=at)
        if row is None or row.language != LANGUAGE:
            raise LusidError("WorkerNotFound", f"there is no worker {name[:200]!r}" + (" at that instant" if at else ""))
        parameters = by_name(form.parameters or (), "parameters")
        caller = self._context.caller(request)
        timeout = form.worker_timeout if form.worker_timeout is not UNSET else 0
        body = msgspec.json.encode({LONE: timeout})
        process = await self._engine.bind_inline(caller, LANGUAGE, WORKER_RUN, 1, body)
        run = await self._engine.start(
            caller,
            StartCommand(
                definition=process.definition,
                input={"worker": identity, "asAt": print_moment(at) if at else None, "parameters": parameters},
                meta=StartMeta(actor=caller.user, extra={"request": caller.request}),
            ),
        )
        return json_response(
            {"runId": self._engine.codec.run_id(run.key), "statusDetail": "The run has been started", "links": []}
        )

    async def result(self, request: Request) -> Response:
        key = self._engine.codec.parse_run_id(request.path["id"])
        view = await self._engine.view(request.caller, key) if key is not None else None
        if key is None or view is None or view.process.name != WORKER_RUN:
            raise LusidError("WorkerRunNotFound", f"there is no run {request.path['id'][:100]!r} of a worker")
        status, detail, rows = await self._outcome(request.caller, key, RunStatus(view.run.status), view.end)
        return json_response({"workerStatus": status, "statusDetail": detail, "results": rows, "links": []})

    async def _outcome(
        self, caller: Caller, key: int, status: RunStatus, end: Step | None
    ) -> tuple[str, str, list[dict[str, Any]]]:
        elsewhere = await self._engine.newest(caller, key, "elsewhere")
        work = elsewhere or await self._engine.newest(caller, key, "work")
        if status == RunStatus.COMPLETED:
            rows = rows_of(work.output) if work is not None else []
            return ("CompletedWithResults" if rows else "CompletedNoResults"), "", rows
        if status in (RunStatus.RUNNING, RunStatus.PAUSED):
            started = work is not None and (isinstance(work, Step) or bool(work.polls))
            return ("Started" if started else "NotStarted"), "", []
        early = isinstance(work, Step) and work.failure == FAILED_TO_START
        reason = end.reason if end is not None else ""
        return ("FailedToStart" if early else "FailedToComplete"), reason, []

    # ---- action logs

    async def log(self, request: Request) -> Response:
        caller, identity = request.caller, request.path["id"]
        place = self._engine.codec.parse_step_id(identity)
        started = await self._engine.step(caller, *place) if place is not None else None
        if place is None or started is None or not started.slot.startswith("act:") or not isinstance(started.output, dict):
            raise LusidError("ActionLogNotFound", f"there is no action log {identity[:100]!r}")
        run, n = place
        output = started.output
        action = action_of(started.slot)
        refused = await self._engine.logs(caller, run, n)
        lost = sum(not _is_trigger(row) for row in refused)
        items: list[tuple[int, str, str]] = [(started.opened, "ActionSubmitted", f"{output['type']} {action!r}")]
        for step in await self._engine.steps(caller, run, n, MOST_STEPS):
            if step.slot == END or ":" not in step.slot or action_of(step.slot) != action:
                continue
            if step.slot.startswith("act:"):  # the same action again, later
                break
            items += _items(step, lost)
        items += [(row.at, "TriggerNotApplied" if _is_trigger(row) else "ActionFailed", row.text) for row in refused]
        items.sort(key=lambda item: item[0])
        return json_response(
            {
                "id": identity,
                "origin": {"requestId": output.get("request", ""), "taskId": self._engine.codec.run_id(run)},
                "actionType": output["type"],
                "runAsUserId": output.get("runAs", ""),
                "loggedItems": [
                    {"timestamp": print_moment(at * 1000), "logType": kind, "details": details} for at, kind, details in items
                ],
                "links": [],
            }
        )


def _is_trigger(row: LogRow) -> bool:
    """Whether it reports a trigger that changed nothing, and not a task that was refused."""
    return row.text.startswith("trigger ")


def _items(step: OpenStep | Step, lost: int) -> list[tuple[int, str, str]]:
    """What a step of an action's path says in its log. `lost`: how many tasks were refused when they were to be made."""
    kind = step.slot.partition(":")[0]
    if kind in ("work", "worker"):
        items = [(step.opened, "ActionInitialising", "the worker is to be started")]
        if step.started:
            items.append((step.started, "ActionStarted", "the worker has been started"))
        if isinstance(step, OpenStep):
            if step.reason:
                items.append((step.updated, "ActionProgressUpdate", step.reason))
            return items
        if StepStatus(step.status).successful:
            return [*items, (step.ended, "ActionSuccessful", f"the worker ended with {len(rows_of(step.output))} rows")]
        return [*items, (step.ended, "ActionFailed", step.reason)]
    if isinstance(step, OpenStep) and step.state != State.PARKED:
        return []
    ended = step.ended if isinstance(step, Step) else step.updated
    if isinstance(step, Step) and step.status not in (StepStatus.COMPLETED, StepStatus.SKIPPED):
        return [(ended, "ActionFailed", step.reason)]
    made = step.output if isinstance(step.output, list) else []
    failed = [each["error"] for each in made if "error" in each]
    items = [(ended, "ActionFailed", reason) for reason in failed]
    count = max(len(made) - len(failed) - lost, 0)
    if count or (kind in ("send", "none") and not made):
        items.append((ended, "ActionSuccessful", f"{count} tasks are made" if count else "done"))
    return items
