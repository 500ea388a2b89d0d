"""Finding workflows.

By name, status and start time, in the order of the start, the store finds any page at once, whatever there is. Ids and
correlation ids are looked up. Everything else (other fields and orders, free text) is looked for among the runs that those three
leave, newest first, up to a bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import structlog

from pelton.errors import Code, PeltonError
from pelton.kernel.model.state import Run, RunStatus
from pelton.languages.conductor import status_names
from pelton.languages.conductor.runs import view
from pelton.languages.conductor.runs.identifiers import Ids
from pelton.languages.conductor.runs.starting import CORRELATION
from pelton.languages.conductor.search import grammar
from pelton.languages.conductor.search.grammar import QueryCondition, Sort
from pelton.languages.conductor.search.summaries import text_of
from pelton.runtime.api import Engine, RunView
from pelton.runtime.caller import Caller
from pelton.runtime.rows import RunQuery

LANGUAGES_KNOWN = 10_000
HEADS = 100_000  # runs that one search looks at, when only their times are looked at
WHOLE = 10_000  # runs that one search reads the start and the end of
SLICE = 1_000
NAMED = 1_000  # runs of a correlation id that the engine gives at most
TEXT = 20_000  # characters of an input or output in which free text is looked for

FIELDS = frozenset(
    {"workflowId", "workflowType", "correlationId", "status", "startTime", "createTime", "endTime", "updateTime"}
    | {"parentWorkflowId", "version"}
)
_BY_HEAD = frozenset({"status", "startTime", "createTime", "endTime", "updateTime", "workflowId", "parentWorkflowId"})
_START = frozenset({"startTime", "createTime"})
log = structlog.get_logger("pelton.languages")
_STATUSES = {name: status for status, name in status_names.RUN_STATUS.items() if status != RunStatus.EXPECTED}


class SearchQuestion(NamedTuple):
    conditions: Sequence[QueryCondition]
    text: str  # free text, "" = none
    sort: Sequence[Sort]
    start: int
    size: int
    top_level: bool = False


class FoundWorkflows(NamedTuple):
    total: int
    runs: list[RunView]


class WorkflowSearch:
    def __init__(self, engine: Engine, ids: Ids, language: str) -> None:
        self._engine = engine
        self._ids = ids
        self._language = language
        self._languages: dict[tuple[str, str], bool] = {}  # (namespace, process): whether it is of this language

    async def find(self, caller: Caller, question: SearchQuestion) -> FoundWorkflows:
        of = _by_field(question.conditions)
        query = await self.query(caller, of)
        listed = any(each.operator == "in" for field in _START for each in of.get(field, ()))
        rest = listed or not of.keys() <= _ANSWERED
        order = next(iter(question.sort), None)
        plain = not rest and not question.text and not question.top_level
        if query is None:
            return FoundWorkflows(0, [])
        if plain and (order is None or order.field in _START):
            query = query._replace(ascending=order is not None and order.ascending)
            total, heads = await self._engine.find_runs(caller, query, question.start, question.size)
            return FoundWorkflows(total, await self._views(caller, heads))
        return await self._look(caller, question, query, of)

    async def query(self, caller: Caller, of: dict[str, list[QueryCondition]]) -> RunQuery | None:
        """What the store can answer of the conditions; None: nothing can fulfil them."""
        names = await self.names(caller)
        if "workflowType" in of:
            test = grammar.text_test(of["workflowType"])
            names = [name for name in names if test(name)]
        statuses: list[int] = []
        if "status" in of:
            test = grammar.text_test(of["status"])
            statuses = [int(status) for name, status in _STATUSES.items() if test(name)]
            if not statuses:
                return None
        since, until = grammar.time_bounds([*of.get("startTime", ()), *of.get("createTime", ())])
        if not names or (until and until <= since):
            return None
        return RunQuery(caller.namespace, tuple(names), tuple(statuses), since, until)

    async def names(self, caller: Caller) -> list[str]:
        """Names of workflows that there are runs of."""
        found: list[str] = []
        for name in await self._engine.run_processes(caller):
            known = self._languages.get((caller.namespace, name))
            if known is None:
                known = await self._is_mine(caller, name)
            if known:
                found.append(name)
        return found

    async def _is_mine(self, caller: Caller, name: str) -> bool:
        row = await self._engine.definition(caller, "process", name)
        if row is not None:
            known = row.language == self._language
        else:  # a definition that was only given with a start, or that has been removed
            _, heads = await self._engine.find_runs(caller, RunQuery(caller.namespace, (name,)), 0, 1)
            found = await self._engine.view(caller, heads[0].key) if heads else None
            if found is None:
                return False
            known = found.process.language == self._language
        if len(self._languages) >= LANGUAGES_KNOWN:
            self._languages.clear()
        self._languages[caller.namespace, name] = known
        return known

    async def _view(self, caller: Caller, key: int) -> RunView | None:
        """None for one that cannot be read, too: it must not hide the others."""
        try:
            return await self._engine.view(caller, key)
        except (msgspec.MsgspecError, ValueError, LookupError, TypeError) as error:
            log.error("a run cannot be read", run=self._ids.run_id(key), error=str(error))
            return None

    async def _views(self, caller: Caller, heads: Sequence[Run]) -> list[RunView]:
        found: list[RunView] = []
        for place, head in enumerate(heads):
            run = await self._view(caller, head.key)
            if run is not None and run.process.language == self._language:
                found.append(run)
            if place % 100 == 99:
                await asyncio.sleep(0)  # reads do not wait
        return found

    # ---- looking at runs one by one

    async def _look(
        self, caller: Caller, question: SearchQuestion, query: RunQuery, of: dict[str, list[QueryCondition]]
    ) -> FoundWorkflows:
        fields = {*of, *(each.field for each in question.sort)}
        by_name = any(each.field == "workflowType" for each in question.sort)
        whole = bool(question.text) or by_name or not fields <= _BY_HEAD | {"workflowType"}
        tests = _Tests(self._ids, of, question)
        matching: list[tuple[Run, RunView | None]] = []
        async for head in self._candidates(caller, question, query, of, whole):
            if not tests.head(head):
                continue
            run = await self._view(caller, head.key) if whole else None
            if whole and (run is None or run.process.language != self._language or not tests.run(run)):
                continue
            matching.append((head, run))
        for each in reversed(question.sort):
            matching.sort(key=self._by(each.field), reverse=not each.ascending)
        page = matching[question.start : question.start + question.size]
        return FoundWorkflows(len(matching), await self._views(caller, [head for head, _ in page]))

    def _by(self, field: str) -> Callable[[tuple[Run, RunView | None]], Any]:
        return lambda pair: self._value(field, *pair)

    def _value(self, field: str, head: Run, run: RunView | None) -> Any:
        if run is not None and field in ("workflowType", "version", "correlationId"):
            meta = view.meta_of(run.start)
            known = {"workflowType": run.process.name, "version": run.process.version, "correlationId": meta.correlation or ""}
            return known[field]
        if field == "status":
            return status_names.RUN_STATUS[status_names.known_status(head.status)]
        return {
            "endTime": head.ended,
            "updateTime": head.updated or head.created,
            "workflowId": self._ids.run_id(head.key),
            "parentWorkflowId": self._ids.run_id(head.parent) if head.parent else "",
        }.get(field, (head.created, head.key))

    async def _candidates(
        self, caller: Caller, question: SearchQuestion, query: RunQuery, of: dict[str, list[QueryCondition]], whole: bool
    ) -> AsyncIterator[Run]:
        """Heads of the runs that may fulfil the conditions, newest first."""
        keys = await self._listed(caller, query, of)
        if keys is not None:
            names = set(query.processes or ())
            for key in sorted(keys, reverse=True):
                head = await self._engine.head(caller, key)
                if head is None or not query.accepts(head):
                    continue
                run = await self._view(caller, key)
                if run is not None and run.process.name in names:
                    yield head
            return
        bound = WHOLE if whole else HEADS
        if not query.until:
            query = query._replace(until=self._engine.now() + 60_000)  # so that runs that start meanwhile do not shift the pages
        parents = grammar.exact(of.get("parentWorkflowId", ()))
        if parents:
            query = query._replace(since=max(query.since, await self._earliest(caller, parents)))
        looked = 0
        while True:
            total, heads = await self._engine.find_runs(caller, query, looked, min(SLICE, bound - looked))
            for head in heads:
                yield head
            looked += len(heads)
            if not heads or looked >= total:
                return
            if looked >= bound:
                if question.text:  # it is said that free text is looked for in the newest only
                    return
                raise PeltonError(
                    Code.TOO_LARGE,
                    f"the query leaves {total} workflows to be looked at one by one; the limit is {bound}: narrow it by "
                    "workflowType, status or startTime, and sort by startTime",
                    field="query",
                )
            await asyncio.sleep(0)

    async def _listed(self, caller: Caller, query: RunQuery, of: dict[str, list[QueryCondition]]) -> set[int] | None:
        """Keys of the only runs that may fulfil conditions on ids; None: they do not say."""
        found: set[int] | None = None
        ids = grammar.exact(of.get("workflowId", ()))
        if ids is not None:
            found = {key for text in ids if (key := self._ids.parse_run_id(text)) is not None}
        correlations = grammar.exact(of.get("correlationId", ()))
        if found is None and correlations is not None and len(correlations) <= NAMED:
            found = set()
            for text in correlations:
                keys = await self._engine.runs_named(caller, CORRELATION, "", text) if text else []
                if not text or len(keys) >= NAMED:
                    return None
                found |= set(keys)
        return found

    async def _earliest(self, caller: Caller, parents: Sequence[str]) -> int:
        """No child of these was created before."""
        keys = [key for text in parents if (key := self._ids.parse_run_id(text)) is not None]
        heads = [head for key in keys if (head := await self._engine.head(caller, key)) is not None]
        return min((head.created for head in heads), default=0)


_TEXTS = ("workflowId", "correlationId", "parentWorkflowId", "version")
_ANSWERED = frozenset({"workflowType", "status", "startTime", "createTime"})  # by the store


def _by_field(conditions: Sequence[QueryCondition]) -> dict[str, list[QueryCondition]]:
    found: dict[str, list[QueryCondition]] = {}
    for each in conditions:
        if each.field in FIELDS:
            found.setdefault(each.field, []).append(each)
    return found


class _Tests:
    def __init__(self, ids: Ids, of: dict[str, list[QueryCondition]], question: SearchQuestion) -> None:
        self._ids = ids
        self._times = {
            field: grammar.time_test(of[field]) for field in ("startTime", "createTime", "endTime", "updateTime") if field in of
        }
        self._texts = {field: grammar.text_test(of[field]) for field in _TEXTS if field in of}
        self._top = question.top_level
        self._sought = question.text.strip().casefold()

    def head(self, head: Run) -> bool:
        if self._top and head.parent:
            return False
        at = {"endTime": head.ended, "updateTime": head.updated or head.created}
        if not all(test(at.get(field, head.created)) for field, test in self._times.items()):
            return False
        if (test := self._texts.get("workflowId")) is not None and not test(self._ids.run_id(head.key)):
            return False
        parent = self._texts.get("parentWorkflowId")
        return parent is None or parent(self._ids.run_id(head.parent) if head.parent else "")

    def run(self, run: RunView) -> bool:
        meta = view.meta_of(run.start)
        if (test := self._texts.get("correlationId")) is not None and not test(meta.correlation or ""):
            return False
        if (test := self._texts.get("version")) is not None and not test(str(run.process.version)):
            return False
        return not self._sought or self._mentions(run, meta.correlation or "")

    def _mentions(self, run: RunView, correlation: str) -> bool:
        """Whether the sought text is in what a summary shows."""
        texts = [
            run.process.name,
            self._ids.run_id(run.run.key),
            correlation,
            status_names.RUN_STATUS[RunStatus(run.run.status)],
            view.reason_of(run),
            text_of(view.input_of(run))[:TEXT],
            text_of(view.output_to_wire(run))[:TEXT],
        ]
        return any(self._sought in text.casefold() for text in texts)
