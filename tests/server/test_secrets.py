"""Secrets through a running server: the work that names one gets it, and nobody and nothing else does."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner, Result
from tests.patience import eventually
from tests.server.running import define

from pelton.cli.main import main
from pelton.cli.process import ServerProcess
from pelton.client import Client, RequestRefused
from pelton.models import ClaimIn, ReportIn
from pelton.store.sqlite.check import check
from pelton.store.sqlite.store import FILE

VALUE = "open-sesame-4711"
NO_MEMBER = "the secret 'database' is not JSON text with a member port"
REFERENCE = "${workflow.secrets.token}"


def task(kind: str, reference: str, **inputs: Any) -> dict[str, Any]:
    return {"name": reference, "taskReferenceName": reference, "type": kind, "inputParameters": inputs}


def workflow(name: str, *tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "version": 1, "schemaVersion": 2, "tasks": list(tasks), **more}


class Echo(BaseHTTPRequestHandler):
    """Answers with the headers of the request, as services that are wrongly set up do; `seen`: what came."""

    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.seen.append(self.headers["Authorization"])
        body = json.dumps(dict(self.headers)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Sent", self.headers["Authorization"])
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def echo() -> Iterator[str]:
    Echo.seen = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/echo"
        server.shutdown()
        thread.join()


def key_file(path: Path) -> Path:
    path.write_text(base64.b64encode(os.urandom(32)).decode() + "\n")
    return path


class House:
    """A server with its data, its keys and its directory of secrets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.files = folder / "files"
        self.files.mkdir()
        self.key = key_file(folder / "key")
        self.process: ServerProcess | None = None

    def start(self) -> Client:
        self.process = ServerProcess(
            self.data, "--secrets-key-file", str(self.key), "--secrets-dir", str(self.files), "--allow-outgoing", "127.0.0.1",
            "--log-level", "debug", environment={"PELTON_SECRET_HOUSE": "from-the-environment", "ELSEWHERE": "private"},
        )  # fmt: skip
        return Client(self.process.wait_ready())

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()

    def command(self, *arguments: object, said: str = "") -> Result:
        """As on the command line, in this process."""
        server = {"PELTON_SERVER": self.process.address} if self.process is not None else {}
        return CliRunner().invoke(main, list(map(str, arguments)), input=said, env=server)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.stop()


def begin(client: Client, name: str, **given: Any) -> str:
    return str(client.start_run(name, input=given).id)


def claimed(client: Client, queue: str) -> Any:
    (item,) = client.work("me", claim=ClaimIn([queue], 1, 30_000)).items
    return item


def status(client: Client, run: str) -> str:
    return str(client.run(run).run.status)


def fails(client: Client, run: str) -> None:
    eventually(lambda: status(client, run) == "FAILED", "the run fails")


def everything(client: Client, run: str) -> str:
    """All views of a run, and of the server."""
    paths = [
        f"/api/workflow/{run}?includeTasks=true", f"/v1/runs/{run}", f"/v1/runs/{run}/steps", f"/v1/runs/{run}/explain",
        f"/v1/runs/{run}/steps/1/attempts", f"/v1/runs/{run}/steps/2/attempts", "/v1/runs", "/v1/secrets", "/v1/health",
        "/metrics", "/v1/events", "/v1/dead-letters", "/api/metadata/workflow", "/v1/processes",
    ]  # fmt: skip
    found = []
    for path in paths:
        with contextlib.suppress(RequestRefused):  # a step that is not there yet
            found.append(str(client.request("GET", path)))
    assert len(found) >= len(paths) - 1
    return "\n".join(found)


