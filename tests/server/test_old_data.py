"""A data directory that an older version wrote opens, reads as it did, and goes on.

`tests/data/server.db.gz` is the file that version 0.1.0.dev0 left behind, packed; `server.json` says what is in it: the ids that
the tests name, how many rows each table has, and whole answers of the API from just before the end (without the definitions that
runs repeat). It was made by running a server of that version over HTTP: both languages were given definitions in several
versions, some of them removed; runs were brought to every state that lasts, ended and open; events were sent, held and refused;
a receiver answered 503 and 404; files came into a watched directory. Then the server was killed, durable signals that a server
takes up when it opens were written with that version's own store and encoders, and the file was compacted.

A file like that is never changed. When stored data get a new form, a further file is made by the version before, in the same way,
and opened beside this one.

The clock of the servers here goes on from when the file was closed, so that nothing depends on today's date.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.patience import PATIENCE, eventually
from tests.server.running import fresh

DATA = Path(__file__).resolve().parent.parent / "data"
FILE = gzip.decompress((DATA / "server.db.gz").read_bytes())
TOLD = json.loads((DATA / "server.json").read_text("utf-8"))
IDS: dict[str, Any] = TOLD["ids"]
ANN, BEN = "token-of-ann-123456", "token-of-ben-123456"
LUSID = "/workflow/api"
MINUTE = 60_000
LATER = 15 * MINUTE  # after the file was closed: timers are due, leases and held events are not over
ENDED = {"COMPLETED", "FAILED", "TERMINATED", "TIMED_OUT"}
WORK = ("pack", "ship", "turn", "right", "inner", "inlined", "way_a", "gate", "first", "second", "fragile", "clean")
REPEATED = {"workflowDefinition", "workflowTask", "callbackAfterSeconds"}


class Receiver(ThreadingHTTPServer):
    """Takes every message. Its port has five digits, as the one in the file."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taking)
        self.got: list[tuple[str, dict[str, str], Any]] = []
        self.port = str(self.server_address[1])
        assert len(self.port) == len(str(TOLD["port"]))


