"""What a service manager is told, over a real datagram socket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.patience import PATIENCE

from pelton.server.notify import ServiceManager

SERVE = [sys.executable, "-m", "pelton.cli", "serve", "--port", "0", "--store", "memory:"]


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest) -> Iterator[tuple[str, socket.socket]]:
    """The socket of a service manager, and how the environment names it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as short, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        abstract = request.param == "abstract"
        address = f"@pelton-{os.getpid()}" if abstract else str(Path(short) / "notify")
        listening.bind(f"\0{address[1:]}" if abstract else address)
        listening.settimeout(PATIENCE)
        yield address, listening


def lines(listening: socket.socket) -> list[str]:
    return listening.recv(4096).decode().split("\n")


def test_it_is_told_when_the_server_is_ready_that_it_turns_and_when_it_stops(
    manager: tuple[str, socket.socket], tmp_path: Path
) -> None:
    address, listening = manager
    environment = {**os.environ, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "100000"}
    with subprocess.Popen(SERVE, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            ready, status = lines(listening)
            assert ready == "READY=1"
            url = status.removeprefix("STATUS=listening on ")
            assert httpx.get(f"{url}/health", timeout=PATIENCE).status_code == 200
            assert [lines(listening) for _ in range(3)] == [["WATCHDOG=1"]] * 3
            process.send_signal(signal.SIGTERM)
            while (said := lines(listening)) == ["WATCHDOG=1"]:
                pass
            assert said == ["STOPPING=1", "STATUS=asked to stop"]
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


def test_a_server_that_does_not_start_is_never_ready(manager: tuple[str, socket.socket], tmp_path: Path) -> None:
    address, listening = manager
    (tmp_path / "file").touch()
    environment = {**os.environ, "NOTIFY_SOCKET": address, "PELTON_STORE": f"sqlite:{tmp_path / 'file' / 'data'}"}
    done = subprocess.run(SERVE[:-2], cwd=tmp_path, env=environment, capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    listening.setblocking(False)
    with pytest.raises(BlockingIOError):
        listening.recv(1)


@pytest.mark.parametrize(
    ("environment", "address", "period"),
    [
        ({}, "", 0.0),
        ({"WATCHDOG_USEC": "5000000"}, "", 0.0),
        ({"NOTIFY_SOCKET": "/run/x"}, "/run/x", 0.0),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "5000000"}, "@x", 5.0),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": str(os.getpid())}, "/run/x", 5.0),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "1"}, "/run/x", 0.0),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "soon"}, "/run/x", 0.0),
        ({"NOTIFY_SOCKET": "vsock:2:1"}, "", 0.0),
        ({"NOTIFY_SOCKET": "@"}, "", 0.0),
    ],
)
def test_the_environment_says_how_and_then_no_more(environment: dict[str, str], address: str, period: float) -> None:
    found = ServiceManager.of(environment)
    assert (found.address, found.period) == (address, period)
    assert environment == {}


@pytest.mark.parametrize("address", ["/nowhere/to/be/found", "@nobody-listens", "/" + "long" * 100, "/nul\0"])
async def test_a_manager_that_does_not_listen_is_no_trouble(address: str) -> None:
    silent = ServiceManager(address, 0.0)
    silent.ready("ready")
    silent.stopping("")
    await silent.beat()
