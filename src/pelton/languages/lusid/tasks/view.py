"""Tasks in this API's format: a record, with what other records and the definition's version add to it.

Everything is as of one instant: with `at`, parents and children are also shown as of then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Raw, json

from pelton.kernel.model.state import Record
from pelton.languages.lusid.definitions.compile import TaskAnnotations
from pelton.languages.lusid.definitions.guards import completion, identity, version_of
from pelton.languages.lusid.definitions.record import PARENT, PREVIOUS, STACK
from pelton.languages.lusid.entity import property_values
from pelton.languages.lusid.filters import index_value
from pelton.languages.lusid.names import LANGUAGE
from pelton.languages.lusid.tasks.stacks import Stacked, stack_of
from pelton.languages.lusid.times import print_moment
from pelton.runtime.api import Engine
from pelton.runtime.caller import Caller
from pelton.runtime.rows import FEW, UNREADABLE, next_count
from pelton.transport.pages import shown_later

SECOND = 1_000_000
_encode = json.Encoder(enc_hook=str).encode
MOST_LINKED = 20_000  # tasks tied to one that are looked at
MOST_STACKED = 1_000  # tasks of a stacking key among which a stack is looked for


class TaskReader:
    """Reads and shows tasks as one caller sees them: those of its namespace. Made for each request."""

    __slots__ = ("_engine", "caller")

    def __init__(self, engine: Engine, caller: Caller) -> None:
        self._engine = engine
        self.caller = caller

    async def record(self, run: int, at: int = 0) -> Record | None:
        """None if there is no task, or was none then."""
        found = await self._engine.record(self.caller, run, at)
        return found if found is not None and await self.is_task(found) else None

    async def annotations(self, document: Mapping[str, Any]) -> TaskAnnotations:
        process = await self._engine.process(document["row"])
        found: TaskAnnotations = process.annotations
        return found

    async def to_wire(self, record: Record, at: int = 0, keys: Sequence[str] = ()) -> dict[str, Any]:
        """The task, whole. `at` 0 = now. `keys`: of the properties that are to be shown, which its definition's version has."""
        document = record.body
        children = await self._linked(PARENT, record.run, at)
        now = self._engine.now() * 1000
        if at:
            now = min(at, now)
        task = await self.flat(record, now)
        parent = document.get("parent")
        root = document["root"]
        above = await self.record(root, at) if root != record.run else record
        task["ultimateParentTask"] = await self._summary(above if above is not None else record)
        if parent:
            found = above if parent == root else await self.record(parent, at)
            if found is not None:
                task["parentTask"] = await self._summary(found)
        task["childTasks"] = [await self._summary(each) for each in children]
        previous = document.get("previous")
        if previous and (before := await self.record(previous, at)) is not None:
            task["previousTask"] = await self._summary(before)
        if parent and (following := await self._linked(PREVIOUS, record.run, at)):
            task["nextTask"] = await self._summary(following[0])
        if "nextTrigger" in document:
            task["nextTaskInitialTrigger"] = document["nextTrigger"]
        if "stackingKey" in document and (stack := await self._stack(record, at)) is not None:
            task["stack"] = stack
        if keys:
            known = (await self.annotations(document)).properties
            task["properties"] = {key: known[key] for key in keys if key in known}
        task["hierarchicalPosition"] = _position(bool(parent), bool(children))
        return task

    async def labels(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Its properties by key, as filters and orders see them."""
        return property_values((await self.annotations(document)).properties)

    async def flat(self, record: Record, now: int) -> dict[str, Any]:
        """The task without what other tasks add to it. `now`: microseconds, for how long it has been open."""
        document = record.body
        definition = (await self.annotations(document)).definition
        state, created, moved = document["state"], document["created"], document["moved"]
        terminal = state in definition.terminal
        task = {
            "id": self.id_of(record.run),
            **self._kind(document, definition.display),
            "state": state,
            "stateDisplayName": definition.states.get(state) or None,
            "terminalState": terminal,
            "correlationIds": document["correlationIds"],
            "version": version_of(record),
            "asAtLastTransition": print_moment(moved),
            "fields": [
                {"name": name, "value": document["fields"][name]} for name in definition.fields if name in document["fields"]
            ],
            "stackingKey": document.get("stackingKey"),
            "actionLogIdCreated": document.get("logCreated"),
            "actionLogIdModified": document.get("logModified"),
            "actionLogIdSubmitted": document.get("logSubmitted"),
            "completionStatus": completion(record),
            "openDuration": max((moved if terminal else now) - created, 0) // SECOND,
            "openDurationSinceLastUpdate": 0 if terminal else max(now - record.since, 0) // SECOND,
            "openDurationSinceLastTransition": 0 if terminal else max(now - moved, 0) // SECOND,
        }
        return {name: value for name, value in task.items() if value is not None}

    async def shown(self, record: Record, at: int = 0, keys: Sequence[str] = ()) -> Raw:
        """The task as it stands in a list: as far as it can be read."""

        async def whole(record: Record) -> dict[str, Any]:
            return await self.to_wire(record, at, keys)

        try:
            name = await self._definition_of(record)
        except Exception:  # nor can its run be read
            name = ""
        return await shown_later(record, whole, lambda record, why: self._bare(record, name, why))

    def _bare(self, record: Record, definition: str, why: str) -> dict[str, Any]:
        return {
            "id": self.id_of(record.run),
            "taskDefinitionId": identity(definition),
            "taskDefinitionVersion": {},
            "taskDefinitionDisplayName": definition,
            "state": "",
            "ultimateParentTask": {
                "id": self.id_of(record.run),
                "taskDefinitionId": identity(definition),
                "taskDefinitionVersion": {},
                "taskDefinitionDisplayName": definition,
                "state": "",
                "correlationIds": [],
            },
            "childTasks": [],
            "correlationIds": [],
            "version": {"asAtModified": print_moment(record.since), "asAtVersionNumber": record.number},
            "terminalState": not record.live,
            "fields": [],
            "completionStatus": record.body.get(UNREADABLE, why) if isinstance(record.body, dict) else why,
        }

    async def _definition_of(self, record: Record) -> str:
        head = await self._engine.head(self.caller, record.run)
        row = await self._engine.definition_row(head.definition) if head is not None else None
        return row.name if row is not None and row.language == LANGUAGE else ""

    async def is_task(self, record: Record) -> bool:
        """Whether it is one of this language; one that cannot be read says nothing of that itself."""
        if isinstance(record.body, dict) and UNREADABLE not in record.body:
            return "definition" in record.body
        return bool(await self._definition_of(record))

    def id_of(self, run: int) -> str:
        return self._engine.codec.run_id(run)

    async def changes(self, record: Record, since: int = 0) -> AsyncIterator[dict[str, Any]]:
        """What each value of a task changed of the one before, oldest first; the first value itself is not listed, nor are those
        older than the instant `since`."""
        before: Record | None = None
        async for value in self._values(record):
            if before is not None and value.since >= since:
                for each in changes_of(before, value):
                    yield each
            before = value

    async def _values(self, record: Record) -> AsyncIterator[Record]:
        """Every value that the task has had, oldest first."""
        after, count = 0, FEW
        while True:
            page = await self._engine.past(self.caller, record.run, after, count)
            for value, _ in page:
                yield value
            if len(page) < count:
                break
            after = page[-1][0].since
            count = next_count(count, sum(len(_encode(value.body)) for value, _ in page))
            await asyncio.sleep(0)
        yield record

    async def _stack(self, record: Record, at: int) -> dict[str, Any] | None:
        document = record.body
        key = index_value(document["stackingKey"])
        conjuncts = [[(STACK, key, False)]] if key is not None else []
        runs = await self._engine.candidates(self.caller, document["definition"], conjuncts, MOST_STACKED)
        tasks: list[Stacked] = []
        states: dict[int, str] = {}
        for run in runs or ():
            found = await self.record(run, at)
            if found is not None and found.body.get("stackingKey") == document["stackingKey"]:
                ended = 0 if found.live else found.body["moved"]
                tasks.append(Stacked(run, found.body["created"], ended))
                states[run] = found.body["state"]
        stack = stack_of(record.run, tasks)
        if stack is None:
            return None
        shown = {
            "memberAddedAsAt": print_moment(stack.joined),
            "stackOpenedAsAt": print_moment(stack.opened),
            "stackClosedAsAt": print_moment(stack.closed) if stack.closed else None,
            "stackMembershipType": "Lead" if stack.is_lead(record.run) else "Member",
            "stackStatus": "Closed" if stack.closed else "Open",
            "leadTaskId": self.id_of(stack.lead),
            "leadTaskState": states[stack.lead],
            "tasksInStack": stack.size,
        }
        return {name: value for name, value in shown.items() if value is not None}

    async def _linked(self, name: str, run: int, at: int) -> list[Record]:
        """The tasks that are tied to one, the first made first; with `at` those that have been deleted since, too."""
        if not at:
            return await self._engine.linked(self.caller, name, str(run))
        runs = await self._engine.candidates(self.caller, "", [[(name, str(run), False)]], MOST_LINKED)
        then = [await self.record(each, at) for each in runs or ()]
        return [each for each in then if each is not None]

    async def _summary(self, record: Record) -> dict[str, Any]:
        document = record.body
        definition = (await self.annotations(document)).definition
        summary = {
            "id": self.id_of(record.run),
            **self._kind(document, definition.display),
            "state": document["state"],
            "stateDisplayName": definition.states.get(document["state"]) or None,
            "correlationIds": document["correlationIds"],
        }
        return {name: value for name, value in summary.items() if value is not None}

    def _kind(self, document: Mapping[str, Any], display: str) -> dict[str, Any]:
        return {
            "taskDefinitionId": identity(document["definition"]),
            "taskDefinitionVersion": {"asAtModified": print_moment(document["asAt"])},
            "taskDefinitionDisplayName": display,
        }


def _position(has_parent: bool, has_children: bool) -> str:
    if has_parent:
        return "IntermediateParent" if has_children else "Child"
    return "UltimateParent" if has_children else "Standalone"


def changes_of(before: Record, after: Record) -> list[dict[str, Any]]:
    try:
        items = list(_differences(before.body, after.body))
        by, request = after.body["by"], after.body["request"]
    except (LookupError, TypeError, AttributeError):  # one of the two cannot be read
        items, by, request = [("Unreadable", None, None)], None, None
    found = []
    for name, was, now in items:
        item = {
            "asAtModified": print_moment(after.since),
            "userIdModified": by,
            "requestIdModified": request,
            "asAtVersionNumber": after.number,
            "action": "Update",
            "attributeName": name,
            "previousValue": was,
            "newValue": now,
        }
        found.append({key: value for key, value in item.items() if value is not None or key == "newValue"})
    return found


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    if old["state"] != new["state"]:
        yield "State", old["state"], new["state"]
    for name in dict.fromkeys([*old["fields"], *new["fields"]]):
        was, now = old["fields"].get(name), new["fields"].get(name)
        if was != now:
            yield f"Fields[{name}]", was, now
    if old["correlationIds"] != new["correlationIds"]:
        yield "CorrelationIds", old["correlationIds"], new["correlationIds"]
    if old.get("stackingKey") != new.get("stackingKey"):
        yield "StackingKey", old.get("stackingKey"), new.get("stackingKey")
