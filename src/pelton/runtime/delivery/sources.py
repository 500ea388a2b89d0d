"""Incoming messages: one subscription for each address that is listened to, whose messages become events.

Invariants:
* A message is acknowledged only after the commit that records it; one that was not recorded is given back.
* A message that cannot be recorded is tried `tries` times, then stored as a dead letter (direction "in") and acknowledged, so
  that it no longer blocks others. A batch that fails as a whole is posted message by message, so the other messages get through.
* A failing address affects only itself: it backs off, reports why in `health`, and retries as long as it is listened to.
* Messages of one address are posted in the order in which they arrived.
* A bookmark is written in the transaction of its event, or of the dead letter that the message became.

Cost: one task per address; acknowledgements are sent beside the next batch, a few at a time.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol

from msgspec import DecodeError, Struct, json

from pelton.connectors.port import (
    OWN_ID,
    Absent,
    Connector,
    Incoming,
    Permanent,
    Resuming,
    SourceEvent,
    Subscription,
    Temporary,
)
from pelton.errors import Code, PeltonError
from pelton.runtime.api import SYSTEM_ID, USER_ID, EventIn
from pelton.runtime.ids import IdCodec, lineage_of
from pelton.runtime.names import disallowed
from pelton.runtime.services import Backoff, Clock, CommitPort, OwnedTasks, log, say, sleep
from pelton.store.group import Group
from pelton.store.rows import BookmarkRow, DeadLetter
from pelton.telemetry.trace import from_mapping

MOST = 1_000  # addresses
TRIES = 5
ASK = 2_000  # milliseconds after which an address that another server listens to is asked for again
ACKNOWLEDGEMENTS = 4  # under way at once, of one address
REMEMBERED = 10_000  # messages that failed, for systems that do not count deliveries

Post = Callable[[str, Sequence[Incoming]], Awaitable[Sequence[Exception | None]]]
"""Records messages of an address as events. One outcome per message, after the commit: None = it is, or already was, recorded.

A PeltonError or Temporary that may pass (busy, stopping, unavailable) gives the message back; anything else counts as a try."""


Bookmarks = Callable[[str, str], Awaitable[Sequence[BookmarkRow]]]
"""A page of a source's bookmarks, by name, given its address and the name to continue after; empty at the end."""


class Finds(Protocol):
    """The part of the connector registry that is used here."""

    def find(self, text: str) -> tuple[Connector, str]:
        """Raises ValueError."""
        ...


class SourceClaims(Protocol):
    """The part of the servers' agreement that is used here."""

    async def claim(self, kind: str, names: Sequence[str]) -> set[str]:
        """Those that this server has now."""
        ...

    async def unclaim(self, kind: str, names: Sequence[str]) -> None: ...


class DeadLetterStore(Protocol):
    async def dead_letter(self, number: int) -> DeadLetter | None: ...


class SourceHealth(Struct):
    """`since`: epoch milliseconds of the last change between healthy and unhealthy."""

    healthy: bool
    detail: str
    since: int
    received: int
    recorded: int
    given_back: int
    dead: int
    lag: float = 0.0  # seconds that the newest message received had been waiting in its system, where that says so


class Source:
    """One address."""

    __slots__ = ("acknowledging", "address", "failures", "health", "receiving", "stopping", "task")

    def __init__(self, address: str, now: int) -> None:
        self.address = address
        self.health = SourceHealth(True, "", now, 0, 0, 0, 0)
        self.failures = 0
        self.stopping = False
        self.receiving = False  # waiting for messages: may be cancelled
        self.acknowledging = asyncio.Semaphore(ACKNOWLEDGEMENTS)
        self.task: asyncio.Task[None] | None = None

    def over(self) -> bool:
        return self.stopping


