"""Definitions as this process knows them: rows, bindings, compiled processes. Handler sets are in `handler_sets`.

A run follows a *bound* definition: a row of kind "bound" whose body is the process with everything that it refers to, identified
by its content. Binding and compiling happen before and outside transactions, large ones in a thread, and are cached: processes by
row, bindings by name until something in their namespace changes.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import Any, TypeVar

from msgspec import DecodeError, json

from pelton.errors import Code, PeltonError
from pelton.kernel.expressions.base import Invalid
from pelton.kernel.model.process import Process
from pelton.runtime.definitions.fragments import FragmentCache
from pelton.runtime.definitions.handler_sets import HandlerSets
from pelton.runtime.ids import Instants
from pelton.runtime.language import Language
from pelton.store.group import Committed, DefinitionWrite, Group
from pelton.store.port import Store
from pelton.store.rows import DefinitionRow, EventRow

PROCESSES_KEPT = 1_000
BINDINGS_KEPT = 10_000
BIG = 32_768  # bytes of a body that is compiled in a thread
REFERENCES = 6_000  # definitions that one process may refer to: more than the steps that a language lets it have
TRIES = 8

Write = Callable[[Callable[[Group], None]], Awaitable[Committed]]
V = TypeVar("V")


class DefinitionCache:
    def __init__(self, store: Store, keys: Callable[[], int], write: Write, instants: Instants) -> None:
        self._store = store
        self._keys = keys
        self._write = write
        self._languages: dict[str, Language] = {}
        self.views: dict[str, Callable[[EventRow], Any]] = {}  # by language, see runtime.events.matching
        self._built_in: dict[str, tuple[str, bytes]] = {}  # processes that every namespace has: language and body
        self._processes: OrderedDict[int, Process] = OrderedDict()
        self._bindings: OrderedDict[tuple[str, str, int], Process] = OrderedDict()
        self._generation: dict[str, int] = {}  # by namespace: raised when bindings become doubtful
        self.handlers = HandlerSets(store, self.language)
        self.fragments = FragmentCache()
        self._underway: dict[Any, asyncio.Future[Any]] = {}
        self._instants = instants
        self._seen: dict[str, int] = {}  # where other servers define too: the counter of a namespace that its bindings rest on

    # ---- languages

    def add_language(self, language: Language) -> None:
        self._languages[language.name] = language
        self.views[language.name] = language.payload

    def language(self, name: str) -> Language:
        language = self._languages.get(name)
        if language is None:
            known = ", ".join(sorted(self._languages)) or "none"
            raise PeltonError(Code.INVALID, f"language {name!r} is not installed; use one of: {known}", "language")
        return language

    def add_built_in(self, name: str, language: str, body: bytes) -> None:
        """A process that every namespace has, and none can define: one version, numbered 1."""
        self._built_in[name] = language, body

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
        """Stores a version. Storing the same content again changes nothing. Raises PeltonError "exists" with `must_be_new`,
        "conflict" if the live row is not the one that was `seen`."""
        self.language(language)
        if kind == "process" and name in self._built_in:
            raise PeltonError(Code.INVALID, f"{name!r} is a process of the server's own; choose another name", "name", value=name)
        digest = content_hash(language, body)
        for _ in range(TRIES):
            live = await self.find(ns, kind, name, version, exact=True)
            if live is not None:
                if must_be_new:
                    raise PeltonError(Code.EXISTS, f"{kind} {name!r} version {version} already exists", "name")
                if live.hash == digest:
                    return live
            if seen and (live is None or live.id != seen):
                raise PeltonError(
                    Code.CONFLICT, f"{kind} {name!r} version {version} was changed by another caller; read it again", "name"
                )
            row = DefinitionRow(
                id=self._keys(),
                ns=ns,
                kind=kind,
                language=language,
                name=name,
                version=version,
                body=body,
                hash=digest,
                since=0,
                until=0,
                actor=actor,
            )
            write = DefinitionWrite(
                ns=ns,
                kind=kind,
                name=name,
                version=version,
                row=row,
                at=0,
                expected=live.id if live else 0,
                counts=kind == "handler",
                moves=kind != "handler",
            )
            if await self._put(write, live):
                await self._changed(ns, kind)
                return row
        raise PeltonError(Code.BUSY, f"{kind} {name!r} is being changed by other callers; retry the request")

    async def undefine(self, ns: str, kind: str, name: str, version: int) -> int:
        """Removes a definition; returns the instant from which it is gone. Raises PeltonError "not found"."""
        for _ in range(TRIES):
            live = await self.find(ns, kind, name, version, exact=True)
            if live is None:
                raise PeltonError(Code.NOT_FOUND, f"no {kind} {name!r} version {version}", "name")
            write = DefinitionWrite(
                ns=ns,
                kind=kind,
                name=name,
                version=version,
                row=None,
                at=0,
                expected=live.id,
                counts=kind == "handler",
                moves=kind != "handler",
            )
            if await self._put(write, live):
                await self._changed(ns, kind)
                return write.at
        raise PeltonError(Code.BUSY, f"{kind} {name!r} is being changed by other callers; retry the request")

    async def find(
        self, ns: str, kind: str, name: str, version: int = 0, at: int = 0, exact: bool = False
    ) -> DefinitionRow | None:
        """The row; version 0 = the highest, unless `exact`."""
        rows = await self._store.definitions(ns, kind, name=name, version=version, at=at)
        if exact:
            rows = [row for row in rows if row.version == version]
        return rows[-1] if rows else None

    def _moment(self, live: DefinitionRow | None) -> int:
        """Microseconds, strictly increasing whatever the clock does."""
        return self._instants.next(live.since + 1 if live is not None else 0)

    async def _put(self, write: DefinitionWrite, live: DefinitionRow | None = None) -> bool:
        """The row is valid from when it joins a batch, so what was settled before stays unchanged."""

        if write.counts:
            await self.handlers.yield_to_events(write.ns)

        def fill(group: Group) -> None:
            write.at = self._moment(live)
            if write.row is not None:
                write.row.since = write.at
            group.definitions.append(write)

        return (await self._write(fill)).ok

    async def _changed(self, ns: str, kind: str) -> None:
        """Called when this process's change is in the store."""
        if kind != "handler":
            self.doubt(ns)
        else:
            await self.handlers.refresh(ns)

    def doubt(self, ns: str) -> None:
        """Something in the namespace was defined: what is bound by name may be another now."""
        self._generation[ns] = self._generation.get(ns, 0) + 1
        for known in [known for known in self._bindings if known[0] == ns]:
            del self._bindings[known]

    async def look(self, ns: str) -> int:
        """Where other servers define too: the counter on which the namespace's bindings rest, as it is now."""
        counter = await self._store.definition_counter(ns)
        if self._seen.get(ns) != counter:
            self.doubt(ns)
            self._seen[ns] = counter
        return counter

    def is_bound(self, ns: str, process: Process) -> bool:
        """Whether it is what its name stands for, as of `counter`."""
        return any(self._bindings.get((ns, process.name, version)) is process for version in (0, process.version))

    def counter(self, ns: str) -> int:
        """As the last `look` found it."""
        return self._seen.get(ns, 0)

    # ---- bindings and processes

    def bound(self, ns: str, name: str, version: int) -> Process | None:
        """The result of `bind`, if it is already known."""
        return self._bindings.get((ns, name, version))

    async def bind(self, ns: str, name: str, version: int = 0) -> Process:
        """The process that a run started now would follow. Raises PeltonError "unknown process"."""
        known = self._bindings.get((ns, name, version))
        if known is not None:
            return known
        return await self._once(
            ("bind", ns, name, version, self._generation.get(ns, 0)), lambda: self._bind_named(ns, name, version)
        )

    async def _bind_named(self, ns: str, name: str, version: int) -> Process:
        if self._store.shared:
            await self.look(ns)
        generation = self._generation.get(ns, 0)
        row = self._own(ns, name, version) or await self.find(ns, "process", name, version)
        if row is None:
            which = f"version {version} of process" if version else "process"
            raise PeltonError(Code.UNKNOWN_PROCESS, f"no {which} {name!r} in namespace {ns!r}; define it first", "process")
        process = await self._bind(row)
        if generation == self._generation.get(ns, 0):
            self._bindings[ns, name, version] = process
            while len(self._bindings) > BINDINGS_KEPT:
                self._bindings.popitem(last=False)
        return process

    def _own(self, ns: str, name: str, version: int) -> DefinitionRow | None:
        if name not in self._built_in or version > 1:
            return None
        language, body = self._built_in[name]
        digest = content_hash(language, body)
        return DefinitionRow(
            id=0, ns=ns, kind="process", language=language, name=name, version=1, body=body, hash=digest, since=0
        )

    async def bind_inline(self, ns: str, language: str, name: str, version: int, body: bytes) -> Process:
        """Binds a definition that is given in full and stored for its runs only. Raises PeltonError "invalid"."""
        digest = content_hash(language, body)
        row = DefinitionRow(
            id=0,
            ns=ns,
            kind="process",
            language=language,
            name=name,
            version=version,
            body=body,
            hash=digest,
            since=self._store.now() * 1000,
        )
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
                    raise PeltonError(Code.TOO_LARGE, f"process {row.name!r} refers to more than {REFERENCES} definitions")
                for key in wanted:
                    referred[key] = await self.find(row.ns, *key)
                wanted.clear()
                body = language.bind(row, refer)
            return await self._bound(row, language, body)
        except Invalid as error:
            raise PeltonError(Code.INVALID, f"process {row.name!r}: {error.message}", "body") from None

    async def _bound(self, row: DefinitionRow, language: Language, body: bytes) -> Process:
        digest = content_hash(f"{row.language}\n{row.name}\n{row.version}", body)
        for _ in range(TRIES):  # another may bind it at the same moment
            bound = await self._store.bound(row.ns, digest)
            if bound is not None:
                return await self.process(bound.id)
            process = await self._put_bound(row, language, body, digest)
            if process is not None:
                return process
        raise PeltonError(Code.BUSY, f"process {row.name!r} is being changed by other callers; retry the request")

    async def _put_bound(self, row: DefinitionRow, language: Language, body: bytes, digest: bytes) -> Process | None:
        key = self._keys()
        process = await self._compile(language, row.name, row.version, body, key)  # before it is kept: what is kept compiles
        bound = DefinitionRow(
            id=key,
            ns=row.ns,
            kind="bound",
            language=row.language,
            name=row.name,
            version=row.version,
            body=body,
            hash=digest,
            since=0,
        )
        if await self._put(DefinitionWrite(row.ns, "bound", row.name, row.version, bound, 0)):
            self._keep(process)
            return process
        return None

    def cached(self, definition: int) -> Process | None:
        process = self._processes.get(definition)
        if process is not None:
            self._processes.move_to_end(definition)
        return process

    async def process(self, definition: int) -> Process:
        """The compiled process of a bound row. Raises PeltonError "unknown process"."""
        known = self.cached(definition)
        return known if known is not None else await self._once(("process", definition), lambda: self._load(definition))

    async def _load(self, definition: int) -> Process:
        row = await self._store.definition(definition)
        if row is None:
            raise PeltonError(Code.UNKNOWN_PROCESS, f"no definition number {definition}", "definition")
        if row.kind != "bound":
            return await self._bind(row)
        try:
            process = await self._compile(self.language(row.language), row.name, row.version, row.body, row.id)
        except Invalid as error:
            raise PeltonError(Code.INVALID, f"process {row.name!r} no longer compiles: {error.message}", "body") from None
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

    async def number(self, ns: str, kind: str, name: str, version: int, at: int = 0) -> int:
        """The answer to kernel.model.reads.DefinitionKey: a process is bound first; 0 if there is none."""
        if kind == "process":
            try:
                if at and name not in self._built_in:
                    then = await self.find(ns, kind, name, version, at)
                    return (await self.process(then.id)).definition if then is not None else 0
                return (await self.bind(ns, name, version)).definition
            except PeltonError as error:
                if error.code in {Code.UNKNOWN_PROCESS, Code.INVALID}:
                    return 0
                raise
        row = await self.find(ns, kind, name, version, at)
        return row.id if row is not None else 0

    async def inline(self, ns: str, language: str, body: str) -> int | str:
        """The answer to kernel.model.reads.InlineKey: the row's number, or why the definition is refused."""
        try:
            given = json.decode(body)
        except DecodeError as error:
            return f"not valid JSON: {error}"
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
        except PeltonError as error:
            return error.message
        return process.definition

    async def _once(self, key: Any, work: Callable[[], Awaitable[V]]) -> V:
        """Callers that ask for the same thing at the same time share one result."""
        running = self._underway.get(key)
        if running is None:
            running = asyncio.ensure_future(work())
            self._underway[key] = running
            running.add_done_callback(lambda done: (self._underway.pop(key, None), done.cancelled() or done.exception())[0])
        result: V = await asyncio.shield(running)
        return result


def content_hash(head: str, body: bytes) -> bytes:
    digest = blake2b(head.encode(), digest_size=16)
    digest.update(b"\0")
    digest.update(body)
    return digest.digest()
