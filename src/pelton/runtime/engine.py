"""The engine: the implementation of `runtime.api.Engine`, which documents each method. It assembles the committer, the event
ingester and the services, and turns their rows into what callers see.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from pelton.connectors.registry import Connectors
from pelton.errors import Code, PeltonError
from pelton.kernel.expressions.base import Unanswered
from pelton.kernel.model.process import REPLY, Process
from pelton.kernel.model.signals import PutCheckpoint, Report, Signal, Start
from pelton.kernel.model.state import Bit, Record, Run, RunStatus, worker_of
from pelton.runtime.api import (
    USUAL,
    Applied,
    CheckpointPut,
    ClaimRequest,
    CorrelateCommand,
    Correlated,
    EventIn,
    HandlerDecision,
    Ingested,
    Operation,
    OperationBounds,
    ReportResult,
    StartCommand,
    TaskAct,
    TaskQuery,
    Watch,
    WorkItem,
)
from pelton.runtime.await_reply import AwaitedReplies, ReplyFound
from pelton.runtime.cache.correlations import PointName
from pelton.runtime.cache.descendants import DEFAULT as DESCENDANTS
from pelton.runtime.caller import NAMESPACE, Caller
from pelton.runtime.commit.committer import CACHE_BYTES, Committer, Scripts
from pelton.runtime.commit.durable import DurableAnnouncement, encode_signal
from pelton.runtime.commit.requests import StartRequest
from pelton.runtime.commit.unit_of_work import LOG_TEXT
from pelton.runtime.delivery.listening import LOCAL, Listening
from pelton.runtime.delivery.outbox import Outbox
from pelton.runtime.delivery.sources import Sources
from pelton.runtime.engine_processes import EngineProcesses
from pelton.runtime.events.actions import key_rows
from pelton.runtime.events.correlation import CHUNK, LONGEST_HOLD, CorrelationRequest, RemoveSticky
from pelton.runtime.events.fan_out import DurableJobs, FanOut, durable_job
from pelton.runtime.events.ingest import EventIngester
from pelton.runtime.events.matching import EventContext, explain
from pelton.runtime.events.placeholders import ExpiryRequest, NamedSignalRequest, ReleaseRequest
from pelton.runtime.ids import IdCodec, KeyClock
from pelton.runtime.language import Language
from pelton.runtime.names import EXPECTED, KEY_KIND, queue_of, shown_queue
from pelton.runtime.nodes import Nodes
from pelton.runtime.people.desk import Desk
from pelton.runtime.people.process import BODY, PERSON, PersonLanguage
from pelton.runtime.retention import Retention
from pelton.runtime.secrets.vault import Vault
from pelton.runtime.services import Clock, LoopClock, log
from pelton.runtime.supervision import Supervisor, insist
from pelton.runtime.timing.timers import Expiry, Timers
from pelton.runtime.watches import Watches
from pelton.runtime.work.attempts import put_checkpoint
from pelton.runtime.work.exchange import Exchange
from pelton.runtime.work.limits import QueueLimits
from pelton.runtime.work.queue import WorkQueue
from pelton.runtime.work.runner import Operations
from pelton.store.group import Group
from pelton.store.port import Store
from pelton.store.retention import Keep, Kind
from pelton.store.rows import (
    DeadLetter,
    DefinitionRow,
    Delivery,
    HeldRow,
    LogRow,
    PendingSignalRow,
    ResultRow,
    SecretRow,
    StickyRow,
)
from pelton.telemetry.spans import NO_SPANS, Spans
from pelton.telemetry.trace import trace_id

KEY_TRIES = 4
LOOK = 1_000  # milliseconds after which a waiting caller looks again, where other servers write to the store
MOST_RUNS = 200_000  # of one job
BOOKMARK_PAGE = 2_000  # rows
HELD_EXPIRED = "held.expired"  # the fact of an event that was held by key and not taken in time


def completion() -> tuple[asyncio.Future[None], Callable[[PeltonError | None], None]]:
    """A future, and the callback that completes it."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done(error: PeltonError | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(None)

    return future, done


