"""Lists of tasks: filtered, sorted, in pages that stay the same while tasks change.

The first page fixes the instant as of which all pages are read. In order of creation, the default, a page reads as many
records as it takes to fill it; any other order has to read all of them first, at most `MOST_SORTED`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from msgspec import json

from pelton.kernel.model.state import Record
from pelton.languages.lusid.definitions.guards import view_of
from pelton.languages.lusid.definitions.record import CORRELATIONS
from pelton.languages.lusid.errors import LusidError
from pelton.languages.lusid.filters import CompiledFilter
from pelton.languages.lusid.http import paging
from pelton.languages.lusid.http.api_context import LusidContext, as_at
from pelton.languages.lusid.http.listing import condition_of, cut_rows, orders_of, passes
from pelton.languages.lusid.member_names import LINKED_MEMBERS, RECORD_MEMBERS, TASK_MEMBERS
from pelton.languages.lusid.tasks.view import TaskReader
from pelton.runtime.rows import FEW, next_count
from pelton.transport.http.asgi import Request, Response, json_response
from pelton.transport.listing import SortOrder, sort_rows
from pelton.transport.paging import Page

MOST_SORTED = 200_000
CANDIDATES = 5_000
_encode = json.Encoder(enc_hook=str).encode
_RECORD = "\x00record"  # beside the members of a view

OWN = frozenset(name.casefold() for name in RECORD_MEMBERS - LINKED_MEMBERS)
"""What of a task a filter can be answered from without its definition's version."""
RELATED = frozenset(
    {"ultimateparenttask", "parenttask", "childtasks", "previoustask", "nexttask", "hierarchicalposition", "stack"}
)


class TaskList:
    def __init__(self, context: LusidContext) -> None:
        self._engine = context.engine

    async def answer(self, request: Request) -> Response:
        asked = paging.question(request, "tasks", as_at(request))
        condition = condition_of(asked.filter, TASK_MEMBERS)
        orders = orders_of(asked.sort, TASK_MEMBERS)
        page = paging.page_of(request, asked)
        tasks = TaskReader(self._engine, request.caller)
        pin = page.at or await self._engine.reached()
        given = bool(page.at)
        if orders:
            needed = frozenset(_root(text) for text in asked.sort)
            records, total = await self._sorted(tasks, page, pin, given, condition, orders, needed)
        else:
            records, total = await self._in_order(tasks, page, pin, given, condition)
        keys = request.query.texts("propertyKeys")
        values = await cut_rows(records, lambda each: tasks.shown(each, pin, keys))
        return json_response(paging.paged(values, asked, page, pin, total))

    async def _in_order(
        self, tasks: TaskReader, page: Page, pin: int, given: bool, condition: CompiledFilter | None
    ) -> tuple[list[Record], int]:
        found: list[Record] = []
        total = 0
        async for record in self._matching(tasks, pin, given, condition):
            total += 1
            if total > page.start + page.limit:
                break
            if total > page.start:
                found.append(record)
        return found, total

    async def _sorted(
        self,
        tasks: TaskReader,
        page: Page,
        pin: int,
        given: bool,
        condition: CompiledFilter | None,
        orders: list[SortOrder],
        needed: frozenset[str],
    ) -> tuple[list[Record], int]:
        """`needed`: the members that the orders name."""
        rows: list[dict[str, Any]] = []
        async for record in self._matching(tasks, pin, given, condition):
            try:
                view = await self._view(tasks, record, pin, needed)
            except (LookupError, TypeError, ValueError):  # it stands last: nobody knows its place
                view = {}
            rows.append({**view, _RECORD: record})
            if len(rows) > MOST_SORTED:
                raise LusidError("InvalidSort", f"more than {MOST_SORTED} tasks match; narrow the filter, or leave sortBy out")
        part = sort_rows(rows, orders)[page.start : page.end]
        return [row[_RECORD] for row in part], len(rows)

    async def _matching(
        self, tasks: TaskReader, pin: int, given: bool, condition: CompiledFilter | None
    ) -> AsyncIterator[Record]:
        """In the order of creation. `given`: the caller named the instant."""
        async for records in self._chunks(tasks, pin, given, condition):
            for record in records:
                if condition is None or await self._passes(tasks, record, pin, condition):
                    yield record
            await asyncio.sleep(0)  # a list of everything is long: others have their turn

    async def _passes(self, tasks: TaskReader, record: Record, pin: int, condition: CompiledFilter) -> bool:
        """A task that cannot be read passes no filter: nobody knows what it is."""
        try:
            view = await self._view(tasks, record, pin, condition.members)
        except (LookupError, TypeError, ValueError):
            return False
        return await passes(condition, view)

    async def _chunks(
        self, tasks: TaskReader, pin: int, given: bool, condition: CompiledFilter | None
    ) -> AsyncIterator[list[Record]]:
        """The index knows what holds now: it is not asked about another time."""
        conjuncts = condition.narrowed(lambda name: name == CORRELATIONS) if condition is not None and not given else ()
        runs = await self._engine.candidates(tasks.caller, "", conjuncts, CANDIDATES) if conjuncts else None
        if runs is not None:
            found = [await tasks.record(run, pin) for run in runs]
            yield [each for each in found if each is not None]
            return
        after, count = 0, FEW
        while True:
            records = await self._engine.records(tasks.caller, at=pin, after=after, limit=count)
            yield [each for each in records if await tasks.is_task(each)]
            if len(records) < count:
                return
            after = records[-1].run
            count = next_count(count, sum(map(roughly, records)))

    async def _view(self, tasks: TaskReader, record: Record, at: int, needed: frozenset[str]) -> dict[str, Any]:
        """The task with the members that a filter or an order asks for."""
        if needed & RELATED:
            view = await tasks.to_wire(record, at)
        elif needed <= OWN:
            return view_of(record, self._engine.codec, needed)
        else:
            view = await tasks.flat(record, at)
        view["fields"] = record.body["fields"]
        if "properties" in needed:
            view["properties"] = await tasks.labels(record.body)
        return view


def roughly(record: Record) -> int:
    """About how many bytes a record has."""
    return len(_encode(record.body))


def _root(order: str) -> str:
    """The first member that a sort order names."""
    return order.strip().replace("[", ".").replace(" ", ".").partition(".")[0].casefold()
