"""The values of the metrics, read from the parts of a running server. Values by a label that users choose are cut here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pelton import __version__
from pelton.connectors.port import public_address
from pelton.kernel.model.state import RunStatus
from pelton.runtime.engine import LocalEngine
from pelton.runtime.names import shown_queue
from pelton.runtime.scripting.pool import ScriptPool
from pelton.server.app import HttpCounts
from pelton.store.retention import KINDS
from pelton.telemetry.histograms import MOST_VALUES, OTHER, Histogram

LATE = 1_000  # milliseconds after which a timer counts as overdue
MOST_BACKLOG = 10_000
ENDINGS = ("done", "failed", "timed_out")

Value = float | Histogram
Reading = tuple[str, tuple[str, ...], Value]
"""Name, values of its labels, value."""


class Watched(NamedTuple):
    """What is read. `lag`: seconds by which the event loop was late."""

    engine: LocalEngine
    scripts: ScriptPool
    http: HttpCounts
    lag: float


async def readings(watched: Watched) -> list[Reading]:
    engine = watched.engine
    found = dict(await engine.health())
    healthy = not found.get("store", {}).get("unhealthy") and not found["tasks"]["failure"]
    return [
        ("pelton_build_info", (__version__,), 1),
        ("pelton_healthy", (), float(healthy)),
        ("pelton_loop_lag_seconds", (), watched.lag),
        ("pelton_tasks", (), found["tasks"]["tasks"]),
        ("pelton_cache_runs", (), found["cache"]["runs"]),
        ("pelton_cache_bytes", (), found["cache"]["bytes"]),
        ("pelton_script_processes", (), len(watched.scripts.processes)),
        ("pelton_script_questions", (), watched.scripts.waiting),
        *_requests(watched.http),
        *_events(engine),
        *_runs(engine),
        *await _work(engine),
        *_operations(found["operations"]),
        *_deliveries(engine),
        *_sources(engine),
        *_store(engine, found["store"]),
        *await _outstanding(engine),
        *await _retention(engine),
    ]


def _requests(http: HttpCounts) -> Iterator[Reading]:
    for (mount, pattern, method, status), histogram in http.durations.by.items():
        labels = (mount + pattern or "(none)", method, f"{status}xx" if status else "gone")
        yield "pelton_http_request_duration_seconds", labels, histogram
    yield "pelton_http_requests_in_progress", (), http.under_way
    yield "pelton_http_requests_refused_total", (), http.refused


def _events(engine: LocalEngine) -> Iterator[Reading]:
    for labels, count in engine.ingester.outcomes.items():
        yield "pelton_events_total", labels, count
    for door, histogram in engine.ingester.durations.by.items():
        yield "pelton_event_effect_duration_seconds", (door,), histogram


def _runs(engine: LocalEngine) -> Iterator[Reading]:
    committer = engine.committer
    for (before, after), count in committer.moves.items():
        yield "pelton_run_transitions_total", (_status(before), _status(after)), count
    yield "pelton_commit_duration_seconds", (), committer.durations
    for name, word in (("groups", "groups"), ("groups_lost", "lost"), ("requests", "jobs")):
        yield f"pelton_commit_{name}_total", (), committer.stats[word]
    yield "pelton_commit_requests_suspended_total", (), committer.stats["suspended"]
    yield "pelton_commit_requests_failed_total", (), committer.stats["poisoned"]
    yield "pelton_commit_queue", (), committer.waiting


def _status(status: int) -> str:
    return RunStatus(status).name.lower() if status >= 0 else "none"


async def _work(engine: LocalEngine) -> list[Reading]:
    whole, ready = await engine.store.queue_sizes(), await engine.store.queue_sizes(handed_out=False)
    longest = sorted(whole, key=lambda queue: (-whole[queue], queue))[:MOST_VALUES]
    sizes: dict[tuple[str, str], int] = {}
    for queue, size in whole.items():
        name = shown_queue(queue) if queue in longest else OTHER
        free = ready.get(queue, 0)
        for state, count in (("ready", free), ("held", size - free)):
            sizes[name, state] = sizes.get((name, state), 0) + max(0, count)
    work, timers = engine.work.stats(), engine.timers.stats()
    return [
        *(("pelton_work_items", labels, count) for labels, count in sizes.items()),
        *(("pelton_work_wait_duration_seconds", (name,), each) for name, each in _by_queue(engine.work.waits.by).items()),
        ("pelton_work_handed_out_total", (), work["handed_out"]),
        ("pelton_work_returned_total", (), work["returned"]),
        ("pelton_work_leases_lost_total", (), work["leases_fired"]),
        ("pelton_work_pollers", (), work["pollers"]),
        ("pelton_timers_fired_total", (), timers["fired"]),
        ("pelton_timers_failed_total", (), timers["failed"]),
    ]


def _by_queue(waits: Mapping[str, Histogram]) -> dict[str, Histogram]:
    """By the names that callers see: queues of the same name in several namespaces are one."""
    found: dict[str, Histogram] = {}
    for queue, each in waits.items():
        name = shown_queue(queue)
        if (whole := found.get(name)) is None:
            whole = found[name] = Histogram(each.bounds)
        whole.counts = [a + b for a, b in zip(whole.counts, each.counts, strict=True)]
        whole.sum += each.sum
    return found


def _operations(stats: Mapping[str, Any]) -> Iterator[Reading]:
    for name, value in stats.items():
        for ending in ENDINGS:
            if name.endswith(f"_{ending}"):
                yield "pelton_operations_total", (name.removesuffix(f"_{ending}"), ending), value
    yield "pelton_operations_running", (), stats["running"]


def _deliveries(engine: LocalEngine) -> Iterator[Reading]:
    outbox = engine.outbox
    for labels, count in outbox.outcomes.items():
        yield "pelton_deliveries_total", labels, count
    for scheme, histogram in outbox.durations.by.items():
        yield "pelton_delivery_duration_seconds", (scheme,), histogram
    for scheme, histogram in outbox.attempts.by.items():
        yield "pelton_delivery_attempts", (scheme,), histogram
    sinks = outbox.health()  # failing ones and the longest lines first
    yield from _cut("pelton_sink_waiting", ((address, (), each["waiting"]) for address, each in sinks.items()))
    for address in list(sinks)[:MOST_VALUES]:
        yield "pelton_sink_healthy", (address,), float(sinks[address]["healthy"])


def _sources(engine: LocalEngine) -> Iterator[Reading]:
    sources = [(public_address(address), each) for address, each in engine.sources.health().items()]
    sources.sort(key=lambda pair: (pair[1].healthy, -pair[1].received))
    for address, each in sources[:MOST_VALUES]:
        yield "pelton_source_healthy", (address,), float(each.healthy)
        yield "pelton_source_lag_seconds", (address,), each.lag
    for outcome in ("recorded", "given_back", "dead"):
        counts = ((address, (outcome,), getattr(each, outcome)) for address, each in sources)
        yield from _cut("pelton_source_messages_total", counts)


def _cut(name: str, values: Iterable[tuple[str, tuple[str, ...], float]]) -> Iterator[Reading]:
    """The first `MOST_VALUES` as they are, and the sum of the others."""
    rest: dict[tuple[str, ...], float] = {}
    for place, (label, labels, value) in enumerate(values):
        if place < MOST_VALUES:
            yield name, (label, *labels), value
        else:
            rest[labels] = rest.get(labels, 0) + value
    for labels, value in rest.items():
        yield name, (OTHER, *labels), value


def _store(engine: LocalEngine, health: Mapping[str, Any]) -> Iterator[Reading]:
    for file, word in (("data", "file_bytes"), ("log", "wal_bytes")):
        if word in health:
            yield "pelton_store_size_bytes", (file,), health[word]
    for name, word in (
        ("pelton_store_reusable_bytes", "free_bytes"),
        ("pelton_disk_free_bytes", "disk_free_bytes"),
        ("pelton_store_writer_restarts_total", "writer_restarts"),
    ):
        if word in health:
            yield name, (), health[word]
    counts = engine.store.counts
    yield "pelton_store_rows_read_total", (), counts.rows_read
    yield "pelton_store_rows_written_total", (), counts.rows_written
    yield "pelton_store_commits_total", (), counts.commits


async def _outstanding(engine: LocalEngine) -> list[Reading]:
    now = engine.store.now()
    found = await engine.store.outstanding(now - LATE)
    return [
        ("pelton_events_held", (), found.held),
        ("pelton_outbox_deliveries", (), found.deliveries),
        ("pelton_outbox_oldest_age_seconds", (), _age(found.oldest_delivery, now)),
        ("pelton_dead_letters", (), found.dead_letters),
        ("pelton_timers_overdue", (), found.overdue),
        ("pelton_timers_overdue_age_seconds", (), _age(found.oldest_timer, now) if found.overdue else 0),
        ("pelton_signals_pending", (), found.signals),
        ("pelton_signals_parked", (), found.parked_signals),
    ]


def _age(since: int, now: int) -> float:
    return max(0, now - since) / 1000 if since else 0.0


async def _retention(engine: LocalEngine) -> list[Reading]:
    stats = engine.retention.stats()
    due = await engine.retention_due({}, MOST_BACKLOG)
    return [
        *(("pelton_retention_removed_total", (kind,), stats["removed"][kind]) for kind in KINDS),
        *(("pelton_retention_backlog", (kind,), count) for kind, _, count in due),
    ]