class Taking(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        assert isinstance(self.server, Receiver)
        self.server.got.append((self.path, {name.lower(): value for name, value in self.headers.items()}, json.loads(body)))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None: ...


class Old:
    """A server on a copy of the file."""

    def __init__(self, directory: Path, receiver: Receiver, later: int) -> None:
        self.receiver = receiver
        self.folder = directory / "drive"
        self.data = directory / "data"
        for each in (self.folder, self.data):
            each.mkdir()
        # The receiver of then had a port of its own; one of the same length takes its place.
        port, now = str(TOLD["port"]).encode(), receiver.port.encode()
        (self.data / "pelton.db").write_bytes(FILE)
        with sqlite3.connect(self.data / "pelton.db") as file:
            for table in ("delivery", "dead"):
                for number, body in file.execute(f"SELECT number, body FROM {table}").fetchall():
                    file.execute(f"UPDATE {table} SET body = ? WHERE number = ?", (body.replace(port, now), number))
        file.close()
        self.server = fresh(
            self.data, "--watch", f"{self.folder}=/acme", "--watch-settle", "50", "--allow-outgoing", "127.0.0.1",
            "--user", f"ann={ANN}", "--user", f"ben={BEN}", ahead=(TOLD["closed"] + later) / 1000 - time.time(),
        )  # fmt: skip
        self.http = httpx.Client(base_url=self.server.address, headers={"authorization": f"Bearer {ANN}"}, timeout=PATIENCE)

    def ask(self, method: str, path: str, body: Any = None, status: int = 0, **query: Any) -> Any:
        given: dict[str, Any] = {"json": body} if body is not None else {}
        if query:
            given["params"] = query
        answer = self.http.request(method, path, **given)
        fits = answer.status_code == status if status else answer.is_success
        assert fits, (method, path, answer.status_code, answer.text)
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.text

    def get(self, path: str, **query: Any) -> Any:
        return self.ask("GET", path, **query)

    def wait(self, look: Callable[[], Any], what: str) -> Any:
        try:
            return eventually(look, what)
        except AssertionError as late:
            raise AssertionError("\n".join([str(late), *self.server.log])) from None

    def post(self, kind: str, id: str, body: Any, **more: Any) -> Any:
        event = {"specversion": "1.0", "id": id, "source": "/shop", "type": kind, "data": body, **more}
        answer = self.http.post("/v1/events", json=event, headers={"content-type": "application/cloudevents+json"})
        assert answer.is_success, answer.text
        return answer.json()

    # ---- runs of workflows

    def start(self, name: str, value: Any = None, **more: Any) -> str:
        return str(self.ask("POST", "/api/workflow", {"name": name, "input": value or {}, **more})).strip('"')

    def run(self, name: str) -> Any:
        """By its name in the file, or its id."""
        return self.get(f"/api/workflow/{IDS.get(name, name)}")

    def task(self, name: str, reference: str) -> Any:
        return [task for task in self.run(name)["tasks"] if task["referenceTaskName"] == reference][-1]

    def report(self, task: Any, output: Any) -> None:
        report = {"workflowInstanceId": task["workflowInstanceId"], "taskId": task["taskId"], "status": "COMPLETED"}
        self.ask("POST", "/api/tasks", {**report, "workerId": task.get("workerId") or "new", "outputData": output})

    def work(self) -> None:
        """Takes all work that there is for today's workers, and does it."""
        for kind in WORK:
            for task in self.get(f"/api/tasks/poll/batch/{kind}", workerid="new", count=10, timeout=0):
                self.report(task, {"done": kind, "box": 7, "attempt": task["retryCount"]})

    def ends(self, name: str, status: str = "COMPLETED") -> Any:
        """The run, once it has ended."""

        def look() -> Any:
            self.work()
            found = self.run(name)
            return found if found["status"] in ENDED else None

        found = self.wait(look, name)
        assert found["status"] == status, found
        return found

    def becomes(self, name: str, status: str) -> Any:
        return self.wait(lambda: (found := self.run(name))["status"] == status and found, f"{name} {status}")

    # ---- tasks

    def tasks_of(self, code: str) -> list[Any]:
        found: list[Any] = self.get(f"{LUSID}/taskdefinitions/acme/{code}/tasks")["values"]
        return found

    def item(self, name: str) -> Any:
        return self.get(f"{LUSID}/tasks/{IDS.get(name, name)}")

    def reaches(self, name: str, state: str) -> Any:
        return self.wait(lambda: (found := self.item(name))["state"] == state and found, f"{name} {state}")

    def fire(self, name: str, trigger: str = "", **fields: Any) -> Any:
        body = {"fields": [{"name": name, "value": value} for name, value in fields.items()]}
        path = f"{LUSID}/tasks/{IDS.get(name, name)}" + (f"?trigger={trigger}" if trigger else "")
        return self.ask("POST", path, body if fields else {})


@contextmanager
def opened(directory: Path, later: int) -> Iterator[Old]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    old = Old(directory, receiver, later)
    try:
        yield old
    finally:
        old.http.close()
        code = old.server.stop()
        receiver.shutdown()
        receiver.server_close()
        thread.join(PATIENCE)
        assert code == 0, "\n".join(old.server.log)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Old]:
    """Opened a quarter of an hour later. Tests share it: each goes on with runs and tasks of its own."""
    with opened(tmp_path_factory.mktemp("old"), LATER) as found:
        yield found


def bare(found: Any) -> Any:
    """Without what the answers in the file leave out."""
    if isinstance(found, list):
        return [bare(each) for each in found]
    if isinstance(found, dict):
        kept = {name: value for name, value in found.items() if name not in REPEATED and not name.startswith("openDuration")}
        return {name: bare(value) for name, value in kept.items()}
    return found


def differences(told: Any, found: Any, at: str) -> list[str]:
    """Where an answer is not what it was. It may have members that it did not have."""
    if isinstance(told, dict) and isinstance(found, dict):
        pairs = [(name, value, found.get(name, "nothing")) for name, value in told.items()]
    elif isinstance(told, list) and isinstance(found, list) and len(told) == len(found):
        pairs = [(str(place), *both) for place, both in enumerate(zip(told, found, strict=True))]
    else:
        return [] if told == found else [f"{at}: {found!r}, and was {told!r}"]
    return [each for name, one, other in pairs for each in differences(one, other, f"{at} {name}")]


