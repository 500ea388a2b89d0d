"""The documented case: the request as it is printed, with host and token replaced, and files that come into a folder."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import datetime
from typing import Any

import pytest
from tests.acceptance.lusid.world import DEFINITIONS, HANDLERS, IMPORT, TASKS, World, decision_of, effects_of, fields_of
from tests.acceptance.official import unique

NAME = "Finbourne-Examples/New-Quotes-File"
# As in the documentation, `acme` for the domain.
REQUEST = r"""curl -X POST "https://<your-domain>.lusid.com/workflow/api/eventhandlers" \
  -H "Authorization: Bearer <your-api-access-token>" \
  -H "Content-Type: application/json-patch+json" \
  -d "{
  \"id\": {
    \"scope\": \"Finbourne-Examples\",
    \"code\": \"New-Quotes-File\"
  },
  \"displayName\": \"NewQuotesFileInDrive\",
  \"description\": \"Event handler that creates a quote import and data quality check task when a new file arrives in the quotes folder in Drive.\",
  \"status\": \"Active\",
  \"eventMatchingPattern\": {
    \"eventType\": \"FileCreated\",
    \"filter\": \"body.filePath startswith '/<your-domain>/quotes'\"
  },
  \"runAsUserId\": {
    \"setTo\": \"00uji4ve5haBc1Hlf2p7\"
  },
  \"taskDefinitionId\": {
    \"scope\": \"Finbourne-Examples\",
    \"code\": \"Import-Quotes-From-File\"
  },
  \"taskActivity\": {
    \"initialTrigger\": \"start\",
    \"type\": \"CreateNewTask\",
    \"taskFields\": {
      \"folder\":
        { \"mapFrom\": \"body.filePath\" },
      \"quoteScope\":
        { \"setTo\": \"Finbourne-Examples\" }
     }
}
}" --silent --show-error --write-out "\n%{http_code}"
"""  # noqa: E501 - as it is printed
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}0\+00:00")
REQUEST_ID = re.compile(r"[0-9A-V]{13}:[0-9A-F]{8}")


@pytest.fixture(scope="session")  # as the server is, which takes the request once
def answer(world: World) -> Any:
    """What curl got: the status and the body."""
    (world.folder / "quotes").mkdir()
    (world.folder / "elsewhere").mkdir()
    world.ask("POST", DEFINITIONS, IMPORT, 201)
    line = REQUEST.replace("https://<your-domain>.lusid.com", world.server.address)
    line = line.replace("<your-api-access-token>", "a.b.c").replace("<your-domain>", "acme")
    said = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True, timeout=30).stdout
    body, status = said.rsplit("\n", 1)
    return int(status), json.loads(body)


def quotes(world: World, path: str) -> list[Any]:
    """Tasks for that file."""
    found: list[Any] = world.ask("GET", TASKS, filter=f"fields['folder'] eq '{path}'")["values"]
    return found


def is_import(task: Any, path: str) -> None:
    assert task["taskDefinitionId"] == IMPORT["id"]
    assert fields_of(task) == {"folder": path, "quoteScope": "Finbourne-Examples"}
    assert task["state"] == "Importing"
    version = task["version"]
    assert (version["userIdCreated"], version["userIdModified"]) == ("00uji4ve5haBc1Hlf2p7",) * 2
    assert version["asAtVersionNumber"] == 1
    assert version["asAtCreated"] == version["asAtModified"] == task["asAtLastTransition"]


def test_the_request_is_answered_as_documented(world: World, answer: Any) -> None:
    status, made = answer
    assert status == 201
    assert list(made)[:2] == ["id", "version"]
    assert made["id"] == {"scope": "Finbourne-Examples", "code": "New-Quotes-File"}
    version = made["version"]
    assert list(version) == [
        "asAtCreated", "userIdCreated", "requestIdCreated", "asAtModified", "userIdModified", "requestIdModified",
        "asAtVersionNumber",
    ]  # fmt: skip
    assert STAMP.fullmatch(version["asAtCreated"])
    datetime.fromisoformat(version["asAtCreated"])
    assert version["asAtCreated"] == version["asAtModified"]
    assert REQUEST_ID.fullmatch(version["requestIdCreated"])
    assert version["requestIdCreated"] == version["requestIdModified"]
    assert version["userIdCreated"] == version["userIdModified"] != ""
    assert version["asAtVersionNumber"] == 1
    sent = json.loads(
        REQUEST.split('-d "', 1)[1].split('}" --silent', 1)[0].replace('\\"', '"').replace("<your-domain>", "acme") + "}"
    )
    assert {key: value for key, value in made.items() if key not in ("id", "version")} == {
        key: value for key, value in sent.items() if key != "id"
    }
    assert world.ask("GET", f"{HANDLERS}/{NAME}") == made
    assert world.ask("GET", f"{HANDLERS}/{NAME}", asAt=version["asAtModified"]) == made


def test_an_event_makes_exactly_one_task_and_its_repeat_none(world: World, answer: Any) -> None:
    path = f"/acme/quotes/{unique('posted')}.csv"
    identity = unique("event")
    posted = world.post("FileCreated", {"filePath": path, "fileId": "f"}, id=identity)
    assert posted["state"] == "matched"
    assert decision_of(posted, NAME)["verdict"] == "fired"
    [effect] = effects_of(posted, NAME)
    [task] = quotes(world, path)
    is_import(task, path)
    assert (effect["outcome"], effect["run"]) == ("started", task["id"])
    again = world.post("FileCreated", {"filePath": path, "fileId": "f"}, status=200, id=identity)
    assert (again["outcome"], again["key"], again["effects"]) == ("duplicate", posted["key"], posted["effects"])
    world.post("FileCreated", {"filePath": path, "fileId": "other"}, status=409, id=identity)
    assert len(quotes(world, path)) == 1


def test_a_file_in_the_folder_makes_exactly_one_task(world: World, answer: Any) -> None:
    path = f"/acme/quotes/2026/{unique('real')}.csv"
    file = world.folder / path.removeprefix("/acme/")
    file.parent.mkdir(exist_ok=True)
    file.write_text("figi,price\nBBG000B9XRY4,1.5\n")
    [task] = world.wait(lambda: quotes(world, path), "the file has a task")
    is_import(task, path)
    file.write_text("figi,price\nBBG000B9XRY4,1.75\n")  # another version of it is no new file
    world.wait(
        lambda: [each for each in file_events(world, "FileUpdated") if each["data"]["filePath"] == path], "the change is told"
    )
    assert len(quotes(world, path)) == 1


def test_a_file_elsewhere_makes_none_and_explain_says_why(world: World, answer: Any) -> None:
    path = f"/acme/elsewhere/{unique('real')}.csv"
    (world.folder / path.removeprefix("/acme/")).write_text("x")
    [event] = world.wait(lambda: [each for each in file_events(world) if each["data"]["filePath"] == path], "the file is told")
    assert quotes(world, path) == []
    said = world.explain(event["key"], NAME)
    assert said["verdict"] == "false"
    [[text, value, result, position]] = said["trace"]
    assert (text, value, result, position) == ("body.filePath startswith '/acme/quotes'", path, False, 0)


def test_letter_case_of_paths_and_texts_does_not_matter(world: World, answer: Any) -> None:
    path = f"/ACME/Quotes/{unique('case')}.csv"
    assert world.post("FileCreated", {"FILEPATH": path})["state"] == "matched"
    assert len(quotes(world, path)) == 1


def test_other_types_of_events_make_none(world: World, answer: Any) -> None:
    path = f"/acme/quotes/{unique('typed')}.csv"
    posted = world.post("FileUpdated", {"filePath": path})
    assert quotes(world, path) == []
    assert world.explain(posted["key"], NAME)["verdict"] == "type differs"


def file_events(world: World, kind: str = "FileCreated") -> list[Any]:
    found: list[Any] = world.ask("GET", "/v1/events", type=kind, limit=1000)["events"]
    return found
