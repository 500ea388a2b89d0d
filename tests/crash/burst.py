"""A burst of files in a watched folder and of posted events, a server that is killed meanwhile, and a task for each, once.

Files are written straight or renamed into place, in folders that come with them. Who posts an event posts it again until it is
answered, as anybody would who got no answer.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from tests.sqs_server import free_port

from pelton.cli.process import ServerProcess

DEFINITION: dict[str, Any] = {
    "id": {"scope": "crash", "code": "file"},
    "displayName": "File",
    "states": [{"name": "New"}, {"name": "Open"}],
    "fieldSchema": [{"name": "path", "type": "String"}],
    "initialState": {"name": "New", "requiredFields": ["path"]},
    "triggers": [{"name": "begin", "trigger": {"type": "External"}}],
    "transitions": [{"fromState": "New", "toState": "Open", "trigger": "begin"}],
}
HANDLER: dict[str, Any] = {
    "id": {"scope": "crash", "code": "on-file"},
    "displayName": "On file",
    "status": "Active",
    "eventMatchingPattern": {"eventType": "FileCreated", "filter": "body.filePath startswith '/burst/in'"},
    "runAsUserId": {"setTo": "robot"},
    "taskDefinitionId": DEFINITION["id"],
    "taskActivity": {"type": "CreateNewTask", "initialTrigger": "begin", "taskFields": {"path": {"mapFrom": "body.filePath"}}},
}
BATCH = 10  # events of one request
LATE = 0.2  # seconds at most after what is out, that a kill comes
PATIENCE = 120.0


@dataclass
class BurstReport:
    kills: int = 0
    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def text(self) -> str:
        lines = [f"{self.kills} kills in {self.seconds:.0f} s", *(f"{count:7} {what}" for what, count in self.counts.items())]
        return "\n".join([*lines, *(self.faults or ["one task for each"])])


class Burst:
    def __init__(self, directory: Path, files: int, posts: int, kills: int, rng: random.Random) -> None:
        self.report = BurstReport()
        self._folder = directory / "in"
        self._folder.mkdir()
        self._elsewhere = directory / "other"
        self._elsewhere.mkdir()
        self._data = directory / "data"
        self._port = free_port()
        self._url = f"http://127.0.0.1:{self._port}"
        self._files = [f"{rng.randrange(8)}/{number}.csv" for number in range(files)]
        self._posts = [f"/burst/in/posted/{number}" for number in range(posts)]
        self._kills = kills
        self._rng = rng
        self._repeats = 0
        self._written = 0
        self._answered = 0
        self._trouble: list[Exception] = []

    def run(self) -> BurstReport:
        began = time.monotonic()
        server = self._start()
        try:
            with httpx.Client(base_url=self._url, timeout=30) as client:
                for path, body in (("taskdefinitions", DEFINITION), ("eventhandlers", HANDLER)):
                    client.post(f"/workflow/api/{path}", json=body).raise_for_status()
            senders = [threading.Thread(target=each, daemon=True) for each in (self._write, self._post)]
            for sender in senders:
                sender.start()
            for number in range(self._kills):
                self._until_out((number + self._rng.random()) / self._kills)
                time.sleep(self._rng.uniform(0, LATE))  # the moment of a kill is no synchronisation
                server.kill()
                self.report.kills += 1
                server = self._start()
            for sender in senders:
                sender.join(PATIENCE)
                assert not sender.is_alive(), "files and events are not out yet"
            self._prove()
        finally:
            server.kill()
        if self._trouble:
            raise self._trouble[0]
        self.report.seconds = time.monotonic() - began
        return self.report

    def _until_out(self, share: float) -> None:
        """Files and events together."""
        deadline = time.monotonic() + PATIENCE
        while self._written + self._answered < share * (len(self._files) + len(self._posts)) and not self._trouble:
            assert time.monotonic() < deadline, "files and events do not get out"
            time.sleep(0.001)

    def _start(self) -> ServerProcess:
        watch = ("--watch", f"{self._folder}=/burst/in", "--watch", f"{self._elsewhere}=/burst/other", "--watch-settle", "30")
        server = ServerProcess(self._data, *watch, port=self._port)
        server.wait_ready()
        return server

    def _write(self) -> None:
        try:
            for number, name in enumerate(self._files):
                path = self._folder / name
                path.parent.mkdir(exist_ok=True)
                if number % 2:
                    path.write_text(name)
                else:
                    unfinished = path.with_suffix(".tmp")
                    unfinished.write_text(name)
                    unfinished.rename(path)
                if not number % 10:
                    (self._elsewhere / f"{number}.csv").write_text(name)
                self._written += 1
                if not number % 50:
                    time.sleep(0.05)  # a burst that lasts for some kills
        except Exception as error:
            self._trouble.append(error)

    def _post(self) -> None:
        try:
            with httpx.Client(base_url=self._url, timeout=30) as client:
                for at in range(0, len(self._posts), BATCH):
                    batch = [
                        {"specversion": "1.0", "id": path, "source": "/burst", "type": "FileCreated", "data": {"filePath": path}}
                        for path in self._posts[at : at + BATCH]
                    ]
                    while not self._posted(client, batch):
                        self._repeats += 1
                        time.sleep(0.02)  # another process's start: there is nothing to wait on
                    self._answered += len(batch)
        except Exception as error:
            self._trouble.append(error)

    def _posted(self, client: httpx.Client, batch: list[Any]) -> bool:
        with contextlib.suppress(httpx.TransportError):
            answer = client.post("/v1/events", json=batch, headers={"content-type": "application/cloudevents-batch+json"})
            if answer.status_code == 503:
                return False
            answer.raise_for_status()
            return True
        return False

    def _prove(self) -> None:
        wanted = Counter([*(f"/burst/in/{name}" for name in self._files), *self._posts])
        deadline = time.monotonic() + PATIENCE
        with httpx.Client(base_url=self._url, timeout=60) as client:
            last = self._elsewhere / "last.csv"  # whatever was noticed before it is told before it
            last.write_text("x")
            while True:
                found = self._tasks(client)
                if len(found) >= len(wanted) and self._told(client, "/burst/other/last.csv"):
                    break
                if time.monotonic() > deadline:
                    break
                time.sleep(0.05)  # another process's state
            found = self._tasks(client)
        counts = Counter(fields["path"] for _, fields in found)
        report = self.report
        report.faults += [f"no task for {path}" for path in (wanted - counts)][:20]
        report.faults += [f"{counts[path]} tasks for {path}" for path in (counts - wanted)][:20]
        report.faults += [f"the task for {fields['path']} is {state}" for state, fields in found if state != "Open"][:20]
        report.counts = {
            "files": len(self._files),
            "posted events": len(self._posts),
            "batches sent again": self._repeats,
            "tasks": len(found),
        }

    def _told(self, client: httpx.Client, path: str) -> bool:
        page = client.get("/v1/events", params={"type": "FileCreated", "limit": 200}).json()["events"]
        return any(each["data"]["filePath"] == path for each in page)

    def _tasks(self, client: httpx.Client) -> list[tuple[str, dict[str, Any]]]:
        """State and fields of each."""
        found: list[tuple[str, dict[str, Any]]] = []
        page = ""
        while True:
            answer = client.get("/workflow/api/tasks", params={"limit": 1000, **({"page": page} if page else {})}).json()
            found += [(task["state"], {each["name"]: each["value"] for each in task["fields"]}) for task in answer["values"]]
            page = answer.get("nextPage", "")
            if not page:
                return found