def fields_of(task: Any) -> dict[str, Any]:
    return {each["name"]: each["value"] for each in task["fields"]}


# ---- as it was


def test_every_kind_of_row_is_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "pelton.db").write_bytes(FILE)
    file = sqlite3.connect(tmp_path / "pelton.db")
    counts = {name: file.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in TOLD["rows"]}
    file.close()
    assert counts == TOLD["rows"]
    # The other file has these: no language of that version made any.
    assert {name for name, count in counts.items() if not count} == {"fragment", "rendezvous", "wait_key"}


def test_everything_reads_as_it_did(tmp_path: Path) -> None:
    with opened(tmp_path, 1_000) as old:
        for path, told in TOLD["reads"].items():
            found = json.dumps(bare(old.get(path))).replace(f":{old.receiver.port}/", f":{TOLD['port']}/")
            assert differences(told, json.loads(found), path) == []
        old.ask("GET", f"/api/workflow/{IDS['removed']}", status=404)
        old.ask("GET", f"{LUSID}/tasks/{IDS['deleted']}", status=404)
        old.ask("GET", "/api/metadata/workflow/removed", status=404)
        old.ask("GET", "/api/metadata/taskdefs/removed_task", status=404)
        old.ask("GET", f"{LUSID}/taskdefinitions/acme/removed", status=404)
        for where, name in (("correlationIds any (~ eq 'three')", "story"), ("fields['path'] eq '/in/closed'", "closed")):
            assert [task["id"] for task in old.get(f"{LUSID}/tasks", filter=where)["values"]] == [IDS[name]], where
        assert old.run("large")["input"] == {"text": "large " * 20_000}
        assert old.run("inline")["workflowDefinition"]["name"] == "made_inline"


# ---- workers


def test_the_report_of_work_that_was_handed_out_is_taken(old: Old) -> None:
    task = old.get(f"/api/tasks/{IDS['leased_task']}")
    assert (task["status"], task["workerId"]) == ("IN_PROGRESS", "worker-a")
    old.report(task, {"box": "from before"})
    assert old.ends("leased")["output"] == {"box": "from before"}


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("retrying", {"box": 7}),
        ("by_event", {"box": 7, "ship": {"done": "ship", "box": 7, "attempt": 0}}),
        ("in_progress", {"box": 7, "ship": {"done": "ship", "box": 7, "attempt": 0}}),
        ("fork", {"joined": {"left_ref": {"done": "left"}, "right_ref": {"done": "right", "box": 7, "attempt": 0}}}),
        ("parent", {"sub": "inner"}),
        ("child", {"inner": "inner"}),
        ("inline", {"x": None}),
        ("mixed", {"kept": 41, "way": "way_a"}),
        ("restarted", {"second": "second"}),
        ("skipping", {"second": "skipped"}),
        ("gated", {"early": 99}),
    ],
)
def test_work_that_waits_is_handed_out_and_its_run_goes_on(old: Old, name: str, output: Any) -> None:
    assert old.ends(name)["output"] == output


def test_work_for_a_domain_stays_there(old: Old) -> None:
    old.work()
    task = old.wait(lambda: old.get("/api/tasks/poll/ship", workerid="new", domain="blue"), "work in the domain")
    assert (task["workflowInstanceId"], task["inputData"]) == (IDS["unleased"], {"box": 7})
    old.report(task, {"done": "blue"})
    assert old.ends("unleased")["output"]["ship"] == {"done": "blue"}


def test_another_attempt_follows_the_failed_one(old: Old) -> None:
    tasks = old.ends("retrying")["tasks"]
    assert [(task["status"], task["retryCount"]) for task in tasks] == [("FAILED", 0), ("COMPLETED", 1)]
    assert tasks[0]["reasonForIncompletion"] == "no box"
    assert tasks[1]["retriedTaskId"] == tasks[0]["taskId"]


