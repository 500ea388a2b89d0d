"""Whose token a call came with, as versions and events say it; through a whole server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from lusid_workflow.exceptions import UnauthorizedException
from tests.languages.lusid.api import INTAKE, ON_FILE, changed
from tests.languages.lusid.official import Official, definition
from tests.server.running import fresh

ANN, BOB, KEY = "token-of-ann-000001", "token-of-bob-000002", "a-key-without-a-user"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory: Path = tmp_path_factory.mktemp("users")
    process = fresh(
        directory / "data", "--user", f"ann={ANN}", "--user", f"bob={BOB}", "--api-key", KEY, "--service-user", "robot"
    )
    yield process.address
    assert process.stop() == 0, "\n".join(process.log)


def test_versions_name_the_users(address: str) -> None:
    ann, bob, key = Official(address, ANN), Official(address, BOB), Official(address, KEY)
    made = ann.definitions.create_task_definition(definition("users", "a"))
    assert made.version.user_id_created == "ann"
    gone = bob.definitions.delete_task_definition("users", "a")
    assert gone.as_at > made.version.as_at_created
    again = key.definitions.create_task_definition(definition("users", "a"))
    assert again.version.user_id_created == "anonymous"
    answer = bob.plain.post("/notification/api/manualevent", json={"subject": "s", "message": "m"})
    assert answer.json()["header"]["userId"] == "bob"
    for each in (ann, bob, key):
        each.close()


def test_handlers_act_as_users_that_there_are(address: str) -> None:
    ann = Official(address, ANN)
    assert ann.plain.post("/workflow/api/taskdefinitions", json=INTAKE).status_code == 201
    for user, status in (("robot", 201), ("bob", 409), ("nobody", 400)):
        sent = changed(ON_FILE, "runAsUserId", {"setTo": user})
        assert ann.plain.post("/workflow/api/eventhandlers", json=sent).status_code == status
    ann.close()


def test_who_has_no_token_is_refused_in_this_language(address: str) -> None:
    with httpx.Client(base_url=address) as client:
        for headers in ({}, {"Authorization": "Bearer none-of-these-tokens"}):
            for path in ("/workflow/api/taskdefinitions", "/notification/api/eventtypes"):
                answer = client.get(path, headers=headers)
                assert answer.status_code == 401
                body = answer.json()
                assert (body["name"], type(body["code"]), body["status"]) == ("Unauthorized", int, 401)
                assert "retry-after" not in answer.headers
                assert answer.headers["www-authenticate"] == "Bearer"
        assert client.get("/api/metadata/workflow").json()["code"] == "missing key"  # others keep their own words
    stranger = Official(address, "none-of-these-tokens")
    with pytest.raises(UnauthorizedException):
        stranger.definitions.get_task_definition("users", "a")
    stranger.close()


def test_every_answer_names_its_request(address: str) -> None:
    answer = httpx.get(
        f"{address}/workflow/api/workers/a/b", headers={"Authorization": f"Bearer {ANN}", "X-Request-Id": "mine-1"}
    )
    assert answer.status_code == 404
    assert answer.json()["instance"] == "urn:pelton:request:mine-1"
