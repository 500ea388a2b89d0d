"""Processes as a whole, through a running server: the list, pausing and resuming, what stands at a node; the command line too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner
from tests.patience import eventually
from tests.server.running import WAITING, WORKING, define, server

from pelton.cli.main import main
from pelton.cli.process import ServerProcess
from pelton.client import Client, RequestRefused

__all__ = ["server"]  # fixture


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.address) as made:
        yield made
        for process in made.processes().processes:
            if process.pause is not None:
                made.resume_process(process.name)


def named(document: dict[str, Any], name: str) -> dict[str, Any]:
    return {**document, "name": name}


def start(client: Client, name: str) -> str:
    return str(client.request("POST", "/api/workflow", {"name": name, "version": 1, "input": {"number": 1}}))


def status(client: Client, run: str) -> str:
    return client.run(run).run.status


def becomes(client: Client, run: str, wanted: str) -> None:
    eventually(lambda: status(client, run) == wanted, f"{run} is {wanted}")


def test_a_process_is_paused_and_resumed(client: Client) -> None:
    define(client, named(WAITING, "halls"))
    before, by_hand = start(client, "halls"), start(client, "halls")
    client.request("PUT", f"/api/workflow/{by_hand}/pause")
    view = client.pause_process("halls", "stocktaking")
    assert view.pause is not None
    assert (view.pause.why, view.pause.new_runs, view.live_runs) == ("stocktaking", "stand", 2)
    becomes(client, before, "PAUSED")
    new = start(client, "halls")
    assert status(client, new) == "PAUSED"
    assert client.request("GET", f"/api/workflow/{new}")["status"] == "PAUSED"
    why = client.run(new).why_paused
    assert why.startswith("process 'halls' is paused since ")
    assert why.endswith(" (stocktaking)")
    assert client.run(by_hand).why_paused.endswith("; an operator has paused the run")
    with pytest.raises(RequestRefused, match="is paused since") as caught:
        client.request("PUT", f"/api/workflow/{before}/resume")
    assert caught.value.status == 409
    assert client.process("halls").pause == view.pause
    assert client.resume_process("halls").pause is None
    becomes(client, before, "RUNNING")
    becomes(client, new, "RUNNING")
    assert client.run(before).why_paused == ""
    assert client.run(by_hand).why_paused == "an operator has paused the run"
    with pytest.raises(RequestRefused) as caught:
        client.resume_process("halls")
    assert (caught.value.status, caught.value.code) == (409, "not paused")


def test_new_runs_may_be_refused(client: Client) -> None:
    define(client, named(WAITING, "gates"))
    client.pause_process("gates", new_runs="refuse")
    with pytest.raises(RequestRefused, match="takes no new runs") as caught:
        start(client, "gates")
    assert caught.value.status == 409
    client.resume_process("gates")
    assert status(client, start(client, "gates")) == "RUNNING"


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", "/v1/processes/nowhere/pause", None, (404, "unknown process")),
        ("POST", "/v1/processes/nowhere/resume", None, (404, "unknown process")),
        ("GET", "/v1/processes/nowhere", None, (404, "unknown process")),
        ("GET", "/v1/processes/nowhere/nodes/x/steps", None, (404, "unknown process")),
        ("POST", "/v1/processes/nowhere/pause", {"new_runs": "queue"}, (400, "invalid")),
        ("POST", "/v1/processes/nowhere/pause", {"why": "x" * 1001}, (400, "invalid")),
        ("GET", "/v1/processes?limit=0", None, (400, "invalid")),
        ("GET", "/v1/processes/nowhere/nodes/x/steps?after=here", None, (400, "invalid")),
    ],
)
def test_what_is_wrong_is_said(client: Client, method: str, path: str, body: Any, expected: tuple[int, str]) -> None:
    with pytest.raises(RequestRefused) as caught:
        client.request(method, path, body)
    assert (caught.value.status, caught.value.code) == expected


def test_processes_are_listed_in_pages(client: Client) -> None:
    define(client, *(named(WAITING, f"many_{number}") for number in range(5)))
    define(client, {**named(WAITING, "many_2"), "version": 2}, {**named(WAITING, "many_2"), "version": 3})
    found: dict[str, list[int]] = {}
    after = "many"
    while (page := client.processes(after, 2)).processes:
        assert not set(found) & {each.name for each in page.processes}
        found.update({each.name: each.versions for each in page.processes})
        after = page.after
    assert {name: versions for name, versions in found.items() if name.startswith("many_")} == {
        "many_0": [1], "many_1": [1], "many_2": [1, 2, 3], "many_3": [1], "many_4": [1],
    }  # fmt: skip


def test_what_stands_at_a_node_is_listed_in_pages_over_all_runs(client: Client) -> None:
    define(client, named(WAITING, "queue"), named(WORKING, "others"))
    runs = [start(client, "queue") for _ in range(5)]
    start(client, "others")
    seen: list[str] = []
    after = ""
    while True:
        page = client.node_steps("queue", "pause_ref", after, 2)
        assert (page.count, page.more) == (5, False)
        seen += [each.run for each in page.steps]
        assert all(each.step.slot == "pause_ref" and each.step.waits_for == "WAIT" for each in page.steps)
        after = page.after
        if not after:
            break
    assert seen == runs
    assert client.node_steps("queue", "one_ref").steps == []
    client.pause_process("queue")
    new = start(client, "queue")
    page = client.node_steps("queue", "pause_ref", limit=1_000)
    assert [(each.run, each.step.waits_for) for each in page.steps][-1] == (new, "PARKED")


def test_a_page_of_steps_ends_before_it_is_too_large(client: Client) -> None:
    name = "large"
    task = {
        "name": "big",
        "taskReferenceName": "big_ref",
        "type": "SIMPLE",
        "inputParameters": {"text": "${workflow.input.text}"},
    }
    define(client, {"name": name, "version": 1, "schemaVersion": 2, "tasks": [task]})
    for _ in range(5):
        client.request("POST", "/api/workflow", {"name": name, "version": 1, "input": {"text": "x" * 400_000}})
    sizes = []
    after = ""
    while True:
        page = client.node_steps(name, "big_ref", after)
        sizes.append(len(page.steps))
        after = page.after
        if not after:
            break
    assert sizes == [2, 2, 1]


def run(server: ServerProcess, *arguments: str) -> Any:
    return CliRunner().invoke(main, ["processes", *arguments, "--server", server.address])


def test_the_command_line(server: ServerProcess, client: Client) -> None:
    define(client, named(WAITING, "desk"))
    one = start(client, "desk")
    paused = run(server, "pause", "desk", "--why", "lunch")
    assert paused.exit_code == 0, paused.output
    assert paused.output.startswith("desk is paused: since ")
    assert "(lunch); 1 live runs stand" in paused.output
    becomes(client, one, "PAUSED")
    listed = run(server)
    assert listed.exit_code == 0, listed.output
    (row,) = [line for line in listed.output.splitlines() if line.startswith("desk ")]
    assert "since " in row
    assert json.loads(run(server, "--json", "--after", "des", "--limit", "1").output)["processes"][0]["name"] == "desk"
    assert one in run(server, "steps", "desk", "pause_ref").output
    again = run(server, "resume", "desk")
    assert again.output == "desk is resumed; 1 live runs go on\n"
    failed = run(server, "resume", "desk")
    assert failed.exit_code == 1
    assert "is not paused" in failed.output
