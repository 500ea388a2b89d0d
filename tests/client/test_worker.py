"""Workers against a real server, over connections that break."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from tests.patience import LOOK, PATIENCE, Slow, happens, retried_when_slow
from tests.server.running import WORKING, client, define, server, starter

from pelton.cli.process import ServerProcess
from pelton.client import AsyncClient, Client, Fail, Item, Later, RequestRefused, Worker

__all__ = ["client", "server"]  # fixtures

QUEUES = ("step_one", "step_two", "step_three")


class Relay:
    """A TCP relay to the server that can cut every connection that goes through it."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._target = (parts.hostname, parts.port)
        self._writers: set[asyncio.StreamWriter] = set()
        self.cuts = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._target)
        self._writers |= {writer, back}
        try:
            await asyncio.gather(self._copy(reader, back), self._copy(there, writer))
        except ConnectionError:
            pass
        finally:
            for each in (writer, back):
                self._writers.discard(each)
                each.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()

    def cut(self) -> None:
        self.cuts += 1
        for writer in list(self._writers):
            writer.transport.abort()


@asynccontextmanager
async def relay(address: str) -> AsyncIterator[tuple[str, Relay]]:
    found = Relay(address)
    listening = await asyncio.start_server(found.connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", found
    finally:
        listening.close()
        found.cut()


@asynccontextmanager
async def working(worker: Worker) -> AsyncIterator[None]:
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.stop()
        async with asyncio.timeout(PATIENCE):
            await task


async def start(client: AsyncClient, count: int, label: str) -> list[str]:
    events = [
        {"id": f"{label}-{number}", "source": "/w", "type": "test:worker", "data": {"number": number}} for number in range(count)
    ]
    answer = await client.post_events(events)
    return [each.effects[0].run for each in answer]


async def ended(client: AsyncClient, runs: list[str]) -> dict[str, int]:
    """How many of the runs have which status, once none is running."""

    async def look() -> dict[str, int] | None:
        found = Counter([(await client.run(run)).run.status for run in runs])
        return None if found["RUNNING"] else dict(found)

    found: dict[str, int] = await happens(look, "no run is running", look=LOOK)
    return found


@pytest.fixture(autouse=True)
def definitions(client: Client) -> None:
    once = [{"name": queue, "retryCount": 0} for queue in QUEUES]  # a failure is final
    define(client, *once, WORKING, starter("worker_starter", "test:worker", "working"))


def echo(item: Item) -> object:
    return item.input


async def test_many_runs_of_three_steps(server: ServerProcess) -> None:
    async def slowly(item: Item) -> object:
        await asyncio.sleep(0)
        return item.input

    worker = Worker(server.address, {"step_one": echo, "step_two": slowly, "step_three": echo}, concurrency=32)
    async with AsyncClient(server.address) as client:
        async with working(worker):
            runs = await start(client, 100, "many")
            assert await ended(client, runs) == {"COMPLETED": 100}
        assert (await client.run(runs[42])).output == {"number": 42}
    assert worker.counts.taken == worker.counts.reported == 300
    assert worker.counts.refused == 0


async def test_reports_survive_connections_that_break(server: ServerProcess) -> None:
    async with relay(server.address) as (address, between), AsyncClient(server.address) as client:

        async def cutting(item: Item) -> object:
            if item.input["number"] % 10 == 3:
                between.cut()
            return item.input

        worker = Worker(address, {"step_one": cutting, "step_two": cutting, "step_three": echo}, concurrency=8, wait=300)
        async with working(worker):
            runs = await start(client, 40, "cut")
            assert await ended(client, runs) == {"COMPLETED": 40}
        assert between.cuts > 0


async def test_failures_are_reported_as_what_they_are(server: ServerProcess) -> None:
    attempts: list[str] = []

    def failing(item: Item) -> object:
        attempts.append(item.id)
        match item.input["number"] % 4:
            case 0:
                raise Fail("no stock", name="out-of-stock", retriable=False)
            case 1:
                raise ValueError("a plain error")
            case 2:
                return {"unsendable": object()}
        return item.input

    worker = Worker(server.address, {"step_one": failing, "step_two": echo, "step_three": echo})
    async with AsyncClient(server.address) as client, working(worker):
        runs = await start(client, 4, "fail")
        assert await ended(client, runs) == {"FAILED": 3, "COMPLETED": 1}
        reasons = [(await client.steps(run)).steps[0].reason for run in runs]
    assert reasons[0] == "no stock"
    assert reasons[1] == "ValueError: a plain error"
    assert "cannot be sent" in reasons[2]


async def test_work_can_be_put_off(server: ServerProcess) -> None:
    seen: list[object] = []

    def later(item: Item) -> object:
        seen.append(item.previous)
        if item.previous is None:
            raise Later(0.05, {"so": "far"})
        return item.input

    worker = Worker(server.address, {"step_one": later, "step_two": echo, "step_three": echo}, wait=200)
    async with AsyncClient(server.address) as client, working(worker):
        assert await ended(client, await start(client, 1, "later")) == {"COMPLETED": 1}
    assert seen == [None, {"so": "far"}]


@retried_when_slow
async def test_a_worker_keeps_what_it_works_at_by_signs_of_life(server: ServerProcess, client: Client) -> None:
    """The lease is one second; the work takes two and a half."""
    name = "leased_step"
    task = {"name": name, "taskReferenceName": "leased_ref", "type": "SIMPLE", "inputParameters": {}}
    workflow = {"name": "leasing", "version": 1, "schemaVersion": 2, "tasks": [task]}
    policy = {"name": name, "retryCount": 0, "responseTimeoutSeconds": 1, "timeoutSeconds": 60}
    define(client, policy, workflow, starter("leasing_starter", "test:leasing", "leasing"))

    async def slow(item: Item) -> object:
        assert item.lease == 1000
        await asyncio.sleep(2.5)  # it is the time itself that is tested
        return {}

    worker = Worker(server.address, {name: slow}, wait=200)
    async with AsyncClient(server.address) as other, working(worker):
        answer = await other.post_event("test:leasing", "/w")
        if await ended(other, [answer.effects[0].run]) != {"COMPLETED": 1}:
            raise Slow("no sign of life came within a second")
    assert worker.counts.taken == 1


async def test_a_stopping_worker_finishes_what_it_has(server: ServerProcess) -> None:
    taken = asyncio.Event()
    go = asyncio.Event()

    async def held(item: Item) -> object:
        taken.set()
        await go.wait()
        return item.input

    worker = Worker(server.address, {"step_one": held}, wait=200)
    async with AsyncClient(server.address) as client:
        [run] = await start(client, 1, "stop")
        task = asyncio.create_task(worker.run())
        async with asyncio.timeout(PATIENCE):
            await taken.wait()
            worker.stop()
            go.set()
            await task
        steps = (await client.steps(run)).steps
        assert [step.status for step in steps] == ["COMPLETED", "OPEN"]


async def test_a_worker_that_is_not_wanted_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    process = ServerProcess(tmp_path_factory.mktemp("locked") / "data", "--api-key", "k" * 20)
    try:
        process.wait_ready()
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(RequestRefused) as caught:
                await Worker(process.address, {"q": echo}, key="wrong").run()
        assert caught.value.status == 401
    finally:
        assert process.stop() == 0


async def test_an_answer_that_no_server_sends_is_no_answer() -> None:
    asked: list[None] = []
    again = asyncio.Event()

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            asked.append(None)
            if len(asked) > 1:
                again.set()
            writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        finally:
            writer.close()

    listening = await asyncio.start_server(proxy, "127.0.0.1", 0)
    async with listening:
        worker = Worker(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", {"q": echo})
        task = asyncio.create_task(worker.run())
        async with asyncio.timeout(PATIENCE):
            await again.wait()
        assert not task.done()
        worker.stop()
        async with asyncio.timeout(PATIENCE):
            await task
    assert worker.counts.lost_connections >= 1


@pytest.mark.parametrize(
    ("functions", "more"),
    [({}, {}), ({"q": echo}, {"concurrency": 0}), ({"q": echo}, {"concurrency": 1001}), ({"q": echo}, {"wait": 0})],
)
def test_workers_that_make_no_sense(functions: dict[str, object], more: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"worker needs|must be between"):
        Worker("http://127.0.0.1:1", functions, **more)  # type: ignore[arg-type]  # that is the point
