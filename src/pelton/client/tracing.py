"""The trace that what runs here belongs to: a worker's function has that of its item, and requests take it along."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from pelton.telemetry.trace import context, headers_of

_current: ContextVar[str] = ContextVar("pelton_trace", default="")


def trace_headers() -> dict[str, str]:
    """What a request carries: `traceparent` and `tracestate`, or nothing."""
    return headers_of(_current.get())


@contextmanager
def in_trace(traceparent: str, tracestate: str = "") -> Iterator[None]:
    """Requests of clients made in the block, and in tasks begun in it, belong to that trace. One that is not valid is none."""
    token = _current.set(context(traceparent, tracestate))
    try:
        yield
    finally:
        _current.reset(token)
