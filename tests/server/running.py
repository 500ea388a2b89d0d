"""A real server in a process of its own, for tests: `from tests.server.running import server, client` in a test module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pelton.cli.apply import detect
from pelton.cli.applying import send
from pelton.cli.process import ServerProcess
from pelton.client import Client, calls
from pelton.client.calls import ApiCall

WAITING = {
    "name": "waiting",
    "version": 1,
    "schemaVersion": 2,
    "tasks": [{"name": "pause", "taskReferenceName": "pause_ref", "type": "WAIT", "inputParameters": {}}],
    "outputParameters": {"got": "${pause_ref.output.answer}"},
}
WORKING = {
    "name": "working",
    "version": 1,
    "schemaVersion": 2,
    "tasks": [
        {
            "name": f"step_{name}",
            "taskReferenceName": f"{name}_ref",
            "type": "SIMPLE",
            "inputParameters": {"number": "${workflow.input.number}"},
        }
        for name in ("one", "two", "three")
    ],
    "outputParameters": {"number": "${three_ref.output.number}"},
}


def starter(name: str, event: str, workflow: str, condition: str = "") -> dict[str, object]:
    """A handler that starts a workflow with the event's members as its input."""
    start = {"name": workflow, "version": 1, "input": {"number": "${number}"}}
    found: dict[str, object] = {
        "name": name,
        "event": event,
        "actions": [{"action": "start_workflow", "start_workflow": start}],
        "active": True,
    }
    if condition:
        found["condition"] = condition
    return found


def define(client: Client, *documents: object) -> None:
    for document in documents:
        send(client, detect(document, "test"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One for all tests of a module."""
    process = ServerProcess(tmp_path_factory.mktemp("server") / "data")
    process.wait_ready()
    yield process
    assert process.stop() == 0, "\n".join(process.log)


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.address) as found:
        yield found


class WireClient(Client):
    """A client whose answers stay JSON, as it came over the wire."""

    def _call(self, call: ApiCall[Any]) -> Any:
        return super()._call(call._replace(gives=Any))

    def post_events(self, batch: Sequence[Mapping[str, Any]]) -> Any:
        return self._call(calls.events_call(batch))

    def held(self, limit: int = 100) -> Any:
        return self._call(calls.held_call(limit))


def wire_client(url: str, *, key: str = "") -> Any:
    """A WireClient. Its type is no help: it says what the methods would give as structs."""
    return WireClient(url, key=key)


@pytest.fixture
def wire(server: ServerProcess) -> Iterator[Any]:
    with wire_client(server.address) as found:
        yield found


def fresh(directory: Path, *arguments: str, ahead: float = 0.0, environment: Mapping[str, str] | None = None) -> ServerProcess:
    """A server of the test's own. The caller stops it. `ahead`: seconds by which its clock is."""
    clock = {"PYTHONPATH": str(Path(__file__).with_name("ahead")), "PELTON_TEST_AHEAD": str(ahead)} if ahead else {}
    process = ServerProcess(directory, *arguments, environment={**clock, **(environment or {})})
    process.wait_ready()
    return process
