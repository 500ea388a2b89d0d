"""A real SQS server (ministack) for tests, one a session and worker.

A plugin of every test: ask for the fixtures `sqs_endpoint` (URL; the AWS environment is set to it), `sqs_client` (a client for
looking at queues from outside) and `sqs_queue` (a name nobody else uses). The server starts when the first test asks.
`SqsServer` can be stopped and started again on its port by a test of its own.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

START_SECONDS = 60.0  # it needs about one; the machine may be busy
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


# Below what systems give to clients and to those who bind port 0, so that nothing takes a port while its server is away.
PORTS = range(20_000, 32_768)


def free_port() -> int:
    """A TCP port for servers of this process, until it ends. Other test processes get other ones: the UDP port of the same number
    says that it is taken."""
    for _ in range(1_000):
        port = secrets.choice(PORTS)
        mark = socket.socket(type=socket.SOCK_DGRAM)
        try:
            mark.bind(("127.0.0.1", port))
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", port))
        except OSError:
            mark.close()
            continue
        mark.detach()  # open until this process ends
        return port
    raise RuntimeError("no port is free")


class SqsServer:
    """Bound to loopback. Queues are lost when it stops."""

    def __init__(self, directory: Path, port: int | None = None, app: str = "ministack.app:app") -> None:
        """`app`: as hypercorn names one, a file's path included."""
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._app = app
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers. Raises RuntimeError with its output when it does not."""
        log = self._directory / f"sqs-{self.port}.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                # No workers: one process serves, so that ending it ends the server; a forked worker would live on.
                [sys.executable, "-m", "hypercorn", self._app, "-w", "0", "-b", f"127.0.0.1:{self.port}"],
                cwd=self._directory,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **CREDENTIALS, "HOME": str(self._directory)},
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=20).close()
            except urllib.error.HTTPError as answer:  # any answer is an answer
                answer.close()
                return
            except OSError:
                time.sleep(0.05)  # polls another process's start: there is nothing to wait on
            else:
                return
        self.stop()
        raise RuntimeError(f"ministack did not answer on {self.url}: {log.read_text(errors='replace')[-2_000:]}")

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()  # it keeps nothing that a gentle stop would save, and waits for open long polls
        process.wait(timeout=START_SECONDS)


def start_sqs(directory: Path, app: str = "ministack.app:app") -> SqsServer:
    """A running server, or the test is skipped; where everything must run (CI is set), the reason is raised instead."""
    server = SqsServer(directory, app=app)
    try:
        server.start()
    except (RuntimeError, OSError) as trouble:
        if os.environ.get("CI"):
            raise RuntimeError("no real SQS server could be started") from trouble
        pytest.skip(f"NO REAL SQS: {trouble}")
    return server


@pytest.fixture(scope="session")
def sqs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqsServer]:
    server = start_sqs(tmp_path_factory.mktemp("sqs"))
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def sqs_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials and region that a test server accepts, and nothing of the developer's own AWS set-up."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


@pytest.fixture
def sqs_endpoint(sqs_server: SqsServer, sqs_environment: None, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", sqs_server.url)
    return sqs_server.url


@pytest.fixture
async def sqs_client(sqs_endpoint: str) -> AsyncIterator[Any]:
    from aiobotocore.session import get_session  # here: most tests need no AWS library, and it takes time to import

    async with get_session().create_client("sqs", region_name="us-east-1", endpoint_url=sqs_endpoint) as client:
        yield client


@pytest.fixture
def sqs_queue() -> str:
    return f"test-{secrets.token_hex(6)}"