def test_a_loop_goes_round_as_often_as_it_should(old: Old) -> None:
    found = old.ends("loop")
    assert [task["iteration"] for task in found["tasks"] if task["taskType"] == "turn"] == [1, 2, 3]
    assert found["output"]["loop"]["1"] == {"turn_ref": {"n": 0}}
    assert found["output"]["loop"]["3"]["turn_ref"]["done"] == "turn"


# ---- events


def test_events_reach_the_runs_that_wait(old: Old) -> None:
    posted = old.post("shop:paid", "late-1", {"run": IDS["wait"], "ref": "wait_ref", "sum": 5})
    assert posted["effects"][0]["outcome"] == "signalled"
    assert old.ends("wait")["output"] == {"got": 5}
    old.post("shop:refused", "late-2", {"run": IDS["wait_failing"], "ref": "wait_ref", "why": "no money"})
    assert "no money" in old.ends("wait_failing", "FAILED")["reasonForIncompletion"]
    old.post("shop:stop", "late-3", {"run": IDS["wait_stopping"], "why": "enough"})
    assert old.ends("wait_stopping", "TERMINATED")["reasonForIncompletion"] == "enough"
    old.post("shop:label", "late-4", {"run": IDS["labelled"], "label": "blue"})
    assert old.run("labelled")["variables"] == {"label": "blue"}
    assert old.post("shop:label", "late-5", {"run": IDS["labelled"], "label": "none"})["decisions"][0]["verdict"] == "false"


def test_what_was_published_waits_for_its_answer(old: Old) -> None:
    old.ask("POST", f"/api/tasks/{IDS['asking']}/ask_ref/COMPLETED", {"reply": "yes"})
    assert old.ends("asking")["output"] == {"reply": "yes"}


def test_a_held_event_is_claimed_when_its_wait_opens(old: Old) -> None:
    assert old.ends("gated")["output"] == {"early": 99}
    assert old.get("/v1/held")["held"] == []


def test_events_and_keys_are_known_again(old: Old) -> None:
    order = {"order": "o-1", "amount": 12}
    again = old.post("shop:order", "order-1", order, subject="orders/1")
    assert (again["outcome"], again["key"]) == ("duplicate", IDS["events"]["started"])
    assert again["effects"][0]["run"] == IDS["by_event"]
    same = old.post("shop:order", "order-new", order)
    assert (same["effects"][0]["outcome"], same["effects"][0]["run"]) == ("unchanged", IDS["by_event"])
    other = old.post("shop:order", "order-other", {"order": "o-9", "amount": 10})
    assert other["effects"][0]["outcome"] == "started"
    assert old.ends(other["effects"][0]["run"])["correlationId"] == "o-9"
    known = {"idempotencyKey": "key-1", "idempotencyStrategy": "RETURN_EXISTING"}
    assert old.start("order", version=1, **known) == IDS["completed"]
    old.ask("POST", "/api/workflow", {"name": "order", "version": 1, "idempotencyKey": "key-1"}, status=409)


def test_new_definitions_and_runs_stand_beside_the_old(old: Old) -> None:
    run = old.start("order", {"order": "new"})
    assert old.ends(run)["workflowVersion"] == 2
    three = {"name": "order", "version": 3, "schemaVersion": 2, "ownerEmail": "o@example.com"}
    task = {"name": "pack", "taskReferenceName": "only_ref", "type": "SIMPLE", "inputParameters": {}}
    old.ask("PUT", "/api/metadata/workflow", [{**three, "tasks": [task]}])
    assert old.ends(old.start("order"))["workflowVersion"] == 3
    assert [each["version"] for each in old.get("/api/metadata/workflow/order/versions")] == [1, 2, 3]


# ---- time


def test_timers_that_are_due_fire(old: Old) -> None:
    assert old.ends("timer")["tasks"][0]["status"] == "COMPLETED"
    assert old.ends("deadline", "TIMED_OUT")["tasks"][0]["status"] == "CANCELED"
    assert old.reaches("asleep", "Empty")["version"]["userIdModified"] == "ann"
    result = f"{LUSID}/workers/{IDS['lone_open']}/$result"
    old.wait(lambda: old.get(result)["workerStatus"] == "CompletedNoResults", "the run of a worker")


