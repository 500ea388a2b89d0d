"""/v1/events and /v1/held: posting events, their outcomes, and following new ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple, cast
from uuid import uuid4
from zlib import crc32

from msgspec import convert, to_builtins

from pelton.api.calls import Parameter, Route, Stream, answer
from pelton.api.cloudevents import ANCESTOR, BATCHED, STRUCTURED, from_request, to_json
from pelton.api.ids import event_place
from pelton.api.problems import bad
from pelton.errors import Code, PeltonError
from pelton.models import Accepted, AcceptedBatch, DecisionView, EffectView, EventPage, EventView, HeldPage, HeldView
from pelton.runtime.api import USER_ID, Engine, EventEffect, EventIn, HandlerDecision, Ingested
from pelton.runtime.caller import Caller
from pelton.runtime.event_feed import EventFeed
from pelton.runtime.rows import EVENT_STATES, FEW, EventRow, HeldRow, next_count
from pelton.telemetry.trace import headers_of
from pelton.transport.event_users import attribute
from pelton.transport.http.asgi import Request, Response
from pelton.transport.http.errors import WebError
from pelton.transport.pages import MAX_PAGE, fill_page, shown_row

TYPE = Parameter("type", "Only events of this type")
STATE = Parameter("state", "Only events in this state: matched, unmatched, held or failed")
AFTER = Parameter("after", "Return events after this key, oldest first; 0 = from the beginning")
BEFORE = Parameter("before", "Return events before this key, newest first")
LIMIT = Parameter("limit", "Maximum number to return", "integer", 100, low=1, high=1_000)
WAIT = Parameter("wait", "With `after`: how long to wait for the first event, in milliseconds", "integer", 0, high=60_000)
KEY = Parameter("key", "An event's key, or its id together with `source`")
SOURCE = Parameter("source", "The event's source, if `key` is its id")
UNREADABLE = "unreadable"  # an attribute of an event that cannot be shown whole: why
HELD_AFTER = Parameter("after", "Only events that arrived later than these: `after` of the previous page")
HANDLER = Parameter("handler", "Name of the handler to explain; by default, every handler")

HEARTBEAT_SECONDS = 15.0
STREAM = "text/event-stream"


MOST_EXPLAINED = 1_000  # handlers
PIECE = 64 << 10  # bytes of a stream that are written at once
READERS = 4  # streams that read an event at a time: each has it whole, some times over, for a moment
HELD = 8 * PIECE  # bytes of an event that a stream has in memory while it waits for its reader


class _EventsWanted(NamedTuple):
    type: str
    state: str
    limit: int


class _EventsSeen(NamedTuple):
    """`shown`: rows, encoded, and `keys` theirs. `newest`: of these. `after`, `before`: how far it has got. `more`: there may
    be more."""

    shown: list[Any]
    keys: list[int]
    newest: int
    after: int
    before: int
    more: bool = False


class _Changed(Exception):
    """An event is not what it was a moment ago."""


class EventRoutes:
    def __init__(self, engine: Engine, feed: EventFeed) -> None:
        self._engine = engine
        self._codec = engine.codec
        self._feed = feed
        self._reading = asyncio.Semaphore(READERS)

    def routes(self) -> list[Route]:
        accepts = (STRUCTURED, BATCHED, "application/json")
        return [
            Route("POST", "/v1/events", "postEvents", "Post CloudEvents 1.0: structured, batched or binary (ce- headers). The "
                  "response follows the commit of the event and its effects; a repeated event gets its first outcome.",
                  self.post, parameters=(), takes=accepts, gives=(Accepted, AcceptedBatch),
                  statuses=(201, 400, 403, 409, 413, 415)),
            Route("GET", "/v1/events", "listEvents", "List events, newest first; with `after`, oldest first. With `Accept: "
                  "text/event-stream`, stream them as they arrive.", self.list,
                  parameters=(TYPE, STATE, AFTER, BEFORE, LIMIT, WAIT), takes=None, gives=(EventPage,), statuses=(400,)),
            Route("GET", "/v1/events/{key}", "getEvent", "Get an event with its handlers' decisions and effects.",
                  self.get, parameters=(KEY, SOURCE), takes=None, gives=(EventView,), statuses=(404,)),
            Route("GET", "/v1/events/{key}/explain", "explainEvent", "Explain why handlers fired or did not: each part of a "
                  "condition with the value it was evaluated against. Includes handlers that were added later.",
                  self.explain, parameters=(KEY, SOURCE, HANDLER), takes=None, gives=(DecisionView, EventView), statuses=(404,)),
            Route("GET", "/v1/held", "listHeld", "List events that arrived before a step was ready for them.", self.held,
                  parameters=(HELD_AFTER, LIMIT), takes=None, gives=(HeldPage,), statuses=(400,)),
        ]  # fmt: skip

    async def post(self, request: Request) -> Response:
        headers = event_headers(request)
        events, batch = from_request(headers, await request.body())
        if not events:
            return answer(AcceptedBatch([]))
        return await self._record(request, events, batch, f"ce-{USER_ID}" in headers)

    async def record(self, request: Request, event: EventIn) -> Response:
        return await self._record(request, [event], False, False)

    async def _record(self, request: Request, events: list[EventIn], batch: bool, binary: bool) -> Response:
        for place, event in enumerate(events):
            event.id = event.id or uuid4().hex  # so that the response can include it
            where = f"[{place}]." if batch else "ce-" if binary else ""
            attribute(event, request.caller, where)
            self._descend(event, where)
        posted = await self._engine.ingest(request.caller, events)
        if batch:
            return answer(AcceptedBatch([self._accepted(*each) for each in zip(events, posted, strict=True)]))
        result = self._accepted(events[0], posted[0])
        if result.outcome == "conflict":
            raise PeltonError(
                Code.CONFLICT,
                "an event with this source and id but different content has already been recorded",
                field="id",
                value=result.id,
                remedy=f"use a new id for a new event; /v1/events/{result.key} shows the recorded one",
            )
        new = result.outcome == "accepted"
        return answer(result, 201 if new else 200, headers=((b"location", f"/v1/events/{result.key}".encode()),))

    def _descend(self, event: EventIn, where: str) -> None:
        """Takes out what it says of the event or run that it goes back to."""
        text = event.attributes.pop(ANCESTOR, None)
        if text is None:
            return
        ancestor = self._codec.parse_ancestor_id(text) if isinstance(text, str) else None
        if ancestor is None:
            raise bad(
                f"{where}{ANCESTOR}", "must be the id of an event or a run of this server, as received with the call",
                "omit it if there was no call", text,
            )  # fmt: skip
        event.ancestor = ancestor

    def _accepted(self, event: EventIn, posted: Ingested) -> Accepted:
        outcome = "conflict" if posted.conflict else "duplicate" if posted.duplicate else "accepted"
        return Accepted(
            key=self._codec.event_id(posted.key),
            id=event.id,
            source=event.source,
            outcome=outcome,
            state="" if posted.conflict else posted.state,
            decisions=[] if posted.conflict else decision_views(posted.decisions),
            effects=[] if posted.conflict else self._effects(posted.effects),
        )

    def _effects(self, effects: Sequence[Any]) -> list[EffectView]:
        codec = self._codec
        return [
            EffectView(
                handler=effect.handler,
                action=effect.action,
                outcome=effect.outcome,
                run=codec.run_id(effect.run) if effect.run else "",
                step=codec.step_id(effect.run, effect.n) if effect.run and effect.n else "",
                detail=effect.detail,
                output=effect.output,
            )
            for effect in (convert(each, EventEffect) if isinstance(each, dict) else each for each in effects)
        ]

    def view(self, row: EventRow) -> EventView:
        found = to_json(row)
        return EventView(
            key=self._codec.event_id(row.key),
            id=row.event_id,
            source=row.source,
            type=row.type,
            state=row.state,
            received=row.received,
            subject=row.subject,
            time=row.time,
            data=found.get("data", found.get("data_base64")),
            attributes={**headers_of(row.trace), **row.attributes},
            decisions=decision_views(row.decisions),
            effects=self._effects(row.effects),
        )

    def _bare(self, row: EventRow, reason: str) -> EventView:
        """What can be shown of an event that cannot be shown whole."""
        return EventView(
            key=self._codec.event_id(row.key),
            id=row.event_id,
            source=row.source,
            type=row.type,
            state=row.state,
            received=row.received,
            subject=row.subject,
            time=row.time,
            attributes={UNREADABLE: reason},
        )

    async def _page(self, caller: Caller, wanted: _EventsWanted, after: int, before: int) -> _EventsSeen:
        """From `after` on upwards, or from `before` on downwards with `after` below 0. Rows are read few at a time where they are
        large, so that what is in memory is bounded, and not only what is sent."""
        found, forward = _EventsSeen([], [], 0, after, before), after >= 0
        size, count = 0, FEW
        while True:
            most = min(count, wanted.limit - len(found.shown))
            rows = await self._engine.events(
                caller,
                type=wanted.type,
                state=wanted.state,
                after=max(found.after, 1) if forward else 0,
                before=0 if forward else found.before,
                limit=most,
            )
            read = 0
            for row in rows:
                shown = shown_row(row, self.view, self._bare)
                read += len(bytes(shown))
                if found.shown and size + read > MAX_PAGE:
                    return found._replace(more=True)
                found.shown.append(shown)
                found.keys.append(row.key)
                found = found._replace(after=max(found.after, row.key), before=row.key, newest=max(found.newest, row.key))
                if len(found.shown) >= wanted.limit:
                    return found._replace(more=True)
            size += read
            if len(rows) < most:
                return found
            count = next_count(count, read)
            await asyncio.sleep(0)

    async def list(self, request: Request) -> Response:
        limit, wait = LIMIT.number(request), WAIT.number(request)
        wanted = _EventsWanted(request.query.text("type"), request.query.text("state"), limit)
        written = request.query.text("after") or request.header(b"last-event-id")
        after = event_place(self._engine, "after", written) if written else -1
        written = request.query.text("before")
        before = event_place(self._engine, "before", written) if written else 0
        if wanted.state not in {"", *EVENT_STATES}:
            raise bad("state", "must be matched, unmatched, held or failed", "omit it to list all", wanted.state)
        if STREAM in request.header(b"accept"):
            if self._feed.full:
                raise WebError(503, "too many callers are following events", remedy="retry later", headers={"retry-after": "5"})
            return Stream(self._follow(request, wanted, after), STREAM.encode())
        seen, settled = self._feed.seen, self._feed.settled_to(request.caller.namespace)
        page = await self._page(request.caller, wanted, after, before)
        if not page.shown and not page.more and after >= 0 and wait:
            await request.unless_gone(self._feed.moved(seen, wait / 1000))
            page = await self._page(request.caller, wanted, page.after, before)
        # Of what is still being recorded, some may come to lie below what is shown.
        last = min(page.newest, settled) if after < 0 else page.after
        codec = self._codec
        older = codec.event_id(page.before) if after < 0 and page.more else ""
        return answer(EventPage(page.shown, codec.event_id(last) if last else "0", older))

    async def _follow(self, request: Request, wanted: _EventsWanted, after: int) -> AsyncIterator[bytes]:
        """Server-sent events: those after `after` (without it, only new ones), then each as it is committed. One at a time is
        read and sent, in pieces that wait for the reader; it ends when the reader has gone."""
        feed, caller = self._feed, request.caller
        feed.followers += 1
        try:
            if after < 0:
                after = feed.settled_to(caller.namespace)
            yield b": following\n\n"
            one = wanted._replace(limit=1)
            while not feed.stopped and not request.is_gone():
                seen = feed.seen
                async with self._reading:
                    page = await self._page(caller, one, after, 0)
                after, more = page.after, page.more
                if page.keys:
                    async with aclosing(self._pieces(caller, page.keys[0], bytes(page.shown.pop()))) as pieces:
                        async for piece in pieces:
                            yield piece
                            if request.is_gone():
                                return
                if not more and not await feed.moved(seen, HEARTBEAT_SECONDS):
                    yield b": still here\n\n"
        except _Changed:
            return
        finally:
            feed.followers -= 1

    async def _pieces(self, caller: Caller, key: int, whole: bytes) -> AsyncGenerator[bytes, None]:
        """An event of a stream. Of a large one only a part stays in memory while the reader takes its time, and the next is read
        again. Raises _Changed if it is another one by then: who has a part of it asks for it anew."""
        size, mark = len(whole), crc32(whole)
        head = b"id: %s\ndata: " % self._codec.event_id(key).encode()
        if size <= PIECE:
            yield b"%b%b\n\n" % (head, whole)
            return
        yield head
        for start in range(0, size, HELD):
            if start:
                async with self._reading:
                    row = await self._engine.event(caller, key)
                    whole = b"" if row is None else bytes(shown_row(row, self.view, self._bare))
                    row = None
                if crc32(whole) != mark or len(whole) != size:
                    raise _Changed
            part, whole = whole[start : start + HELD], b""
            for at in range(0, len(part), PIECE):
                yield part[at : at + PIECE]
        yield b"\n\n"

    async def _row(self, request: Request) -> EventRow:
        """By key, or by the event's id and source."""
        named, source = request.path["key"], request.query.text("source")
        row = None
        if source:
            row = await self._engine.event_by_id(request.caller, source, named)
            if row is not None and not row.type:
                raise PeltonError(
                    Code.NOT_FOUND,
                    "the event was recorded and is no longer kept; only its id is still known",
                    field="key",
                    value=named,
                    remedy="keep events for longer, with --keep-events",
                )
        elif (key := self._codec.parse_event_id(named)) is not None:
            row = await self._engine.event(request.caller, key)
        if row is None:
            raise PeltonError(
                Code.NOT_FOUND,
                "no such event",
                field="key",
                value=named,
                remedy="use a key listed by /v1/events, or the event's id together with its source",
            )
        return row

    async def get(self, request: Request) -> Response:
        return answer(shown_row(await self._row(request), self.view, self._bare))

    async def explain(self, request: Request) -> Response:
        row = await self._row(request)
        handler = request.query.text("handler")
        if handler:
            return answer(decision_view(await self._engine.explain(request.caller, row.key, handler)))
        view = self.view(row)
        known = {decision.handler for decision in view.decisions}
        explained = 0
        async for definition in self._engine.each_definition(request.caller, "handler"):
            if (explained := explained + 1) > MOST_EXPLAINED:
                break
            if definition.name not in known:
                view.decisions.append(decision_view(await self._engine.explain(request.caller, row.key, definition.name)))
        return answer(view)

    async def held(self, request: Request) -> Response:
        codec = self._codec

        def view(row: HeldRow, data: Any) -> HeldView:
            return HeldView(
                id=str(row.id),
                name=row.name,
                key=row.key,
                posted=row.posted,
                expires=row.expires,
                run=codec.run_id(row.run) if row.run else "",
                source=row.source,
                data=data,
            )

        async def read(after: tuple[int, int], count: int) -> list[HeldRow]:
            return await self._engine.held(request.caller, count, after)

        page = await fill_page(
            read,
            held_place(request.query.text("after")),
            LIMIT.number(request),
            lambda row: (row.posted, row.id),
            lambda row: shown_row(row, lambda row: view(row, row.body), view),
        )
        return answer(HeldPage(page.shown, "{}-{}".format(*page.place) if page.more else ""))


