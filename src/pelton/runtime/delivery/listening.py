"""Which addresses of other systems are listened to, so that their messages become events here.

If a handler names an event type that is the address of a system, that address is listened to for the namespaces whose handlers
name it. Watched addresses are listened to whether or not a handler asks for them. Cost: a change of a handler costs its own
types.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from msgspec import json

from pelton.connectors.port import Incoming, Permanent
from pelton.connectors.registry import Connectors
from pelton.errors import Code, PeltonError, Stopping
from pelton.runtime.api import EventIn, Ingested
from pelton.runtime.definitions.handler_sets import HandlerSets
from pelton.runtime.delivery.sources import incoming_events
from pelton.runtime.ids import IdCodec
from pelton.store.group import Group
from pelton.store.rows import BookmarkRow, Delivery

LOCAL = "pelton"  # scheme of the sink whose messages become events here

Ingest = Callable[[Sequence[EventIn]], Awaitable[Sequence[Ingested | PeltonError]]]


class Listening:
    def __init__(
        self,
        handlers: HandlerSets,
        connectors: Connectors,
        *,
        ingest: Ingest,
        write: Callable[[Callable[[Group], None]], Awaitable[None]],
        check_sink: Callable[[str], str | None],
        codec: IdCodec,
        namespaces: Iterable[str],
        watched: Iterable[str],
    ) -> None:
        """`ingest`: one outcome per event. `write` raises PeltonError if rows could not be written. `check_sink`: why an address
        cannot be used, or None. `codec` knows the ids of the messages that this server has sent."""
        self.namespaces = set(namespaces)  # those whose handlers count
        self.addresses = {address: ["default"] for address in sorted(watched)}  # of sources → namespaces
        self._handlers = handlers
        self._connectors = connectors
        self._ingest = ingest
        self._write = write
        self._check_sink = check_sink
        self._codec = codec
        self._watched = frozenset(self.addresses)
        self._refresh: Callable[[Mapping[str, Sequence[str]]], None] | None = None

    def start(self, refresh: Callable[[Mapping[str, Sequence[str]]], None]) -> None:
        """`refresh` is called with all addresses, now and whenever they change."""
        self._refresh = refresh
        refresh(self.addresses)
        self.update()

    def stop(self) -> None:
        self._refresh = None

    def hears(self, ns: str, kind: str) -> bool:
        """Whether an active handler listens to events of that type."""
        handlers = self._handlers.known(ns)
        return handlers is not None and handlers.hears(kind)

    def namespace(self, address: str) -> str:
        """The first of the namespaces that listen to it."""
        return next(iter(self.addresses.get(address, ())), "default")

    def update(self) -> None:
        """Follows changes in the handler sets."""
        if self._refresh is None:
            return
        moved = False
        for namespace in sorted(self.namespaces):
            handlers = self._handlers.known(namespace)
            if handlers is None:
                continue
            for kind in filter(self._is_source, handlers.moved):
                moved = True
                names = {*self.addresses.pop(kind, ()), namespace}
                if not handlers.names(kind):
                    names.remove(namespace)
                if names:
                    self.addresses[kind] = sorted(names)
            handlers.moved.clear()
        if moved:
            self._refresh(self.addresses)

    def _is_source(self, kind: str) -> bool:
        connector = self._connectors.get(kind.partition(":")[0]) if ":" in kind and "*" not in kind else None
        if connector is None or kind in self._watched:  # the watched are listened to whoever asks
            return False
        return getattr(connector, "source", True) and self._check_sink(kind) is None

    async def record(self, address: str, messages: Sequence[Incoming]) -> list[Exception | None]:
        """Records messages from an address for each namespace that listens: one outcome per message."""
        namespaces = self.addresses.get(address, [])
        if not namespaces:
            raise Stopping
        outcomes: list[Exception | None] = [None] * len(messages)
        events: list[EventIn] = []
        positions: list[int] = []
        for index, message in enumerate(messages):
            try:
                made = incoming_events(address, namespaces, message, self._codec)
            except Permanent as refused:
                outcomes[index] = refused
                continue
            events += made
            positions += [index] * len(made)
        again: list[BookmarkRow] = []
        for index, event, outcome in zip(positions, events, await self._ingest(events), strict=True):
            if isinstance(outcome, PeltonError):
                outcomes[index] = outcome
            elif outcome.duplicate and event.bookmark is not None:
                again.append(BookmarkRow(event.ns, event.source, *event.bookmark))
        if again:
            await self._write(lambda group: group.bookmarks.extend(again))
        return outcomes

    async def deliver_here(self, delivery: Delivery) -> None:
        """Turns a message to `pelton:type` into an event of that type in the sender's namespace."""
        kind = delivery.sink.partition(":")[2]
        event = EventIn(
            source=LOCAL,
            type=kind,
            ns=delivery.ns,
            id=delivery.id,
            body=json.decode(delivery.body),
            hops=delivery.hops,
            ancestor=delivery.ancestor,
            door="run",
            trace=delivery.trace,
        )
        (outcome,) = await self._ingest([event])
        if isinstance(outcome, PeltonError):
            raise Permanent(outcome.message) if outcome.code is Code.TOO_LARGE else outcome
