"""Spans to OpenTelemetry, if its SDK is installed (`pelton[otel]`) and its environment variables ask for it.

The SDK decides by its own variables: exporter and endpoint, sampler, resource, batches. Spans are given to it when they have
ended, with the ids that they have; it sends them from a thread of its own, and drops what it cannot send.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import structlog

from pelton.telemetry.spans import NO_SPANS, Kind, Span, Spans
from pelton.telemetry.trace import flags_of, span_id, trace_id

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider

ASKS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")
CLOSE_SECONDS = 2.0
EXTRA = "pip install 'pelton[otel]'"

log = structlog.get_logger("pelton.telemetry")


def is_asked(environment: Mapping[str, str]) -> bool:
    """Whether the environment says that traces are exported."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER", "") == "none":
        return False
    return any(environment.get(name) for name in ASKS)


def collected() -> Spans:
    """As the environment asks. Raises ValueError for an exporter that there is not."""
    if not is_asked(os.environ):
        return NO_SPANS
    try:
        from opentelemetry.sdk.trace import TracerProvider  # noqa: F401, PLC0415 - an extra
    except ImportError:
        log.warning("traces are not exported, since OpenTelemetry is not installed; they are passed on", remedy=EXTRA)
        return NO_SPANS
    return Spans(OpenTelemetry())


class OpenTelemetry:
    """A collector of spans. Raises ValueError for an exporter that there is not."""

    def __init__(self) -> None:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator  # noqa: PLC0415

        from pelton import __version__  # noqa: PLC0415 - which imports the clients

        class SpanIds(RandomIdGenerator):
            """The ids that a span has already; new ones for the first span of a trace."""

            trace = span = 0

            def generate_trace_id(self) -> int:
                return self.trace or super().generate_trace_id()

            def generate_span_id(self) -> int:
                return self.span or super().generate_span_id()

        named = SERVICE_NAME in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "") or os.environ.get("OTEL_SERVICE_NAME")
        resource = Resource.create({} if named else {SERVICE_NAME: "pelton"})
        self._ids = SpanIds()
        self._provider: TracerProvider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(_exporter()))
        self._tracer = self._provider.get_tracer("pelton", __version__)
        self._kinds: dict[Kind, Any] = _kinds()

    def root(self, name: str) -> str:
        from opentelemetry.context import Context  # noqa: PLC0415 - an extra

        self._ids.trace = self._ids.span = 0
        found = self._tracer.start_span(name, Context()).get_span_context()  # not ended, so not exported
        return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"

    def report(self, span: Span) -> None:
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - an extra

        self._ids.trace, self._ids.span = int(trace_id(span.context), 16), int(span_id(span.context), 16)
        attributes = dict(span.attributes)
        started = self._tracer.start_span(
            span.name, _parent(span.parent), kind=self._kinds[span.kind], attributes=attributes, start_time=span.start
        )
        if span.error:
            started.set_status(Status(StatusCode.ERROR, span.error[:1000]))
        started.end(max(span.start, span.end))

    async def close(self) -> None:
        """Sends what is left, for at most `CLOSE_SECONDS`; a collector that does not answer holds nobody up."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut() -> None:
            self._provider.shutdown()
            loop.call_soon_threadsafe(done.set)

        threading.Thread(target=shut, name="traces", daemon=True).start()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await done.wait()
        except TimeoutError:
            log.warning("the last traces could not be exported in time")


def _parent(context: str) -> Context:
    from opentelemetry.context import Context  # noqa: PLC0415 - an extra
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, set_span_in_context  # noqa: PLC0415

    if not context:
        return Context()
    state = TraceState.from_header([context.partition(" ")[2]])
    remote = SpanContext(int(trace_id(context), 16), int(span_id(context), 16), True, TraceFlags(flags_of(context)), state)
    return set_span_in_context(NonRecordingSpan(remote), Context())


def _kinds() -> dict[Kind, Any]:
    from opentelemetry.trace import SpanKind  # noqa: PLC0415 - an extra

    return {
        "internal": SpanKind.INTERNAL,
        "server": SpanKind.SERVER,
        "client": SpanKind.CLIENT,
        "producer": SpanKind.PRODUCER,
        "consumer": SpanKind.CONSUMER,
    }


def _exporter() -> Any:
    """As OTEL_TRACES_EXPORTER and OTEL_EXPORTER_OTLP_PROTOCOL name it; OTLP over HTTP unless they do."""
    name = os.environ.get("OTEL_TRACES_EXPORTER", "").split(",")[0].strip() or "otlp"
    if name == "otlp":
        protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        name = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
    found = list(entry_points(group="opentelemetry_traces_exporter", name=name))
    if not found:
        raise ValueError(
            f"no exporter of traces named {name!r} is installed: use OTEL_TRACES_EXPORTER=otlp, or install its package"
        )
    return found[0].load()()
