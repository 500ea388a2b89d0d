"""What callers read through the engine: runs and their steps, records, events and what they left, as the store has them.

`runtime.api.Engine` documents each method. Nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from pelton.kernel.expressions.base import JSON
from pelton.kernel.model.reads import Held, HeldKey, IterationKey, KeptKey, NewestKey, OpenKey, PlaceKey, StepKey, VarsKey
from pelton.kernel.model.state import END, OpenStep, Record, Run, Step, StepAttempt, StepCheckpoint
from pelton.runtime.api import HandlerInfo, RunView
from pelton.runtime.cache.run_search import Wanted, runs_with
from pelton.runtime.caller import Caller
from pelton.runtime.definitions.definitions import DefinitionCache
from pelton.runtime.derived import derived_output
from pelton.runtime.event_feed import EventFeed
from pelton.runtime.ids import IdCodec
from pelton.runtime.work.attempts import attempts_of, checkpoint_of
from pelton.store.port import Store
from pelton.store.portions import each_definition
from pelton.store.rows import CopyRow, DefinitionRow, EventRow, HeldRow, KeptRow, StickyRow, TallyValue
from pelton.store.run_query import RunQuery


class EngineReads:
    store: Store
    codec: IdCodec
    definition_cache: DefinitionCache
    event_feed: EventFeed

    def now(self) -> int:
        return self.store.now()

    # ---- runs

    async def head(self, caller: Caller, run: int) -> Run | None:
        head = await self.store.head(run)
        return head if head is not None and head.ns == caller.namespace else None

    async def runs(
        self,
        caller: Caller,
        *,
        process: str = "",
        live: bool | None = None,
        before: int = 0,
        since: int = 0,
        until: int = 0,
        limit: int = 100,
        status: int = -1,
        variables: Sequence[tuple[str, JSON]] = (),
    ) -> list[Run]:
        if variables:
            wanted = Wanted(process, live, before, since, until, status, variables)
            return await runs_with(self.store, caller.namespace, wanted, limit)
        return await self.store.runs(
            caller.namespace,
            process=process,
            live=live,
            before=before,
            since=since,
            until=until,
            limit=limit,
            status=status,
        )

    async def find_runs(self, caller: Caller, query: RunQuery, offset: int, limit: int) -> tuple[int, list[Run]]:
        return await self.store.find_runs(query._replace(ns=caller.namespace), offset, limit)

    async def run_processes(self, caller: Caller) -> list[str]:
        return await self.store.run_processes(caller.namespace)

    async def runs_named(self, caller: Caller, kind: str, process: str, text: str, *, live: bool = False) -> list[int]:
        return await self.store.run_keys(caller.namespace, kind, process, text, live)

    async def view(self, caller: Caller, run: int) -> RunView | None:
        head = await self.head(caller, run)
        if head is None or not head.definition:
            return None
        keys: list[Any] = [StepKey(0), VarsKey(0)]
        if head.ended:
            keys.append(NewestKey(END))
        start, variables, *end = await self.store.read(head, keys)
        process = await self.definition_cache.process(head.definition)
        return RunView(head, process, start, end[0] if end else None, variables or {})

    async def steps(self, caller: Caller, run: int, after: int = -1, limit: int = 1000) -> list[OpenStep | Step]:
        head = await self.head(caller, run)
        return await self.store.steps(head, after, limit) if head is not None else []

    async def open_steps(self, run: Run) -> list[OpenStep]:
        rows: list[OpenStep] = (await self.store.read(run, [OpenKey()]))[0]
        return rows

    async def step(self, caller: Caller, run: int, n: int) -> OpenStep | Step | None:
        found: OpenStep | Step | None = await self._fact(caller, run, StepKey(n))
        return found

    async def newest(self, caller: Caller, run: int, slot: str, it: int = 0) -> OpenStep | Step | None:
        found: OpenStep | Step | None = await self._fact(caller, run, IterationKey(slot, it) if it else NewestKey(slot))
        return found

    async def at_place(self, caller: Caller, run: int, thread: int, position: int) -> OpenStep | Step | None:
        found: OpenStep | Step | None = await self._fact(caller, run, PlaceKey(thread, position))
        return found

    async def attempts(self, caller: Caller, run: int, n: int) -> list[StepAttempt]:
        head = await self.head(caller, run)
        return await attempts_of(self.store, head, n) if head is not None else []

    async def checkpoint(self, caller: Caller, run: int, n: int, number: int) -> StepCheckpoint | None:
        head = await self.head(caller, run)
        return await checkpoint_of(self.store, head, n, number) if head is not None else None

    async def _fact(self, caller: Caller, run: int, key: Any) -> Any:
        head = await self.head(caller, run)
        return (await self.store.read(head, [key]))[0] if head is not None else None

    async def derived(self, caller: Caller, run: int, step: OpenStep | Step) -> Any:
        head = await self.head(caller, run)
        if head is None:
            return None
        process = await self.definition_cache.process(head.definition)
        return await derived_output(self.store, self.codec, self.definition_cache.fragments, process, head, step, self.now())

    async def tallies(
        self, caller: Caller, process: str, after: tuple[str, str] = ("", ""), limit: int = 1000
    ) -> list[TallyValue]:
        """What is counted at the nodes of a process, over all its runs, by (node, name) after that one: "standing" is how many
        tokens are there, "passed" how many have come, "sum:x" the sum of the variable x."""
        return await self.store.tallies(caller.namespace, process, after, limit)

    # ---- definitions

    def each_definition(
        self, caller: Caller, kind: str, at: int = 0, after: str = "", name: str = ""
    ) -> AsyncIterator[DefinitionRow]:
        return each_definition(self.store, caller.namespace, kind, at, after, name)

    # ---- handlers

    async def handlers(self, caller: Caller, *, after: str = "", limit: int = 100) -> list[HandlerInfo]:
        found: list[HandlerInfo] = []
        async for row in self.each_definition(caller, "handler", after=after):
            found.append(self.handler_info(row))
            if len(found) == limit:
                break
        return found

    def handler_info(self, row: DefinitionRow) -> HandlerInfo:
        try:
            handler = self.definition_cache.language(row.language).handler(row)
        except Exception as error:  # accepted by another version, or of a language that is not here: its trouble alone
            return HandlerInfo(row.name, row.language, (), False, row.since, row.actor, f"{error}"[:500])
        return HandlerInfo(row.name, row.language, handler.types, handler.active, row.since, row.actor)

    # ---- records

    async def record(self, caller: Caller, run: int, at: int = 0) -> Record | None:
        if await self.head(caller, run) is None:
            return None
        return await self.store.record(run, at)

    async def past(self, caller: Caller, run: int, after: int = 0, limit: int = 1000) -> list[tuple[Record, int]]:
        if await self.head(caller, run) is None:
            return []
        return await self.store.past(run, after, min(limit, 1000))

    async def records(
        self, caller: Caller, *, process: str = "", at: int = 0, live: bool | None = None, after: int = 0, limit: int = 500
    ) -> list[Record]:
        return await self.store.records(caller.namespace, process=process, at=at, live=live, after=after, limit=min(limit, 1000))

    async def candidates(
        self, caller: Caller, process: str, conjuncts: Sequence[Sequence[tuple[str, str, bool]]], most: int
    ) -> list[int] | None:
        return await self.store.candidates(caller.namespace, process, conjuncts, most)

    # ---- events

    async def event(self, caller: Caller, key: int) -> EventRow | None:
        return await self.store.event(caller.namespace, key)

    async def event_by_id(self, caller: Caller, source: str, event_id: str) -> EventRow | None:
        return await self.store.event_by_id(caller.namespace, source, event_id)

    async def events(
        self, caller: Caller, *, type: str = "", state: str = "", after: int = 0, before: int = 0, limit: int = 100
    ) -> list[EventRow]:
        ns = caller.namespace
        most = self.event_feed.settled_to(ns) if after else 0
        rows = await self.store.events(ns, type=type, state=state, after=after, before=before, limit=limit)
        return [row for row in rows if row.key <= most] if after else rows

    async def kept_of(self, caller: Caller, run: int, after: int = 0, limit: int = 100) -> list[KeptRow]:
        return await self.store.kept_of(run, after, limit) if await self.head(caller, run) is not None else []

    async def held_of(self, caller: Caller, run: int) -> list[Held]:
        found: list[Held] | None = await self._fact(caller, run, HeldKey("", ""))
        return [each for each in found or () if each.report is None]

    async def kept_named(
        self, caller: Caller, name: str, taken: bool | None = None, after: int = 0, limit: int = 100
    ) -> list[KeptRow]:
        return await self.store.kept_named(caller.namespace, name, taken, after, limit)

    async def kept(self, caller: Caller, run: int, name: str, ident: str) -> KeptRow | None:
        event = await self._fact(caller, run, KeptKey(name, ident))
        return await self.store.kept(event) if event else None

    async def sticky(self, caller: Caller, name: str, key: str) -> StickyRow | None:
        row = await self.store.sticky(caller.namespace, name, key)
        return None if row is None or 0 < row.expires <= self.now() else row

    async def sticky_named(
        self, caller: Caller, name: str, got: bool | None = None, after: str = "", limit: int = 100
    ) -> list[StickyRow]:
        return await self.store.sticky_named(caller.namespace, name, got, after, min(limit, 1000))

    async def copies(self, caller: Caller, name: str, key: str, after: int = 0, limit: int = 100) -> list[CopyRow]:
        row = await self.sticky(caller, name, key)
        return await self.store.copies(row.id, after, min(limit, 1000)) if row is not None else []

    async def held(self, caller: Caller, limit: int = 100, after: tuple[int, int] = (-1, -1)) -> list[HeldRow]:
        return await self.store.held_all(caller.namespace, limit, after)
