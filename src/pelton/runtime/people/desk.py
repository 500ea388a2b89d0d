"""What callers do with tasks: list them, read one, act on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from pelton.errors import Code, FieldProblem, PeltonError
from pelton.kernel.model.signals import Signal, Trigger
from pelton.kernel.model.state import Record
from pelton.runtime.api import Applied, TaskAct, TaskQuery
from pelton.runtime.caller import Caller
from pelton.runtime.ids import IdCodec
from pelton.runtime.people.process import ACT, PERSON
from pelton.runtime.people.record import CALLER, GROUP, OPEN, PROCESS, STATE, USER, attributes
from pelton.store.packing import size_of
from pelton.store.port import Store
from pelton.store.portions import FEW, next_count

CANDIDATES = 20_000  # more are not looked at one by one: then all tasks are read in order
STATES = ("open", "claimed", "answered", "canceled", "expired")


class Desk:
    """Cost of a list: one read for each task that has the rarest of what is asked for."""

    def __init__(self, store: Store, codec: IdCodec, signal: Callable[[Caller, int, Signal], Awaitable[Applied]]) -> None:
        self._store = store
        self._codec = codec
        self._signal = signal

    async def tasks(self, caller: Caller, query: TaskQuery) -> list[Record]:
        if query.state and query.state not in STATES:
            states = ", ".join(STATES)
            raise PeltonError(Code.INVALID, "no task is in this state", "state", value=query.state, remedy=f"use one of {states}")
        run = str(query.run) if query.run else ""
        asked = ((STATE, query.state), (USER, query.user), (GROUP, query.group), (PROCESS, query.process), (CALLER, run))
        wanted = [(name, text) for name, text in asked if text]
        conjuncts = [[(name, text, False)] for name, text in wanted]
        keys = await self._store.candidates(caller.namespace, PERSON, conjuncts, CANDIDATES) if conjuncts else None
        found: list[Record] = []
        if keys is not None:
            keys = [key for key in keys if key > query.after]
            at, count = 0, FEW
            while at < len(keys) and len(found) < query.limit:
                page = await self._store.records_of(keys[at : at + count])
                found += [record for record in page if has(record, wanted)]
                at += count
                count = next_count(count, sum(size_of(record.body) for record in page))
                await asyncio.sleep(0)
            return found[: query.limit]
        after, count = query.after, FEW
        live = True if query.state in OPEN else None
        while True:
            page = await self._store.records(caller.namespace, process=PERSON, live=live, after=after, limit=count)
            found += [record for record in page if has(record, wanted)]
            if len(page) < count or len(found) >= query.limit:
                return found[: query.limit]
            after = page[-1].run
            count = next_count(count, sum(size_of(record.body) for record in page))
            await asyncio.sleep(0)

    async def task(self, caller: Caller, run: int) -> Record:
        head = await self._store.head(run)
        record = await self._store.record(run) if head is not None and head.ns == caller.namespace else None
        if head is None or record is None or not await self._is_task(head.definition):
            raise no_task(self._codec.run_id(run))
        return record

    async def _is_task(self, definition: int) -> bool:
        row = await self._store.definition(definition)
        return row is not None and row.name == PERSON and row.language == PERSON

    async def act(self, caller: Caller, run: int, act: TaskAct) -> Record:
        if caller.user and (act.groups or act.user not in ("", caller.user)):
            about = "user" if act.user not in ("", caller.user) else "groups"
            detail = f"a caller with the token of {caller.user!r} acts for that user alone"
            raise PeltonError(Code.FORBIDDEN, detail, about, value=act.user, remedy="use an access key to act for others")
        await self.task(caller, run)
        user = caller.user or act.user
        changes: dict[str, Any] = {**act.details, "do": act.do, "user": user, "groups": list(act.groups)}
        try:
            await self._signal(caller, run, Trigger(name=ACT, changes=changes, actor=user, request=caller.request))
        except PeltonError as error:
            raise await self._explained(caller, run, error) from None
        return await self.task(caller, run)

    async def _explained(self, caller: Caller, run: int, error: PeltonError) -> PeltonError:
        """A refusal as the caller is told it."""
        if error.code is Code.ENDED:
            task = (await self.task(caller, run)).body
            how = f"is {task['state']}" + (f" by {task['answered_by']!r}" if task["answered_by"] else "")
            return PeltonError(Code.CONFLICT, f"the task {how} already", "state", value=task["state"])
        problems = [each for each in error.trace if isinstance(each, dict) and "problem" in each]
        if not problems:
            return error
        return PeltonError(
            error.code,
            error.message,
            problems[0]["field"],
            problems,
            value=problems[0]["value"],
            problems=[FieldProblem(each["field"], each["problem"]) for each in problems],
        )


def has(record: Record, wanted: list[tuple[str, str]]) -> bool:
    """Of a record that cannot be read, or whose body is not a task's, it is not known: it is listed."""
    try:
        return not wanted or set(wanted) <= set(attributes(record.body))
    except (LookupError, TypeError):
        return True


def no_task(text: str) -> PeltonError:
    return PeltonError(Code.NOT_FOUND, "no such task", "id", value=text, remedy="/v1/user-tasks lists them")
