"""The page: readings as families of metrics, in the text format of Prometheus, or as OpenMetrics for those who accept it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from pelton.server.metrics.catalogue import CATALOGUE, Described
from pelton.server.metrics.readings import Reading, Value
from pelton.telemetry.histograms import Histogram

Read = Callable[[], Awaitable[Sequence[Reading]]]


class Metrics:
    """`read`: the values as they are now."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._found: list[Metric] = []
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(namespace="pelton", registry=self._registry)

    def collect(self) -> Iterable[Metric]:
        return self._found

    async def page(self, accept: str = "") -> tuple[bytes, str]:
        """The page and its content type, for a caller with that header `Accept`."""
        self._found = list(families(await self._read()))
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


def families(readings: Iterable[Reading]) -> Iterator[Metric]:
    """In the order of the catalogue. One without a value is not served."""
    by_name: dict[str, list[tuple[tuple[str, ...], Value]]] = {}
    for name, labels, value in readings:
        by_name.setdefault(name, []).append((labels, value))
    if unknown := by_name.keys() - CATALOGUE.keys():
        raise ValueError(f"metrics that the catalogue lacks: {', '.join(sorted(unknown))}")
    for name, described in CATALOGUE.items():
        if name in by_name:
            yield _family(name, described, by_name[name])


def _family(name: str, described: Described, values: list[tuple[tuple[str, ...], Value]]) -> Metric:
    kind, text, labels = described
    if kind == "histogram":
        whole = HistogramMetricFamily(name, text, labels=labels)
        for each, value in values:
            assert isinstance(value, Histogram), name
            whole.add_metric(each, _buckets(value), value.sum)
        return whole
    family = CounterMetricFamily(name, text, labels=labels) if kind == "counter" else GaugeMetricFamily(name, text, labels=labels)
    for each, value in values:
        assert not isinstance(value, Histogram), name
        family.add_metric(each, value)
    return family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    bounds = [*(f"{bound:g}" if bound != int(bound) else f"{bound:.1f}" for bound in histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True))
