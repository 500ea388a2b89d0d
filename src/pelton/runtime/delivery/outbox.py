"""Outgoing messages: deliveries leave through the connectors, in order per lane, and end as delivered or as dead letters.

Invariants:
* A lane is the pair (sink, lane name of the delivery). One message per lane is in flight at a time, and the next one is sent when
  it was delivered or given up; so first occurrences are in order. A repeat (a crash between sending and recording) has the same
  id.
* Lanes of one sink share calls to its connector: up to `BATCH` messages of different lanes per call.
* Each sink has its own calls, back-off and share of memory. Beyond its share its rows stay in the store, behind
  `edge`, until half of the share is delivered; rows are read back in order, so order holds across the gap.
* A delivery leaves memory only after the commit that removes it from the store.

Cost: one task per sink with something to send; nothing for the others.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from pelton.connectors.port import Connector, Outgoing, Permanent, Temporary, public_address, public_detail
from pelton.errors import Code, PeltonError
from pelton.runtime.delivery.lanes import LaneClaims, Lanes
from pelton.runtime.ids import IdCodec, lineage
from pelton.runtime.services import NEVER, Backoff, Clock, CommitPort, Handle, OwnedTasks, final, log, say, sleep
from pelton.store.group import Group
from pelton.store.rows import DeadLetter, Delivery
from pelton.telemetry.histograms import ATTEMPTS, OTHER, Histograms
from pelton.telemetry.spans import NO_SPANS, Span, Spans, Value
from pelton.telemetry.trace import passed_on

BATCH = 10
CALLS = 4  # sends at once to one sink
SHARE = 1_000  # deliveries kept in memory of one sink
MOST = 50_000  # of all sinks: beyond it each keeps one
MOST_BYTES = 64 * 1024 * 1024
PAGE = 500
TRIES = 10
SEND_SECONDS = 60.0
SINKS_SHOWN = 1_000

LocalHandler = Callable[[Delivery], Awaitable[None]]


class OutboxStore(Protocol):
    async def deliveries(self, limit: int, after: int = 0) -> list[Delivery]: ...
    async def dead_letter(self, number: int) -> DeadLetter | None: ...


class Sinks(Protocol):
    """The part of the connector registry that is used here."""

    def parse(self, text: str) -> tuple[str, str]:
        """Raises ValueError."""
        ...

    def find(self, text: str) -> tuple[Connector, str]:
        """Raises ValueError."""
        ...


class Lane:
    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows: deque[Delivery] = deque()  # one that is on its way stays the first until it is done with


class LatePage:
    """Rows committed while a page of the store was being read: newer than the page, so they follow it."""

    __slots__ = ("full", "rows")

    def __init__(self) -> None:
        self.rows: list[Delivery] = []
        self.full = False

    def clear(self) -> None:
        self.rows, self.full = [], False

    def add(self, row: Delivery) -> None:
        if len(self.rows) < 4 * PAGE:
            self.rows.append(row)
        else:
            self.full = True


class SinkState:
    __slots__ = (
        "address", "alarm", "alarm_at", "calls", "dead", "edge", "error", "failures", "held", "lanes", "late", "ready", "sent",
        "since", "waiting",
    )  # fmt: skip

    def __init__(self, address: str) -> None:
        self.address = address
        self.lanes: dict[str, Lane] = {}
        self.ready: OrderedDict[str, Lane] = OrderedDict()  # lanes whose first row may go now
        self.waiting: dict[str, int] = {}  # lanes whose first row is to go later, and when
        self.held = 0  # rows in memory
        self.edge = -1  # rows with higher numbers are in the store only; -1 = all are here
        self.late: LatePage | None = None  # set while the store is read for this sink
        self.failures = 0  # reads in a row that failed
        self.calls = 0
        self.alarm: Handle | None = None
        self.alarm_at = NEVER
        self.error = ""
        self.since = 0
        self.sent = 0
        self.dead = 0


class Outbox:
    """`connectors` leads to sinks in other systems, `add_local` to handlers in this process."""

    def __init__(
        self,
        store: OutboxStore,
        committer: CommitPort,
        clock: Clock,
        connectors: Sinks,
        *,
        tries: int = TRIES,
        backoff: Backoff | None = None,
        share: int = SHARE,
        most: int = MOST,
        most_bytes: int = MOST_BYTES,
        calls: int = CALLS,
        send_seconds: float = SEND_SECONDS,
        chance: random.Random | None = None,
        claims: LaneClaims | None = None,
        codec: IdCodec | None = None,
        spans: Spans = NO_SPANS,
    ) -> None:
        """`claims`: where several servers send, what they agree by. With `codec` messages say what led to them."""
        self._spans = spans
        self.sent = 0
        self.retried = 0
        self.dead = 0
        self.calls = 0
        self.outcomes: Counter[tuple[str, str]] = Counter()  # of attempts, by the scheme of the sink
        self.durations: Histograms[str] = Histograms(OTHER)  # of calls, by the scheme
        self.attempts: Histograms[str] = Histograms(OTHER, ATTEMPTS)  # that deliveries took until they ended, by the scheme
        self._store = store
        self._committer = committer
        self._clock = clock
        self._connectors = connectors
        self._tries = tries
        self._backoff = backoff or Backoff(1_000, 300_000, chance)
        self._repeat = Backoff(200, 10_000, chance)
        self._share = max(share, 2)
        self._most = most
        self._most_bytes = most_bytes
        self._most_calls = calls
        self._send_seconds = send_seconds
        self._local: dict[str, LocalHandler] = {}
        self._sinks: dict[str, SinkState] = {}
        self._codec = codec
        self._known: dict[int, int] = {}  # number → bytes, of what is in memory
        self._bytes = 0
        self._late: LatePage | None = None  # set while the first scan runs
        self._running = False
        self._tasks = OwnedTasks("outbox")
        self._lanes = Lanes(store, claims, self._place, self._holds) if claims is not None else None

    # ---- life

    async def start(self) -> None:
        """Returns when every undelivered row is in memory, or known to be behind a sink's edge."""
        if self._lanes is not None:
            self._running = True
            self._lanes.start()
            return
        self._late = LatePage()
        try:
            await self._scan(0, None, self._late)
        finally:
            self._late = None
        self._running = True
        for sink in list(self._sinks.values()):
            self._pump(sink)

    async def stop(self, grace: float = 5.0) -> None:
        """Messages in flight may finish within so many seconds; the rest stays in the store."""
        self._running = False
        if self._lanes is not None:
            await self._lanes.stop()
        for sink in self._sinks.values():
            if sink.alarm is not None:
                sink.alarm.cancel()
        await self._tasks.stop(grace)

    def halt(self) -> None:
        """Sends nothing more; what is on its way cannot be called back."""
        self._running = False

    def add_local(self, scheme: str, handler: LocalHandler) -> None:
        """Routes addresses `scheme:...` to `handler`, which may receive a delivery more than once. It raises Permanent for a
        message that it will never accept; any other exception means: retry later."""
        if not scheme or ":" in scheme:
            raise ValueError(f"a scheme must be a word without a colon, not {scheme!r}")
        if scheme in self._local:
            raise ValueError(f"the scheme {scheme!r} is already taken by another handler")
        self._local[scheme] = handler

    def check(self, address: str) -> str | None:
        """Why nothing can be sent to this address; None if it is valid. No I/O."""
        scheme, colon, rest = address.partition(":")
        if colon and scheme in self._local:
            return None if rest else f"the address {address!r} has no name after its colon"
        try:
            self._connectors.parse(address)
        except ValueError as error:
            return str(error)
        return None

    def committed(self, deliveries: Sequence[Delivery]) -> None:
        """Called after the commit, with numbered rows in order. Known ones are skipped."""
        if self._lanes is not None:
            self._lanes.kick()
            return
        for row in deliveries:
            sink = self._sinks.get(row.sink)
            if self._late is not None:
                self._late.add(row)
            elif sink is not None and sink.late is not None:
                sink.late.add(row)
            elif self._running:
                self._place(row)

    async def redeliver(self, ns: str, number: int) -> None:
        """Sends a dead letter again, as a new delivery at the end of its lane with its original id. Raises PeltonError "not
        found", "invalid", "unavailable"."""
        letter = await self._store.dead_letter(number)
        if letter is None or letter.ns != ns:
            raise PeltonError(Code.NOT_FOUND, f"no dead letter {number}", "number")
        if letter.delivery is None:
            raise PeltonError(Code.INVALID, f"dead letter {number} is an incoming message: it cannot be sent", "number")
        delivery = letter.delivery
        again = Delivery(
            number=0,
            ns=delivery.ns,
            lane=delivery.lane,
            id=delivery.id,
            sink=delivery.sink,
            body=delivery.body,
            content_type=delivery.content_type,
            headers=delivery.headers,
            created=self._clock.now(),
            run=delivery.run,
            n=delivery.n,
            hops=delivery.hops,
            trace=delivery.trace,
        )

        def fill(group: Group) -> None:
            group.dead_removed.append(number)
            group.deliveries.append(again)

        result = await self._committer.write(fill)
        if not result.ok or not result.numbers:
            raise PeltonError(
                Code.CONFLICT, f"dead letter {number} was changed by another caller at the same time; read it again"
            )
        again.number = result.numbers[0]
        self.committed([again])

    def health(self) -> dict[str, Any]:
        """By sink, as anybody may see it: how much is waiting, and the last error. Failing sinks first, at most 1,000."""
        sinks = sorted(self._sinks.values(), key=lambda sink: (not sink.error, -sink.held))[:SINKS_SHOWN]
        return {
            public_address(sink.address): {
                "healthy": not sink.error,
                "detail": public_detail(sink.error, sink.address),
                "since": sink.since,
                "waiting": sink.held,
                "more_in_store": sink.edge >= 0,
                "sent": sink.sent,
                "dead": sink.dead,
            }
            for sink in sinks
        }

    def stats(self) -> dict[str, int]:
        return {
            "sinks": len(self._sinks),
            "kept": len(self._known),
            "kept_bytes": self._bytes,
            "calls": self.calls,
            "sent": self.sent,
            "retried": self.retried,
            "dead": self.dead,
            "failures": self._tasks.failures,
        }

    # ---- rows in memory

    def _place(self, row: Delivery) -> None:
        """Puts the row into memory if its sink has room; otherwise it stays in the store, as do all later rows of that sink."""
        if row.number in self._known or (self._lanes is not None and not (self._running and self._lanes.owns(row))):
            return
        sink = self._sinks.get(row.sink)
        if sink is None:
            sink = self._sinks[row.sink] = SinkState(row.sink)
            sink.since = self._clock.now()
        if sink.edge >= 0 and row.number > sink.edge:
            return
        if sink.held >= self._allowance():
            sink.edge = row.number - 1
            return
        size = len(row.body) + 500
        self._known[row.number] = size
        self._bytes += size
        sink.held += 1
        lane = sink.lanes.get(row.lane)
        if lane is None:
            lane = sink.lanes[row.lane] = Lane()
        lane.rows.append(row)
        if len(lane.rows) == 1:
            self._line_up(sink, row.lane, lane)
            self._pump(sink)

    def _holds(self, row: Delivery) -> bool:
        """Whether something of the row's lane is in memory."""
        sink = self._sinks.get(row.sink)
        return sink is not None and row.lane in sink.lanes

    def _allowance(self) -> int:
        return self._share if len(self._known) < self._most and self._bytes < self._most_bytes else 1

    async def _scan(self, after: int, sink: SinkState | None, late: LatePage) -> None:
        """Reads pages of the store, from `after`: of one sink until its share is full, or of all. Raises what the store
        raises."""
        cursor = after
        try:
            while True:
                late.clear()
                rows = await self._store.deliveries(PAGE, cursor)
                for row in rows:
                    if sink is None or row.sink == sink.address:
                        self._place(row)
                    cursor = row.number
                if sink is not None and sink.edge >= 0:
                    return
                if len(rows) < PAGE and not late.full:
                    for row in late.rows:
                        if row.number > cursor:
                            self._place(row)
                    return
        except BaseException:
            if sink is not None and sink.edge < 0:
                sink.edge = cursor
            raise

    def _forget(self, sink: SinkState, row: Delivery) -> None:
        """Called when the row has been removed from the store."""
        self._bytes -= self._known.pop(row.number)
        if self._lanes is not None:
            self._lanes.ended(row.number)
        sink.held -= 1
        if sink.edge >= 0 and sink.late is None and sink.held <= self._allowance() // 2 and self._running:
            sink.late = LatePage()
            self._tasks.spawn_vital(self._refill(sink, sink.late), f"refill of {sink.address}")
        self._tidy(sink)

    async def _refill(self, sink: SinkState, late: LatePage) -> None:
        try:
            while True:
                edge, sink.edge = sink.edge, -1
                try:
                    await self._scan(edge, sink, late)
                    sink.failures = 0
                    break
                except Exception as error:
                    sink.failures += 1
                    log.warning("outbox not read", sink=sink.address, error=say(error))
                    await sleep(self._clock, self._repeat.delay(sink.failures))
        finally:
            sink.late = None
        self._pump(sink)
        self._tidy(sink)

    def _tidy(self, sink: SinkState) -> None:
        """Idle sinks are kept for their health, up to a limit."""
        if len(self._sinks) > SINKS_SHOWN and not sink.held and not sink.calls and sink.edge < 0 and sink.late is None:
            self._sinks.pop(sink.address, None)

    # ---- sending

    def _line_up(self, sink: SinkState, name: str, lane: Lane) -> None:
        if not lane.rows:
            sink.lanes.pop(name, None)
        elif lane.rows[0].due <= self._clock.now():
            sink.ready[name] = lane
        else:
            sink.waiting[name] = lane.rows[0].due
            self._set_alarm(sink)

    def _set_alarm(self, sink: SinkState) -> None:
        when = min(sink.waiting.values(), default=NEVER)
        if sink.alarm is not None:
            if sink.alarm_at <= when:
                return
            sink.alarm.cancel()
        sink.alarm = self._clock.call_at(when, lambda: self._ring(sink)) if when != NEVER else None
        sink.alarm_at = when

    def _ring(self, sink: SinkState) -> None:
        sink.alarm = None
        now = self._clock.now()
        for name in [name for name, due in sink.waiting.items() if due <= now]:
            del sink.waiting[name]
            sink.ready[name] = sink.lanes[name]
        self._set_alarm(sink)
        self._pump(sink)

    def _pump(self, sink: SinkState) -> None:
        while self._running and sink.ready and sink.calls < self._most_calls:
            batch: list[tuple[str, Lane, Delivery]] = []
            while sink.ready and len(batch) < BATCH:
                name, lane = sink.ready.popitem(last=False)
                batch.append((name, lane, lane.rows[0]))
            sink.calls += 1
            self._tasks.spawn_vital(self._send(sink, batch), f"send to {sink.address}")

    async def _send(self, sink: SinkState, batch: list[tuple[str, Lane, Delivery]]) -> None:
        try:
            self.calls += 1
            scheme, began = sink.address.partition(":")[0], time.perf_counter()
            outcomes = await self._deliver(sink.address, [row for _, _, row in batch])
            seconds = time.perf_counter() - began
            self.durations.of(scheme).observe(seconds)
            if self._spans.on:
                self._report(scheme, batch, outcomes, seconds)
            gone: list[Delivery] = []
            letters: list[DeadLetter] = []
            retried: list[tuple[int, int, int, str]] = []
            blocked: list[tuple[str, Lane]] = []
            for (name, lane, row), result in zip(batch, outcomes, strict=True):
                if result is None:
                    self._ended(scheme, "sent", row)
                    gone.append(row)
                elif isinstance(result, Permanent) or row.tries + 1 >= self._tries:
                    self._ended(scheme, "dead", row)
                    letters.append(self._letter(row, result))
                    blocked.append((name, lane))
                    gone.append(row)
                    continue
                else:
                    self.outcomes[scheme, "retried"] += 1
                    row.tries += 1
                    row.due = self._clock.now() + self._backoff.delay(row.tries)
                    row.error = say(result)
                    retried.append((row.number, row.tries, row.due, row.error))
                self._step(sink, name, lane, sent=result is None)
            self._note(sink, outcomes)
            self._count(sink, len(gone) - len(letters), len(retried))
            self._pump(sink)
            await self._record(gone, letters, retried)
            for name, lane in blocked:
                self._step(sink, name, lane, sent=True)
            sink.dead += len(letters)
            self.dead += len(letters)
            for row in gone:
                self._forget(sink, row)
        finally:
            sink.calls -= 1
            self._pump(sink)
            self._tidy(sink)

    def _step(self, sink: SinkState, name: str, lane: Lane, sent: bool) -> None:
        """The lane's first row is done, or waits for its next attempt."""
        if sent:
            lane.rows.popleft()
        self._line_up(sink, name, lane)

    def _count(self, sink: SinkState, sent: int, retried: int) -> None:
        sink.sent += sent
        self.sent += sent
        self.retried += retried

    def _own(self, row: Delivery) -> str:
        """The context of this attempt."""
        return self._spans.own(row.trace, "delivery", row.id, row.tries)

    def _report(
        self, scheme: str, batch: list[tuple[str, Lane, Delivery]], outcomes: Sequence[Exception | None], seconds: float
    ) -> None:
        end = time.time_ns()
        start = end - int(seconds * 1e9)
        for (_, _, row), result in zip(batch, outcomes, strict=True):
            if row.trace:
                attributes: dict[str, Value] = {
                    "messaging.system": scheme,
                    "messaging.destination.name": public_address(row.sink),
                    "messaging.message.id": row.id,
                    "pelton.attempt": row.tries + 1,
                }
                error = public_detail(say(result), row.sink) if result is not None else ""
                own, name = self._own(row), f"deliver {scheme}"
                self._spans.report(Span(name, own, row.trace, start, end, "producer", attributes, error))

    def _ended(self, scheme: str, outcome: str, row: Delivery) -> None:
        self.outcomes[scheme, outcome] += 1
        self.attempts.of(scheme).observe(row.tries + 1)

    def _letter(self, row: Delivery, reason: Exception) -> DeadLetter:
        why = say(reason) if isinstance(reason, Permanent) else f"given up after {row.tries + 1} attempts: {say(reason)}"
        return DeadLetter(
            number=0,
            ns=row.ns,
            direction="out",
            address=row.sink,
            id=row.id,
            body=row.body,
            headers=row.headers,
            reason=why,
            tries=row.tries + 1,
            at=self._clock.now(),
            delivery=row,
        )

    def _note(self, sink: SinkState, outcomes: Sequence[Exception | None]) -> None:
        bad = next((result for result in outcomes if result is not None), None)
        error = say(bad) if bad is not None else ""
        if bool(error) != bool(sink.error):
            sink.since = self._clock.now()
        sink.error = error

    async def _record(self, gone: list[Delivery], letters: list[DeadLetter], retried: list[tuple[int, int, int, str]]) -> None:
        """Repeats until it is written; otherwise a delivered message would be sent again after a restart, and a dead letter be
        lost."""

        def fill(group: Group) -> None:
            group.delivered.extend(row.number for row in gone)
            group.dead.extend(letters)
            group.retried.extend(retried)

        failures = 0
        while True:
            try:
                if (await self._committer.write(fill)).ok:
                    return
                reason = "the group was lost"
            except Exception as error:
                reason = say(error)
            failures += 1
            log.warning("deliveries not noted", error=reason)
            await sleep(self._clock, self._repeat.delay(failures))

    def _headers(self, row: Delivery) -> dict[str, str]:
        led = {} if self._codec is None else lineage(self._codec, row.hops, row.ancestor)
        return {**passed_on(row.headers, self._own(row)), **led}

    async def _deliver(self, address: str, rows: list[Delivery]) -> list[Exception | None]:
        """One outcome per row: None, Permanent, or any other exception for a retry."""
        handler = self._local.get(address.partition(":")[0])
        if handler is not None:
            return list(await asyncio.gather(*(self._hand_over(handler, row) for row in rows)))
        try:
            connector, rest = self._connectors.find(address)
        except ValueError as error:
            return [Permanent(str(error)) for _ in rows]
        messages = [Outgoing(row.id, row.body, row.content_type, self._headers(row), row.lane) for row in rows]
        try:
            async with asyncio.timeout(self._send_seconds):
                outcomes = list(await connector.send(rest, messages))
        except TimeoutError:
            return [Temporary(f"{address} did not answer within {self._send_seconds:g} seconds") for _ in rows]
        except Exception as error:
            log.warning("a connector failed", sink=address, exc_info=error)
            return [Temporary(f"the connector failed: {say(error)}") for _ in rows]
        missing = len(rows) - len(outcomes)
        return outcomes[: len(rows)] + [Temporary("the connector did not report the outcome of the message")] * missing

    async def _hand_over(self, handler: LocalHandler, row: Delivery) -> Exception | None:
        try:
            async with asyncio.timeout(self._send_seconds):
                await handler(row)
        except TimeoutError:
            return Temporary(f"not accepted within {self._send_seconds:g} seconds")
        except Exception as error:
            return Permanent(say(error)) if final(error) else error
        return None
