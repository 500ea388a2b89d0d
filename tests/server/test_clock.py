"""A machine whose clock was a day ahead and has been put right: what waits for a time goes on, and the server says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.patience import eventually
from tests.server.running import WORKING, define, fresh, starter, wire_client

from pelton.client import Client

DAY = 86_400
BRIEF: dict[str, Any] = {
    "name": "brief",
    "version": 1,
    "schemaVersion": 2,
    "tasks": [{"name": "pause", "taskReferenceName": "pause_ref", "type": "WAIT", "inputParameters": {"duration": "1 seconds"}}],
}
SHORT = {"name": "step_one", "responseTimeoutSeconds": 1, "timeoutSeconds": 600, "retryCount": 3, "retryDelaySeconds": 0}


def test_timers_and_leases_go_on_after_a_clock_that_was_ahead(tmp_path: Path) -> None:
    process = fresh(tmp_path / "data", ahead=DAY)
    with Client(process.address) as client:
        client.request("POST", "/api/metadata/taskdefs", [SHORT])
        define(client, BRIEF, WORKING, starter("wait", "test:wait", "brief"), starter("work", "test:work", "working"))
    assert process.stop() == 0
    process = fresh(tmp_path / "data")
    try:
        with wire_client(process.address) as client:
            [first] = post(client, "1", "test:wait")
            run = first["effects"][0]["run"]
            eventually(lambda: client.run(run)["run"]["status"] == "COMPLETED", "the wait of a second ends")
            [second] = post(client, "2", "test:wait")
            times = [client.request("GET", f"/v1/events/{each['key']}")["received"] for each in (first, second)]
            assert times[0] < times[1]
            post(client, "3", "test:work")
            claim = {"worker": "w", "claim": {"queues": ["step_one"], "count": 1, "wait": 30_000}}
            [item] = client.request("POST", "/v1/work", claim, seconds=60)["items"]
            [again] = client.request("POST", "/v1/work", claim, seconds=60)["items"]
            assert again["run"] == item["run"]
            assert again["lease"] == 1_000
            clock = client.request("GET", "/health")["details"]["store"]["clock"]
            assert clock["ahead_ms"] > DAY * 900
        assert any("behind the time that the data has reached" in line for line in process.log)
    finally:
        assert process.stop() == 0


def post(client: Any, name: str, kind: str) -> list[Any]:
    event = {"specversion": "1.0", "id": name, "source": "/test", "type": kind, "data": {"number": 1}}
    found: list[Any] = client.post_events([event])["events"]
    return found
