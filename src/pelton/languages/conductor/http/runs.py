"""Workflows over HTTP: starting them, reading them, and operators' actions on them."""

from __future__ import annotations

import ast
import asyncio
import re
import uuid
from typing import Any

from msgspec import UNSET, structs

from pelton.errors import Code, PeltonError
from pelton.kernel.model.signals import Pause, Resume, Rewind, RunNow, SetVars, Skip, Terminate
from pelton.kernel.model.state import RunStatus, Step
from pelton.languages.conductor import decode, status_names
from pelton.languages.conductor.http import waiting
from pelton.languages.conductor.http.api_context import ConductorApi
from pelton.languages.conductor.model import RerunWorkflowRequest, SkipTaskRequest, StartWorkflowRequest
from pelton.languages.conductor.runs import starting, view
from pelton.runtime.api import RunView
from pelton.runtime.caller import Caller
from pelton.transport import documents
from pelton.transport.http.asgi import Request, Response, Router, empty, json_response, raw_json, text_response
from pelton.transport.http.query import Query

MAX_WAIT = 300  # seconds that a caller may wait
MAX_RUNNING = 1_000
MAX_PAGE = 1_000
MAX_LITERAL = 20_000  # characters
_MEMBER = re.compile(r"(taskInput|taskOutput)\[([^\[\]]{1,200})\]")