def test_what_was_scheduled_happens_once(old: Old) -> None:
    [task] = old.wait(lambda: old.tasks_of("daily"), "the daily task")
    assert (task["state"], fields_of(task)) == ("Doing", {"path": "daily"})


# ---- operators


def test_a_paused_run_stands_still_until_it_is_resumed(old: Old) -> None:
    assert old.run("paused")["status"] == "PAUSED"
    old.ask("PUT", f"/api/workflow/{IDS['paused']}/resume")
    assert old.ends("paused")["output"] == {"second": "second"}


def test_finished_runs_are_taken_back(old: Old) -> None:
    old.ask("POST", f"/api/workflow/{IDS['failed']}/retry")
    assert old.ends("failed")["tasks"][-1]["retryCount"] == 1
    assert old.ends("cleanup")["input"]["workflowId"] == IDS["failed"]
    old.ask("POST", f"/api/workflow/{IDS['terminated']}/restart")
    assert old.run("terminated")["status"] == "RUNNING"
    old.ask("POST", f"/api/tasks/{IDS['terminated']}/wait_ref/COMPLETED", {"answer": "again"})
    assert old.ends("terminated")["output"] == {"got": "again"}
    old.ask("POST", f"/api/workflow/{IDS['completed']}/restart")
    assert old.ends("completed")["output"] == {"box": 7}


# ---- what was under way


def test_durable_signals_take_effect(old: Old) -> None:
    assert old.ends("pending_report")["output"] == {"got": "durable"}
    assert old.ends("pending_stop", "TERMINATED")["reasonForIncompletion"] == "a durable end"
    old.wait(lambda: old.run("pending_vars")["variables"] == {"label": "durable"}, "the variable")
    old.becomes("pending_pause", "PAUSED")
    old.becomes("pending_resume", "RUNNING")
    old.becomes("pending_rewind", "RUNNING")
    closed = old.reaches("task_trigger", "Closed")
    assert (fields_of(closed)["rows"], closed["version"]["userIdModified"]) == (8, "ann")
    assert closed["version"]["requestIdModified"] == "request-1"
    amended = old.wait(lambda: fields_of(found := old.item("task_amend"))["rows"] == 7 and found, "the change")
    assert (amended["correlationIds"], amended["version"]["userIdModified"]) == (["durable"], "ben")
    retired = f"{LUSID}/tasks/{IDS['task_retire']}"
    old.wait(lambda: old.http.get(retired).status_code == 404, "the end of a task")


def test_a_job_for_many_runs_goes_on_where_it_was(old: Old) -> None:
    for number in (1, 2, 3):
        assert old.ends(f"many_{number}", "TERMINATED")["reasonForIncompletion"] == "many"
    assert old.run("many_0")["status"] == "RUNNING"  # its turn was over
    path = f"/v1/jobs/{IDS['job']}/results"
    found = old.wait(lambda: len(page := old.get(path)["results"]) == 4 and page, "results")
    assert {each["run"]: each["outcome"] for each in found} == {
        IDS["many_0"]: "failed", IDS["many_1"]: "signalled", IDS["many_2"]: "signalled", IDS["many_3"]: "signalled",
    }  # fmt: skip


def test_a_fact_under_way_becomes_an_event(old: Old) -> None:
    event = old.wait(lambda: old.get("/v1/events", type="shop:fact")["events"], "the fact")[0]
    assert (event["id"], event["data"], event["subject"]) == ("fact-1", {"fact": 5}, "s")
    assert old.run(event["effects"][0]["run"])["input"]["fact"] == 5


def test_nothing_is_left_of_it_but_what_was_parked(old: Old) -> None:
    file = sqlite3.connect(f"file:{old.data / 'pelton.db'}?mode=ro", uri=True)
    try:
        old.wait(lambda: not file.execute("SELECT 1 FROM inbox WHERE parked = 0").fetchall(), "the inbox")
        assert file.execute("SELECT count(*) FROM inbox").fetchone() == (1,)
    finally:
        file.close()


