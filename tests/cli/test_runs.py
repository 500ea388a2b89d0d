"""`pelton runs`, `run`, `start`, `signal`, and what is done with runs, through a running server."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.patience import eventually
from tests.server.running import WAITING, WORKING, client, define, fresh, server, starter

from pelton.cli.apply import example
from pelton.cli.main import main
from pelton.cli.output import coloured
from pelton.cli.process import ServerProcess
from pelton.client import Client, RequestRefused
from pelton.models import ClaimIn, FailureIn, ReportIn, RunFilterIn

__all__ = ["client", "server"]  # fixtures

FLAKY = {
    "name": "flaky",
    "version": 1,
    "schemaVersion": 2,
    "tasks": [
        {"name": "try_it", "taskReferenceName": "try_ref", "type": "SIMPLE", "inputParameters": {"x": "${workflow.input.x}"}}
    ],
}


def pelton(server: ServerProcess, *arguments: str, code: int = 0, answer: str = "") -> Result:
    done = CliRunner().invoke(main, [*arguments, "--server", server.address], input=answer)
    assert done.exit_code == code, done.output
    return done


def printed(server: ServerProcess, *arguments: str, code: int = 0) -> Any:
    return json.loads(pelton(server, *arguments, "--json", code=code).stdout)


def named(document: dict[str, Any], name: str) -> dict[str, Any]:
    return {**document, "name": name}


def start(server: ServerProcess, *arguments: str) -> str:
    return str(printed(server, "start", *arguments)["id"])


def status(client: Client, run: str) -> str:
    return client.run(run).run.status


def work_on(client: Client, queue: str, **report: Any) -> None:
    [item] = client.work("ann", claim=ClaimIn([queue], wait=5_000)).items
    client.work("ann", [ReportIn(item.id, attempt=item.attempt, **report)])


def test_a_run_is_started_and_looked_at(server: ServerProcess, client: Client) -> None:
    define(client, named(WORKING, "shown"))
    run = start(server, "shown", "--input", '{"number": 7}', "--set", "name=Ann", "--correlation", "order-1")
    view = printed(server, "run", run)
    assert set(view) == {"detail", "standing", "steps", "attempts", "more_steps"}
    assert view["detail"]["input"] == {"number": 7, "name": "Ann"}
    [wait] = view["standing"]["waits"]
    assert (wait["what"], wait["name"], wait["slot"]) == ("work", "step_one", "one_ref")
    assert "which no worker has asked for" in view["standing"]["why"]
    client.work("ann", claim=ClaimIn(["step_one"]))
    [wait] = printed(server, "run", run)["standing"]["waits"]
    assert (wait["worker"], wait["since"] > 0) == ("ann", True)
    text = pelton(server, "run", run).output
    assert f"run {run}" in text
    assert "shown version 1: RUNNING" in text
    assert "held by ann since" in text
    assert "correlation order-1" in text
    assert "attempt 0 by ann running" in text


def test_an_idempotency_key_starts_one_run_only(server: ServerProcess, client: Client) -> None:
    define(client, named(WAITING, "once"))
    assert start(server, "once", "--run-key", "k1") == start(server, "once", "--run-key", "k1")
    [found] = printed(server, "runs", "--run-key", "k1")["runs"]
    assert found["process"] == "once"


def test_runs_are_found_by_what_is_known_of_them(server: ServerProcess, client: Client) -> None:
    define(client, named(WAITING, "found"))
    runs = [start(server, "found", "--set", f"name=customer {number}", "--correlation", f"c{number}") for number in range(3)]
    client.act_on_run(runs[0], "terminate", reason="a mistake")

    def ids(*options: str) -> list[str]:
        return [each["id"] for each in printed(server, "runs", "--process", "found", *options)["runs"]]

    assert ids() == runs[::-1]
    assert ids("--state", "terminated") == runs[:1]
    assert ids("--live") == [runs[2], runs[1]]
    assert ids("--ended") == runs[:1]
    assert ids("--run-key", "c1") == [runs[1]]
    assert ids("--run-key", "c0", "--live") == []
    assert ids("--text", "Customer 2") == [runs[2]]
    assert ids("--text", "a mistake") == runs[:1]
    assert ids("--since", "1h") == runs[::-1]
    assert ids("--until", "1h") == []
    first = printed(server, "runs", "--process", "found", "--limit", "2")
    assert set(first) == {"runs", "before"}
    assert ids("--before", first["before"]) == runs[:1]
    text = pelton(server, "runs", "--process", "found", "--limit", "2").output
    assert f"more: --before {runs[1]}" in text
    assert "\x1b" not in text
    assert "no runs" in pelton(server, "runs", "--process", "nowhere").output


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("runs", "--since", "yesterday"), 2, "is no time"),
        (("runs", "--state", "ASLEEP"), 2, "running"),
        (("runs", "--variable", "x"), 2, "NAME=VALUE"),
        (("runs", "--since", "1h", "--until", "2h"), 1, "is not after"),
        (("run", "nonsense"), 1, "no such run"),
        (("start", "nowhere"), 1, "/v1/processes"),
        (("start", "nowhere", "--input", "{"), 2, "is not JSON"),
        (("start", "nowhere", "--input", "@nothing.json"), 2, "cannot be read"),
        (("signal", "nonsense", "go"), 1, "no such run"),
        (("retry",), 2, "give the runs"),
        (("retry", "x", "--process", "y"), 2, "not both"),
        (("retry", "nonsense"), 1, "no such run"),
        (("rerun", "x", "y", "--step", "1"), 2, "one RUN"),
        (("pause", "--process", "x", "--json"), 2, "--yes"),
    ],
)
def test_what_is_wrong_is_said_with_a_code(server: ServerProcess, arguments: tuple[str, ...], code: int, says: str) -> None:
    assert says in pelton(server, *arguments, code=code).stderr


def test_a_run_gets_what_it_waits_for(server: ServerProcess, client: Client) -> None:
    define(client, named(WAITING, "gets"))
    run = start(server, "gets")
    assert "pause_ref waits for" in printed(server, "run", run)["standing"]["why"]
    refused = pelton(server, "signal", run, "other", code=1).stderr
    assert "does not wait for 'other' now: pause_ref waits for" in refused
    done = printed(server, "signal", run, "pause_ref", "--data", '{"answer": 5}')
    assert (done["as_what"], done["run"]["status"]) == ("report", "COMPLETED")
    assert client.run(run).output == {"got": 5}
    assert "has ended" in pelton(server, "signal", run, "pause_ref", code=1).stderr


def test_an_event_may_be_held_for_a_step_to_come(server: ServerProcess, client: Client) -> None:
    define(client, named(WAITING, "holds"))
    run = start(server, "holds")
    assert printed(server, "signal", run, "later", "--data", '{"x": 1}', "--hold")["held"] is True
    [event] = printed(server, "run", run)["standing"]["events_in"]
    assert (event["name"], event["state"], event["data"]) == ("later", "held", {"x": 1})
    assert "later held" in pelton(server, "run", run).output


def test_a_run_says_which_event_started_it(server: ServerProcess, client: Client) -> None:
    define(client, named(WAITING, "by_event"), starter("by_event_starter", "test:by_event", "by_event"))
    run = client.post_event("test:by_event", "/s", {"number": 1}).effects[0].run
    [event] = printed(server, "run", run)["standing"]["events_in"]
    assert (event["name"], event["state"]) == ("test:by_event", "started")


def test_single_runs_are_acted_on(server: ServerProcess, client: Client) -> None:
    define(client, FLAKY)
    run = start(server, "flaky", "--set", "x=1")
    assert printed(server, "pause", run) == {"run": run, "done": True, "status": "PAUSED"}
    assert "an operator has paused the run" in pelton(server, "run", run).output
    assert printed(server, "pause", run)["status"] == "PAUSED"
    assert printed(server, "resume", run)["status"] == "RUNNING"
    assert "nothing needs to be done" in pelton(server, "resume", run, code=1).stderr
    assert "terminate it first" in pelton(server, "rerun", run, code=1).stderr
    work_on(client, "try_it", status="FAILED_FOR_GOOD", reason="no paper")
    assert status(client, run) == "FAILED"
    text = pelton(server, "run", run).output
    assert "no paper" in text
    assert "the run has ended (failed)" in text
    assert pelton(server, "retry", run, "--dry-run").output.endswith("flaky\n")
    assert status(client, run) == "FAILED"
    assert printed(server, "retry", run)["status"] == "RUNNING"
    work_on(client, "try_it")
    assert status(client, run) == "COMPLETED"
    assert "run it again instead" in pelton(server, "retry", run, code=1).stderr
    assert printed(server, "rerun", run, "--input", '{"x": 2}')["status"] == "RUNNING"
    assert client.run(run).input == {"x": 2}
    assert printed(server, "terminate", run, "--reason", "enough")["status"] == "TERMINATED"
    assert client.run(run).reason == "enough"
    assert "retry it, or run it again" in pelton(server, "terminate", run, code=1).stderr
    n = client.steps(run).steps[0].n
    assert "no step of this number" in pelton(server, "rerun", run, "--step", "999", code=1).stderr
    assert printed(server, "rerun", run, "--step", str(n))["status"] == "RUNNING"


def test_of_several_runs_each_is_answered_for(server: ServerProcess, client: Client) -> None:
    define(client, named(WAITING, "several"))
    runs = [start(server, "several") for _ in range(2)]
    done = pelton(server, "terminate", runs[0], "nonsense", runs[1], code=1)
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [[run, "TERMINATED"] for run in runs]
    assert "nonsense: id: no such run" in done.stderr


def test_many_runs_are_previewed_asked_about_and_acted_on_as_a_job(server: ServerProcess, client: Client) -> None:
    define(client, named(WAITING, "bulk"))
    runs = [start(server, "bulk") for _ in range(70)]
    client.act_on_run(runs[0], "pause")
    preview = printed(server, "terminate", "--process", "bulk", "--dry-run")
    assert (preview["count"], len(preview["runs"]), preview["newest"]) == (70, 70, runs[-1])
    assert "job" not in preview
    refused = pelton(server, "terminate", "--process", "bulk", code=1, answer="n\n")
    assert "70 runs to terminate" in refused.stdout
    assert "nothing was done" in refused.stderr
    assert {each.status for each in client.runs(process="bulk").runs} == {"RUNNING", "PAUSED"}
    done = printed(server, "pause", "--process", "bulk", "--yes")
    assert (done["count"], done["failed"]) == (69, [])
    assert {each.status for each in client.runs(process="bulk").runs} == {"PAUSED"}
    results = client.job_results(done["job"])
    assert (results.runs, {each.outcome for each in results.results}) == (69, {"signalled"})
    said = pelton(server, "resume", "--process", "bulk", answer="y\n").output
    assert "70 runs resumed (job " in said
    assert "70 runs terminated" in pelton(server, "terminate", "--process", "bulk", "--reason", "all", "--yes").output
    assert client.run(runs[5]).reason == "all"
    assert "no runs to terminate" in pelton(server, "terminate", "--process", "bulk", "--yes").output
    assert "70 runs run again" in pelton(server, "rerun", "--process", "bulk", "--yes").output
    assert {each.status for each in client.runs(process="bulk").runs} == {"RUNNING"}


def test_a_job_tells_which_runs_it_could_not_act_on(server: ServerProcess, client: Client) -> None:
    define(client, named(WAITING, "stopped"))
    runs = [start(server, "stopped") for _ in range(3)]
    client.pause_process("stopped")
    for run in runs:
        eventually(lambda run=run: status(client, run) == "PAUSED", run)  # type: ignore[misc]
    done = pelton(server, "resume", "--process", "stopped", "--yes", code=1)
    assert "0 runs resumed" in done.stdout
    assert "resume the process instead" in done.stderr
    assert len(printed(server, "resume", "--process", "stopped", "--yes", code=1)["failed"]) == 3
    client.resume_process("stopped")


def test_runs_started_after_a_preview_are_left_alone(server: ServerProcess, client: Client) -> None:
    define(client, named(WAITING, "newer"))
    old = start(server, "newer")
    preview = client.act_on_runs("terminate", where=RunFilterIn("newer"), preview=True)
    new = start(server, "newer")
    done = client.act_on_runs("terminate", where=RunFilterIn("newer"), newest=preview.newest)
    assert [each.id for each in done.runs] == [old]
    eventually(lambda: status(client, old) == "TERMINATED", "the old run is terminated")
    assert status(client, new) == "RUNNING"


@pytest.mark.parametrize(("runs", "where"), [([], None), (["x"], RunFilterIn())])
def test_a_job_needs_runs_or_a_filter(client: Client, runs: list[str], where: RunFilterIn | None) -> None:
    with pytest.raises(RequestRefused) as caught:
        client.act_on_runs("pause", runs, where)
    assert (caught.value.status, caught.value.field) == (400, "runs")


def test_a_failure_is_shown_with_the_attempts_before_it(server: ServerProcess, client: Client) -> None:
    tasks = [{"name": "print_it", "taskReferenceName": "print_ref", "type": "SIMPLE"}]
    define(client, {**FLAKY, "name": "tried", "tasks": tasks})
    run = start(server, "tried")
    work_on(client, "print_it", status="FAILED_FOR_GOOD", failure=FailureIn(message="out of ink"))
    view = printed(server, "run", run)
    assert [each["outcome"] for found in view["attempts"].values() for each in found] == ["failed"]


def test_following_goes_on_when_the_server_has_restarted(tmp_path: Path) -> None:
    first = fresh(tmp_path / "data")
    port = first.address.rpartition(":")[2]
    with Client(first.address) as client:
        define(client, WAITING)
        before = client.start_run("waiting").id
    command = [sys.executable, "-u", "-m", "pelton.cli", "runs", "--follow", "--json", "--server", first.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert json.loads(process.stdout.readline())["id"] == before
            assert first.stop() == 0
            assert "trying again" in process.stderr.readline()
            second = ServerProcess(tmp_path / "data", port=int(port))
            second.wait_ready()
            try:
                with Client(second.address) as client:
                    client.act_on_run(before, "pause")
                    new = client.start_run("waiting").id
                found = [json.loads(process.stdout.readline()) for _ in range(2)]
                assert {(each["id"], each["status"]) for each in found} >= {(new, "RUNNING")}
                assert (before, "PAUSED") in {(each["id"], each["status"]) for each in found}
            finally:
                second.stop()
        finally:
            process.kill()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(shell: str) -> None:
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0
    assert "_PELTON_COMPLETE" in done.output


def test_runs_of_another_language_are_started_and_signalled_too(server: ServerProcess, client: Client) -> None:
    names = ("check_quotes", "import_quotes", "new_quotes_file")
    documents = [example("lusid", name) for name in names]
    define(client, *documents)
    definition = next(each for each in documents if "states" in each and each["id"]["code"].startswith("Check"))
    name = f"{definition['id']['scope']}/{definition['id']['code']}"
    run = start(server, name, "--input", json.dumps({"fields": {"file": "/in/a.csv"}}))
    waits = printed(server, "run", run)["standing"]["waits"]
    assert {each["name"] for each in waits if each["what"] == "trigger"} == {"pass", "reject"}
    refused = pelton(server, "signal", run, "reject", code=1).stderr
    assert "say in the remark what is wrong" in refused
    assert "does not wait for 'else' now: Open waits for trigger" in pelton(server, "signal", run, "else", code=1).stderr
    done = printed(server, "signal", run, "reject", "--data", '{"fields": {"remark": "too high"}}')
    assert (done["as_what"], done["run"]["status"]) == ("trigger", "COMPLETED")
    assert client.request("GET", f"/workflow/api/tasks/{run}")["state"] == "Rejected"


@pytest.mark.parametrize(
    "given",
    [
        "5",
        '["x"]',
        '{"fields": 5}',
        '{"fields": {"file": 5}}',
        '{"correlationIds": {"a": 1}}',
        '{"stackingKey": {"a": 1}}',
        '"text"',
    ],
)
def test_an_input_that_a_language_cannot_take_is_refused(server: ServerProcess, client: Client, given: str) -> None:
    define(client, example("lusid", "check_quotes"))
    done = CliRunner().invoke(
        main, ["start", "Finbourne-Examples/Check-Quotes-For-Outliers", "--input", given, "--server", server.address]
    )
    assert done.exit_code == 1, done.output
    assert "internal error" not in done.stderr


def test_a_job_may_be_for_runs_by_their_ids(client: Client) -> None:
    define(client, named(WAITING, "by_ids"))
    runs = [client.start_run("by_ids").id for _ in range(3)]
    done = client.act_on_runs("terminate", runs[:2], reason="two of them")
    assert (done.count, bool(done.job)) == (2, True)
    eventually(lambda: [status(client, run) for run in runs] == ["TERMINATED", "TERMINATED", "RUNNING"], "two are terminated")


@pytest.mark.parametrize(("terminal", "no_color", "painted"), [(True, "", True), (True, "1", False), (False, "", False)])
def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch, terminal: bool, no_color: str, painted: bool) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr("sys.stdout", Terminal(terminal))
    assert ("\x1b[" in coloured("FAILED")) is painted
    assert coloured("anything else") == "anything else"


class Terminal(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal
