"""The part of the demo about files: a file dropped into a watched folder becomes a task, which a worker then completes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from msgspec import json

from pelton.cli.apply import detect, example
from pelton.cli.applying import send
from pelton.cli.look import explanation
from pelton.client.client import Client
from pelton.models import EventView

SECONDS = 30.0  # for a file to be noticed
PREFIX = "/pelton-demo"
LANGUAGE, EXAMPLES = "lusid", ("check_quotes", "import_quotes", "new_quotes_file")
HANDLER = "Finbourne-Examples/New-Quotes-File"
QUOTES = "instrument,date,price\nBBG000BLNNH6,2024-06-05,171.20\nBBG000B9XRY4,2024-06-05,195.87\n"

Check = Callable[[bool, str], None]


class FileWalk:
    """The steps, in order. `folder`: the directory watched as `PREFIX`. `check(holds, otherwise)` ends the demo unless
    `holds`."""

    def __init__(self, client: Client, folder: Path, say: Callable[[str], None], check: Check) -> None:
        self._client = client
        self._folder = folder
        self._say = say
        self._check = check

    def all(self) -> None:
        self.define()
        task = self.drop()
        self.elsewhere()
        self.work_off(task)

    def define(self) -> None:
        self._say("\n7. Two task definitions, and a handler that creates a task for each file in the quotes folder.")
        for name in EXAMPLES:
            definition = detect(example(LANGUAGE, name), name)
            send(self._client, definition)
            self._say(f"   {definition.kind} {definition.name}")

    def drop(self) -> dict[str, Any]:
        self._say(f"\n8. A file of quotes is dropped into {self._folder / 'quotes'}.")
        quotes = self._folder / "quotes"
        quotes.mkdir()
        (quotes / "2024-06-05.csv").write_text(QUOTES)
        event = self._event("quotes/2024-06-05.csv")
        for line in explanation(event, {}):
            self._say(f"   {line}")
        tasks = self._tasks("fields['folder'] eq '/pelton-demo/quotes/2024-06-05.csv'")
        self._check(len(tasks) == 1, f"the file should have created one task, but there are {len(tasks)}")
        task = tasks[0]
        self._say(f"   task {task['id']} is in state {task['state']}, created by {task['version']['userIdCreated']}")
        for field in task["fields"]:
            self._say(f"      {field['name']}: {field['value']}")
        self._check(task["state"] == "Importing", f"the task should be importing, but is in state {task['state']}")
        return task

    def elsewhere(self) -> None:
        self._say("\n9. A file is dropped elsewhere. Why is there no task?")
        (self._folder / "notes.txt").write_text("nothing to import\n")
        event = self._event("notes.txt")
        self._check(not event.effects, f"the file should have no effects, but the effects are {event.effects}")
        for line in explanation(event, {}):
            self._say(f"   {line}")
        verdicts = {each.handler: each.verdict for each in event.decisions}
        self._check(verdicts.get(HANDLER) == "false", f"the verdict should be false, but the verdicts are {verdicts}")

    def work_off(self, task: dict[str, Any]) -> None:
        self._say(
            "\n10. The import reports two quotes. The task creates a child task to check them; when the child is done, so is the "
            "task."
        )
        self._trigger(task["id"], "imported", [{"name": "quotes", "value": 2}])
        checks = self._until("childTasks", task["id"])
        self._check(len(checks) == 1, f"there should be one child, but there are {len(checks)}")
        self._say(f"   child {checks[0]['id']} is in state {checks[0]['state']}")
        self._trigger(checks[0]["id"], "pass", [])
        began = time.monotonic()
        while (now := self._task(task["id"]))["state"] != "Done":
            self._check(time.monotonic() - began < SECONDS, f"the task should be done, but is in state {now['state']}")
            time.sleep(0.02)
        history = self._get(f"/workflow/api/tasks/{task['id']}/history")["values"]
        for item in history:
            change = f"{item['attributeName']} {_value(item.get('previousValue'))} -> {_value(item['newValue'])}"
            self._say(f"   version {item['asAtVersionNumber']}: {change}, by {item['userIdModified']}")

    # ---- calls

    def _event(self, name: str) -> EventView:
        """The file's event, once it has been recorded."""
        path = f"{PREFIX}/{name}"
        began = time.monotonic()
        after = "0"
        while True:
            page = self._client.events(type="FileCreated", after=after, wait=200)
            for event in page.events:
                if event.data["filePath"] == path:
                    return self._client.explain(event.key)
            after = page.after
            self._check(time.monotonic() - began < SECONDS, f"the file {path} should have become an event within {SECONDS:g} s")

    def _until(self, member: str, task: str) -> list[Any]:
        began = time.monotonic()
        while not (found := self._task(task)[member]):
            self._check(time.monotonic() - began < SECONDS, f"the task should have {member} within {SECONDS:g} s")
            time.sleep(0.02)
        return list(found)

    def _tasks(self, condition: str) -> list[dict[str, Any]]:
        return list(self._get(f"/workflow/api/tasks?filter={quote(condition)}")["values"])

    def _task(self, identity: str) -> dict[str, Any]:
        return self._get(f"/workflow/api/tasks/{identity}")

    def _trigger(self, identity: str, trigger: str, fields: list[dict[str, Any]]) -> None:
        self._client.request("POST", f"/workflow/api/tasks/{identity}?trigger={trigger}", json.encode({"fields": fields}))

    def _get(self, path: str) -> dict[str, Any]:
        return dict(self._client.request("GET", path))


def _value(value: Any) -> str:
    return "nothing" if value is None else json.encode(value).decode()
