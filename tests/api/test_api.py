"""The native API of a real server: events, explanations, runs, work, and errors in its own dialect."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

import pytest
from msgspec import msgpack
from tests.patience import PATIENCE
from tests.server.running import WAITING, WORKING, define, server, starter, wire, wire_client

from pelton.cli.process import ServerProcess
from pelton.client import RequestRefused

__all__ = ["server", "wire"]  # fixtures


def raw(server: ServerProcess, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(server.address)
    assert parts.hostname
    connection = HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE)
    connection.request(method, path, body or None, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    connection.close()
    return found


def problem(caught: pytest.ExceptionInfo[RequestRefused]) -> tuple[int, str, str]:
    return caught.value.status, caught.value.code, caught.value.field


# ---- events


def test_an_event_nobody_wants_is_kept_all_the_same(wire: Any) -> None:
    answer = wire.post_event("lonely:type", "/s", {"a": [1, None, "ü"]}, id="n1", subject="sub", attributes={"ext": 5})
    assert (answer["outcome"], answer["state"]) == ("accepted", "unmatched")
    event = wire.event(answer["key"])
    assert (event["data"], event["subject"], event["attributes"]) == ({"a": [1, None, "ü"]}, "sub", {"ext": 5})
    assert wire.event("n1", "/s") == event


def test_a_repeat_is_answered_with_the_first_outcome_and_other_content_with_409(wire: Any) -> None:
    define(wire, WAITING, starter("repeat_starter", "test:repeat", "waiting"))
    first = wire.post_event("test:repeat", "/s", {"number": 1}, id="r1")
    again = wire.post_event("test:repeat", "/s", {"number": 1}, id="r1")
    assert first["effects"][0]["outcome"] == "started"
    assert again == {**first, "outcome": "duplicate"}
    with pytest.raises(RequestRefused) as caught:
        wire.post_event("test:repeat", "/s", {"number": 2}, id="r1")
    assert problem(caught) == (409, "conflict", "id")
    assert wire.post_event("test:repeat", "/other", {"number": 1}, id="r1")["outcome"] == "accepted"


def test_many_posts_of_one_event_at_once_cause_one_run(wire: Any, server: ServerProcess) -> None:
    define(wire, WAITING, starter("once_starter", "test:once", "waiting"))
    answers: list[Any] = []

    def post() -> None:
        with wire_client(server.address) as own:
            answers.append(own.post_event("test:once", "/s", {"number": 1}, id="once"))

    threads = [threading.Thread(target=post) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(answer["outcome"] for answer in answers) == ["accepted", *["duplicate"] * 11]
    assert {answer["effects"][0]["run"] for answer in answers} == {answers[0]["effects"][0]["run"]}


def test_a_batch_is_answered_one_by_one(wire: Any) -> None:
    batch = [{"id": f"b{number}", "source": "/b", "type": "batch:type", "data": number} for number in range(20)]
    results = wire.post_events(batch)["events"]
    assert [result["id"] for result in results] == [event["id"] for event in batch]
    results = wire.post_events([*batch[:2], {**batch[2], "data": "other"}, {"id": "b99", "source": "/b", "type": "batch:type"}])
    assert [result["outcome"] for result in results["events"]] == ["duplicate", "duplicate", "conflict", "accepted"]
    assert wire.post_events([]) == {"events": []}


def test_the_same_event_twice_in_a_batch_counts_once(wire: Any) -> None:
    event = {"id": "twin", "source": "/b", "type": "batch:type", "data": 1}
    assert [result["outcome"] for result in wire.post_events([event, event])["events"]] == ["accepted", "duplicate"]


def test_a_batch_with_one_bad_event_changes_nothing(wire: Any) -> None:
    good = {"id": "bad-batch", "source": "/b", "type": "batch:type"}
    with pytest.raises(RequestRefused) as caught:
        wire.post_events([good, {**good, "type": ""}])
    assert problem(caught) == (400, "invalid", "[1].type")
    with pytest.raises(RequestRefused) as caught:
        wire.event("bad-batch", "/b")
    assert caught.value.status == 404


def test_binary_mode(server: ServerProcess, wire: Any) -> None:
    headers = {
        "ce_specversion": "1.0",
        "ce_id": "bin1",
        "ce_source": "/bin",
        "ce_type": "binary:type",
        "Content_Type": "application/json",
    }
    status, answered, _ = raw(server, "POST", "/v1/events", b'{"x": 1}', **headers)
    assert status == 201
    assert wire.request("GET", answered["location"])["data"] == {"x": 1}


def test_pages_go_both_ways(wire: Any) -> None:
    keys = [each["key"] for each in wire.post_events([{"source": "/p", "type": "page:type"} for _ in range(7)])["events"]]
    newest = [each["key"] for each in wire.events(type="page:type", limit=3)["events"]]
    assert newest == keys[:3:-1]
    older = [each["key"] for each in wire.events(type="page:type", limit=3, before=newest[-1])["events"]]
    assert older == keys[3:0:-1]
    page = wire.events(type="page:type", after=keys[1], limit=3)
    assert [each["key"] for each in page["events"]] == keys[2:5]
    assert page["after"] == keys[4]
    assert wire.events(type="page:type", state="failed")["events"] == []


@pytest.mark.parametrize(
    ("path", "status", "field"),
    [
        ("/v1/events?limit=0", 400, "limit"),
        ("/v1/events?limit=x", 400, "limit"),
        ("/v1/events?after=nonsense", 400, "after"),
        ("/v1/events?state=odd", 400, "state"),
        ("/v1/events/nonsense", 404, "key"),
        ("/v1/events/00000000-0000-0000-0000-000000000000", 404, "key"),
        ("/v1/runs/nonsense", 404, "id"),
        ("/v1/runs/00000000-0000-0000-0000-000000000000/steps", 404, "id"),
        ("/v1/nothing", 404, ""),
    ],
)
def test_what_cannot_be_is_a_problem(wire: Any, path: str, status: int, field: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        wire.request("GET", path)
    assert (caught.value.status, caught.value.field) == (status, field)
    assert caught.value.problem["type"].startswith("urn:pelton:problem:")
    assert caught.value.problem["status"] == status


def test_a_long_poll_is_answered_by_the_next_event(server: ServerProcess, wire: Any) -> None:
    after = wire.post_event("follow:type", "/f")["key"]
    found: list[Any] = []

    def follow() -> None:
        with wire_client(server.address) as own:
            found.append(own.events(type="follow:type", after=after, wait=20_000))

    thread = threading.Thread(target=follow)
    thread.start()
    key = wire.post_event("follow:type", "/f", {"n": 2})["key"]
    thread.join(PATIENCE)
    assert [event["key"] for event in found[0]["events"]] == [key]


def test_a_stream_goes_on(server: ServerProcess, wire: Any) -> None:
    parts = urlsplit(server.address)
    assert parts.hostname
    with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE) as stream, stream.makefile("rb") as lines:
        stream.sendall(b"GET /v1/events?type=stream:type HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
        assert lines.readline().startswith(b"HTTP/1.1 200")
        while not lines.readline().startswith(b": following"):
            pass
        keys = [wire.post_event("stream:type", "/f", number)["key"] for number in range(3)]
        seen: list[str] = []
        while len(seen) < 3:
            line = lines.readline()
            assert line
            if line.startswith(b"data: "):
                seen.append(json.loads(line[6:])["key"])
    assert seen == keys


# ---- explanations


def test_explain_shows_what_was_seen(wire: Any) -> None:
    define(wire, WAITING, starter("small_starter", "test:explain", "waiting", "$.number > 10"))
    answer = wire.post_event("test:explain", "/s", {"number": 3})
    [decision] = [each for each in wire.explain(answer["key"])["decisions"] if each["handler"] == "small_starter"]
    assert decision["verdict"] == "false"
    assert "3" in json.dumps(decision["trace"])
    define(wire, starter("late_starter", "test:explain", "waiting"))
    assert wire.decision(answer["key"], "late_starter")["verdict"] != "type differs"
    assert wire.decision(answer["key"], "small_starter") == decision
    with pytest.raises(RequestRefused) as caught:
        wire.decision(answer["key"], "no such handler")
    assert caught.value.status == 404


# ---- runs


def test_a_run_can_be_read(wire: Any) -> None:
    define(wire, WAITING, starter("read_starter", "test:read", "waiting"))
    run = wire.post_event("test:read", "/s", {"number": 7})["effects"][0]["run"]
    detail = wire.run(run)
    assert (detail["run"]["process"], detail["run"]["version"], detail["run"]["status"]) == ("waiting", 1, "RUNNING")
    assert detail["input"]["number"] == 7
    [step] = wire.steps(run)["steps"]
    assert (step["slot"], step["status"], step["waits_for"]) == ("pause_ref", "OPEN", "WAIT")
    assert wire.runs(process="waiting", limit=1)["runs"][0]["id"] == run
    assert all(each["status"] != "COMPLETED" for each in wire.runs(process="waiting", live=True)["runs"])
    assert wire.runs(process="no such process")["runs"] == []


# ---- work


def exchange(wire: Any, packed: bool = False, **body: Any) -> Any:
    body = {"worker": "tester", **body}
    if packed:
        answer = raw_exchange(wire, msgpack.encode(body))
        return msgpack.decode(answer)
    return wire.request("POST", "/v1/work", json.dumps(body).encode(), seconds=PATIENCE)


def raw_exchange(wire: Any, body: bytes) -> bytes:
    parts = urlsplit(wire.url)
    assert parts.hostname
    connection = HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE)
    connection.request("POST", "/v1/work", body, {"Content-Type": "application/msgpack"})
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/msgpack"
    found = answer.read()
    connection.close()
    return found


NESTED: Any = 1
for _ in range(300):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ({None: 1}, "keys must be texts"),
        ({"a": [{7: 1}]}, "keys must be texts"),
        ({b"k": 1}, "keys must be texts"),
        (msgpack.Ext(7, b"x"), "a type that JSON does not have"),
        ({"a": [msgpack.Ext(7, b"x")]}, "a type that JSON does not have"),
        ({"when": datetime(2026, 1, 1, tzinfo=UTC)}, "a type that JSON does not have"),
        ({"n": float("nan")}, "JSON cannot say"),
        (NESTED, "nested deeper than 200"),
    ],
)
@pytest.mark.parametrize("door", ["output", "content", "checkpoint"])
def test_msgpack_says_no_more_than_json_can(server: ServerProcess, output: Any, said: str, door: str) -> None:
    if door == "checkpoint":
        method, path, body = "PUT", "/v1/work/1-1/checkpoints/0", {"attempt": 1, "value": output}
    else:
        failure = {"failure": {"name": "f", "kind": "business", "message": "", "content": output}}
        report = {"id": "1-1", "attempt": 1, "status": "FAILED", **({"output": output} if door == "output" else failure)}
        method, path, body = "POST", "/v1/work", {"worker": "w", "reports": [report]}
    status, _, text = raw(server, method, path, msgpack.encode(body), content_type="application/msgpack")
    assert (status, said in text.decode()) == (400, True), text


def test_bytes_in_msgpack_are_base64_as_they_are_in_json(wire: Any) -> None:
    task = {"name": "step_bytes", "taskReferenceName": "bytes_ref", "type": "SIMPLE"}
    define(wire, {**WORKING, "name": "bytes", "tasks": [task]}, starter("bytes_starter", "test:bytes", "bytes"))
    wire.post_event("test:bytes", "/s", {"number": 7})
    [item] = exchange(wire, True, claim={"queues": ["step_bytes"], "count": 1, "wait": 1_000})["items"]
    report = {
        "id": item["id"],
        "attempt": item["attempt"],
        "status": "COMPLETED",
        "output": {"b": b"ab", "l": [b"c", {"d": b""}]},
    }
    assert exchange(wire, True, reports=[report])["results"][0]["ok"]
    steps = wire.steps(item["run"])["steps"]
    assert next(step for step in steps if step["slot"] == "bytes_ref")["output"] == {"b": "YWI=", "l": ["Yw==", {"d": ""}]}


@pytest.mark.parametrize("packed", [False, True])
def test_work_goes_out_and_comes_back(wire: Any, packed: bool) -> None:
    define(wire, WORKING, starter("work_starter", "test:work", "working"))
    run = wire.post_event("test:work", "/s", {"number": 11})["effects"][0]["run"]
    for name in ("one", "two", "three"):
        answer = exchange(wire, packed, claim={"queues": [f"step_{name}"], "count": 5, "wait": 5000})
        [item] = answer["items"]
        assert (item["queue"], item["run"], item["process"], item["slot"]) == (f"step_{name}", run, "working", f"{name}_ref")
        assert item["input"] == {"number": 11}
        report = {"id": item["id"], "attempt": item["attempt"], "output": {"number": 12}}
        assert exchange(wire, packed, reports=[report])["results"] == [{"ok": True}]
        [late] = exchange(wire, packed, reports=[report])["results"]
        assert late["ok"] is True or late["code"]  # said again: nothing happens, and nobody is told to do it once more
    detail = wire.run(run)
    assert (detail["run"]["status"], detail["output"]) == ("COMPLETED", {"number": 12})


def test_what_a_step_failed_with_is_shown(wire: Any) -> None:
    tasks = [
        {"name": f"step_{name}", "taskReferenceName": name, "type": "SIMPLE", "optional": name == "spare", "retryCount": 0}
        for name in ("spare", "last")
    ]
    define(
        wire,
        {**WORKING, "name": "failing", "tasks": tasks, "outputParameters": {}},
        starter("failing", "test:failing", "failing"),
    )
    run = wire.post_event("test:failing", "/s", {"number": 1})["effects"][0]["run"]
    failure = {"name": "poor", "kind": "business", "message": "none left", "content": {"missing": 2}, "retriable": False}
    for name in ("spare", "last"):
        [item] = exchange(wire, claim={"queues": [f"step_{name}"], "count": 1, "wait": 5000})["items"]
        exchange(wire, reports=[{"id": item["id"], "attempt": item["attempt"], "status": "FAILED_FOR_GOOD", "failure": failure}])
    spare, last = wire.steps(run)["steps"]
    shown = {"name": "poor", "kind": "business", "content": {"missing": 2}}
    assert (spare["status"], spare["failure"]) == ("COMPLETED_WITH_ERRORS", {**shown, "handled": True})
    assert (last["status"], last["failure"]) == ("FAILED_FOR_GOOD", shown)
    assert wire.run(run)["failure"] == shown


def test_reports_that_make_no_sense(wire: Any) -> None:
    answer = exchange(wire, reports=[{"id": "no id"}, {"id": "00000000-0000-0000-0000-000000000000-1"}])
    assert [result["code"] for result in answer["results"]] == ["no step", "no step"]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"reports": [{"id": "x", "status": "ODD"}]}, "reports[0].status"),
        ({"claim": {"queues": []}}, "claim.queues"),
        ({"claim": {"queues": ["q"], "count": 0}}, "claim.count"),
        ({"claim": {"queues": ["q"], "wait": 60_001}}, "claim.wait"),
        ({"report": []}, ""),
    ]
    for body, field in cases:
        with pytest.raises(RequestRefused) as caught:
            exchange(wire, **body)
        assert (caught.value.status, caught.value.field) == (400, field)


def test_a_poller_that_hangs_up_takes_no_work_with_it(server: ServerProcess, wire: Any) -> None:
    define(wire, WORKING, starter("gone_starter", "test:gone", "working"))
    exchange(wire, claim={"queues": ["step_one"], "count": 100})  # empties the queue
    parts = urlsplit(server.address)
    assert parts.hostname
    body = json.dumps({"worker": "gone", "claim": {"queues": ["step_one"], "count": 1, "wait": 30_000}}).encode()
    with socket.create_connection((parts.hostname, parts.port)) as poller:
        poller.sendall(b"POST /v1/work HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    run = wire.post_event("test:gone", "/s", {"number": 1})["effects"][0]["run"]
    [item] = exchange(wire, claim={"queues": ["step_one"], "count": 1, "wait": 10_000})["items"]
    assert item["run"] == run


def in_answer_to(wire: Any, *items: Any, count: int = 0, queue: str = "step_lost", worker: str = "lossy") -> Any:
    """Reports that these items are done, and asks for more."""
    reports = [{"id": item["id"], "attempt": item["attempt"], "output": {"number": 1}} for item in items]
    return exchange(wire, worker=worker, reports=reports, claim={"queues": [queue], "count": count} if count else None)


def started(wire: Any, queue: str, runs: int, tasks: int = 1) -> None:
    """So many runs whose tasks, one after another, are offered to a queue of their own."""
    work = [{"name": queue, "taskReferenceName": f"{queue}{n}", "type": "SIMPLE"} for n in range(tasks)]
    define(wire, {**WORKING, "name": queue, "tasks": work, "outputParameters": {}}, starter(queue, f"test:{queue}", queue))
    for number in range(runs):
        wire.post_event(f"test:{queue}", "/s", {"number": number}, id=f"{queue}-{number}")


def test_a_report_whose_answer_was_lost_gets_the_same_answer_again(wire: Any) -> None:
    started(wire, "step_lost", 1, tasks=3)
    [first] = exchange(wire, worker="lossy", claim={"queues": ["step_lost"], "count": 1})["items"]
    lost = in_answer_to(wire, first, count=1)
    assert lost["results"] == [{"ok": True}]
    assert len(lost["items"]) == 1
    for _ in range(2):
        assert in_answer_to(wire, first, count=1) == lost
    after = in_answer_to(wire, *lost["items"], count=1)
    assert [item["slot"] for item in after["items"]] == ["step_lost2"]
    assert in_answer_to(wire, first, count=1) == {"results": [{"ok": True}], "items": []}  # what it was given then is over


def test_many_reports_whose_answer_was_lost_get_the_same_answer_again(wire: Any) -> None:
    started(wire, "step_many_lost", 12)
    asked: Any = {"queue": "step_many_lost", "count": 4}
    done = exchange(wire, worker="lossy", claim={"queues": ["step_many_lost"], "count": 4})["items"]
    lost = in_answer_to(wire, *done, **asked)
    assert len(lost["items"]) == 4
    assert in_answer_to(wire, *done, **asked) == lost
    assert in_answer_to(wire, *done[2:], **asked) == {"results": [{"ok": True}] * 2, "items": lost["items"]}
    exchange(wire, worker="lossy", reports=[{"id": lost["items"][0]["id"], "status": "WORKING"}])
    assert in_answer_to(wire, *done, **asked)["items"] == lost["items"][1:]  # a sign of life: the worker has that one
    assert len(exchange(wire, worker="other", claim={"queues": ["step_many_lost"], "count": 100})["items"]) == 4


def test_a_lost_answer_is_for_the_worker_that_reported_and_for_nobody_who_comes_later(wire: Any) -> None:
    started(wire, "step_whose", 3)
    asked: Any = {"queue": "step_whose", "count": 1}
    [first] = exchange(wire, worker="lossy", claim={"queues": ["step_whose"], "count": 1})["items"]
    lost = in_answer_to(wire, first, **asked)
    other = in_answer_to(wire, first, worker="other", **asked)
    assert other["items"][0]["id"] != lost["items"][0]["id"]
    assert other["results"][0]["code"] == "ended"
    assert in_answer_to(wire, first, worker="other", **asked) == other
    assert in_answer_to(wire, first, **asked) == lost


def test_items_of_a_lost_answer_are_free_when_the_worker_only_repeats_its_report(wire: Any) -> None:
    started(wire, "step_stops", 2)
    [first] = exchange(wire, worker="lossy", claim={"queues": ["step_stops"], "count": 1})["items"]
    [lost] = in_answer_to(wire, first, queue="step_stops", count=1)["items"]
    assert in_answer_to(wire, first) == {"results": [{"ok": True}], "items": []}  # it is stopping, and asks for nothing
    [item] = exchange(wire, worker="other", claim={"queues": ["step_stops"], "count": 1, "wait": 10_000})["items"]
    assert (item["id"], item["polls"]) == (lost["id"], 2)


# ---- the rest


def test_dead_letters_and_held_are_empty_at_first(wire: Any) -> None:
    assert wire.dead_letters() == {"dead_letters": [], "after": 0}
    assert wire.held() == {"held": [], "after": ""}
    with pytest.raises(RequestRefused) as caught:
        wire.redeliver(5)
    assert caught.value.status == 404


def test_health_and_metrics(wire: Any) -> None:
    for path in ("/health", "/api/health"):
        found = wire.request("GET", path)
        assert found["healthy"] is True
        assert found["healthResults"] == []
    assert wire.request("GET", "/v1/health")["healthy"] is True
    page = wire.request("GET", "/metrics")
    assert 'pelton_http_request_duration_seconds_count{method="GET",route="/v1/health",status="2xx"}' in page
    assert "pelton_process_resident_memory_bytes" in page


def test_a_request_has_an_id(server: ServerProcess) -> None:
    _, headers, _ = raw(server, "GET", "/health")
    assert headers["x-request-id"]
    _, headers, _ = raw(server, "GET", "/health", X_Request_Id="mine-1")
    assert headers["x-request-id"] == "mine-1"
    _, headers, _ = raw(server, "GET", "/health", X_Request_Id="not plain")
    assert headers["x-request-id"] != "not plain"


def test_bodies_are_bounded(server: ServerProcess) -> None:
    """By what the sender declares, and by what it sends without declaring."""
    parts = urlsplit(server.address)
    assert parts.hostname
    head = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    declared = head + b"Content-Length: 5000000\r\n\r\n "
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    for sent in (declared, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 65):
        with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE) as connection:
            # The server answers and closes while the rest is on its way, so sending may be cut off.
            with suppress(ConnectionError):
                connection.sendall(sent)
            answer = HTTPResponse(connection)
            answer.begin()
            assert answer.status == 413
            assert b'"code":"too large"' in answer.read()


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/v1/events"), ("PUT", "/v1/work"), ("PATCH", "/v1/work")])
def test_other_methods_are_named(server: ServerProcess, method: str, path: str) -> None:
    status, headers, _ = raw(server, method, path)
    assert status == 405
    assert headers["allow"]


def test_a_page_from_elsewhere_gets_nothing(server: ServerProcess) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
        status, _, body = raw(server, "GET", "/v1/events", b"", **headers)
        assert status == 403
        assert json.loads(body)["remedy"]
