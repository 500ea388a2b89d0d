"""Whose an event is: the user whose call brought it, by every door, and whom handlers act as then."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.acceptance.lusid.world import CLOUD, DEFINITIONS, HANDLERS, TASKS, WORK, creates, merged, updates
from tests.acceptance.official import unique
from tests.patience import happens

from pelton.server.config import ConfigError
from pelton.testing import running_server

ALICE, BOB = "token-of-alice-0001", "token-of-bob-000001"
GATEWAY, PLAIN = "key-of-the-gateway1", "key-of-nobody-00001"
BATCH = {"content-type": "application/cloudevents-batch+json"}


class Caller:
    """Calls of one token."""

    def __init__(self, url: str, token: str) -> None:
        self.http = httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {token}"} if token else {}, timeout=60)

    async def ask(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = await self.http.request(method, path, json=body)
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer.json()

    async def post(self, kind: str, data: Any = None, **more: Any) -> httpx.Response:
        event = {"specversion": "1.0", "id": unique("id"), "source": "/s", "type": kind, "data": data, **more}
        return await self.http.post("/v1/events", json=event, headers=CLOUD)

    async def post_binary(self, kind: str, data: Any, **more: str) -> httpx.Response:
        headers = {"ce-specversion": "1.0", "ce-id": unique("id"), "ce-source": "/s", "ce-type": kind}
        headers.update((f"ce-{name}", value) for name, value in more.items())
        return await self.http.post("/v1/events", json=data, headers=headers)

    async def post_batch(self, *events: Mapping[str, Any]) -> httpx.Response:
        batch = [{"specversion": "1.0", "id": unique("id"), "source": "/s", **each} for each in events]
        return await self.http.post("/v1/events", json=batch, headers=BATCH)

    async def task(self, answer: httpx.Response) -> Any:
        """The task that a single event's first effect is about."""
        assert answer.status_code == 201, answer.text
        return await self.ask("GET", f"{TASKS}/{answer.json()['effects'][0]['run']}")


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[tuple[Caller, ...]]:
    """Callers: alice, bob, the gateway, and one with a plain key."""
    given = {"users": (f"alice={ALICE}", f"bob={BOB}"), "api_keys": (PLAIN,), "forwarders": (GATEWAY,), **settings}
    async with running_server(**given) as server:
        callers = tuple(Caller(server.url, token) for token in (ALICE, BOB, GATEWAY, PLAIN))
        try:
            yield callers
        finally:
            for each in callers:
                await each.http.aclose()


async def four_eyes(caller: Caller) -> None:
    """A task that only another than its maker may finish; both steps by events, in the name of the event's user."""
    identity = {"scope": "acme", "code": "four-eyes"}
    begin, check, finish = WORK["transitions"]
    guarded = merged(finish, guard="UserCreated neq CurrentUser")
    body = merged(WORK, id=identity, transitions=[begin, check, guarded])
    await caller.ask("POST", DEFINITIONS, body, 201)
    for kind, activity in (
        ("make", creates({"path": "$body.k"})),
        ("approve", updates("finish", "fields['path'] eq body.k")),
    ):
        await caller.ask("POST", HANDLERS, handler(kind, activity, identity), 201)


def handler(kind: str, activity: Any, definition: Any, **more: Any) -> dict[str, Any]:
    made = {
        "id": {"scope": "acme", "code": unique("on")},
        "displayName": kind,
        "description": kind,
        "status": "Active",
        "eventMatchingPattern": {"eventType": kind},
        "runAsUserId": {"mapFrom": "header.userId"},
        "taskDefinitionId": definition,
        "taskActivity": activity,
    }
    return merged(made, **more)


async def test_nobody_acts_as_another_by_an_attribute() -> None:
    async with serving() as (alice, bob, _, plain):
        await four_eyes(alice)
        task = await alice.task(await alice.post("make", {"k": "1"}, userid="alice"))
        claims = [
            (await alice.post("approve", {"k": "1"}, userid="bob"), "userid"),
            (await alice.post_binary("approve", {"k": "1"}, userid="bob"), "ce-userid"),
            (await alice.post_batch({"type": "other"}, {"type": "approve", "userid": "bob"}), "[1].userid"),
            (await alice.http.post("/v1/events", json={"type": "approve", "source": "/s", "userid": "bob"}), "userid"),
            (await plain.post("approve", {"k": "1"}, userid="bob"), "userid"),
            (await alice.post("approve", {"k": "1"}, userid=""), "userid"),
        ]
        for answer, field in claims:
            said = answer.json()
            assert (answer.status_code, said["code"], said["field"]) == (403, "forbidden", field)
            assert "--forwarder" in said["remedy"]
        assert (await alice.post("approve", {}, userid=7)).status_code == 400
        assert (await alice.ask("GET", f"{TASKS}/{task['id']}"))["state"] == "Open"
        assert (await alice.ask("GET", "/v1/events?type=other"))["events"] == []  # the batch was refused as a whole
        assert (await bob.post("approve", {"k": "1"})).json()["effects"][0]["outcome"] == "signalled"


