"""/health is 200 only while the server can commit, and a server whose files are gone ends."""

from __future__ import annotations

import asyncio
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.patience import eventually
from tests.server.running import WORKING, fresh
from tests.server.test_running_server import define

from pelton.client import AsyncClient, Client, RequestRefused
from pelton.models import ClaimIn
from pelton.store.sqlite import store as module
from pelton.store.sqlite.store import SqliteStore
from pelton.testing import running_server


async def test_a_full_disk_makes_health_503_and_no_work_is_handed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK", 3_600.0)  # only callers try to write
    store = SqliteStore(tmp_path / "pelton.db")
    async with running_server(store=store) as server:
        send, full = store._link.send, False
        under_way: set[asyncio.Future[list[Any]]] = set()

        async def failed(before: list[asyncio.Future[list[Any]]]) -> list[Any]:
            await asyncio.gather(*before, return_exceptions=True)  # answers come in the order of their questions
            return [0, None, "FullError: database or disk is full", False]

        def answer(*batch: Any) -> asyncio.Future[list[Any]]:
            sent = asyncio.ensure_future(failed(list(under_way))) if full else send(*batch)
            under_way.add(sent)
            sent.add_done_callback(under_way.discard)
            return sent

        monkeypatch.setattr(store._link, "send", answer)
        await define(server.client, WORKING)
        await server.client.request("POST", "/api/workflow/working", {"number": 1}, content_type="application/json")
        full = True
        with pytest.raises(RequestRefused, match="could not") as refused:
            await server.client.request(
                "POST", "/v1/work", {"worker": "w", "claim": {"queues": ["step_one"], "count": 1, "wait": 0}}
            )
        assert refused.value.status == 503
        with pytest.raises(RequestRefused) as unhealthy:
            await server.client.request("GET", "/health")
        assert unhealthy.value.status == 503
        found = (await server.store.health())["unhealthy"]
        assert found == "the last commit failed: FullError: database or disk is full"
        for method, path, body in (
            ("POST", "/v1/events", {"specversion": "1.0", "id": "1", "source": "s", "type": "t"}),
            ("POST", "/api/workflow/working", {}),
            ("POST", "/api/metadata/taskdefs", [{"name": "t"}]),
            ("GET", "/api/tasks/poll/batch/step_one", None),
            ("GET", "/api/workflow/nothing", None),
        ):
            with pytest.raises(RequestRefused) as told:
                await server.client.request(method, path, body, content_type="application/json")
            text = str(told.value.problem)
            assert str(tmp_path) not in text
            assert "pelton.db" not in text
            assert socket.gethostname() not in text
            assert "disk" not in text
        full = False
        (item,) = (await server.client.work("me", claim=ClaimIn(["step_one"], 1, 30_000))).items
        assert item.input["number"] == 1
        assert (await server.client.health()).healthy


async def test_where_the_data_are_is_shown_only_to_callers_with_a_key(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "pelton.db")
    path, key = str(tmp_path / "pelton.db"), "correct-horse-battery"
    async with running_server(store=store, api_keys=(key,)) as server:

        async def shown(address: str, given: str) -> dict[str, Any]:
            async with AsyncClient(server.url, key=given) as client:
                return dict(await client.request("GET", address))

        for address in ("/health", "/api/health"):
            assert (await shown(address, key))["details"]["store"]["path"] == path
            for without in ("", "another-key-that-is-wrong"):
                found = await shown(address, without)
                assert found["healthy"]
                assert found["details"]["store"]["store"] == "sqlite"
                assert str(tmp_path) not in str(found)
        assert (await server.client.health()).details["store"]["path"] == path
        # nor in the reasons
        store._unwritten = f"{path}-wal could not be written"
        told = (await store.health())["unhealthy"]
        assert path in told
        with pytest.raises(RequestRefused) as refused:
            await shown("/health", "")
        assert refused.value.status == 503
        assert "could not be written" in str(refused.value.problem)
        assert str(tmp_path) not in str(refused.value.problem)
        store._unwritten = ""


async def test_without_keys_every_caller_is_shown_where_the_data_are(tmp_path: Path) -> None:
    async with running_server(store=SqliteStore(tmp_path / "pelton.db")) as server:
        assert (await server.client.request("GET", "/health"))["details"]["store"]["path"] == str(tmp_path / "pelton.db")


def test_a_server_whose_data_is_gone_ends_and_says_why(tmp_path: Path) -> None:
    process = fresh(tmp_path / "data")
    with Client(process.address) as client:
        assert client.health().healthy
        shutil.rmtree(tmp_path / "data")
        eventually(lambda: process._process.poll() is not None, "it ends")
    assert process.stop() == 4
    assert any("deleted or moved away" in line for line in process.log)