def test_a_secret_reaches_the_work_that_names_it_and_nothing_else(house: House, echo: str, tmp_path: Path) -> None:
    with house.start() as client:
        assert client.set_secret("token", VALUE).name == "token"
        login = {"user": "ann", "keys": [{"auth": f"Bearer {REFERENCE}"}]}
        http = {"uri": echo, "method": "GET", "headers": {"Authorization": f"Bearer {REFERENCE}"}}
        define(client, workflow(
            "both", task("SIMPLE", "call", login=login, said="${workflow.input.said}"), task("HTTP", "ask", http_request=http),
            outputParameters={"asked": "${ask.output.response.body}", "called": "${call.input.login}"},
        ))  # fmt: skip
        run = begin(client, "both", said=f"give me {REFERENCE}")
        item = claimed(client, "call")
        assert item.input["login"] == {"user": "ann", "keys": [{"auth": f"Bearer {VALUE}"}]}
        assert item.input["said"] == f"give me {REFERENCE}"  # what a caller writes is no reference
        assert VALUE not in everything(client, run)
        client.work("me", reports=[ReportIn(item.id, output={"done": True})])
        eventually(lambda: status(client, run) == "COMPLETED", "the run completes")
        assert Echo.seen == [f"Bearer {VALUE}"]

        polled = begin(client, "both", said="")
        (shown,) = eventually(
            lambda: client.request("GET", "/api/tasks/poll/batch/call?workerid=w&count=1&timeout=500"), "a task"
        )
        assert shown["inputData"]["login"]["keys"] == [{"auth": f"Bearer {VALUE}"}]
        assert VALUE not in str(client.request("GET", f"/api/tasks/{shown['taskId']}"))

        views = everything(client, run) + everything(client, polled)
        assert VALUE not in views
        assert f"Bearer {REFERENCE}" in views
        assert "Bearer ***" in views  # what the service sent back
        assert house.command("backup", tmp_path / "copy.db", "--data", house.data).exit_code == 0
    assert house.process is not None
    house.process.stop()
    assert VALUE not in "\n".join(house.process.log)
    for file in [*house.data.rglob("*"), tmp_path / "copy.db"]:
        assert not file.is_file() or VALUE.encode() not in file.read_bytes(), file
    assert check(house.data / FILE).problems == []
    assert check(tmp_path / "copy.db").rows["secret"] == 1


def test_a_step_whose_secret_is_missing_fails_by_its_name_and_goes_on_when_it_is_there(house: House, echo: str) -> None:
    http = {"uri": echo, "method": "GET", "headers": {"Authorization": f"Bearer {REFERENCE}"}}
    with house.start() as client:
        define(
            client,
            workflow("asks", task("HTTP", "ask", http_request=http)),
            workflow("calls", task("SIMPLE", "call", a=REFERENCE)),
        )
        asking, calling = begin(client, "asks"), begin(client, "calls")
        client.work("me", claim=ClaimIn(["call"], 1, 0))
        for run in (asking, calling):
            fails(client, run)
            assert "the secret 'token' is not set" in everything(client, run)
        assert Echo.seen == []
        client.set_secret("token", VALUE)
        client.request("POST", f"/api/workflow/{asking}/retry", b"")
        eventually(lambda: status(client, asking) == "COMPLETED", "the run completes")
        assert Echo.seen == [f"Bearer {VALUE}"]
        client.remove_secret("token")
        with pytest.raises(RequestRefused) as refused:
            client.remove_secret("token")
        assert refused.value.status == 404


def test_values_come_from_the_environment_and_files_of_the_server_but_only_those_meant_for_it(house: House) -> None:
    (house.files / "database").write_text('{"user": "pelton", "password": "of-the-file"}\n')
    (house.folder / "outside").write_text("private")
    (house.files / "link").symlink_to(house.folder / "outside")
    with house.start() as client:
        client.set_secret("house", source="env:HOUSE")
        client.set_secret("database", source="file:database")
        client.set_secret("elsewhere", source="env:ELSEWHERE")
        for source in ("file:../outside", "file:link", f"file:{house.folder}/outside", "file:", "env:A B", "http://x", "env:"):
            with pytest.raises(RequestRefused) as refused:
                client.set_secret("bad", source=source)
            assert refused.value.status == 400
        inputs = {
            "house": "${workflow.secrets.house}", "password": "${workflow.secrets.database.password}",
            "login": "${workflow.secrets.database.user}:${workflow.secrets.database.password}",
        }  # fmt: skip
        define(
            client,
            workflow("both", task("SIMPLE", "call", **inputs)),
            workflow("absent", task("SIMPLE", "miss", x="${workflow.secrets.elsewhere}")),
            workflow("member", task("SIMPLE", "part", x="${workflow.secrets.database.port}")),
        )
        run = begin(client, "both")
        item = claimed(client, "call")
        assert item.input == {"house": "from-the-environment", "password": "of-the-file", "login": "pelton:of-the-file"}
        (house.files / "database").write_text('{"user": "pelton", "password": "changed"}')
        client.work("me", reports=[ReportIn(item.id, status="FAILED")])
        assert "of-the-file" not in everything(client, run)
        for name, queue, reason in (("absent", "miss", "PELTON_SECRET_ELSEWHERE"), ("member", "part", NO_MEMBER)):
            run = begin(client, name)
            client.work("me", claim=ClaimIn([queue], 1, 0))
            fails(client, run)
            assert reason in everything(client, run)


