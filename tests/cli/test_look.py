"""`pelton events`, `explain`, `dead-letters`, and how the command fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner, Result
from tests.server.running import WAITING, client, define, fresh, server, starter

import pelton as package
from pelton.cli.main import main
from pelton.cli.process import ServerProcess
from pelton.client import Client

__all__ = ["client", "server"]  # fixtures


def pelton(server: ServerProcess, *arguments: str) -> Result:
    done = CliRunner().invoke(main, [*arguments, "--server", server.address])
    assert done.exit_code == 0, done.output
    return done


def test_explain_tells_what_fired_and_what_did_not(server: ServerProcess, client: Client) -> None:
    big = starter("big_orders", "test:order", "waiting", "$.number > 10")
    define(client, WAITING, big, starter("all_orders", "test:order", "waiting"))
    answer = client.post_event("test:order", "/shop", {"number": 5}, id="o1")
    run = answer.effects[0].run
    for text in (pelton(server, "explain", answer.key).output, pelton(server, "explain", "o1", "--source", "/shop").output):
        assert "handler big_orders: false" in text
        assert "5" in text
        assert "handler all_orders: fired" in text
        assert f"started run {run}" in text
        assert "pause_ref  OPEN" in text
    only = pelton(server, "explain", answer.key, "--handler", "big_orders").output
    assert "all_orders" not in only
    found = json.loads(pelton(server, "explain", answer.key, "--json").output)
    assert {each["handler"]: each["verdict"] for each in found["decisions"]} == {"big_orders": "false", "all_orders": "fired"}


def test_an_event_nobody_wants_is_explained_too(server: ServerProcess, client: Client) -> None:
    key = client.post_event("test:unwanted", "/s").key
    assert "unmatched" in pelton(server, "explain", key).output
    assert "unmatched" in pelton(server, "events", "--type", "test:unwanted").output


def test_a_trace_tells_texts_from_numbers(server: ServerProcess, client: Client) -> None:
    define(client, WAITING, starter("typed", "test:typed", "waiting", "$.number === 150 || $.flag === true"))
    key = client.post_event("test:typed", "/s", {"number": "150", "flag": "true"}).key
    shown = pelton(server, "explain", key, "--handler", "typed").output
    assert 'saw "150"' in shown
    assert 'saw "true"' in shown


def test_handlers_for_other_types_are_explained_when_asked_for(server: ServerProcess, client: Client) -> None:
    define(client, WAITING, starter("of_this", "test:this", "waiting"), starter("of_that", "test:that", "waiting"))
    key = client.post_event("test:this", "/s", {"number": 1}).key
    shown = pelton(server, "explain", key).output
    assert "handler of_this: fired" in shown
    assert "of_that" not in shown
    assert "--all" in shown
    assert "of_that" not in pelton(server, "explain", key, "--json").output
    every = pelton(server, "explain", key, "--all").output
    assert "handler of_that: type differs" in every
    assert "--all" not in every
    assert "handler of_that: type differs" in pelton(server, "explain", key, "--handler", "of_that").output


def test_a_list_of_nothing_says_so(server: ServerProcess) -> None:
    shown = pelton(server, "events", "--type", "test:never", "--state", "failed").output
    assert shown == "no events of type test:never in state failed\n"
    assert pelton(server, "events", "--type", "test:never", "--json").output == ""


def test_the_advice_for_an_unknown_event_is_the_commands_own(server: ServerProcess) -> None:
    done = CliRunner().invoke(main, ["explain", "none", "--server", server.address])
    assert "together with its source" in done.output
    assert "?source" not in done.output


def test_events_are_listed_newest_last(server: ServerProcess, client: Client) -> None:
    keys = [client.post_event("test:list", "/s", number).key for number in range(3)]
    lines = pelton(server, "events", "--type", "test:list", "--json").output.splitlines()
    assert [json.loads(line)["key"] for line in lines] == keys


def test_following_prints_each_event_as_it_comes(server: ServerProcess, client: Client) -> None:
    client.post_event("test:tail", "/s", 0)
    command = [
        sys.executable,
        "-u",
        "-m",
        "pelton.cli",
        "events",
        "--type",
        "test:tail",
        "--follow",
        "--json",
        "--server",
        server.address,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert json.loads(process.stdout.readline())["data"] == 0
            for number in (1, 2):
                client.post_event("test:tail", "/s", number)
                assert json.loads(process.stdout.readline())["data"] == number
        finally:
            process.kill()


def test_an_event_says_what_it_was_about(server: ServerProcess, client: Client) -> None:
    key = client.post_event("test:about", "/shop", {"order": 7, "text": "x" * 200}, id="own-1", subject="/in/a.csv").key
    line = pelton(server, "events", "--type", "test:about").output
    assert f"{key}  test:about  /in/a.csv (own-1) " in line
    assert '"order": 7' in line
    assert "x" * 100 not in line
    text = pelton(server, "explain", key).output
    for part in ("subject /in/a.csv", "id own-1", 'data {"order": 7'):
        assert part in text


def test_following_events_goes_on_when_the_server_has_restarted(tmp_path: Path) -> None:
    first = fresh(tmp_path / "data")
    command = [sys.executable, "-u", "-m", "pelton.cli", "events", "--follow", "--json", "--server", first.address]
    with Client(first.address) as before:
        before.post_event("test:before", "/s", 1)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert json.loads(process.stdout.readline())["type"] == "test:before"
            assert first.stop() == 0
            assert "trying again" in process.stderr.readline()
            second = ServerProcess(tmp_path / "data", port=int(first.address.rpartition(":")[2]))
            second.wait_ready()
            try:
                with Client(second.address) as after:
                    after.post_event("test:after", "/s", 2)
                assert json.loads(process.stdout.readline())["type"] == "test:after"
            finally:
                second.stop()
        finally:
            process.kill()


def test_text_from_outside_cannot_draw_on_the_terminal(server: ServerProcess, client: Client) -> None:
    define(client, starter("odd_handler", "test:odd", "waiting", "$.number == '\u001b[31m'"))
    key = client.post_event("test:odd", "/s", {"number": "\u001b[2J"}).key
    assert "\u001b" not in pelton(server, "explain", key).output


def test_no_dead_letters(server: ServerProcess) -> None:
    assert "no dead letters" in pelton(server, "dead-letters").output


def test_errors_are_one_line_with_a_code(server: ServerProcess) -> None:
    done = CliRunner().invoke(main, ["explain", "nonsense", "--server", server.address])
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)
    done = CliRunner().invoke(main, ["events", "--server", "http://127.0.0.1:1"])
    assert (done.exit_code, len(done.stderr.splitlines())) == (3, 1)
    assert "pelton serve" in done.stderr
    done = CliRunner().invoke(main, ["events", "--server", "nonsense"])
    assert done.exit_code == 2


def test_the_version_is_the_packages() -> None:
    assert CliRunner().invoke(main, ["version"]).output == f"pelton {package.__version__}\n"
    assert package.__version__ in CliRunner().invoke(main, ["--version"]).output


def test_the_settings_can_be_printed(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text("port = 99\napi-keys = ['a-secret-that-is-long']\n")
    done = CliRunner().invoke(main, ["serve", "--print-config", "--config", str(file)], env={"PELTON_MAX_BODY": "2048"})
    assert done.exit_code == 0
    assert "port = 99" in done.output
    assert "max_body = 2048" in done.output
    assert "a-secret" not in done.output


def test_the_command_starts_quickly_because_it_loads_little() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import pelton.cli.main, sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    heavy = {"aiobotocore", "botocore", "httpx", "yaml", "apsw", "prometheus_client", "pelton.server.lifecycle"}
    heavy.add("pelton.transport.http.connection")
    assert heavy.isdisjoint(done.stdout.split())
