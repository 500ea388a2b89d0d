"""`pelton handlers`, `work`, `gc` and `health`, through a running server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.server.running import WAITING, WORKING, client, define, server, starter

from pelton.cli.apply import example
from pelton.cli.main import main
from pelton.cli.process import ServerProcess
from pelton.client import Client
from pelton.models import ClaimIn, HealthOut

__all__ = ["client", "server"]  # fixtures


def pelton(server: ServerProcess, *arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(main, [*arguments, "--server", server.address])
    assert done.exit_code == code, done.output
    return done


def printed(server: ServerProcess, *arguments: str) -> Any:
    return json.loads(pelton(server, *arguments, "--json").stdout)


def handler(server: ServerProcess, name: str) -> dict[str, Any]:
    [found] = [each for each in printed(server, "handlers")["handlers"] if each["name"] == name]
    return dict(found)


def test_handlers_are_listed_with_what_they_decided(server: ServerProcess, client: Client) -> None:
    define(client, WAITING, starter("big_ones", "test:size", "waiting", "$.number > 10"))
    last = [client.post_event("test:size", "/s", {"number": number}) for number in (5, 50, 500)][-1]
    found = handler(server, "big_ones")
    assert (found["types"], found["active"], found["fired"], found["other"]) == (["test:size"], True, 2, 1)
    assert (found["last"], found["last_event"]) == ("fired", last.key)
    text = pelton(server, "handlers").output
    assert "big_ones" in text
    assert "decisions on the newest" in text
    page = printed(server, "handlers", "--events", "1", "--limit", "1")
    assert set(page) == {"handlers", "events", "after"}
    assert (page["events"], page["after"]) == (1, page["handlers"][0]["name"])


def test_a_handler_is_switched_off_and_on(server: ServerProcess, client: Client) -> None:
    define(client, WAITING, starter("switched", "test:switched", "waiting"))
    assert "switched is off" in pelton(server, "handlers", "off", "switched").output
    assert printed(server, "handlers", "off", "switched")["active"] is False
    assert client.post_event("test:switched", "/s", {"number": 1}).effects == []
    assert printed(server, "handlers", "on", "switched")["active"] is True
    assert [each.outcome for each in client.post_event("test:switched", "/s", {"number": 2}).effects] == ["started"]
    assert "/v1/handlers lists them" in pelton(server, "handlers", "on", "nobody", code=1).stderr


def test_a_handler_of_another_language_keeps_all_else_about_it(server: ServerProcess, client: Client) -> None:
    definitions = [example("lusid", name) for name in ("check_quotes", "import_quotes", "new_quotes_file")]
    define(client, *definitions)
    [made] = [each for each in definitions if "taskActivity" in each]
    name = f"{made['id']['scope']}/{made['id']['code']}"
    path = f"/workflow/api/eventhandlers/{name}"
    before = client.request("GET", path)
    assert printed(server, "handlers", "off", name)["active"] is False
    after = client.request("GET", path)
    assert (before["status"], after["status"]) == ("Active", "Inactive")
    assert after["version"]["asAtVersionNumber"] == before["version"]["asAtVersionNumber"] + 1
    assert printed(server, "handlers", "off", name)["active"] is False
    assert client.request("GET", path) == after
    hidden = {"status", "version"}
    assert {key: each for key, each in before.items() if key not in hidden} == {
        key: each for key, each in after.items() if key not in hidden
    }


def test_queues_say_what_is_ready_and_held_and_who_asked(server: ServerProcess, client: Client) -> None:
    define(client, WORKING)
    for _ in range(3):
        client.start_run("working")
    [queue] = [each for each in printed(server, "work")["queues"] if each["queue"] == "step_one"]
    assert (queue["ready"], queue["held"], queue["pollers"]) == (3, 0, [])
    assert "nobody since the server started" in pelton(server, "work").output
    client.work("ann", claim=ClaimIn(["step_one"], count=2))
    [queue] = [each for each in printed(server, "work")["queues"] if each["queue"] == "step_one"]
    assert (queue["ready"], queue["held"], [each["worker"] for each in queue["pollers"]]) == (1, 2, ["ann"])
    assert "ann at 20" in pelton(server, "work").output


def test_what_would_be_removed_is_counted_by_kind(server: ServerProcess, client: Client) -> None:
    define(client, WAITING)
    run = client.start_run("waiting").id
    client.act_on_run(run, "terminate")
    kinds = {each["kind"]: each for each in printed(server, "gc", "--dry-run")["kinds"]}
    assert set(kinds) == {"events", "ids", "runs", "dead_letters", "results", "logs", "bookmarks"}
    assert kinds["runs"]["due"] == 0
    assert "forever" in pelton(server, "gc", "--dry-run", "--keep", "runs=forever").output
    assert client.run(run).run.status == "TERMINATED"
    assert "--dry-run" in pelton(server, "gc", code=2).stderr
    assert "KIND=HOW" in pelton(server, "gc", "--dry-run", "--keep", "sheep=1d", code=1).stderr
    assert "neither an age nor a number" in pelton(server, "gc", "--dry-run", "--keep", "runs=often", code=1).stderr


def test_health_is_an_exit_code(server: ServerProcess) -> None:
    assert pelton(server, "health").output == "healthy\n"
    assert printed(server, "health")["healthy"] is True
    assert pelton(server, "health", "--key", "of-no-importance-here").exit_code == 0
    nobody = CliRunner().invoke(main, ["health", "--server", "http://127.0.0.1:9"])
    assert nobody.exit_code == 3


@pytest.mark.parametrize(
    ("details", "says"),
    [
        ({"store": {"unhealthy": "the disk is full"}}, "not healthy: the disk is full"),
        ({"detail": "the server is not running"}, "not healthy: the server is not running"),
        ({"tasks": {"failure": "outbox: it ended"}}, "not healthy: outbox: it ended"),
        ({}, "not healthy: see --json"),
    ],
)
def test_a_server_that_is_ill_says_why(monkeypatch: pytest.MonkeyPatch, details: dict[str, Any], says: str) -> None:
    monkeypatch.setattr(Client, "health", lambda self: HealthOut(healthy=False, details=details))
    done = CliRunner().invoke(main, ["health"])
    assert (done.exit_code, done.stderr.strip().removeprefix("pelton: ")) == (1, says)
    assert json.loads(CliRunner().invoke(main, ["health", "--json"]).stdout) == {"healthy": False, "details": details}