class Sources:
    """`namespace(address)`: where dead letters of that address are listed."""

    def __init__(
        self,
        committer: CommitPort,
        clock: Clock,
        connectors: Finds,
        post: Post,
        *,
        store: DeadLetterStore | None = None,
        namespace: Callable[[str], str] = lambda address: "default",
        tries: int = TRIES,
        most: int = MOST,
        backoff: Backoff | None = None,
        permanent: Backoff | None = None,
        bookmarks: Bookmarks | None = None,
        claims: SourceClaims | None = None,
    ) -> None:
        """`claims`: where several servers listen, what they agree by which of them does."""
        self._committer = committer
        self._clock = clock
        self._connectors = connectors
        self._post = post
        self._store = store
        self._namespace = namespace
        self._tries = tries
        self._most = most
        self._backoff = backoff or Backoff(1_000, 60_000)
        self._permanent = permanent or Backoff(30_000, 300_000)  # the address may come into being
        self._absent = Backoff(1_000, 3_000)
        self._bookmarks = bookmarks
        self._claims = claims
        self._wanted: set[str] = set()
        self._refused = 0
        self._sources: dict[str, Source] = {}
        self._tried: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._running = False
        self._tasks = OwnedTasks("sources")

    # ---- life

    async def start(self) -> None:
        self._running = True
        self.refresh(self._wanted)

    async def stop(self, grace: float = 5.0) -> None:
        """Batches in progress may finish within so many seconds; messages not recorded by then are delivered again."""
        self._running = False
        for source in list(self._sources.values()):
            self._end(source)
        await self._tasks.stop(grace)

    def refresh(self, addresses: Iterable[str]) -> None:
        """From now on listens to these addresses, and no others."""
        self._wanted = set(addresses)
        if not self._running:
            return
        for address in [address for address in self._sources if address not in self._wanted]:
            self._end(self._sources.pop(address))
            self._tasks.spawn(self._give_up(address), f"{address} given up")
        fresh = sorted(self._wanted - self._sources.keys())
        room = max(self._most - len(self._sources), 0)
        self._refused = len(fresh) - len(fresh[:room])
        if self._refused:
            log.warning("too many sources", limit=self._most, left_out=fresh[room:][:10])
        for address in fresh[:room]:
            source = self._sources[address] = Source(address, self._clock.now())
            source.task = self._tasks.keep(self._follow(source), address, source.over)

    def health(self) -> dict[str, Any]:
        """Health by address. Addresses left out because there are too many are counted in `stats`."""
        return {address: source.health for address, source in self._sources.items()}

    def stats(self) -> dict[str, int]:
        healths = [source.health for source in self._sources.values()]
        return {
            "sources": len(self._sources),
            "left_out": self._refused,
            "unhealthy": sum(1 for health in healths if not health.healthy),
            "received": sum(health.received for health in healths),
            "recorded": sum(health.recorded for health in healths),
            "given_back": sum(health.given_back for health in healths),
            "dead": sum(health.dead for health in healths),
            "failures": self._tasks.failures,
        }

    async def redeliver(self, ns: str, number: int) -> None:
        """Posts a dead letter once more. Raises PeltonError "not found", "invalid", or the code of the new refusal."""
        letter = await self._store.dead_letter(number) if self._store is not None else None
        if letter is None or letter.ns != ns:
            raise PeltonError(Code.NOT_FOUND, f"there is no dead letter {number}", "number")
        if letter.direction != "in":
            raise PeltonError(Code.INVALID, f"dead letter {number} is an outgoing message: it cannot be posted", "number")
        outcomes = await self._post(letter.address, [restored(letter, self._makes_events(letter.address))])
        if (refused := outcomes[0]) is not None:
            raise refused if isinstance(refused, PeltonError) else PeltonError(Code.INVALID, say(refused), "body")
        await self._committer.write(lambda group: group.dead_removed.append(number))

    def _makes_events(self, address: str) -> bool:
        try:
            connector, _ = self._connectors.find(address)
        except ValueError:  # nothing is listened to there any more: whoever posts says so
            return False
        return bool(getattr(connector, "makes_events", False))

    # ---- one address

    def _end(self, source: Source) -> None:
        source.stopping = True
        if source.receiving and source.task is not None:
            source.task.cancel()

    async def _follow(self, source: Source) -> None:
        while not source.over():
            backoff = self._backoff
            if not await self._is_ours(source):
                continue
            try:
                await self._listen(source)
                error: Exception = Temporary("the connector ended the subscription")
            except (Permanent, ValueError) as permanent:
                backoff, error = self._permanent, permanent
            except Temporary as temporary:
                backoff, error = self._absent if isinstance(temporary, Absent) else self._backoff, temporary
            except Exception as unexpected:
                log.warning("a source failed", source=source.address, exc_info=unexpected)
                error = unexpected
            if source.over():
                return
            source.failures += 1
            self._say(source, say(error))
            source.receiving = True
            await sleep(self._clock, backoff.delay(source.failures))
            source.receiving = False

    async def _is_ours(self, source: Source) -> bool:
        """Whether this server is the one that listens; if it is not, it asks again after a while."""
        if self._claims is None:
            return True
        try:
            if await self._claims.claim("source", [source.address]):
                return True
            self._say(source, "")
        except Exception as error:
            self._say(source, say(error))
        source.receiving = True
        await sleep(self._clock, ASK)
        source.receiving = False
        return False

    async def _give_up(self, address: str) -> None:
        if self._claims is not None:
            await self._claims.unclaim("source", [address])

    async def _listen(self, source: Source) -> None:
        connector, rest = self._connectors.find(source.address)
        subscription = connector.subscribe(rest)
        try:
            if isinstance(subscription, Resuming) and self._bookmarks is not None:
                name = ""
                while page := await self._bookmarks(source.address, name):
                    subscription.resume([(row.name, row.state) for row in page])
                    name = page[-1].name
            batches = subscription.batches().__aiter__()
            while not source.over():
                source.receiving = True
                try:
                    batch = await anext(batches)
                except StopAsyncIteration:
                    return
                finally:
                    source.receiving = False
                if not batch:
                    source.failures = 0
                    source.health.lag = 0.0
                    self._say(source, "")
                    continue
                source.health.received += len(batch)
                if (sent := batch[-1].sent) > 0:
                    source.health.lag = max(0, self._clock.now() - sent) / 1000
                pause = await self._take(source, subscription, list(batch))
                if pause and not source.over():
                    source.receiving = True
                    await sleep(self._clock, self._backoff.delay(pause))
                    source.receiving = False
        finally:
            source.receiving = False
            await subscription.close()

    async def _take(self, source: Source, subscription: Subscription, batch: list[Incoming]) -> int:
        """Returns how long to pause, as a number of failures; 0 = no pause."""
        if source.over():
            await self._give_back(source, subscription, batch)
            return 0
        outcomes = await self._record(source.address, batch)
        done = [message for message, result in zip(batch, outcomes, strict=True) if result is None]
        passing: list[Incoming] = []
        reason = ""
        for message, result in zip(batch, outcomes, strict=True):
            if result is None:
                self._tried.pop((source.address, message.id), None)
            elif _passes(result):
                passing.append(message)
                reason = say(result)
            elif await self._poison(source, message, result):
                done.append(message)
            else:
                passing.append(message)
        if done:
            await source.acknowledging.acquire()
            self._tasks.spawn(self._acknowledge(source, subscription, done), f"{source.address} acknowledgement")
        if passing:
            await self._give_back(source, subscription, passing)
        if reason:
            source.failures += 1
            self._say(source, reason)
            return source.failures
        source.failures = 0
        self._say(source, "")
        return 0

    async def _record(self, address: str, batch: list[Incoming]) -> list[Exception | None]:
        try:
            outcomes = list(await self._post(address, batch))
        except Exception as error:
            if _passes(error) or len(batch) == 1:
                return [error] * len(batch)
            outcomes = []
            for message in batch:
                outcomes += await self._record(address, [message])
        missing = len(batch) - len(outcomes)
        return outcomes[: len(batch)] + [Temporary("the outcome of the message was not reported")] * missing

    async def _poison(self, source: Source, message: Incoming, error: Exception) -> bool:
        """True if the message is now stored as a dead letter; False if it is to be delivered again."""
        key = (source.address, message.id)
        tried = max(self._tried.pop(key, 0) + 1, message.deliveries)
        if tried < self._tries:
            self._tried[key] = tried
            if len(self._tried) > REMEMBERED:
                self._tried.popitem(last=False)
            return False
        letter = dead_letter(self._namespace(source.address), source.address, message, say(error), tried, self._clock.now())

        def fill(group: Group) -> None:
            group.dead.append(letter)
            if message.bookmark is not None:
                group.bookmarks.append(BookmarkRow(letter.ns, source.address, *message.bookmark))

        try:
            if not (await self._committer.write(fill)).ok:
                return False
        except Exception as failed:
            log.warning("dead letter not written", source=source.address, error=say(failed))
            return False
        source.health.dead += 1
        log.warning("message given up", source=source.address, id=message.id, error=say(error))
        return True

    async def _acknowledge(self, source: Source, subscription: Subscription, messages: list[Incoming]) -> None:
        """If this fails, the message is repeated, which is recognised and changes nothing."""
        try:
            await subscription.acknowledge(messages)
            source.health.recorded += len(messages)
        except Exception as error:
            log.warning("not acknowledged", source=source.address, error=say(error))
        finally:
            source.acknowledging.release()

    async def _give_back(self, source: Source, subscription: Subscription, messages: list[Incoming]) -> None:
        source.health.given_back += len(messages)
        try:
            await subscription.give_back(messages)
        except Exception as error:
            log.warning("not given back", source=source.address, error=say(error))

    def _say(self, source: Source, trouble: str) -> None:
        health = source.health
        if health.healthy != (not trouble):
            health.healthy = not trouble
            health.since = self._clock.now()
        health.detail = trouble


