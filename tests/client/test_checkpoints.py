"""Checkpoints and attempts over HTTP, against a real server: workers and servers are killed between two checkpoints."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.client.test_worker import ended, working
from tests.patience import eventually
from tests.server.running import client, define, fresh, server, starter

from pelton.cli.process import ServerProcess
from pelton.client import AsyncClient, Client, Fail, Item, RequestRefused, Worker
from pelton.models import CheckpointIn, ReportIn, RunDetail, StepView

__all__ = ["client", "server"]  # fixtures

HOUR = 3_600.0


def defined(client: Client, name: str, retries: int = 3) -> None:
    """A process with one step, whose lease lasts for a minute."""
    task = {"name": name, "taskReferenceName": "x", "type": "SIMPLE", "inputParameters": {}}
    policy = {"name": name, "retryCount": retries, "retryDelaySeconds": 0, "responseTimeoutSeconds": 60, "timeoutSeconds": 0}
    workflow = {"name": name, "version": 1, "schemaVersion": 2, "timeoutSeconds": 0, "tasks": [task]}
    define(client, policy, workflow, starter(f"{name}_starter", f"test:{name}", name))


def begun(client: Client, name: str) -> str:
    return client.post_event(f"test:{name}", "/c").effects[0].run


def taken(client: Client, name: str, worker: str = "w", version: str = "") -> dict[str, object]:
    body = {"worker": worker, "claim": {"queues": [name], "wait": 10_000}, "version": version}
    (item,) = client.request("POST", "/v1/work", body)["items"]
    found: dict[str, object] = item
    return found


async def test_a_function_runs_each_part_once_over_its_attempts(server: ServerProcess, client: Client) -> None:
    defined(client, "parts")
    ran: list[str] = []

    async def work(item: Item) -> object:
        def part(name: str) -> object:
            ran.append(name)
            return {"part": name}

        async def slow(name: str) -> object:
            return part(name)

        item.log(f"attempt {item.attempt}")
        first = await item.checkpoint(lambda: part("first"))
        if item.attempt == 0:
            raise Fail("after the first")
        second = await item.checkpoint(lambda: slow("second"))
        if item.attempt == 1:
            raise ValueError("after the second")
        return [first, second, await item.checkpoint(lambda: part("third"))]

    worker = Worker(server.address, {"parts": work}, version="7.1", wait=200)
    async with AsyncClient(server.address) as other, working(worker):
        answer = await other.post_event("test:parts", "/c")
        run = answer.effects[0].run
        assert await ended(other, [run]) == {"COMPLETED": 1}
        assert ran == ["first", "second", "third"]
        step = (await other.steps(run)).steps[-1]
        assert step.output == [{"part": "first"}, {"part": "second"}, {"part": "third"}]
        assert (step.version, step.worker, step.checkpoints) == ("7.1", worker.name, 3)
        attempts = (await other.attempts(run, step.n)).attempts
        assert [(each.step, each.number, each.outcome, each.log) for each in attempts] == [
            (1, 0, "failed", "attempt 0"),
            (2, 1, "failed", "attempt 1"),
            (3, 2, "done", "attempt 2"),
        ]
        assert {(each.worker, each.version) for each in attempts} == {(worker.name, "7.1")}
        assert [each.failure.name if each.failure else "" for each in attempts] == ["failed", "ValueError", ""]
        assert all(each.scheduled <= each.started <= each.ended for each in attempts)


async def test_a_worker_that_has_lost_the_work_is_told_to_stop(server: ServerProcess, client: Client) -> None:
    defined(client, "lost")
    run = ""
    done: list[str] = []

    async def work(item: Item) -> object:
        if item.attempt == 0:
            await asyncio.to_thread(client.work, "somebody", [ReportIn(item.id, "FAILED", item.attempt)])
        value = await item.checkpoint(lambda: f"by {item.attempt}")
        done.append(value)
        return value

    worker = Worker(server.address, {"lost": work}, wait=200)
    async with AsyncClient(server.address) as other, working(worker):
        run = (await other.post_event("test:lost", "/c")).effects[0].run
        assert await ended(other, [run]) == {"COMPLETED": 1}
    assert done == ["by 1"]
    assert (worker.counts.stopped, worker.counts.refused) == (1, 0)


def test_the_routes_say_what_is_wrong(client: Client) -> None:
    defined(client, "wrong")
    run = begun(client, "wrong")
    item = str(taken(client, "wrong", "w", "2")["id"])
    assert client.put_checkpoint(item, 0, CheckpointIn(0, {"a": 1}, "log", "w")).accepted
    assert client.put_checkpoint(item, 0, CheckpointIn(0, {"a": 1}, "log", "w")).accepted  # the answer was lost
    found = client.checkpoint(item, 0)
    assert (found.number, found.attempt, found.value, found.log) == (0, 0, {"a": 1}, "log")
    for number, body, status in (
        (0, CheckpointIn(0, "another"), 409),
        (2, CheckpointIn(0), 409),
        (1, CheckpointIn(0, "x" * 300_000), 413),
    ):
        with pytest.raises(RequestRefused) as caught:
            client.put_checkpoint(item, number, body)
        assert caught.value.status == status, body
    stop = client.put_checkpoint(item, 1, CheckpointIn(0, None, "", "another"))
    assert (stop.accepted, stop.number) == (False, -1)
    assert "another worker" in stop.reason
    for path, status in (
        (f"/v1/work/{item}/checkpoints/1", 404),
        (f"/v1/work/{item}/checkpoints/x", 400),
        ("/v1/work/nothing/checkpoints/0", 404),
        (f"/v1/runs/{run}/steps/99/attempts", 404),
        (f"/v1/runs/{run}/steps/x/attempts", 404),
        ("/v1/runs/nothing/steps/1/attempts", 404),
    ):
        with pytest.raises(RequestRefused) as caught:
            client.request("GET", path)
        assert caught.value.status == status, path
    with pytest.raises(RequestRefused) as caught:
        client.work("w", [ReportIn(item, "WORKING", log="x")])
    assert caught.value.status == 400
    (attempt,) = client.attempts(run, 1).attempts
    assert (attempt.outcome, attempt.worker, attempt.version, attempt.ended) == ("running", "w", "2", 0)
    assert client.steps(run).steps[0].checkpoints == 1


def test_an_item_tells_its_checkpoints_and_another_system_s_view_its_worker(client: Client, server: ServerProcess) -> None:
    defined(client, "told")
    run = begun(client, "told")
    first = taken(client, "told", "w", "2")
    client.put_checkpoint(str(first["id"]), 0, CheckpointIn(0, 1))
    client.work("w", [ReportIn(str(first["id"]), "FAILED", 0, reason="no")])
    again = taken(client, "told", "w", "2")
    assert again["checkpoints"] == 1
    assert client.checkpoint(str(again["id"]), 0).value == 1
    tasks = httpx.get(f"{server.address}/api/workflow/{run}").json()["tasks"]
    assert [task["workerId"] for task in tasks] == ["w", "w"]


async def test_an_item_that_no_worker_has_taken_has_no_checkpoints() -> None:
    with pytest.raises(RuntimeError):
        await Item("i", "q", "r", "p", "s", 0).checkpoint(lambda: 1)


# ---- kills

PARTS = """
import asyncio, sys
from pelton import Worker

