"""Spans: what was done within a trace, and when, for whoever collects them.

Nothing is held in memory while a run waits. A row has the context that it came with; the span of the thing itself has an id that
follows from the thing's own key, so it is the same whenever and wherever it is asked for, and a span is reported once, when the
thing has ended. Where nobody collects spans, nothing has one: contexts are passed on as they came, so that no system shows
children of a span that was never reported.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from hashlib import blake2b
from typing import Literal, NamedTuple, Protocol

from pelton.telemetry.trace import with_span

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Value = str | int | float | bool
MILLISECOND = 1_000_000


class Span(NamedTuple):
    """`context`: with the span's own id. `parent`: "" = it begins its trace. Times are epoch nanoseconds. `error`: why it failed,
    "" = it did not."""

    name: str
    context: str
    parent: str
    start: int
    end: int
    kind: Kind = "internal"
    attributes: Mapping[str, Value] = {}
    error: str = ""


class Collector(Protocol):
    def root(self, name: str) -> str:
        """The context of a new trace, with the id of its first span."""
        ...

    def report(self, span: Span) -> None: ...
    async def close(self) -> None: ...


class Spans:
    """`on`: whether somebody collects them."""

    def __init__(self, collector: Collector | None = None) -> None:
        self._collector = collector
        self.on = collector is not None

    def root(self, name: str) -> str:
        return self._collector.root(name) if self._collector is not None else ""

    def own(self, parent: str, *thing: object) -> str:
        """The context of a thing's own span below that parent."""
        if not self.on or not parent:
            return parent
        return with_span(parent, blake2b(repr((parent[:35], *thing)).encode(), digest_size=8).hexdigest())

    def of_event(self, parent: str, event: int) -> str:
        """`parent`: the context that the event came with."""
        return self.own(parent, "event", event)

    def of_run(self, parent: str, run: int) -> str:
        """`parent`: the context that the run came with."""
        return self.own(parent, "run", run)

    def of_step(self, parent: str, run: int, n: int) -> str:
        """`parent`: the context that the run came with."""
        return self.own(self.of_run(parent, run), "step", run, n)

    def report(self, span: Span) -> None:
        if self._collector is not None and span.context:
            self._collector.report(span)

    def moment(self, name: str, parent: str, *thing: object, kind: Kind = "internal", **attributes: Value) -> None:
        """A span of something that takes no time."""
        if self.on and parent:
            now = time.time_ns()
            self.report(Span(name, self.own(parent, name, *thing, now), parent, now, now, kind, attributes))

    async def close(self) -> None:
        if self._collector is not None:
            await self._collector.close()


NO_SPANS = Spans()