def _passes(error: Exception) -> bool:
    """Whether the error is a temporary one of the server rather than one of the message."""
    return isinstance(error, Temporary) or (isinstance(error, PeltonError) and error.retryable)


def body_of(data: bytes) -> Any:
    """What a message carries: JSON, or else its text. None if it is empty. Raises UnicodeDecodeError."""
    if not data:
        return None
    try:
        return json.decode(data)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return data.decode()


def incoming_events(address: str, namespaces: Sequence[str], message: Incoming, codec: IdCodec) -> list[EventIn]:
    """The events of a message, one per namespace that listens.

    What is not JSON is text. Raises Permanent if it is not even that."""
    door = address.partition(":")[0]
    if (made := message.event) is not None:
        subject = made.subject if disallowed(made.subject) is None else ""  # as when it is too long
        return [
            EventIn(
                source=address, type=made.type, ns=ns, id=message.id, subject=subject, time=made.time, body=made.body,
                attributes={USER_ID: made.user} if made.user else {}, bookmark=message.bookmark, door=door,
                trace=from_mapping(message.headers),
            )
            for ns in namespaces
        ]  # fmt: skip
    try:
        body = body_of(message.body)
    except UnicodeDecodeError as error:
        raise Permanent(f"the message is neither JSON nor text in UTF-8: {error}") from None
    # What we sent ourselves is known by the id that we gave it: the system's own id differs between two copies of it.
    known, attributes, hops, ancestor = message.id, {}, 0, 0
    if (own := message.headers.get(OWN_ID, "")) and codec.is_message_id(own):
        known, attributes = own, {SYSTEM_ID: message.id}
        hops, ancestor = lineage_of(codec, message.headers)
    return [
        EventIn(
            source=address, type=address, ns=ns, id=known, body=body, attributes=attributes, hops=hops, ancestor=ancestor,
            bookmark=message.bookmark, door=door, trace=from_mapping(message.headers),
        )
        for ns in namespaces
    ]  # fmt: skip


