"""The metrics page for Prometheus. Services keep their own counts (`stats`), which are turned into metrics on request.

A number `sent` of the service `outbox` is `pelton_outbox_sent_total` if it only ever grows, otherwise `pelton_outbox_sent`. Names
chosen by users or callers (queues, sinks) are labels, at most `MOST_LABELS` per metric.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from pelton.server.app import HttpCounts

MOST_LABELS = 1_000

# What only ever grows while a server runs; everything else may fall and is a gauge.
GROWING = frozenset(
    {
        "accepted", "applied", "born_leased", "calls", "commits", "conflicts", "dead", "decisions", "duplicates", "events",
        "expired", "failed", "failures", "fired", "given_back", "groups", "handed_out", "hits", "leases_failed",
        "leases_fired", "leases_scans", "lost", "misses", "posted", "received", "recorded", "refused", "removed", "retried",
        "returned", "rows_read", "rows_written", "scans", "sent", "signals", "steps", "taken", "touches", "transitions",
    }
)  # fmt: skip

Snapshot = Callable[[], Awaitable[Mapping[str, Any]]]


class Metrics:
    """`snapshot` returns numbers by service: a number, or numbers by label. `http`: the counts of the application."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.http = HttpCounts()
        self._snapshot = snapshot
        self._found: list[Metric] = []
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(namespace="pelton", registry=self._registry)

    def collect(self) -> Iterable[Metric]:
        return self._found

    async def page(self) -> tuple[bytes, str]:
        """The page and its content type."""
        self._found = [*families(await self._snapshot()), *self._of_http()]
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def _of_http(self) -> Iterator[Metric]:
        answers = CounterMetricFamily("pelton_http_requests", "Requests answered, by API and status", labels=["face", "status"])
        for (api, status), count in sorted(self.http.answers.items()):
            answers.add_metric([api, str(status)], count)
        yield answers
        seconds = CounterMetricFamily("pelton_http_seconds", "Time spent on requests, long polls included", labels=["face"])
        for api, spent in sorted(self.http.seconds.items()):
            seconds.add_metric([api], spent)
        yield seconds
        yield GaugeMetricFamily("pelton_http_under_way", "Requests and long polls in progress", self.http.under_way)
        yield CounterMetricFamily(
            "pelton_http_refused", "Requests refused because of a missing key or too much load", self.http.refused
        )


def families(snapshot: Mapping[str, Any]) -> Iterator[Metric]:
    for service, stats in sorted(snapshot.items()):
        if not isinstance(stats, Mapping):
            continue
        for name, value in sorted(stats.items()):
            metric = f"pelton_{_word(service)}_{_word(name)}"
            text = f"{name.replace('_', ' ')} of the service {service}"
            if isinstance(value, bool | int | float):
                yield _family(name, metric, text, float(value))
            elif isinstance(value, Mapping):
                family = _family(name, metric, text, None)
                for label, number in sorted(value.items(), key=lambda pair: str(pair[0]))[:MOST_LABELS]:
                    if isinstance(number, bool | int | float):
                        family.add_metric([str(label)], float(number))
                if family.samples or not value:
                    yield family


def _family(name: str, metric: str, text: str, value: float | None) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if name in GROWING else GaugeMetricFamily
    return kind(metric, text, labels=["of"]) if value is None else kind(metric, text, value)


def _word(name: str) -> str:
    return "".join(character if character.isascii() and character.isalnum() else "_" for character in str(name))
