"""A server is never half alive: whatever a part of it fails with ends one job or the server, and /health says so first."""

from __future__ import annotations

import ast
import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from tests.patience import PATIENCE, eventually, happens
from tests.source import PACKAGE

from pelton.cli.process import ServerProcess
from pelton.runtime import supervision
from pelton.runtime.commit.committer import Committer
from pelton.runtime.supervision import OwnedTasks, Watchdog
from pelton.runtime.timing.due_queue import DueQueue
from pelton.server.assembly import Given
from pelton.server.config import Config
from pelton.server.lifecycle import Server
from pelton.testing import MemoryConnector, MemoryStore, settle

BROKEN = "broken on purpose"
# Who may start a task otherwise than through OwnedTasks, and why none of them can be missed.
OTHERWISE = {
    "runtime/supervision.py": "this is the way",
    "runtime/scripting/pool.py": "a group whose members end with the call",
    "runtime/definitions/handler_sets.py": "callers wait for it, and are told",
    "runtime/definitions/definitions.py": "callers wait for it, and are told",
    "store/sqlite/link.py": "gives the store up, which ends the server",
    "store/sqlite/store.py": "gives the store up, which ends the server",
    "server/lifecycle.py": "what it waits for in order to end",
    "server/assembly.py": "logs what it fails with; the stop waits for it",
    "connectors/sqs.py": "the subscription takes their results",
    "transport/http/asgi.py": "of one request",
    "transport/http/connection.py": "of one request, whose caller is told how it ended",
    "client/worker.py": "of another program",
}
STARTS = re.compile(r"\b(create_task|ensure_future)\(|\bTaskGroup\(")


class Broken(BaseException):
    """Passes what catches Exception."""


async def started(**given: Any) -> Server:
    server = Server(Config(port=0), Given(store=MemoryStore(), any_loop=True, **given))
    await server.start()
    return server


async def ended(server: Server) -> str:
    """Why the server says it cannot go on."""
    reason = await asyncio.wait_for(server.lost(), PATIENCE)
    health = await server.health()
    assert health["healthy"] is False
    assert health["details"]["tasks"]["failure"] == reason
    return reason


def named(name: str) -> asyncio.Task[Any]:
    (found,) = [task for task in asyncio.all_tasks() if task.get_name() == name]
    return found


async def with_sources() -> Server:
    server = await started(connectors=(MemoryConnector(),))
    server.engine.sources.refresh(["memory:somewhere"])
    await settle()
    assert (await server.health())["healthy"]
    return server


async def test_each_task_that_lives_as_long_as_the_server_ends_it_when_it_ends() -> None:
    server = await with_sources()
    names = server.engine.supervisor.kept
    await server.stop()
    assert {name.partition(":")[0] for name in names} == {"server", "sources", "operations", "expiry", "retention"}
    assert {"server: heartbeat", "sources: memory:somewhere", "expiry: scan"} <= set(names)
    for name in names:
        server = await with_sources()
        named(name).cancel()
        assert await ended(server) == f"{name}: it ended"
        await server.stop()


async def test_each_task_that_lives_as_long_as_the_server_ends_it_when_it_raises() -> None:
    server = await with_sources()
    names = server.engine.supervisor.kept
    await server.stop()
    raised = []
    for name in names:
        server = await with_sources()
        waiter = getattr(named(name), "_fut_waiter", None)  # what it waits for
        if waiter is not None and not isinstance(waiter, asyncio.Task):
            waiter.set_exception(Broken(BROKEN))
            assert await ended(server) == f"{name}: Broken: {BROKEN}"
            raised.append(name)
        await server.stop()
    assert len(raised) > len(names) // 2


def _raises(*_: object, **__: object) -> None:
    raise RuntimeError(BROKEN)


async def _raises_later(*_: object, **__: object) -> None:
    raise RuntimeError(BROKEN)


@pytest.mark.parametrize(("owner", "name"), [(Committer, "_unpin"), (Committer, "_flush"), (Committer, "_tell_services")])
async def test_a_committer_that_fails_between_two_states_ends_the_server(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    server = await started()
    monkeypatch.setattr(owner, name, _raises)
    writing = asyncio.ensure_future(server.engine.write(lambda group: None))
    assert f"RuntimeError: {BROKEN}" in await ended(server)
    writing.cancel()
    monkeypatch.undo()
    await server.stop()


@pytest.mark.parametrize("name", ["_fire_due", "_set_alarm"])
async def test_an_alarm_that_fails_ends_the_server(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """It is a callback of the loop, which nobody waits for."""
    server = await started()
    monkeypatch.setattr(DueQueue, name, _raises)
    timers: Any = server.engine.timers
    asyncio.get_running_loop().call_soon(timers._due._ring)
    assert f"RuntimeError: {BROKEN}" in await ended(server)
    monkeypatch.undo()
    await server.stop()


async def test_one_job_among_many_ends_alone() -> None:
    server = await started()
    with server.engine.supervisor:
        tasks = OwnedTasks("many")
    tasks.spawn(_raises_later(), "one")
    asyncio.get_running_loop().call_soon(_raises)  # no part of the core
    loop = asyncio.get_running_loop()
    loop.call_exception_handler({"message": "a connection", "exception": RuntimeError(BROKEN), "protocol": object()})
    await settle()
    assert tasks.failures == 1
    assert (await server.health())["healthy"]
    await server.stop()


async def test_a_stop_is_no_failure() -> None:
    server = await with_sources()
    await server.stop()
    assert server.engine.supervisor.failure == ""


def test_no_task_is_started_in_another_way() -> None:
    found = {str(file.relative_to(PACKAGE)) for file in PACKAGE.rglob("*.py") if STARTS.search(_code(file.read_text("utf-8")))}
    assert found == set(OTHERWISE)


def _code(source: str) -> str:
    return ast.unparse(ast.parse(source)).replace("def create_tasks(", "").replace(".create_tasks(", "")


def test_a_process_that_cannot_go_on_ends_with_4_and_its_reason(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import pelton.runtime.timing.timers as timers\n"
        "async def sleep(*_):\n"
        f"    raise RuntimeError({BROKEN!r})\n"
        "timers.sleep = sleep\n"
    )
    process = ServerProcess(tmp_path / "data", environment={"PYTHONPATH": str(tmp_path)})
    eventually(lambda: process._process.poll() is not None, "it ends")
    assert process.stop() == 4
    assert any(f"expiry: scan: RuntimeError: {BROKEN}" in line for line in process.log)


def test_a_loop_that_does_not_turn_is_said_and_then_ended() -> None:
    codes: list[int] = []
    dog = Watchdog(late=2, stuck=4, end=codes.append)
    for _ in range(3):
        dog.tick()
    dog.missed = 0  # a beat
    for _ in range(3):
        dog.tick()
    assert codes == []
    dog.tick()
    assert codes == [supervision.STUCK_CODE]


async def test_the_heart_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "BEAT", 0.001)
    dog = Watchdog()
    dog.missed = 5
    beating = asyncio.ensure_future(dog.beat())
    await happens(lambda: dog.missed == 0, "it beats")
    beating.cancel()