async def work(item):
    def part(name):
        with open(sys.argv[2], "a") as file:
            file.write(name + "\\n")
        return name
    found = [await item.checkpoint(lambda: part("one")), await item.checkpoint(lambda: part("two"))]
    if item.attempt == 0:
        await asyncio.Event().wait()
    return [*found, await item.checkpoint(lambda: part("three"))]

asyncio.run(Worker(sys.argv[1], {"killed": work}, wait=200, name=sys.argv[3]).run())
"""


class House:
    """A server, and a worker in a process of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.done = directory / "done"
        self.server = fresh(directory / "data")
        self.workers: list[subprocess.Popen[bytes]] = []

    def work(self, name: str) -> subprocess.Popen[bytes]:
        found = subprocess.Popen([sys.executable, "-c", PARTS, self.server.address, str(self.done), name])
        self.workers.append(found)
        return found

    def again(self, ahead: float = 0.0) -> None:
        """The server is killed, and comes back; so many seconds have passed."""
        port = self.server.address.rpartition(":")[2]
        self.server.kill()
        self.server = fresh(self.directory / "data", "--port", port, ahead=ahead)

    def step(self, run: str) -> StepView:
        with Client(self.server.address) as client:
            return client.steps(run).steps[-1]

    def detail(self, run: str) -> RunDetail:
        with Client(self.server.address) as client:
            return client.run(run)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    found = House(tmp_path)
    yield found
    for worker in found.workers:
        worker.kill()
        worker.wait()
    found.server.stop()


def parts(house: House) -> list[str]:
    return house.done.read_text().split()


def test_what_a_killed_worker_had_done_is_not_done_again(house: House) -> None:
    """The worker is killed after its second checkpoint, and the server with it; the next one does the rest."""
    with Client(house.server.address) as client:
        defined(client, "killed")
        run = begun(client, "killed")
    first = house.work("first")
    eventually(lambda: house.step(run).checkpoints == 2)
    first.kill()
    house.again(HOUR)
    house.work("second")
    eventually(lambda: house.detail(run).run.status == "COMPLETED")
    assert parts(house) == ["one", "two", "three"]
    assert house.step(run).output == ["one", "two", "three"]
    with Client(house.server.address) as client:
        attempts = client.attempts(run, house.step(run).n).attempts
    assert [(each.outcome, each.worker) for each in attempts] == [("lost", "first"), ("done", "second")]


def test_a_worker_goes_on_past_a_server_that_is_killed_between_two_checkpoints(house: House) -> None:
    with Client(house.server.address) as client:
        defined(client, "killed")
        run = begun(client, "killed")
        item = str(taken(client, "killed", "me")["id"])
        assert client.put_checkpoint(item, 0, CheckpointIn(0, "one", worker="me")).accepted
    house.again()
    with Client(house.server.address) as client:
        assert client.checkpoint(item, 0).value == "one"
        assert client.put_checkpoint(item, 1, CheckpointIn(0, "two", worker="me")).accepted
        client.work("me", [ReportIn(item, "COMPLETED", 0, output="out")])
    assert house.detail(run).run.status == "COMPLETED"
    assert house.step(run).checkpoints == 2