def test_what_had_not_left_leaves(old: Old) -> None:
    got = old.receiver.got
    [(_, headers, body)] = old.wait(lambda: [each for each in got if each[0] == "/busy"], "the delivery")
    assert (body["n"], body["workflowInstanceId"]) == (2, IDS["announced_late"])
    assert headers["idempotency-key"] == headers["webhook-id"] == f"{IDS['announced_late']}-1-0"
    number = IDS["dead_letter"]
    old.ask("POST", f"/v1/dead-letters/{number}/redeliver")
    [(_, _, body)] = old.wait(lambda: [each for each in got if each[0] == "/refuses"], "the dead letter")
    assert body["workflowInstanceId"] == IDS["announced_dead"]
    old.wait(lambda: not old.get("/v1/dead-letters")["dead_letters"], "no dead letters")


# ---- tasks


def test_a_task_takes_a_trigger_and_its_past_stays(old: Old) -> None:
    path = f"{LUSID}/tasks/{IDS['story']}"
    history = old.get(f"{path}/history")["values"]
    was = {text: told for text, told in TOLD["reads"].items() if text.startswith(f"{path}?asAt=")}
    assert len(was) == 4
    done = old.fire("story", "finish")
    assert (done["state"], done["version"]["asAtVersionNumber"]) == ("Closed", 5)
    assert old.item("member")["stack"]["stackStatus"] == "Closed"
    for text, told in was.items():
        assert differences(told, bare(old.get(text)), text) == []
    assert old.get(f"{path}/history")["values"][: len(history)] == history
    assert [each["version"]["userIdModified"] for each in was.values()] == ["ann", "ben", "ann", "ben"]


def test_the_rows_of_a_worker_become_children(old: Old) -> None:
    rows = [{"Name": name, "Size": size} for name, size in (("a", 1), ("b", 2))]
    report = {"id": IDS["rows_item"], "output": {"results": rows}}
    assert old.ask("POST", "/v1/work", {"worker": "old-worker", "reports": [report]})["results"] == [{"ok": True}]
    found = old.reaches("rows_leased", "Full")
    children = [old.item(each["id"]) for each in found["childTasks"]]
    assert [(fields_of(each)["name"], each["state"], each["stackingKey"]) for each in children] == [
        ("a", "Doing", "a"),
        ("b", "Doing", "b"),
    ]
    claim = {"worker": "new", "claim": {"queues": ["old-hands"], "wait": 10_000}}
    [item] = old.ask("POST", "/v1/work", claim)["items"]
    old.ask("POST", "/v1/work", {"worker": "new", "reports": [{"id": item["id"], "output": {"results": []}}]})
    old.reaches("rows_open", "Empty")


def test_children_go_on_in_their_order(old: Old) -> None:
    _, second, third = IDS["children"]
    old.fire(second, "finish")
    assert old.reaches(third, "Doing")["previousTask"]["id"] == second
    assert old.fire("root", "end")["state"] == "Closed"


def test_events_trigger_and_make_tasks(old: Old) -> None:
    posted = old.post("Checked", "checked-2", {"path": "/in/closed", "rows": 1})
    assert [each["outcome"] for each in posted["effects"]] == ["unmatched"]  # that task had come to its end
    made = old.ask(
        "POST", f"{LUSID}/tasks", {"taskDefinitionId": {"scope": "acme", "code": "work"}, "fields": []}, 201, trigger="begin"
    )
    assert made["state"] == "Open"
    old.fire(made["id"], path="/in/new")
    old.post("Checked", "checked-3", {"path": "/in/new", "rows": 3})
    assert fields_of(old.item(made["id"])) == {"path": "/in/new", "rows": 3}


def test_a_watched_directory_knows_what_it_has_seen(old: Old) -> None:
    def files(kind: str) -> list[str]:
        return sorted(each["data"]["filePath"] for each in old.get("/v1/events", type=kind)["events"])

    (old.folder / "inbox").mkdir()
    (old.folder / "inbox" / "b.csv").write_text("a,b\n")
    # The files of then are not there any more.
    old.wait(lambda: files("FileDeleted") == ["/acme/inbox/a.csv", "/acme/other.txt"], "deleted files")
    tasks = old.wait(lambda: len(found := old.tasks_of("file")) == 2 and found, "a task for the new file")
    assert [fields_of(task)["path"] for task in tasks] == ["/acme/inbox/a.csv", "/acme/inbox/b.csv"]
