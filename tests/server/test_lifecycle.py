"""Starting, being ready, stopping, and being killed: seen from outside."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.patience import PATIENCE, eventually, worked
from tests.server.running import WAITING, define, fresh, starter

from pelton.cli.process import ServerProcess
from pelton.client import Client, RequestRefused, Unreachable
from pelton.models import EventPage

KEY = "a-key-of-some-length"


def serve(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A `pelton serve` that is expected not to run."""
    return subprocess.run(
        [sys.executable, "-m", "pelton.cli", "serve", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_whatever_is_open(tmp_path: Path, number: int) -> None:
    process = fresh(tmp_path / "data")
    parts = urlsplit(process.address)
    assert parts.hostname
    assert parts.port
    idle = http.client.HTTPConnection(parts.hostname, parts.port)
    idle.request("GET", "/health")
    assert idle.getresponse().read()
    half = socket.create_connection((parts.hostname, parts.port))
    half.sendall(b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")
    answers: list[object] = []

    def poll(path: str, body: object) -> None:
        with Client(process.address) as client:
            answers.append(client.request("POST" if body else "GET", path, body, seconds=60))

    waiting = [
        threading.Thread(target=poll, args=("/v1/work", {"worker": "w", "claim": {"queues": ["q"], "count": 1, "wait": 60_000}})),
        threading.Thread(target=poll, args=("/v1/events?after=0&wait=60000", None)),
    ]
    for thread in waiting:
        thread.start()
    with Client(process.address) as client:
        # the two polls, the half request and this one
        eventually(lambda: "pelton_http_requests_in_progress 4" in client.request("GET", "/metrics"), "all are under way")
    os.kill(process.pid, number)
    code = process.stop()
    assert code == 0, "\n".join(process.log)
    for thread in waiting:
        thread.join(PATIENCE)
    assert sorted(answers, key=str) == [{"events": [], "after": "0", "before": ""}, {"results": [], "items": []}]
    idle.close()
    half.close()


def test_what_was_acknowledged_is_there_after_a_kill(tmp_path: Path) -> None:
    process = fresh(tmp_path / "data")
    with Client(process.address) as client:
        define(client, WAITING, starter("start", "test:start", "waiting"))
        answer = client.post_event("test:start", "/test", {"number": 1}, id="1")
    process.kill()
    process = fresh(tmp_path / "data")
    try:
        with Client(process.address) as client:
            again = client.post_event("test:start", "/test", {"number": 1}, id="1")
            assert again.outcome == "duplicate"
            assert again.effects == answer.effects
            assert client.run(answer.effects[0].run).run.status == "RUNNING"
            assert len(client.runs(process="waiting").runs) == 1
    finally:
        assert process.stop() == 0


def test_a_second_server_on_the_same_data_says_so(tmp_path: Path) -> None:
    process = fresh(tmp_path / "data")
    try:
        done = serve("--data", str(tmp_path / "data"), "--port", "0", cwd=tmp_path)
        assert done.returncode == 1
        assert "pelton:" in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
    finally:
        assert process.stop() == 0


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = serve("--port", str(port), "--data", str(tmp_path / "data"), cwd=tmp_path)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--host", "0.0.0.0"], "--allow-anonymous"),
        (["--watch", "in=/in"], "does not exist; create the directory first"),
        (["--port", "x"], "--port"),
        (["--durability", "none"], "full, relaxed"),
        (["--config", "missing.toml"], "no such file"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_line(tmp_path: Path, arguments: list[str], says: str) -> None:
    done = serve(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_with_keys_only_their_holders_get_in(tmp_path: Path) -> None:
    process = fresh(tmp_path / "data", "--api-key", KEY)
    try:
        with Client(process.address) as stranger:
            assert stranger.health().healthy is True
            assert "pelton_" in stranger.request("GET", "/metrics")
            for path in ("/v1/events", "/v1/runs", "/api/metadata/workflow", "/openapi.json", "/v1/health"):
                with pytest.raises(RequestRefused) as caught:
                    stranger.request("GET", path)
                assert caught.value.status == 401
        with Client(process.address, key=KEY) as friend:
            assert friend.events() == EventPage([], "0")
    finally:
        assert process.stop() == 0
    assert KEY not in "\n".join(process.log)


@pytest.mark.slow
def test_it_is_ready_soon_and_small(tmp_path: Path) -> None:
    """The product's bar is 1 s and 80 MB on an idle machine; a shared one is given room."""
    process = ServerProcess(tmp_path / "data")
    process.wait_ready()
    try:
        assert worked(process.pid) < 5.0
        assert resident(process.pid) < 120 * 1024
        with pytest.raises(Unreachable), Client("http://127.0.0.1:1") as nobody:
            nobody.health()
    finally:
        assert process.stop() == 0


def resident(pid: int) -> int:
    """Kilobytes of a process and of those that it started."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":\t", 1) for line in path.read_text().splitlines() if ":\t" in line)
        except OSError:
            continue
        found[int(fields["Pid"])] = (int(fields["PPid"]), int(fields.get("VmRSS", "0 kB").split()[0]))
    return sum(size for each, (parent, size) in found.items() if pid in {each, parent})


def test_a_service_that_needs_no_queue_loads_no_queue_library() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import pelton.server.lifecycle, sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert loaded.isdisjoint({"aiobotocore", "botocore", "httpx", "yaml", "aiohttp"})