# A message as a dead letter: a row has nothing but a body and headers, so an event that its source made goes into headers of
# these names. They are read back for sources that make events only: elsewhere headers are the sender's. The bookmark is not part
# of the letter: it is written with it, since the source has got past the message.
EVENT_TYPE = "event-type"
EVENT_SUBJECT = "event-subject"
EVENT_TIME = "event-time"  # epoch milliseconds
EVENT_USER = "event-user"


def dead_letter(ns: str, address: str, message: Incoming, reason: str, tries: int, now: int) -> DeadLetter:
    body, headers = message.body, dict(message.headers)
    if (event := message.event) is not None:
        body = json.encode(event.body)
        headers |= {EVENT_TYPE: event.type, EVENT_SUBJECT: event.subject, EVENT_TIME: str(event.time)}
        if event.user:
            headers[EVENT_USER] = event.user
    return DeadLetter(
        number=0,
        ns=ns,
        direction="in",
        address=address,
        id=message.id,
        body=body,
        headers=headers,
        reason=reason,
        tries=tries,
        at=now,
    )


def restored(letter: DeadLetter, makes_events: bool) -> Incoming:
    """The message of a dead letter, without its bookmark. `makes_events`: whether its source creates events itself."""
    headers = letter.headers
    if not makes_events or EVENT_TYPE not in headers:
        return Incoming(letter.id, letter.body, headers, None, letter.tries + 1)
    event = SourceEvent(
        headers[EVENT_TYPE],
        headers.get(EVENT_SUBJECT, ""),
        int(headers.get(EVENT_TIME, "0")),
        json.decode(letter.body),
        headers.get(EVENT_USER, ""),
    )
    return Incoming(letter.id, b"", {}, None, letter.tries + 1, event)
