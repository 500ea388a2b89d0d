"""Definitions of workflows and tasks over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec
from msgspec import UNSET, Raw

from pelton.errors import Code, PeltonError
from pelton.languages.conductor import decode
from pelton.languages.conductor.definitions import validate
from pelton.languages.conductor.definitions.definition_tree import walk
from pelton.languages.conductor.http.api_context import ConductorApi, bulk
from pelton.languages.conductor.model import TaskDef, WorkflowDef
from pelton.languages.conductor.tasks import kinds
from pelton.runtime.caller import Caller
from pelton.runtime.rows import DefinitionRow
from pelton.transport.http.asgi import Request, Response, Router, empty, json_response
from pelton.transport.pages import check_whole, shown_row, whole_list

MOST_WARNINGS = 20  # headers in one answer
NARROW = "there are too many definitions to be listed here; /v1/processes has pages"
SUMMARY = 100  # bytes of a definition's entry beside its name
LARGE = 20_000  # bytes of a definition that is checked in a thread, so that it does not block the event loop


class WorkflowDefRoutes:
    def __init__(self, api: ConductorApi) -> None:
        self.api = api
        self.engine = api.engine

    def add_to(self, router: Router) -> None:
        base = "/metadata/workflow"
        router.add("POST", base, self.create)
        router.add("PUT", base, self.update)
        router.add("GET", base, self.all)
        router.add("POST", f"{base}/validate", self.validate)
        router.add("GET", f"{base}/names", self.names)
        router.add("GET", f"{base}/names-and-versions", self.names_and_versions)
        router.add("GET", f"{base}/latest-versions", self.latest)
        router.add("GET", base + "/{name}", self.get)
        router.add("GET", base + "/{name}/versions", self.versions)
        router.add("DELETE", base + "/{name}/{version}", self.remove)
        tasks = "/metadata/taskdefs"
        router.add("POST", tasks, self.create_tasks)
        router.add("PUT", tasks, self.update_task)
        router.add("GET", tasks, self.all_tasks)
        router.add("GET", tasks + "/{type}", self.get_task)
        router.add("DELETE", tasks + "/{type}", self.remove_task)

    # ---- workflows

    async def _check(self, definition: WorkflowDef, operation: str, size: int) -> None:
        if size > LARGE:
            await asyncio.to_thread(validate.check_workflow, definition, operation, self.engine.check_sink)
        else:
            validate.check_workflow(definition, operation, self.engine.check_sink)

    async def _store(self, caller: Caller, definition: WorkflowDef, must_be_new: bool) -> None:
        await self.api.refuse_foreign(caller, "process", definition.name, definition.version)
        definition.create_time = definition.update_time = definition.warnings = UNSET
        for place in walk(definition.tasks):
            if place.task.task_definition is not UNSET:
                place.task.task_definition.create_time = place.task.task_definition.update_time = UNSET
        actor = definition.updated_by or definition.created_by or ""
        await self.engine.define(
            caller,
            "process",
            self.api.language,
            definition.name,
            definition.version,
            msgspec.json.encode(definition),
            actor=actor,
            must_be_new=must_be_new,
        )

    async def create(self, request: Request) -> Response:
        body = await request.body()
        definition = decode.decode(body, WorkflowDef)
        await self._check(definition, "registerWorkflowDef.arg0", len(body))
        try:
            await self._store(request.caller, definition, not request.query.boolean("overwrite", False))
        except PeltonError as error:
            if error.code is Code.EXISTS:
                raise PeltonError(Code.EXISTS, f"Workflow with {definition.name}.{definition.version} already exists!") from None
            raise
        return self._warned(empty(), [definition])

    def _warned(self, response: Response, definitions: Sequence[WorkflowDef]) -> Response:
        """With a header for each thing that the authors should know, up to a limit."""
        schemes = self.api.settings.schemes
        warnings = [f"{each.name}: {warning}" for each in definitions for warning in warnings_of(each, schemes)]
        found = [
            text.encode("ascii", "backslashreplace").replace(b"\\", b"/").replace(b'"', b"'") for text in warnings[:MOST_WARNINGS]
        ]
        response.headers = [*response.headers, *((b"warning", b'299 pelton "' + text + b'"') for text in found)]
        return response

    async def update(self, request: Request) -> Response:
        body = await request.body()
        done: list[str] = []
        failed: dict[str, str] = {}
        definitions = decode.decode_list(body, WorkflowDef)
        for index, definition in enumerate(definitions):
            await self._check(definition, f"updateWorkflowDef.arg0[{index}]", len(body))
        for definition in definitions:
            try:
                await self._store(request.caller, definition, must_be_new=False)
            except PeltonError as error:
                failed[definition.name] = error.message
            else:
                done.append(definition.name)
        return self._warned(bulk(done, failed), [each for each in definitions if each.name in done])

    async def validate(self, request: Request) -> Response:
        body = await request.body()
        definition = decode.decode(body, WorkflowDef)
        await self._check(definition, "validateWorkflowDef.arg0", len(body))
        return self._warned(empty(), [definition])

    async def all(self, request: Request) -> Response:
        rows = self.api.rows(request.caller, "process")
        return json_response(await whole_list(rows, shown_definition, "ask for single ones, which .../names-and-versions lists"))

    async def latest(self, request: Request) -> Response:
        rows = newest(self.api.rows(request.caller, "process"))
        return json_response(await whole_list(rows, shown_definition, "ask for single ones, which .../names lists"))

    async def names(self, request: Request) -> Response:
        rows = newest(self.api.rows(request.caller, "process"))
        return json_response(await whole_list(rows, lambda row: Raw(msgspec.json.encode(row.name)), NARROW))

    async def names_and_versions(self, request: Request) -> Response:
        found: dict[str, list[dict[str, str | int]]] = {}
        size = 0
        async for row in self.api.rows(request.caller, "process"):
            size += len(row.name) + SUMMARY
            check_whole(size, NARROW)
            found.setdefault(row.name, []).append(_summary(row))
        return json_response(found)

    async def versions(self, request: Request) -> Response:
        rows = self.api.rows(request.caller, "process", request.path["name"])
        return json_response([_summary(row) async for row in rows])

    async def get(self, request: Request) -> Response:
        name, version = request.path["name"], request.query.integer("version", 0, 0, 2**31 - 1)
        row = await self.engine.definition(request.caller, "process", name, version)
        if row is None or row.language != self.api.language:
            raise PeltonError(Code.NOT_FOUND, f"No such workflow found by name: {name[:200]}, version: {version or 'null'}")
        definition = definition_to_wire(row)
        if warnings := warnings_of(definition, self.api.settings.schemes):
            definition.warnings = warnings
        return json_response(definition)

    async def remove(self, request: Request) -> Response:
        name, text = request.path["name"], request.path["version"]
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise PeltonError(Code.INVALID, f"version must be a whole number, not {text[:100]!r}")
        missing = PeltonError(Code.NOT_FOUND, f"No such workflow definition: {name[:200]} version: {text}")
        if not await self.api.owns(request.caller, "process", name, int(text)):
            raise missing
        try:
            await self.engine.undefine(request.caller, "process", name, int(text))
        except PeltonError as error:
            if error.code is Code.NOT_FOUND:
                raise missing from None
            raise
        return empty()

    # ---- tasks

    async def _put_policy(self, caller: Caller, policy: TaskDef) -> None:
        await self.api.refuse_foreign(caller, "policy", policy.name)
        policy.create_time = policy.update_time = UNSET
        body = msgspec.json.encode(policy)
        await self.engine.define(caller, "policy", self.api.language, policy.name, 1, body, actor=policy.updated_by or "")

    async def create_tasks(self, request: Request) -> Response:
        policies = decode.decode_list(await request.body(), TaskDef)
        validate.check_policies(policies)
        for policy in policies:
            await self._put_policy(request.caller, policy)
        return empty()

    async def update_task(self, request: Request) -> Response:
        policy = decode.decode(await request.body(), TaskDef)
        validate.check_policies([policy], "updateTaskDef.arg0")
        await self._policy(request.caller, policy.name, f"No such task by name {policy.name[:200]}")
        await self._put_policy(request.caller, policy)
        return empty()

    async def _policy(self, caller: Caller, name: str, missing: str) -> DefinitionRow:
        row = await self.engine.definition(caller, "policy", name)
        if row is None or row.language != self.api.language:
            raise PeltonError(Code.NOT_FOUND, missing)
        return row

    async def all_tasks(self, request: Request) -> Response:
        rows = self.api.rows(request.caller, "policy")
        return json_response(await whole_list(rows, shown_policy, "ask for single ones by their names"))

    async def get_task(self, request: Request) -> Response:
        name = request.path["type"]
        return json_response(
            policy_to_wire(await self._policy(request.caller, name, f"No such taskType found by name: {name[:200]}"))
        )

    async def remove_task(self, request: Request) -> Response:
        name = request.path["type"]
        await self._policy(request.caller, name, "No such task definition")
        try:
            await self.engine.undefine(request.caller, "policy", name, 1)
        except PeltonError as error:
            if error.code is Code.NOT_FOUND:
                raise PeltonError(Code.NOT_FOUND, "No such task definition") from None
            raise
        return empty()


def warnings_of(definition: WorkflowDef, schemes: frozenset[str]) -> list[str]:
    """What the author should know of a definition that can be registered."""
    return [found for place in walk(definition.tasks) if (found := kinds.warning_of(place.task, schemes))]


def definition_to_wire(row: DefinitionRow) -> WorkflowDef:
    definition = decode.decode(row.body, WorkflowDef)
    definition.create_time = definition.update_time = row.since // 1000
    return definition


def shown_definition(row: DefinitionRow) -> Raw:
    return shown_row(row, definition_to_wire, lambda row, why: WorkflowDef(name=row.name, version=row.version, description=why))


def shown_policy(row: DefinitionRow) -> Raw:
    return shown_row(row, policy_to_wire, lambda row, why: TaskDef(name=row.name, description=why))


async def newest(rows: AsyncIterator[DefinitionRow]) -> AsyncIterator[DefinitionRow]:
    """Of each name the last version."""
    last: DefinitionRow | None = None
    async for row in rows:
        if last is not None and last.name != row.name:
            yield last
        last = row
    if last is not None:
        yield last


def policy_to_wire(row: DefinitionRow) -> TaskDef:
    policy = decode.decode(row.body, TaskDef)
    policy.create_time = policy.update_time = row.since // 1000
    return policy


def _summary(row: DefinitionRow) -> dict[str, str | int]:
    at = row.since // 1000
    return {"name": row.name, "version": row.version, "createTime": at, "updateTime": at}
