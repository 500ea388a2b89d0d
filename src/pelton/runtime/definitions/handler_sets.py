"""The handler sets of namespaces, in memory.

A set is identified by its namespace's counter, which every change of a handler increments. An event's commit checks the counter
that it was matched against; if it has changed, `refresh` applies the changes since, whoever made them.

Invariants: a set with a given counter holds exactly the handlers as of that counter, except those that no longer compile: they
are logged, and do not affect the others. Changes are applied in order, and applying one twice is harmless, so a set that was read
while changes were made is still correct.

An event overtaken by a change takes priority: changes made here wait for a moment until it is done. Otherwise a stream of
changes, one in every commit, could overtake an event every time.

Cost: a change costs its own handler. A whole set is read once, by pages, between which other work proceeds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog

from pelton.kernel.matching.filters import wildcard
from pelton.kernel.matching.handlers import Handler, HandlerIndex
from pelton.runtime.language import Language
from pelton.store.port import Store
from pelton.store.rows import DefinitionRow

log = structlog.get_logger("pelton.runtime")

TYPES_KEPT = 10_000
PIECE = 100  # handlers that are read at a time, and compiled before others go on: some 20 ms
CHANGES = 1_000  # read at a time
PATIENCE = 1.0  # seconds that a change waits for events at most


class HandlerSet:
    """A namespace's handlers as of one value of its counter."""

    __slots__ = ("_heard", "_patterns", "_types", "counter", "index", "moved", "rows")

    def __init__(self) -> None:
        self.counter = 0
        self.index = HandlerIndex()
        self.rows: dict[int, Handler] = {}  # by row of its definition
        self.moved: set[str] = set()  # types that came or went: whoever follows them empties this
        self._types: dict[str, int] = {}  # how many active handlers are for each
        self._patterns: dict[str, Callable[[str], bool]] = {}  # of the types with wildcards
        self._heard: dict[str, bool] = {}

    def add(self, number: int, handler: Handler) -> None:
        self.remove(number)
        self.rows[number] = handler
        self.index.add(handler)
        for kind in set(handler.types) if handler.active else ():
            count = self._types[kind] = self._types.get(kind, 0) + 1
            if count == 1:
                self._turned(kind)
                if "*" in kind:
                    self._patterns[kind] = wildcard(kind, single=False)

    def remove(self, number: int) -> None:
        """Removes a handler; does nothing if there is none."""
        handler = self.rows.pop(number, None)
        if handler is None:
            return
        self.index.remove(handler)
        for kind in set(handler.types) if handler.active else ():
            self._types[kind] -= 1
            if not self._types[kind]:
                del self._types[kind]
                self._patterns.pop(kind, None)
                self._turned(kind)

    def _turned(self, kind: str) -> None:
        self.moved.add(kind)
        self._heard.clear()

    def hears(self, event_type: str) -> bool:
        """Whether any active handler listens to events of this type."""
        heard = self._heard.get(event_type)
        if heard is None:
            if len(self._heard) >= TYPES_KEPT:
                self._heard.clear()
            heard = event_type in self._types or any(matches(event_type) for matches in self._patterns.values())
            self._heard[event_type] = heard
        return heard

    def names(self, kind: str) -> bool:
        """Whether an active handler names exactly this type."""
        return kind in self._types


class HandlerSets:
    def __init__(self, store: Store, language: Callable[[str], Language]) -> None:
        """`language` returns one by name, or raises PeltonError."""
        self._store = store
        self._language = language
        self._sets: dict[str, HandlerSet] = {}
        self._underway: dict[str, asyncio.Task[HandlerSet]] = {}
        self._overtaken: dict[str, set[object]] = {}  # events, by namespace
        self._through: dict[str, asyncio.Event] = {}

    def known(self, ns: str) -> HandlerSet | None:
        """The set of a namespace, if it has been read."""
        return self._sets.get(ns)

    async def refresh(self, ns: str) -> HandlerSet:
        """The set as the store has it at some time after this call. Concurrent callers share the work."""
        running = self._underway.get(ns)
        if running is not None:  # what it has looked at already may be older than the question
            await asyncio.wait([running])
            running = self._underway.get(ns)
        if running is None:
            running = self._underway[ns] = asyncio.ensure_future(self._refresh(ns))
            running.add_done_callback(lambda done: self._done(ns, done))
        return await asyncio.shield(running)

    def _done(self, ns: str, task: asyncio.Task[HandlerSet]) -> None:
        if self._underway.get(ns) is task:
            del self._underway[ns]
        if not task.cancelled():
            task.exception()  # everybody who waits is told

    # ---- whose turn it is

    def overtaken(self, ns: str, event: object) -> None:
        """The event was matched against an outdated set, and is matched again. `through` must follow."""
        self._overtaken.setdefault(ns, set()).add(event)

    def through(self, ns: str, event: object) -> None:
        """The event is done; does nothing if it was never overtaken."""
        events = self._overtaken.get(ns)
        if events is not None:
            events.discard(event)
            if not events:
                del self._overtaken[ns]
                if ns in self._through:
                    self._through.pop(ns).set()

    async def yield_to_events(self, ns: str) -> None:
        """Called before a change is written: returns when no event has priority, or after a while."""
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENCE
        while ns in self._overtaken and (left := until - loop.time()) > 0:
            through = self._through.setdefault(ns, asyncio.Event())
            with suppress(TimeoutError):
                await asyncio.wait_for(through.wait(), left)

    # ---- following

    async def _refresh(self, ns: str) -> HandlerSet:
        known = self._sets.get(ns) or await self._read(ns)
        while changes := await self._store.handler_changes(ns, known.counter, CHANGES):
            if changes[0].counter != known.counter + 1:
                old, known = known, await self._read(ns)
                known.moved.update(old.moved, (kind for handler in old.rows.values() for kind in handler.types))
                continue
            for at, change in enumerate(changes, 1):
                if change.gone:
                    known.remove(change.gone)
                if change.row is not None:
                    self._add(known, change.row)
                known.counter = change.counter
                if at % PIECE == 0:
                    await asyncio.sleep(0)
            if len(changes) < CHANGES:
                break
        self._sets[ns] = known
        return known

    async def _read(self, ns: str) -> HandlerSet:
        """Reads a whole set, as of its counter or later; concurrent changes are applied again by those that follow."""
        found = HandlerSet()
        found.counter = await self._store.handler_counter(ns)
        after: str | None = ""
        while after is not None:
            page, after = await self._page(ns, after)
            for row in page:
                self._add(found, row)
            await asyncio.sleep(0)
        return found

    async def _page(self, ns: str, after: str) -> tuple[list[DefinitionRow], str | None]:
        """Handlers whose names are after that one, each with all its versions, and the last of the names; None: there are no
        others."""
        page = await self._store.definitions(ns, "handler", after=after, limit=PIECE)
        if len(page) < PIECE:
            return page, None
        last = page[-1].name  # some of its versions may be beyond the page
        whole = [row for row in page if row.name != last]
        if whole:
            return whole, whole[-1].name
        return await self._store.definitions(ns, "handler", name=last), last

    def _add(self, to: HandlerSet, row: DefinitionRow) -> None:
        if row.id in to.rows:
            return
        try:
            handler = self._language(row.language).handler(row)
        except Exception as error:  # accepted by another version, or of a language that is not here: its trouble alone
            log.error("a handler does not compile and is ignored", ns=row.ns, handler=row.name, error=f"{error}"[:500])
            return
        to.add(row.id, handler)
