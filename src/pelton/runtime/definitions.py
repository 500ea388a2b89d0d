"""Definitions as this process knows them: rows, bindings, compiled processes, and the handler sets of namespaces.

A run follows a *bound* definition: a row of kind "bound" whose body is the process with all that it refers to, found again by its
content. Binding and compiling happen before and outside transactions, big ones in a thread, and are remembered: processes by row,
bindings by name until something in their namespace changes.

A handler set is named by its namespace's counter. The commit of an event checks the counter that it was matched against; when it
has moved, `refresh` brings the set up to date, changing only what differs.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import Any, TypeVar

from msgspec import DecodeError, json

from pelton.kernel.expressions.base import Invalid
from pelton.kernel.expressions.filters import wildcard
from pelton.kernel.handlers import Handler, HandlerIndex
from pelton.kernel.process import Process
from pelton.runtime.base import EngineError, Language
from pelton.runtime.ids import Instants
from pelton.store.base import Committed, DefinitionRow, DefinitionWrite, EventRow, Group, Store

PROCESSES_KEPT = 1_000
BINDINGS_KEPT = 10_000
BIG = 32_768  # bytes of a body that is compiled in a thread
TYPES_KEPT = 10_000
ONE_BY_ONE = 200  # handlers that are read singly rather than with all others
REFERENCES = 6_000  # definitions that one process may refer to: more than the steps that a language lets it have
TRIES = 8

Write = Callable[[Callable[[Group], None]], Awaitable[Committed]]
V = TypeVar("V")


class HandlerSet:
    """The handlers of a namespace as of one value of its counter."""

    __slots__ = ("_heard", "_patterns", "_types", "counter", "index", "rows")

    def __init__(self) -> None:
        self.counter = -1
        self.index = HandlerIndex()
        self.rows: dict[int, Handler] = {}  # by row of its definition
        self._types: dict[str, int] = {}  # how many active handlers are for each
        self._patterns: dict[str, Callable[[str], bool]] = {}  # of the types with wildcards
        self._heard: dict[str, bool] = {}

    def add(self, number: int, handler: Handler) -> None:
        self.rows[number] = handler
        self.index.add(handler)
        for kind in set(handler.types) if handler.active else ():
            self._types[kind] = self._types.get(kind, 0) + 1
            if "*" in kind and kind not in self._patterns:
                self._patterns[kind] = wildcard(kind, single=False)
        self._heard.clear()

    def remove(self, number: int) -> None:
        handler = self.rows.pop(number)
        self.index.remove(handler)
        for kind in set(handler.types) if handler.active else ():
            self._types[kind] -= 1
            if not self._types[kind]:
                del self._types[kind]
                self._patterns.pop(kind, None)
        self._heard.clear()

    def hears(self, event_type: str) -> bool:
        """Whether any active handler is for events of this type."""
        heard = self._heard.get(event_type)
        if heard is None:
            if len(self._heard) >= TYPES_KEPT:
                self._heard.clear()
            heard = event_type in self._types or any(matches(event_type) for matches in self._patterns.values())
            self._heard[event_type] = heard
        return heard

    @property
    def types(self) -> frozenset[str]:
        return frozenset(self._types)


class Definitions:
    def __init__(self, store: Store, keys: Callable[[], int], write: Write, instants: Instants) -> None:
        self._store = store
        self._keys = keys
        self._write = write
        self._languages: dict[str, Language] = {}
        self.views: dict[str, Callable[[EventRow], Any]] = {}  # by language, see runtime.matching
        self._processes: OrderedDict[int, Process] = OrderedDict()
        self._bindings: OrderedDict[tuple[str, str, int], Process] = OrderedDict()
        self._generation: dict[str, int] = {}  # by namespace: raised when bindings become doubtful
        self._sets: dict[str, HandlerSet] = {}
        self._underway: dict[Any, asyncio.Future[Any]] = {}
        self._instants = instants

    # ---- languages

    def add_language(self, language: Language) -> None:
        self._languages[language.name] = language
        view = getattr(language, "payload", None)
        if view is not None:
            self.views[language.name] = view

    def language(self, name: str) -> Language:
        language = self._languages.get(name)
        if language is None:
            known = ", ".join(sorted(self._languages)) or "none"
            raise EngineError("invalid", f"language {name!r} is not installed; there are: {known}", "language")
        return language

    # ---- rows

    async def define(
        self,
        ns: str,
        kind: str,
        language: str,
        name: str,
        version: int,
        body: bytes,
        *,
        actor: str = "",
        must_be_new: bool = False,
        seen: int = 0,
    ) -> DefinitionRow:
        """Stores a version. The same content again changes nothing. Raises EngineError "exists" with `must_be_new`, "conflict"
        when the live row is not the one that was `seen`."""
        self.language(language)
        digest = content_hash(language, body)
        for _ in range(TRIES):
            live = await self.find(ns, kind, name, version, exact=True)
            if live is not None:
                if must_be_new:
                    raise EngineError("exists", f"{kind} {name!r} version {version} exists already", "name")
                if live.hash == digest:
                    return live
            if seen and (live is None or live.id != seen):
                raise EngineError("conflict", f"{kind} {name!r} version {version} was changed by somebody else", "name")
            since = self._moment(live)
            row = DefinitionRow(self._keys(), ns, kind, language, name, version, body, digest, since, 0, actor)
            if await self._put(DefinitionWrite(ns, kind, name, version, row, since, live.id if live else 0, kind == "handler")):
                await self._changed(ns, kind, live.id if live is not None else 0, row)
                return row
        raise EngineError("busy", f"{kind} {name!r} is being changed by others; try again")

    async def undefine(self, ns: str, kind: str, name: str, version: int) -> int:
        """The moment from which it is gone. Raises EngineError "not found"."""
        for _ in range(TRIES):
            live = await self.find(ns, kind, name, version, exact=True)
            if live is None:
                raise EngineError("not found", f"there is no {kind} {name!r} version {version}", "name")
            write = DefinitionWrite(ns, kind, name, version, None, self._moment(live), live.id, kind == "handler")
            if await self._put(write):
                await self._changed(ns, kind, live.id, None)
                return write.at
        raise EngineError("busy", f"{kind} {name!r} is being changed by others; try again")

    async def find(
        self, ns: str, kind: str, name: str, version: int = 0, at: int = 0, exact: bool = False
    ) -> DefinitionRow | None:
        """version 0 = the highest, unless `exact`."""
        rows = await self._store.definitions(ns, kind, name=name, version=version, at=at)
        if exact:
            rows = [row for row in rows if row.version == version]
        return rows[-1] if rows else None

    def _moment(self, live: DefinitionRow | None) -> int:
        """Microseconds, rising whatever the clock does."""
        return self._instants.next(live.since + 1 if live is not None else 0)

    async def _put(self, write: DefinitionWrite) -> bool:
        done = await self._write(lambda group: group.definitions.append(write))
        return done.ok

    async def _changed(self, ns: str, kind: str, gone: int, row: DefinitionRow | None) -> None:
        """Our change is in the store: row `gone` was closed (0 = none), `row` is new."""
        if kind != "handler":
            self._generation[ns] = self._generation.get(ns, 0) + 1
            for known in [known for known in self._bindings if known[0] == ns]:
                del self._bindings[known]
        elif not self._follow(ns, await self._store.handler_counter(ns), gone, row):
            await self.refresh(ns)

    def _follow(self, ns: str, counter: int, gone: int, row: DefinitionRow | None) -> bool:
        """Makes our change in the set at hand, without looking at all the others, when it is the only one that the set lacks."""
        known = self._sets.get(ns)
        if known is None or counter != known.counter + 1 or ("handlers", ns) in self._underway:
            return False
        if (gone and gone not in known.rows) or (row is not None and row.id in known.rows):
            return False  # the set has ours already: what it lacks is somebody else's
        if gone:
            known.remove(gone)
        if row is not None:
            known.add(row.id, self.language(row.language).handler(row))
        known.counter = counter
        return True

    # ---- bindings and processes

    def bound(self, ns: str, name: str, version: int) -> Process | None:
        """What `bind` would answer, when it is known already."""
        return self._bindings.get((ns, name, version))

    async def bind(self, ns: str, name: str, version: int = 0) -> Process:
        """The process that a run started now would follow. Raises EngineError "unknown process"."""
        known = self._bindings.get((ns, name, version))
        if known is not None:
            return known
        return await self._once(
            ("bind", ns, name, version, self._generation.get(ns, 0)), lambda: self._bind_named(ns, name, version)
        )

    async def _bind_named(self, ns: str, name: str, version: int) -> Process:
        generation = self._generation.get(ns, 0)
        row = await self.find(ns, "process", name, version)
        if row is None:
            which = f"version {version} of process" if version else "process"
            raise EngineError("unknown process", f"there is no {which} {name!r} in namespace {ns!r}; define it first", "process")
        process = await self._bind(row)
        if generation == self._generation.get(ns, 0):
            self._bindings[ns, name, version] = process
            while len(self._bindings) > BINDINGS_KEPT:
                self._bindings.popitem(last=False)
        return process

    async def bind_inline(self, ns: str, language: str, name: str, version: int, body: bytes) -> Process:
        """A definition that is given in full and kept for its runs only. Raises EngineError "invalid"."""
        digest = content_hash(language, body)
        row = DefinitionRow(0, ns, "process", language, name, version, body, digest, self._store.now() * 1000)
        return await self._once(("inline", ns, name, version, digest), lambda: self._bind(row))

    async def _bind(self, row: DefinitionRow) -> Process:
        language = self.language(row.language)
        referred: dict[tuple[str, str, int], DefinitionRow | None] = {}
        wanted: dict[tuple[str, str, int], None] = {}  # each once, however often it is referred to

        def refer(kind: str, name: str, version: int) -> DefinitionRow | None:
            key = (kind, name, version)
            if key not in referred:
                wanted[key] = None
            return referred.get(key)

        try:
            body = language.bind(row, refer)
            while wanted:
                if len(referred) + len(wanted) > REFERENCES:
                    raise EngineError("too large", f"process {row.name!r} refers to more than {REFERENCES} definitions")
                for key in wanted:
                    referred[key] = await self.find(row.ns, *key)
                wanted.clear()
                body = language.bind(row, refer)
            return await self._bound(row, language, body)
        except Invalid as error:
            raise EngineError("invalid", f"process {row.name!r}: {error.message}", "body") from None

    async def _bound(self, row: DefinitionRow, language: Language, body: bytes) -> Process:
        digest = content_hash(f"{row.language}\n{row.name}\n{row.version}", body)
        bound = await self._store.bound(row.ns, digest)
        if bound is not None:
            return await self.process(bound.id)
        key = self._keys()
        process = await self._compile(language, row.name, row.version, body, key)  # before it is kept: what is kept compiles
        bound = DefinitionRow(key, row.ns, "bound", row.language, row.name, row.version, body, digest, self._moment(None))
        if await self._put(DefinitionWrite(row.ns, "bound", row.name, row.version, bound, bound.since)):
            self._keep(process)
            return process
        raise EngineError("busy", f"process {row.name!r} is being changed by others; try again")

    def cached(self, definition: int) -> Process | None:
        process = self._processes.get(definition)
        if process is not None:
            self._processes.move_to_end(definition)
        return process

    async def process(self, definition: int) -> Process:
        """The compiled process of a bound row. Raises EngineError "unknown process"."""
        known = self.cached(definition)
        return known if known is not None else await self._once(("process", definition), lambda: self._load(definition))

    async def _load(self, definition: int) -> Process:
        row = await self._store.definition(definition)
        if row is None:
            raise EngineError("unknown process", f"there is no definition number {definition}", "definition")
        if row.kind != "bound":
            return await self._bind(row)
        try:
            process = await self._compile(self.language(row.language), row.name, row.version, row.body, row.id)
        except Invalid as error:
            raise EngineError("invalid", f"process {row.name!r} does not compile any more: {error.message}", "body") from None
        self._keep(process)
        return process

    async def _compile(self, language: Language, name: str, version: int, body: bytes, definition: int) -> Process:
        if len(body) > BIG:
            process = await asyncio.to_thread(language.compile, name, version, body, definition)
        else:
            process = language.compile(name, version, body, definition)
        process.definition = definition
        return process

    def _keep(self, process: Process) -> None:
        self._processes[process.definition] = process
        while len(self._processes) > PROCESSES_KEPT:
            self._processes.popitem(last=False)

    async def number(self, ns: str, kind: str, name: str, version: int) -> int:
        """Answer to kernel.facts.DefinitionKey: a process is bound first; 0 when there is none."""
        if kind == "process":
            try:
                return (await self.bind(ns, name, version)).definition
            except EngineError as error:
                if error.code in {"unknown process", "invalid"}:
                    return 0
                raise
        row = await self.find(ns, kind, name, version)
        return row.id if row is not None else 0

    async def inline(self, ns: str, language: str, body: str) -> int | str:
        """Answer to kernel.facts.InlineKey: the number of the row, or why the definition is refused."""
        try:
            given = json.decode(body)
        except DecodeError as error:
            return f"not JSON: {error}"
        if not isinstance(given, dict):
            return "a definition must be an object"
        name, version = given.get("name"), given.get("version")
        try:
            process = await self.bind_inline(
                ns,
                language,
                name if isinstance(name, str) and name else "inline",
                version if type(version) is int and version > 0 else 1,
                body.encode(),
            )
        except EngineError as error:
            return error.message
        return process.definition

    async def _once(self, key: Any, work: Callable[[], Awaitable[V]]) -> V:
        """Those who want the same at the same time share one answer."""
        running = self._underway.get(key)
        if running is None:
            running = asyncio.ensure_future(work())
            self._underway[key] = running
            running.add_done_callback(lambda done: (self._underway.pop(key, None), done.cancelled() or done.exception())[0])
        result: V = await asyncio.shield(running)
        return result

    # ---- handlers

    def handlers(self, ns: str) -> HandlerSet | None:
        """The set of a namespace, when it has been loaded."""
        return self._sets.get(ns)

    async def refresh(self, ns: str) -> HandlerSet:
        """The set as it is in the store now."""
        return await self._once(("handlers", ns), lambda: self._refresh(ns))

    async def _refresh(self, ns: str) -> HandlerSet:
        known = self._sets.get(ns)
        for _ in range(TRIES):
            counter = await self._store.handler_counter(ns)
            if known is not None and known.counter == counter:
                return known
            live = set(await self._store.live_definitions(ns, "handler"))
            rows = await self._handler_rows(ns, live - known.rows.keys() if known is not None else live)
            if await self._store.handler_counter(ns) == counter:
                break
        else:
            raise EngineError("busy", f"the handlers of namespace {ns!r} keep changing; try again")
        if known is None:
            known = self._sets[ns] = HandlerSet()
        for gone in known.rows.keys() - live:
            known.remove(gone)
        for row in rows:
            if row.id not in known.rows:
                known.add(row.id, self.language(row.language).handler(row))
        known.counter = counter
        return known

    async def _handler_rows(self, ns: str, wanted: set[int]) -> list[DefinitionRow]:
        """Few are read one by one: a set may be large, and it changes by one handler at a time."""
        if len(wanted) > ONE_BY_ONE:
            return [row for row in await self._store.definitions(ns, "handler") if row.id in wanted]
        found = [await self._store.definition(number) for number in sorted(wanted)]
        return [row for row in found if row is not None]


def content_hash(head: str, body: bytes) -> bytes:
    digest = blake2b(head.encode(), digest_size=16)
    digest.update(b"\0")
    digest.update(body)
    return digest.digest()
