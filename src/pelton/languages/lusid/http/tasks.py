"""The routes of tasks: create, read, trigger, change, delete; singly or in bulk."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from pelton.errors import Code, FieldProblem, PeltonError
from pelton.kernel.expressions.base import in_words
from pelton.kernel.model.signals import Amend, Retire, Trigger
from pelton.kernel.model.state import Record, StartMeta
from pelton.languages.lusid import decode
from pelton.languages.lusid.errors import LusidError, by_rules, invalid
from pelton.languages.lusid.http.api_context import LusidContext, as_at
from pelton.languages.lusid.http.entities import deleted
from pelton.languages.lusid.http.task_list import TaskList
from pelton.languages.lusid.names import LANGUAGE
from pelton.languages.lusid.tasks.forms import BatchUpdate, CreateTask, DeleteTasks, UpdateTask, by_name
from pelton.languages.lusid.tasks.view import TaskReader
from pelton.runtime.api import StartCommand
from pelton.runtime.caller import Caller
from pelton.runtime.rows import FEW, next_count
from pelton.transport.http.asgi import Request, Response, Router, json_response
from pelton.transport.pages import check_whole, whole_list

MOST_IN_BATCH = 1000
MOST_LISTED = 5_000  # tasks of a definition that are listed without pages


class TaskRoutes:
    def __init__(self, context: LusidContext) -> None:
        self._context = context
        self._engine = context.engine
        self._list = TaskList(context)

    def add_to(self, router: Router) -> None:
        router.add("POST", "/api/tasks", self.create)
        router.add("GET", "/api/tasks", self._list.answer)
        router.add("PATCH", "/api/tasks/$update", self.update_many)
        router.add("POST", "/api/tasks/$delete", self.delete_many)
        router.add("GET", "/api/tasks/{id}", self.get)
        router.add("POST", "/api/tasks/{id}", self.update)
        router.add("DELETE", "/api/tasks/{id}", self.delete)
        router.add("GET", "/api/tasks/{id}/history", self.history)
        router.add("GET", "/api/taskdefinitions/{scope}/{code}/tasks", self.of_definition)

    # ---- making

    async def create(self, request: Request) -> Response:
        form = decode.decode(await request.body(), CreateTask)
        if form.workflow_id:
            raise invalid([FieldProblem("workflowId", "is not known here: give taskDefinitionId")])
        if not form.task_definition_id:
            raise invalid([FieldProblem("taskDefinitionId", "is required")])
        name = form.task_definition_id.name
        row = await self._engine.definition(request.caller, "process", name)
        if row is None or row.language != LANGUAGE:
            raise LusidError("TaskDefinitionNotFound", f"there is no task definition {name!r}")
        caller = self._context.caller(request)
        actor, number = caller.user, caller.request
        trigger = request.query.text("trigger")
        asked: dict[str, Any] = {
            "fields": by_name(form.fields or (), "fields"),
            "correlationIds": list(form.correlation_ids or ()),
        }
        if form.stacking_key:
            asked["stackingKey"] = form.stacking_key
        command = StartCommand(
            process=name,
            input=asked,
            meta=StartMeta(actor=actor, extra={"request": number}),
            trigger=Trigger(name=trigger, actor=actor, request=number) if trigger else None,
        )
        try:
            run = await self._engine.start(caller, command)
        except PeltonError as error:
            raise await self._explain(caller, error, name, trigger) from None
        tasks = TaskReader(self._engine, caller)
        made = await self._first(tasks, run.key, 0)
        return json_response(await tasks.to_wire(made), 201)

    # ---- reading

    async def get(self, request: Request) -> Response:
        at = as_at(request)
        keys = request.query.texts("propertyKeys")
        tasks = TaskReader(self._engine, request.caller)
        return json_response(await tasks.to_wire(await self._found(tasks, request.path["id"], at), at, keys))

    async def history(self, request: Request) -> Response:
        since = as_at(request)
        tasks = TaskReader(self._engine, request.caller)
        record = await self._found(tasks, request.path["id"])
        changes = await whole_list(tasks.changes(record, since), lambda each: Raw(msgspec.json.encode(each)), "give a later asAt")
        return json_response({"values": changes, "links": []})

    async def of_definition(self, request: Request) -> Response:
        at = as_at(request)
        name = f"{request.path['scope']}/{request.path['code']}"
        tasks = TaskReader(self._engine, request.caller)
        row = await self._engine.definition(tasks.caller, "process", name, at=at)
        if row is None or row.language != LANGUAGE:
            raise LusidError("TaskDefinitionNotFound", f"there is no task definition {name!r}")
        keys = request.query.texts("propertyKeys")
        values: list[Raw] = []
        after, count, size = 0, FEW, 0
        while len(values) < MOST_LISTED:
            page = await self._engine.records(
                tasks.caller, process=name, at=at, after=after, limit=min(count, MOST_LISTED - len(values))
            )
            shown = [await tasks.shown(each, at, keys) for each in page]
            read = sum(len(bytes(each)) for each in shown)
            size += read
            check_whole(size, "use /api/tasks with a filter, which has pages")
            values += shown
            if len(page) < count:
                break
            after, count = page[-1].run, next_count(count, read)
            await asyncio.sleep(0)
        return json_response({"values": values, "links": []})

    async def _found(self, tasks: TaskReader, identity: str, at: int = 0) -> Record:
        run = self._engine.codec.parse_run_id(identity)
        record = await tasks.record(run, at) if run is not None else None
        if record is None:
            when = " at that instant" if at else ""
            raise LusidError("TaskNotFound", f"there is no task {identity[:100]!r}{when}")
        return record

    async def _first(self, tasks: TaskReader, run: int, after: int) -> Record:
        """The first value that the caller's request gave the task after that instant; what followed from it does not count."""
        for value, _ in await self._engine.past(tasks.caller, run, after):
            if value.body["request"] == tasks.caller.request:
                return value
        record = await tasks.record(run)
        if record is None:
            raise LusidError("TaskNotFound", "the task has been deleted meanwhile")
        return record

    # ---- changing

    async def update(self, request: Request) -> Response:
        data = await request.body()
        form = decode.decode(data, UpdateTask) if data.strip() else UpdateTask()
        record = await self._found(TaskReader(self._engine, request.caller), request.path["id"])
        tasks = TaskReader(self._engine, self._context.caller(request))
        changed = await self._change(tasks, record, request.query.text("trigger"), changes_in(form))
        return json_response(await tasks.to_wire(changed))

    async def _change(self, tasks: TaskReader, record: Record, trigger: str, changes: dict[str, Any]) -> Record:
        actor, number = tasks.caller.user, tasks.caller.request
        signal: Trigger | Amend
        if trigger:
            signal = Trigger(name=trigger, changes=changes, actor=actor, request=number)
        else:
            signal = Amend(changes=changes, actor=actor, request=number)
        try:
            await self._engine.signal(tasks.caller, record.run, signal)
        except PeltonError as error:
            raise await self._explain(tasks.caller, error, record.body["definition"], trigger, record) from None
        return await self._first(tasks, record.run, record.since)

    async def update_many(self, request: Request) -> Response:
        form = decode.decode(await request.body(), BatchUpdate)
        if len(form.update_tasks) > MOST_IN_BATCH:
            raise invalid(
                [FieldProblem("updateTasks", f"has {len(form.update_tasks)} entries; at most {MOST_IN_BATCH} are taken")]
            )
        tasks = TaskReader(self._engine, self._context.caller(request))
        values: list[Any] = []
        failed: list[Any] = []
        for each in form.update_tasks:
            try:
                record = await self._found(tasks, each.task_instance_id)
                changed = await self._change(tasks, record, each.trigger_name or "", changes_in(each))
                values.append(await tasks.to_wire(changed))
            except LusidError as error:
                failed.append({"id": each.task_instance_id, "type": error.name, "detail": error.message, "errorDetails": []})
        return json_response({"values": values, "failed": failed, "links": []})

    async def delete(self, request: Request) -> Response:
        record = await self._found(TaskReader(self._engine, request.caller), request.path["id"])
        return json_response(deleted(await self._delete(self._context.caller(request), record)))

    async def delete_many(self, request: Request) -> Response:
        form = decode.decode(await request.body(), DeleteTasks)
        if len(form.task_ids) > MOST_IN_BATCH:
            raise invalid([FieldProblem("taskIds", f"has {len(form.task_ids)} entries; at most {MOST_IN_BATCH} are taken")])
        caller = self._context.caller(request)
        tasks = TaskReader(self._engine, caller)
        records = [await self._found(tasks, each) for each in dict.fromkeys(form.task_ids)]  # all are there, or none is deleted
        done = await asyncio.gather(*(self._delete(caller, record) for record in records))
        return json_response(deleted(max(done, default=self._engine.now() * 1000)))

    async def _delete(self, caller: Caller, record: Record) -> int:
        """The instant from which on it is gone."""
        try:
            await self._engine.signal(caller, record.run, Retire(actor=caller.user, request=caller.request, reason="deleted"))
        except PeltonError as error:
            if error.code in (Code.NOT_FOUND, Code.UNKNOWN_RUN):
                raise LusidError("TaskNotFound", "the task has been deleted already") from None
            raise
        versions = await self._engine.past(caller, record.run, record.since - 1)
        return versions[-1][1] if versions else self._engine.now() * 1000

    # ---- refusals

    async def _explain(
        self, caller: Caller, error: PeltonError, name: str, trigger: str, record: Record | None = None
    ) -> Exception:
        """The error in this API's words."""
        if error.code is Code.UNKNOWN_PROCESS:
            return LusidError("TaskDefinitionNotFound", f"there is no task definition {name!r}")
        if error.code is Code.NOT_FOUND:
            return LusidError("TaskNotFound", "the task has been deleted")
        if error.code in (Code.ENDED, Code.GUARD):
            process = await (self._engine.process(record.body["row"]) if record else self._engine.bind(caller, name))
            known = process.annotations
            state = record.body["state"] if record else known.definition.initial
            return refusal(error, trigger, state, known.triggers, state in known.definition.terminal)
        return by_rules(error) or error


