"""One trace from whoever caused something over runs and workers to where it ends: contexts are passed on with and without a
collector, and a collector gets spans with the right parents."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient as Http
from opentelemetry.sdk.resources import SERVICE_NAME
from tests.connectors.receiver import running_receiver
from tests.patience import eventually, happens
from tests.server.running import fresh, starter
from tests.server.test_running_server import SHOUT, define
from tests.telemetry.collector import Collector, collecting
from tests.telemetry.test_trace import PARENT, SPAN, TRACE

from pelton.client import AsyncClient, Client, Worker
from pelton.client.worker import Item
from pelton.models import ClaimIn, ReportIn
from pelton.runtime.caller import SERVER
from pelton.server.lifecycle import StartFailed
from pelton.store.sqlite.store import SqliteStore
from pelton.telemetry import otel
from pelton.testing import MemoryConnector, running_server
from pelton.testing.server import RunningServer

EVENT = {"specversion": "1.0", "id": "1", "source": "/test", "type": "asked", "data": {"number": 7}}
STRUCTURED = {"content-type": "application/cloudevents+json"}
STATE = "vendor=x"


def through_sqs(queue: str) -> dict[str, Any]:
    tell = {**SHOUT["tasks"][1], "sink": f"sqs:{queue}"}  # type: ignore[index]
    return {**SHOUT, "tasks": [SHOUT["tasks"][0], tell]}  # type: ignore[index]


@asynccontextmanager
async def shouting(queues: MemoryConnector, **settings: Any) -> AsyncIterator[RunningServer]:
    async with running_server(connectors=[queues], **settings) as server:
        await define(server.client, SHOUT, starter("begin", "asked", "shout"), starter("too", "memory:asked", "shout"))
        yield server


async def post(server: RunningServer, headers: dict[str, str], **attributes: Any) -> None:
    async with Http(base_url=server.url) as http:
        answer = await http.post("/v1/events", content=json.dumps({**EVENT, **attributes}), headers={**STRUCTURED, **headers})
    assert answer.status_code == 201, answer.text


async def do_work(server: RunningServer) -> str:
    """Takes the one item and reports it. Returns its traceparent."""
    (item,) = (await server.client.work("me", claim=ClaimIn(["say"], 1, 30_000))).items
    await server.client.work("me", reports=[ReportIn(item.id, output={"said": "seven"})])
    return item.traceparent + (f" {item.tracestate}" if item.tracestate else "")


async def heard(queues: MemoryConnector) -> dict[str, str]:
    await happens(lambda: bool(queues.sent["heard"]))
    return dict(queues.sent["heard"][0].headers)


# ---- passed on, whether or not anybody collects


async def test_the_trace_of_a_request_goes_to_the_worker_and_to_the_sink() -> None:
    queues = MemoryConnector()
    async with shouting(queues) as server:
        await post(server, {"traceparent": PARENT, "tracestate": STATE})
        assert await do_work(server) == f"{PARENT} {STATE}"
        found = await heard(queues)
        assert (found["traceparent"], found["tracestate"]) == (PARENT, STATE)
        (event,) = (await server.client.events()).events
        assert (await server.engine.events(SERVER))[0].trace == f"{PARENT} {STATE}"
        async with Http(base_url=server.url) as http:
            shown = (await http.get(f"/v1/events/{event.key}")).json()
        assert TRACE in json.dumps(shown)


async def test_the_attributes_of_an_event_say_where_its_trace_began() -> None:
    other = PARENT.replace(TRACE, TRACE[::-1])
    queues = MemoryConnector()
    async with shouting(queues) as server:
        await post(server, {"traceparent": other}, traceparent=PARENT, tracestate=STATE)
        assert await do_work(server) == f"{PARENT} {STATE}"


async def test_a_binary_event_has_them_in_headers_of_its_own() -> None:
    queues = MemoryConnector()
    async with shouting(queues) as server:
        async with Http(base_url=server.url) as http:
            headers = {
                "ce-specversion": "1.0", "ce-id": "1", "ce-source": "/t", "ce-type": "asked", "ce-traceparent": PARENT,
                "content-type": "application/json",
            }  # fmt: skip
            assert (await http.post("/v1/events", content=b'{"number": 1}', headers=headers)).status_code == 201
        assert await do_work(server) == PARENT


async def test_a_webhook_of_any_kind_brings_its_trace() -> None:
    queues = MemoryConnector()
    async with shouting(queues) as server:
        async with Http(base_url=server.url) as http:
            answer = await http.post("/v1/hooks/asked", json={"number": 1}, headers={"traceparent": PARENT})
            assert answer.status_code == 201
        assert await do_work(server) == PARENT


async def test_a_message_brings_its_trace() -> None:
    queues = MemoryConnector()
    async with shouting(queues) as server:
        queues.put("asked", b'{"number": 7}', {"traceparent": PARENT, "tracestate": STATE})
        assert await do_work(server) == f"{PARENT} {STATE}"
        assert (await heard(queues))["traceparent"] == PARENT


async def test_a_start_by_a_call_belongs_to_the_trace_of_the_call() -> None:
    queues = MemoryConnector()
    async with shouting(queues) as server:
        async with Http(base_url=server.url) as http:
            headers = {"traceparent": PARENT}
            assert (await http.post("/api/workflow/shout", json={"number": 1}, headers=headers)).status_code == 200
        assert await do_work(server) == PARENT


@pytest.mark.parametrize("wrong", ["", "nonsense", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01"])
async def test_a_trace_that_is_not_valid_is_none_and_refuses_nothing(wrong: str) -> None:
    queues = MemoryConnector()
    async with shouting(queues) as server:
        await post(server, {"traceparent": wrong, "tracestate": STATE}, **({"traceparent": wrong} if wrong else {}))
        assert await do_work(server) == ""
        assert not {"traceparent", "tracestate"} & (await heard(queues)).keys()


async def test_children_and_outbound_requests_belong_to_the_trace_and_a_restart_forgets_nothing(tmp_path: Path) -> None:
    async with running_receiver() as receiver:
        call = {
            "name": "call", "taskReferenceName": "call", "type": "HTTP",
            "inputParameters": {
                "http_request": {"uri": receiver.url, "method": "POST", "body": 200, "contentType": "text/plain"}
            },
        }  # fmt: skip
        child = {"name": "child", "version": 1, "schemaVersion": 2, "tasks": [*SHOUT["tasks"], call]}  # type: ignore[misc]
        sub = {"name": "c", "taskReferenceName": "c", "type": "SUB_WORKFLOW", "subWorkflowParam": {"name": "child", "version": 1}}
        mother = {"name": "mother", "version": 1, "schemaVersion": 2, "tasks": [sub]}
        here = f"{receiver.url.partition('//')[2].partition('/')[0]}"
        queues = MemoryConnector()
        settings: dict[str, Any] = {"connectors": [queues], "allow_outgoing": (here,)}
        async with running_server(store=SqliteStore(tmp_path / "some.db", "relaxed"), **settings) as server:
            await define(server.client, child, mother, starter("begin", "asked", "mother"))
            await post(server, {"traceparent": PARENT})
            await happens(lambda: server.engine.committer.moves[-1, 1] == 2)
        queues = settings["connectors"][0] = MemoryConnector()  # the other was closed with its server
        async with running_server(store=SqliteStore(tmp_path / "some.db", "relaxed"), **settings) as server:
            assert await do_work(server) == PARENT
            await happens(lambda: bool(receiver.headers))
        assert receiver.headers[0]["traceparent"] == PARENT
        assert (await heard(queues))["traceparent"] == PARENT


async def test_a_worker_has_the_trace_and_takes_it_along_when_it_calls_back() -> None:
    queues = MemoryConnector()
    seen: list[tuple[str, str]] = []
    async with shouting(queues) as server:

        async def say(item: Item) -> dict[str, Any]:
            seen.append((item.traceparent, item.tracestate))
            async with AsyncClient(server.url) as client:
                await client.post_event("called.back", "/worker", {}, id="9")
            worker.stop()
            return {"said": "seven"}

        worker = Worker(server.url, {"say": say}, wait=50)
        await post(server, {"traceparent": PARENT, "tracestate": STATE})
        await worker.run()
        traces = {event.type: event.trace for event in await server.engine.events(SERVER)}
    assert seen == [(PARENT, STATE)]
    assert traces["called.back"] == f"{PARENT} {STATE}"
    assert worker._traces == {}


async def test_a_trace_goes_from_a_webhook_over_a_worker_to_a_queue(sqs_endpoint: str, sqs_client: Any, sqs_queue: str) -> None:
    async with running_server(sqs_endpoint=sqs_endpoint) as server:
        await define(server.client, through_sqs(sqs_queue), starter("begin", "asked", "shout"))

        async def say(item: Item) -> dict[str, str]:
            worker.stop()
            return {"said": "seven", "trace": item.traceparent}

        worker = Worker(server.url, {"say": say}, wait=50)
        async with Http(base_url=server.url) as http:
            headers = {"traceparent": PARENT, "tracestate": STATE}
            await http.post("/v1/hooks/asked", json={"number": 7}, headers=headers)
        await worker.run()
        message = await received(sqs_client, sqs_queue)
    attributes = {name: each["StringValue"] for name, each in message["MessageAttributes"].items()}
    assert (attributes["traceparent"], attributes["tracestate"]) == (PARENT, STATE)


async def received(sqs_client: Any, queue: str) -> Any:
    async def look() -> Any:
        try:
            url = (await sqs_client.get_queue_url(QueueName=queue))["QueueUrl"]
        except sqs_client.exceptions.QueueDoesNotExist:
            return None
        answer = await sqs_client.receive_message(QueueUrl=url, MessageAttributeNames=["All"], WaitTimeSeconds=1)
        return (answer.get("Messages") or [None])[0]

    return await happens(look)


# ---- collected


def collect(monkeypatch: pytest.MonkeyPatch, collector: Collector) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")


async def test_a_collector_gets_the_spans_with_their_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    queues = MemoryConnector()
    with collecting() as collector:
        collect(monkeypatch, collector)
        async with shouting(queues) as server:
            await post(server, {"traceparent": PARENT, "tracestate": STATE})
            given = await do_work(server)
            sent = await heard(queues)
            await happens(lambda: any(each.name == "deliver memory" for each in collector.spans))
        spans = collector.of(TRACE)

        def chain(span_id: str) -> list[str]:
            names = []
            while span_id != SPAN:
                names.append(spans[span_id].name)
                span_id = spans[span_id].parent_span_id.hex()
            return names

        def parents(name: str) -> list[str]:
            return chain(collector.named(TRACE, name).span_id.hex())

        ancestors = ["run shout", "event asked", "POST /v1/events"]
        assert parents("decide") == ["decide", "event asked", "POST /v1/events"]
        assert parents("hand out") == ["hand out", "step say", *ancestors]
        assert parents("report") == ["report", "step say", *ancestors]
        assert parents("deliver memory") == ["deliver memory", "step tell", *ancestors]
        # What was sent out hangs on the spans that say so.
        assert chain(given[36:52]) == ["step say", *ancestors]
        assert chain(sent["traceparent"][36:52]) == ["deliver memory", "step tell", *ancestors]
        assert sent["tracestate"] == STATE
        step = collector.named(TRACE, "step say")
        assert step.start_time_unix_nano <= step.end_time_unix_nano
        known = {each.key: each.value.string_value for each in step.attributes}
        assert (known["pelton.process"], known["pelton.status"]) == ("shout", "completed")
        assert {each[SERVICE_NAME] for each in collector.resources} == {"pelton"}


async def test_what_comes_without_a_trace_begins_one_where_traces_are_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    queues = MemoryConnector()
    with collecting() as collector:
        collect(monkeypatch, collector)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "orders")
        async with shouting(queues) as server:
            queues.put("asked", b'{"number": 7}')
            given = await do_work(server)
            trace = given[3:35]
            await happens(lambda: any(each.name == "deliver memory" for each in collector.of(trace).values()))
            async with Http(base_url=server.url) as http:
                assert (await http.get("/health")).status_code == 200
        event = collector.named(trace, "event memory:asked")
        assert event.parent_span_id == b""
        assert collector.named(trace, "run shout").parent_span_id == event.span_id
        assert not [each.name for each in collector.spans if "health" in each.name]
        assert {each[SERVICE_NAME] for each in collector.resources} == {"orders"}


async def test_what_is_not_sampled_is_passed_on_and_not_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    queues = MemoryConnector()
    with collecting() as collector:
        collect(monkeypatch, collector)
        async with shouting(queues) as server:
            await post(server, {"traceparent": PARENT[:-2] + "00"})
            given = await do_work(server)
            assert (given[3:35], given[53:]) == (TRACE, "00")
            await heard(queues)
        assert not collector.of(TRACE)


async def test_failures_and_outbound_requests_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_receiver() as receiver:
        call = {
            "name": "call", "taskReferenceName": "call", "type": "HTTP",
            "inputParameters": {
                "http_request": {"uri": receiver.url + "?secret=x", "method": "POST", "body": 500, "contentType": "text/plain"}
            },
        }  # fmt: skip
        here = f"{receiver.url.partition('//')[2].partition('/')[0]}"
        with collecting() as collector:
            collect(monkeypatch, collector)
            async with running_server(allow_outgoing=(here,)) as server:
                tasks = {"name": "calls", "version": 1, "schemaVersion": 2, "tasks": [call]}
                await define(server.client, tasks, {"name": "call", "retryCount": 0}, starter("begin", "asked", "calls"))
                await post(server, {"traceparent": PARENT})
                await happens(lambda: any(each.name == "run calls" for each in collector.spans))
            spans = collector.of(TRACE)
        sent = spans[receiver.headers[0]["traceparent"][36:52]]
        assert (sent.name, spans[sent.parent_span_id.hex()].name) == ("POST", "step call")
        assert "secret" not in str(sent.attributes)
        failed = {each.name for each in spans.values() if each.status.code == each.status.STATUS_CODE_ERROR}
        assert {"POST", "step call", "run calls"} <= failed


# ---- the settings


def test_the_environment_asks_or_does_not() -> None:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    assert otel.is_asked(endpoint)
    assert otel.is_asked({"OTEL_TRACES_EXPORTER": "console"})
    assert not otel.is_asked({})
    assert not otel.is_asked({"OTEL_SERVICE_NAME": "orders"})
    assert not otel.is_asked({**endpoint, "OTEL_SDK_DISABLED": "true"})
    assert not otel.is_asked({**endpoint, "OTEL_TRACES_EXPORTER": "none"})


async def test_an_exporter_that_there_is_not_ends_the_start_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "pigeons")
    with pytest.raises(StartFailed, match=r"pigeons.*OTEL_TRACES_EXPORTER=otlp"):
        async with running_server():
            pass


def test_without_the_extra_a_server_says_so_once_and_passes_traces_on(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare/sitecustomize.py").write_text("import sys\nsys.modules['opentelemetry.sdk'] = None\n")
    environment = {"PYTHONPATH": str(tmp_path / "bare"), "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    server = fresh(tmp_path / "data", "--log-level", "debug", environment=environment)
    try:
        with Client(server.address) as client:
            assert client.health().healthy
        said = [line for line in server.log if "pelton[otel]" in line]
        assert len(said) == 1
        asked = f"GET /v1/health HTTP/1.1\r\nHost: {server.address[7:]}\r\ntraceparent: {PARENT}\r\n\r\n"
        next_one = f"GET /v1/processes HTTP/1.1\r\nHost: {server.address[7:]}\r\nConnection: close\r\n\r\n"
        host, port = server.address[7:].split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall((asked + next_one).encode())
            while connection.recv(65536):
                pass
        lines = eventually(
            lambda: [json.loads(line) for line in server.log if '"path":"/v1/processes"' in line], "both are logged"
        )
        assert "trace" not in lines[0], "the one of the request before"
        (line,) = [json.loads(line) for line in server.log if '"path":"/v1/health"' in line and TRACE in line]
        assert line["trace"] == TRACE
    finally:
        assert server.stop() == 0


def test_a_collector_that_is_away_holds_up_neither_requests_nor_the_end(tmp_path: Path) -> None:
    server = fresh(tmp_path / "data", environment={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})
    try:
        with Client(server.address) as client:
            assert client.health().healthy
            client.post_event("some.type", "/test", {}, id="1")
    finally:
        assert server.stop() == 0