class WorkflowRoutes:
    def __init__(self, api: ConductorApi) -> None:
        self.api = api
        self.engine = api.engine
        self.codec = api.engine.codec

    def add_to(self, router: Router) -> None:
        router.add("POST", "/workflow", self.start)
        router.add("POST", "/workflow/{name}", self.start_named)
        router.add("POST", "/workflow/execute/{name}/{version}", self.execute)
        one = "/workflow/{id}"
        router.add("GET", one, self.get)
        router.add("DELETE", one, self.terminate)
        router.add("GET", one + "/tasks", self.tasks)
        router.add("GET", one + "/status", self.status)
        router.add("GET", "/workflow/running/{name}", self.running)
        router.add("PUT", one + "/pause", self.pause)
        router.add("PUT", one + "/resume", self.resume)
        router.add("POST", one + "/restart", self.restart)
        router.add("POST", one + "/retry", self.retry)
        router.add("POST", one + "/rerun", self.rerun)
        router.add("POST", one + "/resetcallbacks", self.reset_callbacks)
        router.add("DELETE", one + "/remove", self.remove)
        router.add("DELETE", one + "/terminate-remove", self.terminate_remove)
        router.add("PUT", one + "/skiptask/{ref}", self.skip)
        router.add("PUT", "/workflow/decide/{id}", self.decide)
        router.add("POST", one + "/variables", self.variables)

    # ---- starting

    async def start(self, request: Request) -> Response:
        asked = decode.decode(await request.body(), StartWorkflowRequest)
        run = await starting.start(self.engine, request.caller, asked)
        return text_response(self.codec.run_id(run.key))

    async def start_named(self, request: Request) -> Response:
        query = request.query
        asked = StartWorkflowRequest(name=request.path["name"])
        asked.input = decode.decode_map(await request.body(), "the workflow's input")
        asked.version = query.integer("version", 0, 0, 2**31 - 1)
        asked.correlation_id = query.text("correlationId") or UNSET
        asked.priority = query.integer("priority", 0, -(2**31), 2**31)
        asked.idempotency_key = query.text("idempotencyKey") or request.header(b"x-idempotency-key") or UNSET
        strategy = query.text("idempotencyStrategy")
        if strategy:
            given = decode.convert({"idempotencyStrategy": strategy}, StartWorkflowRequest)
            asked.idempotency_strategy = given.idempotency_strategy
        run = await starting.start(self.engine, request.caller, asked, by_path=True)
        return text_response(self.codec.run_id(run.key))

    async def execute(self, request: Request) -> Response:
        """Starts, then waits until the run has ended, something blocks it, or the time is up."""
        query = request.query
        strategy = waiting.strategy_of(query.text("returnStrategy", "TARGET_WORKFLOW"))
        references = waiting.references_of(query.text("waitUntilTaskRef"))
        seconds = query.integer("waitForSeconds", 10, 0, MAX_WAIT) or 10
        asked = decode.decode(await request.body() or b"{}", StartWorkflowRequest)
        version = request.path["version"]
        if not (version.isascii() and version.isdigit() and len(version) < 10):
            raise PeltonError(Code.INVALID, f"version must be a whole number, not {version[:100]!r}")
        asked.name, asked.version = request.path["name"], int(version)
        if asked.workflow_def is not UNSET:
            asked.input = {**asked.input, "_systemMetadata": {"dynamic": True}}
        run = await starting.start(self.engine, request.caller, asked, "executeWorkflow")
        seen = await request.unless_gone(waiting.wait(self.api, request.caller, run.key, references, seconds))
        return await waiting.answer(self.api, request.caller, seen, strategy, query.text("requestId") or str(uuid.uuid4()))

    # ---- reading

    async def get(self, request: Request) -> Response:
        found = await self.api.view(request.caller, request.path["id"])
        include = request.query.boolean("includeTasks", True)
        return await self._workflow(request.caller, found, include)

    async def _workflow(self, caller: Caller, found: RunView, include_tasks: bool = True) -> Response:
        workflow = await view.workflow_view(self.engine, caller, found, include_tasks)
        large = len(workflow.tasks) > MAX_PAGE  # encoding it here would block the event loop for too long
        return raw_json(await asyncio.to_thread(view.encode, workflow) if large else view.encode(workflow))

    async def tasks(self, request: Request) -> Response:
        query = request.query
        start, count = query.integer("start", 0), query.integer("count", 15, 0, MAX_PAGE)
        wanted = set(query.texts("status"))
        known = {"SCHEDULED", "IN_PROGRESS", *status_names.STEP_STATUS.values()}
        if wanted - known:
            raise PeltonError(
                Code.INVALID, f"status must be one of {', '.join(sorted(known))}, not {sorted(wanted - known)[0][:100]!r}"
            )
        found = await self.api.view(request.caller, request.path["id"])
        total, tasks = await view.tasks_page(self.engine, request.caller, found, start, count, wanted)
        return json_response({"totalHits": total, "results": tasks})

    async def status(self, request: Request) -> Response:
        found = await self.api.view(request.caller, request.path["id"])
        meta = view.meta_of(found.start)
        answer: dict[str, Any] = {
            "workflowId": self.codec.run_id(found.run.key),
            "status": status_names.RUN_STATUS[RunStatus(found.run.status)],
        }
        if meta.correlation is not None:
            answer["correlationId"] = meta.correlation
        if request.query.boolean("includeOutput", False):
            answer["output"] = view.output_to_wire(found)
        if request.query.boolean("includeVariables", False):
            answer["variables"] = found.variables
        return json_response(answer)

    async def running(self, request: Request) -> Response:
        query = request.query
        version = query.integer("version", 1, 0, 2**31 - 1)
        runs = await self.engine.runs(
            request.caller,
            process=request.path["name"],
            live=True,
            since=query.integer("startTime", 0),
            until=query.integer("endTime", 0),
            limit=MAX_RUNNING,
        )
        versions: dict[int, int] = {}
        for run in runs:
            if run.definition not in versions:
                row = await self.engine.definition_row(run.definition)
                versions[run.definition] = row.version if row is not None else 0
        return json_response([self.codec.run_id(run.key) for run in runs if version in (0, versions[run.definition])])

    # ---- operators

    async def pause(self, request: Request) -> Response:
        found = await self.api.view(request.caller, request.path["id"])
        if RunStatus(found.run.status) != RunStatus.PAUSED:
            await self.api.signal(request.caller, request.path["id"], Pause())
        return empty()

    async def resume(self, request: Request) -> Response:
        found = await self.api.view(request.caller, request.path["id"])
        if RunStatus(found.run.status) != RunStatus.PAUSED:
            status = status_names.RUN_STATUS[RunStatus(found.run.status)]
            raise PeltonError(
                Code.NOT_PAUSED, f"The workflow {request.path['id']} is {status}, not PAUSED; only a paused one can be resumed"
            )
        await self.api.signal(request.caller, request.path["id"], Resume())
        return empty()

    async def terminate(self, request: Request) -> Response:
        query = request.query
        found = await self.api.view(request.caller, request.path["id"])
        status = RunStatus(found.run.status)
        if status == RunStatus.COMPLETED:
            raise PeltonError(Code.ENDED, f"Cannot terminate a {status_names.RUN_STATUS[status]} workflow.")
        if status.ended:  # nothing is running, and the way it ended stays on record
            return empty()
        follow_up = query.boolean("triggerFailureWorkflow", False)
        await self.api.signal(request.caller, request.path["id"], Terminate(reason=query.text("reason"), follow_up=follow_up))
        return empty()

    async def _ended(self, request: Request, act: str) -> RunView:
        found = await self.api.view(request.caller, request.path["id"])
        status = RunStatus(found.run.status)
        if not status.ended:
            raise PeltonError(
                Code.NOT_ENDED,
                f"Workflow: {request.path['id']} is {status_names.RUN_STATUS[status]}; only one that has ended can be {act}",
            )
        return found

    async def restart(self, request: Request) -> Response:
        found = await self._ended(request, "restarted")
        definition = view.annotations_of(found.process).definition
        name, version = found.process.name, found.process.version
        if found.run.status == RunStatus.COMPLETED and not definition.restartable:
            raise PeltonError(Code.NOT_FOUND, f"Workflow: {name}.{version}/{request.path['id']}.COMPLETED is non-restartable")
        row = 0
        if request.query.boolean("useLatestDefinitions", False):
            try:
                row = (await self.engine.bind(request.caller, name)).definition
            except PeltonError as error:
                if error.code is Code.UNKNOWN_PROCESS:
                    raise PeltonError(Code.UNKNOWN_PROCESS, starting.unknown(name, 0, by_path=True)) from None
                raise
        await self.api.signal(request.caller, request.path["id"], Rewind(to="start", definition=row))
        return empty(204)

    async def retry(self, request: Request) -> Response:
        found = await self.api.view(request.caller, request.path["id"])
        status = RunStatus(found.run.status)
        if not status.ended:
            raise PeltonError(Code.NOT_FOUND, f"Workflow is still running.  status={status_names.RUN_STATUS[status]}")
        nothing = "There are no retryable tasks! Use restart if you want to attempt entire workflow execution again."
        if status == RunStatus.COMPLETED:
            raise PeltonError(Code.NOTHING_TO_RETRY, nothing)
        children = request.query.boolean("resumeSubworkflowTasks", False)
        try:
            await self.api.signal(request.caller, request.path["id"], Rewind(to="failed", children=children))
        except PeltonError as error:
            if error.code is Code.NOTHING_TO_RETRY:
                raise PeltonError(Code.NOTHING_TO_RETRY, nothing) from None
            raise
        return empty(204)

    async def rerun(self, request: Request) -> Response:
        asked = decode.decode(await request.body() or b"{}", RerunWorkflowRequest)
        found = await self._ended(request, "run again")
        meta = None
        if asked.correlation_id is not UNSET:
            meta = structs.replace(view.meta_of(found.start), correlation=asked.correlation_id)
        given = asked.workflow_input if asked.workflow_input is not UNSET else None
        task = asked.re_run_from_task_id or ""
        if not task:
            signal = Rewind(to="start", input=given, meta=meta)
        else:
            place = self.api.ids.parse_step_id(task)
            step = await self.engine.step(request.caller, *place) if place is not None and place[0] == found.run.key else None
            if step is None or not view.is_task(step):
                raise PeltonError(Code.INVALID, f"Task {task[:200]} not found")
            step_input = asked.task_input if asked.task_input is not UNSET else None
            signal = Rewind(to="step", n=step.n, input=given, step_input=step_input, meta=meta)
        await self.api.signal(request.caller, request.path["id"], signal)
        return text_response(request.path["id"])

    async def remove(self, request: Request) -> Response:
        found = await self.api.view(request.caller, request.path["id"])
        status = RunStatus(found.run.status)
        if not status.ended:
            raise PeltonError(
                Code.INVALID, f"Cannot archive workflow: {request.path['id']} with status: {status_names.RUN_STATUS[status]}"
            )
        await self.engine.remove(request.caller, found.run.key)
        return empty()

    async def terminate_remove(self, request: Request) -> Response:
        await self.terminate(request)
        return await self.remove(request)

    async def reset_callbacks(self, request: Request) -> Response:
        """Tasks that were postponed may be handed out now."""
        await self.api.view(request.caller, request.path["id"])
        await self.api.signal(request.caller, request.path["id"], RunNow())
        return empty(204)

    async def skip(self, request: Request) -> Response:
        asked = skip_request(request.query, await request.body(), request.header(b"content-type"))
        identity, reference = request.path["id"], request.path["ref"]
        found = await self.api.view(request.caller, identity)
        if RunStatus(found.run.status).ended:
            raise PeltonError(Code.ENDED, f"Workflow: {identity} has ended; its tasks cannot be skipped")
        if reference not in found.process.nodes:
            raise PeltonError(
                Code.NOT_FOUND, f"The task reference name {reference[:200]} does not exist in the workflow definition"
            )
        earlier = await self.engine.newest(request.caller, found.run.key, reference)
        if earlier is not None:
            state = "ended" if isinstance(earlier, Step) else "been scheduled"
            raise PeltonError(Code.STEP_ENDED, f"Task {reference[:200]} has {state} already and cannot be skipped")
        skipped = Skip(slot=reference, input=asked.task_input or None, output=asked.task_output or {})
        await self.api.signal(request.caller, identity, skipped)
        return empty()

    async def decide(self, request: Request) -> Response:
        """A run always advances by itself, so there is nothing to force; the caller learns whether the run exists."""
        await self.api.view(request.caller, request.path["id"])
        return empty()

    async def variables(self, request: Request) -> Response:
        changes = decode.decode_map(await request.body(), "the variables")
        await self.api.view(request.caller, request.path["id"])
        await self.api.signal(request.caller, request.path["id"], SetVars(changes=changes))
        return await self._workflow(request.caller, await self.api.view(request.caller, request.path["id"]))