WRONG = [
    workflow("w", task("SET_VARIABLE", "s", x=REFERENCE)),
    workflow("w", task("INLINE", "s", evaluatorType="javascript", expression="1", x=[f"a {REFERENCE}"])),
    workflow("w", task("SIMPLE", "s"), outputParameters={"x": REFERENCE}),
    workflow("w", {**task("EVENT", "s"), "sink": "webhook:http://127.0.0.1/" + REFERENCE}),
    workflow("w", task("SIMPLE", "s", x="${workflow.env.HOME}")),
    workflow("w", task("SIMPLE", "s", x="${workflow.secrets}")),
    workflow("w", task("SIMPLE", "s", x="${workflow.secrets.a[*]}")),
]


def test_a_secret_that_would_be_kept_is_refused_when_it_is_defined(house: House) -> None:
    with house.start() as client:
        for wrong in WRONG:
            with pytest.raises(RequestRefused) as refused:
                client.request("POST", "/api/metadata/workflow", json.dumps(wrong).encode(), content_type="application/json")
            assert refused.value.status == 400, wrong
            assert "${workflow." in str(refused.value)


def test_secrets_are_set_listed_removed_and_encrypted_anew_on_the_command_line(house: House) -> None:
    with house.start() as client:
        assert house.command("secrets", "set", "token", said=VALUE + "\n").exit_code == 0
        assert house.command("secrets", "set", "house", "--source", "env:HOUSE").exit_code == 0
        assert house.command("secrets", "set", "gone", said="x").exit_code == 0
        assert house.command("secrets", "remove", "gone").exit_code == 0
        listed = house.command("secrets", "list")
        assert "token" in listed.stdout
        assert "env:HOUSE" in listed.stdout
        assert VALUE not in listed.stdout + listed.stderr
        assert house.command("secrets", "set", "9", said="x").exit_code == 1
        define(client, workflow("calls", task("SIMPLE", "call", a=REFERENCE)))
        new = key_file(house.folder / "new")
        rotate = ("secrets", "rotate", "--old-key-file", house.key, "--secrets-key-file", new, "--data", house.data)
        refused = house.command(*rotate)
        assert refused.exit_code == 1
        assert "Stop it first" in refused.stderr
    house.stop()
    wrong = house.command("secrets", "rotate", "--old-key-file", new, "--secrets-key-file", new, "--data", house.data)
    assert wrong.exit_code == 1
    assert "'token'" in wrong.stderr
    done = house.command(*rotate)
    assert done.stdout == "1 secrets encrypted with the new key, 0 had been before\n", done.stderr
    assert house.command(*rotate).stdout == "0 secrets encrypted with the new key, 1 had been before\n"
    house.key = new
    with house.start() as client:
        begin(client, "calls")
        assert claimed(client, "call").input == {"a": VALUE}


def test_without_a_key_a_value_is_neither_taken_nor_lost(house: House) -> None:
    with house.start() as client:
        client.set_secret("token", VALUE)
        define(client, workflow("calls", task("SIMPLE", "call", a=REFERENCE)))
    house.stop()
    house.key = key_file(house.folder / "another")
    with house.start() as client:
        run = begin(client, "calls")
        client.work("me", claim=ClaimIn(["call"], 1, 0))
        fails(client, run)
        assert "it was encrypted with another key" in everything(client, run)
        (kept,) = client.secrets().secrets
        assert (kept.name, kept.set_by) == ("token", "")
