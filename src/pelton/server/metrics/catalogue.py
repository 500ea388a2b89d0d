"""Every metric that a server may serve: its kind, its labels, and what it means. docs/observability.md has it as a table, and
nothing else is served.

Names follow Prometheus: base units, `_total` for what only grows while a server runs. A label has few values, or at most
`MOST_VALUES` and "other".
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]


class Described(NamedTuple):
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


CATALOGUE: dict[str, Described] = {
    # ---- the server
    "pelton_build_info": Described("gauge", "1, with the server's version", ("version",)),
    "pelton_healthy": Described("gauge", "Whether the server is healthy, as /health says"),
    "pelton_loop_lag_seconds": Described(
        "gauge", "How late the event loop was with its last heartbeat, which is due each second"
    ),
    "pelton_tasks": Described("gauge", "Tasks of the server's parts that are under way"),
    "pelton_cache_runs": Described("gauge", "Runs kept in memory"),
    "pelton_cache_bytes": Described("gauge", "Size of the runs kept in memory, estimated"),
    # ---- requests
    "pelton_http_request_duration_seconds": Described(
        "histogram",
        "Time from a request to the end of its response, long polls included. Route: its template, (none) where nothing was"
        " found; status: 2xx to 5xx, or gone where the caller had left",
        ("route", "method", "status"),
    ),
    "pelton_http_requests_in_progress": Described("gauge", "Requests and long polls in progress"),
    "pelton_http_requests_refused_total": Described("counter", "Requests refused for a missing key or too much load"),
    # ---- events
    "pelton_events_total": Described(
        "counter",
        "Events that came in. Door: http, the scheme of a source (sqs, files), run for what runs emit, server for what it"
        " announces itself; outcome: matched, unmatched, held, failed, duplicate, conflict, refused",
        ("door", "outcome"),
    ),
    "pelton_event_effect_duration_seconds": Described(
        "histogram", "Time from an event's arrival until the effects of its handlers are committed", ("door",)
    ),
    "pelton_events_held": Described("gauge", "Events that wait for a run to take them; at most 100,000 are counted"),
    # ---- runs
    "pelton_run_transitions_total": Described(
        "counter",
        "Changes of runs from one status to another; from none: they are new",
        ("from", "to"),
    ),
    "pelton_commit_duration_seconds": Described("histogram", "Time of a commit to the store"),
    "pelton_commit_groups_total": Described("counter", "Groups of changes that were committed together"),
    "pelton_commit_groups_lost_total": Described("counter", "Groups that were lost to another change, and decided again"),
    "pelton_commit_requests_total": Described("counter", "Requests that the committer performed, repetitions included"),
    "pelton_commit_requests_suspended_total": Described("counter", "Requests that had to wait for something to be read"),
    "pelton_commit_requests_failed_total": Described("counter", "Requests set aside because of an unexpected error"),
    "pelton_commit_queue": Described("gauge", "Requests that wait for the committer"),
    "pelton_signals_pending": Described("gauge", "Stored signals to runs that are to be applied; at most 100,000 are counted"),
    "pelton_signals_parked": Described("gauge", "Stored signals that were put aside because they could not be applied"),
    # ---- work
    "pelton_work_items": Described(
        "gauge", "Unfinished work by queue. State: ready, or held by a worker. The 100 longest queues", ("queue", "state")
    ),
    "pelton_work_wait_duration_seconds": Described(
        "histogram", "Time from when work could be taken until a worker had it, by queue (100, then other)", ("queue",)
    ),
    "pelton_work_handed_out_total": Described("counter", "Work items handed to workers"),
    "pelton_work_returned_total": Described("counter", "Work items that came back without a report"),
    "pelton_work_leases_lost_total": Described("counter", "Leases and attempts that ran out of time"),
    "pelton_work_pollers": Described("gauge", "Workers' polls that wait for work"),
    "pelton_operations_total": Described(
        "counter", "Built-in work that ended. Outcome: done, failed, timed_out", ("operation", "outcome")
    ),
    "pelton_operations_running": Described("gauge", "Built-in work under way"),
    # ---- timers
    "pelton_timers_fired_total": Described("counter", "Timers that were fired"),
    "pelton_timers_failed_total": Described("counter", "Firings of timers that failed and are repeated"),
    "pelton_timers_overdue": Described("gauge", "Timers due more than a second ago; at most 100,000 are counted"),
    "pelton_timers_overdue_age_seconds": Described("gauge", "How late the latest timer is; 0 if none is"),
    # ---- deliveries
    "pelton_deliveries_total": Described(
        "counter", "Attempts to deliver a message, by the sink's scheme. Outcome: sent, retried, dead", ("scheme", "outcome")
    ),
    "pelton_delivery_duration_seconds": Described(
        "histogram", "Time of a call that delivers up to ten messages, by the sink's scheme", ("scheme",)
    ),
    "pelton_delivery_attempts": Described(
        "histogram", "Attempts that a message took until it was delivered or given up, by the sink's scheme", ("scheme",)
    ),
    "pelton_outbox_deliveries": Described("gauge", "Messages that are not delivered yet; at most 100,000 are counted"),
    "pelton_outbox_oldest_age_seconds": Described("gauge", "Age of the oldest message that is not delivered yet; 0 if none is"),
    "pelton_dead_letters": Described("gauge", "Messages that were given up, in and out; at most 100,000 are counted"),
    "pelton_sink_healthy": Described("gauge", "Whether the last messages to a sink were delivered (100 sinks)", ("address",)),
    "pelton_sink_waiting": Described("gauge", "Messages to a sink in memory (100 sinks, then other)", ("address",)),
    # ---- sources
    "pelton_source_healthy": Described("gauge", "Whether messages can be received from a source (100 sources)", ("address",)),
    "pelton_source_lag_seconds": Described(
        "gauge", "How long the newest message received had waited in its system, where it says so", ("address",)
    ),
    "pelton_source_messages_total": Described(
        "counter",
        "Messages received from a source (100, then other). Outcome: recorded, given_back, dead",
        ("address", "outcome"),
    ),
    # ---- the store
    "pelton_store_size_bytes": Described(
        "gauge", "Size of the store's files. File: data, or log (the write-ahead log)", ("file",)
    ),
    "pelton_store_reusable_bytes": Described("gauge", "Bytes of the data file that are free to be used again"),
    "pelton_disk_free_bytes": Described("gauge", "Free space of the disk that the store is on"),
    "pelton_store_rows_read_total": Described("counter", "Rows read from the store"),
    "pelton_store_rows_written_total": Described("counter", "Rows written to the store"),
    "pelton_store_commits_total": Described("counter", "Commits that the store has written"),
    "pelton_store_writer_restarts_total": Described("counter", "Writers of the store that ended and were replaced"),
    "pelton_retention_removed_total": Described("counter", "Rows removed because they were too old or too many", ("kind",)),
    "pelton_retention_backlog": Described(
        "gauge", "Rows that are due to be removed and still there; at most 10,000 are counted", ("kind",)
    ),
    # ---- scripts
    "pelton_script_processes": Described("gauge", "Processes that evaluate scripts"),
    "pelton_script_questions": Described("gauge", "Evaluations that have not been answered"),
}
