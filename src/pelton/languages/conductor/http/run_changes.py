"""More that callers do to a workflow: starting one for its output, changing several things of one at once, and moving it to
another version of its definition."""

from __future__ import annotations

import uuid
from typing import Any

from msgspec import UNSET, UnsetType

from pelton.errors import Code, PeltonError
from pelton.kernel.model.signals import SetVars, Upgrade
from pelton.kernel.model.state import OpenStep, RunStatus
from pelton.languages.conductor import decode
from pelton.languages.conductor.http import waiting
from pelton.languages.conductor.http.api_context import ConductorApi
from pelton.languages.conductor.model import CamelForm, StartWorkflowRequest, TaskResult, Text, Whole
from pelton.languages.conductor.runs import reports, starting, view
from pelton.languages.conductor.runs.identifiers import split_reference
from pelton.transport.http.asgi import Request, Response, Router, empty, json_response

MAX_WAIT = 300  # seconds that a caller may wait


class WorkflowStateUpdate(CamelForm):
    task_reference_name: Text = UNSET
    task_result: TaskResult | UnsetType = UNSET
    variables: dict[str, Any] | UnsetType = UNSET


class UpgradeWorkflowRequest(CamelForm):
    name: Text = UNSET
    version: Whole = UNSET


class RunChangeRoutes:
    def __init__(self, api: ConductorApi) -> None:
        self.api = api
        self.engine = api.engine

    def add_to(self, router: Router) -> None:
        router.add("POST", "/workflow/execute/{name}", self.execute)
        router.add("GET", "/workflow/execute/{name}", self.execute_by_query, changes=True)
        router.add("POST", "/workflow/{id}/state", self.state)
        router.add("POST", "/workflow/{id}/upgrade", self.upgrade)

    # ---- a workflow as a function

    async def execute(self, request: Request) -> Response:
        return await self._execute(request, decode.decode_map(await request.body(), "the workflow's input"))

    async def execute_by_query(self, request: Request) -> Response:
        given = {name: value for name, value in request.query.items() if name not in ("version", "waitForSeconds")}
        return await self._execute(request, dict(given))

    async def _execute(self, request: Request, given: dict[str, Any]) -> Response:
        """Its output when it has ended; an error if it fails or takes too long."""
        query = request.query
        asked = StartWorkflowRequest(name=request.path["name"], input=given)
        asked.version = query.integer("version", 0, 0, 2**31 - 1)
        seconds = query.integer("waitForSeconds", 60, 0, MAX_WAIT)
        run = await starting.start(self.engine, request.caller, asked, "executeWorkflow", by_path=True)
        seen = await request.unless_gone(waiting.wait(self.api, request.caller, run.key, (), seconds))
        status = RunStatus(seen.target.run.status)
        identity = self.engine.codec.run_id(run.key)
        if not status.ended:
            why = "waits for something" if seen.blocked is not None else f"has not ended within {seconds} seconds"
            raise PeltonError(Code.NOT_ENDED, f"workflow {identity} {why}; it goes on, and can be looked at by its id")
        if status != RunStatus.COMPLETED:
            raise PeltonError(Code.CONFLICT, f"workflow {identity} has failed: {view.reason_of(seen.target)}")
        return json_response(view.output_to_wire(seen.target))

    # ---- changes

    async def state(self, request: Request) -> Response:
        """Variables, then a report on one task; answered when the workflow has ended or something blocks it."""
        query, identity = request.query, request.path["id"]
        references = waiting.references_of(query.text("waitUntilTaskRef"))
        seconds = query.integer("waitForSeconds", 10, 0, MAX_WAIT)
        asked = decode.decode(await request.body(), WorkflowStateUpdate)
        found = await self.api.view(request.caller, identity)
        if asked.variables is not UNSET and asked.variables:
            await self.api.signal(request.caller, identity, SetVars(changes=asked.variables))
        if asked.task_result is not UNSET:
            result, reference = asked.task_result, asked.task_reference_name or ""
            slot, it = split_reference(reference, found.process.nodes)
            step = await self.engine.newest(request.caller, found.run.key, slot, it) if reference else None
            if not isinstance(step, OpenStep):
                raise PeltonError(Code.NOT_FOUND, f"Found no running task {reference[:200]} of workflow {identity} to update")
            [done] = await self.engine.report(request.caller, [(found.run.key, reports.report_of(result, step.n))])
            if done.error is not None:
                raise done.error
        seen = await request.unless_gone(waiting.wait(self.api, request.caller, found.run.key, references, seconds))
        name = query.text("requestId") or str(uuid.uuid4())
        return await waiting.answer(self.api, request.caller, seen, "TARGET_WORKFLOW", name)

    async def upgrade(self, request: Request) -> Response:
        """The latest version when none is named."""
        asked = decode.decode(await request.body() or b"{}", UpgradeWorkflowRequest)
        found = await self.api.view(request.caller, request.path["id"])
        name = asked.name or found.process.name
        if name != found.process.name:
            raise PeltonError(Code.INVALID, f"a workflow keeps its name: it is {found.process.name[:200]}", "name")
        version = asked.version or 0
        try:
            process = await self.engine.bind(request.caller, name, version)
        except PeltonError as error:
            if error.code is Code.UNKNOWN_PROCESS:
                raise PeltonError(Code.UNKNOWN_PROCESS, starting.unknown(name, version, by_path=True)) from None
            raise
        await self.api.signal(request.caller, request.path["id"], Upgrade(definition=process.definition))
        return empty()
