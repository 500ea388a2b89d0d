"""The metrics of a server that has done some work: conventions, values, bounds; and that the dashboard, the alert rules and the
page of the documentation know the metrics that there are."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from httpx import AsyncClient as Http
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families
from tests.patience import happens
from tests.server.running import starter
from tests.server.test_running_server import SHOUT, define
from tests.source import ROOT

from pelton.models import ClaimIn, ReportIn
from pelton.server.metrics.catalogue import CATALOGUE
from pelton.server.metrics.page import families
from pelton.server.metrics.readings import _cut
from pelton.store.sqlite.store import SqliteStore
from pelton.telemetry.histograms import MOST_VALUES, OTHER, Histogram, Histograms
from pelton.testing import MemoryConnector, VirtualClock, running_server
from pelton.testing.server import RunningServer

HERE = ROOT / "docs/observability"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
Values = dict[str, dict[tuple[tuple[str, str], ...], float]]
SLEEPS = {
    "name": "sleeps",
    "version": 1,
    "schemaVersion": 2,
    "tasks": [
        {"name": "w", "taskReferenceName": "w", "type": "WAIT", "inputParameters": {"duration": "2 seconds"}},
        {"name": "i", "taskReferenceName": "i", "type": "INLINE",
         "inputParameters": {"evaluatorType": "javascript", "expression": "1 + 1"}},
        {"name": "f", "taskReferenceName": "f", "type": "EVENT", "sink": "conductor:done", "inputParameters": {}},
        {"name": "x", "taskReferenceName": "x", "type": "EVENT", "sink": "memory:heard", "inputParameters": {}},
        {"name": "h", "taskReferenceName": "h", "type": "HTTP",
         "inputParameters": {"http_request": {"uri": "http://127.0.0.1:1/", "method": "GET"}}},
    ],
}  # fmt: skip


@asynccontextmanager
async def worked(directory: Path) -> AsyncIterator[tuple[RunningServer, VirtualClock]]:
    """A server that has done some of everything."""
    clock, queues = VirtualClock(), MemoryConnector()
    store = SqliteStore(directory / "some.db", "relaxed", clock=clock)
    async with running_server(connectors=[queues], store=store, clock=clock, keep_events="1h") as server:
        await define(server.client, SHOUT, SLEEPS, starter("begin", "memory:asked", "shout"), starter("s", "nap", "sleeps"))
        queues.put("asked", b'{"number": 7}')
        (item,) = (await server.client.work("me", claim=ClaimIn(["say"], 1, 30_000))).items
        await server.client.work("me", reports=[ReportIn(item.id, output={"said": "seven"})])
        await happens(lambda: bool(queues.sent["heard"]) and not queues.waiting("asked"))
        for _ in range(2):
            await server.client.post_event("nap", "/test", {}, id="1")
        await server.client.post_event("unheard", "/test", {}, id="2")

        async def ended() -> bool:
            await clock.advance(500)
            return len(queues.sent["heard"]) > 1 and not (await server.client.runs(live=True)).runs

        await happens(ended)
        queues.put("asked", b'{"number": 8}')
        await happens(lambda: server.engine.ingester.outcomes["memory", "matched"] == 2)
        yield server, clock


async def page(server: RunningServer, accept: str = "") -> list[Metric]:
    async with Http(base_url=server.url) as http:
        answer = await http.get("/metrics", headers={"accept": accept} if accept else {})
    assert answer.headers["content-type"].startswith("application/openmetrics-text" if accept else "text/plain")
    parse = open_families if accept else text_string_to_metric_families
    return list(parse(answer.text))


def samples(found: Iterable[Metric]) -> Values:
    values: Values = {}
    for family in found:
        for sample in family.samples:
            values.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return values


def value(values: Values, name: str, **labels: str) -> float:
    return values[name][tuple(sorted(labels.items()))]


async def test_metrics_say_what_a_server_has_done(tmp_path: Path) -> None:
    async with worked(tmp_path) as (server, _):
        values = samples(await page(server))
    events = "pelton_events_total"
    assert value(values, events, door="memory", outcome="matched") == 2
    assert value(values, events, door="http", outcome="matched") == 1
    assert value(values, events, door="http", outcome="duplicate") == 1
    assert value(values, events, door="http", outcome="unmatched") == 1
    assert value(values, events, door="run", outcome="unmatched") == 1
    assert value(values, "pelton_event_effect_duration_seconds_count", door="memory") == 2
    assert value(values, "pelton_work_wait_duration_seconds_count", queue="say") == 1
    assert value(values, "pelton_deliveries_total", scheme="memory", outcome="sent") == 2
    assert value(values, "pelton_delivery_attempts_sum", scheme="memory") == 2
    started = {labels: count for labels, count in values["pelton_run_transitions_total"].items() if ("from", "none") in labels}
    assert sum(started.values()) == 3
    assert value(values, "pelton_run_transitions_total", **{"from": "running", "to": "completed"}) == 1
    assert value(values, "pelton_source_messages_total", address="memory:asked", outcome="recorded") >= 1
    assert value(values, "pelton_timers_fired_total") >= 1
    assert value(values, "pelton_healthy") == 1
    assert value(values, "pelton_disk_free_bytes") > 0
    durations = "pelton_http_request_duration_seconds_count"
    assert value(values, durations, route="/v1/events", method="POST", status="2xx") == 3
    assert value(values, durations, route="/v1/work", method="POST", status="2xx") == 2


async def test_what_stands_is_counted(tmp_path: Path) -> None:
    async with running_server(store=SqliteStore(tmp_path / "some.db", "relaxed"), connectors=[MemoryConnector()]) as server:
        await define(server.client, SHOUT, starter("begin", "ask", "shout"))
        for number in range(3):
            await server.client.post_event("ask", "/test", {"number": number}, id=str(number))
        await server.client.work("me", claim=ClaimIn(["say"], 1, 0))
        values = samples(await page(server))
    assert value(values, "pelton_work_items", queue="say", state="ready") == 2
    assert value(values, "pelton_work_items", queue="say", state="held") == 1
    assert value(values, "pelton_outbox_deliveries") == 0
    assert value(values, "pelton_dead_letters") == 0


@pytest.mark.parametrize("accept", ["", OPEN_METRICS])
async def test_names_kinds_and_labels_are_those_of_the_catalogue(tmp_path: Path, accept: str) -> None:
    async with worked(tmp_path) as (server, _):
        found = await page(server, accept)
    own = [family for family in found if not family.name.startswith("pelton_process_")]
    assert len(own) > 40
    for family in own:
        name = family.name + "_total" * (family.type == "counter")
        described = CATALOGUE[name]
        assert (family.type, family.documentation) == (described.kind, described.help)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(described.labels), sample


def test_names_follow_the_conventions() -> None:
    for name, described in CATALOGUE.items():
        assert re.fullmatch(r"pelton_[a-z_]+", name), name
        assert name.endswith("_total") == (described.kind == "counter"), name
        assert "milliseconds" not in name, name
        assert described.help, name
        assert all(
            re.fullmatch(r"[a-z]+", label) and label not in {"le", "quantile", "job", "instance"} for label in described.labels
        )


def test_a_metric_that_the_catalogue_lacks_is_not_served() -> None:
    with pytest.raises(ValueError, match="pelton_surprise"):
        list(families([("pelton_surprise", (), 1)]))


# ---- labels are bounded


def test_a_histogram_counts_by_upper_bounds_that_belong_to_it() -> None:
    histogram = Histogram((1.0, 2.0))
    for each in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(each)
    assert (histogram.counts, histogram.sum, histogram.count) == ([2, 1, 1], 12.0, 4)


def test_a_label_has_so_many_values_and_then_other() -> None:
    found = Histograms(OTHER, (1.0,), most=2)
    for name in ("a", "b", "c", "d", "a"):
        found.of(name).observe(0.5)
    assert {name: each.count for name, each in found.by.items()} == {"a": 2, "b": 1, OTHER: 2}


def test_values_beyond_the_most_are_added_up() -> None:
    found = list(_cut("pelton_sink_waiting", ((f"sqs:{number}", (), 1.0) for number in range(MOST_VALUES + 7))))
    assert len(found) == MOST_VALUES + 1
    assert found[-1] == ("pelton_sink_waiting", (OTHER,), 7.0)


async def test_queues_and_paths_that_callers_invent_make_no_series() -> None:
    async with running_server() as server:
        async with Http(base_url=server.url) as http:
            for number in range(MOST_VALUES + 50):
                await http.get(f"/no/such/{number}")
            await http.request("BREW", "/health")
        wide: dict[str, Any] = {
            "name": "wide", "version": 1, "schemaVersion": 2,
            "tasks": [
                {"name": f"q{number}", "taskReferenceName": f"r{number}", "type": "SIMPLE", "inputParameters": {}}
                for number in range(MOST_VALUES + 20)
            ],
        }  # fmt: skip
        fork = {
            "name": "fork", "taskReferenceName": "fork", "type": "FORK_JOIN", "inputParameters": {},
            "forkTasks": [[task] for task in wide["tasks"]],
        }  # fmt: skip
        join = {"name": "join", "taskReferenceName": "join", "type": "JOIN", "joinOn": [], "inputParameters": {}}
        await define(server.client, {**wide, "tasks": [fork, join]})
        await server.client.request("POST", "/api/workflow/wide", {}, content_type="application/json")
        queues = [f"q{number}" for number in range(MOST_VALUES + 20)]
        claimed = await server.client.work("me", claim=ClaimIn(queues[:60], 60, 0))
        claimed = await server.client.work("me", claim=ClaimIn(queues[60:], 60, 0))
        assert claimed.items
        values = samples(await page(server))
    routes = {dict(labels)["route"] for labels in values["pelton_http_request_duration_seconds_count"]}
    assert "(none)" in routes
    assert not [route for route in routes if "such" in route]
    methods = {dict(labels)["method"] for labels in values["pelton_http_request_duration_seconds_count"]}
    assert "BREW" not in methods
    shown = {dict(labels)["queue"] for labels in values["pelton_work_items"]}
    assert len(shown) == MOST_VALUES + 1
    assert (
        value(values, "pelton_work_items", queue=OTHER, state="held")
        + value(values, "pelton_work_items", queue=OTHER, state="ready")
        == 20
    )
    assert len({dict(labels)["queue"] for labels in values["pelton_work_wait_duration_seconds_count"]}) == MOST_VALUES + 1


# ---- the dashboard, the rules and the page


NAME = re.compile(r"\b(pelton_[a-z_]+)(?:\{([^}]*)\})?")
LABEL = re.compile(r"\b([a-z]+)\s*(?:=|!=|=~|!~)")
BY = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")


def expressions() -> list[tuple[str, str]]:
    """(where, PromQL)"""
    found = []

    def walk(node: Any, where: str) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                if key in {"expr", "query"} and isinstance(value, str) and value != "prometheus":
                    found.append((where, value))
                walk(value, f"{where}/{node.get('title', '') or node.get('alert', '')}")
        elif isinstance(node, list):
            for value in node:
                walk(value, where)

    walk(json.loads((HERE / "dashboard.json").read_text()), "dashboard")
    walk(yaml.safe_load((HERE / "alerts.yml").read_text()), "alerts")
    return found


async def test_the_dashboard_and_the_rules_use_metrics_that_there_are(tmp_path: Path) -> None:
    async with worked(tmp_path) as (server, _):
        values = samples(await page(server))
    labels_of = {name: {key for labels in series for key, _ in labels} for name, series in values.items()}
    used: set[str] = set()
    for where, query in expressions():
        names = NAME.findall(query)
        assert names, (where, query)
        known: set[str] = {"instance", "job"}
        for name, matchers in names:
            assert name in values, f"{where}: no server has {name}"
            assert set(LABEL.findall(matchers)) <= labels_of[name] | {"instance", "job"}, (where, query)
            known |= labels_of[name]
            used.add(re.sub(r"_(bucket|sum|count)$", "", name))
        for grouped in BY.findall(query):
            assert {each.strip() for each in grouped.split(",") if each.strip()} <= known, (where, query)
    assert len(used) > 25


def test_every_rule_says_what_is_wrong_and_what_to_do() -> None:
    (group,) = yaml.safe_load((HERE / "alerts.yml").read_text())["groups"]
    assert len(group["rules"]) > 8
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]


def test_every_panel_has_a_place_of_its_own() -> None:
    board = json.loads((HERE / "dashboard.json").read_text())
    cells: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in board["panels"]:
        at = panel["gridPos"]
        mine = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not mine & cells, panel["title"]
        assert max(x for x, _ in mine) < 24
        cells |= mine


def test_the_page_has_every_metric() -> None:
    text = (ROOT / "docs/observability.md").read_text()
    for name, described in CATALOGUE.items():
        assert f"| `{name}` | {described.kind} |" in text, name