def skip_request(query: Query, body: bytes, content_type: str) -> SkipTaskRequest:
    """A skip request from a JSON body, from members in the query or a form, or from a literal of Python in the query."""
    literal = query.text("skipTaskRequest")
    if literal:
        return decode.convert(_literal(literal), SkipTaskRequest)
    form = Query(body) if content_type.startswith("application/x-www-form-urlencoded") else None
    found: dict[str, dict[str, str]] = {}
    for name, value in [*query.items(), *(form.items() if form is not None else [])]:
        member = _MEMBER.fullmatch(name)
        if member is not None:
            found.setdefault(member[1], {})[member[2]] = value
    if found:
        return decode.convert(found, SkipTaskRequest)
    if form is not None or not body.strip():
        return SkipTaskRequest()
    return decode.decode(body, SkipTaskRequest)


def _literal(text: str) -> Any:
    bad = "skipTaskRequest in the query must be an object with taskInput and taskOutput; better send it as the JSON body"
    if len(text) > MAX_LITERAL:
        raise PeltonError(
            Code.INVALID, f"skipTaskRequest has {len(text)} characters; the limit is {MAX_LITERAL}; send it as the JSON body"
        )
    documents.check_depth(text.replace("(", "[").replace(")", "]").replace("'", '"').encode())
    try:
        value = ast.literal_eval(text)
        value = documents.parse(view.encode(value))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError, OverflowError):
        raise PeltonError(Code.INVALID, bad) from None
    if not isinstance(value, dict):
        raise PeltonError(Code.INVALID, bad)
    named = {"task_input": "taskInput", "task_output": "taskOutput"}
    return {named.get(key, key): item for key, item in value.items()}