def held_place(text: str) -> tuple[int, int]:
    """Where a page of held events starts. Raises PeltonError."""
    if not text:
        return -1, -1
    posted, _, number = text.partition("-")
    if not all(part.isascii() and part.isdigit() and len(part) < 19 for part in (posted, number)):
        raise bad("after", "is not where a page ended", "use `after` of the previous page", text)
    return int(posted), int(number)


def event_headers(request: Request) -> dict[str, str]:
    """The content type, and the headers of a CloudEvent in binary mode. Raises PeltonError for one that is not UTF-8."""
    found = {}
    for name, value in request.scope["headers"]:
        if name == b"content-type":
            found["content-type"] = value.decode("latin-1")
        elif name[:3] == b"ce-":
            try:
                found[name.decode("latin-1")] = value.decode()
            except UnicodeDecodeError:
                shown = value.decode("latin-1")
                raise bad(
                    name.decode("latin-1"), "the header is not UTF-8", "percent-encode what is not printable ASCII", shown
                ) from None
    return found


def decision_view(decision: Any) -> DecisionView:
    """The view of a decision, or of the plain data that it is stored as."""
    found = convert(decision, HandlerDecision) if isinstance(decision, dict) else cast(HandlerDecision, decision)
    trace = to_builtins(found.trace, enc_hook=str) if found.trace else []
    return DecisionView(found.handler, found.verdict, found.detail, trace)


def decision_views(decisions: Sequence[Any]) -> list[DecisionView]:
    return [decision_view(each) for each in decisions]
