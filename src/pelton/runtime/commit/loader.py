"""What jobs lack, and where it is read: runs, old steps, definitions, meeting points, answers of scripts.

Nothing here changes a run or decides anything: what was read lies in the cache, or in the job's own answers where it would be out
of date for others. A run is read only while no unacknowledged batch holds it, and rests (`busy`) while it is read.

Cost: two or three reads for a run that is not in memory, one for all keys of a run, one message for all questions to scripts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pelton.errors import Code, PeltonError
from pelton.kernel.expressions.base import Evaluation, Outcome
from pelton.kernel.model.reads import (
    DefinitionKey,
    EvaluationKey,
    FoundKey,
    InlineKey,
    NewestKey,
    OpenKey,
    ProcessKey,
    RecordKey,
    RunKey,
    ServedKey,
    StepKey,
)
from pelton.kernel.model.state import Run
from pelton.runtime.commit.correlation_cache import PointName
from pelton.runtime.commit.prefetch import prefetch
from pelton.runtime.commit.reads import of_run
from pelton.runtime.commit.requests import CommitRequest
from pelton.runtime.commit.run_cache import RunEntry
from pelton.runtime.commit.unit_of_work import PLACEHOLDER, Suspend
from pelton.runtime.names import queue_of

if TYPE_CHECKING:
    from pelton.runtime.commit.committer import Committer


FEW = 64  # open rows that are read with a run which keeps a record: what triggers look at


class Scripts(Protocol):
    async def answer(self, questions: Sequence[Evaluation]) -> Sequence[Outcome]: ...


class ReadLoader:
    def __init__(self, committer: Committer, scripts: Scripts | None = None) -> None:
        self._committer = committer
        self._scripts = scripts

    async def fetch(self, job: CommitRequest, suspend: Suspend) -> None:
        """All that the job was suspended for. Raises PeltonError."""
        if suspend.loads:
            cache = self._committer.cache
            await asyncio.gather(*(self._load(job, run, cache.peek(run)) for run in suspend.loads))
        for ns, name, version in suspend.bindings:
            await self._bind(job, ns, name, version)
        if suspend.keys:
            await self._answer_keys(job, suspend)
        if suspend.fetch is not None:
            await suspend.fetch()

    def begin_run(self, run: int) -> RunEntry:
        """The entry of a run that is about to be read."""
        entry = RunEntry(run)
        entry.busy = True
        self._committer.cache.add(entry)
        return entry

    async def _bind(self, job: CommitRequest, ns: str, name: str, version: int) -> None:
        key = ("bind", ns, name, version)
        try:
            job.answers.outside[key] = await self._committer.definitions.bind(ns, name, version)
        except PeltonError as error:
            job.answers.outside[key] = error

    async def _load(self, job: CommitRequest, run: int, entry: RunEntry | None = None) -> None:
        """Reads a run that is not in the cache: head, process, and what the signal will probably look at."""
        if entry is None and self._committer.cache.peek(run) is not None:
            return  # somebody else is at it, or was
        entry = entry or self.begin_run(run)
        loaded = False
        try:
            head = await self._committer.store.head(run)
            if head is None:
                job.absent.add(run)
                return
            entry.process = await self._committer.definitions.process(head.definition) if head.definition else PLACEHOLDER
            entry.head = head
            loaded = True
            of, n = job.hint()
            if of == run and n > 0:
                await self._prefetch(entry, head, n)
            elif entry.process.records is not None and head.open <= FEW:
                keys: list[Any] = [RecordKey(), OpenKey()]
                for key, answer in zip(keys, await self._committer.store.facts(head, keys), strict=True):
                    entry.learn(key, answer)
        finally:
            entry.busy = False
            if not loaded:
                self._committer.cache.drop(entry)
            self._committer.release(entry)

    async def _prefetch(self, entry: RunEntry, head: Run, n: int) -> None:
        assert entry.process is not None
        row = (await self._committer.store.facts(head, [StepKey(n)]))[0]
        if row is None:
            return
        entry.learn(StepKey(n), row)
        keys: list[Any] = [NewestKey(slot) for slot in prefetch(entry.process, row.slot)]
        if row.scope > 0:
            keys.append(StepKey(row.scope))
        for key, answer in zip(keys, await self._committer.store.facts(head, keys), strict=True):
            entry.learn(key, answer)

    async def _answer_keys(self, job: CommitRequest, suspend: Suspend) -> None:
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
            await self._read_run(job, entry, rows)
        if questions:
            job.answers.scripts.update(zip(questions, await self.ask(questions), strict=True))
        for key in outside:
            await self._answer_outside(job, entry, key)

    async def ask(self, questions: list[Evaluation]) -> list[Outcome]:
        """What scripts come to. Raises PeltonError "unavailable" without a pool."""
        if self._scripts is None:
            raise PeltonError(Code.UNAVAILABLE, "this server runs no scripts")
        return list(await self._scripts.answer(questions))

    async def _read_run(self, job: CommitRequest, entry: RunEntry, keys: list[Any]) -> None:
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
            own = [key for key in keys if type(key) is not FoundKey]
            for link in links:
                job.answers.keep(entry.key, head.rev, link, await self._committer.finder.linked(head.ns, link.name, link.text))
            answers = await self._committer.store.facts(head, own) if own else []
            for key, answer in zip(own, answers, strict=True):
                if not entry.learn(key, answer):
                    job.answers.keep(entry.key, head.rev, key, answer)
        finally:
            entry.busy = False

    async def _answer_outside(self, job: CommitRequest, entry: RunEntry | None, key: Any) -> None:
        kind = type(key)
        if kind is ProcessKey:
            try:
                job.answers.outside[key] = await self._committer.definitions.process(key.definition)
            except PeltonError:
                if entry is None:
                    raise
                job.answers.outside[key] = None
            return
        ns, language = self._home(job, entry)
        if kind is DefinitionKey:
            job.answers.outside[key] = await self._committer.definitions.number(ns, key.kind, key.name, key.version, key.at)
        elif kind is InlineKey:
            job.answers.outside[key] = await self._committer.definitions.inline(ns, language, key.body)
        elif kind is ServedKey:
            job.answers.outside[key] = self._served(ns, key)
        elif kind is RunKey:
            await self._load(job, key.key)
        else:
            await self.load_place((ns, key.name, key.key))

    def _served(self, ns: str, key: ServedKey) -> str:
        since = self._committer.store.now() - key.within
        for queue in key.queues:
            if self._committer.work is not None and self._committer.work.last_polled(queue_of(ns or "default", queue)) > max(
                since, 0
            ):
                return queue
        return key.queues[-1]

    def _home(self, job: CommitRequest, entry: RunEntry | None) -> tuple[str, str]:
        """Namespace and language in which a run's questions are answered; a run that begins has no head yet."""
        head = entry.head if entry is not None else None
        process = entry.process if entry is not None else None
        if head is not None:
            return head.ns, process.language if process is not None else ""
        signal = getattr(job, "signal", None)
        started = getattr(signal, "definition", 0)
        process = self._committer.definitions.cached(started) if started else None
        return getattr(signal, "ns", "") or getattr(job, "ns", ""), process.language if process is not None else ""

    async def load_place(self, name: PointName) -> None:
        """Reads a meeting point that is not in memory."""
        place = self._committer.places.begin(name)
        if place is not None:
            try:
                await self._committer.places.read(place)
            finally:
                self._committer.release(place)
