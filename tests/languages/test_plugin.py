"""A third language: installed beside Pelton as a package with an entry point, and nothing else is edited."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.languages import tiny
from tests.patience import eventually
from tests.server.running import wire_client

from pelton.cli.process import ServerProcess
from pelton.languages import plugin
from pelton.runtime.caller import SERVER, server_in
from pelton.runtime.engine import LocalEngine
from pelton.server.lifecycle import StartFailed
from pelton.store.sqlite.store import SqliteStore
from pelton.testing.server import running_server
from pelton.transport.grpc.service import call

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder for the import path, in which the tiny language is installed as a package is."""
    folder = tmp_path / "site"
    made = folder / "tiny_language-1.0.dist-info"
    made.mkdir(parents=True)
    (made / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-language\nVersion: 1.0\n")
    (made / "entry_points.txt").write_text("[pelton.languages]\ntiny = tests.languages.tiny:PLUGIN\n")
    return folder


@pytest.fixture
def server(tmp_path: Path, installed: Path) -> Iterator[ServerProcess]:
    path = os.pathsep.join(map(str, (installed, ROOT)))
    process = ServerProcess(tmp_path / "data", environment={"PYTHONPATH": path})
    process.wait_ready()
    yield process
    assert process.stop() == 0, "\n".join(process.log)


def test_a_server_serves_it_beside_the_others(server: ServerProcess, installed: Path, tmp_path: Path) -> None:
    """Applied from a file, started over HTTP and by an event of its handler, worked at by any worker, told to its own sink."""
    (tmp_path / "pack.json").write_text(
        '[{"tiny": "pack", "queue": "packing"}, {"tiny": "on_order", "on": "order", "starts": "pack"}]'
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (installed, ROOT))), "PELTON_SERVER": server.address}
    applied = subprocess.run(
        [sys.executable, "-m", "pelton.cli", "apply", str(tmp_path / "pack.json")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert applied.returncode == 0, applied.stderr
    assert "tiny definition pack" in applied.stdout
    with wire_client(server.address) as client:
        run = client.request("POST", "/tiny/pack", {})["run"]
        accepted = client.post_event("order", "/shop", {"n": 1})
        assert [effect["outcome"] for effect in accepted["effects"]] == ["started"]
        assert client.run(accepted["effects"][0]["run"])["input"] == {"said": {"n": 1}}
        items = client.request("POST", "/v1/work", {"worker": "w", "claim": {"queues": ["packing"], "count": 2, "wait": 10_000}})
        reports = [{"id": item["id"]} for item in items["items"]]
        client.request("POST", "/v1/work", {"worker": "w", "reports": reports})
        eventually(lambda: len(client.request("GET", "/tiny/received")) == len(reports), "its sink is told")
        assert client.run(run)["run"]["process"] == "pack"
        assert client.request("GET", "/api/metadata/workflow") == []


async def test_it_is_called_without_http_too(tmp_path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(installed))
    found = {each.name: each for each in plugin.plugins()}
    assert list(found) == ["conductor", "lusid", "tiny"]
    store = SqliteStore(tmp_path / "pelton.db", "relaxed")
    await store.open()
    engine = LocalEngine(store)
    port: Any = None  # the language does not go out
    offer = plugin.install(found["tiny"], plugin.Host(engine=engine, http=port), engine.add_local)
    await engine.open()
    try:
        acme = server_in("acme")
        await engine.define(acme, "process", "tiny", "pack", 1, b'{"queue": "packing"}')
        [service] = offer.services
        started = await call(service, "Start", acme, {"name": "pack"})
        assert started.status == "OK"
        assert engine.codec.parse_run_id(started.message["run"]) is not None
        elsewhere = await call(service, "Start", SERVER, {"name": "pack"})
        assert elsewhere.status == "NOT_FOUND", "it is defined in another namespace"
        assert (await call(service, "Stop", acme, {})).status == "UNIMPLEMENTED"
        broken = await call(service, "Start", acme, {})
        assert (broken.status, "KeyError" in broken.detail) == ("INTERNAL", False)
    finally:
        await engine.close(2.0)
        await store.close()


def test_a_document_is_known_by_the_language_that_it_is_of() -> None:
    known = [*plugin.plugins(), tiny.PLUGIN]
    assert plugin.detect(known, {"tiny": "pack", "queue": "q"}) == (
        "tiny",
        plugin.Detected("definition", "pack", (("POST", "/tiny", {"tiny": "pack", "queue": "q"}),)),
    )
    assert plugin.detect(known, {"nothing": "known"}) is None
    for each in known:
        for example in each.examples():
            found = plugin.detect(known, example.document)
            assert found is not None
            assert found[0] == each.name, example.name


def test_a_language_that_cannot_be_loaded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tmp_path / "broken-1.0.dist-info"
    made.mkdir()
    (made / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (made / "entry_points.txt").write_text("[pelton.languages]\nbroken = no_such_module:PLUGIN\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(plugin.PluginFailed, match="'broken' cannot be loaded: ModuleNotFoundError"):
        plugin.plugins()


async def test_a_server_without_a_language_that_it_is_to_have_does_not_start() -> None:
    with pytest.raises(StartFailed, match="unknown language nothing"):
        async with running_server(languages=("nothing",)):
            pass
