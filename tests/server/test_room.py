"""Files and connections: the limit of the system is used, and who only sits on a connection does not keep others out."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.patience import PATIENCE
from tests.server.running import fresh
from tests.server.test_protocol import application, exchange

from pelton.server import files
from pelton.server.http import Listener, bind

ASK = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"


async def opened(most: int, app: Any = application) -> tuple[Listener, int]:
    socket = bind("127.0.0.1", 0)
    listener = Listener(app, socket, 1, most=most)
    await listener.start()
    return listener, socket.getsockname()[1]


async def test_connections_that_send_nothing_do_not_keep_others_out() -> None:
    listener, port = await opened(5)
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(12)]
    with capture_logs() as logs:
        for _ in range(20):
            assert (await exchange(port, ASK))[0] == 200
    closed = [await asyncio.wait_for(reader.read(), PATIENCE) for reader, _ in idle[:7]]
    assert closed == [b""] * 7
    assert all("as many connections" not in line["event"] for line in logs[1:])  # once is enough
    for _, writer in idle:
        writer.close()
    await listener.stop()


async def test_kept_connections_between_two_requests_are_idle_too() -> None:
    listener, port = await opened(3)
    kept = []
    for _ in range(3):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(ASK)
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        kept.append((reader, writer))
    assert (await exchange(port, ASK))[0] == 200
    for _, writer in kept:
        writer.close()
    await listener.stop()


async def test_who_waits_for_an_answer_is_not_cut_off_and_the_next_is_refused() -> None:
    go, here = asyncio.Event(), asyncio.Semaphore(0)

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        here.release()
        await go.wait()
        await application(scope, receive, send)

    listener, port = await opened(3, slow)
    asked = [asyncio.ensure_future(exchange(port, ASK)) for _ in range(3)]
    for _ in asked:
        await here.acquire()
    with capture_logs() as logs:
        status, body = await exchange(port, ASK)
    assert status == 503
    assert b'"retryable":true' in body
    assert [line["action"] for line in logs] == ["new ones are refused"]
    go.set()
    assert [status for status, _ in await asyncio.gather(*asked)] == [200] * 3
    await listener.stop()


def test_the_limit_of_the_system_is_used(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        process = fresh(tmp_path / "data")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    line = next(line for line in Path(f"/proc/{process.pid}/limits").read_text().splitlines() if "open files" in line)
    assert line.split()[3] == line.split()[4]
    assert process.stop() == 0


@pytest.mark.parametrize(("limit", "most"), [(1_024, 768), (20_000, 19_744), (256, 128), (files.UNLIMITED, 999_744)])
def test_some_files_are_kept_for_other_things(limit: int, most: int) -> None:
    assert files.connections(limit) == most
