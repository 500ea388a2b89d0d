"""Events: each is matched, recorded and acted on in one commit group, once.

A repeat is recognised by (namespace, source, id): first by a bounded memory of recent events, without matching anything, and
finally by the unique key in the store, which drops the group of the second one. Either way the result is the first one's outcome.
The commit checks that the handler set is still the one that the event was matched against; if not, the event is matched
again. What the handlers do is in `actions`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from hashlib import blake2b

from msgspec import convert, json, structs

from pelton.errors import Code, PeltonError, Stopping
from pelton.kernel.expressions.base import Unanswered
from pelton.kernel.model.reads import EvaluationKey
from pelton.runtime.api import EventEffect, EventIn, HandlerDecision, Ingested
from pelton.runtime.commit import descents
from pelton.runtime.commit.committer import Committer
from pelton.runtime.commit.group_builder import GroupBuilder
from pelton.runtime.commit.requests import CommitRequest
from pelton.runtime.commit.suspend import NextBatch, Suspend
from pelton.runtime.commit.unit_of_work import UnitOfWork
from pelton.runtime.definitions.handler_sets import HandlerSet
from pelton.runtime.events.actions import EventPlan, HandlerActions, fail, lines_of
from pelton.runtime.events.arrival import ArrivalOrder, ArrivalTicket, Line
from pelton.runtime.events.fan_out import durable_job
from pelton.runtime.events.matching import EventContext, Fired, consider, seen_by
from pelton.runtime.events.searches import CommandPlace
from pelton.store.rows import BookmarkRow, EventRow
from pelton.telemetry.histograms import OTHER, WAITS, Histograms
from pelton.telemetry.spans import Span

RECENT = 20_000  # events that are remembered with their outcome
BODY = 4 << 20  # bytes of JSON
TEXT = 1_024  # characters of a source, id, type or subject
MOST_HOPS = 64
FIRED = frozenset({"fired", "failed"})

_encode = json.Encoder(order="sorted", enc_hook=repr).encode


class IngestOutcomes:
    """The outcomes of one call, in the order of its events."""

    __slots__ = ("future", "left", "outcomes")

    def __init__(self, count: int) -> None:
        self.outcomes: list[Ingested | PeltonError | None] = [None] * count
        self.left = count
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not count:
            self.future.set_result(None)

    def put(self, index: int, outcome: Ingested | PeltonError) -> None:
        self.outcomes[index] = outcome
        self.left -= 1
        if not self.left and not self.future.done():
            self.future.set_result(None)


class EventRequest(CommitRequest):
    """An event being recorded, with all callers that wait for its outcome."""

    __slots__ = (
        "_ingester",
        "ancestor",
        "began",
        "begins",
        "body_hash",
        "decided",
        "event",
        "first",
        "followers",
        "found",
        "hops",
        "ingested",
        "key",
        "keys",
        "lines",
        "marks",
        "ns",
        "order",
        "outdated",
        "plan",
        "rehearsed",
        "repeat",
        "ticket",
    )

    def __init__(self, ingester: EventIngester, event: EventIn, key: int, body_hash: bytes) -> None:
        super().__init__()
        self._ingester = ingester
        self.event = event
        self.ns = event.ns
        self.key = key
        self.body_hash = body_hash
        self.hops = event.hops
        self.began = time.perf_counter()
        self.ancestor = event.ancestor or key
        self.begins = key
        self.first = False  # its span is the first of its trace
        self.decided = (0, 0)  # epoch nanoseconds, if it is traced
        self.followers: list[tuple[IngestOutcomes, int, bytes]] = []  # the first is the event itself
        self.keys: dict[CommandPlace, int] = {}  # keys of runs to be started, the same in every try
        self.repeat = False  # the store has it already
        self.found: EventRow | None = None
        self.outdated = False
        self.ingested: Ingested | None = None
        self.ticket: ArrivalTicket | None = None  # None: it has ended
        self.order: ArrivalOrder  # where its ticket is
        self.lines: Sequence[Line] | None = None  # what it concerns, as far as known
        self.marks: list[int] = []
        self.plan: EventPlan | None = None
        self.rehearsed = False

    # ---- in line

    def concerns(self, lines: Sequence[Line]) -> None:
        assert self.ticket is not None
        self.lines = lines
        if not self.order.is_next(self.ticket, lines):
            self.order.place(self.ticket, lines)

    def has_come(self) -> bool:
        assert self.ticket is not None
        return self.order.has_come(self.ticket)

    def wait(self) -> Suspend:
        assert self.ticket is not None
        self.order.wait(self.ticket)
        return Suspend(wait=self.ticket)

    def stay(self) -> None:
        """It does not act now: whoever comes behind it and does not concern the same need not wait for it."""
        if self.ticket is not None and self.lines is not None:
            self.order.place(self.ticket, self.lines)

    # ---- as a request

    def perform(self, unit: UnitOfWork) -> GroupBuilder | None:
        try:
            return self._ingester.perform(self, unit)
        except (Suspend, NextBatch):
            self.stay()
            raise

    def lost(self, reason: str) -> None:
        super().lost(reason)
        self.answers.outside.clear()
        self.plan = None
        self.rehearsed = False
        if reason.startswith("event"):
            self.repeat = True
            return
        if reason.startswith("handlers"):
            self.outdated = True
            self.lines = None
            self._ingester.overtaken(self)
        if self.ticket is not None:
            self.order.again(self.ticket, self.lines)

    def settled(self) -> None:
        assert self.ingested is not None
        self._ingester.settled(self, self.ingested)

    def failed(self, error: PeltonError) -> None:
        self._ingester.failed(self, error)

    async def find(self) -> None:
        event = self.event
        self.found = await self._ingester.store_event(event.ns, event.source, event.id)
        if self.found is None:  # it was removed meanwhile: then this one is the first
            self.repeat = False


class EventIngester:
    def __init__(self, committer: Committer, recent: int = RECENT) -> None:
        self._committer = committer
        self._workspace = committer.workspace
        self._most = recent
        committer.event_feed.settled_to = self.settled_to
        self._recent: OrderedDict[tuple[str, str, str], EventRequest | tuple[bytes, Ingested]] = OrderedDict()
        self._under_way: dict[str, ArrivalOrder] = {}  # by namespace
        self.stats = {"events": 0, "repeats": 0, "unmatched": 0}
        self.outcomes: Counter[tuple[str, str]] = Counter()  # by the door and what became of the event
        self.durations: Histograms[str] = Histograms(OTHER, WAITS)  # until its effects are committed, by the door

    def overtaken(self, request: EventRequest) -> None:
        self._workspace.definitions.handlers.overtaken(request.ns, request)

    # ---- the door

    async def ingest(self, events: Sequence[EventIn]) -> list[Ingested | PeltonError]:
        """One outcome per event. Raises PeltonError if none was accepted (busy, stopping)."""
        committer = self._committer
        if committer.room < len(events):
            if committer.stopping:
                raise Stopping
            raise PeltonError(Code.BUSY, f"the server cannot accept {len(events)} events right now; retry in a moment")
        gathered = IngestOutcomes(len(events))
        for index, event in enumerate(events):
            error = self._ingest_one(gathered, index, event)
            if error is not None:
                self.outcomes[event.door, "refused"] += 1
                gathered.put(index, error)
        await gathered.future
        return gathered.outcomes  # type: ignore[return-value]

    def _ingest_one(self, gathered: IngestOutcomes, index: int, event: EventIn) -> PeltonError | None:
        if len(event.source) + len(event.type) + len(event.id) + len(event.subject) > TEXT:
            for name in ("source", "type", "id", "subject"):
                if len(getattr(event, name)) > TEXT:
                    return PeltonError(Code.TOO_LARGE, f"the event's {name} is longer than {TEXT} characters", name)
        body = _encode(event.body)
        if len(body) > BODY:
            return PeltonError(
                Code.TOO_LARGE, f"the event's body has {len(body)} bytes of JSON; at most {BODY} are taken", "body"
            )
        body_hash = blake2b(b"%b\0%b" % (event.type.encode(), body), digest_size=16).digest()
        self.stats["events"] += 1
        if event.id:
            known = self._recent.get((event.ns, event.source, event.id))
            if known is not None:
                self.stats["repeats"] += 1
                if type(known) is EventRequest:
                    known.followers.append((gathered, index, body_hash))
                else:
                    first, posted = known  # type: ignore[misc]
                    self._repeat(event.door, gathered, index, repeated(posted, first != body_hash))
                return None
        key = self._workspace.keys()
        if opens := not event.trace and self._workspace.spans.on:
            event = structs.replace(event, trace=self._workspace.spans.root("event"))
        if not event.id:
            event = structs.replace(event, id=self._workspace.codec.event_id(key))
        request = EventRequest(self, event, key, body_hash)
        request.first = opens
        request.followers.append((gathered, index, body_hash))
        try:
            self._committer.enqueue(request)
        except PeltonError as error:
            return error
        self._recent[event.ns, event.source, event.id] = request
        order = self._under_way.get(event.ns)
        if order is None:
            order = self._under_way[event.ns] = ArrivalOrder(self._committer.release)
        request.order = order
        request.ticket = order.begin(key)
        return None

    def _over(self, request: EventRequest) -> None:
        if request.marks:
            self._end_looks(request)
        if request.ticket is not None and request.order.end(request.ticket):
            del self._under_way[request.ns]
        request.ticket = None
        self._committer.event_feed.recorded()

    def settled_to(self, ns: str) -> int:
        """The key up to which every event of a namespace has been recorded or refused."""
        order = self._under_way.get(ns)
        return self._workspace.keys() if order is None else order.oldest - 1

    def _end_looks(self, request: EventRequest) -> None:
        for mark in request.marks:
            self._workspace.record_log.end(mark)
        request.marks.clear()

    # ---- the order of arrival

    def acted(self, request: EventRequest) -> None:
        """It is in a batch: those behind it may act."""
        if request.marks:
            self._end_looks(request)
        if request.ticket is not None:
            request.order.acted(request.ticket)

    def settled(self, request: EventRequest, posted: Ingested) -> None:
        self._over(request)
        event = request.event
        self._workspace.definitions.handlers.through(event.ns, request)
        first_hash = request.body_hash if request.found is None else bytes(request.found.hash)
        identity = (event.ns, event.source, event.id)
        first = structs.replace(posted, duplicate=False, conflict=False) if posted.duplicate else posted
        self._recent[identity] = (first_hash, first)
        self._recent.move_to_end(identity)
        while len(self._recent) > self._most:
            name, oldest = next(iter(self._recent.items()))
            if type(oldest) is EventRequest:
                break
            del self._recent[name]
        if posted.state == "unmatched":
            self.stats["unmatched"] += 1
        for number, (gathered, index, body_hash) in enumerate(request.followers):
            if number or request.found is not None:
                self._repeat(event.door, gathered, index, repeated(posted, body_hash != first_hash))
            else:
                self.outcomes[event.door, posted.state] += 1
                if posted.effects:
                    self.durations.of(event.door).observe(time.perf_counter() - request.began)
                if event.trace and self._workspace.spans.on:
                    self._report(request, posted)
                gathered.put(index, posted)

    def _report(self, request: EventRequest, posted: Ingested) -> None:
        """The spans of an event that was recorded, and of what was decided about it."""
        event, spans = request.event, self._workspace.spans
        end = time.time_ns()
        start = end - int((time.perf_counter() - request.began) * 1e9)
        context, parent = spans.of_event(event.trace, request.key), "" if request.first else event.trace
        attributes = {
            "pelton.event": event.id, "cloudevents.event_source": event.source, "cloudevents.event_type": event.type,
            "pelton.door": event.door, "pelton.outcome": posted.state,
        }  # fmt: skip
        error = "a handler failed" if posted.state == "failed" else ""
        spans.report(Span(f"event {event.type}", context, parent, start, end, "consumer", attributes, error))
        fired = ",".join(decision.handler for decision in posted.decisions if decision.verdict in FIRED)[:1000]
        decided = spans.own(context, "decision", request.key)
        start, end = request.decided
        spans.report(Span("decide", decided, context, start, end, "internal", {"pelton.handlers.fired": fired}))

    def _repeat(self, door: str, gathered: IngestOutcomes, index: int, posted: Ingested) -> None:
        self.outcomes[door, "conflict" if posted.conflict else "duplicate"] += 1
        gathered.put(index, posted)

    def failed(self, request: EventRequest, error: PeltonError) -> None:
        self._over(request)
        event = request.event
        self._workspace.definitions.handlers.through(event.ns, request)
        if self._recent.get((event.ns, event.source, event.id)) is request:
            del self._recent[event.ns, event.source, event.id]
        for gathered, index, _ in request.followers:
            self.outcomes[event.door, "refused"] += 1
            gathered.put(index, error)

    async def store_event(self, ns: str, source: str, event_id: str) -> EventRow | None:
        return await self._workspace.store.event_by_id(ns, source, event_id)

    # ---- one event

    def perform(self, request: EventRequest, unit: UnitOfWork) -> GroupBuilder | None:
        if request.repeat:
            request.concerns(())
            if request.found is None:
                raise Suspend(fetch=request.find)
            request.ingested = ingested_from(request.found)
            return None
        event, workspace = request.event, unit.workspace
        handlers = workspace.definitions.handlers.known(event.ns)
        if handlers is None or request.outdated:
            request.outdated = False
            raise Suspend(fetch=lambda: workspace.definitions.handlers.refresh(event.ns))
        row = EventRow(
            request.key,
            event.ns,
            event.source,
            event.id,
            event.type,
            event.subject,
            event.time,
            unit.now,
            event.body,
            event.attributes,
            request.body_hash,
            handlers.counter,
            [],
            [],
            "unmatched",
            event.hops,
            event.ancestor,
            event.trace,
        )
        effects: list[EventEffect] = []
        decisions: list[HandlerDecision] = []
        actions = HandlerActions(unit, row, request)
        if event.hops > MOST_HOPS:
            detail = f"{event.hops} runs and events led to this event; the limit is {MOST_HOPS}. Check the handlers for a loop"
            effects.append(EventEffect(handler="", action="", outcome="failed", detail=detail))
            row.state = "failed"
            request.concerns(())
        else:
            started = time.time_ns() if event.trace else 0
            decisions, fired = self._decide(request, unit, row, handlers)
            why = descents.count(unit, event.ns, event.ancestor) if fired else ""
            if why:
                for match in fired:
                    fail(decisions, match.handler, why)
                effects.append(EventEffect(handler="", action="", outcome="failed", detail=why))
                request.concerns(())
            else:
                actions.carry_out(fired, decisions, effects)
            if started:
                request.decided = started, time.time_ns()
            row.state = state_of(decisions, effects)
        row.decisions, row.effects = decisions, effects
        request.ingested = Ingested(request.key, False, False, row.state, decisions, effects)
        builder = unit.finish()
        bookmark = BookmarkRow(event.ns, event.source, *event.bookmark) if event.bookmark is not None else None
        builder.record_event(row, bookmark)
        builder.keep_results(actions.jobs)
        for many in actions.many.values():
            builder.enqueue(durable_job(workspace.keys(), many, unit.now))
        builder.requests.append(request)
        self.acted(request)
        return builder

    def _decide(
        self, request: EventRequest, unit: UnitOfWork, row: EventRow, handlers: HandlerSet
    ) -> tuple[list[HandlerDecision], Sequence[Fired]]:
        """The handlers' decisions, as in the attempt before if they are the same handlers. Raises Suspend for scripts."""
        plan = request.plan
        if plan is not None and plan.counter == handlers.counter:
            return list(plan.decisions), plan.fired
        request.plan = None
        views = unit.workspace.definitions.views
        try:
            return consider(handlers.index, row, EventContext(unit.now, request.key, request.answers.scripts.get), views)
        except Unanswered as unanswered:
            view = seen_by(row, views)
            may_fire = [Fired(each, view, each.actions) for each in handlers.index.select(row.type, row.body, view)]
            request.concerns(lines_of(may_fire))
            raise Suspend(keys=tuple(map(EvaluationKey, unanswered.questions))) from None


def repeated(posted: Ingested, conflict: bool) -> Ingested:
    return structs.replace(posted, duplicate=True, conflict=conflict)


def ingested_from(row: EventRow) -> Ingested:
    return Ingested(
        row.key, True, False, row.state, convert(row.decisions, list[HandlerDecision]), convert(row.effects, list[EventEffect])
    )


def state_of(decisions: list[HandlerDecision], effects: list[EventEffect]) -> str:
    fired = [decision for decision in decisions if decision.verdict in FIRED]
    if not fired:
        return "unmatched"
    outcomes = {effect.outcome for effect in effects}
    if outcomes == {"unmatched"}:
        return "unmatched"
    if not any(decision.verdict == "fired" for decision in fired) or outcomes == {"failed"}:
        return "failed"
    return "held" if outcomes == {"held"} else "matched"
