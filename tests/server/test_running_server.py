"""The server that runs in a test's own loop, as tests of programs that are built on Pelton use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.patience import happens
from tests.server.running import starter

from pelton.cli.apply import detect
from pelton.client import AsyncClient, RequestRefused
from pelton.models import ClaimIn, ReportIn
from pelton.runtime.caller import SERVER
from pelton.server.config import ConfigError
from pelton.store.port import StoreFailed
from pelton.store.sqlite.store import SqliteStore
from pelton.testing import MemoryConnector, MemoryStore, VirtualClock, running_server, settle

SHOUT = {
    "name": "shout",
    "version": 1,
    "schemaVersion": 2,
    "tasks": [
        {"name": "say", "taskReferenceName": "say", "type": "SIMPLE", "inputParameters": {"number": "${workflow.input.number}"}},
        {
            "name": "tell", "taskReferenceName": "tell", "type": "EVENT", "sink": "memory:heard",
            "inputParameters": {"said": "${say.output.said}"},
        },
    ],
}  # fmt: skip
PAUSE = {
    "name": "pause",
    "version": 1,
    "schemaVersion": 2,
    "tasks": [{"name": "w", "taskReferenceName": "w", "type": "WAIT", "inputParameters": {"duration": "1 hours"}}],
}


async def define(client: AsyncClient, *documents: Any) -> None:
    for document in documents:
        method, path, body = detect(document, "test").requests[0]
        await client.request(method, path, body, content_type="application/json")


async def test_a_message_goes_through_a_run_and_its_work_to_another_queue() -> None:
    queues = MemoryConnector()
    async with running_server(connectors=[queues]) as server:
        assert (await server.client.health()).healthy
        await define(server.client, SHOUT, starter("begin", "memory:asked", "shout"))
        queues.put("asked", b'{"number": 7}')
        (item,) = (await server.client.work("me", claim=ClaimIn(["say"], 1, 30_000))).items
        assert item.input["number"] == 7
        await server.client.work("me", reports=[ReportIn(item.id, output={"said": "seven"})])
        await happens(lambda: bool(queues.sent["heard"]))
        assert b"seven" in queues.sent["heard"][0].body
        await happens(lambda: not queues.waiting("asked"))
        assert len(await server.engine.events(SERVER)) == 1


async def test_a_store_outlives_the_servers_on_it() -> None:
    store = MemoryStore()
    for place in (1, 2):
        async with running_server(store=store) as server:
            await server.client.post_event("thing.happened", "/test", {"n": place}, id=str(place))
            assert len(await server.engine.events(SERVER)) == place
            assert server.store is store
            with pytest.raises(StoreFailed, match="already open"):
                await store.open()


async def test_hours_pass_when_the_test_says_so() -> None:
    clock = VirtualClock()
    async with running_server(store=MemoryStore(clock=clock), clock=clock) as server:
        await define(server.client, PAUSE)
        run = await server.client.request("POST", "/api/workflow/pause", {}, content_type="application/json")
        (found,) = (await server.client.runs(live=True)).runs
        assert found.process == "pause"
        await clock.advance(3_590_000)
        assert len((await server.client.runs(live=True)).runs) == 1
        await clock.advance(20_000)

        async def over() -> bool:
            await clock.advance(1)
            return not (await server.client.runs(live=True)).runs

        await happens(over)
        assert isinstance(run, str)


async def test_languages_settings_and_store_are_chosen(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "some.db", "relaxed")
    async with running_server(store=store, languages=["lusid"], api_keys=("0123456789abcdef",)) as server:
        await server.client.post_event("thing.happened", "/test", {}, id="1")
        with pytest.raises(RequestRefused):
            await define(server.client, PAUSE)
        async with AsyncClient(server.url) as stranger:
            with pytest.raises(RequestRefused):
                await stranger.runs()
    assert (tmp_path / "some.db").exists()
    with pytest.raises(ConfigError, match="at least 16"):
        async with running_server(api_keys=("short",)):
            pass


async def test_a_clock_rings_what_is_due_and_not_what_was_taken_back() -> None:
    clock, rung = VirtualClock(100), list[int]()
    first = clock.call_at(110, lambda: rung.append(clock.now()))
    clock.call_at(120, lambda: rung.append(clock.now()))
    clock.call_at(90, lambda: rung.append(clock.now()))
    first.cancel()
    assert clock.alarms == 2
    await settle()
    assert rung == []
    clock.ring()
    assert rung == [100]
    await clock.advance(50)
    assert (rung, clock.now(), clock()) == ([100, 120], 150, 150)


async def test_what_is_over_goes_and_health_and_metrics_tell_how_much() -> None:
    clock = VirtualClock()
    async with running_server(clock=clock, store=MemoryStore(clock=clock), keep_runs="30d", keep_events="1") as server:
        await define(server.client, PAUSE)
        for name in ("one", "two", "three"):
            await server.client.post_event("some.type", id=name, source="test")
        await clock.advance(2_000)
        listed = await server.client.events()
        assert [event.id for event in listed.events] == ["three"]
        again = await server.client.post_event("some.type", id="one", source="test")
        assert again.outcome == "duplicate"
        with pytest.raises(RequestRefused, match="no longer kept"):
            await server.client.request("GET", "/v1/events/one?source=test")
        retention = (await server.client.health()).details["retention"]
        assert (retention["removed"]["events"], retention["kept"]["events"], retention["keep"]["runs"]) == (2, 1, "30d")
        page = await server.client.request("GET", "/metrics")
        assert 'pelton_retention_removed_total{kind="events"} 2.0' in str(page)


async def test_a_limit_that_cannot_be_read_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match=r"--keep-runs.*neither an age nor a number"):
        async with running_server(keep_runs="a while"):
            pass


async def test_runs_are_listed_by_status_and_a_status_that_no_run_has_is_refused() -> None:
    async with running_server() as server:
        await define(server.client, PAUSE, starter("begin", "some.type", "pause"))
        for name in ("one", "two"):
            await server.client.post_event("some.type", id=name, source="test")
        first, second = [run.id for run in (await server.client.runs()).runs]
        await server.client.request("PUT", f"/api/workflow/{first}/pause")
        assert [run.id for run in (await server.client.runs(status="paused")).runs] == [first]
        assert [run.id for run in (await server.client.runs(status="RUNNING")).runs] == [second]
        assert (await server.client.runs(variables={"anything": {"a": 1}})).runs == []
        with pytest.raises(RequestRefused, match="no run has this status"):
            await server.client.runs(status="lost")
        with pytest.raises(RequestRefused, match="NAME=VALUE"):
            await server.client.request("GET", "/v1/runs?variable=x")