class LocalEngine(EngineProcesses):
    """Creates the services on the given store and clock; the store is opened and closed by its owner."""

    def __init__(
        self,
        store: Store,
        *,
        connectors: Connectors | None = None,
        scripts: Scripts | None = None,
        clock: Clock | None = None,
        node: int = 0,
        instance: str = "",
        cache_bytes: int = CACHE_BYTES,
        namespaces: Iterable[str] = ("default",),
        watched: Iterable[str] = (),
        keep: Mapping[Kind, Keep] | None = None,
        vault: Vault | None = None,
        descendants: int = DESCENDANTS,
        spans: Spans = NO_SPANS,
    ) -> None:
        """`store` must be open. `namespaces`: those whose handlers' sources are listened to from the start, in addition to those
        that the store knows. `watched`: addresses that are listened to whether or not a handler asks; their messages specify
        their events themselves. `keep`: how long finished data is kept, by kind; by default for ever. `vault`: of
        secrets; by default one without a key. `descendants`: how many events and runs may go back to one within a day. `spans`:
        to whom traces are reported."""
        self.spans = spans
        self.supervisor = Supervisor()
        with self.supervisor:  # what is made in it is under it
            self._make(store, connectors, scripts, clock, node, instance, cache_bytes, namespaces, watched, keep, vault)
        self.committer.workspace.descendants.limit = descendants
        self._connect()

    def _make(
        self,
        store: Store,
        connectors: Connectors | None,
        scripts: Scripts | None,
        clock: Clock | None,
        node: int,
        instance: str,
        cache_bytes: int,
        namespaces: Iterable[str],
        watched: Iterable[str],
        keep: Mapping[Kind, Keep] | None,
        vault: Vault | None,
    ) -> None:
        self.store = store
        self.clock = clock or LoopClock(store.now)
        self.codec = IdCodec(store.secret)
        self.keys = KeyClock(store.now, node)
        self.connectors = connectors or Connectors()
        self.committer = Committer(store, self.codec, self.keys, scripts=scripts, cache_bytes=cache_bytes)
        committer = self.committer
        committer.workspace.spans = committer.workspace.effects.spans = self.spans
        self.definition_cache = committer.workspace.definitions
        self.add_language(PersonLanguage())
        self.definition_cache.add_built_in(PERSON, PERSON, BODY)
        self.desk = Desk(store, self.codec, self.signal)
        self.ingester = EventIngester(committer)
        self.watches = Watches(self.clock, look=LOOK if store.shared else 0)
        self.nodes = Nodes(store, self.clock, committer, self.keys, committer.workspace.instants, committer.instant, number=node)
        self.event_feed = committer.event_feed
        limits = QueueLimits(self.definition_cache)
        self.work = WorkQueue(store, committer, self.clock, instance=instance, shared=store.shared, limits=limits.of)
        self.vault = vault or Vault(store)
        self.exchanges = Exchange(store, committer, self.work, self.vault)
        placeholders = {EXPECTED: lambda row: self._end_placeholder(row.run)}
        mine = self.nodes.is_mine if store.shared else None
        self.timers = Timers(store, committer, self.clock, special=placeholders, mine=mine)
        self.expiry = Expiry(store, committer, self.clock, self._note_expiry, release=self._release_held, unstick=self._unstick)
        claims = self.nodes if store.shared else None
        self.outbox = Outbox(store, committer, self.clock, self.connectors, claims=claims, codec=self.codec, spans=self.spans)
        self.operations = Operations(self.exchanges.claim_built_in, self.work, committer, self.clock, instance=instance)
        self.work.on_gone = self.operations.withdrawn
        self.listening = Listening(
            self.definition_cache.handlers,
            self.connectors,
            ingest=self.ingester.ingest,
            write=self.write,
            check_sink=self.outbox.check,
            codec=self.codec,
            namespaces=namespaces,
            watched=watched,
        )
        listening = self.listening
        self.sources = Sources(
            committer,
            self.clock,
            self.connectors,
            listening.record,
            store=store,
            namespace=listening.namespace,
            bookmarks=lambda address, after: store.bookmarks(listening.namespace(address), address, after, BOOKMARK_PAGE),
            claims=claims,
        )
        self.durable_jobs = DurableJobs(
            store,
            committer,
            self.clock,
            self.keys,
            committer.pending_signals.take_up,
            self._ingest_announcements,
            backlog=lambda: len(committer.pending_signals),
        )
        self.retention = Retention(
            store,
            self.clock,
            keep or {},
            used=lambda: ((ns, address) for address, names in listening.addresses.items() for ns in names),
            forget=committer.workspace.forget,
        )

    def _connect(self) -> None:
        """Tells the services of one another."""
        committer, listening = self.committer, self.listening
        self.outbox.add_local(LOCAL, listening.deliver_here)
        self.replies = AwaitedReplies(self.store, self.watches, self.committer.write)
        self.outbox.add_local(REPLY.rstrip(":"), self.replies.deliver)
        committer.workspace.work, committer.timers, committer.outbox = self.work, self.timers, self.outbox
        committer.watches, committer.pending_signals.jobs, committer.workspace.listens = (
            self.watches,
            self.durable_jobs,
            listening.hears,
        )

    # ---- life

    async def open(self) -> None:
        """Resumes what an earlier server left unfinished, through indexes and never by scanning all runs."""
        await self._join()
        self.listening.namespaces.update(await self.store.namespaces())
        for namespace in sorted(self.listening.namespaces):
            await self.definition_cache.handlers.refresh(namespace)
        await self.durable_jobs.start()
        await self.outbox.start()
        await self.work.start()
        await self.timers.start()
        await self.expiry.start()
        await self.watches.start()
        await self.committer.pending_signals.recover()
        await self.operations.start()
        await self.sources.start()
        self.listening.start(self.sources.refresh)
        await self.retention.start()

    async def close(self, grace: float = 10.0) -> None:
        """Stops accepting work, lets work in progress be written, and ends every task."""
        self.supervisor.stopping = True
        self.listening.stop()
        await self.retention.stop()
        await self.sources.stop(min(grace, 5.0))
        await self.watches.stop()
        await self.operations.stop(min(grace, 5.0))
        await self.durable_jobs.stop(min(grace, 5.0))
        await self.work.stop()
        await self.timers.stop()
        await self.expiry.stop()
        await self.committer.drain(grace)
        await self.outbox.stop(min(grace, 5.0))
        await self.committer.stop(grace)
        await self.nodes.leave()

    async def _join(self) -> None:
        await self.nodes.join()
        if self.nodes.shared:
            self.committer.nodes = self.nodes
            self.work.tells_dead(self.nodes.name, self.nodes.is_gone)
            self.operations.instance = self.nodes.name
            self.nodes.on_fall, self.nodes.on_gone = self._fall, self._inherit
            self.committer.pending_signals.mine = self.durable_jobs.mine = self.nodes.is_mine

    def _inherit(self) -> None:
        """Takes up what a server that is gone has left."""
        self.committer.spawn(insist("signals of a server that is gone", self.committer.pending_signals.recover))
        self.committer.spawn(insist("jobs of a server that is gone", self.durable_jobs.look))

    def _fall(self) -> None:
        """Other servers have this one's work now."""
        self.outbox.halt()
        self.work.stopping = True

    def namespaces(self) -> list[str]:
        return sorted(self.listening.namespaces)

    # ---- definitions

    def add_language(self, language: Language) -> None:
        self.definition_cache.add_language(language)

    def add_operation(self, name: str, operation: Operation, bounds: OperationBounds = USUAL) -> None:
        self.operations.register(name, operation, concurrency=bounds[0], limit=bounds[1])

    def add_local(self, scheme: str, handler: Callable[[Delivery], Awaitable[None]]) -> None:
        """Routes messages to `scheme:...` to a handler in this process; see Outbox.add_local."""
        self.outbox.add_local(scheme, handler)

    async def define(
        self,
        caller: Caller,
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
        row = await self.definition_cache.define(
            caller.namespace, kind, language, name, version, body, actor=actor or caller.user, must_be_new=must_be_new, seen=seen
        )
        self._changed(caller.namespace, kind)
        return row

    async def undefine(self, caller: Caller, kind: str, name: str, version: int, *, actor: str = "") -> int:
        actor = actor or caller.user
        at = await self.definition_cache.undefine(caller.namespace, kind, name, version)
        log.info(
            "a definition was removed", ns=caller.namespace, kind=kind, name=name, version=version, actor=actor or caller.user
        )
        self._changed(caller.namespace, kind)
        return at

    def _changed(self, ns: str, kind: str) -> None:
        if kind == "policy":
            self.work.limits_changed()
        if kind == "handler":
            self.listening.namespaces.add(ns)
            self.listening.update()

    async def definition(self, caller: Caller, kind: str, name: str, version: int = 0, at: int = 0) -> DefinitionRow | None:
        return await self.definition_cache.find(caller.namespace, kind, name, version, at)

    async def definitions(
        self, caller: Caller, kind: str, at: int = 0, *, after: str = "", limit: int = 0
    ) -> list[DefinitionRow]:
        return await self.store.definitions(caller.namespace, kind, at=at, after=after, limit=limit)

    async def definition_row(self, definition: int) -> DefinitionRow | None:
        return await self.store.definition(definition)

    async def bind(self, caller: Caller, name: str, version: int = 0) -> Process:
        return await self.definition_cache.bind(caller.namespace, name, version)

    async def process(self, definition: int) -> Process:
        return await self.definition_cache.process(definition)

    async def bind_inline(self, caller: Caller, language: str, name: str, version: int, body: bytes) -> Process:
        return await self.definition_cache.bind_inline(caller.namespace, language, name, version, body)

    # ---- runs

    async def start(self, caller: Caller, command: StartCommand) -> Run:
        if command.definition:
            process = await self.definition_cache.process(command.definition)
        else:
            process = await self.definition_cache.bind(caller.namespace, command.process, command.version)
        await self.committer.workspace.pauses.prepare((caller.namespace, process.name))
        for _ in range(KEY_TRIES):
            placeholder = 0
            if command.key:
                known = await self._of_key(caller.namespace, process, command)
                if known is not None and known.status != RunStatus.EXPECTED:
                    return known
                placeholder = known.key if known is not None else 0
            try:
                return await self._begin(caller, process, command, placeholder)
            except PeltonError as error:
                if error.code is not Code.EXISTS or not command.key:
                    raise
        raise PeltonError(
            Code.BUSY, f"other callers are starting runs with the key {command.key!r} at the same time; retry the request", "key"
        )

    async def _begin(self, caller: Caller, process: Process, command: StartCommand, placeholder: int = 0) -> Run:
        ns = caller.namespace
        future: asyncio.Future[Run] = asyncio.get_running_loop().create_future()

        def done(job: StartRequest) -> None:
            if future.done():
                return
            if job.error is not None:
                future.set_exception(job.error)
            elif job.head is not None:
                future.set_result(job.head)

        key = placeholder or self.keys()
        signal = Start(
            key=key,
            ns=ns,
            definition=process.definition,
            input=command.input,
            meta=command.meta,
            hops=command.hops,
            trigger=command.trigger,
            trace=caller.trace,
        )
        frees = bool(command.key) and command.on_same_key == "fail if live"
        names = [row for row in key_rows(ns, process.name, command, key) if not (placeholder and row.unique)]
        job = StartRequest(signal, process, names, done, frees)
        job.placeholder = bool(placeholder)
        if not command.definition:
            job.bind = lambda: self.definition_cache.bind(ns, command.process, command.version)
            job.rest_on_names(self.committer.workspace)
        self.committer.enqueue(job)
        return await future

    async def _of_key(self, ns: str, process: Process, command: StartCommand) -> Run | None:
        """The run that has the key, if that is the result, or the key's placeholder; None if there is neither."""
        live = command.on_same_key == "fail if live"
        runs = await self.store.run_keys(ns, KEY_KIND, process.name, command.key, live)
        if not runs:
            return None
        head = await self.store.head(runs[0])
        if head is not None and (command.on_same_key == "return" or head.status == RunStatus.EXPECTED):
            return head
        detail = f"run {self.codec.run_id(runs[0])} of {process.name!r} has the key {command.key!r}"
        raise PeltonError(Code.CONFLICT, detail, "key")

    async def signal_named(
        self, caller: Caller, process: str, text: str, signal: Signal, *, hold: int = 0, kind: str = KEY_KIND, hops: int = 0
    ) -> Applied:
        future: asyncio.Future[Applied] = asyncio.get_running_loop().create_future()

        def done(job: NamedSignalRequest) -> None:
            if future.done():
                return
            if job.error is not None:
                future.set_exception(job.error)
            elif job.head is not None:
                future.set_result(Applied(job.head, job.notes))

        expires = self.now() + min(hold, LONGEST_HOLD) if hold > 0 else 0
        job = NamedSignalRequest(caller.namespace, kind, process, text, signal, key=self.keys(), expires=expires, done=done)
        job.hops = hops
        self.committer.enqueue(job)
        return await future

    def _end_placeholder(self, run: int) -> asyncio.Future[None]:
        future, done = completion()
        self.committer.enqueue(ExpiryRequest(run, done))
        return future

    async def _release_held(self, row: HeldRow) -> None:
        future, done = completion()
        self.committer.enqueue(ReleaseRequest(row.run, row.id, done))
        await future

    def _note_expiry(self, group: Group, row: HeldRow) -> Callable[[], None] | None:
        log.info("a held event was given up", ns=row.ns, name=row.name, key=row.key, source=row.source)
        if not self.listening.hears(row.ns, HELD_EXPIRED):
            return None
        event = EventIn(
            source=LOCAL,
            type=HELD_EXPIRED,
            ns=row.ns,
            id=f"{row.id}-{HELD_EXPIRED}",
            time=self.now(),
            door="server",
            body={"name": row.name, "key": row.key, "event": row.source},
        )
        fact = PendingSignalRow(self.keys(), 0, encode_signal(DurableAnnouncement(event)), self.now(), job=True)
        group.pending_signals.append(fact)
        return lambda: self.committer.pending_signals.take_up(fact)

    async def signal_many(self, caller: Caller, runs: Sequence[int], signal: Signal, *, hops: int = 0) -> int:
        if len(runs) > MOST_RUNS:
            raise PeltonError(Code.TOO_LARGE, f"a job may have at most {MOST_RUNS} runs, not {len(runs)}", "runs")
        keys = list(dict.fromkeys(runs))
        number = self.keys()
        whole_signal: Any = replace(signal, strict=True)  # so that a refusal is told
        rows: list[PendingSignalRow] = []
        for start in range(0, len(keys), CHUNK):
            job = FanOut(caller.namespace, whole_signal, keys[start : start + CHUNK], results=number, hops=hops + 1)
            rows.append(durable_job(self.keys(), job, self.now()))
        whole = ResultRow(number, 0, len(keys), self.now(), "job", caller.namespace)

        def fill(group: Group) -> None:
            group.pending_signals.extend(rows)
            group.results.append(whole)

        await self.write(fill)
        for row in rows:
            self.committer.pending_signals.take_up(row)
        return number

    async def results(self, caller: Caller, job: int, after: tuple[int, int] = (-1, 0), limit: int = 1000) -> list[ResultRow]:
        first = await self.store.results(job, (-1, 0), 1)
        if not first or not await self._is_job_of(caller, first[0]):
            return []
        return await self.store.results(job, after, min(limit, 1000))

    async def _is_job_of(self, caller: Caller, row: ResultRow) -> bool:
        """Whether a result belongs to a job of the caller's namespace, according to the job's own row or else the run."""
        if row.run == 0:
            return (row.detail or NAMESPACE) == caller.namespace
        return await self.head(caller, row.run) is not None

    async def correlate(self, caller: Caller, command: CorrelateCommand) -> Correlated:
        future: asyncio.Future[Correlated] = asyncio.get_running_loop().create_future()

        def done(job: CorrelationRequest) -> None:
            if future.done():
                return
            if job.error is not None:
                future.set_exception(job.error)
            elif job.correlated is not None:
                future.set_result(job.correlated)

        self.committer.enqueue(CorrelationRequest(caller.namespace, command, self.keys(), done))
        return await future

    async def remove_sticky(self, caller: Caller, name: str, key: str) -> bool:
        return await self._remove_sticky((caller.namespace, name, key))

    async def _unstick(self, row: StickyRow) -> bool:
        return await self._remove_sticky((row.ns, row.name, row.key), row.id)

    async def _remove_sticky(self, name: PointName, event: int = 0) -> bool:
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def done(outcome: bool | PeltonError) -> None:
            if not future.done():
                if isinstance(outcome, PeltonError):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)

        self.committer.enqueue(RemoveSticky(name, done, event))
        return await future

    async def retention_due(self, keep: Mapping[Kind, Keep], most: int) -> list[tuple[Kind, Keep, int]]:
        return await self.retention.due(keep, most)

    def new_key(self) -> int:
        return self.keys()

    async def signal(self, caller: Caller, run: int, signal: Signal) -> Applied:
        return await self.committer.submit(run, signal, ns=caller.namespace)

    async def remove(self, caller: Caller, run: int) -> None:
        head = await self.head(caller, run)
        if head is None:
            raise PeltonError(Code.UNKNOWN_RUN, f"run {self.codec.run_id(run)} does not exist", "run")
        rows = await self.open_steps(head)
        if any(row.bits & Bit.COUNTED for row in rows):
            raise PeltonError(
                Code.NOT_ENDED, f"run {self.codec.run_id(run)} is counted while it is open: terminate it first", "run"
            )
        await self.committer.write(lambda group: group.remove_runs.append(run))
        for n in {0, *(row.n for row in rows)}:
            self.timers.clear(run, n, "")
            self.work.gone(run, n)
        self.watches.touched(head.root or run)

    async def expect_reply(self, caller: Caller, request: str, keep: int) -> None:
        """Asks for an answer that a step of a run will send to "reply:" and this name. `keep`: milliseconds until it expires.
        Raises PeltonError "exists" while somebody waits under the name."""
        await self.replies.expect(caller.namespace, request, keep)

    async def await_reply(self, caller: Caller, request: str, timeout: float) -> ReplyFound | None:  # noqa: ASYNC109 - None is an answer
        """The answer to a request, which is gone then; None if there is none within `timeout` seconds, and it may be asked for
        again. Raises PeltonError "not found" for one that was read, has expired, or was never made."""
        return await self.replies.take(caller.namespace, request, timeout)

    # ---- records

    def instant(self) -> int:
        return self.nodes.instant()

    async def reached(self) -> int:
        await self.committer.settled()
        return await self.nodes.reach()

    async def linked(self, caller: Caller, name: str, text: str) -> list[Record]:
        return await self.committer.workspace.finder.linked(caller.namespace, name, text)

    # ---- tasks for people

    async def tasks(self, caller: Caller, query: TaskQuery) -> list[Record]:
        await self.committer.settled()
        return await self.desk.tasks(caller, query)

    async def task(self, caller: Caller, run: int) -> Record:
        return await self.desk.task(caller, run)

    async def act_on_task(self, caller: Caller, run: int, act: TaskAct) -> Record:
        return await self.desk.act(caller, run, act)

    def watch(self, caller: Caller, run: int) -> Watch:
        """By the root of a tree, or by any run of it that is in memory. See `watch_run`."""
        entry = self.committer.workspace.cache.peek(run)
        head = entry.head if entry is not None else None
        return self.watches.watch(head.root or run if head is not None else run)

    async def watch_run(self, caller: Caller, run: int) -> Watch:
        """By any run of a tree."""
        head = await self.head(caller, run)
        return self.watches.watch(head.root or run if head is not None else run)

    # ---- work

    async def claim(self, caller: Caller, request: ClaimRequest) -> list[WorkItem]:
        return await self.exchanges.claim(caller.namespace, request)

    async def report(self, caller: Caller, reports: Sequence[tuple[int, Report]]) -> list[ReportResult]:
        return await self.exchanges.report(caller.namespace, reports)

    async def exchange(
        self, caller: Caller, reports: Sequence[tuple[int, Report]], request: ClaimRequest | None
    ) -> tuple[list[ReportResult], list[WorkItem]]:
        return await self.exchanges.exchange(caller.namespace, reports, request)

    def release(self, items: Sequence[WorkItem]) -> None:
        self.exchanges.release(items)

    async def extend(self, caller: Caller, run: int, n: int) -> None:
        entry = self.committer.workspace.cache.peek(run)
        row = entry.open.get(n) if entry is not None and not entry.stale else None
        head = entry.head if entry is not None and row is not None else await self.store.head(run)
        if head is None or head.ns != caller.namespace:
            raise PeltonError(Code.UNKNOWN_RUN, f"run {self.codec.run_id(run)} does not exist", "run")
        await self.work.extend(run, n, row)

    # ---- secrets

    async def set_secret(self, caller: Caller, name: str, *, value: str = "", source: str = "") -> SecretRow:
        return await self.vault.set(self.committer, caller.namespace, name, value=value, source=source, by=caller.user)

    async def remove_secret(self, caller: Caller, name: str) -> SecretRow:
        return await self.vault.remove(self.committer, caller.namespace, name, caller.user)

    async def secrets(self, caller: Caller, *, after: str = "", limit: int = 100) -> list[SecretRow]:
        return await self.vault.list(caller.namespace, after, limit)

    # ---- steps

    async def put_checkpoint(self, caller: Caller, run: int, signal: PutCheckpoint) -> CheckpointPut:
        async def send(run: int, signal: PutCheckpoint) -> None:
            await self.signal(caller, run, signal)

        return await put_checkpoint(self.store, send, run, signal)

    async def log(self, caller: Caller, run: int, n: int, texts: Sequence[tuple[int, str]]) -> None:
        if await self.head(caller, run) is None:
            raise PeltonError(Code.UNKNOWN_RUN, f"run {self.codec.run_id(run)} does not exist", "run")
        rows = [LogRow(run, n, at or self.now(), text[:LOG_TEXT]) for at, text in texts]
        await self.committer.write(lambda group: group.logs.extend(rows))

    async def logs(self, caller: Caller, run: int, n: int) -> list[LogRow]:
        return await self.store.logs(run, n, 1000) if await self.head(caller, run) is not None else []

    def polled(self, caller: Caller) -> list[tuple[str, str, int]]:
        found = [(shown_queue(queue), queue, worker_of(worker)[0], at) for queue, worker, at in self.work.polled()]
        return [(name, worker, at) for name, queue, worker, at in found if queue_of(caller.namespace, name) == queue]

    async def queue_sizes(self, caller: Caller, *, handed_out: bool = True) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for queue, size in (await self.store.queue_sizes(handed_out)).items():
            name = shown_queue(queue)
            if not queue.startswith("@") and queue == queue_of(caller.namespace, name):
                sizes[name] = size
        return sizes

    # ---- events

    async def ingest(self, caller: Caller, events: Sequence[EventIn]) -> list[Ingested]:
        """Raises the first error; other events may have been recorded nevertheless. Posting all of them again is harmless."""
        posted: list[Ingested] = []
        for event in events:
            event.ns = caller.namespace
            if not event.trace or trace_id(event.trace) == trace_id(caller.trace):  # the call is the nearer of the two
                event.trace = caller.trace
        for outcome in await self.ingester.ingest(events):
            if isinstance(outcome, PeltonError):
                raise outcome
            posted.append(outcome)
        return posted

    async def _ingest_announcements(self, events: Sequence[EventIn]) -> list[Exception | None]:
        return [outcome if isinstance(outcome, PeltonError) else None for outcome in await self.ingester.ingest(events)]

    async def explain(self, caller: Caller, key: int, handler: str) -> HandlerDecision:
        event = await self.store.event(caller.namespace, key)
        if event is None:
            raise PeltonError(Code.NOT_FOUND, f"event {self.codec.event_id(key)} does not exist", "event")
        row = await self.definition_cache.find(caller.namespace, "handler", handler)
        if row is None:
            raise PeltonError(Code.NOT_FOUND, f"no handler {handler!r}", "handler")
        compiled = self.definition_cache.language(row.language).handler(row)
        answers: dict[Any, Any] = {}
        for _ in range(16):
            try:
                context = EventContext(event.received, event.key, answers.get)
                return explain(compiled, event, context, self.definition_cache.views)
            except Unanswered as unanswered:
                questions = list(unanswered.questions)
                answers.update(zip(questions, await self.committer.loader.ask(questions), strict=True))
        raise PeltonError(Code.TOO_LARGE, f"the filter of handler {handler!r} needs too many script calls", "handler")

    async def remove_kept(self, caller: Caller, run: int, event: int) -> None:
        row = await self.store.kept(event)
        if row is None or row.run != run or row.ns != caller.namespace:
            raise PeltonError(Code.NOT_FOUND, "the run has no such event", "event")
        if row.taken:
            raise PeltonError(Code.CONFLICT, "the event has been taken, so its record stays with the run", "event")
        future, done = completion()
        self.committer.enqueue(ReleaseRequest(run, event, done, strict=True))
        await future

    # ---- outside

    def check_sink(self, address: str) -> str | None:
        return self.outbox.check(address)

    async def dead(self, caller: Caller, limit: int = 100, after: int = 0) -> list[DeadLetter]:
        return await self.store.dead(caller.namespace, limit, after)

    async def redeliver(self, caller: Caller, number: int) -> None:
        letter = await self.store.dead_letter(number)
        if letter is not None and letter.direction == "in":
            await self.sources.redeliver(caller.namespace, number)
        else:
            await self.outbox.redeliver(caller.namespace, number)

    async def health(self) -> Mapping[str, Any]:
        return {
            "store": await self.store.health(),
            "committer": dict(self.committer.stats),
            "cache": {"runs": len(self.committer.workspace.cache), "bytes": self.committer.workspace.cache.size},
            "router": dict(self.ingester.stats),
            "work": self.work.stats(),
            "timers": self.timers.stats(),
            "outbox": self.outbox.stats(),
            "sinks": self.outbox.health(),
            "sources": self.sources.health(),
            "operations": self.operations.stats(),
            "retention": self.retention.stats(),
            "tasks": self.supervisor.stats(),
        }

    async def write(self, fill: Callable[[Group], None]) -> None:
        """Writes a service's rows. Raises PeltonError "conflict" if they could not all be written."""
        done = await self.committer.write(fill)
        if not done.ok:
            raise PeltonError(Code.CONFLICT, f"the data was changed by another caller ({done.lost}); read it again")
