"""Reads what requests lack: runs, old steps, definitions, correlation points, results of scripts.

Nothing here changes a run or decides anything. What is read goes to the cache, or to the request's own answers if it would be
out of date for others. A run is read only while no unacknowledged batch holds it, and is not changed (`busy`) while it is read.

Cost: one read for runs that are not in memory, and another for what is old in a long one; one for all keys of a run, one message
for all questions to scripts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pelton.errors import Code, PeltonError
from pelton.kernel.expressions.base import Evaluation, Outcome
from pelton.kernel.machine.nearest import started_by
from pelton.kernel.model.process import Process
from pelton.kernel.model.reads import (
    CompiledKey,
    DefinitionKey,
    EvaluationKey,
    FoundKey,
    FragmentKey,
    InlineKey,
    NewestKey,
    PausedKey,
    ProcessKey,
    RunKey,
    ServedKey,
    SlotKey,
    StepKey,
    ThreadKey,
)
from pelton.kernel.model.state import OpenStep, Run, Step
from pelton.runtime.cache.correlations import PointName
from pelton.runtime.cache.pages import read_paged
from pelton.runtime.cache.prefetch import prefetch
from pelton.runtime.cache.reads import of_run
from pelton.runtime.cache.runs import PLACEHOLDER, RunEntry, ahead
from pelton.runtime.cache.shared import Shared
from pelton.runtime.commit.requests import CommitRequest
from pelton.runtime.commit.suspend import Suspend
from pelton.runtime.commit.workspace import Workspace
from pelton.runtime.names import queue_of
from pelton.store.group import Lookup
from pelton.store.prefetched import PREFETCH_RUNS, Prefetched

SCRIPT_MS = 30_000  # of their own time, for all scripts that one signal leads to


class Scripts(Protocol):
    async def answer(self, questions: Sequence[Evaluation]) -> Sequence[Outcome]: ...


class ReadLoader:
    def __init__(self, workspace: Workspace, release: Callable[[Shared], None], scripts: Scripts | None = None) -> None:
        """`release(shared)`: resumes the requests that waited for the run or point."""
        self._workspace = workspace
        self._release = release
        self._scripts = scripts

    async def fetch(self, request: CommitRequest, suspend: Suspend) -> None:
        """Reads everything that the request was suspended for. Raises PeltonError."""
        if suspend.started:
            await self._load(request, suspend.started)
        for ns, name, version in suspend.bindings:
            await self._bind(request, ns, name, version)
        if suspend.keys:
            await self._answer_keys(request, suspend)
        if suspend.point is not None:
            await self.load_point(suspend.point)
        if suspend.fetch is not None:
            await suspend.fetch()

    def begin_run(self, run: int) -> RunEntry:
        """The cache entry of a run that is about to be read."""
        entry = RunEntry(run)
        entry.busy = True
        self._workspace.cache.add(entry)
        return entry

    async def _bind(self, request: CommitRequest, ns: str, name: str, version: int) -> None:
        key = ("bind", ns, name, version)
        try:
            definitions = self._workspace.definitions
            process = request.answers.outside[key] = await definitions.bind(ns, name, version)
            if self._workspace.shared:
                request.answers.defined[ns] = definitions.counter(ns) if definitions.is_bound(ns, process) else -1
        except PeltonError as error:
            request.answers.outside[key] = error

    async def _load(self, request: CommitRequest, entries: Sequence[RunEntry]) -> None:
        """Reads runs that are not in the cache, all in one question; and in another what the signal is likely to need beyond
        that. Those who wait for them are resumed when this returns, so that the request can be put before them."""
        of, n = request.hint()
        try:
            found: list[Prefetched | None] = []
            for first in range(0, len(entries), PREFETCH_RUNS):
                part = entries[first : first + PREFETCH_RUNS]
                found += await self._workspace.store.prefetch([(entry.key, n if entry.key == of else 0) for entry in part])
            takes = (self._take(request, entry, each) for entry, each in zip(entries, found, strict=True))
            for outcome in await asyncio.gather(*takes, return_exceptions=True):
                if outcome is not None:
                    raise outcome
        finally:
            for entry in entries:
                self._loaded(entry)

    async def _take(self, request: CommitRequest, entry: RunEntry, found: Prefetched | None) -> None:
        if found is None:
            request.absent.add(entry.key)
            return
        entry.process = await self._process(found.run)
        self._workspace.cache.take(entry, found)
        if found.step is not None:
            await self._prefetch(request, entry, found.run, found.step)

    async def _look(self, request: CommitRequest, run: int) -> None:
        """Reads the head of a run that the request only looks at."""
        if self._workspace.cache.peek(run) is not None:
            return  # another request is at it, or was
        entry = self.begin_run(run)
        try:
            head = await self._workspace.store.head(run)
            if head is None:
                request.absent.add(run)
                return
            entry.process = await self._process(head)
            entry.head = head
        finally:
            self._loaded(entry)

    async def _process(self, head: Run) -> Process:
        return await self._workspace.definitions.process(head.definition) if head.definition else PLACEHOLDER

    def _loaded(self, entry: RunEntry) -> None:
        entry.busy = False
        if entry.head is None:
            self._workspace.cache.drop(entry)
        self._release(entry)

    async def _prefetch(self, request: CommitRequest, entry: RunEntry, head: Run, row: OpenStep | Step) -> None:
        assert entry.process is not None
        if type(row) is Step:
            request.answers.keep(entry.key, head.rev, StepKey(row.n), row)
        slots = prefetch(entry.process, row.slot)
        around: list[Any] = [StepKey(row.scope)] if row.scope > 0 else []
        if row.fragment:
            await self._learn(request, entry, head, [FragmentKey(row.fragment)])
            acquired = entry.fragments.get(row.fragment)
            joins = acquired.fragment.joins_of.get(row.slot, ()) if acquired is not None else ()
            slots = (*slots, *(slot for join in joins for slot in prefetch(entry.process, join)))
        if row.thread:
            # Its expressions read what is nearest (kernel.machine.nearest): in its own iteration, then in the thread around it.
            await self._learn(request, entry, head, [ThreadKey(row.thread)])
            thread = entry.threads.get(row.thread)
            starter = started_by(thread) if thread is not None else 0
            around += [SlotKey(slot, row.scope, row.it) for slot in slots]
            around += [StepKey(starter)] if starter else []
        await self._learn(request, entry, head, [*(NewestKey(slot) for slot in dict.fromkeys(slots)), *dict.fromkeys(around)])

    async def _learn(self, request: CommitRequest, entry: RunEntry, head: Run, keys: list[Any]) -> None:
        """Reads what is likely to be needed and not known. The entry keeps it, or for as long as the run does not change the
        request."""
        assert entry.process is not None
        keys = [key for key in keys if not entry.knows(key)]
        if not keys:
            return
        for key, row in zip(keys, await self._workspace.store.read(head, keys), strict=True):
            answer = self._workspace.definitions.fragments.answer(entry.process, key, row)
            if not entry.learn(key, answer):
                request.answers.keep(entry.key, head.rev, key, answer)

    async def _answer_keys(self, request: CommitRequest, suspend: Suspend) -> None:
        rows: list[Any] = []
        questions: list[Evaluation] = []
        outside: list[Any] = []
        for key in dict.fromkeys(suspend.keys):
            if type(key) is EvaluationKey:
                questions.append(key.question)
            elif of_run(key):
                rows.append(key)
            else:
                outside.append(key)
        entry = suspend.entry
        if rows and entry is not None:
            await self._read_run(request, entry, rows)
        if questions:
            outcomes = await self._outcomes(request, questions, of_run=entry is not None)
            request.answers.scripts.update(zip(questions, outcomes, strict=True))
        for key in outside:
            await self._answer_outside(request, entry, key)

    async def _outcomes(self, request: CommitRequest, questions: list[Evaluation], of_run: bool) -> list[Outcome]:
        """Scripts of runs have a budget for all that one signal leads to; those of handlers have bounds of their own."""
        if of_run and request.script_ms >= SCRIPT_MS:
            why = f"the script was not run: those of one signal took {request.script_ms} ms together, and may take {SCRIPT_MS}"
            return [Outcome(None, why, failed=True, timed_out=True)] * len(questions)
        outcomes = await self.ask(questions)
        request.script_ms += sum(outcome.took for outcome in outcomes) if of_run else 0
        return outcomes

    async def ask(self, questions: list[Evaluation]) -> list[Outcome]:
        """The results of scripts. Raises PeltonError "unavailable" without a pool."""
        if self._scripts is None:
            raise PeltonError(Code.UNAVAILABLE, "this server runs no scripts")
        return list(await self._scripts.answer(questions))

    async def _read_run(self, request: CommitRequest, entry: RunEntry, keys: list[Any]) -> None:
        entry.busy = True
        try:
            while entry.pins:
                quiet: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                entry.quiet.append(quiet)
                await quiet
            head = entry.head
            if entry.stale or head is None:
                return
            links = [key for key in keys if type(key) is FoundKey]
            own = [ahead(key) for key in keys if type(key) is not FoundKey]
            for link in links:
                found = await self._workspace.look_up(Lookup(head.ns, link.name, link.text))
                request.answers.keep(entry.key, head.rev, link, found)
            rows = await read_paged(self._workspace.store, head, own) if own else []
            process, fragments = entry.process or PLACEHOLDER, self._workspace.definitions.fragments
            for key, row in zip(own, rows, strict=True):
                answer = fragments.answer(process, key, row)
                if not entry.learn(key, answer):
                    request.answers.keep(entry.key, head.rev, key, answer)
        finally:
            entry.busy = False

    async def _answer_outside(self, request: CommitRequest, entry: RunEntry | None, key: Any) -> None:
        kind = type(key)
        if kind is ProcessKey:
            try:
                request.answers.outside[key] = await self._workspace.definitions.process(key.definition)
            except PeltonError:
                if entry is None:
                    raise
                request.answers.outside[key] = None
            return
        if kind is CompiledKey:
            process = await self._workspace.definitions.process(key.definition)
            request.answers.outside[key] = self._workspace.definitions.fragments.compiled(process, key.node, key.value)
            return
        if kind is PausedKey:
            await self._workspace.pauses.read((key.ns, key.process))
            return
        ns, language = self._home(request, entry)
        if kind is DefinitionKey:
            if self._workspace.shared and not key.at:
                request.answers.defined[ns] = await self._workspace.definitions.look(ns)
            request.answers.outside[key] = await self._workspace.definitions.number(ns, key.kind, key.name, key.version, key.at)
        elif kind is InlineKey:
            request.answers.outside[key] = await self._workspace.definitions.inline(ns, language, key.body)
        elif kind is ServedKey:
            request.answers.outside[key] = self._served(ns, key)
        elif kind is RunKey:
            await self._look(request, key.key)
        else:
            await self.load_point((ns, key.name, key.key))

    def _served(self, ns: str, key: ServedKey) -> str:
        since = self._workspace.store.now() - key.within
        for queue in key.queues:
            if self._workspace.work is not None and self._workspace.work.last_polled(queue_of(ns or "default", queue)) > max(
                since, 0
            ):
                return queue
        return key.queues[-1]

    def _home(self, request: CommitRequest, entry: RunEntry | None) -> tuple[str, str]:
        """Namespace and language in which a run's questions are answered; a run being started has no head yet."""
        head = entry.head if entry is not None else None
        process = entry.process if entry is not None else None
        if head is not None:
            return head.ns, process.language if process is not None else ""
        signal = getattr(request, "signal", None)
        started = getattr(signal, "definition", 0)
        process = self._workspace.definitions.cached(started) if started else None
        return getattr(signal, "ns", "") or getattr(request, "ns", ""), process.language if process is not None else ""

    async def load_point(self, name: PointName) -> None:
        """Reads a correlation point that is not in memory."""
        point = self._workspace.correlations.begin(name)
        if point is not None:
            try:
                await self._workspace.correlations.read(point)
            finally:
                self._release(point)