def refusal(error: PeltonError, trigger: str, state: str, declared: frozenset[str], terminal: bool) -> LusidError:
    """Why a trigger led nowhere."""
    if trigger not in declared:
        known = ", ".join(sorted(declared)[:20]) or "none"
        return LusidError("UnknownTrigger", f"trigger {trigger!r} is not declared; there are: {known}")
    if terminal:
        return LusidError(
            "InvalidTransition", f"the task is in state {state!r}, which is a terminal one: no trigger leads out of it"
        )
    false = [each for each in error.trace if isinstance(each, Mapping) and "guard" in each]
    if not false:
        return LusidError("InvalidTransition", f"trigger {trigger!r} leads nowhere from state {state!r}")
    said = [line_of(each) for each in false]
    return LusidError("GuardConditionNotMet", "; ".join(said))


def line_of(entry: Mapping[str, Any]) -> str:
    """The author's message when there is one; else the part of the guard that was false, with what it saw."""
    why = entry.get("why") or {}
    if why.get("message"):
        return str(why["message"])
    parts = [
        f"{text} is {'true' if result else 'false'}: it saw {in_words(value)}"[:300]
        for text, value, result in why.get("trace", ())
    ]
    return f"the guard {entry['guard']!r} does not hold" + (f": {'; '.join(parts)}" if parts else "")


def changes_in(form: Any) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if form.fields:
        changes["fields"] = by_name(form.fields, "fields")
    if form.correlation_ids is not UNSET:
        changes["correlationIds"] = list(form.correlation_ids)
    if form.stacking_key is not UNSET:
        changes["stackingKey"] = form.stacking_key
    return changes