async def test_an_event_is_its_callers_by_every_door() -> None:
    async with serving() as (alice, bob, _, plain):
        await four_eyes(alice)
        answers = [
            await alice.post("make", {"k": "a"}),
            await alice.post_binary("make", {"k": "b"}),
            await alice.http.post("/v1/events", json={"type": "make", "source": "/s", "data": {"k": "c"}}),
        ]
        tasks = [await alice.task(answer) for answer in answers]
        batch = (await bob.post_batch({"type": "make", "data": {"k": "d"}})).json()["events"]
        tasks.append(await alice.ask("GET", f"{TASKS}/{batch[0]['effects'][0]['run']}"))
        assert [task["version"]["userIdCreated"] for task in tasks] == ["alice", "alice", "alice", "bob"]
        shown = await alice.ask("GET", f"/v1/events/{batch[0]['key']}")
        assert shown["attributes"] == {"userid": "bob"}
        own = (await alice.post("approve", {"k": "a"})).json()
        assert own["effects"][0]["outcome"] != "signalled"
        unnamed = (await plain.post("make", {"k": "e"})).json()
        assert unnamed["decisions"][0]["verdict"] == "failed"
        assert "the event has no user" in unnamed["decisions"][0]["detail"]


async def test_a_key_that_forwards_says_whose_an_event_is() -> None:
    async with serving(namespace_keys=(f"team={GATEWAY}",)) as (_, _, gateway, _):
        await four_eyes(gateway)
        made = await gateway.task(await gateway.post("make", {"k": "1"}, userid="alice"))
        assert made["version"]["userIdCreated"] == "alice"
        done = await gateway.task(await gateway.post_binary("approve", {"k": "1"}, userid="bob"))
        assert done["version"]["userIdModified"] == "bob"
    async with serving(forwarders=(ALICE,)) as (alice, _, _, _):
        await four_eyes(alice)
        for claimed, user in (({"userid": "bob"}, "bob"), ({}, "alice")):
            task = await alice.task(await alice.post("make", {"k": user}, **claimed))
            assert task["version"]["userIdCreated"] == user


async def test_without_access_control_any_name_is_taken() -> None:
    async with serving(users=(), api_keys=(), forwarders=()) as (alice, _, _, _):
        await four_eyes(alice)
        task = await alice.task(await alice.post("make", {"k": "1"}, userid="zoe"))
        assert task["version"]["userIdCreated"] == "zoe"


@pytest.mark.parametrize(
    ("settings", "user"),
    [({"watch_user": "alice"}, "alice"), ({"service_users": ("robot",)}, "robot"), ({"watch_user": "carl"}, "carl")],
)
async def test_watched_files_have_a_user(tmp_path: Path, settings: Any, user: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    async with serving(watch=(f"{folder}=/in",), watch_settle=10, **settings) as (alice, _, _, _):
        identity = {"scope": "acme", "code": "files"}
        await alice.ask("POST", DEFINITIONS, merged(WORK, id=identity), 201)
        await alice.ask("POST", HANDLERS, handler("FileCreated", creates({"path": "$body.filePath"}), identity), 201)
        (folder / "a.csv").write_text("a")

        async def made() -> list[Any]:
            found: list[Any] = (await alice.ask("GET", f"{DEFINITIONS}/acme/files/tasks"))["values"]
            return found

        [task] = await happens(made, "the file becomes a task")
        assert task["version"]["userIdCreated"] == user


async def test_who_takes_the_user_of_a_file_that_has_none_is_told_so(tmp_path: Path) -> None:
    key = "key-of-another-team"
    settings: dict[str, Any] = {"watch": (f"{tmp_path}=/in",), "namespace_keys": (f"team={key}",)}
    async with serving(**settings, forwarders=(key,), service_users=("one", "two")) as (alice, _, _, _):
        identity = {"scope": "acme", "code": "files"}
        team = Caller(str(alice.http.base_url), key)
        for each in (alice, team):
            await each.ask("POST", DEFINITIONS, merged(WORK, id=identity), 201)
        said = await alice.ask("POST", HANDLERS, handler("FileUpdated", creates(), identity), 400)
        [message] = said["errors"]["runAsUserId.mapFrom"]
        assert "--watch-user" in message
        other = handler("FileUpdated", creates(), identity, runAsUserId={"setTo": "one"})
        await alice.ask("POST", HANDLERS, other, 201)
        name = f"{HANDLERS}/acme/{other['id']['code']}"
        await alice.ask("PUT", name, merged(other, id=..., runAsUserId={"mapFrom": "header.userId"}), 400)
        await alice.ask("POST", HANDLERS, handler("orders", creates(), identity), 201)
        await team.ask("POST", HANDLERS, handler("FileUpdated", creates(), identity), 201)  # no files are watched for it
        await team.http.aclose()


async def test_the_settings_are_checked(tmp_path: Path) -> None:
    for settings, said in (
        ({"forwarders": ("short",)}, "--forwarder"),
        ({"watch_user": "a b"}, "--watch-user"),
        ({"watch_user": "ann", "service_users": ("robot",)}, "--watch-user ann"),
    ):
        with pytest.raises(ConfigError, match=said):
            async with running_server(**settings):
                pass
